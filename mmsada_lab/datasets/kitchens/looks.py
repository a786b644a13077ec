"""What sets three procedural kitchens apart: the draw of everything that differs between them.

A property is a choice among three variants or a range of numbers, and each kitchen owns one of the three. With
the probability that a knob names, a segment takes the property of its own kitchen, and otherwise that of a
kitchen drawn at random. So at 0 the three kitchens are one distribution, and at 1 they share nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

Range = tuple[float, float]


def _variant() -> Any:
    """A choice among three variants, 0, 1 and 2."""
    return field(metadata={"knob": "appearance"})


def _between(knob: str, *ranges: Range) -> Any:
    """A number from the range of one of the three kitchens."""
    return field(metadata={"knob": knob, "ranges": ranges})


@dataclass(frozen=True, slots=True)
class Look:
    """Everything of one segment that depends on its kitchen; fields are drawn in this order.

    Nearness, size and pace balance, so that the mean size of the flow is about the same in all kitchens: its scale
    is something that re-estimated batch statistics would undo.
    """

    counter: int = _variant()
    item: int = _variant()
    knife: int = _variant()
    board: int = _variant()
    food: int = _variant()
    spoon: int = _variant()
    bowl: int = _variant()
    vessel: int = _variant()
    cup: int = _variant()
    sink: int = _variant()
    front: int = _variant()
    handle: int = _variant()
    opening: int = _variant()
    sleeve: int = _variant()
    hand: int = _variant()
    clutter: int = _variant()
    angle: float = _between("viewpoint", (-6.0, 6.0), (22.0, 34.0), (-50.0, -38.0))
    """Turn of the view, degrees."""
    zoom: float = _between("viewpoint", (0.98, 1.1), (0.82, 0.92), (1.14, 1.28))
    """Nearness of the camera, 1 = as built."""
    squash: float = _between("viewpoint", (0.95, 1.0), (0.7, 0.8), (0.82, 0.92))
    """Slant of the camera: height over width of a circle on the counter."""
    period: float = _between("motion", (0.9, 1.0), (1.1, 1.25), (0.85, 0.95))
    """Of washing, cutting and stirring, relative."""
    amplitude: float = _between("motion", (0.95, 1.05), (1.35, 1.5), (0.7, 0.8))
    """Size of the movements, relative."""
    sway: float = _between("motion", (2.2, 3.2), (1.8, 2.5), (1.8, 2.6))
    """Of the head, pixels of the rendering."""
    tempo: float = _between("motion", (1.2, 1.4), (0.75, 0.85), (0.95, 1.05))
    """Duration of one sway of the head, relative."""
    bend: float = _between("motion", (-4.0, 4.0), (16.0, 24.0), (-10.0, -4.0))
    """Sideways bulge of a carried thing's path, pixels of the rendering."""
    lift: float = _between("motion", (-0.05, 0.05), (0.4, 0.55), (-0.25, -0.15))
    """Growth of a carried thing, as it nears the eye."""
    rub: float = _between("motion", (0.8, 1.1), (0.2, 0.35), (2.5, 3.5))
    """Height over width of the rounds of washing and stirring."""
    chop: float = _between("motion", (80.0, 100.0), (15.0, 40.0), (130.0, 155.0))
    """Direction of the strokes of the knife, degrees."""
    reach: float = _between("motion", (0.1, 0.14), (0.06, 0.1), (0.12, 0.18))
    """Share of the time before the hand holds the thing."""


def draw_look(kitchen: int, rng: np.random.Generator, *, appearance: float, viewpoint: float, motion: float) -> Look:
    """Draw the look of one segment of a kitchen (0, 1 or 2); the knobs are in 0..1.

    The same number of random draws is used whatever the knobs and the kitchen.
    """
    knobs = {"appearance": appearance, "viewpoint": viewpoint, "motion": motion}
    values: dict[str, Any] = {}
    for prop in fields(Look):
        chance, other = rng.random(), int(rng.integers(3))
        owner = kitchen if chance < knobs[prop.metadata["knob"]] else other
        ranges = prop.metadata.get("ranges")
        values[prop.name] = float(rng.uniform(*ranges[owner])) if ranges else owner
    return Look(**values)
