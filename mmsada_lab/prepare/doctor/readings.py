"""Readings: what the doctor learns of one segment in one modality by reading it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Reader, Segment
from mmsada_lab.clips.windows import WindowRule, centre_bounds
from mmsada_lab.errors import UserError

_CHUNK = 64


class Place(NamedTuple):
    """Where a reading was taken."""

    domain: str
    split: str
    modality: str
    segment: Segment


@dataclass(frozen=True, slots=True)
class Reading:
    """What one segment gave in one modality.

    Attributes:
        place: whose it is.
        kind: of the modality.
        extent: first and last clock number of the video; None if it has nothing.
        length: number of its own samples, where its reader tells it.
        size: height and width of its pictures.
        constant: all pixels or samples are equal; a series may hold another value in each channel.
        problem: why it cannot be read; empty if it can.
    """

    place: Place
    kind: str
    extent: tuple[int, int] | None = None
    length: int | None = None
    size: tuple[int, int] | None = None
    constant: bool = False
    problem: str = ""


def take_reading(reader: Reader, place: Place, *, fast: bool = False) -> Reading:
    """Read a segment's frames once, or only its first and last; never raises.

    All of them are the segment's own, and those around a short one which its windows take in.
    """
    reading = Reading(place, reader.kind)
    try:
        reading = replace(reading, extent=reader.extent(place.segment), length=_length(reader, place.segment))
        return reading if misses(reading) else _signal(reader, reading, fast=fast)
    except UserError as error:
        return replace(reading, problem=str(error))
    except Exception as error:  # whatever a reader does, the other segments are still to be looked at
        return replace(reading, problem=f"{type(error).__name__}: {error}")


def _length(reader: Reader, segment: Segment) -> int | None:
    length = getattr(reader, "length", None)
    return int(length(segment)) if callable(length) else None


def misses(reading: Reading) -> bool:
    """Whether segment and extent have no frame in common; the segment is not read then."""
    segment, extent = reading.place.segment, reading.extent
    return extent is not None and (segment.start > extent[1] or segment.stop < extent[0])


def _signal(reader: Reader, reading: Reading, *, fast: bool) -> Reading:
    constant, first = not fast or reader.kind == "vector", None
    for numbers in _wanted(reader, reading.place.segment, fast=fast):
        values = reader.read(reading.place.segment, numbers)
        if problem := _malformed(values, reader, len(numbers)):
            return replace(reading, problem=problem)
        first = _first_sample(values, reader) if first is None else first
        constant = constant and bool((values[0] == first).all() and (values == first).all())
    size = (int(values.shape[1]), int(values.shape[2])) if reader.kind == "video" else None
    return replace(reading, size=size, constant=constant and not _has_one_sample(reader, reading))


def _first_sample(values: NDArray[Any], reader: Reader) -> Any:
    """What a constant signal equals throughout: one value a channel, or for a vector one value in all."""
    return values[0, 0] if reader.kind == "vector" else values[(0,) * (values.ndim - 1)]


def _has_one_sample(reader: Reader, reading: Reading) -> bool:
    """Whether a signal is constant only because there is nothing to compare."""
    segment = reading.place.segment
    if reader.kind == "video":
        return False
    return reader.channels == 1 if reader.kind == "vector" else reading.length == 1 or segment.start == segment.stop


def _wanted(reader: Reader, segment: Segment, *, fast: bool) -> Iterator[NDArray[np.int64]]:
    """Clock numbers to read, in pieces that fit into memory."""
    if reader.kind == "vector":
        yield np.array([segment.start], dtype=np.int64)
    elif fast:
        yield np.array([segment.start, segment.stop], dtype=np.int64)
    else:
        rule = WindowRule()
        low, high = centre_bounds(segment, rule)
        numbers = np.arange(min(segment.start, low - rule.half), max(segment.stop, high + rule.half - 1) + 1)
        pieces = -(-len(numbers) // _CHUNK) if reader.kind == "video" else 1
        yield from np.array_split(numbers.astype(np.int64), pieces)


def _malformed(values: NDArray[Any], reader: Reader, count: int) -> str:
    """What is wrong with the shape, type or values that a reader gave."""
    video = reader.kind == "video"
    wanted, dimensions = ("uint8", 4) if video else ("float32", 2)
    right = values.ndim == dimensions and values.shape[0] == count and values.shape[-1] == reader.channels
    if not right or values.dtype.name != wanted:
        form = "(T, H, W, C)" if video else "(T, C)"
        return (
            f"the reader gave {values.dtype} {values.shape} for {count} frames; a {reader.kind} is {wanted} {form}, "
            f"C = {reader.channels}"
        )
    if not video and not np.isfinite(values).all():
        return "it holds values that are not finite (NaN or infinite); repair or drop the segment"
    return ""
