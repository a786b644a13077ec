"""The model's parts as laws: gradient reversal, the two heads, late fusion. Written from sections 3 and 4.1."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmsada_lab.losses import domain_adversarial_loss
from mmsada_lab.methods import reversal_coefficient
from mmsada_lab.models.heads import (
    CorrespondenceHead,
    DomainDiscriminator,
    PairwiseCorrespondence,
    reverse_gradient,
)
from mmsada_lab.models.network import LateFusionNetwork, fuse

CHANNELS = {"rgb": 3, "flow": 2, "audio": 1}
COUNTS = pytest.mark.parametrize("modalities", [["rgb"], ["rgb", "flow"], ["flow", "rgb", "audio"]], ids=len)


class Averages(nn.Module):
    """The smallest F: channel averages of a clip, times a matrix; no batch norm, so nothing else is random."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.project = nn.Linear(channels, features)

    def forward(self, clips: Tensor) -> Tensor:
        return self.project(clips.mean(dim=(2, 3, 4)))


def network_of(modalities: list[str], *, num_outputs: int = 8, dropout_on: str = "classifier") -> LateFusionNetwork:
    torch.manual_seed(0)
    backbones = {modality: Averages(CHANNELS[modality], 20 + CHANNELS[modality]) for modality in modalities}
    return LateFusionNetwork(backbones, num_outputs, dropout_on=dropout_on)


def clips_of(modalities: list[str], *, rows: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (4, 6, 6)
    return {
        modality: torch.randint(256, (rows, CHANNELS[modality], *shape), generator=generator, dtype=torch.uint8)
        for modality in modalities
    }


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


class TestGradientReversal:
    @pytest.mark.parametrize("coefficient", [0.0, 0.2, 1.0, 3.0])
    def test_forwards_it_is_the_identity(self, coefficient: float) -> None:
        features = torch.randn(3, 5)
        assert torch.equal(reverse_gradient(features, coefficient), features)

    @pytest.mark.parametrize("coefficient", [0.0, 0.2, 1.0, 3.0])
    def test_backwards_it_is_minus_the_coefficient(self, coefficient: float) -> None:
        features = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(3, 5, dtype=torch.float64)
        (reverse_gradient(features, coefficient) * weights).sum().backward()
        assert_close(features.grad, -coefficient * weights)

    def test_twice_is_forwards_again(self) -> None:
        features = torch.randn(3, 5, requires_grad=True)
        reverse_gradient(reverse_gradient(features, 1.0), 1.0).sum().backward()
        assert_close(features.grad, torch.ones(3, 5))

    @pytest.mark.parametrize("coefficient", [0.2, 1.0])
    def test_it_turns_f_round_and_leaves_d_alone(self, coefficient: float) -> None:
        """D learns to tell the domains apart at its full rate; F is driven the other way, scaled."""
        torch.manual_seed(0)
        backbone, discriminator = nn.Linear(7, 12), DomainDiscriminator(12)
        source, target = torch.randn(3, 7), torch.randn(5, 7) + 1

        def gradients(*, reversed_by: float | None) -> tuple[list[Tensor], list[Tensor]]:
            features = [backbone(clips) for clips in (source, target)]
            if reversed_by is not None:
                features = [reverse_gradient(feature, reversed_by) for feature in features]
            loss = domain_adversarial_loss(*(discriminator(feature) for feature in features))
            into = [*backbone.parameters(), *discriminator.parameters()]
            result = list(torch.autograd.grad(loss, into))
            return result[:2], result[2:]

        plain_f, plain_d = gradients(reversed_by=None)
        reversed_f, reversed_d = gradients(reversed_by=coefficient)
        assert_close(reversed_d, plain_d)
        assert_close(reversed_f, [-coefficient * gradient for gradient in plain_f])

    def test_a_step_of_f_raises_the_discriminators_loss(self) -> None:
        """The same by finite differences: what gradient descent on F does to D's loss."""
        torch.manual_seed(0)
        discriminator = DomainDiscriminator(6)
        source, target = torch.randn(8, 6, requires_grad=True), torch.randn(8, 6, requires_grad=True)
        loss = domain_adversarial_loss(*(discriminator(reverse_gradient(x, 1.0)) for x in (source, target)))
        steps = torch.autograd.grad(loss, [source, target])
        moved = domain_adversarial_loss(
            *(discriminator(x - 0.1 * g) for x, g in zip((source, target), steps, strict=True))
        )
        assert moved.item() > loss.item()


class TestReversalCoefficient:
    @pytest.mark.parametrize("maximum", [0.2, 1.0])
    def test_the_ramp_starts_at_zero_and_ends_at_its_maximum(self, maximum: float) -> None:
        assert reversal_coefficient(0.0, maximum=maximum, schedule="ramp") == 0
        assert reversal_coefficient(1.0, maximum=maximum, schedule="ramp") == pytest.approx(maximum, rel=1e-4)

    @pytest.mark.parametrize(
        ("step", "fraction"), [(60, 0.05), (300, 0.245), (600, 0.462), (1200, 0.762), (1800, 0.905)]
    )
    def test_the_ramp_over_the_second_stage(self, step: int, fraction: float) -> None:
        found = reversal_coefficient(step / 6000, maximum=0.2, schedule="ramp")
        assert found == pytest.approx(0.2 * fraction, abs=0.2 * 0.0006)
        assert found == pytest.approx(0.2 * (2 / (1 + math.exp(-10 * step / 6000)) - 1))

    @pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
    def test_constant_is_constant(self, progress: float) -> None:
        assert reversal_coefficient(progress, maximum=0.75, schedule="constant") == 0.75


class TestHeads:
    @pytest.mark.parametrize(("outputs", "shape"), [(2, (5, 2)), (1, (5,))])
    def test_scores_of_a_discriminator(self, outputs: int, shape: tuple[int, ...]) -> None:
        assert DomainDiscriminator(12, outputs=outputs)(torch.randn(5, 12)).shape == shape

    @pytest.mark.parametrize(("outputs", "shape"), [(2, (5, 2)), (1, (5,))])
    def test_scores_of_a_correspondence_head(self, outputs: int, shape: tuple[int, ...]) -> None:
        head = CorrespondenceHead({"rgb": 12, "flow": 7}, outputs=outputs)
        assert head({"rgb": torch.randn(5, 12), "flow": torch.randn(5, 7)}).shape == shape

    def test_a_batch_of_one_keeps_its_axis(self) -> None:
        assert DomainDiscriminator(12, outputs=1)(torch.randn(1, 12)).shape == (1,)

    def test_sizes_are_the_papers(self) -> None:
        """1024 features a modality, a hidden layer of 100, two outputs."""
        assert parameter_count(DomainDiscriminator(1024)) == (1024 + 1) * 100 + (100 + 1) * 2
        assert parameter_count(CorrespondenceHead({"rgb": 1024, "flow": 1024})) == (2048 + 1) * 100 + (100 + 1) * 2
        assert parameter_count(DomainDiscriminator(1024, hidden=30, outputs=1)) == (1024 + 1) * 30 + 31

    def test_two_hidden_layers_of_c_are_the_text_to_the_letter(self) -> None:
        """2048 to 100 to 100 to 2; D has no such reading."""
        head = CorrespondenceHead({"rgb": 1024, "flow": 1024}, hidden_layers=2)
        sizes = [(layer.in_features, layer.out_features) for layer in linear_layers(head)]
        assert sizes == [(2048, 100), (100, 100), (100, 2)]
        assert [type(layer).__name__ for layer in head.layers] == ["Linear", "ReLU"] * 2 + ["Linear"]
        pairwise = PairwiseCorrespondence({"rgb": 8, "flow": 8, "audio": 8}, hidden_layers=2)
        assert [len(linear_layers(one)) for one in pairwise.heads] == [3, 3, 3]

    def test_there_is_one_relu_and_no_dropout_or_norm(self) -> None:
        kinds = [type(layer) for layer in DomainDiscriminator(12).modules() if not list(layer.children())]
        assert kinds == [nn.Linear, nn.ReLU, nn.Linear]

    @pytest.mark.parametrize(
        "head",
        [
            DomainDiscriminator(1024),
            CorrespondenceHead({"rgb": 1024, "flow": 1024}),
            CorrespondenceHead({"rgb": 1024, "flow": 1024}, hidden_layers=2),
        ],
    )
    def test_initialisation(self, head: nn.Module) -> None:
        """Truncated normal: no weight beyond two standard deviations, so their spread is 0.88 of the nominal 0.1."""
        for layer in linear_layers(head):
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))
            assert layer.weight.abs().max().item() <= 0.2
        first = linear_layers(head)[0].weight
        assert first.std().item() == pytest.approx(0.088, abs=0.002)
        assert first.mean().item() == pytest.approx(0, abs=0.002)

    @pytest.mark.parametrize("order", list(permutations(CHANNELS)))
    def test_order_of_the_dict_is_of_no_consequence(self, order: tuple[str, ...]) -> None:
        head = CorrespondenceHead({"rgb": 6, "flow": 6, "audio": 6})
        features = {modality: torch.randn(5, 6) for modality in CHANNELS}
        assert torch.equal(head({modality: features[modality] for modality in order}), head(features))

    def test_every_modality_is_seen(self) -> None:
        head = CorrespondenceHead({"rgb": 6, "flow": 6})
        features = {modality: torch.randn(5, 6) for modality in ("rgb", "flow")}
        exchanged = {"rgb": features["flow"], "flow": features["rgb"]}
        assert not torch.allclose(head(features), head(exchanged))

    def test_rows_do_not_mix(self) -> None:
        """No batch statistics: the score of a clip is the same alone as in a batch."""
        head, features = DomainDiscriminator(12), torch.randn(5, 12)
        assert_close(torch.cat([head(row) for row in features.split(1)]), head(features))


class TestFuse:
    @COUNTS
    def test_is_the_sum(self, modalities: list[str]) -> None:
        streams = {modality: torch.randn(4, 8) for modality in modalities}
        assert_close(fuse(streams), sum(streams.values(), torch.zeros(4, 8)))

    def test_order_of_the_streams_is_of_no_consequence(self) -> None:
        streams = {modality: torch.randn(4, 8, dtype=torch.float64) for modality in CHANNELS}
        assert_close(fuse(dict(reversed(streams.items()))), fuse(streams))

    @COUNTS
    def test_the_mean_is_that_of_the_streams(self, modalities: list[str]) -> None:
        streams = {m: torch.randn(4, 8) for m in modalities}
        by_hand = sum(streams.values(), torch.zeros(4, 8)) / len(modalities)
        assert_close(fuse(streams, fusion="mean"), by_hand)
        assert torch.equal(fuse(streams, fusion="mean").argmax(dim=1), fuse(streams).argmax(dim=1))

    def test_each_stream_gets_the_whole_gradient(self) -> None:
        streams = {modality: torch.randn(4, 8, requires_grad=True) for modality in CHANNELS}
        weights = torch.randn(4, 8)
        (fuse(streams) * weights).sum().backward()
        for logits in streams.values():
            assert_close(logits.grad, weights)


class TestLateFusionNetwork:
    @COUNTS
    def test_shapes_for_any_number_of_modalities(self, modalities: list[str]) -> None:
        network, clips = network_of(modalities), clips_of(modalities)
        features = network.features(clips)
        logits = network.stream_logits(features)
        assert {m: tuple(f.shape) for m, f in features.items()} == {m: (4, 20 + CHANNELS[m]) for m in modalities}
        assert {m: tuple(x.shape) for m, x in logits.items()} == dict.fromkeys(modalities, (4, 8))
        assert fuse(logits).shape == (4, 8)

    @COUNTS
    def test_each_stream_has_its_own_classifier(self, modalities: list[str]) -> None:
        """G^m is one fully connected layer with a bias; nothing is shared."""
        network = network_of(modalities, num_outputs=16)
        assert list(network.classifiers) == list(network.backbones) == modalities
        for modality in modalities:
            assert parameter_count(network.classifiers[modality]) == (20 + CHANNELS[modality] + 1) * 16
        own = {id(parameter) for modality in modalities for parameter in network.classifiers[modality].parameters()}
        assert len(own) == 2 * len(modalities)

    def test_a_stream_sees_its_own_modality_only(self) -> None:
        modalities = ["rgb", "flow"]
        network, clips = network_of(modalities).eval(), clips_of(modalities)
        before = network.stream_logits(network.features(clips))
        after = network.stream_logits(network.features({**clips, "flow": clips_of(modalities, seed=1)["flow"]}))
        assert torch.equal(after["rgb"], before["rgb"])
        assert not torch.allclose(after["flow"], before["flow"])

    def test_pixels_are_normalised(self) -> None:
        """8-bit pixels become 2 (x / 256 - 0.5): 0 is -1, 128 is 0, 255 is just below 1."""
        network = network_of(["flow"]).eval()
        for pixel in (0, 1, 128, 255):
            clips = torch.full((1, 2, 4, 6, 6), pixel, dtype=torch.uint8)
            expected = network.backbones["flow"](torch.full((1, 2, 4, 6, 6), (pixel / 256 - 0.5) * 2))
            assert_close(network.features({"flow": clips})["flow"], expected)

    def test_only_the_classifier_sees_dropout(self) -> None:
        modalities = ["rgb", "flow"]
        network, clips = network_of(modalities).train(), clips_of(modalities)
        first, second = network.features(clips), network.features(clips)
        for modality in modalities:
            assert torch.equal(first[modality], second[modality])
            assert not torch.equal(network.stream_logits(first)[modality], network.stream_logits(first)[modality])

    def test_dropout_on_the_features_is_seen_by_every_head(self) -> None:
        network, clips = network_of(["rgb"], dropout_on="features").train(), clips_of(["rgb"])
        features = network.features(clips)["rgb"]
        assert 0 < (features == 0).float().mean().item() < 1
        assert torch.equal(
            network.stream_logits({"rgb": features})["rgb"], network.stream_logits({"rgb": features})["rgb"]
        )

    @pytest.mark.parametrize("dropout_on", ["classifier", "features"])
    def test_dropout_halves_and_doubles(self, dropout_on: str) -> None:
        """Half the features are left, at twice their size, so that the mean of the logits is that of evaluation."""
        network = network_of(["rgb"], dropout_on=dropout_on).train()
        clips = {"rgb": clips_of(["rgb"], rows=1)["rgb"].expand(20_000, -1, -1, -1, -1)}
        with torch.no_grad():
            trained = network.stream_logits(network.features(clips))["rgb"]
            network.eval()
            evaluated = network.stream_logits(network.features(clips))["rgb"]
        assert_close(trained.mean(dim=0), evaluated.mean(dim=0), atol=0.02, rtol=0)
        assert trained.std(dim=0).min().item() > 0.01

    @pytest.mark.parametrize("dropout_on", ["classifier", "features"])
    def test_evaluation_is_deterministic(self, dropout_on: str) -> None:
        network, clips = network_of(["rgb", "flow"], dropout_on=dropout_on).eval(), clips_of(["rgb", "flow"])
        logits = [fuse(network.stream_logits(network.features(clips))) for _ in range(2)]
        assert torch.equal(*logits)

    def test_the_network_is_its_parts(self) -> None:
        network, clips = network_of(["rgb", "flow"]).eval(), clips_of(["rgb", "flow"])
        assert_close(network(clips), fuse(network.stream_logits(network.features(clips))))
