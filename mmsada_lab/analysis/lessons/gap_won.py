"""The gap between two domains and what a method wins back of it: accuracies, their course, and the clips behind them.

A run is read from its folder: its manifest and history are enough for accuracies, clips need its windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.curves import accuracy_curves
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED, METHODS
from mmsada_lab.runs import load_history, read_arrays, read_manifest

GAP, WON = "gap", "won back"
_ABOVE = 3.0
"""Points between the highest error bar of a stream and the text above it."""


def run_accuracies(runs: Mapping[str, Path]) -> pd.DataFrame:
    """Top-1 (percent) of several runs on the target, stream by stream, from manifests and histories.

    Args:
        runs: method, a key of `METHODS` -> folder of its run.

    Returns:
        Columns method (its title), stream, mean (the result that the run reports), sd (over its averaged evaluations,
        missing for one), evaluations.

    Raises:
        UserError: a run is not finished, or its target has no labelled test segments.

    Example:
        >>> from mmsada_lab.sweeps.keep import reference_runs
        >>> path = reference_runs() / "kitchens/source_only/D1-D3/seed0-a5aa737efa"
        >>> run_accuracies({"source_only": path})[["stream", "mean"]].round(1).values.tolist()
        [['fused', 36.2], ['rgb', 25.9], ['flow', 56.3]]
    """
    return pd.DataFrame([row for method, path in runs.items() for row in _stream_rows(method, Path(path))])


def _stream_rows(method: str, path: Path) -> list[dict[str, Any]]:
    result, history = _result_of(path), load_history(path)
    rows = []
    for stream, accuracies in result["target"].items():
        values = history.loc[history["name"] == f"{stream}/top1", "value"].tail(result["evaluations"])
        facts = {"method": METHODS[method].title, "stream": stream, "mean": accuracies["top1"]}
        rows.append({**facts, "sd": values.std(), "evaluations": result["evaluations"]})
    return rows


def _result_of(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = read_manifest(path / "manifest.json").get("result", {})
    if not result.get("target"):
        raise UserError(f"{path} has no accuracy on its target; give a finished run whose target has test labels")
    return result


def gap_won(accuracies: pd.DataFrame) -> pd.DataFrame:
    """The gap between the lowest and the highest method, and what the one between them wins back, stream by stream.

    Args:
        accuracies: from `run_accuracies`, of three methods: that of the source alone, the adapted one, the bound.

    Returns:
        A row per stream: the three means, `GAP` (bound minus source-only) and `WON` (adapted minus source-only), in
        points; either may be negative.

    Raises:
        UserError: not three methods.

    Example:
        >>> methods = {"method": ["low", "adapted", "high"], "mean": [40.0, 50.0, 80.0]}
        >>> gap_won(pd.DataFrame({**methods, "stream": "fused"})).values.tolist()
        [[40.0, 50.0, 80.0, 40.0, 10.0]]
    """
    methods = list(accuracies["method"].unique())
    if len(methods) != 3:
        raise UserError(f"{len(methods)} methods; give three: source-only, the adapted one and the upper bound")
    low, adapted, high = methods
    table = accuracies.pivot(index="stream", columns="method", values="mean")
    table = table.loc[list(accuracies["stream"].unique()), methods]
    return table.assign(**{GAP: table[high] - table[low], WON: table[adapted] - table[low]})


@hover_in_words
def draw_gap_won(accuracies: pd.DataFrame, *, title: str = "Top-1 on the target") -> go.Figure:
    """Draw `run_accuracies` of three methods: a group of bars per stream, and above it the gap and what is won back.

    A bar's number stands at its foot, where no error bar reaches it.

    Example:
        >>> methods = {"method": ["Source-only", "MM-SADA", "Supervised target"], "mean": [40.0, 50.0, 80.0]}
        >>> bars = pd.DataFrame({**methods, "stream": "fused", "sd": 1.0, "evaluations": 9})
        >>> draw_gap_won(bars).layout.annotations[0].text
        'gap 40.0<br>won back 10.0'
    """
    figure, table = style.empty_figure(title), gap_won(accuracies)
    colours = style.colours(list(accuracies["method"].unique()))
    for method, bars in accuracies.groupby("method", sort=False):
        error = {**style.error_bars(bars["sd"].round(2)), "color": style.GREY}
        text = [f"{mean:.1f}" for mean in bars["mean"]]
        at_the_foot = {"textposition": "inside", "insidetextanchor": "start", "textangle": 0}
        look = {"marker_color": colours[str(method)], "error_y": error, **at_the_foot}
        figure.add_bar(**style.xy(bars, "stream", "mean", 1), text=text, name=method, **look)
    tops = (accuracies["mean"] + accuracies["sd"].fillna(0)).groupby(accuracies["stream"]).max()
    for row in table.reset_index().to_dict("records"):
        sentence = f"{GAP} {row[GAP]:.1f}<br>{WON} {row[WON]:.1f}"
        place = {"x": row["stream"], "y": round(float(tops[row["stream"]]) + _ABOVE, 1), "yanchor": "bottom"}
        figure.add_annotation(text=sentence, showarrow=False, **place)
    evaluations = int(accuracies["evaluations"].iloc[0])
    spread = f"± sd over the last {evaluations} evaluations" if evaluations > 1 else "one evaluation, no spread"
    figure.update_yaxes(range=[0, 115], tickvals=list(range(0, 101, 20)), title="top-1 (%)")
    return figure.update_layout(xaxis_title=f"stream ({spread})", barmode="group", showlegend=True)


def method_curves(runs: Mapping[str, Path], *, stream: str = FUSED) -> pd.DataFrame:
    """`accuracy_curves` of several runs, one line each: top-1 (percent) of a stream on the target over training.

    Args:
        runs: method, a key of `METHODS` -> folder of its run.
        stream: whose accuracy.

    Returns:
        Columns as `accuracy_curves`; name is the title of the method.

    Example:
        >>> from mmsada_lab.sweeps.keep import reference_runs
        >>> path = reference_runs() / "kitchens/source_only/D1-D3/seed0-a5aa737efa"
        >>> round(float(method_curves({"source_only": path}).query("averaged")["mean"].mean()), 1)
        36.2
    """
    curves = []
    for method, path in runs.items():
        history, averaged = load_history(path), _result_of(Path(path))["evaluations"]
        of_stream = history[history["name"] == f"{stream}/top1"]
        curves.append(accuracy_curves(of_stream, averaged=averaged).assign(name=METHODS[method].title))
    return pd.concat(curves, ignore_index=True)


def clips_won(before: Path, after: Path) -> pd.DataFrame:
    """Which segments of the target two runs get right after their last step, stream by stream.

    Args:
        before: folder of a run, with its ``features.npz`` and ``windows.npz``.
        after: of another one, on the same segments.

    Returns:
        A row per labelled test segment of the target, by uid: Boolean columns ``before`` and ``after`` of the fused
        prediction (the mean over windows), and ``before rgb``, ``after rgb`` and so on of each stream.

    Raises:
        UserError: a file was not kept, or the segments are not the same.

    Example:
        >>> from mmsada_lab.sweeps.keep import reference_runs
        >>> pair = reference_runs() / "kitchens/source_only/D1-D3"
        >>> clips = clips_won(pair / "seed0-a5aa737efa", pair / "seed0-a5aa737efa")
        >>> len(clips), int((clips["before"] == clips["after"]).sum())
        (156, 156)
    """
    tables = [_right(Path(path)).add_prefix(f"{when} ") for when, path in (("before", before), ("after", after))]
    if not tables[0].index.equals(tables[1].index):
        raise UserError("the two runs were tested on other segments; give runs of one pair and data set")
    fused = {f"{when} {FUSED}": when for when in ("before", "after")}
    return pd.concat(tables, axis=1).rename(columns=fused)


def _right(path: Path) -> pd.DataFrame:
    """Whether each labelled test segment of the target is right, a column per stream."""
    features, windows = read_arrays(path / "features.npz"), read_arrays(path / "windows.npz")
    rows = (features["side"] == "target") & (features["label"] >= 0)
    right = {
        name.removeprefix("w_"): values[rows].astype(np.float32).mean(axis=1).argmax(axis=1) == features["label"][rows]
        for name, values in windows.items()
        if name.startswith("w_")
    }
    return pd.DataFrame(right, index=pd.Index(features["uid"][rows], name="uid"))
