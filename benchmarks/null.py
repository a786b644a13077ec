"""The null test: kitchens that do not differ. No measure should find a gap.

    python benchmarks/null.py WORK --jobs 2

With all knobs at 0 the three kitchens are one domain. `--draws` such data sets are drawn, each with a seed of its own;
a source-only network is trained on D2 of each, and every gap measure is taken between the test segments of D2 and D1.
Its p-values should be uniform: their Kolmogorov-Smirnov test is printed, and how many lie below 0.05. (Within classes
they should be so exactly. Over all segments less small ones are expected, since both sides are given the same class
frequencies rather than drawn.) Whether a method gains where there is no gap is the kind "none" of the recipe `kinds`.

Written beside this script: `null_gaps.csv`, one row a data set, modality, measure and scope. Interrupted, it continues
when the same command is given again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd
from scipy.stats import kstest
from tqdm.auto import tqdm

from mmsada_lab.analysis.gap.table import gap_table, run_features
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.batch import run_grid

SMALL = "kitchens:context=0,nuisance=0,scale=0.04"
"""No gap, and half the usual number of segments."""
PERMUTATIONS, AT_LEAST = 199, 4


def gaps(runs_dir: Path, *, draws: int, jobs: int) -> pd.DataFrame:
    """Every gap measure between D2 and D1 of `draws` data sets that have no gap."""
    configs = [
        build_config("quick", source="D2", target="D1", method="source_only", data=f"{SMALL},seed={seed}", seed=seed)
        for seed in range(draws)
    ]
    if failures := run_grid(configs, runs_dir, jobs=jobs, device="cpu"):
        raise SystemExit("\n".join(f"seed {failure.config.seed}: {failure.message}" for failure in failures))
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


def main() -> None:
    """Train what is missing, write the table and print what it comes to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the data sets (0.2 GB each) and the runs")
    parser.add_argument("--draws", type=int, default=20, help="data sets for the p-values")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    chosen = parser.parse_args()
    os.environ["MMSADA_CACHE"] = str((chosen.work / "cache").resolve())
    here, runs_dir = Path(__file__).parent, chosen.work / "runs"
    found = gaps(runs_dir, draws=chosen.draws, jobs=chosen.jobs)
    found.drop(columns="note").to_csv(here / "null_gaps.csv", index=False, float_format="%.5f")
    print(uniformity(found).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
