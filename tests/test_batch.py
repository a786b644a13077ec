"""Grids of runs: which, that a failure stays alone, and that they run in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from toy import SMALL, run_toy

from mmsada_lab import batch
from mmsada_lab.batch import grid, run_grid
from mmsada_lab.config import METHODS
from mmsada_lab.errors import UserError
from mmsada_lab.runs import load_runs


def toy_grid(*domains: str, methods: tuple[str, ...] = ("source_only",), seeds: int = 1, **overrides: object) -> list:
    return grid(domains, methods=methods, seeds=range(seeds), data="toy", preset="quick", overrides=SMALL | overrides)


class TestGrid:
    def test_every_method_on_every_ordered_pair_with_every_seed(self) -> None:
        configs = toy_grid("A", "B", "C", methods=tuple(METHODS), seeds=2)
        assert len(configs) == 2 * ((len(METHODS) - 1) * 6 + 3)
        assert len({config.digest for config in configs}) == len(configs)
        assert Counter(config.method for config in configs) == {**dict.fromkeys(METHODS, 12), "supervised_target": 6}
        pairs = {str(config.pair) for config in configs if config.method == "mmsada"}
        assert pairs == {"A→B", "B→A", "A→C", "C→A", "B→C", "C→B"}
        assert {str(c.pair) for c in configs if c.method == "supervised_target"} == {"A→A", "B→B", "C→C"}
        assert {config.seed for config in configs} == {0, 1}

    def test_overrides_reach_every_run(self) -> None:
        assert {config.batch_size for config in toy_grid("A", "B", methods=("mmsada", "adabn"), batch_size=8)} == {8}

    def test_bad_names_are_answered_before_anything_runs(self) -> None:
        with pytest.raises(UserError, match=r"unknown method 'mmsda'.*Did you mean 'mmsada'\?"):
            toy_grid("A", "B", methods=("mmsda",))


def test_runs_in_processes_of_their_own_and_a_failure_stays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Domain X does not exist."""
    monkeypatch.setattr(batch, "_run_one", run_toy)
    configs = toy_grid("A", "B") + toy_grid("A", "X")[:1]
    failures = run_grid(configs, tmp_path, jobs=2, device="cpu")
    assert [(str(config.pair), message.partition(";")[0]) for config, message in failures] == [
        ("A→X", "unknown domain 'X'")
    ]
    assert set(load_runs(tmp_path)["source"]) == {"A", "B"}
    assert "1 failed" in capfd.readouterr().err


PARENT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from mmsada_lab.batch import _start_worker

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker, initargs=(1,)) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(120)
"""


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(batch.__file__).parents[1])}
    command = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while _lives(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
