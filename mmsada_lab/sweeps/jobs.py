"""One run of a batch, as a worker process does it: by training or by executing a notebook."""

from __future__ import annotations

import json
import os
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_atomic
from mmsada_lab.presets import build_config, override_keys
from mmsada_lab.sweeps.plans import EXECUTED

ERROR_FILE = "error.txt"
"""The traceback of a run that failed for another reason than a user's mistake, in its folder."""

Run = Callable[[ExperimentConfig, Path, str], None]


@dataclass(frozen=True)
class Job:
    """What a worker must know.

    Attributes:
        config: of the run.
        runs_dir: where run folders lie, absolute.
        folder: of the run.
        device: ``auto`` or ``cpu``.
        claim: a file of the batch; a worker that does not see it has another disk.
        patience: seconds to wait for the lock of a process that was killed; another machine's may last a minute.
        gpus: one of which each worker takes, by its number; none leaves the choice as it is.
        notebook: the notebook to execute, as text, or None to train without one.
    """

    config: ExperimentConfig
    runs_dir: Path
    folder: Path
    device: str
    claim: Path
    patience: float
    gpus: tuple[str, ...] = ()
    notebook: str | None = None

    @property
    def title(self) -> str:
        """As the progress bar shows it."""
        return f"{self.config.method} {self.config.pair} s{self.config.seed}"

    @property
    def topic(self) -> str:
        """Under which the workers of a batch tell what they start."""
        return f"mmsada-{self.claim.stem}"

    @property
    def key(self) -> str:
        """As Dask's scheduler and its dashboard show it."""
        config = self.config
        return f"{config.method}-{config.source}-{config.target}-s{config.seed}-{config.digest}-{self.claim.stem}"


class Outcome(NamedTuple):
    """How a job ended: ``finished``, ``failed`` by a user's mistake, or ``busy``, with what there is to say."""

    state: str
    message: str = ""


class _BusyError(UserError):
    """Another process is training the run."""


def attend(job: Job, run: Run) -> Outcome:
    """Do a job in this worker process.

    Args:
        job: what to do.
        run: trains the run, given its configuration, the runs folder and the device.

    Raises:
        Exception: whatever goes wrong but for a user's mistake, so that Dask tries again; the traceback is kept.
    """
    name = _announce(job)
    if job.gpus and name.isdecimal():  # before CUDA is first used in this process
        os.environ["CUDA_VISIBLE_DEVICES"] = job.gpus[int(name) % len(job.gpus)]
    try:
        _require_shared_disk(job)
        _wait_until_free(job)
        if job.notebook is None:
            run(job.config, job.runs_dir, job.device)
        else:
            _execute(job, job.notebook)
    except _BusyError as error:
        return Outcome("busy", str(error))
    except UserError as error:
        return Outcome("failed", str(error))
    except Exception:
        text = traceback.format_exc()
        write_atomic(job.folder / ERROR_FILE, lambda file: file.write(text.encode()))
        raise
    (job.folder / ERROR_FILE).unlink(missing_ok=True)
    return Outcome("finished")


def train(config: ExperimentConfig, runs_dir: Path, device: str) -> None:
    """Train one run without a progress bar."""
    from mmsada_lab.experiment import run_experiment

    run_experiment(config, runs_dir, device=device, show_progress=False)


def _announce(job: Job) -> str:
    """Tell the batch that a job has started; returns the worker's name."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(job.topic, (job.key, job.title))
    return str(worker.name)


def _require_shared_disk(job: Job) -> None:
    if not job.claim.exists():
        raise UserError(
            f"a worker on {os.uname().nodename} does not see {job.runs_dir}; the runs folder must lie on a file system "
            "that all workers and this machine share"
        )
    job.folder.mkdir(parents=True, exist_ok=True)


def _wait_until_free(job: Job) -> None:
    try:
        with FileLock(job.folder / ".lock", timeout=job.patience):
            return
    except Timeout:
        raise _BusyError(f"another process is training {job.folder}; it is left to that one") from None


def _execute(job: Job, notebook: str) -> None:
    """Execute the notebook beside the run's folder's file, so that this is always a whole one."""
    from mmsada_lab.publish.notebooks import execute_notebook

    kept = job.folder / EXECUTED
    with tempfile.TemporaryDirectory(prefix="mmsada-") as scratch:
        template, executed = Path(scratch, "template.ipynb"), Path(scratch, "executed.ipynb")
        template.write_text(notebook, encoding="utf-8")
        parameters = notebook_parameters(job.config) | {"runs_dir": str(job.runs_dir), "device": job.device}
        try:
            execute_notebook(template, executed, parameters=parameters)
        except UserError as error:
            raise UserError(str(error).replace(str(executed), str(kept))) from error
        finally:
            if executed.exists():
                content = executed.read_bytes()
                write_atomic(kept, lambda file: file.write(content))


def notebook_parameters(config: ExperimentConfig) -> dict[str, Any]:
    """What a notebook must be given to build a configuration: the arguments of `build_config`.

    Raises:
        UserError: if `build_config` cannot build it.
    """
    names = ("preset", "source", "target", "method", "data", "seed")
    chosen: dict[str, Any] = {name: getattr(config, name) for name in names}
    modalities = {"modalities": list(config.modalities)}  # decide which terms the stages begin with
    found, base = (_by_key(c.to_dict()) for c in (config, build_config(**chosen, overrides=modalities)))
    overrides = {key: value for key, value in found.items() if key in override_keys() and base.get(key) != value}
    if config.modalities != ExperimentConfig.modalities:
        overrides |= modalities
    if build_config(**chosen, overrides=overrides).digest != config.digest:
        raise UserError(
            f"{config.method} {config.pair} (digest {config.digest}) is not made from preset {config.preset}"
        )
    return {**chosen, "overrides": overrides}


def _by_key(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Keys as overrides have them: ``adapt.weights.adversarial``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _by_key(value, f"{above}{key}.") if isinstance(value, Mapping) else {above + key: value}
    return flat


def read_notebook(notebook: str | Path) -> str:
    """The text of a notebook that takes the parameters of a run: of this checkout by name, or any by its path.

    Raises:
        UserError: if there is none, or it lacks one of the parameters; papermill would only warn, and train defaults.
    """
    import papermill

    from mmsada_lab.publish.notebooks import find_notebook

    path = Path(notebook) if Path(notebook).is_file() else find_notebook(str(notebook))
    text = path.read_text(encoding="utf-8")
    try:
        json.loads(text)
        taken = set(papermill.inspect_notebook(path))
    except Exception as error:  # damaged notebooks fail in many ways
        raise UserError(f"{path} is not a readable notebook ({error})") from error
    wanted = {"preset", "source", "target", "method", "data", "seed", "overrides", "runs_dir", "device"}
    if missing := sorted(wanted - taken):
        raise UserError(
            f"the notebook {path} does not take {', '.join(missing)}; give each a default in the cell tagged parameters"
        )
    return text
