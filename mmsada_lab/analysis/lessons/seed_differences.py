"""Differences of two methods, a dot for every pair and seed: the two spreads behind an interval."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list


@hover_in_words
def draw_seed_differences(differences: pd.DataFrame, *, title: str = "Differences, every pair and seed") -> go.Figure:
    """Draw differences of `seeds_by_pair` of two methods: a dot per world and seed, a bar at the mean of each pair.

    Args:
        differences: points; rows are (world, seed), columns pairs; a run that is missing has no dot.
        title: of the figure.

    Example:
        >>> rows = pd.MultiIndex.from_product([[0], [0, 1]], names=["world", "seed"])
        >>> figure = draw_seed_differences(pd.DataFrame({"D2→D1": [1.0, 3.0]}, rows))
        >>> [trace.y for trace in figure.data]
        [(1.0, 3.0), (2.0,)]
    """
    figure = style.empty_figure(title)
    dots = differences.stack().dropna().reset_index()
    dots.columns = pd.Index(["world", "seed", "pair", "difference"])
    words = [f"world {world}, seed {seed}" for world, seed in zip(dots["world"], dots["seed"], strict=True)]
    grey = {"color": style.INK, "size": 8, "opacity": 0.5}
    points = {"x": to_list(dots["pair"]), "y": to_list(dots["difference"], 2), "hovertext": words}
    figure.add_scatter(**points, mode="markers", name="a seed of a world", marker=grey)
    means, dash = differences.mean(), {"symbol": "line-ew-open", "size": 30, "line": {"width": 3}, "color": style.INK}
    mean = {"x": [str(pair) for pair in means.index], "y": to_list(means, 2)}
    figure.add_scatter(**mean, mode="markers", name="mean of the pair", marker=dash)
    figure.add_hline(y=0, line=style.BOUNDARY)
    figure.update_xaxes(title="pair", type="category", categoryorder="array", categoryarray=mean["x"])
    return figure.update_layout(yaxis_title="top-1, difference (points)", showlegend=True)
