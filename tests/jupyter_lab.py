"""A JupyterLab of its own for tests: nothing of the user's is read or written, and it ends with all its kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
REQUIRED = os.environ.get("MMSADA_BROWSER") == "required"  # as .ci/run has it: what is missing is an error there
LACKING = [
    name
    for name, there in (
        ("the package playwright", find_spec("playwright")),
        ("Chromium (or its path in the variable CHROMIUM)", CHROMIUM),
        ("JupyterLab", find_spec("jupyterlab")),
    )
    if there is None
]
needs_jupyter_lab = pytest.mark.skipif(bool(LACKING) and not REQUIRED, reason=f"needs {' and '.join(LACKING)}")

TESTS = Path(__file__).parent
TOKEN = "a-token-of-tests"


def environment(root: Path) -> dict[str, str]:
    """Nothing of the user's JupyterLab is read, and nothing written there; kernels know the toy and this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_"))}
    names = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    names += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    return {**kept, **{name: str(root / ".jupyter" / name) for name in names}, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}


def write_settings(folder: Path) -> None:
    """No news, no search for extensions: nothing is asked for outside, and no dialog stands in the way."""
    settings: dict[str, dict[str, Any]] = {
        "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is drawn, in sight or not
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "extensionmanager-extension/plugin": {"enabled": False},
    }
    for name, values in settings.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


@contextmanager
def jupyter_lab(root: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A server of its own on a free port; it ends with all its kernels, and what those started."""
    variables = environment(root)
    write_settings(Path(variables["JUPYTERLAB_SETTINGS_DIR"]))
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    options += [f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}", "--LabApp.news_url=None"]
    options += [
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True",
        "--ServerApp.shutdown_no_activity_timeout=600",
    ]
    log = root / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=variables, stdout=out, stderr=out, cwd=root
        )
    try:
        runtime = Path(variables["JUPYTER_RUNTIME_DIR"])
        end = time.monotonic() + 120
        while not (files := [f for f in runtime.glob("jpserver-*.json") if f.read_text().rstrip().endswith("}")]):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield psutil.Process(server.pid), json.loads(files[0].read_text())["url"]
    finally:
        below = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        server.terminate()  # it shuts its kernels down
        _, alive = psutil.wait_procs(below, timeout=10)
        for process in (*alive, server):
            process.kill()
        server.wait()
