"""Draws the split of segments that have none."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmsada_lab.prepare.videos.listing import VideoSegment


def draw_splits(segments: Sequence[VideoSegment], *, test_fraction: float, seed: int) -> list[VideoSegment]:
    """Draw the split of every segment that has none, domain by domain.

    Of each class about `test_fraction` of the segments become test segments, but a class of two or more has at least
    one in each split. Labelled segments of a video without a split of their own stay together, even if the fraction
    suffers. Unlabelled segments are for training. Splits that are given stay, and count.

    Args:
        segments: segments of all domains.
        test_fraction: from 0 (no test segments) up to 1, exclusive.
        seed: of the draw; a domain's draw does not depend on other domains.
    """
    tested = set[str]()
    for domain in sorted({segment.domain for segment in segments}):
        rng = np.random.default_rng([seed, zlib.crc32(domain.encode())])
        tested |= _test_videos([s for s in segments if s.domain == domain and s.label], test_fraction, rng)
    return [s if s.split else replace(s, split="test" if s.label and s.video in tested else "train") for s in segments]


def _test_videos(segments: Sequence[VideoSegment], test_fraction: float, rng: np.random.Generator) -> set[str]:
    """The videos of a domain whose undecided segments become test segments; the rarest class chooses first."""
    totals, tested = Counter(s.label for s in segments), Counter(s.label for s in segments if s.split == "test")
    free = defaultdict[str, Counter[str]](Counter)
    for segment in segments:
        if not segment.split:
            free[segment.video][segment.label] += 1
    order = [sorted(free)[i] for i in rng.permutation(len(free))]
    chosen = set[str]()
    for label in sorted(totals, key=lambda name: (totals[name], name)):
        wanted = min(max(round(test_fraction * totals[label]), 1), totals[label] - 1) if test_fraction else 0
        for video in order:
            held = free[video]
            fits = tested[label] + held[label] <= wanted or not tested[label]
            if video in chosen or not held[label] or tested[label] >= wanted or not fits:
                continue
            # no class may lose its last training segment
            if all(tested[name] + count < totals[name] for name, count in held.items()):
                chosen.add(video)
                tested.update(held)
    return chosen
