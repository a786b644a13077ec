"""JPEG frames on disk: folders of numbered files, or one tar per video, read in place.

A *track* is one image series of a video: RGB has one, optical flow has two, u and v.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.datasets.epic.tar_index import TarIndex, index_tar
from mmsada_lab.errors import UserError


class FramePattern(NamedTuple):
    """How the files of a track are called: ``frame_0000000001.jpg`` in ``u``, or ``x_00001.jpg`` in no folder."""

    folder: str
    stem: str

    def __str__(self) -> str:
        return self.path(f"{self.stem}*.jpg")

    def path(self, name: str) -> str:
        """The path of a file below the folder or inside the tar of a video."""
        return f"{self.folder}/{name}" if self.folder else name

    def match(self, name: str) -> re.Match[str] | None:
        """Match a bare file name; group 1 is the frame number. Any number of leading zeros will do."""
        return re.fullmatch(rf"{self.stem}(\d{{1,18}})\.jpe?g", name, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FrameLocation:
    """Where one modality of one video lies: in a folder or a tar, a pattern for each track in the order of channels."""

    path: Path
    patterns: tuple[FramePattern, ...]
    tar: bool = False


@dataclass(frozen=True, slots=True)
class Track:
    """Frames of one track, in increasing number.

    Attributes:
        path: the folder or the tar that holds them.
        pattern: how its files are called.
        width: digits of the first number.
        numbers: frame numbers, `(N,)`.
        names: file names, `(N,)`, as bytes; None where they follow from numbers and width.
        spans: offset and size inside the tar, `(N, 2)`; None for a folder.
    """

    path: Path
    pattern: FramePattern
    width: int
    numbers: NDArray[np.int64]
    names: NDArray[np.bytes_] | None
    spans: NDArray[np.int64] | None

    def file_name(self, position: int) -> str:
        """The bare name of the file at a position."""
        if self.names is None:
            return _usual_name(self.pattern, int(self.numbers[position]), self.width)
        return os.fsdecode(self.names[position])

    def label(self, position: int) -> str:
        """How an error names a frame: a path, or a member inside a tar."""
        return self._label(self.file_name(position))

    def _label(self, name: str) -> str:
        inside = self.pattern.path(name)
        return str(self.path / inside) if self.spans is None else f"{self.path}: {inside}"

    def locate(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of frame numbers, `(T,)`; a missing one is a `UserError` that names the file."""
        positions = np.searchsorted(self.numbers, numbers)
        holes = numbers[self.numbers[positions] != numbers]
        if len(holes):
            missing = self._label(_usual_name(self.pattern, int(holes[0]), self.width))
            raise UserError(
                f"{missing} is missing, but there are frames before and after it; "
                "copy or extract the video's frames again"
            )
        return positions.astype(np.int64)

    def payloads(self, positions: NDArray[np.int64]) -> Iterator[bytes]:
        """The JPEG bytes at each position. Opens one file at a time and leaves none open.

        Opening a tar takes microseconds, decoding a clip milliseconds: there is no handle to share between processes
        or to run out of.
        """
        if self.spans is None:
            yield from (self._read_file(int(at)) for at in positions)
            return
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            yield from (os.pread(descriptor, size, offset) for offset, size in self.spans[positions].tolist())
        finally:
            os.close(descriptor)

    def _read_file(self, position: int) -> bytes:
        try:
            return (self.path / self.pattern.folder / self.file_name(position)).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {self.label(position)}: {error.strerror}") from error


def open_tracks(location: FrameLocation) -> tuple[Track, ...]:
    """Index the tracks of a location, once per process and state of the files; damage is a `UserError`."""
    path, patterns = location.path, location.patterns
    if location.tar:
        return _index_tar(path, patterns, _stamp(path))
    return tuple(_index_folder(path, pattern, _stamp(path / pattern.folder)) for pattern in patterns)


def has_frames(location: FrameLocation) -> bool:
    """Whether every track of a folder has a frame. Stops at the first it meets; a tar is not looked into."""
    if location.tar:
        return location.path.is_file()
    return all(any_frame(location.path, pattern) for pattern in location.patterns)


def any_frame(folder: Path, pattern: FramePattern) -> re.Match[str] | None:
    """The name of the first frame that is met in a folder, matched; None if it has none or is not there."""
    try:
        with os.scandir(folder / pattern.folder) as entries:
            return next((match for entry in entries if (match := pattern.match(entry.name))), None)
    except OSError:
        return None


def _usual_name(pattern: FramePattern, number: int, width: int) -> str:
    return f"{pattern.stem}{number:0{width}d}.jpg"


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: an index with another stamp is stale."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def _index_folder(folder: Path, pattern: FramePattern, stamp: tuple[int, int]) -> Track:
    with os.scandir(folder / pattern.folder) as entries:
        files = sorted((int(match[1]), match[0]) for entry in entries if (match := pattern.match(entry.name)))
    if not files:
        raise UserError(f"{folder} holds no frames: no {pattern} (such as {_usual_name(pattern, 1, 10)}) is there")
    numbers = np.array([number for number, _ in files], dtype=np.int64)
    width = len(files[0][1]) - len(pattern.stem) - len(".jpg")
    usual = all(name == _usual_name(pattern, number, width) for number, name in files)
    names = None if usual else np.array([os.fsencode(name) for _, name in files], dtype=np.bytes_)
    return _refuse_twice(Track(folder, pattern, width, numbers, names, None))


@lru_cache(maxsize=4096)
def _index_tar(tar: Path, patterns: tuple[FramePattern, ...], stamp: tuple[int, int]) -> tuple[Track, ...]:
    index = index_tar(tar)
    return tuple(_tar_track(tar, index, pattern) for pattern in patterns)


def _tar_track(tar: Path, index: TarIndex, pattern: FramePattern) -> Track:
    members = [_split_member(before, tar.stem) for before, _ in index.forms]
    forms = [n for n, (folder, stem) in enumerate(members) if (folder, stem.lower()) == (pattern.folder, pattern.stem)]
    rows = np.flatnonzero(np.isin(index.numbers[:, 0], forms))
    if not len(rows):
        odd = f"; {index.refused} is not followed: pack the tar with plain names" if index.refused else ""
        raise UserError(f"{tar} holds no {pattern}, at its top or in a folder {tar.stem}{odd}")
    rows = rows[np.argsort(index.numbers[rows, 1], kind="stable")]
    numbers, digits = index.numbers[rows, 1], index.numbers[rows, 2]
    names = None
    usual = [(members[n][1], index.forms[n][1]) for n in forms] == [(pattern.stem, ".jpg")]
    if not usual or not np.array_equal(digits, np.maximum(digits[0], np.char.str_len(numbers.astype(str)))):
        entries = index.numbers[rows].tolist()
        spelt = [f"{members[n][1]}{number:0{width}d}{index.forms[n][1]}" for n, number, width in entries]
        names = np.array([os.fsencode(name) for name in spelt])
    return _refuse_twice(Track(tar, pattern, int(digits[0]), numbers, names, index.spans[rows]))


def _split_member(before: str, video: str) -> tuple[str, str]:
    """Folder and stem of a member; it may stand at the top or in a folder named as the video."""
    *parents, stem = before.split("/")
    parents = [name for name in parents if name not in ("", ".")]
    return "/".join(parents[1:] if parents[:1] == [video] else parents), stem


def _refuse_twice(track: Track) -> Track:
    twice = np.flatnonzero(np.diff(track.numbers) == 0)
    if len(twice):
        at = int(twice[0])
        names = " and ".join(sorted((track.file_name(at), track.file_name(at + 1))))
        raise UserError(f"{track.path} holds frame {track.numbers[at]} twice: {names}; keep one")
    return track
