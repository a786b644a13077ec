"""Frames kept in memory, for data sets so small that decoding them again and again would cost more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Frames, Kind, Reader, Segment
from mmsada_lab.datasets.epic.jpeg_reader import FrameIndex


class KeptFrames:
    """A reader that asks another one for each frame once; by `index` neighbouring RGB frames may share a file."""

    kind: Kind = "video"

    def __init__(self, reader: Reader, index: FrameIndex) -> None:
        self.channels, self.mirror_negates = reader.channels, reader.mirror_negates
        self.reader, self.index = reader, index
        self._kept: dict[tuple[str, int], Frames] = {}

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """The frames at the given RGB frame numbers, `(T, H, W, C)`."""
        keys = [(segment.video, number) for number in self.file_numbers(frames).tolist()]
        missing = {key: int(n) for key, n in zip(keys, frames, strict=True) if key not in self._kept}
        if missing:
            decoded = self.reader.read(segment, np.array(list(missing.values()), dtype=np.int64))
            for key, frame in zip(missing, decoded, strict=True):
                self._kept[key] = frame.copy()
        clip = [self._kept[key] for key in keys]
        if any(frame.shape != clip[0].shape for frame in clip):
            return self.reader.read(segment, frames)  # which refuses them, and knows their files
        return np.stack(clip)

    def extent(self, segment: Segment) -> tuple[int, int]:
        """As of the reader that decodes."""
        return self.reader.extent(segment)

    def file_numbers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """File numbers of RGB frames, `(T,)`."""
        return self.index.files(frames)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}


def decoded_bytes(reader: Reader, segments: Sequence[Segment], *, stride: int = 1) -> int:
    """Bytes that all frames of some segments take when decoded, judged by the size of the first."""
    if not segments:
        return 0
    frame = reader.read(segments[0], np.array([segments[0].start], dtype=np.int64))  # (1, H, W, C)
    return frame.nbytes * sum((segment.stop - segment.start) // stride + 1 for segment in segments)
