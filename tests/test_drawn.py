"""Every stored figure and every stored line of code as they are seen: at 1280 x 720, in JupyterLab and on a page.

Nothing of a figure is cut, no words lie on others, no error bar runs through a number (`figure_geometry`); no line of
code is cut; no error is on the console.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from figure_geometry import MEASURE, faults_of, measured_page
from jupyter_lab import TOKEN, jupyter_lab, needs_jupyter_lab

from mmsada_lab.analysis import style
from mmsada_lab.publish.notebooks import FIGURE, write_page

pytestmark = needs_jupyter_lab

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

CUT_LINES = """(selector) => [...document.querySelectorAll(selector)]
  .filter((code) => code.offsetParent && code.scrollWidth > code.clientWidth + 1)
  .map((code) => code.innerText.slice(0, 120))"""
TOUCH = "document.querySelectorAll('.plot-img').forEach((still) => still.dispatchEvent(new MouseEvent('mouseenter')))"
"""JupyterLab shows the still picture until the mouse comes."""
DRAWN = "[...document.querySelectorAll('.js-plotly-plot')].filter((figure) => figure.querySelector('svg.main-svg'))"


def figures_of(path: Path) -> dict[str, Any]:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return {cell.id: o.data[FIGURE] for cell in cells for o in cell.outputs if FIGURE in o.get("data", {})}


def seen_on(page: Any, figures: int, code: str) -> dict[str, Any]:
    """Faults by title of every figure of an open page, and the code that is cut."""
    page.wait_for_function(f"(count) => {DRAWN}.length === count", arg=figures, timeout=90_000)
    page.wait_for_timeout(300)
    page.evaluate(f"() => {{ {MEASURE} }}")
    faults = page.evaluate(f"{DRAWN}.map((figure) => [figure.layout?.title?.text ?? '', window.faultsOf(figure)])")
    return {"figures": {title: each for title, each in faults if each}, "code": page.evaluate(CUT_LINES, code)}


@pytest.fixture(scope="module")
def blank(browser: Any) -> Any:
    return measured_page(browser)


@every_notebook
def test_figures_at_900_pixels(path: Path, blank: Any) -> None:
    faults = {name: faults_of(blank, figure) for name, figure in figures_of(path).items()}
    assert {name: each for name, each in faults.items() if each} == {}


@every_notebook
def test_on_a_page(path: Path, browser: Any, tmp_path: Path) -> None:
    write_page(path, tmp_path / "page.html")
    page, errors = browser.new_page(viewport={"width": 1280, "height": 720}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto((tmp_path / "page.html").as_uri())
    assert seen_on(page, len(figures_of(path)), ".jp-CodeCell pre") == {"figures": {}, "code": []}
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert errors == []
    page.close()


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    root = tmp_path_factory.mktemp("lessons")
    for path in NOTEBOOKS:
        shutil.copy(path, root)
    with jupyter_lab(root) as (_, url):
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        yield context, url
        context.close()


class TestJupyterLab:
    """A class is a share of its own where processes share the tests: one server for all."""

    @every_notebook
    def test_as_it_opens(self, path: Path, lab: tuple[Any, str]) -> None:
        (context, url), count = lab, len(figures_of(path))
        page, errors = context.new_page(), []
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{url}lab/tree/{path.name}?token={TOKEN}&reset")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.wait_for_function("(count) => document.querySelectorAll('.plot-img').length === count", arg=count)
        page.evaluate(TOUCH)
        assert seen_on(page, count, ".jp-CodeCell .cm-scroller") == {"figures": {}, "code": []}
        assert errors == []
        page.close()


FAULTS = {
    "a word on another": {"annotations": [{"x": 1, "y": 1, "text": "here", "showarrow": False}] * 2},
    "a word beyond the edge": {"yaxis": {"title": "a title much longer than its axis is high, " * 3}},
    "a legend that is too long": {"height": 240},
}


class TestMeasure:
    """The measuring itself: it says nothing of a sound figure, and names what is wrong with others."""

    def draw(self, **layout: Any) -> dict[str, Any]:
        figure = style.empty_figure("Sound")
        for number in range(9):
            figure.add_scatter(x=[0, 1, 2], y=[number, 1, 2], name=f"line {number}")
        return json.loads(figure.update_layout(**layout).to_json())

    def test_a_sound_figure(self, blank: Any) -> None:
        assert faults_of(blank, self.draw()) == []

    @pytest.mark.parametrize("name", FAULTS)
    def test_a_fault_is_seen(self, name: str, blank: Any) -> None:
        assert faults_of(blank, self.draw(**FAULTS[name]))

    def test_an_error_bar_through_a_number(self, blank: Any) -> None:
        figure = style.empty_figure("Bars").add_bar(
            x=["a"], y=[5], text=["5.0"], textposition="inside", insidetextanchor="end", error_y={"array": [2]}
        )
        assert faults_of(blank, json.loads(figure.to_json())) == ['an error bar through "5.0" (bartext)']

    def test_turned_labels_that_pass_each_other_are_no_fault(self, blank: Any) -> None:
        names = [f"a long name of number {k}" for k in range(12)]
        figure = style.empty_figure("Turned").add_bar(x=names, y=list(range(12)))
        assert faults_of(blank, json.loads(figure.to_json())) == []
