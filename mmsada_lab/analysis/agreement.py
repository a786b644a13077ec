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
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list
from mmsada_lab.analysis.tables import of_stream
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED

ALL_CLASSES = "all classes"  # title of the rows over all segments
BOTH, NEITHER = "both", "neither"


def stream_agreement(
    predictions: pd.DataFrame, *, classes: Sequence[str], streams: tuple[str, str] | None = None
) -> pd.DataFrame:
    """How many segments both streams get right, only one, or neither; and what becomes of them when fused.

    Args:
        predictions: from `load_predictions`, or several stacked. Segments without a label are left out.
        classes: names, by label.
        streams: the two to compare; those there are beside ``fused`` if None.

    Returns:
        Four rows for `ALL_CLASSES` and for each class, in order: class, right (``both``, ``only <first>``,
        ``only <second>``, ``neither``), segments (mean over the averaged evaluations and runs, so not always whole),
        percent (of the class; missing where it has no segment), fused (percent of these segments that the fused
        prediction gets right; missing where there are none).

    Example:
        >>> streams = {"rgb": [0, 0], "flow": [0, 1], "fused": [0, 0]}
        >>> frames = [pd.DataFrame({"stream": s, "predicted": p, "uid": ["a", "b"]}) for s, p in streams.items()]
        >>> agreement = stream_agreement(pd.concat(frames).assign(label=0, step=9), classes=["cut"])
        >>> agreement.head(4)["percent"].tolist()  # both, only rgb, only flow, neither
        [50.0, 50.0, 0.0, 0.0]
    """
    first, second = streams or _two_streams(predictions)
    right = _right_by_stream(predictions, (first, second, FUSED))
    names = [BOTH, f"only {first}", f"only {second}", NEITHER]
    right["right"] = np.select([right[first] & right[second], right[first], right[second]], names[:3], NEITHER)
    passes = len(right[["run", "step"]].drop_duplicates())
    by_class = {ALL_CLASSES: right, **{name: right[right["label"] == label] for label, name in enumerate(classes)}}
    rows = [_cell(name, cell, of_class, passes) for name, of_class in by_class.items() for cell in names]
    return pd.DataFrame(rows)


def _two_streams(predictions: pd.DataFrame) -> tuple[str, str]:
    names = [str(stream) for stream in predictions.get("stream", pd.Series(dtype=object)).unique() if stream != FUSED]
    if len(names) != 2:
        raise UserError(f"agreement is between two streams; these predictions have {names}; name two of them")
    return names[0], names[1]


def _right_by_stream(predictions: pd.DataFrame, streams: Sequence[str]) -> pd.DataFrame:
    """One row per run, evaluation and labelled segment; a Boolean column per stream."""
    for stream in streams:
        of_stream(predictions, stream)  # refuses one that is not there
    labelled = predictions[predictions["label"] >= 0]
    if labelled.empty:
        raise UserError("no labelled test segment, so nobody knows which stream is right")
    right = labelled.assign(right=labelled["predicted"] == labelled["label"], run=labelled.get("run", ""))
    return right.pivot(index=["run", "step", "uid", "label"], columns="stream", values="right").reset_index()


def _cell(name: str, cell: str, of_class: pd.DataFrame, passes: int) -> dict[str, Any]:
    of_cell = of_class[of_class["right"] == cell]
    return {
        "class": name,
        "right": cell,
        "segments": len(of_cell) / passes,
        "percent": 100 * len(of_cell) / len(of_class) if len(of_class) else np.nan,
        "fused": 100 * float(of_cell[FUSED].mean()) if len(of_cell) else np.nan,
    }


@hover_in_words
def draw_agreement(agreement: pd.DataFrame, *, title: str = "Which stream is right") -> go.Figure:
    """Draw `stream_agreement`: stacked bars; both right is ink, neither faint, a stream alone its own colour.

    Example:
        >>> cells = pd.DataFrame({"class": "cut", "right": ["both", "only rgb"], "segments": [3, 1], "fused": 100.0})
        >>> [bar.text for bar in draw_agreement(cells.assign(percent=[75.0, 25.0])).data]
        [('75',), ('25',)]
    """
    figure = style.empty_figure(title)
    sizes = agreement.groupby("class", sort=False)["segments"].sum().round().astype(int)
    colours = _cell_colours(list(agreement["right"].unique()))
    for cell, bars in agreement.groupby("right", sort=False):
        _add_cell(figure, bars.fillna({"percent": 0.0}), sizes=sizes, name=str(cell), colour=colours[str(cell)])
    figure.update_yaxes(autorange="reversed", title="true class (test segments)")
    figure.update_layout(barmode="stack", legend_traceorder="normal", legend_title_text="right", showlegend=True)
    return figure.update_layout(xaxis_title="segments of the class (%)", height=140 + 30 * len(sizes))


def _cell_colours(cells: Sequence[str]) -> dict[str, str]:
    alone = {cell: cell.removeprefix("only ") for cell in cells if cell.startswith("only ")}
    own = style.colours(list(alone.values()))
    return {BOTH: style.INK, NEITHER: style.FAINT, **{cell: own[stream] for cell, stream in alone.items()}}


def _add_cell(figure: go.Figure, bars: pd.DataFrame, *, sizes: pd.Series[int], name: str, colour: str) -> None:
    figure.add_bar(
        y=[f"{of_class} ({sizes[of_class]})" for of_class in bars["class"]],
        x=to_list(bars["percent"], 1),
        text=[f"{value:.0f}" if value >= 5 else "" for value in bars["percent"]],
        customdata=list(zip(to_list(bars["segments"], 1), to_list(bars["fused"], 1), strict=True)),
        hovertemplate="%{y}: %{x} %, %{customdata[0]} segments; fused right: %{customdata[1]} %",
        name=name,
        orientation="h",
        marker={"color": colour, "line": {"color": "white", "width": 1}},
        insidetextanchor="middle",
    )
