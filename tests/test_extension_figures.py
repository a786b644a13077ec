"""A figure is one module and one line of `FIGURES`; and every figure of the package is found there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go
import pytest

import mmsada_lab
from mmsada_lab.analysis import figures

PACKAGE = Path(mmsada_lab.__file__).parent

TOY = """
import plotly.graph_objects as go

def toy_points():
    return [1, 2, 3]

def draw_toy(points):
    return go.Figure(go.Scatter(y=points))
"""


def test_a_module_and_one_line_make_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_figure.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AttributeError, match="no figure 'draw_toy'; there are training_curves, "):
        figures.draw_toy  # noqa: B018
    monkeypatch.setitem(figures.FIGURES, "toy_points draw_toy", "toy_figure")
    assert list(figures.draw_toy(figures.toy_points()).data[0].y) == [1, 2, 3]
    assert {"toy_points", "draw_toy"} <= set(dir(figures))


@pytest.mark.parametrize("name", dir(figures))
def test_every_name_is_a_function_of_its_module(name: str) -> None:
    module = next(module for names, module in figures.FIGURES.items() if name in names.split())
    function = getattr(figures, name)
    assert callable(function)
    assert function.__module__ == f"mmsada_lab.analysis{module}", "not one that the module has imported"


def test_no_name_stands_twice() -> None:
    assert len(set(dir(figures))) == len(dir(figures))


def drawing_functions() -> Iterator[tuple[str, str]]:
    """Public functions, by file, that return a Plotly figure, or are called ``draw_...`` in the wing."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                is_figure = node.returns is not None and ast.unparse(node.returns) == "go.Figure"
                if is_figure or (path.is_relative_to(PACKAGE / "analysis") and node.name.startswith("draw_")):
                    yield path.relative_to(PACKAGE).as_posix(), node.name


def test_every_figure_of_the_package_is_in_the_table() -> None:
    outside = [(file, name) for file, name in drawing_functions() if name not in dir(figures)]
    controls = [("explorer/alignment.py", name) for name in ("draw_reversal", "draw_kernel")]  # of lessons' sliders
    controls.append(("explorer/stream_logits.py", "draw_streams"))
    without_data = [("analysis/hover.py", "write_hover"), ("analysis/style.py", "empty_figure")]  # of any figure
    assert outside == [*without_data, *controls]
    assert len(list(drawing_functions())) > 15


@pytest.mark.parametrize("name", [name for name in dir(figures) if name.startswith("draw_")])
def test_what_draws_says_so(name: str) -> None:
    assert getattr(figures, name).__annotations__["return"] in (go.Figure, "go.Figure")
