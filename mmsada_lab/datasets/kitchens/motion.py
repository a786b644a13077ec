"""Paths, poses and head motion of the procedural kitchens, as arrays over the frames of a segment.

A scene is measured in pixels of the rendering, (0, 0) where the action is, x to the right, y towards the wearer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.datasets.kitchens.looks import Look

Floats = NDArray[np.float64]
Path = NDArray[np.float64]  # positions `(T, 2)`
Generator = np.random.Generator


def phase(frames: int, share: float) -> tuple[Floats, Floats]:
    """Progress of reaching and of what follows, each 0..1 over the frames, `(T,)`; reaching takes `share`."""
    time = np.linspace(0, 1, frames)
    return np.clip(time / share, 0, 1), _ease(np.clip((time - share) / (1 - share), 0, 1))


def between(start: Floats, end: Floats, progress: Floats, *, bend: float = 0.0) -> Path:
    """A path from one point to another that bulges sideways by `bend`."""
    along = end - start
    across = np.array([-along[1], along[0]]) / max(1e-6, float(np.hypot(*along)))
    return start + progress[:, None] * along + bend * np.sin(np.pi * progress)[:, None] * across


def circle(frames: int, rng: Generator, *, period: float, radius: tuple[float, float]) -> Path:
    """Rounds about (0, 0), either way, at a pace that wavers a little."""
    angle = _turns(frames, rng, period) * rng.choice([-1.0, 1.0])
    return np.stack([radius[0] * np.cos(angle), radius[1] * np.sin(angle)], axis=1)


def swing(frames: int, rng: Generator, *, period: float) -> Floats:
    """An oscillation in -1..1, `(T,)`."""
    return np.asarray(np.sin(_turns(frames, rng, period)))


def head_motion(frames: int, rng: Generator, look: Look) -> Floats:
    """The view of each frame, `(T, 3, 3)`: maps the scene to the rendering, its origin in the middle."""
    drift = look.sway * np.sum([_wave(frames, rng, period * look.tempo) for period in (14, 26, 44)], axis=0)
    nod = _wave(frames, rng, 30 * look.tempo)[:, 0] * look.sway * 0.008
    mirrored = rng.choice([-1.0, 1.0])
    turn = poses(drift, np.deg2rad(look.angle * mirrored) + nod, scale=(look.zoom, look.zoom))
    return turn @ np.diag([mirrored, look.squash, 1.0])


def poses(
    position: Path | tuple[float, float],
    angle: Floats | float = 0.0,
    *,
    scale: tuple[Floats | float, Floats | float] = (1, 1),
) -> Floats:
    """Matrices `(T, 3, 3)` that scale a thing, then turn it (radians, clockwise on screen), then place it."""
    place = np.atleast_2d(np.asarray(position, dtype=np.float64))
    angles, wide, high = (np.asarray(a, dtype=np.float64).reshape(-1) for a in (angle, *scale))
    frames = max(len(place), len(angles), len(wide), len(high))
    matrices = np.zeros((frames, 3, 3))
    matrices[:, 0, 0], matrices[:, 0, 1] = np.cos(angles) * wide, -np.sin(angles) * high
    matrices[:, 1, 0], matrices[:, 1, 1] = np.sin(angles) * wide, np.cos(angles) * high
    matrices[:, :2, 2], matrices[:, 2, 2] = place, 1.0
    return matrices


def shift(x: float, y: float) -> Floats:
    """The matrix `(3, 3)` that moves a thing."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def pointing(hand: Path, shoulder: tuple[float, float]) -> Floats:
    """Poses of an arm whose fingertips are at `hand` and which comes from `shoulder`."""
    arm = hand - np.array(shoulder)
    return poses(hand, np.arctan2(arm[:, 0], -arm[:, 1]))


def _ease(progress: Floats) -> Floats:
    """Slower at both ends, yet never at rest, so that any window shows the direction."""
    return 0.6 * progress + 0.4 * progress**2 * (3 - 2 * progress)


def _turns(frames: int, rng: Generator, period: float) -> Floats:
    waver: Floats = 0.5 * np.sin(2 * np.pi * np.arange(frames) / rng.uniform(20, 40) + rng.uniform(0, 6.28))
    return np.asarray(2 * np.pi * np.arange(frames) / period + waver + rng.uniform(0, 2 * np.pi))


def _wave(frames: int, rng: Generator, period: float) -> Path:
    """A slow to-and-fro in both axes, `(T, 2)`, amplitude at most 1."""
    angle = 2 * np.pi * np.arange(frames)[:, None] / (period * rng.uniform(0.8, 1.25, 2)) + rng.uniform(0, 6.28, 2)
    return np.asarray(rng.uniform(0.3, 1.0, 2) * np.sin(angle))
