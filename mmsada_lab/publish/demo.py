"""The demo: a notebook trains three methods on one pair of the embedded kitchens and leaves pages to look at."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import build_config
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK, execute_notebook, find_notebook, require_packages, write_page

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("source_only", "adabn", "mmsada")
SOURCE, TARGET = "D1", "D3"  # where source-only is farthest from supervised target


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
    notebook = find_notebook(RUN_NOTEBOOK)
    require_packages()
    chosen: dict[str, Any] = {"data": data, "preset": preset, "source": SOURCE, "target": TARGET, "seed": 0}
    chosen["overrides"] = dict(overrides or {})
    configs = {method: build_config(**chosen, method=method) for method in methods}
    import pandas as pd

    from mmsada_lab.analysis.tables import results_table
    from mmsada_lab.datasets.open import load_data
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
