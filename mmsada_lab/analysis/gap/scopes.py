"""Which segments a measure of the gap compares, and every assignment of them to the two domains."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.analysis.gap.measures import Sides

SIDES = {"source": 1, "target": -1}  # sign of a side in a matrix of assignments; 0 is a segment that is left out
Rows = NDArray[np.int64]


class Block(NamedTuple):
    """Segments compared with one another: their rows, and the assignments of them to the two sides."""

    rows: Rows
    assignments: Sides


class Scope(NamedTuple):
    """The segments behind one row of the table: all in one block, or (`conditional`) a block for each class.

    The note says what was left out.
    """

    conditional: bool
    blocks: list[Block]
    note: str


def side_counts(signs: Sides) -> dict[str, int]:
    """How many segments of each side there are."""
    return {side: int((signs == sign).sum()) for side, sign in SIDES.items()}


def sample_rows(signs: Sides, at_most: int, rng: np.random.Generator) -> tuple[Rows, str]:
    """Rows to use, at most so many of a side, and a note if that leaves some out."""
    drawn, notes = [], []
    for side, sign in SIDES.items():
        rows = np.flatnonzero(signs == sign)
        if len(rows) > at_most:
            notes.append(f"{at_most} of {len(rows)} {side} segments drawn")
            rows = rng.choice(rows, at_most, replace=False)
        drawn.append(rows)
    return np.sort(np.concatenate(drawn)), ", ".join(notes)


def split_by_class(rows: Rows, signs: Sides, *, labels: NDArray[Any], at_least: int) -> tuple[list[Rows], str]:
    """Rows of each class that has enough on both sides (-1 is no class), and a note on the others."""
    by_class = {int(k): rows[labels[rows] == k] for k in np.unique(labels[rows]) if k >= 0}
    fewest = {k: min(side_counts(signs[members]).values()) for k, members in by_class.items()}
    large = [members for k, members in by_class.items() if fewest[k] >= at_least]
    small = ", ".join(f"{k} ({count})" for k, count in fewest.items() if count < at_least)
    if not by_class:
        return [], "no segment has a label"
    if not large:
        return [], f"no class has {at_least} segments on both sides (class (fewest): {small}); lower at_least"
    left_out = f"classes with fewer than {at_least} segments on a side are left out (class (fewest): {small})"
    return large, left_out if small else ""


def assign(signs: Sides, *, permutations: int, resamples: int, rng: np.random.Generator) -> Sides:
    """The true sides, permutations of them and random halves of each side, `(N, 1 + permutations + resamples)`.

    Halves are drawn without replacement; of an odd number of segments, the smaller half.
    """
    true = signs[:, None]
    permuted = rng.permuted(np.repeat(true, permutations, axis=1), axis=0)
    halves = np.repeat(true, resamples, axis=1)
    for sign in SIDES.values():
        members = np.flatnonzero(true == sign)
        in_half = np.arange(len(members)) < len(members) // 2
        halves[members] *= rng.permuted(np.repeat(in_half[:, None], resamples, axis=1), axis=0)
    return np.concatenate([true, permuted, halves], axis=1)
