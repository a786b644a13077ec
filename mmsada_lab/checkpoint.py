"""Checkpoints: all that a run needs to continue as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from tqdm.auto import tqdm

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_atomic
from mmsada_lab.runs import Record, versions

KeptEvaluation = tuple[int, dict[str, NDArray[np.float32]]]
"""Steps done, and probabilities `(N, K)` by stream."""

KeptFeatures = tuple[int, dict[str, NDArray[np.float16]]]
"""Steps done in both stages, and what `Evaluation.snapshot` has of the network then."""


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds besides weights.

    Attributes:
        stage: number of the current stage.
        step: optimiser steps done in it.
        history: records so far.
        kept: evaluations whose mean will be reported.
        snapshots: features and predictions of the checkpoints that ``keep_features`` asks for.
        seconds: training time so far, over all sittings.
        reused: whether the first stage was taken from another run.
        skipped: optimiser steps that were skipped so far, since a gradient overflowed in fp16.
    """

    stage: int = 0
    step: int = 0
    history: list[Record] = field(default_factory=list)
    kept: list[KeptEvaluation] = field(default_factory=list)
    snapshots: list[KeptFeatures] = field(default_factory=list)
    seconds: float = 0.0
    reused: bool = False
    skipped: int = 0


class Resumed(NamedTuple):
    """States of what goes on where it was: the optimiser, and the scale of fp16 gradients (empty without one)."""

    optimiser: dict[str, Any]
    scaler: dict[str, Any]


def save_checkpoint(
    path: Path, progress: Progress, *, method: nn.Module, optimiser: Optimizer, scaler: GradScaler | None = None
) -> None:
    """Write weights, progress and the states of optimiser and scaler atomically, in one file.

    Random numbers need no state: those of a step depend on the run's seed and the step's number alone.
    """
    # Tensors and JSON text only, so that `weights_only=True` can read it: nothing is unpickled.
    kept, snapshots = (
        [(step, {name: torch.from_numpy(array) for name, array in arrays.items()}) for step, arrays in of_steps]
        for of_steps in (progress.kept, progress.snapshots)
    )
    state = {
        "method": method.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "stage": progress.stage,
        "step": progress.step,
        "history": json.dumps(progress.history),
        "kept": kept,
        "snapshots": snapshots,
        "seconds": progress.seconds,
        "reused": progress.reused,
        "skipped": progress.skipped,
    }
    write_atomic(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path, *, method: nn.Module, device: torch.device) -> tuple[Progress, Resumed]:
    """Load the weights of a checkpoint into a method; return the progress and the states to go on from.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        method.load_state_dict(state["method"])
        kept, snapshots = (
            [(step, {name: tensor.cpu().numpy() for name, tensor in tensors.items()}) for step, tensors in state[name]]
            for name in ("kept", "snapshots")
        )
        so_far = state["seconds"], state["reused"], state["skipped"]
        progress = Progress(state["stage"], state["step"], json.loads(state["history"]), kept, snapshots, *so_far)
        resumed = Resumed(state["optimiser"], state["scaler"])
    except Exception as error:  # damaged files fail in many ways
        reason = str(error).partition("\n")[0][:200]
        raise UserError(f"the checkpoint {path} is damaged ({reason}); remove it to start that run afresh") from error
    return progress, resumed


FIRST_STAGES = ".first_stages"
_CPU = torch.device("cpu")


def device_name(device: torch.device) -> str:
    """What computes: the name of a GPU, else the kind of device and of machine."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


@cache
def sources_digest() -> str:
    """Of this package's own source files: it changes with any of them, committed or not."""
    folder = Path(__file__).parent
    files = sorted(folder.rglob("*.py"))
    named = b"".join(f"{file.relative_to(folder).as_posix()}\n".encode() + file.read_bytes() for file in files)
    return hashlib.sha256(named).hexdigest()


def first_stage_path(
    runs_dir: Path, config: ExperimentConfig, *, data_digest: str, device: torch.device = _CPU
) -> Path:
    """Where the first stage of a run is kept, for all runs of this folder that would compute the same, bit for bit.

    They have the same configuration of it and the same data, keep features of as many checkpoints, and what computes is
    the same: source files, versions of the packages beneath, device and number of threads.
    """
    facts = {
        "config": config.digested(first_stage=True),
        "data": data_digest,
        "keep_features": config.keep_features,
        "versions": versions(),
        "sources": sources_digest(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return Path(runs_dir) / FIRST_STAGES / f"{key}.pt"


@contextmanager
def first_stage_locked(path: Path, *, told: bool = False) -> Iterator[None]:
    """Hold a first stage; a second process that wants it waits, tells so if it is to, and finds it trained."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if told:
            tqdm.write("the first stage is being trained by another process; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def publish_first_stage(checkpoint: Path, path: Path) -> None:
    """Give the checkpoint that ended a first stage to all; the same file under a second name where that is possible."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    # Under another name first: whoever looks at `path` sees a whole file.
    try:
        os.link(checkpoint, draft)
    except OSError:  # a file system without links
        shutil.copyfile(checkpoint, draft)
    os.replace(draft, path)
