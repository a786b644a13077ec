"""Clips side by side: where every pixel of the grid comes from, and that the file holds the grid."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence

from mmsada_lab.analysis import style
from mmsada_lab.analysis.lessons.clip_grid import Frames, clip_grid, to_animated_png
from mmsada_lab.errors import UserError

CAPTION, GAP = 18, 8


def clip(*, frames: int = 3, height: int = 6, width: int = 10, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(256, size=(frames, height, width, 3), dtype=np.uint8)


def colours_of(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def test_a_clip_grows_by_a_whole_factor_below_its_caption() -> None:
    one = clip()
    grid = clip_grid({"source": {"rgb": one}}, height=20)
    assert grid.shape == (3, CAPTION + 18, 30, 3)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid[:, CAPTION::3, ::3], one)
    np.testing.assert_array_equal(grid[:, CAPTION + 2 :: 3, 2::3], one)


def test_a_large_clip_shrinks_to_the_height_and_keeps_its_shape() -> None:
    grid = clip_grid({"source": {"rgb": np.full((2, 64, 96, 3), 77, dtype=np.uint8)}}, height=32)
    assert grid.shape == (2, CAPTION + 32, 48, 3)
    assert (grid[:, CAPTION:] == 77).all()


def test_rows_lie_below_each_other_and_clips_side_by_side() -> None:
    clips = {name: clip(seed=seed, height=20, width=16) for seed, name in enumerate("abcd")}
    grid = clip_grid({"x": {"a": clips["a"], "b": clips["b"]}, "y": {"c": clips["c"], "d": clips["d"]}}, height=20)
    assert grid.shape == (3, 2 * (CAPTION + 20) + GAP, 2 * 16 + GAP, 3)
    second = CAPTION + 20 + GAP + CAPTION
    np.testing.assert_array_equal(grid[:, CAPTION : CAPTION + 20, :16], clips["a"])
    np.testing.assert_array_equal(grid[:, CAPTION : CAPTION + 20, 16 + GAP :], clips["b"])
    np.testing.assert_array_equal(grid[:, second:, :16], clips["c"])
    np.testing.assert_array_equal(grid[:, second:, 16 + GAP :], clips["d"])
    assert (grid[:, :, 16 : 16 + GAP] == 255).all()


def test_rows_of_unlike_width_are_filled_with_white() -> None:
    grid = clip_grid({"x": {"a": clip(), "b": clip()}, "y": {"a": clip()}}, height=6)
    assert (grid[:, CAPTION + 6 + GAP :, 10:] == 255).all()


def test_a_short_clip_stays_on_its_last_picture() -> None:
    long, short = clip(frames=5), clip(frames=2, seed=1)
    grid = clip_grid({"source": {"rgb": long, "flow": short}}, height=6)
    assert len(grid) == 5
    shown = grid[:, CAPTION:, 10 + GAP :]
    np.testing.assert_array_equal(shown[:2], short)
    np.testing.assert_array_equal(shown[2:], short[[1, 1, 1]])


def test_captions_are_source_blue_and_target_red() -> None:
    black = np.zeros((1, 20, 80, 3), dtype=np.uint8)
    grid = clip_grid({"source": {"rgb": black}, "target": {"rgb": black}, "third": {"rgb": black}}, height=20)[0]
    lines = [grid[start : start + CAPTION] for start in (0, CAPTION + 20 + GAP, 2 * (CAPTION + 20 + GAP))]
    for line, colour in zip(lines, (style.SOURCE, style.TARGET, style.SOURCE), strict=True):
        assert rgb(colour) in colours_of(line)
    assert rgb(style.TARGET) not in colours_of(lines[0])


@pytest.mark.parametrize("rows", [{}, {"source": {}}])
def test_no_clip(rows: dict[str, dict[str, Frames]]) -> None:
    with pytest.raises(UserError, match="no clip to show"):
        clip_grid(rows)


@pytest.mark.parametrize(
    "broken",
    [
        np.zeros((2, 4, 4, 3), dtype=np.float32),
        np.zeros((2, 4, 4, 2), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.uint8),
        np.zeros((0, 4, 4, 3), dtype=np.uint8),
        np.zeros((2, 0, 4, 3), dtype=np.uint8),
    ],
)
def test_what_is_no_clip_is_named_with_its_shape(broken: np.ndarray) -> None:
    with pytest.raises(UserError, match=re.escape(f"clip 'flow' is {broken.dtype} of shape {broken.shape}")):
        clip_grid({"source": {"rgb": clip(), "flow": broken}})
    with pytest.raises(UserError, match="clip 'grid'"):
        to_animated_png(broken)


def test_one_picture_is_kept_to_the_last_bit() -> None:
    grid = clip(frames=1, height=40, width=30)
    drawn = to_animated_png(grid)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawn.png))), grid[0])
    assert (drawn.size, drawn.frames) == ((30, 40), 1)


def test_pictures_play_for_ever_in_their_order() -> None:
    levels = np.array([0, 90, 180, 250], dtype=np.uint8)
    grid = np.broadcast_to(levels[:, None, None, None], (4, 12, 16, 3)).copy()
    drawn = to_animated_png(grid, milliseconds=80)
    file = Image.open(io.BytesIO(drawn.png))
    assert (file.format, file.n_frames, file.info["loop"], file.info["duration"]) == ("PNG", 4, 0, 80)
    shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]
    np.testing.assert_array_equal(np.stack(shown), grid)


def test_a_notebook_gets_the_png_and_a_text_without_pixels() -> None:
    drawn = to_animated_png(clip(frames=3, height=40, width=30))
    assert drawn._repr_png_().startswith(b"\x89PNG")
    assert repr(drawn) == "PNG of 30 x 40 pixels, 3 frames"
    assert repr(to_animated_png(clip(frames=1))) == "PNG of 10 x 6 pixels, 1 frame"


def test_drawing_changes_nothing() -> None:
    one = clip()
    before = one.copy()
    to_animated_png(clip_grid({"source": {"rgb": one}}))
    np.testing.assert_array_equal(one, before)
