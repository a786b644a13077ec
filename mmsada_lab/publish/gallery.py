"""The gallery: every notebook executed and made into a page, with an index, to read offline."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.publish.notebooks import execute_notebook, find_notebooks, require_packages, write_page


@dataclass(frozen=True)
class Gallery:
    """What was made.

    Attributes:
        index: the page that leads to the others.
        pages: in order.
        failures: a notebook's name -> the error that ended it; its page shows how far it came.
    """

    index: Path
    pages: tuple[Path, ...]
    failures: dict[str, str]


def make_gallery(
    to: Path,
    *,
    notebooks: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    runs_dir: Path | None = None,
) -> Gallery:
    """Execute notebooks and write a page of each, and an index. A notebook that fails does not stop the others.

    What a notebook trains is kept in a runs folder, so that a second gallery takes a fraction of the time.

    Args:
        to: folder of the pages.
        notebooks: their names (``05_mmsada``); all of this checkout by default.
        parameters: of each notebook, by name, where they are not to be the notebook's own.
        runs_dir: where they train; ``TO/runs`` by default.

    Raises:
        UserError: for an unknown notebook, outside a checkout, or without the notebook packages.
    """
    require_packages()
    known = {path.stem: path for path in find_notebooks()}
    chosen = [known[_checked(name, known)] for name in notebooks] if notebooks else list(known.values())
    runs = Path(runs_dir or to / "runs").resolve()
    to.mkdir(parents=True, exist_ok=True)
    failures, cards = {}, []
    for path in (bar := tqdm(chosen, desc="gallery", unit="notebook")):
        bar.set_postfix_str(path.stem)
        executed = to / path.name
        own = dict((parameters or {}).get(path.stem, {}))
        if _trains(path):
            own = {"runs_dir": str(runs), **own}
        try:
            execute_notebook(path, executed, parameters=own)
        except UserError as error:
            failures[path.stem] = str(error)
        write_page(executed, executed.with_suffix(".html"))
        cards.append(_card(path, failed=path.stem in failures))
    index = to / "index.html"
    index.write_text(_INDEX.format(cards="\n".join(cards)), encoding="utf-8")
    return Gallery(index, tuple(to / f"{path.stem}.html" for path in chosen), failures)


def _checked(name: str, known: Mapping[str, Path]) -> str:
    if name not in known:
        raise unknown("notebook", name, known)
    return name


def _trains(notebook: Path) -> bool:
    """Whether a notebook's own runs folder is a place to train in, rather than the runs that come with the checkout."""
    return bool(re.search(r'runs_dir: str = \\?"runs', notebook.read_text(encoding="utf-8")))


def _card(notebook: Path, *, failed: bool) -> str:
    """Title, question and time of a notebook, from its first cell."""
    import nbformat

    first = nbformat.read(notebook, as_version=4).cells[0].source  # type: ignore[no-untyped-call]
    title = first.splitlines()[0].lstrip("# ")
    question = " ".join(re.findall(r"\*\*(.+?)\*\*", first, flags=re.DOTALL)[0].split())
    time = " ".join(first.partition("*Time and device:*")[2].split("\n\n")[0].split())
    number = notebook.stem.partition("_")[0]
    note = '<p class="failed">stopped by an error: the page shows where</p>' if failed else ""
    parts = [html.escape(text).replace("`", "") for text in (number, title, question, time)]
    return _CARD.format(notebook.stem, *parts, note)


_CARD = """<a href="{0}.html"><h2><span>{1}</span> {2}</h2><p>{3}</p><p class="time">{4}</p>{5}</a>"""
_INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>mmsada_lab: the notebooks</title><style>
body {{ font: 16px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 1080px; margin: 3em auto;
       padding: 0 1em; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1.2em; }}
a {{ display: block; color: inherit; text-decoration: none; border: 1px solid #ddd; border-top: 4px solid #0072B2;
     border-radius: 4px; padding: 0 1.2em .6em; }}
a:nth-child(even) {{ border-top-color: #D55E00; }} a:hover {{ background: #f6f8fa; }}
h2 {{ font-size: 1.1em; }} h2 span {{ color: #7f7f7f; font-weight: normal; }}
.time {{ color: #7f7f7f; font-size: .85em; }} .failed {{ color: #D55E00; }}
</style></head><body>
<h1>Multi-modal domain adaptation, step by step</h1>
<p>The notebooks of mmsada_lab, executed. Equations and figures need no network.</p>
<main>
{cards}
</main></body></html>
"""
