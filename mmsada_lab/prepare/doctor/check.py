"""Checks a data set before hours are spent on it, and reports everything that is wrong at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from tqdm.auto import tqdm

from mmsada_lab.clips.segments import CountsSamples, MultiDomainData, Reader, Segment
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.doctor.labels import label_findings
from mmsada_lab.prepare.doctor.readings import Reading, Signal, read_signal
from mmsada_lab.prepare.doctor.report import UNLABELLED, DoctorReport, Finding, message_and_fix, sort_findings
from mmsada_lab.prepare.doctor.signals import signal_findings

SAMPLED = 50
"""Segments of a domain and split that a fast check reads."""

_SEED = 0
_SIGNALS_PER_PROCESS = 64


def check_data(specification: str, *, fast: bool = False, jobs: int | None = None) -> DoctorReport:
    """Open a data set, as `load_data` does, and check it, see `check_domains`.

    If it cannot be opened because segments lack a modality, that is reported and the other segments are checked.
    """
    failures: tuple[Finding, ...] = ()
    try:
        data: MultiDomainData | None = load_data(specification)
    except UserError as error:
        failures = (Finding("error", "the data cannot be opened", *message_and_fix(str(error))),)
        data = _without_incomplete(specification)
    if data is None:
        return DoctorReport(specification, fast, failures)
    report = check_domains(data, fast=fast, jobs=jobs)
    return replace(report, data=specification, findings=sort_findings((*failures, *report.findings)))


def check_domains(data: MultiDomainData, *, fast: bool = False, jobs: int | None = None) -> DoctorReport:
    """Check the segments and labels of an open data set, then every frame of every modality.

    A `fast` check reads only the first and last frame of at most 50 segments a domain and split. `jobs` processes read;
    by default this one for data in memory, and up to all processors for others.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs = {jobs!r}; choose 1 or more")
    signals = list(_signals(data, fast=fast))
    if jobs is None:
        jobs = 1 if data.in_memory else min(cpu_count(), max(1, len(signals) // _SIGNALS_PER_PROCESS))
    readings = list(tqdm(_read(data, signals, fast, jobs), total=len(signals), desc="Checking", unit="signal"))
    notes = [Finding("note", "told when opened", note) for note in data.notes]
    findings = sort_findings([*notes, *label_findings(data), *signal_findings(readings)])
    return DoctorReport(data.name, fast, findings, _table(data, readings))


def _without_incomplete(specification: str) -> MultiDomainData | None:
    """The data without segments that lack a modality, if its format can leave them out and it opens then."""
    if "missing=" in specification or ":" not in specification:
        return None
    with suppress(UserError):
        return load_data(f"{specification},missing=drop")
    return None


def _signals(data: MultiDomainData, *, fast: bool) -> Iterator[Signal]:
    for domain in data.domains.values():
        for split, segments in domain.splits.items():
            for segment in _sample(segments) if fast else segments:
                yield from (Signal(domain.name, split, modality, segment) for modality in domain.readers)


def _sample(segments: Sequence[Segment]) -> list[Segment]:
    chosen = np.random.default_rng(_SEED).permutation(len(segments))[:SAMPLED]
    return [segments[at] for at in sorted(chosen)]


def _read(data: MultiDomainData, signals: Sequence[Signal], fast: bool, jobs: int) -> Iterator[Reading]:
    tasks = (delayed(read_signal)(data.domains[s.domain].readers[s.modality], s, fast=fast) for s in signals)
    try:
        yield from Parallel(n_jobs=jobs, batch_size=16, return_as="generator", max_nbytes=None)(tasks)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that checks the data was killed, perhaps for lack of memory; use fewer with jobs (--jobs)"
        ) from error


def _table(data: MultiDomainData, readings: Sequence[Reading]) -> pd.DataFrame:
    """Number and lengths of the segments of each domain, split, class and modality."""
    lengths = {reading.signal: reading.length for reading in readings}
    rows = [
        (*signal[:2], UNLABELLED if segment.label is None else data.classes[segment.label], modality, length)
        for domain in data.domains.values()
        for split, segments in domain.splits.items()
        for segment in sorted(segments, key=lambda s: (s.label is None, s.label or 0))
        for modality, reader in domain.readers.items()
        for signal in [Signal(domain.name, split, modality, segment)]
        for length in [_length(reader, signal, lengths)]
    ]
    keys = ["domain", "split", "class", "modality"]
    table = pd.DataFrame(rows, columns=[*keys, "length"]).astype({"length": "Int64"})
    return table.groupby(keys, sort=False, as_index=False).agg(
        segments=("length", "size"),
        measured=("length", "count"),
        least=("length", "min"),
        median=("length", "median"),
        most=("length", "max"),
    )


def _length(reader: Reader, signal: Signal, lengths: Mapping[Signal, int | None]) -> int | None:
    """Samples, if the reader knows their number (None if this signal was not read); else frames of the clock."""
    if isinstance(reader, CountsSamples):
        return lengths.get(signal)
    return signal.segment.stop - signal.segment.start + 1
