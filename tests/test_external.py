"""Backbones of other libraries: laws on a small model of our own, then tiny models of each library that is there."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmsada_lab.errors import UserError
from mmsada_lab.models.backbones import build_backbone
from mmsada_lab.models.external import External, build_external, freeze
from mmsada_lab.models.pretrained import load_backbones


def library(name: str) -> Any:
    """The library, or a reason why its tests are skipped."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")


class Blocks(nn.Module):
    """A stem, three blocks with batch normalisation and dropout, and a last norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4), nn.Dropout(0.5)) for _ in range(3)
        )
        self.norm = nn.GroupNorm(1, 4)

    def forward(self, clips: Tensor) -> Tensor:
        values = self.stem(clips)
        for block in self.blocks:
            values = block(values)
        return self.norm(values).mean(dim=(2, 3, 4))


def external(trained: str = "all", **options: Any) -> External:
    torch.manual_seed(0)
    return External(Blocks(), 4, call=lambda model, pixels: model(pixels), trained=trained, **options)


CLIPS = torch.rand(2, 3, 4, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


class TestFreezing:
    @pytest.mark.parametrize(
        ("trained", "expected"),
        [
            ("all", {"stem", "blocks.0", "blocks.1", "blocks.2", "norm"}),
            ("3", {"blocks.0", "blocks.1", "blocks.2", "norm"}),
            ("1", {"blocks.2", "norm"}),
            ("frozen", set()),
        ],
    )
    def test_what_is_trained(self, trained: str, expected: set[str]) -> None:
        """What is frozen gets no gradient, moves no statistics and drops nothing out."""
        backbone = external(trained).train()
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        features = backbone(CLIPS)
        if expected:
            features.square().sum().backward()
        learning = {name for name, parameter in backbone.model.named_parameters() if parameter.grad is not None}
        assert {".".join(name.split(".")[: 1 + name.startswith("blocks")]) for name in learning} == expected
        moved = {n for n, value in backbone.state_dict().items() if not torch.equal(value, before[n])}
        assert {name[6:14] for name in moved} == {part for part in expected if "blocks" in part}
        assert [block.training for block in backbone.model.blocks] == [f"blocks.{n}" in expected for n in range(3)]

    def test_frozen_is_deterministic_and_keeps_nothing(self) -> None:
        backbone = external("frozen").train()
        assert torch.equal(backbone(CLIPS), backbone(CLIPS))
        assert not backbone(CLIPS).requires_grad

    def test_evaluation_and_back(self) -> None:
        backbone = external("1")
        assert not any(module.training for module in backbone.eval().modules())
        assert [block.training for block in backbone.train().model.blocks] == [False, False, True]

    @pytest.mark.parametrize("trained", ["4", "0", "-1", "", "some", "1.5"])
    def test_what_cannot_be_meant(self, trained: str) -> None:
        with pytest.raises(UserError, match="@frozen, or @N with N from 1 to 3"):
            freeze(Blocks(), trained)

    def test_parts_of_a_model_without_a_list(self) -> None:
        model = nn.ModuleDict({name: nn.Linear(2, 2) for name in "abc"})
        freeze(model, "2")
        assert [part.weight.requires_grad for part in model.values()] == [False, True, True]


class TestPixels:
    def test_are_those_the_model_was_trained_on(self) -> None:
        """[-1, 1) -> [0, 1) -> minus the mean, by the standard deviation."""
        seen: list[Tensor] = []

        def look(model: nn.Module, pixels: Tensor) -> Tensor:
            seen.append(pixels)
            return model(pixels)

        External(Blocks(), 4, call=look, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))(CLIPS)
        for channel, (mean, std) in enumerate([(0.4, 0.2), (0.5, 0.25), (0.6, 0.5)]):
            assert_close(seen[0][:, channel], (CLIPS[:, channel] / 2 + 0.5 - mean) / std)

    def test_as_they_are_where_nothing_is_known(self) -> None:
        assert_close(external().eval()(CLIPS), external().model.eval()(CLIPS))

    def test_another_size(self) -> None:
        with pytest.raises(UserError, match="takes clips of 8 x 6 x 6, not 4 x 6 x 6; set window_length=8 and input_s"):
            external(size=(8, 6, 6))(CLIPS)


class TestNames:
    @pytest.mark.parametrize(("name", "package"), [("hf:x", "transformers"), ("torchvision:r3d_18", "torchvision")])
    def test_a_library_that_is_not_there(self, name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (package, f"{package}.models", f"{package}.models.video"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=f"needs {package}, which cannot be imported .*`pip install {package}`"):
            build_external(name, 3)

    def test_an_unknown_library(self) -> None:
        with pytest.raises(UserError, match="unknown library of a backbone 'timm'; choose hf, torchvision"):
            build_backbone("timm:x", 3, width=16, norm_momentum=0.1)

    def test_video_only(self) -> None:
        with pytest.raises(UserError, match="unknown backbone"):
            build_backbone("hf:x", 3, kind="series", width=16, norm_momentum=0.1)


SIZES = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
MODELS = {
    "VideoMAE": {"patch_size": 8, "num_frames": 4},
    "Timesformer": {"patch_size": 8, "num_frames": 4},
    "Vivit": {"tubelet_size": [2, 8, 8], "num_frames": 4},
}


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny, randomly initialised model of transformers, saved as it saves them."""
    transformers = library("transformers")
    config = getattr(transformers, f"{request.param}Config")(image_size=16, **SIZES, **MODELS[request.param])
    torch.manual_seed(0)
    getattr(transformers, f"{request.param}Model")(config).save_pretrained(tmp_path)
    return tmp_path


class TestTransformers:
    CLIPS = torch.rand(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def test_features_are_the_mean_token(self, folder: Path) -> None:
        backbone = build_backbone(f"hf:{folder}", 3, width=16, norm_momentum=0.1).eval()
        model = library("transformers").AutoModel.from_pretrained(folder).eval()
        with torch.no_grad():
            expected = model(self.CLIPS.transpose(1, 2)).last_hidden_state.mean(dim=1)
            assert_close(backbone(self.CLIPS), expected)
        assert backbone.features == expected.shape[1] == 12

    def test_pixels_as_its_folder_says(self, folder: Path) -> None:
        plain = build_external(f"hf:{folder}", 3).eval()
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4] * 3, "image_std": [0.2] * 3}))
        pixels = (self.CLIPS / 2 + 0.1) / 0.2
        assert_close(build_external(f"hf:{folder}", 3).eval()(self.CLIPS), plain(pixels), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(("trained", "blocks"), [("all", 3), ("2", 2), ("1", 1), ("frozen", 0)])
    def test_partly_frozen(self, trained: str, blocks: int, folder: Path) -> None:
        backbone = build_external(f"hf:{folder}" + (f"@{trained}" if trained != "all" else ""), 3)
        names = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
        layers = {part for name in names for part in name.split(".") if part.isdecimal()}
        assert layers == {str(number) for number in range(3 - blocks, 3)}
        assert any("embeddings" in name for name in names) == (trained == "all")

    def test_what_does_not_fit(self, folder: Path) -> None:
        with pytest.raises(UserError, match="takes 3 channels and this modality has 2"):
            build_external(f"hf:{folder}", 2)
        with pytest.raises(UserError, match="takes clips of 4 x 16 x 16, not 8 x 16 x 16"):
            build_external(f"hf:{folder}", 3)(torch.zeros(1, 3, 8, 16, 16))

    def test_no_model(self, tmp_path: Path) -> None:
        library("transformers")
        with pytest.raises(UserError, match="is neither a folder with a model"):
            build_external(f"hf:{tmp_path}", 3)

    def test_no_video_model(self, tmp_path: Path) -> None:
        transformers = library("transformers")
        config = transformers.ViTConfig(image_size=16, patch_size=8, **SIZES)
        transformers.ViTModel(config).save_pretrained(tmp_path)
        with pytest.raises(UserError, match="is no video model"):
            build_external(f"hf:{tmp_path}", 3)


class TestTorchvision:
    def test_features_come_before_the_classifier(self) -> None:
        models = library("torchvision.models")
        backbone = build_external("torchvision:r3d_18", 3).eval()
        whole = models.get_model("r3d_18", weights=None).eval()
        whole.load_state_dict(backbone.model.state_dict(), strict=False)
        seen: list[Tensor] = []
        whole.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        mean, std = (backbone.get_buffer(name) for name in ("mean", "std"))
        with torch.no_grad():
            found = backbone(CLIPS)
            whole(((CLIPS + 1) / 2 - mean) / std)
        assert_close(found, seen[0])
        assert found.shape == (2, backbone.features) == (2, 512)

    def test_weights_from_a_file(self, tmp_path: Path) -> None:
        models = library("torchvision.models")
        state = models.get_model("r3d_18", weights=None).state_dict()
        torch.save(state, tmp_path / "r3d_18.pth")
        backbone = build_external("torchvision:r3d_18@1", 3)
        report = load_backbones({"rgb": backbone}, f"rgb:{tmp_path / 'r3d_18.pth'}")["rgb"]
        assert (report.missing, report.left) == ((), ("fc.weight", "fc.bias"))
        assert {n.split(".")[0] for n, p in backbone.model.named_parameters() if p.requires_grad} == {"layer4"}

    def test_an_unknown_model(self) -> None:
        library("torchvision.models")
        with pytest.raises(UserError, match=r"unknown video model of torchvision 'r3d_50'.* Did you mean 'r3d_18'"):
            build_external("torchvision:r3d_50", 3)
