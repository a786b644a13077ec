"""JPEG frames on disk: folders of numbered files, or one tar per video, read in place.

A *track* is one picture series of a video: RGB has one, optical flow has two, u and v. A *place* is where a
video's tracks lie: one folder or one tar, with the names its layout gives them (`layouts.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.datasets.epic.tar_index import TarIndex, index_tar
from mmsada_lab.errors import UserError


class Series(NamedTuple):
    """How the files of a track are called: ``frame_0000000001.jpg`` in ``u``, or ``x_00001.jpg`` in no folder."""

    folder: str
    stem: str

    @property
    def prefix(self) -> str:
        """What stands before a frame's name."""
        return f"{self.folder}/" if self.folder else ""

    @property
    def shown(self) -> str:
        """How an error names these files."""
        return f"{self.prefix}{self.stem}*.jpg"

    def match(self, name: str) -> re.Match[str] | None:
        """Match a bare file name; group 1 is the frame number. Any number of leading zeros will do."""
        return _pattern(self.stem).fullmatch(name)


@cache
def _pattern(stem: str) -> re.Pattern[str]:
    return re.compile(rf"{stem}(\d{{1,18}})\.jpe?g", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one modality of one video lies.

    Attributes:
        path: a folder, or a tar.
        series: its tracks, in order of channels.
        tar: whether `path` is a tar.
    """

    path: Path
    series: tuple[Series, ...]
    tar: bool = False


@dataclass(frozen=True, slots=True)
class Track:
    """Frames of one picture series, in increasing number.

    Attributes:
        path: the folder or the tar that holds them.
        series: how its files are called.
        width: digits of the first number.
        numbers: frame numbers, `(N,)`.
        names: file names, `(N,)`, as bytes; None where they follow from numbers and width.
        spans: offset and size inside the tar, `(N, 2)`; None for a folder.
    """

    path: Path
    series: Series
    width: int
    numbers: NDArray[np.int64]
    names: NDArray[np.bytes_] | None
    spans: NDArray[np.int64] | None

    def file_name(self, position: int) -> str:
        """The bare name of the file at a position."""
        if self.names is None:
            return _usual_name(self.series, int(self.numbers[position]), self.width)
        return os.fsdecode(self.names[position])

    def label(self, position: int) -> str:
        """How an error names a frame: a path, or a member inside a tar."""
        return self._shown(self.file_name(position))

    def _shown(self, name: str) -> str:
        inside = f"{self.series.prefix}{name}"
        return str(self.path / inside) if self.spans is None else f"{self.path}: {inside}"

    def locate(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of frame numbers, `(T,)`; a hole is a `UserError` that names the file."""
        positions = np.searchsorted(self.numbers, numbers)
        holes = numbers[self.numbers[positions] != numbers]
        if len(holes):
            missing = self._shown(_usual_name(self.series, int(holes[0]), self.width))
            raise UserError(
                f"{missing} is missing, but there are frames before and after it; "
                "copy or extract the video's frames again"
            )
        return positions.astype(np.int64)

    def payloads(self, positions: NDArray[np.int64]) -> Iterator[bytes]:
        """The JPEG bytes at each position. Opens one file at a time and leaves none open.

        Nothing is kept open between clips: opening a tar takes microseconds, decoding a clip milliseconds,
        and so there is no handle to share between processes or to run out of.
        """
        if self.spans is None:
            yield from (self._file_bytes(int(at)) for at in positions)
            return
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            yield from (os.pread(descriptor, size, offset) for offset, size in self.spans[positions].tolist())
        finally:
            os.close(descriptor)

    def _file_bytes(self, position: int) -> bytes:
        try:
            return (self.path / self.series.folder / self.file_name(position)).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {self.label(position)}: {error.strerror}") from error


def open_tracks(place: Place) -> tuple[Track, ...]:
    """Index the tracks of a place, once per process and state of the files.

    Raises:
        UserError: a track has no frames, or a number twice; or the tar is damaged.
    """
    if place.tar:
        return _index_tar(place.path, place.series, _stamp(place.path))
    return tuple(_index_folder(place.path, s, _stamp(place.path / s.folder)) for s in place.series)


def has_frames(place: Place) -> bool:
    """Whether every track of a folder has a frame. Stops at the first it finds; a tar is not looked into."""
    if place.tar:
        return place.path.is_file()
    return all(any_frame(place.path, series) for series in place.series)


def any_frame(folder: Path, series: Series) -> re.Match[str] | None:
    """The name of the first frame that is met in a folder, matched; None if it has none or is not there."""
    try:
        with os.scandir(folder / series.folder) as entries:
            return next((match for entry in entries if (match := series.match(entry.name))), None)
    except OSError:
        return None


def _usual_name(series: Series, number: int, width: int) -> str:
    return _name(series.stem, ".jpg", number, width)


def _name(stem: str, suffix: str, number: int, width: int) -> str:
    return f"{stem}{number:0{width}d}{suffix}"


def _stamp(path: Path) -> tuple[int, int]:
    """What tells a process that an index is stale: size and time of change."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def _index_folder(folder: Path, series: Series, stamp: tuple[int, int]) -> Track:
    with os.scandir(folder / series.folder) as entries:
        found = sorted((int(m[1]), m[0]) for entry in entries if (m := series.match(entry.name)))
    if not found:
        raise UserError(f"{folder} holds no frames: no {series.shown} (such as {_usual_name(series, 1, 10)}) is there")
    numbers = np.array([number for number, _ in found], dtype=np.int64)
    width = len(found[0][1]) - len(series.stem) - len(".jpg")
    usual = all(name == _usual_name(series, number, width) for number, name in found)
    names = None if usual else np.array([os.fsencode(name) for _, name in found], dtype=np.bytes_)
    return _once_each(Track(folder, series, width, numbers, names, None))


@lru_cache(maxsize=4096)
def _index_tar(tar: Path, wanted: tuple[Series, ...], stamp: tuple[int, int]) -> tuple[Track, ...]:
    index = index_tar(tar)
    return tuple(_tar_track(tar, index, series) for series in wanted)


def _tar_track(tar: Path, index: TarIndex, series: Series) -> Track:
    parts = [_split_member(before, tar.stem) for before, _ in index.forms]
    ours = [at for at, (folder, stem) in enumerate(parts) if (folder, stem.lower()) == (series.folder, series.stem)]
    found = np.flatnonzero(np.isin(index.numbers[:, 0], ours))
    if not len(found):
        odd = f"; {index.refused} is not followed: pack the tar with plain names" if index.refused else ""
        raise UserError(f"{tar} holds no {series.shown}, at its top or in a folder {tar.stem}{odd}")
    found = found[np.argsort(index.numbers[found, 1], kind="stable")]
    numbers, digits = index.numbers[found, 1], index.numbers[found, 2]
    usual = [(parts[at][1], index.forms[at][1]) for at in ours] == [(series.stem, ".jpg")]
    names = None
    if not usual or not np.array_equal(digits, np.maximum(digits[0], _digits(numbers))):
        rows = index.numbers[found].tolist()
        names = np.array([os.fsencode(_name(parts[at][1], index.forms[at][1], n, w)) for at, n, w in rows])
    return _once_each(Track(tar, series, int(digits[0]), numbers, names, index.spans[found]))


def _digits(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many digits numbers have, `(N,)`."""
    return np.searchsorted(10 ** np.arange(1, 18), numbers, side="right").astype(np.int64) + 1


def _split_member(before: str, video: str) -> tuple[str, str]:
    """Folder and stem of a member; it may stand at the top or in a folder named as the video."""
    *parents, stem = before.split("/")
    parents = [part for part in parents if part not in ("", ".")]
    return "/".join(parents[1:] if parents[:1] == [video] else parents), stem


def _once_each(track: Track) -> Track:
    """The track, unless it has a number twice."""
    twice = np.flatnonzero(np.diff(track.numbers) == 0)
    if len(twice):
        at = int(twice[0])
        names = " and ".join(sorted((track.file_name(at), track.file_name(at + 1))))
        raise UserError(f"{track.path} holds frame {track.numbers[at]} twice: {names}; keep one")
    return track
