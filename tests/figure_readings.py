"""What a person reads off a drawn figure, as sentences: from the JSON that a browser gets, and from nothing else.

A series has the name of the legend's entry that looks like it, a band that of the line it has the colour of and lies
around; a panel has the title above it. What appears on hovering is told where it says anything else than the figure
does, or less. Sentences have no order; every one of a figure counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

Json = Mapping[str, Any]
Titles = Mapping[str, str]  # of the axes x and y
UNITS = "%|nats|points|frames|pixels|segments"


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
    return f"legend: {look} is {name}"


def axis(letter: str, title: str, *, panel: str = "") -> str:
    return f"{panel}| {letter} is {title}"


def mark(look: str, name: str, x: object, y: object, *, panel: str = "", to: tuple[Any, Any] | None = None) -> str:
    """A point or bar; `to`: the ends of its error bar."""
    ends = f", from {write(to[0])} to {write(to[1])}" if to and to[0] != to[1] else ""
    return f"{panel}| {look} of {name}: x {place(x)}, y {place(y)}{ends}"


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


def note(text: str, *, at: object = None, panel: str = "") -> str:
    """What is written in a panel; `at`: the place along x that it stands at."""
    return f"{panel}| note {write(text)}" + ("" if at is None else f" at {place(at)}")


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
        self.legend: list[Json] = listed if self.layout.get("showlegend", asked) else []

    def sentences(self) -> Iterator[str]:
        yield f"title: {self.layout['title']['text']}"
        yield from (entry(look(trace), name_of(trace)) for trace in self.legend)
        axes = {(p.x, p.y): {letter: self._axis_title(p, letter) for letter in "xy"} for p in self.panels}
        for key, titles in axes.items():
            yield from (axis(letter, title, panel=self.titles[key]) for letter, title in titles.items())
        for trace in self.traces:
            key = _axes(trace)
            yield from READERS[trace["type"]](trace, self.name(trace), self.titles[key], axes[key])
        yield from self._shapes()
        for a in self.annotations:
            along = a["x"] if a.get("xref", "x")[0] == "x" and "domain" not in a.get("xref", "x") else None
            yield note(a["text"], at=along, panel=self._panel_of(a))

    def name(self, trace: Json) -> str:
        """What the legend calls what looks like this; and what is said on hovering, where that is something else."""
        own, alike = _name_on_hover(trace), _alike(trace, self.legend)
        if trace.get("fill") == "toself" and len(alike) > 1:
            alike = [one for one in alike if _lies_around(trace, one)]
        name = " or ".join(dict.fromkeys(map(name_of, alike)))
        return name if not own or own == name else f"{name} / {own}" if name else own

    def _axis(self, name: str) -> Json:
        return self.layout.get(f"{name[0]}axis{name[1:]}", {})

    def _panel(self, x: str, y: str) -> Panel:
        (left, right), (_, top) = (self._axis(name).get("domain", (0, 1)) for name in (x, y))
        return Panel(x, y, left, top, (left + right) / 2)

    def _title(self, panel: Panel) -> str:
        """What is written above it; else where it lies, if there are several."""
        for annotation in self.annotations:
            above = annotation.get("xref") == annotation.get("yref") == "paper"
            if above and abs(annotation["x"] - panel.middle) + abs(annotation["y"] - panel.top) < 0.01:
                self.annotations.remove(annotation)
                return str(annotation["text"])
        row = sum(top > panel.top for top in {other.top for other in self.panels}) if len(self.panels) > 1 else 0
        column = sum(left < panel.left for left in {other.left for other in self.panels})
        return f"row {row + 1}, column {column + 1}" if len(self.panels) > 1 else ""

    def _axis_title(self, panel: Panel, letter: str) -> str:
        """Of an axis without one that shows no numbers, or the same: that of the next panel to the left, or below."""
        own, ticks = self._axis(getattr(panel, letter)), self._categories(panel, letter)
        beside = [p for p in self.panels if (p.top == panel.top if letter == "y" else p.left == panel.left)]
        beside = sorted(beside, key=lambda p: p.left if letter == "y" else p.top, reverse=True)
        shared = [p for p in beside[beside.index(panel) + 1 :] if not own.get("showticklabels", True) or
                  (ticks and ticks == self._categories(p, letter))]  # fmt: skip
        titles = [self._axis(getattr(p, letter)).get("title", {}).get("text") for p in (panel, *shared)]
        return next(filter(None, titles), "untitled") + (" [log]" if own.get("type") == "log" else "")

    def _categories(self, panel: Panel, letter: str) -> set[str]:
        traces = [trace for trace in self.traces if _axes(trace) == (panel.x, panel.y)]
        return {value for trace in traces for value in trace.get(letter, []) if isinstance(value, str)}

    def _panel_of(self, drawn: Json) -> str:
        key = tuple(drawn.get(f"{letter}ref", letter).removesuffix(" domain") for letter in "xy")
        return self.titles.get(key, "")

    def _shapes(self) -> Iterator[str]:
        for shape in self.layout.get("shapes", []):
            letter = "x" if "domain" in shape["yref"] else "y"  # the axis that it has a place on
            start, end = shape[f"{letter}0"], shape[f"{letter}1"]
            labels = [a for a in self.annotations if a.get(f"{letter}ref") == shape[f"{letter}ref"]]
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


def look(trace: Json, *, symbol: str | None = None, number: int = 0) -> str:
    """Kind, sign and colour of a trace, or of one of its bars where each has a colour."""
    marker, line = trace.get("marker", {}), trace.get("line", {})
    if trace["type"] != "scatter":
        shape = marker.get("pattern", {}).get("shape", "")
        return (
            " ".join(filter(None, [trace["type"], shape, opaque(_nth(marker["color"], number))]))
            if marker
            else trace["type"]
        )
    if trace.get("fill") == "toself":
        return f"band {opaque(trace['fillcolor'])}"
    signs = []
    if "lines" in trace["mode"]:
        signs.append(("faint " if is_faint(line["color"]) else "") + line.get("dash", "solid"))
    if "markers" in trace["mode"] and marker:
        own = marker.get("symbol", "circle")
        signs.append(symbol or (own if isinstance(own, str) else "signs"))
    return " ".join([*signs, opaque(line["color"] if "color" in line else colour_of(trace))])


def _nth(colour: Any, number: int) -> str:
    return str(colour[number] if isinstance(colour, list | tuple) else colour)


def colour_of(trace: Json) -> str:
    """Of a band, a line, or marks; open signs may have it in their outline."""
    marker = trace.get("marker", {})
    places = (trace.get("fillcolor"), trace.get("line", {}).get("color"), marker.get("color"))
    return opaque(_nth(next(filter(None, places), None) or marker["line"]["color"], 0))


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


def name_of(trace: Json) -> str:
    return str(trace.get("name", "")).replace("<br>", " ")


def _name_on_hover(trace: Json) -> str:
    """The first line of what is said, or Plotly's own box beside it."""
    template = trace.get("hovertemplate", "")
    if "<extra></extra>" not in template:
        return name_of(trace)
    first = template.removesuffix("<extra></extra>").split("<br>")[0]
    return "" if "%{" in first else str(first)


def _read_scatter(trace: Json, name: str, panel: str, titles: Titles) -> Iterator[str]:
    symbol = trace.get("marker", {}).get("symbol")
    if trace.get("fill") == "toself":
        yield from (band(name, *edge, panel=panel) for edge in _edges(trace))
    elif symbol == "arrow":
        for k in range(0, len(trace["x"]), 3):
            yield mark(look(trace), name, trace["x"][k : k + 2], trace["y"][k : k + 2], panel=panel)
    else:
        yield from _read_marks(trace, name, panel, titles)


def _read_marks(trace: Json, name: str, panel: str, titles: Titles) -> Iterator[str]:
    symbol = trace.get("marker", {}).get("symbol")
    for k, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
        if x is not None and y is not None:
            sign = look(trace, symbol=symbol[k] if isinstance(symbol, list) else None, number=k)
            written = trace["text"][k] if "text" in trace else ""
            yield mark(sign, name, x, y, panel=panel, to=_ends(trace, k)) + words(written, _hover(trace, k, titles))


def _ends(trace: Json, k: int) -> tuple[float, float] | None:
    for letter in "xy":
        error = trace.get(f"error_{letter}", {})
        if error.get("visible", "array" in error):
            lengths = [error.get(side, error["array"])[k] or 0 for side in ("arrayminus", "array")]
            return trace[letter][k] - lengths[0], trace[letter][k] + lengths[1]
    return None


def _hover(trace: Json, k: int, titles: Titles) -> str:
    """What appears, but for name, places along the axes with units, and spread, if it has all of these."""
    fields = {"x": trace["x"][k], "y": trace["y"][k], "hovertext": trace.get("hovertext", {k: ""})[k]}
    data = trace.get("customdata", {k: ""})[k]
    fields |= (
        {f"customdata[{n}]": each for n, each in enumerate(data)} if isinstance(data, list) else {"customdata": data}
    )
    lines = _filled_in(trace.get("hovertemplate", ""), fields).split("<br>")
    shown = {_name_on_hover(trace)} - {""}
    for letter, title in ((letter, title.replace("<br>", " ")) for letter, title in titles.items()):
        label, unit = title.removesuffix(" [log]").partition(" (")[0], re.search(rf"\(({UNITS})[,;) ]", title)
        line = " ".join(filter(None, [label.replace("untitled", ""), write(trace[letter][k]), unit[1] if unit else ""]))
        spread = (
            _ends(trace, k) if letter == "y" and "arrayminus" not in trace.get("error_y", {"arrayminus": 0}) else None
        )
        shown.add(f"{line} ± {write((spread[1] - spread[0]) / 2)}" if spread else line)
    lacking = sorted(shown - set(lines)) if shown & set(lines) else []
    return " / ".join([line for line in lines if line not in shown] + [f"without {line}" for line in lacking])


def _filled_in(template: str, fields: Mapping[str, Any]) -> str:
    """A template with its values, as D3 writes them."""

    def fill(field: re.Match[str]) -> str:
        value, style = fields[field[1]], field[2] or ""
        if isinstance(value, str) or value is None:
            return write(value or "")
        return format(value, style[1:].replace("~", "")) if style not in {"", ":+"} else f"{value:{style[1:]}g}"

    return re.sub(r"%\{([^:}]+)(:[^}]+)?\}", fill, template).removesuffix("<extra></extra>")


def _read_heatmap(trace: Json, _: str, panel: str, __: Titles) -> Iterator[str]:
    low, high = trace["zmin"], trace["zmax"]
    for r, (row, values) in enumerate(zip(trace["y"], trace["z"], strict=True)):
        for c, (column, value) in enumerate(zip(trace["x"], values, strict=True)):
            colour = "blank" if value is None else shade(value, low, high, trace["colorscale"])
            text = trace["text"][r][c] if "text" in trace else ""
            fields = {"x": column, "y": row, "z": value, "text": text}
            fields |= (
                {f"customdata[{n}]": each for n, each in enumerate(trace["customdata"][r][c])}
                if "customdata" in trace
                else {}
            )
            hover = _filled_in(trace.get("hovertemplate", ""), fields)
            yield cell(row, column, colour, panel=panel) + words(text, hover)
    if trace.get("showscale", True):
        yield scale(low, high, trace["colorbar"]["title"]["text"], panel=panel)


def _read_box(trace: Json, name: str, panel: str, _: Titles) -> Iterator[str]:
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
