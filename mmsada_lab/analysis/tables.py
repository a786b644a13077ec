"""Tables from run folders: accuracies with their spread, and paired differences with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import DomainPair

ACCURACIES = {"top1": "top-1", "mean_class": "mean class"}  # column of accuracies -> what a figure calls it
MEAN = "mean"  # title of the column of means over pairs


def stack_runs(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Stack the frames of several runs (histories, predictions, embeddings), told apart by a column ``run``.

    Example:
        >>> stack_runs({"seed 0": pd.DataFrame({"value": [1.0]}), "seed 1": pd.DataFrame({"value": [3.0]})})
           value     run
        0    1.0  seed 0
        1    3.0  seed 1
    """
    if not frames:
        raise UserError("no run to draw; give at least one")
    return pd.concat([frame.assign(run=name) for name, frame in frames.items()], ignore_index=True)


def method_order(column: pd.Series[str]) -> pd.Series[int] | pd.Series[str]:
    """Sort key that puts methods in the order of `METHODS`; other columns keep their own.

    Example:
        >>> method_order(pd.Series(["adabn", "source_only"], name="method")).tolist()
        [1, 0]
    """
    return column.map({method: number for number, method in enumerate(METHODS)}) if column.name == "method" else column


def results_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, preset, method, pair and stream of `load_runs`, methods in the order of `METHODS`.

    Columns data, preset, method, pair, stream, seeds, top1, top1_sd, mean_class, mean_class_sd (percent; sd over seeds,
    missing for one), selection.

    Example:
        >>> run = {"data": "kitchens", "preset": "quick", "method": "mmsada", "source": "D2", "target": "D1"}
        >>> run |= {"stream": "fused", "selection": "last", "setting": "a", "top1": [60.0, 64.0], "mean_class": 50.0}
        >>> results_table(pd.DataFrame({**run, "seed": [0, 1]}))[["pair", "seeds", "top1"]].to_numpy().tolist()
        [['D2→D1', 2, 62.0]]
    """
    _require_one_setting(runs)
    keys = ["data", "preset", "method", "source", "target", "stream", "selection"]
    measures = {f"{m}{suffix}": (m, f) for m in ACCURACIES for suffix, f in (("", "mean"), ("_sd", "std"))}
    table = runs.groupby(keys, sort=False).agg(seeds=("seed", "nunique"), **measures).reset_index()
    order = ["data", "preset", "method", "target", "source"]
    table = table.sort_values(order, key=method_order, ignore_index=True)
    table["pair"] = [str(DomainPair(s, t)) for s, t in zip(table["source"], table["target"], strict=True)]
    return table[["data", "preset", "method", "pair", "stream", "seeds", *measures, "selection"]]


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
    """The paper's table: a row per method, a column per pair and their mean, cells ``mean ± sd`` over seeds.

    Supervised target stands in the column of every pair with that target; the mean's sd is over per-seed means.

    Example:
        >>> run = {"method": "mmsada", "source": "D2", "target": "D1", "stream": "fused", "setting": "a"}
        >>> pair_matrix(pd.DataFrame({**run, "seed": [0, 1], "top1": [60.0, 64.0]})).loc["MM-SADA"].tolist()
        ['62.0 ± 2.8', '62.0 ± 2.8']
    """
    runs = of_stream(runs, stream)
    _require_one_setting(runs)
    pairs = pairs_by_target(runs)
    rows = {}
    for method, facts in METHODS.items():
        seeds = seeds_by_pair(runs[runs["method"] == method], pairs, measure=measure)
        if len(seeds):
            rows[facts.title] = _write_row(seeds)
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*map(str, pairs), MEAN]).fillna("")


def _write_row(seeds: pd.DataFrame) -> dict[str, str]:
    columns = {**seeds.dropna(axis=1, how="all"), MEAN: seeds.mean(axis=1)}
    row = {name: write_accuracy(values.mean(), values.std()) for name, values in columns.items()}
    return row | ({MEAN: "incomplete"} if seeds.isna().any(axis=None) else {})


def of_stream(frame: pd.DataFrame, stream: str) -> pd.DataFrame:
    """The rows of a stream, of runs or of predictions; none is an error.

    Example:
        >>> of_stream(pd.DataFrame({"stream": ["rgb", "fused"], "top1": [50.0, 60.0]}), "fused")["top1"].tolist()
        [60.0]
    """
    rows = frame[frame["stream"] == stream]
    if rows.empty:
        raise unknown("stream", stream, frame["stream"].unique())
    return rows


def domain_pairs(runs: pd.DataFrame) -> list[DomainPair]:
    """Pairs of two domains that runs are of, in the order of the runs.

    Example:
        >>> [str(pair) for pair in domain_pairs(pd.DataFrame({"source": ["D2", "D1"], "target": ["D1", "D1"]}))]
        ['D2→D1']
    """
    pairs = zip(runs["source"], runs["target"], strict=True)
    return [DomainPair(source, target) for source, target in dict.fromkeys(pairs) if source != target]


def pairs_by_target(runs: pd.DataFrame) -> list[DomainPair]:
    """`domain_pairs` in the order of the paper's columns.

    Example:
        >>> runs = pd.DataFrame({"source": ["D1", "D3", "D2"], "target": ["D2", "D1", "D1"]})
        >>> [str(pair) for pair in pairs_by_target(runs)]
        ['D2→D1', 'D3→D1', 'D1→D2']
    """
    return sorted(domain_pairs(runs), key=lambda pair: (pair.target, pair.source))


def seeds_by_pair(runs: pd.DataFrame, pairs: Sequence[DomainPair], *, measure: str = "top1") -> pd.DataFrame:
    """Accuracies of one method, seeds x pairs; supervised target stands under every pair of its target.

    Example:
        >>> runs = pd.DataFrame({"source": ["D2", "D1"], "target": "D1", "seed": [0, 1], "top1": [60.0, 90.0]})
        >>> seeds_by_pair(runs, [DomainPair("D2", "D1")])["D2→D1"].to_dict()  # D1→D1 is supervised target
        {0: 60.0, 1: 90.0}
    """
    columns = {}
    for pair in pairs:
        of_pair = runs[(runs["target"] == pair.target) & runs["source"].isin(pair)]
        columns[str(pair)] = of_pair.groupby("seed")[measure].last()
    return pd.DataFrame(columns).rename_axis(None)


def write_accuracy(mean: float, sd: float) -> str:
    """``mean ± sd``; the mean alone without a spread, a dash for nothing.

    Example:
        >>> write_accuracy(62.0, 2.83), write_accuracy(62.0, np.nan), write_accuracy(np.nan, np.nan)
        ('62.0 ± 2.8', '62.0', '–')
    """
    if np.isnan(mean):
        return "–"
    return f"{mean:.1f}" if np.isnan(sd) else f"{mean:.1f} ± {sd:.1f}"


class PairedDifference(NamedTuple):
    """Mean difference in points over pairs and seeds, with the ends of its 95 % interval."""

    difference: float
    low: float
    high: float
    pairs: int
    seeds: int

    def __str__(self) -> str:
        interval = f"95 % interval [{self.low:+.1f}, {self.high:+.1f}]"
        return f"{self.difference:+.1f} points, {interval} ({self.pairs} pairs x {self.seeds} seeds)"


def paired_difference(
    runs: pd.DataFrame,
    better: str,
    baseline: str,
    *,
    stream: str = "fused",
    measure: str = "top1",
    resamples: int = 10_000,
) -> PairedDifference:
    """Difference of two methods, paired over pairs and seeds, with the interval of `interval_of`.

    Example:
        >>> run = {"source": ["D2", "D2", "D1", "D1"], "target": ["D1", "D1", "D2", "D2"], "seed": [0, 1, 0, 1]}
        >>> runs = pd.DataFrame({**run, "stream": "fused", "setting": "a", "method": "adabn", "top1": 50.0})
        >>> print(paired_difference(pd.concat([runs, runs.assign(method="mmsada", top1=52.0)]), "mmsada", "adabn"))
        +2.0 points, 95 % interval [+2.0, +2.0] (2 pairs x 2 seeds)
    """
    runs = of_stream(runs, stream)
    _require_one_setting(runs)
    pairs, chosen = domain_pairs(runs), [_of_method(runs, method) for method in (better, baseline)]
    ours, theirs = (seeds_by_pair(of_method, pairs, measure=measure) for of_method in chosen)
    difference = (ours - theirs).dropna(axis=1, how="all").dropna()
    if min(difference.shape) < 2:
        seeds, shared = difference.shape
        sizes = f"{shared} pairs and {seeds} seeds"
        raise UserError(f"{better} and {baseline} share {sizes}; an interval needs two of each")
    return interval_of(difference, resamples=resamples)


def _of_method(runs: pd.DataFrame, method: str) -> pd.DataFrame:
    if method not in (known := list(runs["method"].unique())):
        raise unknown("method", method, known, hint="These have runs here.")
    return runs[runs["method"] == method]


def interval_of(difference: pd.DataFrame, *, resamples: int = 10_000) -> PairedDifference:
    """Mean of paired differences and the 95 % interval of a bootstrap over pairs, then seeds.

    Each resample draws pairs with replacement and, within each drawn pair, seeds with replacement (a hierarchical
    bootstrap: https://arxiv.org/abs/2007.07797). Pairs share domains, which it does not know. `difference` is in
    points, `(seeds, pairs)`, at least two of each and none missing.

    Example:
        >>> interval_of(pd.DataFrame({"D2→D1": [0.0, 0.0], "D1→D2": [10.0, 10.0]}))[:3]
        (5.0, 0.0, 10.0)
    """
    table = difference.to_numpy().T  # (pairs, seeds)
    rng = np.random.default_rng(0)
    count, seeds = table.shape
    drawn_pairs = rng.integers(count, size=(resamples, count, 1))
    drawn_seeds = rng.integers(seeds, size=(resamples, count, seeds))
    low, high = np.percentile(table[drawn_pairs, drawn_seeds].mean(axis=(1, 2)), [2.5, 97.5])
    return PairedDifference(float(table.mean()), float(low), float(high), count, seeds)
