"""Temporal windows: which frames of a segment a clip is made of (paper, section 4.1).

A *window* is a list of RGB frame numbers; the pixels at them are a *clip*. With the paper's 16 frames at
stride 2 a window spans 32 RGB frames, about half a second at 60 fps. Sensor recordings and features are rather looked
at from end to end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Segment


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Length of a window in frames, and its stride in RGB frames (frames of the segment's clock).

    A `whole` window spans its segment instead: `length` frames, one from each of as many equal parts.
    """

    length: int = 16
    stride: int = 2
    whole: bool = False

    @property
    def half(self) -> int:
        """Half the span of a window, in RGB frames."""
        return self.length * self.stride // 2


def window_at(centre: int, rule: WindowRule) -> NDArray[np.int64]:
    """RGB frame numbers of the window around a centre, `(T,)`: c-16, c-14, ..., c+14 by default."""
    return centre - rule.half + rule.stride * np.arange(rule.length, dtype=np.int64)


def centre_bounds(segment: Segment, rule: WindowRule) -> tuple[int, int]:
    """First and last centre (inclusive) a window of this segment may have.

    A window stays inside its segment; a segment shorter than a window gives any centre in it, so that the
    window may leave the segment. The window never starts before RGB frame 2 (flow frame 1).
    """
    span = rule.length * rule.stride
    low, high = segment.start + rule.half, segment.stop + 1 - (span - rule.half)
    if low >= high:
        low, high = segment.start, segment.stop
    low = max(low, rule.half + 2)
    return low, max(low, high)


def training_window(segment: Segment, rule: WindowRule, rng: np.random.Generator) -> NDArray[np.int64]:
    """One random window of a segment, `(T,)`; spanning the segment, a random frame of each part."""
    if rule.whole:
        return _one_of_each_part(segment, rule, rng.random(rule.length))
    return window_at(training_centre(segment, rule, rng), rule)


def windows_apart(segment: Segment, rule: WindowRule, rng: np.random.Generator, *, count: int) -> NDArray[np.int64]:
    """Random windows of a segment at different moments, `(count, T)`, in random order.

    Their centres are at least half a window's span apart, each from each, where the segment is long enough for that,
    else as far as it allows (0, where a window has one place only). Not for windows that span their segment.

    Example:
        >>> segment, rule = Segment("a", "video", 101, 200), WindowRule(length=4, stride=2)
        >>> windows = windows_apart(segment, rule, np.random.default_rng(0), count=2)
        >>> windows.shape, bool(abs(windows[0, 0] - windows[1, 0]) >= rule.half)
        ((2, 4), True)
    """
    low, high = centre_bounds(segment, rule)
    apart = min(max(rule.half, 1), (high - low) // max(count - 1, 1))
    # Without the gaps between them any places will do; sorted, they get their gaps back.
    places = rng.integers(0, high - low - apart * (count - 1), size=count, endpoint=True)
    centres = low + np.sort(places) + apart * np.arange(count)
    return np.stack([window_at(int(centre), rule) for centre in rng.permutation(centres)])


def test_windows(segment: Segment, rule: WindowRule, *, count: int = 5) -> NDArray[np.int64]:
    """`count` equidistant windows, `(count, T)`; spanning the segment, they interleave."""
    if rule.whole:
        return np.stack([_one_of_each_part(segment, rule, (at + 0.5) / count) for at in range(count)])
    return np.stack([window_at(int(centre), rule) for centre in test_centres(segment, rule, count=count)])


def _one_of_each_part(segment: Segment, rule: WindowRule, place: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """The frame at a place (0 to below 1) within each of `length` equal parts of a segment."""
    span = segment.stop + 1 - segment.start
    return segment.start + ((np.arange(rule.length) + place) * span / rule.length).astype(np.int64)


def training_centre(segment: Segment, rule: WindowRule, rng: np.random.Generator) -> int:
    """A centre drawn uniformly: one random window per segment and iteration."""
    low, high = centre_bounds(segment, rule)
    return int(rng.integers(low, high, endpoint=True))


def test_centres(segment: Segment, rule: WindowRule, *, count: int = 5) -> NDArray[np.int64]:
    """Centres of `count` equidistant windows, the ends of the range left out, `(count,)`."""
    low, high = centre_bounds(segment, rule)
    return np.linspace(low, high, count + 2)[1:-1].astype(np.int64)


test_centres.__test__ = test_windows.__test__ = False  # type: ignore[attr-defined]  # not pytest tests
