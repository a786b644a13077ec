"""The internal form of every data set: segments, one reader per modality, domains.

Whatever the door (embedded kitchens, EPIC-Kitchens, ...), the rest of the package sees only this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.errors import unknown

Frames = NDArray[np.uint8]
"""Frames of a video, `(T, H, W, C)`, 8 bits a channel."""

Kind = Literal["video", "series", "vector"]
"""What a modality is: 8-bit pictures in time, any other numbers in time, or one vector a segment."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An action segment: a labelled (or unlabelled) stretch of a video.

    Attributes:
        uid: unique within the data set.
        video: the video it is cut from.
        start: its first frame on the clock, numbered from 1. The clock is common to all modalities: RGB frames of
            a video, samples of the modality that has most of them in a folder of arrays.
        stop: its last frame on the clock, inclusive.
        label: index into `MultiDomainData.classes`; None where unknown or withheld.
        further: what else its table says of it: (column, value) pairs.
    """

    uid: str
    video: str
    start: int
    stop: int
    label: int | None = None
    further: tuple[tuple[str, str], ...] = ()


class Reader(Protocol):
    """Reads one modality. Picklable, so that worker processes can have one each.

    Attributes:
        kind: ``video``: `(T, H, W, C)` uint8; ``series``: `(T, C)` float32; ``vector``: `(T, C)` float32 whose rows
            are all equal.
        channels: C of what it returns (3 for RGB, 2 for flow u and v, 6 for an inertial sensor; dimensions beyond
            time are flattened: 60 for 20 joints in space).
        mirror_negates: channels that change sign when the picture is mirrored
            (u of optical flow: `(0,)`); stored as 8 bits, x becomes 255 - x. Empty for other kinds.
    """

    kind: Kind
    channels: int
    mirror_negates: tuple[int, ...]

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[Any]:
        """Return what stands at the given *clock numbers* (RGB frames from 1), `(T,)`, in their order.

        The reader maps them to its own index (flow at stride 2: `n // 2`); before the first and after the last
        there is, it gives that one.

        Raises:
            UserError: naming file and segment, if something in between is missing, damaged or not finite.
        """
        ...

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last clock number (inclusive) at which this modality has something for the segment's video.

        Raises:
            UserError: if it has nothing.
        """
        ...


Picture = tuple[int, list[int], Frames]
"""Part of a clip: its first channel, its times, and the pixels `(H, W, c)` that are there."""


def pictures_of(reader: Reader, segment: Segment, frames: NDArray[np.int64]) -> Iterator[Picture]:
    """What a reader of video returns, picture by picture: a picture may only be used until the next one comes.

    A reader that makes them one by one, such as one that decodes, has a method `pictures` of its own. Nothing then has
    to hold all frames of a clip at their full size, and a picture is worked on while the processor's cache has it.
    """
    one_by_one = getattr(reader, "pictures", None)
    if one_by_one is not None:
        yield from one_by_one(segment, frames)
        return
    for time, picture in enumerate(reader.read(segment, frames)):
        yield 0, [time], picture


@dataclass(frozen=True)
class Domain:
    """One environment: a reader per modality and its training and test segments.

    Either may be empty, and any segment may be without a label; an experiment checks that it has what it needs.
    """

    name: str
    readers: Mapping[str, Reader]
    train: tuple[Segment, ...]
    test: tuple[Segment, ...]

    def unlabelled(self) -> Domain:
        """The same domain with every training label withheld: all that adaptation may see."""
        return replace(self, train=tuple(replace(s, label=None) for s in self.train))


@dataclass(frozen=True)
class MultiDomainData:
    """A data set of several domains over one set of classes.

    Attributes:
        name: short name, safe as a folder name (``"kitchens"``, ``"epic-utd_video"``).
        classes: class names; a label is an index into them.
        domains: by name.
        digest: changes whenever the data do.
        in_memory: whether frames come from memory (or memory-mapped files), so that processes which read ahead
            would cost more than they save.
        notes: what a user should be told before a run, such as how many segments were dropped and why.
    """

    name: str
    classes: tuple[str, ...]
    domains: Mapping[str, Domain]
    digest: str
    in_memory: bool = False
    notes: tuple[str, ...] = ()

    def domain(self, name: str) -> Domain:
        """Return a domain by name, or raise `UserError` with the names there are."""
        if name not in self.domains:
            raise unknown("domain", name, self.domains)
        return self.domains[name]
