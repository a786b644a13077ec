"""The internal form of every data set: segments, one reader per modality, domains.

Whatever the door (embedded kitchens, EPIC-Kitchens, ...), the rest of the package sees only this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.errors import unknown

Frames = NDArray[np.uint8]
"""Frames of one modality, `(T, H, W, C)`, 8 bits a channel."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An action segment: a labelled (or unlabelled) stretch of a video.

    Attributes:
        uid: unique within the data set.
        video: the video it is cut from.
        start: its first RGB frame, numbered from 1.
        stop: its last RGB frame, inclusive.
        label: index into `DataSource.classes`; None where unknown or withheld.
    """

    uid: str
    video: str
    start: int
    stop: int
    label: int | None = None


class FrameReader(Protocol):
    """Reads frames of one modality. Picklable, so that worker processes can have one each.

    Attributes:
        channels: C of the frames it returns (3 for RGB, 2 for flow u and v).
        mirror_negates: channels that change sign when the picture is mirrored
            (u of optical flow: `(0,)`); stored as 8 bits, x becomes 255 - x.
    """

    channels: int
    mirror_negates: tuple[int, ...]

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """Return the frames that stand at the given *RGB frame numbers* (from 1), `(T, H, W, C)`.

        The reader maps RGB frame numbers to its own index (flow at stride 2: `n // 2`).
        """
        ...


@dataclass(frozen=True)
class Domain:
    """One environment: a reader per modality and its training and test segments."""

    name: str
    readers: Mapping[str, FrameReader]
    train: tuple[Segment, ...]
    test: tuple[Segment, ...]

    def unlabelled(self) -> Domain:
        """The same domain with every training label withheld: all that adaptation may see."""
        return replace(self, train=tuple(replace(s, label=None) for s in self.train))


@dataclass(frozen=True)
class DataSource:
    """A data set of several domains over one set of classes.

    Attributes:
        name: short name, safe as a folder name (``"kitchens"``, ``"epic-utd_video"``).
        classes: class names; a label is an index into them.
        domains: by name.
        digest: changes whenever the data do.
        in_memory: whether frames come from memory (or memory-mapped files), so that processes which read ahead
            would cost more than they save.
    """

    name: str
    classes: tuple[str, ...]
    domains: Mapping[str, Domain]
    digest: str
    in_memory: bool = False

    def domain(self, name: str) -> Domain:
        """Return a domain by name, or raise `UserError` with the names there are."""
        if name not in self.domains:
            raise unknown("domain", name, self.domains)
        return self.domains[name]
