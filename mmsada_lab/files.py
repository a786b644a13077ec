"""Files and folders that a reader sees whole or not at all, and the cache folder."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_dir

from mmsada_lab.errors import UserError

DRAFT = ".part"
"""How the hidden names of unfinished files and folders end."""


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader sees the old one or the new one, whole, whatever happens in between."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=DRAFT, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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


@contextmanager
def write_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill, which is renamed to `path` when the block ends without an error.

    Until then `path` is as it was; after an error nothing of the new folder is left. Parent folders are created.
    Several processes may write the same folder: the first to finish wins, and the others get a `FileExistsError`.

    Args:
        path: the folder to write.
        replace: whether a folder with files may be replaced. For a moment between two renames there is none; if the
            second rename fails, the old folder comes back.

    Raises:
        FileExistsError: something other than an empty folder has this name, and `replace` is false.
        OSError: the folder cannot be written.

    Example:
        >>> root = Path(tempfile.mkdtemp())
        >>> with write_folder(root / "frames") as draft:
        ...     _ = (draft / "1.jpg").write_bytes(b"")
        >>> [str(file.relative_to(root)) for file in root.rglob("*.jpg")]
        ['frames/1.jpg']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=DRAFT, dir=path.parent))
    draft, old = scratch / "new", scratch / "old"
    try:
        draft.mkdir()  # in the scratch folder, which only its owner may read: this one has the usual rights
        yield draft
        if replace and path.is_dir():
            path.rename(old)
        try:
            draft.rename(path)  # fails if something other than an empty folder has this name
        except OSError as error:
            if old.exists():
                old.rename(path)
            elif path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_drafts(folder: Path, *, depth: int) -> None:
    """Remove what writers that were killed have left in a folder and in those below it, down to `depth` levels.

    Call it only while nothing else writes there.
    """
    for level in range(depth + 1):
        for draft in folder.glob("*/" * level + f".*{DRAFT}"):
            if draft.is_dir():
                shutil.rmtree(draft)
            else:
                draft.unlink()


def cache_root(cache_dir: Path | None) -> Path:
    """The cache folder: the one given, else MMSADA_CACHE, else the user's."""
    return Path(cache_dir or os.environ.get("MMSADA_CACHE") or user_cache_dir("mmsada_lab"))
