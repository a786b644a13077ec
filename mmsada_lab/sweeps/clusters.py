"""Where a batch runs: worker processes of this machine, or a Dask scheduler that is there already."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmsada_lab.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster
    from distributed.security import Security

LOCALHOST = "127.0.0.1"
ANSWER_SECONDS = 10
"""How long a scheduler may take to answer."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def threads_of(jobs: int) -> int:
    """Threads for each of so many processes that share the cores this one may use."""
    from joblib import cpu_count

    return max(int(cpu_count()) // jobs, 1)


def visible_gpus() -> tuple[str, ...]:
    """What a process may put into CUDA_VISIBLE_DEVICES to have one GPU: those this process sees, by number or name."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named or map(str, range(count)))[:count]


@contextmanager
def local_workers(jobs: int, *, private: bool = True) -> Iterator[Client]:
    """So many worker processes on this machine, which end with this one, however it ends.

    Args:
        jobs: processes, with one thread of Dask each. If one dies, it is replaced and its job ends with `KilledWorker`.
        private: talk over TLS with keys made for the occasion, where `cryptography` is installed: who can talk to a
            Dask scheduler can run what he likes, and every user of this machine can reach its localhost.
    """
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(_settings(jobs)), _environment_kept():
        cluster = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            host=LOCALHOST,
            dashboard_address=f"{LOCALHOST}:0",
            worker_dashboard_address=f"{LOCALHOST}:0",
            memory_limit=0,  # a run is never worth ending half-way because it is large
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": 0},
            security=_keys() if private else None,
        )
        try:
            with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
                yield client
        except KeyboardInterrupt:
            _kill_workers(cluster)
            raise
        finally:
            cluster.close()


@contextmanager
def workers_at(address: str) -> Iterator[Client]:
    """The workers of a scheduler that runs already.

    Raises:
        UserError: if nothing answers there.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"no Dask scheduler answers at {address!r} ({type(error).__name__}); give its address as it prints it when "
            "it starts, e.g. tcp://node1:8786, or leave --scheduler out to use this machine"
        ) from error
    with _quiet(), client:
        yield client


def _settings(jobs: int) -> dict[str, Any]:
    threads = dict.fromkeys(_THREAD_VARIABLES, threads_of(jobs))
    return {
        "distributed.worker.daemon": False,  # a daemon could not start the processes that read clips
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.preload": [__name__],
        "distributed.nanny.pre-spawn-environ": threads,
    }


def dask_setup(_: object) -> None:
    """Called by Dask in each worker: Ctrl-C is for the process that started the batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _keys() -> Security | None:
    from distributed.security import Security

    return Security.temporary() if find_spec("cryptography") else None  # type: ignore[no-untyped-call]


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask would log of a scheduler that goes away, the batch says."""
    handlers = {handler: handler.level for handler in logging.getLogger("distributed").handlers}
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Dask sets the variables of its workers in this process too."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _kill_workers(cluster: LocalCluster) -> None:
    """At once, in the middle of a run: every file is whole, and the run continues from its checkpoint."""
    for nanny in cluster.workers.values():
        if nanny.process is not None and nanny.process.pid is not None:
            nanny.auto_restart = False
            os.kill(nanny.process.pid, signal.SIGKILL)
