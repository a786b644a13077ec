"""How the procedural kitchens lie in the cache: one folder per version, written whole or not at all.

A folder holds one .npy per domain, split and modality (all videos end to end), `segments.csv` and, written last,
`complete.json` with the size of every file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Frames, Kind, Reader, Segment
from mmsada_lab.datasets.flow import STRIDE
from mmsada_lab.datasets.kitchens.canvas import HEIGHT, WIDTH
from mmsada_lab.datasets.tables import SEGMENTS_CSV, read_table, write_segments
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_folder

CHANNELS = {"rgb": 3, "flow": 2}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `segments.csv`: a segment, its frames, and how many images its video has per modality."""

    uid: str
    domain: str
    split: str
    label: int
    start: int
    stop: int
    rgb: int
    flow: int


@dataclass(frozen=True, slots=True)
class VideoRows:
    """Where a video lies: file name, row of its first image, number of images."""

    file: str
    first: int
    count: int


class StoredReader:
    """Reads one modality of one kitchen from memory-mapped files, opened when first needed.

    Numbers before the first or after the last frame of a video give that frame: windows may be longer than a segment.
    """

    kind: Kind = "video"

    def __init__(self, folder: Path, videos: Mapping[str, VideoRows], *, modality: str) -> None:
        self.channels = CHANNELS[modality]
        self.mirror_negates: tuple[int, ...] = (0,) if modality == "flow" else ()
        self._folder, self._videos = folder, dict(videos)
        self._stride = STRIDE if modality == "flow" else 1
        self._open: dict[str, Frames] = {}

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """Images at the given RGB frame numbers (from 1), `(T, 36, 64, C)`; flow k (from 1) belongs to frame 2k."""
        video = self._video(segment)
        rows = np.clip(np.asarray(frames) // self._stride - 1, 0, video.count - 1)
        if video.file not in self._open:
            self._open[video.file] = np.load(self._folder / video.file, mmap_mode="r")
        return np.asarray(self._open[video.file][video.first + rows])

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last RGB frame number that has an image."""
        return self._stride, self._video(segment).count * self._stride + self._stride - 1

    def _video(self, segment: Segment) -> VideoRows:
        if segment.video not in self._videos:
            reason = "segments of one kitchen have readers of their own"
            raise UserError(f"no video {segment.video!r} in {self._folder}; {reason}")
        return self._videos[segment.video]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def ensure_folder(folder: Path, entries: Sequence[Entry], render: Callable[[], Iterable[Mapping[str, Frames]]]) -> None:
    """Write a folder of these entries unless it is there, complete. Safe when several processes do so at once.

    `render` is called only if the folder is missing; it yields the frames of every entry, by modality.
    """
    if is_complete(folder):
        return
    try:
        with write_folder(folder, replace=folder.exists()) as draft:
            _write(draft, entries, render())
    except FileExistsError:
        if not is_complete(folder):  # else another process was faster
            raise


def is_complete(folder: Path) -> bool:
    """Whether every file of the folder is there in full."""
    try:
        sizes = json.loads((folder / "complete.json").read_text())
        return SEGMENTS_CSV in sizes and all((folder / n).stat().st_size == size for n, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def load_entries(folder: Path) -> list[Entry]:
    """Read `segments.csv`."""
    types = {field.name: int if field.type == "int" else str for field in fields(Entry)}
    table = read_table(folder / SEGMENTS_CSV)[list(types)].astype(types)
    return [Entry(*row) for row in table.itertuples(index=False)]


def open_readers(folder: Path, entries: Sequence[Entry]) -> dict[str, Reader]:
    """A reader per modality of the videos of these entries (those of one domain, in order of storage)."""
    return {m: StoredReader(folder, _locate_videos(entries, m), modality=m) for m in CHANNELS}


def _locate_videos(entries: Sequence[Entry], modality: str) -> dict[str, VideoRows]:
    ends, videos = Counter[str](), {}
    for entry in entries:
        file, count = f"{entry.domain}_{entry.split}_{modality}.npy", int(getattr(entry, modality))
        videos[entry.uid] = VideoRows(file, ends[file], count)
        ends[file] += count
    return videos


def _write(draft: Path, entries: Sequence[Entry], rendered: Iterable[Mapping[str, Frames]]) -> None:
    videos = {modality: _locate_videos(entries, modality) for modality in CHANNELS}
    files = {}
    for modality, rows_of in videos.items():
        ends = {rows.file: rows.first + rows.count for rows in rows_of.values()}
        for name, end in ends.items():
            shape = (end, HEIGHT, WIDTH, CHANNELS[modality])
            files[name] = np.lib.format.open_memmap(draft / name, mode="w+", dtype=np.uint8, shape=shape)
    for entry, frames in zip(entries, rendered, strict=True):
        for modality, rows_of in videos.items():
            rows = rows_of[entry.uid]
            files[rows.file][rows.first : rows.first + rows.count] = frames[modality]
    for file in files.values():
        file.flush()
    write_segments(draft / SEGMENTS_CSV, pd.DataFrame(map(asdict, entries)))
    sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
    (draft / "complete.json").write_text(json.dumps(sizes, indent=1))
