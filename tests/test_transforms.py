"""Crops and flips: the exact places of the released code, the meaning of flow in a mirror, resizing by reference."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmsada_lab.data.transforms import Crop, apply_crop, centre_crop, sample_crop

LAW = settings(max_examples=60, deadline=None, derandomize=True)
DRAWS = 7000


def drawn(offsets: str, *, height: int = 256, width: int = 456) -> list[Crop]:
    rng = np.random.default_rng(0)
    return [sample_crop(height, width, rng, offsets=offsets) for _ in range(DRAWS)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class TestPlaces:
    def test_sides_are_the_seven_pairs_of_neighbouring_scales_equally_often(self) -> None:
        sides = Counter((crop.height, crop.width) for crop in drawn("released"))
        neighbours = {(256, 256), (256, 224), (224, 256), (224, 224), (224, 192), (192, 224), (192, 192)}
        assert sides.keys() == neighbours
        assert all(DRAWS / 7 * 0.85 < times < DRAWS / 7 * 1.15 for times in sides.values())

    def test_released_offsets_are_top_or_centre_and_left_or_centre(self) -> None:
        down, right = defaultdict(set), defaultdict(set)
        for crop in drawn("released"):
            down[crop.height].add(crop.top)
            right[crop.width].add(crop.left)
        assert down == {256: {0}, 224: {0, 16}, 192: {0, 32}}
        assert right == {256: {0, 100}, 224: {0, 116}, 192: {0, 132}}

    def test_the_released_code_never_sees_the_right(self) -> None:
        assert max(crop.left + crop.width for crop in drawn("released")) == 356

    def test_tsn_has_thirteen_places(self) -> None:
        quarters = Counter(
            (crop.top // 8, crop.left // 58) for crop in drawn("tsn") if crop.height == crop.width == 224
        )
        corners_edges_centre = {(row, column) for row in (0, 2, 4) for column in (0, 2, 4)}
        assert quarters.keys() == corners_edges_centre | {(1, 1), (1, 3), (3, 1), (3, 3)}

    def test_tsn_reaches_all_four_borders(self) -> None:
        crops = [crop for crop in drawn("tsn") if crop.height == crop.width == 192]
        assert {0, 64} <= {crop.top for crop in crops}
        assert {0, 264} <= {crop.left for crop in crops}

    def test_every_place_is_mirrored_half_of_the_time(self) -> None:
        mirrored = defaultdict(list)
        for crop in drawn("released"):
            mirrored[crop.top > 0, crop.left > 0].append(crop.mirror)
        assert len(mirrored) == 4
        assert all(0.45 < np.mean(flags) < 0.55 for flags in mirrored.values())

    @given(
        height=st.integers(4, 300),
        width=st.integers(4, 300),
        seed=st.integers(0, 999),
        offsets=st.sampled_from(["released", "tsn"]),
    )
    @LAW
    def test_crops_of_any_frame_lie_inside(self, height: int, width: int, seed: int, offsets: str) -> None:
        for crop in (
            sample_crop(height, width, np.random.default_rng(seed), offsets=offsets),
            centre_crop(height, width),
        ):
            assert 0 <= crop.top <= crop.top + crop.height <= height
            assert 0 <= crop.left <= crop.left + crop.width <= width
            assert min(crop.height, crop.width) > 0

    def test_the_test_crop_of_an_epic_frame(self) -> None:
        assert centre_crop(256, 456) == Crop(top=16, left=116, height=224, width=224, mirror=False)


class TestPixels:
    crop = Crop(top=2, left=3, height=6, width=6)
    mirrored = Crop(top=2, left=3, height=6, width=6, mirror=True)

    def test_a_crop_of_the_right_size_is_a_slice(self) -> None:
        frames = noise(4, 12, 15, 3)
        np.testing.assert_array_equal(apply_crop(frames, self.crop, size=6), frames[:, 2:8, 3:9])

    def test_rgb_is_merely_mirrored(self) -> None:
        frames = noise(4, 12, 15, 3)
        np.testing.assert_array_equal(apply_crop(frames, self.mirrored, size=6), frames[:, 2:8, 8:2:-1])

    def test_a_mirror_turns_u_round_and_leaves_v(self) -> None:
        flow = noise(4, 12, 15, 2)
        found = apply_crop(flow, self.mirrored, size=6, mirror_negates=(0,))
        np.testing.assert_array_equal(found[..., 0], 255 - flow[:, 2:8, 8:2:-1, 0])
        np.testing.assert_array_equal(found[..., 1], flow[:, 2:8, 8:2:-1, 1])

    def test_without_a_mirror_u_stays(self) -> None:
        flow = noise(4, 12, 15, 2)
        np.testing.assert_array_equal(apply_crop(flow, self.crop, size=6, mirror_negates=(0,)), flow[:, 2:8, 3:9])

    def test_two_mirrors_are_none(self) -> None:
        flow, whole = noise(3, 8, 8, 2), Crop(0, 0, 8, 8, mirror=True)
        twice = flow
        for _ in range(2):
            twice = apply_crop(twice, whole, size=8, mirror_negates=(0,))
        np.testing.assert_array_equal(twice, flow)

    @pytest.mark.parametrize(("side", "size"), [(16, 12), (12, 16), (16, 8), (9, 16)])
    def test_resizing_is_bilinear(self, side: int, size: int) -> None:
        frames = noise(3, side, side, 3)
        tensor = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        reference = F.interpolate(tensor, size=(size, size), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        found = apply_crop(frames, Crop(0, 0, side, side), size=size)
        assert found.dtype == np.uint8
        assert np.abs(found - reference.numpy()).max() <= 1.01  # 8-bit rounding

    @pytest.mark.parametrize(("frames", "channels"), [(16, 3), (80, 3), (300, 2)])
    def test_every_frame_is_resized_on_its_own(self, frames: int, channels: int) -> None:
        """Whatever number of frames and channels, however they are folded for speed."""
        clip, crop = noise(frames, 12, 12, channels), Crop(1, 2, 10, 8, mirror=True)
        alone = [apply_crop(clip[i : i + 1], crop, size=6, mirror_negates=(0,)) for i in range(frames)]
        np.testing.assert_array_equal(apply_crop(clip, crop, size=6, mirror_negates=(0,)), np.concatenate(alone))

    @pytest.mark.parametrize("mirror", [False, True])
    @pytest.mark.parametrize("size", [6, 5])
    def test_what_was_read_is_left_as_it_was(self, size: int, mirror: bool) -> None:
        frames = noise(3, 12, 15, 2)
        kept = frames.copy()
        frames.flags.writeable = False
        apply_crop(frames, Crop(2, 3, 6, 6, mirror=mirror), size=size, mirror_negates=(0,))
        np.testing.assert_array_equal(frames, kept)
