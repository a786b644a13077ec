"""The runs of a lesson: configured for whatever data there are, trained, and read back in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.analysis.tables import results_table
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data, shared_modalities
from mmsada_lab.experiment import run_experiment
from mmsada_lab.explorer import explore
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_history, load_predictions, load_runs, read_arrays, read_manifest


def configure(
    preset: str,
    *,
    target: str,
    source: str | None = None,
    method: str = "mmsada",
    data: str = "kitchens",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> ExperimentConfig:
    """`build_config` on every modality that the domains of the data share, unless `overrides` name some.

    Args:
        preset: key of `PRESETS`.
        target: target domain.
        source: source domain; none, or empty, for supervised target.
        method: key of `METHODS`.
        data: data specification; all but the kitchens, whose modalities are known, are opened.
        seed: of everything random.
        overrides: see `build_config`.

    Raises:
        UserError: as `build_config`; or the data cannot be read, or their domains share no modality.

    Example:
        >>> configure("quick", source="", target="D1", method="supervised_target").modalities
        ('rgb', 'flow')
    """
    changes = dict(overrides or {})
    if "modalities" not in changes and data.partition(":")[0] != "kitchens":
        changes["modalities"] = shared_modalities(load_data(data))
    options: dict[str, Any] = {"method": method, "data": data, "seed": seed, "overrides": changes}
    return build_config(preset, source=source or None, target=target, **options)


def train_run(config: ExperimentConfig, runs_dir: Path | str, *, device: str = "auto") -> LessonRun:
    """`run_experiment`, and what it left: an interrupted run continues, a finished one is not trained again.

    Args:
        config: what to run.
        runs_dir: where run folders lie.
        device: ``auto`` or ``cpu``.
    """
    return LessonRun(run_experiment(config, Path(runs_dir), device=device))


class RunFiles:
    """What a finished run left in its folder; each file is read when it is first asked for.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """How the run was made, and what it came to."""
        return read_manifest(self.path / "manifest.json")

    @cached_property
    def config(self) -> ExperimentConfig:
        """What was run."""
        return ExperimentConfig(**self.manifest["config"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self.manifest["classes"])

    @property
    def evaluations(self) -> int:
        """How many evaluations the reported accuracies are the mean of."""
        return int(self.manifest["result"]["evaluations"])

    @cached_property
    def history(self) -> pd.DataFrame:
        """Everything recorded over training, see `load_history`."""
        return load_history(self.path)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Of the averaged evaluations, see `load_predictions`."""
        return load_predictions(self.path)

    @cached_property
    def features(self) -> dict[str, NDArray[Any]]:
        """Of the last step: f_MODALITY -> `(N, F)`, side -> `(N,)` source or target, and more."""
        return read_arrays(self.path / "features.npz")


class LessonRun(RunFiles):
    """A run that a lesson has trained."""

    @property
    def title(self) -> str:
        """Method, pair and seed, for figures."""
        return f"{self.config.method} {self.config.pair}, seed {self.config.seed}"

    @cached_property
    def results(self) -> pd.DataFrame:
        """Accuracies of every stream (percent), see `load_runs`."""
        return load_runs(self.path)

    def table(self) -> pd.DataFrame:
        """Accuracies of every stream (percent), with the standard error that comes of the test set's size."""
        table = results_table(self.results)
        shown = table.drop(columns=["data", "preset", "worlds", "seeds", "top1_sd", "mean_class_sd", "sd_over"])
        return shown.round(1)

    def top1(self) -> pd.Series[float]:
        """Top-1 (percent) by stream."""
        return self.results.set_index("stream")["top1"].astype(np.float64)

    def explore(self) -> Any:
        """The run in the explorer, to be shown by a notebook; a sentence where there is no second domain."""
        return explore(self.path) if self.config.source != self.config.target else "a map needs two domains"

    def __repr__(self) -> str:
        fused = self.manifest["result"]["target"].get("fused", {}).get("top1")
        accuracy = "no labelled test segments" if fused is None else f"top-1 {fused:.1f} % on {self.config.target}"
        return f"{self.title}: {accuracy}, trained for {self.config.total_steps} steps"
