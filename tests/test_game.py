"""Records of the game: what D, C and each loss term do in a step, watched without touching it.

Every number is computed a second time from a network written out by hand, or follows from a law.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score
from test_experiment import Writes, assert_same, stopped
from test_methods import EVERY_METHOD, HALF, NUM_CLASSES, B, batch_of, method_of
from torch import Tensor, nn
from torch.testing import assert_close
from toy import toy_config, toy_data

from mmsada_lab.clips.batches import TrainingBatch
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import Experiment, run_experiment
from mmsada_lab.methods import MCD, MMSADA, Method
from mmsada_lab.models.heads import DomainDiscriminator, balanced_accuracy
from mmsada_lab.runs import RunFolder, load_history, read_arrays, read_manifest

pytestmark = pytest.mark.usefixtures("toy_format")
MODALITIES = ("rgb", "flow")


def observed(method: Method, batch: TrainingBatch, weights: Mapping[str, float], *, progress: float = 0.5, **more: int):
    return method.observe(method(batch, progress), weights, **more)


def gradients(found: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items() if name.startswith("gradient/")}


# --- gradients --------------------------------------------------------------------------------------------------


@contextmanager
def kept_features(method: Method) -> Iterator[list[dict[str, Tensor]]]:
    """The features of every domain that passes, which keep their gradients."""
    kept, features = [], method.network.features

    def watched(clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = features(clips)
        for feature in found.values():
            feature.retain_grad() if feature.requires_grad else None
        kept.append(found)
        return found

    method.network.features = watched
    yield kept
    del method.network.features


class TestGradients:
    @EVERY_METHOD
    @pytest.mark.parametrize("stage", ["pretrain", "adapt"])
    def test_they_are_what_the_backward_pass_of_a_term_alone_leaves_at_the_features(
        self, name: str, stage: str
    ) -> None:
        config = toy_config(name, dropout=0.0)
        batch, weights = batch_of(config), dict(config.stages)[stage].weights
        found = gradients(observed(method_of(config, stage=stage), batch, weights))
        assert found.keys() == {f"gradient/{term}/{m}" for term in weights for m in MODALITIES}
        for term, weight in weights.items():
            method = method_of(config, stage=stage)
            with kept_features(method) as kept:
                (weight * method(batch, 0.5)[term]).backward()
            for m in MODALITIES:
                arrived = [domain[m].grad.flatten() for domain in kept if domain[m].grad is not None]
                expected = torch.cat(arrived).square().sum().sqrt()
                assert found[f"gradient/{term}/{m}"] == pytest.approx(float(expected), rel=1e-5)
                assert expected > 0

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_they_are_those_of_a_network_written_out_by_hand(self, outputs: int) -> None:
        """Eqs. 1 to 3 from the features on, in double precision, every gradient by numpy."""
        config = toy_config(
            dropout=0.0,
            discriminator_outputs=outputs,
            reversal_schedule="constant",
            reversal_coefficient=0.3,
            correspondence_batch="half",
        )
        method, batch = method_of(config), batch_of(config)
        found = observed(method, batch, {"classification": 0.2, "adversarial": 1.5, "correspondence": 0.7})
        source, target = (
            {m: f.detach().double().numpy() for m, f in method.network.features(domain.clips).items()}
            for domain in (batch.source, batch.target)
        )
        labels, half = batch.source.labels.numpy(), HALF.numpy()

        logits = sum(source[m] @ array(method.network.classifiers[m].weight).T for m in MODALITIES)
        logits = logits + sum(array(method.network.classifiers[m].bias) for m in MODALITIES)
        error = (softmax(logits) - np.eye(NUM_CLASSES)[labels]) * half[:, None] / half.sum()
        for m in MODALITIES:
            expected = np.linalg.norm(error @ array(method.network.classifiers[m].weight))
            assert found[f"gradient/classification/{m}"].item() == pytest.approx(0.2 * expected, rel=1e-4)

        for m in MODALITIES:
            both = np.concatenate([source[m], target[m]])
            into, right = two_layers(method.discriminators[m].layers, both, np.arange(2 * B) >= B)
            assert found[f"gradient/adversarial/{m}"].item() == pytest.approx(
                1.5 * 0.3 * np.linalg.norm(into), rel=1e-4
            )
            assert found[f"domain_accuracy/{m}"].item() == pytest.approx(100 * right, rel=1e-6)

        joined = np.concatenate([np.concatenate([side[m] for m in MODALITIES], axis=1) for side in (source, target)])
        into, right = two_layers(method.pretext.head.layers, joined, np.tile(half, 2))
        for m, part in zip(MODALITIES, np.split(into, 2, axis=1), strict=True):
            assert found[f"gradient/correspondence/{m}"].item() == pytest.approx(0.7 * np.linalg.norm(part), rel=1e-4)
        assert found["correspondence_accuracy"].item() == pytest.approx(100 * right, rel=1e-6)
        assert found["reversal"].item() == pytest.approx(0.3)

    @pytest.mark.parametrize(
        "how",
        [{"reversal_coefficient": 0.0, "discrepancy_reversal": 0.0, "reversal_schedule": "constant"}, {}],
        ids=["constant", "ramp"],
    )
    @pytest.mark.parametrize(("name", "term"), [("mmsada", "adversarial"), ("mcd", "discrepancy")])
    def test_without_reversal_nothing_of_the_adversary_arrives(self, name: str, term: str, how: dict[str, Any]) -> None:
        """Exactly nothing, at a coefficient of 0 or where the ramp begins; the opponents learn all the same."""
        config = toy_config(name, **how)
        method, batch = method_of(config), batch_of(config)
        terms = method(batch, 0.0)
        found = method.observe(terms, config.adapt.weights)
        assert [found[f"gradient/{term}/{m}"].item() for m in MODALITIES] == [0, 0]
        assert found["reversal"] == 0
        assert all(found[f"gradient/classification/{m}"] > 0 for m in MODALITIES)
        terms[term].backward()
        opponents = method.discriminators if isinstance(method, MMSADA) else method.auxiliary
        assert all(p.grad.abs().sum() > 0 for p in opponents.parameters())

    @EVERY_METHOD
    def test_twice_the_weight_is_twice_the_gradient(self, name: str) -> None:
        config = toy_config(name, dropout=0.0)
        weights = config.adapt.weights
        once, nothing = (
            gradients(observed(method_of(config), batch_of(config), w)) for w in (weights, dict.fromkeys(weights, 0.0))
        )
        for term in weights:
            doubled = {**weights, term: 2 * weights[term]}
            twice = gradients(observed(method_of(config), batch_of(config), doubled))
            factors = {name: 2.0 if name.split("/")[1] == term else 1.0 for name in once}
            assert twice == pytest.approx({name: factors[name] * value for name, value in once.items()})
        assert set(nothing.values()) == {0.0}

    def test_twice_the_reversal_is_twice_what_arrives_of_the_adversary(self) -> None:
        found = []
        for coefficient in (0.1, 0.2):
            config = toy_config(reversal_coefficient=coefficient, reversal_schedule="constant", dropout=0.0)
            found.append(gradients(observed(method_of(config), batch_of(config), config.adapt.weights)))
        one, other = found
        for name, value in one.items():
            assert other[name] == pytest.approx(value * (2 if "adversarial" in name else 1), rel=1e-5)

    def test_of_an_f_that_is_not_trained_there_are_none(self) -> None:
        config = toy_config()
        method = method_of(config)
        method.network.backbones["rgb"].requires_grad_(False)
        found = observed(method, batch_of(config), config.adapt.weights)
        assert set(gradients(found)) == {f"gradient/{term}/flow" for term in config.adapt.weights}
        method.network.backbones.requires_grad_(False)
        found = observed(method, batch_of(config), config.adapt.weights)
        assert not gradients(found)
        assert {"domain_accuracy/rgb", "domain_loss/flow", "correspondence_accuracy", "reversal"} <= found.keys()

    def test_of_a_shard_they_are_scaled_as_the_batchs(self) -> None:
        """Clips twice: each half of the batch has the gradient of the whole, over half as many clips."""
        config = toy_config("adversarial_only", dropout=0.0)
        one = batch_of(config)
        twice = replace(
            one,
            source=replace(
                one.source,
                clips={m: torch.cat([c, c]) for m, c in one.source.clips.items()},
                corresponds=torch.cat([HALF, HALF]),
                labels=torch.cat([one.source.labels] * 2),
            ),
            target=replace(
                one.target,
                clips={m: torch.cat([c, c]) for m, c in one.target.clips.items()},
                corresponds=torch.cat([HALF, HALF]),
            ),
        )
        weights = config.adapt.weights
        whole = gradients(observed(method_of(config), twice, weights))
        shard = gradients(observed(method_of(config), one, weights, shards=2))
        assert shard == pytest.approx(whole, rel=1e-4)

    def test_only_the_last_batch_counts_and_nothing_is_kept(self) -> None:
        config = toy_config(dropout=0.0)
        method, weights = method_of(config), config.adapt.weights
        first, last = batch_of(config), batch_of(config, seed=1)
        method(first, 0.5)
        found = observed(method, last, weights)
        assert gradients(found) == gradients(observed(method_of(config), last, weights))
        assert all(not scalar.requires_grad for scalar in found.values())
        assert method.observed == {}
        assert method.observe({}, weights) == {}


def array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def two_layers(layers: nn.Sequential, features: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Gradient of the mean binary cross-entropy with respect to the features, and balanced accuracy, by numpy."""
    first, second = (array(layers[k].weight) for k in (0, 2))
    hidden = features @ first.T + array(layers[0].bias)
    scores = np.maximum(hidden, 0) @ second.T + array(layers[2].bias)
    if scores.shape[1] == 1:  # a sigmoid
        error, says = 1 / (1 + np.exp(-scores)) - positive[:, None], scores[:, 0] > 0
    else:
        error, says = softmax(scores) - np.eye(2)[positive.astype(int)], scores[:, 1] > scores[:, 0]
    return (error / len(features)) @ second * (hidden > 0) @ first, balanced_accuracy_score(positive, says)


# --- accuracies -------------------------------------------------------------------------------------------------


class TestBalancedAccuracy:
    @pytest.mark.parametrize("sizes", [(1, 1), (1, 9), (50, 3), (32, 32)])
    @pytest.mark.parametrize("outputs", [1, 2])
    def test_one_answer_for_all_is_chance_and_the_right_ones_are_everything(
        self, outputs: int, sizes: tuple[int, int]
    ) -> None:
        positive = torch.arange(sum(sizes)) >= sizes[0]

        def scores(says: Tensor) -> Tensor:
            logit = torch.where(says, 2.0, -2.0)
            return logit if outputs == 1 else torch.stack([-logit, logit], dim=1)

        for says, expected in (
            (torch.ones_like(positive), 50),
            (torch.zeros_like(positive), 50),
            (positive, 100),
            (~positive, 0),
        ):
            assert balanced_accuracy(scores(says), positive).item() == expected

    @pytest.mark.parametrize("seed", range(5))
    def test_it_is_that_of_the_literature(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        scores, positive = torch.randn(40, 2, generator=generator), torch.rand(40, generator=generator) < 0.3
        expected = balanced_accuracy_score(positive, scores.argmax(dim=1) == 1)
        assert balanced_accuracy(scores, positive).item() == pytest.approx(100 * expected, rel=1e-6)

    @pytest.mark.parametrize("positive", [True, False])
    def test_where_one_answer_is_always_right_it_alone_counts(self, positive: bool) -> None:
        scores = torch.tensor([1.0, -1.0, 1.0, 1.0])
        found = balanced_accuracy(scores, torch.full((4,), positive))
        assert found.item() == (75 if positive else 25)

    def test_equal_scores_say_no(self) -> None:
        answers = torch.tensor([True, False, False])
        for scores in (torch.zeros(3), torch.zeros(3, 2)):
            assert balanced_accuracy(scores, answers).item() == 50


class TestDiscriminators:
    """D on the features of an evaluation's segments, of which the domains have different numbers."""

    SIZES = (7, 40)

    def played(self, weights: Callable[[DomainDiscriminator], None], *, outputs: int = 2) -> dict[str, float]:
        config = toy_config("adversarial_only", discriminator_outputs=outputs)
        method = method_of(config)
        assert isinstance(method, MMSADA)
        for discriminator in method.discriminators.values():
            for parameter in discriminator.parameters():
                nn.init.zeros_(parameter)
            weights(discriminator)
        widths = method.network.feature_widths
        source, target = (
            {m: value * torch.ones(n, width) for m, width in widths.items()}
            for n, value in zip(self.SIZES, (0.0, 1.0), strict=True)
        )
        found = method.game(source, target)
        assert set(found) == {f"{what}/{m}" for what in ("domain_accuracy", "domain_loss") for m in MODALITIES}
        assert len(set(found.values())) == 2, "the same for both modalities"
        return {name.partition("/")[0]: value for name, value in found.items()}

    def test_one_that_always_says_target(self) -> None:
        found = self.played(lambda d: d.layers[2].bias.data.copy_(torch.tensor([-1.0, 1.0])))
        assert found["domain_accuracy"] == 50
        assert found["domain_loss"] == pytest.approx(np.mean([np.log1p(np.exp(2)), np.log1p(np.exp(-2))]), rel=1e-5)

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_one_that_says_nothing(self, outputs: int) -> None:
        found = self.played(lambda _: None, outputs=outputs)
        assert found == {"domain_accuracy": 50, "domain_loss": pytest.approx(math.log(2))}

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_one_that_knows(self, outputs: int) -> None:
        def knows(d: DomainDiscriminator) -> None:
            d.layers[0].weight.data.fill_(1.0)  # hidden units are the sum of the features, or 0
            d.layers[2].weight.data[-1] = 1.0
            d.layers[2].bias.data[-1] = -20.0

        found = self.played(knows, outputs=outputs)
        assert found["domain_accuracy"] == 100
        assert found["domain_loss"] == pytest.approx(0, abs=1e-6)

    @EVERY_METHOD
    @pytest.mark.parametrize("stage", ["pretrain", "adapt"])
    def test_methods_without_one_say_nothing(self, name: str, stage: str) -> None:
        config = toy_config(name)
        features = {m: torch.randn(5, 8) for m in MODALITIES}
        found = method_of(config, stage=stage).game(features, features)
        assert bool(found) == ("adversarial" in dict(config.stages)[stage].weights)


# --- D's own rate -----------------------------------------------------------------------------------------------


class TestDiscriminatorRate:
    @staticmethod
    def trained(config: ExperimentConfig, folder: Path, *, factor: float | None = None) -> list[dict[str, Tensor]]:
        """Weights after each of six steps; with a factor, every step of D is lengthened by hand."""
        experiment = Experiment(
            config, toy_data(), RunFolder(folder, config, data_name="toy"), accelerator=Accelerator(cpu=True), workers=0
        )
        method, optimiser = experiment.prepare_stage(config.adapt)
        weights = []
        for step, batch in enumerate(experiment.load_batches(config.adapt, seed=(0, 1))):
            before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
            terms = method.train()(batch, step / config.adapt.steps)
            sum(config.adapt.weights[name] * term for name, term in terms.items()).backward()
            optimiser.step()
            optimiser.zero_grad()
            if factor is not None:
                with torch.no_grad():
                    for name, parameter in method.named_parameters():
                        if name.startswith("discriminators."):
                            parameter.copy_(before[name] + factor * (parameter - before[name]))
            weights.append({name: tensor.detach().clone() for name, tensor in method.named_parameters()})
        return weights

    @pytest.mark.parametrize("factor", [0.25, 8.0])
    def test_it_is_the_length_of_ds_steps(self, factor: float, tmp_path: Path) -> None:
        """Plain SGD, without momentum; over six steps, in which F follows D."""
        plain = {"momentum": 0.0, "dropout": 0.0, "adapt__steps": 6, "weight_decay": 0.01, "adapt__learning_rate": 0.05}
        one = self.trained(toy_config(**plain), tmp_path, factor=factor)
        other = self.trained(toy_config(**plain, discriminator_rate=factor), tmp_path)
        for expected, found in zip(one, other, strict=True):
            assert_close(found, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("optimiser", ["sgd", "adam"])
    def test_it_moves_d_and_nothing_else(self, optimiser: str, tmp_path: Path) -> None:
        """The first step, before F could follow."""
        alike = {"optimiser": optimiser, "dropout": 0.0, "adapt__steps": 1}
        (one,), (other,) = (self.trained(toy_config(**alike, discriminator_rate=rate), tmp_path) for rate in (1.0, 5.0))
        differing = {name for name in one if not torch.equal(one[name], other[name])}
        assert differing == {name for name in one if name.startswith("discriminators.")}

    def test_at_one_it_is_the_run_without_it(self) -> None:
        config = toy_config()
        groups = method_of(config).parameter_groups(learning_rate=0.1)
        assert [group.keys() for group in groups] == [{"params"}]
        assert toy_config(discriminator_rate=1.0).digest == config.digest

    def test_every_parameter_is_in_one_group(self) -> None:
        method = method_of(toy_config(discriminator_rate=4.0))
        groups = method.parameter_groups(learning_rate=0.1)
        assert [group.get("lr") for group in groups] == [None, pytest.approx(0.4)]
        names = {id(parameter): name for name, parameter in method.named_parameters()}
        found = [[names[id(parameter)] for parameter in group["params"]] for group in groups]
        assert sorted(found[0] + found[1]) == sorted(names.values())
        assert all(name.startswith("discriminators.") for name in found[1])

    def test_runs_that_differ_in_it_share_their_first_stage(self, tmp_path: Path) -> None:
        paths = [run(toy_config(discriminator_rate=rate), tmp_path) for rate in (1.0, 2.0)]
        manifests = [read_manifest(path / "manifest.json") for path in paths]
        assert [manifest["first_stage_reused"] for manifest in manifests] == [False, True]
        histories = [load_history(path).query("stage == 'pretrain'") for path in paths]
        pd.testing.assert_frame_equal(*histories)

    def test_an_interrupted_run_keeps_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = toy_config(discriminator_rate=3.0, adapt__steps=9, evaluate_every=2)
        whole = run(config, tmp_path / "whole")
        stopped(config, tmp_path / "again", Writes(monkeypatch), after=1 + 2 * 4)
        assert_same(whole, run(config, tmp_path / "again"))


# --- in a run ---------------------------------------------------------------------------------------------------


def run(config: ExperimentConfig, runs: Path) -> Path:
    return run_experiment(config, runs, device="cpu", workers=0, show_progress=False)


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    return [r for r in map(json.loads, (path / "history.jsonl").read_text().splitlines()) if r["kind"] == kind]


def places(path: Path, kind: str) -> list[tuple[str, int]]:
    return [(record["stage"], record["step"]) for record in records(path, kind)]


OF_C = {"correspondence_accuracy"}
OF_D = {"reversal"} | {f"{what}/{m}" for what in ("domain_accuracy", "domain_loss") for m in MODALITIES}
NOTED = {
    "mmsada": (OF_C, OF_C | OF_D),
    "adversarial_only": (set(), OF_D),
    "self_supervised_only": (OF_C, OF_C),
    "mcd": (set(), {"reversal"}),
}
"""What a method notes in either stage beside its gradients; nothing where it is not listed."""


@EVERY_METHOD
def test_a_run_records_them_beside_its_losses(name: str, tmp_path: Path) -> None:
    config = toy_config(name, log_every=2)
    path = run(config, tmp_path)
    assert places(path, "game") == places(path, "train")
    for record in records(path, "game"):
        weights = dict(config.stages)[record["stage"]].weights
        arriving = {f"gradient/{term}/{m}" for term in weights for m in MODALITIES}
        assert record["values"].keys() == NOTED.get(name, (set(), set()))[record["stage"] == "adapt"] | arriving
        assert all(0 <= value <= 100 for what, value in record["values"].items() if "accuracy" in what)
    for record in records(path, "train"):
        assert record["values"].keys() == dict(config.stages)[record["stage"]].weights.keys()
    last = records(path, "evaluation")[-1]["values"]
    assert {what for what in last if what.startswith("game/")} == {
        f"game/{what}" for what in NOTED.get(name, (set(), set()))[1] if what.startswith("domain_")
    }


def test_what_is_done_in_turn_is_recorded_at_every_step(tmp_path: Path) -> None:
    """MCD in three alternating steps: zeros where nothing arrives, and never another set of names."""
    path = run(toy_config("mcd", discrepancy_steps="alternating"), tmp_path)
    adapted = [record["values"] for record in records(path, "game")[5:]]
    assert len({frozenset(values) for values in adapted}) == 1
    arriving = [values["gradient/discrepancy/rgb"] > 0 for values in adapted]
    assert arriving == [False, False, True, False, False, True, False]


def test_ds_losses_add_up_to_the_term(tmp_path: Path) -> None:
    path = run(toy_config("adversarial_only"), tmp_path)
    for trained, played in zip(records(path, "train")[5:], records(path, "game")[5:], strict=True):
        shares = [played["values"][f"domain_loss/{m}"] for m in MODALITIES]
        assert sum(shares) == pytest.approx(trained["values"]["adversarial"], rel=1e-5)


def test_the_reversal_is_the_ramp(tmp_path: Path) -> None:
    found = [record["values"].get("reversal") for record in records(run(toy_config(), tmp_path), "game")]
    ramp = [0.2 * (2 / (1 + math.exp(-10 * step / 7)) - 1) for step in range(7)]
    assert found == [None] * 5 + [pytest.approx(value, rel=1e-6) for value in ramp]


@pytest.mark.parametrize("name", ["source_only", "mmd", "mcd", "mmsada"])
@pytest.mark.parametrize("more", [{}, {"accumulation": 2, "norm_group": 3}], ids=["whole", "in parts"])
def test_watching_changes_nothing(
    name: str, more: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with dropout: losses, weights, predictions and features of a run that nobody watches."""
    config = toy_config(name, **more)
    watched = run(config, tmp_path / "watched")
    monkeypatch.setattr(Method, "observe", lambda *_, **__: {})
    unwatched = run(config, tmp_path / "unwatched")
    assert records(watched, "train") == records(unwatched, "train")
    assert records(watched, "evaluation") == records(unwatched, "evaluation")
    assert records(watched, "game")
    assert not records(unwatched, "game")
    weights, others = (load_file(path / "model.safetensors") for path in (watched, unwatched))
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())
    for file in ("predictions.npz", "features.npz"):
        arrays, same = (read_arrays(path / file) for path in (watched, unwatched))
        assert all(np.array_equal(values, same[name]) for name, values in arrays.items())


def test_an_interrupted_run_keeps_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config()
    path = stopped(config, tmp_path / "again", Writes(monkeypatch), after=1 + 2 * 3)
    early = records(path, "game")
    assert [record["total_step"] for record in early] == list(range(1, 9))
    again = run(config, tmp_path / "again")
    assert again == path
    assert records(path, "game")[:8] == early
    assert [record["total_step"] for record in records(path, "game")] == list(range(1, 13))
    assert_same(run(config, tmp_path / "whole"), path)


def test_a_run_that_takes_its_first_stage_has_that_ones_records(tmp_path: Path) -> None:
    one, other = (run(toy_config(reversal_coefficient=value), tmp_path) for value in (0.1, 0.2))
    assert read_manifest(other / "manifest.json")["first_stage_reused"]
    assert records(one, "game")[:5] == records(other, "game")[:5]


def test_a_gradient_that_overflows_ends_no_run_and_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observe = MMSADA.observe

    def overflowing(method: MMSADA, *arguments: Any, **more: Any) -> dict[str, Tensor]:
        found = observe(method, *arguments, **more)
        return found | {"gradient/classification/rgb": torch.tensor(math.inf)}

    monkeypatch.setattr(MMSADA, "observe", overflowing)
    path = run(toy_config(), tmp_path)
    assert read_manifest(path / "manifest.json")["status"] == "finished"
    names = {name for record in records(path, "game") for name in record["values"]}
    assert "gradient/classification/rgb" not in names
    assert "gradient/classification/flow" in names
    assert "Infinity" not in (path / "history.jsonl").read_text()


def test_the_history_is_a_tidy_frame_of_three_kinds(tmp_path: Path) -> None:
    history = load_history(run(toy_config(), tmp_path))
    assert set(history["kind"]) == {"train", "game", "evaluation"}
    game = history[history["kind"] == "game"].pivot(index="total_step", columns="name", values="value")
    assert game["domain_accuracy/rgb"].isna().tolist() == [True] * 5 + [False] * 7
    assert game["correspondence_accuracy"].notna().all()


class TestAccumulation:
    def test_records_are_means_over_the_shards(self, tmp_path: Path) -> None:
        """Of equal shards: accuracies and losses of D and C, which are means over clips, to rounding."""
        alike = {
            "norm_group": 2,
            "norm_momentum": 0.01,
            "dropout": 0.0,
            "batch_size": 16,
            "correspondence_batch": "half",
        }
        whole, shards = (
            [record["values"] for record in records(run(toy_config(**alike, accumulation=k), tmp_path), "game")]
            for k in (1, 2)
        )
        for expected, found in zip(whole, shards, strict=True):
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                if "accuracy" in name:
                    assert found[name] == pytest.approx(value, abs=1e-3)
                elif name.startswith("gradient/"):
                    assert found[name] == pytest.approx(value, rel=0.15), "but for the spread between the shards"
                else:
                    assert found[name] == pytest.approx(value, rel=1e-3)


# --- when the network is evaluated -------------------------------------------------------------------------------


class TestEvaluateBefore:
    @pytest.mark.parametrize(
        ("changes", "pretrain", "adapt"),
        [
            ({}, [2, 4, 6, 7], [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
            ({"evaluate_before": 6}, [6, 7], [6, 12, 16, 18, 20]),
            ({"evaluate_before": 7}, [7], [7, 14, 16, 18, 20]),
            ({"evaluate_before": 99}, [7], [16, 18, 20]),
            ({"evaluate_before": 99, "averaged_evaluations": 1}, [7], [20]),
            ({"evaluate_before": 99, "averaged_evaluations": 50}, [7], list(range(2, 21, 2))),
            ({"evaluate_before": 6, "adapt__steps": 19}, [6, 7], [6, 12, 14, 16, 18, 19]),
            ({"evaluate_before": 1, "adapt__steps": 8}, list(range(1, 8)), [1, 2, 4, 6, 8]),
        ],
        ids=str,
    )
    def test_dense_where_evaluations_are_averaged_and_always_at_the_end(
        self, changes: dict[str, int], pretrain: list[int], adapt: list[int], tmp_path: Path
    ) -> None:
        sizes = {"pretrain__steps": 7, "adapt__steps": 20, "evaluate_every": 2, "averaged_evaluations": 3}
        config = toy_config("source_only", batch_size=4, test_windows=1, **sizes | changes)
        expected = [("pretrain", step) for step in pretrain] + [("adapt", step) for step in adapt]
        stages = enumerate(config.stages)
        assert expected == [
            (name, step)
            for k, (name, stage) in stages
            for step in range(1, stage.steps + 1)
            if config.is_evaluated(k, step)
        ]
        path = run(config, tmp_path)
        assert places(path, "evaluation") == expected
        assert places(path, "train") == [("pretrain", k + 1) for k in range(7)] + [
            ("adapt", k + 1) for k in range(config.adapt.steps)
        ]
        averaged = read_arrays(path / "predictions.npz")["steps"].tolist()
        assert averaged == adapt[-config.averaged_evaluations :]

    @pytest.mark.parametrize("preset", ["quick", "sensors", "paper", "released"])
    def test_the_last_nine_of_a_preset_are_where_they_were(self, preset: str) -> None:
        sizes = {"adapt__steps": 900, "evaluate_every": 20, "averaged_evaluations": 9}
        for before in (0, 70, 10**9):
            config = toy_config(preset=preset, evaluate_before=before, **sizes)
            found = [step for step in range(1, 901) if config.is_evaluated(1, step)]
            assert found[-9:] == list(range(740, 901, 20))
            assert {later - earlier for earlier, later in pairwise(found[-9:])} == {20}

    def test_training_and_the_result_are_the_same(self, tmp_path: Path) -> None:
        dense, sparse = (run(toy_config(adapt__steps=12, evaluate_before=before), tmp_path) for before in (0, 6))
        assert len(records(sparse, "evaluation")) < len(records(dense, "evaluation"))
        assert records(sparse, "train") == records(dense, "train")
        results = [read_manifest(path / "manifest.json")["result"] for path in (dense, sparse)]
        assert results[0] == results[1]

    def test_it_is_part_of_the_digest_where_it_is_used(self) -> None:
        assert toy_config(evaluate_before=0).digest == toy_config().digest
        assert toy_config(evaluate_before=6).digest != toy_config().digest
        with pytest.raises(UserError, match="evaluate_before is -1; give a number of at least 0"):
            toy_config(evaluate_before=-1)


def test_the_auxiliary_classifier_of_mcd_is_no_discriminator() -> None:
    config = toy_config("mcd", discriminator_rate=5.0)
    method = method_of(config)
    assert isinstance(method, MCD)
    assert len(method.parameter_groups(learning_rate=0.1)) == 1
