"""Temporal windows against a transcription of the released rule, for the paper's 16 frames at stride 2 and for others.

The transcription: a centre is drawn from [s + 16, e + 1 - 16], both ends included; where s + 16 >= e - 15 from [s, e]
instead; a lower end of 17 or less becomes 18. Test centres are ``np.linspace(low, high, 7)[1:-1]`` cut to integers.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chi2_contingency

from mmsada_lab.clips.segments import Segment
from mmsada_lab.clips.windows import (
    WindowRule,
    centre_bounds,
    test_centres as centres_for_testing,
    test_windows as windows_for_testing,
    training_centre,
    training_window,
    window_at,
    windows_apart,
)

PAPER = WindowRule(16, 2)
LAW = settings(max_examples=200, deadline=None, derandomize=True)
starts = st.integers(1, 5000)
lengths = st.integers(1, 400)
rules = st.builds(WindowRule, st.integers(1, 32), st.integers(1, 4))


def segment(start: int, stop: int) -> Segment:
    return Segment("uid", "video", start, stop)


def released_bounds(start: int, stop: int) -> tuple[int, int]:
    low, high = start + 16, stop + 1 - 16
    if start + 16 >= stop - 15:
        low, high = start, stop
    if low <= 17:
        low = 18
    return low, high


@pytest.mark.parametrize("centre", [18, 19, 100, 4001])
def test_a_window_is_every_other_frame_around_its_centre(centre: int) -> None:
    assert window_at(centre, PAPER).tolist() == list(range(centre - 16, centre + 15, 2))


@pytest.mark.parametrize("centre", [18, 19, 100, 4001])
def test_flow_of_a_window_is_sixteen_consecutive_frames(centre: int) -> None:
    assert (window_at(centre, PAPER) // 2).tolist() == list(range(centre // 2 - 8, centre // 2 + 8))


@given(centre=st.integers(0, 10_000), rule=rules)
@LAW
def test_windows_have_their_length_and_stride(centre: int, rule: WindowRule) -> None:
    window = window_at(centre, rule)
    assert len(window) == rule.length
    assert set(np.diff(window)) <= {rule.stride}
    assert window[0] <= centre <= window[-1] + rule.stride


@pytest.mark.parametrize(
    ("start", "stop", "low", "high"),
    [
        (100, 200, 116, 185),  # the usual case
        (100, 132, 116, 117),  # the shortest for which windows stay inside: two centres
        (100, 131, 100, 131),  # s + 16 == e - 15: any centre of the segment
        (100, 110, 100, 110),  # shorter than a window
        (1, 300, 18, 285),  # 17 would read RGB frame 1, flow frame 0
        (2, 300, 18, 285),
        (3, 300, 19, 285),
        (1, 31, 18, 31),  # short and clamped
        (30, 40, 30, 40),
    ],
)
def test_bounds_of_the_centre(start: int, stop: int, low: int, high: int) -> None:
    assert centre_bounds(segment(start, stop), PAPER) == (low, high)


@given(start=starts, length=lengths)
@LAW
def test_bounds_are_the_released_ones(start: int, length: int) -> None:
    low, high = released_bounds(start, start + length - 1)
    if high >= low:  # the released code has no segment for which its bounds cross
        assert centre_bounds(segment(start, start + length - 1), PAPER) == (low, high)


@given(start=starts, length=lengths, rule=rules)
@LAW
def test_no_window_starts_before_frame_two_and_bounds_never_cross(start: int, length: int, rule: WindowRule) -> None:
    low, high = centre_bounds(segment(start, start + length - 1), rule)
    assert low <= high
    assert window_at(low, rule)[0] >= 2


@given(start=st.integers(2, 5000), extra=st.integers(1, 300), rule=rules)
@LAW
def test_windows_of_a_segment_long_enough_stay_inside(start: int, extra: int, rule: WindowRule) -> None:
    stop = start + rule.length * rule.stride + extra - 1
    low, high = centre_bounds(segment(start, stop), rule)
    assert start <= window_at(low, rule)[0]
    assert window_at(high, rule)[-1] <= stop


@given(start=starts, length=lengths, rule=rules, count=st.integers(1, 4), seed=st.integers(0, 99))
@LAW
def test_windows_apart_are_half_a_span_apart_where_the_segment_allows(
    start: int, length: int, rule: WindowRule, count: int, seed: int
) -> None:
    """Of every two of them; in a shorter segment they are spread as evenly as whole frames can be."""
    low, high = centre_bounds(segment(start, start + length - 1), rule)
    windows = windows_apart(segment(start, start + length - 1), rule, np.random.default_rng(seed), count=count)
    centres = sorted(window[0] + rule.half for window in windows)
    assert windows.shape == (count, rule.length)
    assert all(low <= centre <= high for centre in centres)
    gaps, wanted = np.diff(centres), max(rule.half, 1)
    if high - low >= wanted * (count - 1):
        assert (gaps >= wanted).all()
    else:
        assert (gaps >= (high - low) // (count - 1)).all()


def two_apart(start: int, stop: int, rule: WindowRule, *, seed: int) -> tuple[int, int]:
    windows = windows_apart(segment(start, stop), rule, np.random.default_rng(seed), count=2)
    return int(windows[0, 0]) + rule.half, int(windows[1, 0]) + rule.half


def test_two_windows_of_a_short_segment_are_at_its_ends() -> None:
    """Centres from 117 to 124: 7 apart at most, not 16. In either order."""
    assert {two_apart(101, 139, PAPER, seed=seed) for seed in range(20)} == {(117, 124), (124, 117)}


def test_every_moment_is_as_likely_in_either_modality() -> None:
    """Else one modality by itself would tell which clips do not correspond."""
    first, second = np.array([two_apart(101, 160, WindowRule(4, 2), seed=seed) for seed in range(3000)]).T
    counts = [np.bincount(centres // 7)[14:] for centres in (first, second)]
    assert chi2_contingency(np.array(counts)[:, np.sum(counts, axis=0) > 0]).pvalue > 0.01
    assert np.abs(first - second).min() == 4, "and as near as is allowed"


def test_training_centres_are_uniform_and_reach_both_ends() -> None:
    rng = np.random.default_rng(0)
    short = segment(100, 136)
    drawn = Counter(training_centre(short, PAPER, rng) for _ in range(6000))
    assert sorted(drawn) == [116, 117, 118, 119, 120, 121]
    assert all(850 < times < 1150 for times in drawn.values())


@given(start=starts, length=lengths, count=st.integers(1, 9))
@LAW
def test_test_centres_are_a_cut_linspace(start: int, length: int, count: int) -> None:
    low, high = centre_bounds(segment(start, start + length - 1), PAPER)
    by_hand = [int(low + (high - low) * k / (count + 1)) for k in range(1, count + 1)]
    found = centres_for_testing(segment(start, start + length - 1), PAPER, count=count)
    assert np.abs(found - by_hand).max() <= 1  # where the fraction is an integer, floats may fall on either side
    assert found.tolist() == np.linspace(low, high, count + 2)[1:-1].astype("int32").tolist()


def test_five_test_windows_of_a_segment_by_hand() -> None:
    assert centres_for_testing(segment(100, 200), PAPER).tolist() == [127, 139, 150, 162, 173]


class TestWindowsThatSpanTheirSegment:
    """One frame from each of equally long parts."""

    @given(start=starts, length=lengths, count=st.integers(1, 40), seed=st.integers(0, 99))
    @LAW
    def test_every_part_gives_one_frame(self, start: int, length: int, count: int, seed: int) -> None:
        one, rule = segment(start, start + length - 1), WindowRule(count, 7, whole=True)
        drawn = training_window(one, rule, np.random.default_rng(seed))
        for window in (drawn, *windows_for_testing(one, rule, count=5)):
            for part, frame in enumerate(window.tolist()):
                # the part spans [low, high) in real numbers; a frame is its whole-number floor
                low, high = start + part * length / count, start + (part + 1) * length / count
                assert np.floor(low) <= frame < high

    def test_all_frames_of_a_part_are_drawn(self) -> None:
        rng, rule = np.random.default_rng(0), WindowRule(4, whole=True)
        drawn = np.array([training_window(segment(11, 30), rule, rng) for _ in range(400)])
        assert [sorted(set(column)) for column in drawn.T] == [
            list(range(11 + 5 * part, 16 + 5 * part)) for part in range(4)
        ]

    def test_test_windows_interleave(self) -> None:
        found = windows_for_testing(segment(1, 20), WindowRule(4, whole=True), count=5)
        assert found.T.ravel().tolist() == list(range(1, 21))

    def test_without_it_windows_are_those_around_the_centres(self) -> None:
        one = segment(100, 300)
        found = windows_for_testing(one, PAPER, count=5)
        assert found.tolist() == [window_at(int(c), PAPER).tolist() for c in centres_for_testing(one, PAPER, count=5)]
