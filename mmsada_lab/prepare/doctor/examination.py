"""The doctor: looks a data set over before hours are spent on it, and says everything that is wrong at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np
import pandas as pd
from joblib import cpu_count
from tqdm.auto import tqdm

from mmsada_lab.clips.segments import Domain, MultiDomainData, Reader, Segment
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.doctor.labels import label_findings, splits
from mmsada_lab.prepare.doctor.readings import Place, Reading, take_reading
from mmsada_lab.prepare.doctor.report import TABLE_COLUMNS, UNLABELLED, Finding, Report, message_and_fix, sort_findings
from mmsada_lab.prepare.doctor.signals import signal_findings

SAMPLED = 50
"""Segments of a domain and split that a fast check reads."""

_SEED = 0
_PLACES_PER_PROCESS = 64

__all__ = ["Finding", "Report", "check_data", "examine"]


def check_data(specification: str, *, fast: bool = False, jobs: int | None = None) -> Report:
    """Open a data set and examine it.

    Where it cannot be opened because segments lack a modality, that is reported and the rest is examined.

    Args:
        specification: as for `load_data`.
        fast: read only the first and last frame of at most 50 segments a domain and split.
        jobs: as for `examine`.
    """
    failures: tuple[Finding, ...] = ()
    try:
        data: MultiDomainData | None = load_data(specification)
    except UserError as error:
        failures = (Finding("error", "the data cannot be opened", *message_and_fix(str(error))),)
        data = _without_incomplete(specification)
    if data is None:
        return Report(specification, fast, failures)
    report = examine(data, fast=fast, jobs=jobs)
    return replace(report, data=specification, findings=sort_findings((*failures, *report.findings)))


def examine(data: MultiDomainData, *, fast: bool = False, jobs: int | None = None) -> Report:
    """Examine a data set: its segments and labels, then every frame of every modality.

    Args:
        data: an open data set.
        fast: read only the first and last frame of at most 50 segments a domain and split.
        jobs: processes that read; if None, this one for data in memory, and all processors for others.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs = {jobs!r}; choose 1 or more")
    places = list(_places(data, fast=fast))
    if jobs is None:
        most = max(1, len(places) // _PLACES_PER_PROCESS)
        jobs = 1 if data.in_memory else min(cpu_count(), most)
    readers = {name: domain.readers for name, domain in data.domains.items()}
    readings = list(tqdm(_readings(readers, places, fast, jobs), total=len(places), desc="Checking", unit="signal"))
    told = [Finding("note", "told when opened", note) for note in data.notes]
    findings = sort_findings([*told, *label_findings(data), *signal_findings(readings)])
    return Report(data.name, fast, findings, _table(data, readings))


def _without_incomplete(specification: str) -> MultiDomainData | None:
    """The data without the segments that lack a modality, if that is what kept it shut and its door allows it."""
    if "missing=" in specification or ":" not in specification:
        return None
    try:
        return load_data(f"{specification},missing=drop")
    except UserError:
        return None


def _places(data: MultiDomainData, *, fast: bool) -> Iterator[Place]:
    for domain in data.domains.values():
        for split, segments in splits(domain).items():
            for segment in _sample(segments) if fast else segments:
                yield from (Place(domain.name, split, modality, segment) for modality in domain.readers)


def _sample(segments: Sequence[Segment]) -> list[Segment]:
    chosen = np.random.default_rng(_SEED).permutation(len(segments))[:SAMPLED]
    return [segments[at] for at in sorted(chosen)]


Readers = Mapping[str, Mapping[str, Reader]]
"""Domain -> modality -> reader."""

_IN_WORKER: dict[str, Any] = {}


def _readings(readers: Readers, places: Sequence[Place], fast: bool, jobs: int) -> Iterator[Reading]:
    if jobs == 1:
        yield from (take_reading(readers[p.domain][p.modality], p, fast=fast) for p in places)
        return
    # spawned: a fork of a process in which OpenCV or torch has started threads may hang
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(readers, fast)) as pool:
        try:
            yield from pool.map(_read_in_worker, places, chunksize=16)
        except BrokenProcessPool as error:
            raise UserError(
                "the processes that check the data ended early; in a script, call this below "
                "`if __name__ == '__main__':`, or pass jobs=1"
            ) from error


def _start_worker(readers: Readers, fast: bool) -> None:
    cv2.setNumThreads(1)
    _IN_WORKER.update(readers=readers, fast=fast)


def _read_in_worker(place: Place) -> Reading:
    return take_reading(_IN_WORKER["readers"][place.domain][place.modality], place, fast=_IN_WORKER["fast"])


def _table(data: MultiDomainData, readings: Sequence[Reading]) -> pd.DataFrame:
    told = {(r.place.domain, r.place.modality, r.place.segment): r.length for r in readings}
    rows = [row for domain in data.domains.values() for row in _rows(domain, data.classes, told)]
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def _rows(
    domain: Domain, classes: Sequence[str], told: Mapping[tuple[str, str, Segment], int | None]
) -> Iterator[tuple[str | int | float, ...]]:
    for split, segments in splits(domain).items():
        by_class: dict[str, list[Segment]] = defaultdict(list)
        for segment in segments:
            by_class[UNLABELLED if segment.label is None else classes[segment.label]].append(segment)
        for name in (n for n in (*classes, UNLABELLED) if by_class[n]):
            for modality, reader in domain.readers.items():
                lengths = [_length(reader, s, told.get((domain.name, modality, s))) for s in by_class[name]]
                known = [length for length in lengths if length is not None]
                numbers = (min(known), float(np.median(known)), max(known)) if known else (np.nan,) * 3
                yield domain.name, split, name, modality, len(lengths), len(known), *numbers


def _length(reader: Reader, segment: Segment, told: int | None) -> int | None:
    """Samples, where the reader tells their number (None while it was not asked); else frames of the clock."""
    return told if callable(getattr(reader, "length", None)) else segment.stop - segment.start + 1
