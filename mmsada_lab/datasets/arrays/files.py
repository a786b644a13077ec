"""Arrays in files, each known by its header and memory-mapped when first asked for; nothing is ever unpickled.

An array may be a `.npy` file, a member of an `.npz`, or a value in a pickled dict. Each is compared with the size of
its file before its data are read: a file that was cut is refused when the data set is loaded, not hours into a run.
"""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.datasets.pickles import read_pickle_arrays
from mmsada_lab.errors import UserError

_MAX_HEADER = 10_000  # NumPy's own limit: its header is parsed as a Python literal
_HEAD = 12 + _MAX_HEADER
_HEADER_READERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
_CHECKED = 2**26
"""Members of an `.npz` of up to this many bytes are read once when they are located, to verify their checksum."""
_LOCAL_HEADER = 30  # bytes before the file name in a zip's local header


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file, located and checked but not read: small and picklable.

    `place` is where it is, for messages; `load` reads it or maps it into memory.
    """

    path: Path
    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Any]

    def open(self) -> NDArray[Any]:
        """The array, memory-mapped where the file allows it; a file that has changed or is damaged is a `UserError`."""
        try:
            array = self.load()
        except UserError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy each have errors of their own for damaged content
            raise _unreadable(self.path, error) from error
        if not isinstance(array, np.ndarray) or array.shape != self.shape or array.dtype != self.dtype:
            raise UserError(f"{self.path} has changed since it was opened; start again")
        return array


def locate_npy(path: Path) -> StoredArray:
    """Read the header of a `.npy` file; a `UserError` unless it is one of plain numbers, as large as it says."""
    try:
        with path.open("rb", buffering=0) as file:
            return _mapped(path, file.read(_HEAD), stop=os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise _unreadable(path, error) from error


def locate_npz(path: Path, members: Sequence[str]) -> list[StoredArray]:
    """Read headers of members of an `.npz`, by name and in this order; missing or damaged ones are a `UserError`."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            lacking = [member for member in members if member not in names]
            if lacking:
                raise UserError(f"{path} lacks the arrays {', '.join(lacking)}; found {', '.join(names) or 'none'}")
            return [_locate_member(path, archive, file, member=member) for member in members]
    except UserError:
        raise
    except Exception as error:  # zipfile raises errors of many kinds on a damaged directory
        raise _unreadable(path, error) from error


def locate_pickled(path: Path, keys: Sequence[str], array: NDArray[Any]) -> StoredArray:
    """An array in a pickled dict, at the end of a path of keys; memory-mapped unless the pickle is of protocol 2."""
    load = partial(_read_pickled, path, tuple(keys))
    return StoredArray(path, f"{path} ({', '.join(keys)})", array.shape, array.dtype, load)


def _locate_member(path: Path, archive: zipfile.ZipFile, file: BinaryIO, *, member: str) -> StoredArray:
    entry = archive.getinfo(f"{member}.npy")
    with archive.open(entry) as content:
        head = content.read(_HEAD)
        while entry.file_size <= _CHECKED and content.read(_HEAD):  # to the end, where zipfile checks the sum
            pass
    if entry.compress_type == zipfile.ZIP_STORED:
        file.seek(entry.header_offset)
        local = file.read(_LOCAL_HEADER)
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER + lengths
        if start + entry.file_size > path.stat().st_size:
            raise UserError(f"{path} ends within {member}; it was cut, so make it again")
        return _mapped(path, head, start=start, stop=start + entry.file_size)
    described = _mapped(path, head, stop=entry.file_size)
    load = partial(_read_member, path, member)
    return StoredArray(path, f"{path} ({member})", described.shape, described.dtype, load)


def _mapped(path: Path, head: bytes, *, stop: int, start: int = 0) -> StoredArray:
    """The array whose header begins at `start` and whose data must end at `stop`."""
    width = {1: 2, 2: 4}.get(head[6] if len(head) > 6 else 0)
    if head[:6] != b"\x93NUMPY" or width is None:
        raise UserError(f"{path} is not a .npy file of version 1 or 2; write it with np.save")
    end = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if end > min(len(head), stop - start):
        raise UserError(f"{path} ends within its header, or that has more than {_MAX_HEADER:,} bytes")
    try:
        shape, fortran, dtype = _parse(head[:end])
    except Exception as error:  # NumPy parses a Python literal, which can fail in many ways
        raise UserError(f"{path} has a damaged header ({type(error).__name__}); write it again with np.save") from error
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise UserError(f"{path} holds {dtype}, not plain numbers; np.save an array of one number type")
    if len(shape) > 32 or not all(0 <= size < 2**62 for size in shape):
        raise UserError(f"{path} has a damaged header: no array has the shape it claims; write it again with np.save")
    expected, actual = math.prod(shape) * dtype.itemsize, stop - start - end
    if expected != actual:
        raise UserError(
            f"{path} has {actual:,} bytes of data where its header, shape {tuple(shape)} of {dtype}, promises "
            f"{expected:,}; it was cut or damaged, so make it again"
        )
    load = partial(_map, path, dtype, tuple(shape), order="F" if fortran else "C", span=(start + end, stop))
    return StoredArray(path, str(path), tuple(shape), dtype, load)


@lru_cache(maxsize=4096)
def _parse(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd literals warn before they fail
        shape, fortran, dtype = _HEADER_READERS[header[6]](io.BytesIO(header[8:]), max_header_size=_MAX_HEADER)
    return shape, fortran, dtype


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], *, order: Any, span: tuple[int, int]) -> Any:
    if path.stat().st_size < span[1]:
        raise UserError(f"{path} has become shorter since it was opened; start again")
    return np.memmap(path, dtype, "r", offset=span[0], shape=shape, order=order)


def _read_member(path: Path, member: str) -> Any:
    with np.load(path, allow_pickle=False, max_header_size=_MAX_HEADER) as archive:
        return archive[member]


def _read_pickled(path: Path, keys: tuple[str, ...]) -> Any:
    value: Any = read_pickle_arrays(path)
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"cannot read {path}: {type(error).__name__}: {error}")
