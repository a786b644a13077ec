"""Readers of arrays: what kind of modality an array is, and which sample of it belongs to which number of the clock.

A segment has a clock of its own, 1 to L, where L is the largest number of samples any of its modalities has. A
modality with T samples has at clock number n the sample floor((n - 1) T / L), counted from 0: all modalities begin
and end together, whatever their rates. A vector belongs to every number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Kind, Segment
from mmsada_lab.datasets.arrays.files import StoredArray, locate_npy
from mmsada_lab.errors import UserError


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """What the segments of a modality have in common: C and the shape of a sample, `(H, W, C)`, `(20, 3)` or `(F,)`."""

    kind: Kind
    channels: int
    shape: tuple[int, ...]


def sample_spec(dtype: np.dtype[Any], shape: Sequence[int], place: str) -> SampleSpec:
    """Tell what an array of one segment is: 8-bit `(T, H, W)` or `(T, H, W, C)` a video, `(F,)` a vector, or a series.

    `UserError`: the array is empty, or holds something else than real numbers.
    """
    if dtype.kind not in "fiub":
        raise UserError(f"{place} holds {dtype}; a modality holds integers or real numbers, so convert it")
    if not shape or math.prod(shape) == 0:
        raise UserError(f"{place} has shape {tuple(shape)} for a segment; give (F,) or (T, ...), none of them empty")
    if len(shape) == 1:
        return SampleSpec("vector", shape[0], tuple(shape))
    if dtype == np.uint8 and len(shape) in (3, 4):
        return SampleSpec("video", shape[3] if len(shape) == 4 else 1, tuple(shape[1:]))
    return SampleSpec("series", math.prod(shape[1:]), tuple(shape[1:]))


class ArrayReader(ABC):
    """Reads one modality from arrays: all segments of any domain.

    `lengths` are numbers of samples T by uid, 1 of a vector; a segment that is not there lacks the modality.
    """

    mirror_negates: tuple[int, ...] = ()

    def __init__(self, spec: SampleSpec, lengths: Mapping[str, int]) -> None:
        self._spec, self.lengths = spec, dict(lengths)
        self.kind: Kind = spec.kind
        self.channels = spec.channels

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[Any]:
        """Samples at clock numbers, `(T, H, W, C)` uint8 or `(T, C)` float32; one not finite is a `UserError`."""
        samples = self._samples(segment.uid)
        if self.kind == "vector":
            vector = self._finite(samples[None], segment.uid, index=np.zeros(1, np.int64))  # (1, F)
            return np.repeat(vector, len(frames), axis=0)  # (T, F)
        length = len(samples)
        index = ((np.asarray(frames, dtype=np.int64) - 1) * length // segment.stop).clip(0, length - 1)
        picked = np.asarray(samples[index])  # (T, ...)
        if self.kind == "video":
            return picked.reshape(*picked.shape[:3], self.channels)  # (T, H, W, C)
        return self._finite(picked, segment.uid, index=index)

    def extent(self, segment: Segment) -> tuple[int, int]:
        """The whole clock of the segment: an array holds nothing before or after it."""
        return 1, segment.stop

    def length(self, segment: Segment) -> int:
        """The number of samples of a segment."""
        return self.lengths[segment.uid]

    @abstractmethod
    def place(self, uid: str) -> str:
        """The file a segment's samples are in, for messages."""

    def explain_absence(self, uid: str) -> str:
        """Where a segment that lacks this modality was looked for."""
        return f"nothing in {self.place(uid)}"

    @abstractmethod
    def _samples(self, uid: str) -> NDArray[Any]:
        """All samples of a segment, `(T, ...)` or `(F,)`."""

    def _finite(self, samples: NDArray[Any], uid: str, *, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Samples as `(T, C)` float32, refused where not finite; `index` is their position in the segment."""
        with np.errstate(all="ignore"):  # what does not fit becomes inf, and is refused
            values = np.asarray(samples, dtype=np.float32).reshape(len(samples), self.channels)  # (T, C)
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = np.unravel_index(np.argmax(bad), bad.shape)
            where = f"value {column}" if self.kind == "vector" else f"sample {index[row]}, value {column}"
            raise UserError(
                f"{self.place(uid)}, segment {uid}: {values[row, column]} at {where} (counted from 0); "
                "correct it, or take the segment out of the table"
            )
        return values


class StackedReader(ArrayReader):
    """Reads segments that are rows of one array or a few, each `(N, ...)` and opened when first needed.

    Args:
        arrays: the arrays.
        rows: uid -> (index of its array, row in it).
        spec: what each row is.
        nan_rows: whether a segment whose row is nothing but NaN lacks the modality.
    """

    def __init__(
        self,
        arrays: Sequence[StoredArray],
        rows: Mapping[str, tuple[int, int]],
        *,
        spec: SampleSpec,
        nan_rows: bool = False,
    ) -> None:
        self.arrays, self.rows = tuple(arrays), dict(rows)
        self._open: dict[int, NDArray[Any]] = {}
        lengths = [1 if spec.kind == "vector" else array.shape[1] for array in arrays]
        blank = self._blank_rows() if nan_rows else set()
        super().__init__(spec, {uid: lengths[index] for uid, (index, _) in rows.items() if uid not in blank})

    def place(self, uid: str) -> str:
        """File and row."""
        index, row = self.rows[uid]
        return f"{self.arrays[index].place}, row {row}"

    def explain_absence(self, uid: str) -> str:
        """A row of NaN, or no row at all."""
        if uid in self.rows:
            return f"{self.place(uid)} is all NaN"
        return f"nothing in {', '.join(array.place for array in self.arrays)}"

    def _blank_rows(self) -> set[str]:
        """Uids whose row is nothing but NaN; only the first number of most rows is read."""
        blank = set()
        for index, stored in enumerate(self.arrays):
            if stored.dtype.kind != "f":
                continue
            array = self._array(index)
            first: Any = (slice(None), *[0] * (array.ndim - 1))
            candidates = np.isnan(array[first])  # (N,)
            rows = {uid: row for uid, (number, row) in self.rows.items() if number == index and candidates[row]}
            blank |= {uid for uid, row in rows.items() if np.isnan(array[row]).all()}
        return blank

    def _samples(self, uid: str) -> NDArray[Any]:
        index, row = self.rows[uid]
        return np.asarray(self._array(index)[row])

    def _array(self, index: int) -> NDArray[Any]:
        if index not in self._open:
            self._open[index] = self.arrays[index].open()
        return self._open[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


class FolderReader(ArrayReader):
    """Reads segments that have a file each, `folder/uid.npy`; with `keep`, each once."""

    def __init__(self, folder: Path, lengths: Mapping[str, int], *, spec: SampleSpec, keep: bool) -> None:
        super().__init__(spec, lengths)
        self.folder, self._keep = folder, keep
        self._kept: dict[str, NDArray[Any]] = {}

    def place(self, uid: str) -> str:
        """The file."""
        return str(self.folder / f"{uid}.npy")

    def _samples(self, uid: str) -> NDArray[Any]:
        if uid in self._kept:
            return self._kept[uid]
        stored = locate_npy(Path(self.place(uid)))
        spec = sample_spec(stored.dtype, stored.shape, stored.place)
        if spec != self._spec or self.lengths[uid] != (1 if self.kind == "vector" else stored.shape[0]):
            raise UserError(f"{stored.place} has changed since the data set was opened; start again")
        samples = stored.open()
        if self._keep:
            samples = self._kept[uid] = np.array(samples)
        return samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}
