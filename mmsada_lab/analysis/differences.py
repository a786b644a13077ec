"""Paired differences of two methods, with two intervals: over worlds, and over the seeds of worlds that stay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.analysis.tables import (
    domain_pairs,
    of_stream,
    require_one_setting,
    seeds_by_pair,
    write_count,
    write_range,
)
from mmsada_lab.errors import UserError, unknown

Values = NDArray[np.float64]

LEAST_WORLDS = 4
"""Fewer give no interval over worlds: what three say of their own spread is too little."""

OVER_WORLDS, OVER_SEEDS = "over worlds", "over seeds, worlds fixed"
"""The two intervals, as tables and figures name them."""


class Interval(NamedTuple):
    """The ends of a 95 % interval, in points; missing where there is none."""

    low: float = nan
    high: float = nan

    def __str__(self) -> str:
        return f"[{self.low:+.1f}, {self.high:+.1f}]"

    def __bool__(self) -> bool:
        return not isnan(self.low)


class PairedDifference(NamedTuple):
    """A mean difference in points with its two 95 % intervals, see `interval_of`.

    Attributes:
        difference: mean over worlds, of each one's mean over seeds and pairs.
        over_worlds: for other worlds drawn as these were; missing for fewer than `LEAST_WORLDS`.
        over_seeds: for other seeds in these worlds and pairs; missing if no world has two.
        pairs: how many.
        seeds: how many each world has.
        left_out: pairs and seeds that only one of the two methods has.
    """

    difference: float
    over_worlds: Interval
    over_seeds: Interval
    pairs: int
    seeds: tuple[int, ...]
    left_out: str = ""

    @property
    def worlds(self) -> int:
        """How many."""
        return len(self.seeds)

    @property
    def size(self) -> str:
        """Numbers of pairs and seeds, as text."""
        return f"{write_count([self.pairs], 'pair')}, {write_count(self.seeds, 'seed')}"

    def __str__(self) -> str:
        worlds, left_out = write_count([self.worlds], "world"), f"; left out: {self.left_out}" if self.left_out else ""
        over_worlds = (
            f"{worlds} {self.over_worlds}" if self.over_worlds else f"worlds: none ({worlds}; four are needed)"
        )
        over_seeds = f", worlds fixed {self.over_seeds}" if self.over_seeds else ": none (1 seed; two are needed)"
        intervals = f"95 % over {over_worlds}; over seeds{over_seeds}"
        return f"{self.difference:+.1f} points; {intervals} ({self.size}{left_out})"

    def columns(self) -> dict[str, Any]:
        """Name -> value, for a row of a table: both ends of both intervals, seeds as text."""
        ends = {"worlds": self.over_worlds, "seeds": self.over_seeds}
        values = {f"{unit}_{end}": value for unit, both in ends.items() for end, value in both._asdict().items()}
        counts = {"pairs": self.pairs, "worlds": self.worlds, "seeds": write_range(self.seeds)}
        return {"difference": self.difference, **values, **counts, "left_out": self.left_out}


def paired_difference(
    runs: pd.DataFrame, better: str, baseline: str, *, stream: str = "fused", measure: str = "top1"
) -> PairedDifference:
    """Difference of two methods, paired over worlds, seeds and pairs, with the intervals of `interval_of`.

    Example:
        >>> run = {"source": ["D2", "D2", "D1", "D1"], "target": ["D1", "D1", "D2", "D2"], "seed": [0, 1, 0, 1]}
        >>> runs = pd.DataFrame({**run, "world": 0, "stream": "fused", "setting": "a", "method": "adabn", "top1": 50.0})
        >>> found = paired_difference(pd.concat([runs, runs.assign(method="mmsada", top1=52.0)]), "mmsada", "adabn")
        >>> found.difference, bool(found.over_worlds), str(found.over_seeds), found.size
        (2.0, False, '[+2.0, +2.0]', '2 pairs, 2 seeds')
    """
    runs = of_stream(runs, stream)
    require_one_setting(runs)
    pairs, chosen = domain_pairs(runs), [_of_method(runs, method) for method in (better, baseline)]
    ours, theirs = (seeds_by_pair(of_method, pairs, measure=measure) for of_method in chosen)
    difference = compare_seeds(ours, theirs)
    if difference is None:
        needed = "an interval needs two seeds in a world, or four worlds"
        raise UserError(f"{better} and {baseline} share too few pairs, seeds and worlds; {needed}")
    return difference


def _of_method(runs: pd.DataFrame, method: str) -> pd.DataFrame:
    if method not in (known := list(runs["method"].unique())):
        raise unknown("method", method, known, hint="These have runs here.")
    return runs[runs["method"] == method]


def compare_seeds(ours: pd.DataFrame, theirs: pd.DataFrame) -> PairedDifference | None:
    """Difference of two frames of `seeds_by_pair` on what both have; None where that is too little for any interval.

    Of the pairs that both have, seeds that lack one are left out, so that all pairs weigh the same.

    Example:
        >>> rows = pd.MultiIndex.from_product([[0], [0, 1, 2]], names=["world", "seed"])
        >>> theirs = pd.DataFrame({"D2→D1": [50.0, 51.0, 52.0]}, rows)
        >>> compare_seeds((theirs + 2)[:2], theirs).left_out
        'seed 2'
    """
    compared = (ours - theirs).dropna(axis=1, how="all").dropna()
    if compared.empty:
        return None
    difference = interval_of(compared)
    if not (difference.over_worlds or difference.over_seeds):
        return None
    either = ours.combine_first(theirs).dropna(axis=1, how="all").dropna(how="all")
    return difference._replace(left_out=_left_out(either, compared))


def _left_out(either: pd.DataFrame, compared: pd.DataFrame) -> str:
    """Pairs and seeds that are not compared, by name where they are few."""
    several = either.index.get_level_values("world").nunique() > 1
    replicates = [replicate for replicate in either.index if replicate not in compared.index]
    listed = {
        "pair": [str(pair) for pair in either if pair not in compared],
        "seed": [f"{seed}{f' of world {world}' if several else ''}" for world, seed in replicates],
    }
    return "; ".join(_write_names(names, noun) for noun, names in listed.items() if names)


def _write_names(names: Sequence[str], noun: str) -> str:
    plural = "" if len(names) == 1 else "s"
    return write_count([len(names)], noun) if len(names) > 3 else f"{noun}{plural} {', '.join(names)}"


def interval_of(difference: pd.DataFrame) -> PairedDifference:
    """Mean of paired differences with two 95 % intervals, each Student's t, and each an answer to another question.

    *Over worlds*: how would other worlds drawn like these come out? From the spread of the worlds' means, with one
    degree of freedom less than there are worlds; none for fewer than `LEAST_WORLDS`.

    *Over seeds*: how would these methods come out if trained again in these worlds, on these pairs and segments? From
    the variance of seeds within their worlds (of each seed's mean over pairs, which depend on each other), pooled over
    worlds. It tells nothing of another world. It takes the seeds of different worlds as independent, which is certain
    only where their numbers differ.

    `difference` is in points; its rows are (world, seed), its columns pairs, and nothing in it is missing.

    Example:
        >>> rows = pd.MultiIndex.from_product([range(4), range(2)], names=["world", "seed"])
        >>> found = interval_of(pd.DataFrame({"D2→D1": [1.0, 3.0, 2.0, 4.0, 3.0, 5.0, 4.0, 6.0]}, rows))
        >>> print(found)  # means of the worlds 2, 3, 4, 5; sd within each 1.4
        +3.5 points; 95 % over 4 worlds [+1.4, +5.6]; over seeds, worlds fixed [+2.1, +4.9] (1 pair, 2 seeds)
    """
    if difference.empty or difference.isna().any(axis=None) or not difference.index.is_unique:
        raise UserError("differences are missing, or of one seed twice; compare what both methods have (compare_seeds)")
    of_seeds = difference.to_numpy().mean(axis=1)
    numbers = pd.factorize(difference.index.get_level_values("world"))[0]
    worlds = [of_seeds[numbers == number] for number in range(numbers.max() + 1)]
    centre, *ends = two_intervals(worlds)
    over_worlds, over_seeds = (Interval(*both.tolist()) for both in ends)
    return PairedDifference(float(centre), over_worlds, over_seeds, difference.shape[1], tuple(map(len, worlds)))


def two_intervals(worlds: Sequence[Values]) -> tuple[Values, Values, Values]:
    """The arithmetic of `interval_of`, for many experiments at once.

    Args:
        worlds: for each world the seeds' means over pairs, `(..., seeds)`; numbers of seeds may differ.

    Returns:
        The difference `(...)`, and low and high of the intervals over worlds and over seeds, `(..., 2)` each; missing
        where there is none.

    Example:
        >>> difference, over_worlds, over_seeds = two_intervals([np.array([2.0, 4.0])])  # sd 1.4, t = 12.7
        >>> over_worlds.round(1).tolist(), over_seeds.round(1).tolist()
        ([nan, nan], [-9.7, 15.7])
    """
    means = np.stack([seeds.mean(axis=-1) for seeds in worlds], axis=-1)  # (..., worlds)
    counts = np.array([seeds.shape[-1] for seeds in worlds])
    squares = np.sum([np.square(seeds - seeds.mean(axis=-1, keepdims=True)).sum(axis=-1) for seeds in worlds], axis=0)
    freedom = int((counts - 1).sum())
    between = means.var(axis=-1, ddof=1) / len(worlds) if len(worlds) >= LEAST_WORLDS else None
    within = squares / freedom * (1 / counts).sum() / len(worlds) ** 2 if freedom else None
    centre = means.mean(axis=-1)
    return centre, _t_interval(centre, between, len(worlds) - 1), _t_interval(centre, within, freedom)


def _t_interval(centre: Values, variance: Values | None, freedom: int) -> Values:
    """Ends `(..., 2)` around centres `(...)` whose variances `(...)` have so many degrees of freedom, if any."""
    if variance is None:
        return np.full((*centre.shape, 2), nan)
    half = _t_quantile(freedom) * np.sqrt(variance)
    return np.stack([centre - half, centre + half], axis=-1)


@lru_cache
def _t_quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
