"""Imports videos: decodes them to frames, computes optical flow and writes a table, in the layout of EPIC-Kitchens.

All frames have one height, because a flow bound and a crop in pixels mean the same only at one height; smaller videos
are enlarged. RGB frame n (from 1) shows the time (n - 1) / fps and goes with flow frame int(n / 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from filelock import FileLock, Timeout
from joblib import cpu_count

from mmsada_lab.datasets.flow import DILATION
from mmsada_lab.datasets.tables import SEGMENTS_CSV, write_segments
from mmsada_lab.errors import UserError
from mmsada_lab.files import remove_drafts
from mmsada_lab.prepare.videos.frames import (
    EPIC_BOUND,
    EPIC_HEIGHT,
    RECORDS,
    ImportedVideo,
    ImportJob,
    Settings,
    read_records,
)
from mmsada_lab.prepare.videos.listing import Rejected, VideoSegment, list_segments
from mmsada_lab.prepare.videos.splits import draw_splits
from mmsada_lab.prepare.videos.table import count_segments, notes_on, segments_table, usable_segments
from mmsada_lab.prepare.videos.workers import make_videos


@dataclass(frozen=True)
class ImportReport:
    """What an import did: videos decoded now, and skipped because they were finished before.

    `counts`: domain -> label (empty: unlabelled) -> number of training and of test segments.
    """

    destination: Path
    imported: tuple[str, ...]
    skipped: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    counts: Mapping[str, Mapping[str, tuple[int, int]]]
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The report as text: totals, segments per domain and label, rejected files, notes."""
        totals = f"{len(self.imported)} videos imported, {len(self.skipped)} finished before"
        yield f"{self.destination}: {totals}, {len(self.rejected)} files or segments rejected"
        for domain, labels in self.counts.items():
            counts = (f"{label or 'unlabelled'} {train}+{test}" for label, (train, test) in labels.items())
            yield f"{domain} (train+test): {', '.join(counts)}"
        yield from (f"rejected {rejected.what}: {rejected.reason}" for rejected in self.rejected)
        yield from (f"note: {note}" for note in self.notes)


def import_videos(
    path: Path,
    destination: Path,
    *,
    algorithm: str = "tvl1",
    bound: float | None = None,
    dilation: int = DILATION,
    height: int = EPIC_HEIGHT,
    fps: float | str | None = None,
    quality: int = 95,
    test_fraction: float = 0.25,
    seed: int = 0,
    jobs: int | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Decode videos, compute their flow, and write both with a table of segments; ``epic:DESTINATION`` opens them.

    An interrupted import continues when it is called again: finished videos are skipped. A file that cannot be used
    is rejected, and the others are imported.

    Args:
        path: a folder ``PATH/DOMAIN/LABEL/*.mp4`` or a CSV (see `videos.listing`).
        destination: a new folder, or that of an earlier import of the same videos.
        algorithm: of flow: ``tvl1`` as in EPIC-Kitchens, ``dis`` (forty times as fast), or ``farneback``.
        bound: largest flow stored, pixels; None: 25 at a height of 256, in proportion at others.
        dilation: RGB frames that flow spans. 3 frames at 25 a second are twice the time of 3 at EPIC's 60.
        height: of all frames, pixels.
        fps: frames per second of all videos, such as 30 or "30000/1001"; None: each video's own average.
        quality: of the JPEG files, 1 to 100.
        test_fraction: share of each class that becomes test segments, where the CSV does not say.
        seed: of the draw of the test segments.
        jobs: processes, each with one video at a time; one per processor if None. The files are the same.
        overwrite: import videos again that were imported with other settings; otherwise that is an error.

    Raises:
        UserError: nothing can be imported, a setting is out of range or another than before, or the destination holds
            something else, is in use or full.
    """
    bound = EPIC_BOUND * height / EPIC_HEIGHT if bound is None else float(bound)
    settings = Settings(algorithm, bound, dilation, height, _rate(fps), quality)
    _check_draw(test_fraction, seed=seed, jobs=jobs)
    path, destination = path.expanduser().absolute(), destination.expanduser().absolute()
    _check_destination(destination, path)
    listing = list_segments(path)
    files = {segment.video: segment for segment in listing.segments}
    videos = [
        ImportJob(video, segment.domain, segment.file, listing.root / segment.file, destination, settings)
        for video, segment in files.items()
    ]
    with _locked(destination):
        finished = _finished(videos, destination, overwrite=overwrite)
        missing = [job for job in videos if job.video not in finished]
        imported, failed = make_videos(missing, processes=jobs or cpu_count())
        records = {**finished, **imported}
        segments, late = usable_segments(listing.segments, records)
        rejected = (*listing.rejected, *failed, *late)
        _require_segments(segments, path, rejected)
        segments = draw_splits(segments, test_fraction=test_fraction, seed=seed)
        write_segments(destination / SEGMENTS_CSV, segments_table(segments, records))
    notes = (*listing.notes, *notes_on(segments, records), *_leftovers(destination, records))
    counts = count_segments(segments)
    return ImportReport(destination, tuple(sorted(imported)), tuple(sorted(finished)), rejected, counts, notes)


def _check_draw(test_fraction: float, *, seed: int, jobs: int | None) -> None:
    if not 0 <= test_fraction < 1:
        raise UserError(f"test_fraction = {test_fraction!r}; choose a number from 0 up to 1, exclusive")
    if seed < 0:
        raise UserError(f"seed = {seed!r}; choose 0 or a positive whole number")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs = {jobs!r}; choose a positive whole number")


def _require_segments(segments: Sequence[VideoSegment], path: Path, rejected: Sequence[Rejected]) -> None:
    if not segments:
        reasons = "; ".join(f"{r.what}: {r.reason}" for r in rejected[:3])
        raise UserError(f"nothing could be imported from {path}; rejected {len(rejected)}, such as {reasons}")


def _rate(fps: float | str | None) -> str:
    if fps is None:
        return ""
    try:
        rate = Fraction(str(fps))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 10) <= rate <= 1000:
        raise UserError(f"fps = {fps!r}; choose a number from 0.1 to 1000, such as 30 or 30000/1001")
    return str(rate)


def _check_destination(destination: Path, path: Path) -> None:
    """Refuse a destination that holds something else, or that would become part of the videos."""
    if path.is_dir() and destination.resolve().is_relative_to(path.resolve()):
        raise UserError(f"{destination} lies inside the folder of videos {path}; choose a folder outside it")
    if destination.exists() and not destination.is_dir():
        raise UserError(f"{destination} is a file; choose a new folder, or that of an earlier import")
    if destination.is_dir() and not (destination / RECORDS).is_dir() and any(destination.iterdir()):
        raise UserError(f"{destination} holds files that no import has made; choose a new or an empty folder")


@contextmanager
def _locked(destination: Path) -> Iterator[None]:
    """Lock a destination, and remove what an interrupted import has left in it."""
    try:
        (destination / RECORDS).mkdir(parents=True, exist_ok=True)
        with FileLock(destination / ".import.lock", timeout=0):
            remove_drafts(destination, depth=2)
            yield
    except Timeout as error:
        raise UserError(f"another import is writing to {destination}; wait for it, or choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot write to {destination}: {error.strerror}") from error


def _finished(videos: Sequence[ImportJob], destination: Path, *, overwrite: bool) -> dict[str, ImportedVideo]:
    """Records of the videos that need no work; an earlier import of other videos or with other settings is an error."""
    records, settings = read_records(destination), asdict(videos[0].settings)
    known = {job: records[job.video] for job in videos if job.video in records}
    if records and not known and not overwrite:
        example = next(iter(records))
        raise UserError(f"{destination} holds an import of other videos, such as {example}; choose another folder")
    for record in known.values() if not overwrite else ():
        _check_settings(record, settings, destination)
    return {job.video: record for job, record in known.items() if record.matches(job)}


def _check_settings(record: ImportedVideo, settings: Mapping[str, object], destination: Path) -> None:
    old = record.settings
    if changed := [f"{key} {old.get(key)!r}, now {new!r}" for key, new in settings.items() if old.get(key) != new]:
        raise UserError(
            f"{destination} was imported with other settings: {', '.join(changed)} (video {record.video}); "
            "choose another folder, or import its videos again with overwrite=True (--overwrite)"
        )


def _leftovers(destination: Path, records: Mapping[str, ImportedVideo]) -> Iterator[str]:
    if left := sorted(read_records(destination).keys() - records.keys()):
        yield f"{len(left)} videos of earlier imports are in {destination} without a segment, such as {left[0]}"
