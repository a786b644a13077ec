"""What an examination of a data set found: findings and a table of segments, for people and for programs."""

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

TABLE_COLUMNS = ("domain", "split", "class", "modality", "segments", "measured", "least", "median", "most")
UNLABELLED = "(unlabelled)"

_EXAMPLES = 10
_FIXES = 3
_CLASSES = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing about a data set.

    Attributes:
        level: ``error`` would stop or spoil a run, ``warning`` may be meant, ``note`` is a fact.
        topic: what kind of thing it is; findings of a topic are shown together.
        message: what was found.
        fix: what to do about it, empty where there is nothing to do.
        domain: where; empty if everywhere. Likewise the other three.
        split: ``train`` or ``test``.
        modality: its name.
        segment: uid.
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


def _empty_table() -> pd.DataFrame:
    return pd.DataFrame(columns=list(TABLE_COLUMNS))


@dataclass(frozen=True)
class Report:
    """The result of an examination.

    Attributes:
        data: the data specification, or the name of the data set.
        fast: whether only a sample was read.
        findings: errors first, then warnings, then notes.
        table: a row for each domain, split, class and modality: `segments`; of how many a length is known
            (`measured`); `least`, `median` and `most` of the lengths, in frames of the clock, or in samples of the
            modality itself where its reader tells their number.
    """

    data: str
    fast: bool = False
    findings: tuple[Finding, ...] = ()
    table: pd.DataFrame = field(default_factory=_empty_table)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by level."""
        found = Counter(finding.level for finding in self.findings)
        return {level: found[level] for level in LEVELS}

    def to_json(self) -> dict[str, Any]:
        """The report in plain types; unknown lengths are None."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return {
            "data": self.data,
            "fast": self.fast,
            "ok": self.ok,
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
            "table": [{str(name): _plain(value) for name, value in row.items()} for row in rows],
        }

    def write_json(self, path: Path) -> Path:
        """Write the report as a JSON file, whole or not at all.

        Raises:
            UserError: it cannot be written there.
        """
        write_whole(Path(path), f"{json.dumps(self.to_json(), indent=1, ensure_ascii=False)}\n".encode())
        return Path(path)

    def as_text(self) -> str:
        """The report for a terminal: tables, then findings by topic, at most ten examples each."""
        how = "; a sample: first and last frame of some segments" if self.fast else ""
        parts = [f"{self.data}{how}"]
        if len(self.table):
            parts += [_lengths(self.table).to_string(index=False), _class_counts(self.table)]
        parts += ["\n".join(_topic_lines(list(group))) for _, group in groupby(self.findings, _heading)]
        parts.append(", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in self.counts.items()))
        return "\n\n".join(parts)


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first; within a level topics as they first came up, and in them the order of finding."""
    topics = {topic: at for at, topic in reversed(list(enumerate(finding.topic for finding in findings)))}
    return tuple(sorted(findings, key=lambda finding: (LEVELS.index(finding.level), topics[finding.topic])))


def message_and_fix(problem: str, *, otherwise: str = "") -> tuple[str, str]:
    """What an error says was found, and after its last semicolon what to do, as errors are written here."""
    head, _, tail = problem.rpartition("; ")
    told = head and tail[:1].islower() and not tail.startswith("found ")
    return (head, tail) if told else (problem, otherwise)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _heading(finding: Finding) -> str:
    return f"{finding.level.upper()} {finding.topic}"


def _topic_lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield f"{_heading(findings[0])} ({len(findings)})"
    for finding in findings[:_EXAMPLES]:
        yield f"  {finding.place}: {finding.message}" if finding.place else f"  {finding.message}"
    if len(findings) > _EXAMPLES:
        yield f"  ... and {len(findings) - _EXAMPLES} more"
    fixes = list(dict.fromkeys(finding.fix for finding in findings[:_EXAMPLES] if finding.fix))
    yield from (f"  -> {fix}" for fix in fixes[:_FIXES])


def _lengths(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each domain, split and modality, classes together."""
    rows = []
    for (domain, split, modality), part in table.groupby(["domain", "split", "modality"], sort=False):
        named = part[(part["class"] != UNLABELLED) & (part.segments > 0)]
        unlabelled = part.loc[part["class"] == UNLABELLED, "segments"].sum()
        facts = {"domain": domain, "split": split, "modality": modality, "segments": part.segments.sum()}
        facts |= {"classes": named["class"].nunique(), "unlabelled": unlabelled}
        rows.append(facts | {"shortest": _whole(part.least.min()), "longest": _whole(part.most.max())})
    return pd.DataFrame(rows)


def _whole(value: float) -> str:
    return "?" if pd.isna(value) else f"{value:.0f}"


def _class_counts(table: pd.DataFrame) -> str:
    first = table.drop_duplicates(["domain", "split", "class"])
    first = first.assign(part=first.domain + " " + first.split)
    counts = first.pivot_table(index="class", columns="part", values="segments", aggfunc="sum", sort=False)
    shown = counts.fillna(0).astype("int64").rename_axis(index=None, columns=None)
    more = f"\n... and {len(shown) - _CLASSES} more classes" if len(shown) > _CLASSES else ""
    return shown.head(_CLASSES).to_string() + more
