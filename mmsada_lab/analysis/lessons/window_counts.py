"""How much an average over more windows of a segment adds, for every choice of windows.

Legend: `N` segments, `W` windows, `K` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.errors import UserError


def window_counts(probabilities: Mapping[str, ArrayLike], labels: ArrayLike) -> pd.DataFrame:
    """Top-1 (percent) of the mean over some windows of a segment, by how many they are.

    Args:
        probabilities: stream -> `(N, W, K)`, of every window.
        labels: `(N,)`; segments without one (-1) are left out.

    Returns:
        Columns stream, windows (1 to W), mean and sd over all choices of so many windows (0 for a single choice).

    Raises:
        UserError: no labelled segment, or shapes that do not fit.

    Example:
        >>> one_right = [[[0.9, 0.1], [0.4, 0.6]]]  # a segment of two windows; the first one is sure
        >>> window_counts({"rgb": one_right}, [0]).values.tolist()
        [['rgb', 1, 50.0, 50.0], ['rgb', 2, 100.0, 0.0]]
    """
    truth, rows = np.asarray(labels), []
    if not (truth >= 0).any():
        raise UserError("no segment has a label, so nobody knows which predictions are right")
    for stream, values in probabilities.items():
        every = np.asarray(values)
        if every.ndim != 3 or len(every) != len(truth):
            raise UserError(f"{stream} has shape {every.shape}; give (N, windows, classes) of {len(truth)} segments")
        labelled, windows = every[truth >= 0], range(every.shape[1])
        for count in range(1, every.shape[1] + 1):
            choices = [labelled[:, list(choice)].mean(axis=1) for choice in combinations(windows, count)]
            top1 = [100 * float((p.argmax(axis=1) == truth[truth >= 0]).mean()) for p in choices]
            rows.append({"stream": stream, "windows": count, "mean": np.mean(top1), "sd": np.std(top1)})
    return pd.DataFrame(rows)


@hover_in_words
def draw_window_counts(counts: pd.DataFrame, *, title: str = "Top-1 by the number of windows") -> go.Figure:
    """Draw `window_counts`: a line per stream, error bars over the choices of windows.

    Example:
        >>> counts = pd.DataFrame({"stream": "rgb", "windows": [1, 2], "mean": [50.0, 60.0], "sd": [5.0, 0.0]})
        >>> draw_window_counts(counts).data[0].y
        (50.0, 60.0)
    """
    figure, names = style.empty_figure(title), list(counts["stream"].unique())
    colours = style.colours(names)
    for number, name in enumerate(names):
        of_stream = counts[counts["stream"] == name]
        look = {"mode": "lines+markers", "line": style.line(colours[name], number)}
        error = style.error_bars(of_stream["sd"].round(2))
        figure.add_scatter(**style.xy(of_stream, "windows", "mean", 2), error_y=error, name=name, **look)
    figure.update_layout(yaxis_title="top-1 (%)", showlegend=True)
    return figure.update_xaxes(title="windows averaged (± sd over the choices of so many)", dtick=1)
