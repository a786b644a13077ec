"""Validators against independent computations, and the rules that choose by them on histories made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import entropy, spearmanr
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel
from toy import relabelled, toy_config, toy_data

from mmsada_lab import validators
from mmsada_lab.analysis.selection import LAST, ORACLE, RULES, format_selection, selection_summary, selection_table
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import load_history, load_runs

LAW = settings(max_examples=30, deadline=None, derandomize=True)


def drawn(seed: int, rows: int, classes: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=rows)


class TestValidators:
    @given(seed=st.integers(0, 9999), rows=st.integers(2, 40))
    @LAW
    def test_against_scipy_and_scikit_learn(self, seed: int, rows: int) -> None:
        p = drawn(seed, rows)
        sure = -entropy(p, axis=1).mean()
        assert validators.negative_entropy(p) == pytest.approx(sure)
        assert validators.information_maximisation(p) == pytest.approx(entropy(p.mean(axis=0)) + sure)
        assert validators.nuclear_norm(p) == pytest.approx(np.linalg.svd(p, compute_uv=False).sum() / rows)
        similarities = cosine_similarity(p) / 0.05
        kept = [np.delete(row, k) for k, row in enumerate(similarities)]
        densities = [entropy(np.exp(row - row.max())) for row in kept]
        assert validators.neighbourhood_density(p) == pytest.approx(np.mean(densities), abs=1e-9)

    @given(seed=st.integers(0, 9999))
    @LAW
    def test_closeness_against_scikit_learn(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        source, target = {"a": rng.normal(size=(9, 4))}, {"a": rng.normal(size=(7, 4)) + 0.5}
        joined = np.concatenate([source["a"], target["a"]])
        squared = np.square(joined[:, None] - joined[None]).sum(axis=2)
        gamma = 1 / np.median(squared[~np.eye(16, dtype=bool)])
        kernel = rbf_kernel(joined, gamma=gamma)
        expected = kernel[:9, :9].mean() + kernel[9:, 9:].mean() - 2 * kernel[:9, 9:].mean()
        assert validators.domain_closeness(source, target) == pytest.approx(-expected, abs=1e-9)

    def test_the_scale_of_features_does_not_count(self) -> None:
        rng = np.random.default_rng(0)
        source, target = rng.normal(size=(20, 6)), rng.normal(size=(20, 6)) + 1
        plain = validators.domain_closeness({"a": source}, {"a": target})
        assert validators.domain_closeness({"a": 30 * source}, {"a": 30 * target}) == pytest.approx(plain)
        assert plain < validators.domain_closeness({"a": source}, {"a": source[::-1]}) == pytest.approx(0, abs=1e-12)

    def test_what_they_like(self) -> None:
        sure, unsure, collapsed = np.eye(4)[np.arange(12) % 4], np.full((12, 4), 0.25), np.eye(4)[np.zeros(12, int)]
        for score in (validators.information_maximisation, validators.nuclear_norm):
            assert score(sure) > score(collapsed)
            assert score(sure) > score(unsure)
        assert validators.negative_entropy(collapsed) == pytest.approx(validators.negative_entropy(sure))

    def test_one_segment(self) -> None:
        assert np.isfinite(list(validators.score_target(drawn(0, 1)).values())).all()


def made_run(folder: Path, truth: list[float], **scores: list[float]) -> pd.DataFrame:
    """A run's row as `load_runs` has it, with a history of evaluations written by hand."""
    folder.mkdir(parents=True)
    lines = [{"kind": "evaluation", "stage": "pretrain", "step": 5, "total_step": 5, "values": {"fused/top1": 99.0}}]
    for at, accuracy in enumerate(truth):
        values = {"fused/top1": accuracy, **{f"validator/{name}": series[at] for name, series in scores.items()}}
        lines.append({"kind": "evaluation", "stage": "adapt", "step": at, "total_step": 5 + at, "values": values})
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = {"data": "toy", "preset": "quick", "method": "mmsada", "source": "A", "target": "B", "world": 0, "seed": 0}
    return pd.DataFrame([{**row, "stream": "fused", "evaluations": 2, "path": str(folder)}])


class TestRules:
    TRUTH = (10.0, 40.0, 30.0, 22.0)

    def table(self, folder: Path) -> pd.DataFrame:
        scores = {"negative_entropy": [-4.0, -1.0, -2.0, -3.0], "nuclear_norm": [1.0, 1.0, 1.0, 1.0]}
        runs = made_run(folder, list(self.TRUTH), source_accuracy=[50.0, 60.0, 70.0, 80.0], **scores)
        return selection_table(runs).set_index("rule")

    def test_each_takes_the_best_by_its_score(self, tmp_path: Path) -> None:
        table = self.table(tmp_path / "run")
        assert table["top1"].to_dict() == {
            LAST: 26.0,
            "source_accuracy": 22.0,
            "negative_entropy": 40.0,
            "nuclear_norm": 10.0,
            ORACLE: 40.0,
        }
        assert (table["regret"] == 40 - table["top1"]).all()
        assert table.loc["source_accuracy", "step"] == 3
        assert (table["evaluations"] == 4).all(), "the first stage does not count"

    def test_rank_correlation_against_scipy(self, tmp_path: Path) -> None:
        table = self.table(tmp_path / "run")
        assert table.loc["negative_entropy", "correlation"] == pytest.approx(1)
        expected = spearmanr([50, 60, 70, 80], self.TRUTH).statistic
        assert table.loc["source_accuracy", "correlation"] == pytest.approx(expected)
        assert np.isnan(table.loc["nuclear_norm", "correlation"]), "a score that does not vary ranks nothing"

    def test_summary(self, tmp_path: Path) -> None:
        runs = pd.concat([made_run(tmp_path / str(n), [10.0 * n, 20.0, 30.0], nuclear_norm=[3, 2, 1]) for n in (1, 2)])
        summary = selection_summary(selection_table(runs)).set_index("rule")
        assert summary.loc["nuclear_norm", ["runs", "top1", "regret", "worst"]].tolist() == [2, 15, 15, 20]

    def test_unlabelled_targets_cannot_judge_rules(self, tmp_path: Path) -> None:
        runs = made_run(tmp_path / "run", list(self.TRUTH))
        text = (tmp_path / "run/history.jsonl").read_text().replace("fused/top1", "validator/nuclear_norm")
        (tmp_path / "run/history.jsonl").write_text(text)
        with pytest.raises(UserError, match="labelled targets only"):
            selection_table(runs)


@pytest.mark.usefixtures("toy_format")
class TestRuns:
    @pytest.mark.parametrize("method", ["source_only", "adabn", "mmsada", "supervised_target"])
    def test_every_evaluation_of_the_last_stage_is_scored(self, method: str, tmp_path: Path) -> None:
        path = run_experiment(toy_config(method), tmp_path, device="cpu", workers=0, show_progress=False)
        table = selection_table(load_runs(tmp_path))
        expected = set(RULES) - (set() if method == "mmsada" else {"correspondence"})
        assert set(table["rule"]) == expected
        history = load_history(path)
        assert not history["name"][history["stage"] == "pretrain"].str.startswith("validator").any()

    def test_no_score_but_the_accuracies_depends_on_a_target_label(self, open_as_toy, tmp_path: Path) -> None:
        config = toy_config()
        run_experiment(config, tmp_path / "a", device="cpu", workers=0, show_progress=False)
        shuffled = relabelled(toy_data(), "B", lambda s: (s.label + 1) % 3, part="test")
        open_as_toy(relabelled(shuffled, "C", lambda s: 0))
        run_experiment(config, tmp_path / "b", device="cpu", workers=0, show_progress=False)
        one, other = (load_history(next((tmp_path / x).rglob("history.jsonl")).parent) for x in "ab")
        scored = one["name"].str.startswith("validator")
        assert scored.sum() > 5
        pd.testing.assert_frame_equal(one[scored], other[scored])


def test_lines_that_are_read(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", [50.0, 60.0], negative_entropy=[2.0, 1.0])
    second = made_run(tmp_path / "b", [40.0, 70.0], negative_entropy=[1.0, 2.0])
    summary = selection_summary(selection_table(pd.concat([first, second])))
    lines = format_selection(summary).set_index("rule")
    chosen = lines.loc[RULES["negative_entropy"]]
    assert chosen.drop("").tolist() == [2, "60.0", "5.0 ± 7.1", "10.0", "+0.00"]
    assert lines.loc[RULES[ORACLE], ["regret", "rank correlation"]].tolist() == ["0.0 ± 0.0", ""]
    alone = format_selection(selection_summary(selection_table(first))).set_index("rule")
    assert alone.loc[RULES["negative_entropy"], "regret"] == "10.0"
