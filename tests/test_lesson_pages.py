"""Pages as a reader meets them: contents, folds, search, words for pictures, keys, and no barriers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from barriers import barriers
from toy import Mmsada, toy_data

from mmsada_lab.analysis.report import render_html
from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.prepare.show.segment import show_segment
from mmsada_lab.publish import gallery
from mmsada_lab.publish.gallery import make_gallery
from mmsada_lab.publish.layout import contents_html
from mmsada_lab.publish.notebooks import FIGURE, find_notebooks, write_page
from mmsada_lab.sweeps.beside import link_reports
from mmsada_lab.sweeps.recipes import RECIPES

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
LONG = f"value = {' + '.join(['first'] * 40)}  # {'words ' * 30}"


def figure(**layout: Any) -> dict[str, Any]:
    drawn = go.Figure(go.Bar(x=["a", "b"], y=[1, 2]), layout=layout)
    return {"output_type": "display_data", "metadata": {}, "data": {FIGURE: json.loads(drawn.to_json())}}


def picture(text: str, kind: str = "image/png") -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": {kind: PIXEL, "text/plain": text}}


def code(source: str, *outputs: dict[str, Any], **metadata: Any) -> Any:
    cell = nbformat.v4.new_code_cell(source, metadata=metadata, execution_count=1)
    cell.outputs = [nbformat.from_dict(output) for output in outputs]
    return cell


def text(source: str, **metadata: Any) -> Any:
    return nbformat.v4.new_markdown_cell(source, metadata=metadata)


FIRST = "# The {}\n\n**Is it so?**\n\n*Time and device:* a second."
CELLS = [
    code("x: int = 1", jupyter={"source_hidden": True}, tags=["parameters"]),
    text("## The gap $L_d$\n\nA wide pan. See [the other](01_other.ipynb#Next)."),
    code("draw()", figure(title={"text": "Accuracy<br><b>of two</b>"})),
    code("draw()", figure()),
    text("### Clips\n\nThey *move*."),
    code("show()", picture("Seven clips, 9 frames"), picture("<IPython.core.display.Image object>", "image/gif")),
    code(LONG),
    text("## Exercise\n\nWhat if λ is 0?"),
    text("### A solution\n\nThe kettle boils.", **{"jp-MarkdownHeadingCollapsed": True}),
    code("answer()", figure(title={"text": "Of the solution"}), tags=["solution"]),
    text("A last word on it."),
    text("## Next\n\nGo on."),
    code("unheaded()", tags=["solution"]),
]


def write_notebook(path: Path, *cells: Any) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.write(book, path)
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of two stored notebooks."""
    root = tmp_path_factory.mktemp("pages")
    first = write_notebook(root / "00_the.ipynb", text(FIRST.format("`<first>`")), *CELLS)
    other = write_notebook(root / "01_other.ipynb", text(FIRST.format("other")), text("## Next\n\nThe pan is a λ."))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "find_notebooks", lambda: [first, other])
        patch.setattr(gallery, "execute_notebook", None)
        assert make_gallery(root / "pages", stored=True).failures == {}
    return root / "pages"


class TestPage:
    @pytest.fixture
    def page(self, written: Path) -> str:
        return (written / "00_the.html").read_text()

    def test_stored_pages_leave_no_notebooks(self, written: Path) -> None:
        assert sorted(path.name for path in written.iterdir()) == ["00_the.html", "01_other.html", "index.html"]
        assert "with the outputs that come with the checkout" in (written / "index.html").read_text()

    def test_contents_lead_to_headings(self, page: str) -> None:
        (contents,) = re.findall(r'<nav aria-label="Contents">(.*?)</nav>', page, flags=re.DOTALL)
        links = re.findall(r'<li class="level(\d)"><a href="#(.*?)">(.*?)</a>', contents)
        assert [(level, title) for level, _, title in links] == [
            *[("2", "The gap Ld"), ("3", "Clips"), ("2", "Exercise"), ("3", "A solution"), ("2", "Next")]
        ]
        for level, anchor, _ in links:
            assert len(re.findall(rf'<h{level} id="{re.escape(anchor)}">', page)) == 1

    def test_contents_of_one_heading_are_none(self, written: Path) -> None:
        assert contents_html([]) == ""
        assert "Contents" not in (written / "01_other.html").read_text().partition("<main")[2]
        assert '<details class="contents">' not in (written / "01_other.html").read_text()

    def test_links_into_another_page(self, page: str) -> None:
        assert 'href="01_other.html#Next"' in page

    def test_a_solution_is_folded_as_a_whole(self, page: str) -> None:
        start = page.index('<details class="fold"><summary><h3 id="A-solution">A solution</h3></summary>')
        inside = page[start : page.index("</details>", start)]
        assert all(words in inside for words in ("The kettle boils", "answer", "Of the solution", "A last word"))
        assert "Go on." not in inside

    def test_solutions_without_a_heading_and_parameters_are_folded(self, page: str) -> None:
        start = page.index('<details class="fold"><summary>A solution</summary>')
        assert "unheaded" in page[start : page.index("</details>", start)]
        start = page.index('<details class="fold code"><summary>Parameters</summary>')
        assert ">x<" in page[start : page.index("</details>", start)]

    def test_every_picture_has_words(self, page: str) -> None:
        assert re.findall(r'<figure [^>]*aria-label="(.*?)"', page) == [
            *["Accuracy of two", "Figure of: The gap Ld", "Of the solution"]
        ]
        assert re.findall(r'<img alt="(.*?)"', page) == ["Seven clips, 9 frames", "Picture of: Clips"]

    def test_its_title_is_the_lesson_s(self, page: str) -> None:
        assert "<title>The &lt;first&gt;</title>" in page

    def test_the_same_heading_twice_has_two_ids(self, tmp_path: Path) -> None:
        path = write_notebook(tmp_path / "00.ipynb", text("# T"), text("## See"), text("## See\n\n## See"))
        sections = write_page(path, tmp_path / "page.html")
        assert [section.anchor for section in sections] == ["T", "See", "See-2", "See-3"]
        page = (tmp_path / "page.html").read_text()
        assert len(set(re.findall(r'<h\d id="(.*?)"', page))) == 4

    def test_nothing_comes_from_a_network(self, page: str) -> None:
        own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
        assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", own)
        assert "import mermaid" not in page


class TestReportsBeside:
    @pytest.fixture
    def reports(self, tmp_path: Path) -> Path:
        for name in ("fig6", "table1", "table2"):
            drawn = go.Figure(go.Bar(y=[1, 2]), layout={"title": {"text": "Bars"}})
            tables = {"": pd.DataFrame({"": ["MM-SADA"], "mean": ["63.8"]}), "Rules": pd.DataFrame({"rule": ["last"]})}
            (tmp_path / f"{name}.html").write_text(render_html(RECIPES[name].title, tables, [drawn], ["a note"]))
        return tmp_path

    def links(self, page: Path) -> list[str]:
        (nav,) = re.findall(r'<nav class="links" aria-label="Reports">(.*?)</nav>', page.read_text())
        return re.findall(r'href="(.*?)"', nav)

    def test_each_leads_to_the_index_and_its_neighbours(self, reports: Path) -> None:
        index = link_reports(reports)
        assert re.findall(r'<a href="(.*?\.html)">', index.read_text()) == ["table1.html", "table2.html", "fig6.html"]
        assert self.links(reports / "table1.html") == ["index.html", "table2.html"]
        assert self.links(reports / "table2.html") == ["index.html", "table1.html", "fig6.html"]
        (reports / "table2.html").unlink()
        link_reports(reports)
        assert self.links(reports / "fig6.html") == ["index.html", "table1.html"]

    def test_one_alone_has_no_index(self, reports: Path) -> None:
        for name in ("table1", "fig6"):
            (reports / f"{name}.html").unlink()
        assert link_reports(reports) is None
        assert not (reports / "index.html").exists()
        assert self.links(reports / "table2.html") == []

    def test_an_index_of_somebody_else_stays(self, reports: Path) -> None:
        (reports / "index.html").write_text("mine")
        assert link_reports(reports) is None
        assert (reports / "index.html").read_text() == "mine"
        assert self.links(reports / "table1.html") == []

    def test_contents(self, reports: Path) -> None:
        (contents,) = re.findall(r'<nav aria-label="Contents">(.*?)</nav>', (reports / "fig6.html").read_text())
        assert re.findall(r'href="#(.*?)">(.*?)<', contents) == [
            *[("table-2", "Rules"), ("figures", "Figures"), ("notes", "Notes")]
        ]


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Opens a file without a network at 1280 x 720; pages may not complain."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
    said: list[str] = []
    context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: said.append(str(error.error)))

    def open_it(path: Path) -> Any:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(path.as_uri())
        return page

    yield open_it
    context.close()
    assert said == []


class TestInChromium:
    def test_keys_find_open_and_close(self, opened: Callable[[Path], Any], written: Path) -> None:
        page = opened(written / "index.html")
        page.get_by_label("Search all lessons").fill("Kettle BOILS")
        assert page.get_by_role("status").inner_text() == "1 place"
        assert page.locator("#places mark").all_inner_texts() == ["kettle", "boils"]
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.closest('#places') !== null")
        page.keyboard.press("Enter")
        page.wait_for_url("**/00_the.html#A-solution")
        page.get_by_text("The kettle boils.").wait_for()  # the fold is open
        page.wait_for_function("document.querySelector('h3#A-solution').getBoundingClientRect().top > 40")
        assert page.locator("details.fold .main-svg").first.evaluate("(plot) => plot.clientWidth") > 700

    def test_search_folds_letters_and_counts(self, opened: Callable[[Path], Any], written: Path) -> None:
        page = opened(written / "index.html")
        field = page.get_by_label("Search all lessons")
        field.fill("lambda pan")
        assert page.locator("#places a").evaluate_all("(all) => all.map((each) => each.getAttribute('href'))") == [
            "01_other.html#Next"
        ]
        field.fill("zebra")
        assert page.get_by_role("status").inner_text() == "no places"
        field.fill("first")
        assert page.locator("#places strong").first.inner_text() == "The <first>"
        page.keyboard.press("Escape")
        assert (field.input_value(), page.locator("#places li").count()) == ("", 0)

    def test_contents_by_keys(self, opened: Callable[[Path], Any], written: Path) -> None:
        page = opened(written / "00_the.html")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the lesson"
        contents = page.locator("details.contents")
        contents.locator("summary").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function("location.hash.startsWith('#The-gap')")
        assert not contents.evaluate("(each) => each.open")
        contents.locator("summary").press("Enter")
        page.keyboard.press("Escape")
        assert not contents.evaluate("(each) => each.open")

    def test_no_code_is_cut(self, opened: Callable[[Path], Any], written: Path) -> None:
        page = opened(written / "00_the.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        blocks = "[...document.querySelectorAll('.highlight pre')].map((pre) => [pre.scrollWidth, pre.clientWidth])"
        assert all(wide <= seen for wide, seen in page.evaluate(blocks))

    @pytest.mark.parametrize("name", ["index", "00_the", "01_other"])
    def test_no_barriers_in_a_gallery(self, opened: Callable[[Path], Any], written: Path, name: str) -> None:
        page = opened(written / f"{name}.html")
        if name == "index":
            page.get_by_label("Search all lessons").fill("the")
        assert barriers(page) == []

    @pytest.mark.parametrize("path", find_notebooks(), ids=lambda path: path.stem)
    def test_no_barriers_in_a_lesson(self, opened: Callable[[Path], Any], path: Path, tmp_path: Path) -> None:
        write_page(path, tmp_path / "page.html", links={"All notebooks": "index.html"})
        page = opened(tmp_path / "page.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        dark_too = path.stem[:2] in ("00", "07")  # one style sheet for all; these have every kind of output
        assert barriers(page, schemes=("light", "dark") if dark_too else ("light",)) == []
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => Number(each.tagName[1]))")
        assert levels.count(1) == 1
        assert max(np.diff(levels)) == 1, "no level is left out"

    def test_no_barriers_in_reports(self, opened: Callable[[Path], Any], tmp_path: Path) -> None:
        reports = TestReportsBeside.reports.__wrapped__(TestReportsBeside(), tmp_path)
        for page in (link_reports(reports), reports / "fig6.html"):
            assert barriers(opened(page)) == []

    @pytest.mark.parametrize("kind", ["video", "series"])
    def test_no_barriers_in_a_segment(
        self, opened: Callable[[Path], Any], kind: str, open_as_toy: Callable[[MultiDomainData], None], tmp_path: Path
    ) -> None:
        data = toy_data()
        readers = {"imu": Rising()} if kind == "series" else data.domains["A"].readers
        domains = {name: replace(domain, readers=readers) for name, domain in data.domains.items()}
        open_as_toy(replace(data, domains=domains))
        assert barriers(opened(show_segment("toy", "A-train-0", tmp_path / "segment.html"))) == []


@dataclass
class Rising:
    """A series of twelve channels."""

    kind: str = "series"
    channels: int = 12
    mirror_negates: tuple[int, ...] = ()

    def read(self, _: Segment, frames: np.ndarray) -> np.ndarray:
        return (frames[:, None] * np.arange(1, 13)).astype(np.float32)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return 1, segment.stop


def test_the_command_shows_what_is_stored(
    mmsada: Mmsada, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "find_notebooks", lambda: [written.parent / "01_other.ipynb"])
    monkeypatch.setattr(gallery, "execute_notebook", None)
    said = mmsada("gallery", "--stored", "--to", tmp_path / "pages")
    assert (said.code, said.out) == (0, f"{tmp_path / 'pages' / 'index.html'}\n")
    assert (tmp_path / "pages/01_other.html").is_file()
