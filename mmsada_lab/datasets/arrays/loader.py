"""The format `arrays:DIR`: NumPy arrays of any sensors, and a table of segments.

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
from mmsada_lab.datasets.arrays.assembly import FoundModality, assemble
from mmsada_lab.datasets.arrays.files import StoredArray, locate_npy
from mmsada_lab.datasets.arrays.readers import FolderReader, SampleSpec, StackedReader, sample_spec
from mmsada_lab.datasets.arrays.table import SegmentTable, read_array_table
from mmsada_lab.datasets.folders import KEEP_BYTES, count, open_folder, slug
from mmsada_lab.errors import UserError

_MODALITY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def load_arrays(root: Path | str, *, missing: str = "error") -> MultiDomainData:
    """Load a folder of arrays; only their headers are read.

    Args:
        root: the folder.
        missing: what becomes of a segment that lacks a modality: ``error`` or ``drop``.

    Raises:
        UserError: table or arrays are missing, damaged, or do not fit each other.
    """
    root = open_folder(root, content="the arrays")
    table = read_array_table(root)
    modalities = find_arrays(root, table)
    if not modalities:
        raise UserError(
            f"no modality in {root}: neither a file MODALITY.npy with a row for each segment of {table.place}, "
            "nor a folder MODALITY with a file UID.npy for each"
        )
    return assemble(f"arrays-{slug(root)}", table, modalities=modalities, missing=missing)


def find_arrays(root: Path, table: SegmentTable) -> dict[str, FoundModality]:
    """Every modality that is a `.npy` file or a folder of them, by name."""
    files = modality_files(root, ".npy")
    folders = {path.name: sizes for path in sorted(root.iterdir()) if (sizes := _npy_sizes(path))}
    if both := sorted(files.keys() & folders.keys()):
        raise UserError(f"{root} has both {both[0]}.npy and a folder {both[0]}; remove one of them")
    keep = sum(sum(sizes.values()) for sizes in folders.values()) <= KEEP_BYTES
    modalities = {name: _stacked_file(path, table) for name, path in files.items()}
    for name, sizes in folders.items():
        modalities[check_modality(name, root)] = _folder(root / name, sizes, table=table, keep=keep)
    return dict(sorted(modalities.items()))


def modality_files(root: Path, suffix: str) -> dict[str, Path]:
    """Files of a folder with this suffix, by modality."""
    paths = [path for path in sorted(root.glob(f"*{suffix}")) if path.is_file() and not path.name.startswith(".")]
    return {check_modality(path.name.removesuffix(suffix), root): path for path in paths}


def check_modality(name: str, root: Path) -> str:
    """A name that can be an option, a dictionary key and a column."""
    if not _MODALITY.fullmatch(name):
        raise UserError(f"{root}: {name!r} cannot name a modality; use letters, digits, '_' and '-', a letter first")
    return name


def stack(
    arrays: Sequence[StoredArray],
    rows: Mapping[str, tuple[int, int]],
    *,
    sizes: Sequence[str],
    notes: Sequence[str] = (),
    nan_rows: bool = False,
) -> FoundModality:
    """A modality whose segments are rows of arrays, `(N, ...)` each: uid -> (index of its array, row in it).

    `sizes` are name and size of the files they are in. With `nan_rows` a row of nothing but NaN lacks the modality.
    """
    spec = _common([(sample_spec(array.dtype, array.shape[1:], array.place), array.place) for array in arrays])
    reader = StackedReader(arrays, rows, spec=spec, nan_rows=nan_rows)
    order = hashlib.sha256(json.dumps(list(rows.items())).encode()).hexdigest()
    shapes = [f"{array.dtype.str} {array.shape}" for array in arrays]
    return FoundModality(reader, (*sizes, *shapes, order), notes=tuple(notes))


def uid_text(uids: Any) -> NDArray[np.str_]:
    """Uids as text, `(N,)`, from text, bytes, or whole numbers; anything else is a `UserError`."""
    try:
        array = np.asarray(uids)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"uids are no plain list: {error}") from error
    values = array.tolist()
    if array.ndim == 1 and array.dtype.kind in "OUSiu" and not any(isinstance(uid, float) for uid in values):
        texts = [uid.decode("utf-8", "replace") if isinstance(uid, bytes) else uid for uid in values]
        return np.array(texts, dtype=str)
    raise UserError(f"uids of type {array.dtype} and shape {array.shape}; give a list of text")


def row_numbers(uids: NDArray[np.str_], place: str) -> dict[str, int]:
    """Uid -> its row; a uid that is there twice is a `UserError`."""
    rows: dict[str, int] = {}
    for number, uid in enumerate(map(str.strip, uids.tolist())):
        if (before := rows.setdefault(uid, number)) != number:
            raise UserError(f"{place}: rows {before} and {number} (from 0) both have uid {uid}; keep one of them")
    return rows


def _stacked_file(path: Path, table: SegmentTable) -> FoundModality:
    array = locate_npy(path)
    if not array.shape or array.shape[0] != len(table.rows):
        raise UserError(
            f"{path} has shape {array.shape}, but {table.place} has {len(table.rows)} segments; "
            "the first axis must have a row for each, in the order of the table"
        )
    rows = {row.uid: (0, number) for number, row in enumerate(table.rows)}
    return stack([array], rows, sizes=[f"{path.name} {path.stat().st_size}"], nan_rows=True)


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


def _folder(folder: Path, sizes: Mapping[str, int], *, table: SegmentTable, keep: bool) -> FoundModality:
    for row in table.rows:
        _refuse_path(row.uid, folder, table)
    uids = [row.uid for row in table.rows if row.uid in sizes]
    if not uids:
        raise UserError(f"{folder} has .npy files, but none of a segment of {table.place}; name them UID.npy")
    lengths, specs = {}, []
    for uid in tqdm(uids, desc=f"headers of {folder.name}", unit="file", delay=2, leave=False):
        array = locate_npy(folder / f"{uid}.npy")
        specs.append((sample_spec(array.dtype, array.shape, array.place), array.place))
        lengths[uid] = 1 if specs[-1][0].kind == "vector" else array.shape[0]
    extra = sorted(sizes.keys() - lengths.keys())
    notes = (f"ignored {count(extra, 'file')} in {folder} that no row of {table.place} names",) if extra else ()
    files = tuple(f"{folder.name}/{uid} {sizes[uid]}" for uid in sorted(uids))
    reader = FolderReader(folder, lengths, spec=_common(specs), keep=keep)
    return FoundModality(reader, files, mapped=keep, notes=notes)


def _refuse_path(uid: str, folder: Path, table: SegmentTable) -> None:
    path = folder / f"{uid}.npy"
    if uid.startswith(".") or any(c in uid for c in "/\\\0") or path.parent != folder or path.name != f"{uid}.npy":
        raise UserError(
            f"{table.place}: uid {uid!r} cannot name a file in {folder}; use no '/' or '\\' and no '.' at the beginning"
        )


def _common(specs: Sequence[tuple[SampleSpec, str]]) -> SampleSpec:
    first, place = specs[0]
    for other, there in specs:
        if other != first:
            hint = "; write a series of one channel as (T, 1)" if {first.kind, other.kind} == {"vector"} else ""
            raise UserError(
                f"{there} holds a {other.kind} of samples {other.shape}, but {place} a {first.kind} of samples "
                f"{first.shape}; the segments of a modality may differ in length only{hint}"
            )
    return first
