"""Which frames of a segment, and which columns of a frame, a network is shown: lengths, windows, crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.errors import UserError

_TESTED, _TRAINED = style.CYCLE[1], style.CYCLE[0]
_MARGIN = 6  # frames of the clock on either side of what is read


def length_shares(frames: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """How many segments are no longer than so many frames, by domain.

    Args:
        frames: domain -> length of each of its segments, frames of the clock.

    Returns:
        Columns domain, percent (0 to 100 by twos), frames (the length that so many do not exceed).

    Raises:
        UserError: a domain without segments.

    Example:
        >>> shares = length_shares({"D1": [10, 20, 30]})
        >>> shares.query("percent == 50")["frames"].tolist()
        [20.0]
    """
    percent, tables = list(range(0, 101, 2)), []
    for domain, lengths in frames.items():
        if not np.size(lengths):
            raise UserError(f"{domain} has no segment; leave it out")
        quantiles = np.percentile(np.asarray(lengths, dtype=float), percent).round(1)
        tables.append(pd.DataFrame({"domain": domain, "percent": percent, "frames": quantiles}))
    return pd.concat(tables, ignore_index=True)


@hover_in_words
def draw_lengths(
    shares: pd.DataFrame, *, spans: Mapping[str, int] | None = None, title: str = "Length of segments"
) -> go.Figure:
    """Draw `length_shares`: a line per domain; spans are frames of the clock, by name, and drawn upright.

    Example:
        >>> figure = draw_lengths(length_shares({"D1": [10, 20]}), spans={"window of 8": 16})
        >>> [trace.name for trace in figure.data]
        ['D1', 'window of 8']
    """
    figure, domains = style.empty_figure(title), list(shares["domain"].unique())
    for number, (domain, colour) in enumerate(style.colours(domains).items()):
        of_domain = shares[shares["domain"] == domain]
        look = {"mode": "lines", "line": style.line(colour, number), "name": domain}
        figure.add_scatter(**style.xy(of_domain, "frames", "percent"), **look)
    for number, (name, span) in enumerate((spans or {}).items()):
        line = {"color": style.GREY, "dash": style.DASHES[1 + number % 4]}
        figure.add_scatter(x=[span, span], y=[0, 100], mode="lines", line=line, name=name)
    ends = [*shares["frames"], *(spans or {}).values()]
    edges = [round(float(np.log10(end)), 3) for end in (0.9 * max(min(ends), 1), 1.1 * max(ends))]  # of a log axis
    x = {"title": "frames", "type": "log", "range": edges}
    return figure.update_layout(xaxis=x, yaxis_title="segments that are no longer (%)", showlegend=True)


@hover_in_words
def draw_windows(
    windows: Mapping[str, ArrayLike], *, segment: tuple[int, int], title: str = "What windows read"
) -> go.Figure:
    """Draw the frames that windows read, a row each; the segment, from its first frame to its last, is shaded.

    Windows whose names begin with ``test`` have a colour of their own.

    Example:
        >>> figure = draw_windows({"test 1": [100, 102], "training": [99, 101]}, segment=(100, 110))
        >>> figure.data[1].x
        (99, 101)
    """
    figure = style.empty_figure(title, height=max(240, 150 + 27 * len(windows)))
    for name, window in windows.items():
        frames = np.asarray(window).tolist()
        marker = {"color": _TESTED if name.startswith("test") else _TRAINED, "size": 5}
        figure.add_scatter(x=frames, y=[name] * len(frames), mode="markers", marker=marker, showlegend=False)
    first, last = segment
    shade = {"fillcolor": style.GREY, "opacity": 0.12, "line_width": 0}
    figure.add_vrect(x0=first, x1=last, annotation_text="segment", **shade)
    figure.update_yaxes(autorange="reversed", title="window")
    read = np.concatenate([np.ravel(window) for window in windows.values()])
    edges = [int(min(first, read.min())) - _MARGIN, int(max(last, read.max())) + _MARGIN]
    return figure.update_xaxes(title="frame of the clock", range=edges)


class HasColumns(Protocol):
    """What is cut out of a frame; a `Crop` is."""

    @property
    def left(self) -> int:
        """First column, pixels."""

    @property
    def width(self) -> int:
        """Number of columns."""


def column_shares(crops: Mapping[str, Sequence[HasColumns]], *, width: int, step: int = 4) -> pd.DataFrame:
    """How many crops contain each column of a frame, in percent, for `draw_lines`.

    Args:
        crops: kind -> crops of that kind.
        width: of the frame, pixels.
        step: of the columns that are looked at, pixels.

    Returns:
        A row per column (its number is the index), a column per kind.

    Raises:
        UserError: a kind without crops.

    Example:
        >>> from types import SimpleNamespace
        >>> column_shares({"left": [SimpleNamespace(left=0, width=5)]}, width=12)["left"].to_dict()
        {0: 100.0, 4: 100.0, 8: 0.0}
    """
    columns = np.arange(0, width, step)
    shares = pd.DataFrame(index=columns)
    for kind, of_kind in crops.items():
        if not of_kind:
            raise UserError(f"no crop {kind!r}; draw at least one")
        inside = [(crop.left <= columns) & (columns < crop.left + crop.width) for crop in of_kind]
        shares[kind] = (100 * np.mean(inside, axis=0)).round(1)
    return shares
