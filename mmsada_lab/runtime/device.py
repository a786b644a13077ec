"""The device a run computes on: precision, processes, compiled backbones, optimiser, a message if memory is short."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import AutocastKwargs
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from mmsada_lab.config import BatchPlan, ExperimentConfig
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.models.backbones import knows_checkpointing
from mmsada_lab.models.network import LateFusionNetwork


@dataclass(frozen=True)
class StepMemory:
    """What decides how much memory a training step takes: for the message of a device that has too little.

    Attributes:
        batch: clips of a step.
        clip: frames and side of a clip.
        backbones: name by modality.
        precision: of the backbones.
        checkpointing: whether they recompute in the backward pass.
    """

    batch: BatchPlan
    clip: tuple[int, int]
    backbones: Mapping[str, str]
    precision: str
    checkpointing: bool


def step_memory(config: ExperimentConfig) -> StepMemory:
    """What decides how much memory a step of a configuration takes."""
    backbones = {m: config.backbone_of(m) for m in config.modalities}
    clip = config.window_length, config.input_size
    return StepMemory(config.batch, clip, backbones, config.precision, config.checkpointing)


@contextmanager
def open_accelerator(device: str, *, precision: str, compiled: bool, batch: BatchPlan) -> Iterator[Accelerator]:
    """Device, precision and data parallelism; a process may run many experiments one after another.

    Args:
        device: ``auto`` (an accelerator if there is one) or ``cpu``.
        precision: ``no``, ``bf16`` or ``fp16``.
        compiled: whether backbones will be compiled.
        batch: clips of a step, which the processes share.

    Raises:
        UserError: if there is no such device, it lacks the precision or a compiler, or the batch cannot be shared.
    """
    choose_device(device)
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    check_precision(precision, PartialState(cpu=device == "cpu").device)
    # The network casts for itself (its backbones); what is left to Accelerate is the scale of fp16 gradients.
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False), AutocastKwargs(enabled=False)]
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=handlers)
    check_parts(batch, processes=accelerator.num_processes)
    if compiled:
        check_compiler(accelerator.device)
    try:
        yield accelerator
    finally:
        accelerator.free_memory()


def choose_device(name: str) -> torch.device:
    """The device that ``auto`` (an accelerator if there is one) or ``cpu`` stands for.

    Raises:
        UserError: for any other name.
    """
    if name not in ("auto", "cpu"):
        raise unknown("device", name, ("auto", "cpu"), hint="To pick a GPU, set CUDA_VISIBLE_DEVICES.")
    available = name == "auto" and torch.accelerator.is_available()
    return (torch.accelerator.current_accelerator() if available else None) or torch.device("cpu")


def is_main_process() -> bool:
    """Whether this process is the one that talks, of all that train together."""
    return int(os.environ.get("RANK", "0")) == 0


def check_parts(batch: BatchPlan, *, processes: int) -> None:
    """Check that the parts of an accumulated step are equal in every process.

    Raises:
        UserError: saying which numbers of parts would be.
    """
    parts = batch.accumulation
    if parts == 1 or batch.divides_into(processes * parts):
        return
    allowed = [1] * batch.divides_into(processes) + batch.divisors(times=processes)
    raise UserError(
        f"accumulation is {parts} in {processes} processes: a batch of {batch.source + batch.target} clips does "
        f"not fall into {processes * parts} equal parts of whole groups of norm_group={batch.norm_group}; "
        f"choose {' or '.join(map(str, allowed)) or 'fewer processes'}"
    )


def check_precision(precision: str, device: torch.device) -> None:
    """Check that a device computes in a precision.

    Raises:
        UserError: saying which one it has.
    """
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision=fp16 needs a GPU, and this run is on the CPU; use precision=bf16 or precision=no")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"precision=bf16 is not supported by {torch.cuda.get_device_name(device)} (compute capability below 8.0); "
            "use precision=fp16 or precision=no"
        )


def check_compiler(device: torch.device) -> None:
    """Check that `torch.compile` works here, by compiling next to nothing.

    Raises:
        UserError: giving the reason.
    """
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # whatever is missing: a C++ compiler, Triton, Python's headers, a folder to write to
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"compile=true, but nothing can be compiled for {device.type} here ({reason}); "
            "install a C++ compiler (on a GPU, Triton), or leave it out"
        ) from error


def prepare_backbones(network: LateFusionNetwork, *, channels_last: bool, compiled: bool) -> None:
    """Compile the backbones and order their weights in memory; names and numbers stay as they are."""
    if channels_last:
        for weight in (parameter for parameter in network.backbones.parameters() if parameter.ndim == 5):
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    if compiled:
        for backbone in network.backbones.values():
            backbone.compile(dynamic=False)


def build_optimiser(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    device: torch.device,
) -> Optimizer:
    """``sgd`` or ``adam`` over the parameters that are trained; on a GPU one kernel updates all of them."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    fused = True if device.type == "cuda" else None
    if name == "adam":
        return Adam(trained, lr=learning_rate, weight_decay=weight_decay, fused=fused)
    return SGD(trained, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=fused)


@contextmanager
def explain_out_of_memory(step: StepMemory, accelerator: Accelerator) -> Iterator[None]:
    """Within the context, a device whose memory is too small ends the run with what was asked of it, and what to do.

    Raises:
        UserError: in place of torch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        batch, parts = step.batch, accelerator.num_processes * step.batch.accumulation
        clips = [f"{n // parts} {side}" for side, n in (("source", batch.source), ("target", batch.target)) if n]
        streams = ", ".join(f"{m}: {name}" for m, name in step.backbones.items())
        length, side = step.clip
        raise UserError(
            f"{_memory_of(accelerator.device)} ran out of memory: a step computes {' and '.join(clips)} clips of "
            f"{length} x {side} x {side} at once in {len(step.backbones)} streams ({streams}), with "
            f"precision={step.precision}, accumulation={batch.accumulation}, "
            f"checkpointing={str(step.checkpointing).lower()}. {_advice(step, accelerator.num_processes)}. "
            "A run with another option starts afresh"
        ) from error


def _memory_of(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the device ({device.type})"
    name, (free, total) = torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)
    amounts = [f"{amount / 2**30:.1f} GiB" for amount in (total, torch.cuda.max_memory_reserved(device), free)]
    return "{} ({}, of which this run took {} and {} are free)".format(name, *amounts)


def _advice(step: StepMemory, processes: int) -> str:
    options = [f"-o accumulation={n}" for n in step.batch.divisors(times=processes) if n > step.batch.accumulation][:1]
    if not step.checkpointing and any(map(knows_checkpointing, step.backbones.values())):
        options.append("-o checkpointing=true")
    if options:
        return f"Give {' '.join(options)}: the same step with less memory"
    if step.precision == "no":
        return "Give -o precision=bf16 if the device has it, a smaller batch_size, or more GPUs"
    return (
        f"No further accumulation keeps whole groups of norm_group={step.batch.norm_group} clips: give a smaller "
        "norm_group with a larger accumulation, a smaller batch_size, or more GPUs"
    )
