"""The demo: a notebook trains three methods on one pair of the embedded kitchens and leaves pages to look at."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from mmsada_lab.config import METHODS, ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.presets import build_config

if TYPE_CHECKING:
    import pandas as pd

NOTEBOOK = "05_mmsada.ipynb"
SHOWN = ("source_only", "adabn", "mmsada")
SOURCE, TARGET = "D1", "D3"  # where source-only is farthest from supervised target
FIGURE = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Demo:
    """What the demo left; prints as a table and the places to look at.

    Attributes:
        runs_dir: where the run folders lie.
        notebooks: the executed notebooks, one per method.
        pages: the same as HTML.
        table: see `results_table`.
    """

    runs_dir: Path
    notebooks: tuple[Path, ...]
    pages: tuple[Path, ...]
    table: pd.DataFrame

    def __str__(self) -> str:
        places = {"pages to open in a browser": self.pages, "executed notebooks": self.notebooks}
        listed = [f"\n{kind}:\n" + "\n".join(f"  {path}" for path in paths) for kind, paths in places.items()]
        columns = ["method", "pair", "stream", "seeds", "top1", "mean_class"]
        heading = f"Accuracy on {TARGET}'s test segments (%), {self.table['selection'].iloc[0]}; synthetic data:"
        table = self.table[columns].round(1).to_string(index=False)
        return "\n".join([heading, table, *listed, f"\nruns: {self.runs_dir} (see mmsada results {self.runs_dir})"])


def run_demo(
    runs_dir: Path,
    *,
    methods: Sequence[str] = SHOWN,
    data: str = "kitchens",
    preset: str = "quick",
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> Demo:
    """Train methods on D1→D3 by executing the notebook with papermill, once per method, and make a page of each.

    Finished runs are not trained again, interrupted ones continue. Progress goes to the standard error stream.

    Args:
        runs_dir: where run folders, executed notebooks (``05_mmsada-<method>.ipynb``) and pages are written.
        methods: keys of `METHODS`.
        data: data specification.
        preset: schedule and sizes.
        overrides: see `build_config`.
        device: ``auto`` or ``cpu``.

    Raises:
        UserError: without a checkout (the notebook is not in the installed package) or without the notebook
            packages; or if a notebook fails, with its message.
    """
    notebook = find_notebook(NOTEBOOK)
    _require_packages()
    chosen: dict[str, Any] = {"data": data, "preset": preset, "source": SOURCE, "target": TARGET, "seed": 0}
    chosen["overrides"] = dict(overrides or {})
    configs = {method: build_config(**chosen, method=method) for method in methods}
    import pandas as pd

    from mmsada_lab.analysis.tables import results_table
    from mmsada_lab.data.sources import load_data
    from mmsada_lab.runs import RunFolder, load_runs

    runs_dir = Path(runs_dir).resolve()
    runs_dir.mkdir(parents=True, exist_ok=True)
    name = load_data(data).name  # draws the kitchens now, with a progress bar of their own
    executed = {method: runs_dir / f"{notebook.stem}-{method}.ipynb" for method in methods}
    folders = {method: RunFolder(runs_dir, config, data_name=name).path for method, config in configs.items()}
    for number, (method, config) in enumerate(configs.items(), start=1):
        parameters = {**chosen, "method": method, "runs_dir": str(runs_dir), "device": device}
        with _progress(folders[method], config, title=f"[{number}/{len(configs)}] {METHODS[method].title}"):
            execute_notebook(notebook, executed[method], parameters=parameters)
            write_page(executed[method], executed[method].with_suffix(".html"))
    pages = tuple(path.with_suffix(".html") for path in executed.values())
    table = results_table(pd.concat([load_runs(folder) for folder in folders.values()]))
    return Demo(runs_dir, tuple(executed.values()), pages, table)


def find_notebook(name: str) -> Path:
    """The path of a notebook of this checkout.

    Raises:
        UserError: if the package does not lie in a checkout.
    """
    path = Path(__file__).parents[1] / "notebooks" / name
    if not path.is_file():
        raise UserError(
            f"no notebook {path}: the installed package does not hold the notebooks; run this from a checkout "
            "installed with pip install -e '.[notebooks]'"
        )
    return path


def _require_packages() -> None:
    if missing := [name for name in ("papermill", "ipykernel", "nbconvert") if find_spec(name) is None]:
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


def write_page(notebook: Path, page: Path) -> None:
    """Convert an executed notebook to one HTML file whose figures work without a network.

    Plotly.js is put into the page once; equations are set by MathJax where there is a network, and stay TeX where
    there is none. Widgets (progress bars) are left out.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    content.metadata.pop("widgets", None)
    first = True
    for cell in content.cells:
        cell.outputs = [output for output in cell.get("outputs", []) if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            if FIGURE in output.get("data", {}):
                output.data = {"text/html": _figure_html(output.data[FIGURE], with_library=first)}
                first = False
    exporter = HTMLExporter(require_js_url="", embed_images=True)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": page.stem}})
    page.write_text(body.replace('<script src=""></script>', ""), encoding="utf-8")


def _figure_html(figure: Mapping[str, Any], *, with_library: bool) -> str:
    from plotly.io import to_html

    drawn = {"data": figure["data"], "layout": figure["layout"]}
    return str(to_html(drawn, include_plotlyjs=with_library, full_html=False, validate=False))


@contextmanager
def _progress(run: Path, config: ExperimentConfig, *, title: str) -> Iterator[None]:
    """A bar with the time left, read from a run's growing history: the kernel's own bar is drawn in the notebook."""
    total = sum(stage.steps for _, stage in config.stages)
    done = threading.Event()
    with tqdm(total=total, desc=title, unit="step", mininterval=0) as bar:
        watcher = threading.Thread(target=_watch, args=(run / "history.jsonl", bar, done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(history: Path, bar: tqdm[Any], done: threading.Event) -> None:
    ended = False
    while not ended:
        ended = done.wait(0.5)  # one look more after the end, for the last steps
        record = _last_evaluation(history)
        if record is not None and record["total_step"] > bar.n:
            bar.set_postfix_str(
                f"{record['stage']}, target top-1 {record['values']['fused/top1']:.1f} %", refresh=False
            )
            bar.update(record["total_step"] - bar.n)
        elif sys.stderr.isatty():
            bar.refresh()  # the clock goes on


def _last_evaluation(history: Path) -> dict[str, Any] | None:
    """The latest evaluation on file, or None while there is none (the file is always whole)."""
    try:
        records = [json.loads(line) for line in history.read_text().splitlines()[-1:]]
    except OSError:
        return None
    return records[0] if records and records[0]["kind"] == "evaluation" else None
