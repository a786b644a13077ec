"""Tables from run folders: accuracies with their spread, and paired differences with an interval."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import DomainPair

MEAN = "mean"
"""What the column of the mean over pairs is called."""


def results_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, configuration preset, method, pair and stream.

    Args:
        runs: from `load_runs`.

    Returns:
        Columns data, preset, method, pair, stream, seeds, top1, top1_sd, mean_class, mean_class_sd (percent; sd over
        seeds, missing for one seed), selection. Methods in the order of `METHODS`.
    """
    _require_one_setting(runs)
    keys = ["data", "preset", "method", "source", "target", "stream", "selection"]
    grouped = runs.groupby(keys, sort=False)
    measures = {f"{m}{suffix}": (m, f) for m in ("top1", "mean_class") for suffix, f in (("", "mean"), ("_sd", "std"))}
    table = grouped.agg(seeds=("seed", "nunique"), **measures).reset_index()
    table["pair"] = [str(DomainPair(s, t)) for s, t in zip(table["source"], table["target"], strict=True)]
    table["order"] = table["method"].map({method: order for order, method in enumerate(METHODS)})
    table = table.sort_values(["data", "preset", "order", "target", "source"], kind="stable")
    columns = ["data", "preset", "method", "pair", "stream", "seeds", *measures, "selection"]
    return table[columns].reset_index(drop=True)


def _require_one_setting(runs: pd.DataFrame) -> None:
    """Refuse to average runs of different settings of one method on one pair."""
    settings = runs.groupby(["method", "source", "target"])["setting"].nunique()
    if (settings > 1).any():
        method, source, target = cast("tuple[str, str, str]", settings.idxmax())
        raise UserError(
            f"{method} {DomainPair(source, target)} has runs of {settings.max()} settings in one folder; "
            "give each setting a runs folder of its own"
        )


def pair_matrix(runs: pd.DataFrame, *, stream: str = "fused", measure: str = "top1") -> pd.DataFrame:
    """The paper's table layout: a row per method, a column per pair and their mean, cells ``mean ± sd`` over seeds.

    Supervised target has one run per target; it stands in the column of every pair with that target. The sd of
    the mean column is that of the per-seed means over pairs.
    """
    values = _values(runs, stream=stream, measure=measure)
    pairs = sorted(_two_domain_pairs(values), key=lambda pair: (pair.target, pair.source))
    rows = {}
    for method in [m for m in METHODS if m in values.index.unique("method")]:
        seeds = _by_seed(values, method, pairs)
        cells = {pair: _cell(seeds[pair]) for pair in seeds}
        complete = len(seeds.columns) == len(pairs) and not seeds.isna().any(axis=None)
        rows[METHODS[method].title] = {**cells, MEAN: _cell(seeds.mean(axis=1)) if complete else "incomplete"}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*map(str, pairs), MEAN]).fillna("")


def _values(runs: pd.DataFrame, *, stream: str, measure: str) -> pd.Series[float]:
    chosen = runs[runs["stream"] == stream]
    if chosen.empty:
        raise unknown("stream", stream, runs["stream"].unique())
    _require_one_setting(chosen)
    pairs = [DomainPair(s, t) for s, t in zip(chosen["source"], chosen["target"], strict=True)]
    levels = [chosen["method"], pd.Series(pairs, dtype=object), chosen["seed"]]
    index = pd.MultiIndex.from_arrays(levels, names=["method", "pair", "seed"])
    return pd.Series(chosen[measure].to_numpy(), index=index)


def _two_domain_pairs(values: pd.Series[float]) -> list[DomainPair]:
    return [pair for pair in values.index.unique("pair") if pair.source != pair.target]


def _by_seed(values: pd.Series[float], method: str, pairs: list[DomainPair]) -> pd.DataFrame:
    """Seeds x pairs of one method; a pair is named as it prints, ``D2→D1``."""
    found: dict[str, dict[int, float]] = {}
    for key, value in values.items():
        name, pair, seed = cast("tuple[str, DomainPair, int]", key)
        if name == method:
            columns = [p for p in pairs if p.target == pair.target] if pair.source == pair.target else [pair]
            for column in columns:
                found.setdefault(str(column), {})[seed] = value
    return pd.DataFrame({str(pair): found[str(pair)] for pair in pairs if str(pair) in found})


def _cell(values: pd.Series[float]) -> str:
    values = values.dropna()
    spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


class PairedDifference(NamedTuple):
    """A difference in points with its interval.

    Attributes:
        difference: mean over pairs and seeds.
        low: lower end of the 95 % interval.
        high: upper end.
        pairs: how many pairs.
        seeds: how many seeds each.
    """

    difference: float
    low: float
    high: float
    pairs: int
    seeds: int

    def __str__(self) -> str:
        return (
            f"{self.difference:+.1f} points, 95 % interval [{self.low:+.1f}, {self.high:+.1f}] "
            f"({self.pairs} pairs x {self.seeds} seeds)"
        )


def paired_difference(
    runs: pd.DataFrame,
    better: str,
    baseline: str,
    *,
    stream: str = "fused",
    measure: str = "top1",
    resamples: int = 10_000,
) -> PairedDifference:
    """Difference of two methods, paired over pairs and seeds, with a hierarchical bootstrap interval.

    Each resample draws pairs with replacement and, within each drawn pair, seeds with replacement; the interval is
    that of the 2.5 and 97.5 percentiles. Pairs share domains, which the bootstrap does not know.

    Raises:
        UserError: if the two methods do not share at least two pairs and two seeds.
    """
    values = _values(runs, stream=stream, measure=measure)
    for method in (better, baseline):
        if method not in (known := list(values.index.unique("method"))):
            raise unknown("method", method, known, hint="These have runs here.")
    pairs = _two_domain_pairs(values)
    difference = _by_seed(values, better, pairs) - _by_seed(values, baseline, pairs)
    difference = difference.dropna(axis=1, how="all").dropna()
    if min(difference.shape) < 2:
        raise UserError(
            f"{better} and {baseline} share {difference.shape[1]} pairs and {difference.shape[0]} seeds; "
            "an interval needs two of each"
        )
    return interval_of(difference, resamples=resamples)


def interval_of(difference: pd.DataFrame, *, resamples: int = 10_000) -> PairedDifference:
    """Mean of paired differences and the interval of a bootstrap over pairs, then seeds.

    Args:
        difference: points, `(seeds, pairs)`, at least two of each and none missing.
        resamples: of the bootstrap.
    """
    table = difference.to_numpy().T
    rng = np.random.default_rng(0)
    count, seeds = table.shape
    drawn_pairs = rng.integers(count, size=(resamples, count, 1))
    drawn_seeds = rng.integers(seeds, size=(resamples, count, seeds))
    low, high = np.percentile(table[drawn_pairs, drawn_seeds].mean(axis=(1, 2)), [2.5, 97.5])
    return PairedDifference(float(table.mean()), float(low), float(high), count, seeds)
