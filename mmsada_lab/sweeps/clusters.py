"""Where a batch runs: worker processes of this machine, or the workers of a Dask scheduler that is there already."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmsada_lab.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

LOCALHOST = "127.0.0.1"
ANSWER_SECONDS = 10
"""How long a scheduler may take to answer."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def threads_per_job(jobs: int) -> int:
    """Threads for each of so many processes that share the cores this one may use."""
    from joblib import cpu_count

    return max(int(cpu_count()) // jobs, 1)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs this process sees, by number or name, each a value of CUDA_VISIBLE_DEVICES."""
    import torch

    count = torch.cuda.device_count()
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(names or map(str, range(count)))[:count]


@contextmanager
def local_workers(jobs: int, *, private: bool = True) -> Iterator[Client]:
    """Worker processes on this machine, which end with this process, however it ends.

    Args:
        jobs: processes, with one thread of Dask each. If one dies, it is replaced and its job ends with `KilledWorker`.
        private: use TLS with temporary keys: every user of this machine can reach its localhost, and whoever can reach
            a Dask scheduler can run code as you.
    """
    import dask
    from distributed import Client

    settings = {
        "distributed.worker.daemon": False,  # a daemon could not start the processes that read clips
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.preload": [__name__],
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREAD_VARIABLES, threads_per_job(jobs)),
    }
    with dask.config.set(settings), _restored_environment():
        cluster = _local_cluster(jobs, private=private)
        try:
            with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
                yield client
        except KeyboardInterrupt:
            _kill_workers(cluster)
            raise
        finally:
            cluster.close()


def _local_cluster(jobs: int, *, private: bool) -> LocalCluster:
    from distributed import LocalCluster
    from distributed.security import Security

    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=jobs,
        threads_per_worker=1,
        processes=True,
        host=LOCALHOST,
        dashboard_address=f"{LOCALHOST}:0",
        worker_dashboard_address=f"{LOCALHOST}:0",
        memory_limit=0,  # a large run is better slow than killed half-way
        silence_logs=logging.CRITICAL,
        scheduler_kwargs={"allowed_failures": 0},
        security=Security.temporary() if private else None,  # type: ignore[no-untyped-call]
    )


def dask_setup(_: object) -> None:
    """Dask calls this in each worker: Ctrl-C is for the process that started the batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def workers_at(address: str) -> Iterator[Client]:
    """The workers of a scheduler that runs already, or `UserError` if nothing answers there."""
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        hint = "give its address as it prints it when it starts, e.g. tcp://node1:8786"
        reason = f"({type(error).__name__}); {hint}, or leave --scheduler out to use this machine"
        raise UserError(f"no Dask scheduler answers at {address!r} {reason}") from error
    with _quiet_dask(), client:
        yield client


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Silence what Dask logs when a scheduler goes away: the batch reports it."""
    levels = {handler: handler.level for handler in logging.getLogger("distributed").handlers}
    for handler in levels:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


@contextmanager
def _restored_environment() -> Iterator[None]:
    """Dask sets the variables of its workers in this process too."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _kill_workers(cluster: LocalCluster) -> None:
    """End the workers in the middle of a run: every file is whole, and the run continues from its checkpoint."""
    for nanny in cluster.workers.values():
        if nanny.process is not None and nanny.process.pid is not None:
            nanny.auto_restart = False
            os.kill(nanny.process.pid, signal.SIGKILL)
