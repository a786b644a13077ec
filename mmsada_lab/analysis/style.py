"""One look for every figure: colours that colour-blind readers can tell apart, a Plotly template, columns as lists.

Source is blue and target red wherever domains are compared. Colours are Okabe and Ito's palette (2008).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

SOURCE, TARGET = "#0072B2", "#D55E00"
DOMAIN_COLOURS = {"source": SOURCE, "target": TARGET}

INK, GREY, FAINT = "#222222", "#7F7F7F", "#E5E5E5"

STREAM_COLOURS = {"fused": INK, "rgb": "#009E73", "flow": "#E69F00", "audio": "#CC79A7"}
"""Colour of each stream; any other modality takes the next of `SPARE_COLOURS`."""

TERM_COLOURS = {"classification": INK, "adversarial": "#E69F00", "correspondence": "#CC79A7"}
"""Colour of each loss term."""

SPARE_COLOURS = ("#56B4E9", "#8C564B", GREY, "#F0E442")
CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#8C564B")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""A second sign beside colour, so that lines stay apart in greyscale."""

PERCENT_SCALE = ((0.0, "#FFFFFF"), (1.0, "#08306B"))
"""White to dark blue, of one hue: reads the same in greyscale."""

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
        "colorway": [SOURCE, TARGET, *list(STREAM_COLOURS.values())[1:], *SPARE_COLOURS],
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "v", "x": 1.02, "y": 1},
        "margin": {"l": 70, "r": 20, "t": 76, "b": 60},
        "height": 396,
    }
)


def colours(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """A colour for each name: the known one, else the next spare one."""
    spare = [name for name in names if name not in known]
    return {**known, **{name: SPARE_COLOURS[k % len(SPARE_COLOURS)] for k, name in enumerate(spare)}}


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


def empty_figure(title: str) -> go.Figure:
    """A figure in the style of all, without traces."""
    return go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
