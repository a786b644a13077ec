"""How the procedural kitchens lie on disk: one folder per version, written whole or not at all.

A folder holds one .npy per domain, split and modality (all videos end to end), `segments.csv` and, written last,
`complete.json` with the size of every file.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Kind, Reader, Segment
from mmsada_lab.errors import UserError

Frames = NDArray[np.uint8]

SPLITS = ("train", "test")
CHANNELS = {"rgb": 3, "flow": 2}
HEIGHT, WIDTH = 36, 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `segments.csv`: a segment, its frames, and how many pictures its video has per modality."""

    uid: str
    domain: str
    split: str
    label: int
    start: int
    stop: int
    rgb: int
    flow: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a video lies: file name, row of its first picture, number of pictures."""

    file: str
    first: int
    count: int


class StoredReader:
    """Reads one modality of one kitchen from memory-mapped files, opened when first needed.

    A frame before the first or after the last of its video is answered by that one, so that windows longer
    than a segment can be had.
    """

    kind: Kind = "video"

    def __init__(self, folder: Path, videos: Mapping[str, Stretch], *, modality: str) -> None:
        self.channels = CHANNELS[modality]
        self.mirror_negates: tuple[int, ...] = (0,) if modality == "flow" else ()
        self._folder, self._videos = folder, dict(videos)
        self._stride = 2 if modality == "flow" else 1
        self._open: dict[str, Frames] = {}

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """Pictures at the given RGB frame numbers (from 1), `(T, 36, 64, C)`; flow k (from 1) stands at frame 2k."""
        stretch = self._stretch(segment)
        rows = np.clip(np.asarray(frames) // self._stride - 1, 0, stretch.count - 1)
        return np.asarray(self._file(stretch.file)[stretch.first + rows])

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last RGB frame number that has a picture."""
        return self._stride, self._stretch(segment).count * self._stride + self._stride - 1

    def _stretch(self, segment: Segment) -> Stretch:
        if segment.video not in self._videos:
            raise UserError(
                f"no video {segment.video!r} in {self._folder}; segments of one kitchen have readers of their own"
            )
        return self._videos[segment.video]

    def _file(self, name: str) -> Frames:
        if name not in self._open:
            self._open[name] = np.load(self._folder / name, mmap_mode="r")
        return self._open[name]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def publish(folder: Path, entries: Sequence[Entry], make: Callable[[], Iterable[Mapping[str, Frames]]]) -> None:
    """Make a folder unless it is there, complete. Safe when several processes do so at once.

    Args:
        folder: where it shall be.
        entries: what it will hold, in order.
        make: called only if the folder is missing; yields the pictures of every entry, by modality.
    """
    if is_complete(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(draft, entries, make())
        _settle(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """Whether every file of the folder is there in full."""
    seal = folder / "complete.json"
    try:
        sizes = json.loads(seal.read_text())
        return "segments.csv" in sizes and all((folder / n).stat().st_size == size for n, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def load_entries(folder: Path) -> list[Entry]:
    """Read `segments.csv`."""
    with (folder / "segments.csv").open(newline="") as file:
        numbers = {f.name for f in fields(Entry) if f.type == "int"}
        return [Entry(**{k: int(v) if k in numbers else v for k, v in row.items()}) for row in csv.DictReader(file)]  # type: ignore[arg-type]


def readers(folder: Path, entries: Sequence[Entry]) -> dict[str, Reader]:
    """A reader per modality of the videos of these entries (those of one domain, in order of storage)."""
    return {m: StoredReader(folder, _stretches(entries, m), modality=m) for m in CHANNELS}


def _stretches(entries: Sequence[Entry], modality: str) -> dict[str, Stretch]:
    ends: dict[str, int] = {}
    videos = {}
    for entry in entries:
        file, count = _file_name(entry, modality), int(getattr(entry, modality))
        videos[entry.uid] = Stretch(file, ends.get(file, 0), count)
        ends[file] = ends.get(file, 0) + count
    return videos


def _file_name(entry: Entry, modality: str) -> str:
    return f"{entry.domain}_{entry.split}_{modality}.npy"


def _write(draft: Path, entries: Sequence[Entry], made: Iterable[Mapping[str, Frames]]) -> None:
    places = {m: _stretches(entries, m) for m in CHANNELS}
    files = {}
    for modality, videos in places.items():
        for name in {s.file for s in videos.values()}:
            rows = max(s.first + s.count for s in videos.values() if s.file == name)
            shape = (rows, HEIGHT, WIDTH, CHANNELS[modality])
            files[name] = np.lib.format.open_memmap(draft / name, mode="w+", dtype=np.uint8, shape=shape)
    for entry, pictures in zip(entries, made, strict=True):
        for modality, videos in places.items():
            place = videos[entry.uid]
            files[place.file][place.first : place.first + place.count] = pictures[modality]
    for file in files.values():
        file.flush()
    _write_index(draft, entries)


def _write_index(draft: Path, entries: Sequence[Entry]) -> None:
    with (draft / "segments.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [f.name for f in fields(Entry)])
        table.writeheader()
        table.writerows(asdict(e) for e in entries)
    sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
    (draft / "complete.json").write_text(json.dumps(sizes, indent=1))


def _settle(draft: Path, folder: Path) -> None:
    """Give the finished draft its name; whoever comes second leaves the first one's folder alone."""
    if folder.exists() and not is_complete(folder):
        broken = Path(tempfile.mkdtemp(prefix=".broken-", dir=folder.parent))
        os.replace(folder, broken)
        shutil.rmtree(broken, ignore_errors=True)
    draft.chmod(0o755)
    try:
        os.replace(draft, folder)
    except OSError:
        if not is_complete(folder):
            raise
