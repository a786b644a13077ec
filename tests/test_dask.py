"""Batches on a real scheduler and real worker processes: failures, deaths of workers and of the batch, notebooks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import psutil
import pytest
import torch
import toy
import troubled_runs
from toy import toy_config
from troubled_runs import DIES_ALWAYS, DIES_ONCE, RAISES, attempts

from mmsada_lab.errors import UserError
from mmsada_lab.runs import find_runs, load_runs, read_manifest
from mmsada_lab.sweeps import batch, clusters, jobs
from mmsada_lab.sweeps.batch import run_grid
from mmsada_lab.sweeps.jobs import Failure

pytestmark = pytest.mark.usefixtures("toy_format")
LAUNCH_SECONDS = 60


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with one worker."""
    with clusters.local_workers(1, private=False) as client:
        yield client.scheduler.address


def history_of(runs: Path, seed: int) -> str:
    (folder,) = (path for path in find_runs(runs) if path.name.startswith(f"seed{seed}-"))
    return (folder / "history.jsonl").read_text()


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_a_batch_in_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Two runs finish, one dies once and goes on, one always raises, one always dies, one is a user's mistake."""
    monkeypatch.setattr(batch, "train_quietly", troubled_runs.run)
    listening = []
    submit = batch._Batch._submit
    monkeypatch.setattr(
        batch._Batch, "_submit", lambda self, client: (listening.extend(listeners()), submit(self, client))
    )
    threads = os.environ["OMP_NUM_THREADS"]
    seeds = (DIES_ALWAYS, DIES_ONCE, RAISES, 0, 1)
    configs = [toy_config("source_only", seed=seed) for seed in seeds] + [toy_config("source_only", pair="AX", seed=5)]
    failures = run_grid([*configs, configs[-1]], tmp_path, jobs=2, device="cpu")
    said = {failure.config.seed: failure.message for failure in failures}
    assert len(failures) == len(said) == 3
    assert said[DIES_ALWAYS].startswith("its worker process died")
    assert said[RAISES].startswith("RuntimeError: the lamp fell over (see ")
    assert said[5].startswith("unknown domain 'X'")
    tried = Counter(seed for seed, _ in attempts(tmp_path))
    assert tried == {DIES_ALWAYS: 2, DIES_ONCE: 2, RAISES: 2, 0: 1, 1: 1, 5: 1}
    assert [found for seed, found in attempts(tmp_path) if seed == DIES_ONCE] == [False, True]
    assert set(load_runs(tmp_path)["seed"]) == {DIES_ONCE, 0, 1}
    undisturbed = tmp_path / "undisturbed"
    with threads_of_torch(clusters.threads_per_job(2)):  # the last bits of a sum depend on them
        toy.run_toy(toy_config("source_only", seed=DIES_ONCE), undisturbed, "cpu")
    assert history_of(tmp_path / "toy", DIES_ONCE) == history_of(undisturbed, DIES_ONCE)
    (traceback,) = tmp_path.rglob(jobs.ERROR_FILE)
    assert 'raise RuntimeError("the lamp fell over")' in traceback.read_text()
    assert "3 failed" in (shown := capfd.readouterr().err)
    assert shown.count("its worker process died; out of memory?; tried again") == 2
    assert {host for host, _ in listening} == {clusters.LOCALHOST}
    assert os.environ["OMP_NUM_THREADS"] == threads
    assert "MKL_NUM_THREADS" not in os.environ
    assert not list(tmp_path.glob(".batch-*"))


def listeners() -> list[tuple[str, int]]:
    """Addresses at which this process and its children listen."""
    found = []
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            found += [tuple(c.laddr) for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    return found


def batch_of_its_own(runs: Path) -> subprocess.Popen[str]:
    """A process that runs `troubled_runs.configs` with two workers and prints what failed."""
    command = [sys.executable, troubled_runs.__file__, str(runs)]
    environment = {**os.environ, "PYTHONPATH": str(Path(batch.__file__).parents[1])}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def test_two_batches_share_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str) -> None:
    """Both finish without a failure, and no run is trained twice."""
    monkeypatch.setattr(batch, "train_quietly", troubled_runs.slowly)
    with batch_of_its_own(tmp_path) as other:
        until = time.monotonic() + LAUNCH_SECONDS
        while not list(tmp_path.glob("toy/*/*/seed*/checkpoint.pt")) and time.monotonic() < until:
            assert other.poll() is None
            time.sleep(0.02)
        assert run_grid(troubled_runs.configs(), tmp_path, jobs=1, device="cpu", scheduler=scheduler) == []
        ended = {seed: manifest["ended"] for seed, manifest in finished(tmp_path).items()}
        assert ended.keys() == {0, 1, 2}
        assert other.communicate(timeout=LAUNCH_SECONDS)[0] == "[]\n"
    assert {seed: manifest["ended"] for seed, manifest in finished(tmp_path).items()} == ended
    steps = {seed: history_of(tmp_path, seed).count('"kind": "train"') for seed in ended}
    assert steps == dict.fromkeys(ended, 12)
    assert not list(tmp_path.rglob("error.txt"))


def test_workers_end_with_a_killed_batch_and_nothing_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    with batch_of_its_own(tmp_path) as driver:
        until = time.monotonic() + LAUNCH_SECONDS
        while not finished(tmp_path) and time.monotonic() < until:
            assert driver.poll() is None
            time.sleep(0.02)
        workers = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert workers
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    done = finished(tmp_path)
    assert 1 <= len(done) < 3
    monkeypatch.setattr(batch, "train_quietly", troubled_runs.run)
    assert run_grid(troubled_runs.configs(), tmp_path, jobs=1, device="cpu", scheduler=scheduler) == []
    assert finished(tmp_path).keys() == {0, 1, 2}
    assert {seed: finished(tmp_path)[seed] for seed in done} == done
    assert {m["threads"] for seed, m in finished(tmp_path).items() if seed not in done} == {clusters.threads_per_job(1)}
    tried = Counter(seed for seed, _ in attempts(tmp_path))
    assert {tried[seed] for seed in done} == {1}
    monkeypatch.setattr(batch, "local_workers", None)
    assert run_grid(troubled_runs.configs(), tmp_path, jobs=1, device="cpu") == []


def finished(runs: Path) -> dict[int, dict]:
    """Manifests of the finished runs, by seed."""
    manifests = [read_manifest(path) for path in runs.glob("toy/*/*/seed*/manifest.json")]
    return {m["config"]["seed"]: m for m in manifests if m["status"] == "finished"}


PARAMETERS = """
data: str = ""
preset: str = ""
method: str = ""
source: str = ""
target: str = ""
runs_dir: str = ""
device: str = ""
seed: int = 0
overrides = {}
"""
BUILDING = f"""
if seed == 1:
    raise RuntimeError("seed 1 is taken")
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(batch.__file__).parents[1])!r})
from mmsada_lab.presets import build_config
chosen = dict(source=source, target=target, method=method, data=data, seed=seed, overrides=overrides)
Path(runs_dir, "built.json").write_text(json.dumps([device, build_config(preset, **chosen).to_dict()]))
"""


def write_notebook(path: Path, parameters: str = PARAMETERS) -> Path:
    new = nbformat.v4
    cells = [new.new_code_cell(parameters, metadata={"tags": ["parameters"]}), new.new_code_cell(BUILDING)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def test_notebooks_on_the_workers_of_a_scheduler_that_is_there(tmp_path: Path, scheduler: str) -> None:
    """That of seed 1 fails; each is kept in its run's folder, whole."""
    notebook, runs = write_notebook(tmp_path / "run.ipynb"), tmp_path / "runs"
    configs = [toy_config(seed=seed, adapt__weights__adversarial=0.3) for seed in (0, 1)]
    failures = run_grid(configs, runs, jobs=1, device="cpu", scheduler=scheduler, notebook=notebook)
    kept = {int(path.parent.name[4]): path for path in runs.rglob("notebook.ipynb")}
    assert failures == [Failure(configs[1], f"RuntimeError: seed 1 is taken (in {kept[1]})")]
    assert json.loads((runs / "built.json").read_text()) == ["cpu", json.loads(json.dumps(configs[0].to_dict()))]
    for seed, path in kept.items():
        assert any("injected" in str(cell.metadata) for cell in nbformat.read(path, 4).cells)
        assert path.parent.name == f"seed{seed}-{configs[seed].digest}"
        assert {stray.name for stray in path.parent.iterdir()} == {"notebook.ipynb", ".lock"}


def test_a_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "ANSWER_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://here", "tcp://127.0.0.1:many"):
        with pytest.raises(UserError, match=f"no Dask scheduler answers at '{address}'.*leave --scheduler out"):
            run_grid([toy_config()], tmp_path, jobs=1, device="cpu", scheduler=address)
    assert not list(tmp_path.glob(".batch-*"))
