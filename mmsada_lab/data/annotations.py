"""Annotations of EPIC-like data: the authors' pickles or a CSV, as one tidy table of segments.

A pickle is a program. The authors' six are read all the same, but nothing in them runs: every name a file asks
for must be one that a pandas DataFrame of plain columns needs, and even those become inert stand-ins that only
remember their arguments. The table is then rebuilt from what they remember, so that neither the pandas that
wrote a file nor the one that reads it matters.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


class _Inert:
    """What a name in a pickle becomes: it remembers how it was called, and does nothing."""

    kind = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: object) -> _Inert:
        made = object.__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: object) -> None:
        self.state = state


_KINDS = {
    "frame": ("pandas.DataFrame", "pandas.core.frame.DataFrame"),
    "manager": ("pandas.core.internals.managers.BlockManager",),
    "block": ("pandas._libs.internals._unpickle_block", "pandas.core.internals.blocks.new_block"),
    "slice": ("builtins.slice", "__builtin__.slice"),
    "index": ("pandas.core.indexes.base._new_Index",),
    "index class": (
        *("pandas.Index", "pandas.core.indexes.base.Index", "pandas.RangeIndex"),
        *("pandas.core.indexes.range.RangeIndex", "pandas.core.indexes.numeric.Int64Index"),
    ),
    "array": ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"),
    "buffer": ("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"),
    "array class": ("numpy.ndarray",),
    "dtype": ("numpy.dtype",),
    "strings": ("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",),
    "strings class": ("pandas.arrays.StringArray", "pandas.core.arrays.string_.StringArray"),
    "strings dtype": ("pandas.StringDtype", "pandas.core.arrays.string_.StringDtype"),
    "missing": ("pandas.NA", "pandas._libs.missing.NA"),
    "bytes": ("_codecs.encode",),
}
_STAND_INS = {
    name: type(f"_Inert_{kind.replace(' ', '_')}", (_Inert,), {"kind": kind})
    for kind, names in _KINDS.items()
    for name in names
}


class _TableUnpickler(pickle.Unpickler):
    """Gives stand-ins for the names a DataFrame needs, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked not in _STAND_INS:
            hint = " (text kept by pyarrow cannot be rebuilt)" if "arrow" in asked.lower() else ""
            raise UserError(f"it asks for {asked}, which a plain table does not need{hint}")
        return _STAND_INS[asked]


def read_pickle_frame(path: Path) -> pd.DataFrame:
    """Read a pickled DataFrame of number and text columns without running anything in it.

    Written for pandas 0.25 to 3, pickle protocols 2 to 5. The row index is not kept.

    Raises:
        UserError: the file is damaged, holds something else, or asks for any name off the list.
    """
    try:
        data = path.read_bytes()
        _refuse_bombs(data)
        return _rebuild_frame(_TableUnpickler(io.BytesIO(data)).load())
    except Exception as error:  # a crafted or damaged stream can fail in any way; none of them is a crash
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path} is not a plain pickled table and was not read: {reason}; "
            f"if you trust it, write it as {CSV_NAME} with the pandas that made it"
        ) from error


def _refuse_bombs(data: bytes) -> None:
    """Refuse lengths and memo numbers beyond the file's own size: the unpickler would allocate them unread."""
    for opcode, argument, _ in pickletools.genops(data):  # raises ValueError where a length passes the end
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "FRAME") and (argument or 0) > len(data):
            raise UserError(f"{opcode.name} {argument} in a file of {len(data)} bytes")


def _expect(thing: Any, *kinds: str) -> Any:
    if getattr(thing, "kind", None) not in kinds or isinstance(thing, type):
        raise UserError(f"found {type(thing).__name__} where a table has its {kinds[0]}")
    return thing


def _rebuild_frame(frame: Any) -> pd.DataFrame:
    state = _expect(frame, "frame").state
    manager = _expect(state["_mgr"] if "_mgr" in state else state["_data"], "manager")
    if manager.arguments:  # pandas 1.3 and later
        blocks, axes = manager.arguments[:2]
        parts = [_expect(block, "block").arguments[:2] for block in blocks]
    else:
        axes, extra = manager.state[0], manager.state[3]["0.14.1"]
        parts = [(block["values"], block["mgr_locs"]) for block in extra["blocks"]]
    names = _values(_expect(axes[0], "index").arguments[1]["data"]).tolist()
    columns: dict[int, NDArray[Any]] = {}
    for values, places in parts:
        block = np.atleast_2d(_values(values))
        columns |= dict(zip(_places(places, len(names)), block, strict=True))
    return pd.DataFrame({name: columns[at] for at, name in enumerate(names)})


def _places(places: Any, width: int) -> list[int]:
    """Column positions of a block."""
    if getattr(places, "kind", None) == "slice":
        return list(range(width))[slice(*places.arguments)]
    return [int(at) for at in _values(places)]


def _values(array: Any) -> NDArray[Any]:
    """Rebuild an array from its stand-in: plain numbers from bytes, or text from a list."""
    made = _expect(array, "array", "buffer", "strings")
    if made.kind == "strings":
        return _values(next(part for part in made.state if getattr(part, "kind", "") == "array"))
    if made.kind == "buffer":
        data, dtype, shape, order = made.arguments[:4]
        return np.frombuffer(data, _dtype(dtype)).reshape(shape, order=order)
    _, shape, dtype, fortran, data = made.state
    if isinstance(data, list):
        return np.array([_cell(value) for value in data], dtype=object).reshape(shape)
    if isinstance(data, _Inert):  # protocol 2 has no bytes: it encodes text
        data = _expect(data, "bytes").arguments[0].encode("latin1")
    return np.frombuffer(data, _dtype(dtype)).reshape(shape, order="F" if fortran else "C")


def _dtype(dtype: Any) -> np.dtype[Any]:
    code, order = _expect(dtype, "dtype").arguments[0], dtype.state[1]
    if not re.fullmatch(r"[iuf][1248]|b1", code) or order not in ("<", ">", "|", "="):
        raise UserError(f"column type {code!r} is neither number nor text")
    made: np.dtype[Any] = np.dtype(order + code)
    return made


def _cell(value: Any) -> Any:
    if isinstance(value, type) and getattr(value, "kind", "") == "missing":
        return None
    if value is not None and not isinstance(value, (str, int, float)):
        raise UserError(f"a cell holds {type(value).__name__}, not number or text")
    return value
