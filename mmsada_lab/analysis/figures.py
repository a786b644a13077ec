"""Every figure, in one namespace: the function that computes its data, and the one that draws exactly those data.

``figures.draw_confusion(figures.confusion_counts(...))``; where a function is written is a matter of the table below. A
figure that is added is one line here. Nothing is loaded before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "results": "SPARE_OUTPUT several plain training_curves draw_training_curves accuracy_curves draw_accuracy_curves "
    "stream_accuracies draw_stream_accuracies confusion_counts draw_confusion confusion_frame",
    "agreement": "stream_agreement draw_agreement",
    "comparison": "confusion_difference draw_confusion_difference mean_gains draw_mean_gains",
    "embedding": "joint_embedding draw_embedding",
    "paper_figures": "class_shares draw_class_shares target_curves draw_target_curves sweep_means draw_sweep",
    "selection_figures": "value_scores value_choices selection_bars draw_selection",
    "gap.figures": "gap_bars draw_gap",
    "lessons.clip_grid": "clip_grid to_picture",
    "lessons.kernels": "kernel_curves observed_distances draw_kernels",
    "lessons.lines": "draw_lines method_bars draw_method_bars",
    "lessons.pairings": "correspondence_grid draw_correspondence_grid",
    "lessons.planes": "plane_points plane_border plane_disagreement draw_plane",
}
FIGURES = {name: module for module, names in _MODULES.items() for name in names.split()}
"""Function -> the module of `mmsada_lab.analysis` that holds it."""


def __getattr__(name: str) -> Any:
    if name not in FIGURES:
        raise AttributeError(f"no figure {name!r}; there are {', '.join(FIGURES)}")
    return getattr(import_module(f"mmsada_lab.analysis.{FIGURES[name]}"), name)


def __dir__() -> list[str]:
    return list(FIGURES)
