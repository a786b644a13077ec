"""Two programs that want the same run: a notebook waits and takes the other's result, the command line says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
import toy
from toy import toy_config

import mmsada_lab
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import RunFolder, read_manifest
from mmsada_lab.runtime.processes import in_notebook

LIBRARY = Path(mmsada_lab.__file__).parents[1]
WAITING = "A→B mmsada seed 0 is being trained by another process; waiting for it (interrupt to stop waiting)\n"


@contextmanager
def training(config: ExperimentConfig, runs: Path, *, pause: float) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that trains a run, and the run's folder, as soon as it is locked."""
    command = [sys.executable, "-W", "ignore", toy.__file__, json.dumps(config.to_dict()), str(runs), str(pause)]
    variables = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    folder = RunFolder(runs, config, data_name="toy")
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as child:
        try:
            end = time.monotonic() + 120
            while not folder.checkpoint_path.exists():
                assert child.poll() is None, child.communicate()
                assert time.monotonic() < end
                time.sleep(0.002)
            yield child, folder.path
        finally:
            child.kill()


@pytest.mark.usefixtures("toy_format")
class TestWait:
    def run(self, runs: Path, **options: bool) -> Path:
        return run_experiment(toy_config(), runs, device="cpu", workers=0, show_progress=False, **options)

    def test_on_request_it_takes_the_others_result(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with training(toy_config(), tmp_path, pause=0.01) as (child, path):
            assert self.run(tmp_path, wait=True) == path
            child.wait(timeout=60)
            assert child.returncode == 0, "it was not disturbed"
        manifest = read_manifest(path / "manifest.json")
        assert (manifest["status"], manifest["processes"]) == ("finished", 1)
        assert capsys.readouterr().err == WAITING

    def test_of_one_that_is_stopped_it_goes_on(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with training(toy_config(), tmp_path, pause=0.01) as (child, path):
            child.kill()
            assert self.run(tmp_path, wait=True) == path
        assert read_manifest(path / "manifest.json")["status"] == "finished"
        assert capsys.readouterr().err in ("", WAITING)

    def test_elsewhere_than_in_a_notebook_it_does_not_wait(self, tmp_path: Path) -> None:
        assert not in_notebook()
        with RunFolder(tmp_path, toy_config(), data_name="toy").locked():
            for options in ({}, {"wait": False}):
                with pytest.raises(UserError, match="another process is training"):
                    self.run(tmp_path, **options)


def test_a_lock_is_given_back_although_the_error_is_kept(tmp_path: Path) -> None:
    """As a notebook keeps the last one, with all its frames."""
    first, second = (RunFolder(tmp_path, toy_config(), data_name="toy") for _ in range(2))
    errors = []
    try:
        with first.locked():
            raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        errors.append(error)
    with second.locked():
        assert len(errors) == 1


def execute(folder: Path, *sources: str) -> list[list[nbformat.NotebookNode]]:
    """Outputs of cells that are executed one after another, whatever fails."""
    client = pytest.importorskip("nbclient")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{LIBRARY}{os.pathsep}{Path(toy.__file__).parent}")
        client.NotebookClient(book, allow_errors=True, timeout=120, resources={"metadata": {"path": folder}}).execute()
    return [cell.outputs for cell in book.cells]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_in_a_notebook(tmp_path: Path) -> None:
    """It waits by itself, and a user's mistake is one line."""
    train = f"""import toy
from mmsada_lab import build_config, run_experiment
from mmsada_lab.config import ExperimentConfig
toy.FORMATS["toy"] = toy.TOY
config = ExperimentConfig(**{toy_config().to_dict()!r})
open("ready", "w").close()
print(run_experiment(config, "runs", device="cpu", workers=0, show_progress=False))"""
    mistake = "def choose():\n    return build_config('quick', source='D1', target='D2', method='mmsda')\nchoose()"
    folder = RunFolder(tmp_path / "runs", toy_config(), data_name="toy")
    path, locked = folder.path, threading.Event()

    def hold() -> None:
        with folder.locked():
            locked.set()
            end = time.monotonic() + 100
            while not (tmp_path / "ready").exists() and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(1)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait()
    trained, wrong = execute(tmp_path, train, mistake)
    holder.join()
    assert {output.name: output.text for output in trained} == {
        "stderr": WAITING,
        "stdout": f"{path.relative_to(tmp_path)}\n",
    }
    (shown,) = wrong
    assert (shown.ename, shown.evalue) == ("UserError", shown.traceback[0].removeprefix("UserError: "))
    assert len(shown.traceback) == 1
    assert "unknown method 'mmsda'; choose" in shown.traceback[0]
