"""Which segments a measure of the gap compares, and every assignment of them to the two domains."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.analysis.gap.measures import Sides

SIDES = {"source": 1, "target": -1}
"""How a side is written in a matrix of assignments; 0 is a segment that is left out."""


class Draws(NamedTuple):
    """How many random assignments of each kind, and their generator."""

    permutations: int
    resamples: int
    rng: np.random.Generator


class Block(NamedTuple):
    """Segments compared with one another.

    Attributes:
        rows: `(n,)` their rows.
        assignments: `(n, 1 + permutations + resamples)` the true sides, permutations of them, and halves of each side.
    """

    rows: NDArray[np.int64]
    assignments: Sides


class Scope(NamedTuple):
    """What one row of the table is about.

    Attributes:
        conditional: whether segments are compared within their class.
        blocks: all segments in one block, or a block for each class.
        note: what was left out.
    """

    conditional: bool
    blocks: list[Block]
    note: str

    @property
    def counts(self) -> dict[str, int]:
        """How many segments of each side enter."""
        counts = [side_counts(block.assignments[:, 0]) for block in self.blocks]
        return {side: sum(count[side] for count in counts) for side in SIDES}

    @property
    def fewest(self) -> int:
        """Segments of the smallest side of any block; 0 without a block."""
        return min((min(side_counts(block.assignments[:, 0]).values()) for block in self.blocks), default=0)


def side_counts(signs: Sides) -> dict[str, int]:
    """How many segments of each side there are."""
    return {side: int((signs == sign).sum()) for side, sign in SIDES.items()}


def draw_rows(signs: Sides, at_most: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], str]:
    """Rows to use, at most so many of a side, and what to say where they are not all."""
    kept, notes = [], []
    for side, sign in SIDES.items():
        rows = np.flatnonzero(signs == sign)
        if len(rows) > at_most:
            notes.append(f"{at_most} of {len(rows)} {side} segments drawn")
            rows = rng.choice(rows, at_most, replace=False)
        kept.append(rows)
    return np.sort(np.concatenate(kept)), ", ".join(notes)


def all_segments(rows: NDArray[np.int64], signs: Sides, *, draws: Draws, note: str) -> Scope:
    """Every segment compared with every other: the marginal gap."""
    return Scope(False, [_block(rows, signs, draws)], note)


def within_classes(
    rows: NDArray[np.int64], signs: Sides, *, labels: NDArray[Any], at_least: int, draws: Draws, note: str
) -> Scope:
    """Segments compared within their class, for the classes that have enough on both sides; -1 is no class."""
    by_class = {int(k): rows[labels[rows] == k] for k in np.unique(labels[rows]) if k >= 0}
    fewest = {k: min(side_counts(signs[of]).values()) for k, of in by_class.items()}
    blocks = [_block(of, signs, draws) for k, of in by_class.items() if fewest[k] >= at_least]
    short = ", ".join(f"{k} ({count})" for k, count in fewest.items() if count < at_least)
    if not by_class:
        left_out = "no segment has a label"
    elif not blocks:
        left_out = f"no class has {at_least} segments on both sides (class (fewest): {short}); lower at_least"
    else:
        left_out = f"classes left out for want of {at_least} segments on both sides (class (fewest): {short})"
    notes = [note, left_out] if short or not by_class else [note]
    return Scope(True, blocks, "; ".join(filter(None, notes)))


def _block(rows: NDArray[np.int64], signs: Sides, draws: Draws) -> Block:
    """Halves are drawn without replacement; of an odd number of segments, the smaller half."""
    true = signs[rows][:, None]
    permuted = draws.rng.permuted(np.repeat(true, draws.permutations, axis=1), axis=0)
    halves = np.repeat(true, draws.resamples, axis=1)
    for sign in SIDES.values():
        members = np.flatnonzero(true == sign)
        kept = np.arange(len(members)) < len(members) // 2
        halves[members] *= draws.rng.permuted(np.repeat(kept[:, None], draws.resamples, axis=1), axis=0)
    return Block(rows, np.concatenate([true, permuted, halves], axis=1))
