"""Clips of two domains side by side: a few classes, one segment in every modality, the channels of optical flow.

Where a data set has no pictures, a sentence that says so takes their place: sensors are given the same lessons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.analysis.lessons.clip_grid import AnimatedPng, clip_grid, to_animated_png
from mmsada_lab.clips.segments import Domain, Frames, Segment
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.prepare.show.images import as_rgb

NO_PICTURES, NO_FLOW = "no pictures in this data set", "no optical flow in this data set"
_A_CLIP, _A_FILM = slice(7), slice(16)  # frames of a clip among others, and of one alone


def segment_of(domain: Domain, label: int) -> Segment:
    """The first training segment of a class, or the first of all if there is none of it.

    Raises:
        UserError: the domain has no training segment.
    """
    if not domain.train:
        raise UserError(f"{domain.name} has no training segment to look at; choose another domain")
    return next((segment for segment in domain.train if segment.label == label), domain.train[0])


def segments_of(domains: Mapping[str, Domain], classes: Sequence[str], verb: str = "") -> dict[str, Segment]:
    """A training segment of each domain, of the same class.

    Args:
        domains: side, source or target -> its domain.
        classes: names of the labels.
        verb: one of them; empty: the last one that all domains have.

    Returns:
        Side -> segment.

    Raises:
        UserError: an unknown verb.

    Example:
        >>> kitchen = Domain("D1", {}, (Segment("a", "v", 1, 9, 0), Segment("b", "v", 1, 9, 1)), ())
        >>> segments_of({"source": kitchen}, ["take", "put"])["source"].uid
        'b'
    """
    if verb and verb not in classes:
        raise unknown("verb", verb, classes)
    shared = set.intersection(*({s.label for s in d.train if s.label is not None} for d in domains.values()))
    label = list(classes).index(verb) if verb else max(shared, default=0)
    return {side: segment_of(domain, label) for side, domain in domains.items()}


def play_classes(
    domains: Mapping[str, Domain], classes: Sequence[str], *, modality: str = "", count: int = 3
) -> AnimatedPng | str:
    """The last few classes in one modality, a row per domain: every fourth frame of a training segment of each.

    Args:
        domains: side, source or target -> its domain.
        classes: names of the labels.
        modality: whose pictures; empty: the first that has some.
        count: how many classes.

    Returns:
        A picture that plays; `NO_PICTURES` where there are none.

    Raises:
        UserError: a modality without pictures.
    """
    if not (videos := _videos(domains)):
        return NO_PICTURES
    if modality and modality not in videos:
        raise unknown("modality", modality, videos)
    modality = modality or videos[0]
    labels = range(len(classes))[-count:]
    rows = {
        f"{side} {domain.name}": {classes[k]: _clip(domain, segment_of(domain, k), modality) for k in labels}
        for side, domain in domains.items()
    }
    return to_animated_png(clip_grid(rows), milliseconds=120)


def _clip(domain: Domain, segment: Segment, modality: str) -> Frames:
    """Every fourth frame of a segment's beginning, as RGB `(T, H, W, 3)`."""
    return _pictures(domain, segment, modality, np.arange(segment.start, segment.stop + 1, 4)[_A_CLIP])


def _pictures(domain: Domain, segment: Segment, modality: str, frames: NDArray[np.int64]) -> Frames:
    reader = domain.readers[modality]
    return as_rgb(reader.read(segment, frames), is_flow=bool(reader.mirror_negates))


def play_segments(domains: Mapping[str, Domain], segments: Mapping[str, Segment]) -> AnimatedPng | str:
    """One segment of each domain in all modalities that have pictures: every second frame, flow in colours.

    Args:
        domains: side, source or target -> its domain.
        segments: side -> a segment of that domain.

    Returns:
        A picture that plays; `NO_PICTURES` where there are none.
    """
    if not (videos := _videos(domains)):
        return NO_PICTURES
    rows = {}
    for side, domain in domains.items():
        segment = segments[side]
        frames = np.arange(segment.start, segment.stop + 1, 2)[_A_FILM]
        rows[f"{side} {domain.name}"] = {m: _pictures(domain, segment, m, frames) for m in videos}
    return to_animated_png(clip_grid(rows))


def show_channels(domains: Mapping[str, Domain], segments: Mapping[str, Segment]) -> AnimatedPng | str:
    """The middle frame of each segment: all modalities with pictures, and both channels of flow in grey.

    Args:
        domains: side, source or target -> its domain.
        segments: side -> a segment of that domain.

    Returns:
        A picture; `NO_FLOW` where no modality changes its sign in a mirror.
    """
    videos = _videos(domains)
    moving = [m for m in videos if next(iter(domains.values())).readers[m].mirror_negates]
    if not moving:
        return NO_FLOW
    rows = {}
    for side, domain in domains.items():
        middle = np.array([(segments[side].start + segments[side].stop) // 2])
        stored = domain.readers[moving[0]].read(segments[side], middle)  # (1, H, W, 2)
        u, v = (as_rgb(stored[..., channel : channel + 1], is_flow=False) for channel in (0, 1))
        pictures = {m: _pictures(domain, segments[side], m, middle) for m in videos}
        rows[f"{side} {domain.name}"] = {**pictures, "u (to the right)": u, "v (down)": v}
    return to_animated_png(clip_grid(rows))


def _videos(domains: Mapping[str, Domain]) -> list[str]:
    """Modalities that have pictures in every domain, in the order of the first."""
    first, *others = (
        [name for name, reader in domain.readers.items() if reader.kind == "video"] for domain in domains.values()
    )
    return [name for name in first if all(name in videos for videos in others)]
