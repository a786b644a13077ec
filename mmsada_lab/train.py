"""The one training loop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain, islice

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from mmsada_lab.clips.batches import TrainingBatch
from mmsada_lab.config import Stage
from mmsada_lab.errors import UserError
from mmsada_lab.losses import total_loss


def step_seed(*numbers: int) -> int:
    """One 64-bit seed from the numbers that name a step: run seed, stage, step, process."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def train_steps(
    method: nn.Module,
    optimiser: Optimizer,
    batches: Iterable[TrainingBatch],
    *,
    stage: Stage,
    accelerator: Accelerator,
    first_step: int,
    seed: tuple[int, ...],
    accumulation: int = 1,
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Train step by step; yields the number of steps done, with the last one's loss terms and `Method.observe`.

    Nothing here waits for the device: the terms stay on it until somebody reads them.

    Args:
        method: a `Method`, as `accelerator.prepare` returned it.
        optimiser: likewise.
        batches: from `first_step` on, `accumulation` equal micro-batches for every step.
        stage: steps and weights of Eq. 4.
        accelerator: device, precision and data parallelism.
        first_step: steps of this stage that are already done.
        seed: integers that name the run and the stage. Dropout at step k depends on them and on k alone, so that
            a resumed run is the same run.
        accumulation: micro-batches of a step, computed one after the other; their mean gradient is the batch's.
    """
    method.train()
    batches = iter(batches)
    unwrapped, shards = accelerator.unwrap_model(method), accelerator.num_processes * accumulation
    for step, first in enumerate(batches, start=first_step):
        unwrapped.step = step  # whatever a method does in turn is a function of the step, too
        logged = []
        for micro, batch in enumerate(chain([first], islice(batches, accumulation - 1))):
            # Dropout is a function of the step, not of what was drawn before: a resumed run is the same run.
            torch.manual_seed(step_seed(*seed, step, accelerator.process_index * accumulation + micro))
            # Processes exchange gradients once a step, with the last micro-batch.
            with nullcontext() if micro == accumulation - 1 else accelerator.no_sync(method):
                terms = method(batch.to(accelerator.device), step / stage.steps)
                loss = total_loss(terms, stage.weights)  # Eq. 4
                observed = unwrapped.observe(terms, stage.weights, shards=shards)
                accelerator.backward(loss / accumulation)
            logged.append({name: term.detach() for name, term in terms.items()} | observed)
        optimiser.step()
        optimiser.zero_grad()
        yield step + 1, {name: torch.stack([terms[name] for terms in logged]).mean() for name in logged[0]}


def mean_scalars(
    scalars: Mapping[int, Mapping[str, Tensor]], *, terms: Collection[str], every: int, accelerator: Accelerator
) -> Iterator[tuple[int, dict[str, float]]]:
    """Mean of each scalar over all processes and over every so many steps, read off the device in one copy.

    Args:
        scalars: by name, by the number of steps done.
        terms: names of those that are loss terms.
        every: a mean ends at each multiple of this, and at the last step.
        accelerator: of the processes.

    Yields:
        The step at which a mean ends, and the means by name.

    Raises:
        UserError: if a loss term is not finite, naming it and the step.
    """
    steps, names = list(scalars), list(next(iter(scalars.values())))
    # (scalars, steps): one copy to the host for all of them, so that training waits for the device once
    local = torch.stack([torch.stack([scalars[step][name].float() for step in steps]) for name in names])
    values = accelerator.reduce(local, reduction="mean").cpu()
    losses = torch.tensor([name in terms for name in names])
    failed = losses.unsqueeze(1) & ~values.isfinite()  # (scalars, steps)
    # The earliest step with a term that is not finite, and the first such term in it.
    for column in torch.nonzero(failed.any(dim=0))[:1, 0].tolist():
        row = int(torch.nonzero(failed[:, column])[0])
        raise UserError(
            f"the {names[row]} loss became {float(values[row, column])} at step {steps[column]}; training stopped and "
            "the last checkpoint is kept. Lower the learning rate or the weight of this term, or use precision=no"
        )
    start = 0
    for end, step in enumerate(steps, start=1):
        if step % every == 0 or end == len(steps):
            yield step, {name: float(values[row, start:end].mean()) for row, name in enumerate(names)}
            start = end
