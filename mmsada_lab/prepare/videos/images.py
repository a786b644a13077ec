"""From a decoded frame to an upright RGB image with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mmsada_lab.clips.segments import Image

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


def shown_size(frame: VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height of a frame as shown, upright; `aspect` is the width of a pixel over its height."""
    width, height = max(1, round(frame.width * (aspect or 1))), frame.height
    return (height, width) if orientation(frame)[0] else (width, height)


def scaled_size(size: tuple[int, int], height: int) -> tuple[int, int]:
    """The (width, height) of the same shape that has the given height."""
    return max(1, round(size[0] * height / size[1])), height


def to_rgb(frame: VideoFrame, size: tuple[int, int]) -> Image:
    """Convert a frame of any pixel format to an upright RGB image of a (width, height); transparent becomes white."""
    transposed, mirror_rows, mirror_columns = orientation(frame)
    target = size[::-1] if transposed else size
    pixels = _rgb(frame)
    if (pixels.shape[1], pixels.shape[0]) != target:
        shrinks = target[0] * target[1] < pixels.shape[0] * pixels.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(pixels, target, interpolation=method), dtype=np.uint8)
    if transposed:
        pixels = pixels.transpose(1, 0, 2)  # (height, width, 3)
    return np.ascontiguousarray(pixels[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1])


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether a frame must be transposed, then its rows mirrored, then its columns, to be upright.

    The display matrix maps (x, y) to (a x + c y, b x + d y); other angles count as the nearest quarter turn.
    """
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data  # PyAV's own annotation is too narrow
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _rgb(frame: VideoFrame) -> Image:
    """RGB at the frame's own size, by the routines that give the same bits on every processor."""
    from av.video.reformatter import Interpolation

    exact = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    options: dict[str, Any] = {"interpolation": exact, "threads": 1}
    if not any(component.is_alpha for component in frame.format.components):
        return np.asarray(frame.to_ndarray(format="rgb24", **options), dtype=np.uint8)
    pixels = np.asarray(frame.to_ndarray(format="rgba", **options), dtype=np.uint8)
    opaque = pixels[..., 3:].astype(np.uint16)
    blended = (pixels[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255
    return blended.astype(np.uint8)
