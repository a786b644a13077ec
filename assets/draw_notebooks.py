"""Draws assets/notebook_*.png: stored figures of the notebooks, as Chromium shows them (needs chromium, no network)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from plotly.io import to_html

HERE = Path(__file__).parent
WIDTH, HEIGHT = 870, 381  # the height of a figure that does not say its own
QUIET = {"displayModeBar": False}
FIGURES = {
    "notebook_03.png": ("03_adversarial_alignment", "One step of gradient descent"),
    "notebook_04.png": ("04_correspondence", "correspondence_batch=repair"),
    "notebook_07.png": ("07_results", "every pair and seed"),
}


def stored_figure(notebook: str, title: str) -> dict[str, Any]:
    """The stored figure of a notebook with these words in its title."""
    cells = nbformat.read(HERE.parent / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    figures = [data["application/vnd.plotly.v1+json"] for data in outputs if "application/vnd.plotly.v1+json" in data]
    return next(figure for figure in figures if title in figure["layout"]["title"]["text"])


def draw(figure: dict[str, Any], file: Path) -> None:
    """A screenshot of a figure on a page of its own."""
    height = int(figure["layout"].get("height") or HEIGHT)
    drawn = {"data": figure["data"], "layout": {**figure["layout"], "width": WIDTH, "height": height}}
    with TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(
            f"<style>body {{ margin: 0 }}</style>{to_html(drawn, config=QUIET, full_html=False)}", encoding="utf-8"
        )
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=10000"]
        size = f"--window-size={WIDTH},{height}"
        command = ["chromium", *flags, size, f"--screenshot={file}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    for name, (notebook, title) in FIGURES.items():
        draw(stored_figure(notebook, title), HERE / name)
