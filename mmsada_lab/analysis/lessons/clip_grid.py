"""Clips to look at side by side: the data first, a grid of pictures in time, then the grid as one PNG that plays.

An animated PNG is shown wherever a PNG is (browsers, notebooks, exported pages) and needs no script.

Legend: `T` pictures, `H` and `W` their height and width.
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

Clip = NDArray[np.uint8]
"""Pictures in time, `(T, H, W, 3)`, 8 bits a channel."""

_CAPTION = 18  # pixels above every clip
_GAP = 8
_WHITE = 255


@dataclass(frozen=True)
class Picture:
    """An image, or several that play; a notebook shows it.

    Attributes:
        png: the file.
        size: width and height, pixels.
        frames: how many pictures play.
    """

    png: bytes
    size: tuple[int, int]
    frames: int = 1

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        """Size and length, not the pixels."""
        return f"Picture of {self.size[0]} x {self.size[1]} pixels, {self.frames} frame{'s' * (self.frames != 1)}"


def clip_grid(
    rows: Mapping[str, Mapping[str, Clip]],
    *,
    height: int = 108,
    colours: Sequence[str] = (style.SOURCE, style.TARGET),
) -> Clip:
    """Lay clips out in a grid, each below its caption.

    Args:
        rows: title of a row -> title of a clip -> the clip, in order. Clips may differ in length and size: a short one
            stays on its last picture, all are brought to one height.
        height: of every clip, pixels; small pictures grow by whole factors up to it, large ones shrink to it.
        colours: of the captions, row by row, over again if there are more rows: the source's, then the target's.

    Returns:
        `(T, H, W, 3)`, as long as the longest clip.

    Raises:
        UserError: no clip, or one that is not `(T, H, W, 3)` in 8 bits or holds no picture.
    """
    if not any(rows.values()):
        raise UserError("no clip to show; give at least one")
    longest = max(len(_checked(name, clip)) for row in rows.values() for name, clip in row.items())
    drawn = []
    for number, (title, row) in enumerate(rows.items()):
        colour = colours[number % len(colours)]
        drawn.append([_captioned(_fitted(c, height), f"{title}, {name}", colour, longest) for name, c in row.items()])
    lines = [_beside(cells, axis=2) for cells in drawn if cells]
    return _beside(lines, axis=1)


def to_picture(grid: Clip, *, milliseconds: int = 60) -> Picture:
    """A grid `(T, H, W, 3)` as one file: a single picture as it is; more play for ever, in 256 colours of their own.

    Args:
        grid: from `clip_grid`, or any clip.
        milliseconds: how long each picture stays.
    """
    pictures = [Image.fromarray(picture) for picture in _checked("grid", grid)]
    coded = io.BytesIO()
    if len(pictures) == 1:
        pictures[0].save(coded, format="PNG")
    else:
        colours = Image.fromarray(np.concatenate(list(grid))).quantize(dither=Image.Dither.NONE)
        first, *rest = (picture.quantize(palette=colours, dither=Image.Dither.NONE) for picture in pictures)
        first.save(coded, format="PNG", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return Picture(coded.getvalue(), pictures[0].size, len(pictures))


def _checked(name: str, clip: Clip) -> Clip:
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or 0 in clip.shape:
        raise UserError(
            f"clip {name!r} is {clip.dtype} of shape {clip.shape}; give (T, H, W, 3) in 8 bits, one picture or more"
        )
    return clip


def _fitted(clip: Clip, height: int) -> Clip:
    """A clip at a height: grown by a whole factor, so that its pixels can be seen, or shrunk."""
    factor = height // clip.shape[1]
    if factor >= 1:
        return clip.repeat(factor, axis=1).repeat(factor, axis=2)
    size = (max(1, round(clip.shape[2] * height / clip.shape[1])), height)
    return np.stack([np.asarray(Image.fromarray(picture).resize(size)) for picture in clip])


def _captioned(clip: Clip, caption: str, colour: str, length: int) -> Clip:
    """A clip of a length below a line of text."""
    width = clip.shape[2]
    line = Image.new("RGB", (width, _CAPTION), "white")
    ImageDraw.Draw(line).text((0, 2), caption, fill=colour, font=ImageFont.load_default(size=12))
    lasting = np.concatenate([clip, np.repeat(clip[-1:], length - len(clip), axis=0)])
    return np.concatenate([np.broadcast_to(np.asarray(line), (length, _CAPTION, width, 3)), lasting], axis=1)


def _beside(parts: Sequence[Clip], *, axis: int) -> Clip:
    """Parts one after another along an axis, with white between them and where one is smaller."""
    other = 3 - axis
    largest = max(part.shape[other] for part in parts)
    padded = []
    for number, part in enumerate(parts):
        pads = [(0, 0)] * 4
        pads[other] = (0, largest - part.shape[other])
        pads[axis] = (0, _GAP if number < len(parts) - 1 else 0)
        padded.append(np.pad(part, pads, constant_values=_WHITE))
    return np.concatenate(padded, axis=axis)
