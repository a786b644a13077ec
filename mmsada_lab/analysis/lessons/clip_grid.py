"""Clips to look at side by side: the data first, a grid of frames in time, then the grid as one PNG that plays.

An animated PNG is shown wherever a PNG is (browsers, notebooks, exported pages) and needs no script.

Legend: `T` frames, `H` and `W` their height and width.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmsada_lab.analysis import style
from mmsada_lab.errors import UserError

Frames = NDArray[np.uint8]  # a clip, `(T, H, W, 3)`, 8 bits a channel
_CAPTION = 18  # pixels above every clip
_GAP = 8


@dataclass(frozen=True)
class AnimatedPng:
    """A PNG file of one frame, or of several that play; a notebook shows it. Its size: width and height, pixels."""

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
    cells, top = [], 0
    for (title, row), colour in zip(rows.items(), cycle(colours), strict=False):
        left, bottom = 0, top
        for name, clip in row.items():
            cell = _caption(f"{title}, {name}", _resize(_checked(name, clip), height), colour)
            cells.append((top, left, cell))
            left, bottom = left + cell.shape[2] + _GAP, max(bottom, top + cell.shape[1] + _GAP)
        top = bottom
    return _paint(cells)


def _paint(cells: Sequence[tuple[int, int, Frames]]) -> Frames:
    """Clips on white, each with its upper left corner (y, x)."""
    longest = max(len(cell) for *_, cell in cells)
    size = (max(y + cell.shape[1] for y, _, cell in cells), max(x + cell.shape[2] for _, x, cell in cells))
    grid = np.full((longest, *size, 3), 255, dtype=np.uint8)
    for y, x, cell in cells:
        # the last frame stays
        grid[:, y : y + cell.shape[1], x : x + cell.shape[2]] = cell[np.minimum(np.arange(longest), len(cell) - 1)]
    return grid


def to_animated_png(grid: Frames, *, milliseconds: int = 60) -> AnimatedPng:
    """A grid or clip `(T, H, W, 3)` as one file: one frame as it is; more play for ever, in 256 colours of their own.

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
        shape = f"{clip.dtype} of shape {clip.shape}"
        raise UserError(f"clip {name!r} is {shape}; give (T, H, W, 3) in 8 bits, one frame or more")
    return clip


def _resize(clip: Frames, height: int) -> Frames:
    """A clip at a height: grown by a whole factor, so that its pixels can be seen, or shrunk."""
    factor = height // clip.shape[1]
    if factor >= 1:
        return clip.repeat(factor, axis=1).repeat(factor, axis=2)
    size = (max(1, round(clip.shape[2] * height / clip.shape[1])), height)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in clip])


def _caption(text: str, clip: Frames, colour: str) -> Frames:
    """A clip below its caption."""
    line = Image.new("RGB", (clip.shape[2], _CAPTION), "white")
    ImageDraw.Draw(line).text((0, 2), text, fill=colour, font=ImageFont.load_default(size=12))
    return np.concatenate([np.broadcast_to(np.asarray(line), (len(clip), *np.asarray(line).shape)), clip], axis=1)
