"""Spatial augmentation: multi-scale corner crops, horizontal flip (paper section 4.1, "as in TSN").

Everything is stated in fractions of the frame, so that it serves frames of any size: the paper's crops of
256, 224 and 192 pixels are 1, 7/8 and 3/4 of its 256-pixel frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmsada_lab.clips.segments import Frames

_SCALES = (1.0, 0.875, 0.75)
_TEST_SCALE = 0.875
_TOGETHER = 3  # channels that OpenCV resizes faster at once than one by one; with more of them it is much slower


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
    """Cut a crop out of all frames `(T, H, W, C)`, resize it, mirror it: `(T, size, size, C)`, 8 bits.

    Channels of `mirror_negates` change sign in a mirror: horizontal flow u, stored in 8 bits, becomes 255 - u.
    """
    clip = np.empty((frames.shape[-1], len(frames), size, size), dtype=np.uint8)
    for time, picture in enumerate(frames):
        place_crop(picture, crop, clip[:, time])
    negate_mirrored(clip, crop, mirror_negates)
    return np.moveaxis(clip, 0, -1)


def place_crop(picture: Frames, crop: Crop, planes: Frames) -> None:
    """Cut a crop out of a picture `(H, W, C)`, resize it, bilinear, mirror it, into contiguous planes `(C, S, S)`.

    Pixels have their centres half a pixel in, as OpenCV and torch have it, and are rounded to 8 bits. The resizing of
    the released code (TensorFlow 1) does neither: its pictures lie less than a pixel from these, to unmeasured effect.
    """
    cut = picture[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    size: tuple[int, int] = planes.shape[1:]
    if cut.shape[:2] == (2 * size[0], 2 * size[1]):
        cut = _halved(cut)
    if len(planes) == _TOGETHER:
        if cut.shape[:2] != size:
            cut = cv2.resize(cut, size[::-1])  # type: ignore[assignment]
        cv2.split(cv2.flip(cut, 1) if crop.mirror else cut, list(planes))
    else:
        for channel, plane in enumerate(planes):
            _place_plane(cut[..., channel], plane, mirror=crop.mirror)


def negate_mirrored(clip: Frames, crop: Crop, channels: tuple[int, ...]) -> None:
    """Turn the sign of some channels of a clip `(C, T, S, S)`, if it was mirrored."""
    for channel in channels if crop.mirror else ():
        np.subtract(255, clip[channel], out=clip[channel])


def _place_plane(cut: Frames, plane: Frames, *, mirror: bool) -> None:
    """Resize one channel `(h, w)` into a plane `(S, S)`."""
    cv2.resize(cut, plane.shape[::-1], dst=plane)  # copies where the size is right
    if mirror:
        cv2.flip(plane, 1, dst=plane)


def _halved(picture: Frames) -> Frames:
    """Means of two by two pixels, ties to even: how OpenCV rounds them depends on the number of channels."""
    rows = picture[::2].astype(np.uint16) + picture[1::2]
    sums = rows[:, ::2] + rows[:, 1::2]
    return np.asarray((sums + 1 + (sums >> 2 & 1)) >> 2, dtype=np.uint8)
