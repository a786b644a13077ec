"""`mmsada lab`: copies of the lessons that belong to their reader, and a JupyterLab whose `runs` are the commands'."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jupyter_lab import TOKEN, environment
from toy import Mmsada

from mmsada_lab.errors import UserError
from mmsada_lab.publish import lab
from mmsada_lab.publish.lab import copy_lessons, lab_arguments

NAMES = ("00_first", "01_second")


def write_lesson(path: Path, *sources: str, outputs: bool = False) -> bytes:
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "metadata": {}, "source": f"# {path.stem}"}]
    given: list[dict[str, str]] = [{"output_type": "stream", "name": "stdout", "text": "1"}] if outputs else []
    code = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": given}
    cells += [{**code, "source": source} for source in sources]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path.read_bytes()


def run_in_jupyter(path: Path) -> bytes:
    """What JupyterLab makes of a notebook that is opened, run and saved."""
    book = json.loads(path.read_bytes())
    book["metadata"]["kernelspec"] = {"name": "python3"}
    for cell in book["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        if cell["cell_type"] == "markdown":
            cell["attachments"] = {}
        else:
            cell["outputs"], cell["execution_count"] = [{"output_type": "stream", "name": "stdout", "text": "2"}], 1
    empty = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": []}
    book["cells"].append(empty)
    path.write_text(json.dumps(book, indent=1))
    return path.read_bytes()


@pytest.fixture
def lessons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's folder of two lessons."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in NAMES:
        write_lesson(folder / f"{name}.ipynb", "x = 1", "print(x)", outputs=True)
    monkeypatch.setattr(lab, "find_notebooks", lambda: sorted(folder.glob("*.ipynb")))
    return folder


class TestCopies:
    def test_all_are_copied_and_the_lessons_stay_as_they_are(self, lessons: Path, tmp_path: Path) -> None:
        before = {path.name: path.read_bytes() for path in lessons.iterdir()}
        copies = copy_lessons(tmp_path / "to/mine")
        assert (copies.new, copies.renewed, copies.changed) == (NAMES, (), ())
        assert {path.name: path.read_bytes() for path in (tmp_path / "to/mine").glob("*.ipynb")} == before
        assert {path.name: path.read_bytes() for path in lessons.iterdir()} == before

    def test_what_was_only_run_keeps_its_outputs_until_the_lesson_changes(self, lessons: Path, tmp_path: Path) -> None:
        copy_lessons(tmp_path / "mine")
        copy = tmp_path / "mine/00_first.ipynb"
        executed = run_in_jupyter(copy)
        copies = copy_lessons(tmp_path / "mine")
        assert (copies.new, copies.renewed, copies.changed) == ((), (), ())
        assert copy.read_bytes() == executed
        newer = write_lesson(lessons / "00_first.ipynb", "x = 2")
        assert copy_lessons(tmp_path / "mine").renewed == ("00_first",)
        assert copy.read_bytes() == newer
        assert copy_lessons(tmp_path / "mine").renewed == ()

    def test_what_somebody_changed_is_never_overwritten(self, lessons: Path, tmp_path: Path) -> None:
        copy_lessons(tmp_path / "mine")
        copy = tmp_path / "mine/00_first.ipynb"
        changed = write_lesson(copy, "x = 1", "print(x + 1)")
        write_lesson(lessons / "00_first.ipynb", "x = 2")
        write_lesson(lessons / "02_third.ipynb", "z = 3")
        copies = copy_lessons(tmp_path / "mine")
        assert (copies.new, copies.renewed, copies.changed) == (("02_third",), (), ("00_first",))
        assert copy.read_bytes() == changed
        assert "changed by you and left so: 00_first (--fresh" in str(copies)

    def test_fresh_keeps_the_changed_ones_beside(self, lessons: Path, tmp_path: Path) -> None:
        copy_lessons(tmp_path / "mine")
        copy, lesson = tmp_path / "mine/00_first.ipynb", (lessons / "00_first.ipynb").read_bytes()
        run_in_jupyter(tmp_path / "mine/01_second.ipynb")
        kept = []
        for number, name in enumerate(("00_first.mine.ipynb", "00_first.mine2.ipynb")):
            kept.append((tmp_path / "mine" / name, write_lesson(copy, f"x = {number + 5}")))
            copies = copy_lessons(tmp_path / "mine", fresh=True)
            assert copies.set_aside == (name,)
            assert f"yours: {name}" in str(copies)
            assert copy.read_bytes() == lesson
        assert all(path.read_bytes() == content for path, content in kept)
        assert (tmp_path / "mine/01_second.ipynb").read_bytes() == (lessons / "01_second.ipynb").read_bytes()
        assert copy_lessons(tmp_path / "mine").changed == ()

    def test_a_copy_that_was_deleted_comes_back(self, lessons: Path, tmp_path: Path) -> None:
        copy_lessons(tmp_path / "mine")
        (tmp_path / "mine/01_second.ipynb").unlink()
        assert copy_lessons(tmp_path / "mine").new == ("01_second",)

    @pytest.mark.usefixtures("lessons")
    @pytest.mark.parametrize("record", [None, "", "[]", "{"])
    def test_without_a_record_a_notebook_of_that_name_is_somebody_s(self, record: str | None, tmp_path: Path) -> None:
        copy_lessons(tmp_path / "mine")
        (tmp_path / "mine" / lab.COPIES).unlink()
        if record is not None:
            (tmp_path / "mine" / lab.COPIES).write_text(record)
        (tmp_path / "mine/00_first.ipynb").write_text("no notebook at all")
        copies = copy_lessons(tmp_path / "mine")
        assert (copies.changed, (tmp_path / "mine/00_first.ipynb").read_text()) == (("00_first",), "no notebook at all")

    @pytest.mark.parametrize("below", ["", "copies"])
    def test_not_into_the_lessons_themselves(self, below: str, lessons: Path) -> None:
        with pytest.raises(UserError, match="where the lessons themselves lie; choose another"):
            copy_lessons(lessons / below)

    @pytest.mark.usefixtures("lessons")
    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises((UserError, OSError)):
            copy_lessons(tmp_path / "file")


class TestCommand:
    @pytest.fixture
    def started(self, lessons: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """Arguments that JupyterLab was started with."""
        assert lessons.is_dir()
        calls: list[list[str]] = []
        monkeypatch.setattr(lab, "start_lab", calls.append)
        monkeypatch.setattr(lab, "require_lab", lambda: None)
        return calls

    def test_on_this_machine_with_the_commands_folder(
        self, mmsada: Mmsada, started: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        said = mmsada("lab", "--no-browser", "--", "--port", "9999")
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("lessons: runs/lessons (copies: ")
        (arguments,) = started
        assert arguments[0] == "--ServerApp.ip=127.0.0.1"
        assert arguments[-3:] == ["--ServerApp.open_browser=False", "--port", "9999"]
        assert f"--ServerApp.root_dir={tmp_path}/runs/lessons" in arguments
        assert f"--MappingKernelManager.root_dir={tmp_path}" in arguments

    def test_with_a_browser_elsewhere_anew(self, mmsada: Mmsada, started: list[list[str]], tmp_path: Path) -> None:
        said = mmsada("lab", "--to", tmp_path / "mine", "--fresh")
        assert said.code == 0
        assert not any("open_browser" in argument for argument in started[0])
        assert (tmp_path / "mine/00_first.ipynb").is_file()

    @pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
    def test_for_root_as_well(self, user: int, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.geteuid", lambda: user)
        assert ("--allow-root" in lab_arguments(Path("lessons"))) == allowed

    @pytest.mark.usefixtures("lessons")
    def test_without_jupyterlab_nothing_is_copied(
        self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lab, "find_spec", lambda _: None)
        said = mmsada("lab", "--to", tmp_path / "mine")
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("error: jupyterlab not installed; run pip install")
        assert not (tmp_path / "mine").exists()


def written(runtime: Path) -> list[Path]:
    """Files in which servers say where they are, whole ones: a file is there before its words are."""
    return [path for path in runtime.glob("jpserver-*.json") if path.read_text().rstrip().endswith("}")]


class Server:
    """`mmsada lab` in a folder of its own, asked by its interface."""

    def __init__(self, process: subprocess.Popen[bytes], root: Path) -> None:
        self.process, self.root = process, root
        runtime = Path(environment(root)["JUPYTER_RUNTIME_DIR"])
        files: list[Path] = []
        self.wait(lambda: bool(files.extend(written(runtime)) or files))
        self.runtime, self.facts = runtime, json.loads(files[0].read_text())

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < end, (self.root / "log").read_text()
            time.sleep(0.05)

    def ask(self, path: str, content: object = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        request, end = urllib.request.Request(f"{self.facts['url']}{path}", body, headers), time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError:
                raise
            except urllib.error.URLError:  # it says where it is a moment before it listens
                assert time.monotonic() < end
                time.sleep(0.2)

    def evaluate(self, notebook: str, code: str) -> str:
        """What code prints in the kernel of a notebook."""
        from jupyter_client import BlockingKernelClient

        session = {"path": notebook, "type": "notebook", "name": notebook, "kernel": {"name": "python3"}}
        number = self.ask("api/sessions", session)["kernel"]["id"]
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{number}.json"))
        client.load_connection_file()
        client.start_channels()
        lines: list[str] = []
        try:
            client.wait_for_ready(timeout=60)
            client.execute_interactive(
                code, timeout=60, output_hook=lambda message: lines.append(message["content"].get("text", ""))
            )
        finally:
            client.stop_channels()
        return "".join(lines)


@pytest.mark.skipif(find_spec("jupyterlab") is None, reason="needs JupyterLab")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_lessons_and_commands_mean_the_same_runs_folder(tmp_path: Path) -> None:
    home = tmp_path / "somewhere"
    home.mkdir()
    main = "from mmsada_lab.cli.main import main; main()"
    options = ["--no-browser", "--", "--port=0", f"--IdentityProvider.token={TOKEN}"]
    command = [sys.executable, "-W", "ignore", "-c", main, "lab", *options]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment(tmp_path), stdout=log, stderr=log)
    try:
        server = Server(process, tmp_path)
        assert server.facts["hostname"] == "127.0.0.1"
        shown = {entry["name"] for entry in server.ask("api/contents/")["content"]}
        assert {"00_quickstart.ipynb", "05_mmsada.ipynb"} <= shown
        code = "import os; print(os.path.abspath('runs'), os.environ['OMP_WAIT_POLICY'])"
        assert server.evaluate("05_mmsada.ipynb", code).split() == [str(home / "runs"), "PASSIVE"]
        assert {path.name for path in (home / "runs").iterdir()} == {"lessons"}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_lab_is_the_command() -> None:
    root = Path(__file__).parents[1]
    told = subprocess.run(["make", "-n", "lab"], cwd=root, capture_output=True, text=True, check=True, env=os.environ)
    assert [line for line in told.stdout.splitlines() if line.endswith("bin/mmsada lab")]
