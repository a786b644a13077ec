"""The explorer and live training in a real JupyterLab: what a page cannot show is kernel, sockets, keys and themes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
import toy
from jupyter_lab import CHROMIUM, TOKEN, jupyter_lab, needs_jupyter_lab
from toy import toy_config

from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import read_manifest

sync = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytestmark = needs_jupyter_lab

EXPLORER = [
    """import json
import toy
from mmsada_lab.datasets.open import FORMATS
from mmsada_lab.explorer import explore
from mmsada_lab.explorer.scene import build_scene

FORMATS["toy"] = toy.TOY
w = explore("runs", jobs=1)
w""",
    "print(json.dumps([w.selected, w.pinned, w.view]))",
    """w.view, w.pinned = "method/adabn", w.scene["points"]["uid"][4]
w.selected = w.scene["points"]["uid"][2:5]""",
    "w.show(build_scene('runs', jobs=1, at_most=12, clips=0))",
]
LIVE = """from mmsada_lab import build_config
from mmsada_lab.explorer.live import train_live

sizes = {"pretrain.steps": 4, "adapt.steps": 196, "evaluate_every": 4, "evaluate_before": 0, "batch_size": 8}
sizes |= {"width": 4, "test_windows": 1, "keep_features": 6}
config = build_config("quick", source="D2", target="D1", data="kitchens:scale=0.01", overrides=sizes)
train_live(config, "live", device="cpu")"""


def write_notebook(path: Path, cells: list[str]) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(book, path)


class Notebook:
    """A notebook in a tab of the browser."""

    def __init__(self, page: Any, server: psutil.Process, url: str) -> None:
        self.page, self.server = page, server
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.frames: list[str | bytes] = []
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("websocket", lambda socket: socket.on("framereceived", self.receive))
        page.on("request", lambda request: self.outside.append(request.url))
        page.goto(url)
        page.locator("#jp-main-statusbar").get_by_text("(ipykernel) | Idle").wait_for()

    def receive(self, frame: str | bytes) -> None:
        self.frames.append(frame)

    def command(self, name: str, **arguments: str) -> None:
        """One of JupyterLab's commands, as a menu would give it."""
        self.page.evaluate("([name, given]) => window.jupyterapp.commands.execute(name, given)", [name, arguments])

    def cell(self, number: int) -> Any:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run(self, number: int) -> str:
        """Run one cell by its keys; what it printed."""
        cell = self.cell(number)
        prompt = cell.locator(".jp-InputPrompt").first
        before = prompt.inner_text()
        cell.locator(".jp-InputArea .cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(
            "([prompt, before]) => /^\\[\\d+\\]:$/.test(prompt.innerText.trim()) && prompt.innerText !== before",
            arg=[prompt.element_handle(), before],
        )
        return "".join(cell.locator(".jp-OutputArea-output").all_inner_texts())

    def wait(self, condition: str) -> None:
        """Wait until something holds of `s`, the state of the explorer."""
        self.page.wait_for_function(f"() => {{ const s = window.__explorers[0].state(); return {condition}; }}")

    @property
    def state(self) -> dict[str, Any]:
        return self.page.evaluate("window.__explorers[0].state()")

    def places(self, count: int) -> np.ndarray:
        """Where the clips lie in the first map, in pixels of the window, with that map in sight."""
        self.page.locator("canvas.map").first.scroll_into_view_if_needed()
        places = self.page.evaluate(
            "(count) => Array.from({ length: count }, (_, n) => window.__explorers[0].locate(n, 0))", count
        )
        return np.array([[place["x"], place["y"]] for place in places])

    def ground(self) -> int:
        """How bright the ground of the first map is, 0 to 255."""
        return min(
            self.page.evaluate(
                "[...document.querySelector('canvas.map').getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3)"
            )
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Opens notebooks, each in a tab of one browser, beside one server."""
    root = tmp_path_factory.mktemp("lab")
    write_notebook(root / "explorer.ipynb", EXPLORER)
    write_notebook(root / "live.ipynb", [LIVE])
    with jupyter_lab(root) as (server, url), sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = chromium.new_context(viewport={"width": 1280, "height": 720})
        opened = []

        def open_notebook(name: str) -> Notebook:
            address = f"{url}lab/tree/{name}.ipynb?token={TOKEN}&reset"
            opened.append(Notebook(context.new_page(), server, address))
            return opened[-1]

        open_notebook.root = root
        yield open_notebook
        asked = [each for notebook in opened for each in notebook.outside]
        chromium.close()
    assert [each for each in asked if not each.startswith((url, "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def explorer(lab: Any) -> Iterator[Notebook]:
    """The notebook of the explorer, run as a whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.FORMATS, "toy", toy.TOY)
        for method in ("source_only", "adabn", "mmsada"):
            run_experiment(
                toy_config(method, keep_features=3), lab.root / "runs", device="cpu", workers=0, show_progress=False
            )
    notebook = lab("explorer")
    notebook.run(0)
    notebook.page.wait_for_function("() => window.__explorers?.length === 1")
    yield notebook
    assert notebook.errors == []
    notebook.page.close()


COUNT = 18  # test segments of two domains of the toy


class TestExplorer:
    def test_it_is_drawn_in_the_theme_s_colours(self, explorer: Notebook) -> None:
        assert explorer.state["shown"] == COUNT
        assert len(explorer.page.locator("canvas.map").all()) == 3
        for theme, is_dark in (("JupyterLab Dark", True), ("JupyterLab Light", False)):
            assert (explorer.state["dark"], explorer.ground() < 128) == (not is_dark, not is_dark)
            explorer.command("apputils:change-theme", theme=theme)
            explorer.page.locator("#jupyterlab-splash").wait_for(state="detached")
            explorer.wait(f"s.dark === {json.dumps(is_dark)}")
            explorer.page.wait_for_function(
                """(isDark) => {
                  const { data } = document.querySelector("canvas.map").getContext("2d").getImageData(2, 2, 1, 1);
                  return data[0] < 128 === isDark;
                }""",
                arg=is_dark,
            )

    def test_clips_come_as_bytes_and_play_under_the_mouse(self, explorer: Notebook) -> None:
        x, y = explorer.places(COUNT)[4]
        explorer.page.mouse.move(x, y)
        explorer.wait("s.hovered !== ''")
        explorer.page.wait_for_function("() => document.querySelector('.card.hover canvas')?.dataset.frame > 2")
        frames = explorer.page.locator(".card.hover canvas").evaluate_all("(all) => all.map((c) => c.dataset.frame)")
        assert len(set(frames)) == 1
        assert any(b"WEBPVP8" in frame for frame in explorer.frames if isinstance(frame, bytes))
        explorer.page.mouse.move(640, 10)
        explorer.wait("s.hovered === ''")

    def test_a_click_pins_rgb_and_flow_in_step_and_python_knows(self, explorer: Notebook) -> None:
        explorer.page.mouse.click(*explorer.places(COUNT)[7])
        explorer.wait("s.pinned !== '' && s.playing && s.frame.rgb >= 2 && s.frame.rgb === s.frame.flow")
        assert json.loads(explorer.run(1))[1] == explorer.state["pinned"]
        explorer.page.get_by_role("button", name="Close", exact=True).click()
        assert json.loads(explorer.run(1))[1] == explorer.state["pinned"] == ""

    def test_a_box_selects_the_same_clips_in_python(self, explorer: Notebook) -> None:
        explorer.page.get_by_role("button", name="Box", exact=True).click()
        places = explorer.places(COUNT)
        box = explorer.page.locator("canvas.map").first.bounding_box()
        x = np.sort(places[:, 0])[COUNT // 3 : 2 * COUNT // 3]
        widest = np.diff(x).argmax()
        cut = int(x[widest : widest + 2].mean())  # a whole pixel between two clips
        explorer.page.mouse.move(box["x"] + 1, box["y"] + 1)
        explorer.page.mouse.down()
        explorer.page.mouse.move(cut, box["y"] + box["height"] - 1, steps=3)
        explorer.page.mouse.up()
        selected = explorer.state["selected"]
        assert len(selected) == (places[:, 0] < cut).sum()
        assert json.loads(explorer.run(1))[0] == selected
        explorer.page.get_by_role("button", name="Clear selection").click()
        assert json.loads(explorer.run(1))[0] == []

    def test_python_moves_the_view(self, explorer: Notebook) -> None:
        explorer.run(2)
        explorer.wait("s.view === 'adabn' && s.pinned === 'A-test-4' && s.selected.length === 3")
        assert explorer.state["selected"] == ["A-test-2", "A-test-3", "A-test-4"]

    def test_the_slider_moves_the_points(self, explorer: Notebook) -> None:
        slider = explorer.page.locator(".bar input[type=range]")
        slider.focus()
        explorer.page.keyboard.press("Home")
        explorer.wait("s.view === 'source_only' && !s.moving")
        before = explorer.places(COUNT)
        slider.focus()
        explorer.page.keyboard.press("End")
        explorer.wait("s.view === 'mmsada' && !s.moving")
        assert np.abs(explorer.places(COUNT) - before).max() > 2
        assert json.loads(explorer.run(1))[2] == "method/mmsada"

    def test_keys_of_the_explorer_do_not_reach_the_notebook(self, explorer: Notebook) -> None:
        cells = explorer.page.locator(".jp-Notebook .jp-Cell")
        explorer.page.locator("canvas.map").first.click(position={"x": 2, "y": 2})
        for key in (
            "ArrowRight",
            "ArrowDown",
            "Enter",
            "a",
            "b",
        ):  # in JupyterLab, A and B insert a cell, Enter edits one
            explorer.page.keyboard.press(key)
        explorer.wait(f"s.selected.length === {COUNT} && s.pinned !== ''")
        explorer.page.keyboard.press("Escape")
        explorer.wait("s.pinned === ''")
        for tab in ("confusion", "map"):
            explorer.page.locator(f"nav [data-tab={tab}]").focus()
            explorer.page.keyboard.press("Enter")
            explorer.wait(f"s.tab === '{tab}'")
        colours = explorer.page.locator("label.field:has-text('Colour') select")
        colours.focus()
        explorer.page.keyboard.press("ArrowDown")
        explorer.wait("s.colour === 'class'")
        assert explorer.page.evaluate("document.activeElement.tagName") == "SELECT"
        assert cells.count() == len(EXPLORER)

    def test_another_scene_in_the_same_widget(self, explorer: Notebook) -> None:
        explorer.run(3)
        explorer.wait("s.shown <= 12")
        assert explorer.page.locator(".mmsada-explorer").count() == 1
        assert "notes on the data" in explorer.page.locator(".mmsada-explorer header").inner_text()


class TestLive:
    def test_it_draws_while_it_trains_stops_at_a_click_and_goes_on_to_its_end(self, lab: Any) -> None:
        notebook = lab("live")
        notebook.command("notebook:run-all-cells")
        output = notebook.cell(0).locator(".jp-OutputArea").first
        output.get_by_text("training", exact=True).wait_for()
        output.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()
        children = notebook.server.children(recursive=True)
        (training,) = [child for child in children if "mmsada_lab.explorer.live" in child.cmdline()]
        began = time.monotonic()
        output.get_by_role("button", name="Stop").click()
        training.wait(timeout=30)
        assert time.monotonic() - began < 2
        output.get_by_text("stopped").wait_for()
        assert notebook.errors == []
        (manifest,) = (lab.root / "live").rglob("manifest.json")
        history = manifest.with_name("history.jsonl")
        done = len(history.read_text().splitlines())
        assert read_manifest(manifest)["status"] == "running"
        notebook.run(0)
        output.get_by_text("finished: target top-1").wait_for()
        assert read_manifest(manifest)["status"] == "finished"
        assert len(history.read_text().splitlines()) > done > 0
        for name in ("losses", "accuracies", "game", "map"):
            output.locator(".lm-TabBar-tab", has_text=name).click()
            output.locator(".js-plotly-plot .trace:visible").first.wait_for()
        # Plotly complains if the last change of a figure comes when the cell that is run again has just cleared it.
        assert [error for error in notebook.errors if not error.startswith("Error setting state")] == []
