"""Sprites of the procedural kitchens: things, tools, hands; every kind in three variants of different shape.

A sprite is premultiplied RGBA at one pixel per unit of the scene, with the point it is placed by.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmsada_lab.clips.segments import Image
from mmsada_lab.datasets.kitchens.surfaces import Colour, colour, shade, skin

Point = tuple[float, float]
Generator = np.random.Generator

SCENE_WIDTH, SCENE_HEIGHT = 240, 180  # extent of the background, with the action at its centre


@dataclass(frozen=True, slots=True)
class Sprite:
    """A premultiplied RGBA image `(h, w, 4)` and the pixel (x, y) it is placed by."""

    image: Image
    anchor: Point


def blank(width: int, height: int, anchor: Point | None = None) -> Sprite:
    """A transparent sprite, placed by its centre unless told otherwise."""
    return Sprite(np.zeros((height, width, 4), dtype=np.uint8), anchor or (width / 2, height / 2))


def disc(sprite: Sprite, centre: Point, axes: Point, tint: Colour, *, thickness: int = -1) -> None:
    """Draw an ellipse, filled or as a line."""
    centre_px, axes_px = (round(centre[0]), round(centre[1])), (max(1, round(axes[0])), max(1, round(axes[1])))
    cv2.ellipse(sprite.image, centre_px, axes_px, 0, 0, 360, (*tint, 255), thickness, cv2.LINE_AA)


def patch(sprite: Sprite, corner: Point, opposite: Point, tint: Colour, *, thickness: int = -1) -> None:
    """Draw an upright rectangle, filled or as a line."""
    first, last = (round(corner[0]), round(corner[1])), (round(opposite[0]), round(opposite[1]))
    cv2.rectangle(sprite.image, first, last, (*tint, 255), thickness, cv2.LINE_AA)


def stroke(sprite: Sprite, start: Point, end: Point, tint: Colour, width: float) -> None:
    """Draw a straight line with round ends."""
    first, last = (round(start[0]), round(start[1])), (round(end[0]), round(end[1]))
    cv2.line(sprite.image, first, last, (*tint, 255), max(1, round(width)), cv2.LINE_AA)


def polygon(sprite: Sprite, points: list[Point], tint: Colour) -> None:
    """Draw a filled polygon."""
    cv2.fillPoly(sprite.image, [np.round(np.array(points)).astype(np.int32)], (*tint, 255), cv2.LINE_AA)


def item(variant: int, rng: Generator, radius: float) -> Sprite:
    """A thing to be taken, put or washed: 0 round crockery, 1 a printed box, 2 a long bottle."""
    base, mark = colour(rng, (0.1, 0.8), (0.55, 1.0)), colour(rng, (0.3, 0.9), (0.15, 0.5))
    size = round(2 * radius) + 14
    sprite, middle = blank(size, size), size / 2
    if variant == 0:
        disc(sprite, (middle, middle), (radius, radius), shade(base, 0.75))
        disc(sprite, (middle, middle), (radius - 1.5, radius - 1.5), base)
        disc(sprite, (middle, middle), (0.55 * radius, 0.55 * radius), mark, thickness=2)
    elif variant == 1:
        wide, high = 0.95 * radius, 0.8 * radius
        patch(sprite, (middle - wide, middle - high), (middle + wide, middle + high), base)
        for offset in (-0.5, 0.1, 0.7):
            x = middle + offset * wide
            patch(sprite, (x, middle - high), (x + 0.25 * wide, middle + high), mark)
        patch(sprite, (middle - wide, middle - high), (middle + wide, middle + high), shade(base, 0.5), thickness=1)
    else:
        stroke(sprite, (middle, middle - 0.9 * radius), (middle, middle + 0.5 * radius), shade(base, 0.8), 0.6 * radius)
        stroke(sprite, (middle, middle), (middle, middle + 0.7 * radius), base, 1.0 * radius)
        disc(sprite, (middle, middle - radius), (0.35 * radius, 0.35 * radius), mark)
    return sprite


def knife(variant: int, rng: Generator) -> Sprite:
    """A knife, placed by its grip, pointing up: 0 broad and pointed, 1 thin, 2 a cleaver."""
    sprite = blank(28, 46, (14, 40))
    steel, wood = colour(rng, (0.0, 0.1), (0.75, 1.0)), colour(rng, (0.3, 0.8), (0.1, 0.5))
    if variant == 0:
        polygon(sprite, [(11, 34), (17, 34), (17, 16), (14, 2), (11, 12)], steel)
    elif variant == 1:
        stroke(sprite, (14, 34), (14, 4), steel, 3)
    else:
        patch(sprite, (8, 6), (20, 30), steel)
        disc(sprite, (17, 10), (1, 1), wood)
    stroke(sprite, (14, 44), (14, 33), wood, 4)
    return sprite


def spoon(variant: int, rng: Generator) -> Sprite:
    """A stirring tool, placed by its grip, head up: 0 a wooden spoon, 1 a whisk, 2 a flat spatula."""
    sprite = blank(24, 52, (12, 46))
    tint = colour(rng, (0.1, 0.7), (0.4, 1.0))
    stroke(sprite, (12, 50), (12, 18), tint, 3)
    if variant == 0:
        disc(sprite, (12, 10), (6, 8), tint)
    elif variant == 1:
        for axis in (2, 5, 8):
            disc(sprite, (12, 11), (axis, 10), tint, thickness=1)
    else:
        patch(sprite, (5, 2), (19, 18), tint)
        patch(sprite, (8, 5), (9, 15), shade(tint, 0.4))
        patch(sprite, (14, 5), (15, 15), shade(tint, 0.4))
    return sprite


def bowl(variant: int, rng: Generator, radius: float) -> Sprite:
    """A vessel to stir or pour into, seen from above: 0 a bowl, 1 an oven dish, 2 a pan with a handle."""
    sprite = blank(140, 100)
    rim, inside = colour(rng, (0.1, 0.8), (0.5, 1.0)), colour(rng, (0.3, 0.9), (0.3, 0.9))
    x, y = sprite.anchor
    if variant == 1:
        patch(sprite, (x - 1.15 * radius, y - 0.9 * radius), (x + 1.15 * radius, y + 0.9 * radius), rim)
        patch(sprite, (x - 1.0 * radius, y - 0.75 * radius), (x + 1.0 * radius, y + 0.75 * radius), inside)
        return sprite
    if variant == 2:
        stroke(sprite, (x, y), (x - 2.4 * radius, y - 0.6 * radius), shade(rim, 0.35), 7)
    disc(sprite, (x, y), (radius, radius), shade(rim, 0.4) if variant == 2 else rim)
    disc(sprite, (x, y), (0.84 * radius, 0.84 * radius), inside)
    return sprite


def vessel(variant: int, rng: Generator) -> Sprite:
    """A vessel to pour from, placed by its middle, mouth up: 0 a bottle, 1 a carton, 2 a jug."""
    sprite = blank(44, 60)
    tint, mark = colour(rng, (0.2, 0.9), (0.4, 1.0)), colour(rng, (0.1, 0.9), (0.2, 1.0))
    if variant == 0:
        stroke(sprite, (22, 26), (22, 46), tint, 18)
        stroke(sprite, (22, 8), (22, 24), tint, 7)
        patch(sprite, (14, 30), (30, 40), mark)
    elif variant == 1:
        patch(sprite, (10, 14), (34, 56), tint)
        polygon(sprite, [(10, 14), (34, 14), (28, 6), (16, 6)], shade(tint, 0.6))
        patch(sprite, (10, 26), (34, 32), mark)
        patch(sprite, (10, 40), (34, 46), mark)
    else:
        disc(sprite, (22, 34), (15, 18), tint)
        polygon(sprite, [(14, 24), (30, 24), (22, 6)], tint)
        disc(sprite, (22, 34), (9, 12), mark, thickness=2)
    return sprite


def food(variant: int, rng: Generator) -> Sprite:
    """What is being cut: 0 a long vegetable, 1 round ones, 2 a heap of leaves."""
    sprite = blank(60, 32)
    tint = colour(rng, (0.5, 0.95), (0.4, 0.95))
    if variant == 0:
        stroke(sprite, (8, 16), (48, 16), tint, 12)
        for x in range(30, 58, 6):
            disc(sprite, (x, 16), (2, 6), shade(tint, 1.5))
    elif variant == 1:
        for x in (12, 30, 48):
            disc(sprite, (x, 16), (9, 9), tint)
            disc(sprite, (x, 16), (5, 5), shade(tint, 1.5))
    else:
        for _ in range(26):
            spot = (float(rng.normal(30, 11)), float(rng.normal(16, 5)))
            disc(sprite, spot, (4, 2.5), shade(tint, rng.uniform(0.6, 1.5)))
    return sprite


def board(variant: int, rng: Generator) -> Sprite:
    """A cutting board: 0 rectangular, 1 round, 2 striped with a grip."""
    sprite = blank(96, 64)
    tint = colour(rng, (0.1, 0.5), (0.5, 1.0))
    if variant == 0:
        patch(sprite, (6, 8), (90, 56), tint)
        patch(sprite, (6, 8), (90, 56), shade(tint, 0.6), thickness=2)
    elif variant == 1:
        disc(sprite, (48, 32), (36, 30), tint)
        disc(sprite, (48, 32), (32, 26), shade(tint, 0.75), thickness=1)
    else:
        patch(sprite, (4, 26), (20, 38), shade(tint, 0.7))
        for row in range(6, 58, 8):
            patch(sprite, (16, row), (92, row + 7), shade(tint, 1.0 if row % 16 == 6 else 0.65))
    return sprite


def sink(variant: int, rng: Generator) -> Sprite:
    """A sink with its tap: 0 a steel basin, 1 a round bowl, 2 a double basin with a drainer."""
    sprite = blank(120, 90)
    tint = colour(rng, (0.0, 0.15), (0.55, 0.95))
    if variant == 1:
        disc(sprite, (60, 46), (50, 40), tint)
        disc(sprite, (60, 46), (44, 35), shade(tint, 0.7))
    else:
        patch(sprite, (4, 6), (116, 86), tint)
        right = 108 if variant == 0 else 84
        patch(sprite, (12, 14), (right, 80), shade(tint, 0.65))
    if variant == 2:
        for column in range(90, 114, 6):
            stroke(sprite, (column, 14), (column, 78), shade(tint, 0.5), 2)
    disc(sprite, (60, 60), (4, 4), shade(tint, 0.25))
    return sprite


def tap(variant: int, rng: Generator) -> Sprite:
    """A tap, placed by its outlet: 0 straight, 1 a broad mixer, 2 from the side."""
    sprite = blank(60, 50, (30, 40))
    tint = colour(rng, (0.0, 0.1), (0.6, 1.0))
    start = ((30.0, 4.0), (30.0, 4.0), (4.0, 14.0))[variant]
    stroke(sprite, start, (30, 38), shade(tint, 0.6), (8, 14, 7)[variant])
    stroke(sprite, start, (30, 38), tint, (4, 8, 3)[variant])
    return sprite


def stream(rng: Generator, length: float, width: float) -> list[Sprite]:
    """A falling stream of water from (0, 0) down, six images in which ripples run downwards."""
    tint, high = colour(rng, (0.0, 0.3), (0.7, 1.0)), max(8, round(length))
    images = []
    for phase in range(6):
        sprite = blank(round(width) + 8, high + 8, ((round(width) + 8) / 2, 2))
        x = sprite.anchor[0]
        stroke(sprite, (x, 3), (x, high), tint, width)
        for y in range(phase * 2 - 12, high, 12):
            stroke(sprite, (x - 1, max(3, y)), (x + 1, max(3, y + 4)), shade(tint, 0.55), max(2.0, width - 2))
        disc(sprite, (x, high + 2), (width * (0.6 + 0.1 * (phase % 3)), 3), shade(tint, 0.85))
        images.append(sprite)
    return images


def forearm(sleeve: int, hand: int, rng: Generator) -> Sprite:
    """A hand and its arm, placed by the fingertips, pointing up.

    Sleeves: 0 bare, 1 broad with dots, 2 striped across. Hands: 0 fingers side by side, 1 a glove, 2 spread.
    """
    sprite = blank(56, 150, (28, 12))
    tone, cloth, mark = skin(rng), colour(rng, (0.1, 0.9), (0.2, 0.9)), colour(rng, (0.1, 0.9), (0.2, 1.0))
    wide = (8, 13, 9)[sleeve]
    polygon(sprite, [(28 - 6, 34), (28 + 6, 34), (28 + wide, 150), (28 - wide, 150)], tone if sleeve == 0 else cloth)
    if sleeve == 2:
        for y in range(40, 150, 12):
            patch(sprite, (28 - 7, y), (28 + 7, y + 5), mark)
    elif sleeve == 1:
        for y in range(44, 150, 11):
            disc(sprite, (28 + (4 if y % 2 else -4), y), (3, 3), mark)
    _hand(sprite, hand, mark if hand == 1 else tone)
    return sprite


def _hand(sprite: Sprite, hand: int, tone: Colour) -> None:
    dark = shade(tone, 0.6)
    if hand == 0:
        disc(sprite, (28, 26), (10, 11), tone)
        for x in (21, 26, 31, 36):
            stroke(sprite, (x, 24), (x, 12), tone, 4)
        for x in (23, 28, 33):
            stroke(sprite, (x, 24), (x, 12), dark, 1)
        stroke(sprite, (36, 28), (42, 19), tone, 5)
    elif hand == 1:
        disc(sprite, (28, 22), (11, 14), tone)
        stroke(sprite, (36, 28), (41, 18), tone, 7)
        stroke(sprite, (18, 35), (38, 35), dark, 4)
    else:
        disc(sprite, (28, 27), (8, 9), tone)
        for x, y in ((17, 15), (24, 9), (32, 9), (39, 15)):
            stroke(sprite, (28, 26), (x, y), tone, 4)
