"""Lessons in JupyterLab: copies to change and to run, so that the checkout stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmsada_lab.errors import UserError
from mmsada_lab.files import write_whole
from mmsada_lab.publish.notebooks import find_notebooks

COPIES = ".lessons.json"
"""By name of a lesson: the digest of the file that was copied, and that of its cells without their outputs."""


@dataclass(frozen=True)
class LessonCopies:
    """The folder of the copies, and names of lessons by what became of their copy.

    Attributes:
        folder: where they lie.
        new: copied now, because there was no copy.
        renewed: copied again: the lesson has changed since, or a fresh one was asked for.
        changed: left as they are, because somebody has changed their cells.
        set_aside: with `fresh`, the names under which changed copies were kept.
    """

    folder: Path
    new: tuple[str, ...]
    renewed: tuple[str, ...]
    changed: tuple[str, ...]
    set_aside: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"lessons: {self.folder} (copies: whatever you change or run there, the checkout stays as it is)"]
        lines += [f"renewed: {', '.join(self.renewed)}"] if self.renewed else []
        lines += [f"yours: {', '.join(self.set_aside)}"] if self.set_aside else []
        if self.changed:
            hint = "--fresh copies them anew and keeps yours beside as NAME.mine.ipynb"
            lines.append(f"changed by you and left so: {', '.join(self.changed)} ({hint})")
        return "\n".join(lines)


def copy_lessons(to: Path, *, fresh: bool = False) -> LessonCopies:
    """Copy the notebooks of this checkout to a folder. A copy whose cells somebody has changed is never overwritten.

    A copy that was only opened or run is renewed when its lesson has changed in the checkout, and stays otherwise, with
    the outputs that it has by then. Other files of the folder are left alone.

    Args:
        to: the folder.
        fresh: copy all anew; changed copies are kept beside the new ones as ``NAME.mine.ipynb``.

    Raises:
        UserError: outside a checkout, into the folder of the lessons themselves, or where nothing can be written.
    """
    lessons = find_notebooks()
    home = lessons[0].parent.resolve()
    if to.resolve() == home or home in to.resolve().parents:
        raise UserError(f"{to} is where the lessons themselves lie; choose another folder for the copies")
    copied = _read_record(to)
    outcome: dict[str, list[str]] = {"new": [], "renewed": [], "changed": [], "set_aside": []}
    for lesson in lessons:
        content, copy = lesson.read_bytes(), to / lesson.name
        known = copied.get(lesson.name, {})
        if not copy.exists():
            kind = "new"
        elif _cells_digest(copy.read_bytes()) not in (known.get("cells"), _cells_digest(content)):
            kind = "changed"
        else:
            newer = known.get("file") != _digest(content) or (fresh and copy.read_bytes() != content)
            kind = "renewed" if newer else ""
        if kind == "changed" and fresh:
            outcome["set_aside"].append(_set_aside(copy).name)
            kind = "renewed"
        if kind:
            outcome[kind].append(lesson.stem)
        if kind in ("new", "renewed"):
            write_whole(copy, content)
            copied[lesson.name] = {"file": _digest(content), "cells": _cells_digest(content)}
    write_whole(to / COPIES, json.dumps(copied, indent=1).encode())
    return LessonCopies(to, **{kind: tuple(names) for kind, names in outcome.items()})


def lab_arguments(folder: Path, *, browser: bool = True, further: Sequence[str] = ()) -> list[str]:
    """What JupyterLab is told: files of a folder, kernels in the current one, for this machine alone.

    ``runs`` in a lesson is then the folder that the commands mean as well. For that, Jupyter has a folder of its own
    for kernels, where the path of a notebook is looked for; what is not there starts in that folder itself.

    Args:
        folder: the lessons.
        browser: whether to open one.
        further: arguments of JupyterLab, after these.

    Example:
        >>> arguments = lab_arguments(Path("runs/lessons"), browser=False)
        >>> arguments[0], arguments[-1]
        ('--ServerApp.ip=127.0.0.1', '--ServerApp.open_browser=False')
    """
    folders = {"ServerApp.root_dir": folder.resolve(), "MappingKernelManager.root_dir": Path.cwd()}
    arguments = ["--ServerApp.ip=127.0.0.1", *(f"--{name}={path}" for name, path in folders.items())]
    arguments += ["--allow-root"] if os.geteuid() == 0 else []  # as in a container; nobody else reaches it
    return [*arguments, *([] if browser else ["--ServerApp.open_browser=False"]), *further]


def start_lab(arguments: Sequence[str]) -> None:
    """Be JupyterLab until it is stopped.

    Raises:
        UserError: it is not installed.
    """
    require_lab()
    from jupyterlab.labapp import LabApp

    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # of kernels: several lessons at once share the cores, see the face
    LabApp.launch_instance(argv=list(arguments))


def require_lab() -> None:
    """Raise `UserError` unless JupyterLab can be started."""
    if find_spec("jupyterlab") is None:
        raise UserError("jupyterlab not installed; run pip install -e '.[notebooks]' in the checkout")


def _read_record(folder: Path) -> dict[str, dict[str, str]]:
    """What was copied; nothing where the record is lost, so that every copy counts as changed."""
    try:
        record = json.loads((folder / COPIES).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _set_aside(copy: Path) -> Path:
    """Give a copy a name of its own beside it: ``NAME.mine.ipynb``, ``NAME.mine2.ipynb``, ..."""
    number = 1
    while (kept := copy.with_name(f"{copy.stem}.mine{number if number > 1 else ''}.ipynb")).exists():
        number += 1
    return copy.rename(kept)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _cells_digest(content: bytes) -> str:
    """Of what a person writes in a notebook: JupyterLab changes all else, and appends an empty cell, by running it."""
    try:
        cells = [(cell["cell_type"], "".join(cell["source"]), cell.get("attachments")) for cell in _cells(content)]
    except (ValueError, KeyError, TypeError):
        return "no notebook"
    return _digest(json.dumps([(kind, text, attached or None) for kind, text, attached in cells if text]).encode())


def _cells(content: bytes) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(content)["cells"]
    return cells
