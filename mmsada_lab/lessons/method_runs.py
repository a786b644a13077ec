"""Methods beside one another on one pair of domains, as lessons train them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.analysis.gap.table import gap_table, run_features
from mmsada_lab.analysis.tables import TEST_SE, results_table
from mmsada_lab.experiment import run_experiment
from mmsada_lab.facts import METHODS
from mmsada_lab.lessons.lesson_runs import configure
from mmsada_lab.runs import load_history, load_runs, read_manifest


@dataclass(frozen=True)
class MethodRuns:
    """Finished runs of some methods on one pair, with one seed.

    Attributes:
        paths: method -> run folder.
    """

    paths: Mapping[str, Path]

    @property
    def results(self) -> pd.DataFrame:
        """Accuracies, as `load_runs` has them."""
        return pd.concat([load_runs(path) for path in self.paths.values()], ignore_index=True)

    @property
    def table(self) -> pd.DataFrame:
        """Columns method, pair, stream, top1, `TEST_SE` and mean_class (percent), rounded for reading."""
        columns = ["method", "pair", "stream", "top1", TEST_SE, "mean_class"]
        return results_table(self.results)[columns].round(1)

    @property
    def summary(self) -> pd.DataFrame:
        """What was trained: steps of both stages, and the minutes it took; a row per method."""
        rows = {}
        for method, path in self.paths.items():
            manifest = read_manifest(Path(path) / "manifest.json")
            steps = {stage: manifest["config"][stage]["steps"] for stage in ("pretrain", "adapt")}
            minutes = round(manifest["training_seconds"] / 60, 1)
            first, second = steps.values()
            rows[METHODS[method].title] = {"steps, stage one": first, "steps, stage two": second, "minutes": minutes}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def history(self, method: str) -> pd.DataFrame:
        """Everything recorded while a method trained, as `load_history` has it."""
        return load_history(self.paths[method])

    def top1(self, method: str, stream: str = "fused") -> float:
        """Accuracy on the target's test segments, percent."""
        rows = self.results
        return float(rows.loc[(rows["method"] == method) & (rows["stream"] == stream), "top1"].iloc[0])

    def split_features(self, method: str) -> dict[tuple[str, str], list[NDArray[np.float64]]]:
        """Features of test segments as a method left them, in halves of each domain: to learn from, and to ask about.

        Returns:
            (source or target, ``learn`` or ``ask``) -> `(N, F)` of each modality, at mean 0 and sd 1 over all segments.
        """
        features, sides, _ = run_features(self.paths[method])
        halves: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
        for values in features.values():
            scaled = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)
            for side in ("source", "target"):
                of_side = scaled[sides == side].astype(np.float64)
                for half, rows in (("learn", of_side[::2]), ("ask", of_side[1::2])):
                    halves.setdefault((side, half), []).append(rows)
        return halves

    def gaps(self, measure: str = "a_distance", *, draws: int = 100) -> dict[str, pd.DataFrame]:
        """How far the domains are apart in each method's features: title -> `gap_table` of one measure."""
        options: dict[str, Any] = {"measures": [measure], "permutations": draws, "resamples": draws}
        return {METHODS[m].title: gap_table(*run_features(path), **options) for m, path in self.paths.items()}


def run_methods(
    methods: Sequence[str],
    runs_dir: Path | str,
    *,
    preset: str,
    source: str,
    target: str,
    data: str = "kitchens",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> MethodRuns:
    """Train some methods on one pair, with all modalities that the domains share; what is finished stays.

    Args:
        methods: keys of `METHODS`.
        runs_dir: where run folders are written.
        preset: key of `PRESETS`.
        source: labelled domain.
        target: unlabelled domain, and the one tested on.
        data: data specification.
        seed: of everything random.
        overrides: field of the configuration -> value.
        device: ``auto`` or ``cpu``.

    Raises:
        UserError: as `configure` and `run_experiment`.
    """
    shared: dict[str, Any] = {"source": source, "target": target, "data": data, "seed": seed, "overrides": overrides}
    configs = {method: configure(preset, method=method, **shared) for method in methods}  # before any is trained
    return MethodRuns({m: run_experiment(config, runs_dir, device=device) for m, config in configs.items()})
