"""Choosing without labels: values and rules on sweeps written by hand, and figures of exactly those data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from mmsada_lab.analysis import style
from mmsada_lab.analysis.selection import (
    AT_RANDOM,
    LAST,
    ORACLE,
    USUAL,
    rank_correlation,
    rule_title,
    selection_table,
    value_choices,
    value_scores,
)
from mmsada_lab.analysis.selection_figures import draw_selection, selection_bars
from mmsada_lab.errors import UserError

VALUES = {"none": 0.0, "half": 0.5, "one": 1.0}


def made_sweep(folder: Path, seed: int, *, digests: tuple[str, ...] = tuple(VALUES), world: int = 0) -> pd.DataFrame:
    """Runs as `load_runs` gives them, of three values: 20, 40, 30 % on the target, the source best at the last."""
    rows = []
    for digest in digests:
        at = list(VALUES).index(digest)
        path = folder / f"{digest}{seed}-{world}"
        path.mkdir(parents=True)
        lines = []
        for step, noise in enumerate((50, -2, 2)):  # the first does not count
            scores = {"validator/source_accuracy": 80 + 5 * at + noise, "validator/nuclear_norm": 1.0}
            scores |= {"validator/negative_entropy": [-3, -1, -2][at] + noise / 10}
            scores |= {"validator/correspondence": 60.0} if at else {}
            values = {"fused/top1": [20, 40, 30][at] + noise, **scores}
            record = {"kind": "evaluation", "stage": "adapt", "step": step, "total_step": step, "values": values}
            lines.append(json.dumps(record) + "\n")
        (path / "history.jsonl").write_text("".join(lines))
        shared = {"data": "toy", "preset": "quick", "method": "mmsada", "source": "A", "target": "B"}
        shared |= {"world": world, "seed": seed}
        top1 = float([20, 40, 30][at])
        rows.append({**shared, "stream": "fused", "digest": digest, "top1": top1, "evaluations": 2, "path": str(path)})
    return pd.DataFrame(rows)


@pytest.fixture
def sweep(tmp_path: Path) -> pd.DataFrame:
    return pd.concat([made_sweep(tmp_path, seed) for seed in (0, 1)], ignore_index=True)


class TestValues:
    def test_scores_are_means_over_the_last_evaluations(self, sweep: pd.DataFrame) -> None:
        scores = value_scores(sweep, VALUES)
        assert scores["value"].tolist() == [0, 0.5, 1] * 2
        assert scores["top1"].tolist() == [20, 40, 30] * 2
        assert scores["source_accuracy"].tolist() == [80, 85, 90] * 2
        assert scores["negative_entropy"].tolist() == pytest.approx([-3, -1, -2] * 2)

    def test_each_rule_takes_its_best_value(self, sweep: pd.DataFrame) -> None:
        table = value_choices(value_scores(sweep, VALUES), usual=1.0)
        one = table[table["seed"] == 0].set_index("rule")
        assert one["top1"].to_dict() == {
            AT_RANDOM: 30.0,
            USUAL: 30.0,
            "source_accuracy": 30.0,
            "negative_entropy": 40.0,
            "nuclear_norm": 20.0,
            ORACLE: 40.0,
        }
        assert (one["regret"] == 40 - one["top1"]).all()
        assert one.loc["negative_entropy", "value"] == 0.5
        assert np.isnan(one.loc[AT_RANDOM, "value"])
        assert one.loc["negative_entropy", "correlation"] == pytest.approx(1)
        assert one.loc["source_accuracy", "correlation"] == pytest.approx(spearmanr([1, 2, 3], [20, 40, 30]).statistic)
        assert np.isnan(one.loc["nuclear_norm", "correlation"])

    def test_a_rule_that_not_all_values_have_is_left_out(self, sweep: pd.DataFrame) -> None:
        assert "correspondence" in value_scores(sweep, VALUES)
        assert "correspondence" not in set(value_choices(value_scores(sweep, VALUES))["rule"])

    def test_without_a_usual_value(self, sweep: pd.DataFrame) -> None:
        assert USUAL not in set(value_choices(value_scores(sweep, VALUES))["rule"])
        with pytest.raises(UserError, match=r"0.7 is none of the values 0, 0.5, 1"):
            value_choices(value_scores(sweep, VALUES), usual=0.7)

    def test_the_same_seed_in_two_worlds_chooses_twice(self, sweep: pd.DataFrame, tmp_path: Path) -> None:
        scores = value_scores(pd.concat([sweep, made_sweep(tmp_path, 0, world=3)], ignore_index=True), VALUES)
        oracle = value_choices(scores).query(f"rule == '{ORACLE}'")
        assert oracle[["world", "seed", "evaluations"]].to_numpy().tolist() == [[0, 0, 3], [0, 1, 3], [3, 0, 3]]

    def test_seeds_that_lack_a_value_do_not_count(self, sweep: pd.DataFrame, tmp_path: Path) -> None:
        more = pd.concat([sweep, made_sweep(tmp_path, 2, digests=("none", "one"))], ignore_index=True)
        assert set(value_choices(value_scores(more, VALUES))["seed"]) == {0, 1}
        with pytest.raises(UserError, match="no pair and seed"):
            value_choices(value_scores(more, VALUES).query("(seed == 0) == (value == 0.5)"))

    def test_nothing_finished(self, sweep: pd.DataFrame) -> None:
        with pytest.raises(UserError, match="none of the runs"):
            value_scores(sweep, {"another": 1.0})

    def test_rank_correlation_shares_ties(self) -> None:
        one, other = pd.Series([1.0, 1.0, 2.0, 4.0]), pd.Series([3.0, 1.0, 2.0, 5.0])
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)


class TestBars:
    def bars(self, sweep: pd.DataFrame) -> pd.DataFrame:
        return selection_bars(value_choices(value_scores(sweep, VALUES), usual=1.0))

    def test_rules_in_order(self, sweep: pd.DataFrame) -> None:
        rules = [AT_RANDOM, USUAL, "source_accuracy", "negative_entropy", "nuclear_norm", ORACLE]
        assert list(self.bars(sweep)["rule"]) == rules
        assert set(self.bars(sweep)["runs"]) == {2}

    def test_spread_is_over_runs(self) -> None:
        rows = [("a", 1.0, 0.2), ("a", 3.0, 0.6), (ORACLE, 0.0, np.nan), (ORACLE, 0.0, np.nan)]
        table = pd.DataFrame(rows, columns=["rule", "regret", "correlation"]).assign(method="m", top1=1.0)
        one = selection_bars(table.replace({"rule": {"a": "nuclear_norm"}})).iloc[0]
        assert (one["regret"], one["regret_sd"], one["worst"]) == (2, pytest.approx(np.sqrt(2)), 3)
        assert one["correlation_sd"] == pytest.approx(np.std([0.2, 0.6], ddof=1))

    def test_evaluations_are_chosen_in_the_same_way(self, sweep: pd.DataFrame) -> None:
        bars = selection_bars(selection_table(sweep))
        assert bars["rule"].iloc[0] == LAST
        assert bars["rule"].iloc[-1] == ORACLE

    def test_nothing_to_look_at(self) -> None:
        with pytest.raises(UserError, match="no run to look at"):
            selection_bars(pd.DataFrame(columns=["method", "rule"]))

    def test_drawn_without_the_oracle_which_is_the_line_at_zero(self, sweep: pd.DataFrame) -> None:
        bars = self.bars(sweep)
        figure = draw_selection(bars, title="Title")
        regret, worst, correlation = figure.data
        shown = bars[bars["rule"] != ORACLE]
        assert list(regret.y) == [rule_title(rule) for rule in shown["rule"]]
        assert list(regret.x) == pytest.approx(list(shown["regret"]))
        assert list(worst.x) == pytest.approx(list(shown["worst"]))
        assert correlation.x[0] is None, "taking a value at random scores nothing"
        assert "(2 runs)" in regret.name
        assert figure.layout.shapes[0].x0 == 0
        assert figure.layout.template == style.TEMPLATE
        assert "points" in figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text == "rule"
        assert "bdata" not in figure.to_json()

    def test_drawing_is_pure_and_methods_are_told_apart(self, sweep: pd.DataFrame) -> None:
        bars = pd.concat([self.bars(sweep), self.bars(sweep).assign(method="mcd")], ignore_index=True)
        before = bars.copy()
        figure = draw_selection(bars)
        pd.testing.assert_frame_equal(bars, before)
        assert len({(trace.marker.color, trace.legendgroup) for trace in figure.data}) == 2
