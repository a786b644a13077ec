"""Tables from frames made by hand, with answers one can compute on paper."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.analysis.differences import paired_difference
from mmsada_lab.analysis.tables import (
    MEAN,
    OVER,
    TEST_SE,
    binomial_errors,
    over_replicates,
    pair_matrix,
    results_table,
    seeds_by_pair,
)
from mmsada_lab.errors import UserError
from mmsada_lab.paper import PAIRS, DomainPair

SIX = [tuple(pair) for pair in PAIRS]


def run(method: str, pair: str | tuple[str, str], seed: int, top1: float, **changes: object) -> dict[str, object]:
    source, target = pair if isinstance(pair, tuple) else pair.split()
    row = {"data": "toy", "preset": "quick", "method": method, "source": source, "target": target}
    row |= {
        "world": 0,
        "seed": seed,
        "test_segments": 100,
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
        assert (row["worlds"], row["sd_over"]) == (1, "seeds")

    def test_one_seed_has_no_spread(self) -> None:
        table = results_table(frame(run("mmsada", "D2 D1", 0, 40)))
        assert np.isnan(table["top1_sd"][0])
        assert table["sd_over"].tolist() == [""]

    def test_several_worlds_are_the_replicates(self) -> None:
        """Means over seeds 50, 60 and 80; the worlds have three seeds, two and one of the same numbers."""
        top1 = {0: (40, 50, 60), 1: (55, 65), 7: (80,)}
        rows = [run("mmsada", "D2 D1", s, t, world=w) for w, values in top1.items() for s, t in enumerate(values)]
        (row,) = results_table(frame(*rows)).to_dict("records")
        assert (row["worlds"], row["seeds"], row["sd_over"]) == (3, 1, "worlds")
        assert row["top1"] == pytest.approx(np.mean([50, 60, 80])), "every world weighs the same"
        assert row["top1_sd"] == pytest.approx(np.std([50, 60, 80], ddof=1))

    def test_the_test_sets_standard_error_stands_beside_the_spread(self) -> None:
        """Seeds share 100 segments: 50 % of them have a standard error of 5 points. Worlds do not share theirs."""
        one = results_table(frame(*(run("mmsada", "D2 D1", seed, 50) for seed in range(5))))
        assert one[TEST_SE].tolist() == pytest.approx([5])
        rows = [run("mmsada", "D2 D1", s, t, world=w) for w, t in enumerate((50, 90, 50, 90)) for s in range(2)]
        four = results_table(frame(*rows))
        assert four[TEST_SE].tolist() == pytest.approx([np.sqrt(5**2 + 3**2 + 5**2 + 3**2) / 4])
        unknown = results_table(frame(rows[0] | {"test_segments": np.nan}, *rows[1:]))
        assert unknown[TEST_SE].isna().sum() == 0, "another seed of that world knows it"
        rows[:2] = [row | {"test_segments": np.nan} for row in rows[:2]]
        assert results_table(frame(*rows))[TEST_SE].isna().all(), "not that of the other worlds"

    def test_two_runs_of_one_seed_of_one_world_are_refused(self) -> None:
        rows = [run("mmsada", "D2 D1", 0, 40), run("mmsada", "D2 D1", 0, 60)]
        for table in (results_table, pair_matrix):
            with pytest.raises(UserError, match=r"two runs of .*, world 0, seed 0; leave one of them out"):
                table(frame(*rows))

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
        assert table.columns.tolist() == ["D2→D1", "D3→D1", "D1→D2", "D3→D2", "D1→D3", "D2→D3", MEAN, OVER]
        assert table.index.tolist() == ["Source-only", "MM-SADA"]
        assert table.loc["MM-SADA"].tolist() == [f"{10 * k + 1}.0 ± 1.4" for k in range(6)] + ["26.0 ± 1.4", "2 seeds"]
        assert table.loc["Source-only", "D1→D2"] == "22.0 ± 1.4"

    def test_the_means_spread_is_that_of_the_seeds_means(self) -> None:
        """Pairs far apart, seeds close together."""
        rows = [run("mmsada", p, s, 10 + 80 * k + s) for (k, p), s in product(enumerate(["D2 D1", "D1 D2"]), (0, 1))]
        assert pair_matrix(frame(*rows)).loc["MM-SADA", "mean"] == "50.5 ± 0.7"

    def test_one_seed(self) -> None:
        rows = [run("mmsada", p, 0, 40) for p in ("D2 D1", "D1 D2")]
        assert pair_matrix(frame(*rows)).loc["MM-SADA"].tolist() == ["40.0", "40.0", "40.0", "1 seed"]

    def test_several_worlds(self) -> None:
        """Pairs and seeds far apart, the worlds' means 52, 54, 56 and 58 with the same seeds in each."""
        pairs = ("D2 D1", "D1 D2")
        rows = [
            run("mmsada", p, s, 50 + 30 * sign + 8 * s - 4 + 2 * w, world=w)
            for (sign, p), s, w in product(zip((-1, 1), pairs, strict=True), (0, 1), (1, 2, 3, 4))
        ]
        row = pair_matrix(frame(*rows)).loc["MM-SADA"]
        assert row.tolist() == ["25.0 ± 2.6", "85.0 ± 2.6", "55.0 ± 2.6", "4 worlds of 2 seeds"]
        shuffled = pair_matrix(frame(*rows).sample(frac=1, random_state=0)).loc["MM-SADA"]
        assert shuffled.tolist() == row.tolist()

    def test_supervised_target_stands_in_every_column_of_its_target(self) -> None:
        rows = [run("mmsada", p, 0, 40) for p in SIX]
        rows += [run("supervised_target", (d, d), 0, t) for d, t in zip(("D1", "D2", "D3"), (60, 70, 80), strict=True)]
        table = pair_matrix(frame(*rows))
        assert table.columns.tolist() == [*[str(p) for p in PAIRS], MEAN, OVER]
        expected = ["60.0", "60.0", "70.0", "70.0", "80.0", "80.0", "70.0", "1 seed"]
        assert table.loc["Supervised target"].tolist() == expected

    def test_supervised_target_is_no_more_certain_for_standing_twice(self) -> None:
        """As on one pair a target: the mean's spread and standard error are those of three runs a seed, not of six."""
        rows = [run("source_only", p, s, 40) for p, s in product(SIX, (0, 1, 2))]
        own = [
            run("supervised_target", (d, d), s, 60 + 3 * s * k)
            for (k, d), s in product(enumerate(("D1", "D2", "D3")), (0, 1, 2))
        ]
        circle = [row for row in rows if (row["source"], row["target"]) in (("D1", "D2"), ("D2", "D3"), ("D3", "D1"))]
        twice, once = (pair_matrix(frame(*them, *own)).loc["Supervised target"] for them in (rows, circle))
        assert twice[MEAN] == once[MEAN] == "63.0 ± 3.0"
        assert twice[OVER] == once[OVER] == "3 seeds"

    def test_what_is_missing_is_not_averaged(self) -> None:
        rows = [run("mmsada", p, 0, 40) for p in ("D2 D1", "D1 D2")] + [run("source_only", "D2 D1", 0, 30)]
        table = pair_matrix(frame(*rows))
        assert table.loc["Source-only"].tolist() == ["30.0", "", "incomplete", "1 seed"]
        rows.append(run("mmsada", "D2 D1", 1, 90))
        assert pair_matrix(frame(*rows)).loc["MM-SADA", [MEAN, OVER]].tolist() == ["incomplete", "1-2 seeds"]

    def test_streams_and_measures(self) -> None:
        rows = frame(run("mmsada", "D2 D1", 0, 40), run("mmsada", "D2 D1", 0, 30, stream="rgb"))
        assert pair_matrix(rows, stream="rgb").loc["MM-SADA", "D2→D1"] == "30.0"
        assert pair_matrix(rows, measure="mean_class").loc["MM-SADA", "D2→D1"] == "30.0"
        with pytest.raises(UserError, match="unknown stream 'audio'; choose fused, rgb"):
            pair_matrix(rows, stream="audio")


class TestReplicates:
    def test_seeds_of_several_worlds_do_not_hide_each_other(self) -> None:
        rows = [run("mmsada", "D2 D1", seed, 10 * world + seed, world=world) for world, seed in product((0, 3), (0, 1))]
        values = seeds_by_pair(frame(*rows[::-1]), [DomainPair("D2", "D1")])["D2→D1"]
        assert values.to_dict() == {(0, 0): 0, (0, 1): 1, (3, 0): 30, (3, 1): 31}
        with pytest.raises(UserError, match="two runs of D2→D1, world 3, seed 1"):
            seeds_by_pair(frame(*rows, run("mmsada", "D2 D1", 1, 50, world=3)), [DomainPair("D2", "D1")])

    def test_a_world_weighs_the_same_however_many_seeds_it_has(self) -> None:
        rows = [run("mmsada", "D2 D1", seed, 60) for seed in range(9)] + [run("mmsada", "D2 D1", 0, 80, world=1)]
        table = over_replicates(frame(*rows), ["method"], "top1")
        assert table[["worlds", "seeds", "mean"]].to_numpy().tolist() == [[2, 1, 70]]
        assert table["sd"].tolist() == pytest.approx([np.std([60, 80], ddof=1)])

    def test_groups_keep_their_own_unit(self) -> None:
        rows = [run("mmsada", "D2 D1", s, 50 + s) for s in range(3)]
        rows += [run("adabn", "D2 D1", 0, 50 + 10 * w, world=w) for w in range(2)]
        table = over_replicates(frame(*rows), ["method"], "top1")
        assert table[["method", "worlds", "seeds", "mean"]].to_numpy().tolist() == [
            ["mmsada", 1, 3, 51],
            ["adabn", 2, 1, 55],
        ]
        assert table["sd"].tolist() == pytest.approx([1, np.std([50, 60], ddof=1)])


class TestBinomialErrors:
    def errors(self, *rows: dict[str, object]) -> pd.Series:
        top1, segments = (seeds_by_pair(frame(*rows), PAIRS, measure=m) for m in ("top1", "test_segments"))
        return binomial_errors(top1, segments, PAIRS)

    def test_pairs_of_one_target_share_their_test_set(self) -> None:
        """Each of six cells has 5 points; as three independent test sets their mean has 5 / √3, not 5 / √6."""
        errors = self.errors(*(run("mmsada", p, s, 50) for p, s in product(SIX, (0, 1))))
        assert errors[:-1].tolist() == pytest.approx([5] * 6)
        assert errors[MEAN] == pytest.approx(5 / np.sqrt(3))

    def test_worlds_are_independent_and_seeds_are_not(self) -> None:
        rows = [run("mmsada", p, s, 50, world=w) for p, s, w in product(SIX, range(7), range(4))]
        assert self.errors(*rows)[MEAN] == pytest.approx(5 / np.sqrt(3 * 4))

    def test_supervised_target_counts_once(self) -> None:
        errors = self.errors(*(run("supervised_target", (d, d), 0, 50) for d in ("D1", "D2", "D3")))
        assert errors[MEAN] == pytest.approx(5 / np.sqrt(3))

    def test_by_simulation(self) -> None:
        """Segments drawn anew, every one known or not whatever the pair: the spread of the mean over pairs."""
        rng, counts, known = np.random.default_rng(0), (70, 112, 156), (0.8, 0.6, 0.5)
        drawn = [rng.binomial(n, p, size=20_000) / n for n, p in zip(counts, known, strict=True)]
        rows = [
            run("mmsada", pair, 0, 100 * known[k], test_segments=counts[k])
            for pair in SIX
            for k in [("D1", "D2", "D3").index(pair[1])]
        ]
        assert self.errors(*rows)[MEAN] == pytest.approx(100 * np.mean(drawn, axis=0).std(), rel=0.02)

    def test_what_is_not_known_stays_missing(self) -> None:
        rows = [run("mmsada", p, 0, 50, test_segments=np.nan if p[1] == "D3" else 100) for p in SIX]
        errors = self.errors(*rows)
        assert errors.isna().tolist() == [False] * 4 + [True] * 3
        errors = self.errors(*rows[:3])
        assert np.isnan(errors[MEAN]), "no mean of some of the pairs"


@pytest.mark.parametrize("table", [results_table, pair_matrix, lambda runs: paired_difference(runs, "mmsada", "adabn")])
def test_two_settings_in_one_folder_are_refused(table) -> None:
    rows = [run(m, p, s, 40.0) for m, p, s in product(["mmsada", "adabn"], ["D2 D1", "D1 D2"], (0, 1))]
    twice = run("mmsada", "D2 D1", 0, 50, digest="1" * 10, setting="1" * 10)
    with pytest.raises(UserError, match=r"mmsada D2→D1.*runs folder of its own"):
        table(frame(*rows, twice))
