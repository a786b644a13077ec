"""I3D and its pretrained weights, against a plain transcription of the architecture written here."""

from __future__ import annotations

import copy
import errno
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from mmsada_lab.errors import UserError
from mmsada_lab.models.backbones import build_backbone
from mmsada_lab.models.batchnorm import GroupedBatchNorm3d, adapted_batchnorm, held_statistics
from mmsada_lab.models.i3d import I3D, Unit, max_pool, same_padding
from mmsada_lab.models.network import LateFusionNetwork, build_network
from mmsada_lab.models.pretrained import convert_weights, load_backbones, load_pretrained, read_weights
from mmsada_lab.presets import build_config

CHANNELS = {"rgb": 3, "flow": 2}
MODALITIES = pytest.mark.parametrize("modality", CHANNELS)

# Table 1 of "Going deeper with convolutions": #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj. I3D has 3x3x3
# where that table has 5x5, and calls the modules 3a, 3b, ... Mixed_3b, Mixed_3c, ...
INCEPTION = """
Mixed_3b  64  96 128 16  32  32
Mixed_3c 128 128 192 32  96  64
Mixed_4b 192  96 208 16  48  64
Mixed_4c 160 112 224 24  64  64
Mixed_4d 128 128 256 24  64  64
Mixed_4e 112 144 288 32  64  64
Mixed_4f 256 160 320 32 128 128
Mixed_5b 256 160 320 32 128 128
Mixed_5c 384 192 384 48 128 128
"""


def convolutions(channels: int) -> dict[str, tuple[int, int, int]]:
    """Name of every unit -> channels in, channels out, side of its kernel."""
    units = {"Conv3d_1a_7x7": (channels, 64, 7), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (64, 192, 3)}
    width = 192
    for line in INCEPTION.split("\n")[1:-1]:
        name, *numbers = line.split()
        one, reduce3, three, reduce5, five, pool = map(int, numbers)
        units |= {f"{name}.b0": (width, one, 1), f"{name}.b1a": (width, reduce3, 1), f"{name}.b1b": (reduce3, three, 3)}
        units |= {
            f"{name}.b2a": (width, reduce5, 1),
            f"{name}.b2b": (reduce5, five, 3),
            f"{name}.b3b": (width, pool, 1),
        }
        width = one + three + five + pool
    return units


def weights_of(channels: int, *, gamma: bool = False) -> dict[str, Tensor]:
    """Random weights in the key layout of the common port, its classifier included; as old as it, without counters."""
    generator, weights = torch.Generator().manual_seed(channels), {}
    for name, (inputs, outputs, side) in convolutions(channels).items():
        draw = torch.randn(outputs, inputs, side, side, side, generator=generator)
        weights[f"{name}.conv3d.weight"] = draw * (2 / (inputs * side**3)) ** 0.5
        spread = torch.rand(4, outputs, generator=generator)
        weights[f"{name}.bn.weight"] = 0.5 + spread[0] if gamma else torch.ones(outputs)
        weights[f"{name}.bn.bias"] = spread[1] - 0.5
        weights[f"{name}.bn.running_mean"] = spread[2] - 0.5
        weights[f"{name}.bn.running_var"] = 0.5 + spread[3]
    weights["logits.conv3d.weight"] = torch.randn(400, 1024, 1, 1, 1, generator=generator)
    weights["logits.conv3d.bias"] = torch.randn(400, generator=generator)
    return weights


def padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros all round, as many as the port adds; after a ReLU they are no more than what is there."""
    amounts: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        amount = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
        amounts += [amount // 2, amount - amount // 2]
    return F.pad(x, amounts)


def plain_features(weights: dict[str, Tensor], clips: Tensor, *, training: bool = False) -> Tensor:
    """I3D in functional style, one line a step."""

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = weights[f"{name}.conv3d.weight"]
        x = F.conv3d(padded(x, kernel.shape[2:], (stride,) * 3), kernel, stride=stride)
        gamma, beta, mean, variance = (
            weights[f"{name}.bn.{part}"].view(1, -1, 1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        if training:
            mean = x.mean(dim=(0, 2, 3, 4), keepdim=True)
            variance = (x - mean).square().mean(dim=(0, 2, 3, 4), keepdim=True)
        return F.relu(gamma * (x - mean) / torch.sqrt(variance + 0.001) + beta)

    def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return F.max_pool3d(padded(x, kernel, stride), kernel, stride)

    def mixed(x: Tensor, name: str) -> Tensor:
        one = unit(x, f"{name}.b0")
        three = unit(unit(x, f"{name}.b1a"), f"{name}.b1b")
        five = unit(unit(x, f"{name}.b2a"), f"{name}.b2b")
        return torch.cat([one, three, five, unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{name}.b3b")], dim=1)

    x = unit(clips, "Conv3d_1a_7x7", stride=2)
    x = unit(pool(x, (1, 3, 3), (1, 2, 2)), "Conv3d_2b_1x1")
    x = pool(unit(x, "Conv3d_2c_3x3"), (1, 3, 3), (1, 2, 2))
    x = pool(mixed(mixed(x, "Mixed_3b"), "Mixed_3c"), (3, 3, 3), (2, 2, 2))
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        x = mixed(x, name)
    x = mixed(mixed(pool(x, (2, 2, 2), (2, 2, 2)), "Mixed_5b"), "Mixed_5c")
    windows = [x.unfold(2, min(2, x.shape[2]), 1).mean(dim=-1)]
    for axis in (3, 4):
        windows.append(windows[-1].unfold(axis, min(7, x.shape[axis]), 1).mean(dim=-1))
    return windows[-1].mean(dim=(2, 3, 4))


def loaded(channels: int, weights: dict[str, Tensor]) -> I3D:
    with torch.device("meta"):
        model = I3D(channels)
    model = model.to_empty(device="cpu")
    model.load_state_dict({name: tensor for name, tensor in weights.items() if "logits" not in name}, strict=False)
    return model


@pytest.fixture(scope="module")
def weights() -> dict[str, dict[str, Tensor]]:
    return {modality: weights_of(channels, gamma=True) for modality, channels in CHANNELS.items()}


@pytest.fixture(scope="module")
def files(weights: dict[str, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints as people have them: RGB by an old version of torch, flow as safetensors."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(weights["rgb"], folder / "rgb_imagenet.pt", _use_new_zipfile_serialization=False)
    save_file(weights["flow"], folder / "flow_imagenet.safetensors")
    return {"rgb": folder / "rgb_imagenet.pt", "flow": folder / "flow_imagenet.safetensors"}


def batch(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 - 1


def assert_equal_up_to_rounding(found: Tensor, expected: Tensor) -> None:
    """To 1e-5 of the largest feature, in float32."""
    assert expected.std() > 0.1
    assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


class TestArchitecture:
    @MODALITIES
    def test_names_and_shapes_are_those_of_the_port(self, modality: str) -> None:
        with torch.device("meta"):
            model, expected = I3D(CHANNELS[modality]), {}
        for name, (inputs, outputs, side) in convolutions(CHANNELS[modality]).items():
            expected[f"{name}.conv3d.weight"] = (outputs, inputs, side, side, side)
            expected |= {f"{name}.bn.{part}": (outputs,) for part in "weight bias running_mean running_var".split()}
            expected[f"{name}.bn.num_batches_tracked"] = ()
        assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected

    @pytest.mark.parametrize(("channels", "millions"), [(3, 12.287264), (2, 12.265312), (7, 12.375072)])
    def test_parameters(self, channels: int, millions: float) -> None:
        with torch.device("meta"):
            model = I3D(channels)
        units = convolutions(channels).values()
        expected = sum(inputs * outputs * side**3 + 2 * outputs for inputs, outputs, side in units)
        assert sum(p.numel() for p in model.parameters()) == expected == round(1e6 * millions)
        gammas = sum(outputs for _, outputs, _ in units)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected - gammas

    @pytest.mark.parametrize(
        ("size", "last"),
        [((16, 224, 224), (2, 7, 7)), ((64, 224, 224), (8, 7, 7)), ((17, 225, 97), (3, 8, 4)), ((1, 1, 1), (1, 1, 1))],
    )
    def test_sizes(self, size: tuple[int, ...], last: tuple[int, ...]) -> None:
        """Half as long and 1/32 as wide, rounded up at every layer; for the paper's clips the average is over all."""
        found = []
        with torch.device("meta"):
            model, clips = I3D(3).eval(), torch.empty(2, 3, *size)
        model.get_submodule("Mixed_5c").register_forward_hook(lambda *call: found.append(call[2].shape))
        assert model(clips).shape == (2, model.features) == (2, 1024)
        assert found == [(2, 1024, *last)]

    @pytest.mark.parametrize(
        ("channels", "input_gradient", "gflop"),
        [(3, False, 153.507881408), (2, False, 144.696172992), (3, True, 166.725444032)],
        ids=["rgb", "flow", "rgb, gradient of the pixels too"],
    )
    def test_work_per_clip(self, channels: int, input_gradient: bool, gflop: float) -> None:
        """Forward + backward of a training step at 16 x 224 x 224, where no gradient of the pixels is asked for."""
        with torch.device("meta"):
            model, clips = I3D(channels), torch.empty(1, channels, 16, 224, 224, requires_grad=input_gradient)
        with FlopCounterMode(display=False) as counter:
            model(clips).sum().backward()
        assert counter.get_total_flops() == round(1e9 * gflop)


class TestPadding:
    @pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (2, 2), (3, 1), (1, 1)])
    def test_same(self, kernel: int, stride: int) -> None:
        for size in range(1, 20):
            before, after = same_padding(size, kernel, stride)
            assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
            assert after - before in (0, 1)
            assert before + after < kernel  # no window sees padding alone

    @pytest.mark.parametrize(("kernel", "stride"), [((1, 3, 3), (1, 2, 2)), ((3,) * 3, (2,) * 3), ((2,) * 3, (2,) * 3)])
    @pytest.mark.parametrize("size", [(4, 6, 8), (5, 7, 9), (1, 1, 1), (2, 3, 1)])
    def test_max_pool(self, kernel: tuple[int, int, int], stride: tuple[int, int, int], size: tuple[int, ...]) -> None:
        """TensorFlow pads with minus infinity, the port with zeros: after a ReLU that is the same."""
        values = batch(2, 3, *size)
        pads = [side for pair in zip(size, kernel, stride, strict=True) for side in same_padding(*pair)[::-1]][::-1]
        infinite = F.max_pool3d(F.pad(values, pads, value=-torch.inf), kernel, stride)
        assert torch.equal(max_pool(values, kernel, stride), infinite)
        positive = values.relu()
        assert torch.equal(
            max_pool(positive, kernel, stride), F.max_pool3d(padded(positive, kernel, stride), kernel, stride)
        )


class TestForward:
    @MODALITIES
    @pytest.mark.parametrize(
        "size",
        [(16, 64, 64), (9, 37, 45), (8, 32, 50), (23, 16, 16), (1, 232, 230)],
        ids=lambda size: "x".join(map(str, size)),
    )
    def test_equals_the_plain_one(
        self, weights: dict[str, dict[str, Tensor]], modality: str, size: tuple[int, ...]
    ) -> None:
        model, clips = loaded(CHANNELS[modality], weights[modality]).eval(), batch(1, CHANNELS[modality], *size)
        with torch.no_grad():
            found, expected = model(clips), plain_features(weights[modality], clips)
        assert_equal_up_to_rounding(found, expected)

    def test_equals_the_plain_one_in_training(self, weights: dict[str, dict[str, Tensor]]) -> None:
        """Each group normalised by its own statistics, its gradients too."""
        double = {name: tensor.double() for name, tensor in weights["flow"].items()}
        model, clips = loaded(2, weights["flow"]).double().train(), batch(4, 2, 8, 40, 33, dtype=torch.float64)
        kernel = double["Mixed_3c.b1b.conv3d.weight"].requires_grad_()
        expected = torch.cat([plain_features(double, group, training=True) for group in clips.split(2)])
        found = model(clips, norm_group=2)
        assert_close(found, expected)
        (found * expected.detach().cos()).sum().backward()
        (expected * expected.detach().cos()).sum().backward()
        assert_close(model.get_parameter("Mixed_3c.b1b.conv3d.weight").grad, kernel.grad)

    def test_half_precision(self, weights: dict[str, dict[str, Tensor]]) -> None:
        """Near in evaluation; in training the statistics are kept in full, and groups are still groups."""
        model, clips = loaded(2, weights["flow"]).eval(), batch(4, 2, 8, 32, 32)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert F.cosine_similarity(model(clips).float(), plain_features(weights["flow"], clips)).min() > 0.999
            found = model.train()(clips, norm_group=2)
            assert_close(found, torch.cat([model(part) for part in clips.split(2)]), atol=0.5, rtol=0.1)
        assert model.get_buffer("Mixed_5c.b0.bn.running_mean").dtype == torch.float32


class TestGroups:
    @pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
    @pytest.mark.parametrize(("clips", "group"), [(6, 2), (5, 2), (3, 2), (2, 2), (2, 4), (3, 0)])
    def test_together_as_one_after_the_other(self, clips: int, group: int, memory: torch.memory_format) -> None:
        """Features, gradients and running statistics; what is left over is a smaller group."""
        torch.manual_seed(0)
        first = Unit(2, 6, 3, norm=GroupedBatchNorm3d, stride=2).double().to(memory_format=memory)
        together, apart = (StemOnly(copy.deepcopy(first)) for _ in range(2))
        values = batch(clips, 2, 4, 6, 6, dtype=torch.float64).to(memory_format=memory)
        found = together(values, norm_group=group)
        expected = torch.cat([apart(part) for part in values.split(group or clips)])
        assert_close(found, expected)
        for result in (found, expected):
            (result * torch.arange(6.0)).square().sum().backward()
        assert_close(gradients(together), gradients(apart))
        assert_close(dict(together.named_buffers()), dict(apart.named_buffers()))

    def test_of_the_whole_network(self) -> None:
        torch.manual_seed(0)
        together = I3D(2, norm_momentum=0.1).double().train()
        apart, clips = copy.deepcopy(together), batch(5, 2, 16, 16, 16, dtype=torch.float64)
        found, expected = together(clips, norm_group=2), torch.cat([apart(part) for part in clips.split(2)])
        assert_close(found, expected)
        found.square().sum().backward()
        expected.square().sum().backward()
        assert_close(gradients(together), gradients(apart))
        assert_close(dict(together.named_buffers()), dict(apart.named_buffers()))

    def test_running_statistics_are_those_of_the_released_code(self) -> None:
        """Decay 0.999 once a group, of the biased variance."""
        norm, values = GroupedBatchNorm3d(2), batch(4, 2, 1, 1, 3)
        norm(values, 2)
        mean, variance = torch.zeros(2), torch.ones(2)
        for group in (values[::2], values[1::2]):
            mean = 0.999 * mean + 0.001 * group.mean(dim=(0, 2, 3, 4))
            variance = 0.999 * variance + 0.001 * group.var(dim=(0, 2, 3, 4), correction=0)
        assert_close(norm.running_mean, mean, rtol=1e-6, atol=1e-9)
        assert_close(norm.running_var, variance, rtol=1e-6, atol=0)
        assert int(norm.num_batches_tracked) == 2

    def test_evaluation_uses_running_statistics(self) -> None:
        norm = GroupedBatchNorm3d(2).eval()
        norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
        assert_close(norm(torch.zeros(1, 2, 1, 1, 1)).flatten(), torch.tensor([-1.0, -2.0]) / 1.001**0.5)
        assert int(norm.num_batches_tracked) == 0

    def test_held_statistics(self) -> None:
        norm = GroupedBatchNorm3d(2)
        with held_statistics(norm):
            norm(batch(2, 2, 1, 1, 1))
        assert int(norm.num_batches_tracked) == 0
        norm(batch(2, 2, 1, 1, 1))
        assert int(norm.num_batches_tracked) == 1

    def test_adabn(self) -> None:
        """Statistics of the target, biased as the layer's are, over all that passed; then the old ones again."""
        values = batch(7, 2, 1, 1, 5) + torch.arange(7.0).view(7, 1, 1, 1, 1)  # batches differ
        norm = GroupedBatchNorm3d(2)
        norm.running_mean.fill_(7.0)
        with adapted_batchnorm(norm, lambda: [norm(part) for part in values.split([4, 1, 2])]):
            assert_close(norm.running_mean, values.mean(dim=(0, 2, 3, 4)))
            assert_close(norm.running_var, values.var((0, 2, 3, 4), correction=0))
        assert norm.running_mean.tolist() == [7.0, 7.0]
        assert (norm.momentum, int(norm.num_batches_tracked)) == (0.001, 0)

    def test_one_clip_has_no_batch_statistics(self) -> None:
        with pytest.raises(UserError, match="raise batch_size"):
            I3D(1)(batch(1, 1, 8, 32, 32))


class StemOnly(I3D):
    """The grouping of I3D around one unit."""

    def __init__(self, unit: Unit) -> None:
        nn.Module.__init__(self)
        self.unit, self.checkpointing = unit, False


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}


class TestTraining:
    def test_gamma_is_not_trained(self) -> None:
        model = I3D(1)
        model(batch(2, 1, 8, 32, 32)).square().sum().backward()
        without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
        assert without == {name for name in model.state_dict() if name.endswith("bn.weight")}
        assert all((layer.weight == 1).all() for layer in model.modules() if isinstance(layer, GroupedBatchNorm3d))

    def test_checkpointing_changes_no_number(self) -> None:
        """Features, gradients and statistics, which must not move twice."""
        torch.manual_seed(0)
        plain = I3D(2)
        frugal = copy.deepcopy(plain)
        frugal.checkpointing = True
        clips = batch(4, 2, 8, 32, 32)
        results = [model(clips, norm_group=2) for model in (plain, frugal)]
        for result in results:
            result.square().sum().backward()
        assert torch.equal(*results)
        assert_close(gradients(frugal), gradients(plain), rtol=0, atol=0)
        assert_close(dict(frugal.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)
        assert all(layer.updating for layer in frugal.modules() if isinstance(layer, GroupedBatchNorm3d))

    def test_checkpointing_keeps_less(self) -> None:
        def kept(model: I3D) -> int:
            sizes: dict[int, int] = {}

            def keep(tensor: Tensor) -> Tensor:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                features = model(clips)
            own = {p.untyped_storage().data_ptr() for p in model.parameters()}
            del features
            return sum(size for pointer, size in sizes.items() if pointer not in own)

        clips = batch(2, 1, 8, 64, 64)
        assert kept(I3D(1, checkpointing=True)) < 0.4 * kept(I3D(1))


class TestInTheNetwork:
    def network(self, **overrides: object) -> LateFusionNetwork:
        config = build_config("paper", source="D1", target="D2", overrides={"backbone": "i3d", **overrides})
        return build_network(config, {m: ("video", c) for m, c in CHANNELS.items()}, num_classes=8)

    def test_by_name(self) -> None:
        network = self.network()
        assert [type(backbone) for backbone in network.backbones.values()] == [I3D, I3D]
        assert network.feature_widths == {"rgb": 1024, "flow": 1024}
        norms = [layer for layer in network.modules() if isinstance(layer, GroupedBatchNorm3d)]
        assert len(norms) == 2 * 57
        assert {(layer.momentum, layer.eps) for layer in norms} == {(0.001, 0.001)}

    def test_for_one_modality(self) -> None:
        network = self.network(backbone="rgb:i3d", width=4)
        assert [type(backbone).__name__ for backbone in network.backbones.values()] == ["I3D", "Small3D"]

    def test_its_groups_are_the_networks(self) -> None:
        network, seen = self.network(norm_group=3), []
        norm = network.backbones["flow"].get_submodule("Mixed_5c.b0.bn")
        norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
        clips = {m: (batch(6, c, 4, 32, 32) * 127 + 128).to(torch.uint8) for m, c in CHANNELS.items()}
        assert network.train()(clips).shape == network.eval()(clips).shape == (6, 8)
        assert seen == [2, 1]
        assert int(norm.num_batches_tracked) == 2

    def test_not_for_numbers(self) -> None:
        with pytest.raises(UserError, match="backbone i3d takes video, not series"):
            build_backbone("i3d", 3, kind="series", width=16, norm_momentum=0.1)


def small(channels: int = 3) -> Unit:
    """A model of few weights, for what does not depend on how many there are."""
    torch.manual_seed(channels)
    return Unit(channels, 4, 3, norm=GroupedBatchNorm3d)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


class TestLoadPretrained:
    @MODALITIES
    def test_a_kinetics_checkpoint(
        self, modality: str, files: dict[str, Path], weights: dict[str, dict[str, Tensor]]
    ) -> None:
        model, expected = I3D(CHANNELS[modality]).eval(), weights[modality]
        report = load_pretrained(model, files[modality])
        assert set(report.used) == set(expected) - {"logits.conv3d.weight", "logits.conv3d.bias"}
        assert (report.missing, set(report.left)) == ((), {"logits.conv3d.weight", "logits.conv3d.bias"})
        assert len(report.gamma) == 57
        assert len(report.used) == 57 * 5
        state = model.state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in report.used)
        clips = batch(1, CHANNELS[modality], 8, 32, 32)
        assert_equal_up_to_rounding(model(clips), plain_features(expected, clips))

    def test_backbones_by_modality(self, files: dict[str, Path]) -> None:
        backbones = nn.ModuleDict({m: I3D(c) for m, c in CHANNELS.items()})
        reports = load_backbones(backbones, f"flow:{files['flow']},rgb:{files['rgb']}")
        assert {m: report.path for m, report in reports.items()} == files

    @pytest.mark.parametrize("paths", ["rgb", "rgb:", "{0}", "rgb:{0},rgb:{0}", "rgb:{0},", "depth:{0}"])
    def test_paths_that_cannot_be_meant(self, paths: str, tmp_path: Path) -> None:
        path, model = saved(tmp_path / "w.pt", small().state_dict()), small()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(UserError, match="pretrained"):
            load_backbones({"rgb": model}, paths.format(path))
        assert_close(model.state_dict(), before, rtol=0, atol=0)

    def test_report(self, tmp_path: Path) -> None:
        state = small().state_dict() | {"logits.bias": torch.zeros(2)}
        del state["bn.bias"], state["bn.num_batches_tracked"]
        state["bn.weight"] = torch.tensor([1, 1, 1, 0.5])
        report = load_pretrained(small(), path := saved(tmp_path / "weights.pt", state))
        assert report.used == ("conv3d.weight", "bn.weight", "bn.running_mean", "bn.running_var")
        assert (report.missing, report.left, report.gamma) == (("bn.bias",), ("logits.bias",), ("bn.weight",))
        assert len(report.sha256) == 64
        assert str(report).split("\n") == [
            f"{path}: 4 tensors used, 1 missing, 1 left",
            "  missing: bn.bias",
            "  left: logits.bias",
            "  gamma is not 1 in: bn.weight",
        ]

    @pytest.mark.parametrize(("learn", "missing"), [(False, ()), (True, ("bn.weight",))])
    def test_weights_without_gamma(self, learn: bool, missing: tuple[str, ...], tmp_path: Path) -> None:
        """As TensorFlow has them: a scale that stays 1 is not missed."""
        model, state = small(), small().state_dict()
        model.bn.weight.requires_grad_(learn)
        del state["bn.weight"]
        report = load_pretrained(model, saved(tmp_path / "weights.pt", state))
        assert (report.missing, report.gamma) == (missing, ())
        assert (model.bn.weight == 1).all()

    def test_a_learned_gamma_is_kept_and_not_trained(self, tmp_path: Path) -> None:
        model, state = small(), small().state_dict()
        state["bn.weight"] = torch.tensor([1, 0.5, -2.0, 3])
        load_pretrained(model, saved(tmp_path / "weights.pt", state))
        model(batch(2, 3, 2, 4, 4)).sum().backward()
        assert model.bn.weight.tolist() == [1, 0.5, -2.0, 3]
        assert model.bn.weight.grad is None

    @pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{n}": t for n, t in s.items()}])
    def test_wrapped(self, wrap, tmp_path: Path) -> None:
        state, model = small(3).state_dict(), small(3)
        report = load_pretrained(model, saved(tmp_path / "weights.pt", wrap(state)))
        assert set(report.used) == set(state)
        assert_close(model.state_dict(), state)

    def test_half_precision_on_disk(self, tmp_path: Path) -> None:
        model, path = small(), tmp_path / "weights.safetensors"
        save_file({name: tensor.half() for name, tensor in small().state_dict().items()}, path)
        load_pretrained(model, path)
        assert model.conv3d.weight.dtype == torch.float32

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"conv3d.weight": torch.zeros(4, 2, 3, 3, 3)}, "is for 2 channels and this modality has 3"),
            ({"conv3d.weight": torch.zeros(5, 3, 3, 3, 3)}, r"conv3d.weight is \(5, 3, 3, 3, 3\) there"),
            (
                {"bn.bias": torch.zeros(3), "bn.running_var": torch.ones(5)},
                r"bn.bias is \(3,\) there .* \(and 1 more\)",
            ),
        ],
    )
    def test_wrong_shapes(self, change: dict[str, Tensor], message: str, tmp_path: Path) -> None:
        model = small()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(UserError, match=message):
            load_pretrained(model, saved(tmp_path / "weights.pt", before | change))
        assert_close(model.state_dict(), before, rtol=0, atol=0)

    def test_nothing_in_common(self, tmp_path: Path) -> None:
        state = {f"base.{name}": tensor for name, tensor in small().state_dict().items()}
        with pytest.raises(UserError, match=r"names are like base.conv3d.weight, the model's like conv3d.weight"):
            load_pretrained(small(), saved(tmp_path / "weights.pt", state))

    @pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.zeros(2)], torch.zeros(2), {"state_dict": None}])
    def test_no_weights(self, content: object, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no file of weights"):
            load_pretrained(small(), saved(tmp_path / "weights.pt", content))

    @pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
    @pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
    def test_cut_short(self, kind: str, share: float, tmp_path: Path) -> None:
        path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
        if kind == "safetensors":
            save_file(small().state_dict(), path)
        else:
            torch.save(small().state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match="cut short or of another format"):
            load_pretrained(small(), path)

    @pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
    def test_another_format(self, name: str, tmp_path: Path) -> None:
        (path := tmp_path / name).write_text("<!DOCTYPE html>\n<title>404</title>\n" * 20)
        with pytest.raises(UserError, match=f"{name} cannot be read as weights"):
            load_pretrained(small(), path)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_code_is_never_run(self, zipped: bool, tmp_path: Path) -> None:
        state = {**small().state_dict(), "logits": Trap(tmp_path / "sprung")}
        torch.save(state, path := tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match="holds pickled code, which is never run"):
            load_pretrained(small(), path)
        assert not (tmp_path / "sprung").exists()

    def test_a_pickled_module_is_code(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="holds pickled code"):
            load_pretrained(nn.Linear(2, 2), saved(tmp_path / "weights.pt", nn.Linear(2, 2)))

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="there is no file"):
            load_pretrained(small(), tmp_path / "weights.pt")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestConvertWeights:
    def test_once(self, tmp_path: Path) -> None:
        state = {f"module.{name}": tensor for name, tensor in small().state_dict().items()}
        path, to = saved(tmp_path / "weights.pt", state), tmp_path / "weights.safetensors"
        assert convert_weights(path, to)
        written = to.stat()
        assert not convert_weights(path, to)
        assert (to.stat().st_mtime_ns, to.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
        assert_close(load_file(to), dict(small().state_dict()), rtol=0, atol=0)
        assert_close(read_weights(to), read_weights(path), rtol=0, atol=0)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.pt", "weights.safetensors"]

    def test_tensors_that_share_memory_or_are_views(self, tmp_path: Path) -> None:
        whole = torch.arange(12.0).view(3, 4)
        path = saved(tmp_path / "weights.pt", {"a": whole, "b": whole.t(), "c": whole[0], "d": nn.Parameter(whole)})
        convert_weights(path, tmp_path / "weights.safetensors")
        found = load_file(tmp_path / "weights.safetensors")
        assert_close(found, {"a": whole, "b": whole.t(), "c": whole[0], "d": whole})

    def test_another_file_is_never_overwritten(self, tmp_path: Path) -> None:
        path, to = saved(tmp_path / "weights.pt", small(3).state_dict()), tmp_path / "weights.safetensors"
        save_file(small(2).state_dict(), to)
        before = to.read_bytes()
        with pytest.raises(UserError, match="exists and holds other weights"):
            convert_weights(path, to)
        to.write_text("notes")
        with pytest.raises(UserError, match="cannot be read as weights"):
            convert_weights(path, to)
        assert (to.read_text(), len(before) > 0) == ("notes", True)

    @pytest.mark.parametrize(
        ("to", "message"), [("weights.pt", "name it weights.safetensors"), ("a/b.safetensors", "no folder")]
    )
    def test_names_that_cannot_be_meant(self, to: str, message: str, tmp_path: Path) -> None:
        path = saved(tmp_path / "weights.pt", small().state_dict())
        with pytest.raises(UserError, match=message):
            convert_weights(path, tmp_path / to)

    def test_a_damaged_source_leaves_nothing(self, tmp_path: Path) -> None:
        (path := tmp_path / "weights.pt").write_bytes(b"PK")
        with pytest.raises(UserError, match="cut short"):
            convert_weights(path, tmp_path / "weights.safetensors")
        assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = saved(tmp_path / "weights.pt", small().state_dict())

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "no space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write .*weights.safetensors: no space left"):
            convert_weights(path, tmp_path / "weights.safetensors")
        assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
