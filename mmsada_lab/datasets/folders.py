"""Folders that hold a data set."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mmsada_lab.errors import UserError

KEEP_BYTES = 2**30
"""Data of no more bytes than this are kept in memory once read: a domain's decoded frames, folders of arrays."""


def open_folder(root: Path | str, *, content: str) -> Path:
    """The folder as an absolute path; one that is not there or cannot be listed is a `UserError`."""
    # Not resolve(): a link to a folder keeps its own name, which names the data set.
    root = Path(os.path.abspath(Path(root).expanduser()))  # noqa: PTH100
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds {content}")
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise UserError(f"cannot list {root}: {error.strerror}") from error
    return root


def slug(root: Path) -> str:
    """The folder's name, fit to be part of another folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-") or "root"
