"""Lines over anything: schedules, costs, the progress of a small game."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list
from mmsada_lab.errors import UserError


@hover_in_words
def draw_lines(
    lines: pd.DataFrame,
    *,
    axes: tuple[str, str],
    colours: Mapping[str, str] | None = None,
    dashes: Mapping[str, str] | None = None,
    levels: Mapping[str, float] | None = None,
    title: str,
) -> go.Figure:
    """Draw a line for every column of a frame, over its index; a missing number leaves a gap.

    Axes are titles of x and y, with units; colours and dashes are by column, others take that of their name, or the
    next one; levels are y of dotted lines across, such as chance, by text.

    Example:
        >>> lines = pd.DataFrame({"loss": [0.7, None, 0.5]}, index=[0, 10, 20])
        >>> draw_lines(lines, axes=("step", "loss (nats)"), title="").data[0].y
        (0.7, None, 0.5)
    """
    if lines.empty or np.isinf(lines.to_numpy(dtype=float)).any():
        raise UserError("nothing to draw, or an infinite number among the lines; give at least one finite number")
    figure = style.empty_figure(title)
    own = style.colours(list(map(str, lines))) | dict(colours or {})
    for number, name in enumerate(map(str, lines)):
        line = style.line(own[name], number)
        line["dash"] = (dashes or {}).get(name, line["dash"])
        points = {"x": to_list(lines.index.to_series().astype(float), 4), "y": to_list(lines[name].astype(float), 4)}
        figure.add_scatter(**points, name=name, mode="lines", line=line)
    for text, level in (levels or {}).items():
        figure.add_hline(y=round(level, 4), line={"color": style.GREY, "dash": "dot"}, annotation_text=text)
    return figure.update_layout(xaxis_title=axes[0], yaxis_title=axes[1], showlegend=True)
