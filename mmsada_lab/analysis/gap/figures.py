"""Gaps between domains as figures: bars with their interval, and what a measure reads where there is no gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.gap.measures import MEASURES
from mmsada_lab.analysis.gap.table import COVERAGE
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list
from mmsada_lab.errors import UserError, unknown

TITLES = {
    "a_distance": "proxy A-distance (0 to 2)",
    "mmd": "MMD², 12 kernels (no unit)",
    "mmd_median": "MMD², median kernel (no unit)",
    "frechet": "Fréchet distance² (features²)",
    "coral": "CORAL (features⁴)",
}
"""Measure -> title of its axis."""

_INTERVAL = "less its bias; arms hold it in 80 % or more (nominally 95 %)"
_KINDS = {"evaluation": "statistics of evaluation", "own": "each domain's own statistics"}
SCOPES = {False: "all segments", True: "within classes"}
_NUMBERS = ["value", "null", "p", "corrected", "low", "high"]


def gap_bars(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Several `gap_table`s, by title, in one tidy frame: their columns beside row (the title) and scope.

    Segments are those of the smaller side; statistics are ``evaluation`` where a table does not say. Scopes in which
    nothing could be measured are left out.

    Example:
        >>> table = pd.DataFrame({"modality": "rgb", "measure": ["coral"], "conditional": False, "note": ""})
        >>> table = table.assign(**dict.fromkeys(_NUMBERS, 1.0), n_source=30, n_target=20, classes=0)
        >>> gap_bars({"MM-SADA": table})["scope"].tolist()
        ['all segments']
    """
    if not tables:
        raise UserError("no gap to draw; measure at least one run")
    joined = pd.concat([table.assign(row=name) for name, table in tables.items()], ignore_index=True)
    joined = _with_statistics(joined[joined["value"].notna()])
    joined["scope"] = joined["conditional"].map(SCOPES)
    joined["segments"] = joined[["n_source", "n_target"]].min(axis=1)
    columns = ["row", "statistics", "modality", "measure", "scope", *_NUMBERS, "segments", "classes", "note"]
    return joined[columns].reset_index(drop=True)


def _with_statistics(table: pd.DataFrame) -> pd.DataFrame:
    known = table["statistics"] if "statistics" in table else pd.Series(None, index=table.index, dtype=object)
    return table.assign(statistics=known.fillna("evaluation"))


@hover_in_words
def draw_gap(bars: pd.DataFrame, *, measure: str, title: str = "") -> go.Figure:
    """Draw one measure of `gap_bars`: a panel per modality, scope and kind of batch statistics, a bar per run.

    A bar is the value as measured, the grey dash the mean where domains mean nothing, the dot with its arms the value
    less its bias and its interval (`COVERAGE`). So a bar can end above its own interval.

    Example:
        >>> bars = pd.DataFrame({"row": ["MM-SADA"], "modality": "rgb", "measure": "coral", "scope": "all segments"})
        >>> [trace.name for trace in draw_gap(bars.assign(**dict.fromkeys(_NUMBERS, 1.0)), measure="coral").data]
        ['value', 'null (domains shuffled)', 'less its bias; arms hold it in 80 % or more (nominally 95 %)']
    """
    of_measure = _with_statistics(bars[bars["measure"] == measure])
    if of_measure.empty:
        raise unknown("measure", measure, [name for name in MEASURES if name in set(bars["measure"])])
    modalities, scopes = list(of_measure["modality"].unique()), list(of_measure["scope"].unique())
    kinds = list(of_measure["statistics"].unique())
    lines = [(scope, kind) for scope in scopes for kind in kinds]
    suffixes = {kind: f", {_KINDS[kind]}" if len(kinds) > 1 else "" for kind in kinds}
    titles = [f"{modality}, {scope}{suffixes[kind]}" for scope, kind in lines for modality in modalities]
    panels, height = (len(lines), len(modalities)), 140 + 230 * len(lines)
    options = {"shared_yaxes": "all", "subplot_titles": titles, "horizontal_spacing": 0.06}
    figure = style.empty_figure(title or TITLES[measure], panels=panels, height=height, **options)
    colours = style.colours(modalities)
    for r, (scope, kind) in enumerate(lines, start=1):
        of_line = of_measure[(of_measure["scope"] == scope) & (of_measure["statistics"] == kind)]
        for c, modality in enumerate(modalities, start=1):
            _add_panel(figure, of_line[of_line["modality"] == modality], colours[modality], row=r, col=c)
    names = list(of_measure["row"].unique())
    figure.update_xaxes(showticklabels=False, tickvals=names, ticktext=[_two_lines(name) for name in names])
    figure.update_xaxes(showticklabels=True, title="method", row=len(lines))
    figure.update_layout(legend=style.LEGEND_BELOW, margin_b=130)
    return figure.update_yaxes(title=TITLES[measure], col=1)


def _two_lines(name: str) -> str:
    """Names of methods stand upright below a narrow panel.

    Example:
        >>> _two_lines("Self-supervised only"), _two_lines("MM-SADA")
        ('Self-supervised<br>only', 'MM-SADA')
    """
    return name.replace(" ", "<br>", 1)


def _add_panel(figure: go.Figure, bars: pd.DataFrame, colour: str, *, row: int, col: int) -> None:
    """The first panel makes the legend."""
    where = {"showlegend": row == col == 1, "row": row, "col": col}
    bar = {"marker": {"color": colour, "opacity": 0.55}, "name": "value", "legendgroup": "value"}
    figure.add_bar(**_points(bars, "value"), **bar, **where)
    dash = {"symbol": "line-ew", "size": 34, "line": {"width": 3, "color": style.GREY}}
    null = {"mode": "markers", "marker": dash, "name": "null (domains shuffled)", "legendgroup": "null"}
    figure.add_scatter(**_points(bars, "null"), **null, **where)
    dot = {"mode": "markers", "marker": {"color": style.INK, "size": 8}, "legendgroup": "interval"}
    measured = bars[bars["corrected"].notna()]
    interval = {"name": _INTERVAL, "error_y": _arms(measured), "hovertext": _hover(measured), "hoverinfo": "x+text"}
    figure.add_scatter(**_points(bars, "corrected"), **interval, **dot, **where)


def _hover(bars: pd.DataFrame) -> list[str]:
    rows = bars[["corrected", "low", "high"]].to_numpy().tolist()
    return [f"{middle:.4g}, arms from {low:.4g} to {high:.4g}: {COVERAGE}" for middle, low, high in rows]


def _points(bars: pd.DataFrame, column: str) -> dict[str, list[Any]]:
    known = bars[bars[column].notna()]
    return {"x": to_list(known["row"]), "y": _four_digits(known[column])}


def _arms(bars: pd.DataFrame) -> dict[str, Any]:
    ends = {"array": bars["high"] - bars["corrected"], "arrayminus": bars["corrected"] - bars["low"]}
    arms = {name: _four_digits(lengths.clip(lower=0)) for name, lengths in ends.items()}
    return {"type": "data", "symmetric": False, **arms}


def _four_digits(values: pd.Series[float]) -> list[float]:
    """To four significant digits: more would only show which machine it was."""
    return [float(f"{value:.4g}") for value in values]
