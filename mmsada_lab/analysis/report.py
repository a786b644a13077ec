"""Reports: ours beside the paper's, with seeds, spread, interval and selection rule, as CSV, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.io import to_html

from mmsada_lab.analysis.pages import render_page
from mmsada_lab.analysis.tables import MEAN, domain_pairs, interval_of, seeds_by_pair, write_accuracy
from mmsada_lab.errors import UserError

PAPER_LINE = "the paper's, on EPIC-Kitchens"
"""Title of the line of printed accuracies."""


@dataclass(frozen=True)
class ReportLine:
    """One line of a report.

    Attributes:
        title: of the line.
        digests: of the configurations whose runs it is made of.
        stream: whose accuracy it shows.
        paper: the paper's accuracies by pair (as it prints, ``D2→D1``) and their printed mean, where there are any.
    """

    title: str
    digests: frozenset[str]
    stream: str = "fused"
    paper: Mapping[str, float] | None = None


def report_table(runs: pd.DataFrame, lines: Sequence[ReportLine], *, baseline: str) -> pd.DataFrame:
    """Every cell of a report.

    Args:
        runs: from `load_runs`.
        lines: what to show, in order.
        baseline: title of the line the others are compared with.

    Returns:
        One row per line and pair, and one for the mean over pairs: row, pair, seeds, top1 (percent; missing where no
        run is finished), sd (over seeds; that of the mean is of the per-seed means), paper (the printed figure), and
        for the mean: difference, low, high (points to the baseline, paired over pairs and seeds, 95 % interval;
        missing where two seeds and two pairs are not shared).
    """
    pairs = sorted(domain_pairs(runs), key=lambda pair: (pair.target, pair.source))
    tables = {}
    for line in lines:
        of_line = runs[runs["digest"].isin(line.digests) & (runs["stream"] == line.stream)]
        tables[line.title] = seeds_by_pair(of_line, pairs)
    rows = []
    for line in lines:
        table = tables[line.title]
        columns = {**{str(pair): table[str(pair)].dropna() for pair in pairs}, MEAN: table.dropna().mean(axis=1)}
        for name, values in columns.items():
            printed = (line.paper or {}).get(name, np.nan)
            spread = {"seeds": len(values), "top1": values.mean(), "sd": values.std()}
            rows.append({"row": line.title, "pair": name, **spread, "paper": printed})
        if line.title != baseline and baseline in tables:
            rows[-1] |= _compare(table, tables[baseline])
    return pd.DataFrame(rows, columns=["row", "pair", "seeds", "top1", "sd", "paper", "difference", "low", "high"])


def _compare(ours: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, float]:
    difference = (ours - baseline).dropna(axis=1, how="all").dropna()
    if min(difference.shape) < 2:
        return {}
    interval = interval_of(difference)
    return {"difference": interval.difference, "low": interval.low, "high": interval.high}


def format_report(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """A report for the eye: a line per row, a column per pair, the paper's line below ours."""
    against = f"− {baseline} [95 %]"
    lines = []
    for title, cells in table.groupby("row", sort=False):
        seeds = "-".join(map(str, sorted({int(n) for n in cells["seeds"]})))
        ours = {c["pair"]: write_accuracy(c["top1"], c["sd"]) for c in cells.to_dict("records")}
        compared = "" if title == baseline else _write_interval(cells.iloc[-1])
        lines.append({"": title, "seeds": seeds, **ours, against: compared})
        if cells["paper"].notna().any():
            paper = {c["pair"]: write_accuracy(c["paper"], np.nan) for c in cells.to_dict("records")}
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
        if heading:
            blocks.append(f"## {heading}")
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
    embedded = [
        Markup(to_html(figure, include_plotlyjs=number == 0, full_html=False, validate=False))
        for number, figure in enumerate(figures)
    ]
    values = {"tables": tables, "paper_line": PAPER_LINE, "figures": embedded, "notes": notes}
    return render_page(title, _TEMPLATE, values, style=_STYLE)
