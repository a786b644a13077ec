"""What a figure consists of, but for the values in it: what must not change when a model is trained anew."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?")
_AXIS = re.compile(r"[xy]axis\d*$")
_COORDINATES = ("x", "y", "z")

Json = Mapping[str, Any]


def outline(figure: Json) -> dict[str, Any]:
    """Titles (numbers in them as #), axes, how many annotations and shapes, and every trace."""
    layout = figure.get("layout", {})
    return {
        "title": _text(layout.get("title")),
        "axes": {name: _text(axis.get("title")) for name, axis in sorted(layout.items()) if _AXIS.match(name)},
        "annotations": len(layout.get("annotations", [])),
        "shapes": len(layout.get("shapes", [])),
        "traces": [_trace(trace) for trace in figure["data"]],
    }


def numbers(figure: Json) -> Iterator[tuple[str, float]]:
    """Every number that is drawn along an axis, with that axis's title."""
    layout = figure.get("layout", {})
    for trace in figure["data"]:
        for name in ("x", "y"):
            axis = layout.get(name + "axis" + str(trace.get(name + "axis", name))[1:], {})
            yield from ((_text(axis.get("title")), value) for value in _flat(trace.get(name)))


def _trace(trace: Json) -> str:
    """Type, name, colours, signs, how many points along each axis, error bars, filled band: one line."""
    marker, line = trace.get("marker", {}), trace.get("line", {})
    drawn = [name for name in _COORDINATES if trace.get(name) is not None]
    scale = [colour for _, colour in trace.get("colorscale", [])]
    colours = {str(colour) for colour in (*_each(marker.get("color")), *_each(line.get("color")), *scale)}
    signs = [str(s) for s in (trace.get("mode"), marker.get("symbol"), line.get("dash")) if isinstance(s, str)]
    errors = [name for name in ("error_x", "error_y") if name in trace and trace[name].get("visible", True)]
    facts = [
        trace["type"],
        repr(_NUMBER.sub("#", str(trace.get("name", "")))),
        ", ".join(sorted(colours)[:12]),
        ", ".join(signs),
        ", ".join(f"{name}: {len(_each(trace[name]))}" for name in drawn),
        ", ".join(errors),
        "band" if trace.get("fill", "none") != "none" else "",
        "" if trace.get("showlegend", True) else "not in the legend",
        "" if all(math.isfinite(v) for name in drawn for v in _flat(trace[name])) else "NOT FINITE",
    ]
    return " | ".join(filter(None, facts))


def _text(title: object) -> str:
    text = title.get("text", "") if isinstance(title, Mapping) else title or ""
    return _NUMBER.sub("#", str(text))


def _each(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _flat(value: object) -> Iterator[float]:
    for each in _each(value):
        if isinstance(each, list | tuple):
            yield from _flat(each)
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield float(each)
