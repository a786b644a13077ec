"""Frames kept in memory, for data sets so small that decoding them again and again would cost more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Frames, Kind, Reader, Segment


class KeptFrames:
    """A reader that asks another one for each frame once.

    Args:
        reader: what decodes.
        stride: RGB frames per stored frame, so that neighbouring numbers share one.
        shift: RGB frame n is stored as ``(n + shift) // stride``.
    """

    kind: Kind = "video"

    def __init__(self, reader: Reader, *, stride: int = 1, shift: int = 0) -> None:
        self.channels, self.mirror_negates = reader.channels, reader.mirror_negates
        self.reader, self._stride, self._shift = reader, stride, shift
        self._kept: dict[tuple[str, int], Frames] = {}

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """The frames at the given RGB frame numbers, `(T, H, W, C)`."""
        keys = [(segment.video, (int(number) + self._shift) // self._stride) for number in frames]
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
        """As the reader that decodes has it."""
        return self.reader.extent(segment)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}


def decoded_bytes(reader: Reader, segments: Iterable[Segment], *, stride: int = 1) -> int:
    """Bytes that all frames of some segments take when decoded, judged by the size of one."""
    segments = list(segments)
    if not segments:
        return 0
    one = reader.read(segments[0], np.array([segments[0].start], dtype=np.int64))
    return one.nbytes * sum((segment.stop - segment.start) // stride + 1 for segment in segments)
