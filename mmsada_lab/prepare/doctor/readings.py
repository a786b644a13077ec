"""Reads a signal once and tells what was seen: extent, size, whether it is constant or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import CountsSamples, Reader, Segment
from mmsada_lab.clips.windows import WindowRule, centre_bounds
from mmsada_lab.errors import UserError

_FRAMES_AT_ONCE = 64


class Signal(NamedTuple):
    """One segment in one modality."""

    domain: str
    split: str
    modality: str
    segment: Segment

    @property
    def where(self) -> dict[str, str]:
        """The place of a `Finding`."""
        return {**self._asdict(), "segment": self.segment.uid}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen of a signal: a problem if it could not be read.

    Attributes:
        extent: first and last clock number of the video; None if it has nothing.
        length: number of samples, if the reader knows it.
        size: height and width of the frames.
        constant: all pixels or samples are equal; a series may hold another value in each channel.
    """

    signal: Signal
    kind: str
    extent: tuple[int, int] | None = None
    length: int | None = None
    size: tuple[int, int] | None = None
    constant: bool = False
    problem: str = ""

    @property
    def outside(self) -> bool:
        """Whether segment and video have no frame in common; the segment is not read then."""
        segment = self.signal.segment
        return self.extent is not None and (segment.start > self.extent[1] or segment.stop < self.extent[0])


def read_signal(reader: Reader, signal: Signal, *, fast: bool = False) -> Reading:
    """Read all frames of a segment and of its windows, or only its first and last; never raises."""
    reading = Reading(signal, reader.kind)
    try:
        samples = reader.length(signal.segment) if isinstance(reader, CountsSamples) else None
        reading = replace(reading, extent=reader.extent(signal.segment), length=samples)
        return reading if reading.outside else _read_frames(reader, reading, fast=fast)
    except UserError as error:
        return replace(reading, problem=str(error))
    except Exception as error:  # whatever a reader does, the other segments must still be read
        return replace(reading, problem=f"{type(error).__name__}: {error}")


def _read_frames(reader: Reader, reading: Reading, *, fast: bool) -> Reading:
    segment, first = reading.signal.segment, None
    constant = not _too_short_to_vary(reader, reading) and not (fast and reader.kind != "vector")
    for numbers in _clock_numbers(reader, segment, fast=fast):
        values = reader.read(segment, numbers)
        if problem := _malformed(values, reader, len(numbers)):
            return replace(reading, problem=problem)
        if first is None:  # a constant signal equals one value a channel, a vector one value
            first = values[0, 0] if reader.kind == "vector" else values[(0,) * (values.ndim - 1)]
        constant = constant and bool((values[0] == first).all() and (values == first).all())
    size = (int(values.shape[1]), int(values.shape[2])) if reader.kind == "video" else None
    return replace(reading, size=size, constant=constant)


def _too_short_to_vary(reader: Reader, reading: Reading) -> bool:
    """Whether there is only one sample, which is constant without being dead."""
    if reader.kind == "vector":
        return reader.channels == 1
    segment = reading.signal.segment
    return reader.kind == "series" and (reading.length == 1 or segment.start == segment.stop)


def _clock_numbers(reader: Reader, segment: Segment, *, fast: bool) -> Iterator[NDArray[np.int64]]:
    """Clock numbers to read, in chunks that fit into memory."""
    if reader.kind == "vector":
        yield np.array([segment.start], dtype=np.int64)
    elif fast:
        yield np.array([segment.start, segment.stop], dtype=np.int64)
    else:
        rule = WindowRule()
        low, high = centre_bounds(segment, rule)
        numbers = np.arange(min(segment.start, low - rule.half), max(segment.stop, high + rule.half - 1) + 1)
        chunks = -(-len(numbers) // _FRAMES_AT_ONCE) if reader.kind == "video" else 1
        yield from np.array_split(numbers.astype(np.int64), chunks)


def _malformed(values: NDArray[Any], reader: Reader, count: int) -> str:
    """What is wrong with the shape, type or values that a reader returned; empty if nothing."""
    video = reader.kind == "video"
    dtype, shape = ("uint8", "(T, H, W, C)") if video else ("float32", "(T, C)")
    right = values.ndim == shape.count(",") + 1 and values.shape[0] == count and values.shape[-1] == reader.channels
    if not right or values.dtype.name != dtype:
        wanted = f"a {reader.kind} is {dtype} {shape}, C = {reader.channels}"
        return f"the reader returned {values.dtype} {values.shape} for {count} frames; {wanted}"
    if not video and not np.isfinite(values).all():
        return "it holds values that are not finite (NaN or infinite); repair or drop the segment"
    return ""
