"""The device a run computes on: precision, processes, compiled backbones, optimiser, and what to do if it is small."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import AutocastKwargs
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from mmsada_lab.config import ExperimentConfig, Stage
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.models.backbones import knows_checkpointing
from mmsada_lab.models.network import LateFusionNetwork


@contextmanager
def accelerator_of(config: ExperimentConfig, device: str) -> Iterator[Accelerator]:
    """Device, precision and data parallelism; a process may run many experiments one after another.

    Args:
        config: its precision and whether it compiles.
        device: ``auto`` (an accelerator if there is one) or ``cpu``.

    Raises:
        UserError: if there is no such device, or it lacks the precision or a compiler.
    """
    if device not in ("auto", "cpu"):
        raise unknown("device", device, ("auto", "cpu"), hint="To pick a GPU, set CUDA_VISIBLE_DEVICES.")
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    check_precision(config.precision, PartialState(cpu=device == "cpu").device)
    # The network casts for itself (its backbones); what is left to Accelerate is the scale of fp16 gradients.
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False), AutocastKwargs(enabled=False)]
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=config.precision, kwargs_handlers=handlers)
    check_parts(config, processes=accelerator.num_processes)
    if config.compile:
        check_compiler(accelerator.device)
    try:
        yield accelerator
    finally:
        accelerator.free_memory()


def leads() -> bool:
    """Whether this process is the one that talks, of all that train together."""
    return int(os.environ.get("RANK", "0")) == 0


def check_parts(config: ExperimentConfig, *, processes: int) -> None:
    """Check that the parts of an accumulated step are equal in every process.

    Raises:
        UserError: saying which numbers of parts would be.
    """
    if config.accumulation == 1 or config.divides_into(processes * config.accumulation):
        return
    fitting = [n for n in range(1, config.batch_size) if config.divides_into(processes * n)]
    raise UserError(
        f"accumulation is {config.accumulation} in {processes} processes: a batch of {config.batch_size} clips does "
        f"not fall into {processes * config.accumulation} equal parts of whole groups of "
        f"norm_group={config.norm_group}; choose {' or '.join(map(str, fitting)) or 'fewer processes'}"
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


def lay_out(network: LateFusionNetwork, config: ExperimentConfig) -> None:
    """Compile the backbones and order their weights in memory, as configured; names and numbers stay as they are."""
    if config.channels_last:
        for weight in (parameter for parameter in network.backbones.parameters() if parameter.ndim == 5):
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    if config.compile:
        for backbone in network.backbones.values():
            backbone.compile(dynamic=False)


def as_written(config: ExperimentConfig) -> AbstractContextManager[object]:
    """Within the context, compiled backbones run as they are written: evaluation has batches of many sizes."""
    return torch.compiler.set_stance("force_eager") if config.compile else nullcontext()


def build_optimiser(
    config: ExperimentConfig, stage: Stage, parameters: Iterable[nn.Parameter], *, device: torch.device
) -> Optimizer:
    """The optimiser of a stage; on a GPU one kernel updates all parameters."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    fused = True if device.type == "cuda" else None
    if config.optimiser == "adam":
        return Adam(trained, lr=stage.learning_rate, weight_decay=config.weight_decay, fused=fused)
    return SGD(trained, lr=stage.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused)


@contextmanager
def memory_explained(config: ExperimentConfig, accelerator: Accelerator) -> Iterator[None]:
    """Within the context, a device whose memory is too small ends the run with what was asked of it, and what to do.

    Raises:
        UserError: in place of torch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        device, processes = accelerator.device, accelerator.num_processes
        raise UserError(
            f"{_memory_of(device)} ran out of memory: {_asked(config, processes)}. {_advice(config, processes)}. "
            "A run with another option starts afresh"
        ) from error


def _memory_of(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the device ({device.type})"
    name, (free, total) = torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)
    amounts = [f"{amount / 2**30:.1f} GiB" for amount in (total, torch.cuda.max_memory_reserved(device), free)]
    return "{} ({}, of which this run took {} and {} are free)".format(name, *amounts)


def _asked(config: ExperimentConfig, processes: int) -> str:
    parts = processes * config.accumulation
    sides = [f"{clips // parts} {side}" for side, clips in _sides(config).items() if clips]
    streams = ", ".join(f"{m}: {config.backbone_of(m)}" for m in config.modalities)
    size = f"{config.window_length} x {config.input_size} x {config.input_size}"
    return (
        f"a step computes {' and '.join(sides)} clips of {size} at once in {len(config.modalities)} streams "
        f"({streams}), with precision={config.precision}, accumulation={config.accumulation}, "
        f"checkpointing={str(config.checkpointing).lower()}"
    )


def _sides(config: ExperimentConfig) -> dict[str, int]:
    return {"source": config.source_batch, "target": config.target_batch}


def _advice(config: ExperimentConfig, processes: int) -> str:
    options = []
    if more := next_accumulation(config, processes):
        options.append(f"-o accumulation={more}")
    if not config.checkpointing and any(knows_checkpointing(config.backbone_of(m)) for m in config.modalities):
        options.append("-o checkpointing=true")
    if options:
        return f"Give {' '.join(options)}: the same step with less memory"
    if config.precision == "no":
        return "Give -o precision=bf16 if the device has it, a smaller batch_size, or more GPUs"
    return (
        f"No further accumulation keeps whole groups of norm_group={config.norm_group} clips: give a smaller "
        "norm_group with a larger accumulation, a smaller batch_size, or more GPUs"
    )


def next_accumulation(config: ExperimentConfig, processes: int) -> int | None:
    """The next larger number of parts that a step can be computed in, None if there is none."""
    larger = range(config.accumulation + 1, config.batch_size + 1)
    return next((number for number in larger if config.divides_into(number * processes)), None)
