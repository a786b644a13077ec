"""The demo: a notebook trains three methods on one pair of the embedded kitchens and leaves pages to look at."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from mmsada_lab.analysis.tables import results_table
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import DomainPair
from mmsada_lab.presets import build_config
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK, execute_notebook, find_notebook, require_packages, write_page
from mmsada_lab.runs import RunFolder, load_history, load_runs

SHOWN = ("source_only", "adabn", "mmsada")
DEMO_PAIR = DomainPair("D1", "D3")  # where source-only is farthest from supervised target


@dataclass(frozen=True)
class Demo:
    """What the demo left; prints as a table and the files to look at.

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
        files = {"pages to open in a browser": self.pages, "executed notebooks": self.notebooks}
        lists = [f"\n{kind}:\n" + "\n".join(f"  {path}" for path in paths) for kind, paths in files.items()]
        columns = ["method", "pair", "stream", "seeds", "top1", "mean_class"]
        selection = self.table["selection"].iloc[0]
        heading = f"Accuracy on {DEMO_PAIR.target}'s test segments (%), {selection}; synthetic data:"
        table = self.table[columns].round(1).to_string(index=False)
        return "\n".join([heading, table, *lists, f"\nruns: {self.runs_dir} (see mmsada results {self.runs_dir})"])


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
        UserError: outside a checkout, without the notebook packages, or if a notebook fails, with its message.
    """
    notebook = find_notebook(RUN_NOTEBOOK)
    require_packages()
    chosen: dict[str, Any] = {"data": data, "preset": preset, "source": DEMO_PAIR.source, "target": DEMO_PAIR.target}
    chosen |= {"seed": 0, "overrides": dict(overrides or {})}
    configs = {method: build_config(**chosen, method=method) for method in methods}
    runs_dir = Path(runs_dir).resolve()
    runs_dir.mkdir(parents=True, exist_ok=True)
    data_name = load_data(data).name  # draws the kitchens now, with a progress bar of their own
    folders = [RunFolder(runs_dir, config, data_name=data_name).path for config in configs.values()]
    copies = [runs_dir / f"{notebook.stem}-{method}.ipynb" for method in configs]
    for number, (method, folder, copy) in enumerate(zip(configs, folders, copies, strict=True), start=1):
        parameters = {**chosen, "method": method, "runs_dir": str(runs_dir), "device": device}
        with _progress_bar(folder, configs[method], title=f"[{number}/{len(configs)}] {METHODS[method].title}"):
            execute_notebook(notebook, copy, parameters=parameters)
            write_page(copy, copy.with_suffix(".html"))
    table = results_table(pd.concat([load_runs(folder) for folder in folders]))
    return Demo(runs_dir, tuple(copies), tuple(copy.with_suffix(".html") for copy in copies), table)


@contextmanager
def _progress_bar(folder: Path, config: ExperimentConfig, *, title: str) -> Iterator[None]:
    """A bar with the time left, read from a run's growing history: the kernel draws its own in the notebook."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(0.5):
            _advance(bar, folder)
        _advance(bar, folder)

    with tqdm(total=sum(stage.steps for _, stage in config.stages), desc=title, unit="step", mininterval=0) as bar:
        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()


def _advance(bar: tqdm[Any], folder: Path) -> None:
    try:
        last = load_history(folder).query("name == 'fused/top1'").iloc[-1]
    except (UserError, IndexError):  # nothing is written or evaluated yet
        return
    text = f"{last['stage']}, target top-1 {last['value']:.1f} %"
    bar.set_postfix_str(text, refresh=sys.stderr.isatty())  # the clock goes on
    bar.update(int(last["total_step"]) - bar.n)
