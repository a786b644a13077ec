"""Which stream is right where: two streams of a run side by side, class by class, and what fusion makes of them.

A segment belongs to one of four cells: both streams right, only the first, only the second, or neither. Accuracies say
how large the cells are together; only the cells say whether the streams know the same things.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.results import plain
from mmsada_lab.errors import UserError, unknown

FUSED = "fused"
EVERY = "all classes"
"""What the rows over all segments are called."""

BOTH, NEITHER = "both", "neither"


def stream_agreement(
    predictions: pd.DataFrame, *, classes: Sequence[str], streams: tuple[str, str] | None = None
) -> pd.DataFrame:
    """How many segments both streams get right, only one, or neither; and what becomes of them when fused.

    Args:
        predictions: from `load_predictions`, or `several` of them. Segments without a label are left out.
        classes: names, by label.
        streams: the two to compare; those there are beside ``fused`` if None.

    Returns:
        Four rows for `EVERY` and for each class, in order: class, right (``both``, ``only <first>``, ``only <second>``,
        ``neither``), segments (mean over the averaged evaluations and runs, so not always whole), percent (of the
        class; missing where it has no segment), fused (percent of these segments that the fused prediction gets
        right; missing where there are none).

    Raises:
        UserError: an unknown stream, other than two of them, or no labelled segment.
    """
    first, second = streams or _only_two(predictions)
    right = _right(predictions, (first, second, FUSED))
    names = [BOTH, f"only {first}", f"only {second}", NEITHER]
    right["right"] = np.select([right[first] & right[second], right[first], right[second]], names[:3], NEITHER)
    passes = len(right[["run", "step"]].drop_duplicates())
    parts = [(EVERY, right), *((name, right[right["label"] == label]) for label, name in enumerate(classes))]
    rows = [_cell(name, cell, part, passes) for name, part in parts for cell in names]
    return pd.DataFrame(rows)


def draw_agreement(agreement: pd.DataFrame, *, title: str = "Which stream is right") -> go.Figure:
    """Draw `stream_agreement`: a stacked bar per class, with the percentages of its segments."""
    figure = style.empty_figure(title)
    sizes = agreement.groupby("class", sort=False)["segments"].sum().round().astype(int)
    labels = {name: f"{name} ({size})" for name, size in sizes.items()}
    colours = _cell_colours(list(agreement["right"].unique()))
    for cell, one in agreement.groupby("right", sort=False):
        figure.add_bar(
            y=[labels[name] for name in one["class"]],
            x=plain(one["percent"].round(1).fillna(0.0)),
            text=[f"{value:.0f}" if value >= 5 else "" for value in one["percent"].fillna(0.0)],
            customdata=[[_rounded(n), _rounded(f)] for n, f in zip(one["segments"], one["fused"], strict=True)],
            hovertemplate="%{y}: %{x} %, %{customdata[0]} segments; fused right: %{customdata[1]} %",
            name=str(cell),
            orientation="h",
            marker={"color": colours[str(cell)], "line": {"color": "white", "width": 1}},
            insidetextanchor="middle",
        )
    figure.update_yaxes(autorange="reversed", title="true class (test segments)")
    figure.update_layout(barmode="stack", legend_traceorder="normal", legend_title_text="right")
    return figure.update_layout(xaxis_title="segments of the class (%)", height=140 + 30 * len(labels))


def _only_two(predictions: pd.DataFrame) -> tuple[str, str]:
    found = [str(stream) for stream in predictions.get("stream", pd.Series(dtype=object)).unique() if stream != FUSED]
    if len(found) != 2:
        raise UserError(f"agreement is between two streams; these predictions have {found}; name two of them")
    return found[0], found[1]


def _right(predictions: pd.DataFrame, streams: Sequence[str]) -> pd.DataFrame:
    """One row per run, evaluation and labelled segment; a Boolean column per stream."""
    for stream in streams:
        if stream not in (known := list(predictions["stream"].unique())):
            raise unknown("stream", stream, known)
    labelled = predictions[predictions["label"] >= 0]
    if labelled.empty:
        raise UserError("no labelled test segment, so nobody knows which stream is right")
    found = labelled.assign(right=labelled["predicted"] == labelled["label"], run=labelled.get("run", ""))
    keys = ["run", "step", "uid", "label"]
    return found.pivot(index=keys, columns="stream", values="right").reset_index()


def _cell(name: str, cell: str, part: pd.DataFrame, passes: int) -> dict[str, Any]:
    chosen = part[part["right"] == cell]
    return {
        "class": name,
        "right": cell,
        "segments": len(chosen) / passes,
        "percent": 100 * len(chosen) / len(part) if len(part) else np.nan,
        "fused": 100 * float(chosen[FUSED].mean()) if len(chosen) else np.nan,
    }


def _cell_colours(cells: Sequence[str]) -> dict[str, str]:
    """Both is ink, neither is faint, a stream alone has its own colour."""
    streams = [cell.removeprefix("only ") for cell in cells if cell not in (BOTH, NEITHER)]
    own = style.colours(streams, style.STREAM_COLOURS)
    return {BOTH: style.INK, NEITHER: style.FAINT, **{f"only {stream}": own[stream] for stream in streams}}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 1)
