"""The device of a run: its precision, compiled backbones, the optimiser, the error for memory that is too small."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import AutocastKwargs
from torch.optim import SGD, Adam, Optimizer

from mmsada_lab.config import BatchPlan, ExperimentConfig
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.models.backbones import knows_checkpointing
from mmsada_lab.models.network import LateFusionNetwork


@contextmanager
def open_accelerator(
    device: str, *, precision: str, compiled: bool, batch: BatchPlan, in_turn: bool = False
) -> Iterator[Accelerator]:
    """Set up device, precision and data parallelism, for one of many runs that a process may train in turn.

    Args:
        device: ``auto`` (an accelerator if there is one) or ``cpu``.
        precision: ``no``, ``bf16`` or ``fp16``.
        compiled: whether backbones will be compiled.
        batch: clips of a step, over all processes.
        in_turn: whether some steps train a part of the parameters only.

    Raises:
        UserError: if there is no such device, it lacks the precision or a compiler, or the batch cannot be shared.
    """
    choose_device(device)
    # Accelerate keeps its state for the whole process: without this a second run could not have another precision.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    check_precision(precision, PartialState(cpu=device == "cpu").device)
    # The network casts its backbones itself; what is left to Accelerate is the scale of fp16 gradients. Buffers are not
    # broadcast: that would replace the running statistics of every process by those of the first.
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=in_turn)
    handlers = [parallel, AutocastKwargs(enabled=False)]
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=handlers)
    check_accumulation(batch, processes=accelerator.num_processes)
    if compiled:
        check_compiler(accelerator.device)
    try:
        yield accelerator
    finally:
        accelerator.free_memory()


def choose_device(name: str) -> torch.device:
    """The device that ``auto`` (an accelerator if there is one) or ``cpu`` stands for; other names are refused."""
    if name not in ("auto", "cpu"):
        raise unknown("device", name, ("auto", "cpu"), hint="To pick a GPU, set CUDA_VISIBLE_DEVICES.")
    available = name == "auto" and torch.accelerator.is_available()
    return (torch.accelerator.current_accelerator() if available else None) or torch.device("cpu")


def is_main_process() -> bool:
    """Whether this process is the one that prints; asked before there is an accelerator."""
    return int(os.environ.get("RANK", "0")) == 0


def check_accumulation(batch: BatchPlan, *, processes: int) -> None:
    """Refuse an accumulation that does not give every process the same number of equal micro-batches."""
    micro_batches = processes * batch.accumulation
    if batch.accumulation == 1 or batch.divides_into(micro_batches):
        return
    allowed = [1] * batch.divides_into(processes) + batch.divisors(times=processes)
    raise UserError(
        f"accumulation is {batch.accumulation} in {processes} processes: a batch of {batch.source + batch.target} "
        f"clips cannot be divided into {micro_batches} equal micro-batches of whole groups of "
        f"norm_group={batch.norm_group}; choose {' or '.join(map(str, allowed)) or 'fewer processes'}"
    )


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not compute in."""
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision=fp16 needs a GPU, and this run is on the CPU; use precision=bf16 or precision=no")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"precision=bf16 is not supported by {torch.cuda.get_device_name(device)} (compute capability below 8.0); "
            "use precision=fp16 or precision=no"
        )


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where `torch.compile` does not work, with the reason: compile a small function."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # whatever is missing: a C++ compiler, Triton, Python's headers, a folder to write to
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"compile=true, but nothing can be compiled for {device.type} here ({reason}); "
            "install a C++ compiler (on a GPU, Triton), or leave it out"
        ) from error


def prepare_backbones(network: LateFusionNetwork, *, channels_last: bool, compiled: bool) -> None:
    """Compile the backbones and order their weights in memory; names and values stay as they are."""
    if channels_last:
        for parameter in network.backbones.parameters():
            if parameter.ndim == 5:  # a 3-D convolution's (outputs, inputs, T, H, W)
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    if compiled:
        for backbone in network.backbones.values():
            backbone.compile(dynamic=False)  # a run has few shapes; code for any shape would be slower


def build_optimiser(
    name: str,
    groups: Iterable[Mapping[str, Any]],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    device: torch.device,
) -> Optimizer:
    """Build ``sgd`` or ``adam`` for the parameters that are trained, in groups that may have a rate of their own."""
    trained = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    trained = [group for group in trained if group["params"]]
    fused = True if device.type == "cuda" else None  # one kernel updates all of them
    if name == "adam":
        return Adam(trained, lr=learning_rate, weight_decay=weight_decay, fused=fused)
    return SGD(trained, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=fused)


@contextmanager
def explain_out_of_memory(config: ExperimentConfig, accelerator: Accelerator) -> Iterator[None]:
    """Within the context, the error for a device that runs out of memory says what was asked of it, and what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        micro_batches = accelerator.num_processes * config.accumulation
        counts = {"source": config.batch.source, "target": config.batch.target}
        clips = [f"{count // micro_batches} {side}" for side, count in counts.items() if count]
        streams = ", ".join(f"{m}: {config.backbone_of(m)}" for m in config.modalities)
        raise UserError(
            f"{_describe_memory(accelerator.device)} ran out of memory: a step computes {' and '.join(clips)} clips of "
            f"{config.window_length} x {config.input_size} x {config.input_size} at once in "
            f"{len(config.modalities)} streams ({streams}), with precision={config.precision}, "
            f"accumulation={config.accumulation}, checkpointing={str(config.checkpointing).lower()}. "
            f"{_advise(config, accelerator.num_processes)}. A run with another option starts afresh"
        ) from error


def _describe_memory(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the device ({device.type})"
    gigabytes = [n / 2**30 for n in (*torch.cuda.mem_get_info(device), torch.cuda.max_memory_reserved(device))]
    free, total, reserved = (f"{n:.1f} GiB" for n in gigabytes)
    return f"{torch.cuda.get_device_name(device)} ({total}, of which this run took {reserved} and {free} are free)"


def _advise(config: ExperimentConfig, processes: int) -> str:
    larger = [n for n in config.batch.divisors(times=processes) if n > config.accumulation]
    options = [f"-o accumulation={n}" for n in larger[:1]]
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
