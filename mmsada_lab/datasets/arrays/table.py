"""The table of a folder of arrays or features: one row a segment, with columns uid, domain, split and label.

A label is the *name* of a class and empty where unknown. Classes are the labels, numbers in the order of numbers,
unless a file `classes.txt` beside the table lists them, one a line, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmsada_lab.datasets.tables import (
    CLASSES_TXT,
    SAFE_NAME,
    SEGMENTS_CSV,
    SPLITS,
    natural,
    read_classes,
    read_table,
    require_columns,
)
from mmsada_lab.errors import UserError, unknown

ARRAY_COLUMNS = ("uid", "domain", "split", "label")


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment as its table has it; `label` is a class name, or empty where unknown."""

    uid: str
    domain: str
    split: str
    label: str
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """The rows of a data set in the order of its file, its classes, and where both come from (for messages)."""

    rows: tuple[SegmentRow, ...]
    classes: tuple[str, ...]
    place: str

    def ordered(self) -> list[SegmentRow]:
        """Rows by domain, split (train first) and uid (numbers as numbers): seeds draw by position."""
        return sorted(self.rows, key=lambda row: (row.domain, SPLITS.index(row.split), *natural(row.uid)))


def read_array_table(root: Path) -> SegmentTable:
    """Read `segments.csv` and, if it is there, `classes.txt` of a folder; errors name the row (from 1)."""
    path = root / SEGMENTS_CSV
    if not path.is_file():
        columns = ", ".join(ARRAY_COLUMNS)
        raise UserError(f"no {SEGMENTS_CSV} in {root}; it must list the segments, with columns {columns}")
    rows = check_rows(read_table(path), str(path))
    labels = sorted({row.label for row in rows} - {""}, key=natural)
    classes = tuple(filter(None, read_classes(root / CLASSES_TXT))) or tuple(labels)
    for number, row in enumerate(rows, start=1):
        if row.label and row.label not in classes:
            hint = f"That is row {number} of {path}, uid {row.uid}; {root / CLASSES_TXT} must list every class."
            raise unknown("label", row.label, classes, hint=hint)
    return SegmentTable(rows, classes, str(path))


def check_rows(raw: pd.DataFrame, place: str) -> tuple[SegmentRow, ...]:
    """The rows of a table of text, in which empty cells are missing; `place` names it in errors."""
    require_columns(list(raw.columns), [name for name in ARRAY_COLUMNS if name not in raw.columns], place)
    cells = raw.fillna("").to_dict("records")
    rows = tuple(
        _check_row({str(name): cell.strip() for name, cell in row.items()}, f"{place}, row {number}")
        for number, row in enumerate(cells, start=1)
    )
    if not rows:
        raise UserError(f"{place} has a header but no segments; write one a row")
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if (before := first.setdefault(row.uid, number)) != number:
            raise UserError(f"{place}: rows {before} and {number} both have uid {row.uid}; it names one segment")
    return rows


def _check_row(cells: Mapping[str, str], place: str) -> SegmentRow:
    uid, domain, split, label = (cells[name] for name in ARRAY_COLUMNS)
    for name in ARRAY_COLUMNS:
        if not cells[name] and name in ("uid", "domain"):
            raise UserError(f"{place} has no {name}; every segment needs one")
        if not cells[name].isprintable():
            raise UserError(f"{place}: {name} {cells[name]!r} has characters that cannot be printed; correct it")
    if not SAFE_NAME.fullmatch(domain):
        raise UserError(f"{place}: domain {domain!r} cannot name a folder; use letters, digits, '_', '-' and '.'")
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, hint=f"See {place}.")
    return SegmentRow(uid, domain, split, label, tuple((k, v) for k, v in cells.items() if k not in ARRAY_COLUMNS))
