"""One thread for every test, the toy's format, and the folder of tests on the path so that tests can share `toy`."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded; children inherit it, and their last bits depend on it
sys.path.insert(0, str(Path(__file__).parent))

import pytest
import torch
import toy

from mmsada_lab.cli import main as cli
from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.datasets.open import FORMATS

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """One cache for all processes of a session, and none of the user's."""
    if not hasattr(config, "workerinput") and "MMSADA_CACHE" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="mmsada-tests-")
        config.add_cleanup(folder.cleanup)
        os.environ["MMSADA_CACHE"] = folder.name


def pytest_collection_finish() -> None:
    """Runs collect garbage when they end; keep them from going through every imported module each time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Whatever another test has set: last bits depend on it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for a module's tests; where it is missing they are left out, unless it is required."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    from jupyter_lab import CHROMIUM, REQUIRED

    if CHROMIUM is None and not REQUIRED:
        pytest.skip("needs Chromium (or its path in the variable CHROMIUM)")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def toy_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_data("toy")` gives the toy."""
    monkeypatch.setitem(FORMATS, "toy", toy.TOY)


@pytest.fixture
def open_as_toy(monkeypatch: pytest.MonkeyPatch):
    """Let `load_data("toy")` give another data set."""

    def put(data: MultiDomainData) -> None:
        monkeypatch.setattr(toy, "OTHER", data)
        monkeypatch.setitem(FORMATS, "toy", replace(toy.TOY, opener="toy:open_other"))

    return put


@pytest.fixture
def mmsada(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> toy.Mmsada:
    """The command, in this process."""

    def call(*words: str | Path) -> toy.Said:
        monkeypatch.setattr("sys.argv", ["mmsada", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return toy.Said(end.value.code or 0, *capsys.readouterr())

    return call
