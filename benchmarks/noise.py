"""Data that cost nothing to read: two domains of noise, for what is measured without files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, Kind, MultiDomainData, Segment

FRAME = (256, 340)


class NoiseReader:
    """Reads frames of noise that were drawn once: what a reader costs that costs nothing."""

    kind: Kind = "video"
    mirror_negates: tuple[int, ...] = ()

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._frames = np.random.default_rng(channels).integers(0, 256, (64, *FRAME, channels), dtype=np.uint8)

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames `(T, H, W, C)` at clock numbers."""
        return self._frames[np.asarray(frames) % len(self._frames)]

    def extent(self, segment: Segment) -> tuple[int, int]:
        """There is always something."""
        return 1, 10_000


def noise(segments: int) -> MultiDomainData:
    """Two domains of noise with eight classes."""
    readers = {"rgb": NoiseReader(3), "flow": NoiseReader(2)}
    domains = {
        name: Domain(name, readers, tuple(Segment(f"{name}{n}", name, 100, 200, n % 8) for n in range(segments)), ())
        for name in ("D1", "D2")
    }
    return MultiDomainData("noise", tuple("abcdefgh"), domains, "noise", in_memory=True)
