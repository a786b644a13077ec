"""What readings of all segments show: missing, damaged, misplaced, mismatched or dead signals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from mmsada_lab.clips.segments import Segment
from mmsada_lab.prepare.doctor.readings import Place, Reading, misses
from mmsada_lab.prepare.doctor.report import Finding, message_and_fix

SLACK = 8
"""Clock frames by which modalities of one video may end apart: flow ends a few frames before RGB."""

SLACK_SHARE = 0.02
RATIO_SLACK = 0.2
"""How far the ratio of two modalities' lengths may be off the data set's median."""

TINY = 32
"""Pixels of the shorter side below which pictures are called tiny."""

_AGAIN = "copy or make its files again"


def signal_findings(readings: Sequence[Reading]) -> Iterator[Finding]:
    """Everything the readings show."""
    yield from _unreadable(readings)
    yield from _outside(readings)
    yield from _unequal_extents(readings)
    yield from _odd_ratios(readings)
    for reading in readings:
        yield from _constant(reading)
    yield from _tiny(readings)


def _at(place: Place) -> dict[str, str]:
    return {"domain": place.domain, "split": place.split, "modality": place.modality, "segment": place.segment.uid}


def _unreadable(readings: Sequence[Reading]) -> Iterator[Finding]:
    """A finding for each signal that cannot be read, or one for a modality of which a domain has nothing at all."""
    groups: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[reading.place.domain, reading.place.modality].append(reading)
    for (domain, modality), group in groups.items():
        bad = [reading for reading in group if reading.problem]
        if len(bad) == len(group) > 1 and all(reading.extent is None for reading in bad):
            message, fix = message_and_fix(bad[0].problem, otherwise=_AGAIN)
            message = f"none of {len(bad)} segments has any; the first: {message}"
            yield Finding("error", "modalities that a domain lacks", message, fix, domain=domain, modality=modality)
        else:
            for reading in bad:
                shown = message_and_fix(reading.problem, otherwise=_AGAIN)
                yield Finding("error", "cannot be read", *shown, **_at(reading.place))


def _outside(readings: Sequence[Reading]) -> Iterator[Finding]:
    """Segments that begin after their video, or end beyond it.

    The modality that goes on longest is taken at its word; others may end up to `SLACK` frames before it.
    """
    ends: dict[tuple[str, Segment], int] = defaultdict(int)
    for reading in readings:
        key = reading.place.domain, reading.place.segment
        ends[key] = max(ends[key], reading.extent[1] if reading.extent else 0)
    fix = "correct the segment's frames, or complete the video"
    for reading in readings:
        segment, extent = reading.place.segment, reading.extent
        if extent is None:
            continue
        span = f"the segment is frames {segment.start} to {segment.stop}, the video {extent[0]} to {extent[1]}"
        slack = 0 if extent[1] == ends[reading.place.domain, segment] else SLACK
        if misses(reading):
            yield Finding("error", "segments outside their video", span, fix, **_at(reading.place))
        elif segment.stop > extent[1] + slack:
            message = f"it ends {_frames(segment.stop - extent[1])} after its video; {span}"
            yield Finding("warning", "segments that leave their video", message, fix, **_at(reading.place))
        elif segment.start < extent[0] - SLACK:
            message = f"it begins {_frames(extent[0] - segment.start)} before its video; {span}"
            yield Finding("warning", "segments that leave their video", message, fix, **_at(reading.place))


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _by_video(readings: Sequence[Reading]) -> dict[tuple[str, str], dict[str, Reading]]:
    """(domain, video) -> modality -> the first reading that has an extent."""
    found: dict[tuple[str, str], dict[str, Reading]] = defaultdict(dict)
    for reading in readings:
        if reading.extent is not None:
            place = reading.place
            found[place.domain, place.segment.video].setdefault(place.modality, reading)
    return found


def _unequal_extents(readings: Sequence[Reading]) -> Iterator[Finding]:
    for (_, video), by_modality in _by_video(readings).items():
        last = {modality: r.extent[1] for modality, r in by_modality.items() if r.extent}
        gap = max(last.values()) - min(last.values())
        if gap > max(SLACK, SLACK_SHARE * max(last.values())):
            shown = ", ".join(f"{modality} {end}" for modality, end in last.items())
            place = next(iter(by_modality.values())).place
            where = _at(place) | {"modality": min(last, key=lambda modality: last[modality])}
            message = f"the modalities of video {video} end at different frames: {shown}"
            yield Finding("warning", "modalities of different length", message, _AGAIN, **where)


def _odd_ratios(readings: Sequence[Reading]) -> Iterator[Finding]:
    """Segments whose modalities have lengths in another ratio than those of most segments."""
    lengths: dict[tuple[str, str, str], dict[str, Reading]] = defaultdict(dict)
    for reading in readings:
        if reading.length and reading.kind != "vector":
            place = reading.place
            lengths[place.domain, place.split, place.segment.uid][place.modality] = reading
    pairs: dict[tuple[str, str], list[tuple[float, Reading, Reading]]] = defaultdict(list)
    for by_modality in lengths.values():
        (first, reference), *others = by_modality.items()
        for modality, other in others:
            pairs[first, modality].append(((other.length or 0) / (reference.length or 1), reference, other))
    for (first, modality), found in pairs.items():
        usual = median(ratio for ratio, _, _ in found)
        for ratio, reference, other in found:
            if abs(ratio / usual - 1) > RATIO_SLACK:
                message = (
                    f"{other.length} samples of {modality} to {reference.length} of {first}; the other segments "
                    f"would have about {usual * (reference.length or 0):.0f}"
                )
                yield Finding("warning", "modalities of different length", message, _AGAIN, **_at(other.place))


def _constant(reading: Reading) -> Iterator[Finding]:
    if reading.constant:
        message = "its signal is constant from the first frame to the last"
        if reading.kind == "vector":
            message = "all its values are equal"
        yield Finding("warning", "constant signals", message, "look at it; leave it out if dead", **_at(reading.place))


def _tiny(readings: Sequence[Reading]) -> Iterator[Finding]:
    sizes: Mapping[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for reading in readings:
        if reading.size is not None:
            sizes[reading.place.domain, reading.place.modality].append(reading.size)
    for (domain, modality), found in sizes.items():
        height, width = min(found, key=min)
        if min(height, width) < TINY:
            message = f"pictures of {width}x{height} pixels are enlarged to the input size of a network"
            yield Finding("note", "tiny pictures", message, domain=domain, modality=modality)
