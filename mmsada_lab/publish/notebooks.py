"""Notebooks of this checkout: find them, execute them with other parameters, make pages of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmsada_lab.errors import UserError

RUN_NOTEBOOK = "05_mmsada.ipynb"
"""The one that trains and looks at one run, whatever its method."""
FIGURE = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


def find_notebook(name: str) -> Path:
    """The path of a notebook of this checkout.

    Raises:
        UserError: if the package does not lie in a checkout.
    """
    path = Path(__file__).parents[2] / "notebooks" / name
    if not path.is_file():
        hint = "run this from a checkout installed with pip install -e '.[notebooks]'"
        raise UserError(f"no notebook {path}: the installed package does not hold the notebooks; {hint}")
    return path


def find_notebooks() -> list[Path]:
    """All notebooks of this checkout, in order, see `find_notebook`."""
    return sorted(find_notebook(RUN_NOTEBOOK).parent.glob("[0-9][0-9]_*.ipynb"))


def require_packages() -> None:
    """Raise `UserError` unless notebooks can be executed and converted here."""
    if missing := [name for name in ("papermill", "ipykernel", "nbconvert", "latex2mathml") if find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)} not installed; run pip install -e '.[notebooks]' in the checkout")


def execute_notebook(notebook: Path, executed: Path, *, parameters: Mapping[str, Any]) -> None:
    """Execute a notebook with other parameters; the copy is saved as it grows.

    Raises:
        UserError: if a cell fails, with that cell's error; the copy holds the rest.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    quiet = {"progress_bar": False, "extra_arguments": ["--log-level=ERROR"]}  # the kernel's remarks on its ports
    try:
        papermill.execute_notebook(notebook, executed, parameters=dict(parameters), **quiet)
    except PapermillExecutionError as error:
        raise UserError(f"{error.ename}: {error.evalue} (in {executed})") from error


def write_page(
    notebook: Path, page: Path, *, links: Mapping[str, str] | None = None, beside: Collection[str] = ()
) -> None:
    """Convert an executed notebook to one HTML file that needs no network.

    Plotly.js is put into the page once; equations become MathML, which browsers set themselves. Of widgets what they
    say to readers without a kernel is kept; those that say nothing (progress bars) are left out.

    Args:
        notebook: to convert.
        page: to write.
        links: of a line above and below it: what is read -> where it leads.
        beside: names of notebooks whose pages lie beside it: links to them lead there.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        cell.outputs = list(without_widgets(cell.get("outputs", [])))
    figures = [output for cell in content.cells for output in cell.outputs if FIGURE in output.get("data", {})]
    for number, output in enumerate(figures):
        output.data = {"text/html": _figure_html(output.data[FIGURE], with_library=number == 0)}
    options = {"require_js_url": "", "mathjax_url": "", "filters": {"markdown2html": _markdown_to_html}}
    exporter = HTMLExporter(**options)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": page.stem}})
    whole = _FROM_NETWORK.sub("", body)
    for name in beside:
        whole = whole.replace(f'href="{name}.ipynb"', f'href="{name}.html"')
    page.write_text(_with_links(whole, links) if links else whole, encoding="utf-8")


def _with_links(page: str, links: Mapping[str, str]) -> str:
    """The page with a line of links above and below."""
    from markupsafe import Markup

    each = (Markup('<a href="{}" style="margin-right: 2em">{}</a>').format(link, text) for text, link in links.items())
    bar = f'<nav style="font: 15px sans-serif; padding: 12px 50px">{"".join(each)}</nav>'
    head, body, rest = re.split(r"(<body[^>]*>)", page, maxsplit=1)
    content, end, tail = rest.rpartition("</body>")
    return "".join([head, body, bar, content, bar, end, tail])


def without_widgets(outputs: Iterable[Any]) -> Iterator[Any]:
    """Outputs of a cell without what only a kernel can bring to life."""
    for output in outputs:
        data = output.get("data", {})
        if WIDGET in data:
            if not {"text/html", FIGURE} & data.keys():
                continue
            del data[WIDGET]
        yield output


_FROM_NETWORK = re.compile(r"<script[^>]*\bsrc=\"[^\"]*\"[^>]*>\s*</script>")


def _markdown_to_html(markdown: str) -> str:
    """Convert Markdown as nbconvert does, with MathML for equations."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return _mathml(body, display="block")

        def inline_math(self, body: str) -> str:
            return _mathml(body, display="inline")

    return str(MarkdownWithMath(renderer=Renderer(escape=False, embed_images=True)).render(markdown))


def _mathml(tex: str, *, display: str) -> str:
    from latex2mathml.converter import convert

    # Without the namespace, which HTML does not need and which nbconvert would turn into prefixes in headings.
    return re.sub(r' xmlns="[^"]*"', "", convert(" ".join(tex.split()), display=display))


def _figure_html(figure: Mapping[str, Any], *, with_library: bool) -> str:
    from plotly.io import to_html

    content = {"data": figure["data"], "layout": figure["layout"]}
    return str(to_html(content, include_plotlyjs=with_library, full_html=False, validate=False))
