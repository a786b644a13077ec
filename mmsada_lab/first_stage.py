"""First stages that several runs share, such as those of a sweep of lambda_d: trained once, taken by all.

A first stage is decided by the configuration but for the second stage and what acts only there, by the data and by the
versions that compute. It is kept as the checkpoint with which it ended, below the runs folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock

from mmsada_lab import __version__
from mmsada_lab.config import ExperimentConfig

FOLDER = ".first_stages"
WITHOUT_EFFECT = ("adapt", "reversal_coefficient", "reversal_schedule", "averaged_evaluations", "preset")
"""Fields of a configuration that change nothing before the second stage."""


def first_stage_path(runs_dir: Path, config: ExperimentConfig, *, data_digest: str) -> Path:
    """Where the first stage of a run is kept, for all runs of this folder that have the same one."""
    decides = {name: value for name, value in config.to_dict().items() if name not in WITHOUT_EFFECT}
    facts = {"config": decides, "data": data_digest, "versions": [__version__, torch.__version__]}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return Path(runs_dir) / FOLDER / f"{key}.pt"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a first stage; a second process that wants it waits, and finds it trained."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        yield


def publish(checkpoint: Path, path: Path) -> None:
    """Give the checkpoint that ended a first stage to all; the same file under a second name where that is possible."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        os.link(checkpoint, draft)
    except OSError:  # a file system without links
        shutil.copyfile(checkpoint, draft)
    os.replace(draft, path)
