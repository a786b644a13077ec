"""The explorer as a notebook stores it and as the gallery shows it: a page in a frame, no larger than was asked for."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytest.importorskip("anywidget", reason="needs the notebook packages")

from mmsada_lab.explorer.page import render_page, still_frame
from mmsada_lab.explorer.scene import ExplorerScene, coded, view_colours
from mmsada_lab.explorer.strips import SIZES, Strips
from mmsada_lab.explorer.widget import Explorer
from mmsada_lab.publish.notebooks import FIGURE, WIDGET, without_widgets, write_page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
COUNT = 40
DOT = bytes.fromhex("524946461a000000574542505650384c0d0000002f00000010071011118888fe0700")  # a WebP of one pixel


@pytest.fixture
def scene() -> ExplorerScene:
    """Two clouds; a class's name would end a script, an attribute and a frame."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1], COUNT // 2).astype(np.uint8)
    view = {
        "key": "source_only",
        "title": "Source-only",
        "value": None,
        "note": "",
        "positions": coded(rng.integers(-30000, 30000, (1, COUNT, 2)).astype(np.int16)),
        "predicted": coded(np.zeros((1, COUNT), np.int16)),
        "confidence": coded(np.full((1, COUNT), 200, np.uint8)),
        **dict.fromkeys(("windows", "own", "across", "travel")),
        "accuracy": {},
        "gap": {},
        "overlap": {},
    }
    content = {
        "version": 1,
        "title": "toy, A→B",
        "notes": [],
        "classes": ["""'></iframe><script>alert("&lt;")</script>""", "take"],
        "domains": [{"name": "A", "side": "source"}, {"name": "B", "side": "target"}],
        "panels": [{"key": "fused", "title": "fused"}],
        "modalities": ["rgb"],
        "colours": view_colours(),
        "points": {
            "uid": [f"clip{k}" for k in range(COUNT)],
            "domain": coded(domain),
            "label": coded(np.zeros(COUNT, np.int16)),
        },
        "series": [{"key": "method", "title": "method", "views": [view]}],
        "clips": {
            "piece": 8,
            "frames": 1,
            "rate": 8,
            "modalities": {"rgb": {"width": 1, "height": 1, "type": "image/webp"}},
        },
        "sweeps": [],
        "reference": None,
    }
    return ExplorerScene(content, Strips(SIZES[0], {"rgb": (1, 1)}, {"rgb": [DOT * (k + 1) for k in range(COUNT)]}))


def page_in(frame: str) -> str:
    (quoted,) = re.findall(r"^<iframe [^<>]*srcdoc='([^']*)'></iframe>$", frame)
    return html.unescape(quoted)


def clips_of(page: str) -> list[str]:
    (text,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', page)
    return json.loads(text)["rgb"]


def test_the_page_is_whole_in_its_frame(scene: ExplorerScene) -> None:
    frame = still_frame(scene)
    assert page_in(frame) == render_page(scene)
    assert 'sandbox="allow-scripts"' in frame
    assert 'title="Explorer of toy, A→B"' in frame


def test_it_has_as_many_clips_as_fit_and_says_so(scene: ExplorerScene) -> None:
    without = len(render_page(ExplorerScene(scene.content, None)).encode())
    frame = still_frame(scene, largest=without + 20_000)
    kept = [row for row, clip in enumerate(clips_of(page_in(frame))) if clip]
    assert 5 < len(kept) < COUNT - 5
    assert min(kept) < COUNT // 2 <= max(kept), "of both domains"
    assert f"this stored copy has the clips of {len(kept)} of {COUNT} segments" in page_in(frame)
    assert len(frame.encode()) <= without + 20_000
    assert frame == still_frame(scene, largest=without + 20_000), "the same every time"
    assert not any(clips_of(page_in(still_frame(scene, largest=1000))))
    assert scene.content["notes"] == [], "the scene itself stays as it is"


class TestInANotebook:
    def test_where_nobody_watches_there_is_the_page_alone(
        self, scene: ExplorerScene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
            monkeypatch.delenv(name, raising=False)
        data, _ = Explorer(scene)._repr_mimebundle_()
        assert data.keys() == {"text/plain", "text/html"}
        assert data["text/plain"] == f"Explorer of toy, A→B: {COUNT} segments, 1 series"

    def test_where_somebody_does_there_is_the_widget_too(
        self, scene: ExplorerScene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
        data, _ = Explorer(scene)._repr_mimebundle_()
        assert data.keys() == {"text/plain", "text/html", WIDGET}

    def test_what_needs_a_kernel_is_left_out(self) -> None:
        bar, explorer = ({"data": {WIDGET: {}, "text/plain": ""}}, {"data": {WIDGET: {}, "text/html": "<p>"}})
        figure, printed = {"data": {WIDGET: {}, FIGURE: {}}}, {"output_type": "stream", "text": "x"}
        shown = list(without_widgets([bar, explorer, figure, printed]))
        assert shown == [{"data": {"text/html": "<p>"}}, {"data": {FIGURE: {}}}, printed]


@pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("MMSADA_BROWSER") != "required",
    reason="needs Chromium (or its path in the variable CHROMIUM)",
)
def test_the_gallery_s_page_draws_it(scene: ExplorerScene, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    output = new_output("display_data", data={"text/html": still_frame(scene), WIDGET: {"model_id": "0"}})
    notebook = new_notebook(cells=[new_code_cell("explore(runs)", outputs=[output])])
    nbformat.write(notebook, tmp_path / "00_it.ipynb")
    write_page(tmp_path / "00_it.ipynb", tmp_path / "page.html")
    said: list[str] = []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.context.set_offline(True)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        frame: Any = next(each for each in page.frames if each != page.main_frame)
        frame.wait_for_function("window.__explorers?.length")
        assert frame.evaluate("window.__explorers[0].state().shown") == COUNT
        assert frame.locator("canvas.map").count() == 1
        assert frame.locator("canvas.map").bounding_box()["width"] > 300
        browser.close()
    assert [line for line in said if not line.startswith("file:")] == []
