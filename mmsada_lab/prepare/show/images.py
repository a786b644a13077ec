"""Clips for the screen: flow in colours, at a visible size, as data URIs or an animated GIF.

Legend: `T` frames, `H` and `W` their height and width, `C` channels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from mmsada_lab.clips.segments import Frames

SMALLEST, LARGEST = 144, 256
"""Limits of a frame's height on the screen."""

_ZERO = 127.5
_NO_MOTION = 1.0  # zero is stored as 128, or 127 when mirrored
_FAINTEST = 4.0
_QUALITY = 82


def as_rgb(clip: Frames, *, is_flow: bool) -> Frames:
    """A clip `(T, H, W, C)` as RGB `(T, H, W', 3)`: flow in colours, other channels side by side in grey."""
    if is_flow and clip.shape[3] == 2:
        return colour_flow(clip)
    if clip.shape[3] == 3:
        return clip
    side_by_side = np.concatenate(np.split(clip, clip.shape[3], axis=3), axis=2)  # (T, H, C * W, 1)
    return np.repeat(side_by_side, 3, axis=3)


def colour_flow(clip: Frames) -> Frames:
    """8-bit flow `(T, H, W, 2)` as RGB `(T, H, W, 3)`: the hue is the direction, and no motion is white.

    Right is red, down is yellow-green. Colours are full at the 99th percentile of the clip's own motion.
    """
    u, v = (clip[..., channel].astype(np.float32) - _ZERO for channel in (0, 1))
    length = np.hypot(u, v)
    length[length < _NO_MOTION] = 0
    strongest = max(float(np.percentile(length, 99)), _FAINTEST)
    hue = np.mod(np.degrees(np.arctan2(v, u)), 360).astype(np.float32) / 2
    wheel = np.stack([hue, np.clip(length / strongest, 0, 1) * 255, np.full_like(hue, 255)], axis=-1).astype(np.uint8)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in wheel]).astype(np.uint8)


def resize_for_screen(clip: Frames) -> Frames:
    """A clip `(T, H, W, 3)` at a height for the screen: enlarged by a whole factor, or shrunk."""
    height, width = clip.shape[1:3]
    if SMALLEST <= height <= LARGEST:
        return clip
    if height < SMALLEST:
        factor = -(-SMALLEST // height)
        return clip.repeat(factor, axis=1).repeat(factor, axis=2)
    size = (max(1, round(width * LARGEST / height)), LARGEST)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip]).astype(np.uint8)


def data_uri(frame: NDArray[np.uint8]) -> str:
    """A frame `(H, W, 3)` as the data URI of a JPEG."""
    contiguous = np.ascontiguousarray(frame)
    coded = simplejpeg.encode_jpeg(contiguous, quality=_QUALITY, colorspace="RGB", colorsubsampling="444")
    return f"data:image/jpeg;base64,{base64.b64encode(coded).decode()}"


def animated_gif(clips: Mapping[str, Frames], *, milliseconds: int) -> bytes:
    """Clips of equal length side by side as one GIF that repeats for ever; lower ones get black below them."""
    height = max(clip.shape[1] for clip in clips.values())
    padded = [np.pad(clip, ((0, 0), (0, height - clip.shape[1]), (0, 0), (0, 0))) for clip in clips.values()]
    frames = [Image.fromarray(frame).quantize(dither=Image.Dither.NONE) for frame in np.concatenate(padded, axis=2)]
    coded = io.BytesIO()
    timing = {"duration": milliseconds, "loop": 0}
    frames[0].save(coded, format="GIF", save_all=True, append_images=frames[1:], optimize=False, **timing)
    return coded.getvalue()
