"""Puts a table of segments and the modalities beside it together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.datasets.arrays.readers import ArrayReader
from mmsada_lab.datasets.arrays.table import SegmentRow, SegmentTable
from mmsada_lab.datasets.folders import Incomplete, leave_out
from mmsada_lab.datasets.tables import SPLITS
from mmsada_lab.errors import UserError


@dataclass(frozen=True, slots=True)
class FoundModality:
    """A modality as it was found on disk, its reader beside what a data set says of it.

    `files` are lines for the digest; `mapped` is whether it is read from memory or from few memory-mapped files;
    `notes` are for the user.
    """

    reader: ArrayReader
    files: tuple[str, ...]
    mapped: bool = True
    notes: tuple[str, ...] = ()


def assemble(
    name: str, table: SegmentTable, *, modalities: Mapping[str, FoundModality], missing: str, notes: Sequence[str] = ()
) -> MultiDomainData:
    """Make a data set; segments that lack a modality are left out, or (`missing` = ``error``) a `UserError`."""
    uids, drop_notes = leave_out(_find_incomplete(table, modalities), missing=missing)
    rows = [row for row in table.ordered() if row.uid not in uids]
    if not rows:
        raise UserError(f"no segment of {table.place} has all of {', '.join(modalities)}; nothing would be left")
    readers = {name: modality.reader for name, modality in modalities.items()}
    return MultiDomainData(
        name=name,
        classes=table.classes,
        domains={domain: _domain(domain, rows, readers, table) for domain in sorted({r.domain for r in table.rows})},
        digest=_digest(rows, table.classes, modalities),
        in_memory=all(modality.mapped for modality in modalities.values()),
        notes=(*notes, *(note for modality in modalities.values() for note in modality.notes), *drop_notes),
    )


def _find_incomplete(table: SegmentTable, modalities: Mapping[str, FoundModality]) -> Iterator[Incomplete]:
    for name, modality in modalities.items():
        uids = [row.uid for row in table.rows if row.uid not in modality.reader.lengths]
        if uids:
            reason = modality.reader.explain_absence(uids[0])
            yield Incomplete(Path(table.place).name, name, uids, len(table.rows), reason)


def _domain(name: str, rows: Sequence[SegmentRow], readers: Mapping[str, ArrayReader], table: SegmentTable) -> Domain:
    labels = {label: index for index, label in enumerate(table.classes)}
    segments: dict[str, list[Segment]] = {split: [] for split in SPLITS}
    for row in rows:
        if row.domain == name:
            stop = max(reader.lengths[row.uid] for reader in readers.values())
            label = labels[row.label] if row.label else None
            segments[row.split].append(Segment(row.uid, row.uid, 1, stop, label=label, further=row.further))
    return Domain(name, dict(readers), train=tuple(segments["train"]), test=tuple(segments["test"]))


def _digest(rows: Sequence[SegmentRow], classes: Sequence[str], modalities: Mapping[str, FoundModality]) -> str:
    """SHA-256 over classes, segments, and names, sizes and shapes of the files; no content is read."""
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for row in rows:
        digest.update(json.dumps([row.uid, row.domain, row.split, row.label, row.further]).encode())
    for name, modality in modalities.items():
        digest.update(json.dumps([name, modality.reader.kind, *modality.files]).encode())
    return digest.hexdigest()
