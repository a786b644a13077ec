"""A headless Chromium without a network, and what a page of maps costs in it: to open, to pan, to answer the mouse.

The mouse is a real one, sent by the browser's own input; what is timed, is timed inside the page.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsada_lab.errors import UserError

SIZE = {"width": 1280, "height": 720}
MOVES, PATIENCE = 40, 8.0
"""Of a drag: steps, and seconds after which it ends before that."""

SETTLED = """
  let frames = 0;
  const settle = () => (++frames < 6 ? requestAnimationFrame(settle) : (window.__drawn = performance.now()));
"""
"""After the maps are there, six frames: as many as the explorer takes to draw three of them smooth, one a frame."""

# A frame is counted if a move of the mouse was handled in it: from its beginning to that of the next one.
_WATCH = """() => {
  const seen = window.__seen = { frames: [], moves: 0 };
  window.addEventListener("pointermove", () => { seen.moves += 1; }, true);
  const tick = (time) => { seen.frames.push([time, seen.moves]); requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""
_FRAMES = """() => window.__seen.frames.map(([time, moves], k, all) =>
  (k > 0 && k + 1 < all.length && moves > all[k - 1][1] ? all[k + 1][0] - time : 0)).filter((gap) => gap > 0)"""
_ANSWERS = """(selector) => {
  const hover = window.__hover = { began: 0, took: null };
  window.addEventListener("pointermove", () => { hover.began = performance.now(); }, true);
  const answer = () => { hover.took ??= performance.now() - hover.began; };
  for (const element of document.querySelectorAll(selector)) {
    new MutationObserver(answer).observe(element, { childList: true, subtree: true });
  }
}"""


@dataclass(frozen=True)
class Handles:
    """What has to be known of a page to drive it.

    Attributes:
        answer: selector of the element that changes when a point is under the mouse.
        place: JavaScript `(row, panel) -> [x, y]` of the window.
        redraw: JavaScript that draws all three maps at once, as while they move; empty where that is done elsewhere.
    """

    answer: str
    place: str
    redraw: str


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; its path is looked up, or in the variable CHROMIUM."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise UserError("there is no Chromium here; install it, or give its path in the variable CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path) -> Iterator[tuple[Any, float]]:
    """A page opened without a network, and the seconds from asking for it until all is drawn."""
    context = browser.new_context(offline=True, viewport=SIZE)
    context.set_default_timeout(300_000)
    page = context.new_page()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_function("() => window.__drawn")
    yield page, page.evaluate("window.__drawn") / 1000
    context.close()


def hover_times(page: Any, handles: Handles, rows: list[int]) -> list[float]:
    """Milliseconds from the mouse's move until the page holds the answer, for points of all three maps in turn."""
    page.evaluate(_ANSWERS, handles.answer)
    times = []
    for number, row in enumerate(rows):
        x, y = page.evaluate(f"([row, panel]) => ({handles.place})(row, panel)", [row, number % 3])
        page.mouse.move(x + 60, y + 60)
        page.wait_for_timeout(150)  # Plotly answers at most every 50 ms
        page.evaluate("() => { window.__hover.took = null; }")
        page.mouse.move(x, y)
        page.wait_for_function("() => window.__hover.took !== null")
        times.append(page.evaluate("window.__hover.took"))
    return times


def pan_times(page: Any, handles: Handles) -> list[float]:
    """Milliseconds of every frame in which the middle map was dragged on."""
    x, y = page.evaluate(f"({handles.place})(0, 1)")
    page.evaluate(_WATCH)
    page.mouse.move(x, y)
    page.mouse.down()
    began = time.perf_counter()
    for step in range(1, MOVES + 1):
        page.mouse.move(x + 2 * step, y + step)
        if time.perf_counter() - began > PATIENCE:
            break
    page.mouse.up()
    page.wait_for_timeout(100)
    times: list[float] = page.evaluate(_FRAMES)
    return times


def redraw_times(page: Any, handles: Handles, count: int) -> list[float]:
    """Milliseconds that the page works to draw all three maps anew, as while they move."""
    if not handles.redraw:
        return []
    script = f"() => {{ const began = performance.now(); ({handles.redraw})(); return performance.now() - began; }}"
    return [page.evaluate(script) for _ in range(count)]
