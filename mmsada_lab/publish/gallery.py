"""The gallery: every notebook executed and made into a page, with an index, to read offline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from tqdm.auto import tqdm

from mmsada_lab.analysis.pages import render_page
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.files import read_package_text
from mmsada_lab.publish.notebooks import execute_notebook, find_notebooks, require_packages, write_page


@dataclass(frozen=True)
class Gallery:
    """The index, the pages it leads to, and by notebook the error that ended it; its page shows how far it came."""

    index: Path
    pages: tuple[Path, ...]
    failures: dict[str, str]


def make_gallery(
    to: Path,
    *,
    notebooks: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    runs_dir: Path | None = None,
    stored: bool = False,
) -> Gallery:
    """Execute notebooks and write a page of each, and an index. A notebook that fails does not stop the others.

    What a notebook trains is kept in a runs folder, so that a second gallery takes a fraction of the time. The index
    searches the texts of all pages.

    Args:
        to: folder of the pages.
        notebooks: their names (``05_mmsada``); all of this checkout by default.
        parameters: by notebook, where they are not to be its own.
        runs_dir: where they train; ``TO/runs`` by default.
        stored: execute nothing: pages of the outputs as they are stored, in seconds.

    Raises:
        UserError: for an unknown notebook, outside a checkout, or without the notebook packages.
    """
    require_packages()
    known = {path.stem: path for path in find_notebooks()}
    for name in notebooks:
        if name not in known:
            raise unknown("notebook", name, known)
    chosen = [known[name] for name in notebooks or known]
    runs = Path(runs_dir or to / "runs").resolve()
    to.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    cards = [_card(path) for path in chosen]
    texts = []
    for number, path in enumerate(bar := tqdm(chosen, desc="gallery", unit="notebook")):
        bar.set_postfix_str(path.stem)
        own = {"runs_dir": str(runs)} if _trains(path) else {}
        try:
            if not stored:
                execute_notebook(path, to / path.name, parameters={**own, **(parameters or {}).get(path.stem, {})})
        except UserError as error:
            failures[path.stem] = str(error)
        page = to / f"{path.stem}.html"
        links, beside = _links(cards, number), [each.stem for each in chosen]
        sections = write_page(path if stored else to / path.name, page, links=links, beside=beside)
        entries = [[section.anchor, section.title, " ".join(section.paragraphs)] for section in sections]
        texts.append([page.name, cards[number]["title"], entries])
    shown = [{**card, "failed": path.stem in failures} for card, path in zip(cards, chosen, strict=True)]
    index = to / "index.html"
    script = Markup(read_package_text("publish/search.js"))
    values = {"cards": shown, "stored": stored, "texts": texts, "script": script}
    index.write_text(render_page(_TITLE, _INDEX, values, style=_STYLE), encoding="utf-8")
    return Gallery(index, tuple(to / f"{path.stem}.html" for path in chosen), failures)


def _trains(notebook: Path) -> bool:
    """Whether a notebook's own runs folder is one to train in, rather than the runs that come with the checkout."""
    return bool(re.search(r'runs_dir: str = \\?"runs', notebook.read_text(encoding="utf-8")))


def _card(notebook: Path) -> dict[str, str]:
    """Page, number, title, question and time of a notebook, from its first cell."""
    import nbformat

    first = nbformat.read(notebook, as_version=4).cells[0].source  # type: ignore[no-untyped-call]
    texts = {
        "number": notebook.stem.partition("_")[0],
        "title": first.splitlines()[0].lstrip("# "),
        "question": re.findall(r"\*\*(.+?)\*\*", first, flags=re.DOTALL)[0],
        "time": first.partition("*Time and device:*")[2].split("\n\n")[0],
    }
    plain = {name: " ".join(text.replace("`", "").split()) for name, text in texts.items()}
    return {"page": f"{notebook.stem}.html", **plain}


def _links(cards: Sequence[Mapping[str, str]], number: int) -> dict[str, str]:
    """Of a page: to the index, the one before and the one after."""
    near = {"←": number - 1, "→": number + 1}
    beside = {f"{sign} {cards[k]['title']}": cards[k]["page"] for sign, k in near.items() if 0 <= k < len(cards)}
    return {"All notebooks": "index.html", **beside}


_TITLE = "Multi-modal domain adaptation, step by step"
_INDEX = """<p>The notebooks of mmsada_lab,
{{ "with the outputs that come with the checkout" if stored else "executed" }}. Equations and figures need no
network.</p>
<form id="search" role="search">
<label for="words">Search all lessons</label>
<input id="words" type="search" autocomplete="off" placeholder="gradient reversal" aria-describedby="count">
<span id="count" role="status" aria-live="polite"></span>
<ol id="places" aria-label="Places"></ol>
</form>
<div class="cards">
{% for card in cards %}
<a href="{{ card.page }}"><h2><span>{{ card.number }}</span> {{ card.title }}</h2>
<p>{{ card.question }}</p><p class="time">{{ card.time }}</p>
{% if card.failed %}<p class="failed">stopped by an error: the page shows where</p>{% endif %}
</a>
{% endfor %}
</div>
<script type="application/json" id="texts">{{ texts | tojson }}</script>
<script>{{ script }}</script>"""
_STYLE = """.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1.2em; }
.cards a { display: block; color: inherit; text-decoration: none; border: 1px solid var(--line);
    border-top: 4px solid #0072B2; border-radius: 4px; padding: 0 1.2em .6em; }
.cards a:nth-child(even) { border-top-color: #D55E00; } .cards a:hover { background: var(--wash); }
h2 { font-size: 1.1em; } h2 span { color: var(--faint); font-weight: normal; }
.time { color: var(--faint); font-size: .85em; } .failed { color: var(--warn); }
#search { margin: 1.2em 0 1.6em; } #search label { font-weight: bold; margin-right: .6em; }
#search input { font: inherit; width: min(420px, 60vw); padding: .35em .6em; border: 1px solid var(--faint);
    border-radius: 4px; background: var(--ground); color: inherit; }
#count { color: var(--faint); margin-left: .8em; }
#places { list-style: none; padding: 0; margin: .6em 0 0; }
#places a { display: block; padding: .4em .8em; border-left: 3px solid var(--line); margin: .4em 0; color: inherit;
    text-decoration: none; }
#places a:is(:hover, :focus) { background: var(--wash); border-left-color: #0072B2; }
#places strong { color: var(--link); } #places span { color: var(--faint); } #places p { margin: .1em 0 0; }
mark { background: #ffe9a8; color: #222; }"""
