"""Sweeps of an explorer: what runs say of each value of λd and λc, beside the maps that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.analysis.game import opponent
from mmsada_lab.analysis.selection import value_scores
from mmsada_lab.analysis.sweep import common_runs, sweep_game
from mmsada_lab.analysis.tables import over_replicates, write_replicates
from mmsada_lab.explorer.views import Views, sweep_values
from mmsada_lab.facts import FUSED
from mmsada_lab.files import locate
from mmsada_lab.runs import load_predictions

_NO_SCORES = {"data", "preset", "method", "source", "target", "world", "seed", "value", "top1"}


def sweep_entries(views: Views) -> list[dict[str, Any]]:
    """Every swept option of the pair's runs, over the seeds and worlds that all values have."""
    runs = views.runs[(views.runs["source"] == views.pair.source) & (views.runs["target"] == views.pair.target)]
    return [_entry(name, values, runs, views) for name, values in sweep_values(runs).items()]


def _entry(name: str, values: dict[str, float], runs: pd.DataFrame, views: Views) -> dict[str, Any]:
    runs = common_runs(runs, values)
    fused = runs[(runs["stream"] == FUSED) & runs["digest"].isin(list(values))]
    fused = fused.assign(swept=fused["digest"].map(values))
    means = over_replicates(fused, ["swept"], "top1").sort_values("swept")
    order = means["swept"].tolist()
    scores = value_scores(runs, values)
    by_value = scores.groupby("value")[[column for column in scores if column not in _NO_SCORES]].mean()
    game = sweep_game(runs, values)
    opponents = {
        opponent(str(played)): _along(order, dict(zip(of_opponent["value"], of_opponent["right"], strict=True)))
        for played, of_opponent in game.groupby("name", sort=False)
    }
    plain = runs[(runs["stream"] == FUSED) & (runs["method"] == "source_only")]
    series = name if any(series.key == name for series in views.series) else ""
    return {
        "key": name,
        "title": name,
        "log": True,
        "values": order,
        "accuracy": {
            "mean": means["mean"].round(2).tolist(),
            "sd": [None if np.isnan(sd) else round(float(sd), 2) for sd in means["sd"]],
            "over": write_replicates(means["worlds"], means["seeds"]),
        },
        "baseline": {"title": "Source-only", "top1": round(float(plain["top1"].mean()), 2)} if len(plain) else None,
        "scores": {rule: _along(order, by_value[rule].to_dict()) for rule in by_value if by_value[rule].notna().any()},
        "recall": [_recall(fused[fused["swept"] == value], len(views.classes)) for value in order],
        "opponents": opponents,
        "series": series,
    }


def _along(order: list[float], found: dict[Any, float]) -> list[float | None]:
    """Values in the order of the sweep, None where there is none."""
    picked = [found.get(value, np.nan) for value in order]
    return [None if pd.isna(value) else round(float(value), 4) for value in picked]


def _recall(runs: pd.DataFrame, classes: int) -> list[float | None]:
    """Percent of each class's target segments that are right, mean over the runs that kept their predictions."""
    recalls = list(_recalls(runs, classes))
    if not recalls:
        return [None] * classes
    stacked = np.stack(recalls)
    known = ~np.isnan(stacked).all(axis=0)
    means = np.full(classes, np.nan)
    means[known] = np.nanmean(stacked[:, known], axis=0)
    return [None if np.isnan(mean) else round(float(mean), 1) for mean in means]


def _recalls(runs: pd.DataFrame, classes: int) -> Iterator[NDArray[np.float64]]:
    for path in runs["path"]:
        if locate(Path(path, "predictions.npz")).is_file():
            rows = load_predictions(Path(path)).query("stream == @FUSED and label >= 0")
            right = (rows["label"] == rows["predicted"]).groupby(rows["label"]).mean()
            yield 100 * np.asarray(right.reindex(range(classes)), dtype=np.float64)
