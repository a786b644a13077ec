"""What sets three procedural kitchens apart: the draw of everything that differs between them.

A property is a choice among three variants or a range of numbers, and each kitchen owns one of the three. With
the probability that a knob names, a segment takes the property of its own kitchen, and otherwise that of a
kitchen drawn at random. So at 0 the three kitchens are one distribution, and at 1 they share nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]
Ranges = tuple[Range, Range, Range]

APPEARANCE: tuple[str, ...] = (
    "counter", "item", "knife", "board", "food", "spoon", "bowl", "vessel", "cup", "sink", "front", "handle",
    "opening", "sleeve", "hand", "clutter",
)  # fmt: skip

VIEWPOINT: dict[str, Ranges] = {
    "angle": ((-8.0, 8.0), (16.0, 30.0), (-48.0, -32.0)),
    "zoom": ((0.95, 1.1), (0.78, 0.9), (1.15, 1.35)),
    "squash": ((0.95, 1.0), (0.7, 0.8), (0.82, 0.92)),
}

MOTION: dict[str, Ranges] = {
    "period": ((1.1, 1.3), (0.75, 0.9), (0.9, 1.1)),
    "amplitude": ((1.05, 1.25), (0.7, 0.85), (0.9, 1.05)),
    "sway": ((0.5, 1.2), (1.0, 2.0), (2.0, 3.5)),
    "bend": ((-4.0, 4.0), (6.0, 12.0), (-12.0, -6.0)),
    "reach": ((0.1, 0.14), (0.06, 0.1), (0.12, 0.18)),
}


@dataclass(frozen=True, slots=True)
class Look:
    """Everything of one segment that depends on its kitchen.

    Attributes:
        counter ... clutter: which of three variants (0, 1, 2) a thing is.
        angle: turn of the view, degrees.
        zoom: nearness of the camera, 1 = as built.
        squash: slant of the camera: height over width of a circle on the counter.
        period: of washing, cutting and stirring, relative.
        amplitude: size of the movements, relative.
        sway: of the head, pixels of the rendering.
        bend: sideways bulge of a carried thing's path, pixels of the rendering.
        reach: share of the time before the hand holds the thing.
    """

    counter: int
    item: int
    knife: int
    board: int
    food: int
    spoon: int
    bowl: int
    vessel: int
    cup: int
    sink: int
    front: int
    handle: int
    opening: int
    sleeve: int
    hand: int
    clutter: int
    angle: float
    zoom: float
    squash: float
    period: float
    amplitude: float
    sway: float
    bend: float
    reach: float


def draw_look(kitchen: int, rng: np.random.Generator, *, appearance: float, viewpoint: float, motion: float) -> Look:
    """Draw the look of one segment of a kitchen (0, 1 or 2); the knobs are in 0..1.

    The same number of random draws is used whatever the knobs and the kitchen.
    """
    variants = {name: _owner(kitchen, rng, appearance) for name in APPEARANCE}
    view = {name: _between(rng, ranges[_owner(kitchen, rng, viewpoint)]) for name, ranges in VIEWPOINT.items()}
    moves = {name: _between(rng, ranges[_owner(kitchen, rng, motion)]) for name, ranges in MOTION.items()}
    return Look(**variants, **view, **moves)


def _owner(kitchen: int, rng: np.random.Generator, knob: float) -> int:
    """Whose property it is: the kitchen's own with probability `knob`, else that of any of the three."""
    chance, other = rng.random(), int(rng.integers(3))
    return kitchen if chance < knob else other


def _between(rng: np.random.Generator, span: Range) -> float:
    return float(rng.uniform(*span))
