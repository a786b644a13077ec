"""A batch of correspondence as a grid: which segment each modality of a clip is taken from, and what it teaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.errors import UserError

_FILLED = {"none": 0, "other": 1, "own": 2}
"""Fill of a cell: none, grey, or the colour of its domain."""


def correspondence_grid(
    segments: Mapping[str, Sequence[Any]],
    *,
    side: str,
    labels: Sequence[str | None],
    middles: Mapping[str, Sequence[Any]] | None = None,
) -> pd.DataFrame:
    """A batch as a correspondence head sees it: which segment each modality of a clip comes from.

    Args:
        segments: modality -> `(B,)` the segment it is taken from.
        side: source or target.
        labels: `(B,)` the class that a clip teaches the classifier; None where it teaches none.
        middles: modality -> `(B,)` the window's middle, shown behind the segment.

    Returns:
        Columns side, clip (from 1), column (a modality, ``corresponds`` or ``class``), text and filled: ``own`` where a
        modality comes from the clip's first modality's segment, ``other`` where not, ``none`` where there is nothing.

    Example:
        >>> grid = correspondence_grid({"rgb": [1, 2], "flow": [1, 3]}, side="source", labels=["take", None])
        >>> grid.loc[grid["column"] == "corresponds", "text"].tolist()
        ['yes', 'no']
    """
    lengths = {len(values) for values in (*segments.values(), *(middles or {}).values(), labels)}
    if len(lengths) != 1 or lengths == {0}:
        raise UserError(f"columns of {sorted(lengths)} clips; give every modality and the labels one entry a clip")
    rows = []
    for clip, label in enumerate(labels):
        taken = {m: values[clip] for m, values in segments.items()}
        own = {m: segment == next(iter(taken.values())) for m, segment in taken.items()}
        texts = {m: f"{s} @ {middles[m][clip]}" if middles else str(s) for m, s in taken.items()}
        cells = [(m, texts[m], "own" if own[m] else "other") for m in taken]
        cells.append(("corresponds", *(("yes", "own") if all(own.values()) else ("no", "other"))))
        cells.append(("class", *(("–", "none") if label is None else (label, "own"))))
        rows += [(side, clip + 1, *cell) for cell in cells]
    return pd.DataFrame(rows, columns=["side", "clip", "column", "text", "filled"])


def draw_correspondence_grid(grid: pd.DataFrame, *, title: str = "What C is asked") -> go.Figure:
    """Draw `correspondence_grid`, of one domain or both joined: a row per clip; grey is what comes from elsewhere.

    Example:
        >>> grid = correspondence_grid({"rgb": [1, 2], "flow": [1, 3]}, side="source", labels=["take", None])
        >>> draw_correspondence_grid(grid).data[0].text
        (['1', '1', 'yes', 'take'], ['2', '3', 'no', '–'])
    """
    sides = list(grid["side"].unique())
    figure = make_subplots(1, len(sides), subplot_titles=sides, horizontal_spacing=0.08)
    for number, (side, of_side) in enumerate(grid.groupby("side", sort=False), start=1):
        cells = of_side.assign(code=of_side["filled"].map(_FILLED))
        clips = [(str(clip), of_clip) for clip, of_clip in cells.groupby("clip")]
        own = style.translucent(style.DOMAIN_COLOURS[str(side)], 0.35)
        heat = {"zmin": 0, "zmax": 2, "colorscale": [[0, "#FFFFFF"], [0.5, style.FAINT], [1, own]], "showscale": False}
        heat |= {name: [c[column].to_list() for _, c in clips] for name, column in (("z", "code"), ("text", "text"))}
        axes = {"x": list(grid["column"].unique()), "y": [clip for clip, _ in clips]}
        figure.add_heatmap(**axes, **heat, texttemplate="%{text}", xgap=2, ygap=2, row=1, col=number)
    figure.update_xaxes(side="bottom", title="taken from (segment @ middle of the window)")
    figure.update_yaxes(autorange="reversed", type="category").update_yaxes(title="clip", col=1)
    height = 170 + 30 * int(grid["clip"].max())
    return figure.update_layout(template=style.TEMPLATE, title={"text": title}, height=height)
