"""A file that is seen whole or not at all, for the reports, pages and tables that `data` writes."""

from __future__ import annotations

from pathlib import Path

from mmsada_lab.atomic import write_atomic
from mmsada_lab.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name in its folder, then give it its own; folders are made where missing.

    Raises:
        UserError: the file cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: file.write(content))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a place that can be written to") from error
