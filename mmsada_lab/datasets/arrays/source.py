"""From a table and the modalities found beside it to a `MultiDomainData`; what becomes of segments that lack one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.datasets.arrays.readers import ArrayReader, StackedReader
from mmsada_lab.datasets.arrays.table import SPLITS, Row, SegmentTable
from mmsada_lab.errors import UserError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A modality as it was found.

    Attributes:
        reader: reads it.
        lengths: T by uid; a segment that is not among them lacks the modality.
        files: what the digest covers of it, a line each.
        mapped: whether it is read from few memory-mapped files or from memory.
        notes: what the user should be told of it.
    """

    reader: ArrayReader
    lengths: Mapping[str, int]
    files: tuple[str, ...]
    mapped: bool = True
    notes: tuple[str, ...] = ()


def build_source(
    name: str, table: SegmentTable, *, found: Mapping[str, Found], missing: str, notes: Sequence[str] = ()
) -> MultiDomainData:
    """Put table and modalities together.

    Args:
        name: of the data set.
        table: its segments.
        found: its modalities.
        missing: ``error`` or ``drop``, for segments that lack a modality.
        notes: further notes.

    Raises:
        UserError: a segment lacks a modality and `missing` is ``error``, or no segment is left.
    """
    lacking = {m: [row.uid for row in table.rows if row.uid not in f.lengths] for m, f in found.items()}
    if missing == "error":
        _refuse_lacking(lacking, found, table)
    left_out = {uid for uids in lacking.values() for uid in uids}
    rows = [row for row in table.ordered() if row.uid not in left_out]
    if not rows:
        raise UserError(f"no segment of {table.place} has all of {', '.join(found)}; nothing would be left")
    total = len(table.rows)
    dropped = [f"dropped {counted(u, 'segment', of=total)} that lack {m}" for m, u in lacking.items() if u]
    readers = {modality: part.reader for modality, part in found.items()}
    return MultiDomainData(
        name=name,
        classes=table.classes,
        domains={domain: _domain(domain, rows, readers, table) for domain in sorted({r.domain for r in table.rows})},
        digest=_digest(rows, table.classes, found),
        in_memory=all(part.mapped for part in found.values()),
        notes=(*notes, *(note for part in found.values() for note in part.notes), *dropped),
    )


def _refuse_lacking(lacking: Mapping[str, Sequence[str]], found: Mapping[str, Found], table: SegmentTable) -> None:
    for modality, uids in lacking.items():
        if uids:
            reader, total = found[modality].reader, len(table.rows)
            blank = isinstance(reader, StackedReader) and uids[0] in reader.rows  # its row is there, yet it lacks it
            where = f"{reader.place(uids[0])} is all NaN" if blank else f"nothing in {_place(reader, uids[0])}"
            raise UserError(
                f"segment {uids[0]} lacks {modality}: {where} ({len(uids)} of {total} segments of {table.place} "
                "lack it); supply it, or leave such segments out with missing=drop"
            )


def _place(reader: ArrayReader, uid: str) -> str:
    """Where a segment that is not there was looked for."""
    return ", ".join(part.place for part in reader.parts) if isinstance(reader, StackedReader) else reader.place(uid)


def counted(names: Sequence[str], what: str, *, of: int | None = None) -> str:
    """Say how many there are and name some: ``3 of 120 segments (7, 9, 12)``."""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    plural = "" if (of or len(names)) == 1 else "s"
    return f"{len(names)}{f' of {of}' if of else ''} {what}{plural} ({shown})"


def _domain(name: str, rows: Sequence[Row], readers: Mapping[str, ArrayReader], table: SegmentTable) -> Domain:
    labels = {label: index for index, label in enumerate(table.classes)}
    train, test = (tuple(_segments(rows, name, split, readers, labels)) for split in SPLITS)
    return Domain(name, dict(readers), train, test)


def _segments(
    rows: Sequence[Row], domain: str, split: str, readers: Mapping[str, ArrayReader], labels: Mapping[str, int]
) -> Iterator[Segment]:
    lengths = [reader.lengths() for reader in readers.values()]
    for row in rows:
        if (row.domain, row.split) == (domain, split):
            stop = max(by_uid[row.uid] for by_uid in lengths)
            label = labels[row.label] if row.label else None
            yield Segment(row.uid, row.uid, start=1, stop=stop, label=label, further=row.further)


def _digest(rows: Sequence[Row], classes: Sequence[str], found: Mapping[str, Found]) -> str:
    """SHA-256 over classes, segments, and names, sizes and shapes of the files; no content is read."""
    told = hashlib.sha256(json.dumps(list(classes)).encode())
    for row in rows:
        told.update(json.dumps([row.uid, row.domain, row.split, row.label, row.further]).encode())
    for modality, part in found.items():
        told.update(json.dumps([modality, part.reader.kind, *part.files]).encode())
    return told.hexdigest()
