"""One look for every figure: colours that colour-blind readers can tell apart, and a Plotly template.

Source is blue and target red wherever domains are compared. Colours are Okabe and Ito's palette (2008).
"""

from __future__ import annotations

import plotly.graph_objects as go

SOURCE, TARGET = "#0072B2", "#D55E00"
DOMAIN_COLOURS = {"source": SOURCE, "target": TARGET}

INK, GREY, FAINT = "#222222", "#7F7F7F", "#E5E5E5"

STREAM_COLOURS = {"fused": INK, "rgb": "#009E73", "flow": "#E69F00", "audio": "#CC79A7"}
"""Colour of each stream; any other modality takes the next of `SPARE_COLOURS`."""

TERM_COLOURS = {"classification": INK, "adversarial": "#E69F00", "correspondence": "#CC79A7"}
"""Colour of each loss term."""

SPARE_COLOURS = ("#56B4E9", "#8C564B", GREY, "#F0E442")
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


def colours(names: list[str], known: dict[str, str]) -> dict[str, str]:
    """A colour for each name: the known one, else the next spare one."""
    spare = [name for name in names if name not in known]
    return {**known, **{name: SPARE_COLOURS[k % len(SPARE_COLOURS)] for k, name in enumerate(spare)}}


def translucent(colour: str, opacity: float) -> str:
    """A colour ``#RRGGBB`` as ``rgba(...)``, for bands."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def empty_figure(title: str) -> go.Figure:
    """A figure in the style of all, without traces."""
    return go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
