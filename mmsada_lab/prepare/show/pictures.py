"""Clips as pictures people can look at: flow in colours, any size on a screen, as data URIs or an animated GIF.

Legend: `T` pictures, `H` and `W` their height and width, `C` channels.
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
"""Height of a picture on the screen, between these."""

_STILL = 127.5
_NO_MOTION = 1.0  # no motion is 128, or 127 in a mirror
_FAINTEST = 4.0
_QUALITY = 82


def as_rgb(clip: Frames, *, is_flow: bool) -> Frames:
    """A clip `(T, H, W, C)` of any channels as `(T, H, W', 3)`: RGB as it is, flow in colours, others in grey.

    Channels that are neither RGB nor flow stand side by side.
    """
    if is_flow and clip.shape[3] == 2:
        return colour_flow(clip)
    if clip.shape[3] == 3:
        return clip
    beside = np.concatenate(np.split(clip, clip.shape[3], axis=3), axis=2)
    return np.repeat(beside, 3, axis=3)


def colour_flow(clip: Frames) -> Frames:
    """8-bit flow `(T, H, W, 2)` in the colour wheel, `(T, H, W, 3)`: white stands still, colour is the direction.

    The strongest colour is the 99th percentile of the clip's own motion: right is red, down is yellow-green.
    """
    u, v = (clip[..., channel].astype(np.float32) - _STILL for channel in (0, 1))
    length = np.hypot(u, v)
    length[length < _NO_MOTION] = 0
    strongest = max(float(np.percentile(length, 99)), _FAINTEST)
    hue = np.mod(np.degrees(np.arctan2(v, u)), 360).astype(np.float32) / 2
    wheel = np.stack([hue, np.clip(length / strongest, 0, 1) * 255, np.full_like(hue, 255)], axis=-1).astype(np.uint8)
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_HSV2RGB) for picture in wheel]).astype(np.uint8)


def fitted(clip: Frames) -> Frames:
    """A clip `(T, H, W, 3)` at a height for the screen: small ones grow by a whole factor, large ones shrink."""
    height, width = clip.shape[1:3]
    if SMALLEST <= height <= LARGEST:
        return clip
    if height < SMALLEST:
        factor = -(-SMALLEST // height)
        return clip.repeat(factor, axis=1).repeat(factor, axis=2)
    size = (max(1, round(width * LARGEST / height)), LARGEST)
    return np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in clip]).astype(np.uint8)


def data_uri(picture: NDArray[np.uint8]) -> str:
    """A picture `(H, W, 3)` as the JPEG data URI of a page."""
    whole = np.ascontiguousarray(picture)
    coded = simplejpeg.encode_jpeg(whole, quality=_QUALITY, colorspace="RGB", colorsubsampling="444")
    return f"data:image/jpeg;base64,{base64.b64encode(coded).decode()}"


def animated_gif(clips: Mapping[str, Frames], *, milliseconds: int) -> bytes:
    """Clips of equal length side by side as one GIF that plays for ever."""
    tallest = max(clip.shape[1] for clip in clips.values())
    pictures = np.concatenate([_with_height(clip, tallest) for clip in clips.values()], axis=2)
    frames = [Image.fromarray(picture).quantize(dither=Image.Dither.NONE) for picture in pictures]
    coded = io.BytesIO()
    frames[0].save(
        coded, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=False
    )
    return coded.getvalue()


def _with_height(clip: Frames, height: int) -> Frames:
    """A clip with black below it up to a height."""
    return np.pad(clip, ((0, 0), (0, height - clip.shape[1]), (0, 0), (0, 0)))
