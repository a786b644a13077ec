"""What choosing without target labels costs, as a figure: regret and rank correlation of every rule."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.selection import AT_RANDOM, ORACLE, RULES, USUAL, rule_title, selection_summary
from mmsada_lab.analysis.style import to_list
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS

_SYMBOLS = ("circle", "diamond", "square", "x", "cross", "triangle-up", "star", "hexagon")


def selection_bars(table: pd.DataFrame) -> pd.DataFrame:
    """`selection_summary` of a table with the spread of the rank correlation; rules in order, oracle last.

    Example:
        >>> table = pd.DataFrame({"method": "mmsada", "rule": [ORACLE, AT_RANDOM], "top1": [70.0, 60.0]})
        >>> selection_bars(table.assign(regret=70 - table["top1"], correlation=None))["rule"].tolist()
        ['at random', 'oracle']
    """
    if table.empty:
        raise UserError("no run to look at; give finished runs of a labelled target")
    bars = selection_summary(table)  # in the order of the groups below
    bars["correlation_sd"] = table.groupby(["method", "rule"], sort=False)["correlation"].std().to_numpy()
    order = {rule: number for number, rule in enumerate([AT_RANDOM, USUAL, *RULES])}
    return bars.sort_values("rule", key=lambda rules: rules.map(order), kind="stable", ignore_index=True)


@hover_in_words
def draw_selection(bars: pd.DataFrame, *, title: str = "What choosing without labels costs") -> go.Figure:
    """Draw `selection_bars`: regret (points below the oracle) with its spread, the worst run a tick; and correlations.

    Example:
        >>> table = pd.DataFrame({"method": "mmsada", "rule": [ORACLE, AT_RANDOM], "top1": [70.0, 60.0]})
        >>> table = table.assign(regret=70 - table["top1"], correlation=None)
        >>> draw_selection(selection_bars(table)).data[0].x
        (10.0,)
    """
    judged = bars[bars["rule"] != ORACLE]
    methods, rules = judged["method"].unique(), [rule_title(rule) for rule in judged["rule"].unique()]
    titles = [METHODS[method].title if method in METHODS else method for method in methods]
    height = 150 + (24 + 9 * len(methods)) * len(rules)
    sharing = {"shared_yaxes": True, "column_widths": [0.62, 0.38], "horizontal_spacing": 0.04}
    figure = style.empty_figure(title, panels=(1, 2), height=height, **sharing)
    figure.update_layout(scattermode="group", showlegend=True)
    colours = style.colours(titles)  # a method, or an option that was swept
    for method, name, symbol in zip(methods, titles, cycle(_SYMBOLS), strict=False):
        _add_method(figure, judged[judged["method"] == method], name, colour=colours[name], symbol=symbol)
    figure.add_vline(x=0, line=style.BOUNDARY)
    figure.update_xaxes(title="regret (points, ± sd;<br>tick: worst run)", col=1)
    figure.update_xaxes(title="rank correlation<br>(± sd)", range=[-1.05, 1.05], col=2)
    order = {"categoryorder": "array", "categoryarray": rules, "autorange": "reversed"}
    return figure.update_yaxes(**order).update_yaxes(title="rule", col=1)


def _add_method(figure: go.Figure, bars: pd.DataFrame, name: str, *, colour: str, symbol: str) -> None:
    method = bars["method"].iloc[0]
    runs = "-".join(map(str, sorted({int(bars["runs"].min()), int(bars["runs"].max())})))
    group = {
        "legendgroup": method,
        "mode": "markers",
        "y": [rule_title(rule) for rule in bars["rule"]],
        "marker_color": colour,
    }
    group |= {"orientation": "h", "offsetgroup": method}  # beside one another, not on top
    dot = {"name": f"{name} ({runs} runs)", "marker_size": 9, "marker_symbol": symbol}
    tick = {"marker_symbol": "line-ns-open", "marker_size": 14, "showlegend": False, "name": f"{name}, worst run"}

    def spread(column: str) -> dict[str, object]:
        return {"type": "data", "array": to_list(bars[column], 3), "color": colour}

    figure.add_scatter(x=to_list(bars["regret"], 3), error_x=spread("regret_sd"), **dot, **group, row=1, col=1)
    figure.add_scatter(x=to_list(bars["worst"], 3), **tick, **group, row=1, col=1)
    right = {"error_x": spread("correlation_sd"), **dot, "showlegend": False}
    figure.add_scatter(x=to_list(bars["correlation"], 3), **right, **group, row=1, col=2)
