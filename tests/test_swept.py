"""Sweeps of a weight: read from the reference runs and worked out again, and what choosing by them costs."""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.analysis.lessons.source_choice import draw_source_choice, source_choice
from mmsada_lab.analysis.selection import AT_RANDOM, LAST, ORACLE, RULES, USUAL, choice_counts, mean_regrets, rule_title
from mmsada_lab.errors import UserError
from mmsada_lab.lessons.swept import USUAL_VALUES, Sweeps, load_sweeps
from mmsada_lab.presets import build_config
from mmsada_lab.runs import read_manifest


@pytest.fixture(scope="module")
def sweeps() -> Sweeps:
    return load_sweeps()


@cache
def recorded(path: str) -> dict[str, Any]:
    """Configuration of a run, as it was written down."""
    return read_manifest(Path(path) / "manifest.json")["config"]


def top1_at(sweeps: Sweeps, coefficient: float, stream: str = "fused") -> pd.Series:
    """Accuracy of every pair, world and seed of the sweep of λd, by what the runs wrote down alone."""
    runs = sweeps["λd"].runs.query("method == 'mmsada' and stream == @stream")
    configs = [recorded(path) for path in runs["path"]]
    usual = sweeps["λd"].config(5 * coefficient, source="D1", target="D3").to_dict()
    varied = {"source", "target", "data", "seed"}
    alike = [all(config[name] == usual[name] for name in config.keys() & usual.keys() - varied) for config in configs]
    assert usual["reversal_coefficient"] == pytest.approx(coefficient)
    return runs[alike].set_index(["world", "seed", "source", "target"])["top1"]


class TestSweeps:
    def test_both_weights_with_their_values(self, sweeps: Sweeps) -> None:
        assert {name: sorted(set(sweep.values.values())) for name, sweep in sweeps.items()} == {
            "λd": [0, 0.1, 0.3, 1, 3, 10],
            "λc": [0, 1, 2.5, 5, 10],
        }
        assert len(sweeps) == len(list(sweeps)) == 2
        assert USUAL_VALUES.keys() == set(sweeps)

    def test_values_are_compared_on_what_all_have(self, sweeps: Sweeps) -> None:
        """The usual value has more seeds than the others: they are left out."""
        runs = sweeps["λd"].runs.assign(value=lambda rows: rows["digest"].map(sweeps["λd"].values))
        counts = runs[runs["stream"] == "fused"].groupby(["source", "target", "world", "seed"])["value"].nunique()
        assert set(counts) == {6}
        assert len(sweeps.runs) > len(sweeps["λd"].runs)

    def test_means_and_baseline_by_hand(self, sweeps: Sweeps) -> None:
        means = sweeps["λd"].means().set_index("value")["top1"]
        for value in (0.0, 1.0, 10.0):
            assert means[value] == pytest.approx(top1_at(sweeps, value / 5).mean(), abs=0.01)
        plain = sweeps["λd"].runs.query("method == 'source_only' and stream == 'fused'")
        preset = build_config("quick", source="D1", target="D3", method="source_only").source_only_batch
        usual = [recorded(path)["source_only_batch"] == preset for path in plain["path"]]
        assert sweeps["λd"].baseline == pytest.approx(plain.loc[usual, "top1"].mean(), abs=0.01)

    @pytest.mark.parametrize("stream", ["fused", "rgb"])
    def test_a_difference_is_paired_over_worlds(self, sweeps: Sweeps, stream: str) -> None:
        apart = (top1_at(sweeps, 2.0, stream) - top1_at(sweeps, 0.2, stream)).groupby("world").mean()
        half = 3.182446 * apart.std() / math.sqrt(len(apart))  # Student's t, 3 degrees of freedom
        expected = f"{apart.mean():+.1f} [{apart.mean() - half:+.1f}, {apart.mean() + half:+.1f}]"
        assert sweeps["λd"].write_difference(10.0, 1.0, stream=stream) == expected

    def test_the_overview_has_a_row_per_value_and_the_baseline_first(self, sweeps: Sweeps) -> None:
        overview = sweeps["λd"].overview()
        assert list(overview.index) == ["Source-only", *(f"λd = {v:g}" for v in (0, 0.1, 0.3, 1, 3, 10))]
        *pairs, mean, difference = overview.columns
        assert len(pairs) == 6
        assert overview.loc["λd = 1", mean] == pytest.approx(overview.loc["λd = 1", pairs].mean(), abs=0.05)
        assert overview.loc["λd = 1", difference] == sweeps["λd"].write_difference(1.0, None)
        assert overview.loc["Source-only", difference] == ""

    def test_one_run_a_value_is_no_interval(self, sweeps: Sweeps) -> None:
        one = Sweeps(
            sweeps.runs.query("world == 0 and source == 'D1' and target == 'D3'"),
            sweeps.folder, data="kitchens", preset="quick", overrides={},
        )  # fmt: skip
        assert one["λc"].write_difference(5.0, 0.0) == "unknown (too few runs)"

    def test_choices_are_of_every_weight_with_the_papers_value_as_the_usual_one(self, sweeps: Sweeps) -> None:
        choices = sweeps.choices()
        assert list(choices["method"].unique()) == list(sweeps)
        usual = choices[choices["rule"] == USUAL].groupby("method")["value"].unique()
        assert {name: values.tolist() for name, values in usual.items()} == {n: [v] for n, v in USUAL_VALUES.items()}

    def test_stops_are_of_methods_whose_target_has_no_labels(self, sweeps: Sweeps) -> None:
        methods = set(sweeps.stops()["method"])
        assert {"source_only", "mmsada", "adabn"} <= methods
        assert "supervised_target" not in methods

    def test_a_run_outside_the_common_ones_is_there_too(self, sweeps: Sweeps) -> None:
        config = sweeps["λd"].config(1.0, source="D1", target="D3", seed=1)
        assert config.digest not in set(sweeps["λd"].runs["digest"])
        assert sweeps.run(config).name.startswith("seed1")

    def test_what_there_is_not(self, sweeps: Sweeps) -> None:
        with pytest.raises(UserError, match="unknown weight 'λ'"):
            sweeps["λ"]
        with pytest.raises(UserError, match="unknown value '2'"):
            sweeps["λd"].config(2.0, source="D1", target="D3")
        with pytest.raises(UserError, match="unknown value '2'"):
            sweeps["λd"].write_difference(2.0, 1.0)
        with pytest.raises(UserError, match="no finished runs of λd here; train them: mmsada reproduce fig6"):
            load_sweeps(preset="paper")


class TestSourceChoice:
    SCORES = pd.DataFrame(
        [(v, w, s, p, 10 * v + s, 50 - v + 2 * w) for v, w, s, p in product((1.0, 2.0), (0, 1), (0, 1), "ab")],
        columns=["value", "world", "seed", "source", "source_accuracy", "top1"],
    )

    def test_by_hand(self) -> None:
        points = source_choice(self.SCORES).set_index(["side", "value"])
        assert points.loc[("source", 2.0), "mean"] == pytest.approx(20.5)
        assert points.loc[("source", 2.0), "sd"] == pytest.approx(np.std([20, 21, 20, 21], ddof=1))
        assert points.loc[("target", 1.0), "mean"] == pytest.approx(50)
        assert set(points["seeds"]) == {4}

    def test_a_seed_that_lacks_a_pair_is_left_out(self) -> None:
        points = source_choice(self.SCORES[1:]).set_index(["side", "value"])
        assert points.loc[("source", 1.0), ["mean", "seeds"]].tolist() == [pytest.approx(np.mean([11, 10, 11])), 3]

    def test_one_seed_has_no_spread(self) -> None:
        figure = draw_source_choice(source_choice(self.SCORES.query("world == 0 and seed == 0")), name="λ")
        assert not any(trace.error_y.visible for trace in figure.data)
        assert figure.layout.yaxis.title.text == "top-1, mean over pairs (%)"

    def test_runs_of_old_are_refused(self) -> None:
        with pytest.raises(UserError, match="no accuracy on the source"):
            source_choice(self.SCORES.drop(columns="source_accuracy"))


class TestRulesInWords:
    def test_every_rule_has_words(self) -> None:
        titles = [rule_title(rule) for rule in [AT_RANDOM, USUAL, *RULES]]
        assert len(set(titles)) == len(titles)
        assert not [title for title in titles if "_" in title]

    CHOICES = pd.DataFrame(
        [
            ("λ", AT_RANDOM, None, 4.0), ("λ", "nuclear_norm", 0.5, 3.0), ("λ", "nuclear_norm", 2.0, 1.0),
            ("λ", "source_accuracy", 2.0, 5.0), ("λ", ORACLE, 0.5, 0.0),
        ],
        columns=["method", "rule", "value", "regret"],
    ).assign(top1=60.0, correlation=None)  # fmt: skip

    def test_counts_are_in_the_order_of_the_rules(self) -> None:
        counts = choice_counts(self.CHOICES)
        assert list(counts.index) == ["accuracy on the source", "nuclear norm", "oracle"]
        assert list(counts.columns) == [("λ", "0.5"), ("λ", "2")]
        assert counts.to_numpy().tolist() == [[0, 1], [1, 1], [1, 0]]

    def test_regrets_are_means_without_the_oracle(self) -> None:
        regrets = mean_regrets(self.CHOICES)["λ"]
        assert regrets.to_dict() == {AT_RANDOM: 4.0, "nuclear norm": 2.0, "accuracy on the source": 5.0}
        assert list(mean_regrets(self.CHOICES.replace({"method": {"λ": "mcd"}, "rule": {AT_RANDOM: LAST}}))) == ["MCD"]
