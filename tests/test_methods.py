"""One contract over all methods, and what makes each of them itself.

Everything is observed from outside: the terms a method returns, where their gradients arrive, what batch normalisation
and the heads were shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close
from toy import MODALITIES, toy_config

from mmsada_lab import pretexts
from mmsada_lab.clips.batches import SourceBatch, TargetBatch, TrainingBatch
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.facts import METHODS
from mmsada_lab.losses import total_loss
from mmsada_lab.methods import MCD, MMSADA, Method, build_method
from mmsada_lab.models.backbones import build_backbone
from mmsada_lab.models.network import LateFusionNetwork

NUM_CLASSES, B = 3, 6
COUNTS = pytest.mark.parametrize("modalities", [["rgb"], ["flow", "rgb"], ["rgb", "flow", "depth"]], ids=len)
EVERY_METHOD = pytest.mark.parametrize("name", METHODS)
ADVERSARIAL = pytest.mark.parametrize("name", ["adversarial_only", "mmsada"])
HALF = torch.tensor([True] * 3 + [False] * 3)


def method_of(config: ExperimentConfig, *, stage: str = "adapt") -> Method:
    torch.manual_seed(0)
    network = LateFusionNetwork(
        {m: build_backbone("small3d", MODALITIES[m][0], width=2, norm_momentum=0.1) for m in config.modalities},
        NUM_CLASSES * config.outputs_per_class,
        dropout=config.dropout,
        dropout_on=config.dropout_on,
        fusion=config.fusion,
        norm_group=config.norm_group,
    )
    method = build_method(network, config, num_classes=NUM_CLASSES)
    method.select_terms(dict(config.stages)[stage].weights)
    return method


def batch_of(
    config: ExperimentConfig, *, corresponds: Tensor = HALF, seed: int = 0, dtype: torch.dtype = torch.uint8
) -> TrainingBatch:
    generator = torch.Generator().manual_seed(seed)

    def clips() -> dict[str, Tensor]:
        shapes = {m: (B, MODALITIES[m][0], 4, 8, 8) for m in config.modalities}
        drawn = {m: torch.randint(256, shape, generator=generator, dtype=torch.uint8) for m, shape in shapes.items()}
        return (
            drawn if dtype == torch.uint8 else {m: (c.to(dtype) / 128 - 1).requires_grad_() for m, c in drawn.items()}
        )

    source = SourceBatch(clips(), corresponds, torch.arange(B) % NUM_CLASSES)
    return TrainingBatch(source, TargetBatch(clips(), corresponds) if config.batch.target else None)


def parts_of(method: Method) -> dict[str, list[nn.Parameter]]:
    network = method.network
    parts = {"backbones": network.backbones, "classifiers": network.classifiers}
    if isinstance(method, MMSADA):
        parts |= {"discriminators": method.discriminators, "correspondence": method.pretext.head}
    if isinstance(method, MCD):
        parts |= {"auxiliary": method.auxiliary}
    return {name: list(module.parameters()) for name, module in parts.items()}


def reached(loss: Tensor, method: Method) -> set[str]:
    """Parts of a method whose every parameter gets a gradient from a loss; a part half reached fails."""
    found = set()
    for name, parameters in parts_of(method).items():
        asked = [p for p in parameters if p.requires_grad]
        gradients = torch.autograd.grad(loss, asked, retain_graph=True, allow_unused=True) if asked else []
        hit = {g is not None and bool(g.abs().sum() > 0) for g in gradients}
        assert len(hit) < 2, f"{name} is reached in part only"
        found |= {name} if hit == {True} else set()
    return found


class TestContract:
    @COUNTS
    @EVERY_METHOD
    @pytest.mark.parametrize("stage", ["pretrain", "adapt"])
    def test_terms_are_finite_scalars_and_those_of_the_stage(
        self, name: str, modalities: list[str], stage: str
    ) -> None:
        config = toy_config(name, modalities=modalities)
        weights = dict(config.stages)[stage].weights
        terms = method_of(config, stage=stage)(batch_of(config), 0.5)
        assert terms.keys() == weights.keys()
        assert all(term.shape == () and term.isfinite() for term in terms.values())
        assert all((term < 0) == (name == "discrepancy") for name, term in terms.items())

    @COUNTS
    @EVERY_METHOD
    @pytest.mark.parametrize("stage", ["pretrain", "adapt"])
    def test_every_trained_part_gets_gradients_and_no_other(self, name: str, modalities: list[str], stage: str) -> None:
        config = toy_config(name, modalities=modalities)
        weights = dict(config.stages)[stage].weights
        method = method_of(config, stage=stage)
        total_loss(method(batch_of(config), 0.5), weights).backward()
        heads = {"discriminators": "adversarial", "correspondence": "correspondence", "auxiliary": "auxiliary"}
        trained = {"backbones", "classifiers"} | {head for head, term in heads.items() if term in weights}
        for part, parameters in parts_of(method).items():
            assert {p.requires_grad for p in parameters} == {part in trained}, part
            assert {p.grad is not None for p in parameters} == {part in trained}, part
            assert all(p.grad.isfinite().all() for p in parameters if p.grad is not None), part
        assert all(p.grad is not None or not p.requires_grad for p in method.parameters())

    @EVERY_METHOD
    def test_terms_are_what_the_configuration_says_a_method_has(self, name: str) -> None:
        config = toy_config(name)
        assert set(config.adapt.weights) == set(METHODS[name].terms())

    @pytest.mark.parametrize("name", ["adversarial_only", "self_supervised_only", "mmsada"])
    def test_a_single_modality_has_nothing_to_correspond_with(self, name: str) -> None:
        config = toy_config(name, modalities=["rgb"])
        assert all("correspondence" not in stage.weights for _, stage in config.stages)

    @pytest.mark.parametrize(
        "changes",
        [
            {"dropout_on": "features"},
            {"discriminator_outputs": 1},
            {"outputs_per_class": 2},
            {"correspondence_batch": "half"},
            {"correspondence_terms": "printed"},
            {"correspondence_layers": 2},
            {"fusion": "mean"},
            {"norm_group": 2},
            {"reversal_schedule": "constant"},
        ],
        ids=str,
    )
    def test_every_option_of_mmsada_trains(self, changes: dict[str, Any]) -> None:
        config = toy_config(**changes)
        method = method_of(config)
        terms = method(batch_of(config), 0.5)
        total_loss(terms, config.adapt.weights).backward()
        assert all(term.isfinite() for term in terms.values())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())

    @pytest.mark.parametrize("name", ["mmd", "mcd", "adversarial_only", "self_supervised_only", "mmsada"])
    def test_adaptation_without_target_clips_is_refused(self, name: str) -> None:
        config = toy_config(name)
        with pytest.raises(ValueError, match="target"):
            method_of(config)(TrainingBatch(batch_of(config).source, None), 0.5)


class TestWhereEachTermReaches:
    @pytest.mark.parametrize(
        ("name", "term", "parts"),
        [
            ("mmsada", "classification", {"backbones", "classifiers"}),
            ("mmsada", "adversarial", {"backbones", "discriminators"}),
            ("mmsada", "correspondence", {"backbones", "correspondence"}),
            ("mmd", "mmd", {"backbones"}),
            ("mcd", "classification", {"backbones", "classifiers"}),
            ("mcd", "auxiliary", {"backbones", "auxiliary"}),
            ("mcd", "discrepancy", {"backbones", "classifiers", "auxiliary"}),
        ],
    )
    def test_parameters(self, name: str, term: str, parts: set[str]) -> None:
        config = toy_config(name, dropout=0.0)  # so few features that dropout may leave a stream none
        method = method_of(config)
        assert reached(method(batch_of(config), 0.5)[term], method) == parts

    @pytest.mark.parametrize(
        ("name", "term", "sides"),
        [
            ("mmsada", "classification", "source"),
            ("mmsada", "adversarial", "both"),
            ("mmsada", "correspondence", "both"),
            ("mmd", "mmd", "both"),
            ("mcd", "auxiliary", "source"),
            ("mcd", "discrepancy", "target"),
        ],
    )
    def test_clips(self, name: str, term: str, sides: str) -> None:
        """Whose pixels move a term: of every modality, or not at all."""
        config = toy_config(name, dropout=0.0)
        batch = batch_of(config, dtype=torch.float32)
        loss = method_of(config)(batch, 0.5)[term]
        pixels = [*batch.source.clips.values(), *batch.target.clips.values()]
        gradients = torch.autograd.grad(loss, pixels, allow_unused=True)
        moved = [g is not None and bool(g.abs().sum() > 0) for g in gradients]
        assert moved == [sides != "target"] * 2 + [sides != "source"] * 2


class TestDiscrepancy:
    """MCD: on the target the two classifiers move apart, and F, behind the reversal, moves to bring them together."""

    def by_hand(self, method: MCD, batch: TrainingBatch) -> Tensor:
        """mean |p1 - p2| over target clips and classes, without a reversal."""
        features = method.network.features(batch.target.clips)
        p1, p2 = (
            sum(heads[m](feature) for m, feature in features.items()).softmax(dim=1)
            for heads in (method.network.classifiers, method.auxiliary)
        )
        return (p1 - p2).abs().sum() / (B * NUM_CLASSES)

    def test_sign_and_size_of_every_gradient(self) -> None:
        """MCD's own factor: that of the discriminators, 0.7 here, is none of its business."""
        factors = {"discrepancy_reversal": 0.3, "reversal_coefficient": 0.7}
        config = toy_config("mcd", dropout=0.0, reversal_schedule="constant", **factors)
        method, batch = method_of(config), batch_of(config)
        plain = self.by_hand(method, batch)
        found = method(batch, 0.5)["discrepancy"]
        assert_close(found, -plain)
        for part, factor in (("classifiers", -1.0), ("auxiliary", -1.0), ("backbones", 0.3)):
            parameters = parts_of(method)[part]
            expected = torch.autograd.grad(plain, parameters, retain_graph=True)
            gradients = torch.autograd.grad(found, parameters, retain_graph=True)
            for gradient, one in zip(gradients, expected, strict=True):
                assert_close(gradient, factor * one)

    def test_the_reversal_ramps_to_its_own_maximum(self) -> None:
        config = toy_config("mcd", dropout=0.0, discrepancy_reversal=1.0)
        method, batch = method_of(config), batch_of(config)
        norms = []
        for progress in (0.0, 0.1, 1.0):
            term = method(batch, progress)["discrepancy"]
            gradients = torch.autograd.grad(term, parts_of(method)["backbones"])
            norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        assert norms[0] == 0
        assert norms[1] / norms[2] == pytest.approx(0.4621, rel=1e-3)

    def test_both_classifiers_are_fused_alike(self) -> None:
        config = toy_config("mcd", dropout=0.0, fusion="mean")
        method, batch = method_of(config), batch_of(config)
        terms, features = method(batch, 0.5), method.network.features
        for heads, name in ((method.network.classifiers, "classification"), (method.auxiliary, "auxiliary")):
            fused = sum(heads[m](f) for m, f in features(batch.source.clips).items()) / 2
            assert_close(terms[name], nn.functional.cross_entropy(fused[:3], batch.source.labels[:3]))
        p1, p2 = (
            (sum(heads[m](f) for m, f in features(batch.target.clips).items()) / 2).softmax(dim=1)
            for heads in (method.network.classifiers, method.auxiliary)
        )
        assert_close(terms["discrepancy"], -(p1 - p2).abs().mean())

    def test_both_classifiers_see_the_same_dropout(self) -> None:
        """Equal weights, equal logits: there is nothing to disagree about, dropped out or not."""
        config = toy_config("mcd")
        method = method_of(config).train()
        method.auxiliary.load_state_dict(method.network.classifiers.state_dict())
        terms = method(batch_of(config), 0.5)
        assert terms["discrepancy"] == 0
        assert_close(terms["auxiliary"], terms["classification"])

    def test_spare_outputs_do_not_count(self) -> None:
        config = toy_config("mcd", outputs_per_class=2, dropout=0.0)
        method, batch = method_of(config), batch_of(config)
        before = method(batch, 0.5)
        with torch.no_grad():
            for head in method.auxiliary.values():
                head.bias[NUM_CLASSES:] += 5
        assert all(torch.equal(term, before[name]) for name, term in method(batch, 0.5).items())


class TestAlternatingDiscrepancy:
    """The three steps of Saito et al. (2018), section 3.3, each against its own loss written by hand.

    A: F, C1 and C2 minimise the source's loss. B: C1 and C2 minimise it less the target's discrepancy, F is fixed.
    C: F minimises the discrepancy, C1 and C2 are fixed.
    """

    CLASSIFIERS = ("classifiers", "auxiliary")
    TRAINED = (("backbones", *CLASSIFIERS), CLASSIFIERS, ("backbones",))

    def config(self, **changes: Any) -> ExperimentConfig:
        plain = {"dropout": 0.0, "reversal_schedule": "constant", "discrepancy_reversal": 1.0}
        return toy_config("mcd", discrepancy_steps="alternating", **plain | changes)

    def losses_by_hand(self, method: MCD, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Both classifiers' cross-entropy on the source, and mean |p1 - p2| on the target; nothing is reversed."""
        heads = (method.network.classifiers, method.auxiliary)
        source, target = (method.network.features(side.clips) for side in (batch.source, batch.target))
        of_source, of_target = (
            [sum(head[m](feature) for m, feature in features.items()) for head in heads]
            for features in (source, target)
        )
        known = batch.source.corresponds
        supervised = sum(nn.functional.cross_entropy(x[known], batch.source.labels[known]) for x in of_source)
        p1, p2 = (logits.softmax(dim=1) for logits in of_target)
        return supervised, (p1 - p2).abs().mean()

    @pytest.mark.parametrize("step", range(7))
    def test_gradients_of_every_step(self, step: int) -> None:
        config = self.config()
        method, batch = method_of(config), batch_of(config)
        supervised, discrepancy = self.losses_by_hand(method, batch)
        weight = config.adapt.weights["classification"]
        assert weight == config.adapt.weights["auxiliary"] == config.adapt.weights["discrepancy"]
        loss = (supervised, supervised - discrepancy, discrepancy)[step % 3]
        parts = parts_of(method)
        expected = {p: torch.autograd.grad(loss, parts[p], retain_graph=True, allow_unused=True) for p in parts}
        method.step = step
        total_loss(method(batch, 0.5), config.adapt.weights).backward()
        for name, parameters in parts.items():
            if name not in self.TRAINED[step % 3]:
                assert all(p.grad is None for p in parameters), f"{name} is fixed in step {step}"
                continue
            for parameter, gradient in zip(parameters, expected[name], strict=True):
                assert_close(parameter.grad, weight * gradient)

    def test_terms_are_those_of_the_joint_step(self) -> None:
        config, joint = self.config(), toy_config("mcd", dropout=0.0)
        expected = method_of(joint)(batch_of(joint), 0.5)
        for step in range(3):
            method = method_of(config)
            method.step = step
            terms = method(batch_of(config), 0.5)
            assert terms.keys() == expected.keys()
            for name, term in terms.items():
                assert_close(term, expected[name])

    def test_the_factor_into_f_is_the_configured_one(self) -> None:
        found = []
        for factor in (1.0, 0.3):
            config = self.config(discrepancy_reversal=factor)
            method, batch = method_of(config), batch_of(config)
            method.step = 2
            total_loss(method(batch, 0.5), config.adapt.weights).backward()
            found.append([p.grad for p in parts_of(method)["backbones"]])
        for whole, part in zip(*found, strict=True):
            assert_close(part, 0.3 * whole)

    def test_what_is_fixed_is_not_moved_by_momentum_or_weight_decay(self) -> None:
        config = self.config()
        method, batch = method_of(config), batch_of(config)
        optimiser = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for step in range(6):
            before = {name: [p.clone() for p in parameters] for name, parameters in parts_of(method).items()}
            method.step = step
            total_loss(method(batch, 0.5), config.adapt.weights).backward()
            optimiser.step()
            optimiser.zero_grad()
            for name, parameters in parts_of(method).items():
                moved = {not torch.equal(p, old) for p, old in zip(parameters, before[name], strict=True)}
                assert moved == {name in self.TRAINED[step % 3]}, (step, name)

    def test_each_step_does_what_it_is_for(self) -> None:
        """A step of the classifiers raises the discrepancy, one of the features lowers it."""
        config = self.config()
        batch = batch_of(config)
        changes = {}
        for step in (1, 2):
            method = method_of(config)
            before = self.losses_by_hand(method, batch)[1]
            method.step = step
            total_loss(method(batch, 0.5), config.adapt.weights).backward()
            torch.optim.SGD([p for p in method.parameters() if p.grad is not None], lr=0.05).step()
            changes[step] = (self.losses_by_hand(method, batch)[1] - before).item()
        assert changes[2] < 0 < changes[1]

    def test_without_the_discrepancy_there_is_nothing_to_alternate(self) -> None:
        config = self.config()
        method = method_of(config, stage="pretrain")
        for step in range(3):
            method.step = step
            assert method.turn == "joint"
            total_loss(method(batch_of(config), 0.5), config.pretrain.weights).backward()
            assert all(p.grad is not None for p in method.parameters())
            method.zero_grad()

    def test_records_have_the_same_names_at_every_step(self) -> None:
        """And say that nothing arrives at F where nothing does."""
        config = self.config()
        weights, observed = config.adapt.weights, []
        for step in range(3):
            method = method_of(config)
            method.step = step
            observed.append(method.observe(method(batch_of(config), 0.5), weights))
        assert observed[0].keys() == observed[1].keys() == observed[2].keys()
        arrives = [{name for name, value in one.items() if "gradient/" in name and value > 0} for one in observed]
        of = {term: {f"gradient/{term}/{m}" for m in config.modalities} for term in weights}
        assert arrives == [of["classification"] | of["auxiliary"], set(), of["discrepancy"]]


class TestGradientReversal:
    """F climbs where D descends: measured against the same loss written without a reversal."""

    def plain(self, method: MMSADA, batch: TrainingBatch) -> Tensor:
        """Eq. 2 by its definition: -d log D - (1 - d) log(1 - D), a mean over all clips, a sum over modalities."""
        total = torch.zeros(())
        for side, domain in enumerate((batch.source, batch.target)):
            for m, feature in method.network.features(domain.clips).items():
                total = total - method.discriminators[m](feature).log_softmax(dim=1)[:, side].sum() / (2 * B)
        return total

    @ADVERSARIAL
    @pytest.mark.parametrize(
        ("schedule", "progress", "share"), [("constant", 0.1, 1.0), ("ramp", 0.1, 0.4621), ("ramp", 1.0, 0.9999)]
    )
    def test_descends_for_the_discriminators_and_ascends_for_the_backbones(
        self, name: str, schedule: str, progress: float, share: float
    ) -> None:
        config = toy_config(name, reversal_schedule=schedule, reversal_coefficient=0.3)
        method, batch = method_of(config), batch_of(config)
        term, plain = method(batch, progress)["adversarial"], self.plain(method, batch)
        assert_close(term, plain)
        parts = parts_of(method)
        for part, factor in (("discriminators", 1.0), ("backbones", -0.3 * share)):
            found = torch.autograd.grad(term, parts[part], retain_graph=True)
            expected = torch.autograd.grad(plain, parts[part], retain_graph=True)
            assert max(float(e.abs().max()) for e in expected) > 1e-4
            for one, other in zip(found, expected, strict=True):
                assert_close(one, factor * other, rtol=2e-3, atol=1e-7)

    @ADVERSARIAL
    def test_a_step_of_d_lowers_the_domain_loss_and_a_step_of_f_raises_it(self, name: str) -> None:
        config = toy_config(name, reversal_schedule="constant")
        batch = batch_of(config)
        moved = {}
        for part in ("discriminators", "backbones"):
            method = method_of(config)
            term = method(batch, 1.0)["adversarial"]
            parameters = parts_of(method)[part]
            with torch.no_grad():
                for p, g in zip(parameters, torch.autograd.grad(term, parameters), strict=True):
                    p.sub_(0.02 * g)
            moved[part] = (self.plain(method, batch) - term).item()
        assert moved["discriminators"] < 0 < moved["backbones"]

    def test_the_ramp_starts_with_no_reversal_at_all(self) -> None:
        method, batch = method_of(toy_config("adversarial_only")), batch_of(toy_config("adversarial_only"))
        gradients = torch.autograd.grad(method(batch, 0.0)["adversarial"], parts_of(method)["backbones"])
        assert all((g == 0).all() for g in gradients)


class TestClassification:
    config = toy_config(dropout=0.0)

    def test_only_corresponding_clips_are_classified(self) -> None:
        """Against the cross-entropy of Eq. 1 over the first half, written in numpy."""
        method, batch = method_of(self.config), batch_of(self.config)
        found = method(batch, 0.5)["classification"]
        logits = (
            sum(method.network.stream_logits(method.network.features(batch.source.clips)).values())
            .detach()
            .double()
            .numpy()
        )
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        by_hand = -np.log(probabilities[np.arange(3), batch.source.labels[:3].numpy()]).mean()
        assert found.item() == pytest.approx(by_hand, rel=1e-4)

    @EVERY_METHOD
    @COUNTS
    def test_the_mean_of_the_streams_is_classified_where_that_is_asked_for(
        self, name: str, modalities: list[str]
    ) -> None:
        """Every method, against the cross-entropy of the mean of the logits."""
        config = toy_config(name, modalities=modalities, dropout=0.0, fusion="mean")
        method, batch = method_of(config), batch_of(config)
        found = method(batch, 0.5)["classification"]
        streams = method.network.stream_logits(method.network.features(batch.source.clips))
        mean = torch.stack([*streams.values()]).mean(dim=0)
        assert_close(found, nn.functional.cross_entropy(mean[:3], batch.source.labels[:3]))
        assert (len(modalities) == 1) == torch.equal(mean, sum(streams.values()))

    @EVERY_METHOD
    def test_labels_of_the_others_do_not_matter(self, name: str) -> None:
        config = toy_config(name, dropout=0.0)
        batch = batch_of(config)
        labels = batch.source.labels.clone()
        labels[3:] = (labels[3:] + 1) % NUM_CLASSES
        relabelled = TrainingBatch(SourceBatch(batch.source.clips, HALF, labels), batch.target)
        assert_close(
            method_of(config)(relabelled, 0.5)["classification"], method_of(config)(batch, 0.5)["classification"]
        )

    @EVERY_METHOD
    def test_pixels_of_the_others_do_not_matter(self, name: str) -> None:
        """In evaluation mode, where clips do not meet in batch statistics."""
        config = toy_config(name)
        batch = batch_of(config, dtype=torch.float32)
        loss = method_of(config).eval()(batch, 0.5)["classification"]
        for gradient in torch.autograd.grad(loss, list(batch.source.clips.values())):
            moved = gradient.flatten(1).abs().sum(dim=1) > 0
            assert moved.tolist() == HALF.tolist()

    def test_spare_outputs_get_no_gradient(self) -> None:
        config = toy_config("source_only", outputs_per_class=2)
        method = method_of(config)
        method(batch_of(config), 0.5)["classification"].backward()
        for classifier in method.network.classifiers.values():
            assert (classifier.bias.grad[:NUM_CLASSES] != 0).all()
            assert (classifier.weight.grad[NUM_CLASSES:] == 0).all()


@contextmanager
def judged(method: MMSADA) -> Iterator[list[dict[str, Tensor]]]:
    """Features the correspondence head is shown, call by call."""
    shown: list[dict[str, Tensor]] = []
    hook = method.pretext.head.register_forward_pre_hook(lambda _, arguments: shown.append(dict(arguments[0])))
    yield shown
    hook.remove()


class TestCorrespondence:
    def by_hand(self, scores: Tensor, corresponds: Tensor) -> Tensor:
        """-c log C - (1 - c) log(1 - C), C the probability of the second output."""
        says = scores.softmax(dim=1)[:, 1]
        return torch.where(corresponds, -says.log(), -(1 - says).log()).mean()

    @pytest.mark.parametrize(
        "corresponds", [HALF, ~HALF, torch.zeros(B, dtype=torch.bool), torch.ones(B, dtype=torch.bool)], ids=str
    )
    def test_both_terms_of_the_equation_count(self, corresponds: Tensor) -> None:
        config = toy_config("self_supervised_only", correspondence_batch="half")
        method, batch = method_of(config), batch_of(config, corresponds=corresponds)
        with judged(method) as shown:
            found = method(batch, 0.5)["correspondence"]
        scores = torch.cat([method.pretext.head(features) for features in shown])
        assert_close(found, self.by_hand(scores, torch.cat([corresponds, corresponds])))

    def test_non_corresponding_clips_alone_push_the_score_down(self) -> None:
        config = toy_config("self_supervised_only", correspondence_batch="half")
        method = method_of(config)
        found = method(batch_of(config, corresponds=torch.zeros(B, dtype=torch.bool)), 0.5)["correspondence"]
        gradient = torch.autograd.grad(found, method.pretext.head.layers[2].bias)[0]
        assert gradient[1] > 0 > gradient[0]
        assert found > 0.3

    @pytest.mark.parametrize("kind", ["half", "repair"])
    def test_three_modalities_are_judged_two_by_two(self, kind: str) -> None:
        """The mean over every pair of modalities of what two modalities alone would give."""
        modalities = ["rgb", "flow", "depth"]
        config = toy_config("self_supervised_only", modalities=modalities, correspondence_batch=kind)
        method, batch = method_of(config), batch_of(config, corresponds=HALF)
        method.eval()
        found = method(batch, 0.5)["correspondence"]
        by_domain = [method.network.features(side.clips) for side in (batch.source, batch.target)]
        losses = []
        for head in method.pretext.head.heads:
            scores, answers = [], []
            for features in by_domain:
                scores.append(head(features))
                answers.append(HALF)
                if kind == "repair":
                    rolled = {m: torch.cat([f[k:], f[:k]]) for k, (m, f) in enumerate(features.items())}
                    scores.append(head(rolled))
                    answers.append(torch.zeros(B, dtype=torch.bool))
            losses.append(self.by_hand(torch.cat(scores), torch.cat(answers)))
        assert [head.modalities for head in method.pretext.head.heads] == [
            ("rgb", "flow"),
            ("rgb", "depth"),
            ("flow", "depth"),
        ]
        assert_close(found, torch.stack(losses).mean())

    @pytest.mark.parametrize("modalities", [["rgb", "flow"], ["rgb", "flow", "depth"]], ids=len)
    def test_repaired_pairs_are_what_their_flags_say(
        self, modalities: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Features that say which clip they are of: a pair corresponds if and only if all modalities agree."""
        config = toy_config(
            "self_supervised_only", modalities=modalities, correspondence_batch="repair", correspondence_over="all"
        )
        method = method_of(config)
        batch = batch_of(config, corresponds=torch.ones(B, dtype=torch.bool))
        widths, seen = method.network.feature_widths, []

        def whose(clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
            first = 100.0 * (clips is batch.target.clips)
            return {m: (first + torch.arange(B)).unsqueeze(1).expand(B, width) for m, width in widths.items()}

        def spy(scores: Tensor, corresponds: Tensor, *, printed: bool) -> Tensor:
            assert not printed
            seen.append(corresponds)
            return scores.sum()

        monkeypatch.setattr(method.network, "features", whose)
        monkeypatch.setattr(pretexts, "correspondence_loss", spy)
        with judged(method) as shown:
            method(batch, 0.5)
        clips = torch.cat([torch.stack([features[m][:, 0] for m in modalities]) for features in shown], dim=1)
        corresponds = torch.cat(seen)
        agree = [len(set(pair)) for pair in clips.T.tolist()]
        assert agree == [1 if flag else len(modalities) for flag in corresponds.tolist()]
        assert corresponds.sum() == (~corresponds).sum() == 2 * B
        for row in clips:  # every feature serves one positive and one negative
            assert (
                sorted(row[corresponds].tolist())
                == sorted(row[~corresponds].tolist())
                == [*range(B), *range(100, 100 + B)]
            )
        assert all(len({clip >= 100 for clip in pair}) == 1 for pair in clips.T.tolist())


class Agrees(nn.Module):
    """A head that says yes where the first number of all modalities is the same."""

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        first, *others = (feature[:, 0] for feature in features.values())
        says = torch.stack([first == other for other in others]).all(dim=0).float()
        return torch.stack([1 - says, says], dim=1)


class TestScore:
    """How well the head does on the segments of a domain: it should be asked about others, not about neighbours."""

    @pytest.mark.parametrize("modalities", [["rgb", "flow"], ["rgb", "flow", "depth"]], ids=len)
    def test_segments_are_told_from_others_wherever_they_stand(self, modalities: list[str]) -> None:
        """Thirty videos of four segments that look alike, one after the other, as EPIC's tables have them."""
        task = method_of(toy_config(modalities=modalities)).pretext
        task.head = Agrees()
        videos = torch.arange(120.0).div(4, rounding_mode="floor").unsqueeze(1).expand(-1, 5)
        found = task.score(dict.fromkeys(modalities, videos))
        assert found > 96, "judged against the next segment, three of four questions would be about one video"
        assert task.score(dict.fromkeys(modalities, videos)) == found, "the same others every time"

    def test_no_segment_is_its_own_other(self) -> None:
        for count in range(2, 40):
            task = method_of(toy_config()).pretext
            task.head = Agrees()
            numbers = torch.arange(float(count)).unsqueeze(1).expand(-1, 5)
            assert task.score({"rgb": numbers, "flow": numbers}) == 100

    def test_too_few_segments_have_no_others(self) -> None:
        task = method_of(toy_config()).pretext
        assert task.score({"rgb": torch.ones(1, 8), "flow": torch.ones(1, 8)}) is None


@contextmanager
def normalised(method: Method) -> Iterator[list[Tensor]]:
    """Inputs of every batch normalisation, call by call."""
    inputs: list[Tensor] = []
    layers = [module for module in method.modules() if isinstance(module, _BatchNorm)]
    hooks = [
        layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].detach().clone()))
        for layer in layers
    ]
    yield inputs
    for hook in hooks:
        hook.remove()


class TestBatchStatistics:
    """All source clips show one picture and all target clips another: a batch that mixes domains is not constant."""

    def two_pictures(self, config: ExperimentConfig) -> TrainingBatch:
        batch = batch_of(config)
        source = {m: c[:1].expand_as(c) for m, c in batch.source.clips.items()}
        target = {m: c[:1].expand_as(c) for m, c in batch.target.clips.items()}
        return TrainingBatch(SourceBatch(source, HALF, batch.source.labels), TargetBatch(target, HALF))

    @pytest.mark.parametrize(("group", "sizes"), [(0, [6, 6]), (2, [2] * 6), (4, [4, 2, 4, 2])])
    @pytest.mark.parametrize("name", ["adabn", "mmd", "mcd", "adversarial_only", "self_supervised_only", "mmsada"])
    def test_domains_never_meet(self, name: str, group: int, sizes: list[int]) -> None:
        preset = {"preset": "released"} if name == "adabn" else {}
        config = toy_config(name, norm_group=group, **preset)
        method = method_of(config)
        batch = self.two_pictures(config)
        with normalised(method) as inputs:
            method(batch, 0.5)
        layers = [module for module in method.modules() if isinstance(module, _BatchNorm)]
        assert len(inputs) == len(layers) * len(sizes)
        assert sorted(len(x) for x in inputs) == sorted(sizes * len(layers))
        for x in inputs:
            assert_close(x, x[:1].expand_as(x))
        first = [x for x in inputs if x.shape[2:] == inputs[0].shape[2:] and x.shape[1] == 2]
        assert len({tuple(x[0].flatten().tolist()) for x in first}) == 2 * len(config.modalities)

    def test_evaluation_uses_running_statistics_and_no_groups(self) -> None:
        config = toy_config(norm_group=2)
        method, batch = method_of(config).eval(), batch_of(config)
        before = {name: buffer.clone() for name, buffer in method.named_buffers()}
        with normalised(method) as inputs:
            method(batch, 0.5)
        assert {len(x) for x in inputs} == {B}
        assert all(torch.equal(buffer, before[name]) for name, buffer in method.named_buffers())

    def test_adabn_as_released_shows_the_target_to_the_statistics_alone(self) -> None:
        config = toy_config("adabn", preset="released", dropout=0.0)
        batch = batch_of(config)
        alone, both = method_of(config), method_of(config)
        without, term = (
            alone(TrainingBatch(batch.source, None), 0.5)["classification"],
            both(batch, 0.5)["classification"],
        )
        assert_close(term, without)
        for one, other in zip(parts_of(alone)["backbones"], parts_of(both)["backbones"], strict=True):
            assert_close(
                torch.autograd.grad(term, other, retain_graph=True),
                torch.autograd.grad(without, one, retain_graph=True),
            )
        layers = [[m for m in method.modules() if isinstance(m, _BatchNorm)] for method in (alone, both)]
        assert all(not torch.equal(a.running_mean, b.running_mean) for a, b in zip(*layers, strict=True))
        assert {int(layer.num_batches_tracked) for layer in layers[1]} == {int(layers[0][0].num_batches_tracked) * 2}
