"""What adding a method or a self-supervised task touches: one file with its class, and one entry of a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy import toy_config

from mmsada_lab import facts
from mmsada_lab.analysis.tables import results_table
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.facts import MethodFacts, PretextFacts
from mmsada_lab.presets import has_effect, override_keys
from mmsada_lab.runs import load_history, load_runs

METHOD = '''
"""Align the means of the domains' features."""
import torch
from mmsada_lab.methods import Method

class FeatureMeans(Method):
    def forward(self, batch, progress):
        source, target = self.both_domains(batch)
        terms = {"classification": self.classification(source, batch.source)}
        if "means" in self.terms:
            gaps = [(source[m].mean(dim=0) - target[m].mean(dim=0)).square().sum() for m in source]
            terms["means"] = torch.stack(gaps).sum()
        return terms
'''

PRETEXT = '''
"""Which of two modalities has the larger feature? A task that needs no clips of mixed segments."""
import torch
from torch import nn
from torch.nn import functional as F
from mmsada_lab.pretexts import Pretext

class Larger(Pretext):
    def __init__(self, widths, config):
        super().__init__(widths, config)
        self.head = nn.Linear(sum(widths.values()), 1)

    def scores(self, features):
        first, second, *_ = features.values()
        return self.head(torch.cat(list(features.values()), dim=1)).squeeze(1), first.norm(dim=1) > second.norm(dim=1)

    def loss(self, *domains):
        pairs = [self.scores(features) for features, _ in domains]
        return torch.stack([F.binary_cross_entropy_with_logits(s, a.float()) for s, a in pairs]).mean()

    def score(self, features):
        scores, answers = self.scores(features)
        return 100 * float(((scores > 0) == answers).float().mean())
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module that the program can import."""

    def write(name: str, source: str) -> None:
        folder = tmp_path / "modules"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)

    return write


@pytest.mark.usefixtures("toy_format")
class TestMethod:
    def test_one_file_and_one_entry(self, module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mmsada) -> None:
        module("feature_means", METHOD)
        weights = {"classification": (1.0, 0.2), "means": (None, 0.5)}
        entry = MethodFacts("Feature means", "feature_means:FeatureMeans", weights)
        monkeypatch.setitem(facts.METHODS, "feature_means", entry)

        config = toy_config("feature_means")
        assert config.adapt.weights == {"classification": 0.2, "means": 0.5}
        path = run_experiment(config, tmp_path / "runs", device="cpu", workers=0, show_progress=False)
        history = load_history(path)
        assert set(history[(history["kind"] == "train") & (history["stage"] == "adapt")]["name"]) == {
            "classification",
            "means",
        }
        assert results_table(load_runs(tmp_path / "runs"))["method"].unique().tolist() == ["feature_means"]
        assert "adapt.weights.means" in override_keys()
        assert has_effect("adapt.weights.means", "feature_means")
        assert not has_effect("reversal_coefficient", "feature_means")
        assert not has_effect("adapt.weights.means", "mmsada")
        said = mmsada("train", "--data", "toy", "--source", "A", "--target", "B", "--method", "feature_mean")
        assert "Did you mean 'feature_means'?" in said.err


@pytest.mark.usefixtures("toy_format")
class TestPretext:
    @pytest.fixture(autouse=True)
    def larger(self, module, monkeypatch: pytest.MonkeyPatch) -> None:
        module("larger_task", PRETEXT)
        monkeypatch.setitem(facts.PRETEXTS, "larger", PretextFacts("Larger", "larger_task:Larger", (2.0, 0.4), 2))

    def test_one_file_and_one_entry(self, tmp_path: Path) -> None:
        config = toy_config("mmsada", pretext="larger", correspondence_batch="half")
        assert config.adapt.weights == {"classification": 0.2, "adversarial": 1.0, "larger": 0.4}
        assert config.pretrain.weights == {"classification": 1.0, "larger": 2.0}
        assert config.lambda_c == pytest.approx(2)
        assert not config.batch.mismatched, "this task needs no clips of mixed segments"
        path = run_experiment(config, tmp_path / "runs", device="cpu", workers=0, show_progress=False)
        history = load_history(path)
        assert set(history[(history["kind"] == "train") & (history["stage"] == "adapt")]["name"]) == {
            "classification",
            "adversarial",
            "larger",
        }
        scores = history[history["name"] == "validator/larger"]["value"]
        assert len(scores)
        assert scores.between(0, 100).all()

    def test_it_is_another_run_and_other_methods_are_not(self) -> None:
        assert toy_config("mmsada", pretext="larger").digest != toy_config("mmsada").digest
        assert has_effect("pretext", "mmsada")
        assert not has_effect("pretext", "source_only")
        assert "adapt.weights.larger" in override_keys()

    def test_it_is_left_out_of_too_few_modalities(self) -> None:
        assert "larger" not in toy_config("mmsada", pretext="larger", modalities="rgb").adapt.weights

    def test_a_task_that_does_not_exist(self) -> None:
        with pytest.raises(UserError, match=r"unknown pretext 'largr'; choose .*Did you mean 'larger'"):
            toy_config("mmsada", pretext="largr")
