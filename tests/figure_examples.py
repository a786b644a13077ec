"""Of every figure a small one, of data made by hand with distinct values, and what these data say.

A new figure needs a function here, named as what draws it: it returns the figure, and the sentences of
`figure_readings` that a person should read off it, written from the data. Behind ``__`` stands a variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from figure_readings import axis, band, cell, entry, level, mark, note, scale, shade, words

from mmsada_lab.analysis import figures, style
from mmsada_lab.analysis.differences import OVER_SEEDS, OVER_WORLDS
from mmsada_lab.analysis.gap.table import COVERAGE
from mmsada_lab.analysis.lessons.correspondence_toy import TrainedHead
from mmsada_lab.analysis.lessons.plane_game import GameState
from mmsada_lab.analysis.lessons.two_classifiers import DiscrepancyStep

Example = tuple[go.Figure, list[str]]
"""A figure that was drawn, and what it should say."""

EXAMPLES: dict[str, Callable[[], Example]] = {}

RGB, FLOW, FUSED = (style.STREAM_COLOURS[name] for name in ("rgb", "flow", "fused"))
CLASSIFICATION, CORRESPONDENCE = (style.TERM_COLOURS[name] for name in ("classification", "correspondence"))
FIRST, SECOND, THIRD = style.CYCLE[:3]


def example(make: Callable[[], Example]) -> Callable[[], Example]:
    """Put it into the table."""
    name, _, variant = make.__name__.partition("__")
    EXAMPLES[f"{name}, {variant.replace('_', ' ')}" if variant else name] = make
    return make


def sheet(title: str, x: str, y: str, *, panels: Sequence[str] = ("",)) -> list[str]:
    """Title of the figure, and of the axes of every panel."""
    axes = [axis(letter, text, panel=panel) for panel in panels for letter, text in (("x", x), ("y", y))]
    return [f"title: {title}", *axes]


def marks(look: str, name: str, xs: Iterable[Any], ys: Iterable[Any], *, panel: str = "", sd: Any = None) -> list[str]:
    """A series; error bars of one sd along y."""
    xs, ys = list(xs), list(ys)
    ends = [None] * len(xs) if sd is None else [(y - d, y + d) for y, d in zip(ys, sd, strict=True)]
    return [mark(look, name, x, y, panel=panel, to=to) for x, y, to in zip(xs, ys, ends, strict=True)]


# --- a run ------------------------------------------------------------------------------------------------------------

TERM_LOOKS = {"classification": f"solid {CLASSIFICATION}", "correspondence": f"dash {CORRESPONDENCE}"}


def terms(runs: int) -> pd.DataFrame:
    """Of two loss terms in two stages."""
    stages = {"stage": ["pretrain", "pretrain", "adapt", "adapt"], "total_step": [10, 20, 30, 40], "runs": runs}
    one = {"name": "classification", "mean": [2.0, 1.7, 1.1, 0.8], "smooth": [1.9, 1.8, 1.0, 0.9], "sd": 0.3}
    other = {"name": "correspondence", "mean": [0.7, 0.6, 0.5, 0.3], "smooth": [0.65, 0.62, 0.4, 0.35], "sd": 0.1}
    return pd.concat([pd.DataFrame(stages | one), pd.DataFrame(stages | other)], ignore_index=True)


def said_of_terms(curves: pd.DataFrame, title: str) -> list[str]:
    return [
        *sheet(title, "optimiser step", "loss (nats, unweighted)"),
        *(entry(look, name) for name, look in TERM_LOOKS.items()),
        *(mark(TERM_LOOKS[row.name], row.name, row.total_step, row.smooth) for row in curves.itertuples(index=False)),
        level("x", 20, "pretrain | adapt", look="dash"),
    ]


@example
def draw_training_curves() -> Example:
    curves = terms(runs=3)
    bands = [band(r.name, r.total_step, r.mean - r.sd, r.mean + r.sd) for r in curves.itertuples(index=False)]
    return figures.draw_training_curves(curves, title="Losses"), [*said_of_terms(curves, "Losses"), *bands]


@example
def draw_training_curves__one_run() -> Example:
    curves = terms(runs=1)
    looks = {"classification": f"faint solid {CLASSIFICATION}", "correspondence": f"faint solid {CORRESPONDENCE}"}
    faint = [mark(looks[row.name], row.name, row.total_step, row.mean) for row in curves.itertuples(index=False)]
    return figures.draw_training_curves(curves, title="Losses"), [*said_of_terms(curves, "Losses"), *faint]


@example
def draw_accuracy_curves() -> Example:
    steps = {"stage": ["pretrain", "adapt", "adapt"], "total_step": [10, 20, 30], "averaged": [False, True, True]}
    of_streams = {
        "fused": ([40.0, 60.0, 70.0], 3.0),
        "rgb": ([20.0, 30.0, 35.0], 2.0),
        "flow": ([50.0, 52.0, 55.0], 1.0),
    }
    curves = [
        pd.DataFrame({**steps, "name": n, "mean": mean, "sd": sd, "runs": 3}) for n, (mean, sd) in of_streams.items()
    ]
    looks = {"fused": f"solid {FUSED}", "rgb": f"dash {RGB}", "flow": f"dot {FLOW}"}
    sentences = sheet("Accuracy", "optimiser step", "accuracy (%), ± sd over 3 runs")
    for name, (mean, sd) in of_streams.items():
        sentences += [entry(looks[name], name), *marks(looks[name], name, steps["total_step"], mean)]
        sentences += [band(name, x, y - sd, y + sd) for x, y in zip(steps["total_step"], mean, strict=True)]
    sentences += [level("x", 10, "pretrain | adapt", look="dash"), level("x", 20, "mean of 2", look="shaded to 30,")]
    return figures.draw_accuracy_curves(pd.concat(curves), title="Accuracy"), sentences


@example
def draw_game() -> Example:
    """With the panels of accuracies, of D's loss and, below, of the reversal."""
    right, loss, below = "row 1, column 1", "row 1, column 2", "row 2, column 1"
    looks = {"rgb": f"solid {RGB}", "flow": f"dash {FLOW}", "correspondence": f"dot {CORRESPONDENCE}"}
    names = {"rgb": "D, rgb", "flow": "D, flow", "correspondence": "C, correspondence"}
    smooth = {("accuracy", "rgb"): [80.0, 60.0], ("accuracy", "flow"): [75.0, 55.0], ("loss", "rgb"): [0.4, 0.6]}
    smooth |= {
        ("accuracy", "correspondence"): [65.0, 90.0],
        ("loss", "flow"): [0.5, 0.7],
        ("reversal",) * 2: [0.1, 0.2],
    }
    sds = {"accuracy": 2.0, "loss": 0.05, "reversal": 0.0}
    shared = {"stage": "adapt", "total_step": [30, 40], "runs": 3}
    curves = [
        {"quantity": q, "name": name, **shared, "mean": [y + 0.01 for y in values], "smooth": values, "sd": sds[q]}
        for (q, name), values in smooth.items()
    ]
    sentences = ["title: The game", axis("x", "optimiser step", panel=right), axis("x", "optimiser step", panel=loss)]
    sentences += [axis("x", "optimiser step", panel=below), axis("y", "reversal", panel=below)]
    sentences += [axis("y", "right (%, balanced,<br>± sd over 3 runs)", panel=right)]
    sentences += [axis("y", "loss of D (nats,<br>± sd over 3 runs)", panel=loss)]
    sentences += [entry(look, names[name]) for name, look in looks.items()]
    sentences += [level("y", 50, "chance", look="dot", panel=right)]
    sentences += [level("y", 0.69, "ln 2: guessing", look="dot", panel=loss)]
    sentences += marks(f"solid {style.INK}", "", [30, 40], [0.11, 0.21], panel=below)
    for (quantity, name), values in smooth.items():
        if quantity != "reversal":
            panel, sd = right if quantity == "accuracy" else loss, sds[quantity]
            sentences += marks(looks[name], names[name], [30, 40], values, panel=panel)
            edges = zip([30, 40], values, strict=True)
            sentences += [band(names[name], x, y - sd, y + sd, panel=panel) for x, y in edges]
    return figures.draw_game(pd.concat(map(pd.DataFrame, curves), ignore_index=True)), sentences


@example
def draw_gradient_sizes() -> Example:
    stages = {"stage": ["pretrain", "adapt"], "total_step": [20, 40], "runs": 3}
    sizes = {("rgb", "classification"): [3.0, 2.0], ("rgb", "correspondence"): [0.6, 0.5]}
    sizes |= {("flow", "classification"): [1.5, 1.2], ("flow", "correspondence"): [0.4, 0.3]}
    frames = [
        pd.DataFrame({**stages, "modality": m, "name": name, "mean": [y + 0.2 for y in ys], "smooth": ys, "sd": 0.1})
        for (m, name), ys in sizes.items()
    ]
    title = "norm of the gradient into F, ± sd over 3 runs [log]"
    sentences = sheet("Sizes", "optimiser step", title, panels=("rgb", "flow"))
    sentences += [entry(look, name) for name, look in TERM_LOOKS.items()]
    sentences += [level("x", 20, "pretrain | adapt", look="dash", panel=panel) for panel in ("rgb", "flow")]
    for (modality, name), ys in sizes.items():
        sentences += marks(TERM_LOOKS[name], name, [20, 40], ys, panel=modality)
        lowest = [max(y - 0.1, 0.3) for y in ys]  # a band ends where the axis does, and is as wide above
        edges = zip([20, 40], ys, lowest, strict=True)
        sentences += [band(name, x, low, 2 * y - low, panel=modality) for x, y, low in edges]
    return figures.draw_gradient_sizes(pd.concat(frames, ignore_index=True), title="Sizes"), sentences


def bars_of_streams(groups: Sequence[str], means: dict[str, list[float]], sds: dict[str, list[float]]) -> list[str]:
    """A bar per group and stream, with its number written out."""
    looks = {"fused": f"bar {FUSED}", "rgb": f"bar {RGB}", "flow": f"bar {FLOW}"}
    sentences = [entry(looks[stream], stream) for stream in means]
    for stream, values in means.items():
        each = marks(looks[stream], stream, groups, values, sd=sds[stream])
        sentences += [each[k] + words(f"{value:.1f}") for k, value in enumerate(values)]
    return sentences


ACCURACIES = {"fused": [70.5, 64.5], "rgb": [61.5, 52.5], "flow": [58.5, 49.5]}
SPREADS = {"fused": [2.5, 1.5], "rgb": [3.5, 4.5], "flow": [0.5, 5.5]}


@example
def draw_stream_accuracies() -> Example:
    frames = [
        {"stream": s, "measure": ["top1", "mean_class"], "mean": ACCURACIES[s], "sd": SPREADS[s]} for s in ACCURACIES
    ]
    table = pd.concat(map(pd.DataFrame, frames)).assign(spread="± sd over 3 runs")
    sentences = sheet("Streams", "measure (bars: ± sd over 3 runs)", "accuracy (%)")
    sentences += bars_of_streams(["top-1", "mean class"], ACCURACIES, SPREADS)
    return figures.draw_stream_accuracies(table, title="Streams"), sentences


@example
def draw_agreement() -> Example:
    looks = {
        "both": f"bar {FUSED}",
        "only rgb": f"bar {RGB}",
        "only flow": f"bar {FLOW}",
        "neither": f"bar {style.FAINT}",
    }
    cells = {"cut": [(8, 40.0, 95.0), (6, 30.0, 70.0), (4, 20.0, 60.0), (2, 10.0, 5.0)]}
    cells |= {"mix": [(1, 10.0, 90.0), (2, 20.0, 65.0), (3, 30.0, 55.0), (4, 40.0, 15.0)]}
    rows = [(name, right, *cell) for name, four in cells.items() for right, cell in zip(looks, four, strict=True)]
    sizes = {"cut": "cut (20)", "mix": "mix (10)"}
    sentences = sheet("Right", "segments of the class (%)", "true class (test segments)")
    sentences += [entry(look, right) for right, look in looks.items()]
    for name, right, segments, percent, fused in rows:
        hover = f"{sizes[name]}: {percent:g} %, {segments} segments; fused right: {fused:g} %"
        sentences.append(mark(looks[right], right, percent, sizes[name]) + words(f"{percent:.0f}", hover))
    table = pd.DataFrame(rows, columns=["class", "right", "segments", "percent", "fused"])
    return figures.draw_agreement(table, title="Right"), sentences


def matrix(
    rows: list[tuple[str, str, float, str, str]], *, colours: Any, reach: tuple[float, float], x: str
) -> list[str]:
    """A heatmap of true and predicted classes, and beside it the classes' sizes."""
    left, right = "row 1, column 1", "row 1, column 2"
    sentences = [axis("x", x, panel=left), axis("x", "test segments", panel=right)]
    sentences += [axis("y", "true class", panel=panel) for panel in (left, right)]
    for true, predicted, value, text, share in rows:
        where = cell(true, predicted, shade(value, *reach, colours), panel=left)
        sentences.append(where + words(text, f"{true} taken for {predicted}: {share}"))
    for name, size in SIZES.items():
        bar = mark(f"bar {style.GREY}", "", size, name, panel=right)
        sentences.append(bar + words(size, f"{name}: {size} test segments"))
    return sentences


SIZES = {"cut": 20, "mix": 10}
PAIRS = [("cut", "cut"), ("cut", "mix"), ("mix", "cut"), ("mix", "mix")]


def confusions(column: str, values: Sequence[float], counts: Sequence[float]) -> pd.DataFrame:
    table = pd.DataFrame(PAIRS, columns=["true", "predicted"])
    return table.assign(**{column: values}, count=counts, segments=table["true"].map(SIZES))


@example
def draw_confusion() -> Example:
    percent, texts = [75.0, 25.0, 40.0, 60.0], ["75 %<br>15", "25 %<br>5", "40 %<br>4", "60 %<br>6"]
    shares = ["15 of 20, 75.0 %", "5 of 20, 25.0 %", "4 of 10, 40.0 %", "6 of 10, 60.0 %"]
    rows = [(*pair, *cell) for pair, *cell in zip(PAIRS, percent, texts, shares, strict=True)]
    look = {"colours": style.PERCENT_SCALE, "reach": (0, 100), "x": "predicted class (row %, count below)"}
    counts = confusions("percent", percent, [15.0, 5.0, 4.0, 6.0])
    return figures.draw_confusion(counts, title="C"), ["title: C", *matrix(rows, **look)]


@example
def draw_confusion_difference() -> Example:
    points, texts = [15.0, -15.0, -20.0, 20.0], ["+15<br>+3.0", "-15<br>-3.0", "-20<br>-2.0", "+20<br>+2.0"]
    shares = ["+15.0 points, +3 of 20 segments", "-15.0 points, -3 of 20 segments"]
    shares += ["-20.0 points, -2 of 10 segments", "+20.0 points, +2 of 10 segments"]
    rows = [(*pair, *cell) for pair, *cell in zip(PAIRS, points, texts, shares, strict=True)]
    look = {
        "colours": style.DIFFERENCE_SCALE,
        "reach": (-20, 20),
        "x": "predicted class (points of row %, count below)",
    }
    counts = confusions("points", points, [3.0, -3.0, -2.0, 2.0])
    colours = scale(-20, 20, "points", panel="row 1, column 1")
    return figures.draw_confusion_difference(counts, title="D"), ["title: D", colours, *matrix(rows, **look)]


EMBEDDED = pd.DataFrame(
    [
        ("rgb", "source", 0, 1.0, 2.0, "P08_1"),
        ("rgb", "source", 1, 3.0, 5.0, "P08_2"),
        ("rgb", "source", 0, 4.0, 9.0, "P08_3"),
        ("rgb", "target", 0, -1.0, 7.0, "P22_1"),
        ("flow", "source", 0, 8.0, -4.0, "P08_1"),
        ("flow", "source", 1, 6.0, -5.0, "P08_2"),
        ("flow", "source", 0, 7.0, 12.0, "P08_3"),
        ("flow", "target", 0, -9.0, 11.0, "P22_1"),
    ],
    columns=["modality", "side", "label", "x", "y", "uid"],
).assign(method="tsne")


@example
def draw_embedding() -> Example:
    looks = {"source": f"circle {style.SOURCE}", "target": f"diamond {style.TARGET}"}
    names = {"source": "source (3 segments)", "target": "target (1 segments)"}
    sentences = sheet("Space", "t-SNE 1 (no unit)", "t-SNE 2 (no unit)", panels=("rgb", "flow"))
    sentences += [entry(looks[side], names[side]) for side in looks]
    for row in EMBEDDED.itertuples():
        where = mark(looks[row.side], names[row.side], row.x, row.y, panel=row.modality)
        sentences.append(where + words("", f"{row.uid} / {row.side}"))
    return figures.draw_embedding(EMBEDDED, title="Space"), sentences


@example
def draw_embedding__by_class() -> Example:
    taken_for = {"taken_for": ["mix, 80 %", "cut, 55 %", "cut, 95 %", "mix, 65 %"], "predicted": [1, 0, 0, 1]}
    points = EMBEDDED[EMBEDDED["modality"] == "rgb"].assign(**taken_for, confidence=[80.0, 55.0, 95.0, 65.0])
    looks = {("cut", "source"): f"circle {FIRST}", ("cut", "target"): f"diamond {FIRST}"}
    looks |= {("mix", "source"): f"circle {SECOND}", ("mix", "target"): f"diamond {SECOND}"}
    counts = {("cut", "source"): 2, ("cut", "target"): 1, ("mix", "source"): 1, ("mix", "target"): 0}
    names = {(c, side): f"{c}, {side} ({counts[c, side]} segments)" for c, side in looks}
    sentences = sheet("Space", "t-SNE 1 (no unit)", "t-SNE 2 (no unit)", panels=("rgb",))
    sentences += [entry(looks[group], names[group]) for group in looks]
    for row in points.itertuples():
        group = ("cut", "mix")[row.label], row.side
        hover = words("", f"{row.uid} / {row.side}, {group[0]} / taken for {row.taken_for}")
        sentences.append(mark(looks[group], names[group], row.x, row.y, panel="rgb") + hover)
    return figures.draw_embedding(points, by="class", classes=["cut", "mix"], title="Space"), sentences


# --- methods beside one another ---------------------------------------------------------------------------------------


@example
def draw_method_bars() -> Example:
    methods = ["Source-only", "MM-SADA"]
    frames = [{"method": methods, "stream": s, "mean": ACCURACIES[s], "sd": SPREADS[s]} for s in ACCURACIES]
    bars = pd.concat(map(pd.DataFrame, frames)).assign(worlds=1, seeds=3)
    sentences = sheet("Methods", "method (± sd over 3 seeds)", "accuracy (%)")
    return figures.draw_method_bars(bars, title="Methods"), sentences + bars_of_streams(methods, ACCURACIES, SPREADS)


@example
def draw_gap() -> Example:
    """A panel per modality and scope; colours of bars are those of modalities, so the legend tells by signs."""
    numbers = {("rgb", "all segments"): [(9.0, 1.0, 8.0, 7.5, 8.25), (5.0, 1.5, 3.5, 3.0, 4.5)]}
    numbers |= {("flow", "all segments"): [(6.0, 0.5, 5.5, 5.0, 5.75), (4.0, 0.75, 3.25, 2.5, 3.75)]}
    numbers |= {("rgb", "within classes"): [(7.0, 2.0, 5.25, 4.5, 6.5), (3.0, 0.25, 2.75, 2.25, 4.25)]}
    numbers |= {("flow", "within classes"): [(2.0, 1.25, 0.5, 0.25, 1.75), (8.0, 1.75, 6.25, 6.0, 6.75)]}
    columns, methods = ["value", "null", "corrected", "low", "high"], ["Source-only", "MM-SADA"]
    frames = [
        pd.DataFrame(rows, columns=columns).assign(row=methods, modality=modality, scope=scope)
        for (modality, scope), rows in numbers.items()
    ]
    arms = "less its bias; arms hold it in 80 % or more (nominally 95 %)"
    null, dash, dot = "null (domains shuffled)", f"line-ew {style.GREY}", f"circle {style.INK}"
    sentences = ["title: Gaps", entry(f"bar {RGB}", "value"), entry(dash, null), entry(dot, arms)]
    for (modality, scope), rows in numbers.items():
        panel, colour = f"{modality}, {scope}", RGB if modality == "rgb" else FLOW
        sentences += [axis("x", "method", panel=panel)]
        sentences += [axis("y", "CORAL (features⁴)", panel=panel)]
        for method, (value, chance, corrected, low, high) in zip(methods, rows, strict=True):
            sentences.append(mark(f"bar {colour}", "value", method, value, panel=panel))
            sentences.append(mark(dash, null, method, chance, panel=panel))
            hover = f"{corrected:g}, arms from {low:g} to {high:g}: {COVERAGE}"
            sentences.append(mark(dot, arms, method, corrected, panel=panel, to=(low, high)) + words("", hover))
    bars = pd.concat(frames, ignore_index=True).assign(measure="coral", statistics="evaluation")
    return figures.draw_gap(bars, measure="coral", title="Gaps"), sentences


@example
def draw_selection() -> Example:
    columns = ["method", "rule", "regret", "regret_sd", "worst", "correlation", "correlation_sd"]
    rows = [
        ("mmsada", "at random", 5.0, 1.0, 9.0, None, None),
        ("mmsada", "nuclear_norm", 3.0, 0.5, 7.0, 0.4, 0.2),
        ("mcd", "at random", 6.0, 1.5, 12.0, None, None),
        ("mcd", "nuclear_norm", 2.0, 0.25, 4.0, -0.6, 0.1),
        ("mcd", "oracle", 0.0, 0.0, 0.0, None, None),
    ]
    left, right = "row 1, column 1", "row 1, column 2"
    titles = {"mmsada": ("MM-SADA", "circle"), "mcd": ("MCD", "diamond")}
    sentences = ["title: Choosing", level("x", 0, look="dash", panel=left), level("x", 0, look="dash", panel=right)]
    sentences += [axis("x", "regret (points, ± sd;<br>tick: worst run)", panel=left), axis("y", "rule", panel=left)]
    sentences += [axis("x", "rank correlation<br>(± sd)", panel=right), axis("y", "rule", panel=right)]
    for method, (title, symbol) in titles.items():
        colour, name = style.METHOD_COLOURS[title], f"{title} (4 runs)"
        sentences.append(entry(f"{symbol} {colour}", name))
        for _, rule, regret, sd, worst, correlation, other_sd in [row for row in rows if row[0] == method]:
            if rule != "oracle":
                named = rule.replace("_", " ")
                dot, tick = f"{symbol} {colour}", f"line-ns-open {colour}"
                sentences.append(mark(dot, name, regret, named, panel=left, to=(regret - sd, regret + sd)))
                sentences.append(mark(tick, f"{name} / {title}, worst run", worst, named, panel=left))
                if correlation is not None:
                    ends = (correlation - other_sd, correlation + other_sd)
                    sentences.append(mark(dot, name, correlation, named, panel=right, to=ends))
    bars = pd.DataFrame(rows, columns=columns).assign(runs=4)
    return figures.draw_selection(bars, title="Choosing"), sentences


# --- the paper's ------------------------------------------------------------------------------------------------------


@example
def draw_class_shares() -> Example:
    counts = {"D1": {"take": 30, "put": 6, "open": 4}, "D2": {"take": 5, "put": 10, "open": 5}}
    looks = {"take": f"bar {FIRST}", "put": f"bar {SECOND}", "open": f"bar {THIRD}"}
    rows, sentences = [], sheet("Classes", "training segments (%)", "untitled")
    sentences += [entry(look, name) for name, look in looks.items()]
    for domain, of_class in counts.items():
        total = sum(of_class.values())
        for name, segments in of_class.items():
            share = 100 * segments / total
            rows.append({"domain": domain, "class": name, "segments": segments, "share": share})
            sentences.append(mark(looks[name], name, share, f"{domain} ({total} segments)") + words(segments))
    return figures.draw_class_shares(pd.DataFrame(rows), title="Classes"), sentences


@example
def draw_target_curves() -> Example:
    """Fig. 5."""
    curves = {("Source-only", "D2→D1"): [40.0, 42.0], ("MM-SADA", "D2→D1"): [50.0, 55.0]}
    curves |= {("Source-only", "D3→D2"): [30.0, 33.0], ("MM-SADA", "D3→D2"): [60.0, 66.0]}
    shared = {"stage": "adapt", "total_step": [5, 10], "sd": [1.0, 2.0], "worlds": 1, "seeds": 3}
    frame = pd.concat([pd.DataFrame({**shared, "row": r, "pair": p, "mean": ys}) for (r, p), ys in curves.items()])
    colours, dashes = style.METHOD_COLOURS, {"Source-only": "dot", "MM-SADA": "solid"}
    sentences = sheet("Fig. 5", "optimiser step", "top-1 (%), ± sd over 3 seeds", panels=("D2→D1", "D3→D2"))
    sentences += [entry(f"{dash} {colours[row]}", row) for row, dash in dashes.items()]
    for (row, pair), ys in curves.items():
        sentences += marks(f"{dashes[row]} {colours[row]}", row, [5, 10], ys, panel=pair)
        sentences += [
            band(row, x, y - sd, y + sd, panel=pair) for x, y, sd in zip([5, 10], ys, [1.0, 2.0], strict=True)
        ]
    return figures.draw_target_curves(frame, title="Fig. 5"), sentences


@example
def draw_kinds() -> Example:
    columns = ["kind", "method", "difference", "low", "high", "over", "worlds"]
    rows = [
        ("camera", "AdaBN", 9.0, 8.0, 10.5, OVER_WORLDS, 4),
        ("camera", "MM-SADA", 4.0, 3.0, 6.0, OVER_WORLDS, 4),
        ("pace", "AdaBN", -5.0, -7.0, -2.5, OVER_WORLDS, 4),
    ]
    sentences = ["title: Kinds", axis("y", "untitled"), scale(-9, 9, "points")]
    below = "points to source-only on as many source clips; 95 % over worlds"
    sentences += [axis("x", f"kind of gap ({below})")]
    for kind, method, difference, low, high, *_ in rows:
        text = f"{difference:+.1f} / [{low:+.1f}, {high:+.1f}]"
        colour = shade(difference, -9, 9, style.DIFFERENCE_SCALE)
        sentences.append(cell(method, kind, colour) + words(text, f"{method}, {kind}: {text} points"))
    sentences.append(cell("MM-SADA", "pace", "blank") + words("", "MM-SADA, pace:  points"))
    return figures.draw_kinds(pd.DataFrame(rows, columns=columns), title="Kinds"), sentences


@example
def draw_sweep() -> Example:
    means = {"value": [0.0, 0.3, 10.0], "top1": [58.0, 62.0, 51.0], "sd": [1.0, 2.0, 3.0]}
    sentences = sheet("Fig. 6", "λ", "top-1, mean over pairs (%),<br>± sd over 3 seeds")
    sentences += marks(f"solid {style.TARGET}", "", ["0", "0.3", "10"], means["top1"], sd=means["sd"])
    table = pd.DataFrame(means).assign(worlds=1, seeds=3)
    sentences += [level("y", 55, "source-only", look="dash")]
    return figures.draw_sweep(table, name="λ", baseline=55.0, title="Fig. 6"), sentences


OPPONENTS = {"rgb": ([80.0, 60.0], [1.0, 2.0]), "flow": ([75.0, 55.0], [3.0, 4.0])}


@example
def draw_sweep_game() -> Example:
    sentences = sheet("The game", "λ", "right at the end (%, balanced),<br>± sd over 4 worlds")
    frames = [
        pd.DataFrame({"value": [0.0, 1.0], "name": n, "right": ys, "sd": sd}) for n, (ys, sd) in OPPONENTS.items()
    ]
    for name, (ys, sd) in OPPONENTS.items():
        look = f"solid {RGB if name == 'rgb' else FLOW}"
        sentences += [entry(look, f"D, {name}"), *marks(look, f"D, {name}", ["0", "1"], ys, sd=sd)]
    sentences += [level("y", 50, "chance", look="dot")]
    return figures.draw_sweep_game(pd.concat(frames).assign(worlds=4, seeds=2), name="λ"), sentences


@example
def draw_mean_gains() -> Example:
    columns = ["row", "worlds", "seeds", "difference", "low", "high", "over", "paper"]
    rows = [
        ("AdaBN", 4, 2, 3.0, 1.0, 4.5, OVER_WORLDS, 2.5),
        ("MMD", 4, 2, 5.0, 2.0, 9.0, OVER_WORLDS, None),
        ("MM-SADA", 1, 3, 6.0, 5.5, 7.0, OVER_SEEDS, 4.75),
    ]
    ours = {OVER_WORLDS: ("square", "ours, 4 worlds of 2 seeds, 95 % over worlds")}
    ours |= {OVER_SEEDS: ("circle", "ours, 3 seeds, 95 % over seeds, worlds fixed")}
    paper = "the paper's, on EPIC-Kitchens, one run, no spread"
    sentences = [*sheet("Gains", "top-1, points over Source-only", "method"), level("x", 0, look="dash")]
    sentences += [entry(f"{symbol} {style.INK}", name) for symbol, name in ours.values()]
    sentences += [entry(f"diamond-open {style.GREY}", paper)]
    for row, _, _, difference, low, high, over, printed in rows:
        symbol, name = ours[over]
        sentences.append(mark(f"{symbol} {style.INK}", name, difference, row, to=(low, high)))
        sentences += [mark(f"diamond-open {style.GREY}", paper, printed, row)] if printed else []
    gains = pd.DataFrame(rows, columns=columns)
    return figures.draw_mean_gains(gains, baseline="Source-only", title="Gains"), sentences


# --- lessons ----------------------------------------------------------------------------------------------------------


@example
def draw_correspondence_grid() -> Example:
    """Own segments in the colour of the domain, those from elsewhere grey."""
    cells = {("source", 1): ["s1", "s1", "yes", "take"], ("source", 2): ["s2", "s3", "no", "–"]}
    cells |= {("target", 1): ["t1", "t2", "no", "–"], ("target", 2): ["t3", "t3", "yes", "–"]}
    filled = {"s3": "other", "t2": "other", "no": "other", "–": "none"}
    own = {"source": style.translucent(style.SOURCE, 0.35), "target": style.translucent(style.TARGET, 0.35)}
    columns = ["rgb", "flow", "corresponds", "class"]
    sentences = sheet("C", "taken from (segment @ middle of the window)", "clip", panels=("source", "target"))
    rows = [(*of, column, text) for of, texts in cells.items() for column, text in zip(columns, texts, strict=True)]
    for side, clip, column, text in rows:
        stops = [
            (0, "#FFFFFF"),
            (1, {"own": own[side], "other": style.FAINT, "none": "#FFFFFF"}[filled.get(text, "own")]),
        ]
        sentences.append(cell(str(clip), column, shade(1, 0, 1, stops), panel=side))
        sentences[-1] += words(text, f"{side}, clip {clip}, {column}: {text}")
    grid = pd.DataFrame(rows, columns=["side", "clip", "column", "text"])
    return figures.draw_correspondence_grid(
        grid.assign(filled=[filled.get(r[3], "own") for r in rows]), title="C"
    ), sentences


@example
def draw_kernels() -> Example:
    value = {1.0: [0.75, 0.35], 9.0: [0.95, 0.65], 30.0: [0.99, 0.85]}
    pull = {1.0: [0.45, 0.7], 9.0: [0.1, 0.5], 30.0: [0.05, 0.25]}
    frames = [pd.DataFrame({"bandwidth": g, "distance": [1.0, 4.0], "value": value[g], "pull": pull[g]}) for g in value]
    quantiles = {"rgb": [1.0, 1.5, 2.0, 2.5, 3.5], "flow": [2.25, 2.75, 3.0, 3.25, 3.75]}
    observed = pd.DataFrame([(m, *ends) for m, ends in quantiles.items()])
    observed.columns = ["modality", "low", "q25", "median", "q75", "high"]
    top, middle, bottom = (f"row {k}, column 1" for k in (1, 2, 3))
    x = "distance of two features (their unit, log scale) [log]"
    sentences = ["title: Kernels", axis("y", "kernel", panel=top), axis("y", "pull (per log distance)", panel=middle)]
    sentences += [axis("y", "observed", panel=bottom), *(axis("x", x, panel=panel) for panel in (top, middle, bottom))]
    for g, place in zip(value, (0, 0.5, 1), strict=True):  # the wider, the darker
        look, name = f"solid {shade(place, 0, 1, style.KERNEL_SCALE)}", f"g = {g:g}"
        sentences += [entry(look, name), *marks(look, name, [1, 4], value[g], panel=top)]
        sentences += marks(look, name, [1, 4], pull[g], panel=middle)
    for modality, ends in quantiles.items():
        look, name = f"box {RGB if modality == 'rgb' else FLOW}", f"{modality}, source to target"
        sentences.append(mark(look, name, ends, modality, panel=bottom))
    return figures.draw_kernels(pd.concat(frames), observed=observed, title="Kernels"), sentences


@example
def draw_lines() -> Example:
    lines = pd.DataFrame({"D": [0.7, 0.5], "source": [0.2, 0.1], "cost": [0.9, None]}, index=[0, 10])
    looks = {"D": f"solid {FIRST}", "source": f"dash {style.SOURCE}", "cost": f"dashdot {style.GREY}"}
    sentences = [*sheet("Lines", "step", "loss (nats)"), level("y", 0.69, "ln 2", look="dot")]
    for name, look in looks.items():
        known = lines[name].dropna()
        sentences += [entry(look, name), *marks(look, name, known.index, known)]
    options = {"colours": {"cost": style.GREY}, "dashes": {"cost": "dashdot"}, "levels": {"ln 2": 0.69}}
    return figures.draw_lines(lines, axes=("step", "loss (nats)"), title="Lines", **options), sentences


@example
def draw_plane() -> Example:
    """Steps as arrows, symbols of classes, and in each panel borders of its own."""
    columns = ["panel", "side", "label", "x", "y", "dx", "dy"]
    rows = [
        ("before", "source", 0, 1.0, 2.0, 0.5, 0.25),
        ("before", "target", 1, 3.0, -1.0, -1.0, 1.5),
        ("after", "source", 0, 1.5, 2.25, 0.0, 0.0),
        ("after", "target", 1, 2.0, 0.5, 0.0, 0.0),
    ]
    ends = [("before", "first", -1.0, 5.0, 4.0, -2.0), ("after", "first", 0.0, 6.0, 3.5, -3.0)]
    ends += [("after", "second", 0.25, 0.75, 2.5, 1.25)]
    cells = [(x, y, 0.1 + 0.2 * x + 0.4 * y) for y in (0.0, 1.0) for x in (0.0, 1.0)]
    colours, symbols = {"source": style.SOURCE, "target": style.TARGET}, ("circle", "x")
    dashes = {"first": f"solid {style.INK}", "second": f"dash {style.INK}"}
    sentences = sheet("Plane", "feature 1 (no unit)", "feature 2 (no unit)", panels=("before", "after"))
    sentences += [entry(f"signs {colour}", side) for side, colour in colours.items()]
    sentences += [entry(dash, name) for name, dash in dashes.items()]
    for panel, side, label, x, y, dx, dy in rows:
        sentences.append(mark(f"{symbols[label]} {colours[side]}", side, x, y, panel=panel))
        if dx:
            sentences.append(mark(f"solid arrow {colours[side]}", side, (x, x + dx), (y, y + dy), panel=panel))
    for panel, name, x0, y0, x1, y1 in ends:
        sentences += marks(dashes[name], name, [x0, x1], [y0, y1], panel=panel)
    for x, y, value in cells:
        sentences.append(cell(y, x, shade(value, 0, 1, style.GREY_SCALE), panel="after"))
    borders = pd.DataFrame(ends, columns=["panel", "name", "x0", "y0", "x1", "y1"])
    disagreement = pd.DataFrame(cells, columns=["x", "y", "value"]).assign(panel="after")
    shown = {"borders": borders, "disagreement": disagreement, "title": "Plane"}
    return figures.draw_plane(pd.DataFrame(rows, columns=columns), **shown), sentences


@example
def draw_sweep_point() -> Example:
    left, right, values = "row 1, column 1", "row 1, column 2", {"value": [0.5, 1.0], "chosen": [False, True]}
    accuracy = {"group": "accuracy", "name": "target", "mean": [58.0, 61.0], "sd": [1.0, 2.0], "worlds": 4, "seeds": 2}
    opponents = [{"group": "opponent", "name": n, "mean": ys, "sd": sd} for n, (ys, sd) in OPPONENTS.items()]
    score = {"group": "score", "name": "nuclear_norm", "mean": [0.25, 0.875], "place": [0.0, 1.0]}
    other = {"group": "score", "name": "domain_closeness", "mean": [-0.5, -0.75], "place": [1.0, 0.2]}
    rows = [accuracy, *opponents, score, other]
    points = pd.concat([pd.DataFrame({**values, "place": None, **row}) for row in rows], ignore_index=True)
    points = points.astype({"place": float})
    sentences = ["title: One", axis("x", "λ", panel=left), axis("y", "right (%),<br>± sd over 4 worlds", panel=left)]
    sentences += [
        axis("x", "score (0 lowest,<br>1 highest of the sweep)", panel=right),
        axis("y", "untitled", panel=right),
    ]
    looks = {"target": (f"solid {style.TARGET}", "target, top-1"), "rgb": (f"dash {RGB}", "D, rgb")}
    looks |= {"flow": (f"dot {FLOW}", "D, flow")}
    for row in rows[:3]:
        look, name = looks[row["name"]]
        sentences += [entry(look, name), *marks(look, name, ["0.5", "1"], row["mean"], sd=row["sd"], panel=left)]
    ring = f"circle-open {style.INK}", "λ = 1"
    sentences += [entry(*ring), *marks(*ring, ["1"] * 3, [row["mean"][1] for row in rows[:3]], panel=left)]
    for name, place, text in (("nuclear norm", 1.0, "0.875"), ("domains close (−MMD²)", 0.2, "-0.75")):
        sentences.append(mark(f"bar {style.GREY}", "", place, name, panel=right) + words(text))
    return figures.draw_sweep_point(points, name="λ", title="One"), sentences


# --- lessons' own ----------------------------------------------------------------------------------------------------


@example
def draw_gap_won() -> Example:
    means = {"Source-only": [40.0, 30.0], "MM-SADA": [52.0, 35.0], "Supervised target": [80.0, 60.0]}
    spreads = {"Source-only": [1.0, 2.0], "MM-SADA": [3.0, 1.5], "Supervised target": [2.5, 0.5]}
    streams = ["fused", "rgb"]
    table = pd.concat(
        pd.DataFrame({"method": name, "stream": streams, "mean": means[name], "sd": spreads[name]}) for name in means
    )
    sentences = sheet("Won", "stream (± sd over the last 9 evaluations)", "top-1 (%)")
    for name, values in means.items():
        look = f"bar {style.METHOD_COLOURS[name]}"
        sentences.append(entry(look, name))
        bars = marks(look, name, streams, values, sd=spreads[name])
        sentences += [bar + words(f"{value:.1f}") for bar, value in zip(bars, values, strict=True)]
    sentences += [note("gap 40.0<br>won back 12.0", at="fused"), note("gap 30.0<br>won back 5.0", at="rgb")]
    return figures.draw_gap_won(table.assign(evaluations=9), title="Won"), sentences


@example
def draw_gains() -> Example:
    """Means over the pairs of the four worlds are 10/3, 7/3, 8/3 and 10/3: 2.92, se 0.25, Student's t 3.18."""
    rows = pd.MultiIndex.from_product([range(4), [0]], names=["world", "seed"])
    gains = pd.DataFrame({"D2→D1": [1, 2, 3, 5], "D3→D1": [10, 7, 8, 5], "D1→D2": [-1, -2, -3, 0]}, rows)
    sentences = sheet("Gains", "pair (± sd over 4 worlds)", "difference (points of top-1)")
    bars = [("D2→D1", 2.8, 1.71, style.INK), ("D3→D1", 7.5, 2.08, style.INK), ("D1→D2", -1.5, 1.29, style.GREY)]
    for pair, mean, sd, colour in bars:
        sentences.append(mark(f"bar {colour}", "", pair, mean, to=(mean - sd, mean + sd)))
        sentences.append(note(f"{mean:+.1f}", at=pair))
    sentences += [level("y", 2.9, look="dash"), level("y", 2.1, look="shaded to 3.7,")]
    return figures.draw_gains(gains, title="Gains"), sentences


@example
def draw_window_counts() -> Example:
    counts = {"rgb": ([20.0, 25.0], [4.0, 1.0]), "flow": ([50.0, 58.0], [3.0, 2.0])}
    frames = [pd.DataFrame({"stream": s, "windows": [1, 2], "mean": m, "sd": d}) for s, (m, d) in counts.items()]
    sentences = sheet("Windows", "windows averaged (± sd over the choices of so many)", "top-1 (%)")
    for (stream, (mean, sd)), look in zip(counts.items(), (f"solid {RGB}", f"dash {FLOW}"), strict=True):
        sentences += [entry(look, stream), *marks(look, stream, [1, 2], mean, sd=sd)]
    return figures.draw_window_counts(pd.concat(frames), title="Windows"), sentences


@example
def draw_lengths() -> Example:
    shares = {"D1": ([0, 50, 100], [10.0, 20.0, 40.0]), "D2": ([0, 50, 100], [15.0, 30.0, 35.0])}
    frames = [pd.DataFrame({"domain": d, "percent": p, "frames": f}) for d, (p, f) in shares.items()]
    sentences = sheet("Lengths", "frames [log]", "segments that are no longer (%)")
    for (domain, (percent, length)), look in zip(shares.items(), (f"solid {FIRST}", f"dash {SECOND}"), strict=True):
        sentences += [entry(look, domain), *marks(look, domain, length, percent)]
    for name, span, dash in (("window of 8", 16, "dash"), ("window of 16", 32, "dot")):
        look = f"{dash} {style.GREY}"
        sentences += [entry(look, name), *marks(look, name, [span, span], [0, 100])]
    spans = {"window of 8": 16, "window of 16": 32}
    return figures.draw_lengths(pd.concat(frames), spans=spans, title="Lengths"), sentences


@example
def draw_windows() -> Example:
    windows = {"test 1": [102, 104], "test 2": [106, 108], "training 1": [101, 103]}
    sentences = sheet("Windows", "frame of the clock", "window")
    for name, frames in windows.items():
        colour = SECOND if name.startswith("test") else FIRST
        sentences += marks(f"circle {colour}", "", frames, [name] * 2)
    sentences.append(level("x", 100, "segment", look="shaded to 110,"))
    return figures.draw_windows(windows, segment=(100, 110), title="Windows"), sentences


@example
def draw_loss_shares() -> Example:
    rows = [("pretrain", "classification", 2.1), ("pretrain", "correspondence", 3.5)]
    rows += [("adapt", "classification", 0.4), ("adapt", "correspondence", 0.7)]
    looks = {"classification": f"bar {CLASSIFICATION}", "correspondence": f"bar {CORRESPONDENCE}"}
    sentences = sheet("Shares", "weight × loss (nats)", "stage")
    sentences += [entry(look, term) for term, look in looks.items()]
    sentences += [mark(looks[term], term, loss, stage) for stage, term, loss in rows]
    return figures.draw_loss_shares(pd.DataFrame(rows, columns=["stage", "term", "loss"]), title="Shares"), sentences


@example
def draw_coefficients() -> Example:
    steps, values = [0, 50, 90], {"classification": [1.0, 0.2, 0.3], "correspondence": [5.0, 4.0, 1.0]}
    sentences = sheet("Ramp", "optimiser step", "coefficient of the gradient into F")
    for term, look in TERM_LOOKS.items():
        sentences += [entry(look, term), *marks(look, term, steps, values[term])]
    sentences.append(level("x", 30, "pretrain | adapt", look="dash"))
    return figures.draw_coefficients(pd.DataFrame(values, index=steps), boundary=30, title="Ramp"), sentences


@example
def draw_term_reach() -> Example:
    reach = pd.DataFrame({"F": [1, 1], "G": [1, 0], "D": [0, 0]}, index=["classification", "adversarial"])
    sentences = sheet("Reach", "part of the network", "loss term")
    for term, row in reach.iterrows():
        for module, trained in row.items():
            says = "trains" if trained else "does not train"
            place_of = cell(term, module, shade(trained, 0, 1, style.PERCENT_SCALE))
            sentences.append(place_of + words(says, f"{term} {says} {module}"))
    return figures.draw_term_reach(reach, title="Reach"), sentences


@example
def draw_prediction() -> Example:
    bars = {"your guess": [3.0, 8.0], "fused": [9.25, 14.5], "rgb": [-1.25, 15.0]}
    looks = {"your guess": "bar / #FFFFFF", "fused": f"bar {FUSED}", "rgb": f"bar {RGB}"}
    table = pd.concat(pd.DataFrame({"method": ["AdaBN", "MM-SADA"], "name": n, "points": p}) for n, p in bars.items())
    sentences = sheet("Guess", "method (one seed, no spread)", "top-1, difference (points)")
    sentences.append(level("y", 0, look="dash"))
    for name, points in bars.items():
        sentences.append(entry(looks[name], name))
        for method, value in zip(["AdaBN", "MM-SADA"], points, strict=True):
            sentences.append(mark(looks[name], name, method, value) + words(f"{value:+.1f}"))
    return figures.draw_prediction(table, title="Guess"), sentences


@example
def draw_discrepancy() -> Example:
    """Points, borders and the grey of two moments; the grey itself is that of `plane_disagreement`."""
    source, labels = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([0, 1])
    level_at = np.array([[0.0, 0.0], [0.0, 2.0]]), np.array([0.0, 0.5])  # border at y = -0.25
    upright = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([0.0, -2.0])  # border at x = 1
    moments = [
        (5, "learn", np.array([[1.0, 3.0], [-1.0, 0.5]]), (60.0, 80.0)),
        (9, "answer", np.array([[1.5, 2.5], [-0.5, 0.0]]), (90.0, 95.0)),
    ]
    game = [DiscrepancyStep(k, phase, source, t, labels, (level_at, upright), r, 50.0) for k, phase, t, r in moments]
    panels = [f"step {k}: {phase}<br>{r[0]:.0f} and {r[1]:.0f} % right" for k, phase, _, r in moments]
    colours, symbols = {"source": style.SOURCE, "target": style.TARGET}, ("circle", "x")
    sentences = sheet("MCD", "feature 1 (no unit)", "feature 2 (no unit)", panels=panels)
    sentences += [entry(f"signs {colour}", side) for side, colour in colours.items()]
    borders = {
        "first classifier": (f"solid {style.INK}", level_at),
        "second classifier": (f"dash {style.INK}", upright),
    }
    sentences += [entry(look, name) for name, (look, _) in borders.items()]
    clouds = [
        figures.plane_points({"source": source, "target": t}, panel=p)
        for (_, _, t, _), p in zip(moments, panels, strict=True)
    ]
    for panel, (_, _, target, _) in zip(panels, moments, strict=True):
        for side, cloud in (("source", source), ("target", target)):
            for (x, y), label in zip(cloud.tolist(), labels, strict=True):
                sentences.append(mark(f"{symbols[label]} {colours[side]}", side, x, y, panel=panel))
        for name, (look, (weights, biases)) in borders.items():
            ends = figures.plane_border(weights[1] - weights[0], biases[1] - biases[0], name=name).iloc[0]
            x, y = ([round(float(ends[f"{letter}{k}"]), 3) for k in (0, 1)] for letter in "xy")
            sentences += marks(look, name, x, y, panel=panel)
        grey = figures.plane_disagreement(level_at, upright, points=pd.concat(clouds), panel=panel)
        for x, y, value in grey[["x", "y", "value"]].itertuples(index=False):
            sentences.append(cell(y, x, shade(value, 0, 1, style.GREY_SCALE), panel=panel))
    return figures.draw_discrepancy(game, title="MCD"), sentences


def state(target: Sequence[float], weights: Sequence[float]) -> GameState:
    """Two points of the source, two of the target the same distance apart, and D's w1, w2 and b."""
    source = np.array([[0.0, 2.0], [0.0, -2.0]])
    return GameState({"source": source, "target": source + np.array(target)}, np.array([*weights, 0.0, 0.0, 0.0]))


UPRIGHT, FLAT = [2.0, 0.0, -2.0], [0.0, -2.0, 1.0]  # borders at x = 1, and at y = 0.5
PLAYED = [state((4.0, 0.0), [0.0] * 3), state((3.0, 0.0), UPRIGHT), state((0.5, 0.25), FLAT)]
"""D tells all right at first, then as many as not; before it has learnt, nobody knows."""
POINTS_OF = {"source": f"circle {style.SOURCE}", "target": f"circle {style.TARGET}"}
BORDER = f"solid {style.INK}"


def plane_of(moment: GameState, ends: Sequence[Sequence[float]], *, panel: str) -> list[str]:
    sentences = marks(BORDER, "D's border", *ends, panel=panel)
    for side, points in moment.points.items():
        sentences += marks(POINTS_OF[side], side, *zip(*points.tolist(), strict=True), panel=panel)
    return sentences


ENDS = {1: ([1, 1], [-100, 100]), 2: ([100, -100], [0.5, 0.5])}


@example
def draw_game_steps() -> Example:
    panels = {1: "step 1: 100 %", 2: "step 2: 50 %"}
    sentences = sheet("Game", "feature 1 (no unit)", "feature 2 (no unit)", panels=list(panels.values()))
    sentences += [entry(f"signs {colour}", side) for side, colour in style.DOMAIN_COLOURS.items()] + [
        entry(BORDER, "D's border")
    ]
    for step, panel in panels.items():
        sentences += plane_of(PLAYED[step], ENDS[step], panel=panel)
    return figures.draw_game_steps(PLAYED, at=[1, 2], title="Game"), sentences


@example
def draw_played_game() -> Example:
    left, right = "row 1, column 1", "row 1, column 2"
    sentences = [
        "title: Game",
        *(entry(f"signs {colour}", side) for side, colour in style.DOMAIN_COLOURS.items()),
        entry(BORDER, "D's border"),
    ]
    sentences += [axis("x", "feature 1 (no unit)", panel=left), axis("y", "feature 2 (no unit)", panel=left)]
    sentences += [axis("x", "step", panel=right), axis("y", "points told right (%)", panel=right)]
    sentences += plane_of(PLAYED[2], ENDS[2], panel=left)
    sentences.append(entry(f"solid {style.GREY}", "told right"))
    sentences += marks(f"solid {style.GREY}", "told right", [1, 2], [100, 50], panel=right)
    sentences.append(mark(f"circle {style.INK}", "D's border / step 2", 2, 50, panel=right))
    sentences.append(level("y", 50, "chance", look="dot", panel=right))
    return figures.draw_played_game(PLAYED, step=2, title="Game"), sentences


@example
def draw_reversals() -> Example:
    """A discriminator on the first feature, at x = 0: for w = 2 and x = ±1, sigmoid(2) is 0.88."""
    clouds = {"source": [[-1.0, 0.5]], "target": [[1.0, -0.5]]}
    gain = 10 * 0.5 * 2 / (1 + np.exp(2))  # ten steps of half the points' mean
    sentences = sheet("Steps", "feature 1 (no unit)", "feature 2 (no unit)", panels=["plain", "reversed"])
    sentences += [entry(f"signs {colour}", side) for side, colour in style.DOMAIN_COLOURS.items()] + [
        entry(BORDER, "D's border")
    ]
    for panel, way in (("plain", 1), ("reversed", -1)):
        sentences += marks(BORDER, "D's border", [0, 0], [-100, 100], panel=panel)
        for (side, ((x, y),)), sign in zip(clouds.items(), (-1, 1), strict=True):
            sentences.append(mark(POINTS_OF[side], side, x, y, panel=panel))
            to = round(x + sign * way * gain, 3)
            sentences.append(mark(f"solid arrow {style.DOMAIN_COLOURS[side]}", side, (x, to), (y, y), panel=panel))
    shown = {"coefficients": {"plain": -1.0, "reversed": 1.0}, "longer": 10.0, "title": "Steps"}
    return figures.draw_reversals(clouds, [2.0, 0.0, 0.0], **shown), sentences


@example
def draw_mean_gaps() -> Example:
    gaps = {"one each: rgb": [4.0, 1.0], "one each: flow": [3.0, 0.5], "one: rgb": [4.5, 2.0], "one: flow": [3.5, 2.5]}
    looks = [f"solid {FIRST}", f"dot {FIRST}", f"solid {SECOND}", f"dot {SECOND}"]
    sentences = sheet("Gaps", "step", "gap of the means (standard deviations)")
    for (name, values), look in zip(gaps.items(), looks, strict=True):
        sentences += [entry(look, name), *marks(look, name, [0, 1], values)]
    return figures.draw_mean_gaps(pd.DataFrame(gaps), every=1, title="Gaps"), sentences


@example
def draw_yes() -> Example:
    said = {"both terms": [[50.0, 90.0], [55.0, 5.0]], "as printed": [[52.0, 100.0], [53.0, 99.0]]}
    colours, kinds = (style.INK, CORRESPONDENCE), {"pairs": "solid", "non-pairs": "dot"}
    sentences, trained = sheet("Yes", "step", "answered 'they correspond' (%)"), {}
    for (name, answers), colour in zip(said.items(), colours, strict=True):
        trained[name] = TrainedHead(None, pd.DataFrame(dict(zip(kinds, answers, strict=True))))
        for (kind, dash), values in zip(kinds.items(), answers, strict=True):
            look = f"{dash} {colour}"
            sentences += [entry(look, f"{name}: {kind}"), *marks(look, f"{name}: {kind}", [0, 1], values)]
    return figures.draw_yes(trained, every=1, title="Yes"), sentences


@example
def draw_source_choice() -> Example:
    values = {"source": ([91.0, 88.0], [1.0, 2.0]), "target": ([60.0, 64.0], [3.0, 4.0])}
    frames = [
        pd.DataFrame({"side": side, "value": [0.5, 5.0], "mean": means, "sd": sd, "seeds": [4, 4]})
        for side, (means, sd) in values.items()
    ]
    sentences = sheet("Who chooses?", "λ", "top-1, mean over pairs (%),<br>± sd over 4 seeds of all worlds")
    for (side, (means, sd)), dash in zip(values.items(), ("solid", "dash"), strict=True):
        line = f"{dash} {style.DOMAIN_COLOURS[side]}", f"test segments of the {side}"
        sentences += [entry(*line), *marks(*line, ["0.5", "5"], means, sd=sd)]
    return figures.draw_source_choice(pd.concat(frames), name="λ", title="Who chooses?"), sentences


@example
def draw_grouped_bars() -> Example:
    bars = pd.DataFrame({"source_only": [3.0, 0.0], "mmsada": [1.0, 12.5]}, index=["cut", "mix"])
    sentences = sheet("What is said", "predicted class", "segments")
    for column, title in {"source_only": "Source-only", "mmsada": "MM-SADA"}.items():
        bar = f"bar {style.METHOD_COLOURS[title]}", title
        sentences.append(entry(*bar))
        sentences += [mark(*bar, verb, n) + words(f"{n:g}") for verb, n in bars[column].items()]
    return figures.draw_grouped_bars(bars, axes=("predicted class", "segments"), title="What is said"), sentences


@example
def draw_seed_differences() -> Example:
    """A run that is missing has no dot; the mean is of those that are there."""
    rows = pd.MultiIndex.from_tuples([(0, 0), (0, 1), (1, 10)], names=["world", "seed"])
    table = pd.DataFrame({"D2→D1": [1.0, 3.0, 5.0], "D3→D1": [-2.0, None, 4.0]}, rows)
    dots = [("D2→D1", 1, 0, 0), ("D2→D1", 3, 0, 1), ("D2→D1", 5, 1, 10), ("D3→D1", -2, 0, 0), ("D3→D1", 4, 1, 10)]
    circle, dash = f"circle {style.INK}", f"line-ew-open {style.INK}"
    sentences = sheet("Seeds", "pair", "top-1, difference (points)")
    sentences += [entry(circle, "a seed of a world"), entry(dash, "mean of the pair"), level("y", 0, look="dash")]
    for pair, y, world, seed in dots:
        says = words("", f"world {world}, seed {seed}")
        sentences.append(mark(circle, "a seed of a world", pair, y) + says)
    sentences += marks(dash, "mean of the pair", ["D2→D1", "D3→D1"], [3, 1])
    return figures.draw_seed_differences(table, title="Seeds"), sentences


@example
def draw_confusion_beside() -> Example:
    percent, points = [75.0, 25.0, 40.0, 60.0], [15.0, -15.0, -20.0, 20.0]
    sizes = {name: f"{name} ({size})" for name, size in SIZES.items()}
    panels = {"row %": (percent, (0, 100), style.PERCENT_SCALE, "{:.0f}", "{:.1f} %")}
    panels["difference, points"] = points, (-20, 20), style.DIFFERENCE_SCALE, "{:+.0f}", "{:+.1f} points"
    sentences = ["title: Both"]
    for panel, (values, reach, colours, form, hover) in panels.items():
        sentences.append(axis("x", "predicted class", panel=panel))
        sentences.append(axis("y", "true class (test segments)", panel=panel))
        for (true, predicted), value in zip(PAIRS, values, strict=True):
            says = words(form.format(value), f"{sizes[true]} taken for {predicted}: {hover.format(value)}")
            sentences.append(cell(sizes[true], predicted, shade(value, *reach, colours), panel=panel) + says)
    counts = confusions("percent", percent, [15.0, 5.0, 4.0, 6.0])
    difference = confusions("points", points, [3.0, -3.0, -2.0, 2.0])
    return figures.draw_confusion_beside(counts, difference, title="Both"), sentences
