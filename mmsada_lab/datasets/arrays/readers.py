"""Readers of arrays: what kind of modality an array is, and what of it stands at which number of the clock.

A segment has a clock of its own, 1 to L, where L is the largest number of samples any of its modalities has. A
modality with T samples has at clock number n the sample floor((n - 1) T / L), counted from 0: all modalities begin
and end together, whatever their rates. A vector stands everywhere.
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
from mmsada_lab.datasets.arrays.files import StoredArray, find_npy
from mmsada_lab.errors import UserError


@dataclass(frozen=True, slots=True)
class Layout:
    """What all segments of a modality have in common.

    Attributes:
        kind: see `segments.Kind`.
        channels: C.
        trailing: shape of a sample: `(H, W, C)`, `(20, 3)`, ...; of a vector all there is, `(F,)`.
    """

    kind: Kind
    channels: int
    trailing: tuple[int, ...]


def layout_of(dtype: np.dtype[Any], shape: Sequence[int], place: str) -> Layout:
    """Tell what an array of one segment is.

    8-bit numbers of shape `(T, H, W)` or `(T, H, W, C)` are a video, one axis of any type is a vector, and the rest,
    `(T, ...)`, is a series.

    Raises:
        UserError: an array without numbers in it, or of something else than real numbers.
    """
    if dtype.kind not in "fiub":
        raise UserError(f"{place} holds {dtype}; a modality holds integers or real numbers, so convert it")
    if not shape or math.prod(shape) == 0:
        raise UserError(f"{place} has shape {tuple(shape)} for a segment; give (F,) or (T, ...), none of them empty")
    if len(shape) == 1:
        return Layout("vector", shape[0], tuple(shape))
    if dtype == np.uint8 and len(shape) in (3, 4):
        return Layout("video", shape[3] if len(shape) == 4 else 1, tuple(shape[1:]))
    return Layout("series", math.prod(shape[1:]), tuple(shape[1:]))


class ArrayReader(ABC):
    """Reads one modality from arrays: all segments of any domain.

    Attributes:
        kind: of the modality.
        channels: C of what it returns.
        mirror_negates: empty; what an array holds is not known.
    """

    mirror_negates: tuple[int, ...] = ()

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.kind: Kind = layout.kind
        self.channels = layout.channels

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[Any]:
        """What stands at the given clock numbers, `(T, H, W, C)` uint8 or `(T, C)` float32.

        Raises:
            UserError: naming file and segment, if the file is damaged or a number is not finite as float32.
        """
        samples = self._samples(segment.uid)
        if self.kind == "vector":
            vector = self._finite(samples[None], segment.uid, index=np.zeros(1, np.int64))
            return np.repeat(vector, len(frames), axis=0)
        length = len(samples)
        index = ((np.asarray(frames, dtype=np.int64) - 1) * length // segment.stop).clip(0, length - 1)
        picked = np.asarray(samples[index])
        if self.kind == "video":
            return picked.reshape(*picked.shape[:3], self.channels)
        return self._finite(picked, segment.uid, index=index)

    def extent(self, segment: Segment) -> tuple[int, int]:
        """The whole clock of the segment: an array holds nothing before or after it."""
        return 1, segment.stop

    def length(self, segment: Segment) -> int:
        """T, the number of samples this modality has of a segment; 1 of a vector."""
        return self.lengths()[segment.uid]

    @abstractmethod
    def lengths(self) -> Mapping[str, int]:
        """T by uid, of all segments that have this modality."""

    @abstractmethod
    def place(self, uid: str) -> str:
        """The file a segment's samples are in, for messages."""

    @abstractmethod
    def _samples(self, uid: str) -> NDArray[Any]:
        """All samples of a segment, `(T, ...)` or `(F,)`."""

    def _finite(self, samples: NDArray[Any], uid: str, *, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Samples as `(T, C)` float32, refused where not finite; `index` tells where in the segment they stand."""
        with np.errstate(all="ignore"):  # what does not fit becomes inf, and is refused as such
            found = np.asarray(samples, dtype=np.float32).reshape(len(samples), self.channels)
        bad = ~np.isfinite(found)
        if bad.any():
            row, column = np.unravel_index(np.argmax(bad), bad.shape)
            where = f"value {column}" if self.kind == "vector" else f"sample {index[row]}, value {column}"
            raise UserError(
                f"{self.place(uid)}, segment {uid}: {found[row, column]} at {where} (counted from 0); "
                "correct it, or take the segment out of the table"
            )
        return found


class StackedReader(ArrayReader):
    """Reads segments that are rows of one array or a few, each `(N, ...)` and opened when first needed.

    Args:
        parts: the arrays.
        rows: uid -> (index of its part, row in it).
        layout: what each row is.
    """

    def __init__(self, parts: Sequence[StoredArray], rows: Mapping[str, tuple[int, int]], *, layout: Layout) -> None:
        super().__init__(layout)
        self.parts, self.rows = tuple(parts), dict(rows)
        self._open: dict[int, NDArray[Any]] = {}

    def lengths(self) -> Mapping[str, int]:
        """T by uid."""
        counts = [1 if self.kind == "vector" else part.shape[1] for part in self.parts]
        return {uid: counts[part] for uid, (part, _) in self.rows.items()}

    def length(self, segment: Segment) -> int:
        """T of a segment."""
        part, _ = self.rows[segment.uid]
        return 1 if self.kind == "vector" else self.parts[part].shape[1]

    def place(self, uid: str) -> str:
        """File and row."""
        part, row = self.rows[uid]
        return f"{self.parts[part].place}, row {row}"

    def unrecorded(self) -> list[str]:
        """Uids whose row is nothing but NaN: how an array of equal rows leaves a segment out.

        Only the first number of most rows is read.
        """
        found = []
        for number, stored in enumerate(self.parts):
            if stored.dtype.kind != "f":
                continue
            array = self._part(number)
            first: Any = (slice(None), *[0] * (array.ndim - 1))
            candidates = np.isnan(array[first])
            uids = [(uid, row) for uid, (part, row) in self.rows.items() if part == number and candidates[row]]
            found += [uid for uid, row in uids if np.isnan(array[row]).all()]
        return found

    def _samples(self, uid: str) -> NDArray[Any]:
        part, row = self.rows[uid]
        samples: NDArray[Any] = self._part(part)[row]
        return samples

    def _part(self, number: int) -> NDArray[Any]:
        if number not in self._open:
            self._open[number] = self.parts[number].open()
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


class FolderReader(ArrayReader):
    """Reads segments that have a file each, `folder/uid.npy`.

    Args:
        folder: of the modality.
        lengths: T by uid, of the files that are there.
        layout: what each file holds.
        keep: whether to keep what was read in memory.
    """

    def __init__(self, folder: Path, lengths: Mapping[str, int], *, layout: Layout, keep: bool) -> None:
        super().__init__(layout)
        self.folder, self._lengths, self._keep = folder, dict(lengths), keep
        self._kept: dict[str, NDArray[Any]] = {}

    def lengths(self) -> Mapping[str, int]:
        """T by uid."""
        return self._lengths

    def place(self, uid: str) -> str:
        """The file."""
        return str(self.folder / f"{uid}.npy")

    def _samples(self, uid: str) -> NDArray[Any]:
        if uid in self._kept:
            return self._kept[uid]
        samples = self._opened(uid)
        if self._keep:
            samples = self._kept[uid] = np.array(samples)
        return samples

    def _opened(self, uid: str) -> NDArray[Any]:
        found = find_npy(Path(self.place(uid)))
        layout = layout_of(found.dtype, found.shape, found.place)
        if layout != self._layout or self._lengths[uid] != (1 if self.kind == "vector" else found.shape[0]):
            raise UserError(f"{found.place} has changed since the data set was opened; start again")
        return found.open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}
