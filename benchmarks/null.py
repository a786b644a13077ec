"""The null test: kitchens that do not differ. No measure should find a gap, no method should close one.

    python benchmarks/null.py WORK --jobs 2

With all knobs at 0 the three kitchens are one domain. Two things are looked at:

- *p-values*: `--draws` such data sets are drawn, each with a seed of its own; a source-only network is trained on D2 of
  each, and every gap measure is taken between the test segments of D2 and D1. Its p-values should be uniform: their
  Kolmogorov-Smirnov test is printed, and how many lie below 0.05. (Within classes they should be so exactly. Over all
  segments less small ones are expected, since both sides are given the same class frequencies rather than drawn.)
- *methods*: every method is trained on three pairs of one of them, each domain once source and once target, with
  `--seeds` seeds, and compared with source-only. A difference here is no adaptation: it is the method's smaller share
  of source clips, or what its other tasks teach. So it is compared, too, with source-only on as few source clips a
  step as the methods that adapt have (columns `equal_*`). Intervals are over seeds: it is one world.

Written beside this script: `null_gaps.csv`, one row a data set, modality, measure and scope, and `null_methods.csv`,
one row a method. Interrupted, it continues when the same command is given again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from scipy.stats import kstest
from tqdm.auto import tqdm

from mmsada_lab.analysis.differences import paired_difference
from mmsada_lab.analysis.gap.table import gap_table, run_features
from mmsada_lab.analysis.tables import pair_matrix
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.batch import run_grid
from mmsada_lab.sweeps.grid import build_grid

EQUAL = "source_only, half the batch"
ALIKE = "kitchens:context=0,nuisance=0"
SMALL = f"{ALIKE},scale=0.04"
"""Half the usual number of segments, for the data sets whose gaps are measured."""
PERMUTATIONS, AT_LEAST = 199, 4
CIRCLE = (("D1", "D2"), ("D2", "D3"), ("D3", "D1"))
"""Source and target of the pairs that methods are compared on."""


def gaps(runs_dir: Path, *, draws: int, jobs: int) -> pd.DataFrame:
    """Every gap measure between D2 and D1 of `draws` data sets that have no gap."""
    configs = [
        build_config("quick", source="D2", target="D1", method="source_only", data=f"{SMALL},seed={seed}", seed=seed)
        for seed in range(draws)
    ]
    _train(configs, runs_dir, jobs=jobs)
    seed_of = {config.digest: config.seed for config in configs}
    runs = load_runs(runs_dir).drop_duplicates("path")
    found = [
        gap_table(*run_features(run.path), permutations=PERMUTATIONS, at_least=AT_LEAST, seed=run.seed).assign(
            seed=run.seed
        )
        for run in tqdm([run for run in runs.itertuples() if run.digest in seed_of], desc="gaps", unit="data set")
    ]
    return pd.concat(found, ignore_index=True)


def uniformity(found: pd.DataFrame) -> pd.DataFrame:
    """Per modality, measure and scope: how uniform the p-values of the data sets are."""
    rows = []
    for key, part in found.groupby(["modality", "measure", "conditional"], sort=False):
        # A p of a permutation test is a multiple of 1 / (1 + permutations): its middle is compared.
        p = part["p"].dropna()
        test = kstest(p - 0.5 / (1 + PERMUTATIONS), "uniform")
        facts = {"n": len(p), "median p": p.median(), "p <= 0.05": int((p <= 0.05).sum()), "KS p": test.pvalue}
        rows.append(dict(zip(("modality", "measure", "conditional"), key, strict=True)) | facts)
    return pd.DataFrame(rows)


def methods(runs_dir: Path, *, seeds: int, jobs: int) -> pd.DataFrame:
    """Every method on data without a gap, beside source-only."""
    configs = _configs(METHODS, seeds=seeds)
    fewer = _configs(["source_only"], seeds=seeds, source_only_batch="half")
    _train([*configs, *fewer], runs_dir, jobs=jobs)
    runs = load_runs(runs_dir)
    runs.loc[runs["digest"].isin([config.digest for config in fewer]), "method"] = EQUAL
    runs = runs[runs["digest"].isin([config.digest for config in (*configs, *fewer)])]
    print(pair_matrix(runs).to_string())
    rows = []
    for method in (*METHODS, EQUAL):
        top1 = runs.loc[(runs["method"] == method) & (runs["stream"] == "fused"), "top1"].mean()
        compared = {} if method == "source_only" else paired_difference(runs, method, "source_only").columns()
        equal = {} if method == EQUAL else paired_difference(runs, method, EQUAL).columns()
        equal = {f"equal_{name}": equal[name] for name in ("difference", "seeds_low", "seeds_high") if equal}
        rows.append({"method": method, "top1": top1, **compared, **equal})
    return pd.DataFrame(rows)


def _configs(methods: Iterable[str], *, seeds: int, **overrides: object) -> list[ExperimentConfig]:
    """Each method on each pair with each seed."""
    shared = {"data": ALIKE, "preset": "quick", "pairs": CIRCLE, "overrides": overrides}
    return build_grid((), methods=methods, seeds=range(seeds), **shared)


def _train(configs: list[ExperimentConfig], runs_dir: Path, *, jobs: int) -> None:
    if failures := run_grid(configs, runs_dir, jobs=jobs, device="cpu"):
        raise SystemExit("\n".join(f"{failure.config.pair}: {failure.message}" for failure in failures))


def main() -> None:
    """Train what is missing, write both tables and print what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the data sets (0.2 GB each) and the runs")
    parser.add_argument("--draws", type=int, default=20, help="data sets for the p-values")
    parser.add_argument("--seeds", type=int, default=3, help="of the comparison of methods")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    chosen = parser.parse_args()
    os.environ["MMSADA_CACHE"] = str((chosen.work / "cache").resolve())
    here, runs_dir = Path(__file__).parent, chosen.work / "runs"
    found = gaps(runs_dir, draws=chosen.draws, jobs=chosen.jobs)
    found.drop(columns="note").to_csv(here / "null_gaps.csv", index=False, float_format="%.5f")
    print(uniformity(found).round(3).to_string(index=False))
    compared = methods(runs_dir, seeds=chosen.seeds, jobs=chosen.jobs)
    compared.to_csv(here / "null_methods.csv", index=False, float_format="%.3f")
    print(compared.round(1).to_string(index=False))


if __name__ == "__main__":
    main()
