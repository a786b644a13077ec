"""Pages of notebooks: equations and figures need no network; the gallery goes on after a failure."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from mmsada_lab.errors import UserError
from mmsada_lab.publish import gallery, notebooks
from mmsada_lab.publish.gallery import make_gallery
from mmsada_lab.publish.notebooks import write_page

FIRST = "# The {0}\n\n**Is `it` & so?**\n\nText.\n\n*Time and device:* a second\non any machine.\n\nMore."


def write_notebook(path: Path, *sources: str, code: str = "x = 1") -> Path:
    new = nbformat.v4
    cells = [*map(new.new_markdown_cell, sources), new.new_code_cell('runs_dir: str = "runs"  # where\n' + code)]
    cells[-1].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        new.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}), path
    )
    return path


def page_of(folder: Path, *markdown: str) -> str:
    write_page(write_notebook(folder / "00_it.ipynb", *markdown), folder / "page.html")
    return (folder / "page.html").read_text()


class TestEquations:
    def test_inline_and_on_a_line_of_its_own(self, tmp_path: Path) -> None:
        page = page_of(tmp_path, "Of $a_b$ and\n$$\n\\sum_m\nx^m\n$$\n")
        first, second = (ElementTree.fromstring(each) for each in re.findall(r"<math.*?</math>", page))
        assert (first.get("display"), second.get("display")) == ("inline", "block")
        assert [element.text for element in first.iter() if element.text] == ["a", "b"]
        assert first.find(".//msub") is not None

    @pytest.mark.parametrize("markdown", ["`$x$`", "```\n$x$ and $$y$$\n```", "costs $5", r"an escaped \$x$", "none"])
    def test_what_is_none(self, markdown: str, tmp_path: Path) -> None:
        assert "<math" not in page_of(tmp_path, markdown)

    def test_code_between_equations(self, tmp_path: Path) -> None:
        page = page_of(tmp_path, "$a$ `$b$` $c$")
        assert re.search(r"<p><math .*?>a<.*?</math> <code>\$b\$</code> <math .*?>c<.*?</math></p>", page)

    def test_no_markup_inside_attributes(self, tmp_path: Path) -> None:
        page = page_of(tmp_path, "## The $a$")
        (heading,) = re.findall(r"<h2 .*?</h2>", page)
        assert not re.search(r'="[^"]*<', heading)
        assert ElementTree.fromstring(heading).find("math") is not None

    def test_wherever_they_stand(self, tmp_path: Path) -> None:
        source = "## The loss $L_y$\n\n| term | weight |\n|---|---|\n| $L_d$ | $\\lambda_d$ |\n\n> remark $L_c$"
        page = page_of(tmp_path, source)
        assert page.count("<math ") == 4
        assert re.search(r"<td[^>]*><math .*?</math></td>\s*<td[^>]*><math ", page)
        assert re.search(r"<blockquote>\s*<p>remark <math ", page)
        assert not re.search(r"<(script|link)[^>]*(src|href)=\"http", page)


class TestGallery:
    @pytest.fixture(autouse=True)
    def checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two notebooks; the first fails."""
        folder = tmp_path / "notebooks"
        folder.mkdir()
        write_notebook(folder / "00_one.ipynb", FIRST.format("one"), code="raise ValueError('the lamp fell over')")
        write_notebook(folder / "01_two.ipynb", FIRST.format("two"), code="print(runs_dir)")
        found = sorted(folder.iterdir())
        monkeypatch.setattr(gallery, "find_notebooks", lambda: found)

    def test_one_failure_does_not_stop_the_others(self, tmp_path: Path) -> None:
        made = make_gallery(tmp_path / "gallery", parameters={"01_two": {"runs_dir": "elsewhere"}})
        assert made.failures.keys() == {"00_one"}
        assert made.failures["00_one"].startswith("ValueError: the lamp fell over (in ")
        assert [page.name for page in made.pages] == ["00_one.html", "01_two.html"]
        assert "the lamp fell over" in made.pages[0].read_text()
        assert "elsewhere" in made.pages[1].read_text()
        index = made.index.read_text()
        assert re.findall(r'<a href="(.*?)"', index) == ["00_one.html", "01_two.html"]
        assert index.count("stopped by an error") == 1
        assert (
            '<h2><span>01</span> The two</h2>\n<p>Is it &amp; so?</p><p class="time">a second on any machine.</p>'
            in index
        )
        assert "<h1>Multi-modal domain adaptation, step by step</h1>" in index

    def test_chosen_ones(self, tmp_path: Path) -> None:
        made = make_gallery(tmp_path / "gallery", notebooks=["01_two"])
        assert [page.name for page in made.pages] == ["01_two.html"]
        assert str(tmp_path / "gallery" / "runs") in made.pages[0].read_text(), "it trains in the gallery's folder"

    def test_pages_lead_to_each_other(self, tmp_path: Path) -> None:
        write_notebook(
            tmp_path / "notebooks" / "01_two.ipynb",
            FIRST.format("two"),
            "To [the first](00_one.ipynb), to [another](09_nine.ipynb).",
        )
        pages = make_gallery(tmp_path / "gallery").pages
        first, second = ((re.findall(r'<a [^>]*href="([^"]*)"', page.read_text())) for page in pages)
        nearby = {"index.html", "00_one.html", "01_two.html", "09_nine.ipynb"}
        assert [link for link in first if link in nearby] == ["index.html", "01_two.html"] * 2, "above and below"
        between = ["00_one.html", "09_nine.ipynb"]
        assert [link for link in second if link in nearby] == [
            *["index.html", "00_one.html"],
            *between,
            *["index.html", "00_one.html"],
        ]

    def test_an_unknown_one(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"unknown notebook '01_tow'.*Did you mean '01_two'"):
            make_gallery(tmp_path / "gallery", notebooks=["01_tow"])
        assert not (tmp_path / "gallery").exists()


def test_notebooks_of_this_checkout() -> None:
    assert notebooks.RUN_NOTEBOOK in [path.name for path in notebooks.find_notebooks()]
