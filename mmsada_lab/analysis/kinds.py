"""Which kind of gap a method closes: its difference to source-only, kind by kind; the data first, then the drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.differences import OVER_SEEDS, OVER_WORLDS, Interval, compare_seeds
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.tables import MEAN, of_stream, pairs_by_target, seeds_by_pair
from mmsada_lab.errors import UserError

_COLUMNS = ["kind", "method", "difference", "low", "high", "over", "worlds"]

NO_GAP = "none"
"""The kind of kitchens that do not differ."""

_BEYOND = "beyond_"


def beyond_no_gap(runs: pd.DataFrame, digests: Mapping[str, frozenset[str]]) -> pd.DataFrame:
    """What each kind of gap adds to a method's gain: its gain over source-only there, less that where there is no gap.

    A method may gain without a gap, by a task or by clips that source-only does not have: that is no adaptation. Paired
    over worlds, seeds and pairs as every other difference; `interval_of` has the intervals.

    Args:
        runs: from `load_runs`.
        digests: of the runs of each line, titled ``KIND: METHOD``.

    Returns:
        A row for each line, with the columns that `kinds_table` reads with ``beyond=True``; empty without runs of
        `NO_GAP`.
    """
    fused, pairs = of_stream(runs, "fused"), pairs_by_target(runs)
    tables = {title: seeds_by_pair(fused[fused["digest"].isin(of)], pairs) for title, of in digests.items()}
    rows = []
    for title, table in tables.items():
        kind, _, method = title.partition(": ")
        names = (f"{kind}: Source-only", f"{NO_GAP}: {method}", f"{NO_GAP}: Source-only")
        if kind != NO_GAP and title != names[0] and all(name in tables for name in names):
            plain, same, plain_same = (tables[name] for name in names)
            difference = compare_seeds(table - plain, same - plain_same)
            if difference is not None:
                values = {**difference.columns(), "worlds_compared": difference.worlds}
                rows.append({"row": title, **{f"{_BEYOND}{name}": values[name] for name in _COMPARED}})
    return pd.DataFrame(rows, columns=["row", *(f"{_BEYOND}{name}" for name in _COMPARED)])


_COMPARED = ["difference", "worlds_low", "worlds_high", "seeds_low", "seeds_high", "worlds_compared"]


def kinds_table(report: pd.DataFrame, *, beyond: bool = False) -> pd.DataFrame:
    """Differences to source-only of the same kind of gap, of rows of `report_table` that are titled ``KIND: METHOD``.

    With `beyond`, what each kind adds to them (`beyond_no_gap`, whose columns the report then has).

    Columns kind, method, difference (points, mean over worlds, pairs and seeds), low, high (the 95 % interval over
    worlds; over seeds with the worlds fixed where worlds are too few; missing where there is neither), over (which of
    the two), worlds.

    Example:
        >>> row = {"row": "camera: AdaBN", "kind": "camera", "pair": MEAN, "difference": 9.0, "worlds_compared": 1}
        >>> ends = {"worlds_low": np.nan, "worlds_high": np.nan, "seeds_low": 8.0, "seeds_high": 10.0}
        >>> kinds_table(pd.DataFrame([row | ends]))[["method", "low", "over"]].to_numpy().tolist()
        [['AdaBN', 8.0, 'over seeds, worlds fixed']]
    """
    if beyond:
        others = report.drop(columns=_COMPARED)
        report = others.rename(columns={f"{_BEYOND}{name}": name for name in _COMPARED})
    means = report[(report["pair"] == MEAN) & report["difference"].notna()]
    if means.empty:
        raise UserError("no kind of gap has runs of source-only and of another method; let more of them finish")
    method = [row.removeprefix(f"{kind}: ") for row, kind in zip(means["row"], means["kind"], strict=True)]
    by_worlds = means["worlds_low"].notna()
    ends = {end: means[f"worlds_{end}"].where(by_worlds, means[f"seeds_{end}"]) for end in ("low", "high")}
    over = np.where(by_worlds, OVER_WORLDS, np.where(means["seeds_low"].notna(), OVER_SEEDS, ""))
    table = means.assign(method=method, over=over, worlds=means["worlds_compared"], **ends)
    return table[_COLUMNS].reset_index(drop=True)


@hover_in_words
def draw_kinds(
    table: pd.DataFrame, *, title: str = "Which gap does which method close?", beyond: bool = False
) -> go.Figure:
    """Draw `kinds_table`: a column per kind of gap, a row per method, with the interval below each difference.

    Example:
        >>> row = {"kind": "camera", "method": "AdaBN", "difference": 9.0, "low": 8.0, "high": 10.0, "worlds": 4}
        >>> draw_kinds(pd.DataFrame([row | {"over": "over worlds"}])).data[0].text[0][0]
        '+9.0<br>[+8.0, +10.0]'
    """
    kinds, methods = list(table["kind"].unique()), list(table["method"].unique())
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    cells = {(row["kind"], row["method"]): row for row in records}
    grid = [[cells.get((kind, method)) for kind in kinds] for method in methods]
    values = [[None if cell is None else round(float(cell["difference"]), 2) for cell in row] for row in grid]
    texts = [[_write_cell(cell) for cell in row] for row in grid]
    largest = max(1.0, float(table["difference"].abs().max()))
    figure = style.empty_figure(title)
    heat = {"colorscale": [list(stop) for stop in style.DIFFERENCE_SCALE], "zmin": -largest, "zmax": largest}
    bar = {"title": {"text": "points"}, "thickness": 12}
    figure.add_heatmap(x=kinds, y=methods, z=values, text=texts, texttemplate="%{text}", colorbar=bar, **heat)
    figure.update_traces(hovertemplate="%{y}, %{x}: %{text} points<extra></extra>", xgap=2, ygap=2, hoverongaps=False)
    figure.update_yaxes(autorange="reversed")
    over = " or ".join(dict.fromkeys(filter(None, table["over"])))
    compared = "gain less that without a gap" if beyond else "points to source-only on as many source clips"
    below = f"{compared}; 95 % {over}" if over else compared
    return figure.update_layout(xaxis_title=f"kind of gap ({below})", height=120 + 60 * len(methods))


def _write_cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    interval = Interval(cell["low"], cell["high"])
    return f"{cell['difference']:+.1f}" + (f"<br>{interval}" if interval else "")
