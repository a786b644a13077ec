"""Reports of recipes that lie beside each other: an index, and links from each to it and to its neighbours."""

from __future__ import annotations

import re
from pathlib import Path

from markupsafe import Markup

from mmsada_lab.analysis.pages import render_page
from mmsada_lab.files import write_whole
from mmsada_lab.sweeps.recipes import RECIPES

_LINKS = re.compile(r'(<nav class="links" aria-label="Reports">).*?(</nav>)', re.DOTALL)
_MARK = '<ol class="reports">'
_INDEX = (
    _MARK
    + """
{% for page, title in pages %}
<li><a href="{{ page }}">{{ title }}</a> <span>(<a href="{{ page[:-5] }}.csv">CSV</a>)</span></li>
{% endfor %}
</ol>"""
)
_STYLE = "li { margin: .5em 0; } li span { font-size: .85em; }"


def link_reports(out: Path) -> Path | None:
    """Write the index of the recipes' pages in a folder, and into each page links to it and to its neighbours.

    Nothing is written for a single page, nor where ``index.html`` is somebody else's.

    Returns:
        The index, if there is one.
    """
    pages = [path for name in RECIPES if (path := out / f"{name}.html").is_file()]
    index = out / "index.html"
    if len(pages) < 2 or (index.exists() and _MARK not in index.read_text(encoding="utf-8", errors="replace")):
        return None
    titles = [RECIPES[path.stem].title for path in pages]
    listed = [(path.name, title) for path, title in zip(pages, titles, strict=True)]
    write_whole(index, render_page("Reports", _INDEX, {"pages": listed}, style=_STYLE).encode())
    for number, path in enumerate(pages):
        near = {"←": number - 1, "→": number + 1}
        beside = [(f"{sign} {titles[k]}", pages[k].name) for sign, k in near.items() if 0 <= k < len(pages)]
        _put_links(path, [("All reports", index.name), *beside])
    return index


def _put_links(page: Path, links: list[tuple[str, str]]) -> None:
    """Where the page has a place for them."""
    line = " ".join(Markup('<a href="{}">{}</a>').format(name, text) for text, name in links)
    before = page.read_text(encoding="utf-8")
    after = _LINKS.sub(lambda match: f"{match[1]}{line}{match[2]}", before, count=1)
    if after != before:
        write_whole(page, after.encode())
