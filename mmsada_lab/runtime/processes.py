"""Data-parallel training: consistency checks, collectives, the error for a lost process.

Each process takes its shard of every batch (`mmsada_lab.runtime.shards`) and computes losses that are means over equal
shards; the mean of their gradients is then the gradient of the whole batch. A loss that is not a mean over clips
gathers the whole batch first (`all_gather`). Dropout masks are drawn in each process, so only a run without dropout
is, up to rounding, the run of one process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmsada_lab.errors import UserError

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether this process was started as one of several (by `accelerate launch` or `torchrun`)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def ask_main_process(accelerator: Accelerator, answer: Callable[[], bool]) -> bool:
    """The main process's answer to a question, in every process."""
    if accelerator.num_processes == 1:
        return answer()
    found = [answer() if accelerator.is_main_process else None]
    broadcast_object_list(found)
    return bool(found[0])


def gather_objects(accelerator: Accelerator, own: T) -> list[T]:
    """What each process has, in their order."""
    if accelerator.num_processes == 1:
        return [own]
    gathered: list[T] = gather_object([own])
    return gathered


def check_agreement(accelerator: Accelerator, facts: Mapping[str, object]) -> None:
    """Check that all processes are about to do the same.

    Args:
        accelerator: of this process.
        facts: what must be equal, by what it is called.

    Raises:
        UserError: in every process, naming the first fact that differs and what two of them say.
    """
    if accelerator.num_processes == 1:
        return
    said = gather_objects(accelerator, dict(facts))
    for name, first in said[0].items():
        for number, other in enumerate(said):
            if other[name] != first:
                raise UserError(
                    f"the processes of this run disagree: {name} is {first} in process 0 and {other[name]} in process "
                    f"{number}; start all of them with the same options, data, packages and runs folder (on a file "
                    "system that they share)"
                )


@contextmanager
def explain_lost_process(accelerator: Accelerator, *, continues_at: Callable[[], int]) -> Iterator[None]:
    """Within the context, an exchange with a process that is gone ends this one too, with a message.

    Gloo notices at once; NCCL only after its time limit, but there the launcher ends the other processes before.

    Args:
        accelerator: of this process.
        continues_at: the step of the last checkpoint.

    Raises:
        UserError: in place of the error of the communication library.
    """
    try:
        yield
    except RuntimeError as error:
        if accelerator.num_processes == 1 or not _is_of_exchange(error):
            raise
        raise UserError(
            "another process of this run has ended or does not answer (its own output says why, unless it was killed); "
            f"training stopped. Start all of them again: the run continues at step {continues_at()}"
        ) from error


def _is_of_exchange(error: RuntimeError) -> bool:
    """Gloo has no error class of its own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def match_statistics(network: nn.Module, accelerator: Accelerator, *, clips: int, group: int) -> None:
    """Let running statistics forget in one step what they would if one process took the whole batch.

    There they move once for every group of clips; here those of a process move by its own groups alone, and the mean
    over processes is taken before they are used (`average_statistics`).

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
    """Processes see different clips; the mean of their running statistics is taken before they are used."""
    layers = _norms(network)
    buffers = [b for layer in layers for b in (layer.running_mean, layer.running_var) if b is not None]
    if accelerator.num_processes == 1 or not buffers:
        return
    mean = accelerator.reduce(torch.cat(buffers), reduction="mean")
    for buffer, part in zip(buffers, mean.split([len(b) for b in buffers]), strict=True):
        buffer.copy_(part)


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


def all_gather(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The features of all processes, one share after another, `(B, F)` by modality; gradients find their way back.

    A loss of them is the same in every process. Its gradient arrives in each share once from every process, and the
    mean over processes makes one of them.

    Args:
        features: of this process's share, `(B / processes, F)` by modality.
    """
    if not _distributed():
        return dict(features)
    return {m: _Gathered.apply(feature) for m, feature in features.items()}  # type: ignore[no-untyped-call]


def local_shard(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's share of what `all_gather` made one."""
    if not _distributed():
        return dict(features)
    return {m: feature.chunk(dist.get_world_size())[dist.get_rank()] for m, feature in features.items()}


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gathered(torch.autograd.Function):
    """Shares of all processes, joined; backward, the sum over processes of each share's gradient."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        shares = [torch.empty_like(share) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, share.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
