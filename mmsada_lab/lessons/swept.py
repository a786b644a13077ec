"""Sweeps of a weight, read from finished runs: what each value came to, on the same pairs, worlds and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.analysis.differences import compare_seeds
from mmsada_lab.analysis.report import ReportLine, describe_runs, report_table
from mmsada_lab.analysis.selection import selection_table, value_choices, value_scores
from mmsada_lab.analysis.sweep import common_runs, sweep_game, sweep_means
from mmsada_lab.analysis.tables import MEAN, domain_pairs, seeds_by_pair
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.keep import find_run, reference_runs
from mmsada_lab.sweeps.recipes import RECIPES, Recipe, row_digests

USUAL_VALUES = {"λd": 1.0, "λc": 5.0}
"""The paper's value of each weight."""


@dataclass(frozen=True)
class Sweep:
    """A weight that was swept, and its runs.

    Attributes:
        recipe: which rows there are; all but the baseline are values.
        runs: rows of `load_runs`, of the pairs, worlds and seeds that every value has.
        digests: title of a row -> digests of its configurations.
        shared: what all runs are made with: data, preset, overrides.
    """

    recipe: Recipe
    runs: pd.DataFrame
    digests: Mapping[str, frozenset[str]]
    shared: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the weight, as the paper writes it."""
        return self.recipe.swept

    @property
    def title(self) -> str:
        """For figures: what is swept, on which data."""
        return f"{self.recipe.title} ({self.shared['data']})"

    @property
    def titles(self) -> dict[float, str]:
        """Value -> title of its row."""
        return {row.value: row.title for row in self.recipe.rows if row.value is not None}

    @property
    def values(self) -> dict[str, float]:
        """Digest of a configuration -> its value."""
        return {digest: value for value, title in self.titles.items() for digest in self.digests[title]}

    def config(self, value: float, *, source: str, target: str, seed: int = 0) -> ExperimentConfig:
        """Configuration of one run of the sweep.

        Raises:
            UserError: no such value.
        """
        rows = {row.value: row for row in self.recipe.rows if row.value is not None}
        if value not in rows:
            raise unknown("value", f"{value:g}", [f"{known:g}" for known in rows])
        row, shared = rows[value], self.shared
        overrides = {**shared["overrides"], **dict(row.overrides)}
        options: dict[str, Any] = {"method": row.method, "data": shared["data"], "seed": seed, "overrides": overrides}
        return build_config(shared["preset"], source=source, target=target, **options)

    @cached_property
    def table(self) -> pd.DataFrame:
        """`report_table` of the fused accuracy, compared with the baseline."""
        lines = [ReportLine(row.title, self.digests[row.title]) for row in self.recipe.rows]
        return report_table(self.runs, lines, baseline=self.recipe.baseline)

    @property
    def baseline(self) -> float | None:
        """Mean top-1 (percent) of the baseline, if it has runs."""
        (mean,) = self.table.loc[(self.table["row"] == self.recipe.baseline) & (self.table["pair"] == MEAN), "top1"]
        return None if pd.isna(mean) else round(float(mean), 2)

    def means(self) -> pd.DataFrame:
        """`sweep_means`: mean accuracy over pairs at each value."""
        return sweep_means(self.table, {title: value for value, title in self.titles.items()})

    def overview(self) -> pd.DataFrame:
        """A row per value (the baseline first), a column per pair, their mean, and the difference to the baseline.

        Returns:
            Top-1 in percent; the difference in points, with its 95 % interval over worlds, or over seeds where there
            are too few worlds.
        """
        names = {title: f"{self.name} = {value:g}" for value, title in self.titles.items()}
        pairs = self.table.pivot(index="row", columns="pair", values="top1")
        pairs = pairs.loc[list(self.table["row"].unique()), list(self.table["pair"].unique())].round(1)
        against = {title: self.write_difference(value, None) for value, title in self.titles.items()}
        column = f"− {self.recipe.baseline.lower()} (95 %)"
        return pairs.assign(**{column: pairs.index.map(against)}).fillna("").rename(index=names).rename_axis(None)

    def write_difference(self, value: float | None, other: float | None, *, stream: str = "fused") -> str:
        """Points of one value above another (None: the baseline), paired, with the 95 % interval.

        The interval is over worlds, or over seeds where there are too few worlds; see `interval_of`.

        Raises:
            UserError: no such value.
        """
        runs = self.runs[self.runs["stream"] == stream]
        ours, theirs = (
            seeds_by_pair(runs[runs["digest"].isin(self._digests_of(each))], domain_pairs(runs))
            for each in (value, other)
        )
        difference = compare_seeds(ours, theirs)
        if difference is None:
            return "unknown (too few runs)"
        return f"{difference.difference:+.1f} {difference.over_worlds or difference.over_seeds}"

    def _digests_of(self, value: float | None) -> frozenset[str]:
        if value is not None and value not in self.titles:
            raise unknown("value", f"{value:g}", [f"{known:g}" for known in self.titles])
        return self.digests[self.recipe.baseline if value is None else self.titles[value]]

    @cached_property
    def game(self) -> pd.DataFrame:
        """`sweep_game`: how often F's opponents are right at the end, at each value."""
        return sweep_game(self.runs, self.values)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`value_scores`: label-free scores and accuracy of every run."""
        return value_scores(self.runs, self.values)

    def choices(self) -> pd.DataFrame:
        """`value_choices` of the weight as method, with the paper's value as the usual one where it is in the sweep."""
        usual = USUAL_VALUES.get(self.name)
        kept = usual if usual in set(self.scores["value"]) else None
        return value_choices(self.scores, usual=kept).assign(method=self.name)


class Sweeps(Mapping[str, Sweep]):
    """Sweeps by the name of their weight, and the runs they were read from.

    Args:
        runs: from `load_runs`, of one data set and preset.
        folder: where they lie.
        data: data specification that they were trained with.
        preset: that they were trained with.
        overrides: that all were trained with.

    Raises:
        UserError: a sweep without a finished run.
    """

    def __init__(self, runs: pd.DataFrame, folder: Path, *, data: str, preset: str, overrides: Mapping[str, Any]):
        self.runs, self.folder = runs, folder
        self._shared: dict[str, Any] = {"data": data, "preset": preset, "overrides": dict(overrides)}
        self._grid = {**self._shared, "domains": sorted({*runs["source"], *runs["target"]})}
        recipes = [recipe for recipe in RECIPES.values() if recipe.swept]
        self._sweeps = {recipe.swept: self._read(recipe) for recipe in recipes}

    def _read(self, recipe: Recipe) -> Sweep:
        digests = {row.title: row_digests(row, self.runs, **self._grid) for row in recipe.rows}
        swept = Sweep(recipe, self.runs, digests, self._shared)
        common = common_runs(self.runs, swept.values)
        if common.empty:
            raise UserError(f"no finished runs of {recipe.swept} here; train them: mmsada reproduce {recipe.name}")
        return Sweep(recipe, common, digests, self._shared)

    def __getitem__(self, name: str) -> Sweep:
        if name not in self._sweeps:
            raise unknown("weight", name, self._sweeps)
        return self._sweeps[name]

    def __iter__(self) -> Any:
        return iter(self._sweeps)

    def __len__(self) -> int:
        return len(self._sweeps)

    @property
    def notes(self) -> list[str]:
        """`describe_runs` of all runs of the sweeps."""
        digests = frozenset().union(*(of_row for sweep in self.values() for of_row in sweep.digests.values()))
        return describe_runs(self.runs[self.runs["digest"].isin(digests)])

    def run(self, config: ExperimentConfig) -> Path:
        """Folder of a configuration's finished run, see `find_run`."""
        return find_run(self.runs, config)

    def choices(self) -> pd.DataFrame:
        """Which value each rule would have chosen, of all weights, see `Sweep.choices`."""
        return pd.concat([sweep.choices() for sweep in self.values()], ignore_index=True)

    def stops(self) -> pd.DataFrame:
        """`selection_table` of Table 1's methods that have a target without labels: which evaluation rules choose."""
        rows = [row for row in RECIPES["table1"].rows if row.method != "supervised_target"]
        digests = frozenset().union(*(row_digests(row, self.runs, **self._grid) for row in rows))
        return selection_table(self.runs[self.runs["digest"].isin(digests)])


def load_sweeps(
    runs_dir: Path | str = "",
    *,
    data: str = "kitchens",
    preset: str = "quick",
    overrides: Mapping[str, Any] | None = None,
) -> Sweeps:
    """Read the sweeps of λd and λc among finished runs.

    Args:
        runs_dir: folder or zip file of runs; empty: the reference runs of this checkout.
        data: data specification that the runs were trained with.
        preset: that the runs were trained with.
        overrides: changes of the preset that all runs were trained with.

    Raises:
        UserError: no such runs, or a sweep of which none is finished.

    Example:
        >>> sweeps = load_sweeps()
        >>> list(sweeps), sweeps["λd"].means()["value"].tolist()
        (['λd', 'λc'], [0.0, 0.1, 0.3, 1.0, 3.0, 10.0])
    """
    folder = Path(runs_dir) if runs_dir else reference_runs()
    runs = load_runs(folder)
    runs = runs[(runs["data"] == data) & (runs["preset"] == preset)]
    return Sweeps(runs, folder, data=data, preset=preset, overrides=overrides or {})
