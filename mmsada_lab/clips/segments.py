"""The internal form of every data set: segments, one reader per modality, domains.

Whatever the format (embedded kitchens, EPIC-Kitchens, arrays, ...), the rest of the package sees only this. A reader
is a `Reader`; `StreamsFrames`, `CountsSamples` and `NumbersFiles` are what some readers can do besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.errors import unknown

Image = NDArray[np.uint8]
"""One frame, `(H, W, C)` or grey `(H, W)`, 8 bits a channel."""

Frames = NDArray[np.uint8]
"""Frames of a video, `(T, H, W, C)`, 8 bits a channel."""

FramePart = tuple[int, list[int], Image]
"""Some channels of one frame of a clip: its first channel, its times in the clip, and its pixels `(H, W, c)`."""

Kind = Literal["video", "series", "vector"]
"""What a modality is: 8-bit images in time, any other numbers in time, or one vector a segment."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An action segment: a labelled (or unlabelled) stretch of a video.

    Attributes:
        uid: unique within the data set.
        video: the video it is cut from.
        start: its first frame, from 1, on the clock that all modalities share: RGB frames of a video, samples of the
            modality that has most of them in a folder of arrays.
        stop: its last frame on the clock, inclusive.
        label: index into `MultiDomainData.classes`; None where unknown or withheld.
        further: the other columns of its table, as (column, value) pairs.
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
        kind: ``video``: `(T, H, W, C)` uint8; ``series``: `(T, C)` float32; ``vector``: the same, with equal rows.
        channels: C of what it returns (3 for RGB, 2 for flow u and v; dimensions beyond time are flattened: 60 for
            20 joints in space).
        mirror_negates: channels that change sign in a mirror (u of optical flow: `(0,)`); stored as 8 bits, x becomes
            255 - x. Empty for other kinds.
    """

    kind: Kind
    channels: int
    mirror_negates: tuple[int, ...]

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[Any]:
        """Return the data at the given *clock numbers* (RGB frames from 1), `(T,)`, in their order.

        The reader maps them to its own index (flow at stride 2: `n // 2`); numbers outside give its first or last.

        Raises:
            UserError: naming file and segment, if something in between is missing, damaged or not finite.
        """
        ...

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last clock number (inclusive) for which the segment's video has data of this modality.

        Raises:
            UserError: if it has none.
        """
        ...


@runtime_checkable
class StreamsFrames(Protocol):
    """A reader of video that can give frames one at a time, such as one that decodes them."""

    def frame_parts(self, segment: Segment, frames: NDArray[np.int64]) -> Iterator[FramePart]:
        """The frames that `Reader.read` would return; an image may be used only until the next one comes."""
        ...


@runtime_checkable
class CountsSamples(Protocol):
    """A reader of samples that have a rate of their own."""

    def length(self, segment: Segment) -> int:
        """How many samples of this modality a segment has."""
        ...


@runtime_checkable
class NumbersFiles(Protocol):
    """A reader of frames that lie in numbered files."""

    def file_numbers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the files that are read for the given clock numbers, `(T,)`."""
        ...


def read_frame_parts(reader: Reader, segment: Segment, frames: NDArray[np.int64]) -> Iterator[FramePart]:
    """Read video frame by frame; an image may be used only until the next one comes.

    Where the reader can, only one frame is held at its full size, and worked on while it is in the processor's cache.
    """
    if isinstance(reader, StreamsFrames):
        yield from reader.frame_parts(segment, frames)
    else:
        yield from ((0, [time], image) for time, image in enumerate(reader.read(segment, frames)))


@dataclass(frozen=True)
class Domain:
    """One environment: a reader per modality and its training and test segments.

    Either may be empty, and any segment may be without a label; an experiment checks that it has what it needs.
    """

    name: str
    readers: Mapping[str, Reader]
    train: tuple[Segment, ...]
    test: tuple[Segment, ...]

    @property
    def splits(self) -> dict[str, tuple[Segment, ...]]:
        """Segments by the name of their split."""
        return {"train": self.train, "test": self.test}

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
        in_memory: whether frames come from memory (or memory-mapped files): no process need read ahead.
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
