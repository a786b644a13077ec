"""The option ``missing`` of formats that read files: segments that lack a modality are an error, or left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmsada_lab.errors import UserError

_SHOWN = 5


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
