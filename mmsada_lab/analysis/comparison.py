"""One method beside another: what changed between two confusions, and gains beside the paper's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.results import confusion_frame, plain
from mmsada_lab.analysis.tables import MEAN
from mmsada_lab.errors import UserError, unknown

DIFFERENCE_SCALE = ((0.0, "#B35806"), (0.5, "#FFFFFF"), (1.0, "#542788"))
"""Brown for fewer, white for no change, purple for more: neither is a domain's colour."""


def confusion_difference(counts: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """What one method takes for each class more often than another, on the same segments.

    Args:
        counts: from `confusion_counts`.
        baseline: the same of the method to compare with.

    Returns:
        A row per pair of classes, in the order of `counts`: true, predicted, points (difference of row percentages;
        missing where the class has no segment), count (difference of counts), segments (of the true class). An output
        that only one of the two has counts as never predicted by the other.

    Raises:
        UserError: if the two are of other classes or other segments.
    """
    keys = ["true", "predicted"]
    sizes, others = (frame.groupby("true", sort=False)["segments"].first() for frame in (counts, baseline))
    if sizes.to_dict() != others.to_dict():
        raise UserError(
            f"the confusions are of different segments ({_listed(sizes)}; {_listed(others)}); "
            "compare two methods on one target"
        )
    columns = list(dict.fromkeys([*counts["predicted"], *baseline["predicted"]]))
    grid = pd.MultiIndex.from_product([list(sizes.index), columns], names=keys)
    one, other = (frame.set_index(keys)["count"].reindex(grid, fill_value=0.0) for frame in (counts, baseline))
    table = (one - other).rename("count").reset_index()
    table["segments"] = table["true"].map(sizes)
    table.insert(2, "points", 100 * table["count"] / table["segments"].where(table["segments"] > 0))
    return table


def _listed(sizes: pd.Series[int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def draw_confusion_difference(difference: pd.DataFrame, *, title: str = "Difference of confusions") -> go.Figure:
    """Draw `confusion_difference`: points as colour, centred at 0, counts below, the classes' sizes as bars beside."""
    reach = float(np.ceil(max(1.0, np.nanmax(np.abs(difference["points"]), initial=0.0))))
    bar = {"title": "points", "x": 1.02}
    heat = {"zmin": -reach, "zmax": reach, "zmid": 0, "colorscale": DIFFERENCE_SCALE, "colorbar": bar}
    figure = confusion_frame(difference, "points", cell=_cell, title=title, **heat)
    return figure.update_xaxes(title="predicted class (points of row %, count below)", row=1, col=1)


def _cell(points: float, count: float) -> str:
    return "" if np.isnan(points) or abs(count) < 0.05 else f"{points:+.0f}<br>{count:+.1f}"


def mean_gains(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Gain of every line of a report over its baseline, in points of the mean over pairs, beside the paper's.

    Args:
        table: from `report_table`, made with the same baseline.
        baseline: title of the line the others are compared with.

    Returns:
        One row per other line, in order: row, seeds, difference, low, high (95 %; missing where `report_table` has
        none), paper (difference of the printed means, which come without a spread; missing where none is printed).
    """
    means = table[table["pair"] == MEAN]
    if baseline not in set(means["row"]):
        raise unknown("line", baseline, means["row"])
    printed = float(means.loc[means["row"] == baseline, "paper"].iloc[0])
    others = means[means["row"] != baseline].assign(paper=lambda rows: rows["paper"] - printed)
    return others[["row", "seeds", "difference", "low", "high", "paper"]].reset_index(drop=True)


def draw_mean_gains(gains: pd.DataFrame, *, baseline: str, title: str = "Gains") -> go.Figure:
    """Draw `mean_gains`: ours with its interval, the paper's as an open diamond, a line at no gain."""
    figure = style.empty_figure(title)
    found = gains[gains["difference"].notna()]
    error = {
        "type": "data",
        "symmetric": False,
        "array": _rounded(found["high"] - found["difference"]),
        "arrayminus": _rounded(found["difference"] - found["low"]),
    }
    seeds = ", ".join(map(str, sorted(gains["seeds"].unique())))
    ours = {"name": f"ours, {seeds} seeds, 95 % interval", "marker": {"color": style.INK, "size": 9}}
    figure.add_scatter(x=_rounded(found["difference"]), y=plain(found["row"]), error_x=error, mode="markers", **ours)
    printed = gains[gains["paper"].notna()]
    marker = {"color": style.GREY, "size": 11, "symbol": "diamond-open", "line": {"width": 2}}
    theirs = {"name": "the paper's, on EPIC-Kitchens,<br>one run, no spread", "marker": marker}
    figure.add_scatter(x=_rounded(printed["paper"]), y=plain(printed["row"]), mode="markers", **theirs)
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dash", "width": 1.5})
    order = {"categoryorder": "array", "categoryarray": plain(gains["row"]), "autorange": "reversed"}
    figure.update_yaxes(title="", **order)
    height = 160 + 34 * len(gains)
    return figure.update_layout(xaxis_title=f"top-1, points over {baseline}", yaxis_title="method", height=height)


def _rounded(values: pd.Series[float]) -> list[float]:
    return [round(float(value), 2) for value in values]
