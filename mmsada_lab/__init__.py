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
    from mmsada_lab.datasets.open import load_data
    from mmsada_lab.experiment import run_experiment
    from mmsada_lab.facts import METHODS
    from mmsada_lab.presets import build_config
    from mmsada_lab.runs import load_runs
    from mmsada_lab.trained import load_trained

# Threads that wait for one another sleep. Spinning, they take the time of the thread they wait for: beside two busy
# programs a run takes ten times as long (benchmarks/busy.py). OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["METHODS", "__version__", "build_config", "load_data", "load_runs", "load_trained", "run_experiment"]

_HOMES = {
    "METHODS": "facts",
    "build_config": "presets",
    "load_data": "datasets.open",
    "load_runs": "runs",
    "load_trained": "trained",
    "run_experiment": "experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
