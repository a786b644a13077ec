"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from mmsada_lab.config import Stage
from mmsada_lab.data.batches import TrainingBatch
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
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Train step by step; yields the number of steps done and the loss terms of the last.

    Args:
        method: a `Method`, as `accelerator.prepare` returned it.
        optimiser: likewise.
        batches: one per step, from `first_step` on.
        stage: steps and weights of Eq. 4.
        accelerator: device, precision and data parallelism.
        first_step: steps of this stage that are already done.
        seed: integers that name the run and the stage. Dropout at step k depends on them and on k alone, so that
            a resumed run is the same run.
    """
    method.train()
    for step, batch in enumerate(batches, start=first_step):
        torch.manual_seed(step_seed(*seed, step, accelerator.process_index))
        terms = method(batch.to(accelerator.device), step / stage.steps)
        loss = total_loss(terms, stage.weights)  # Eq. 4
        accelerator.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        yield step + 1, {name: term.detach() for name, term in terms.items()}


def mean_terms(terms: list[dict[str, Tensor]], *, step: int, accelerator: Accelerator) -> dict[str, float]:
    """Mean of each loss term over some steps and over all processes.

    Raises:
        UserError: if one is not finite, naming it.
    """
    local = {name: torch.stack([t[name].float() for t in terms]).mean() for name in terms[0]}
    means = {name: float(accelerator.reduce(mean, reduction="mean")) for name, mean in local.items()}
    for name, value in means.items():
        if not math.isfinite(value):
            raise UserError(
                f"the {name} loss became {value} at step {step}; training stopped and the last checkpoint is kept. "
                "Lower the learning rate or the weight of this term, or use precision=no"
            )
    return means
