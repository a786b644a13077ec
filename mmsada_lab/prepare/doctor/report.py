"""What a check of a data set reports: findings and a table of lengths, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mmsada_lab.files import write_whole

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

UNLABELLED = "(unlabelled)"

_EXAMPLES, _FIXES, _CLASSES = 10, 3, 40


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing about a data set.

    Attributes:
        level: ``error`` would stop or spoil a run, ``warning`` may be meant, ``note`` is a fact.
        topic: findings of a topic are shown together.
        message: what was found.
        fix: what to do about it, empty where there is nothing to do.
        domain: where; empty if everywhere. Likewise `split`, `modality` and `segment` (a uid).
    """

    level: Level
    topic: str
    message: str
    fix: str = ""
    domain: str = ""
    split: str = ""
    modality: str = ""
    segment: str = ""

    @property
    def place(self) -> str:
        """Domain, split, modality and segment in a few words."""
        segment = f"segment {self.segment}" if self.segment else ""
        return " ".join(filter(None, (self.domain, self.split, self.modality, segment)))


@dataclass(frozen=True)
class DoctorReport:
    """The result of a check.

    Attributes:
        data: the data specification, or the name of the data set.
        fast: whether only a sample was read.
        findings: errors first, then warnings, then notes.
        table: a row for each `domain`, `split`, `class` and `modality`: number of `segments`; how many have a known
            length (`measured`); its `least`, `median` and `most`, in samples if the reader counts them, else in frames.
    """

    data: str
    fast: bool = False
    findings: tuple[Finding, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by level."""
        counts = Counter(finding.level for finding in self.findings)
        return {level: counts[level] for level in LEVELS}

    def to_json(self) -> dict[str, Any]:
        """The report in plain types; unknown lengths are None."""
        totals = {"data": self.data, "fast": self.fast, "ok": self.ok, "counts": self.counts}
        findings = [asdict(finding) for finding in self.findings]
        return {**totals, "findings": findings, "table": json.loads(self.table.to_json(orient="records"))}

    def write_json(self, path: Path) -> Path:
        """Write the report as a JSON file, or raise `UserError`."""
        write_whole(Path(path), f"{json.dumps(self.to_json(), indent=1, ensure_ascii=False)}\n".encode())
        return Path(path)

    def as_text(self) -> str:
        """The report for a terminal: tables, then findings by topic, at most ten examples each."""
        sample = "; a sample: first and last frame of some segments" if self.fast else ""
        tables = [_lengths(self.table).to_string(index=False), _class_counts(self.table)] if len(self.table) else []
        topics = ["\n".join(_topic_lines(list(group))) for _, group in groupby(self.findings, _heading)]
        totals = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in self.counts.items())
        return "\n\n".join([f"{self.data}{sample}", *tables, *topics, totals])


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first; topics of a level in the order in which they first appear."""
    topics = {topic: at for at, topic in reversed(list(enumerate(finding.topic for finding in findings)))}
    return tuple(sorted(findings, key=lambda finding: (LEVELS.index(finding.level), topics[finding.topic])))


def message_and_fix(problem: str, *, otherwise: str = "") -> tuple[str, str]:
    """Split an error message of this package: what is wrong, and after its last semicolon what to do about it."""
    message, _, fix = problem.rpartition("; ")
    split = message and fix[:1].islower() and not fix.startswith("found ")
    return (message, fix) if split else (problem, otherwise)


def _heading(finding: Finding) -> str:
    return f"{finding.level.upper()} {finding.topic}"


def _topic_lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield f"{_heading(findings[0])} ({len(findings)})"
    for finding in findings[:_EXAMPLES]:
        yield f"  {finding.place}: {finding.message}" if finding.place else f"  {finding.message}"
    if len(findings) > _EXAMPLES:
        yield f"  ... and {len(findings) - _EXAMPLES} more"
    fixes = dict.fromkeys(finding.fix for finding in findings[:_EXAMPLES] if finding.fix)
    yield from (f"  -> {fix}" for fix in list(fixes)[:_FIXES])


def _lengths(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each domain, split and modality, classes together."""
    labelled = table["class"] != UNLABELLED
    table = table.assign(labelled=labelled, unlabelled=table["segments"].mask(labelled, 0))
    rows = table.groupby(["domain", "split", "modality"], sort=False, as_index=False).agg(
        segments=("segments", "sum"),
        classes=("labelled", "sum"),
        unlabelled=("unlabelled", "sum"),
        shortest=("least", "min"),
        longest=("most", "max"),
    )
    return rows.astype({"shortest": "string", "longest": "string"}).fillna("?")


def _class_counts(table: pd.DataFrame) -> str:
    """Segments of each class in each domain and split, whatever their modalities."""
    segments = table.drop_duplicates(["domain", "split", "class"])
    columns = (segments["domain"] + " " + segments["split"]).rename("column")
    counts = segments.pivot_table(index="class", columns=columns, values="segments", aggfunc="sum", sort=False)
    counts = counts.fillna(0).astype("int64").rename_axis(index=None, columns=None)
    more = f"\n... and {len(counts) - _CLASSES} more classes" if len(counts) > _CLASSES else ""
    return counts.head(_CLASSES).to_string() + more
