"""Strips of clips: modalities in step, cached by what they are made of, within a budget, and one missing costs one."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from toy import toy_data

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.strips import SIZES, StripSize, make_strips, moments
from mmsada_lab.prepare.show.images import as_rgb

FIRST, FRAMES, HEIGHT, WIDTH = 101, 40, 36, 60


class Clock:
    """Shows the time: every frame is as bright as its number says, in all modalities."""

    kind = "video"

    def __init__(self, channels: int, mirror_negates: tuple[int, ...] = (), broken: str = "") -> None:
        self.channels, self.mirror_negates, self.broken, self.read_count = channels, mirror_negates, broken, 0

    def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
        if segment.uid == self.broken:
            raise UserError(f"{segment.uid}: frame 3 is missing")
        self.read_count += 1
        shade = (5 * (frames - FIRST) + 20).astype(np.uint8)
        return np.broadcast_to(shade[:, None, None, None], (len(frames), HEIGHT, WIDTH, self.channels)).copy()

    def extent(self, segment: Segment) -> tuple[int, int]:
        return segment.start, segment.stop


class Numbers:
    """A series or a vector."""

    mirror_negates = ()

    def __init__(self, kind: str, channels: int) -> None:
        self.kind, self.channels = kind, channels

    def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
        if self.kind == "vector":
            return np.tile(np.arange(self.channels, dtype=np.float32), (len(frames), 1))
        return np.sin(frames[:, None] / 5 + np.arange(self.channels)).astype(np.float32)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return segment.start, segment.stop


def clock_data(count: int = 6, digest: str = "d", broken: str = "", **readers: Any) -> MultiDomainData:
    segments = tuple(Segment(f"A-{k}", "video", FIRST, FIRST + FRAMES - 1, k % 2) for k in range(count))
    readers = readers or {"rgb": Clock(3, broken=broken), "depth": Clock(1, broken=broken)}
    return MultiDomainData("clock", ("a", "b"), {"A": Domain("A", readers, (), segments)}, digest)


def of(data: MultiDomainData) -> list[tuple[str, Segment]]:
    return [(domain.name, segment) for domain in data.domains.values() for segment in domain.test]


def decode(coded: bytes, frames: int) -> np.ndarray:
    strip = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    return np.stack(np.split(strip, frames, axis=1))  # (frames, H, W, 3), blue first


def test_frames_of_all_modalities_are_of_the_same_moments(tmp_path: Path) -> None:
    data = clock_data()
    made = make_strips(data, of(data), ["rgb", "depth"], budget=10**7, jobs=1, cache_dir=tmp_path)
    assert made.size == SIZES[0]
    assert made.shapes == {"rgb": (120, 72), "depth": (120, 72)}
    expected = 5 * (moments(data.domains["A"].test[0], made.size.frames) - FIRST) + 20
    for modality in ("rgb", "depth"):
        shades = decode(made.coded[modality][0], made.size.frames).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(shades, expected, atol=3)


def test_flow_is_of_the_same_moments_and_in_colours(tmp_path: Path) -> None:
    data = clock_data(rgb=Clock(3), flow=Clock(2, mirror_negates=(0,)))
    strips = make_strips(data, of(data), ["rgb", "flow"], budget=10**7, jobs=1, cache_dir=tmp_path)
    domain = data.domains["A"]
    at = moments(domain.test[0], strips.size.frames)
    shown = decode(strips.coded["flow"][0], strips.size.frames).mean(axis=(1, 2))[:, ::-1]  # red first
    now, later = (
        as_rgb(domain.readers["flow"].read(domain.test[0], at + shift), is_flow=True).mean(axis=(1, 2))
        for shift in (0, 1)
    )
    assert np.abs(now - later).max() > 8, "a frame later it looks different"
    np.testing.assert_allclose(shown, now, atol=4)


def test_moments_lie_inside_and_in_the_middle() -> None:
    segment = Segment("a", "v", 10, 1000)
    found = moments(segment, 8)
    assert found.min() >= 10
    assert found.max() <= 1000
    assert abs(found.mean() - 505) < 5
    assert set(np.diff(found)) == {8}
    assert moments(Segment("a", "v", 5, 5), 3).tolist() == [5, 5, 5]


def test_what_is_cached_is_not_read_again_and_other_data_are(tmp_path: Path) -> None:
    data = clock_data()
    one = make_strips(data, of(data), ["rgb"], budget=10**7, jobs=1, cache_dir=tmp_path)
    read = data.domains["A"].readers["rgb"].read_count
    again = make_strips(data, of(data), ["rgb"], budget=10**7, jobs=1, cache_dir=tmp_path)
    assert data.domains["A"].readers["rgb"].read_count == read == 6
    assert again == one
    other = clock_data(digest="other")
    make_strips(other, of(other), ["rgb"], budget=10**7, jobs=1, cache_dir=tmp_path)
    assert other.domains["A"].readers["rgb"].read_count == 6


def test_a_budget_is_met_by_smaller_strips_and_said(tmp_path: Path) -> None:
    data = toy_data()
    segments = [(domain.name, segment) for domain in data.domains.values() for segment in domain.test]
    free = make_strips(data, segments, ["rgb", "flow"], budget=10**8, jobs=1, cache_dir=tmp_path)
    assert not free.notes
    tight = make_strips(data, segments, ["rgb", "flow"], budget=free.bytes // 2, jobs=1, cache_dir=tmp_path)
    as_text = sum(len(base64.b64encode(strip)) for strips in tight.coded.values() for strip in strips)
    assert as_text <= 1.1 * (free.bytes // 2)
    assert "smaller than usual" in tight.notes[0]
    least = make_strips(data, segments, ["rgb", "flow"], budget=10, jobs=1, cache_dir=tmp_path)
    assert least.size == SIZES[-1]
    assert "give a larger budget" in least.notes[-1]


def test_one_that_is_missing_costs_no_other(tmp_path: Path) -> None:
    data = clock_data(broken="A-2")
    made = make_strips(data, of(data), ["rgb"], budget=10**7, jobs=2, cache_dir=tmp_path)
    assert [bool(strip) for strip in made.coded["rgb"]] == [True, True, False, True, True, True]
    assert made.notes == ("no picture of 1 clips: A-2: frame 3 is missing",)
    assert made.shapes["rgb"] == (120, 72)


@pytest.mark.parametrize("kind", ["series", "vector"])
def test_numbers_are_drawn(kind: str, tmp_path: Path) -> None:
    data = clock_data(2, x=Numbers(kind, 3))
    made = make_strips(data, of(data), ["x"], budget=10**7, jobs=1, cache_dir=tmp_path)
    frames = decode(made.coded["x"][0], made.size.frames).astype(int)
    assert frames.std() > 5, "something is drawn"
    moves = np.abs(np.diff(frames, axis=0)).max() > 100
    assert moves == (kind == "series"), "a cursor moves over time alone"


def test_wide_frames_are_cut_and_small_ones_enlarged(tmp_path: Path) -> None:
    class Wide(Clock):
        def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
            return np.zeros((len(frames), 4, 40, 3), dtype=np.uint8)

    data = clock_data(1, rgb=Wide(3))
    made = make_strips(data, of(data), ["rgb"], budget=10**7, jobs=1, cache_dir=tmp_path)
    assert made.shapes["rgb"] == (216, 72)


def test_sizes_go_down() -> None:
    areas = [size.frames * size.height**2 * size.quality for size in SIZES]
    assert areas == sorted(areas, reverse=True)
    assert str(StripSize()) == "8 frames of 72 pixels' height, WebP quality 50"
    assert replace(StripSize(), frames=1) != StripSize()
