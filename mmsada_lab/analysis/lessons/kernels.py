"""Kernels over distance, and the distances between the features of a network that they are laid over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import xy
from mmsada_lab.errors import UserError

_IN_LEGEND = 4
_QUANTILES = {"low": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "high": 0.95}


def kernel_curves(bandwidths: Sequence[float], *, distances: Sequence[float]) -> pd.DataFrame:
    """Gaussian kernels ``exp(-d^2 / g)`` over distance `d` (above 0), `g` in squared units of the features; their pull.

    Columns bandwidth, distance, value, pull ``-d value / d log(distance) = 2 d^2 / g exp(-d^2 / g)``: greatest,
    2 / e, at ``d = sqrt(g)``.

    Example:
        >>> kernel_curves([4.0], distances=[2.0])[["value", "pull"]].iloc[0].tolist()  # 1 / e, 2 / e
        [0.3679, 0.7358]
    """
    g, d = (np.asarray(values, dtype=float) for values in (bandwidths, distances))
    for name, values in (("bandwidth", g), ("distance", d)):
        if not len(values) or not (np.isfinite(values) & (values > 0)).all():
            raise UserError(f"every {name} is a number above 0, and there is at least one; found {values.tolist()}")
    ratio = (d[None] ** 2 / g[:, None]).ravel()
    curves = pd.DataFrame({"bandwidth": np.repeat(g, len(d)), "distance": np.tile(d, len(g))})
    return curves.assign(value=np.exp(-ratio), pull=2 * ratio * np.exp(-ratio)).round(4)


def observed_distances(features: Mapping[str, NDArray[Any]], *, at_most: int = 300, seed: int = 0) -> pd.DataFrame:
    """Distances between source and target segments, by modality, of a run's ``features.npz``; `at_most` of a side.

    Columns modality, low, q25, median, q75, high (quantiles 5, 25, 50, 75 and 95 %).

    Example:
        >>> features = {"f_rgb": np.array([[0.0, 0.0], [3.0, 4.0]]), "side": np.array(["source", "target"])}
        >>> observed_distances(features)["median"].tolist()
        [5.0]
    """
    from sklearn.metrics import pairwise_distances

    rng, rows = np.random.default_rng(seed), []
    drawn = [rng.permutation(np.flatnonzero(features["side"] == side))[:at_most] for side in style.DOMAIN_COLOURS]
    for modality in (name.removeprefix("f_") for name in features if name.startswith("f_")):
        source, target = (features[f"f_{modality}"][row].astype(float) for row in drawn)
        if not len(source) * len(target) or not np.isfinite(np.concatenate([source, target])).all():
            raise UserError(f"features of {modality} give no finite distance; the run behind them diverged or is empty")
        quantiles = np.quantile(pairwise_distances(source, target), list(_QUANTILES.values())).round(3)
        rows.append({"modality": modality, **dict(zip(_QUANTILES, quantiles, strict=True))})
    return pd.DataFrame(rows)


@hover_in_words
def draw_kernels(
    curves: pd.DataFrame, *, observed: pd.DataFrame | None = None, title: str = "Gaussian kernels over distance"
) -> go.Figure:
    """Draw `kernel_curves`: values above, pulls below; and the distances that were observed as boxes under both.

    More than `_IN_LEGEND` kernels share a colour bar instead of entries in the legend.

    Example:
        >>> [trace.name for trace in draw_kernels(kernel_curves([4.0], distances=[1.0, 2.0])).data]
        ['g = 4', 'g = 4']
    """
    heights = [0.4, 0.4, 0.2] if observed is not None else [0.5, 0.5]
    options = {"shared_xaxes": True, "vertical_spacing": 0.06, "row_heights": heights}
    figure = style.empty_figure(title, panels=(len(heights), 1), height=300 + 110 * len(heights), **options)
    _add_kernels(figure, curves)
    if observed is not None:
        _add_boxes(figure, observed)
    ends = [round(float(np.log10(curves["distance"].agg(end))), 3) for end in ("min", "max")]
    figure.update_xaxes(type="log", range=ends)
    figure.update_xaxes(title="distance of two features (their unit, log scale)", row=len(heights))
    return figure.update_yaxes(title="kernel", row=1).update_yaxes(title="pull (per log distance)", row=2)


def _add_kernels(figure: go.Figure, curves: pd.DataFrame) -> None:
    bandwidths = sorted(curves["bandwidth"].unique())
    shades = sample_colorscale(style.KERNEL_SCALE, np.linspace(0, 1, len(bandwidths)).tolist())
    several = len(bandwidths) > _IN_LEGEND
    for g, shade in zip(bandwidths, shades, strict=True):
        curve, line = curves[curves["bandwidth"] == g], {"color": shade, "width": 2}
        for row, column in enumerate(("value", "pull"), start=1):
            listed = row == 1 and not several
            entry = {"name": f"g = {g:.3g}", "legendgroup": str(g), "showlegend": listed, "mode": "lines"}
            figure.add_scatter(**xy(curve, "distance", column), line=line, **entry, row=row, col=1)
    if several:
        _add_colour_bar(figure, bandwidths)


def _add_colour_bar(figure: go.Figure, bandwidths: Sequence[float]) -> None:
    """The bandwidths from narrow to wide, beside the kernels; they are a geometric series."""
    ends = [round(float(np.log10(g)), 4) for g in (bandwidths[0], bandwidths[-1])]
    shown = [bandwidths[k] for k in (0, len(bandwidths) // 2, -1)]
    ticks = {
        "tickvals": [round(float(np.log10(g)), 4) for g in shown],
        "ticktext": [f"{g:.0f}" if g >= 10 else f"{g:.2g}" for g in shown],
    }
    bar = {"title": {"text": "g"}, "thickness": 12, "len": 0.5, "y": 1, "yanchor": "top", **ticks}
    look = {"color": ends, "cmin": ends[0], "cmax": ends[1], "colorscale": style.KERNEL_SCALE, "colorbar": bar}
    points = {"x": [None, None], "y": [None, None], "mode": "markers", "marker": look}
    figure.add_scatter(**points, **style.HIDDEN, row=1, col=1)


def _add_boxes(figure: go.Figure, observed: pd.DataFrame) -> None:
    """Quartiles as the box, 5 and 95 % as its whiskers."""
    colours = style.colours(list(observed["modality"]))
    for row in observed.to_dict("records"):
        quartiles = {"lowerfence": [row["low"]], "q1": [row["q25"]], "median": [row["median"]]}
        quartiles |= {"q3": [row["q75"]], "upperfence": [row["high"]]}
        look = {"name": f"{row['modality']}, source to target", "marker": {"color": colours[row["modality"]]}}
        figure.add_box(y=[row["modality"]], **quartiles, orientation="h", **look, showlegend=False, row=3, col=1)
    figure.update_yaxes(title="observed", row=3)
