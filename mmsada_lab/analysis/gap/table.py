"""How far apart two domains lie in feature space: measures with a permutation null and an interval. Start here.

- Fréchet and CORAL read above the truth on a finite sample, the A-distance beside it, the more so the fewer the
  segments and the wider the features; the MMD here is unbiased. `null` is what a measure reads on the same segments
  where membership of a domain means nothing; `corrected` is the value less its bias.
- A bootstrap with replacement adds that bias a second time (a segment drawn twice is at distance 0 from itself): its
  percentile intervals can miss the truth always. Intervals here are from half-samples without replacement, which vary
  about the value as the value varies about the truth and carry twice its bias, reflected about the value (the basic
  interval). So a biased value can lie above its own interval. Nominally 95 %, they held the truth in 80 % of simulated
  samples or more (Gaussians, 15 to 200 segments a side, 4 to 64 features). Fréchet and CORAL have none where half a
  side has fewer segments than features: there they held it in anything from 0 to 100 %.
- Segments are taken as independent. Those of one video are not, which makes p and intervals too favourable.
- Features depend on batch statistics. Under those of ``evaluation`` a run is judged: of both domains mixed, unless it
  is AdaBN. Under each domain's ``own`` discriminators see features, since the domains pass apart in training: that gap
  is D's to close, and what the statistics add to it is out of D's sight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mmsada_lab.analysis.gap.measures import MEASURES, OF_COVARIANCES, Sides, Values
from mmsada_lab.analysis.gap.scopes import SIDES, Block, Scope, assign, sample_rows, side_counts, split_by_class
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.runs import read_arrays


def gap_table(
    features: Mapping[str, NDArray[Any]],
    sides: NDArray[Any],
    labels: NDArray[Any] | None = None,
    *,
    measures: Sequence[str] = tuple(MEASURES),
    permutations: int = 200,
    resamples: int = 200,
    at_least: int = 10,
    at_most: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the gap between source and target, per modality: over all segments, and within classes.

    The null permutes which segments are source and which target (within each class, for the conditional rows):
    ``p = (1 + permutations that reach the value) / (1 + permutations)``. Conditional rows are the mean over the classes
    that have `at_least` segments on both sides; another mix of classes moves the other rows, but not these.

    Args:
        features: modality -> `(N, F)` features of both domains' segments.
        sides: `(N,)` ``"source"`` or ``"target"``.
        labels: `(N,)` class of each segment, -1 where unknown; None: no conditional rows. A target's true labels are
            for analysis alone. Labels that were predicted must be so on both sides, or p tests the prediction.
        measures: keys of `MEASURES`. Only `a_distance` and `mmd_median` compare across modalities and networks; the
            others grow with the scale of the features.
        permutations: of the null; 0 leaves `null` and `p` missing.
        resamples: half-samples behind `low`, `high` and `corrected`; 0 leaves them missing.
        at_least: segments that a side must have, and a class on each side.
        at_most: segments used of each side, drawn without replacement where there are more.
        seed: of all draws; every modality and measure sees the same ones.

    Returns:
        One row per modality, measure and scope; columns modality, measure, conditional, value, null (mean over the
        permutations), p, corrected (twice the value less the mean over half-samples), low, high (`COVERAGE`), n_source,
        n_target (segments used), classes (0 where not conditional), note. Numbers are missing where no class has
        enough segments, intervals where Fréchet or CORAL would need more; `note` says why.

    Example:
        >>> features, sides = np.arange(40.0).reshape(20, 2), np.repeat(["source", "target"], 10)
        >>> table = gap_table({"rgb": features}, sides, measures=["a_distance"], permutations=19)
        >>> table[["value", "p"]].iloc[0].tolist()
        [2.0, 0.05]
    """
    _check_options(measures, at_least=at_least, at_most=at_most, draws=min(permutations, resamples))
    _check_features(features, sides, labels)
    signs = np.array([SIDES[str(side)] for side in sides], dtype=np.int8)
    _require_enough(signs, at_least)
    rng, draws = np.random.default_rng(seed), {"permutations": permutations, "resamples": resamples}
    scopes = _scopes(signs, labels, at_least=at_least, at_most=at_most, rng=rng, **draws)
    jobs = list(product(features, measures, scopes))
    table = [
        {"modality": modality, "measure": measure, **_measure(features[modality], measure, scope, permutations)}
        for modality, measure, scope in tqdm(jobs, desc="gap", unit="measure", delay=2, leave=False)
    ]
    return pd.DataFrame(table)


def _scopes(
    signs: Sides, labels: NDArray[Any] | None, *, at_least: int, at_most: int, rng: np.random.Generator, **draws: int
) -> list[Scope]:
    """All segments and, where there are labels, those of each class."""
    rows, note = sample_rows(signs, at_most, rng)
    scopes = [Scope(False, [Block(rows, assign(signs[rows], rng=rng, **draws))], note)]
    if labels is not None:
        classes, left_out = split_by_class(rows, signs, labels=labels, at_least=at_least)
        blocks = [Block(members, assign(signs[members], rng=rng, **draws)) for members in classes]
        scopes.append(Scope(True, blocks, "; ".join(filter(None, [note, left_out]))))
    return scopes


COVERAGE = "nominally 95 %; they held the truth in 80 % of simulated samples or more"
"""What is known of intervals."""

STATISTICS = {"evaluation": "f_", "own": "own_"}
"""Batch statistics under which features were taken -> what their arrays' names begin with."""


def run_features(
    path: Path, *, statistics: str = "evaluation"
) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """Features by modality, sides and true labels of a finished run's test segments, as `gap_table` takes them.

    Args:
        path: of the run.
        statistics: key of `STATISTICS`; runs of older versions have ``evaluation`` alone, and no features of others.
    """
    if statistics not in STATISTICS:
        raise unknown("statistics", statistics, STATISTICS)
    arrays, prefix = read_arrays(Path(path) / "features.npz"), STATISTICS[statistics]
    features = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    return features, arrays["side"], arrays["label"]


def run_gap_table(
    path: Path,
    *,
    measures: Sequence[str] = tuple(MEASURES),
    permutations: int = 200,
    resamples: int = 200,
    at_least: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """`gap_table` of a finished run under each kind of batch statistics that it has features of, one below the other.

    The first column, statistics, is ``evaluation`` or ``own``. `note` also says of sides that have no test segments
    that theirs are training segments: a network knows those better, which moves them by itself.
    """
    tables = []
    for statistics in STATISTICS:
        features, sides, labels = run_features(path, statistics=statistics)
        if features:
            draws = {"permutations": permutations, "resamples": resamples, "seed": seed}
            table = gap_table(features, sides, labels, measures=measures, at_least=at_least, **draws)
            table.insert(0, "statistics", statistics)
            tables.append(table)
    joined = pd.concat(tables, ignore_index=True)
    if trained := _trained_sides(path):
        joined["note"] = [f"{note}; {trained}" if note else trained for note in joined["note"]]
    return joined


def _trained_sides(path: Path) -> str:
    arrays = read_arrays(Path(path) / "features.npz")
    if "split" not in arrays:  # an older version
        return ""
    trained = [side for side in SIDES if (arrays["split"][arrays["side"] == side] == "train").any()]
    return f"{' and '.join(trained)}: training segments, for want of test segments" if trained else ""


def _check_options(measures: Sequence[str], *, at_least: int, at_most: int, draws: int) -> None:
    if other := [measure for measure in measures if measure not in MEASURES]:
        raise unknown("measure", other[0], MEASURES)
    if at_least < 4 or at_most < at_least:
        raise UserError(f"at_least is {at_least} and at_most {at_most}; give at least 4 segments, and no fewer at most")
    if draws < 0:
        raise UserError(f"permutations or resamples is {draws}; give 0 or more")


def _check_features(features: Mapping[str, NDArray[Any]], sides: NDArray[Any], labels: NDArray[Any] | None) -> None:
    if other := [str(side) for side in np.unique(sides) if str(side) not in SIDES]:
        raise unknown("side", other[0], SIDES)
    if labels is not None and len(labels) != len(sides):
        raise UserError(f"{len(labels)} labels for {len(sides)} segments; give one each, -1 where unknown")
    if not features:
        raise UserError("no features to measure; give at least one modality")
    for modality, values in features.items():
        if values.ndim != 2 or len(values) != len(sides):
            raise UserError(f"features of {modality} have shape {values.shape}; expected ({len(sides)}, F)")
        if not np.isfinite(values).all():
            raise UserError(f"features of {modality} are not all finite; the run behind them diverged")
        if (values == values[:1]).all():
            raise UserError(f"features of {modality} are the same for every segment; the run behind them collapsed")


def _require_enough(signs: Sides, at_least: int) -> None:
    counts = side_counts(signs)
    if min(counts.values()) < at_least:
        sizes = " and ".join(f"{count} {side}" for side, count in counts.items())
        raise UserError(f"{sizes} segments are too few to measure a gap; give {at_least} of each, or lower at_least")


def _measure(values: NDArray[Any], measure: str, scope: Scope, permutations: int) -> dict[str, Any]:
    measured = _mean_over_blocks(values, measure, scope.blocks)
    value, null, halves = float(measured[0]), measured[1 : 1 + permutations], measured[1 + permutations :]
    sizes = [side_counts(block.assignments[:, 0]) for block in scope.blocks]
    shortage = _shortage(sizes, values.shape[1]) if measure in OF_COVARIANCES and len(halves) else ""
    return {
        "conditional": scope.conditional,
        "value": value,
        **_against_null(value, null),
        **_interval(value, halves[:0] if shortage else halves),
        **{f"n_{side}": sum(size[side] for size in sizes) for side in SIDES},
        "classes": len(scope.blocks) if scope.conditional else 0,
        "note": "; ".join(filter(None, [scope.note, shortage])),
    }


def _shortage(sizes: Sequence[Mapping[str, int]], features: int) -> str:
    """Why covariances have no interval, if half a side has fewer segments than features."""
    fewest = min((min(size.values()) for size in sizes), default=0)
    wanted = 2 * features
    return f"no interval: {features} features want {wanted} segments a side, found {fewest}" if fewest < wanted else ""


def _mean_over_blocks(values: NDArray[Any], measure: str, blocks: Sequence[Block]) -> Values:
    """The measure of every assignment, `(1 + permutations + resamples,)`; one missing value without a block."""
    if not blocks:
        return np.array([np.nan])
    by_block = []
    for rows, assignments in blocks:
        of_block = values[rows].astype(np.float64)
        by_block.append(MEASURES[measure](of_block - of_block.mean(axis=0), assignments))
    return np.asarray(np.mean(by_block, axis=0))


def _against_null(value: float, null: Values) -> dict[str, float]:
    """Mean of the null, and p; a permuted value that falls short by rounding alone has reached the value."""
    if not len(null):
        return {"null": np.nan, "p": np.nan}
    reached = int((null >= value - 1e-9 * abs(value)).sum())
    return {"null": float(null.mean()), "p": (1 + reached) / (1 + len(null))}


def _interval(value: float, halves: Values) -> dict[str, float]:
    """Half-samples reflected about the value, which takes its bias off."""
    if not len(halves):
        return {"corrected": np.nan, "low": np.nan, "high": np.nan}
    low, high = np.percentile(2 * value - halves, [2.5, 97.5])
    return {"corrected": float(2 * value - halves.mean()), "low": float(low), "high": float(high)}
