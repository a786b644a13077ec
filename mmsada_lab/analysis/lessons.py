"""Figures of the lessons: lines, points on a plane, a batch of correspondence as a grid, kernels over distance.

Each is two functions, the data first and then a pure drawing of exactly those data. On a plane a feature has two
dimensions, so that it can be drawn as it is. Legend: `N` points, `K` classes, `B` clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.figures import MEASURES, plain
from mmsada_lab.config import METHODS
from mmsada_lab.errors import UserError, unknown

Classifier = tuple[ArrayLike, ArrayLike]
"""Weights `(K, 2)` and biases `(K,)` of a linear classifier of points on a plane."""

SYMBOLS = ("circle", "x", "square", "triangle-up", "diamond")
"""Of the classes of points on a plane; class 5 begins again."""

_COLOURS = (*style.TERM_COLOURS.values(), style.GREY, "#8C564B", "#56B4E9")
"""Of lines and bars that have no colour of their own; neither domain's."""

_GREYS = ((0.0, "#FFFFFF"), (1.0, style.GREY))
_DECIMALS = 3
_SHARES = {"low": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "high": 0.95}
"""Quantiles of the observed distances that a box shows."""

_FILLED = {"none": 0, "other": 1, "own": 2}
"""How a cell of a grid is filled: not at all, grey, or in the colour of its domain."""


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


def draw_gaps(gaps: pd.DataFrame, *, measure: str = "a_distance", title: str = "Gap between the domains") -> go.Figure:
    """Draw one measure of `run_gap` of several methods over all segments, with its 95 % interval.

    Args:
        gaps: tables of `run_gap` joined, with a column ``method``.
        measure: which one.
        title: of the figure.

    Raises:
        UserError: no row of that measure.
    """
    chosen = gaps[(gaps["measure"] == measure) & ~gaps["conditional"].astype(bool)]
    if chosen.empty:
        raise unknown("measure", measure, gaps["measure"].unique())
    figure = style.empty_figure(title)
    for number, method in enumerate(chosen["method"].unique()):
        one, colour = chosen[chosen["method"] == method], _COLOURS[number % len(_COLOURS)]
        middle, low, high = (one[name].round(_DECIMALS) for name in ("corrected", "low", "high"))
        ends = {"array": plain((high - middle).round(_DECIMALS)), "arrayminus": plain((middle - low).round(_DECIMALS))}
        error = {"type": "data", "symmetric": False, "color": style.INK, **ends}
        bars = {"name": method, "marker": {"color": colour}, "error_y": error}
        figure.add_bar(x=plain(one["modality"]), y=plain(middle), **bars)
    return figure.update_layout(xaxis_title="modality (bars: 95 % interval of half-samples)", yaxis_title=measure)


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


def plane_points(
    points: Mapping[str, ArrayLike],
    *,
    moves: Mapping[str, ArrayLike] | None = None,
    labels: Mapping[str, Sequence[int]] | None = None,
    panel: str = "",
) -> pd.DataFrame:
    """Points of both domains on a plane, and the step that each is about to take.

    Args:
        points: side (source or target) -> `(N, 2)`.
        moves: side -> `(N, 2)` steps, in the units of the points; none: they rest.
        labels: side -> `(N,)` class of each point; none: one class.
        panel: title of the panel they are drawn in.

    Returns:
        Columns panel, side, label, x, y, dx, dy (rounded to 3 decimals), a row per point.

    Raises:
        UserError: no point, a side that is neither source nor target, or a number that is not finite.
    """
    parts = []
    for side, at in points.items():
        if side not in style.DOMAIN_COLOURS:
            raise UserError(f"points of {side!r}; a side is {' or '.join(style.DOMAIN_COLOURS)}")
        xy = _pairs(at, f"points of the {side}")
        step = np.zeros_like(xy) if moves is None else _pairs(moves[side], f"moves of the {side}")
        columns = {"x": xy[:, 0], "y": xy[:, 1], "dx": step[:, 0], "dy": step[:, 1]}
        parts.append(pd.DataFrame({"label": 0 if labels is None else labels[side], **columns}).assign(side=side))
    if not sum(map(len, parts)):
        raise UserError("no point to draw; give at least one")
    found = pd.concat(parts, ignore_index=True).assign(panel=panel)
    return found[["panel", "side", "label", "x", "y", "dx", "dy"]].round(_DECIMALS)


def plane_border(
    weights: ArrayLike, offset: float, *, name: str, panel: str = "", reach: float = 100.0
) -> pd.DataFrame:
    """Where a linear score ``w x + b`` is 0: the border between its two answers.

    Args:
        weights: `(2,)`.
        offset: b.
        name: in the legend.
        panel: title of the panel it is drawn in.
        reach: half the length of the line, which the axes then cut off.

    Returns:
        One row, columns panel, name, x0, y0, x1, y1.

    Raises:
        UserError: the weights are 0 or not finite, and there is no border.
    """
    w = _pairs(np.asarray(weights, dtype=float)[None], f"weights of {name}")[0]
    if not (length := float(w @ w)):
        raise UserError(f"the weights of {name} are 0: it gives one answer everywhere and has no border")
    foot, along = -offset * w / length, reach * np.array([-w[1], w[0]]) / length**0.5
    ends = np.concatenate([foot - along, foot + along]).round(_DECIMALS)
    return pd.DataFrame([{"panel": panel, "name": name, **dict(zip(("x0", "y0", "x1", "y1"), ends, strict=True))}])


def plane_disagreement(
    first: Classifier, second: Classifier, *, points: pd.DataFrame, cells: int = 40, panel: str = ""
) -> pd.DataFrame:
    """How much two linear classifiers disagree, ``mean_k |p1 - p2|``, everywhere around some points.

    Args:
        first: weights `(K, 2)` and biases `(K,)`.
        second: likewise.
        points: from `plane_points`; the map covers them.
        cells: of the map, along each axis.
        panel: title of the panel it is drawn in.

    Returns:
        Columns panel, x, y, value (0 to 2 / K), a row per cell, x fastest.
    """
    (left, right), (low, high) = _ranges(points)
    grid = [(x, y) for y in np.linspace(low, high, cells) for x in np.linspace(left, right, cells)]
    value = np.abs(_softmax(grid, first) - _softmax(grid, second)).mean(axis=1)
    found = pd.DataFrame(grid, columns=["x", "y"]).assign(value=value, panel=panel)
    return found[["panel", "x", "y", "value"]].round(_DECIMALS)


def draw_plane(
    points: pd.DataFrame,
    *,
    borders: pd.DataFrame | None = None,
    disagreement: pd.DataFrame | None = None,
    title: str = "Features on a plane",
) -> go.Figure:
    """Draw `plane_points` with their steps as arrows, a panel beside the other on the same axes.

    Args:
        points: one frame, or several joined.
        borders: from `plane_border`, likewise; drawn as lines.
        disagreement: from `plane_disagreement`, likewise; the darker, the more.
        title: of the figure.
    """
    panels = list(points["panel"].unique())
    figure = make_subplots(1, len(panels), subplot_titles=panels, shared_yaxes=True, horizontal_spacing=0.03)
    for column, panel in enumerate(panels, start=1):
        where = {"row": 1, "col": column}
        if disagreement is not None:
            _add_disagreement(figure, disagreement[disagreement["panel"] == panel], where)
        for side in points["side"].unique():
            _add_points(figure, points[(points["panel"] == panel) & (points["side"] == side)], side, where)
        if borders is not None:
            _add_borders(figure, borders[borders["panel"] == panel], where)
    (left, right), (low, high) = _ranges(points)
    figure.update_xaxes(title="feature 1 (no unit)", range=[left, right])
    figure.update_yaxes(range=[low, high]).update_yaxes(title="feature 2 (no unit)", col=1)
    return figure.update_layout(template=style.TEMPLATE, title={"text": title}, height=400)


def _add_disagreement(figure: go.Figure, cells: pd.DataFrame, where: dict[str, int]) -> None:
    if cells.empty:
        return
    xs, ys = (sorted(cells[axis].unique().tolist()) for axis in ("x", "y"))
    z = cells["value"].to_numpy().reshape(len(ys), len(xs)).tolist()
    figure.add_heatmap(x=xs, y=ys, z=z, zmin=0, zmax=1, colorscale=_GREYS, showscale=False, **where)


def _add_points(figure: go.Figure, points: pd.DataFrame, side: str, where: dict[str, int]) -> None:
    """Points, and above them all arrows of a side as one line with gaps, a head at the end of each."""
    colour = style.DOMAIN_COLOURS[side]
    symbols = [SYMBOLS[int(label) % len(SYMBOLS)] for label in points["label"]]
    marker = {"color": style.translucent(colour, 0.6), "size": 7, "symbol": symbols}
    shown = {"name": side, "legendgroup": side, "showlegend": where["col"] == 1}
    figure.add_scatter(x=plain(points["x"]), y=plain(points["y"]), mode="markers", marker=marker, **shown, **where)
    going = points[(points["dx"] != 0) | (points["dy"] != 0)]
    if going.empty:
        return
    x, y = (
        [v for p, d in zip(going[a], going[f"d{a}"], strict=True) for v in (p, round(p + d, 3), None)] for a in "xy"
    )
    head = {"symbol": "arrow", "angleref": "previous", "size": [0, 8, 0] * len(going), "color": colour}
    hidden = {"showlegend": False, "hoverinfo": "skip", "legendgroup": side, "mode": "lines+markers"}
    figure.add_scatter(x=x, y=y, line={"color": colour, "width": 1.2}, marker=head, **hidden, **where)


def _arrow_line(start: pd.Series[float], step: pd.Series[float]) -> list[float | None]:
    """From, to and a gap, for every arrow."""
    ends = zip(start.to_list(), (start + step).round(_DECIMALS).to_list(), strict=True)
    return [value for one in ends for value in (*one, None)]


def _add_borders(figure: go.Figure, borders: pd.DataFrame, where: dict[str, int]) -> None:
    for number, border in enumerate(borders.to_dict("records")):
        line = {"color": style.INK, "width": 2, "dash": style.DASHES[number % len(style.DASHES)]}
        shown = {"name": border["name"], "legendgroup": border["name"], "showlegend": where["col"] == 1}
        x, y = [border["x0"], border["x1"]], [border["y0"], border["y1"]]
        figure.add_scatter(x=x, y=y, mode="lines", line=line, **shown, **where)


def correspondence_grid(
    segments: Mapping[str, Sequence[Any]],
    *,
    side: str,
    labels: Sequence[str | None],
    places: Mapping[str, Sequence[Any]] | None = None,
) -> pd.DataFrame:
    """A batch as a correspondence head sees it: which segment each modality of a clip comes from.

    Args:
        segments: modality -> `(B,)` the segment it is taken from.
        side: source or target.
        labels: `(B,)` the class that a clip teaches the classifier; None where it teaches none.
        places: modality -> `(B,)` where in the segment, e.g. the window's middle; shown behind the segment.

    Returns:
        Columns side, clip (from 1), column (a modality, ``corresponds`` or ``class``), text and filled: ``own`` where a
        modality comes from the clip's first modality's segment, ``other`` where not, ``none`` where there is nothing.

    Raises:
        UserError: no clip, or columns of different lengths.
    """
    lengths = {len(values) for values in (*segments.values(), *(places or {}).values(), labels)}
    if len(lengths) != 1 or lengths == {0}:
        raise UserError(f"columns of {sorted(lengths)} clips; give every modality and the labels one entry a clip")
    rows = []
    for clip, label in enumerate(labels):
        found = {m: values[clip] for m, values in segments.items()}
        own = {m: segment == next(iter(found.values())) for m, segment in found.items()}
        texts = {m: f"{s} @ {places[m][clip]}" if places else str(s) for m, s in found.items()}
        cells = [(m, texts[m], "own" if own[m] else "other") for m in found]
        cells.append(("corresponds", *(("yes", "own") if all(own.values()) else ("no", "other"))))
        cells.append(("class", *(("–", "none") if label is None else (label, "own"))))
        rows += [(side, clip + 1, *cell) for cell in cells]
    return pd.DataFrame(rows, columns=["side", "clip", "column", "text", "filled"])


def draw_correspondence_grid(grid: pd.DataFrame, *, title: str = "What C is asked") -> go.Figure:
    """Draw `correspondence_grid`, of one domain or both joined: a row per clip; grey is what comes from elsewhere."""
    sides = list(grid["side"].unique())
    figure = make_subplots(1, len(sides), subplot_titles=sides, horizontal_spacing=0.08)
    for number, side in enumerate(sides, start=1):
        one, columns = grid[grid["side"] == side], list(grid["column"].unique())
        codes, texts = one["filled"].map(_FILLED).to_list(), one["text"].to_list()
        rows = [slice(k, k + len(columns)) for k in range(0, len(one), len(columns))]
        own = style.translucent(style.DOMAIN_COLOURS[side], 0.35)
        heat = {"zmin": 0, "zmax": 2, "colorscale": [[0, "#FFFFFF"], [0.5, style.FAINT], [1, own]], "showscale": False}
        cells = {"z": [codes[row] for row in rows], "text": [texts[row] for row in rows], "texttemplate": "%{text}"}
        names = [str(clip) for clip in one["clip"].unique()]
        figure.add_heatmap(x=columns, y=names, **cells, **heat, xgap=2, ygap=2, row=1, col=number)
    figure.update_xaxes(side="bottom", title="taken from (segment @ middle of the window)")
    figure.update_yaxes(autorange="reversed", type="category").update_yaxes(title="clip", col=1)
    return figure.update_layout(
        template=style.TEMPLATE, title={"text": title}, height=170 + 30 * int(grid["clip"].max())
    )


def kernel_curves(bandwidths: Sequence[float], *, distances: Sequence[float]) -> pd.DataFrame:
    """Gaussian kernels ``exp(-d^2 / g)`` over distance, and how strongly each pulls there.

    Args:
        bandwidths: g of each kernel, in squared units of the features.
        distances: d, above 0.

    Returns:
        Columns bandwidth, distance, value, pull: ``-d value / d log(distance) = 2 d^2 / g exp(-d^2 / g)``, greatest,
        2 / e, at ``d = sqrt(g)``: how much the kernel changes when the distance does by a given share.

    Raises:
        UserError: a bandwidth or distance is missing, not finite or not above 0.
    """
    g, d = (np.asarray(values, dtype=float) for values in (bandwidths, distances))
    for name, values in (("bandwidth", g), ("distance", d)):
        if not len(values) or not (np.isfinite(values) & (values > 0)).all():
            raise UserError(f"every {name} is a number above 0, and there is at least one; found {values.tolist()}")
    ratio = (d[None] ** 2 / g[:, None]).ravel()
    found = pd.DataFrame({"bandwidth": np.repeat(g, len(d)), "distance": np.tile(d, len(g))})
    return found.assign(value=np.exp(-ratio), pull=2 * ratio * np.exp(-ratio)).round(4)


def observed_distances(features: Mapping[str, NDArray[Any]], *, at_most: int = 300, seed: int = 0) -> pd.DataFrame:
    """Distances between source and target segments, by modality.

    Args:
        features: the arrays of a run's ``features.npz``.
        at_most: segments drawn of each domain.
        seed: of that draw.

    Returns:
        Columns modality, low, q25, median, q75, high (quantiles 5, 25, 50, 75 and 95 %).
    """
    rng, rows = np.random.default_rng(seed), []
    drawn = [rng.permutation(np.flatnonzero(features["side"] == side))[:at_most] for side in style.DOMAIN_COLOURS]
    for name in (name for name in features if name.startswith("f_")):
        source, target = (features[name][row].astype(float) for row in drawn)
        found = np.linalg.norm(source[:, None] - target[None], axis=2)
        if not found.size or not np.isfinite(found).all():
            raise UserError(f"features of {name[2:]} give no finite distance; the run behind them diverged or is empty")
        quantiles = np.quantile(found, list(_SHARES.values())).round(_DECIMALS)
        rows.append({"modality": name.removeprefix("f_"), **dict(zip(_SHARES, quantiles, strict=True))})
    return pd.DataFrame(rows)


def draw_kernels(
    curves: pd.DataFrame, *, observed: pd.DataFrame | None = None, title: str = "Gaussian kernels over distance"
) -> go.Figure:
    """Draw `kernel_curves`: values above, pulls below; and the distances that were observed as boxes under both."""
    heights = [0.4, 0.4, 0.2] if observed is not None else [0.5, 0.5]
    figure = make_subplots(len(heights), 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=heights)
    bandwidths = sorted(curves["bandwidth"].unique())
    shades = sample_colorscale([[0.0, "#9ECAE1"], [1.0, "#08306B"]], np.linspace(0, 1, len(bandwidths)).tolist())
    for g, shade in zip(bandwidths, shades, strict=True):
        one, line = curves[curves["bandwidth"] == g], {"color": shade, "width": 2}
        for row, column in enumerate(("value", "pull"), start=1):
            shown = {"name": f"g = {g:.3g}", "legendgroup": str(g), "showlegend": row == 1, "mode": "lines"}
            figure.add_scatter(x=plain(one["distance"]), y=plain(one[column]), line=line, **shown, row=row, col=1)
    if observed is not None:
        _add_boxes(figure, observed)
    ends = [float(np.log10(curves["distance"].agg(end))) for end in ("min", "max")]
    figure.update_xaxes(type="log", range=[round(end, 3) for end in ends])
    figure.update_xaxes(title="distance of two features (their unit, log scale)", row=len(heights))
    figure.update_yaxes(title="kernel", row=1).update_yaxes(title="pull (per log distance)", row=2)
    return figure.update_layout(template=style.TEMPLATE, title={"text": title}, height=300 + 110 * len(heights))


def _add_boxes(figure: go.Figure, observed: pd.DataFrame) -> None:
    """Quartiles as the box, 5 and 95 % as its whiskers."""
    colour = style.colours(list(observed["modality"]), style.STREAM_COLOURS)
    for one in observed.to_dict("records"):
        quartiles = {"lowerfence": [one["low"]], "q1": [one["q25"]], "median": [one["median"]]}
        quartiles |= {"q3": [one["q75"]], "upperfence": [one["high"]]}
        shown = {"name": f"{one['modality']}, source to target", "marker": {"color": colour[one["modality"]]}}
        figure.add_box(y=[one["modality"]], **quartiles, orientation="h", **shown, row=3, col=1)
    figure.update_yaxes(title="observed", row=3)


def _pairs(values: ArrayLike, name: str) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=float)
    if found.ndim != 2 or found.shape[1] != 2:
        raise UserError(f"{name} have shape {found.shape}; expected (N, 2)")
    if not np.isfinite(found).all():
        raise UserError(f"{name} are not all finite; nothing can be drawn")
    return found


def _ranges(points: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest x, and y, with a margin around points and arrows."""
    found = []
    for axis in "xy":
        ends = np.concatenate([points[axis], points[axis] + points[f"d{axis}"]])
        margin = 0.08 * (float(np.ptp(ends)) or 1.0)
        found.append((round(float(ends.min()) - margin, 3), round(float(ends.max()) + margin, 3)))
    return cast("tuple[tuple[float, float], tuple[float, float]]", tuple(found))


def _softmax(points: Sequence[tuple[float, float]], classifier: Classifier) -> NDArray[np.float64]:
    weights, biases = (np.asarray(part, dtype=float) for part in classifier)
    logits = np.asarray(points) @ weights.T + biases
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found
