"""Checkpoints: all that a run needs to continue as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from mmsada_lab.atomic import write_atomic
from mmsada_lab.errors import UserError
from mmsada_lab.runs import Record


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds besides weights.

    Attributes:
        stage: number of the current stage.
        step: optimiser steps done in it.
        history: records so far.
        kept: evaluations whose mean will be reported: (step, probabilities by stream).
        seconds: training time so far, over all sittings.
    """

    stage: int = 0
    step: int = 0
    history: list[Record] = field(default_factory=list)
    kept: list[tuple[int, dict[str, NDArray[np.float32]]]] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(path: Path, progress: Progress, *, method: nn.Module, optimiser: Optimizer) -> None:
    """Write weights, optimiser state and progress atomically, in one file.

    Random numbers need no state: those of a step depend on the run's seed and the step's number alone.
    """
    kept = [(step, {name: torch.from_numpy(p) for name, p in streams.items()}) for step, streams in progress.kept]
    state = {
        "method": method.state_dict(),
        "optimiser": optimiser.state_dict(),
        "stage": progress.stage,
        "step": progress.step,
        "history": json.dumps(progress.history),
        "kept": kept,
        "seconds": progress.seconds,
    }
    write_atomic(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path, *, method: nn.Module, device: torch.device) -> tuple[Progress, dict[str, Any]]:
    """Load the weights of a checkpoint into a method; return the progress and the optimiser's state.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        method.load_state_dict(state["method"])
        kept = [(step, {name: p.cpu().numpy() for name, p in streams.items()}) for step, streams in state["kept"]]
        progress = Progress(state["stage"], state["step"], json.loads(state["history"]), kept, state["seconds"])
    except Exception as error:  # damaged files fail in many ways
        reason = str(error).partition("\n")[0][:200]
        raise UserError(f"the checkpoint {path} is damaged ({reason}); remove it to start that run afresh") from error
    return progress, state["optimiser"]
