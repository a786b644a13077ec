"""Every figure of the package, in one namespace: start here.

A figure is two functions: one computes its data, a frame that a test or a CSV can hold; ``draw_...`` draws exactly
those:

    counts = figures.confusion_counts(load_predictions(path), classes=classes)
    figures.draw_confusion(counts, title="Confusion")

A new one is a module and a line in `FIGURES`. A module is loaded when one of its functions is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

FIGURES = {
    # a run
    "training_curves draw_training_curves": ".curves",
    "accuracy_curves draw_accuracy_curves": ".curves",
    "game_curves draw_game": ".game",
    "gradient_sizes draw_gradient_sizes": ".game",
    "stream_accuracies draw_stream_accuracies": ".accuracies",
    "stream_agreement draw_agreement": ".agreement",
    "confusion_counts draw_confusion": ".confusion",
    "joint_embedding draw_embedding": ".embedding",
    # methods beside one another
    "confusion_difference draw_confusion_difference draw_confusion_beside": ".confusion",
    "method_bars draw_method_bars": ".accuracies",
    "gap_bars draw_gap": ".gap.figures",
    "gap_changes tell_changes": ".lessons.gap_changes",
    "value_scores value_choices": ".selection",
    "selection_bars draw_selection": ".selection_figures",
    # the paper's
    "class_shares draw_class_shares": ".paper_figures",
    "target_curves draw_target_curves": ".paper_figures",
    "kinds_table draw_kinds": ".kinds",
    "common_runs sweep_means draw_sweep": ".sweep",
    "sweep_game draw_sweep_game": ".sweep",
    "mean_gains draw_mean_gains": ".paper_figures",
    # lessons
    "clip_grid to_animated_png": ".lessons.clip_grid",
    "correspondence_grid draw_correspondence_grid": ".lessons.correspondence_grid",
    "kernel_curves observed_distances draw_kernels": ".lessons.kernels",
    "draw_lines": ".lessons.line_chart",
    "draw_seed_differences": ".lessons.seed_differences",
    "plane_points plane_border plane_disagreement draw_plane": ".lessons.feature_plane",
    "sweep_points draw_sweep_point": ".lessons.sweep_point",
}
"""Functions of a figure, data first -> the module that holds them, relative to `mmsada_lab.analysis`."""


def __getattr__(name: str) -> Any:
    module = next((module for names, module in FIGURES.items() if name in names.split()), None)
    if module is None:
        raise AttributeError(f"no figure {name!r}; there are {', '.join(__dir__())}")
    return getattr(import_module(module, __package__), name)


def __dir__() -> list[str]:
    return [name for names in FIGURES for name in names.split()]
