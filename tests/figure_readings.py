"""What a person reads off a drawn figure, as sentences: from the JSON that a browser gets, and from nothing else.

A series has the name of the legend's entry that looks like it, a band that of the line it has the colour of and lies
around; a panel has the title above it. Sentences have no order; every one of a figure counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

Json = Mapping[str, Any]


# --- how facts are worded ---------------------------------------------------------------------------------------------


def write(value: object) -> str:
    """A number to two decimals; words as they are, on one line."""
    return f"{round(value, 2) + 0.0:g}" if isinstance(value, int | float) else str(value).replace("<br>", " / ")


def place(value: object) -> str:
    """Where something stands: a number, a category, or several numbers."""
    if isinstance(value, tuple | list):
        return " to ".join(map(write, value))
    return repr(value) if isinstance(value, str) else write(value)


def entry(look: str, name: str) -> str:
    return f"legend: {look} is {write(name)}"


def axis(letter: str, title: str, *, panel: str = "") -> str:
    return f"{panel}| {letter} is {title}"


def mark(look: str, name: str, x: object, y: object, *, panel: str = "", to: tuple[Any, Any] | None = None) -> str:
    """A point or bar; `to`: the ends of its error bar."""
    ends = f", from {write(to[0])} to {write(to[1])}" if to and to[0] != to[1] else ""
    return f"{panel}| {look} of {write(name)}: x {place(x)}, y {place(y)}{ends}"


def band(name: str, x: object, low: float, high: float, *, panel: str = "") -> str:
    return f"{panel}| band of {name}: x {write(x)}, y {write(low)} to {write(high)}"


def cell(row: object, column: object, colour: str, *, panel: str = "") -> str:
    return f"{panel}| cell: row {place(row)}, column {place(column)}, {colour}"


def words(written: object, hover: str = "") -> str:
    """What is written at a mark or in a cell, and what appears on hovering: the end of their sentences."""
    says = f", says {write(written)}" if written != "" else ""
    return says + (f", hover {write(hover)}" if hover else "")


def level(letter: str, at: float, text: str = "", *, look: str = "", panel: str = "") -> str:
    return f"{panel}| {look} level at {letter} {write(at)}: {text}"


def note(text: str, *, panel: str = "") -> str:
    return f"{panel}| note {text}"


def scale(low: float, high: float, title: str, *, panel: str = "") -> str:
    return f"{panel}| colours from {write(low)} to {write(high)}: {title}"


def shade(value: float, low: float, high: float, colours: Iterable[tuple[float, str]]) -> str:
    """Colour of a value on a scale, as ``#RRGGBB``, of stops between 0 and 1."""
    at = min(max((value - low) / (high - low), 0.0), 1.0)
    (start, first), (end, last) = next(pair for pair in pairwise(colours) if at <= pair[1][0])
    share = (at - start) / (end - start)
    mixed = [round(a + share * (b - a)) for a, b in zip(channels(first), channels(last), strict=True)]
    return "#" + "".join(f"{channel:02X}" for channel in mixed)


def channels(colour: str) -> list[float]:
    """Red, green and blue of ``#RRGGBB`` and ``rgb(...)``, the latter also with an opacity."""
    if colour.startswith("#"):
        return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]


def opaque(colour: str) -> str:
    return "#" + "".join(f"{round(channel):02X}" for channel in channels(colour))


def is_faint(colour: str) -> bool:
    return colour.startswith("rgba") and float(re.findall(r"[\d.]+", colour)[3]) < 0.5


# --- how figures are read ---------------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """A pair of axes, and where it lies."""

    x: str
    y: str
    left: float
    top: float
    middle: float


class Page:
    """A figure that is looked at."""

    def __init__(self, figure: Json) -> None:
        self.layout, self.traces = figure["layout"], [trace for trace in figure["data"] if not _is_empty(trace)]
        self.annotations = list(self.layout.get("annotations", []))
        self.panels = [self._panel(x, y) for x, y in dict.fromkeys(map(_axes, figure["data"]))]
        self.titles = {(panel.x, panel.y): self._title(panel) for panel in self.panels}
        listed = [t for t in figure["data"] if t.get("showlegend", t["type"] != "heatmap") and t.get("name")]
        asked = len(listed) > 1 or any(trace.get("showlegend") for trace in listed)  # one alone has no legend by itself
        self.legend = listed if self.layout.get("showlegend", asked) else []

    def sentences(self) -> Iterator[str]:
        yield f"title: {self.layout['title']['text']}"
        yield from (entry(look(trace), trace["name"]) for trace in self.legend)
        for panel in self.panels:
            name = self.titles[panel.x, panel.y]
            yield axis("x", self._axis_title(panel, "x"), panel=name)
            yield axis("y", self._axis_title(panel, "y"), panel=name)
        for trace in self.traces:
            yield from READERS[trace["type"]](trace, self.name(trace), self.titles[_axes(trace)])
        yield from self._shapes()
        yield from (note(a["text"], panel=self._panel_of(a)) for a in self.annotations)

    def name(self, trace: Json) -> str:
        """What the legend calls what looks like this; and what is said on hovering, where that is something else."""
        own, alike = trace.get("name", ""), _alike(trace, self.legend)
        if trace.get("fill") == "toself" and len(alike) > 1:
            alike = [one for one in alike if _lies_around(trace, one)]
        name = " or ".join(dict.fromkeys(one["name"] for one in alike))
        return name if not own or own == name else f"{name} / {own}" if name else own

    def _axis(self, name: str) -> Json:
        return self.layout.get(f"{name[0]}axis{name[1:]}", {})

    def _panel(self, x: str, y: str) -> Panel:
        (left, right), (_, top) = (self._axis(name).get("domain", (0, 1)) for name in (x, y))
        return Panel(x, y, left, top, (left + right) / 2)

    def _title(self, panel: Panel) -> str:
        """What is written above it; else where it lies, if there are several."""
        for annotation in self.annotations:
            above = annotation["xref"] == annotation["yref"] == "paper"
            if above and abs(annotation["x"] - panel.middle) + abs(annotation["y"] - panel.top) < 0.01:
                self.annotations.remove(annotation)
                return str(annotation["text"])
        row = sum(top > panel.top for top in {other.top for other in self.panels}) if len(self.panels) > 1 else 0
        column = sum(left < panel.left for left in {other.left for other in self.panels})
        return f"row {row + 1}, column {column + 1}" if len(self.panels) > 1 else ""

    def _axis_title(self, panel: Panel, letter: str) -> str:
        """An axis without numbers has the title, if it has none, of the next panel to the left, or below."""
        beside = [p for p in self.panels if (p.top == panel.top if letter == "y" else p.left == panel.left)]
        beside = sorted(beside, key=lambda p: p.left if letter == "y" else p.top, reverse=True)
        for other in beside[beside.index(panel) :]:
            own = self._axis(getattr(other, letter))
            if "title" in own or own.get("showticklabels", True):
                title = own.get("title", {}).get("text") or "untitled"
                return title + (" [log]" if self._axis(getattr(panel, letter)).get("type") == "log" else "")
        return "untitled"

    def _panel_of(self, drawn: Json) -> str:
        key = tuple(drawn[f"{letter}ref"].removesuffix(" domain") for letter in "xy")
        return self.titles.get(key, "")

    def _shapes(self) -> Iterator[str]:
        for shape in self.layout.get("shapes", []):
            letter = "y" if shape["y0"] == shape["y1"] else "x"
            start, end = shape[f"{letter}0"], shape[f"{letter}1"]
            labels = [a for a in self.annotations if a[f"{letter}ref"] == shape[f"{letter}ref"]]
            labels = [a for a in labels if self._panel_of(a) == self._panel_of(shape) and start <= a[letter] <= end]
            self.annotations = [a for a in self.annotations if not any(a is label for label in labels)]
            dash = shape["line"].get("dash", "solid") if shape["type"] == "line" else f"shaded to {write(end)},"
            in_legend = [shape["name"]] if shape.get("showlegend") else []
            text = ", ".join([*(a["text"] for a in labels), *in_legend])
            yield level(letter, start, text, look=dash, panel=self._panel_of(shape))


def _axes(trace: Json) -> tuple[str, str]:
    return trace.get("xaxis", "x"), trace.get("yaxis", "y")


def _is_empty(trace: Json) -> bool:
    return trace["type"] != "box" and not trace.get("x")


def look(trace: Json, *, symbol: str | None = None) -> str:
    """Kind, sign and colour of a trace."""
    marker, line = trace.get("marker", {}), trace.get("line", {})
    if trace["type"] != "scatter":
        shape = marker.get("pattern", {}).get("shape", "")
        return " ".join(filter(None, [trace["type"], shape, opaque(marker["color"])])) if marker else trace["type"]
    if trace.get("fill") == "toself":
        return f"band {opaque(trace['fillcolor'])}"
    signs = []
    if "lines" in trace["mode"]:
        signs.append(("faint " if is_faint(line["color"]) else "") + line.get("dash", "solid"))
    if "markers" in trace["mode"] and marker:
        own = marker.get("symbol", "circle")
        signs.append(symbol or (own if isinstance(own, str) else "signs"))
    return " ".join([*signs, opaque(line["color"] if "color" in line else colour_of(trace))])


def colour_of(trace: Json) -> str:
    """Of a band, a line, or marks; open signs may have it in their outline."""
    marker = trace.get("marker", {})
    places = (trace.get("fillcolor"), trace.get("line", {}).get("color"), marker.get("color"))
    return opaque(next(filter(None, places), None) or marker["line"]["color"])


def _alike(trace: Json, legend: list[Json]) -> list[Json]:
    """Entries that look the same; else those of the same colour; else, of what has a name, those of the same sign."""
    if trace["type"] == "heatmap":
        return []
    sign = look(trace).rpartition(" ")[0]
    same = [one for one in legend if look(one) == look(trace)]
    coloured = [one for one in legend if colour_of(one) == colour_of(trace)]
    signed = [one for one in legend if look(one).rpartition(" ")[0] == sign and "name" in trace]
    return same or coloured or signed


def _lies_around(around: Json, line: Json) -> bool:
    edges = {x: (low, high) for x, low, high in _edges(around)}
    return any(x in edges and edges[x][0] <= y <= edges[x][1] for x, y in zip(line["x"], line["y"], strict=True))


def _edges(around: Json) -> Iterator[tuple[float, float, float]]:
    """x, lower and upper edge of a band; it goes along one and comes back along the other."""
    half = len(around["x"]) // 2
    for x, *ends in zip(around["x"][:half], around["y"][:half], around["y"][half:][::-1], strict=True):
        yield x, *sorted(ends)


def _read_scatter(trace: Json, name: str, panel: str) -> Iterator[str]:
    if trace.get("fill") == "toself":
        yield from (band(name, *edge, panel=panel) for edge in _edges(trace))
        return
    symbols = trace.get("marker", {}).get("symbol")
    if symbols == "arrow":
        for k in range(0, len(trace["x"]), 3):
            yield mark(look(trace), name, trace["x"][k : k + 2], trace["y"][k : k + 2], panel=panel)
        return
    yield from _read_marks(trace, name, panel, symbols=symbols if isinstance(symbols, list) else None)


def _read_marks(trace: Json, name: str, panel: str, *, symbols: list[str] | None = None) -> Iterator[str]:
    for k, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
        if x is not None and y is not None:
            sign = look(trace, symbol=symbols[k] if symbols else None)
            yield mark(sign, name, x, y, panel=panel, to=_ends(trace, k)) + _words(trace, k)


def _ends(trace: Json, k: int) -> tuple[float, float] | None:
    for letter in "xy":
        error = trace.get(f"error_{letter}", {})
        if error.get("visible", "array" in error):
            lengths = [error.get(side, error["array"])[k] or 0 for side in ("arrayminus", "array")]
            return trace[letter][k] - lengths[0], trace[letter][k] + lengths[1]
    return None


def _words(trace: Json, k: int) -> str:
    """What is written at a mark, and what appears on hovering."""
    text = trace["text"][k] if "text" in trace else ""
    on_hover = trace["hovertext"][k] if "hovertext" in trace else ""
    if "customdata[" in trace.get("hovertemplate", ""):  # others say again what the legend and the axes say
        fields = {"x": trace["x"][k], "y": trace["y"][k]}
        fields |= {f"customdata[{n}]": value for n, value in enumerate(trace["customdata"][k])}
        on_hover = _filled_in(trace["hovertemplate"], fields)
    elif "%{customdata" in trace.get("hovertemplate", ""):  # the error bar, once more
        bars = [trace[name]["array"] for name in ("error_x", "error_y") if "array" in trace.get(name, {})]
        on_hover = on_hover if trace["customdata"] in bars else "another spread than its bar has"
    if trace["type"] == "scatter" and "text" not in trace["mode"]:
        text, on_hover = "", on_hover or text
    return words(text, on_hover)


def _filled_in(template: str, fields: Mapping[str, object]) -> str:
    def fill(field: re.Match[str]) -> str:
        value, form = fields[field[1]], field[2]
        return format(value, form) if form and value is not None else write(value)

    return re.sub(r"%\{(.+?)(?::(.+?))?\}", fill, template).removesuffix("<extra></extra>")


def _read_heatmap(trace: Json, _: str, panel: str) -> Iterator[str]:
    low, high = trace["zmin"], trace["zmax"]
    for r, (row, values) in enumerate(zip(trace["y"], trace["z"], strict=True)):
        for c, (column, value) in enumerate(zip(trace["x"], values, strict=True)):
            colour = "blank" if value is None else shade(value, low, high, trace["colorscale"])
            text = trace["text"][r][c] if "text" in trace else ""
            fields = {"x": column, "y": row, "z": value, "text": text}
            fields |= (
                {f"customdata[{n}]": more for n, more in enumerate(trace["customdata"][r][c])}
                if "customdata" in trace
                else {}
            )
            hover = "" if value is None else _filled_in(trace.get("hovertemplate", ""), fields)
            yield cell(row, column, colour, panel=panel) + words(text, hover)
    if trace.get("showscale", True):
        yield scale(low, high, trace["colorbar"]["title"]["text"], panel=panel)


def _read_box(trace: Json, name: str, panel: str) -> Iterator[str]:
    ends = [trace[end][0] for end in ("lowerfence", "q1", "median", "q3", "upperfence")]
    yield mark(look(trace), name, ends, trace["y"][0], panel=panel)


READERS = {"scatter": _read_scatter, "bar": _read_marks, "heatmap": _read_heatmap, "box": _read_box}


def read(figure: Json) -> Counter[str]:
    """Every sentence that a figure says, and how often."""
    return Counter(Page(figure).sentences())


def misreadings(figure: Json, sentences: Iterable[str]) -> list[str]:
    """What a figure says although it is not so, and what it should say and does not."""
    drawn, true = read(figure), Counter(sentences)
    return [f"drawn: {s}" for s in (drawn - true).elements()] + [f"true:  {s}" for s in (true - drawn).elements()]
