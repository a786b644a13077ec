"""Draws assets/explorer.webp: the explorer of the reference runs in Chromium, from source-only to one clip.

Needs playwright and chromium, no network. The clip is the first of the target that source-only got wrong and MM-SADA
right, and that flow had right before; the last pictures are of all clips of its class.
"""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from mmsada_lab.explorer.page import write_page
from mmsada_lab.explorer.scene import build_scene
from mmsada_lab.sweeps.keep import reference_runs

SIZE, SHOWN = (1280, 720), (1024, 576)
SLIDER = ".bar input[type=range]"
POINTER = """() => { const dot = document.createElement("div"); document.body.append(dot);
  dot.style.cssText = "position: fixed; width: 14px; height: 14px; border: 2px solid; border-radius: 50%; z-index: 9;"
    + "pointer-events: none; transform: translate(-50%, -50%)";
  addEventListener("mousemove", (e) => { dot.style.left = `${e.clientX}px`; dot.style.top = `${e.clientY}px`; }, true);
}"""

Frame = tuple[Image.Image, int]


def array(entry: dict[str, Any]) -> NDArray[Any]:
    """An array of the scene."""
    return np.frombuffer(base64.b64decode(entry["base64"]), entry["dtype"]).reshape(entry["shape"])


def won_clip(scene: dict[str, Any]) -> int:
    """Row of the clip to show."""
    views = {view["key"]: array(view["predicted"]) for view in scene["series"][0]["views"]}
    label, target = array(scene["points"]["label"]), array(scene["points"]["domain"]) == 1
    before, after = (views[name] == label for name in ("source_only", "mmsada"))  # (panels, N): fused, rgb, flow
    return int(np.flatnonzero(target & ~before[0] & before[2] & after[0])[0])


def frames(page: Page, row: int) -> Iterator[Frame]:
    """The walk: pictures and how long each is shown (milliseconds)."""

    def shot(milliseconds: int) -> Frame:
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        return picture.resize(SHOWN, Image.Resampling.LANCZOS), milliseconds

    yield shot(1500)
    page.locator(SLIDER).focus()
    page.keyboard.press("End")
    for _ in range(10):
        yield shot(90)
    page.wait_for_function("!window.__explorers[0].state().moving")
    yield shot(1200)
    page.get_by_label("Colour").select_option(label="flipped by adaptation")
    yield shot(1800)
    place = page.evaluate(f"window.__explorers[0].locate({row}, 0)")
    x, y = (place["x"], place["y"]) if isinstance(place, dict) else place
    page.mouse.move(x - 60, y + 40)
    page.mouse.move(x, y, steps=6)
    page.wait_for_timeout(300)
    yield shot(900)
    page.mouse.click(x, y)
    page.wait_for_timeout(300)
    for _ in range(16):
        page.wait_for_timeout(60)
        yield shot(130)
    page.get_by_text("Confusion", exact=True).first.click()
    page.get_by_label("Compare with").select_option(label="method")  # its first view: source-only
    yield shot(1500)
    page.locator("button.cell.diagonal").first.click()
    for _ in range(8):
        page.wait_for_timeout(60)
        yield shot(130)
    yield shot(1500)


if __name__ == "__main__":
    scene = build_scene(reference_runs(), source="D1", target="D3", series=["method", "λd"])
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = write_page(scene, Path(folder, "map.html"))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(path.as_uri())
        page.wait_for_function("window.__explorers?.length")
        page.wait_for_timeout(1000)
        page.evaluate(POINTER)
        pictures, durations = zip(*frames(page, won_clip(scene.content)), strict=True)
        browser.close()
    first, *others = pictures
    file = Path(__file__).with_name("explorer.webp")
    first.save(file, save_all=True, append_images=others, duration=list(durations), loop=0, quality=70, method=6)
