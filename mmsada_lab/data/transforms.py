"""Spatial augmentation: multi-scale corner crops, horizontal flip (paper section 4.1, "as in TSN").

Everything is stated in fractions of the frame, so that it serves frames of any size: the paper's crops of
256, 224 and 192 pixels are 1, 7/8 and 3/4 of its 256-pixel frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmsada_lab.data.segments import Frames

_SCALES = (1.0, 0.875, 0.75)
_TEST_SCALE = 0.875
_CV_CHANNELS = 128  # as many as OpenCV 5 resizes in one call


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of the frame, in pixels, and whether to mirror it; the same for all frames of a clip."""

    top: int
    left: int
    height: int
    width: int
    mirror: bool = False


def sample_crop(height: int, width: int, rng: np.random.Generator, *, offsets: str = "released") -> Crop:
    """Draw a training crop: sides of neighbouring scales, a corner or centre offset, a coin for the mirror.

    Args:
        height: of the frame, pixels.
        width: of the frame, pixels.
        rng: source of randomness.
        offsets: ``released``: top or centre, left or centre (the code never looks right or down);
            ``tsn``: the 13 corners, edges, centre and quarter points of TSN.
    """
    pairs = [(h, w) for i, h in enumerate(_SCALES) for j, w in enumerate(_SCALES) if abs(i - j) <= 1]
    scale_h, scale_w = pairs[rng.integers(len(pairs))]
    side = min(height, width)
    crop_h, crop_w = round(scale_h * side), round(scale_w * side)
    step_h, step_w = (height - crop_h) // 4, (width - crop_w) // 4
    places = _OFFSETS[offsets]
    row, column = places[rng.integers(len(places))]
    return Crop(row * step_h, column * step_w, crop_h, crop_w, mirror=bool(rng.integers(2)))


_OFFSETS = {
    "released": [(row, column) for row in (0, 2) for column in (0, 2)],
    "tsn": [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)] + [(1, 1), (1, 3), (3, 1), (3, 3)],
}
"""Offsets in quarters of the free space: (down, right)."""


def centre_crop(height: int, width: int) -> Crop:
    """The test crop: 7/8 of the shorter side (224 of 256), centred, never mirrored."""
    side = round(_TEST_SCALE * min(height, width))
    return Crop((height - side) // 2, (width - side) // 2, side, side)


def apply_crop(frames: Frames, crop: Crop, *, size: int, mirror_negates: tuple[int, ...] = ()) -> Frames:
    """Cut a crop out of all frames, resize it, mirror it.

    Args:
        frames: `(T, H, W, C)`.
        crop: what to cut out.
        size: side of the result, pixels.
        mirror_negates: channels whose meaning changes sign in a mirror: the horizontal flow u, stored in 8 bits,
            becomes 255 - u.

    Returns:
        `(T, size, size, C)`, 8 bits.
    """
    cut = frames[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    cut = _resize(cut, size)
    if not crop.mirror:
        return cut
    mirrored = np.ascontiguousarray(cut[:, :, ::-1])
    for channel in mirror_negates:
        mirrored[..., channel] = 255 - mirrored[..., channel]
    return mirrored


def _resize(frames: Frames, size: int) -> Frames:
    """Bilinear, many frames at once: time is folded into OpenCV's channels."""
    time, height, width, channels = frames.shape
    if (height, width) == (size, size):
        return frames
    at_once = _CV_CHANNELS // channels
    if time > at_once:
        parts = [frames[start : start + at_once] for start in range(0, time, at_once)]
        return np.concatenate([_resize(part, size) for part in parts])
    folded = frames.transpose(1, 2, 0, 3).reshape(height, width, time * channels)
    resized = cv2.resize(folded, (size, size), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(size, size, time, channels).transpose(2, 0, 1, 3)  # type: ignore[return-value]
