"""One look for every figure: colours, a Plotly template, columns as lists.

One colour, one meaning: source is blue and target red wherever domains are compared, and no other domain, stream, loss
term or method has the colour of another (greys aside). Within a group, colours stay apart for colour-blind readers.
Domains and streams are of Okabe and Ito's palette (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmsada_lab.facts import METHODS

FIGURE_HEIGHT = 396
"""Of a figure, in pixels; said in each, since every viewer has another default."""

INK, GREY, FAINT = "#222222", "#7F7F7F", "#E5E5E5"

SOURCE, TARGET = "#0072B2", "#D55E00"
DOMAIN_COLOURS = {"source": SOURCE, "target": TARGET}
STREAM_COLOURS = {"fused": INK, "rgb": "#009E73", "flow": "#E69F00", "audio": "#CC79A7"}
TERM_COLOURS = {
    "classification": "#875A00",
    "adversarial": "#871E78",
    "correspondence": "#69B45A",
    "mmd": "#FF87F0",
    "auxiliary": "#B40F4B",
    "discrepancy": "#E19696",
}
_OF_METHODS = ("#693C5A", "#5AB4A5", "#B4B41E", "#783C2D", "#B478F0", "#2D7800", "#E15A78", "#2D4BB4")
METHOD_COLOURS = {facts.title: colour for facts, colour in zip(METHODS.values(), _OF_METHODS, strict=False)}
"""By title; a method that is added takes a colour of `CYCLE` until it is given its own."""

CYCLE = ("#96005A", "#78870F", "#7887FF", "#872D0F", "#C396E1", "#96B478", "#783CA5", "#96694B")
"""Without a meaning of their own: of classes, pairs, other modalities and lines, in their order."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""A second sign beside colour, so that lines stay apart in greyscale."""

PERCENT_SCALE = ((0.0, "#FFFFFF"), (1.0, "#08306B"))
"""White to dark blue, of one hue: reads the same in greyscale."""

DIFFERENCE_SCALE = ((0.0, "#B35806"), (0.5, "#FFFFFF"), (1.0, "#542788"))
"""Brown for fewer, white for no change, purple for more: neither is a domain's colour."""

GREY_SCALE = ((0.0, "#FFFFFF"), (1.0, GREY))
KERNEL_SCALE = [[0.0, "#9ECAE1"], [1.0, "#08306B"]]

BOUNDARY = {"color": GREY, "dash": "dash", "width": 1.5}
LEGEND_BELOW = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
"""Of figures whose panels need the whole width; their lower margin leaves room for it."""

HIDDEN = {"showlegend": False, "hoverinfo": "skip"}

_AXIS = {
    "showline": True,
    "linecolor": INK,
    "gridcolor": FAINT,
    "zeroline": False,
    "ticks": "outside",
    "automargin": True,
    "title": {"standoff": 12},
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        "title": {"x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad": {"t": 14}, "font": {"size": 15}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": CYCLE,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "v", "x": 1.02, "y": 1},
        "margin": {"l": 70, "r": 20, "t": 76, "b": 60},
    }
)


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: that of its domain, stream, loss term or method, else the next of `CYCLE`."""
    known = DOMAIN_COLOURS | STREAM_COLOURS | TERM_COLOURS | METHOD_COLOURS
    others = [name for name in names if name not in known]
    return {name: known.get(name) or CYCLE[others.index(name) % len(CYCLE)] for name in names}


def translucent(colour: str, opacity: float) -> str:
    """A colour ``#RRGGBB`` as ``rgba(...)``, for bands."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def line(colour: str, number: int) -> dict[str, Any]:
    """Look of the line with this number in its figure; dashes tell lines apart in greyscale."""
    return {"color": colour, "width": 2.5, "dash": DASHES[number % len(DASHES)]}


def error_bars(sd: pd.Series[float]) -> dict[str, Any]:
    """Error bars of one standard deviation; hidden if no spread is known."""
    return {"type": "data", "array": to_list(sd.fillna(0.0)), "visible": bool(sd.notna().any())}


def to_list(values: pd.Series[Any], decimals: int | None = None) -> list[Any]:
    """A column as rounded Python values, missing ones None: Plotly would write an array as base64, opaque to a diff."""
    items = [None if pd.isna(value) else value for value in values.to_list()]
    return items if decimals is None else [item if item is None else round(item, decimals) for item in items]


def xy(frame: pd.DataFrame, x: str, y: str, decimals: int | None = None) -> dict[str, list[Any]]:
    """Two columns as the coordinates of a trace; `decimals` rounds y."""
    return {"x": to_list(frame[x]), "y": to_list(frame[y], decimals)}


def categories(values: pd.Series[float]) -> list[str]:
    """Values of a sweep as categories, at equal distances: 0 to 10 by threes would leave half on top of each other.

    Example:
        >>> categories(pd.Series([0.0, 0.3, 10.0]))
        ['0', '0.3', '10']
    """
    return [f"{value:g}" for value in values]


def write_spread(counts: pd.Series[int], noun: str = "seeds") -> str:
    """What an axis adds to its title if a value is the mean over several."""
    fewest = int(counts.min()) if len(counts) else 0
    return f", ± sd over {fewest} {noun}" if fewest > 1 else ""


def write_spread_over(table: pd.DataFrame) -> str:
    """`write_spread` of values with columns worlds and seeds: over worlds where all are the mean over several.

    Example:
        >>> table = pd.DataFrame({"worlds": [1, 4], "seeds": [3, 2]})
        >>> write_spread_over(table[:1]), write_spread_over(table[1:]), write_spread_over(table)
        (', ± sd over 3 seeds', ', ± sd over 4 worlds', ', ± sd over worlds, or seeds of one world')
    """
    several = table["worlds"] > 1
    if several.any() and not several.all():
        return ", ± sd over worlds, or seeds of one world"
    return write_spread(table["worlds"], "worlds") if several.any() else write_spread(table["seeds"])


def on_two_lines(title: str, spread: str) -> str:
    """Title of an axis with what `write_spread` or `write_spread_over` adds, below it: in one line it is cut.

    Example:
        >>> on_two_lines("top-1 (%)", ", ± sd over 4 worlds"), on_two_lines("top-1 (%)", "")
        ('top-1 (%),<br>± sd over 4 worlds', 'top-1 (%)')
    """
    return title + spread.replace(", ", ",<br>", 1)


def empty_figure(
    title: str, *, panels: tuple[int, int] | None = None, height: int = FIGURE_HEIGHT, **options: Any
) -> go.Figure:
    """A figure in the style of all, without traces; for rows x columns of panels, `options` are of `make_subplots`."""
    figure = make_subplots(*panels, **options) if panels else go.Figure()
    return figure.update_layout(template=TEMPLATE, title={"text": title}, height=height)
