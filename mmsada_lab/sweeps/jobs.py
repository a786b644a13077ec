"""One run of a batch, as a worker process does it: by training or by executing a notebook."""

from __future__ import annotations

import json
import os
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_whole
from mmsada_lab.presets import build_config, flatten, override_keys
from mmsada_lab.sweeps.plans import EXECUTED

ERROR_FILE = "error.txt"
"""The traceback of a run that failed for another reason than a user's mistake, in its folder."""

Train = Callable[[ExperimentConfig, Path, str], None]
"""Trains a run, given its configuration, the runs folder and the device."""


class Failure(NamedTuple):
    """A run that did not finish, and why."""

    config: ExperimentConfig
    message: str


class Busy(Failure):
    """A run that another process is training."""

    __slots__ = ()


@dataclass(frozen=True)
class TrainingJob:
    """What a worker must know.

    Attributes:
        config: of the run.
        runs_dir: where run folders lie, absolute.
        folder: of the run.
        device: ``auto`` or ``cpu``.
        marker: a folder in the runs folder with a name of its own, there as long as the batch.
        patience: seconds to wait for the lock of a process that was killed; another machine's may last a minute.
        gpus: one of which each worker takes, by its number; none leaves the choice as it is.
        notebook: the notebook to execute, as text, or None to train without one.
    """

    config: ExperimentConfig
    runs_dir: Path
    folder: Path
    device: str
    marker: Path
    patience: float
    gpus: tuple[str, ...] = ()
    notebook: str | None = None

    @property
    def title(self) -> str:
        """As the progress bar shows it."""
        return f"{self.config.method} {self.config.pair} s{self.config.seed}"

    @property
    def key(self) -> str:
        """As Dask's scheduler and its dashboard show it."""
        config = self.config
        return f"{config.method}-{config.source}-{config.target}-s{config.seed}-{config.digest}{self.marker.name}"


def run_job(job: TrainingJob, train: Train) -> Failure | None:
    """Do a job in this worker process; a user's mistake is returned.

    Whatever else goes wrong is raised, so that the batch tries again, and its traceback kept.
    """
    _choose_gpu(job)
    try:
        _require_shared_disk(job)
        with FileLock(job.folder / ".lock", timeout=job.patience):
            pass  # it is free
        if job.notebook is None:
            train(job.config, job.runs_dir, job.device)
        else:
            _execute(job, job.notebook)
    except Timeout:
        return Busy(job.config, f"{job.folder} is being trained by another process; skipped")
    except UserError as error:
        return Failure(job.config, str(error))
    except Exception:
        write_whole(job.folder / ERROR_FILE, traceback.format_exc().encode())
        raise
    (job.folder / ERROR_FILE).unlink(missing_ok=True)
    return None


def train_quietly(config: ExperimentConfig, runs_dir: Path, device: str) -> None:
    """Train one run without a progress bar."""
    from mmsada_lab.experiment import run_experiment

    run_experiment(config, runs_dir, device=device, show_progress=False)


def _choose_gpu(job: TrainingJob) -> None:
    """Show this process one GPU, before CUDA is first used in it: the workers of a machine are named by numbers."""
    if job.gpus:
        from distributed import get_worker

        os.environ["CUDA_VISIBLE_DEVICES"] = job.gpus[int(get_worker().name) % len(job.gpus)]


def _require_shared_disk(job: TrainingJob) -> None:
    if not job.marker.exists():
        shared = "the runs folder must lie on a file system that all workers and this machine share"
        raise UserError(f"a worker on {os.uname().nodename} does not see {job.runs_dir}; {shared}")
    job.folder.mkdir(parents=True, exist_ok=True)


def _execute(job: TrainingJob, notebook: str) -> None:
    """Execute the notebook elsewhere and then copy it to the run's folder, so that it is whole there at any time."""
    from mmsada_lab.publish.notebooks import execute_notebook

    kept = job.folder / EXECUTED
    parameters = notebook_parameters(job.config) | {"runs_dir": str(job.runs_dir), "device": job.device}
    with tempfile.TemporaryDirectory(prefix="mmsada-") as scratch:
        template, executed = Path(scratch, "template.ipynb"), Path(scratch, "executed.ipynb")
        template.write_text(notebook, encoding="utf-8")
        try:
            execute_notebook(template, executed, parameters=parameters)
        except UserError as error:
            raise UserError(str(error).replace(str(executed), str(kept))) from error
        finally:
            if executed.exists():
                write_whole(kept, executed.read_bytes())


_RESERVED = ("preset", "source", "target", "method", "data", "seed")


def notebook_parameters(config: ExperimentConfig) -> dict[str, Any]:
    """The arguments of `build_config` for a configuration, or `UserError` if it cannot build it."""
    chosen: dict[str, Any] = {name: getattr(config, name) for name in _RESERVED}
    modalities = {"modalities": list(config.modalities)}  # decide which terms the stages begin with
    base = flatten(build_config(**chosen, overrides=modalities).to_dict())
    changed = {key: value for key, value in flatten(config.to_dict()).items() if base.get(key) != value}
    overrides = {key: value for key, value in changed.items() if key in override_keys()}
    if config.modalities != ExperimentConfig.modalities:
        overrides |= modalities
    if build_config(**chosen, overrides=overrides).digest != config.digest:
        run = f"{config.method} {config.pair} (digest {config.digest})"
        raise UserError(f"{run} is not made from preset {config.preset}")
    return {**chosen, "overrides": overrides}


def read_notebook(notebook: str | Path) -> str:
    """The text of a notebook, of this checkout by name or any by its path, that takes the parameters of a run.

    Without one of them it is a `UserError`; papermill would only warn, and train the defaults.
    """
    import papermill

    from mmsada_lab.publish.notebooks import find_notebook

    path = Path(notebook) if Path(notebook).is_file() else find_notebook(str(notebook))
    text = path.read_text(encoding="utf-8")
    try:
        json.loads(text)
        parameters = set(papermill.inspect_notebook(path))
    except Exception as error:  # damaged notebooks fail in many ways
        raise UserError(f"{path} is not a readable notebook ({error})") from error
    if missing := sorted({*_RESERVED, "overrides", "runs_dir", "device"} - parameters):
        hint = "give each a default in the cell tagged parameters"
        raise UserError(f"the notebook {path} does not take {', '.join(missing)}; {hint}")
    return text
