"""Gaps between domains as figures: bars with their interval, and what a measure reads where there is no gap."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.gap.measures import MEASURES
from mmsada_lab.analysis.results import plain
from mmsada_lab.errors import UserError, unknown

TITLES = {
    "a_distance": "proxy A-distance (0 to 2)",
    "mmd": "MMD², 12 kernels (no unit)",
    "mmd_median": "MMD², median kernel (no unit)",
    "frechet": "Fréchet distance² (features²)",
    "coral": "CORAL (features⁴)",
}
"""Measure -> what its axis says."""

SCOPES = {False: "all segments", True: "within classes"}
_COLUMNS = ["row", "modality", "measure", "scope", "value", "null", "p", "corrected", "low", "high"]


def gap_bars(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Gaps of several runs in one tidy frame.

    Args:
        tables: what to call a run -> its table from `gap_table` or `run_gap`.

    Returns:
        One row per run, modality, measure and scope: row (what the run is called), modality, measure, scope (see
        `SCOPES`), value, null, p, corrected, low, high, segments (of the smaller side), classes, note. Scopes in which
        nothing could be measured are left out.
    """
    if not tables:
        raise UserError("no gap to draw; measure at least one run")
    joined = pd.concat([table.assign(row=name) for name, table in tables.items()], ignore_index=True)
    joined = joined[joined["value"].notna()]
    joined["scope"] = joined["conditional"].map(SCOPES)
    joined["segments"] = joined[["n_source", "n_target"]].min(axis=1)
    return joined[[*_COLUMNS, "segments", "classes", "note"]].reset_index(drop=True)


def draw_gap(bars: pd.DataFrame, *, measure: str, title: str = "") -> go.Figure:
    """Draw one measure of `gap_bars`: a panel per modality and scope, a bar per run.

    A bar is the value as measured, the grey dash what the same measure reads on average where domains mean nothing, the
    dot with its arms the value less its bias and the 95 % interval. So a bar can end above its own interval.

    Args:
        bars: from `gap_bars`.
        measure: key of `MEASURES`.
        title: of the figure; what is measured by default.
    """
    chosen = bars[bars["measure"] == measure]
    if chosen.empty:
        known = [name for name in MEASURES if name in set(bars["measure"])]
        raise unknown("measure", measure, known)
    modalities, scopes = list(chosen["modality"].unique()), list(chosen["scope"].unique())
    titles = [f"{modality}, {scope}" for scope in scopes for modality in modalities]
    figure = make_subplots(len(scopes), len(modalities), shared_yaxes="all", subplot_titles=titles)
    colour = style.colours(modalities, style.STREAM_COLOURS)
    for r, scope in enumerate(scopes, start=1):
        for c, modality in enumerate(modalities, start=1):
            one = chosen[(chosen["scope"] == scope) & (chosen["modality"] == modality)]
            _add_panel(figure, one, colour[modality], row=r, col=c)
    figure.update_layout(template=style.TEMPLATE, height=80 + 260 * len(scopes))
    figure.update_xaxes(title="method", row=len(scopes))
    figure.update_yaxes(title=TITLES[measure], col=1)
    return figure.update_layout(title={"text": title or TITLES[measure]})


def _add_panel(figure: go.Figure, one: pd.DataFrame, colour: str, *, row: int, col: int) -> None:
    """Bars, nulls and intervals of one modality in one scope; the first panel makes the legend."""
    shown = {"showlegend": row == col == 1}
    bar = {"marker": {"color": colour, "opacity": 0.55}, "name": "value", "legendgroup": "value", **shown}
    figure.add_bar(x=plain(one["row"]), y=_rounded(one["value"]), **bar, row=row, col=col)
    mean = one[one["null"].notna()]
    dash = {"symbol": "line-ew", "size": 34, "line": {"width": 3, "color": style.GREY}}
    null = {"mode": "markers", "marker": dash, "name": "null (domains shuffled)", "legendgroup": "null", **shown}
    figure.add_scatter(x=plain(mean["row"]), y=_rounded(mean["null"]), **null, row=row, col=col)
    known = one[one["corrected"].notna()]
    arms = {
        "type": "data",
        "symmetric": False,
        "array": _rounded((known["high"] - known["corrected"]).clip(lower=0)),
        "arrayminus": _rounded((known["corrected"] - known["low"]).clip(lower=0)),
    }
    dot = {"mode": "markers", "marker": {"color": style.INK, "size": 8}, "legendgroup": "interval", **shown}
    named = {"name": "less its bias, 95 % interval", "error_y": arms}
    figure.add_scatter(x=plain(known["row"]), y=_rounded(known["corrected"]), **named, **dot, row=row, col=col)


def _rounded(values: pd.Series[float]) -> list[float]:
    """To four significant digits: more would only show which machine it was."""
    return [float(f"{value:.4g}") for value in values]
