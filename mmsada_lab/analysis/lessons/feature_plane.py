"""Points on a plane, where features have two dimensions and can be drawn as they are: steps, borders, disagreement.

Legend: `N` points, `K` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import xy
from mmsada_lab.errors import UserError

Classifier = tuple[ArrayLike, ArrayLike]
"""Weights `(K, 2)` and biases `(K,)` of a linear classifier of points on a plane."""

BySide = Mapping[str, ArrayLike]  # pairs of numbers `(N, 2)` for source or target
CLASS_SYMBOLS = ("circle", "x", "square", "triangle-up", "diamond")
"""Of the classes of points on a plane; class 5 begins again."""

_DECIMALS = 3


def plane_points(
    points: BySide, *, moves: BySide | None = None, labels: Mapping[str, Sequence[int]] | None = None, panel: str = ""
) -> pd.DataFrame:
    """Points of both domains on a plane, and the step that each is about to take.

    Args:
        points: side (source or target) -> `(N, 2)`.
        moves: side -> `(N, 2)` steps, in the units of the points; none: they rest.
        labels: side -> `(N,)` class of each point; none: one class.
        panel: title of the panel they are drawn in.

    Returns:
        Columns panel, side, label, x, y, dx, dy (rounded to 3 decimals), a row per point.

    Example:
        >>> plane_points({"source": [[0.0, 1.0]]}, moves={"source": [[0.5, 0.0]]})[["x", "y", "dx"]].iloc[0].tolist()
        [0.0, 1.0, 0.5]
    """
    frames = []
    for side, values in points.items():
        steps = None if moves is None else moves[side]
        frames.append(_of_side(side, values, steps).assign(label=0 if labels is None else labels[side]))
    if not sum(map(len, frames)):
        raise UserError("no point to draw; give at least one")
    joined = pd.concat(frames, ignore_index=True).assign(panel=panel)
    return joined[["panel", "side", "label", "x", "y", "dx", "dy"]].round(_DECIMALS)


def _of_side(side: str, points: ArrayLike, moves: ArrayLike | None) -> pd.DataFrame:
    if side not in style.DOMAIN_COLOURS:
        raise UserError(f"points of {side!r}; a side is {' or '.join(style.DOMAIN_COLOURS)}")
    at = _pairs(points, f"points of the {side}")
    steps = np.zeros_like(at) if moves is None else _pairs(moves, f"moves of the {side}")
    return pd.DataFrame(np.hstack([at, steps]), columns=["x", "y", "dx", "dy"]).assign(side=side)


def plane_border(
    weights: ArrayLike, offset: float, *, name: str, panel: str = "", reach: float = 100.0
) -> pd.DataFrame:
    """Where a linear score ``w x + b`` is 0: the border between its two answers, `reach` to either side.

    Weights are `(2,)`. One row, columns panel, name (in the legend), x0, y0, x1, y1.

    Example:
        >>> plane_border([1.0, 0.0], -2.0, name="D", reach=5.0)[["x0", "y0", "x1", "y1"]].iloc[0].tolist()
        [2.0, -5.0, 2.0, 5.0]
    """
    w = _pairs(np.asarray(weights, dtype=float)[None], f"weights of {name}")[0]
    if not (length := float(w @ w)):
        raise UserError(f"the weights of {name} are 0: it gives one answer everywhere and has no border")
    foot, along = -offset * w / length, reach * np.array([-w[1], w[0]]) / length**0.5
    ends = np.concatenate([foot - along, foot + along]).round(_DECIMALS) + 0.0  # no -0
    return pd.DataFrame([{"panel": panel, "name": name, **dict(zip(("x0", "y0", "x1", "y1"), ends, strict=True))}])


def plane_disagreement(
    first: Classifier, second: Classifier, *, points: pd.DataFrame, cells: int = 40, panel: str = ""
) -> pd.DataFrame:
    """How much two linear classifiers disagree, ``mean_k |p1 - p2|``, everywhere around some points.

    The discrepancy of MCD (Saito et al. 2018, https://arxiv.org/abs/1712.02560).

    Args:
        first: weights `(K, 2)` and biases `(K,)`.
        second: likewise.
        points: from `plane_points`; the map covers them.
        cells: of the map, along each axis.
        panel: title of the panel it is drawn in.

    Returns:
        Columns panel, x, y, value (0 to 2 / K), a row per cell, x fastest.

    Example:
        >>> classifier = [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]
        >>> points = plane_points({"source": [[0.0, 0.0]]})
        >>> plane_disagreement(classifier, classifier, points=points, cells=2)["value"].tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    xs, ys = (np.linspace(*ends, cells) for ends in _ranges(points))
    grid = [(x, y) for y in ys for x in xs]
    value = np.abs(_softmax(grid, first) - _softmax(grid, second)).mean(axis=1)
    frame = pd.DataFrame(grid, columns=["x", "y"]).assign(panel=panel, value=value)
    return frame[["panel", "x", "y", "value"]].round(_DECIMALS)


@hover_in_words
def draw_plane(
    points: pd.DataFrame,
    *,
    borders: pd.DataFrame | None = None,
    disagreement: pd.DataFrame | None = None,
    title: str = "Features on a plane",
) -> go.Figure:
    """Draw `plane_points` and arrows to where they step, lines of `plane_border`, `plane_disagreement` as grey.

    Each is one frame or several joined; panels lie side by side, on the same axes.

    Example:
        >>> points = plane_points({"source": [[0.0, 0.0]], "target": [[1.0, 1.0]]})
        >>> [trace.name for trace in draw_plane(points, borders=plane_border([1.0, 1.0], -1.0, name="D")).data]
        ['source', 'target', 'D']
    """
    panels = list(points["panel"].unique())
    options = {"subplot_titles": panels, "shared_yaxes": True, "horizontal_spacing": 0.03}
    figure = style.empty_figure(title, panels=(1, len(panels)), height=400, **options)
    for column, panel in enumerate(panels, start=1):
        where = {"row": 1, "col": column}
        _add_disagreement(figure, _of_panel(disagreement, panel), where)
        for side in points["side"].unique():
            _add_points(figure, _of_panel(points[points["side"] == side], panel), side, where)
        _add_borders(figure, _of_panel(_with_looks(borders, panels), panel), where)
    x_range, y_range = _ranges(points)
    figure.update_xaxes(title="feature 1 (no unit)", range=x_range)
    return figure.update_yaxes(range=y_range).update_yaxes(title="feature 2 (no unit)", col=1)


def _of_panel(frame: pd.DataFrame | None, panel: str) -> pd.DataFrame:
    return pd.DataFrame() if frame is None else frame[frame["panel"] == panel]


def _add_disagreement(figure: go.Figure, cells: pd.DataFrame, where: dict[str, int]) -> None:
    if cells.empty:
        return
    xs, ys = (sorted(cells[axis].unique().tolist()) for axis in ("x", "y"))
    z = cells["value"].to_numpy().reshape(len(ys), len(xs)).tolist()  # (y, x)
    figure.add_heatmap(x=xs, y=ys, z=z, zmin=0, zmax=1, colorscale=style.GREY_SCALE, showscale=False, **where)


def _add_points(figure: go.Figure, points: pd.DataFrame, side: str, where: dict[str, int]) -> None:
    """Points, and above them all arrows of a side as one line with gaps, a head at the end of each."""
    colour = style.DOMAIN_COLOURS[side]
    symbols = [CLASS_SYMBOLS[int(label) % len(CLASS_SYMBOLS)] for label in points["label"]]
    marker = {"color": style.translucent(colour, 0.6), "size": 7, "symbol": symbols}
    entry = {"name": side, "legendgroup": side, "showlegend": where["col"] == 1}
    figure.add_scatter(**xy(points, "x", "y"), mode="markers", marker=marker, **entry, **where)
    going = points[(points["dx"] != 0) | (points["dy"] != 0)]
    if len(going):
        arrows = {axis: _arrows(going[axis], going[f"d{axis}"]) for axis in "xy"}
        head = {"symbol": "arrow", "angleref": "previous", "size": [0, 8, 0] * len(going), "color": colour}
        look = {"mode": "lines+markers", "line": {"color": colour, "width": 1.2}, "marker": head}
        figure.add_scatter(**arrows, **look, **style.HIDDEN, legendgroup=side, **where)


def _arrows(starts: pd.Series[float], steps: pd.Series[float]) -> list[float | None]:
    """From, to and a gap, for every arrow."""
    arrows = ((start, round(start + step, _DECIMALS), None) for start, step in zip(starts, steps, strict=True))
    return [value for arrow in arrows for value in arrow]


def _with_looks(borders: pd.DataFrame | None, panels: Sequence[str]) -> pd.DataFrame | None:
    """A dash for every name, the same in all panels, and whether a border is the first of its name: the legend's."""
    if borders is None:
        return None
    drawn = borders[borders["panel"].isin(panels)]
    names = list(drawn["name"].unique())
    dashes = [style.DASHES[names.index(name) % len(style.DASHES)] for name in drawn["name"]]
    return drawn.assign(dash=dashes, listed=~drawn["name"].duplicated())


def _add_borders(figure: go.Figure, borders: pd.DataFrame, where: dict[str, int]) -> None:
    for border in borders.to_dict("records"):
        line = {"color": style.INK, "width": 2, "dash": border["dash"]}
        entry = {"name": border["name"], "legendgroup": border["name"], "showlegend": bool(border["listed"])}
        x, y = [border["x0"], border["x1"]], [border["y0"], border["y1"]]
        figure.add_scatter(x=x, y=y, mode="lines", line=line, **entry, **where)


def _pairs(values: ArrayLike, name: str) -> NDArray[np.float64]:
    pairs = np.asarray(values, dtype=float)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise UserError(f"{name} have shape {pairs.shape}; expected (N, 2)")
    if not np.isfinite(pairs).all():
        raise UserError(f"{name} are not all finite; nothing can be drawn")
    return pairs


def _ranges(points: pd.DataFrame) -> list[tuple[float, float]]:
    """Lowest and highest x, and y, with a margin around points and arrows."""
    ranges = []
    for axis in "xy":
        ends = np.concatenate([points[axis], points[axis] + points[f"d{axis}"]])
        margin = 0.08 * (float(np.ptp(ends)) or 1.0)
        ranges.append((round(float(ends.min()) - margin, 3), round(float(ends.max()) + margin, 3)))
    return ranges


def _softmax(points: Sequence[tuple[float, float]], classifier: Classifier) -> NDArray[np.float64]:
    weights, biases = (np.asarray(values, dtype=float) for values in classifier)
    logits = np.asarray(points) @ weights.T + biases  # (points, K)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
