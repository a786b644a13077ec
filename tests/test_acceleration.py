"""What makes a step faster or smaller must leave it the same step; what a device lacks is told before training."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from toy import SMALL, Mmsada, toy_config, toy_data

from mmsada_lab import methods, pretexts
from mmsada_lab.clips.batches import SourceBatch, TargetBatch, TrainingBatch
from mmsada_lab.config import ExperimentConfig, Stage
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.facts import METHODS
from mmsada_lab.methods import Method, build_method
from mmsada_lab.models.backbones import MLP, Small3D
from mmsada_lab.models.network import LateFusionNetwork, build_network
from mmsada_lab.presets import build_config
from mmsada_lab.runs import RunFolder, load_history, read_arrays, read_manifest
from mmsada_lab.runtime import device as device_module
from mmsada_lab.train import train_steps

pytestmark = pytest.mark.usefixtures("toy_format")
INPUTS = {"rgb": ("video", 3), "flow": ("video", 2)}


def run(config: ExperimentConfig, runs: Path) -> Path:
    return run_experiment(config, runs, device="cpu", workers=0, show_progress=False)


def losses(path: Path) -> pd.Series:
    """Training losses by stage, step and term."""
    history = load_history(path)
    return history[history["kind"] == "train"].set_index(["stage", "step", "name"])["value"]


def weights(path: Path) -> dict[str, Tensor]:
    """Of a finished run, without its running statistics."""
    return {name: t for name, t in load_file(path / "model.safetensors").items() if "running" not in name}


# --- a step in parts --------------------------------------------------------------------------------------------


def grouped(method: str, **more: Any) -> ExperimentConfig:
    """Groups of 2 clips; no dropout, which is drawn part by part. Two evaluations of one window each."""
    sizes = {"pretrain__steps": 3, "adapt__steps": 4, "evaluate_every": 4, "test_windows": 1}
    return toy_config(method, batch_size=16, norm_group=2, norm_momentum=0.01, dropout=0.0, **sizes, **more)


@pytest.mark.parametrize(
    ("method", "how"),
    [("mmsada", "half"), ("source_only", "repair"), ("mcd", "repair"), ("adversarial_only", "repair")],
)
def test_a_step_in_parts_is_the_same_step(method: str, how: str, tmp_path: Path) -> None:
    """Losses, weights and predictions of a run: groups of clips that share statistics are those of the whole batch.

    Running statistics see the same groups in another order, which counts the less the smaller their momentum is.
    """
    paths = [run(grouped(method, correspondence_batch=how, accumulation=k), tmp_path) for k in (1, 2)]
    whole, parts = map(losses, paths)
    pd.testing.assert_series_equal(parts, whole, rtol=1e-4, atol=1e-5)
    assert_close(*map(weights, paths), rtol=1e-3, atol=1e-5)
    whole, parts = (read_arrays(path / "predictions.npz")["p_fused"] for path in paths)
    np.testing.assert_allclose(parts, whole, atol=2e-3)


def test_what_is_no_mean_over_clips_is_the_mean_over_the_parts(tmp_path: Path) -> None:
    """MMD of a part is not that of the batch; its other term is the same."""
    whole, parts = (losses(run(grouped("mmd", accumulation=k), tmp_path)) for k in (1, 2))
    first = ("adapt", 1, "mmd")
    assert parts[first] > whole[first] + 0.1, "fewer clips, more bias"
    assert parts["adapt", 1, "classification"] == pytest.approx(whole["adapt", 1, "classification"], rel=1e-4)


def test_parts_must_be_equal_in_every_process() -> None:
    config = grouped("mmsada", correspondence_batch="half", accumulation=2)
    device_module.check_accumulation(config.batch, processes=1)
    with pytest.raises(UserError, match=r"accumulation is 2 in 2 processes: .* choose 1$"):
        device_module.check_accumulation(config.batch, processes=2)


# --- memory -----------------------------------------------------------------------------------------------------


def test_checkpointing_is_asked_of_the_backbones_that_know_it() -> None:
    network = build_network(toy_config(backbone="i3d", checkpointing=True), INPUTS, num_classes=3)
    assert all(backbone.checkpointing for backbone in network.backbones.values())
    mixed = build_network(toy_config(backbone="rgb:i3d", checkpointing=True), INPUTS, num_classes=3)
    assert mixed.backbones["rgb"].checkpointing
    with pytest.raises(UserError, match=r"checkpointing=true, but no backbone .*\(auto, auto\); only i3d does"):
        build_network(toy_config(checkpointing=True), INPUTS, num_classes=3)


class Small:
    """A device whose memory holds the backward pass of so many clips."""

    def __init__(self, clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clips, self.seen = clips, [0]
        forward = Small3D.forward

        def limited(backbone: Small3D, clips: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                self.seen.append(len(clips))
            if torch.is_grad_enabled() and len(clips) > self.clips:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(backbone, clips)

        monkeypatch.setattr(Small3D, "forward", limited)


def test_a_device_too_small_says_what_was_asked_and_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LateFusionNetwork, "_grouped", lambda _, backbone, clips: backbone(clips))  # all at once
    device = Small(4, monkeypatch)
    config = grouped("mmsada", correspondence_batch="half")
    with pytest.raises(UserError) as caught:
        run(config, tmp_path)
    told = str(caught.value)
    assert "8 source and 8 target clips of 4 x 12 x 12 at once in 2 streams (rgb: auto, flow: auto)" in told
    assert "precision=no, accumulation=1, checkpointing=false" in told
    assert "checkpointing=true" not in told, "these backbones do not know it"
    assert read_manifest(RunFolder(tmp_path, config, data_name="toy").manifest_path)["status"] == "running"
    given = dict(re.findall(r"-o (\w+)=(\w+)", told))
    assert given == {"accumulation": "2"}
    path = run(grouped("mmsada", correspondence_batch="half", accumulation=int(given["accumulation"])), tmp_path)
    assert read_manifest(path / "manifest.json")["status"] == "finished"
    assert device.seen[-1] == 4


@pytest.mark.parametrize(
    ("overrides", "processes", "advice"),
    [
        ({}, 1, "Give -o accumulation=2 -o checkpointing=true: "),
        ({"checkpointing": True}, 1, "Give -o accumulation=2: "),
        ({"accumulation": 2}, 1, "Give -o checkpointing=true: "),
        ({"norm_group": 8, "accumulation": 2, "checkpointing": True}, 1, "Give -o accumulation=4: "),
        ({"correspondence_batch": "repair"}, 2, "Give -o accumulation=2 -o checkpointing=true: "),
        ({}, 2, "Give -o checkpointing=true: "),
        ({"accumulation": 2, "checkpointing": True}, 1, "Give -o precision=bf16 "),
        ({"accumulation": 2, "checkpointing": True, "precision": "bf16"}, 1, "No further accumulation keeps whole "),
    ],
    ids=str,
)
def test_advice_for_a_small_device_is_a_configuration(overrides: dict[str, Any], processes: int, advice: str) -> None:
    config = build_config("paper", source="A", target="B", overrides=overrides)
    text = device_module._advise(config, processes)
    assert text.startswith(advice)
    more = {key: int(value) if value.isdecimal() else True for key, value in re.findall(r"-o (\w+)=(\d+|true)", text)}
    device_module.check_accumulation(
        build_config("paper", source="A", target="B", overrides=overrides | more).batch, processes=processes
    )


def test_the_memory_of_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tiny T1000")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**28, 2**32))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 3 * 2**30)
    found = device_module._describe_memory(torch.device("cuda"))
    assert found == "Tiny T1000 (4.0 GiB, of which this run took 3.0 GiB and 0.2 GiB are free)"


# --- precision --------------------------------------------------------------------------------------------------


def test_in_bf16_losses_are_near_those_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a run, the losses are computed of float32."""
    seen: list[torch.dtype] = []
    loss = methods.classification_loss

    def watched(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        seen.append(logits.dtype)
        return loss(logits, labels, **options)

    monkeypatch.setattr(methods, "classification_loss", watched)
    paths = [run(build(grouped("mmsada"), precision=precision), tmp_path) for precision in ("no", "bf16")]
    full, half = map(losses, paths)
    np.testing.assert_allclose(half, full, rtol=0.05)
    assert (half != full).mean() > 0.8
    assert set(seen) == {torch.float32}
    tensors = load_file(paths[1] / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}


def test_in_bf16_i3d_is_near_itself_in_float32() -> None:
    """Loss terms of a step, and the statistics it leaves."""
    config = toy_config(backbone="i3d", window_length=8, input_size=64, batch_size=8, norm_group=4, dropout=0.0)
    full, half = (built(build(config, precision=precision)) for precision in ("no", "bf16"))
    with torch.no_grad():
        expected, found = (method(batch_of(config), 0.5) for method in (full, half))
    assert found.keys() == expected.keys()
    for name, term in expected.items():
        assert found[name].item() == pytest.approx(term.item(), rel=0.1)
    for statistic, other in zip(full.buffers(), half.buffers(), strict=True):
        assert_close(other, statistic, rtol=0.02, atol=0.02)


def build(config: ExperimentConfig, **changes: Any) -> ExperimentConfig:
    return ExperimentConfig(**config.to_dict() | changes)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_only_backbones_are_computed_in_bf16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads and losses see float32, and so do the statistics that are kept."""
    config = toy_config(name, precision="bf16", norm_group=3)
    method, inside = built(config), []
    forward = nn.Conv3d.forward
    monkeypatch.setattr(nn.Conv3d, "forward", lambda layer, x: inside.append(out := forward(layer, x)) or out)
    terms = method(batch_of(config), 0.5)
    assert {tensor.dtype for tensor in inside} == {torch.bfloat16}
    assert {term.dtype for term in terms.values()} == {torch.float32}
    clips = batch_of(config).source.clips
    features = method.network.features(clips)
    assert {t.dtype for t in [*features.values(), *method.network.stream_logits(features).values()]} == {torch.float32}
    assert all(b.dtype == torch.float32 for name, b in method.network.named_buffers() if "running" in name)
    inside.clear()
    method.network.eval().features(clips)
    assert {tensor.dtype for tensor in inside} == {torch.float32}, "a processor evaluates in full"


def test_features_come_out_in_float32_whatever_a_backbone_ends_with() -> None:
    network = LateFusionNetwork({"sensor": MLP(5, width=2)}, 3, precision="bf16").train()
    inner: list[Tensor] = []
    network.backbones["sensor"].register_forward_hook(lambda *call: inner.append(call[2]))
    found = network.features({"sensor": torch.randn(4, 5)})["sensor"]
    assert (inner[0].dtype, found.dtype) == (torch.bfloat16, torch.float32)


def built(config: ExperimentConfig) -> Method:
    torch.manual_seed(0)
    method = build_method(build_network(config, INPUTS, num_classes=3), config, num_classes=3)
    method.select_terms(config.adapt.weights)
    return method.train()


def batch_of(config: ExperimentConfig) -> TrainingBatch:
    def clips(count: int) -> dict[str, Tensor]:
        size = (config.window_length, config.input_size, config.input_size)
        return {m: torch.randint(0, 256, (count, c, *size), dtype=torch.uint8) for m, (_, c) in INPUTS.items()}

    torch.manual_seed(1)
    source, target = config.batch.source, config.batch.target
    labels, corresponds = torch.arange(source) % 3, torch.arange(source) < source // 2
    unlabelled = TargetBatch(clips(target), torch.arange(target) < target // 2) if target else None
    return TrainingBatch(SourceBatch(clips(source), corresponds, labels), unlabelled)


def test_a_loss_that_is_not_finite_in_bf16_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    loss = pretexts.correspondence_loss

    def failing(*arguments: Any, **options: Any) -> Tensor:
        calls.append(1)
        return loss(*arguments, **options) * (math.inf if len(calls) == 3 else 1)

    monkeypatch.setattr(pretexts, "correspondence_loss", failing)
    with pytest.raises(UserError, match=r"the correspondence loss became inf at step 3; .* or use precision=no"):
        run(toy_config(precision="bf16", evaluate_every=5), tmp_path)


@pytest.mark.parametrize("log_every", [1, 4])
def test_it_is_named_with_its_step_however_records_are_averaged(
    log_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "classification_loss", spoilt := Spoilt(methods.classification_loss, at=2))
    with pytest.raises(UserError, match="the classification loss became nan at step 2;"):
        run(toy_config("source_only", log_every=log_every, evaluate_every=5), tmp_path)
    assert spoilt.calls == 5, "it is seen when the losses are read, at the next evaluation"


class Spoilt:
    """A loss that is not finite at one call."""

    def __init__(self, loss: Callable[..., Tensor], *, at: int) -> None:
        self.loss, self.at, self.calls = loss, at, 0

    def __call__(self, *arguments: Any, **options: Any) -> Tensor:
        self.calls += 1
        return self.loss(*arguments, **options) * (math.nan if self.calls == self.at else 1)


def test_a_precision_the_device_lacks_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"precision=fp16 needs a GPU, .*; use precision=bf16 or precision=no"):
        run(toy_config(precision="fp16"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_gpu_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    for precision in ("no", "fp16"):
        device_module.check_precision(precision, torch.device("cuda"))
    with pytest.raises(UserError, match=r"not supported by Tesla V100 .*; use precision=fp16 or precision=no"):
        device_module.check_precision("bf16", torch.device("cuda"))


# --- speed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["auto", "i3d"])
def test_channels_last_is_the_same_network(backbone: str) -> None:
    config = toy_config(backbone=backbone, window_length=8, input_size=40, batch_size=8, norm_group=2)
    plain, laid_out = built(config).double(), built(config).double()
    device_module.prepare_backbones(laid_out.network, channels_last=True, compiled=False)
    kernels = [parameter for parameter in laid_out.parameters() if parameter.ndim == 5]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels)
    # In double precision: statistics of few values magnify the rounding of another order of sums, by as much as 1e-3.
    clips = {modality: clip.double() for modality, clip in batch_of(config).source.clips.items()}
    with torch.no_grad():
        expected, found = (method.network.features(clips) for method in (plain, laid_out))
    for modality, feature in expected.items():
        assert_close(found[modality], feature)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_fused_updates_are_the_same_updates(optimiser: str) -> None:
    rates = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(7, 13)), nn.Parameter(torch.randn(5), requires_grad=False)]
        groups = [{"params": parameters}]
        built = device_module.build_optimiser(optimiser, groups, **rates, device=torch.device(device))
        assert built.defaults["fused"] is (True if device == "cuda" else None)
        for _ in range(5):
            parameters[0].grad = torch.randn(7, 13)
            built.step()
        found.append(parameters)
    assert_close(*found, rtol=1e-6, atol=1e-6)


def test_compiled_backbones_train_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced without a break and without another compilation for each batch of evaluation; no code is generated."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    plain = functools.partialmethod(nn.Module.compile, backend=backend, fullgraph=True)
    monkeypatch.setattr(nn.Module, "compile", plain)
    monkeypatch.setattr(device_module, "check_compiler", lambda _: None)
    torch._dynamo.reset()
    written, compiled = (run(toy_config(norm_group=3, compile=known), tmp_path) for known in (False, True))
    pd.testing.assert_series_equal(losses(compiled), losses(written), rtol=1e-5)
    assert weights(compiled).keys() == weights(written).keys()
    assert len(graphs) == 2, "one for each stream"


def test_without_a_compiler_it_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> Callable[..., Any]:
        raise RuntimeError("no working C++ compiler\nlong story")

    monkeypatch.setattr(torch, "compile", missing)
    with pytest.raises(UserError, match=r"nothing can be compiled for cpu here \(no working C\+\+ compiler\); install"):
        run(toy_config(compile=True), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_compiling_and_checkpointing_exclude_each_other() -> None:
    with pytest.raises(UserError, match="checkpointing and compile"):
        toy_config(checkpointing=True, compile=True)


class Waits(TorchDispatchMode):
    """Notes what makes the host wait for the device: numbers read off it, shapes that depend on them, plain copies."""

    READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)
    COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {t.device.type for t in (*args, result) if isinstance(t, Tensor)}
        if func in self.READS or (func in self.COPIES and len(devices) > 1):
            self.found.append(f"{func} {[tuple(t.shape) for t in args if isinstance(t, Tensor)]}")
        return result


@pytest.mark.parametrize("backbone", ["auto", "i3d"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_step_waits_for_nothing(name: str, backbone: str) -> None:
    """Terms and gradients, where tensors have shapes and no values: a number read off the device would be an error."""
    more = {"correspondence_batch": "half"} if METHODS[name].self_supervised else {}
    config = toy_config(name, backbone=backbone, input_size=16, norm_group=3, **more)
    batch = batch_of(config).to(torch.device("meta"))
    with torch.device("meta"):
        method = built(config)
    with Waits() as waits:
        terms = method(batch, 0.5)
        observed = method.observe(terms, config.adapt.weights)
        torch.stack(list(terms.values())).sum().backward()
    assert waits.found == []
    assert {scalar.device.type for scalar in observed.values()} == {"meta"}


def test_the_loop_waits_for_nothing_between_evaluations() -> None:
    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(()))

        def forward(self, batch: torch.Tensor, progress: float) -> dict[str, Tensor]:
            return {"near": (self.w - batch).square().mean() * progress}

        def observe(self, terms: dict[str, Tensor], weights: dict[str, float], *, shards: int) -> dict[str, Tensor]:
            return {"seen": weights["near"] * terms["near"].detach() / shards}

    accelerator, line = Accelerator(cpu=True), Line()
    method, optimiser = accelerator.prepare(line, torch.optim.SGD(line.parameters(), lr=0.1))
    stage, batches = Stage(3, 0.1, {"near": 1.0}), [torch.ones(2)] * 6
    with Waits() as waits:
        steps = list(
            train_steps(
                method,
                optimiser,
                batches,
                stage=stage,
                accelerator=accelerator,
                first_step=0,
                seed=(0,),
                accumulation=2,
            )
        )
    assert (len(steps), waits.found) == (3, [])
    with Waits() as waits:
        float(steps[0][1]["near"])
    assert len(waits.found) == 1, "it would be seen"


# --- several processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "talks"), [(None, True), ("0", True), ("1", False)])
def test_one_process_talks(rank: str | None, talks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert device_module.is_main_process() == talks


def test_only_one_process_prints_the_result(mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]
    words = [
        "train",
        "--data",
        "toy",
        "--source",
        "A",
        "--target",
        "B",
        "--runs",
        tmp_path,
        "--device",
        "cpu",
        *options,
    ]
    monkeypatch.setenv("RANK", "1")
    silent = mmsada(*words)
    monkeypatch.setenv("RANK", "0")
    told = mmsada(*words)
    assert (silent.code, silent.out) == (told.code, "") == (0, "")
    assert told.lines[0].split()[:2] == ["fused", "top-1"]


def test_the_toy_has_what_these_tests_take() -> None:
    domain = toy_data().domain("A")
    assert {m: (r.kind, r.channels) for m, r in domain.readers.items() if m in INPUTS} == INPUTS
