"""Paired differences and their two intervals: by hand, by laws, and by counting how often they hold the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from mmsada_lab.analysis.differences import (
    LEAST_WORLDS,
    Interval,
    PairedDifference,
    compare_seeds,
    interval_of,
    paired_difference,
    two_intervals,
)
from mmsada_lab.errors import UserError
from mmsada_lab.paper import PAIRS

Values = NDArray[np.float64]


def rows_of(seeds: Iterable[int]) -> pd.MultiIndex:
    """Rows of worlds 0, 1, ... with so many seeds each."""
    pairs = [(world, seed) for world, count in enumerate(seeds) for seed in range(count)]
    return pd.MultiIndex.from_tuples(pairs, names=["world", "seed"])


def framed(values: Values) -> pd.DataFrame:
    """Differences `(worlds, seeds, pairs)` as the frame that `interval_of` takes."""
    worlds, seeds, pairs = values.shape
    columns = list(map(str, PAIRS[:pairs]))
    return pd.DataFrame(values.reshape(-1, pairs), rows_of([seeds] * worlds), columns)


def drawn(*shape: int, seed: int = 0) -> Values:
    return np.random.default_rng(seed).normal(1, 2, shape)


class TestByHand:
    def test_two_seeds_of_one_world(self) -> None:
        """Means over the pairs 2 and 4: variance 2, of their mean 1; one degree of freedom, t = 12.706."""
        found = interval_of(framed(np.array([[[0.0, 4.0], [2.0, 6.0]]])))
        assert (found.difference, found.pairs, found.worlds, found.seeds) == (3, 2, 1, (2,))
        assert found.over_seeds == pytest.approx((3 - 12.706, 3 + 12.706), abs=1e-3)
        assert not found.over_worlds
        assert np.isnan(found.over_worlds).all()

    def test_four_worlds(self) -> None:
        """Means 2, 3, 4, 5: variance 5/3, of their mean 5/12; t = 3.1824. Within each variance 2: of the mean 1/4."""
        values = np.array([1.0, 3.0, 2.0, 4.0, 3.0, 5.0, 4.0, 6.0]).reshape(4, 2, 1)
        found = interval_of(framed(values))
        assert found.over_worlds == pytest.approx(
            (3.5 - t.ppf(0.975, 3) * np.sqrt(5 / 12), 3.5 + t.ppf(0.975, 3) * np.sqrt(5 / 12))
        )
        assert found.over_seeds == pytest.approx((3.5 - 2.7764 / 2, 3.5 + 2.7764 / 2), abs=1e-3)

    def test_worlds_with_different_numbers_of_seeds(self) -> None:
        """1, 2, 3 and 6: means 2 and 6, pooled variance 1 of two degrees of freedom, of the mean (1/3 + 1) / 4."""
        found = interval_of(pd.DataFrame({"D2→D1": [1.0, 2.0, 3.0, 6.0]}, rows_of([3, 1])))
        half = t.ppf(0.975, 2) * np.sqrt(1 / 3)
        assert found.difference == 4, "a world weighs the same, however many seeds it has"
        assert found.over_seeds == pytest.approx((4 - half, 4 + half))
        assert found.seeds == (3, 1)

    @pytest.mark.parametrize("worlds", range(1, LEAST_WORLDS + 2))
    def test_over_worlds_there_must_be_four(self, worlds: int) -> None:
        assert bool(interval_of(framed(drawn(worlds, 2, 6))).over_worlds) == (worlds >= 4)

    @pytest.mark.parametrize("worlds", [4, 7])
    def test_over_worlds_one_seed_in_each_will_do(self, worlds: int) -> None:
        values = drawn(worlds, 1, 6)
        found = interval_of(framed(values))
        assert not found.over_seeds
        means = values.mean(axis=(1, 2))
        expected = t.interval(0.95, worlds - 1, means.mean(), means.std(ddof=1) / np.sqrt(worlds))
        assert found.over_worlds == pytest.approx(expected)


class TestLaws:
    VALUES = drawn(5, 3, 6)

    def test_a_constant_difference_is_certain(self) -> None:
        found = interval_of(framed(np.full((4, 3, 6), 2.5)))
        assert [found.difference, *found.over_worlds, *found.over_seeds] == [2.5] * 5

    def test_antisymmetry(self) -> None:
        there, back = interval_of(framed(self.VALUES)), interval_of(framed(-self.VALUES))
        assert back.difference == pytest.approx(-there.difference)
        for one, other in ((there.over_worlds, back.over_worlds), (there.over_seeds, back.over_seeds)):
            assert other == pytest.approx((-one.high, -one.low))

    def test_order_does_not_matter(self) -> None:
        frame = framed(self.VALUES)
        mixed = frame.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=0)
        one, other = interval_of(frame), interval_of(mixed)
        assert [*one.over_worlds, *one.over_seeds] == pytest.approx([*other.over_worlds, *other.over_seeds])

    def test_names_of_worlds_and_seeds_do_not_matter(self) -> None:
        frame = framed(self.VALUES)
        renamed = frame.rename({k: 100 - 7 * k for k in range(5)}, level="world")
        renamed = renamed.rename({k: k + 40 for k in range(3)}, level="seed")
        assert interval_of(renamed).over_seeds == pytest.approx(interval_of(frame).over_seeds)

    def test_what_differs_between_worlds_widens_only_the_interval_over_them(self) -> None:
        moved = self.VALUES + np.array([-9.0, 0, 0, 0, 9]).reshape(5, 1, 1)
        before, after = interval_of(framed(self.VALUES)), interval_of(framed(moved))
        assert after.over_seeds == pytest.approx(before.over_seeds)
        assert after.over_worlds.high > before.over_worlds.high + 2

    def test_what_differs_between_pairs_widens_neither(self) -> None:
        moved = self.VALUES + np.array([-50.0, 50, 0, 0, 20, -20])
        before, after = interval_of(framed(self.VALUES)), interval_of(framed(moved))
        assert after.over_seeds == pytest.approx(before.over_seeds)
        assert after.over_worlds == pytest.approx(before.over_worlds)

    def test_copies_of_a_pair_are_no_more_certain(self) -> None:
        """Supervised target stands under two pairs of each target."""
        frame = framed(self.VALUES[..., :3])
        twice = pd.concat([frame, frame.add_suffix(" again")], axis=1)
        one, other = interval_of(frame), interval_of(twice)
        assert [*one.over_worlds, *one.over_seeds] == pytest.approx([*other.over_worlds, *other.over_seeds])


class TestWhatCannotBe:
    def test_missing_or_doubled_differences(self) -> None:
        frame = framed(drawn(2, 2, 2))
        hole = frame.copy()
        hole.iloc[1, 1] = np.nan
        for wrong in (hole, pd.concat([frame, frame]), frame[:0]):
            with pytest.raises(UserError, match="compare what both methods have"):
                interval_of(wrong)

    def test_rows_that_do_not_say_their_world(self) -> None:
        with pytest.raises(KeyError, match="world"):
            interval_of(pd.DataFrame({"D2→D1": [1.0, 2.0]}))


class TestText:
    def test_both_intervals(self) -> None:
        found = PairedDifference(4.8, Interval(2.13, 7.47), Interval(4.0, 5.6), 6, (2, 2, 2, 2))
        assert str(found) == (
            "+4.8 points; 95 % over 4 worlds [+2.1, +7.5]; over seeds, worlds fixed [+4.0, +5.6] (6 pairs, 2 seeds)"
        )

    def test_none_is_said(self) -> None:
        found = PairedDifference(-1.0, Interval(), Interval(-2.0, 0.0), 1, (5,), "seed 7")
        assert str(found) == (
            "-1.0 points; 95 % over worlds: none (1 world; four are needed); "
            "over seeds, worlds fixed [-2.0, +0.0] (1 pair, 5 seeds; left out: seed 7)"
        )
        found = PairedDifference(1.0, Interval(0, 2), Interval(), 6, (1,) * 5)
        assert "over seeds: none (1 seed; two are needed)" in str(found)
        assert "none (3 worlds; four are needed)" in str(found._replace(over_worlds=Interval(), seeds=(1, 2, 3)))
        assert "(6 pairs, 1-3 seeds)" in str(found._replace(seeds=(1, 2, 3)))

    def test_columns(self) -> None:
        columns = PairedDifference(4.8, Interval(2.0, 7.0), Interval(4.0, 5.0), 6, (2, 3), "pair D1→D2").columns()
        assert columns == {
            "difference": 4.8,
            "worlds_low": 2.0,
            "worlds_high": 7.0,
            "seeds_low": 4.0,
            "seeds_high": 5.0,
            "pairs": 6,
            "worlds": 2,
            "seeds": "2-3",
            "left_out": "pair D1→D2",
        }


def made_runs(differences: Mapping[int, Values], *, spread: float = 20.0) -> pd.DataFrame:
    """Runs of AdaBN and MM-SADA: world -> differences `(seeds, pairs)`, on accuracies that vary far more than they."""
    rng = np.random.default_rng(0)
    rows = []
    for world, values in differences.items():
        for (seed, pair), difference in np.ndenumerate(values):
            source, target = PAIRS[pair]
            shared = {"source": source, "target": target, "world": world, "seed": seed}
            base = 50 + spread * rng.standard_normal()
            rows += [
                {**shared, "method": "adabn", "top1": base},
                {**shared, "method": "mmsada", "top1": base + difference},
            ]
    return pd.DataFrame(rows).assign(stream="fused", setting="0")


def one_run(method: str, pair: int, seed: int, top1: float, *, world: int = 0) -> pd.DataFrame:
    source, target = PAIRS[pair]
    row = {"method": method, "source": source, "target": target, "world": world, "seed": seed, "top1": top1}
    return pd.DataFrame([row | {"stream": "fused", "setting": "0"}])


class TestPairedDifference:
    def test_it_is_of_runs_what_the_interval_is_of_differences(self) -> None:
        values = drawn(4, 3, 6)
        found = paired_difference(made_runs(dict(enumerate(values))), "mmsada", "adabn")
        expected = interval_of(framed(values))
        assert [*found.over_worlds, *found.over_seeds] == pytest.approx([*expected.over_worlds, *expected.over_seeds])
        assert (found.pairs, found.seeds, found.left_out) == (6, (3, 3, 3, 3), "")

    def test_the_order_of_the_runs_does_not_matter(self) -> None:
        runs = made_runs(dict(enumerate(drawn(4, 3, 6))))
        one, other = (paired_difference(r, "mmsada", "adabn") for r in (runs, runs.sample(frac=1, random_state=0)))
        assert [*one.over_worlds, *one.over_seeds] == pytest.approx([*other.over_worlds, *other.over_seeds])

    def test_seeds_of_the_same_number_in_other_worlds_count(self) -> None:
        runs = made_runs({0: np.full((2, 3), 1.0), 5: np.full((2, 3), 3.0)})
        found = paired_difference(runs, "mmsada", "adabn")
        assert (found.difference, found.seeds) == (pytest.approx(2), (2, 2))

    def test_only_what_both_have_counts_and_the_rest_is_named(self) -> None:
        runs = made_runs({0: np.full((3, 3), 2.0)})
        extra = [one_run("adabn", 4, 0, 99), one_run("mmsada", 0, 7, 1), one_run("source_only", 5, 0, 1)]
        found = paired_difference(pd.concat([runs, *extra]), "mmsada", "adabn")
        assert (found.difference, found.pairs, found.seeds) == (pytest.approx(2), 3, (3,))
        assert found.left_out == "pair D1→D3; seed 7"
        assert str(found).endswith("(3 pairs, 3 seeds; left out: pair D1→D3; seed 7)")

    def test_all_pairs_weigh_the_same(self) -> None:
        """A seed that lacks a pair would move the mean by which pair it lacks."""
        runs = made_runs({0: np.tile([0.0, 9.0], (3, 1))})
        lacking = (runs["seed"] == 2) & (runs["target"] == PAIRS[1].target) & (runs["source"] == PAIRS[1].source)
        found = paired_difference(runs[~lacking], "mmsada", "adabn")
        assert (found.difference, found.seeds, found.left_out) == (pytest.approx(4.5), (2,), "seed 2")

    def test_many_that_are_left_out_are_counted(self) -> None:
        ours = framed(drawn(3, 3, 2))
        found = compare_seeds(ours, ours.xs(1, level="world", drop_level=False) - 1)
        assert found is not None
        assert (found.worlds, found.left_out) == (1, "6 seeds")
        found = compare_seeds(ours, ours.drop((2, 0)) - 1)
        assert found is not None
        assert found.left_out == "seed 0 of world 2"

    @pytest.mark.parametrize("shape", [(1, 3), (1, 1)])
    def test_too_few_for_an_interval(self, shape: tuple[int, int]) -> None:
        with pytest.raises(UserError, match=r"share too few .* an interval needs two seeds in a world, or four worlds"):
            paired_difference(made_runs({0: np.ones(shape)}), "mmsada", "adabn")

    def test_nothing_in_common(self) -> None:
        runs = pd.concat([one_run("mmsada", 0, seed, 50) for seed in (0, 1)] + [one_run("adabn", 1, 0, 50)])
        with pytest.raises(UserError, match="share too few"):
            paired_difference(runs, "mmsada", "adabn")

    def test_one_pair_is_enough(self) -> None:
        found = paired_difference(made_runs({0: np.array([[1.0], [3.0]])}), "mmsada", "adabn")
        assert (found.difference, found.pairs, bool(found.over_seeds)) == (pytest.approx(2), 1, True)

    @pytest.mark.parametrize(("better", "baseline"), [("mmsda", "adabn"), ("mmsada", "")])
    def test_a_method_that_is_not_there_is_named(self, better: str, baseline: str) -> None:
        with pytest.raises(UserError, match=f"{better}.*{baseline}"):
            paired_difference(made_runs({0: np.ones((2, 2))}), better, baseline)


# --- coverage ------------------------------------------------------------------------------------------------------

TRUTH = 1.0
DOMAINS = ("D1", "D2", "D3")


def effects(rng: np.random.Generator, *, draws: int, worlds: int, world_sd: float, domain_sd: float) -> Values:
    """True differences `(draws, worlds, pairs)`: the world's own, and what each of its domains does on either side.

    Pairs depend on each other twice, by their world and by the domains they share.
    """
    own = rng.normal(0, world_sd, (draws, worlds, 1))
    sides = rng.normal(0, domain_sd, (2, draws, worlds, 3))  # as a source, as a target
    at = np.array([[DOMAINS.index(pair.source), DOMAINS.index(pair.target)] for pair in PAIRS])
    return TRUTH + own + sides[0][..., at[:, 0]] + sides[1][..., at[:, 1]]


def trained(rng: np.random.Generator, true: Values, *, seeds: int, sd: float, shared: float) -> Values:
    """Measured differences `(draws, worlds, seeds, pairs)`: seeds stray, with a share of it common to all pairs."""
    draws, worlds, pairs = true.shape
    common, own = (rng.normal(0, sd, (draws, worlds, seeds, count)) for count in (1, pairs))
    return true[:, :, None] + np.sqrt(shared) * common + np.sqrt(1 - shared) * own


def coverage(ends: Values, truth: Values | float) -> float:
    """Percentage of intervals `(draws, 2)` that hold the truth."""
    return 100 * float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))


def over_pairs(values: Values) -> Values:
    """Ends of t intervals of differences `(draws, pairs)` that take every pair as an experiment of its own."""
    half = t.ppf(0.975, values.shape[1] - 1) * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return values.mean(axis=1)[:, None] + half[:, None] * np.array([-1, 1])


class TestCoverage:
    """Nominal 95 %: of 10,000 experiments 92 to 98 % must hold the truth."""

    DRAWS = 10_000

    @pytest.mark.parametrize("shared", [0.0, 0.6, 1.0], ids="{} of a seed is common to all pairs".format)
    @pytest.mark.parametrize(
        "seeds", [(2,), (5,), (2, 2, 2), (1, 1, 1, 1), (2, 2, 2, 2), (3, 1, 2, 1), (2,) * 8], ids="seeds {}".format
    )
    def test_both_intervals_hold_their_truth(self, seeds: tuple[int, ...], shared: float) -> None:
        """Over worlds the truth is that of all worlds, over seeds that of the very worlds and pairs."""
        rng, worlds = np.random.default_rng([*seeds, int(10 * shared)]), len(seeds)
        true = effects(rng, draws=self.DRAWS, worlds=worlds, world_sd=2, domain_sd=2)
        measured = trained(rng, true, seeds=max(seeds), sd=1.5, shared=shared).mean(axis=-1)
        difference, over_worlds, over_seeds = two_intervals([measured[:, k, :n] for k, n in enumerate(seeds)])
        assert difference.mean() == pytest.approx(TRUTH, abs=0.1)
        if worlds >= LEAST_WORLDS:
            assert 92 <= coverage(over_worlds, TRUTH) <= 98
        if max(seeds) > 1:
            assert 92 <= coverage(over_seeds, true.mean(axis=(1, 2))) <= 98
        assert np.isnan(over_worlds).all() == (worlds < LEAST_WORLDS)
        assert np.isnan(over_seeds).all() == (max(seeds) == 1)

    def test_each_interval_answers_its_own_question(self) -> None:
        """That over seeds holds the truth of other worlds far less often, and is not meant to."""
        rng = np.random.default_rng(0)
        true = effects(rng, draws=self.DRAWS, worlds=4, world_sd=2, domain_sd=2)
        measured = trained(rng, true, seeds=3, sd=1.5, shared=0.6).mean(axis=-1)
        assert coverage(two_intervals(list(measured.swapaxes(0, 1)))[2], TRUTH) < 70

    def test_seeds_that_do_the_same_in_every_world_are_not_independent(self) -> None:
        """Why each world should have seeds of other numbers: one number draws the same first weights everywhere."""
        rng = np.random.default_rng(4)
        true = effects(rng, draws=self.DRAWS, worlds=4, world_sd=2, domain_sd=2)
        own = trained(rng, true, seeds=2, sd=1.5, shared=1.0).mean(axis=-1)
        crossed = own + rng.normal(0, 1.5, (self.DRAWS, 1, 2))
        assert coverage(two_intervals(list(crossed.swapaxes(0, 1)))[2], true.mean(axis=(1, 2))) < 85

    def test_they_are_those_of_frames(self) -> None:
        rng = np.random.default_rng(3)
        true = effects(rng, draws=5, worlds=4, world_sd=2, domain_sd=2)
        measured = trained(rng, true, seeds=2, sd=1.5, shared=0.6)
        together = two_intervals(list(measured.mean(axis=-1).swapaxes(0, 1)))
        for values, *expected in zip(measured, *together, strict=True):
            found = interval_of(framed(values))
            assert found.difference == pytest.approx(expected[0])
            assert [*found.over_worlds, *found.over_seeds] == pytest.approx([*expected[1], *expected[2]])

    def test_pairs_as_replicates_hold_it_far_less_often(self) -> None:
        """What there was before: pairs resampled as if each were an experiment of its own, then their seeds."""
        rng, draws, resamples, seeds = np.random.default_rng(1), 400, 400, 3
        true = effects(rng, draws=draws, worlds=1, world_sd=2, domain_sd=2)
        measured = trained(rng, true, seeds=seeds, sd=1.5, shared=0.5)[:, 0].swapaxes(1, 2)  # (draws, pairs, seeds)
        pairs, of_pair = (rng.integers(n, size=(resamples, 6, k)) for n, k in ((6, 1), (seeds, seeds)))
        means = np.stack([values[pairs, of_pair].mean(axis=(1, 2)) for values in measured])  # (draws, resamples)
        assert coverage(np.percentile(means, [2.5, 97.5], axis=1).T, TRUTH) < 70
        assert coverage(over_pairs(measured.mean(axis=2)), TRUTH) < 80, "t is no better: it is the unit that is wrong"

    def test_pairs_as_replicates_fail_by_the_domains_they_share_alone(self) -> None:
        """Though all worlds are alike otherwise, and no seed strays."""
        true = effects(np.random.default_rng(2), draws=4000, worlds=1, world_sd=0, domain_sd=2)[:, 0]
        assert coverage(over_pairs(true), TRUTH) < 88


def test_every_pair_and_both_sides_are_simulated() -> None:
    assert {pair for pair in product(DOMAINS, repeat=2) if pair[0] != pair[1]} == set(map(tuple, PAIRS))
