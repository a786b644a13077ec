"""Draws assets/lab_*.webp: lessons open in JupyterLab, 1280 x 720, in Chromium (needs playwright; no network).

Also takes assets/notebook_07.png, the still picture of a figure, from the lesson that stores it.

A lesson whose name is followed by True is run first, so that what can be taken in hand is alive; the runs it trains go
to a temporary folder. Others are shown as they are stored.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
SHOTS = {
    "lab_00.webp": ("00_quickstart", "gap-figure", False),
    "lab_03.webp": ("03_adversarial_alignment", "hand-game", True),
    "lab_08.webp": ("08_feature_space", "explorer", True),
}


def cells_of(notebook: str) -> list[Any]:
    """All cells of a stored lesson."""
    return list(nbformat.read(HERE.parent / "notebooks" / f"{notebook}.ipynb", as_version=4).cells)


def stored_picture(notebook: str, name: str) -> bytes:
    """The still picture beside the figure of a cell."""
    (cell,) = [cell for cell in cells_of(notebook) if cell.id == name]
    return base64.b64decode(next(output.data["image/png"] for output in cell.outputs if "data" in output))


def show(page: Page, address: str, notebook: str, cell: str, *, alive: bool) -> bytes:
    """The window with this cell in its upper part."""
    page.goto(address)
    page.locator("#jp-main-statusbar").get_by_text("(ipykernel) | Idle").wait_for()
    number = [each.id for each in cells_of(notebook)].index(cell)
    shown = page.locator(".jp-Notebook > .jp-Notebook-cell, .jp-WindowedPanel-viewport > .jp-Cell").nth(number)
    command: Any = "([name]) => window.jupyterapp.commands.execute(name)"
    page.evaluate(command, ["application:toggle-left-area"])
    if alive:
        shown.locator(".jp-InputPrompt").first.click()
        page.evaluate(command, ["notebook:run-all-above"])
        page.evaluate(command, ["notebook:run-cell"])
        page.wait_for_function(
            "(cell) => /\\[\\d+\\]/.test(cell.querySelector('.jp-InputPrompt').innerText) && !document.querySelector("
            "'.jp-Notebook')?.innerText.includes('[*]')",
            arg=shown.element_handle(),
        )
    shown.evaluate("(cell) => cell.scrollIntoView({ block: 'start' })")
    for still in shown.locator(".plot-img").all():
        still.dispatch_event("mouseenter")
    page.wait_for_timeout(4000)
    return bytes(page.screenshot())


def main() -> None:
    """Draw all, or those that are named."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from jupyter_lab import CHROMIUM, TOKEN, jupyter_lab  # the server of the tests, which leaves the user's alone

    (HERE / "notebook_07.png").write_bytes(stored_picture("07_results", "paired-figure"))
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        for notebook in {notebook for notebook, _, _ in SHOTS.values()}:
            shutil.copy(HERE.parent / "notebooks" / f"{notebook}.ipynb", folder)
        with jupyter_lab(Path(folder)) as (_, url):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for name, (notebook, cell, alive) in SHOTS.items():
                if sys.argv[1:] and name not in sys.argv[1:]:
                    continue
                page = browser.new_page(viewport={"width": 1280, "height": 720})
                page.set_default_timeout(300_000)
                address = f"{url}lab/tree/{notebook}.ipynb?token={TOKEN}&reset"
                picture = Image.open(io.BytesIO(show(page, address, notebook, cell, alive=alive)))
                picture.convert("RGB").save(HERE / name, quality=82, method=6)
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
