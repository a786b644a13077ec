"""Crops and flips: the exact places of the released code, the meaning of flow in a mirror, resizing by reference."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from mmsada_lab.clips.clips import cut_clips
from mmsada_lab.clips.device_crops import Box, Boxes, cut_out, resize_on_device
from mmsada_lab.clips.transforms import Crop, apply_crop, centre_crop, sample_crop

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

    def test_pixels_have_their_centres_half_a_pixel_in(self) -> None:
        """A ramp of 4 a column, 24 to 16: column i is at 1.5 i + 0.25; without centres it would be at 1.5 i."""
        ramp = np.broadcast_to(4 * np.arange(24, dtype=np.uint8)[None, None, :, None], (1, 24, 24, 1))
        found = apply_crop(ramp, Crop(0, 0, 24, 24), size=16)
        assert found[0, 0, :, 0].tolist() == [6 * i + 1 for i in range(16)]

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


@pytest.mark.parametrize("mirror", [False, True])
def test_clips_of_several_windows_cut_picture_by_picture(mirror: bool) -> None:
    """A picture that several windows see, or one sees twice, comes once; each window is as if it were cut alone."""
    frames, crop = noise(5, 12, 15, 2), Crop(1, 2, 10, 8, mirror=mirror)
    windows = np.array([[0, 1, 1], [1, 2, 4], [4, 4, 3]])
    pictures = [
        (crop, (c, np.flatnonzero(windows.ravel() == n).tolist(), frames[n, ..., c : c + 1]))
        for c in range(2)
        for n in range(5)
    ]
    found = np.zeros((3, 2, 3, 6, 6), np.uint8)
    cut_clips(found, pictures, mirror_negates=(0,))
    for clip, window in zip(found, windows, strict=True):
        alone = apply_crop(frames[window], crop, size=6, mirror_negates=(0,))
        np.testing.assert_array_equal(clip, np.moveaxis(alone, -1, 0))


class TestHalves:
    """At exactly half the size OpenCV rounds ties by the number of channels; here all go to even."""

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    @pytest.mark.parametrize("frames", [1, 5])
    @pytest.mark.parametrize("mirror", [False, True])
    def test_are_means_of_two_by_two(self, frames: int, channels: int, mirror: bool) -> None:
        clip = noise(frames, 14, 20, channels)
        found = apply_crop(clip, Crop(1, 3, 12, 12, mirror=mirror), size=6)
        means = clip[:, 1:13, 3:15].reshape(frames, 6, 2, 6, 2, channels).mean(axis=(2, 4))
        expected = np.rint(means).astype(np.uint8)
        np.testing.assert_array_equal(found, expected[:, :, ::-1] if mirror else expected)


def box(clip: np.ndarray, crop: Crop, *, planes: int = 1) -> Box:
    """A crop of frames `(T, H, W, C)`, which come one by one, their channels in so many parts."""
    depth = clip.shape[3] // planes
    firsts = range(0, clip.shape[3], depth)
    pictures = [(crop, (c, [time], frame[..., c : c + depth])) for c in firsts for time, frame in enumerate(clip)]
    return cut_out(pictures, channels=clip.shape[3], length=len(clip))


def both_ways(
    frames: list[np.ndarray], crops: list[Crop], *, size: int, negated: tuple[int, ...] = (), planes: int = 1
) -> tuple[Boxes, np.ndarray, np.ndarray]:
    """Clips `(B, C, T, S, S)` resized on the device and by the loader."""
    cuts = tuple(box(clip, crop, planes=planes) for clip, crop in zip(frames, crops, strict=True))
    boxes = Boxes(cuts, size, negated)
    loader = [
        np.moveaxis(apply_crop(clip, crop, size=size, mirror_negates=negated), -1, 0)
        for clip, crop in zip(frames, crops, strict=True)
    ]
    return boxes, resize_on_device(boxes).numpy(), np.stack(loader)


class TestOnTheDevice:
    """Resized and mirrored many at a time, by torch; OpenCV, clip by clip, is the reference."""

    @pytest.mark.parametrize(("channels", "planes", "negated"), [(3, 1, ()), (2, 1, (0,)), (2, 2, (0,)), (1, 1, ())])
    @pytest.mark.parametrize("offsets", ["released", "tsn"])
    def test_one_grey_level_apart_at_most(
        self, channels: int, planes: int, negated: tuple[int, ...], offsets: str
    ) -> None:
        rng = np.random.default_rng(channels)
        frames = [noise(2, 128, 228, channels, seed=seed) for seed in range(24)]
        crops = [sample_crop(128, 228, rng, offsets=offsets) for _ in frames]
        _, found, expected = both_ways(frames, crops, size=112, negated=negated, planes=planes)
        assert (found.dtype, found.shape) == (np.uint8, (24, channels, 2, 112, 112))
        apart = np.abs(found.astype(int) - expected)
        assert apart.max() <= 1
        assert apart.mean() < 0.15
        untouched = np.array([(crop.height, crop.width) == (112, 112) for crop in crops])
        assert 0 < untouched.sum() < 24
        assert not apart[untouched].any()

    @pytest.mark.parametrize("mirror", [False, True])
    @pytest.mark.parametrize("channels", [2, 3])
    def test_without_resizing_equal(self, mirror: bool, channels: int) -> None:
        frames = [noise(4, 12, 15, channels, seed=seed) for seed in range(3)]
        crops = [Crop(2, left, 6, 6, mirror=mirror) for left in (0, 3, 9)]
        _, found, expected = both_ways(frames, crops, size=6, negated=(0,))
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(("side", "size"), [(12, 16), (16, 8), (3, 6)])
    def test_enlarged_halved_and_three_pixels_wide(self, side: int, size: int) -> None:
        """A width of three must not be taken for three colours."""
        frames = [noise(2, side, side, channels, seed=channels) for channels in (2, 2)]
        _, found, expected = both_ways(frames, [Crop(0, 0, side, side, mirror=m) for m in (False, True)], size=size)
        assert np.abs(found.astype(int) - expected).max() <= 1

    def test_crops_of_one_size_go_together_and_come_back_in_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        frames = [noise(2, 12, 15, 3, seed=seed) for seed in range(6)]
        sides = [(6, 6), (9, 6), (6, 6), (9, 6), (6, 9), (6, 6)]
        crops = [Crop(0, 1, *side, mirror=number % 2 == 0) for number, side in enumerate(sides)]
        shapes = []
        resize = F.interpolate
        monkeypatch.setattr(F, "interpolate", lambda x, *a, **k: shapes.append(tuple(x.shape)) or resize(x, *a, **k))
        boxes, found, expected = both_ways(frames, crops, size=6)
        assert sorted(shapes) == [(2, 3, 6, 9), (4, 3, 9, 6)]  # frames of all clips of a size; 6 x 6 is left as it is
        assert [cut.mirror for cut in boxes.cuts] == [True, False] * 3
        assert np.abs(found.astype(int) - expected).max() <= 1

    def test_pixels_keep_their_place_in_memory_and_are_copies(self) -> None:
        """Colours by pixel, planes by plane: the loader copies rows and sorts nothing."""
        clip = noise(2, 12, 15, 2)
        for planes, shape in ((1, (1, 2, 6, 7, 2)), (2, (2, 2, 6, 7, 1))):
            cut = box(clip, Crop(1, 3, 6, 7), planes=planes).pixels
            assert tuple(cut.shape) == shape
            assert cut.is_contiguous()
            assert not np.shares_memory(cut.numpy(), clip)
            np.testing.assert_array_equal(np.concatenate([*cut.numpy()], axis=-1), clip[:, 1:7, 3:10])

    def test_a_frame_seen_twice(self) -> None:
        """As where a window leaves its video."""
        clip = noise(1, 12, 15, 3)
        cut = cut_out([(Crop(0, 0, 6, 6), (0, [0, 2, 1], clip[0]))], channels=3, length=3).pixels
        assert all(np.array_equal(frame, clip[0, :6, :6]) for frame in cut[0])
