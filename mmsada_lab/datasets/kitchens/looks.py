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
    "angle": ((-6.0, 6.0), (22.0, 34.0), (-50.0, -38.0)),
    "zoom": ((0.98, 1.1), (0.82, 0.92), (1.14, 1.28)),
    "squash": ((0.95, 1.0), (0.7, 0.8), (0.82, 0.92)),
}

# Nearness, size and pace balance, so that the mean size of the flow is about the same in all kitchens: its scale
# is something that re-estimated batch statistics would undo.
MOTION: dict[str, Ranges] = {
    "period": ((0.9, 1.0), (1.1, 1.25), (0.85, 0.95)),
    "amplitude": ((0.95, 1.05), (1.35, 1.5), (0.7, 0.8)),
    "sway": ((2.2, 3.2), (1.8, 2.5), (1.8, 2.6)),
    "tempo": ((1.2, 1.4), (0.75, 0.85), (0.95, 1.05)),
    "bend": ((-4.0, 4.0), (16.0, 24.0), (-10.0, -4.0)),
    "lift": ((-0.05, 0.05), (0.4, 0.55), (-0.25, -0.15)),
    "rub": ((0.8, 1.1), (0.2, 0.35), (2.5, 3.5)),
    "chop": ((80.0, 100.0), (15.0, 40.0), (130.0, 155.0)),
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
        tempo: duration of one sway of the head, relative.
        bend: sideways bulge of a carried thing's path, pixels of the rendering.
        lift: growth of a carried thing, as it nears the eye.
        rub: height over width of the rounds of washing and stirring.
        chop: direction of the strokes of the knife, degrees.
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
    tempo: float
    bend: float
    lift: float
    rub: float
    chop: float
    reach: float


def draw_look(kitchen: int, rng: np.random.Generator, *, appearance: float, viewpoint: float, motion: float) -> Look:
    """Draw the look of one segment of a kitchen (0, 1 or 2); the knobs are in 0..1.

    The same number of random draws is used whatever the knobs and the kitchen.
    """
    variants = {name: _owner(kitchen, rng, appearance) for name in APPEARANCE}
    view = {name: _between(rng, ranges[_owner(kitchen, rng, viewpoint)]) for name, ranges in VIEWPOINT.items()}
    moves = {name: _between(rng, ranges[_owner(kitchen, rng, motion)]) for name, ranges in MOTION.items()}
    return Look(**variants, **view, **moves)  # type: ignore[arg-type]  # the names are those of the tables


def _owner(kitchen: int, rng: np.random.Generator, knob: float) -> int:
    """Whose property it is: the kitchen's own with probability `knob`, else that of any of the three."""
    chance, other = rng.random(), int(rng.integers(3))
    return kitchen if chance < knob else other


def _between(rng: np.random.Generator, span: Range) -> float:
    return float(rng.uniform(*span))
