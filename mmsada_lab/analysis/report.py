"""Reports: ours beside the paper's, with spread, intervals and selection rule, as CSV, Markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.io import to_html

from mmsada_lab.analysis.differences import LEAST_WORLDS, OVER_SEEDS, OVER_WORLDS, compare_seeds
from mmsada_lab.analysis.pages import render_page
from mmsada_lab.analysis.tables import (
    MEAN,
    TEST_SE,
    binomial_errors,
    pairs_by_target,
    seeds_by_pair,
    spread_by_pair,
    write_accuracy,
    write_count,
    write_range,
)
from mmsada_lab.errors import UserError

PAPER_LINE = "paper (EPIC-Kitchens)"  # title of the line of printed accuracies


@dataclass(frozen=True)
class ReportLine:
    """One line of a report: of the runs whose configurations have these digests.

    `paper` holds the paper's accuracies by pair (as it prints, ``D2→D1``) and their printed mean, where there are any.
    """

    title: str
    digests: frozenset[str]
    stream: str = "fused"
    paper: Mapping[str, float] | None = None


_CELL = ["row", "pair", "worlds", "seeds", "top1", "sd", TEST_SE, "paper"]
_COMPARED = ["difference", "worlds_low", "worlds_high", "seeds_low", "seeds_high", "worlds_compared", "left_out"]


def report_table(runs: pd.DataFrame, lines: Sequence[ReportLine], *, baseline: str) -> pd.DataFrame:
    """Every cell of a report of `load_runs`: a row per line and pair, and one for the mean over pairs.

    Columns row, pair, worlds, seeds (of each world, the fewest), top1 (percent; missing where no run is finished), sd
    (over the worlds' means over seeds; over seeds where there is one world; that of the mean is of means over pairs),
    `TEST_SE` (points, see `binomial_errors`), paper (the printed figure), and for the mean: difference (points to the
    line titled `baseline`), the ends of its 95 % intervals over worlds and over seeds with the worlds fixed (see
    `interval_of`; missing where there is none, and the difference too where there is neither), how many worlds both
    lines have, and what was left out because only one of them has it.
    """
    pairs = pairs_by_target(runs)
    chosen = {line.title: runs[runs["digest"].isin(line.digests) & (runs["stream"] == line.stream)] for line in lines}
    tables = {title: seeds_by_pair(of_line, pairs) for title, of_line in chosen.items()}
    rows = []
    for line in lines:
        segments = seeds_by_pair(chosen[line.title], pairs, measure="test_segments")
        rows += _cells(line, tables[line.title], binomial_errors(tables[line.title], segments, pairs))
        if line.title != baseline and baseline in tables:
            rows[-1] = _compare(tables[line.title], tables[baseline]) | rows[-1]
    return pd.DataFrame(rows, columns=_CELL + _COMPARED)


def _cells(line: ReportLine, table: pd.DataFrame, errors: pd.Series[float]) -> list[dict[str, Any]]:
    """A row for every pair, the last for their mean, not yet compared."""
    paper = line.paper or {}
    cells = spread_by_pair(table).rename(columns={"mean": "top1"}).assign(**{TEST_SE: errors})
    cells = cells.assign(row=line.title, paper=[paper.get(pair, np.nan) for pair in cells.index])
    rows: list[dict[str, Any]] = cells.reset_index(names="pair").to_dict("records")  # type: ignore[assignment]
    return rows


def _compare(ours: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, Any]:
    difference = compare_seeds(ours, baseline)
    return {**difference.columns(), "worlds_compared": difference.worlds} if difference else {}


def format_report(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """A report for the eye: a line per row, the paper's below ours.

    Columns are in the order in which they are asked for: the title (of no name), the difference to the baseline and its
    intervals, the mean over pairs, the pairs, `TEST_SE`, worlds, seeds, and where there is any, `LEFT_OUT`.
    """
    lines = []
    for title, cells in table.groupby("row", sort=False):
        compared = _write_difference(cells.iloc[-1], baseline=baseline)
        left_out = compared.pop(LEFT_OUT)
        ours = dict(zip(cells["pair"], map(write_accuracy, cells["top1"], cells["sd"]), strict=True))
        error = write_accuracy(cells[TEST_SE].iloc[-1], np.nan)
        counts = {name: write_range(cells[name]) for name in ("worlds", "seeds")}
        values = {MEAN: ours.pop(MEAN), **ours, TEST_SE: error, **counts, LEFT_OUT: left_out}
        lines.append({"": title, **compared, **values})
        if cells["paper"].notna().any():
            paper = dict(zip(cells["pair"], (write_accuracy(mean, np.nan) for mean in cells["paper"]), strict=True))
            lines.append({"": PAPER_LINE, "worlds": "1", "seeds": "1", **paper})
    shown = pd.DataFrame(lines).fillna("")
    return shown if (shown[LEFT_OUT] != "").any() else shown.drop(columns=LEFT_OUT)


LEFT_OUT = "not in the difference"  # title of the column of what only one of two lines has


def _write_difference(mean: pd.Series[Any], *, baseline: str) -> dict[str, str]:
    """Difference, intervals and what was left out, by column; all empty for the baseline itself."""
    shown = dict.fromkeys((f"− {baseline}", f"95 % {OVER_WORLDS}", f"95 % {OVER_SEEDS}", LEFT_OUT), "")
    if mean["row"] == baseline:
        return shown
    if np.isnan(mean["difference"]):
        return shown | {f"− {baseline}": "too few runs"}
    ends = {unit: [mean[f"{unit}_low"], mean[f"{unit}_high"]] for unit in ("worlds", "seeds")}
    none = {"worlds": f"none ({write_count([mean['worlds_compared']], 'world')})", "seeds": "none (1 seed)"}
    written = {u: none[u] if np.isnan(low) else f"[{low:+.1f}, {high:+.1f}]" for u, (low, high) in ends.items()}
    values = (f"{mean['difference']:+.1f}", written["worlds"], written["seeds"], mean["left_out"])
    return dict(zip(shown, values, strict=True))


def describe_runs(runs: pd.DataFrame) -> list[str]:
    """Notes below a report: data, preset, worlds, what spreads and intervals are over, selection, devices, hours."""
    if runs.empty:
        raise UserError("no finished run to report on")
    runs = runs.drop_duplicates("path")
    names = ("data", "preset", "selection", "device", "version")
    data, preset, selection, device, version = (", ".join(map(str, runs[name].unique())) for name in names)
    worlds = write_count([runs["world"].nunique()], "world")
    notes = [
        f"{len(runs)} runs on {data} ({worlds}), preset {preset}; top-1 in % on the target's test segments",
        "mean ± sd: over the worlds' means over seeds, or over seeds where a line has one world",
        f"selection: {selection}; no target label is seen in training or selection",
        "differences are paired over worlds, seeds and pairs; their intervals are Student's t: over worlds (none for "
        f"fewer than {LEAST_WORLDS}), and over seeds, which tells nothing of another world",
        f"{TEST_SE} of the mean: what the size of the test sets alone leaves open (binomial; pairs of one target share "
        "theirs); – where the number of segments is not known",
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


_STYLE = """table { border-collapse: collapse; margin: 1.2em 0; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { padding: .3em .55em; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead :is(th, td) { white-space: normal; vertical-align: bottom; }
:is(th, td):first-child { text-align: left; position: sticky; left: 0; background: var(--ground); white-space: normal;
  min-width: 11em; }
tr.paper td { color: var(--faint); font-style: italic; }
li { margin: .3em 0; } .table { overflow-x: auto; } h2 { font-size: 1.25em; scroll-margin-top: 1em; }
nav { display: flex; flex-wrap: wrap; gap: .3em 1.6em; } nav:empty { display: none; }
.links { padding-bottom: .7em; border-bottom: 1px solid var(--line); }
figure { margin: 1em 0; background: #fff; }
@media (min-width: 1200px) { body { max-width: 1230px; } }
@media (prefers-color-scheme: dark) { figure { filter: invert(.92) hue-rotate(180deg) brightness(1.25); } }"""

_TEMPLATE = """
<nav class="links" aria-label="Reports"></nav>
{% if contents | length > 1 %}
<nav aria-label="Contents">{% for id, text in contents %}<a href="#{{ id }}">{{ text }}</a>{% endfor %}</nav>
{% endif %}
{% for heading, table in tables.items() %}
{% if heading %}
<h2 id="table-{{ loop.index }}">{{ heading }}</h2>
{% endif %}
<div class="table" role="region" tabindex="0" aria-label="{{ heading or title }}"><table>
<thead><tr>
{%- for name in table.columns %}{% if name %}<th>{{ name }}</th>{% else %}<td></td>{% endif %}{% endfor -%}
</tr></thead>
<tbody>
{% for row in table.to_numpy() %}
<tr{% if row[0] == paper_line %} class="paper"{% endif %}>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endfor %}
{% if figures %}
<h2 id="figures">Figures</h2>
{% for name, figure in figures %}
<figure aria-label="{{ name }}">{{ figure }}</figure>
{% endfor %}
{% endif %}
<h2 id="notes">Notes</h2>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
"""


def render_html(
    title: str, tables: Mapping[str, pd.DataFrame], figures: Iterable[go.Figure], notes: Iterable[str]
) -> str:
    """A report as one HTML file that needs no network; each table under its heading, if it has one.

    It has a place for links to reports beside it, which is empty.
    """
    drawn = [
        (_name(figure), Markup(to_html(figure, include_plotlyjs=n == 0, full_html=False, validate=False)))
        for n, figure in enumerate(figures)
    ]
    contents = [(f"table-{n}", heading) for n, heading in enumerate(tables, start=1) if heading]
    contents += [*([("figures", "Figures")] if drawn else []), ("notes", "Notes")]
    values = {"title": title, "tables": tables, "paper_line": PAPER_LINE, "figures": drawn, "notes": notes}
    return render_page(title, _TEMPLATE, {**values, "contents": contents}, style=_STYLE)


def _name(figure: go.Figure) -> str:
    """The title of a figure without its tags, for those who do not see it."""
    return " ".join(re.sub(r"<[^>]*>", " ", figure.layout.title.text or "Figure").split())
