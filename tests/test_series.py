"""Modalities that are no video: numbers in time and one vector a segment, from the reader to a finished run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch.testing import assert_close
from toy import class_of, number_of, toy_config, toy_data

from mmsada_lab.clips.batches import TrainingBatches
from mmsada_lab.clips.clips import ClipRule, inputs_of
from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.clips.test_clips import TestClips
from mmsada_lab.clips.windows import WindowRule, test_windows
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.facts import METHODS
from mmsada_lab.models.backbones import AUTO, BACKBONES, build_backbone
from mmsada_lab.models.network import LateFusionNetwork, Standardise, build_network
from mmsada_lab.runs import read_manifest

test_windows.__test__ = False


@dataclass(frozen=True)
class SeriesReader:
    """Channel 0 is the number of the segment, channel 1 the clock, channel 2 an offset plus the class."""

    kind: str = "series"
    offset: float = 0.0
    channels: int = 3
    mirror_negates: ClassVar[tuple[int, ...]] = ()

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[Any]:
        if self.kind == "vector":
            frames = np.zeros_like(frames)
        columns = [np.full(len(frames), number_of(segment.uid)), frames, np.full(len(frames), self.offset)]
        columns[2] = columns[2] + class_of(segment.uid)
        return np.stack(columns, axis=1).astype(np.float32)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return segment.start, segment.stop


def mixed_data() -> MultiDomainData:
    """The toy's RGB, a series and a vector; the series is shifted from domain to domain."""
    data = toy_data(modalities=("rgb",))
    domains = {
        name: replace(
            domain,
            readers={**domain.readers, "motion": SeriesReader(offset=50.0 * number), "tag": SeriesReader("vector")},
        )
        for number, (name, domain) in enumerate(data.domains.items())
    }
    return replace(data, domains=domains)


def mixed_config(method: str = "mmsada", **changes: Any):
    return toy_config(method, modalities="rgb,motion,tag", **changes)


class TestClipShapes:
    RULE = ClipRule(WindowRule(4, 2), 12)

    def batches(self) -> TrainingBatches:
        data, names = mixed_data(), ("rgb", "motion", "tag")
        sizes = {"source_batch": 6, "target_batch": 6, "steps": 3, "seed": (0, 0)}
        return TrainingBatches(data.domain("A"), data.domain("B"), rule=self.RULE, modalities=names, **sizes)

    def test_training(self) -> None:
        for side in (self.batches()[1].source, self.batches()[1].target):
            assert {m: (tuple(c.shape), c.dtype) for m, c in side.clips.items()} == {
                "rgb": ((6, 3, 4, 12, 12), torch.uint8),
                "motion": ((6, 3, 4), torch.float32),
                "tag": ((6, 3), torch.float32),
            }

    def test_numbers_arrive_as_they_were_read(self) -> None:
        clips = self.batches()[0].source.clips
        assert_close(clips["motion"][:, 0], clips["tag"][:, :1].expand(6, 4))
        assert (clips["motion"][:, 1].diff(dim=1) == 2).all()

    def test_test_clips_are_those_of_the_test_windows(self) -> None:
        domain = mixed_data().domain("A")
        item = TestClips(domain, domain.test, rule=self.RULE, modalities=("motion", "tag"), windows=5)[3]
        assert item["motion"].shape == (5, 3, 4)
        assert item["tag"].shape == (5, 3)
        assert item["motion"][:, 1].tolist() == test_windows(domain.test[3], WindowRule(4, 2)).tolist()

    def test_inputs(self) -> None:
        found = inputs_of(mixed_data().domain("A"), ("tag", "rgb", "motion"))
        assert found == {"tag": ("vector", 3), "rgb": ("video", 3), "motion": ("series", 3)}


class TestBackbones:
    SHAPES: ClassVar = {"video": (4, 16, 16), "series": (20,), "vector": ()}

    @pytest.mark.parametrize(("name", "kind"), [(n, k) for n, b in BACKBONES.items() for k in b.kinds])
    def test_features_of_every_backbone(self, name: str, kind: str) -> None:
        torch.manual_seed(0)
        backbone = build_backbone(name, 5, kind=kind, width=3, norm_momentum=0.1)
        clips = torch.randn(7, 5, *self.SHAPES[kind], requires_grad=True)
        features = backbone(clips)
        assert features.shape == (7, backbone.features) == (7, 1024 if name == "i3d" else 12)
        features.square().sum().backward()
        assert (clips.grad.flatten(1).abs().sum(dim=1) > 0).all()

    @pytest.mark.parametrize("kind", AUTO)
    def test_auto_takes_the_kind(self, kind: str) -> None:
        assert kind in BACKBONES[AUTO[kind]].kinds
        built = build_backbone("auto", 5, kind=kind, width=3, norm_momentum=0.1)
        assert type(built) is type(BACKBONES[AUTO[kind]].build(5, width=3))

    @pytest.mark.parametrize("length", [1, 2, 7, 64])
    def test_series_of_any_length(self, length: int) -> None:
        assert (
            build_backbone("auto", 5, kind="series", width=3, norm_momentum=0.1)(torch.randn(4, 5, length))
            .isfinite()
            .all()
        )

    def test_mlp_of_a_series_sees_its_mean(self) -> None:
        backbone = build_backbone("mlp", 5, kind="series", width=3, norm_momentum=0.1).eval()
        clips = torch.randn(4, 5, 9)
        assert_close(backbone(clips), backbone(clips.mean(dim=2)))

    def test_a_kind_that_is_not_taken(self) -> None:
        with pytest.raises(UserError, match=r"backbone small3d takes video, not series; choose temporal, mlp"):
            build_backbone("small3d", 5, kind="series", width=3, norm_momentum=0.1)

    def test_one_vector_has_no_batch_statistics(self) -> None:
        with pytest.raises(UserError, match="raise batch_size"):
            build_backbone("mlp", 5, kind="vector", width=3, norm_momentum=0.1)(torch.randn(1, 5))

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ("auto", ["small3d", "temporal", "mlp"]),
            ("motion:mlp", ["small3d", "mlp", "mlp"]),
            ("rgb:small3d,motion:mlp,tag:mlp", ["small3d", "mlp", "mlp"]),
        ],
    )
    def test_chosen_one_by_one(self, choice: str, expected: list[str]) -> None:
        inputs = inputs_of(mixed_data().domain("A"), ("rgb", "motion", "tag"))
        network = build_network(mixed_config(backbone=choice), inputs, num_classes=3)
        assert [type(b).__name__.lower() for b in network.backbones.values()] == expected

    @pytest.mark.parametrize("choice", ["smell:mlp", "motion:", "motion", "motion:mlp,tag", "mlp,mlp", ""])
    def test_choices_that_cannot_be_meant(self, choice: str) -> None:
        with pytest.raises(UserError):
            build_network(mixed_config(backbone=choice), {"motion": ("series", 3)}, num_classes=3)


class TestStandardise:
    def test_against_numpy(self) -> None:
        clips = (
            torch.randn(30, 4, 9) * torch.tensor([1.0, 100, 0.01, 0])[:, None] + torch.tensor([0.0, -5, 7, 3])[:, None]
        )
        layer = Standardise(4)
        layer.fit(clips)
        values = clips.double().numpy()
        mean, std = values.mean(axis=(0, 2)), values.std(axis=(0, 2))
        std[3] = 1  # a constant channel
        assert_close(
            layer(clips), torch.from_numpy((values - mean[:, None]) / std[:, None]).float(), atol=1e-4, rtol=1e-4
        )

    def test_it_belongs_to_the_weights_and_is_not_trained(self) -> None:
        network = LateFusionNetwork({}, 3, standardise={"motion": Standardise(2)})
        assert set(network.state_dict()) == {"standardise.motion.mean", "standardise.motion.std"}
        assert not list(network.parameters())


@pytest.fixture
def mixed(open_as_toy) -> None:
    open_as_toy(mixed_data())


@pytest.mark.usefixtures("mixed")
class TestRuns:
    @pytest.mark.parametrize("method", METHODS)
    def test_three_modalities_of_three_kinds_train_with_every_method(self, method: str, tmp_path: Path) -> None:
        path = run_experiment(mixed_config(method), tmp_path, device="cpu", workers=0, show_progress=False)
        manifest = read_manifest(path / "manifest.json")
        assert set(manifest["result"]["target"]) == {"fused", "rgb", "motion", "tag"}
        assert manifest["inputs"] == {"rgb": ["video", 3], "motion": ["series", 3], "tag": ["vector", 3]}

    def test_standardised_by_the_labelled_source_alone(self, tmp_path: Path) -> None:
        path = run_experiment(mixed_config(), tmp_path, device="cpu", workers=0, show_progress=False)
        weights = load_file(path / "model.safetensors")
        segments = mixed_data().domain("A").train
        assert weights["standardise.tag.mean"][0] == pytest.approx(np.mean([number_of(s.uid) for s in segments]))
        # the source has offset 0, the target 50
        assert weights["standardise.motion.mean"][2] == pytest.approx(np.mean([class_of(s.uid) for s in segments]))

    def test_windows_that_span_segments(self, tmp_path: Path) -> None:
        one, other = (
            run_experiment(mixed_config("source_only", window_span=span), tmp_path, device="cpu", show_progress=False)
            for span in ("stride", "segment")
        )
        assert (one / "history.jsonl").read_bytes() != (other / "history.jsonl").read_bytes()
