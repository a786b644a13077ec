"""Numbers of the README's table and of its sentences on it are those of the runs they name."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from mmsada_lab.analysis.differences import compare_seeds
from mmsada_lab.analysis.tables import seeds_by_pair
from mmsada_lab.paper import PAIRS, DomainPair
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.keep import reference_runs
from mmsada_lab.sweeps.recipes import RECIPES, row_digests

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
METHODS = ("source_only", "adversarial_only", "self_supervised_only", "mmsada", "supervised_target")
RECORDED = {
    "UTD-MHAD, depth video": ("utd_video", "top1"),
    "UTD-MHAD, sensors (27 classes)": ("utd_mhad", "top1"),
    "watch to phone, mean class accuracy": ("sp_sw_har", "mean_class"),
}


def written(name: str) -> list[str]:
    """A row of the table of results, without what it is of and how many runs there are."""
    (row,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", TEXT, flags=re.MULTILINE)
    return [cell.strip() for cell in row.replace("−", "-").split("|")][1:]


def row_of(by_method: dict[str, pd.DataFrame], *, over: str) -> list[str]:
    """Mean ± sd of each method, and the paired gain of MM-SADA with its interval."""
    cells = []
    for method in METHODS:
        means = by_method[method].mean(axis=1)
        of_worlds = means.groupby("world").mean() if over == "worlds" else means
        cells.append(f"{of_worlds.mean():.1f} ± {of_worlds.std():.1f}")
    gain = compare_seeds(by_method["mmsada"], by_method["source_only"])
    interval = gain.over_worlds if over == "worlds" else gain.over_seeds
    return [*cells, f"{gain.difference:+.1f} {interval} over {over}"]


def kitchens() -> dict[str, pd.DataFrame]:
    runs = load_runs(reference_runs()).query("stream == 'fused'")
    rows = {row.title: row for name in ("table1", "table2") for row in RECIPES[name].rows}
    titles = dict(
        zip(
            METHODS,
            ("Source-only", "Adversarial only", "Self-supervised only", "MM-SADA", "Supervised target"),
            strict=True,
        )
    )
    shared = {"data": "kitchens", "preset": "quick", "domains": ["D1", "D2", "D3"]}
    return {
        method: seeds_by_pair(runs[runs["digest"].isin(row_digests(rows[title], runs, **shared))], PAIRS)
        for method, title in titles.items()
    }


def recorded(name: str, measure: str) -> dict[str, pd.DataFrame]:
    runs = pd.read_csv(ROOT / "benchmarks" / f"recorded_{name}.csv").query("stream == 'fused'")
    moved = runs[runs["source"] != runs["target"]]
    pairs = [DomainPair(*pair) for pair in moved[["source", "target"]].drop_duplicates().itertuples(index=False)]
    return {m: seeds_by_pair(runs[runs["row"] == m], pairs, measure=measure) for m in METHODS}


def test_the_kitchens() -> None:
    assert written("embedded kitchens") == row_of(kitchens(), over="worlds")


def test_mm_sada_above_the_better_half() -> None:
    by_method = kitchens()
    gain = compare_seeds(by_method["mmsada"], by_method["self_supervised_only"])
    assert f"MM-SADA is {gain.difference:.1f} points above the better one {gain.over_worlds}" in TEXT


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_data(name: str) -> None:
    assert written(name) == row_of(recorded(*RECORDED[name]), over="seeds")
