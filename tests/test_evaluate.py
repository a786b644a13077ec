"""Evaluation on cases made by hand, in which every wrong way to average gives another answer; AdaBN by numpy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.testing import assert_close
from toy import PaintedReader, number_of, toy_segments

from mmsada_lab.clips.clips import ClipRule
from mmsada_lab.clips.segments import Domain, Segment
from mmsada_lab.clips.test_clips import TestClipLoader, TestClips
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.errors import UserError
from mmsada_lab.evaluate import (
    Evaluation,
    Predictions,
    Predictor,
    accuracies,
    concatenate_predictions,
    estimated_statistics,
    mean_class_accuracy,
    mean_class_caution,
    predict,
    top1,
)
from mmsada_lab.models.backbones import build_backbone
from mmsada_lab.models.batchnorm import adapted_batchnorm
from mmsada_lab.models.network import LateFusionNetwork

CPU = torch.device("cpu")


class Looked(nn.Module):
    """Features are a row of a table, the row is the clip's first pixel."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.tensor(table))
        self.features = len(table[0])

    def forward(self, clips: Tensor) -> Tensor:
        return self.table(((clips[:, 0, 0, 0, 0] + 1) * 128).round().long())


def lookup(tables: Mapping[str, list[list[float]]], *, fusion: str = "sum") -> LateFusionNetwork:
    """A network whose logits are its features."""
    outputs = len(next(iter(tables.values()))[0])
    network = LateFusionNetwork({m: Looked(table) for m, table in tables.items()}, outputs, fusion=fusion)
    for classifier in network.classifiers.values():
        nn.init.eye_(classifier.weight)
    return network


def windows_of(*rows: list[int], modalities: tuple[str, ...] = ("rgb",), batch_size: int = 16) -> TestClipLoader:
    """A loader whose segment i has windows with the first pixels `rows[i]`."""
    windows = len(rows[0])
    segments = tuple(Segment(f"A-test-{i}", "video", 1000 * i + 100, 1000 * i + 900) for i in range(len(rows)))

    def paint(segment: Segment, frame: int) -> np.ndarray:
        nth = int((frame - segment.start) / (801 / windows))
        return np.full((8, 8, 1), rows[int(segment.uid[7:])][nth])

    readers = {m: PaintedReader(1, paint) for m in modalities}
    rule = ClipRule(WindowRule(2, 1), 7)
    clips = TestClips(Domain("A", readers, (), segments), segments, rule=rule, modalities=modalities, windows=windows)
    return TestClipLoader(clips, batch_size=batch_size)


def test_parts_are_joined_in_their_order_and_may_be_empty() -> None:
    parts = [
        Predictions({}, {}),
        *(Predictions({"fused": np.full((n, 2), n)}, {"rgb": np.full((n, 3), n)}) for n in (2, 1)),
    ]
    found = concatenate_predictions(parts)
    assert found.probabilities["fused"].tolist() == [[2, 2], [2, 2], [1, 1]]
    assert found.features["rgb"].shape == (3, 3)


def softmax(logits: object) -> np.ndarray:
    powers = np.exp(np.asarray(logits, dtype=float))
    return powers / powers.sum(axis=-1, keepdims=True)


class TestPredict:
    def test_probabilities_are_averaged_over_windows_not_logits(self) -> None:
        """One window is very sure of class 0, two are fairly sure of class 1: the logits' mean says 0, the vote 1."""
        table = [[10.0, 0.0], [0.0, 4.0]]
        logits = np.array([table[row] for row in (0, 1, 1)])
        assert logits.mean(axis=0).argmax() == 0
        found = predict(lookup({"rgb": table}), windows_of([0, 1, 1]), device=CPU).probabilities["fused"]
        assert found.argmax(axis=1).tolist() == [1]
        np.testing.assert_allclose(found, [softmax(logits).mean(axis=0)], rtol=1e-5)

    def test_logits_are_averaged_where_that_is_asked_for(self) -> None:
        table = [[10.0, 0.0], [0.0, 4.0]]
        loader = windows_of([0, 1, 1])
        found = predict(lookup({"rgb": table}), loader, device=CPU, average="logits").probabilities["fused"]
        np.testing.assert_allclose(found, [softmax(np.mean([table[row] for row in (0, 1, 1)], axis=0))], rtol=1e-5)

    def test_streams_are_fused_by_the_sum_of_logits_not_of_probabilities(self) -> None:
        """RGB is very sure of 0, flow as sure of 1 as two of its probabilities can be: their sum of logits says 0."""
        tables = {"rgb": [[9.0, 0.0, 0.0]], "flow": [[0.0, 7.0, 0.0]]}
        found = predict(lookup(tables), windows_of([0], modalities=("rgb", "flow")), device=CPU).probabilities
        assert set(found) == {"fused", "rgb", "flow"}
        np.testing.assert_allclose(found["fused"], [softmax([9, 7, 0])], rtol=1e-4)
        np.testing.assert_allclose(found["rgb"], [softmax([9, 0, 0])], rtol=1e-4)
        np.testing.assert_allclose(found["flow"], [softmax([0, 7, 0])], rtol=1e-4)

    def test_streams_are_fused_by_the_mean_where_that_is_asked_for(self) -> None:
        tables = {"rgb": [[9.0, 0.0, 0.0]], "flow": [[0.0, 7.0, 0.0]]}
        network = lookup(tables, fusion="mean")
        found = predict(network, windows_of([0], modalities=("rgb", "flow")), device=CPU).probabilities
        np.testing.assert_allclose(found["fused"], [softmax([4.5, 3.5, 0])], rtol=1e-4)
        np.testing.assert_allclose(found["rgb"], [softmax([9, 0, 0])], rtol=1e-4)

    @pytest.mark.parametrize("batch_size", [1, 2, 5])
    def test_segments_stay_apart_and_in_order_whatever_the_batch(self, batch_size: int) -> None:
        rng = np.random.default_rng(0)
        table = rng.normal(size=(9, 4)).tolist()
        rows = rng.integers(9, size=(5, 3)).tolist()
        found = predict(lookup({"rgb": table}), windows_of(*rows, batch_size=batch_size), device=CPU)
        windows = np.array(table)[np.array(rows)]
        np.testing.assert_allclose(found.probabilities["fused"], softmax(windows).mean(axis=1), rtol=1e-4)
        np.testing.assert_allclose(found.features["rgb"], windows.mean(axis=1), rtol=1e-4)

    def test_dropout_is_off(self) -> None:
        network = lookup({"rgb": [[1.0, 2.0]]}).train()
        found = [predict(network, windows_of([0]), device=CPU).probabilities["fused"] for _ in range(5)]
        assert all((one == found[0]).all() for one in found)
        np.testing.assert_allclose(found[0], [softmax([1, 2])], rtol=1e-5)


class TestAccuracies:
    def test_by_hand(self) -> None:
        probabilities = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]
        labels = np.array([0, 0, 0, 1, 2])
        assert top1(probabilities, labels) == pytest.approx(60)
        assert mean_class_accuracy(probabilities, labels) == pytest.approx(100 * (2 / 3 + 0 + 1) / 3)

    @pytest.mark.parametrize("seed", range(4))
    def test_mean_class_is_balanced_accuracy(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        probabilities, labels = rng.random((40, 4), dtype=np.float32), rng.integers(4, size=40)
        expected = balanced_accuracy_score(labels, probabilities.argmax(axis=1))
        assert mean_class_accuracy(probabilities, labels) == pytest.approx(100 * expected)

    def test_classes_that_do_not_occur_do_not_count(self) -> None:
        probabilities, labels = np.eye(8, dtype=np.float32)[[0, 3]], np.array([0, 1])
        assert mean_class_accuracy(probabilities, labels) == pytest.approx(50)

    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            # D3 of EPIC: one of mix is 12.5 points, one of pour 2.5
            ([241, 280, 102, 71, 245, 29, 1, 5], r"one test segment of g \(1\) moves .* up to 12.5 points; read top-1"),
            ([124, 104, 52, 34, 66, 13, 20, 22], ""),
            ([19, 17, 11, 6, 10, 3, 2, 2], r"one test segment of g \(2\) or h \(2\) moves .* up to 6.2 points"),
            ([50, 0, 1, 0, 0, 0, 0, 0], r"one test segment of c \(1\) moves .* up to 50.0 points"),
        ],
        ids=["D3", "D1", "kitchens", "absent classes do not count"],
    )
    def test_a_class_of_few_segments_is_told(self, counts: list[int], said: str) -> None:
        labels = np.concatenate([np.repeat(np.arange(8), counts), [-1] * 5])
        found = mean_class_caution(labels, "abcdefgh")
        assert re.match(said, found) if said else found == ""

    def test_a_spare_output_that_wins_is_wrong(self) -> None:
        assert top1(np.array([[0.4, 0.1, 0.5, 0.0]], dtype=np.float32), np.array([0])) == 0

    def test_every_stream_has_both(self) -> None:
        one, other = np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1]
        found = accuracies(Predictions({"fused": one, "rgb": other}, {}), np.array([0, 1]))
        assert found == {"fused": {"top1": 100, "mean_class": 100}, "rgb": {"top1": 0, "mean_class": 0}}


class Normalised(nn.Module):
    """Batch normalisation of the pixels, then their mean and mean square: no padding, so exactly affine-invariant."""

    features = 4

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(2, eps=1e-12, momentum=0.3)
        self.drop = nn.Dropout(0.5)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.drop(self.norm(clips))
        return torch.cat([x.mean(dim=(2, 3, 4)), (x**2).mean(dim=(2, 3, 4))], dim=1)


@pytest.fixture
def network() -> LateFusionNetwork:
    torch.manual_seed(0)
    network = LateFusionNetwork({"rgb": Normalised()}, 3)
    network.train()
    for _ in range(3):
        network.features({"rgb": torch.randn(4, 2, 2, 3, 3)})
    return network


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def modes(network: nn.Module) -> list[tuple[bool, object]]:
    return [(module.training, getattr(module, "momentum", None)) for module in network.modules()]


class TestAdaptedBatchNorm:
    sizes = (5, 3, 2)

    def batches(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [3 * torch.randn(b, 2, 2, 3, 3, generator=generator) + 5 for b in self.sizes]

    def test_statistics_are_those_of_all_that_was_passed(self, network: LateFusionNetwork) -> None:
        """As if it had come at once: batches of several sizes and means count by their values."""
        batches = [x + 4 * k for k, x in enumerate(self.batches())]
        with adapted_batchnorm(network, lambda: [network.features({"rgb": x}) for x in batches]):
            norm = network.backbones["rgb"].norm
            mean, variance = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
            assert not network.training
            assert not norm.training
        joined = torch.cat(batches).double().numpy()
        np.testing.assert_allclose(mean, joined.mean(axis=(0, 2, 3, 4)), rtol=1e-5)
        np.testing.assert_allclose(variance, joined.var(axis=(0, 2, 3, 4), ddof=1), rtol=1e-5)

    def test_one_clip_that_differs_counts_as_one(self) -> None:
        """16 clips near 0 and one of 10, in batches of 16 and 1; a mean over batches has mean 5, and variance 0."""
        values = torch.cat([torch.linspace(-0.1, 0.1, 16), torch.tensor([10.0])]).unsqueeze(1)
        norm = nn.BatchNorm1d(1)
        # The second batch has no variance of its own: torch takes it from several values only.
        rows = values.unsqueeze(2).expand(-1, 1, 3)
        with adapted_batchnorm(norm, lambda: [norm(part) for part in rows.split(16)]):
            assert norm.running_mean.item() == pytest.approx(10 / 17, rel=1e-5)
            assert norm.running_var.item() == pytest.approx(rows.var(correction=1).item(), rel=1e-5)
            assert norm.running_var.item() > 5

    def test_a_layer_that_sees_nothing_keeps_its_own(self) -> None:
        both = nn.ModuleList([nn.BatchNorm1d(1), nn.BatchNorm1d(1)])
        both[1].running_mean.fill_(3.0)
        with adapted_batchnorm(both, lambda: both[0](torch.tensor([[1.0], [2.0]]))):
            assert (both[0].running_mean.item(), both[1].running_mean.item()) == (1.5, 3.0)

    def test_hooks_are_gone_afterwards(self, network: LateFusionNetwork) -> None:
        with adapted_batchnorm(network, lambda: network.features({"rgb": self.batches()[0]})):
            assert not network.backbones["rgb"].norm._forward_hooks

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("fails", ["nowhere", "in the passes", "in the context"])
    def test_everything_is_as_before_afterwards(self, network: LateFusionNetwork, fails: str, training: bool) -> None:
        network.train(training)
        before, modes_before = state(network), modes(network)

        def forward() -> None:
            network.features({"rgb": self.batches()[0]})
            if fails == "in the passes":
                raise KeyboardInterrupt

        def use() -> None:
            with adapted_batchnorm(network, forward):
                assert not torch.equal(
                    network.backbones["rgb"].norm.running_mean, before["backbones.rgb.norm.running_mean"]
                )
                if fails == "in the context":
                    raise KeyboardInterrupt

        if fails == "nowhere":
            use()
        else:
            with pytest.raises(KeyboardInterrupt):
                use()
        after = state(network)
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert modes(network) == modes_before

    def test_dropout_is_off_while_the_target_passes(self, network: LateFusionNetwork) -> None:
        outputs = []
        with adapted_batchnorm(
            network, lambda: outputs.extend(network.features({"rgb": self.batches()[0]})["rgb"] for _ in range(3))
        ):
            pass
        assert all(torch.equal(one, outputs[0]) for one in outputs)
        assert not outputs[0].requires_grad


def noisy(scale: float, shift: float) -> tuple[TestClipLoader, TestClipLoader]:
    """Training and test clips of a domain, its pixels scaled and shifted."""

    def paint(segment: Segment, frame: int) -> np.ndarray:
        seed = [sum(segment.uid.encode()), frame]
        return scale * np.random.default_rng(seed).integers(0, 100, (8, 8, 2)) + shift

    domain = Domain("A", {"rgb": PaintedReader(2, paint)}, toy_segments("A", "train", 6), toy_segments("A", "test", 4))
    rule = ClipRule(WindowRule(2, 1), 7)
    loaders = [
        TestClipLoader(TestClips(domain, s, rule=rule, modalities=("rgb",), windows=2))
        for s in (domain.train, domain.test)
    ]
    return loaders[0], loaders[1]


def adapted(network: LateFusionNetwork, clips: TestClipLoader, target_training: TestClipLoader) -> Predictions:
    with estimated_statistics(network, target_training, device=CPU):
        return predict(network, clips, device=CPU)


def mlp_domain(count: int) -> tuple[LateFusionNetwork, Domain]:
    """A perceptron on vectors, and clips of a domain: the last one's are 10, the others' near 0."""

    class Vectors:
        kind, channels, mirror_negates = "vector", 2, ()

        def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
            number = number_of(segment.uid)
            value = 10.0 if number == count - 1 else 0.01 * number
            return np.full((len(frames), 2), value, dtype=np.float32)

    torch.manual_seed(0)
    mlp = build_backbone("mlp", 2, kind="vector", width=2, norm_momentum=0.1)
    network = LateFusionNetwork({"rgb": mlp}, 3)
    return network, Domain("A", {"rgb": Vectors()}, toy_segments("A", "train", count), toy_segments("A", "test", 3))


def predictor_of(network: LateFusionNetwork, **changes: Any) -> Predictor:
    settings = {
        "windows": 2,
        "average": "probabilities",
        "target_statistics": True,
        "compiled": False,
        "batch_size": 16,
    }
    return Predictor(network, ClipRule(WindowRule(2, 1), 7), device=CPU, **settings | changes)


class TestWhatStatisticsAreTakenOf:
    @pytest.mark.parametrize(
        ("count", "sizes"), [(16, [16]), (17, [9, 8]), (33, [11, 11, 11]), (241, [16] + [15] * 15), (2, [2])]
    )
    def test_batches_are_as_equal_as_can_be(self, count: int, sizes: list[int]) -> None:
        network, domain = mlp_domain(count)
        found = [len(batch["rgb"]) for batch in predictor_of(network).shuffled_windows(domain, domain.train)]
        assert found == sizes

    def test_every_clip_once_in_an_order_that_stays(self) -> None:
        network, domain = mlp_domain(33)
        loaders = [predictor_of(network).shuffled_windows(domain, domain.train) for _ in range(2)]
        orders = [[segment.uid for segment in loader.clips.segments] for loader in loaders]
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == sorted(segment.uid for segment in domain.train)
        numbers = np.array([number_of(uid) for uid in orders[0]])
        assert (np.diff(numbers) == 1).mean() < 0.2, "neighbours in the table are no longer neighbours"
        in_order = predictor_of(network).single_windows(domain, domain.train)
        assert [segment.uid for segment in in_order.clips.segments] == [segment.uid for segment in domain.train]

    def test_seventeen_clips_of_which_one_differs(self) -> None:
        """What batches of 16 and 1 made of them: an error of the perceptron, or statistics of one clip."""
        network, domain = mlp_domain(17)
        first = network.backbones["rgb"].layers[0]
        clips = torch.cat(
            [batch["rgb"].flatten(0, 1) for batch in predictor_of(network).single_windows(domain, domain.train)]
        )
        with torch.no_grad():
            expected = first(clips)
        with estimated_statistics(network, predictor_of(network).shuffled_windows(domain, domain.train), device=CPU):
            norm = network.backbones["rgb"].layers[1]
            assert_close(norm.running_mean, expected.mean(dim=0))
            assert_close(norm.running_var, expected.var(dim=0))

    @pytest.mark.parametrize("count", [0, 1])
    def test_fewer_than_two_clips_have_none(self, count: int) -> None:
        network, domain = mlp_domain(3)
        predictor = predictor_of(network)
        training = predictor.shuffled_windows(domain, domain.train[:count])
        with pytest.raises(UserError, match=f"need two training clips or more, found {count}"):
            predictor.predict(predictor.clips(domain, domain.test), training)


class TestPredictAdapted:
    def test_a_change_of_brightness_and_contrast_is_no_change(self, network: LateFusionNetwork) -> None:
        """With the target's own statistics, an affine change of all pixels leaves every prediction as it was."""
        train, test = noisy(1, 0)
        changed_train, changed_test = noisy(2, 30)
        plain = adapted(network, test, train).probabilities["fused"]
        changed = adapted(network, changed_test, changed_train).probabilities["fused"]
        np.testing.assert_allclose(changed, plain, atol=1e-5)
        unadapted = [predict(network, clips, device=CPU).probabilities["fused"] for clips in (test, changed_test)]
        assert np.abs(unadapted[0] - unadapted[1]).max() > 0.01

    def test_the_network_is_left_as_it_was(self, network: LateFusionNetwork) -> None:
        train, test = noisy(2, 30)
        before, modes_before = state(network), modes(network)
        adapted(network, test, train)
        for name, tensor in state(network).items():
            assert_close(tensor, before[name], rtol=0, atol=0)
        assert modes(network) == modes_before


class TestEachDomainUnderItsOwnStatistics:
    """AdaBN on either side: the source's segments under statistics of the source's training clips, by numpy."""

    RULE = ClipRule(WindowRule(2, 1), 7)

    def domain(self, name: str, scale: float, shift: float) -> Domain:
        def paint(segment: Segment, frame: int) -> np.ndarray:
            seed = [sum(segment.uid.encode()), frame]
            return scale * np.random.default_rng(seed).integers(0, 100, (8, 8, 2)) + shift

        segments = toy_segments(name, "train", 20), toy_segments(name, "test", 4)
        return Domain(name, {"rgb": PaintedReader(2, paint)}, *segments)

    def evaluation(self, network: LateFusionNetwork, *, own: bool, source: Domain, target: Domain) -> Evaluation:
        predictor = Predictor(network, self.RULE, 3, "probabilities", own, False, 16, CPU)
        return Evaluation(predictor, source, target, accelerator=Accelerator(cpu=True))

    def by_numpy(self, domain: Domain) -> np.ndarray:
        """Statistics are those of all training segments, a window each; features are means over three windows."""

        def clips(segments: tuple[Segment, ...], windows: int) -> np.ndarray:
            shown = TestClips(domain, segments, rule=self.RULE, modalities=("rgb",), windows=windows)
            return np.stack([shown[k]["rgb"].double().numpy() / 128 - 1 for k in range(len(segments))])

        single = clips(domain.train, 1)[:, 0]  # (N, C, T, H, W)
        mean, variance = single.mean(axis=(0, 2, 3, 4)), single.var(axis=(0, 2, 3, 4), ddof=1)
        shape = (1, 1, 2, 1, 1, 1)
        shown = (clips(domain.test, 3) - mean.reshape(shape)) / np.sqrt(variance).reshape(shape)
        pixels = (3, 4, 5)
        return np.concatenate([shown.mean(axis=pixels), (shown**2).mean(axis=pixels)], axis=2).mean(axis=1)

    def test_features_of_both_sides(self, network: LateFusionNetwork) -> None:
        source, target = self.domain("A", 1.0, 0.0), self.domain("B", 2.0, 30.0)
        shown = self.evaluation(network, own=True, source=source, target=target)
        for found, domain in ((shown.predict_source(), source), (shown.predict_target(), target)):
            np.testing.assert_allclose(found.features["rgb"], self.by_numpy(domain), rtol=1e-4, atol=1e-5)

    def test_what_the_target_is_makes_no_difference_to_the_source(self, network: LateFusionNetwork) -> None:
        source = self.domain("A", 1.0, 0.0)
        found = [
            self.evaluation(network, own=True, source=source, target=self.domain("B", *look)).predict_source()
            for look in ((1.0, 0.0), (0.5, 100.0))
        ]
        np.testing.assert_array_equal(*(predictions.features["rgb"] for predictions in found))

    def test_without_it_both_sides_are_seen_under_the_running_statistics(self, network: LateFusionNetwork) -> None:
        source = self.domain("A", 1.0, 0.0)
        shown = self.evaluation(network, own=False, source=source, target=self.domain("B", 2.0, 30.0))
        expected = predict(network, shown.source_clips, device=CPU).features["rgb"]
        np.testing.assert_array_equal(shown.predict_source().features["rgb"], expected)
        assert np.abs(expected - self.by_numpy(source)).max() > 0.1
