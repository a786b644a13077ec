"""Still pictures beside what is stored alive: for GitHub, for print, for whoever opens a notebook without a kernel.

A picture knows the digest of the figure that it was drawn from, so that a test can tell whether it is still of it. An
explorer is stored as its picture alone: its page would be megabytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nbformat import NotebookNode
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmsada_lab.publish.notebooks import FIGURE

PICTURE = "image/png"
WIDTH = 870
EXPLORER = (1100, 700)
COLOURS = 96  # of a picture: figures have few, and so it takes a fifth
_NAME = "figure"
_FRAME = re.compile(r"^<iframe title=\"Explorer [^<>]*srcdoc='(?P<page>[^']*)'></iframe>$")


def figure_digest(figure: Mapping[str, Any]) -> str:
    """Of everything that a figure consists of."""
    return hashlib.sha256(json.dumps(figure, sort_keys=True).encode()).hexdigest()[:16]


def drawn_from(picture: str) -> str:
    """The digest that a stored picture carries; empty if it carries none."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        return str(getattr(image, "text", {}).get(_NAME, ""))


def without_picture(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a figure's cell gives by itself."""
    return {kind: value for kind, value in data.items() if not (kind == PICTURE and FIGURE in data)}


def add_pictures(notebook: NotebookNode) -> None:
    """Give every stored figure its picture, and put one in the place of every explorer."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    figures = [output for output in outputs if FIGURE in output.data]
    explorers = [(output, found) for output in outputs if (found := _FRAME.match(output.data.get("text/html", "")))]
    if not figures and not explorers:
        return
    with _browser() as browser:
        pictures = _draw(browser, [output.data[FIGURE] for output in figures])
        for output, picture in zip(figures, pictures, strict=True):
            output.data[PICTURE] = _packed(picture, {_NAME: figure_digest(output.data[FIGURE])})
        for output, found in explorers:
            picture = _photograph(browser, html.unescape(found["page"]))
            output.data = NotebookNode({"text/plain": output.data["text/plain"], PICTURE: _packed(picture, {})})


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def _draw(browser: Any, figures: Sequence[Mapping[str, Any]]) -> list[bytes]:
    from plotly.offline import get_plotlyjs

    page = browser.new_page()
    page.set_content("<!DOCTYPE html><html><body></body></html>")
    page.add_script_tag(content=get_plotlyjs())
    drawn = []
    for figure in figures:
        height = int(figure["layout"]["height"])
        shown = {"data": figure["data"], "layout": figure["layout"]}
        url = page.evaluate(
            "([figure, width, height]) => Plotly.toImage(figure, { format: 'png', width, height })",
            [shown, WIDTH, height],
        )
        drawn.append(base64.b64decode(url.partition(",")[2]))
    page.close()
    return drawn


def _photograph(browser: Any, page_source: str) -> bytes:
    page = browser.new_page(viewport={"width": EXPLORER[0], "height": EXPLORER[1]})
    page.set_content(page_source)
    page.wait_for_function("() => window.__explorers?.length")
    page.wait_for_timeout(500)
    picture = bytes(page.screenshot())
    page.close()
    return picture


def _packed(picture: bytes, facts: Mapping[str, str]) -> str:
    """A PNG of few colours, with texts in it, as base64."""
    notes = PngInfo()
    for name, text in facts.items():
        notes.add_text(name, text)
    packed = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(packed, "png", optimize=True, pnginfo=notes)
    return base64.b64encode(packed.getvalue()).decode() + "\n"
