"""Many runs at once, by Dask: in processes of this machine or on the workers of a scheduler; resumable."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm.auto import tqdm

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.sweeps.claims import claimed
from mmsada_lab.sweeps.clusters import local_workers, visible_gpus, workers_at
from mmsada_lab.sweeps.damage import quarantine_damaged
from mmsada_lab.sweeps.grid import grid
from mmsada_lab.sweeps.jobs import (
    ERROR_FILE,
    Job,
    Outcome,
    attend,
    notebook_parameters,
    read_notebook,
    train as _run_one,
)
from mmsada_lab.sweeps.plans import DAMAGED, Task, in_order, tasks_of

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Busy", "Failure", "grid", "run_grid"]

_SHOWN = 3


class Failure(NamedTuple):
    """A run that did not finish, and why."""

    config: ExperimentConfig
    message: str


class Busy(Failure):
    """A run that was left to another process, which is training it."""

    __slots__ = ()


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
    If this process dies, workers of this machine end with it.

    Args:
        configs: of the runs; each is made once.
        runs_dir: where run folders lie; with a scheduler, on a file system that its workers share.
        jobs: processes on this machine, which share its cores; each takes one of the GPUs in turn. Without effect
            where a scheduler is given.
        device: ``auto`` or ``cpu``.
        scheduler: address of a Dask scheduler, e.g. ``tcp://node1:8786``; its workers do the runs.
        notebook: executed once per run with the run's parameters, and kept as ``notebook.ipynb`` in its folder: a name
            in this checkout, or a path. None trains without one.
        retries: how often a run is tried again whose worker died or that failed, but for a user's mistake.

    Returns:
        The runs that did not finish, each with its message; `Busy` are those that another process is training.

    Raises:
        UserError: if there is nothing to run, the scheduler does not answer or goes away, another batch wants the same
            runs, or the notebook does not take the parameters.
    """
    if not configs:
        raise UserError("no run to make: a comparison needs two domains or more, and at least one method and seed")
    if jobs < 1:
        raise UserError(f"jobs is {jobs}; give at least 1")
    text = None if notebook is None else read_notebook(notebook)
    runs_dir = Path(runs_dir).resolve()
    tasks = tasks_of(configs, runs_dir, notebooks=text is not None)
    todo = in_order(tasks)
    if not todo:
        return []
    for task in todo if text is not None else ():
        notebook_parameters(task.config)
    with claimed(runs_dir, [task.config.digest for task in todo]) as claim:
        _put_damaged_aside(todo, runs_dir)
        shared: dict[str, Any] = {"runs_dir": runs_dir, "device": device, "claim": claim, "notebook": text}
        shared |= _circumstances(device, here=scheduler is None)
        waiting = [Job(config=task.config, folder=task.folder, **shared) for task in todo]
        batch = _Batch(waiting, finished=len(tasks) - len(todo), retries=retries, placed=scheduler is None)
        with _workers(scheduler, jobs=min(jobs, len(todo))) as client:
            return batch.run(client)


def _circumstances(device: str, *, here: bool) -> dict[str, Any]:
    """What a job is told of where it runs; a lock on a network file system outlives its machine by a lease."""
    if not here:
        return {"patience": 120.0}
    return {"patience": 30.0, "gpus": visible_gpus() if device == "auto" else ()}


def _workers(scheduler: str | None, *, jobs: int) -> AbstractContextManager[Client]:
    return local_workers(jobs) if scheduler is None else workers_at(scheduler)


def _put_damaged_aside(todo: Sequence[Task], runs_dir: Path) -> None:
    damaged = [task.config for task in todo if task.state == DAMAGED]
    for path in quarantine_damaged(runs_dir, damaged):
        tqdm.write(f"damaged, put aside and run again: {path}", file=sys.stderr)


class _Batch:
    """Jobs on their way through the workers.

    Args:
        jobs: to do, in order.
        finished: how many runs there were before, for the bar.
        retries: how often a job is tried again.
        placed: give each job to an idle worker, as many as there are; else leave it all to Dask. Dask blames the death
            of a worker on every job that lay there, not only on the one that ran: here none lies behind another.
    """

    def __init__(self, jobs: Sequence[Job], *, finished: int, retries: int, placed: bool) -> None:
        self.waiting, self.retries, self.placed = deque(jobs), retries, placed
        self.handed: dict[Future[Outcome], tuple[Job, str | None]] = {}
        self.ended: SimpleQueue[Future[Outcome]] = SimpleQueue()
        self.tries: Counter[str] = Counter()
        self.running: dict[str, str] = {}
        self.failures: list[Failure] = []
        self.shown = ""
        total = finished + len(jobs)
        self.bar = tqdm(total=total, initial=finished, desc=f"{total} runs", unit="run", mininterval=0)

    def run(self, client: Client) -> list[Failure]:
        """Hand over, wait, and collect, until all jobs have ended."""
        client.subscribe_topic(self.waiting[0].topic, self._on_start)  # type: ignore[no-untyped-call]
        try:
            while self.waiting or self.handed:
                self._hand_over(client)
                for future in self._ended():
                    self._collect(future)
                self._show()
        except CancelledError:
            raise UserError("the Dask scheduler went away; start the batch again: finished runs are kept") from None
        finally:
            self.bar.close()
        return self.failures

    def _hand_over(self, client: Client) -> None:
        for worker in self._places(client):
            if not self.waiting:
                return
            job = self.waiting.popleft()
            key = f"{job.key}-{self.tries[job.key]}"
            where = {"workers": [worker], "allow_other_workers": True} if worker else {}
            future = client.submit(attend, job, _run_one, key=key, pure=False, **where)
            self.handed[future] = (job, worker)
            future.add_done_callback(self.ended.put)  # type: ignore[no-untyped-call]

    def _places(self, client: Client) -> Iterable[str | None]:
        """An idle worker for each job that can be given to one; no name where Dask is to choose."""
        if not self.waiting or not self.placed:
            return [None] * len(self.waiting)
        busy = {worker for _, worker in self.handed.values()}
        return [worker for worker in client.nthreads() if worker not in busy]  # type: ignore[no-untyped-call]

    def _ended(self) -> list[Future[Outcome]]:
        """Those that have ended, after a second at most; the bar is drawn anew meanwhile."""
        try:
            return [self.ended.get(timeout=1)]
        except Empty:
            return []

    def _collect(self, future: Future[Outcome]) -> None:
        job, _ = self.handed.pop(future)
        self.running.pop(job.key, None)
        failures, again = _failures_of(future, job)
        self.tries[job.key] += 1
        if again and self.tries[job.key] <= self.retries:
            tqdm.write(f"{job.title}: {failures[0].message}; tried again", file=sys.stderr)
            self.waiting.append(job)
            return
        self.failures += failures
        self.bar.update()

    def _on_start(self, event: tuple[float, tuple[str, str]]) -> None:
        key, title = event[1]
        self.running[key] = title

    def _show(self) -> None:
        titles = list(self.running.values())
        more = [f"and {len(titles) - _SHOWN} more"] if len(titles) > _SHOWN else []
        running = ", ".join([*titles[:_SHOWN], *more]) or ("waiting for a worker" if self.handed else "none")
        text = f"{len(self.failures)} failed, running: {running}"
        if text != self.shown:
            self.shown = text
            self.bar.set_postfix_str(text)
        elif sys.stderr.isatty():
            self.bar.refresh()  # the clock goes on


def _failures_of(future: Future[Outcome], job: Job) -> tuple[list[Failure], bool]:
    """The failure, if there was one, and whether another try may mend it."""
    from distributed.scheduler import KilledWorker

    error = future.exception()  # type: ignore[no-untyped-call]
    if isinstance(error, KilledWorker):
        return [Failure(job.config, "the worker process died under it; out of memory?")], True
    if error is not None:
        return [Failure(job.config, f"{type(error).__name__}: {error} (see {job.folder / ERROR_FILE})")], True
    outcome = future.result()
    kind = {"failed": Failure, "busy": Busy}.get(outcome.state)
    return ([] if kind is None else [kind(job.config, outcome.message)]), False
