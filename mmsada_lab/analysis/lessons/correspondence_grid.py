"""A batch of correspondence as a grid: which segment each modality of a clip is taken from, and what it teaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.errors import UserError

ByModality = Mapping[str, Sequence[Any]]

_FILLED = {"none": 0, "other": 1, "own": 2}  # fill of a cell: none, grey, or the colour of its domain


def correspondence_grid(
    segments: ByModality, *, side: str, labels: Sequence[str | None], middles: ByModality | None = None
) -> pd.DataFrame:
    """A batch as a correspondence head sees it: which segment each modality of a clip comes from.

    `segments` are those that modalities are taken from, `(B,)` each; `labels`, `(B,)`, what clips teach the classifier,
    None for nothing; `middles` of the windows, `(B,)` by modality, stand behind the segment. Columns side, clip (from
    1), column (a modality, ``corresponds`` or ``class``), text and filled: ``own`` where a modality comes from the
    segment of the clip's first one, ``other`` where not, ``none`` where there is nothing.

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
        taken = {modality: values[clip] for modality, values in segments.items()}
        windows = {modality: f" @ {values[clip]}" for modality, values in (middles or {}).items()}
        rows += [(side, clip + 1, *cell) for cell in _cells(taken, windows, label)]
    return pd.DataFrame(rows, columns=["side", "clip", "column", "text", "filled"])


def _cells(taken: Mapping[str, Any], windows: Mapping[str, str], label: str | None) -> list[tuple[str, str, str]]:
    """Column, text and filling of every cell of a clip."""
    own = {modality: segment == next(iter(taken.values())) for modality, segment in taken.items()}
    cells = [(m, f"{s}{windows[m] if windows else ''}", "own" if own[m] else "other") for m, s in taken.items()]
    cells.append(("corresponds", *(("yes", "own") if all(own.values()) else ("no", "other"))))
    return [*cells, ("class", *(("–", "none") if label is None else (label, "own")))]


@hover_in_words
def draw_correspondence_grid(grid: pd.DataFrame, *, title: str = "What C is asked") -> go.Figure:
    """Draw `correspondence_grid`, of one domain or both joined: a row per clip; grey is what comes from elsewhere.

    Example:
        >>> grid = correspondence_grid({"rgb": [1, 2], "flow": [1, 3]}, side="source", labels=["take", None])
        >>> draw_correspondence_grid(grid).data[0].text
        (['1', '1', 'yes', 'take'], ['2', '3', 'no', '–'])
    """
    sides = list(grid["side"].unique())
    height = 170 + 30 * int(grid["clip"].max())
    options = {"subplot_titles": sides, "horizontal_spacing": 0.08}
    figure = style.empty_figure(title, panels=(1, len(sides)), height=height, **options)
    for number, (side, cells) in enumerate(grid.groupby("side", sort=False), start=1):
        _add_heatmap(figure, cells.assign(code=cells["filled"].map(_FILLED)), str(side), column=number)
    figure.update_xaxes(side="bottom", title="taken from (segment @ middle of the window)")
    return figure.update_yaxes(autorange="reversed", type="category").update_yaxes(title="clip", col=1)


def _add_heatmap(figure: go.Figure, cells: pd.DataFrame, side: str, *, column: int) -> None:
    clips = [(str(clip), of_clip) for clip, of_clip in cells.groupby("clip")]
    own = style.translucent(style.DOMAIN_COLOURS[side], 0.35)
    heat = {"zmin": 0, "zmax": 2, "colorscale": [[0, "#FFFFFF"], [0.5, style.FAINT], [1, own]], "showscale": False}
    heat |= {name: [c[source].to_list() for _, c in clips] for name, source in (("z", "code"), ("text", "text"))}
    axes = {"x": list(cells["column"].unique()), "y": [clip for clip, _ in clips]}
    heat["hovertemplate"] = f"{side}, clip %{{y}}, %{{x}}: %{{text}}<extra></extra>"
    figure.add_heatmap(**axes, **heat, texttemplate="%{text}", xgap=2, ygap=2, row=1, col=column)
