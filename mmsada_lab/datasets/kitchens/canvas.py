"""The canvas of the procedural kitchens: what stands still, what moves, and the camera that films it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Frames, Image
from mmsada_lab.datasets.kitchens import sprites
from mmsada_lab.datasets.kitchens.looks import Look
from mmsada_lab.datasets.kitchens.motion import head_motion, pointing, poses, shift
from mmsada_lab.datasets.kitchens.sprites import Sprite
from mmsada_lab.datasets.kitchens.surfaces import surface

Floats = NDArray[np.float64]
Pixel = TypeVar("Pixel", np.uint8, np.float32)
Generator = np.random.Generator

HEIGHT, WIDTH = 36, 64  # size of a frame, which is rendered at twice that and halved
MIDDLE = (58.0, 36.0)
"""Where the action is in the rendering: left of the centre, as training crops are taken at the left and centre."""

SHOULDER = 34.0

GRAIN = 10  # half the spread of the noise of the camera, in levels of the rendering


@dataclass(frozen=True)
class Mover:
    """A sprite that moves: its images (shown in turn) and its pose in every frame, `(T or 1, 3, 3)`."""

    sprites: Sequence[Sprite]
    poses: Floats
    visible: NDArray[np.bool_] | None = None


@dataclass
class Scene:
    """What stands still (the background, changed in place) and what moves, in drawing order."""

    look: Look
    rng: Generator
    frames: int
    background: Image
    movers: list[Mover] = field(default_factory=list)

    def place(self, sprite: Sprite, position: tuple[float, float], angle: float = 0.0, scale: float = 1.0) -> None:
        """Draw a thing that stands still."""
        offset = shift(sprites.SCENE_WIDTH / 2, sprites.SCENE_HEIGHT / 2)
        paste(self.background, sprite, offset @ poses(position, angle, scale=(scale, scale))[0])

    def move(
        self, sprite: Sprite | Sequence[Sprite], where: Floats, *, visible: NDArray[np.bool_] | None = None
    ) -> None:
        """Add a thing that moves, in front of the ones before."""
        self.movers.append(Mover([sprite] if isinstance(sprite, Sprite) else sprite, where, visible))

    def arm(self, hand: Floats, *, side: float = 1.0) -> None:
        """Add an arm whose fingertips follow a path; side 1 is the right arm, -1 the left."""
        self.move(self.limb, pointing(hand, (side * SHOULDER, 120.0)))

    def __post_init__(self) -> None:
        self.limb = sprites.forearm(self.look.sleeve, self.look.hand, self.rng)


def halve(images: NDArray[Pixel]) -> NDArray[Pixel]:
    """Halve the size of frames or flow, `(T, H, W, C)`, by the mean of 2 x 2 pixels."""
    frames, height, width, channels = images.shape
    halved = np.empty((frames, height // 2, width // 2, channels), dtype=images.dtype)
    for image, small in zip(images, halved, strict=True):
        small[:] = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return halved


def paste(canvas: Image, sprite: Sprite, matrix: Floats) -> None:
    """Draw a sprite on an image in place; the matrix `(3, 3)` maps the sprite's anchor frame to the image."""
    height, width = sprite.image.shape[:2]
    placed = matrix @ shift(-sprite.anchor[0], -sprite.anchor[1])
    corners = (placed @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]]))[:2]
    left, top = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 1, canvas.shape[1::-1])
    if left >= right or top >= bottom:
        return
    placed[:2, 2] -= (left, top)
    drawn = cv2.warpAffine(sprite.image, placed[:2], (int(right - left), int(bottom - top)))
    under = canvas[top:bottom, left:right]
    under[:] = drawn[..., :3] + ((under * (255 - drawn[..., 3:]).astype(np.uint16) + 255) >> 8).astype(np.uint8)


def film(scene: Scene) -> Frames:
    """Film the scene through the moving head, under its own light."""
    view = shift(*MIDDLE) @ head_motion(scene.frames, scene.rng, scene.look)
    centre = shift(-sprites.SCENE_WIDTH / 2, -sprites.SCENE_HEIGHT / 2)
    frames = np.empty((scene.frames, 2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    for t, image in enumerate(frames):
        matrix = (view[t] @ centre)[:2]
        cv2.warpAffine(scene.background, matrix, (2 * WIDTH, 2 * HEIGHT), dst=image, borderMode=cv2.BORDER_REFLECT_101)
        for mover in scene.movers:
            if mover.visible is None or mover.visible[t]:
                paste(image, mover.sprites[t % len(mover.sprites)], view[t] @ mover.poses[t % len(mover.poses)])
    return _light(frames, scene.rng)


def _light(frames: Frames, rng: Generator) -> Frames:
    """A light that falls off to one side, of any strength and slight tint: the same draw in all kitchens."""
    y, x = np.mgrid[-1:1:72j, -1:1:128j]
    slope = 1 + rng.uniform(-0.25, 0.25) * x + rng.uniform(-0.25, 0.25) * y
    gain = slope[..., None] * rng.uniform(0.65, 1.05) * rng.uniform(0.85, 1.1, 3)
    table = np.round(gain * 256).astype(np.uint16)
    noisy = ((frames * table) >> 8) + rng.integers(0, 2 * GRAIN, frames.shape, dtype=np.uint8)
    return np.asarray(np.clip(noisy, GRAIN, 255 + GRAIN) - GRAIN, dtype=np.uint8)


def empty_scene(look: Look, rng: Generator, frames: int) -> Scene:
    """A worktop with its clutter, on which nothing happens yet."""
    counter = surface(look.counter, rng, (sprites.SCENE_HEIGHT, sprites.SCENE_WIDTH))
    scene = Scene(look, rng, frames, counter)
    for _ in range(int(rng.integers(3, 7))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(44, 80)
        position = (distance * float(np.cos(angle)), distance * float(np.sin(angle)) * 0.8)
        scene.place(sprites.item(look.clutter, rng, rng.uniform(8, 15)), position, rng.uniform(0, 6.28))
    return scene
