"""The one training loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    """Train step by step; yields the number of steps done, with the loss terms and `Method.observe` of the last.

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
    unwrapped = accelerator.unwrap_model(method)
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
                observed = unwrapped.observe(terms, stage.weights)
                accelerator.backward(loss / accumulation)
            logged.append({name: term.detach() for name, term in terms.items()} | observed)
        optimiser.step()
        optimiser.zero_grad()
        yield step + 1, {name: torch.stack([terms[name] for terms in logged]).mean() for name in logged[0]}


def mean_terms(
    terms: Mapping[int, Mapping[str, Tensor]], *, every: int, accelerator: Accelerator
) -> Iterator[tuple[int, dict[str, float]]]:
    """Mean of each loss term over all processes and over every so many steps, read off the device in one copy.

    Args:
        terms: scalars by name, by the number of steps done.
        every: a mean ends at each multiple of this, and at the last step.
        accelerator: of the processes.

    Yields:
        The step at which a mean ends, and the means by name.

    Raises:
        UserError: if a term is not finite, naming it and the step.
    """
    steps, names = list(terms), list(next(iter(terms.values())))
    # (terms, steps): one copy to the host for all of them, so that training waits for the device once
    local = torch.stack([torch.stack([terms[step][name].float() for step in steps]) for name in names])
    values = accelerator.reduce(local, reduction="mean").cpu()
    # The earliest step with a value that is not finite, and the first such term in it.
    for column in torch.nonzero(~values.isfinite().all(dim=0))[:1, 0].tolist():
        row = int(torch.nonzero(~values[:, column].isfinite())[0])
        what = names[row] if "/" in names[row] else f"{names[row]} loss"
        raise UserError(
            f"the {what} became {float(values[row, column])} at step {steps[column]}; training stopped and "
            "the last checkpoint is kept. Lower the learning rate or the weight of this term, or use precision=no"
        )
    start = 0
    for end, step in enumerate(steps, start=1):
        if step % every == 0 or end == len(steps):
            yield step, {name: float(values[row, start:end].mean()) for row, name in enumerate(names)}
            start = end
