"""The table of an import, `segments.csv`, and notes on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

import pandas as pd

from mmsada_lab.datasets.flow import STRIDE
from mmsada_lab.prepare.videos.frames import ImportedVideo as Record
from mmsada_lab.prepare.videos.listing import Rejected, VideoSegment as Clip


def frame_range(segment: Clip, *, fps: Fraction, last: int) -> tuple[int, int]:
    """First and last RGB frame of a segment, from 1; frame n lasts from (n - 1) / fps to n / fps seconds."""
    start = floor((segment.start or 0) * fps) + 1
    return start, last if segment.stop is None else min(ceil(segment.stop * fps), last)


def usable_segments(segments: Sequence[Clip], records: Mapping[str, Record]) -> tuple[list[Clip], list[Rejected]]:
    """The segments of imported videos: those with RGB and flow, and the others."""
    usable, rejected = list[Clip](), list[Rejected]()
    for segment in (segment for segment in segments if segment.video in records):
        record = records[segment.video]
        start, stop = frame_range(segment, fps=Fraction(record.fps), last=record.rgb)
        if start <= stop and start // STRIDE <= record.flow:
            usable.append(segment)
        else:
            end = f"the flow of {segment.file} ends before ({float(record.rgb / Fraction(record.fps)):.2f} s)"
            reason = f"it starts at {float(segment.start or 0):g} s, but {end}"
            rejected.append(Rejected(f"segment {segment.uid}", reason))
    return usable, rejected


def segments_table(segments: Sequence[Clip], records: Mapping[str, Record]) -> pd.DataFrame:
    """`segments.csv`: in the order of the list; a class is numbered by the alphabetical order of the labels."""
    labels = {label: str(at) for at, label in enumerate(sorted({s.label for s in segments if s.label}))}
    extra = dict.fromkeys((name for segment in segments for name, _ in segment.further), "")
    rows = []
    for segment in segments:
        record = records[segment.video]
        start, stop = frame_range(segment, fps=Fraction(record.fps), last=record.rgb)
        columns: dict[str, object] = {"uid": segment.uid, "participant_id": segment.domain, "video_id": segment.video}
        columns |= {"start_frame": start, "stop_frame": stop, "verb": segment.label}
        columns |= {"verb_class": labels.get(segment.label, ""), "domain": segment.domain, "split": segment.split}
        rows.append({**columns, **extra, **dict(segment.further)})
    return pd.DataFrame(rows)


def count_segments(segments: Sequence[Clip]) -> dict[str, dict[str, tuple[int, int]]]:
    """Domain -> label (empty: unlabelled) -> number of training and of test segments."""
    tally = Counter((segment.domain, segment.label, segment.split) for segment in segments)
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for domain, label in sorted({(segment.domain, segment.label) for segment in segments}):
        counts.setdefault(domain, {})[label] = tally[domain, label, "train"], tally[domain, label, "test"]
    return counts


def notes_on(segments: Sequence[Clip], records: Mapping[str, Record]) -> Iterator[str]:
    """What a user should know about a finished import."""
    used = {segment.video: records[segment.video] for segment in segments}
    rates = sorted({Fraction(record.fps) for record in used.values()})
    if len(rates) > 1:
        between = f"{float(rates[0]):g} to {float(rates[-1]):g}"
        yield f"frame rates differ, {between} a second, so windows differ in time; give all one rate (--fps)"
    if small := sorted(name for name, r in used.items() if r.source_height < r.settings["height"]):
        yield f"{len(small)} of {len(used)} videos are lower than their frames and were enlarged, such as {small[0]}"
    if late := [s.uid for s in segments if s.stop and s.stop * Fraction(used[s.video].fps) > used[s.video].rgb + 1]:
        yield f"{len(late)} segments stop after their video ends and were shortened, such as {late[0]}"
    counts = count_segments(segments)
    untested = [f"{domain}/{label}" for domain in counts for label, (_, n) in counts[domain].items() if label and not n]
    if untested:
        yield f"{len(untested)} classes of a domain have no test segment, such as {untested[0]}"
