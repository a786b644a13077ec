"""What lessons run, print and check by hand beside the names of the face, in one namespace.

A lesson imports the package in one line; ``library.fuse`` is then the function that all runs use. A new one is a line
in `LIBRARY`. A module is loaded when one of its functions is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

LIBRARY = {
    # runs
    "run_experiment": "experiment",
    "run_or_reference reference_runs": "sweeps.keep",
    "run_methods": "lessons.method_runs",
    "load_history load_predictions load_runs read_manifest": "runs",
    "load_trained predict_table": "trained",
    "top1 mean_class_accuracy": "evaluate",
    "interval_of": "analysis.differences",
    # the network
    "fuse normalise LateFusionNetwork": "models.network",
    "PairwiseCorrespondence ReverseGradient reverse_gradient": "models.heads",
    "adapted_batchnorm": "models.batchnorm",
    # clips
    "shared_modalities": "datasets.open",
    "Segment": "clips.segments",
    "WindowRule centre_bounds window_at test_windows training_window": "clips.windows",
    "Crop sample_crop centre_crop apply_crop": "clips.transforms",
    "clip_rule labels_of": "clips.clips",
    "quantise_flow dequantise_flow": "datasets.flow",
    "segments_of play_classes play_segments show_channels": "lessons.domain_clips",
    # what C is asked
    "rotate_tail": "clips.batches",
    "DyedReader clips_taught dye_batch": "explorer.dyed_batch",
    "ask_first_stage": "lessons.first_stage",
    # choosing without labels
    "load_sweeps": "lessons.swept",
    "choice_counts mean_regrets rank_correlation rule_title": "analysis.selection",
    "selection_table stage_evaluations": "analysis.selection",
    # data of one's own
    "import_videos": "prepare.videos.importing",
    "check_data": "prepare.doctor.check",
    "show_segment": "prepare.show.segment",
    "write_site_clips": "prepare.videos.site_clips",
    "simulate_wearables SENSOR_CHANNELS": "prepare.wearables",
}
"""Functions -> the module that holds them, relative to `mmsada_lab`."""


def __getattr__(name: str) -> Any:
    module = next((module for names, module in LIBRARY.items() if name in names.split()), None)
    if module is None:
        raise AttributeError(f"no function {name!r} here; there are {', '.join(__dir__())}")
    return getattr(import_module(f"mmsada_lab.{module}"), name)


def __dir__() -> list[str]:
    return [name for names in LIBRARY for name in names.split()]
