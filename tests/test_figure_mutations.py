"""Every figure says what its data say; and whatever is exchanged or lost in a drawn figure is noticed.

`figure_readings` reads a figure as a person would, `figure_examples` holds what should be read, from hand-made data.
Each of `MUTATIONS` spoils a drawn figure in one way, wherever it has the feature; run this file to see the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import cache
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
import pytest
from figure_examples import EXAMPLES
from figure_readings import colour_of, entry, look, misreadings, name_of, opaque, read, shade
from test_style import APART, SEEN, distance

from mmsada_lab.analysis import figures, style
from mmsada_lab.facts import METHODS

Json = dict[str, Any]
DRAWS = [name for name in dir(figures) if name.startswith("draw_")]


@cache
def drawn(name: str) -> tuple[Json, tuple[str, ...]]:
    """The JSON of an example, and its sentences."""
    figure, sentences = EXAMPLES[name]()
    return json.loads(figure.to_json()), tuple(sentences)


# --- ways to spoil a figure, wherever it has what they spoil ----------------------------------------------------------


def panels_of(figure: Json) -> list[list[Json]]:
    """Traces, by panel."""
    panels: dict[tuple[str, str], list[Json]] = {}
    for trace in figure["data"]:
        panels.setdefault((trace.get("xaxis", "x"), trace.get("yaxis", "y")), []).append(trace)
    return list(panels.values())


def of_a_kind(figure: Json) -> Iterator[tuple[Json, Json, Json]]:
    """A copy of the figure and two of its traces, for any two of one panel that are drawn in the same way."""
    for panel, traces in enumerate(panels_of(figure)):
        for one, other in combinations(range(len(traces)), 2):
            if all(traces[one].get(key) == traces[other].get(key) for key in ("type", "mode")):
                spoilt = deepcopy(figure)
                yield spoilt, panels_of(spoilt)[panel][one], panels_of(spoilt)[panel][other]


def listed(figure: Json) -> list[Json]:
    return [trace for trace in figure["data"] if trace.get("name") and trace.get("showlegend") is not False]


def swap(one: Json, other: Json, keys: tuple[str, ...]) -> None:
    """Exchange these values; one that only one of the two has goes to the other."""
    for key in keys:
        values = one.pop(key, None), other.pop(key, None)
        for trace, value in zip((other, one), values, strict=True):
            if value is not None:
                trace[key] = value


def swap_names(figure: Json) -> Iterator[Json]:
    for one, other in combinations(dict.fromkeys(trace["name"] for trace in listed(figure)), 2):
        spoilt = deepcopy(figure)
        for trace in [trace for trace in spoilt["data"] if "name" in trace]:
            name = trace["name"]
            trace["name"] = {one: other, other: one}.get(name, name)
            first = f"{name.replace('<br>', ' ')}<br>"
            trace["hovertemplate"] = trace.get("hovertemplate", "").replace(first, f"{trace['name']}<br>")
        yield spoilt


PLACES = ("x", "y", "q1", "median", "q3", "lowerfence", "upperfence")
VALUES = (*PLACES, "error_x", "error_y", "text", "hovertext", "customdata")


def swap_values(figure: Json) -> Iterator[Json]:
    """Of two series of a panel, without and with all that is written at them."""
    for keys in (PLACES, VALUES):
        for spoilt, first, second in of_a_kind(figure):
            names = {first.get("name"), second.get("name")} - {None}
            if len(names) == 2 and (keys == VALUES or len(first["y"]) == len(second["y"])):
                swap(first, second, keys)
                yield spoilt


def drop(figure: Json, where: Callable[[Json], bool], keys: tuple[str, ...] = ()) -> Iterator[Json]:
    """Traces, or these of their values."""
    for k, trace in enumerate(figure["data"]):
        if where(trace):
            spoilt = deepcopy(figure)
            for key in keys:
                spoilt["data"][k].pop(key, None)
            if not keys:
                del spoilt["data"][k]
            yield spoilt


def is_band(trace: Json) -> bool:
    return trace.get("fill") == "toself"


def has_error_bars(trace: Json) -> bool:
    return any(trace.get(f"error_{letter}", {"visible": False}).get("visible", True) for letter in "xy")


def is_spread(customdata: list[Any]) -> bool:
    """Not rows of words and numbers, but the lengths of error bars."""
    return bool(customdata) and not isinstance(customdata[0], list)


def drop_shapes(figure: Json) -> Iterator[Json]:
    for k in range(len(figure["layout"].get("shapes", []))):
        spoilt = deepcopy(figure)
        del spoilt["layout"]["shapes"][k]
        yield spoilt


def is_panel_title(annotation: Json) -> bool:
    return bool(annotation.get("xref") == annotation.get("yref") == "paper")


def drop_labels(figure: Json) -> Iterator[Json]:
    for k, annotation in enumerate(figure["layout"].get("annotations", [])):
        if not is_panel_title(annotation):
            spoilt = deepcopy(figure)
            del spoilt["layout"]["annotations"][k]
            yield spoilt
    for k, shape in enumerate(figure["layout"].get("shapes", [])):
        if shape.get("showlegend"):
            spoilt = deepcopy(figure)
            del spoilt["layout"]["shapes"][k]["showlegend"]
            yield spoilt


def exchange_spreads(figure: Json) -> Iterator[Json]:
    """Two bands of a panel, the error bars of two series, or those of two points, as drawn and as told on hovering."""
    for spoilt, first, second in of_a_kind(figure):
        if is_band(first) and is_band(second) and first["fillcolor"] != second["fillcolor"]:
            swap(first, second, ("y",))
            yield spoilt
        elif has_error_bars(first) and has_error_bars(second) and len(first["y"]) == len(second["y"]):
            swap(first, second, ("error_x", "error_y"))
            yield spoilt
    for k, trace in enumerate(figure["data"]):
        for key in [key for key in ("error_x", "error_y") if key in trace]:
            spoilt = deepcopy(figure)
            for side in [side for side in ("array", "arrayminus") if side in trace[key]]:
                spoilt["data"][k][key][side].reverse()
            yield spoilt
        if is_spread(trace.get("customdata", [])):
            spoilt = deepcopy(figure)
            spoilt["data"][k]["customdata"].reverse()
            yield spoilt


def axes_of(figure: Json, letter: str) -> list[Json]:
    names = [name for name in figure["layout"] if re.fullmatch(letter + r"axis\d*", name)]
    return [figure["layout"][name] for name in sorted(names, key=lambda name: (len(name), name))]


def swap_axis_titles(figure: Json) -> Iterator[Json]:
    for k in range(len(axes_of(figure, "x"))):
        spoilt = deepcopy(figure)
        swap(axes_of(spoilt, "x")[k], axes_of(spoilt, "y")[k], ("title",))
        yield spoilt


def shift_axis_titles(figure: Json) -> Iterator[Json]:
    """Every title to the next panel."""
    for letter in "xy":
        spoilt = deepcopy(figure)
        axes = axes_of(spoilt, letter)
        for one, other in pairwise(axes):
            swap(one, other, ("title",))
        yield spoilt


def shuffle_categories(figure: Json) -> Iterator[Json]:
    """Those of one trace by one place; and two of them, in all traces of a panel."""
    for panel, traces in enumerate(panels_of(figure)):
        for letter in "xy":
            lists = [[v for v in trace.get(letter, []) if isinstance(v, str)] for trace in traces]
            for k, values in enumerate(lists):
                spoilt = deepcopy(figure)
                panels_of(spoilt)[panel][k][letter] = values[1:] + values[:1]
                other_axis = traces[k].get("yx"["xy".index(letter)], [])
                if len(set(values)) > 1 and len(set(map(str, other_axis))) > 1:  # else nothing is exchanged
                    yield spoilt
            for one, other in list(combinations({value: None for values in lists for value in values}, 2))[:1]:
                spoilt = deepcopy(figure)
                for trace in panels_of(spoilt)[panel]:
                    trace[letter] = [{one: other, other: one}.get(value, value) for value in trace[letter]]
                yield spoilt


def transpose(figure: Json) -> Iterator[Json]:
    for k, trace in enumerate(figure["data"]):
        if trace["type"] == "heatmap":
            spoilt = deepcopy(figure)
            turned = {key: [*map(list, zip(*trace[key], strict=True))] for key in ("z", "text") if key in trace}
            spoilt["data"][k] |= {**turned, "x": trace["y"], "y": trace["x"]}
            yield spoilt


def recoloured(node: Any, colours: dict[str, str]) -> Any:
    """Everything in another colour, opacity aside."""
    if isinstance(node, dict):
        return {key: recoloured(value, colours) for key, value in node.items()}
    if isinstance(node, list):
        return [recoloured(value, colours) for value in node]
    if isinstance(node, str) and re.match(r"#[0-9A-Fa-f]{6}$|rgba?\(", node) and opaque(node) in colours:
        opacity = re.findall(r"[\d.]+", node)[3:] if node.startswith("rgba") else ["1"]
        return style.translucent(colours[opaque(node)], float(opacity[0]))
    return node


def exchange_domains(figure: Json) -> Iterator[Json]:
    yield {**figure, "data": recoloured(figure["data"], {style.SOURCE: style.TARGET, style.TARGET: style.SOURCE})}


def exchange_colours(figure: Json) -> Iterator[Json]:
    for one, other in combinations(dict.fromkeys(map(colour_of, listed(figure))), 2):
        yield {**figure, "data": recoloured(figure["data"], {one: other, other: one})}


def exchange_signs(figure: Json) -> Iterator[Json]:
    """Dashes or symbols of two entries of the legend."""
    places = [k for k, trace in enumerate(figure["data"]) if trace in listed(figure)]
    for one, other in combinations(places, 2):
        spoilt = deepcopy(figure)
        first, second = spoilt["data"][one], spoilt["data"][other]
        for part, key in (("line", "dash"), ("marker", "symbol")):
            if part in first and part in second:
                swap(first[part], second[part], (key,))
        yield spoilt


def swap_panel_titles(figure: Json) -> Iterator[Json]:
    titles = [k for k, a in enumerate(figure["layout"].get("annotations", [])) if is_panel_title(a)]
    for one, other in combinations(titles, 2):
        spoilt = deepcopy(figure)
        swap(spoilt["layout"]["annotations"][one], spoilt["layout"]["annotations"][other], ("text",))
        yield spoilt


def swap_texts(figure: Json) -> Iterator[Json]:
    """Of two points, bars or rows: what is written there or appears on hovering."""
    for k, trace in enumerate(figure["data"]):
        for key in ("text", "hovertext", *(() if is_spread(trace.get("customdata", [])) else ("customdata",))):
            for place in range(len(trace.get(key, [])) - 1):
                spoilt = deepcopy(figure)
                texts = spoilt["data"][k][key]
                texts[place : place + 2] = texts[place : place + 2][::-1]
                yield spoilt


class Mutation(NamedTuple):
    """A way to spoil a figure, and the feature that it needs: what the pattern's groups find in its sentences."""

    spoil: Callable[[Json], Iterator[Json]]
    feature: str
    pattern: str
    at_least: int = 1

    def lacks(self, sentences: Iterable[str]) -> str:
        """Why it cannot be made of a figure that says this; nothing if it can."""
        count = len({match.groups() for sentence in sentences for match in re.finditer(self.pattern, sentence)})
        return f"{self.feature}: {count}, needed: {self.at_least}" if count < self.at_least else ""


IN_LEGEND = r"^legend: .+ is (.+)$"
MUTATIONS = {
    "swap two series' names": Mutation(swap_names, "names in the legend", IN_LEGEND, 2),
    "swap two series' values": Mutation(swap_values, "series with a name", r"\| (?!band).* of (.+): x", 2),
    "drop a series": Mutation(lambda f: drop(f, lambda t: not is_band(t)), "series", r"\| .*(?: of |cell)()"),
    "drop a band": Mutation(lambda f: drop(f, is_band), "bands", r"\| band of (.+): x"),
    "drop error bars": Mutation(
        lambda f: drop(f, has_error_bars, ("error_x", "error_y")), "error bars", r", (from \S+ to \S+)$|, (from .*),"
    ),
    "exchange two bands or error bars": Mutation(
        exchange_spreads, "bands and error bars", r"band of .+: x (.+), y|, (from \S+ to [^\s,]+)", 2
    ),
    "drop a shape": Mutation(drop_shapes, "shapes", r"(level at .*)"),
    "drop a label": Mutation(drop_labels, "labels", r"level at .*: (.+)|note (.+)"),
    "swap titles of x and y": Mutation(swap_axis_titles, "axes", r"([xy]) is "),
    "shift axis titles to the next panel": Mutation(shift_axis_titles, "panels", r"^(.*)\| x is ", 2),
    "shuffle categories": Mutation(shuffle_categories, "categories", r"(?:x|y|row|column) ('[^']*')", 2),
    "swap rows and columns": Mutation(transpose, "cells", r"cell: (.*)"),
    "exchange source's and target's colours": Mutation(
        exchange_domains, "colours of domains", f"({style.SOURCE}|{style.TARGET})"
    ),
    "exchange two colours of the legend": Mutation(
        exchange_colours, "colours in the legend", r"^legend.* (#\w+) is", 2
    ),
    "exchange two dashes or symbols": Mutation(
        exchange_signs, "signs in the legend", r"^legend: (?!bar|box|signs)(.*) #\w+ is", 2
    ),
    "swap two panels' titles": Mutation(swap_panel_titles, "panels with a title", r"^(?!row \d)(.+)\| x is ", 2),
    "swap two texts": Mutation(swap_texts, "texts", r"(?:says|hover) (.+)$", 2),
}


TABLE = {(name, how): MUTATIONS[how].lacks(drawn(name)[1]) for name in EXAMPLES for how in MUTATIONS}
"""Figure and mutation -> why the mutation cannot be made of it; nothing where it can."""
APPLICABLE = [pair for pair, lacking in TABLE.items() if not lacking]


def spoilt_figures(name: str, mutation: str) -> list[Json]:
    figure, _ = drawn(name)
    return [spoilt for spoilt in MUTATIONS[mutation].spoil(figure) if spoilt != figure]


def is_noticed(name: str, mutation: str) -> bool:
    """Everywhere it can be made, and there is such a place."""
    spoilt = spoilt_figures(name, mutation)
    return bool(spoilt) and all(misreadings(figure, drawn(name)[1]) for figure in spoilt)


# --- figures say what their data say ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_figure_says_what_its_data_say(name: str) -> None:
    assert misreadings(*drawn(name)) == []


def test_what_looks_the_same_is_not_told_apart() -> None:
    lines = pd.DataFrame({"A": [1.0], "B": [2.0]})
    look = {"colours": {"A": style.INK, "B": style.INK}, "dashes": {"A": "dot", "B": "dot"}}
    sentences = read(json.loads(figures.draw_lines(lines, axes=("x", "y"), title="", **look).to_json()))
    assert sentences[f"| dot {style.INK} of A or B / A: x 0, y 1"] == 1


@pytest.mark.parametrize(("value", "colour"), [(-1, "#000000"), (0, "#000000"), (1, "#800000"), (3, "#FF8000")])
def test_a_colour_of_a_scale(value: float, colour: str) -> None:
    assert shade(value, 0, 4, [(0.0, "#000000"), (0.5, "#FF0000"), (1.0, "#FFFF00")]) == colour


@pytest.mark.parametrize(("name", "mutation"), APPLICABLE, ids=map("-".join, APPLICABLE))
def test_what_is_exchanged_or_lost_is_noticed(name: str, mutation: str) -> None:
    assert is_noticed(name, mutation)


def test_where_a_figure_lacks_the_feature_nothing_can_be_spoilt() -> None:
    assert {pair: lacking for pair, lacking in TABLE.items() if lacking and spoilt_figures(*pair)} == {}


def test_every_figure_has_an_example() -> None:
    """A new figure is red here until `figure_examples` has one of the same name."""
    assert {name.partition(",")[0] for name in EXAMPLES} == set(DRAWS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_figure_of_several_series_can_be_spoilt_in_three_ways_or_more(name: str) -> None:
    ways = [mutation for figure, mutation in APPLICABLE if figure == name]
    assert len(ways) >= (3 if "swap two series' names" in ways else 1)


def test_every_mutation_is_tried() -> None:
    assert {mutation for _, mutation in APPLICABLE} == set(MUTATIONS)


# --- signs ------------------------------------------------------------------------------------------------------------


NEVER_ALONE = {"draw_mean_gains": "the paper's", "draw_kernels": "kernels", "draw_sweep_point": "the chosen value"}
"""Figures in which another entry of the legend stands beside any series, and which."""


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in NEVER_ALONE])
def test_a_series_that_is_alone_has_its_name(name: str) -> None:
    """Plotly leaves out a legend of one entry unless it is asked for."""
    figure, sentences = drawn(name)
    for trace in listed(figure):
        alone = read({**figure, "data": [trace]})
        assert entry(look(trace), name_of(trace)) in alone
    assert bool(listed(figure)) == any(sentence.startswith("legend") for sentence in sentences)


def alike(figure: Json) -> list[tuple[str, str]]:
    """Pairs of the legend with the same sign, in colours that some eyes do not tell apart."""
    near = []
    for one, other in combinations(listed(figure), 2):
        (sign, _, colour), (same, _, second) = (look(trace).rpartition(" ") for trace in (one, other))
        if sign == same and min(distance(colour, second, eyes) for eyes in SEEN) <= APART:
            near.append((one["name"], other["name"]))
    return near


@pytest.mark.parametrize("name", EXAMPLES)
def test_series_of_like_colours_have_other_signs(name: str) -> None:
    assert alike(drawn(name)[0]) == []


def many_target_curves() -> go.Figure:
    rows = [facts.title for facts in METHODS.values()]
    pairs = [{"row": row, "pair": pair} for row in rows for pair in ("D2→D1", "D3→D2")]
    curves = pd.DataFrame(pairs).assign(total_step=5, mean=60.0, sd=1.0, worlds=1, seeds=3)
    return figures.draw_target_curves(curves)


def many_shares() -> go.Figure:
    names = [f"class {k}" for k in range(27)]
    return figures.draw_class_shares(figures.class_shares({"D1": [1] * 27}, names))


def many_classes() -> go.Figure:
    points = pd.DataFrame({"label": range(27), "x": 0.0, "y": 0.0, "side": "source", "uid": "u"})
    points = points.assign(modality="acc", method="tsne")
    return figures.draw_embedding(points, by="class", classes=[f"class {k}" for k in range(27)])


def many_opponents() -> go.Figure:
    names = {"accuracy": ["target"], "opponent": ["skeleton", "inertial", "depth", "rgb", "correspondence"]}
    rows = [{"group": group, "name": name} for group, of_group in names.items() for name in of_group]
    points = pd.DataFrame(rows).assign(value=1.0, mean=60.0, sd=1.0, worlds=1, seeds=3, place=None, chosen=True)
    return figures.draw_sweep_point(points, name="λ")


@pytest.mark.parametrize("draw", [many_target_curves, many_shares, many_classes, many_opponents])
def test_many_series_are_told_apart(draw: Callable[[], go.Figure]) -> None:
    """More than there are colours, as UTD-MHAD has 27 classes; and colours of several groups."""
    figure = json.loads(draw().to_json())
    assert len(listed(figure)) > 6
    assert alike(figure) == []


if __name__ == "__main__":
    for number, (mutation, (_, feature, _, at_least)) in enumerate(MUTATIONS.items(), start=1):
        print(f"{number:3}  {mutation} ({feature}: at least {at_least})")
    print(f"\n{'':30}" + "".join(f"{number:5}" for number in range(1, len(MUTATIONS) + 1)))
    for name in EXAMPLES:
        cells = ["–" if TABLE[name, each] else "red" if is_noticed(name, each) else "GREEN!" for each in MUTATIONS]
        print(f"{name:30}" + "".join(f"{cell:>5}" for cell in cells))
