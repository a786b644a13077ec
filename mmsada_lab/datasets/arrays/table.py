"""The table of a folder of arrays or features: one row a segment, with columns uid, domain, split and label.

A label is the *name* of a class and empty where unknown. Classes are the names found, numbers in the order of
numbers, unless a file `classes.txt` beside the table lists them, one a line: then that list and its order hold.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmsada_lab.datasets.tables import read_table, read_text
from mmsada_lab.errors import UserError, unknown

TABLE_NAME = "segments.csv"
CLASSES_NAME = "classes.txt"
SPLITS = ("train", "test")
COLUMNS = ("uid", "domain", "split", "label")

_DOMAIN = re.compile(r"\w[\w.-]*")
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")


@dataclass(frozen=True, slots=True)
class Row:
    """A segment as its table has it; `label` is a class name, or empty where unknown."""

    uid: str
    domain: str
    split: str
    label: str
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """The rows of a data set in the order of its file, its classes, and where both come from (for messages)."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    place: str

    def ordered(self) -> list[Row]:
        """Rows by domain, split (train first) and uid (numbers as numbers): seeds draw by position."""
        return sorted(self.rows, key=lambda row: (row.domain, SPLITS.index(row.split), *natural(row.uid)))


def natural(name: str) -> tuple[float, str]:
    """A key that sorts numbers as numbers, before all other names."""
    return (float(name) if _NUMBER.fullmatch(name) else math.inf, name)


def read_array_table(root: Path) -> SegmentTable:
    """Read `segments.csv` and, if it is there, `classes.txt` of a folder.

    Raises:
        UserError: the table is missing, malformed or contradicts itself; the message names the row (from 1).
    """
    path, listed = root / TABLE_NAME, root / CLASSES_NAME
    if not path.is_file():
        raise UserError(f"no {TABLE_NAME} in {root}; it must list the segments, with columns {', '.join(COLUMNS)}")
    rows = checked_rows(read_table(path), str(path))
    classes = _read_classes(listed) if listed.is_file() else class_names(row.label for row in rows)
    for number, row in enumerate(rows, start=1):
        if row.label and row.label not in classes:
            hint = f"That is row {number} of {path}, uid {row.uid}; {listed} must list every class."
            raise unknown("label", row.label, classes, hint=hint)
    return SegmentTable(rows, classes, str(path))


def checked_rows(raw: pd.DataFrame, place: str) -> tuple[Row, ...]:
    """Check a table as it was read: cells are text, or None where empty.

    Args:
        raw: the table.
        place: what errors name.
    """
    rows = tuple(_row(cells, f"{place}, row {number}") for number, cells in enumerate(_cells(raw, place), start=1))
    if not rows:
        raise UserError(f"{place} has a header but no segments; write one a row")
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.uid in first:
            raise UserError(
                f"{place}: rows {first[row.uid]} and {number} both have uid {row.uid}; it names one segment"
            )
        first[row.uid] = number
    return rows


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels, empty ones left out; numbers first, in the order of numbers."""
    return tuple(sorted({label for label in labels if label}, key=natural))


def _cells(raw: pd.DataFrame, place: str) -> list[dict[str, str]]:
    """Cells of each row by column, empty ones as empty text."""
    missing = [name for name in COLUMNS if name not in raw.columns]
    if missing:
        raise UserError(f"{place} lacks the columns {', '.join(missing)}; found {', '.join(raw.columns)}")
    rows = raw.to_numpy().tolist()
    return [{name: (cell or "").strip() for name, cell in zip(raw.columns, row, strict=True)} for row in rows]


def _row(cells: Mapping[str, str], place: str) -> Row:
    uid, domain, split, label = (cells[name] for name in COLUMNS)
    for name in ("uid", "domain"):
        if not cells[name]:
            raise UserError(f"{place} has no {name}; every segment needs one")
    for name in COLUMNS:
        if not cells[name].isprintable():
            raise UserError(f"{place}: {name} {cells[name]!r} has characters that cannot be printed; correct it")
    if not _DOMAIN.fullmatch(domain):
        raise UserError(f"{place}: domain {domain!r} cannot name a folder; use letters, digits, '_', '-' and '.'")
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, hint=f"See {place}.")
    return Row(uid, domain, split, label, tuple((k, v) for k, v in cells.items() if k not in COLUMNS))


def _read_classes(path: Path) -> tuple[str, ...]:
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(f"{path} lists the class {twice[0]!r} twice; list each class once")
    if not names:
        raise UserError(f"{path} lists no classes; write one a line, or remove the file")
    return tuple(names)
