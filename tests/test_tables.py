"""Tables from frames made by hand, with answers one can compute on paper; intervals by simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.analysis.tables import pair_matrix, paired_difference, results_table
from mmsada_lab.errors import UserError
from mmsada_lab.paper import PAIRS

SIX = [tuple(pair) for pair in PAIRS]


def run(method: str, pair: str | tuple[str, str], seed: int, top1: float, **changes: object) -> dict[str, object]:
    source, target = pair if isinstance(pair, tuple) else pair.split()
    row = {"data": "toy", "preset": "quick", "method": method, "source": source, "target": target, "seed": seed}
    row |= {
        "stream": "fused",
        "top1": top1,
        "mean_class": top1 - 10,
        "selection": "mean of the last 2",
        "digest": "0" * 10,
        "setting": "0" * 10,
    }
    return row | changes


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


class TestResultsTable:
    def test_mean_and_spread_over_seeds(self) -> None:
        table = results_table(frame(*[run("mmsada", "D2 D1", seed, top1) for seed, top1 in enumerate((40, 50, 60))]))
        row = table.iloc[0]
        assert len(table) == 1
        assert (row["pair"], row["seeds"], row["top1"], row["mean_class"]) == ("D2→D1", 3, 50, 40)
        assert row["top1_sd"] == row["mean_class_sd"] == pytest.approx(10)

    def test_one_seed_has_no_spread(self) -> None:
        table = results_table(frame(run("mmsada", "D2 D1", 0, 40)))
        assert np.isnan(table["top1_sd"][0])

    def test_order_is_that_of_the_paper(self) -> None:
        rows = [
            run(m, p, 0, 1)
            for m, p in product(["supervised_target", "mmsada", "source_only"], ["D3 D2", "D1 D2", "D2 D1"])
        ]
        rows = [row | ({"source": row["target"]} if row["method"] == "supervised_target" else {}) for row in rows]
        table = results_table(frame(*rows[1:]))
        assert table[["method", "pair"]].drop_duplicates().to_numpy().tolist() == [
            *[["source_only", p] for p in ("D2→D1", "D1→D2", "D3→D2")],
            *[["mmsada", p] for p in ("D2→D1", "D1→D2", "D3→D2")],
            *[["supervised_target", p] for p in ("D1→D1", "D2→D2")],
        ]

    def test_streams_data_and_presets_have_their_own_rows(self) -> None:
        rows = [run("mmsada", "D2 D1", 0, 40)]
        rows += [
            run("mmsada", "D2 D1", 0, 30, **change)
            for change in ({"stream": "rgb"}, {"data": "epic"}, {"preset": "paper"})
        ]
        table = results_table(frame(*rows))
        assert len(table) == 4
        assert sorted(table["top1"]) == [30, 30, 30, 40]


class TestPairMatrix:
    def test_the_papers_layout(self) -> None:
        rows = [
            run(m, p, s, 10 * SIX.index(p) + s + k)
            for (k, m), p, s in product(enumerate(["mmsada", "source_only"]), SIX, (0, 2))
        ]
        table = pair_matrix(frame(*rows))
        assert table.columns.tolist() == ["D2→D1", "D3→D1", "D1→D2", "D3→D2", "D1→D3", "D2→D3", "mean"]
        assert table.index.tolist() == ["Source-only", "MM-SADA"]
        assert table.loc["MM-SADA"].tolist() == [f"{10 * k + 1}.0 ± 1.4" for k in range(6)] + ["26.0 ± 1.4"]
        assert table.loc["Source-only", "D1→D2"] == "22.0 ± 1.4"

    def test_the_means_spread_is_that_of_the_seeds_means(self) -> None:
        """Pairs far apart, seeds close together."""
        rows = [run("mmsada", p, s, 10 + 80 * k + s) for (k, p), s in product(enumerate(["D2 D1", "D1 D2"]), (0, 1))]
        assert pair_matrix(frame(*rows)).loc["MM-SADA", "mean"] == "50.5 ± 0.7"

    def test_one_seed(self) -> None:
        rows = [run("mmsada", p, 0, 40) for p in ("D2 D1", "D1 D2")]
        assert pair_matrix(frame(*rows)).loc["MM-SADA"].tolist() == ["40.0", "40.0", "40.0"]

    def test_supervised_target_stands_in_every_column_of_its_target(self) -> None:
        rows = [run("mmsada", p, 0, 40) for p in SIX]
        rows += [run("supervised_target", (d, d), 0, t) for d, t in zip(("D1", "D2", "D3"), (60, 70, 80), strict=True)]
        table = pair_matrix(frame(*rows))
        assert table.columns.tolist() == [*[str(p) for p in PAIRS], "mean"]
        assert table.loc["Supervised target"].tolist() == ["60.0", "60.0", "70.0", "70.0", "80.0", "80.0", "70.0"]

    def test_what_is_missing_is_not_averaged(self) -> None:
        rows = [run("mmsada", p, 0, 40) for p in ("D2 D1", "D1 D2")] + [run("source_only", "D2 D1", 0, 30)]
        table = pair_matrix(frame(*rows))
        assert table.loc["Source-only"].tolist() == ["30.0", "", "incomplete"]
        rows.append(run("mmsada", "D2 D1", 1, 90))
        assert pair_matrix(frame(*rows)).loc["MM-SADA", "mean"] == "incomplete"

    def test_streams_and_measures(self) -> None:
        rows = frame(run("mmsada", "D2 D1", 0, 40), run("mmsada", "D2 D1", 0, 30, stream="rgb"))
        assert pair_matrix(rows, stream="rgb").loc["MM-SADA", "D2→D1"] == "30.0"
        assert pair_matrix(rows, measure="mean_class").loc["MM-SADA", "D2→D1"] == "30.0"
        with pytest.raises(UserError, match="unknown stream 'audio'; choose fused, rgb"):
            pair_matrix(rows, stream="audio")


@pytest.mark.parametrize("table", [results_table, pair_matrix, lambda runs: paired_difference(runs, "mmsada", "adabn")])
def test_two_settings_in_one_folder_are_refused(table) -> None:
    rows = [run(m, p, s, 40.0) for m, p, s in product(["mmsada", "adabn"], ["D2 D1", "D1 D2"], (0, 1))]
    twice = run("mmsada", "D2 D1", 0, 50, digest="1" * 10, setting="1" * 10)
    with pytest.raises(UserError, match=r"mmsada D2→D1.*runs folder of its own"):
        table(frame(*rows, twice))


class TestPairedDifference:
    def runs(self, differences: np.ndarray, *, spread: float = 20.0) -> pd.DataFrame:
        """Pairs x seeds of differences, on top of accuracies that vary far more than they do."""
        rng = np.random.default_rng(0)
        rows = []
        for (pair, seed), d in np.ndenumerate(differences):
            base = 50 + spread * rng.standard_normal()
            rows += [run("adabn", SIX[pair], seed, base), run("mmsada", SIX[pair], seed, base + d)]
        return frame(*rows)

    def test_a_constant_difference_is_certain(self) -> None:
        found = paired_difference(self.runs(np.full((4, 3), 2.5)), "mmsada", "adabn")
        assert (found.difference, found.low, found.high) == pytest.approx((2.5, 2.5, 2.5))
        assert (found.pairs, found.seeds) == (4, 3)
        assert str(found) == "+2.5 points, 95 % interval [+2.5, +2.5] (4 pairs x 3 seeds)"

    def test_is_antisymmetric_in_its_methods(self) -> None:
        runs = self.runs(np.random.default_rng(1).normal(1, 2, (6, 3)))
        there, back = paired_difference(runs, "mmsada", "adabn"), paired_difference(runs, "adabn", "mmsada")
        assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))

    def test_the_order_of_the_runs_does_not_matter(self) -> None:
        runs = self.runs(np.random.default_rng(1).normal(1, 2, (3, 3)))
        one, other = (paired_difference(r, "mmsada", "adabn") for r in (runs, runs.sample(frac=1, random_state=0)))
        assert one.difference == pytest.approx(other.difference)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.15)

    def test_interval_of_two_pairs_by_hand(self) -> None:
        """Differences 0 in one pair and 10 in the other: the resampled means are 0, 5, 5, 10 with equal chances."""
        found = paired_difference(self.runs(np.array([[0.0, 0.0], [10.0, 10.0]])), "mmsada", "adabn")
        assert (found.difference, found.low, found.high) == pytest.approx((5, 0, 10))

    def test_seeds_are_resampled_within_their_pair(self) -> None:
        """Two equal pairs with seeds 0 and 10: each resample is the mean of four draws of 0 or 10."""
        found = paired_difference(self.runs(np.array([[0.0, 10.0], [0.0, 10.0]])), "mmsada", "adabn")
        assert (found.difference, found.low, found.high) == pytest.approx((5, 0, 10))
        many = paired_difference(self.runs(np.tile([0.0, 10.0], (6, 1))), "mmsada", "adabn")
        assert 1.5 < many.low < 3
        assert 7 < many.high < 8.5

    def test_intervals_cover_the_truth(self) -> None:
        """Sixty experiments of six pairs, five seeds: a percentile bootstrap of so few falls a little short of 95 %."""
        rng = np.random.default_rng(2)
        covered = 0
        for _ in range(60):
            differences = 1.0 + rng.normal(0, 2, (6, 1)) + rng.normal(0, 1, (6, 5))
            found = paired_difference(self.runs(differences), "mmsada", "adabn", resamples=400)
            assert found.low <= found.difference <= found.high
            covered += found.low <= 1.0 <= found.high
        assert 45 <= covered < 60

    def test_only_what_both_have_counts(self) -> None:
        runs = self.runs(np.full((3, 3), 2.0))
        extra = frame(run("adabn", SIX[4], 0, 99), run("mmsada", SIX[0], 7, 1), run("source_only", SIX[0], 0, 1))
        found = paired_difference(pd.concat([runs, extra]), "mmsada", "adabn")
        assert (found.difference, found.pairs, found.seeds) == (pytest.approx(2), 3, 3)

    @pytest.mark.parametrize("shape", [(1, 3), (3, 1), (1, 1)])
    def test_too_few_for_an_interval(self, shape: tuple[int, int]) -> None:
        with pytest.raises(
            UserError, match=f"share {shape[0]} pairs and {shape[1]} seeds; an interval needs two of each"
        ):
            paired_difference(self.runs(np.ones(shape)), "mmsada", "adabn")

    @pytest.mark.parametrize(("better", "baseline"), [("mmsda", "adabn"), ("mmsada", "")])
    def test_a_method_that_is_not_there_is_named(self, better: str, baseline: str) -> None:
        with pytest.raises(UserError, match=f"{better}.*{baseline}"):
            paired_difference(self.runs(np.ones((2, 2))), better, baseline)
