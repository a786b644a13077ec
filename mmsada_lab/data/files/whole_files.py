"""A file that is seen whole or not at all, for the reports, pages and tables that `data` writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mmsada_lab.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name in its folder, then give it its own; folders are made where missing.

    Raises:
        UserError: the file cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(draft).chmod(0o644)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a place that can be written to") from error
