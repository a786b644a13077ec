"""Data-parallel training: shards of a batch, consistency checks, collectives, the error for a lost process.

Each process takes a *shard* of every batch, and with `accumulation` each of its *micro-batches* is a shard of its own.
Losses are means over equal shards, so the mean of their gradients is the gradient of the whole batch. A loss that is no
mean over clips gathers the whole batch first (`all_gather`). Dropout masks are drawn in each process: only a run
without dropout is, up to rounding, the run of one process.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmsada_lab.errors import UserError

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether this process was started as one of several (by `accelerate launch` or `torchrun`)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, where somebody sits and can interrupt what waits."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def ask_main_process(accelerator: Accelerator, answer: Callable[[], bool]) -> bool:
    """The main process's answer to a question, in every process."""
    answers = [answer() if accelerator.is_main_process else None]
    broadcast_object_list(answers)
    return bool(answers[0])


def gather_objects(value: T) -> list[T]:
    """The values of all processes, in their order."""
    values: list[T] = gather_object([value])
    return values


def check_agreement(facts: Mapping[str, object]) -> None:
    """Refuse, in every process, to go on where two of them differ in a fact; the error names it and both values."""
    facts_by_process = gather_objects(dict(facts))
    for name, expected in facts_by_process[0].items():
        for rank, facts_there in enumerate(facts_by_process):
            if facts_there[name] != expected:
                raise UserError(
                    f"the processes of this run disagree: {name} is {expected} in process 0 and {facts_there[name]} in "
                    f"process {rank}; start all of them with the same options, data, packages and runs folder (on a "
                    "file system that they share)"
                )


@contextmanager
def explain_lost_process(accelerator: Accelerator, *, continues_at: Callable[[], int]) -> Iterator[None]:
    """Within the context, the error for a process that is gone says what to do, and the step to continue at."""
    try:
        yield
    except RuntimeError as error:
        # Gloo has no error class of its own. It notices a lost process at once; NCCL only after its time limit, but
        # there the launcher ends the other processes before.
        if accelerator.num_processes == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise UserError(
            "another process of this run has ended or does not answer (its own output says why, unless it was killed); "
            f"training stopped. Start all of them again: the run continues at step {continues_at()}"
        ) from error


def select_shard(count: int, *, positives: int, shard: tuple[int, int]) -> NDArray[np.int64]:
    """Positions in a domain's batch of the clips in a shard.

    A batch is drawn, its modalities rotated and its windows, crops and flips seeded before it is divided, so its clips
    are the same for any number of shards.

    Args:
        count: clips of the domain in the whole batch.
        positives: how many of them correspond; they come first.
        shard: (number of this shard, shards).

    Raises:
        UserError: if the shards would be unequal: the mean over them would not be that of the batch.

    Example:
        >>> select_shard(8, positives=4, shard=(1, 2))  # the second half of those that correspond, and of the others
        array([2, 3, 6, 7])
    """
    number, shards = shard
    others = count - positives
    if positives % shards or others % shards:
        raise UserError(_unequal_shards(positives, others, shards))
    # Contiguous, so that a shard whose size is a multiple of norm_group has the groups of single-process training.
    halves = np.arange(positives), np.arange(positives, count)
    return np.concatenate([np.split(half, shards)[number] for half in halves])


def _unequal_shards(positives: int, others: int, shards: int) -> str:
    clips = f"{positives} corresponding and {others} other clips" if others else f"{positives} clips"
    allowed = f"an even number of times {shards}" if others else f"a multiple of {shards}"
    return (
        f"the {clips} of a domain in every batch cannot be divided equally into {shards} shards (one for each process "
        "and each micro-batch of an accumulated step), and the mean over unequal shards is not that of the batch; "
        f"choose a batch_size that gives each domain {allowed} clips, or another number of processes or accumulation"
    )


def match_statistics(network: nn.Module, accelerator: Accelerator, *, clips: int, group: int) -> None:
    """Let running statistics forget in one step what they would if one process took the whole batch.

    In one process they move once for every group of clips. Here those of a process move by its own groups alone, and
    the mean over processes is taken before they are used (`average_statistics`).

    Args:
        network: its batch normalisation gets another momentum.
        accelerator: of this process.
        clips: of a domain in the whole batch.
        group: clips that share batch statistics; 0 = all of a process.
    """
    if accelerator.num_processes == 1 or not group:
        return
    updates = math.ceil(clips / accelerator.num_processes / group)
    for layer in _norms(network):
        if layer.momentum is not None:
            layer.momentum = 1 - (1 - layer.momentum) ** (math.ceil(clips / group) / updates)


def average_statistics(network: nn.Module, accelerator: Accelerator) -> None:
    """Average the running statistics over the processes, which see different clips."""
    buffers = [b for layer in _norms(network) for b in (layer.running_mean, layer.running_var) if b is not None]
    if accelerator.num_processes == 1 or not buffers:
        return
    mean = accelerator.reduce(torch.cat(buffers), reduction="mean")
    for buffer, values in zip(buffers, mean.split([len(b) for b in buffers]), strict=True):
        buffer.copy_(values)


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


def all_gather(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The features `(B, F)` of all processes, of the shards `(B / processes, F)`, by modality, with their gradients."""
    if not _communicates():
        return dict(features)
    return {m: _AllGather.apply(feature) for m, feature in features.items()}  # type: ignore[no-untyped-call]


def local_shard(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's shard of what `all_gather` gathered."""
    return {m: _local_shard(feature) for m, feature in features.items()} if _communicates() else dict(features)


def _local_shard(values: Tensor) -> Tensor:
    return values.chunk(dist.get_world_size())[dist.get_rank()]  # (B / processes, F)


def _communicates() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _AllGather(torch.autograd.Function):
    """Shards of all processes, joined; backward, the sum over processes of each shard's gradient.

    A loss of the joined shards is the same in every process, so the sum holds its gradient once for every process; the
    mean over processes that follows, of all gradients, makes that one again.
    """

    @staticmethod
    def forward(ctx: Any, shard: Tensor) -> Tensor:
        shards = [torch.empty_like(shard) for _ in range(dist.get_world_size())]
        dist.all_gather(shards, shard.contiguous())
        return torch.cat(shards)  # (B, F)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)  # reduced in place: others hold the original
        dist.all_reduce(total)
        return _local_shard(total)
