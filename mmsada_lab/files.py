"""Files and folders that a reader sees whole or not at all; files read from folders and zip files; the cache folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_dir

from mmsada_lab.errors import UserError

DRAFT = ".part"
"""How the hidden names of unfinished files and folders end."""


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader sees the old one or the new one, whole, whatever happens in between."""
    # In the same folder: a rename is atomic only within one file system.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=DRAFT, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # the name must not be there before the content
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


def remove_drafts(folder: Path, *, depth: int, older_than: float = 0.0) -> None:
    """Remove what writers that were killed have left in a folder and in those below it, down to `depth` levels.

    Call it without an age only while nothing else writes there.

    Args:
        folder: to look into.
        depth: levels below it that are looked into as well.
        older_than: seconds; what is younger may be what another process is writing just now.
    """
    latest = time.time() - older_than
    for level in range(depth + 1):
        for draft in folder.glob("*/" * level + f".*{DRAFT}"):
            with suppress(FileNotFoundError):  # its writer has just finished
                if draft.stat().st_mtime > latest:
                    continue
                if draft.is_dir():
                    shutil.rmtree(draft)
                else:
                    draft.unlink()


def read_package_text(name: str) -> str:
    """A text file that comes with the package, by its path in it.

    Example:
        >>> "search" in read_package_text("publish/search.js")
        True
    """
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def cache_root(cache_dir: Path | None) -> Path:
    """The cache folder: the one given, else MMSADA_CACHE, else the user's."""
    return Path(cache_dir or os.environ.get("MMSADA_CACHE") or user_cache_dir("mmsada_lab"))


def locate(path: Path | str) -> Path | zipfile.Path:
    """What a path of runs leads to: itself, or a member of a zip file, as ``runs.zip/kitchens/mmsada`` does.

    Either can be asked `exists`, `is_file`, `is_dir` and `read_bytes`, and joined with ``/``.

    Raises:
        UserError: the zip file is damaged, or a name in it leads out of it.
    """
    path = Path(path)
    for archive in (path, *path.parents):
        if archive.suffix == ".zip" and archive.is_file():
            state = archive.stat()
            root = _open_archive(archive, (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size))
            return root if path == archive else root / path.relative_to(archive).as_posix()
    return path


def read_file(path: Path) -> bytes:
    """Read a file, or a member of a zip file.

    Raises:
        UserError: there is none, or the zip file is damaged.
    """
    file = locate(path)
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path.parent} holds no {path.name}; name the folder of a finished run (seed...)") from error
    except Exception as error:  # damaged zip files fail in many ways
        if isinstance(file, Path):
            raise
        raise UserError(f"{path} is damaged ({error}); {_RENEW}") from error


_RENEW = "fetch the zip file again, or make it again with mmsada keep"


@lru_cache(maxsize=4)
def _open_archive(archive: Path, state: tuple[int, ...]) -> zipfile.Path:
    """Open a zip file once for all that is read from it; another `state` is another file."""
    try:
        root = zipfile.Path(zipfile.ZipFile(archive))
        names = root.root.namelist()
    except Exception as error:  # damaged zip files fail in many ways
        raise UserError(f"{archive} is not a whole zip file of runs ({error}); {_RENEW}") from error
    for name in names:
        if name.startswith("/") or ".." in re.split(r"[/\\]", name):
            raise UserError(f"{archive} holds the name {name!r}, which leads out of it; {_RENEW}")
    return root
