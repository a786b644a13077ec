"""Notebooks of this checkout: find them, execute them with other parameters, make pages of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmsada_lab.errors import UserError
from mmsada_lab.publish.layout import (
    NOTEBOOK_PAGE,
    PICTURES,
    Section,
    Sections,
    figure_html,
    fold_cells,
    page_frame,
    picture_html,
)

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
) -> list[Section]:
    """Convert an executed notebook to one HTML file that needs no network.

    Plotly.js is put into the page once; equations become MathML, which browsers set themselves. Of widgets what they
    say to readers without a kernel is kept; those that say nothing (progress bars) are left out. Headings are listed as
    contents, solutions and parameters come folded, and every picture has words.

    Args:
        notebook: to convert.
        page: to write.
        links: of a line above and below it: what is read -> where it leads.
        beside: names of notebooks whose pages lie beside it: links to them lead there.

    Returns:
        The page's headings with the text below each.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    content.metadata.pop("widgets", None)
    sections = Sections()
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = sections.take(_markdown_to_html(cell.source))
        cell.outputs = [_shown(output, sections) for output in without_widgets(cell.get("outputs", []))]
    fold_cells(content.cells)
    content.metadata.title = sections.all[0].title if sections.all else page.stem
    exporter = HTMLExporter(raw_template=NOTEBOOK_PAGE, filters={"markdown2html": _as_it_is})  # type: ignore[no-untyped-call]
    frame = page_frame(links or {}, sections.all)
    resources = {"metadata": {"name": page.stem}, "frame": frame, "dark_theme": _dark_theme(exporter.template_paths)}
    body, _ = exporter.from_notebook_node(content, resources=resources)
    whole = _FROM_NETWORK.sub("", body)
    for name in beside:
        whole = whole.replace(f'href="{name}.ipynb', f'href="{name}.html')
    page.write_text(_with_plotly(whole) if 'class="plotly-graph-div"' in whole else whole, encoding="utf-8")
    return sections.all


def _shown(output: Any, sections: Sections) -> Any:
    """An output as the page shows it: figures and pictures as HTML with words, Markdown as HTML."""
    data = output.get("data", {})
    if FIGURE in data:
        output.data = {"text/html": figure_html(data[FIGURE], section=sections.title)}
    elif "text/html" in data:
        data["text/html"] = data["text/html"].replace("<th></th>", "<td></td>")  # a heading of nothing
    elif "text/markdown" in data:
        data["text/markdown"] = sections.take(_markdown_to_html(data["text/markdown"]))
    elif pictures := [kind for kind in PICTURES if kind in data]:
        output.data = {"text/html": picture_html(output, pictures[0], section=sections.title)}
    return output


def _as_it_is(html: str) -> str:
    return html


def _with_plotly(page: str) -> str:
    """The page with the library at the end of its head."""
    from plotly.offline import get_plotlyjs

    head, end, body = page.partition("</head>")
    return "".join([head, "<script>", get_plotlyjs(), "</script>", end, body])


def _dark_theme(folders: Iterable[str]) -> str:
    """JupyterLab's colours in the dark, from the templates of nbconvert."""
    files = (Path(folder, "static", "theme-dark.css") for folder in folders)
    return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")


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
