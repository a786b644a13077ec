"""Confusion matrices: of one run, and the difference between two methods on the same segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from mmsada_lab.analysis import style
from mmsada_lab.analysis.accuracies import check_predictions
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list
from mmsada_lab.analysis.tables import of_stream
from mmsada_lab.errors import UserError

SPARE_OUTPUT = "(no class)"  # column of the predictions of outputs beyond the classes
_TAKEN_FOR = "%{y} taken for %{x}"


def confusion_counts(predictions: pd.DataFrame, *, classes: Sequence[str], stream: str = "fused") -> pd.DataFrame:
    """How often each class was taken for each other, from `load_predictions` of one run or several stacked.

    Segments without a label are left out. Counts are means over the averaged evaluations (and runs), those behind the
    reported accuracy: the diagonal's share of all counts *is* that top-1. A row per pair of classes: true, predicted,
    count, segments (of the true class) and percent (of these; missing where there are none). Outputs beyond the classes
    count as `SPARE_OUTPUT`.

    Example:
        >>> predictions = pd.DataFrame({"stream": "fused", "step": 9, "label": [0, 0, 1], "predicted": [0, 1, 1]})
        >>> confusion_counts(predictions, classes=["cut", "mix"])["percent"].tolist()
        [50.0, 50.0, 0.0, 100.0]
    """
    check_predictions(predictions)
    counts = _counts(of_stream(predictions, stream), len(classes))
    columns = [*classes, SPARE_OUTPUT][: counts.shape[1]]
    pairs = pd.MultiIndex.from_product([list(classes), columns], names=["true", "predicted"]).to_frame(index=False)
    segments = np.repeat(counts.sum(axis=1).round().astype(int), len(columns))
    tidy = pairs.assign(count=counts.ravel(), segments=segments)
    return tidy.assign(percent=100 * tidy["count"] / tidy["segments"].where(tidy["segments"] > 0))


def _counts(predictions: pd.DataFrame, size: int) -> NDArray[np.float64]:
    """Mean counts over evaluations and runs, (true, predicted); a last column where there are outputs beyond."""
    passes = len(predictions.assign(run=predictions.get("run", ""))[["run", "step"]].drop_duplicates())
    labelled = predictions[predictions["label"] >= 0]
    predicted = labelled["predicted"].clip(upper=size).to_numpy()
    counts = np.zeros((size, size + (size in predicted)))
    np.add.at(counts, (labelled["label"].to_numpy(), predicted), 1 / passes)
    return counts


@hover_in_words
def draw_confusion(counts: pd.DataFrame, *, title: str = "Confusion") -> go.Figure:
    """Draw `confusion_counts`: row percentages as colour, counts below, the classes' sizes as bars beside.

    Example:
        >>> predictions = pd.DataFrame({"stream": "fused", "step": 9, "label": [0, 0, 1], "predicted": [0, 1, 1]})
        >>> draw_confusion(confusion_counts(predictions, classes=["cut", "mix"])).data[0].z
        ([50.0, 50.0], [0.0, 100.0])
    """
    heat = {"zmin": 0, "zmax": 100, "colorscale": style.PERCENT_SCALE, "showscale": False}
    heat["hovertemplate"] = f"{_TAKEN_FOR}: %{{customdata[0]}} of %{{customdata[1]}}, %{{z:.1f}} %<extra></extra>"
    figure = _draw_matrix(counts, "percent", write=_write_percent, title=title, heat=heat)
    return figure.update_xaxes(title="predicted class (row %, count below)", row=1, col=1)


def _write_percent(percent: float, count: float) -> str:
    return "" if np.isnan(percent) or count == 0 else f"{percent:.0f} %<br>{count:.1f}".replace(".0", "")


def confusion_difference(counts: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """What one method takes for each class more often than another, on the same segments.

    Both are from `confusion_counts`. An output that only one of the two has counts as never predicted by the other.

    Returns:
        A row per pair of classes: true, predicted, points (difference of row percentages; missing where the class has
        no segment), count (difference of counts), segments (of the true class).

    Example:
        >>> counts = pd.DataFrame({"true": "cut", "predicted": ["cut", "mix"], "count": [3.0, 1.0], "segments": 4})
        >>> confusion_difference(counts, counts.assign(count=[2.0, 2.0]))["points"].tolist()
        [25.0, -25.0]
    """
    keys = ["true", "predicted"]
    sizes, others = (frame.groupby("true", sort=False)["segments"].first() for frame in (counts, baseline))
    if sizes.to_dict() != others.to_dict():
        raise UserError(
            f"the confusions are of different segments ({_write_sizes(sizes)}; {_write_sizes(others)}); "
            "compare two methods on one target"
        )
    columns = list(dict.fromkeys([*counts["predicted"], *baseline["predicted"]]))
    grid = pd.MultiIndex.from_product([list(sizes.index), columns], names=keys)
    ours, theirs = (frame.set_index(keys)["count"].reindex(grid, fill_value=0.0) for frame in (counts, baseline))
    table = (ours - theirs).rename("count").reset_index()
    table["segments"] = table["true"].map(sizes)
    table.insert(2, "points", 100 * table["count"] / table["segments"].where(table["segments"] > 0))
    return table


def _write_sizes(sizes: pd.Series[int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


@hover_in_words
def draw_confusion_difference(difference: pd.DataFrame, *, title: str = "Difference of confusions") -> go.Figure:
    """Draw `confusion_difference`: points as colour, centred at 0, counts below, the classes' sizes as bars beside.

    Example:
        >>> counts = pd.DataFrame({"true": "cut", "predicted": ["cut", "mix"], "count": [3.0, 1.0], "segments": 4})
        >>> draw_confusion_difference(confusion_difference(counts, counts.assign(count=[2.0, 2.0]))).data[0].text
        (['+25<br>+1.0', '-25<br>-1.0'],)
    """
    reach = float(np.ceil(max(1.0, np.nanmax(np.abs(difference["points"]), initial=0.0))))
    bar = {"title": "points", "x": 1.02}
    heat = {"zmin": -reach, "zmax": reach, "zmid": 0, "colorscale": style.DIFFERENCE_SCALE, "colorbar": bar}
    number = "%{z:+.1f} points, %{customdata[0]:+} of %{customdata[1]} segments"
    heat["hovertemplate"] = f"{_TAKEN_FOR}: {number}<extra></extra>"
    figure = _draw_matrix(difference, "points", write=_write_points, title=title, heat=heat)
    return figure.update_xaxes(title="predicted class (points of row %, count below)", row=1, col=1)


def _write_points(points: float, count: float) -> str:
    return "" if np.isnan(points) or abs(count) < 0.05 else f"{points:+.0f}<br>{count:+.1f}"


_MOST_CLASSES = 10
"""Of which the cells of two matrices side by side have room for numbers."""


@hover_in_words
def draw_confusion_beside(
    counts: pd.DataFrame, difference: pd.DataFrame, *, title: str = "Confusion, and its difference"
) -> go.Figure:
    """Draw `confusion_counts` of a method, and beside it its `confusion_difference` to another.

    Numbers are percent of a row, and points; where there are many classes, colours and the mouse alone tell them.

    Example:
        >>> counts = pd.DataFrame({"true": "cut", "predicted": ["cut", "mix"], "count": [3.0, 1.0], "segments": 4})
        >>> counts["percent"] = 100 * counts["count"] / counts["segments"]
        >>> figure = draw_confusion_beside(counts, confusion_difference(counts, counts.assign(count=[2.0, 2.0])))
        >>> [panel.z for panel in figure.data]
        [([75.0, 25.0],), ([25.0, -25.0],)]
    """
    rows = list(counts["true"].unique())
    sizes = {name: int(size) for name, size in counts.groupby("true", sort=False)["segments"].first().items()}
    names = [f"{name} ({sizes[name]})" for name in rows]
    shared = {"shared_yaxes": True, "horizontal_spacing": 0.04, "subplot_titles": ["row %", "difference, points"]}
    figure = style.empty_figure(title, panels=(1, 2), height=130 + 40 * len(rows), **shared)
    reach = float(np.ceil(max(1.0, np.nanmax(np.abs(difference["points"]), initial=0.0))))
    looks = (
        (counts, "percent", {"zmin": 0, "zmax": 100, "colorscale": style.PERCENT_SCALE}, "%{z:.1f} %"),
        (
            difference,
            "points",
            {"zmin": -reach, "zmax": reach, "colorscale": style.DIFFERENCE_SCALE},
            "%{z:+.1f} points",
        ),
    )
    for col, (table, value, scale, number) in enumerate(looks, start=1):
        cells = [to_list(pd.Series(row), 2) for row in table[value].to_numpy().reshape(len(rows), -1)]
        form = "{:.0f}" if value == "percent" else "{:+.0f}"
        texts = [["" if c is None or abs(c) < 0.5 else form.format(c) for c in row] for row in cells]
        seen = {"text": texts, "texttemplate": "%{text}"} if len(rows) <= _MOST_CLASSES else {}
        hover = {"hovertemplate": f"{_TAKEN_FOR}: {number}<extra></extra>", "showscale": False}
        figure.add_heatmap(
            x=list(table["predicted"].unique()), y=names, z=cells, **seen, **scale, **hover, row=1, col=col
        )
    figure.update_xaxes(title="predicted class").update_yaxes(autorange="reversed")
    return figure.update_yaxes(title="true class (test segments)", col=1)


def _draw_matrix(
    table: pd.DataFrame, value: str, *, write: Callable[[float, float], str], title: str, heat: Mapping[str, Any]
) -> go.Figure:
    """A row per true class: values as colour, `write(value, count)` in each cell, the classes' sizes as bars beside."""
    columns, rows = list(table["predicted"].unique()), list(table["true"].unique())
    # (true, predicted), both of the value and of the counts
    values, counts = (table[name].to_numpy().reshape(len(rows), -1) for name in (value, "count"))
    texts = [[write(v, c) for v, c in zip(*row, strict=True)] for row in zip(values, counts, strict=True)]
    cells = [to_list(pd.Series(row), 2) for row in values]
    sizes = to_list(table["segments"])[:: len(columns)]
    sharing = {"shared_yaxes": True, "column_widths": [0.82, 0.18], "horizontal_spacing": 0.02}
    figure = style.empty_figure(title, panels=(1, 2), height=120 + 48 * len(rows), **sharing)
    shares = [[[round(float(c), 1), size] for c in row] for row, size in zip(counts, sizes, strict=True)]
    seen = {"text": texts, "texttemplate": "%{text}", "customdata": shares, "hoverongaps": False}
    figure.add_heatmap(x=columns, y=rows, z=cells, **seen, **heat, row=1, col=1)
    bars = {"orientation": "h", "marker": {"color": style.GREY}, "showlegend": False, "text": sizes}
    bars["hovertemplate"] = "%{y}: %{x} test segments<extra></extra>"
    figure.add_bar(x=sizes, y=rows, **bars, row=1, col=2)
    figure.update_xaxes(title="test segments", row=1, col=2)
    return figure.update_yaxes(autorange="reversed").update_yaxes(title="true class", col=1)
