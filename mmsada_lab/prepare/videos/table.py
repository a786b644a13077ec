"""The table of an import: which frames a segment has, `segments.csv`, and what is to be said of it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

from mmsada_lab.datasets.flow import STRIDE
from mmsada_lab.prepare.videos.frames import Record
from mmsada_lab.prepare.videos.listing import Clip, Refusal

TABLE = "segments.csv"
COLUMNS = "uid participant_id video_id start_frame stop_frame verb verb_class domain split".split()


def frame_range(clip: Clip, *, fps: Fraction, last: int) -> tuple[int, int]:
    """First and last RGB frame (from 1) that show some of a segment; frame n shows (n - 1) / fps to n / fps seconds."""
    start = floor((clip.start or 0) * fps) + 1
    return start, last if clip.stop is None else min(ceil(clip.stop * fps), last)


def usable_clips(clips: Sequence[Clip], records: Mapping[str, Record]) -> tuple[list[Clip], list[Refusal]]:
    """The segments of imported videos that have RGB and flow, and the others."""
    usable, refused = list[Clip](), list[Refusal]()
    for clip in clips:
        record = records.get(clip.video)
        if record is None:
            continue
        start, stop = frame_range(clip, fps=Fraction(record.fps), last=record.rgb)
        if start <= stop and start // STRIDE <= record.flow:
            usable.append(clip)
        else:
            end = float(record.rgb / Fraction(record.fps))
            reason = (
                f"it starts at {float(clip.start or 0):g} s, but the flow of {clip.source} ends before ({end:.2f} s)"
            )
            refused.append(Refusal(f"segment {clip.uid}", reason))
    return usable, refused


def table_text(clips: Sequence[Clip], records: Mapping[str, Record]) -> str:
    """`segments.csv`: in the order of the source; a class is numbered by the alphabetical order of the labels."""
    labels = {label: str(at) for at, label in enumerate(sorted({clip.label for clip in clips if clip.label}))}
    extra = list(dict.fromkeys(name for clip in clips for name, _ in clip.further))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *extra])
    for clip in clips:
        record = records[clip.video]
        start, stop = frame_range(clip, fps=Fraction(record.fps), last=record.rgb)
        facts = [clip.uid, clip.domain, clip.video, start, stop, clip.label, labels.get(clip.label, ""), clip.domain]
        writer.writerow([*facts, clip.split, *(dict(clip.further).get(name, "") for name in extra)])
    return file.getvalue()


def count_clips(clips: Sequence[Clip]) -> dict[str, dict[str, tuple[int, int]]]:
    """Domain -> label (empty: unlabelled) -> number of training and of test segments."""
    tally = Counter((clip.domain, clip.label, clip.split) for clip in clips)
    pairs = sorted({(clip.domain, clip.label) for clip in clips})
    return {
        domain: {label: (tally[d, label, "train"], tally[d, label, "test"]) for d, label in pairs if d == domain}
        for domain in sorted({d for d, _ in pairs})
    }


def notes_on(clips: Sequence[Clip], records: Mapping[str, Record]) -> Iterator[str]:
    """What a user should know of a finished import."""
    used = {clip.video: records[clip.video] for clip in clips}
    rates = sorted({Fraction(record.fps) for record in used.values()})
    if len(rates) > 1:
        shown = f"{float(rates[0]):g} to {float(rates[-1]):g}"
        yield f"frame rates differ, {shown} a second: a window lasts unequally long; give all one rate (--fps)"
    small = sorted(name for name, r in used.items() if r.source_height < r.settings["height"])
    if small:
        yield f"{len(small)} of {len(used)} videos are lower than their frames and were enlarged, such as {small[0]}"
    beyond = [c.uid for c in clips if c.stop and c.stop * Fraction(used[c.video].fps) > used[c.video].rgb + 1]
    if beyond:
        yield f"{len(beyond)} segments stop after their video ends and were shortened, such as {beyond[0]}"
    untested = [
        f"{d}/{label}" for d, by in count_clips(clips).items() for label, (_, test) in by.items() if label and not test
    ]
    if untested:
        yield f"{len(untested)} classes of a domain have no test segment, such as {untested[0]}"
