"""The digest of a data set of frames: it changes when the data do, at the price of a few thousand file sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mmsada_lab.datasets.epic.frame_files import Place, any_frame
from mmsada_lab.datasets.epic.jpeg_reader import JpegReader

_SIZES_PER_TRACK = 64


def data_digest(table: pd.DataFrame, *, classes: tuple[str, ...], readers: Mapping[str, JpegReader]) -> str:
    """SHA-256 over the segments, the flow index and the sizes of frame files; no folder is listed, no content read.

    Of a tar the size counts; of a folder the sizes of at most 64 frames a track, spread over the video's segments:
    a change to a frame between them, or one that keeps its size, goes unseen.
    """
    shown = table.drop(columns=["verb", "participant", "further"])  # verbs count through the class names
    found = hashlib.sha256("\t".join(classes).encode())
    found.update(shown.to_csv(index=False, lineterminator="\n").encode())
    spans = table.groupby("video").agg(first=("start", "min"), last=("stop", "max"))
    for modality, reader in readers.items():
        found.update(f"{modality} {reader.index}\n".encode())
        for line in _frame_lines(reader, spans):
            found.update(f"{line}\n".encode())
    return found.hexdigest()


def _frame_lines(reader: JpegReader, spans: pd.DataFrame) -> Iterator[str]:
    for video, first, last in spans.itertuples():
        yield str(video)
        if video not in reader.places:
            yield "missing"
            continue
        frames = np.linspace(first, last, _SIZES_PER_TRACK).astype(np.int64)
        yield from sample_sizes(reader.places[video], np.unique(reader.index.files(frames)).tolist())


def sample_sizes(place: Place, numbers: Iterable[int]) -> Iterator[str]:
    """Lines that change when a video's files do, for a digest; lists no folder and reads no content.

    Of a tar it is the size; of a folder the sizes of the files at the given frame numbers, ``-`` where there is none.
    """
    if place.tar:
        yield f"tar {place.path.stat().st_size}"
        return
    numbers = list(numbers)
    for series in place.series:
        match = any_frame(place.path, series)
        if match is None:
            continue
        folder, suffix = place.path / series.folder, match[0][match.end(1) :]
        sizes = (_size(folder, match[0][: match.start(1)], n, len(match[1]), suffix) for n in numbers)
        yield f"{series.shown} {' '.join(sizes)}"


def _size(folder: Path, stem: str, number: int, width: int, suffix: str) -> str:
    """Size of a frame's file, its number with leading zeros or without."""
    for digits in dict.fromkeys((f"{number:0{width}d}", str(number))):
        try:
            return str((folder / f"{stem}{digits}{suffix}").stat().st_size)
        except OSError:
            continue
    return "-"
