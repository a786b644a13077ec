"""What a figure says under the mouse, in words: "MM-SADA, optimiser step 345, accuracy 63.2 %", not "(345, 63.2)"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import plotly.graph_objects as go

P = ParamSpec("P")
UNITS = ("%", "nats", "points", "frames", "pixels", "segments")


def hover_in_words(draw: Callable[P, go.Figure]) -> Callable[P, go.Figure]:
    """Decorate a function that draws: traces that say nothing of their own are given a hover text in words.

    Name, then what each axis is with its value and unit, then the error bar; the words are those of the axes' titles.

    Example:
        >>> @hover_in_words
        ... def draw():
        ...     return go.Figure(go.Scatter(x=[1], y=[2], name="AdaBN")).update_yaxes(title="accuracy (%)")
        >>> draw().data[0].hovertemplate
        'AdaBN<br>%{x}<br>accuracy %{y:.4~g} %<extra></extra>'
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> go.Figure:
        return write_hover(draw(*args, **kwargs))

    return drawn


def write_hover(figure: go.Figure) -> go.Figure:
    """Give the traces of a figure their hover texts, see `hover_in_words`."""
    for trace in figure.data:
        if trace.type in {"scatter", "bar"} and not trace.hovertemplate and trace.hoverinfo != "skip":
            _write_trace(figure, trace)
    return figure


def _write_trace(figure: go.Figure, trace: Any) -> None:
    lines = [re.sub(r"(<br>)+", " ", trace.name)] if trace.name else []
    if trace.hovertext is not None:
        lines.append("%{hovertext}")
    across = trace.type == "bar" and trace.orientation == "h"
    for axis in "yx" if across else "xy":
        label, unit = _words(_title(figure, trace, axis))
        is_value = axis == ("x" if across else "y")
        value = f"%{{{axis}{':.4~g' if is_value and _has_numbers(trace[axis]) else ''}}}"
        lines.append(" ".join(filter(None, [label, value, unit])))
    error = trace.error_x if across else trace.error_y
    if error.array is not None and error.visible is not False and error.arrayminus is None and not trace.customdata:
        trace.customdata = list(error.array)
        lines[-1] += " ± %{customdata:.3~g}"
    trace.hovertemplate = "<br>".join(lines) + "<extra></extra>"


def _title(figure: go.Figure, trace: Any, axis: str) -> str:
    """Of the trace's own axis, else of the first that has one: panels share the titles at the edge.

    Categories have no unit: what has one is the title of another panel's numbers.
    """
    name = f"{axis}axis{str(trace[f'{axis}axis'] or axis)[1:]}"
    layout: Mapping[str, Any] = figure.to_dict()["layout"]
    titles = {key: value.get("title", {}).get("text", "") for key, value in layout.items() if key.startswith(axis)}
    edge = next((title for title in titles.values() if title), "")
    return titles.get(name) or (edge if _has_numbers(trace[axis]) or not _words(edge)[1] else "")


def _words(title: str) -> tuple[str, str]:
    """What an axis shows, and its unit if it is one of `UNITS`.

    Example:
        >>> _words("top-1 (%, ± sd over 4 worlds)"), _words("feature 1 (no unit)")
        (('top-1', '%'), ('feature 1', ''))
    """
    label, _, rest = title.replace("<br>", " ").partition(" (")
    unit = re.split(r"[,;)]| of ", rest)[0].strip()
    return label.strip(), unit if unit in UNITS else ""


def _has_numbers(values: Any) -> bool:
    return values is not None and any(isinstance(value, (int, float)) for value in list(values)[:1])
