"""What a page of a notebook has beside its cells: contents, folds, words for pictures, style, texts to search."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from markupsafe import Markup, escape

from mmsada_lab.files import read_package_text

HEADING = re.compile(r"<h([1-6])([^>]*)>(.*?)</h\1>", re.DOTALL)
_ANCHOR = re.compile(r'<a class="anchor-link"[^>]*>.*?</a>', re.DOTALL)
_COLLAPSED = "jp-MarkdownHeadingCollapsed"  # metadata of a heading that JupyterLab shows folded, with all below it
_SOLUTION = "A solution"


@dataclass
class Section:
    """A heading of a page, and the text up to the next.

    Attributes:
        level: 1 to 6.
        anchor: the heading's id.
        title: its text.
        paragraphs: plain text.
    """

    level: int
    anchor: str
    title: str
    paragraphs: list[str] = field(default_factory=list)


class Sections:
    """Takes a page's HTML piece by piece: gives headings their ids, each only once, and keeps the text below them.

    Example:
        >>> sections = Sections()
        >>> sections.take("<h2>The gap</h2><p>It is <em>wide</em>.</p>")
        '<h2 id="The-gap">The gap</h2><p>It is <em>wide</em>.</p>'
        >>> sections.all
        [Section(level=2, anchor='The-gap', title='The gap', paragraphs=['It is wide.'])]
    """

    def __init__(self) -> None:
        self.all: list[Section] = []

    def take(self, html: str) -> str:
        """A piece of the page, with the ids of its headings."""
        end = 0

        def keep(match: re.Match[str]) -> str:
            nonlocal end
            self._add_text(html[end : match.start()])
            end = match.end()
            level, content = int(match[1]), _ANCHOR.sub("", match[3])
            named = re.search(r'\bid="([^"]*)"', match[2])
            anchor = self._free(unescape(named[1]) if named else plain_text(content).replace(" ", "-"))
            self.all.append(Section(level, anchor, plain_text(content)))
            return f'<h{level} id="{escape(anchor)}">{content}</h{level}>'

        with_ids = HEADING.sub(keep, html)
        self._add_text(html[end:])
        return with_ids

    def _free(self, anchor: str) -> str:
        taken, number, free = {section.anchor for section in self.all}, 1, anchor
        while free in taken:
            number += 1
            free = f"{anchor}-{number}"
        return free

    def _add_text(self, html: str) -> None:
        if self.all:
            texts = map(plain_text, re.split(r"</(?:p|li|tr|pre|blockquote)>", html))
            self.all[-1].paragraphs += filter(None, texts)

    @property
    def title(self) -> str:
        """Of the nearest heading so far."""
        return self.all[-1].title if self.all else ""


def plain_text(html: str) -> str:
    """The text of HTML, on one line.

    Example:
        >>> plain_text("a <b>b</b>&amp;<br>c")
        'a b& c'
    """
    return " ".join(unescape(re.sub(r"<[^>]*>", "", re.sub(r"<(?:br|/td|/th)\b[^>]*>", " ", html))).split())


def fold_cells(cells: Sequence[Any]) -> None:
    """Say in the metadata of cells what opens before and closes after them; Markdown cells hold HTML by now.

    A heading that JupyterLab shows folded becomes the summary of all cells down to the next heading of its level. Cells
    tagged ``solution`` outside of such folds get one, and so does code whose source JupyterLab hides.
    """
    last = -1
    for number, cell in enumerate(cells):
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["folded"] = "Parameters" if "parameters" in cell.metadata.get("tags", []) else "Code"
        if number <= last:
            continue
        heading = HEADING.match(cell.source.lstrip()) if cell.cell_type == "markdown" else None
        if heading and cell.metadata.get(_COLLAPSED):
            last = number + sum(1 for _ in _below(cells[number + 1 :], int(heading[1])))
            summary, cell.source = heading[0], cell.source.lstrip()[heading.end() :]
        elif _is_solution(cell):
            last = next((n for n in range(number, len(cells)) if not _is_solution(cells[n])), len(cells)) - 1
            summary = _SOLUTION
        else:
            continue
        cell.metadata["opens"] = f'<details class="fold"><summary>{summary}</summary>'
        cells[last].metadata["closes"] = "</details>"


def _is_solution(cell: Any) -> bool:
    return cell.cell_type == "code" and "solution" in cell.metadata.get("tags", [])


def _below(cells: Iterable[Any], level: int) -> Iterator[Any]:
    """Cells before the next heading of a level or above it."""
    for cell in cells:
        if cell.cell_type == "markdown" and any(int(each[1]) <= level for each in HEADING.finditer(cell.source)):
            return
        yield cell


PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def picture_html(output: Any, kind: str, *, section: str) -> str:
    """A picture among the outputs of a cell, with its text beside it as alternative; of none, where it stands."""
    text = " ".join(str(output.data.get("text/plain", "")).split())
    alternative = text if text and not text.startswith("<") else f"Picture of: {section}"
    size = {name: output.get("metadata", {}).get(kind, {}).get(name) for name in ("width", "height")}
    given = "".join(f' {name}="{int(value)}"' for name, value in size.items() if value)
    data = "".join(str(output.data[kind]).split())
    return f'<img alt="{escape(alternative)}" src="data:{kind};base64,{data}"{given}>'


def figure_html(figure: Mapping[str, Any], *, section: str) -> str:
    """A Plotly figure, without the library, named by its title; what holds pictures keeps their colours in the dark."""
    from plotly.io import to_html

    title = figure["layout"].get("title", {})
    text = plain_text(str(title.get("text", "")) if isinstance(title, Mapping) else str(title))
    pictured = figure["layout"].get("images") or any(trace.get("type") == "image" for trace in figure["data"])
    content = {"data": figure["data"], "layout": figure["layout"]}
    drawn = to_html(content, include_plotlyjs=False, full_html=False, validate=False)
    look = "figure pictured" if pictured else "figure"
    return f'<figure class="{look}" aria-label="{escape(text or f"Figure of: {section}")}">{drawn}</figure>'


_CONTENTS_LEVELS = (2, 3)


def contents_html(sections: Sequence[Section]) -> Markup:
    """Headings of the second and third level as links, to be opened; nothing for fewer than two."""
    listed = [section for section in sections if section.level in _CONTENTS_LEVELS]
    if len(listed) < 2:
        return Markup("")
    links = [
        Markup('<li class="level{}"><a href="#{}">{}</a></li>').format(each.level, each.anchor, each.title)
        for each in listed
    ]
    start = '<details class="contents"><summary>Contents</summary><nav aria-label="Contents"><ol>'
    return Markup(start) + Markup("").join(links) + Markup("</ol></nav></details>")


def links_html(links: Mapping[str, str], label: str) -> Markup:
    """A line of links: what is read -> where it leads; nothing for none."""
    if not links:
        return Markup("")
    each = (Markup('<a href="{}">{}</a>').format(link, text) for text, link in links.items())
    return Markup('<nav class="links" aria-label="{}">').format(label) + Markup("").join(each) + Markup("</nav>")


def page_frame(links: Mapping[str, str], sections: Sequence[Section]) -> dict[str, str]:
    """What stands above and below the cells, and the style and script of both."""
    above = links_html(links, "Lessons") + contents_html(sections)
    skip = Markup('<a class="skip" href="#lesson">Skip to the lesson</a>')
    below = links_html(links, "Lessons, below")
    return {
        "header": str(skip + Markup("<header>") + above + Markup("</header>")) if above else "",
        "footer": str(Markup("<footer>") + below + Markup("</footer>")) if below else "",
        "style": read_package_text("publish/lesson.css"),
        "script": read_package_text("publish/lesson.js"),
    }


NOTEBOOK_PAGE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style media="(prefers-color-scheme: dark)">{{ resources.dark_theme }}</style>
<style>{{ resources.frame.style }}</style>
{%- endblock -%}
{%- block body_header -%}
<body class="jp-Notebook" data-jp-theme-light="true" data-jp-theme-name="JupyterLab Light">
{{ resources.frame.header }}
<main id="lesson">
{%- endblock -%}
{%- block any_cell -%}
{{ cell.metadata.get("opens", "") }}{{ super() }}{{ cell.metadata.get("closes", "") }}
{%- endblock -%}
{%- block input_group -%}
{%- if cell.metadata.folded -%}
<details class="fold code"><summary>{{ cell.metadata.folded }}</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
{%- block body_footer -%}
</main>
{{ resources.frame.footer }}
<script>{{ resources.frame.script }}</script>
</body>
{%- endblock -%}
"""
