"""Tables of segments: read as text, given the tidy columns, checked, and put into one order."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.errors import UserError, unknown

SPLITS = ("train", "test")
COLUMNS = {
    "uid": ("uid", "narration_id"),
    "video": ("video_id",),
    "start": ("start_frame",),
    "stop": ("stop_frame",),
}
"""Column of the tidy table -> what it may be called in a file; each must be there."""

CLASS_COLUMNS = ("verb_class", "verb", "label")
"""Any of them gives the class: by its number, or else by its name."""

TIDY = ("uid", "domain", "split", "video", "participant", "start", "stop", "verb", "verb_class", "further")

_SAFE_NAME = re.compile(r"\w[\w.-]*")


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table as text; empty cells are missing.

    All text: participant "01" must not become 1, and a video may well be called "NA".

    Raises:
        UserError: not a whole table in UTF-8, or a row with too many or too few cells.
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
    odd = next(((line, row) for line, row in rows[1:] if len(row) != len(header)), None)
    if odd is not None:
        raise UserError(f"{path}: line {odd[0]} has {len(odd[1])} cells, but the header has {len(header)}")
    cells = [[cell if cell.strip() else None for cell in row] for _, row in rows[1:]]
    return pd.DataFrame(cells, columns=header, dtype=object)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {path}: it is not UTF-8 ({error.reason} at byte {error.start}); save it so"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if "\0" in text:
        raise UserError(
            f"cannot read {path}: it has a NUL byte at character {text.index(chr(0))}; it is no text, or damaged"
        )
    return text


def tidy(raw: pd.DataFrame, path: Path, *, needs: Sequence[str] = (), classes: bool = False) -> pd.DataFrame:
    """Give the columns of one file their tidy names and types.

    Args:
        raw: the table as read.
        path: its file, for errors.
        needs: columns that must be there besides, and are kept under their own names: ``domain``, ``split``.
        classes: whether there must be a column that gives the class.

    Returns:
        Columns uid, video, participant, start, stop, verb, verb_class (Int64), further (pairs of text) and those of
        `needs`. Without `verb_class`, a column `label` or else `verb` stands in `verb`, and is what names the class.
    """
    columns = _found_columns(raw, path, needs=needs, classes=classes)
    table = pd.DataFrame({new: _text(raw[columns[new]], columns[new], path) for new in ("uid", "video", *needs)})
    for new in ("start", "stop"):
        table[new] = _whole(raw[columns[new]], columns[new], path)
        if table[new].isna().any():
            raise UserError(f"{path}: segment {table.uid[table[new].isna()].iloc[0]} has no {columns[new]}")
    table["participant"] = _participants(raw, table, path)
    name = "label" if "verb_class" not in raw.columns and "label" in raw.columns else "verb"
    table["verb"] = _column(raw, name).map(lambda verb: "" if pd.isna(verb) else str(verb).strip()).astype(object)
    table["verb_class"] = _whole(_column(raw, "verb_class"), "verb_class", path)
    table["further"] = _further(raw, {*columns.values(), "participant_id", name, "verb_class"})
    return table.astype({"start": "int64", "stop": "int64"})


def _found_columns(raw: pd.DataFrame, path: Path, *, needs: Sequence[str], classes: bool) -> dict[str, str]:
    """Column of the tidy table -> column of the file."""
    wanted = COLUMNS | {name: (name,) for name in needs}
    found = {new: next((name for name in names if name in raw.columns), "") for new, names in wanted.items()}
    missing = [names[0] for new, names in wanted.items() if not found[new]]
    if classes and not {*CLASS_COLUMNS} & {*raw.columns}:
        missing.append(" or ".join(CLASS_COLUMNS))
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; found {', '.join(map(str, raw.columns))}")
    return found


def _column(raw: pd.DataFrame, name: str) -> pd.Series[Any]:
    return raw[name] if name in raw.columns else pd.Series(None, index=raw.index, dtype=object)


def _participants(raw: pd.DataFrame, table: pd.DataFrame, path: Path) -> pd.Series[Any]:
    """The participant; where no column tells, what stands before the first ``_`` of the video's name."""
    if "participant_id" in raw.columns:
        return _text(raw["participant_id"], "participant_id", path)
    return table["video"].map(lambda video: video.split("_")[0])


def _further(raw: pd.DataFrame, known: set[str]) -> pd.Series[Any]:
    names = [name for name in raw.columns if name not in known]
    cells = raw[names].astype(object).to_numpy().tolist()
    shown = [str(name) for name in names]
    pairs = [tuple((n, str(c)) for n, c in zip(shown, row, strict=True) if not pd.isna(c)) for row in cells]
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


def checked(table: pd.DataFrame, where: str, *, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """Refuse tables that cannot be meant, and put the others into their one order.

    Args:
        table: tidy columns, with `domain` and `split`.
        where: what an error names.
        splits: the names `split` may have, in order.
    """
    if table.empty:
        raise UserError(f"{where} has no segments")
    for split in table["split"].unique():
        if split not in splits:
            raise unknown("split", split, splits, hint=f"See the split column of {where}.")
    for name in ("domain", "video", "participant"):
        odd = next((value for value in table[name].unique() if not _SAFE_NAME.fullmatch(value)), None)
        if odd is not None:
            raise UserError(f"{where}: {name} {odd!r} cannot name a file; use letters, digits, '_', '-' and '.'")
    refuse_rows(table, table["stop"] < table["start"], f"{where}: segments that stop before they start")
    refuse_rows(table, table["uid"].duplicated(keep=False), f"{where}: uids given more than once")
    refuse_rows(
        table,
        table.groupby("video")["participant"].transform("nunique") > 1,
        f"{where}: segments of a video that has two participants",
    )
    return _ordered(table, splits)


def refuse_rows(table: pd.DataFrame, bad: pd.Series[bool], what: str) -> None:
    """Raise a `UserError` that shows some of the rows marked as bad; do nothing if there are none."""
    if bad.any():
        rows = table[bad].head(3)
        shown = "; ".join(f"uid {r.uid} ({r.video}, {r.start}-{r.stop})" for r in rows.itertuples())
        raise UserError(f"{what}: {int(bad.sum())}, such as {shown}; correct or remove them")


def _ordered(table: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """One row order whatever the file's: seeds draw by position. Numbers sort as numbers."""
    keys = pd.DataFrame(
        {
            "domain": table["domain"],
            "split": table["split"].map(list(splits).index),
            "number": table["uid"].map(lambda uid: int(uid) if uid.isdecimal() else math.inf).astype("float64"),
            "uid": table["uid"],
        }
    )
    order = keys.sort_values(["domain", "split", "number", "uid"]).index
    text = dict.fromkeys(("uid", "domain", "split", "video", "participant", "verb"), "str")
    return table.loc[order, list(TIDY)].reset_index(drop=True).astype(text)


def commonest(counts: pd.Series[int], *, fallback: str) -> str:
    """The most frequent verb; of equally frequent ones the first in the alphabet."""
    return min(((-count, str(verb)) for verb, count in counts.items()), default=(0, fallback))[1]
