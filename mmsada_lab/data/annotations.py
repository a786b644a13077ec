"""Annotations of EPIC-like data: the authors' pickles or a CSV, as one tidy table of segments."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.data.pickles import read_pickle_frame
from mmsada_lab.errors import UserError, unknown

CSV_NAME = "segments.csv"
SPLITS = ("train", "test")
COLUMNS = {
    "uid": "uid",
    "video_id": "video",
    "participant_id": "participant",
    "start_frame": "start",
    "stop_frame": "stop",
    "verb": "verb",
    "verb_class": "verb_class",
}
"""Column as annotated -> column of the tidy table, which has `domain` and `split` besides."""

_PICKLE_NAME = re.compile(r"(?P<domain>.+)_(?P<split>train|test)\.pkl")
_SAFE_NAME = re.compile(r"\w[\w.-]*")


def read_annotations(root: Path) -> pd.DataFrame:
    """Read every segment below a root folder; needs no frames.

    `segments.csv` is preferred over `{domain}_{train,test}.pkl`, in ROOT first, then in ROOT/annotations: a table
    one can look at is the one that should count.

    Returns:
        Columns uid, domain, split, video, participant, start, stop, verb, verb_class, sorted by domain, split
        (train first) and uid; `verb_class` is Int64 and missing for unlabelled training segments.
    """
    folders = (root, root / "annotations")
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds the annotations, rgb/ and flow/")
    csv = next((f / CSV_NAME for f in folders if (f / CSV_NAME).is_file()), None)
    if csv is not None:
        return _checked(_tidy_csv(csv), str(csv))
    pickles = next((found for f in folders if (found := _split_pickles(f))), None)
    if pickles is None:
        raise UserError(
            f"no annotations in {root}: put {CSV_NAME}, or a pair DOMAIN_train.pkl and DOMAIN_test.pkl for each "
            f"domain, there or into {folders[1]}"
        )
    parts = [_tidy_pickle(path, domain=d, split=s) for (d, s), path in pickles.items()]
    return _checked(pd.concat(parts, ignore_index=True), str(next(iter(pickles.values())).parent))


def _split_pickles(folder: Path) -> dict[tuple[str, str], Path]:
    matches = {path: _PICKLE_NAME.fullmatch(path.name) for path in sorted(folder.glob("*.pkl"))}
    return {(m["domain"], m["split"]): path for path, m in matches.items() if m}


def _tidy_csv(path: Path) -> pd.DataFrame:
    try:
        # All text: participant "01" must not become 1, and a video may well be called "NA".
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path} as a CSV table: {error}") from error
    tidy = _tidy(raw, path, extra=("domain", "split"))
    return tidy.assign(domain=_text(raw["domain"], "domain", path), split=_text(raw["split"], "split", path))


def _tidy_pickle(path: Path, *, domain: str, split: str) -> pd.DataFrame:
    return _tidy(read_pickle_frame(path), path).assign(domain=domain, split=split)


def _tidy(raw: pd.DataFrame, path: Path, *, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """Check columns and types of one file, and give the columns their tidy names."""
    missing = [name for name in (*COLUMNS, *extra) if name not in raw.columns]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; found {', '.join(map(str, raw.columns))}")
    table = pd.DataFrame({new: raw[old] for old, new in COLUMNS.items()})
    for name in ("uid", "video_id", "participant_id"):
        table[COLUMNS[name]] = _text(raw[name], name, path)
    for name in ("start_frame", "stop_frame", "verb_class"):
        table[COLUMNS[name]] = _whole(raw[name], name, path)
    for name in ("start", "stop"):
        if table[name].isna().any():
            raise UserError(f"{path}: segment {table.uid[table[name].isna()].iloc[0]} has no {name}_frame")
    table["verb"] = table["verb"].map(lambda verb: "" if pd.isna(verb) else str(verb).strip())
    return table.astype({"start": "int64", "stop": "int64"})


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


def _checked(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Refuse tables that cannot be meant, and put the others into their one order."""
    for split in table["split"].unique():
        if split not in SPLITS:
            raise unknown("split", split, SPLITS, hint=f"See the split column of {where}.")
    for name in ("domain", "video", "participant"):
        odd = next((value for value in table[name].unique() if not _SAFE_NAME.fullmatch(value)), None)
        if odd is not None:
            raise UserError(f"{where}: {name} {odd!r} cannot name a file; use letters, digits, '_', '-' and '.'")
    for domain, split in ((d, s) for d in sorted(table["domain"].unique()) for s in SPLITS):
        if not ((table["domain"] == domain) & (table["split"] == split)).any():
            raise UserError(f"{where}: domain {domain} has no {split} segments; each needs both train and test")
    _refuse_rows(table, table["stop"] < table["start"], f"{where}: segments that stop before they start")
    _refuse_rows(table, table["uid"].duplicated(keep=False), f"{where}: uids given more than once")
    unlabelled = table["verb_class"].isna() & (table["split"] == "test")
    _refuse_rows(table, unlabelled, f"{where}: test segments without verb_class (only train may be unlabelled)")
    _refuse_rows(
        table,
        table.groupby("video")["participant"].transform("nunique") > 1,
        f"{where}: segments of a video that has two participants",
    )
    return _ordered(table)


def _refuse_rows(table: pd.DataFrame, bad: pd.Series[bool], what: str) -> None:
    if bad.any():
        rows = table[bad].head(3)
        shown = "; ".join(f"uid {r.uid} ({r.video}, {r.start}-{r.stop})" for r in rows.itertuples())
        raise UserError(f"{what}: {int(bad.sum())}, such as {shown}; correct or remove them")


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """One row order whatever the file's: seeds draw by position. Numbers sort as numbers."""
    keys = pd.DataFrame(
        {
            "domain": table["domain"],
            "split": table["split"].map(SPLITS.index),
            "number": table["uid"].map(lambda uid: int(uid) if uid.isdecimal() else math.inf).astype("float64"),
            "uid": table["uid"],
        }
    )
    order = keys.sort_values(["domain", "split", "number", "uid"]).index
    columns = ["uid", "domain", "split", "video", "participant", "start", "stop", "verb", "verb_class"]
    text = dict.fromkeys(("uid", "domain", "split", "video", "participant", "verb"), "str")
    return table.loc[order, columns].reset_index(drop=True).astype(text)
