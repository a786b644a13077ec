"""Tables from run folders: accuracies with their spread.

The unit of replication is the *world*: what data are drawn with once (`mmsada_lab.runs.split_world`). Seeds train again
in the same world, on the same segments; pairs share its domains. Neither tells how another world would have come out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import nan, sqrt
from typing import Any, cast

import numpy as np
import pandas as pd

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import DomainPair

ACCURACIES = {"top1": "top-1", "mean_class": "mean class"}  # column of accuracies -> what a figure calls it
MEAN = "mean"  # title of the column of means over pairs
TEST_SE = "test-set SE"  # title of the column of standard errors that come of a test set's size alone
OVER = "± over"  # title of the column that says what spreads are over


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


def over_replicates(rows: pd.DataFrame, keys: Sequence[str], measure: str) -> pd.DataFrame:
    """Mean and spread of a measure in each group of `keys`, over its replicates: the seeds of its worlds.

    Columns `keys`, worlds, seeds (of each world, the fewest), mean (over worlds, of each one's mean over seeds), sd (of
    the worlds' means; of the seeds where there is one world; missing for one seed of one world).

    Example:
        >>> rows = {"world": [0, 0, 1, 1], "seed": [0, 1, 0, 1], "top1": [58, 62, 68, 72]}
        >>> rows = pd.DataFrame({"pair": "D2→D1", **rows})
        >>> over_replicates(rows, ["pair"], "top1").round(1).to_numpy().tolist()  # of 60 and 70
        [['D2→D1', 2, 2, 65.0, 7.1]]
    """
    _require_single(rows, keys)
    by_world = rows.groupby([*keys, "world"], sort=False)[measure]
    worlds = by_world.agg(value="mean", within="std", seeds="size").reset_index()
    columns = {"worlds": ("world", "size"), "seeds": ("seeds", "min"), "mean": ("value", "mean")}
    spreads = {"sd": ("value", "std"), "within": ("within", "first")}
    table = worlds.groupby(list(keys), sort=False).agg(**columns, **spreads).reset_index()
    return table.assign(sd=table["sd"].where(table["worlds"] > 1, table["within"])).drop(columns="within")


def _require_single(rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuse two runs of one seed of one world in a group: one would hide the other, or count twice."""
    twice = rows[rows.duplicated([*keys, "world", "seed"])]
    if len(twice):
        row = twice.iloc[0]
        group = " ".join(str(row[key]) for key in keys)
        raise UserError(f"two runs of {group}, world {row['world']}, seed {row['seed']}; leave one of them out")


def results_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, preset, method, pair and stream of `load_runs`, methods in the order of `METHODS`.

    Columns data, preset, method, pair, stream, worlds, seeds (of each world, the fewest), top1, top1_sd, `TEST_SE` (of
    top1), mean_class, mean_class_sd (percent; means over worlds, of each one's mean over seeds), sd_over (what both sd
    are over: the worlds, or the seeds of a single one; missing for one seed), selection.

    Example:
        >>> run = {"data": "kitchens", "preset": "quick", "method": "mmsada", "source": "D2", "target": "D1"}
        >>> run |= {"stream": "fused", "selection": "last", "setting": "a", "top1": [60.0, 64.0], "mean_class": 50.0}
        >>> table = results_table(pd.DataFrame({**run, "world": 0, "seed": [0, 1], "test_segments": 70}))
        >>> table[["pair", "seeds", "top1", TEST_SE, "sd_over"]].round(1).to_numpy().tolist()
        [['D2→D1', 2, 62.0, 5.8, 'seeds']]
    """
    require_one_setting(runs)
    keys = ["data", "preset", "method", "source", "target", "stream", "selection"]
    top1, mean_class = (over_replicates(runs, keys, measure) for measure in ACCURACIES)
    table = top1.rename(columns={"mean": "top1", "sd": "top1_sd"})
    table[TEST_SE] = _test_set_errors(runs, keys).to_numpy()
    table = table.assign(mean_class=mean_class["mean"], mean_class_sd=mean_class["sd"])
    unit = pd.Series("worlds", table.index).where(table["worlds"] > 1, "seeds")
    table["sd_over"] = unit.where(table["top1_sd"].notna(), "")
    order = ["data", "preset", "method", "target", "source"]
    table = table.sort_values(order, key=method_order, ignore_index=True)
    table["pair"] = [str(DomainPair(s, t)) for s, t in zip(table["source"], table["target"], strict=True)]
    shown = ["top1", "top1_sd", TEST_SE, "mean_class", "mean_class_sd", "sd_over"]
    return table[["data", "preset", "method", "pair", "stream", "worlds", "seeds", *shown, "selection"]]


def _test_set_errors(rows: pd.DataFrame, keys: Sequence[str]) -> pd.Series[float]:
    """Standard error of each group's mean top-1: seeds of a world share its test set, worlds do not."""
    means = rows.groupby([*keys, "world"], sort=False)[["top1", "test_segments"]].mean()
    squares = _squared_error(means["top1"], means["test_segments"]).groupby(level=list(keys), sort=False)
    errors: pd.Series[float] = squares.sum(skipna=False) ** 0.5 / squares.size()
    return errors


def _squared_error(top1: Any, segments: Any) -> Any:
    """Binomial variance of an accuracy in percent. That of a mean over runs on the same segments is at most this."""
    return top1 * (100 - top1) / segments


def binomial_errors(top1: pd.DataFrame, segments: pd.DataFrame, pairs: Sequence[DomainPair]) -> pd.Series[float]:
    """Standard error (points) of each pair's mean top-1, and of their mean, that comes of the size of the test sets.

    Seeds are tested on the same segments, and so are pairs of one target: their errors are taken as fully dependent.
    Those of different targets and worlds are independent. Both frames are of `seeds_by_pair` for the same `pairs`.
    Missing where the number of segments is not known; that of the mean is of the replicates that lack no pair.

    Example:
        >>> pairs = [DomainPair("D2", "D1"), DomainPair("D3", "D1"), DomainPair("D1", "D2")]
        >>> rows = pd.MultiIndex.from_tuples([(0, 0)], names=["world", "seed"])
        >>> top1, segments = (pd.DataFrame(value, rows, list(map(str, pairs))) for value in (50.0, 100))
        >>> binomial_errors(top1, segments, pairs).round(1).to_dict()  # mean: 5 / 3 times the root of 2² + 1²
        {'D2→D1': 5.0, 'D3→D1': 5.0, 'D1→D2': 5.0, 'mean': 3.7}
    """
    errors, tested = _errors_by_world(top1, segments), top1.groupby(level="world").count() > 0
    cells = (errors**2).where(tested, 0.0).sum(skipna=False) ** 0.5 / tested.sum()
    whole = _errors_by_world(top1.dropna(), segments)
    targets = whole.T.groupby([pair.target for pair in pairs]).sum(skipna=False)  # (targets, worlds)
    mean = sqrt((targets**2).to_numpy().sum()) / (len(pairs) * len(whole)) if len(whole) else nan
    return cast("pd.Series[float]", pd.concat([cells, pd.Series({MEAN: mean})]))


def _errors_by_world(top1: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """Worlds x pairs."""
    accuracy, count = (frame.groupby(level="world").mean() for frame in (top1, segments.loc[top1.index]))
    return cast("pd.DataFrame", _squared_error(accuracy, count) ** 0.5)


def require_one_setting(runs: pd.DataFrame) -> None:
    """Refuse to average runs of different settings of one method on one pair.

    Example:
        >>> runs = {"method": "mmsada", "source": "D2", "target": "D1", "setting": ["a", "b"]}
        >>> require_one_setting(pd.DataFrame(runs))
        Traceback (most recent call last):
        mmsada_lab.errors.UserError: mmsada D2→D1 has runs of 2 settings in one folder; give each setting ...
    """
    settings = runs.groupby(["method", "source", "target"])["setting"].nunique()
    if (settings > 1).any():
        method, source, target = cast("tuple[str, str, str]", settings.idxmax())
        raise UserError(
            f"{method} {DomainPair(source, target)} has runs of {settings.max()} settings in one folder; "
            "give each setting a runs folder of its own"
        )


def pair_matrix(runs: pd.DataFrame, *, stream: str = "fused", measure: str = "top1") -> pd.DataFrame:
    """The paper's table: a row per method, a column per pair and their mean, cells ``mean ± sd``.

    The last column, `OVER`, says what sd is over: the seeds of a single world, or the worlds' means over seeds.
    Supervised target stands in the column of every pair with that target; the mean's sd is that of means over pairs,
    so a run that stands twice counts once.

    Example:
        >>> run = {"method": "mmsada", "source": "D2", "target": "D1", "stream": "fused", "setting": "a", "world": 0}
        >>> pair_matrix(pd.DataFrame({**run, "seed": [0, 1], "top1": [60.0, 64.0]})).loc["MM-SADA"].tolist()
        ['62.0 ± 2.8', '62.0 ± 2.8', '2 seeds']
    """
    runs = of_stream(runs, stream)
    require_one_setting(runs)
    pairs = pairs_by_target(runs)
    rows = {}
    for method, facts in METHODS.items():
        seeds = seeds_by_pair(runs[runs["method"] == method], pairs, measure=measure)
        if len(seeds):
            rows[facts.title] = _write_row(seeds)
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*map(str, pairs), MEAN, OVER]).fillna("")


def _write_row(seeds: pd.DataFrame) -> dict[str, str]:
    cells = spread_by_pair(seeds)
    filled = cells[cells["worlds"] > 0]
    row = {str(name): write_accuracy(cell["mean"], cell["sd"]) for name, cell in filled.iterrows()}
    incomplete = {MEAN: "incomplete"} if seeds.isna().any(axis=None) else {}
    return row | incomplete | {OVER: write_replicates(filled["worlds"], filled["seeds"])}


def spread_by_pair(values: pd.DataFrame) -> pd.DataFrame:
    """`over_replicates` of every column of `seeds_by_pair`, and of the mean over them of rows that lack none.

    Example:
        >>> rows = pd.MultiIndex.from_tuples([(0, 0), (0, 1)], names=["world", "seed"])
        >>> values = pd.DataFrame({"D2→D1": [60.0, 62.0], "D1→D2": [50.0, None]}, rows)
        >>> spread_by_pair(values)[["seeds", "mean"]].to_dict("index")
        {'D2→D1': {'seeds': 2, 'mean': 61.0}, 'D1→D2': {'seeds': 1, 'mean': 50.0}, 'mean': {'seeds': 1, 'mean': 55.0}}
    """
    columns = values.assign(**{MEAN: values.mean(axis=1, skipna=False)})
    rows = columns.melt(ignore_index=False, var_name="pair").dropna().reset_index()
    table = over_replicates(rows, ["pair"], "value").set_index("pair").reindex(columns.columns)
    return table.fillna({"worlds": 0, "seeds": 0}).astype({"worlds": int, "seeds": int})


def write_replicates(worlds: Collection[int], seeds: Collection[int]) -> str:
    """How many seeds of how many worlds cells are the mean of; what their sd is over comes first.

    Example:
        >>> write_replicates([1], [5]), write_replicates([4], [2]), write_replicates([1, 1], [1, 3])
        ('5 seeds', '4 worlds of 2 seeds', '1-3 seeds')
    """
    trained = write_count(seeds, "seed")
    return trained if max(worlds) < 2 else f"{write_count(worlds, 'world')} of {trained}"


def write_count(numbers: Collection[int], noun: str) -> str:
    """How many, as `write_range`, with the noun.

    Example:
        >>> write_count([1, 3], "seed"), write_count([1], "world")
        ('1-3 seeds', '1 world')
    """
    return f"{write_range(numbers)} {noun}{'' if max(numbers) == 1 else 's'}"


def write_range(numbers: Collection[int]) -> str:
    """The number, or the smallest and the largest of several.

    Example:
        >>> write_range([3, 3]), write_range([3, 5])
        ('3', '3-5')
    """
    return "-".join(str(number) for number in sorted({int(min(numbers)), int(max(numbers))}))


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
    """Accuracies of one method: a row per seed of each world, a column per pair.

    Supervised target stands under every pair of its target.

    Example:
        >>> runs = pd.DataFrame({"source": "D1", "target": "D1", "world": 0, "seed": [0, 1], "top1": [60.0, 90.0]})
        >>> seeds_by_pair(runs, [DomainPair("D2", "D1")])["D2→D1"].to_dict()  # D1→D1 is supervised target
        {(0, 0): 60.0, (0, 1): 90.0}
    """
    columns = {}
    for pair in pairs:
        of_pair = runs[(runs["target"] == pair.target) & runs["source"].isin(pair)].assign(pair=str(pair))
        _require_single(of_pair, ["pair"])
        columns[str(pair)] = of_pair.set_index(["world", "seed"])[measure]
    return pd.DataFrame(columns).sort_index()


def write_accuracy(mean: float, sd: float) -> str:
    """``mean ± sd``; the mean alone without a spread, a dash for nothing.

    Example:
        >>> write_accuracy(62.0, 2.83), write_accuracy(62.0, np.nan), write_accuracy(np.nan, np.nan)
        ('62.0 ± 2.8', '62.0', '–')
    """
    if np.isnan(mean):
        return "–"
    return f"{mean:.1f}" if np.isnan(sd) else f"{mean:.1f} ± {sd:.1f}"
