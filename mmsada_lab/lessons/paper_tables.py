"""The paper's tables and figures of results, of runs that are finished: ours beside the paper's, and both differences.

A row of a table is looked up among the runs by its configuration; rows without runs stay, with dashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.analysis.differences import PairedDifference, compare_seeds
from mmsada_lab.analysis.paper_figures import mean_gains, target_curves
from mmsada_lab.analysis.report import ReportLine, describe_runs, format_report, report_table
from mmsada_lab.analysis.sweep import sweep_means
from mmsada_lab.analysis.tables import MEAN, pairs_by_target, seeds_by_pair
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import PAPER_NOTES
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.keep import reference_runs
from mmsada_lab.sweeps.recipes import RECIPES, Recipe, RecipeRow, row_digests
from mmsada_lab.sweeps.reproduce import report_line

_SHOWN = ("table1", "table2", "table3", "table4", "fig5", "fig6")


@dataclass(frozen=True)
class PaperTables:
    """Tables 1 to 4, Figs 5 and 6 of some finished runs. Names are keys of `RECIPES`, rows are titles of theirs.

    Attributes:
        runs: rows of `load_runs`, of one data set and preset.
        grid: data, preset, domains and overrides they were trained with.
    """

    runs: pd.DataFrame
    grid: Mapping[str, Any]

    @property
    def notes(self) -> list[str]:
        """What the numbers are of, as below a report."""
        return describe_runs(self.runs)

    @cached_property
    def _reports(self) -> dict[str, pd.DataFrame]:
        return {name: report_table(self.runs, self._lines(name), baseline=RECIPES[name].baseline) for name in _SHOWN}

    def _lines(self, name: str) -> list[ReportLine]:
        return [report_line(row, row_digests(row, self.runs, **self.grid)) for row in self._recipe(name).rows]

    def _recipe(self, name: str) -> Recipe:
        if name not in _SHOWN:
            raise unknown("table or figure", name, _SHOWN)
        return RECIPES[name]

    def report(self, name: str) -> pd.DataFrame:
        """All numbers, as `report_table` has them."""
        self._recipe(name)
        return self._reports[name].copy()

    def table(self, name: str) -> pd.DataFrame:
        """For the eye: the difference and its intervals come first, no cell is broken."""
        shown = format_report(self.report(name), baseline=RECIPES[name].baseline).set_index("")
        unbroken = shown.map(lambda cell: cell.replace(" ", "\N{NO-BREAK SPACE}"))
        return unbroken.rename_axis("accuracy (%), mean ± sd".replace(" ", "\N{NO-BREAK SPACE}"))  # as wide as a title

    def means(self, name: str) -> pd.DataFrame:
        """The rows of `report` that are means over pairs, by title: top1, difference, paper and so on."""
        table = self.report(name)
        return table[table["pair"] == MEAN].set_index("row")

    def differences(self, name: str, better: str, baseline: str) -> pd.DataFrame:
        """Points of top-1 that one row has more than another: a row per world and seed of both, a column per pair.

        Raises:
            UserError: no such row.
        """
        ours, theirs = self._seeds(name, better), self._seeds(name, baseline)
        return (ours - theirs).dropna(axis=1, how="all").dropna()

    def compared(self, name: str, better: str, baseline: str) -> PairedDifference | None:
        """The mean of these differences with its intervals; None where there are too few runs for any."""
        return compare_seeds(self._seeds(name, better), self._seeds(name, baseline))

    def told(self, name: str, better: str, baseline: str) -> str:
        """`compared` in a sentence, with the pairs in which the first is above the second.

        Example:
            >>> paper_tables().told("table1", "MM-SADA", "Source-only").partition(",")[0]
            'MM-SADA − Source-only: +8.3 points (95 % over 4 worlds [+7.5'
        """
        difference, by_pair = self.compared(name, better, baseline), self.differences(name, better, baseline).mean()
        if difference is None:
            return f"{better} − {baseline}: too few runs for an interval."
        over = {f"over {difference.worlds} worlds": difference.over_worlds, "over seeds": difference.over_seeds}
        intervals = ", ".join(f"{name} {interval}" for name, interval in over.items() if interval)
        pairs = f"above in {(by_pair > 0).sum()} of {len(by_pair)} pairs"
        return f"{better} − {baseline}: {difference.difference:+.1f} points (95 % {intervals}), {pairs}."

    def _seeds(self, name: str, title: str) -> pd.DataFrame:
        lines = {line.title: line for line in self._lines(name)}
        if title not in lines:
            raise unknown("row", title, list(lines))
        line = lines[title]
        of_line = self.runs[self.runs["digest"].isin(line.digests) & (self.runs["stream"] == line.stream)]
        return seeds_by_pair(of_line, pairs_by_target(self.runs))

    def gains(self, *names: str) -> pd.DataFrame:
        """`mean_gains` over source-only of the rows of some tables that have any; supervised target is left out."""
        rows = pd.concat([self.report(name) for name in names]).drop_duplicates(["row", "pair"])
        gains = mean_gains(rows[rows["row"] != METHODS["supervised_target"].title], baseline=RECIPES[names[0]].baseline)
        return gains.dropna(subset=["difference", "paper"], how="all").reset_index(drop=True)

    def curves(self) -> pd.DataFrame:
        """`target_curves` of Fig. 5."""
        titles = {digest: line.title for line in self._lines("fig5") for digest in line.digests}
        return target_curves(self.runs, titles)

    def sweep(self) -> pd.DataFrame:
        """`sweep_means` of Fig. 6."""
        values = {row.title: row.value for row in RECIPES["fig6"].rows if row.value is not None}
        return sweep_means(self.report("fig6"), values).round(2)

    def plain(self, seed: int) -> pd.DataFrame:
        """The runs of every method as the preset has it, in the data's first world, with one seed; a row per stream."""
        digests = [row_digests(RecipeRow(facts.title, m), self.runs, **self.grid) for m, facts in METHODS.items()]
        own = self.runs["digest"].isin(frozenset().union(*digests)) & (self.runs["seed"] == seed)
        first: pd.DataFrame = self.runs[own & (self.runs["world"] == self.runs["world"].min())]
        return first.reset_index(drop=True)

    @property
    def contradictions(self) -> pd.DataFrame:
        """Printed numbers of the paper that do not agree with one another."""
        return pd.DataFrame(PAPER_NOTES).set_index("name")


def paper_tables(
    runs_dir: Path | str = "",
    *,
    data: str = "kitchens",
    preset: str = "quick",
    overrides: Mapping[str, Any] | None = None,
) -> PaperTables:
    """The paper's tables of results, of finished runs; nothing is trained.

    Args:
        runs_dir: folder or zip file of runs; empty for the reference runs of this checkout.
        data: specification that they were trained with, without the seed of a world.
        preset: that they were trained with.
        overrides: changes of the preset that all of them were trained with.

    Raises:
        UserError: no finished runs on these data with this preset; the message says which there are.

    Example:
        >>> tables = paper_tables()
        >>> round(float(tables.means("table1").loc["MM-SADA", "difference"]), 1)
        8.3
    """
    runs = load_runs(Path(runs_dir) if runs_dir else reference_runs())
    chosen = runs[(runs["data"] == data) & (runs["preset"] == preset)]
    if chosen.empty:
        known = ", ".join(sorted({f"{d}, preset {p}" for d, p in zip(runs["data"], runs["preset"], strict=True)}))
        raise UserError(f"no finished run on {data} with preset {preset}; there are runs on {known}")
    domains = sorted({*chosen["source"], *chosen["target"]})
    return PaperTables(chosen, {"data": data, "preset": preset, "domains": domains, "overrides": overrides})
