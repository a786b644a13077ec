"""The digest of a data set of frames: it changes when the data do, at the price of a few thousand file sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from mmsada_lab.datasets.epic.frame_files import FrameLocation, any_frame
from mmsada_lab.datasets.epic.jpeg_reader import JpegReader

_SIZES_PER_TRACK = 64


def data_digest(table: pd.DataFrame, *, classes: tuple[str, ...], readers: Mapping[str, JpegReader]) -> str:
    """SHA-256 over the segments, the flow index and the sizes of frame files; no folder is listed, no content read.

    Of a tar the size counts; of a folder the sizes of at most 64 frames a track, spread over the video's segments:
    a change to a frame between them, or one that keeps its size, goes unseen.
    """
    columns = table.drop(columns=["verb", "participant", "further"])  # verbs count through the class names
    digest = hashlib.sha256("\t".join(classes).encode())
    digest.update(columns.to_csv(index=False, lineterminator="\n").encode())
    spans = table.groupby("video").agg(first=("start", "min"), last=("stop", "max"))
    for modality, reader in readers.items():
        digest.update(f"{modality} {reader.index}\n".encode())
        for line in _frame_lines(reader, spans):
            digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _frame_lines(reader: JpegReader, spans: pd.DataFrame) -> Iterator[str]:
    for video, first, last in spans.itertuples():
        yield str(video)
        if video not in reader.locations:
            yield "missing"
            continue
        frames = np.linspace(first, last, _SIZES_PER_TRACK).astype(np.int64)
        yield from sample_sizes(reader.locations[video], np.unique(reader.file_numbers(frames)).tolist())


def sample_sizes(location: FrameLocation, numbers: Sequence[int]) -> Iterator[str]:
    """Lines that change when a video's files do, for a digest; lists no folder and reads no content.

    Of a tar it is the size; of a folder the sizes of the files at the given frame numbers, ``-`` where there is none.
    """
    if location.tar:
        yield f"tar {location.path.stat().st_size}"
        return
    for pattern in location.patterns:
        match = any_frame(location.path, pattern)
        if match is None:
            continue
        folder, suffix = location.path / pattern.folder, match[0][match.end(1) :]
        sizes = (_size(folder, match[0][: match.start(1)], n, len(match[1]), suffix) for n in numbers)
        yield f"{pattern} {' '.join(sizes)}"


def _size(folder: Path, stem: str, number: int, width: int, suffix: str) -> str:
    """Size of a frame's file, its number with leading zeros or without."""
    for digits in dict.fromkeys((f"{number:0{width}d}", str(number))):
        with suppress(OSError):
            return str((folder / f"{stem}{digits}{suffix}").stat().st_size)
    return "-"
