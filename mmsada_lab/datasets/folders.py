"""What the formats that read folders share: the folder, and the option ``missing``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mmsada_lab.errors import UserError

KEEP_BYTES = 2**30
"""Data of no more bytes than this are kept in memory once read: a domain's decoded frames, folders of arrays."""

_SHOWN = 5


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


class Incomplete(NamedTuple):
    """Segments (at least one of `total`) of a table or domain that lack a modality, and what the first one misses."""

    where: str
    modality: str
    uids: Sequence[str]
    total: int
    reason: str


def leave_out(groups: Iterable[Incomplete], *, missing: str) -> tuple[set[str], list[str]]:
    """Refuse incomplete segments if `missing` is ``error``; if ``drop``, give their uids and a note for each group."""
    uids, notes = set[str](), list[str]()
    for where, modality, lacking, total, reason in groups:
        if missing != "drop":
            raise UserError(
                f"{where}: {len(lacking)} of {total} segments lack {modality}, such as segment {lacking[0]}: {reason}; "
                "supply it, or leave such segments out with missing=drop"
            )
        uids |= {*lacking}
        notes.append(f"{where}: dropped {count(lacking, 'segment', of=total)} that lack {modality}")
    return uids, notes


def count(names: Sequence[str], noun: str, *, of: int | None = None) -> str:
    """Say how many there are and name the first: ``3 of 120 segments (7, 9, 12)``."""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    plural = "" if (of or len(names)) == 1 else "s"
    return f"{len(names)}{f' of {of}' if of else ''} {noun}{plural} ({shown})"
