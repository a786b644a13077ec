"""Multi-modal domain adaptation for action recognition: MM-SADA (Munro and Damen, CVPR 2020).

The names below are what a lesson or a script begins with. Importing the package is cheap: each name is loaded when it
is first used, and torch only by those that train or predict.

Example:
    >>> from mmsada_lab import build_config
    >>> str(build_config("quick", source="D2", target="D1").pair)
    'D2→D1'
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsada_lab.analysis import differences, figures, neighbours, style, tables
    from mmsada_lab.analysis.gap import measures
    from mmsada_lab.analysis.lessons.answers import answer, compare
    from mmsada_lab.datasets.open import load_data
    from mmsada_lab.experiment import run_experiment
    from mmsada_lab.explorer import explore, hands
    from mmsada_lab.facts import METHODS
    from mmsada_lab.lessons import kinds, library
    from mmsada_lab.lessons.finished import finished_runs
    from mmsada_lab.lessons.lesson_runs import configure, train_run
    from mmsada_lab.lessons.paper_tables import paper_tables
    from mmsada_lab.presets import build_config
    from mmsada_lab.runs import load_runs
    from mmsada_lab.trained import load_trained

# Threads that wait for one another sleep. Spinning, they take the time of the thread they wait for: beside two busy
# programs a run takes ten times as long (benchmarks/busy.py). OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOMES = {
    "METHODS": "facts",
    "answer": "analysis.lessons.answers",
    "build_config": "presets",
    "compare": "analysis.lessons.answers",
    "configure": "lessons.lesson_runs",
    "explore": "explorer",
    "finished_runs": "lessons.finished",
    "load_data": "datasets.open",
    "load_runs": "runs",
    "load_trained": "trained",
    "paper_tables": "lessons.paper_tables",
    "run_experiment": "experiment",
    "train_run": "lessons.lesson_runs",
}
"""Functions and tables of the face -> the module that holds them."""

_SPACES = {
    "differences": "analysis.differences",
    "figures": "analysis.figures",
    "hands": "explorer.hands",
    "library": "lessons.library",
    "kinds": "lessons.kinds",
    "measures": "analysis.gap.measures",
    "neighbours": "analysis.neighbours",
    "style": "analysis.style",
    "tables": "analysis.tables",
}
"""Names that stand for a whole module; those on the spine (`losses`, `methods`) are imported as they are."""

__all__ = [
    "METHODS",
    "__version__",
    "answer",
    "build_config",
    "compare",
    "configure",
    "differences",
    "explore",
    "figures",
    "finished_runs",
    "hands",
    "kinds",
    "library",
    "load_data",
    "load_runs",
    "load_trained",
    "measures",
    "neighbours",
    "paper_tables",
    "run_experiment",
    "style",
    "tables",
    "train_run",
]


def __getattr__(name: str) -> Any:
    if name in _SPACES:
        return import_module(f"{__name__}.{_SPACES[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
