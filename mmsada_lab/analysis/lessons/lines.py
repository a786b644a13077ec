"""Figures of the lessons: lines over anything, bars that compare methods. The data first, then a drawing of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.results import MEASURES, plain
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS

_COLOURS = (*style.TERM_COLOURS.values(), style.GREY, "#8C564B", "#56B4E9")
"""Of lines and bars that have no colour of their own; neither domain's."""

_DECIMALS = 3


def draw_lines(
    lines: pd.DataFrame,
    *,
    axes: tuple[str, str],
    colours: Mapping[str, str] | None = None,
    dashes: Mapping[str, str] | None = None,
    levels: Mapping[str, float] | None = None,
    title: str,
) -> go.Figure:
    """Draw a line for every column of a frame, over its index.

    Args:
        lines: numbers; a missing one leaves a gap.
        axes: titles of x and y, with units.
        colours: column -> colour; others take the next one.
        dashes: column -> dash; others take the next one.
        levels: text -> y of a dotted line across, such as chance.
        title: of the figure.

    Raises:
        UserError: no line, or an infinite number.
    """
    if lines.empty or np.isinf(lines.to_numpy(dtype=float)).any():
        raise UserError("nothing to draw, or an infinite number among the lines; give at least one finite number")
    figure = style.empty_figure(title)
    for number, name in enumerate(map(str, lines)):
        colour = (colours or {}).get(name, _COLOURS[number % len(_COLOURS)])
        dash = (dashes or {}).get(name, style.DASHES[number % len(style.DASHES)])
        values = [None if pd.isna(value) else round(float(value), 4) for value in lines[name]]
        line = {"color": colour, "dash": dash, "width": 2.5}
        figure.add_scatter(x=[round(float(x), 4) for x in lines.index], y=values, name=name, mode="lines", line=line)
    for text, level in (levels or {}).items():
        figure.add_hline(y=round(level, 4), line={"color": style.GREY, "dash": "dot"}, annotation_text=text)
    return figure.update_layout(xaxis_title=axes[0], yaxis_title=axes[1], showlegend=True)


def method_bars(runs: pd.DataFrame, *, measure: str = "top1") -> pd.DataFrame:
    """Accuracy of every method and stream on the target.

    Args:
        runs: from `load_runs`, of one pair.
        measure: ``top1`` or ``mean_class``.

    Returns:
        Columns method (its title), stream, mean, sd (over seeds, missing for one), seeds; methods in the order of
        `METHODS`.

    Raises:
        UserError: runs of several pairs, or unknown measure.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    pairs = runs[runs["source"] != runs["target"]][["source", "target"]].drop_duplicates()
    if len(pairs) > 1 or runs["target"].nunique() != 1:
        raise UserError(f"runs of {len(pairs)} pairs; a bar is for one, so choose runs of one source and target")
    grouped = runs.groupby(["method", "stream"], sort=False)[measure].agg(["mean", "std", "size"]).reset_index()
    order = {method: number for number, method in enumerate(METHODS)}
    found = grouped.sort_values("method", key=lambda methods: methods.map(order), kind="stable", ignore_index=True)
    titles = [METHODS[method].title for method in found["method"]]
    return found.assign(method=titles).rename(columns={"std": "sd", "size": "seeds"})


def draw_method_bars(bars: pd.DataFrame, *, title: str = "Accuracy on the target") -> go.Figure:
    """Draw `method_bars`: a group per method, a bar per stream, error bars where there are several seeds."""
    figure = style.empty_figure(title)
    streams = list(bars["stream"].unique())
    colour = style.colours(streams, style.STREAM_COLOURS)
    for stream in streams:
        one = bars[bars["stream"] == stream]
        shown = {"type": "data", "color": style.GREY, "visible": bool(one["sd"].notna().any())}
        error = {"array": plain(one["sd"].fillna(0.0).round(2)), **shown}
        drawn = {"name": stream, "marker": {"color": colour[stream]}, "text": [f"{v:.1f}" for v in one["mean"]]}
        figure.add_bar(x=plain(one["method"]), y=plain(one["mean"].round(2)), error_y=error, **drawn)
    seeds = int(bars["seeds"].min())
    spread = f"± sd over {seeds} seeds" if seeds > 1 else "one seed, no spread"
    figure.update_xaxes(title=f"method ({spread})")
    return figure.update_yaxes(title="accuracy (%)", range=[0, 100])
