"""Clips to look at side by side: the data first, a grid of frames in time, then the grid as one PNG that plays.

An animated PNG is shown wherever a PNG is (browsers, notebooks, exported pages) and needs no script.

Legend: `T` frames, `H` and `W` their height and width.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmsada_lab.analysis import style
from mmsada_lab.errors import UserError

Frames = NDArray[np.uint8]
"""A clip, `(T, H, W, 3)`, 8 bits a channel."""

_CAPTION = 18  # pixels above every clip
_GAP = 8


@dataclass(frozen=True)
class AnimatedPng:
    """A PNG of one frame, or of several that play; a notebook shows it.

    Attributes:
        png: the file.
        size: width and height, pixels.
        frames: how many frames play.
    """

    png: bytes
    size: tuple[int, int]
    frames: int = 1

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        """Size and length, not the pixels."""
        return f"PNG of {self.size[0]} x {self.size[1]} pixels, {self.frames} frame{'s' * (self.frames != 1)}"


def clip_grid(
    rows: Mapping[str, Mapping[str, Frames]],
    *,
    height: int = 108,
    colours: Sequence[str] = (style.SOURCE, style.TARGET),
) -> Frames:
    """Arrange clips in a grid, each below its caption.

    Args:
        rows: title of a row -> title of a clip -> the clip, in order. Clips may differ in length and size: a short one
            stays on its last frame, all are brought to one height.
        height: of every clip, pixels; small frames grow by whole factors up to it, large ones shrink to it.
        colours: of the captions, row by row, over again if there are more rows: the source's, then the target's.

    Returns:
        `(T, H, W, 3)`, as long as the longest clip.

    Example:
        >>> clip = np.zeros((4, 36, 48, 3), dtype=np.uint8)
        >>> clip_grid({"source D1": {"rgb": clip, "flow": clip}}).shape
        (4, 126, 296, 3)
    """
    if not any(rows.values()):
        raise UserError("no clip to show; give at least one")
    cells, top, width = [], 0, 0
    for number, (title, row) in enumerate(rows.items()):
        left, bottom = 0, top
        for name, clip in row.items():
            frames = _resize(_checked(name, clip), height)
            caption = _caption(f"{title}, {name}", colours[number % len(colours)], width=frames.shape[2])
            cells.append((left, top, caption, frames))
            left += frames.shape[2] + _GAP
            bottom = max(bottom, top + _CAPTION + frames.shape[1] + _GAP)
        top, width = bottom, max(width, left)
    longest = max(len(frames) for *_, frames in cells)
    grid = np.full((longest, top - _GAP, width - _GAP, 3), 255, dtype=np.uint8)
    for x, y, caption, frames in cells:
        cell = grid[:, y : y + _CAPTION + frames.shape[1], x : x + frames.shape[2]]
        cell[:, :_CAPTION] = caption
        cell[:, _CAPTION:] = frames[np.minimum(np.arange(longest), len(frames) - 1)]  # the last frame stays
    return grid


def to_animated_png(grid: Frames, *, milliseconds: int = 60) -> AnimatedPng:
    """A grid `(T, H, W, 3)` as one file: a single frame as it is; more play for ever, in 256 colours of their own.

    Args:
        grid: from `clip_grid`, or any clip.
        milliseconds: how long each frame stays.

    Example:
        >>> to_animated_png(np.zeros((4, 36, 48, 3), dtype=np.uint8))
        PNG of 48 x 36 pixels, 4 frames
    """
    images = [Image.fromarray(frame) for frame in _checked("grid", grid)]
    file = io.BytesIO()
    if len(images) == 1:
        images[0].save(file, format="PNG")
    else:
        colours = Image.fromarray(np.concatenate(list(grid))).quantize(dither=Image.Dither.NONE)
        first, *rest = (image.quantize(palette=colours, dither=Image.Dither.NONE) for image in images)
        first.save(file, format="PNG", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return AnimatedPng(file.getvalue(), images[0].size, len(images))


def _checked(name: str, clip: Frames) -> Frames:
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or 0 in clip.shape:
        raise UserError(
            f"clip {name!r} is {clip.dtype} of shape {clip.shape}; give (T, H, W, 3) in 8 bits, one frame or more"
        )
    return clip


def _resize(clip: Frames, height: int) -> Frames:
    """A clip at a height: grown by a whole factor, so that its pixels can be seen, or shrunk."""
    factor = height // clip.shape[1]
    if factor >= 1:
        return clip.repeat(factor, axis=1).repeat(factor, axis=2)
    size = (max(1, round(clip.shape[2] * height / clip.shape[1])), height)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in clip])


def _caption(text: str, colour: str, *, width: int) -> NDArray[np.uint8]:
    line = Image.new("RGB", (width, _CAPTION), "white")
    ImageDraw.Draw(line).text((0, 2), text, fill=colour, font=ImageFont.load_default(size=12))
    return np.asarray(line)
