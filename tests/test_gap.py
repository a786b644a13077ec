"""The gap between domains: independent references, invariances, a calibrated null, intervals that cover, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import kstest, norm
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import cross_val_score

from mmsada_lab.analysis.gap.measures import FOLDS, MEASURES, measure_gap, shrunk_covariance
from mmsada_lab.analysis.gap.scopes import assign
from mmsada_lab.analysis.gap.table import gap_table, run_features, run_gap_table
from mmsada_lab.errors import UserError
from mmsada_lab.paper import MMD_BANDWIDTHS
from mmsada_lab.runs import write_arrays

Array = NDArray[np.float64]
NUMBERS = ["value", "null", "p", "corrected", "low", "high"]


def two_domains(n: int = 30, m: int = 40, *, width: int = 5, shift: float = 0.5, seed: int = 0) -> tuple[Array, Array]:
    """Gaussians apart by `shift` along one axis and, where there is a shift, of another width along a second."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(n, width)), rng.normal(size=(m, width))
    if shift:
        target[:, 0] += shift
        target[:, 1] *= 2
    return source, target


def sides_of(n: int, m: int) -> NDArray[np.str_]:
    return np.repeat(["source", "target"], [n, m])


def table(source: Array, target: Array, **options) -> pd.DataFrame:
    return gap_table({"rgb": np.concatenate([source, target])}, sides_of(len(source), len(target)), **options)


class TestMeasures:
    def test_mmd_is_the_unbiased_estimate_of_the_sum_of_kernels(self) -> None:
        source, target = two_domains()
        found = sum(unbiased_mmd(source, target, gamma=1 / g) for g in MMD_BANDWIDTHS)
        assert measure_gap(source, target, measure="mmd") == pytest.approx(found, abs=1e-9)

    def test_bandwidths_are_the_papers(self) -> None:
        assert [round(g, 3) for g in MMD_BANDWIDTHS[:4]] == [0.038, 0.101, 0.269, 0.717]
        assert [round(g) for g in MMD_BANDWIDTHS[-2:]] == [685, 1826]
        assert len(MMD_BANDWIDTHS) == 12

    def test_mmd_beside_the_training_loss(self) -> None:
        """The biased estimate also counts the diagonal, 12 a segment, and divides by all pairs."""
        source, target = two_domains()
        n, m = len(source), len(target)
        pooled = np.concatenate([source, target])
        kernel = sum(rbf_kernel(pooled, gamma=1 / g) for g in MMD_BANDWIDTHS)
        biased = kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
        within = [(block.sum() - 12 * k) / (k * (k - 1)) for block, k in ((kernel[:n, :n], n), (kernel[n:, n:], m))]
        surplus = sum((12 - mean) / k for mean, k in zip(within, (n, m), strict=True))
        assert biased - measure_gap(source, target, measure="mmd") == pytest.approx(surplus)

    def test_median_heuristic(self) -> None:
        source, target = two_domains()
        pooled = np.concatenate([source, target])
        squared = [((a - b) ** 2).sum() for i, a in enumerate(pooled) for b in pooled[:i]]
        found = unbiased_mmd(source, target, gamma=1 / np.median(squared))
        assert measure_gap(source, target, measure="mmd_median") == pytest.approx(found, abs=1e-12)
        assert measure_gap(9 * source, 9 * target, measure="mmd_median") == pytest.approx(found)  # whatever the scale

    @pytest.mark.parametrize("width", [5, 60])  # more features than segments, too
    def test_frechet_of_scikit_learns_covariances_with_scipys_root(self, width: int) -> None:
        source, target = two_domains(width=width)
        (first, _), (second, _) = ledoit_wolf(source), ledoit_wolf(target)
        means = ((source.mean(axis=0) - target.mean(axis=0)) ** 2).sum()
        expected = means + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
        assert measure_gap(source, target, measure="frechet") == pytest.approx(expected, rel=1e-8)
        np.testing.assert_allclose(shrunk_covariance(source), first, atol=1e-12)

    def test_frechet_of_one_dimension_in_closed_form(self) -> None:
        source, target = two_domains(width=1, shift=0)
        found = measure_gap(source, 3 * target + 2, measure="frechet")
        expected = (source.mean() - 3 * target.mean() - 2) ** 2 + (source.std() - 3 * target.std()) ** 2
        assert found == pytest.approx(expected)

    def test_coral(self) -> None:
        source, target = two_domains()
        gap = np.cov(source.T) - np.cov(target.T)
        assert measure_gap(source, target, measure="coral") == pytest.approx((gap**2).sum() / (4 * 5**2))
        moved = measure_gap(source, target + 7, measure="coral")
        assert moved == pytest.approx(measure_gap(source, target, measure="coral")), "blind to the means"

    def test_a_distance_is_that_of_the_discriminant_in_every_fold(self) -> None:
        """Written out with the scatter within the domains and a loop over segments, as a textbook has it."""
        source, target = two_domains(25, 45, shift=1.0)
        values = np.concatenate([source, target])
        values -= values.mean(axis=0)
        is_source = np.arange(70) < 25
        folds = np.random.default_rng(0).permutation(70) % FOLDS
        wrong = np.zeros(70)
        for row in range(70):
            train = folds != folds[row]
            groups = [values[train & is_source], values[train & ~is_source]]
            within = sum(((g - g.mean(axis=0)).T @ (g - g.mean(axis=0)) for g in groups), np.zeros((5, 5)))
            covariance, shrinkage = ledoit_wolf(values[train])
            level = np.trace(np.cov(values[train].T, bias=True)) / 5
            regular = (1 - shrinkage) * within / train.sum() + shrinkage * level * np.eye(5)
            assert covariance.shape == regular.shape
            middle = (groups[0].mean(axis=0) + groups[1].mean(axis=0)) / 2
            direction = np.linalg.solve(regular, groups[0].mean(axis=0) - groups[1].mean(axis=0))
            wrong[row] = ((values[row] - middle) @ direction > 0) != is_source[row]
        error = (wrong[is_source].mean() + wrong[~is_source].mean()) / 2
        assert 0 < error < 0.5
        assert measure_gap(source, target, measure="a_distance") == pytest.approx(2 * (1 - 2 * error))

    def test_a_distance_beside_logistic_regression(self) -> None:
        source, target = two_domains(300, 300, shift=1.5)
        values, sides = np.concatenate([source, target]), np.repeat([0, 1], 300)
        accuracy = cross_val_score(LogisticRegression(), values, sides, cv=5).mean()
        assert measure_gap(source, target, measure="a_distance") == pytest.approx(2 * (2 * accuracy - 1), abs=0.1)

    def test_a_distance_of_domains_that_cannot_overlap(self) -> None:
        source, target = two_domains(shift=100)
        assert measure_gap(source, target, measure="a_distance") == 2
        ones = np.ones((20, 3))
        assert measure_gap(ones, ones, measure="a_distance") == 0, "nothing to tell them apart by"

    @pytest.mark.parametrize("measure", MEASURES)
    def test_shapes_that_do_not_fit(self, measure: str) -> None:
        with pytest.raises(UserError, match=r"shapes \(5, 3\) and \(5, 4\); expected \(N, F\) and \(M, F\)"):
            measure_gap(np.zeros((5, 3)), np.zeros((5, 4)), measure=measure)
        with pytest.raises(UserError, match="at least 2 segments each"):
            measure_gap(np.zeros((5, 3)), np.zeros((1, 3)), measure=measure)

    def test_an_unknown_measure(self) -> None:
        with pytest.raises(UserError, match="Did you mean 'coral'"):
            measure_gap(np.zeros((5, 3)), np.zeros((5, 3)), measure="corel")


def unbiased_mmd(source: Array, target: Array, *, gamma: float) -> float:
    parts = [rbf_kernel(one, one, gamma=gamma)[~np.eye(len(one), dtype=bool)].mean() for one in (source, target)]
    return sum(parts) - 2 * rbf_kernel(source, target, gamma=gamma).mean()


class TestInvariances:
    def measured(self, values: Array, sides: NDArray[np.str_], **options) -> pd.DataFrame:
        return gap_table({"rgb": values}, sides, permutations=20, resamples=20, **options)[NUMBERS]

    def test_rotating_and_moving_both_domains_changes_nothing(self) -> None:
        source, target = two_domains()
        rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(5, 5)))[0]
        one = table(source, target, permutations=20, resamples=20)
        other = table(source @ rotation + 50, target @ rotation + 50, permutations=20, resamples=20)
        pd.testing.assert_frame_equal(one, other, rtol=1e-6)

    def test_swapping_the_sides_changes_nothing_but_the_draws(self) -> None:
        source, target = two_domains(30, 30)
        values, sides = np.concatenate([source, target]), sides_of(30, 30)
        swapped = np.where(sides == "source", "target", "source")
        one, other = (gap_table({"rgb": values}, s, permutations=0, resamples=0)["value"] for s in (sides, swapped))
        np.testing.assert_allclose(one, other, rtol=1e-9)

    def test_the_order_of_the_segments_does_not_matter(self) -> None:
        """But for the folds of the A-distance, which go by it."""
        source, target = two_domains(100, 100, shift=1.5)
        values, sides = np.concatenate([source, target]), sides_of(100, 100)
        order = np.random.default_rng(1).permutation(200)
        one, other = self.measured(values, sides), self.measured(values[order], sides[order])
        np.testing.assert_allclose(one["value"][1:], other["value"][1:], rtol=1e-9)
        assert one["value"][0] == pytest.approx(other["value"][0], abs=0.15)

    def test_the_same_seed_gives_the_same_table(self) -> None:
        source, target = two_domains()
        one, again, other = (table(source, target, permutations=20, resamples=20, seed=s) for s in (0, 0, 1))
        pd.testing.assert_frame_equal(one, again)
        assert one["value"].equals(other["value"])
        assert (one["low"] != other["low"]).all()

    @pytest.mark.parametrize("measure", ["a_distance", "mmd", "mmd_median", "frechet"])
    def test_grows_with_a_shift(self, measure: str) -> None:
        source, target = two_domains(60, 60, shift=0)
        found = [
            table(source, target + shift, measures=[measure], permutations=0, resamples=0)["value"].item()
            for shift in (0, 0.5, 1, 2)
        ]
        assert found == sorted(found)
        assert len(set(found)) == 4

    def test_coral_grows_with_a_spread(self) -> None:
        source, target = two_domains(60, 60, shift=0)
        found = [measure_gap(source, scale * target, measure="coral") for scale in (1, 1.5, 2, 3)]
        assert found == sorted(found)


class TestNull:
    def test_p_values_without_a_gap_are_uniform(self) -> None:
        """Two hundred pairs of samples of one distribution."""
        found = pd.concat(
            table(*two_domains(12, 15, width=3, shift=0, seed=seed), permutations=39, resamples=0, seed=seed)
            for seed in range(200)
        )
        for measure, p in found.groupby("measure")["p"]:
            if measure == "a_distance":  # has few values and so ties, which may only make p greater
                assert [(p <= level).mean() <= level + 0.04 for level in (0.05, 0.1, 0.25)] == [True] * 3
                assert (p <= 0.5).mean() > 0.3
            else:
                assert kstest(p - 1 / 80, "uniform").pvalue > 0.01, measure
        assert abs(found.loc[found["measure"] == "mmd", "value"].mean()) < 0.03, "unbiased"

    def test_p_values_within_classes_do_not_see_the_mix_of_classes(self) -> None:
        """Classes far apart, in other proportions on either side: a marginal gap, and none within classes."""
        rng, found = np.random.default_rng(0), []
        labels = np.concatenate([np.repeat([0, 1], [14, 6]), np.repeat([0, 1], [6, 14])])
        for seed in range(60):
            values = rng.normal(size=(40, 3)) + 4 * labels[:, None]
            sides = sides_of(20, 20)
            options = {"measures": ["mmd_median", "frechet"], "permutations": 39, "resamples": 0, "at_least": 6}
            found.append(gap_table({"rgb": values}, sides, labels, **options, seed=seed))
        by_scope = pd.concat(found).groupby("conditional")["p"]
        assert by_scope.median()[False] < 0.1
        assert kstest(by_scope.get_group(True) - 1 / 80, "uniform").pvalue > 0.01

    @pytest.mark.parametrize("measure", MEASURES)
    def test_a_gap_is_found(self, measure: str) -> None:
        source, target = two_domains(40, 40, shift=2.0)
        row = table(source, target, measures=[measure], permutations=99).iloc[0]
        assert row["p"] == 0.01
        assert row["low"] < row["corrected"] < row["high"]
        assert row["null"] < row["low"] or measure == "coral"  # spread is estimated less well than a mean

    def test_the_smallest_p_is_what_the_permutations_allow(self) -> None:
        source, target = two_domains(shift=100)
        assert set(table(source, target, permutations=19, resamples=0, measures=["mmd_median"])["p"]) == {1 / 20}

    @pytest.mark.parametrize("measure", ["coral", "frechet"])
    def test_permutations_that_tie_with_the_value_are_no_evidence(self, measure: str) -> None:
        """Segments all equally far apart: whoever is source, the measure is the same but for rounding."""
        found = gap_table({"rgb": np.eye(20)}, sides_of(10, 10), permutations=50, resamples=0, measures=[measure])
        assert found["value"].item() > 1e-4
        assert found["p"].item() == 1


class TestIntervals:
    @pytest.mark.parametrize("width", [4, 24])
    def test_intervals_cover_the_truth_where_the_value_itself_is_biased(self, width: int) -> None:
        """Sixty samples of Gaussians apart by 1 on one axis, with standard deviations 1 and 2 on another.

        A skewed estimate, such as CORAL's of four features, is covered less often than the 95 % aimed at.
        """
        truths = {"frechet": 1.0**2 + (2 - 1) ** 2, "coral": (2**2 - 1) ** 2 / (4 * width**2)}
        options = {"permutations": 0, "resamples": 100, "measures": [*truths]}
        runs = [table(*two_domains(60, 60, width=width, shift=1.0, seed=seed), **options) for seed in range(60)]
        found = pd.concat(runs).set_index("measure")
        for measure, truth in truths.items():
            rows = found.loc[measure]
            covered = ((rows["low"] <= truth) & (truth <= rows["high"])).mean()
            assert covered >= 0.78, measure
            if width == 24:
                bias, left = (abs(rows[column].mean() - truth) for column in ("value", "corrected"))
                assert left < 0.6 * bias, measure

    def test_interval_of_the_a_distance_covers_the_best_linear_classifiers(self) -> None:
        """Gaussians apart by 1.5 in units of their spread: no classifier errs less than Phi(-0.75)."""
        truth, covered = 2 * (1 - 2 * norm.cdf(-0.75)), []
        for seed in range(40):
            source, target = two_domains(60, 60, width=4, shift=0, seed=seed)
            target[:, 0] += 1.5
            row = table(source, target, permutations=0, resamples=60, measures=["a_distance"]).iloc[0]
            covered.append(row["low"] <= truth <= row["high"])
        assert np.mean(covered) >= 0.85

    @pytest.mark.parametrize(("segments", "known"), [(39, False), (40, True)])
    def test_no_interval_from_covariances_of_too_few_segments(self, segments: int, known: bool) -> None:
        """Halves of fewer segments than features: the bias does not shrink as 1/N, and cannot be taken off."""
        found = table(*two_domains(segments, 60, width=20), permutations=9, resamples=9).set_index("measure")
        assert found[["value", "p"]].notna().all(axis=None)
        assert found.loc[["a_distance", "mmd", "mmd_median"], ["low", "high", "corrected"]].notna().all(axis=None)
        of_covariances = found.loc[["frechet", "coral"]]
        assert (of_covariances[["low", "high", "corrected"]].notna() == known).all(axis=None)
        note = "" if known else "no interval: 20 features want 40 segments a side, found 39"
        assert set(of_covariances["note"]) == {note}

    def test_intervals_narrow_with_more_segments(self) -> None:
        widths = []
        for n in (40, 640):
            rows = table(*two_domains(n, n, shift=1.0), permutations=0, measures=["mmd_median", "frechet"])
            widths.append((rows["high"] - rows["low"]).to_numpy())
        np.testing.assert_allclose(widths[0] / widths[1], 4, rtol=0.5)

    def test_halves_are_halves_of_each_side(self) -> None:
        signs = np.repeat(np.array([1, -1], dtype=np.int8), [7, 10])
        assignments = assign(signs, permutations=5, resamples=8, rng=np.random.default_rng(0))
        assert assignments.shape == (17, 1 + 5 + 8)
        assert (assignments[:, 0] == signs).all()
        assert ((assignments[:, :6] == 1).sum(axis=0) == 7).all()
        assert ((assignments[:, :6] == -1).sum(axis=0) == 10).all()
        halves = assignments[:, 6:]
        assert ((halves == 1).sum(axis=0) == 3).all()
        assert ((halves == -1).sum(axis=0) == 5).all()
        assert (halves * signs[:, None] >= 0).all(), "a half never changes its side"
        assert len({tuple(column) for column in assignments.T}) == 14, "each draw is another"


class TestClasses:
    def test_a_gap_within_classes_that_the_whole_does_not_show(self) -> None:
        """Two classes that swap places between the domains: the mixtures are the same, the classes are not."""
        rng = np.random.default_rng(0)
        labels = np.tile([0, 1], 80)
        sides = sides_of(80, 80)
        centre = np.where((labels == 0) == (sides == "source"), -1.5, 1.5)
        values = rng.normal(size=(160, 3))
        values[:, 0] += centre
        found = gap_table({"rgb": values}, sides, labels, measures=["a_distance", "mmd_median", "frechet"])
        whole, within = found[~found["conditional"]], found[found["conditional"]]
        assert (whole["p"] > 0.05).all()
        assert (within["p"] < 0.01).all()
        assert (within["low"] > whole["high"].to_numpy()).all()

    def test_the_mean_over_classes(self) -> None:
        source, target = two_domains(60, 60)
        labels = np.tile([0, 1, 2], 40)
        row = table(source, target, labels=labels, measures=["frechet"], permutations=5, resamples=5).iloc[1]
        pairs = [(source[labels[:60] == k], target[labels[60:] == k]) for k in range(3)]
        by_class = [measure_gap(*pair, measure="frechet") for pair in pairs]
        assert row["value"] == pytest.approx(np.mean(by_class))
        assert (row["n_source"], row["n_target"], row["classes"], row["note"]) == (60, 60, 3, "")

    def test_small_classes_and_unlabelled_segments_are_left_out_and_named(self) -> None:
        source, target = two_domains(40, 40)
        labels = np.concatenate([np.repeat([0, 1, -1], [20, 15, 5]), np.repeat([0, 1, -1], [31, 4, 5])])
        found = table(source, target, labels=labels, measures=["frechet"], permutations=5, resamples=5)
        assert found[["n_source", "n_target", "classes"]].to_numpy().tolist() == [[40, 40, 0], [20, 31, 1]]
        assert found["note"].tolist() == [
            "",
            "classes with fewer than 10 segments on a side are left out (class (fewest): 1 (4))",
        ]
        assert found["value"][1] == pytest.approx(measure_gap(source[:20], target[:31], measure="frechet"))

    @pytest.mark.parametrize(
        ("labels", "note"),
        [
            (
                np.arange(40) % 8,
                r"no class has 10 segments on both sides \(class \(fewest\): 0 \(2\), .*lower at_least",
            ),
            (np.full(40, -1), "no segment has a label"),
        ],
    )
    def test_without_a_class_the_numbers_are_missing_and_the_note_says_why(self, labels, note: str) -> None:
        found = table(*two_domains(20, 20), labels=labels, permutations=5, resamples=5)
        assert found.loc[found["conditional"], NUMBERS].isna().all(axis=None)
        assert found.loc[~found["conditional"], NUMBERS].notna().all(axis=None)
        assert found.loc[found["conditional"], "note"].str.fullmatch(f".*{note}.*").all()
        assert (found.loc[found["conditional"], ["n_source", "n_target", "classes"]] == 0).all(axis=None)


class TestTable:
    def test_is_tidy(self) -> None:
        source, target = two_domains()
        values = np.concatenate([source, target])
        labels = np.arange(70) % 2
        found = gap_table(
            {"rgb": values, "imu": 2 * values[:, :2]}, sides_of(30, 40), labels, permutations=5, resamples=5
        )
        assert not found.duplicated(["modality", "measure", "conditional"]).any()
        assert len(found) == 2 * len(MEASURES) * 2
        assert list(found.columns) == [
            "modality", "measure", "conditional", "value", "null", "p", "corrected", "low", "high",
            "n_source", "n_target", "classes", "note",
        ]  # fmt: skip
        assert set(found["modality"]) == {"rgb", "imu"}

    def test_nothing_drawn_leaves_numbers_missing(self) -> None:
        found = table(*two_domains(), permutations=0, resamples=0)
        assert found[["null", "p", "corrected", "low", "high"]].isna().all(axis=None)
        assert found["value"].notna().all()

    def test_many_segments_are_drawn_from_and_the_note_says_so(self) -> None:
        found = table(*two_domains(30, 400), at_most=40, permutations=5, resamples=5, measures=["coral"]).iloc[0]
        assert (found["n_source"], found["n_target"]) == (30, 40)
        assert found["note"] == "40 of 400 target segments drawn"

    def test_single_precision_is_enough(self) -> None:
        source, target = two_domains()
        exact = table(source, target, permutations=0, resamples=0)["value"]
        single = table(source.astype(np.float32) + 1000, target.astype(np.float32) + 1000, permutations=0, resamples=0)
        np.testing.assert_allclose(single["value"], exact, rtol=2e-3)

    @pytest.mark.parametrize(
        ("features", "options", "message"),
        [
            ({"rgb": np.ones((40, 2))}, {}, "features of rgb are the same for every segment"),
            ({"rgb": np.full((40, 2), np.nan)}, {}, "features of rgb are not all finite"),
            ({"rgb": np.zeros((39, 2))}, {}, r"features of rgb have shape \(39, 2\); expected \(40, F\)"),
            ({}, {}, "give at least one modality"),
            (None, {"measures": ["mdd"]}, "unknown measure 'mdd'.*Did you mean 'mmd'"),
            (None, {"at_least": 25}, "20 source and 20 target segments are too few.*give 25 of each"),
            (None, {"at_least": 3}, "at_least is 3"),
            (None, {"at_most": 9}, "at_most 9"),
            (None, {"permutations": -1}, "is -1; give 0 or more"),
            (None, {"labels": np.zeros(3)}, "3 labels for 40 segments"),
        ],
    )
    def test_what_cannot_be_measured_is_said(self, features, options, message: str) -> None:
        if features is None:
            features = {"rgb": np.random.default_rng(0).normal(size=(40, 2))}
        with pytest.raises(UserError, match=message):
            gap_table(features, sides_of(20, 20), **options)

    def test_a_side_of_another_name(self) -> None:
        with pytest.raises(UserError, match="unknown side 'D1'; choose source, target"):
            gap_table({"rgb": np.zeros((2, 2))}, np.array(["D1", "source"]))


class TestRun:
    def test_reads_the_features_of_a_run(self, tmp_path: Path) -> None:
        source, target = two_domains(20, 20)
        values, labels = np.concatenate([source, target]).astype(np.float32), np.tile([0, 1], 20)
        arrays = {"uid": np.arange(40).astype(str), "label": labels, "side": sides_of(20, 20)}
        write_arrays(tmp_path / "features.npz", {**arrays, "f_rgb": values, "f_flow": values[:, :2]})
        options = {"permutations": 9, "resamples": 9, "seed": 3, "measures": ["mmd", "coral"], "at_most": 19}
        expected = gap_table({"rgb": values, "flow": values[:, :2]}, arrays["side"], labels, at_least=4, **options)
        pd.testing.assert_frame_equal(gap_table(*run_features(tmp_path), at_least=4, **options), expected)
        predicted = np.repeat([0, 1], 20)
        found = gap_table(*run_features(tmp_path)[:2], predicted, at_least=4, **options)
        assert found.loc[found["conditional"], "value"].isna().all()

    def both_kinds(self, folder: Path, *, split: list[str] | None = None) -> dict[str, np.ndarray]:
        """Features of 20 and 20 segments, nearer to one another under their own statistics."""
        source, target = two_domains(20, 20)
        values = np.concatenate([source, target]).astype(np.float32)
        own = values - np.repeat([source.mean(axis=0), target.mean(axis=0)], 20, axis=0).astype(np.float32)
        arrays = {"uid": np.arange(40).astype(str), "label": np.tile([0, 1], 20), "side": sides_of(20, 20)}
        arrays |= {"f_rgb": values, "own_rgb": own}
        arrays |= {"split": np.repeat(split, 20)} if split else {}
        write_arrays(folder / "features.npz", arrays)
        return arrays

    def test_both_kinds_of_statistics_stand_one_below_the_other(self, tmp_path: Path) -> None:
        arrays = self.both_kinds(tmp_path)
        options = {"permutations": 19, "resamples": 9, "seed": 3, "measures": ["a_distance", "coral"], "at_least": 4}
        found = run_gap_table(tmp_path, **options)
        assert list(found.columns[:2]) == ["statistics", "modality"]
        assert list(found["statistics"].unique()) == ["evaluation", "own"]
        for kind, name in (("evaluation", "f_rgb"), ("own", "own_rgb")):
            expected = gap_table({"rgb": arrays[name]}, arrays["side"], arrays["label"], **options)
            of_kind = found[found["statistics"] == kind].drop(columns="statistics").reset_index(drop=True)
            pd.testing.assert_frame_equal(of_kind, expected)
        values = found[(found["measure"] == "a_distance") & ~found["conditional"]].set_index("statistics")["value"]
        assert values["own"] < values["evaluation"]

    def test_a_run_of_an_older_version_has_one_kind(self, tmp_path: Path) -> None:
        arrays = self.both_kinds(tmp_path)
        del arrays["own_rgb"]
        write_arrays(tmp_path / "features.npz", arrays)
        found = run_gap_table(tmp_path, measures=["coral"], permutations=0, resamples=0)
        assert set(found["statistics"]) == {"evaluation"}
        assert run_features(tmp_path, statistics="own")[0] == {}
        with pytest.raises(UserError, match="unknown statistics 'owm'; choose evaluation, own"):
            run_features(tmp_path, statistics="owm")

    @pytest.mark.parametrize(
        ("split", "said"),
        [
            (["test", "test"], ""),
            (["train", "test"], "source: training segments, for want of test segments"),
            (["train", "train"], "source and target: training segments, for want of test segments"),
            (None, ""),
        ],
        ids=str,
    )
    def test_training_segments_in_place_of_test_segments_are_told(self, split, said: str, tmp_path: Path) -> None:
        self.both_kinds(tmp_path, split=split)
        found = run_gap_table(tmp_path, measures=["mmd"], permutations=0, resamples=0)
        notes = set(found.loc[~found["conditional"], "note"])
        assert notes == {said}
        assert all(note.endswith(said) for note in found["note"])

    def test_a_folder_without_features(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"holds no features\.npz; name the folder of a finished run"):
            run_features(tmp_path)
