"""What the readings of all signals show: missing, damaged, misplaced, mismatched or dead signals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from statistics import median

from mmsada_lab.prepare.doctor.readings import Reading, Signal
from mmsada_lab.prepare.doctor.report import Finding, message_and_fix

SLACK = 8
"""Clock frames by which modalities of one video may end apart: flow ends a few frames before RGB."""

SLACK_SHARE = 0.02
RATIO_SLACK = 0.2
"""How far the ratio of two modalities' lengths may be from the data set's median."""

TINY = 32
"""Frames are called tiny if their shorter side has fewer pixels."""

_COPY_AGAIN = "copy or make its files again"
_UNEQUAL = "modalities of different length"


def signal_findings(readings: Sequence[Reading]) -> Iterator[Finding]:
    """All findings about signals."""
    modalities = _grouped(readings, lambda signal: (signal.domain, signal.modality))
    segments = _grouped(readings, lambda signal: (signal.domain, signal.segment))
    videos = _grouped(readings, lambda signal: (signal.domain, signal.segment.video))
    yield from chain.from_iterable(map(_unreadable, modalities))
    yield from chain.from_iterable(map(_outside, segments))
    yield from chain.from_iterable(map(_unequal_ends, videos))
    yield from _odd_ratios(readings)
    yield from chain.from_iterable(map(_constant, readings))
    yield from chain.from_iterable(map(_tiny, modalities))


def _grouped(readings: Iterable[Reading], key: Callable[[Signal], Hashable]) -> list[list[Reading]]:
    groups: dict[Hashable, list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[key(reading.signal)].append(reading)
    return list(groups.values())


def _unreadable(group: Sequence[Reading]) -> Iterator[Finding]:
    """Signals of a domain and modality that cannot be read; a single finding if the domain lacks the modality."""
    bad = [reading for reading in group if reading.problem]
    if len(bad) == len(group) > 1 and all(reading.extent is None for reading in bad):
        message, fix = message_and_fix(bad[0].problem, otherwise=_COPY_AGAIN)
        message = f"none of {len(bad)} segments has any; the first: {message}"
        yield Finding("error", "modalities that a domain lacks", message, fix, **_of_modality(bad[0].signal))
        return
    for reading in bad:
        message_fix = message_and_fix(reading.problem, otherwise=_COPY_AGAIN)
        yield Finding("error", "cannot be read", *message_fix, **reading.signal.where)


def _outside(group: Sequence[Reading]) -> Iterator[Finding]:
    """A segment that begins before its video or ends after it.

    The modality that ends last is taken as right; the others may end up to `SLACK` frames before it.
    """
    fix = "correct the segment's frames, or complete the video"
    last = max((reading.extent[1] for reading in group if reading.extent), default=0)
    for reading in group:
        if reading.extent is None:
            continue
        segment, (start, stop) = reading.signal.segment, reading.extent
        span = f"the segment is frames {segment.start} to {segment.stop}, the video {start} to {stop}"
        leaves = ""
        if segment.stop > stop + (0 if stop == last else SLACK):
            leaves = f"it ends {_frames(segment.stop - stop)} after its video; {span}"
        elif segment.start < start - SLACK:
            leaves = f"it begins {_frames(start - segment.start)} before its video; {span}"
        if reading.outside:
            yield Finding("error", "segments outside their video", span, fix, **reading.signal.where)
        elif leaves:
            yield Finding("warning", "segments that leave their video", leaves, fix, **reading.signal.where)


def _of_modality(signal: Signal) -> dict[str, str]:
    return {"domain": signal.domain, "modality": signal.modality}


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _unequal_ends(group: Sequence[Reading]) -> Iterator[Finding]:
    """A video whose modalities end at different frames."""
    last = {reading.signal.modality: reading.extent[1] for reading in group if reading.extent}
    if last and max(last.values()) - min(last.values()) > max(SLACK, SLACK_SHARE * max(last.values())):
        ends = ", ".join(f"{modality} {end}" for modality, end in last.items())
        signal = next(reading.signal for reading in group if reading.extent)
        where = signal.where | {"modality": min(last, key=lambda modality: last[modality])}
        message = f"the modalities of video {signal.segment.video} end at different frames: {ends}"
        yield Finding("warning", _UNEQUAL, message, _COPY_AGAIN, **where)


def _odd_ratios(readings: Sequence[Reading]) -> Iterator[Finding]:
    """Segments whose modalities have lengths in another ratio than those of most segments."""
    measured = [reading for reading in readings if reading.length and reading.kind != "vector"]
    pairs: dict[tuple[str, str], list[tuple[float, Reading, Reading]]] = defaultdict(list)
    for reference, *others in _grouped(measured, lambda signal: (signal.domain, signal.split, signal.segment.uid)):
        for other in others:
            ratio = (other.length or 0) / (reference.length or 1)
            pairs[reference.signal.modality, other.signal.modality].append((ratio, reference, other))
    for (first, second), ratios in pairs.items():
        usual = median(ratio for ratio, _, _ in ratios)
        for ratio, reference, other in ratios:
            if abs(ratio / usual - 1) > RATIO_SLACK:
                expected = f"the other segments would have about {usual * (reference.length or 0):.0f}"
                message = f"{other.length} samples of {second} to {reference.length} of {first}; {expected}"
                yield Finding("warning", _UNEQUAL, message, _COPY_AGAIN, **other.signal.where)


def _constant(reading: Reading) -> Iterator[Finding]:
    if reading.constant:
        constant = "its signal is constant from the first frame to the last"
        message = "all its values are equal" if reading.kind == "vector" else constant
        yield Finding(
            "warning", "constant signals", message, "look at it; leave it out if dead", **reading.signal.where
        )


def _tiny(group: Sequence[Reading]) -> Iterator[Finding]:
    height, width = min((reading.size for reading in group if reading.size), key=min, default=(TINY, TINY))
    if min(height, width) < TINY:
        message = f"frames of {width}x{height} pixels are enlarged to the input size of a network"
        yield Finding("note", "tiny frames", message, **_of_modality(group[0].signal))
