"""Reports: ours beside the paper's, with seeds, spread, interval and selection rule, as CSV, Markdown and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.io import to_html

from mmsada_lab.analysis.tables import MEAN, interval_of
from mmsada_lab.errors import UserError
from mmsada_lab.paper import PAIRS, DomainPair

PAPER_LINE = "the paper's, on EPIC-Kitchens"
"""What the line of printed figures is called."""


@dataclass(frozen=True)
class Line:
    """One line of a report.

    Attributes:
        title: what it is called.
        digests: of the configurations whose runs it is made of.
        stream: whose accuracy it shows.
        paper: the paper's accuracies by pair (as it prints, ``D2→D1``) and their printed mean, where there are any.
    """

    title: str
    digests: frozenset[str]
    stream: str = "fused"
    paper: Mapping[str, float] | None = None


def report_table(runs: pd.DataFrame, lines: Sequence[Line], *, baseline: str) -> pd.DataFrame:
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
    pairs = _pairs(runs)
    tables = {line.title: seeds_by_pair(_runs_of(runs, line), pairs) for line in lines}
    rows = []
    for line in lines:
        table = tables[line.title]
        paper = line.paper or {}
        for pair in map(str, pairs):
            values = table[pair].dropna() if pair in table else pd.Series(dtype=float)
            rows.append({"row": line.title, "pair": pair, **_summary(values), "paper": paper.get(pair, np.nan)})
        complete = table.dropna() if set(map(str, pairs)) <= set(table) else table.iloc[:0]
        compared = {} if line.title == baseline else _compared(table, tables.get(baseline))
        mean = {**_summary(complete.mean(axis=1)), "paper": paper.get(MEAN, np.nan)}
        rows.append({"row": line.title, "pair": MEAN, **mean, **compared})
    return pd.DataFrame(rows, columns=["row", "pair", "seeds", "top1", "sd", "paper", "difference", "low", "high"])


def seeds_by_pair(runs: pd.DataFrame, pairs: Sequence[DomainPair]) -> pd.DataFrame:
    """Top-1 of the runs of one line, seeds x pairs; supervised target stands under every pair of its target."""
    found: dict[str, dict[int, float]] = {}
    for run in runs.itertuples():
        own = DomainPair(str(run.source), str(run.target))
        columns = [p for p in pairs if p.target == own.target] if own.source == own.target else [own]
        for column in columns:
            found.setdefault(str(column), {})[int(run.seed)] = float(run.top1)  # type: ignore[arg-type]
    return pd.DataFrame({str(p): found[str(p)] for p in pairs if str(p) in found})


def _runs_of(runs: pd.DataFrame, line: Line) -> pd.DataFrame:
    return runs[runs["digest"].isin(line.digests) & (runs["stream"] == line.stream)]


def _pairs(runs: pd.DataFrame) -> list[DomainPair]:
    """Pairs of two domains, in the paper's order where they are the paper's."""
    found = {DomainPair(s, t) for s, t in zip(runs["source"], runs["target"], strict=True) if s != t}
    known = [pair for pair in PAIRS if pair in found]
    return known + sorted(found - set(known), key=lambda pair: (pair.target, pair.source))


def _summary(values: pd.Series[float]) -> dict[str, float]:
    sd = values.std() if len(values) > 1 else np.nan
    return {"seeds": len(values), "top1": values.mean() if len(values) else np.nan, "sd": sd}


def _compared(table: pd.DataFrame, baseline: pd.DataFrame | None) -> dict[str, float]:
    if baseline is None:
        return {}
    difference = (table - baseline).dropna(axis=1, how="all").dropna()
    if min(difference.shape) < 2:
        return {}
    found = interval_of(difference)
    return {"difference": found.difference, "low": found.low, "high": found.high}


def laid_out(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """A report as it is read: a line per row, a column per pair, the paper's line below ours."""
    pairs = list(dict.fromkeys(table["pair"]))
    against = f"− {baseline} [95 %]"
    lines = []
    for title, cells in table.groupby("row", sort=False):
        by_pair = cells.set_index("pair")
        ours = {pair: _cell(by_pair.loc[pair, "top1"], by_pair.loc[pair, "sd"]) for pair in pairs}
        seeds = sorted({int(n) for n in by_pair["seeds"]})
        compared = "" if title == baseline else _interval(cells.iloc[-1])
        lines.append({"": title, "seeds": "-".join(map(str, seeds)), **ours, against: compared})
        if by_pair["paper"].notna().any():
            paper = {pair: _cell(by_pair.loc[pair, "paper"], np.nan) for pair in pairs}
            lines.append({"": PAPER_LINE, "seeds": "1", **paper, against: ""})
    return pd.DataFrame(lines)


def _cell(value: float, sd: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.1f}" if np.isnan(sd) else f"{value:.1f} ± {sd:.1f}"


def _interval(mean: pd.Series[float]) -> str:
    if np.isnan(mean["difference"]):
        return "too few runs"
    return f"{mean['difference']:+.1f} [{mean['low']:+.1f}, {mean['high']:+.1f}]"


def circumstances(runs: pd.DataFrame) -> list[str]:
    """Under what a report's figures came about: data, preset, selection, devices, time, versions."""
    if runs.empty:
        raise UserError("no finished run to report on")
    one = runs.drop_duplicates("path")
    hours = one["training_seconds"].sum() / 3600

    def all_of(name: str) -> str:
        return ", ".join(map(str, one[name].unique()))

    facts = [
        f"{len(one)} runs on {all_of('data')}, preset {all_of('preset')}; top-1 in % on the target's test segments, "
        "mean ± sd over seeds",
        f"selection: {all_of('selection')}; no target label is seen in training or selection",
        "differences are paired over pairs and seeds; intervals from 10,000 bootstrap resamples of pairs, then seeds",
        f"{hours:.1f} hours of training on {all_of('device')}; mmsada_lab {all_of('version')}",
    ]
    if one["version"].nunique() > 1:
        facts.append("CAUTION: these runs were made by different versions of the package")
    return facts


def markdown(title: str, tables: Mapping[str, pd.DataFrame], notes: Iterable[str]) -> str:
    """A report as Markdown; each table under its heading, if it has one."""
    parts = [f"# {title}"]
    for heading, table in tables.items():
        if heading:
            parts.append(f"## {heading}")
        head = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
        parts.append("\n".join([*head, *("| " + " | ".join(map(str, row)) + " |" for row in table.to_numpy())]))
    parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


_STYLE = """body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 1150px; margin: 2em auto; }
table { border-collapse: collapse; margin: 1.5em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.paper td { color: #7f7f7f; font-style: italic; }
li { margin: .3em 0; } .table { overflow-x: auto; }"""


def page(title: str, tables: Mapping[str, pd.DataFrame], figures: Iterable[go.Figure], notes: Iterable[str]) -> str:
    """A report as one HTML file that needs no network; each table under its heading, if it has one."""
    drawn = [
        to_html(figure, include_plotlyjs=number == 0, full_html=False, validate=False)
        for number, figure in enumerate(figures)
    ]
    body = [f"<h1>{html.escape(title)}</h1>"]
    for heading, table in tables.items():
        body += [f"<h2>{html.escape(heading)}</h2>"] * bool(heading) + [_html_table(table)]
    body += drawn
    body.append("<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in notes) + "</ul>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _html_table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    rows = []
    for row in table.to_numpy():
        kind = ' class="paper"' if row[0] == PAPER_LINE else ""
        rows.append(f"<tr{kind}>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>")
    return f'<div class="table"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
