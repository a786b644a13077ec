"""Many runs at once, by Dask: in processes of this machine or on the workers of a scheduler; resumable."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.sweeps.clusters import local_workers, visible_gpus, workers_at
from mmsada_lab.sweeps.jobs import (
    ERROR_FILE,
    Failure,
    TrainingJob,
    notebook_parameters,
    read_notebook,
    run_job,
    train_quietly,
)
from mmsada_lab.sweeps.plans import DAMAGED, order_unfinished, plan_runs, rename_damaged

if TYPE_CHECKING:
    from distributed import Client, Future

_SHOWN = 3
"""Runs named in the progress bar."""
LOCK_SECONDS, SHARED_LOCK_SECONDS = 30.0, 120.0
"""How long a worker waits for a locked run: here, and where a lock on a network file system outlives its machine."""


def run_grid(
    configs: Sequence[ExperimentConfig],
    runs_dir: Path,
    *,
    jobs: int,
    device: str = "auto",
    scheduler: str | None = None,
    notebook: str | Path | None = None,
    retries: int = 1,
) -> list[Failure]:
    """Run configurations in worker processes; finished runs are skipped, interrupted ones continue.

    A failed run does not stop the others. A worker that dies is replaced, and its run goes on from the last checkpoint.
    Several batches may work on the same runs: each run is trained by one of them.

    Args:
        configs: of the runs, each made once.
        runs_dir: where run folders lie; with a scheduler, on a file system that its workers share.
        jobs: processes on this machine, each with one of its GPUs in turn; without effect where a scheduler is given.
        device: ``auto`` or ``cpu``.
        scheduler: address of a Dask scheduler whose workers do the runs, e.g. ``tcp://node1:8786``.
        notebook: executed for each run and kept in its folder: a name in this checkout, or a path.
        retries: how often a run is tried again whose worker died or that failed, but for a user's mistake.

    Returns:
        The runs that did not finish, each with its message; `Busy` are those that another process is training.

    Raises:
        UserError: nothing to run, no scheduler that answers, or a notebook that does not take the parameters.
    """
    if not configs:
        raise UserError("no run to make: a comparison needs two domains or more, and at least one method and seed")
    if jobs < 1:
        raise UserError(f"jobs is {jobs}; give at least 1")
    text = None if notebook is None else read_notebook(notebook)
    runs_dir = Path(runs_dir).resolve()
    runs = plan_runs(configs, runs_dir, notebooks=text is not None)
    unfinished = order_unfinished(runs)
    if not unfinished:
        return []
    for run in unfinished if text is not None else ():
        notebook_parameters(run.config)
    shared = {"runs_dir": runs_dir, "device": device, "notebook": text, **_of_workers(scheduler, device)}
    with _marker(runs_dir) as marker:
        for path in rename_damaged(run.folder for run in unfinished if run.state == DAMAGED):
            tqdm.write(f"damaged, renamed and run again: {path}", file=sys.stderr)
        waiting = [TrainingJob(config=run.config, folder=run.folder, marker=marker, **shared) for run in unfinished]
        batch = _Batch(waiting, finished=len(runs) - len(unfinished), retries=retries)
        with local_workers(min(jobs, len(unfinished))) if scheduler is None else workers_at(scheduler) as client:
            return batch.run(client)


def _of_workers(scheduler: str | None, device: str) -> dict[str, Any]:
    """What a job must know about where it is done."""
    gpus = visible_gpus() if scheduler is None and device == "auto" else ()
    return {"patience": LOCK_SECONDS if scheduler is None else SHARED_LOCK_SECONDS, "gpus": gpus}


@contextmanager
def _marker(runs_dir: Path) -> Iterator[Path]:
    """A folder by which a worker knows the runs folder: if it does not see it, it has another disk."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix=".batch-", dir=runs_dir)
    except OSError as error:
        raise UserError(f"cannot write to the runs folder {runs_dir}: {error}; choose another") from error
    with folder as name:
        yield Path(name)


class _Batch:
    """Jobs on their way through the workers: one at a time for each worker.

    Dask blames the death of a worker on every job that was queued there, so none is queued behind another.
    """

    def __init__(self, jobs: Sequence[TrainingJob], *, finished: int, retries: int) -> None:
        self.waiting, self.retries = deque(jobs), retries
        self.running: dict[Future[Failure | None], tuple[TrainingJob, str]] = {}
        self.ended: SimpleQueue[Future[Failure | None]] = SimpleQueue()
        self.tries: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.shown = ""
        total = finished + len(jobs)
        self.bar = tqdm(total=total, initial=finished, desc=f"{total} runs", unit="run", mininterval=0)

    def run(self, client: Client) -> list[Failure]:
        """Submit, wait and collect until all jobs have ended."""
        try:
            while self.waiting or self.running:
                self._submit(client)
                self._show()
                with suppress(Empty):  # after a second: there may be new workers, and the bar is drawn again
                    self._collect(self.ended.get(timeout=1))
        except (CancelledError, OSError) as error:
            raise UserError("the Dask scheduler went away; start the batch again: finished runs are kept") from error
        finally:
            self.bar.close()
        return self.failures

    def _submit(self, client: Client) -> None:
        """Give each idle worker a job."""
        busy = {worker for _, worker in self.running.values()}
        idle = [worker for worker in client.nthreads() if worker not in busy]  # type: ignore[no-untyped-call]
        for worker in idle[: len(self.waiting)]:
            job = self.waiting.popleft()
            how = {"key": f"{job.key}-{self.tries[job.key]}", "pure": False}
            future = client.submit(run_job, job, train_quietly, workers=[worker], allow_other_workers=True, **how)
            self.running[future] = (job, worker)
            future.add_done_callback(self.ended.put)  # type: ignore[no-untyped-call]

    def _collect(self, future: Future[Failure | None]) -> None:
        job, _ = self.running.pop(future)
        failure, again = _failure_of(future, job)
        self.tries[job.key] += 1
        if failure is not None and again and self.tries[job.key] <= self.retries:
            tqdm.write(f"{job.title}: {failure.message}; tried again", file=sys.stderr)
            self.waiting.append(job)
        else:
            self.failures += [failure] if failure is not None else []
            self.bar.update()

    def _show(self) -> None:
        titles = [job.title for job, _ in self.running.values()]
        more = [f"and {len(titles) - _SHOWN} more"] if len(titles) > _SHOWN else []
        running = ", ".join([*titles[:_SHOWN], *more]) or "waiting for a worker"
        text = f"{len(self.failures)} failed, running: {running}"
        if text != self.shown:
            self.shown = text
            self.bar.set_postfix_str(text)
        elif sys.stderr.isatty():
            self.bar.refresh()  # the clock goes on


def _failure_of(future: Future[Failure | None], job: TrainingJob) -> tuple[Failure | None, bool]:
    """The failure, if there was one, and whether to try again."""
    from distributed.scheduler import KilledWorker

    error = future.exception()  # type: ignore[no-untyped-call]
    if error is None:
        return future.result(), False
    if isinstance(error, KilledWorker):
        return Failure(job.config, "its worker process died; out of memory?"), True
    return Failure(job.config, f"{type(error).__name__}: {error} (see {job.folder / ERROR_FILE})"), True
