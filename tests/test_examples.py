"""Examples in docstrings: each of them runs, and the functions that a reader meets first have one."""

from __future__ import annotations

import doctest
import inspect
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mmsada_lab
from mmsada_lab.analysis import embedding, figures, neighbours, selection, tables
from mmsada_lab.analysis.gap import measures

ROOT = Path(mmsada_lab.__file__).parent
WITH_EXAMPLES = [path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text()]
MODULES = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in WITH_EXAMPLES]


def public(*modules: ModuleType, kind: Callable[[object], bool] = inspect.isfunction) -> Iterator[tuple[str, Any]]:
    """The functions (or other kind of members) that modules define themselves."""
    for module in modules:
        for name, member in inspect.getmembers(module, kind):
            if member.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{module.__name__.rpartition('.')[2]}.{name}", member


SHOULD_HAVE_ONE = {
    **{f"figures.{name}": getattr(figures, name) for name in dir(figures)},
    **dict(public(embedding, measures, neighbours, selection, tables)),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for test in doctest.DocTestFinder().find(import_module(name.removesuffix(".__init__"))):
            runner.run(test, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", SHOULD_HAVE_ONE)
def test_it_has_an_example(name: str) -> None:
    assert doctest.DocTestParser().get_examples(inspect.getdoc(SHOULD_HAVE_ONE[name]) or "")
