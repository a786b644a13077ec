"""Frames kept in memory are the reader's own, each asked for once."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Frames, Segment
from mmsada_lab.datasets.epic.jpeg_reader import FrameIndex
from mmsada_lab.datasets.epic.kept_frames import KeptFrames, decoded_bytes

SEGMENT = Segment("0", "video", 3, 22)


@dataclass
class Counting:
    """Frame n of stride s shows n // s; notes what it was asked for."""

    stride: int = 1
    channels: int = 2
    mirror_negates: tuple[int, ...] = (0,)
    asked: list[int] = field(default_factory=list)

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        self.asked += frames.tolist()
        return np.stack([np.full((4, 6, self.channels), n // self.stride, dtype=np.uint8) for n in frames])


@pytest.mark.parametrize("stride", [1, 2])
def test_frames_are_the_readers_and_asked_for_once(stride: int) -> None:
    reader = Counting(stride)
    kept = KeptFrames(reader, FrameIndex(stride))
    for numbers in ([3, 4, 5, 5], [5, 4, 9], [22, 3, 8]):
        frames = np.array(numbers)
        np.testing.assert_array_equal(kept.read(SEGMENT, frames), Counting(stride).read(SEGMENT, frames))
    assert sorted(n // stride for n in reader.asked) == sorted({n // stride for n in (3, 4, 5, 9, 22, 8)})
    assert (kept.channels, kept.mirror_negates) == (2, (0,))


def test_videos_do_not_share_frames() -> None:
    reader = Counting()
    kept = KeptFrames(reader, FrameIndex())
    for video in ("one", "two"):
        kept.read(Segment("0", video, 1, 9), np.array([4]))
    assert reader.asked == [4, 4]


def test_a_copy_for_another_process_starts_empty() -> None:
    kept = KeptFrames(Counting(), FrameIndex())
    kept.read(SEGMENT, np.arange(3, 20))
    copy = pickle.loads(pickle.dumps(kept))
    assert len(pickle.dumps(copy)) < 1000
    np.testing.assert_array_equal(copy.read(SEGMENT, np.array([7])), kept.read(SEGMENT, np.array([7])))


def test_bytes_of_all_frames() -> None:
    assert decoded_bytes(Counting(), [SEGMENT, SEGMENT]) == 2 * 20 * 4 * 6 * 2
    assert decoded_bytes(Counting(2), [SEGMENT], stride=2) == 10 * 4 * 6 * 2
