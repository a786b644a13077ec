"""What lies over a kitchen's videos, one cause at a time: kinds of gap, each with what can close it.

- *context* (RGB): where an action is done tells which one it is, and every kitchen has places of its own. A classifier
  that has learned them is lost elsewhere; flow does not see them, so that correspondence can teach RGB what they mean.
- *nuisance* (RGB: grain, steam or lamps) and *sway* (flow): drawn anew for every segment, in a share of a kitchen's
  segments. There is nothing to learn in them but to ignore them; since they touch some segments and not others, batch
  statistics undo them in part alone. Each kitchen has a nuisance of another kind, so that no source knows the target's.
- *camera*: colours, light level and speed of a kitchen, the same for all its segments. Batch statistics undo it.

Each is laid over what was rendered, after flow was computed, so that it touches the one modality it names.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Frames
from mmsada_lab.paper import VERBS

Field = NDArray[np.float32]
Generator = np.random.Generator

CONTEXT_LEVELS = 90.0
"""Largest change of a pixel by its context, of 255 levels."""

CONTEXT_RELIABILITY = 0.85
"""Share of the segments whose place is that of their verb; the others are done at a place drawn at random."""

NUISANCE_SHARE = 0.6
"""Of the segments of each kitchen that its nuisance touches."""

GRAIN_LEVELS = 60.0
"""Standard deviation of the grain of D1's too dark recordings, levels."""

STEAM_DENSITY = 0.85
"""Of a picture, what D2's steam may hide."""

LAMP_LEVELS = 200.0
"""Largest change of a pixel by D3's coloured lamps, levels."""

SWAY_PIXELS = 5.0
"""Largest change of a flow vector by sway, pixels of a frame over `DILATION` frames."""

SWAY_SHARES = (0.0, 0.35, 0.7)
"""Of the segments of the three kitchens that sway touches."""

_REACH = 4  # pixels that a field drifts to either side, as the head moves


def add_context(rgb: Frames, *, kitchen: int, label: int, world: int, strength: float, rng: Generator) -> Frames:
    """Frames `(T, H, W, 3)` with the wallpaper of the place where a kitchen does a verb.

    Args:
        rgb: 8 bits.
        kitchen: 0, 1 or 2.
        label: of the verb.
        world: seed of the kitchens; each world has wallpapers of its own.
        strength: 0 (none) to 1.
        rng: of this segment.
    """
    usual, elsewhere = rng.random() < CONTEXT_RELIABILITY, int(rng.integers(len(VERBS)))
    # Five numbers, so that no segment, which has four, draws from the same stream.
    of_the_place = np.random.default_rng([world, kitchen, label if usual else elsewhere, 0, 77])
    wallpaper = _drifting_noise(of_the_place, rng, rgb.shape[:3], cells=(5, 9), channels=3)
    return _to_levels(rgb + np.float32(strength * CONTEXT_LEVELS) * wallpaper)


def add_nuisance(rgb: Frames, *, kitchen: int, strength: float, rng: Generator) -> Frames:
    """Frames `(T, H, W, 3)` with the nuisance of a kitchen, drawn for this segment: grain, steam or coloured lamps.

    Arguments as for `add_context`.

    Example:
        >>> frames = np.full((2, 36, 64, 3), 128, np.uint8)
        >>> seen = [add_nuisance(frames, kitchen=1, strength=s, rng=np.random.default_rng(1)) for s in (0.0, 1.0)]
        >>> [bool((clip == frames).all()) for clip in seen]
        [True, False]
    """
    amount = np.float32(strength * _touch(NUISANCE_SHARE, rng))
    return _to_levels(_NUISANCES[kitchen](rgb, amount, rng))


def _add_grain(rgb: Frames, amount: np.float32, rng: Generator) -> Field:
    grain = rng.normal(size=rgb.shape[:3]).astype(np.float32)[..., None]
    return np.asarray(rgb + amount * np.float32(GRAIN_LEVELS) * grain)


def _add_steam(rgb: Frames, amount: np.float32, rng: Generator) -> Field:
    steam = rng.uniform(0, 200, 3).astype(np.float32)
    return np.asarray(rgb + amount * np.float32(STEAM_DENSITY) * (steam - rgb))


def _add_lamps(rgb: Frames, amount: np.float32, rng: Generator) -> Field:
    light = _drifting_noise(rng, rng, rgb.shape[:3], cells=(5, 9), channels=3)
    return np.asarray(rgb + amount * np.float32(LAMP_LEVELS) * light)


_NUISANCES = (_add_grain, _add_steam, _add_lamps)


def add_sway(flow: Field, *, kitchen: int, strength: float, rng: Generator) -> Field:
    """Flow `(T, H, W, 2)`, pixels, with a smooth motion of this segment added; arguments as for `add_context`."""
    motion = _drifting_noise(rng, rng, flow.shape[:3], cells=(3, 4), channels=2)
    return np.asarray(
        flow + np.float32(strength * _touch(SWAY_SHARES[kitchen], rng) * SWAY_PIXELS) * motion, dtype=np.float32
    )


def _touch(share: float, rng: Generator) -> float:
    """How strongly a segment is touched, of which a share is at all: not, or nearly as much as may be."""
    touched, strength = rng.random() < share, rng.uniform(0.75, 1.0)
    return float(strength) if touched else 0.0


@dataclass(frozen=True, slots=True)
class Camera:
    """What a kitchen's camera makes of colours and motion.

    Attributes:
        gain: of red, green and blue.
        offset: added afterwards, levels.
        speed: of flow, relative.
    """

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]
    speed: float


CAMERAS = (
    Camera((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1.0),
    Camera((0.6, 0.45, 0.3), (10.0, 0.0, 0.0), 0.55),  # dim and warm, slow
    Camera((0.4, 0.45, 0.5), (90.0, 105.0, 125.0), 1.6),  # pale and cold, fast
)
"""Of the three kitchens."""


def film_with(camera: Camera, rgb: Frames, flow: Field, *, strength: float) -> tuple[Frames, Field]:
    """Frames and flow as a camera has them; at strength 0 as they are.

    Example:
        >>> rgb, flow = np.full((1, 2, 2, 3), 100, np.uint8), np.ones((1, 2, 2, 2), np.float32)
        >>> dim, slow = film_with(CAMERAS[1], rgb, flow, strength=1.0)
        >>> dim[0, 0, 0].tolist(), round(float(slow.max()), 2)
        ([70, 45, 30], 0.55)
    """
    gain = 1 + strength * (np.array(camera.gain, dtype=np.float32) - 1)
    levels = gain * rgb + np.float32(strength) * np.array(camera.offset, dtype=np.float32)
    return _to_levels(levels), flow * np.float32(1 + strength * (camera.speed - 1))


def _to_levels(values: NDArray[np.float32]) -> Frames:
    return np.asarray(np.clip(values, 0, 255).round(), dtype=np.uint8)


def _drifting_noise(
    pattern: Generator, path: Generator, shape: tuple[int, ...], *, cells: tuple[int, int], channels: int
) -> Field:
    """Smooth noise of mean 0 and largest value 1 that drifts slowly, `(T, H, W, channels)`.

    `pattern` draws what it looks like, `path` where the frames look; `cells` are the grid points of the noise.
    """
    frames, height, width = shape
    tall, wide = height + 2 * _REACH, width + 2 * _REACH
    coarse = pattern.normal(size=(*cells, channels)).astype(np.float32)
    noise = cv2.resize(coarse, (wide, tall), interpolation=cv2.INTER_CUBIC)
    noise = noise - noise.mean(axis=(0, 1))
    noise = noise / np.abs(noise).max()
    angle = 2 * np.pi * np.arange(frames)[:, None] / path.uniform(25, 50, 2) + path.uniform(0, 6.28, 2)
    corners = np.round(_REACH * (1 + np.sin(angle))).astype(np.int64)  # (T, 2), from 0 to twice the reach
    return np.stack([noise[y : y + height, x : x + width] for y, x in corners])
