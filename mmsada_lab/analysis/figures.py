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
    "game_curves game_verdicts draw_game": ".game",
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
    "run_accuracies gap_won draw_gap_won method_curves clips_won": ".lessons.gap_won",
    "preset_gains draw_gains": ".lessons.gains",
    "window_counts draw_window_counts": ".lessons.window_counts",
    "length_shares draw_lengths draw_windows column_shares": ".lessons.frames_seen",
    "loss_shares draw_loss_shares draw_coefficients term_reach draw_term_reach": ".lessons.loss_terms",
    "normalised_target": ".lessons.normalised_target",
    "draw_grouped_bars": ".lessons.grouped_bars",
    "draw_seed_differences": ".lessons.seed_differences",
    "plane_points plane_border plane_disagreement draw_plane": ".lessons.feature_plane",
    "prediction_bars score_prediction draw_prediction": ".lessons.prediction",
    "play_game told_right game_steps draw_game_steps draw_played_game": ".lessons.plane_game",
    "reversal_gradients reversal_points draw_reversals mean_gaps draw_mean_gaps": ".lessons.plane_game",
    "alike_classes halfway_border aligned_classes": ".lessons.plane_game",
    "train_correspondence correspondence_right draw_yes": ".lessons.correspondence_toy",
    "game_course write_course": ".lessons.game_course",
    "sweep_points draw_sweep_point": ".lessons.sweep_point",
    "discrepancy_game draw_discrepancy": ".lessons.two_classifiers",
    "source_choice draw_source_choice": ".lessons.source_choice",
}
"""Functions of a figure, data first -> the module that holds them, relative to `mmsada_lab.analysis`."""


def __getattr__(name: str) -> Any:
    module = next((module for names, module in FIGURES.items() if name in names.split()), None)
    if module is None:
        raise AttributeError(f"no figure {name!r}; there are {', '.join(__dir__())}")
    return getattr(import_module(module, __package__), name)


def __dir__() -> list[str]:
    return [name for names in FIGURES for name in names.split()]
