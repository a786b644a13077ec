"""Finished runs of some methods on one pair of domains, opened to look at; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.analysis.embedding import joint_embedding
from mmsada_lab.analysis.gap.table import gap_table, run_features
from mmsada_lab.analysis.neighbours import class_votes, domain_separation, embedding_summary, nearest
from mmsada_lab.facts import FUSED, METHODS
from mmsada_lab.files import locate
from mmsada_lab.lessons.lesson_runs import RunFiles
from mmsada_lab.paper import DomainPair
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.keep import find_run, reference_runs


class FinishedRun(RunFiles):
    """What a run left that was found among others, named by its method.

    Args:
        path: of its folder.
        runs_dir: folder or zip file that it lies in.
    """

    def __init__(self, path: Path, runs_dir: Path) -> None:
        super().__init__(path)
        self.runs_dir = runs_dir

    @property
    def title(self) -> str:
        """Of its method."""
        return METHODS[self.config.method].title

    @property
    def pair(self) -> DomainPair:
        """Source and target."""
        return self.config.pair

    @property
    def modalities(self) -> list[str]:
        """Those whose features were kept."""
        return [name.removeprefix("f_") for name in self.features if name.startswith("f_")]

    def top1(self, stream: str = FUSED) -> float:
        """The reported accuracy on the target's test segments, percent."""
        return float(self.manifest["result"]["target"][stream]["top1"])

    def accuracies(self, stream: str = FUSED) -> pd.Series[float]:
        """Top-1 (percent) on the target at every evaluation, by step of both stages."""
        history = self.history
        rows = history[(history["kind"] == "evaluation") & (history["name"] == f"{stream}/top1")]
        return rows.set_index("total_step")["value"]

    @property
    def segments(self) -> pd.DataFrame:
        """Columns side and class of the segments that features were kept of."""
        names = [self.classes[label] if label >= 0 else "no label" for label in self.features["label"]]
        return pd.DataFrame({"side": self.features["side"], "class": names})

    def embedding(self, method: str = "tsne", *, seed: int = 0) -> pd.DataFrame:
        """`joint_embedding` of every modality, the title as column run, and what the network said if it was kept."""
        kept = locate(self.path / "predictions.npz").is_file()
        options: dict[str, Any] = {"method": method, "seed": seed, "predictions": self.predictions if kept else None}
        pictures = [joint_embedding(self.features, m, **options) for m in self.modalities]
        return pd.concat(pictures, ignore_index=True).assign(run=self.title)

    def separations(self, neighbours: int = 10) -> dict[str, float]:
        """`domain_separation` in feature space, by modality; among few segments a quarter of them are neighbours."""
        near = self.neighbours(neighbours)
        return {m: domain_separation(nearest(self._values(m), near), self.features["side"]) for m in self.modalities}

    def summaries(self, points: pd.DataFrame, neighbours: int = 10) -> pd.DataFrame:
        """`embedding_summary` of a picture that `embedding` made, a row per modality."""
        near, by_modality = self.neighbours(neighbours), points.groupby("modality", sort=False)
        return pd.DataFrame({m: embedding_summary(self.features, p, neighbours=near) for m, p in by_modality}).T

    def votes(self, neighbours: int = 5) -> dict[str, float]:
        """`class_votes` by modality, percent."""
        sides, labels = self.features["side"], self.features["label"]
        return {m: class_votes(self._values(m), sides, labels, neighbours=neighbours) for m in self.modalities}

    def gap(self, measures: Sequence[str] = ("a_distance", "mmd_median"), *, draws: int = 200, seed: int = 0) -> Any:
        """`gap_table` with so many shuffles and half-samples; classes of fewer than ten segments are left out."""
        fewest = min(int((self.features["side"] == side).sum()) for side in ("source", "target"))
        options: dict[str, Any] = {"permutations": draws, "resamples": draws, "at_least": max(4, min(10, fewest))}
        return gap_table(*run_features(self.path), measures=measures, seed=seed, **options)

    def neighbours(self, at_most: int) -> int:
        """How many of a segment's neighbours are looked at: a quarter of all segments, where they are few."""
        return min(at_most, len(self.features["side"]) // 4)

    def _values(self, modality: str) -> NDArray[np.float64]:
        return self.features[f"f_{modality}"].astype(np.float64)


def finished_runs(
    methods: Sequence[str],
    runs_dir: Path | str = "",
    *,
    preset: str,
    source: str,
    target: str,
    data: str = "kitchens",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    holding: str = "manifest.json",
) -> dict[str, FinishedRun]:
    """Finished runs of some methods on one pair, by the methods' titles and in their order.

    Args:
        methods: keys of `METHODS`.
        runs_dir: folder or zip file of runs; empty for the reference runs of this checkout.
        preset: that they were trained with.
        source: labelled domain.
        target: unlabelled domain, and the one tested on.
        data: data specification.
        seed: of the runs.
        overrides: changes of the preset.
        holding: a file that each of them must have kept, e.g. ``features.npz``.

    Raises:
        UserError: there is no such run, or it was kept without that file; the message says which were.

    Example:
        >>> runs = finished_runs(["source_only", "mmsada"], preset="quick", source="D1", target="D3")
        >>> {title: round(run.top1(), 1) for title, run in runs.items()}
        {'Source-only': 36.2, 'MM-SADA': 55.3}
    """
    folder = Path(runs_dir) if runs_dir else reference_runs()
    runs, shared = load_runs(folder), {"source": source, "target": target, "data": data, "seed": seed}
    configs = [build_config(preset, method=method, overrides=overrides, **shared) for method in methods]  # type: ignore[arg-type]
    return {METHODS[c.method].title: FinishedRun(find_run(runs, c, holding=holding), folder) for c in configs}
