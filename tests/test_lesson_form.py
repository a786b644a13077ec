"""How a lesson is written down: one import line, short cells that fit the screen, answers with numbers, solutions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LONGEST_CELL, LONGEST_LINE = 12, 96
every_lesson = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def is_solution(cell: NotebookNode) -> bool:
    return "solution" in cell.metadata.get("tags", [])


@every_lesson
def test_code_fits_the_screen(path: Path) -> None:
    for cell in cells(path, "code"):
        lines = cell.source.splitlines()
        assert len(lines) <= LONGEST_CELL or "parameters" in cell.metadata.get("tags", []), cell.id
        assert max(map(len, lines)) <= LONGEST_LINE, cell.id


@every_lesson
def test_the_package_is_imported_in_one_line(path: Path) -> None:
    """From its face alone, and in the second code cell; a lesson's other libraries come before it."""
    _, imports, *others = cells(path, "code")
    ours = [line for line in imports.source.splitlines() if "mmsada_lab" in line]
    assert len(ours) == 1, imports.source
    assert re.match(r"from mmsada_lab import \w", ours[0])
    assert not [c.id for c in others if re.search(r"^\s*(import|from) ", c.source, flags=re.MULTILINE)]


@every_lesson
def test_no_cell_is_silent(path: Path) -> None:
    _, imports, *others = cells(path, "code")
    assert all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(imports.source).body)
    assert not [cell.id for cell in others if not cell.outputs]


@every_lesson
def test_what_is_worked_out_by_hand_is_printed_beside_the_library(path: Path) -> None:
    code = [cell.source for cell in cells(path, "code")]
    assert not [source for source in code if re.search(r"assert_close|^\s*assert ", source, flags=re.MULTILINE)]
    assert sum(bool(re.search(r"\bcompare\(", source)) for source in code) >= 2


@every_lesson
def test_questions_are_answered(path: Path) -> None:
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert not re.findall(r"[Ss]ee (?:\w+ ){0,4}whether", text)
    assert sum(bool(re.search(r"\banswer\(", cell.source)) for cell in cells(path, "code")) >= 2


@every_lesson
def test_parameters_are_folded(path: Path) -> None:
    first = cells(path, "code")[0]
    assert first.metadata.get("jupyter", {}).get("source_hidden") is True


@every_lesson
def test_exercises_have_a_folded_solution(path: Path) -> None:
    """Below a heading that is folded, code that ran."""
    notebook = nbformat.read(path, as_version=4)
    headings = [k for k, cell in enumerate(notebook.cells) if re.match("### A solution", cell.source)]
    assert len(headings) == 1
    assert notebook.cells[headings[0]].metadata["jp-MarkdownHeadingCollapsed"] is True
    (end,) = [k for k, cell in enumerate(notebook.cells) if cell.source.startswith("## Next")]
    between = notebook.cells[headings[0] + 1 : end]
    solutions = [cell for cell in between if cell.cell_type == "code"]
    assert solutions
    assert all(is_solution(cell) and cell.outputs for cell in solutions)


@every_lesson
def test_the_next_lesson_is_a_link(path: Path) -> None:
    last = cells(path, "markdown")[-1].source
    for target in re.findall(r"\]\((\w+\.ipynb)\)", last):
        assert (path.parent / target).is_file()
    assert re.search(r"\]\(\d\d_\w+\.ipynb\)", last)
