"""The whole path of the paper at its resolution: JPEG frames of 456 x 256, pretrained I3D at 224 pixels, two stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, Frames, MultiDomainData, Reader, Segment
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.models.i3d import I3D
from mmsada_lab.prepare import export_kitchens as export
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_history, read_manifest
from mmsada_lab.trained import load_trained, predict_table

TINY = Kitchens(scale=0.001)
CHANNELS = {"rgb": 3, "flow": 2}
FEW = {
    "window_length": 4,
    "batch_size": 8,
    "norm_group": 2,
    "pretrain.steps": 1,
    "adapt.steps": 2,
    "pretrain.learning_rate": 1e-4,  # random weights have large gradients
    "adapt.learning_rate": 1e-5,
    "test_windows": 1,
}
"""Of the preset `paper`, what a processor can do in seconds; everything else is as published."""


@dataclass(frozen=True)
class Enlarged:
    """Frames of another reader at the size of those of EPIC-Kitchens."""

    reader: Reader
    kind: ClassVar[str] = "video"

    @property
    def channels(self) -> int:
        return self.reader.channels

    @property
    def mirror_negates(self) -> tuple[int, ...]:
        return self.reader.mirror_negates

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        small = self.reader.read(segment, frames)
        return np.stack([cv2.resize(picture, (456, 256)).reshape(256, 456, -1) for picture in small])

    def extent(self, segment: Segment) -> tuple[int, int]:
        return self.reader.extent(segment)


def enlarged(data: MultiDomainData) -> MultiDomainData:
    """Two domains, four segments to train on and two to test on, of two classes."""

    def few(domain: Domain) -> Domain:
        readers = {m: Enlarged(reader) for m, reader in domain.readers.items()}
        parts = {"train": 2, "test": 1}
        kept = {
            part: tuple(s for k in (0, 1) for s in [s for s in getattr(domain, part) if s.label == k][:count])
            for part, count in parts.items()
        }
        return replace(domain, readers=readers, **kept)

    return replace(data, domains={name: few(data.domain(name)) for name in ("D1", "D2")})


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kitchens as EPIC-Kitchens would have them."""
    folder = tmp_path_factory.mktemp("epic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "load_kitchens", lambda *_, **more: enlarged(load_kitchens(TINY, workers=1)))
        return export.export_kitchens(folder / "root", TINY, tar=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints in the layout of the common port, its classifier of 400 classes included; random values."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for modality, channels in CHANNELS.items():
        torch.manual_seed(channels)
        state: Mapping[str, torch.Tensor] = I3D(channels).state_dict()
        logits = {"logits.conv3d.weight": torch.randn(400, 1024, 1, 1, 1), "logits.conv3d.bias": torch.randn(400)}
        files[modality] = folder / f"{modality}_imagenet.pt"
        torch.save({**state, **logits}, files[modality])
    return files


def test_both_stages_of_mmsada_on_frames_of_epic_kitchens(tree: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    pretrained = ",".join(f"{modality}:{file}" for modality, file in weights.items())
    config = build_config(
        "paper", source="D1", target="D2", data=f"epic:{tree}", overrides=FEW | {"pretrained": pretrained}
    )
    assert (config.backbone, config.input_size) == ("i3d", 224)
    run = run_experiment(config, tmp_path, device="cpu", workers=0, show_progress=False)

    manifest = read_manifest(run / "manifest.json")
    assert manifest["status"] == "finished"
    assert manifest["inputs"] == {"rgb": ["video", 3], "flow": ["video", 2]}
    for modality, report in manifest["pretrained"].items():
        assert report["missing"] == [], modality
        assert sorted(report["left"]) == ["logits.conv3d.bias", "logits.conv3d.weight"]
    history = load_history(run)
    trained = history[history["kind"] == "train"]
    assert trained.groupby("stage")["step"].max().to_dict() == {"pretrain": 1, "adapt": 2}
    assert set(trained[trained["stage"] == "adapt"]["name"]) == {"classification", "adversarial", "correspondence"}
    assert np.isfinite(trained["value"]).all()

    table = predict_table(run, split="test", device="cpu")
    assert len(table) == 2
    np.testing.assert_allclose(table.filter(like="p(").sum(axis=1), 1, atol=1e-5)
    started = torch.load(weights["rgb"], weights_only=True)["Conv3d_1a_7x7.conv3d.weight"]
    ended = (
        load_trained(run, device="cpu").predictor.network.backbones["rgb"].get_parameter("Conv3d_1a_7x7.conv3d.weight")
    )
    assert not torch.equal(ended, started)
    assert torch.cosine_similarity(ended.flatten(), started.flatten(), dim=0) > 0.9, "from where the file began"


def test_numbers_in_time_want_another_backbone_and_are_told_which(tmp_path: Path) -> None:
    """The presets of the paper are I3D's."""
    rows = "\n".join(f"{d}{n},{d},{('train', 'test')[n > 5]},{'ab'[n % 2]}" for d in "xy" for n in range(8))
    (tmp_path / "segments.csv").write_text(f"uid,domain,split,label\n{rows}\n")
    np.save(tmp_path / "acc.npy", np.random.default_rng(0).normal(size=(16, 20, 3)))
    build = {"source": "x", "target": "y", "method": "source_only", "data": f"arrays:{tmp_path}"}
    sizes = {"modalities": "acc", "batch_size": 4, "pretrain.steps": 1, "adapt.steps": 1, "norm_group": 2}
    with pytest.raises(
        UserError, match=r"backbone i3d takes video, not series; choose temporal, mlp, .*-o backbone=auto"
    ):
        run_experiment(build_config("paper", **build, overrides=sizes), tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()
    config = build_config("paper", **build, overrides=sizes | {"backbone": "auto", "window_span": "segment"})
    run = run_experiment(config, tmp_path / "runs", device="cpu", workers=0, show_progress=False)
    assert read_manifest(run / "manifest.json")["status"] == "finished"
