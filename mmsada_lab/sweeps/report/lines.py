"""What a report's tables show: runs by data set and preset, and in each of these a line per method and setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmsada_lab.analysis.report import ReportLine, format_report, report_table
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED, METHODS
from mmsada_lab.presets import build_config, flatten
from mmsada_lab.runs import RunsSurvey


@dataclass(frozen=True)
class RunGroup:
    """Runs of one data set (in all its worlds) and one preset.

    Attributes:
        data: specification, without a world.
        preset: name.
        runs: rows of `load_runs`, each run once.
        titles: digest of a run -> the line it stands in, in the order of the lines.
        usual: method -> its line that is nearest to the preset.
        shared: overrides that all of its runs have.
    """

    data: str
    preset: str
    runs: pd.DataFrame
    titles: dict[str, str]
    usual: dict[str, str]
    shared: tuple[str, ...]

    def digests(self, title: str) -> frozenset[str]:
        """The runs of a line."""
        return frozenset(digest for digest, line in self.titles.items() if line == title)

    @property
    def baseline(self) -> str:
        """The line that others are compared with: source-only, else the first."""
        return self.usual.get("source_only") or next(iter(self.titles.values()))

    @property
    def streams(self) -> list[str]:
        """The fused one first."""
        return sorted(self.runs["stream"].unique(), key=lambda stream: stream != FUSED)

    def table(self, stream: str) -> pd.DataFrame:
        """`report_table` of all lines, for the eye; columns that say nothing are left out."""
        lines = [ReportLine(title, self.digests(title), stream) for title in dict.fromkeys(self.titles.values())]
        lines = [line for line in lines if (self._of(line)["stream"] == stream).any()]
        baseline = self.baseline if self.baseline in [line.title for line in lines] else lines[0].title
        shown = format_report(report_table(self.runs, lines, baseline=baseline), baseline=baseline)
        return shown.loc[:, [bool((shown[name] != "").any()) for name in shown]]

    def _of(self, line: ReportLine) -> pd.DataFrame:
        return self.runs[self.runs["digest"].isin(line.digests)]


def group_runs(survey: RunsSurvey) -> list[RunGroup]:
    """The finished runs that have an accuracy, by data set and preset; a run that stands twice counts once."""
    if survey.results.empty:
        return []
    runs = survey.results.drop_duplicates(["digest", "stream"])
    configs = {manifest["digest"]: ExperimentConfig(**manifest["config"]) for manifest in survey.finished.values()}
    groups = []
    for (data, preset), of_group in runs.groupby(["data", "preset"], sort=False):
        titles, shared = setting_titles({digest: configs[digest] for digest in of_group["digest"].unique()})
        usual: dict[str, str] = {}
        for digest, title in titles.items():  # in the order of the lines: the nearest to the preset comes first
            usual.setdefault(configs[digest].method, title)
        groups.append(RunGroup(str(data), str(preset), of_group, titles, usual, shared))
    return groups


def setting_titles(configs: Mapping[str, ExperimentConfig]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Of configurations by digest: method and overrides that tell runs from others, by digest; overrides that all have.

    Pair, seed and world are no settings. The order is that of the lines of a table.

    Example:
        >>> pair = {"source": "D1", "target": "D2"}
        >>> runs = {str(rate): build_config("quick", **pair, overrides={"dropout": rate}) for rate in (0.2, 0.5)}
        >>> setting_titles(runs)[0]
        {'0.5': 'MM-SADA', '0.2': 'MM-SADA, dropout=0.2'}
    """
    changes = {digest: (config.method, _overrides(config)) for digest, config in configs.items()}
    shared = set.intersection(*(set(overrides.items()) for _, overrides in changes.values()))
    titles: dict[str, tuple[tuple[Any, ...], str]] = {}
    for digest, (method, overrides) in changes.items():
        own = {key: value for key, value in overrides.items() if (key, value) not in shared}
        order = (list(METHODS).index(method), len(own), list(own), [_number(value) for value in own.values()])
        titles[digest] = (order, ", ".join([METHODS[method].title, *_written(own)]))
    ordered = sorted(titles, key=lambda digest: titles[digest])
    return {digest: titles[digest][1] for digest in ordered}, tuple(_written(dict(sorted(shared))))


_NO_SETTING = {"data", "source", "target", "seed", "method", "preset"}


def _overrides(config: ExperimentConfig) -> dict[str, str]:
    """What differs from the preset, as text; every field where the preset is not known any more."""
    chosen = {"modalities": list(config.modalities), "pretext": config.pretext}  # they decide on the default weights
    source = config.source if config.facts.needs_source else None
    named: dict[str, Any] = {"source": source, "target": config.target, "method": config.method, "seed": config.seed}
    try:
        plain = flatten(build_config(config.preset, data=config.data, overrides=chosen, **named).digested())
    except UserError:
        plain = {}
    plain |= {"modalities": list(ExperimentConfig.modalities), "pretext": ExperimentConfig.pretext}
    fields = {key: value for key, value in flatten(config.digested()).items() if key not in _NO_SETTING}
    return {key: _text(value) for key, value in fields.items() if plain.get(key) != value}


def _text(value: object) -> str:
    """A value as ``-o`` takes it."""
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _written(overrides: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in overrides.items()]


def _number(text: str) -> tuple[float, str]:
    """For an order of values: numbers by size, before names."""
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text
