"""Reports: ours beside the paper's, with seeds, spread, interval and selection rule, as CSV, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.io import to_html

from mmsada_lab.analysis.pages import render_page
from mmsada_lab.analysis.tables import MEAN, interval_of, pairs_by_target, seeds_by_pair, write_accuracy
from mmsada_lab.errors import UserError

PAPER_LINE = "the paper's, on EPIC-Kitchens"  # title of the line of printed accuracies


@dataclass(frozen=True)
class ReportLine:
    """One line of a report: of the runs whose configurations have these digests.

    `paper` holds the paper's accuracies by pair (as it prints, ``D2→D1``) and their printed mean, where there are any.
    """

    title: str
    digests: frozenset[str]
    stream: str = "fused"
    paper: Mapping[str, float] | None = None


def report_table(runs: pd.DataFrame, lines: Sequence[ReportLine], *, baseline: str) -> pd.DataFrame:
    """Every cell of a report of `load_runs`: a row per line and pair, and one for the mean over pairs.

    Columns row, pair, seeds, top1 (percent; missing where no run is finished), sd (over seeds; that of the mean is of
    the per-seed means), paper (the printed figure), and for the mean: difference, low, high (points to the line titled
    `baseline`, paired over pairs and seeds, 95 % interval; missing where two seeds and two pairs are not shared).
    """
    pairs = pairs_by_target(runs)
    tables = {
        line.title: seeds_by_pair(runs[runs["digest"].isin(line.digests) & (runs["stream"] == line.stream)], pairs)
        for line in lines
    }
    rows = []
    for line in lines:
        rows += _cells(line, tables[line.title])
        if line.title != baseline and baseline in tables:
            rows[-1] |= _compare(tables[line.title], tables[baseline])
    return pd.DataFrame(rows, columns=["row", "pair", "seeds", "top1", "sd", "paper", "difference", "low", "high"])


def _cells(line: ReportLine, table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for every pair, the last for their mean, not yet compared."""
    columns = {**{str(pair): values.dropna() for pair, values in table.items()}, MEAN: table.dropna().mean(axis=1)}
    paper = line.paper or {}
    return [
        {"row": line.title, "pair": name, "seeds": len(values), "top1": values.mean(), "sd": values.std()}
        | {"paper": paper.get(name, np.nan)}
        for name, values in columns.items()
    ]


def _compare(ours: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, float]:
    difference = (ours - baseline).dropna(axis=1, how="all").dropna()
    if min(difference.shape) < 2:
        return {}
    return dict(zip(("difference", "low", "high"), interval_of(difference), strict=False))


def format_report(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """A report for the eye: a line per row, a column per pair, the paper's line below ours."""
    against = f"− {baseline} [95 %]"
    lines = []
    for title, cells in table.groupby("row", sort=False):
        seeds = "-".join(map(str, sorted({int(n) for n in cells["seeds"]})))
        ours = dict(zip(cells["pair"], map(write_accuracy, cells["top1"], cells["sd"]), strict=True))
        compared = "" if title == baseline else _write_interval(cells.iloc[-1])
        lines.append({"": title, "seeds": seeds, **ours, against: compared})
        if cells["paper"].notna().any():
            paper = dict(zip(cells["pair"], (write_accuracy(mean, np.nan) for mean in cells["paper"]), strict=True))
            lines.append({"": PAPER_LINE, "seeds": "1", **paper, against: ""})
    return pd.DataFrame(lines)


def _write_interval(mean: pd.Series[float]) -> str:
    if np.isnan(mean["difference"]):
        return "too few runs"
    return f"{mean['difference']:+.1f} [{mean['low']:+.1f}, {mean['high']:+.1f}]"


def describe_runs(runs: pd.DataFrame) -> list[str]:
    """Notes below a report: data, preset, selection, devices, hours, versions."""
    if runs.empty:
        raise UserError("no finished run to report on")
    runs = runs.drop_duplicates("path")
    names = ("data", "preset", "selection", "device", "version")
    data, preset, selection, device, version = (", ".join(map(str, runs[name].unique())) for name in names)
    notes = [
        f"{len(runs)} runs on {data}, preset {preset}; top-1 in % on the target's test segments, mean ± sd over seeds",
        f"selection: {selection}; no target label is seen in training or selection",
        "differences are paired over pairs and seeds; intervals from 10,000 bootstrap resamples of pairs, then seeds",
        f"{runs['training_seconds'].sum() / 3600:.1f} hours of training on {device}; mmsada_lab {version}",
    ]
    if runs["version"].nunique() > 1:
        notes.append("CAUTION: these runs were made by different versions of the package")
    return notes


def render_markdown(title: str, tables: Mapping[str, pd.DataFrame], notes: Iterable[str]) -> str:
    """A report as Markdown; each table under its heading, if it has one."""
    blocks = [f"# {title}"]
    for heading, table in tables.items():
        blocks += [f"## {heading}"] if heading else []
        lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
        blocks.append("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))
    blocks.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(blocks) + "\n"


_STYLE = """table { border-collapse: collapse; margin: 1.5em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.paper td { color: #7f7f7f; font-style: italic; }
li { margin: .3em 0; } .table { overflow-x: auto; }"""

_TEMPLATE = """
{% for heading, table in tables.items() %}
{% if heading %}
<h2>{{ heading }}</h2>
{% endif %}
<div class="table"><table>
<tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table.to_numpy() %}
<tr{% if row[0] == paper_line %} class="paper"{% endif %}>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endfor %}
{% for figure in figures %}
{{ figure }}
{% endfor %}
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
"""


def render_html(
    title: str, tables: Mapping[str, pd.DataFrame], figures: Iterable[go.Figure], notes: Iterable[str]
) -> str:
    """A report as one HTML file that needs no network; each table under its heading, if it has one."""
    pages = (
        to_html(figure, include_plotlyjs=n == 0, full_html=False, validate=False) for n, figure in enumerate(figures)
    )
    embedded = list(map(Markup, pages))
    values = {"tables": tables, "paper_line": PAPER_LINE, "figures": embedded, "notes": notes}
    return render_page(title, _TEMPLATE, values, style=_STYLE)
