"""Bars side by side: a number of every method, for every class or group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS


@hover_in_words
def draw_grouped_bars(bars: pd.DataFrame, *, axes: tuple[str, str], title: str) -> go.Figure:
    """Draw a group of bars for every row of a frame, a bar for every column, each with its number above.

    Args:
        bars: numbers that are finite; columns that are keys of `METHODS` get the method's title and colour.
        axes: titles of x and y, with units.
        title: of the figure.

    Raises:
        UserError: nothing to draw, or a number that is not finite.

    Example:
        >>> figure = draw_grouped_bars(pd.DataFrame({"mmsada": [3, 0]}, ["cut", "mix"]), axes=("verb", "n"), title="")
        >>> figure.data[0].name, figure.data[0].y
        ('MM-SADA', (3.0, 0.0))
    """
    if bars.empty or not np.isfinite(bars.to_numpy(dtype=float)).all():
        raise UserError("nothing to draw, or a number that is not finite; give at least one bar")
    figure = style.empty_figure(title)
    titles = {column: METHODS[column].title if column in METHODS else str(column) for column in bars}
    palette = style.colours(list(titles.values()))
    for column, name in titles.items():
        heights = style.to_list(bars[column].astype(float), 1)
        text = {"text": [f"{height:g}" for height in heights], "textposition": "outside", "textangle": 0}
        figure.add_bar(
            x=list(map(str, bars.index)),
            y=heights,
            name=name,
            marker_color=palette[name],
            cliponaxis=False,
            **text,
        )
    return figure.update_layout(barmode="group", xaxis_title=axes[0], yaxis_title=axes[1], showlegend=True)
