"""The `arrays:DIR` door: NumPy arrays of any sensors, and a table of segments, become a `MultiDomainData`.

    DIR/segments.csv            uid, domain, split (train or test), label (a class name; empty where unknown)
    DIR/classes.txt             optional: the classes and their order, one a line
    DIR/imu.npy                 modality "imu": (N, T, ...) or (N, F), rows in the order of the table
    DIR/skeleton/UID.npy        modality "skeleton": (T, ...) or (F,), a file each; T may differ

8-bit `(T, H, W)` or `(T, H, W, C)` is a video, `(F,)` a vector, anything else a series of `(T, C)` float32. A
segment lacks a modality where its file is not there or, in one array of real numbers, its row is nothing but NaN.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.datasets.arrays.files import StoredArray, find_npy
from mmsada_lab.datasets.arrays.readers import FolderReader, Layout, StackedReader, layout_of
from mmsada_lab.datasets.arrays.source import Found, build_source, counted
from mmsada_lab.datasets.arrays.table import SegmentTable, read_array_table
from mmsada_lab.errors import UserError

KEEP_BYTES = 2**30
"""Folders of files that together are no larger than this are kept in memory once read."""

_MODALITY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def load_arrays(root: Path | str, *, missing: str = "error") -> MultiDomainData:
    """Load a folder of arrays; only their headers are read.

    Args:
        root: the folder.
        missing: what becomes of a segment that lacks a modality: ``error`` or ``drop``.

    Raises:
        UserError: table or arrays are missing, damaged, or do not fit each other.
    """
    root = open_folder(root)
    table = read_array_table(root)
    found = find_arrays(root, table)
    if not found:
        raise UserError(
            f"no modality in {root}: neither a file MODALITY.npy with a row for each segment of {table.place}, "
            "nor a folder MODALITY with a file UID.npy for each"
        )
    return build_source(f"arrays-{slug(root)}", table, found=found, missing=missing)


def open_folder(root: Path | str) -> Path:
    """The folder as an absolute path. A link keeps its own name, which names the data set."""
    root = Path(os.path.abspath(Path(root).expanduser()))  # noqa: PTH100
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds the arrays")
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise UserError(f"cannot list {root}: {error.strerror}") from error
    return root


def slug(root: Path) -> str:
    """The folder's name, fit to be part of another folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-") or "root"


def find_arrays(root: Path, table: SegmentTable) -> dict[str, Found]:
    """Every modality that is a `.npy` file or a folder of them, by name."""
    files = modality_files(root, ".npy")
    folders = {path.name: sizes for path in sorted(root.iterdir()) if (sizes := _npy_sizes(path))}
    both = sorted(files.keys() & folders.keys())
    if both:
        raise UserError(f"{root} has both {both[0]}.npy and a folder {both[0]}; remove one of them")
    keep = sum(sum(sizes.values()) for sizes in folders.values()) <= KEEP_BYTES
    found = {name: _stacked_file(path, table) for name, path in files.items()}
    found |= {
        checked_modality(name, root): _folder(root / name, sizes, table=table, keep=keep)
        for name, sizes in folders.items()
    }
    return dict(sorted(found.items()))


def modality_files(root: Path, suffix: str) -> dict[str, Path]:
    """Files of a folder with this suffix, by modality."""
    paths = [path for path in sorted(root.glob(f"*{suffix}")) if path.is_file() and not path.name.startswith(".")]
    return {checked_modality(path.name.removesuffix(suffix), root): path for path in paths}


def checked_modality(name: str, root: Path) -> str:
    """A name that can be an option, a dictionary key and a column."""
    if not _MODALITY.fullmatch(name):
        raise UserError(f"{root}: {name!r} cannot name a modality; use letters, digits, '_' and '-', a letter first")
    return name


def _npy_sizes(folder: Path) -> dict[str, int]:
    """Size of every `.npy` file in a folder, by uid; empty for anything else."""
    if folder.name.startswith(".") or not folder.is_dir():
        return {}
    try:
        with os.scandir(folder) as entries:
            named = [e for e in entries if e.name.endswith(".npy") and not e.name.startswith(".")]
            return {e.name.removesuffix(".npy"): e.stat().st_size for e in named if e.is_file()}
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error}") from error


def _stacked_file(path: Path, table: SegmentTable) -> Found:
    array = find_npy(path)
    rows = {row.uid: (0, number) for number, row in enumerate(table.rows)}
    if not array.shape or array.shape[0] != len(rows):
        raise UserError(
            f"{path} has shape {array.shape}, but {table.place} has {len(rows)} segments; "
            "the first axis must have a row for each, in the order of the table"
        )
    return stacked([array], rows, sizes=[f"{path.name} {path.stat().st_size}"], nan_rows=True)


def stacked(
    parts: Sequence[StoredArray],
    rows: Mapping[str, tuple[int, int]],
    *,
    sizes: Sequence[str],
    notes: Sequence[str] = (),
    nan_rows: bool = False,
) -> Found:
    """A modality whose segments are rows of arrays.

    Args:
        parts: the arrays, `(N, ...)`.
        rows: uid -> (index of its part, row in it).
        sizes: name and size of the files they are in.
        notes: what the user should be told of it.
        nan_rows: whether a row of nothing but NaN says that its segment lacks the modality.
    """
    layout = _common([(layout_of(part.dtype, part.shape[1:], part.place), part.place) for part in parts])
    reader = StackedReader(parts, rows, layout=layout)
    blank = set(reader.unrecorded() if nan_rows else ())
    lengths = {uid: length for uid, length in reader.lengths().items() if uid not in blank}
    order = hashlib.sha256(json.dumps(list(rows.items())).encode()).hexdigest()
    shapes = [f"{part.dtype.str} {part.shape}" for part in parts]
    return Found(reader, lengths, (*sizes, *shapes, order), notes=tuple(notes))


def text_of(uids: Any) -> NDArray[np.str_]:
    """Uids as text, `(N,)`, from text, bytes, or whole numbers.

    Raises:
        UserError: they are anything else.
    """
    try:
        found = np.asarray(uids)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"uids are no plain list: {error}") from error
    if found.ndim == 1 and found.dtype.kind in "OUSiu" and not any(isinstance(u, float) for u in found.tolist()):
        texts = [uid.decode("utf-8", "replace") if isinstance(uid, bytes) else str(uid) for uid in found.tolist()]
        return np.array(texts, dtype=str)
    raise UserError(f"uids of type {found.dtype} and shape {found.shape}; give a list of text")


def row_numbers(uids: NDArray[np.str_], place: str) -> dict[str, int]:
    """Uid -> its row.

    Raises:
        UserError: a uid is there twice.
    """
    found: dict[str, int] = {}
    for number, uid in enumerate(map(str.strip, uids.tolist())):
        if uid in found:
            raise UserError(f"{place}: rows {found[uid]} and {number} (from 0) both have uid {uid}; keep one of them")
        found[uid] = number
    return found


def _folder(folder: Path, sizes: Mapping[str, int], *, table: SegmentTable, keep: bool) -> Found:
    uids = [row.uid for row in table.rows]
    for uid in uids:
        _refuse_path(uid, folder, table)
    here = [uid for uid in uids if uid in sizes]
    lengths, layouts = {}, []
    for uid in tqdm(here, desc=f"headers of {folder.name}", unit="file", delay=2, leave=False):
        array = find_npy(folder / f"{uid}.npy")
        layouts.append((layout_of(array.dtype, array.shape, array.place), array.place))
        lengths[uid] = 1 if layouts[-1][0].kind == "vector" else array.shape[0]
    if not here:
        raise UserError(f"{folder} has .npy files, but none of a segment of {table.place}; name them UID.npy")
    extra = sorted(sizes.keys() - lengths.keys())
    notes = (f"ignored {counted(extra, 'file')} in {folder} that no row of {table.place} names",) if extra else ()
    files = tuple(f"{folder.name}/{uid} {sizes[uid]}" for uid in sorted(here))
    reader = FolderReader(folder, lengths, layout=_common(layouts), keep=keep)
    return Found(reader, lengths, files, mapped=keep, notes=notes)


def _refuse_path(uid: str, folder: Path, table: SegmentTable) -> None:
    path = folder / f"{uid}.npy"
    if uid.startswith(".") or any(c in uid for c in "/\\\0") or path.parent != folder or path.name != f"{uid}.npy":
        raise UserError(
            f"{table.place}: uid {uid!r} cannot name a file in {folder}; use no '/' or '\\' and no '.' at the beginning"
        )


def _common(layouts: Sequence[tuple[Layout, str]]) -> Layout:
    """The one layout of all arrays of a modality."""
    first, place = layouts[0]
    for other, there in layouts:
        if other != first:
            hint = "; write a series of one channel as (T, 1)" if {first.kind, other.kind} == {"vector"} else ""
            raise UserError(
                f"{there} holds a {other.kind} of samples {other.trailing}, but {place} a {first.kind} of samples "
                f"{first.trailing}; the segments of a modality may differ in length only{hint}"
            )
    return first
