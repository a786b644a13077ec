"""A cluster as users start one, `dask scheduler` and two `dask worker`s, on which everything dies once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import toy
import troubled_runs

from mmsada_lab.runs import find_runs, load_history, load_runs, read_manifest
from mmsada_lab.sweeps import batch
from mmsada_lab.sweeps.batch import run_grid

pytestmark = pytest.mark.usefixtures("toy_format")
SECONDS = 60
"""Until which something must have happened."""
IMPORTS = os.pathsep.join([str(Path(__file__).parent), str(Path(batch.__file__).parents[1])])
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": IMPORTS,
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    "OMP_NUM_THREADS": "1",  # as here: the last bits of a sum depend on the number of threads
}
QUIET = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def dask(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]], **QUIET)


@contextmanager
def cluster(port: int) -> Iterator[tuple[subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    """A scheduler at a port of this machine and two workers, in processes of their own."""
    address, here = f"tcp://127.0.0.1:{port}", ("--host", "127.0.0.1")
    scheduler = dask("scheduler", *here, "--port", str(port), "--no-dashboard")
    once = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
    workers = [dask("worker", address, *here, *once, "--name", str(number)) for number in range(2)]
    try:
        yield scheduler, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def wait_for(reached: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < until, f"{what}: not within {SECONDS} seconds"
        time.sleep(0.02)


def histories(runs: Path) -> dict[str, pd.DataFrame]:
    return {path.name: load_history(path) for path in find_runs(runs)}


def started(runs: Path) -> Counter[int]:
    log = runs / "attempts.log"
    return Counter(seed for seed, _ in troubled_runs.attempts(runs)) if log.exists() else Counter()


def ended(runs: Path) -> dict[str, str]:
    """When each finished run ended."""
    manifests = {path.parent.name: read_manifest(path) for path in runs.glob("toy/*/*/seed*/manifest.json")}
    return {name: found["ended"] for name, found in manifests.items() if found["status"] == "finished"}


def stopped_in_the_middle(runs: Path) -> bool:
    return bool(list(runs.glob("toy/*/*/seed*/checkpoint.pt")))


def test_a_worker_the_client_and_the_scheduler_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, port = tmp_path / "runs", free_port()
    client = [sys.executable, troubled_runs.__file__, str(runs), f"tcp://127.0.0.1:{port}"]
    with cluster(port) as (scheduler, workers):
        with subprocess.Popen(client, **QUIET) as first:
            wait_for(lambda: stopped_in_the_middle(runs), "a checkpoint")
            os.kill(workers[0].pid, signal.SIGKILL)
            wait_for(lambda: bool(ended(runs)), "a run finished by the other worker")
            os.kill(first.pid, signal.SIGKILL)
        with subprocess.Popen(client, **{**QUIET, "stderr": subprocess.PIPE}, text=True) as second:
            count = sum(started(runs).values())
            wait_for(lambda: sum(started(runs).values()) > count, "a run of the second client")
            os.kill(scheduler.pid, signal.SIGKILL)
            _, said = second.communicate(timeout=SECONDS)
        assert second.returncode != 0
        assert "the Dask scheduler went away; start the batch again: finished runs are kept" in said
    done = ended(runs)
    assert 1 <= len(done) < len(troubled_runs.configs())
    monkeypatch.setattr(batch, "train_quietly", troubled_runs.slowly)
    with cluster(port):
        assert run_grid(troubled_runs.configs(), runs, jobs=1, scheduler=client[-1], device="cpu") == []
    assert set(load_runs(runs)["seed"]) == {config.seed for config in troubled_runs.configs()}
    assert {name: when for name, when in ended(runs).items() if name in done} == done, "none ran twice"
    undisturbed = tmp_path / "undisturbed"
    for config in troubled_runs.configs():
        toy.run_toy(config, undisturbed, "cpu")
    found, expected = histories(runs), histories(undisturbed)
    assert found.keys() == expected.keys()
    for name, history in expected.items():
        pd.testing.assert_frame_equal(found[name], history, check_exact=True)
