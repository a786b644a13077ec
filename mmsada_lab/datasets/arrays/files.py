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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol

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


class StoredArray(Protocol):
    """An array in a file: small, picklable, and checked against the file when it was located."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""

    def open(self) -> NDArray[Any]:
        """The array, memory-mapped where the file allows it.

        Raises:
            UserError: the file has changed, or its content is damaged.
        """


@dataclass(frozen=True, slots=True)
class MappedArray:
    """An array that lies in a file byte by byte, from `start`: a `.npy` file or an uncompressed member."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int
    stop: int

    @property
    def place(self) -> str:
        """The file."""
        return str(self.path)

    def open(self) -> NDArray[Any]:
        """The array, memory-mapped and read-only."""
        try:
            if self.path.stat().st_size < self.stop:
                raise UserError(f"{self.path} has become shorter since it was opened; start again")
            order: Any = "F" if self.fortran else "C"
            return np.memmap(self.path, self.dtype, "r", offset=self.start, shape=self.shape, order=order)
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True, slots=True)
class CompressedArray:
    """A compressed member of an `.npz`: it has to be read as a whole."""

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def place(self) -> str:
        """File and member."""
        return f"{self.path} ({self.member})"

    def open(self) -> NDArray[Any]:
        """The array, in memory."""
        try:
            with np.load(self.path, allow_pickle=False, max_header_size=_MAX_HEADER) as archive:
                array: NDArray[Any] = archive[self.member]
        except Exception as error:  # zipfile, zlib and NumPy each have errors of their own for damaged content
            raise _unreadable(self.path, error) from error
        if array.shape != self.shape or array.dtype != self.dtype:
            raise UserError(f"{self.path} has changed since it was opened; start again")
        return array


@dataclass(frozen=True, slots=True)
class PickledArray:
    """An array in a pickled dict, at the end of a path of keys."""

    path: Path
    keys: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def place(self) -> str:
        """File and keys."""
        return f"{self.path} ({', '.join(self.keys)})"

    def open(self) -> NDArray[Any]:
        """The array, memory-mapped unless the pickle is of protocol 2."""
        value: Any = read_pickle_arrays(self.path)
        for key in self.keys:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, np.ndarray) or value.shape != self.shape or value.dtype != self.dtype:
            raise UserError(f"{self.path} has changed since it was opened; start again")
        return value


def locate_npy(path: Path) -> MappedArray:
    """Read the header of a `.npy` file and compare it with the size of the file.

    Raises:
        UserError: not a `.npy` file, one of objects or records, or one whose size does not fit its header.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _mapped(path, file.read(_HEAD), stop=os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise _unreadable(path, error) from error


def locate_npz(path: Path, members: Sequence[str]) -> list[MappedArray | CompressedArray]:
    """Read the headers of members of an `.npz`, by name and in this order.

    Raises:
        UserError: not an `.npz`, a member is missing, or one is damaged as far as its header tells.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            lacking = [member for member in members if member not in names]
            if lacking:
                raise UserError(f"{path} lacks the arrays {', '.join(lacking)}; found {', '.join(names) or 'none'}")
            return [_member(path, archive, file, member=member) for member in members]
    except UserError:
        raise
    except Exception as error:  # zipfile raises errors of many kinds on a damaged directory
        raise _unreadable(path, error) from error


def _member(path: Path, archive: zipfile.ZipFile, file: BinaryIO, *, member: str) -> MappedArray | CompressedArray:
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
    content_header = _mapped(path, head, stop=entry.file_size)
    return CompressedArray(path, member, content_header.shape, content_header.dtype)


def _mapped(path: Path, head: bytes, *, stop: int, start: int = 0) -> MappedArray:
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
    return MappedArray(path, tuple(shape), dtype, fortran, start + end, stop)


@lru_cache(maxsize=4096)
def _parse(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd literals warn before they fail
        shape, fortran, dtype = _HEADER_READERS[header[6]](io.BytesIO(header[8:]), max_header_size=_MAX_HEADER)
    return shape, fortran, dtype


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"cannot read {path}: {type(error).__name__}: {error}")
