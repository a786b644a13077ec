"""Colours: one colour, one meaning; and colour-blind readers can tell those of a group apart."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsada_lab.analysis import style
from mmsada_lab.facts import METHODS

GROUPS = {
    "domains": list(style.DOMAIN_COLOURS.values()),
    "streams": list(style.STREAM_COLOURS.values()),
    "loss terms": list(style.TERM_COLOURS.values()),
    "methods": list(style.METHOD_COLOURS.values()),
    "what has no colour of its own": list(style.CYCLE),
}

# Linear RGB as people without red or green cones see it (Machado, Oliveira and Fernandes 2009).
SEEN = {
    "all cones": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = TO_XYZ.sum(axis=1)
APART = 17.0
"""Distance in CIELAB: 2.3 is just noticed; Okabe and Ito's green and pink are 18 apart without green cones."""


def rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def lab(colour: str, eyes: str) -> NDArray[np.float64]:
    """A colour in CIELAB, as some eyes see it."""
    value = rgb(colour)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(SEEN[eyes] @ linear, 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: str, other: str, eyes: str = "all cones") -> float:
    return float(np.linalg.norm(lab(one, eyes) - lab(other, eyes)))


def is_grey(colour: str) -> bool:
    return len(set(rgb(colour))) == 1


def test_distances_are_those_of_the_literature() -> None:
    assert lab("#FFFFFF", "all cones") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("#FF0000", "all cones") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert distance("#FF0000", "#00FF00", "no green cones") < 0.6 * distance("#FF0000", "#00FF00")


def test_no_colour_stands_for_two_things() -> None:
    coloured = [colour for colours in GROUPS.values() for colour in colours if not is_grey(colour)]
    near = {pair for pair in combinations(coloured, 2) if distance(*pair) < APART}
    assert not near, "the same colour, or one that looks like it"
    assert len(coloured) > 25


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("group", GROUPS)
def test_colours_of_a_group_are_told_apart(group: str, eyes: str) -> None:
    assert min(distance(*pair, eyes) for pair in combinations(GROUPS[group], 2)) > APART


@pytest.mark.parametrize("eyes", SEEN)
def test_colours_that_stand_in_one_figure_are_told_apart(eyes: str) -> None:
    """Of several groups: the game's streams, other modalities and self-supervised task. The target's accuracy, which is
    like one of these to some, differs in its dash: tests/test_figure_mutations.py."""
    together = [*GROUPS["streams"], *style.CYCLE[:5], style.TERM_COLOURS["correspondence"]]
    assert min(distance(*pair, eyes) for pair in combinations(together, 2)) > APART


@pytest.mark.parametrize("colour", [colour for colours in GROUPS.values() for colour in colours])
def test_colours_are_seen_on_white(colour: str) -> None:
    assert lab(colour, "all cones")[0] < 76


def test_methods_and_loss_terms_of_the_paper_have_their_colours() -> None:
    assert set(style.METHOD_COLOURS) <= {facts.title for facts in METHODS.values()}
    assert {"Source-only", "MM-SADA", "Supervised target"} <= set(style.METHOD_COLOURS)
    assert set(METHODS["mmsada"].terms()) | set(METHODS["mcd"].terms()) <= set(style.TERM_COLOURS)


def test_a_name_keeps_its_colour_and_others_take_the_next_one() -> None:
    names = ["rgb", "skeleton", "MM-SADA", "inertial", "adversarial", "target"]
    found = style.colours(names)
    assert list(found) == names
    assert (found["skeleton"], found["inertial"]) == style.CYCLE[:2]
    assert found["target"] == style.TARGET
    assert found["MM-SADA"] == style.METHOD_COLOURS["MM-SADA"]
    assert len(set(style.colours(list("abcdefghij")).values())) == len(style.CYCLE)


def test_colours_are_named_in_one_place() -> None:
    folder = Path(style.__file__).parent
    named = {
        path.name for path in folder.rglob("*.py") if set(re.findall(r"#[0-9A-F]{6}\b", path.read_text())) - {"#FFFFFF"}
    }
    assert named - {"pages.py"} == {"style.py"}, "beside the style sheet of pages"
