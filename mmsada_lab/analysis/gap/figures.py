"""Gaps between domains as figures: bars with their interval, and what a measure reads where there is no gap."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.gap.measures import MEASURES
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

SCOPES = {False: "all segments", True: "within classes"}
_NUMBERS = ["value", "null", "p", "corrected", "low", "high"]


def gap_bars(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Gaps of several runs, by title, in one tidy frame: those of `gap_table` with row (the title) and scope.

    Segments are those of the smaller side. Scopes in which nothing could be measured are left out.

    Example:
        >>> table = pd.DataFrame({"modality": "rgb", "measure": ["coral"], "conditional": False, "note": ""})
        >>> table = table.assign(**dict.fromkeys(_NUMBERS, 1.0), n_source=30, n_target=20, classes=0)
        >>> gap_bars({"MM-SADA": table})["scope"].tolist()
        ['all segments']
    """
    if not tables:
        raise UserError("no gap to draw; measure at least one run")
    joined = pd.concat([table.assign(row=name) for name, table in tables.items()], ignore_index=True)
    joined = joined[joined["value"].notna()]
    joined["scope"] = joined["conditional"].map(SCOPES)
    joined["segments"] = joined[["n_source", "n_target"]].min(axis=1)
    columns = ["row", "modality", "measure", "scope", *_NUMBERS, "segments", "classes", "note"]
    return joined[columns].reset_index(drop=True)


def draw_gap(bars: pd.DataFrame, *, measure: str, title: str = "") -> go.Figure:
    """Draw one measure of `gap_bars`: a panel per modality and scope, a bar per run.

    A bar is the value as measured, the grey dash what the same measure reads on average where domains mean nothing, the
    dot with its arms the value less its bias and the 95 % interval. So a bar can end above its own interval.

    Args:
        bars: from `gap_bars`.
        measure: key of `MEASURES`.
        title: of the figure; the measure by default.

    Example:
        >>> bars = pd.DataFrame({"row": ["MM-SADA"], "modality": "rgb", "measure": "coral", "scope": "all segments"})
        >>> [trace.name for trace in draw_gap(bars.assign(**dict.fromkeys(_NUMBERS, 1.0)), measure="coral").data]
        ['value', 'null (domains shuffled)', 'less its bias, 95 % interval']
    """
    of_measure = bars[bars["measure"] == measure]
    if of_measure.empty:
        raise unknown("measure", measure, [name for name in MEASURES if name in set(bars["measure"])])
    modalities, scopes = list(of_measure["modality"].unique()), list(of_measure["scope"].unique())
    titles = [f"{modality}, {scope}" for scope in scopes for modality in modalities]
    figure = make_subplots(len(scopes), len(modalities), shared_yaxes="all", subplot_titles=titles)
    colours = style.colours(modalities)
    for r, scope in enumerate(scopes, start=1):
        for c, modality in enumerate(modalities, start=1):
            of_panel = of_measure[(of_measure["scope"] == scope) & (of_measure["modality"] == modality)]
            _add_panel(figure, of_panel, colours[modality], row=r, col=c)
    figure.update_layout(template=style.TEMPLATE, height=80 + 260 * len(scopes))
    figure.update_xaxes(title="method", row=len(scopes))
    figure.update_yaxes(title=TITLES[measure], col=1)
    return figure.update_layout(title={"text": title or TITLES[measure]})


def _add_panel(figure: go.Figure, bars: pd.DataFrame, colour: str, *, row: int, col: int) -> None:
    """Bars, nulls and intervals of one modality in one scope; the first panel makes the legend."""
    legend = {"showlegend": row == col == 1}
    bar = {"marker": {"color": colour, "opacity": 0.55}, "name": "value", "legendgroup": "value", **legend}
    figure.add_bar(x=to_list(bars["row"]), y=_four_digits(bars["value"]), **bar, row=row, col=col)
    nulls = bars[bars["null"].notna()]
    dash = {"symbol": "line-ew", "size": 34, "line": {"width": 3, "color": style.GREY}}
    null = {"mode": "markers", "marker": dash, "name": "null (domains shuffled)", "legendgroup": "null", **legend}
    figure.add_scatter(x=to_list(nulls["row"]), y=_four_digits(nulls["null"]), **null, row=row, col=col)
    known = bars[bars["corrected"].notna()]
    arms = {
        "type": "data",
        "symmetric": False,
        "array": _four_digits((known["high"] - known["corrected"]).clip(lower=0)),
        "arrayminus": _four_digits((known["corrected"] - known["low"]).clip(lower=0)),
    }
    dot = {"mode": "markers", "marker": {"color": style.INK, "size": 8}, "legendgroup": "interval", **legend}
    interval = {"name": "less its bias, 95 % interval", "error_y": arms, **dot}
    figure.add_scatter(x=to_list(known["row"]), y=_four_digits(known["corrected"]), **interval, row=row, col=col)


def _four_digits(values: pd.Series[float]) -> list[float]:
    """To four significant digits: more would only show which machine it was."""
    return [float(f"{value:.4g}") for value in values]
