"""Tables of segments (`segments.csv`, annotations of EPIC-Kitchens): read as text, checked, put into one order."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.files import write_whole

SEGMENTS_CSV = "segments.csv"
CLASSES_TXT = "classes.txt"
SPLITS = ("train", "test")
SAFE_NAME = re.compile(r"\w[\w.-]*")  # names that may become part of a path
EPIC_COLUMNS = {
    "uid": ("uid", "narration_id"),
    "video": ("video_id",),
    "start": ("start_frame",),
    "stop": ("stop_frame",),
}
"""Column of the tidy table -> its names in files; each must be there."""

CLASS_COLUMNS = ("verb_class", "verb", "label")  # any of them gives the class: by its number, or else by its name
TIDY = ("uid", "domain", "split", "video", "participant", "start", "stop", "verb", "verb_class", "further")

_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a CSV table in UTF-8: names of columns, then line number and cells of each row that is not empty.

    `UserError`: two columns of one name, or a row with too many or too few cells.
    """
    text = read_text(path)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(lines.line_num, row) for row in lines if row]
    except csv.Error as error:
        raise UserError(f"cannot read {path} as a CSV table: {error}") from error
    if not rows:
        raise UserError(f"{path} is empty; its first line must name the columns")
    header = [name.strip() for name in rows[0][1]]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has the column {twice!r} twice; keep one")
    for line, row in rows[1:]:
        if len(row) != len(header):
            hint = "; quote cells with commas" if len(row) > len(header) else ""
            raise UserError(f"{path}: line {line} has {len(row)} cells, but the header has {len(header)}{hint}")
    return header, rows[1:]


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table as text, see `read_rows`; blank cells are missing."""
    # All text: participant "01" must not become 1, and a video may well be called "NA".
    header, rows = read_rows(path)
    cells = [[cell if cell.strip() else None for cell in row] for _, row in rows]
    return pd.DataFrame(cells, columns=header, dtype=object)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {path}: it is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if "\0" in text:
        raise UserError(f"cannot read {path}: it has a NUL byte at character {text.index(chr(0))}; it is damaged")
    return text


def read_classes(path: Path) -> list[str]:
    """Read a list of classes, one a line; blank lines at the end do not count. Empty if there is no such file."""
    if not path.is_file():
        return []
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not names:
        raise UserError(f"{path} lists no classes; write one a line, or remove the file")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} lists the class {twice!r} twice; list each class once")
    return names


def write_segments(path: Path, table: pd.DataFrame) -> None:
    """Write a table of segments, whole, as every format reads it."""
    write_whole(path, table.to_csv(index=False, lineterminator="\n").encode())


def tidy(raw: pd.DataFrame, path: Path, *, needs: Sequence[str] = (), classes: bool = False) -> pd.DataFrame:
    """Give the columns of one file their tidy names and types; `needs` are further ones, kept under their own names.

    Columns uid, video, participant, start, stop, verb, verb_class (Int64), further (pairs of text) and those of
    `needs`. Without `verb_class`, the class is named by `verb`: the file's column `label`, else its `verb`. With
    `classes` there must be a column that gives it.
    """
    columns = _columns_of(raw, path, needs=needs, classes=classes)
    table = pd.DataFrame({new: _text(raw[columns[new]], columns[new], path) for new in ("uid", "video", *needs)})
    for new in ("start", "stop"):
        table[new] = _whole(raw[columns[new]], columns[new], path)
        if table[new].isna().any():
            raise UserError(f"{path}: segment {table.uid[table[new].isna()].iloc[0]} has no {columns[new]}")
    if "participant_id" in raw.columns:
        table["participant"] = _text(raw["participant_id"], "participant_id", path)
    else:
        table["participant"] = table["video"].map(lambda video: video.split("_")[0])
    name = "label" if "verb_class" not in raw.columns and "label" in raw.columns else "verb"
    table["verb"] = _column(raw, name).map(lambda verb: "" if pd.isna(verb) else str(verb).strip()).astype(object)
    table["verb_class"] = _whole(_column(raw, "verb_class"), "verb_class", path)
    table["further"] = _further(raw, {*columns.values(), "participant_id", name, "verb_class"})
    return table.astype({"start": "int64", "stop": "int64"})


def require_columns(names: Sequence[str], missing: Sequence[str], place: object) -> None:
    """Raise a `UserError` if columns are missing, with the names that are there."""
    if missing:
        raise UserError(f"{place} lacks the columns {', '.join(missing)}; found {', '.join(map(str, names))}")


def _columns_of(raw: pd.DataFrame, path: Path, *, needs: Sequence[str], classes: bool) -> dict[str, str]:
    wanted = EPIC_COLUMNS | {name: (name,) for name in needs}
    columns = {new: next((name for name in names if name in raw.columns), "") for new, names in wanted.items()}
    missing = [names[0] for new, names in wanted.items() if not columns[new]]
    if classes and not {*CLASS_COLUMNS} & {*raw.columns}:
        missing.append(" or ".join(CLASS_COLUMNS))
    require_columns(list(raw.columns), missing, path)
    return columns


def _column(raw: pd.DataFrame, name: str) -> pd.Series[Any]:
    return raw[name] if name in raw.columns else pd.Series(None, index=raw.index, dtype=object)


def _further(raw: pd.DataFrame, known: set[str]) -> pd.Series[Any]:
    names = [name for name in raw.columns if name not in known]
    cells = raw[names].astype(object).to_numpy().tolist()
    pairs = [tuple((str(n), str(c)) for n, c in zip(names, row, strict=True) if not pd.isna(c)) for row in cells]
    return pd.Series(pairs, index=raw.index, dtype=object)


def _text(values: pd.Series[Any], name: str, path: Path) -> pd.Series[Any]:
    if values.isna().any():
        raise UserError(f"{path}: row {int(values.isna().argmax()) + 1} has no {name}")
    return values.map(lambda value: str(int(value)) if isinstance(value, float) else str(value).strip())


def _whole(values: pd.Series[Any], name: str, path: Path) -> pd.Series[Any]:
    """Whole numbers from 0 as Int64; empty cells stay missing."""
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    bad = values.notna() & ~((numbers >= 0) & (numbers < 2**53) & (numbers == numbers.round()))
    if bad.any():
        row = int(bad.argmax())
        raise UserError(f"{path}: row {row + 1} has {name} {values.iloc[row]!r}; it must be a whole number from 0")
    return numbers.astype("Int64")


def check_segments(table: pd.DataFrame, place: str, *, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """Refuse a tidy table that contradicts itself, and put the rows of others into one order; `splits` are ordered."""
    if table.empty:
        raise UserError(f"{place} has no segments")
    for split in table["split"].unique():
        if split not in splits:
            raise unknown("split", split, splits, hint=f"See the split column of {place}.")
    for name in ("domain", "video", "participant"):
        unsafe = next((value for value in table[name].unique() if not SAFE_NAME.fullmatch(value)), None)
        if unsafe is not None:
            raise UserError(f"{place}: {name} {unsafe!r} cannot name a file; use letters, digits, '_', '-' and '.'")
    refuse_rows(table, table["stop"] < table["start"], f"{place}: segments that stop before they start")
    refuse_rows(table, table["uid"].duplicated(keep=False), f"{place}: uids given more than once")
    participants = table.groupby("video")["participant"].transform("nunique")
    refuse_rows(table, participants > 1, f"{place}: segments of a video that has two participants")
    return _order(table, splits)


def refuse_rows(table: pd.DataFrame, bad: pd.Series[bool], what: str) -> None:
    """Raise a `UserError` that shows the first of the rows marked as bad; do nothing if there are none."""
    if bad.any():
        rows = table[bad].head(3)
        shown = "; ".join(f"uid {r.uid} ({r.video}, {r.start}-{r.stop})" for r in rows.itertuples())
        raise UserError(f"{what}: {int(bad.sum())}, such as {shown}; correct or remove them")


def natural(name: str) -> tuple[float, str]:
    """A key that sorts numbers as numbers, before all other names."""
    return (float(name) if _NUMBER.fullmatch(name) else math.inf, name)


def _order(table: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """One row order whatever the file's, since seeds draw by position."""
    keys = table[["domain", "uid"]].assign(
        split=table["split"].map(list(splits).index),
        number=table["uid"].map(lambda uid: natural(uid)[0]).astype("float64"),
    )
    order = keys.sort_values(["domain", "split", "number", "uid"]).index
    text = dict.fromkeys(("uid", "domain", "split", "video", "participant", "verb"), "str")
    return table.loc[order, list(TIDY)].reset_index(drop=True).astype(text)


def name_classes(table: pd.DataFrame, ids: Sequence[int], *, known: Mapping[int, str]) -> tuple[str, ...]:
    """A name for each class: the known one, else its commonest verb; equal names get their number."""
    counts = count_verbs(table, ids)
    names = [known.get(class_id) or commonest(counts[class_id], fallback=f"class {class_id}") for class_id in ids]
    return tuple(n if names.count(n) == 1 else f"{n} ({class_id})" for class_id, n in zip(ids, names, strict=True))


def count_verbs(table: pd.DataFrame, ids: Sequence[int]) -> dict[int, pd.Series[int]]:
    """How often each verb names a segment of each class."""
    named = table[table["verb_class"].notna() & (table["verb"] != "")]
    return {class_id: named["verb"][named["verb_class"] == class_id].value_counts() for class_id in ids}


def commonest(counts: pd.Series[int], *, fallback: str) -> str:
    """The most frequent verb; of equally frequent ones the first in the alphabet."""
    return min(((-count, str(verb)) for verb, count in counts.items()), default=(0, fallback))[1]
