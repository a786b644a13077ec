"""Import of videos: from files as people have them to frames, flow and a table in the layout of EPIC-Kitchens.

The result opens with ``epic:DST``. Every video comes out at one height, smaller ones enlarged, because a flow bound and
a crop in pixels mean the same only at one height. RGB frame n (from 1) shows the time (n - 1) / fps and goes with flow
frame int(n / 2).
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
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos.frames import (
    EPIC_BOUND,
    EPIC_HEIGHT,
    RECORDS,
    Order,
    Record,
    Settings,
    clear_drafts,
    read_records,
    write_text,
)
from mmsada_lab.prepare.videos.listing import Listing, Refusal, list_source
from mmsada_lab.prepare.videos.splits import draw_splits
from mmsada_lab.prepare.videos.table import TABLE, count_clips, notes_on, table_text, usable_clips
from mmsada_lab.prepare.videos.workers import make_videos


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        destination: the data set; ``epic:DESTINATION`` opens it.
        imported: names of the videos that were decoded now.
        skipped: names of those that were finished before.
        refused: files and segments that are not in the data set, and why.
        counts: domain -> label (empty: unlabelled) -> number of training and of test segments.
        notes: what a user should know.
    """

    destination: Path
    imported: tuple[str, ...]
    skipped: tuple[str, ...]
    refused: tuple[Refusal, ...]
    counts: Mapping[str, Mapping[str, tuple[int, int]]]
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The report as text: totals, segments per domain and label, refusals, notes."""
        totals = f"{len(self.imported)} videos imported, {len(self.skipped)} finished before"
        yield f"{self.destination}: {totals}, {len(self.refused)} files or segments refused"
        for domain, labels in self.counts.items():
            shown = (f"{label or 'unlabelled'} {train}+{test}" for label, (train, test) in labels.items())
            yield f"{domain} (train+test): {', '.join(shown)}"
        yield from (f"refused {refusal.what}: {refusal.reason}" for refusal in self.refused)
        yield from (f"note: {note}" for note in self.notes)


def import_videos(
    source: Path,
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
    """Decode videos, compute their flow and write both with a table of segments; goes on where it was interrupted.

    A video that is finished is not touched again. One that cannot be used is refused, and the others are imported.

    Args:
        source: a folder ``SOURCE/DOMAIN/LABEL/*.mp4`` or a CSV (see `video_sources`).
        destination: a new folder, or that of an earlier import of the same videos.
        algorithm: of flow: ``tvl1`` as in EPIC-Kitchens (a second a frame), ``dis`` (forty times as fast), or
            ``farneback``.
        bound: largest flow kept, pixels; None: 25 at a height of 256, in proportion at others.
        dilation: RGB frames that flow leads over. 3 frames of 25 a second are twice the time of 3 at EPIC's 60.
        height: of all frames, pixels.
        fps: frames per second of all videos, such as 30 or "30000/1001"; None: each video's own average.
        quality: of the JPEG files, 1 to 100.
        test_fraction: part of each class that is for testing, where the source does not say.
        seed: of the draw of the test segments.
        jobs: videos worked on at once, one process each; all processors if None, this process if 1. The files are
            the same.
        overwrite: make videos again that were imported with other settings, rather than refuse.

    Raises:
        UserError: nothing can be imported, settings that cannot be meant or differ from the earlier import's, a
            destination that holds something else, is in use or full.
    """
    settings = Settings(algorithm, _bound(bound, height), dilation, height, _rate(fps), quality)
    if not 0 <= test_fraction < 1:
        raise UserError(f"test_fraction = {test_fraction!r}; choose a number from 0 up to 1, exclusive")
    if seed < 0:
        raise UserError(f"seed = {seed!r}; choose 0 or a positive whole number")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs = {jobs!r}; choose a positive whole number")
    source, destination = source.expanduser().absolute(), destination.expanduser().absolute()
    _check_destination(destination, source)
    listing = list_source(source)
    with _locked(destination):
        orders = _orders(listing, destination, settings)
        done = _finished(destination, orders, overwrite=overwrite)
        made, failed = make_videos([o for o in orders if o.video not in done], jobs=jobs or cpu_count())
        records = {**done, **made}
        clips, late = usable_clips(listing.clips, records)
        refused = (*listing.refused, *failed, *late)
        if not clips:
            shown = "; ".join(f"{r.what}: {r.reason}" for r in refused[:3])
            raise UserError(f"nothing could be imported from {source}; refused {len(refused)}, such as {shown}")
        clips = draw_splits(clips, test_fraction=test_fraction, seed=seed)
        write_text(destination / TABLE, table_text(clips, records))
    notes = (*listing.notes, *notes_on(clips, records), *_leftovers(destination, records))
    return ImportReport(destination, tuple(sorted(made)), tuple(sorted(done)), refused, count_clips(clips), notes)


def _bound(bound: float | None, height: int) -> float:
    return float(bound if bound is not None else EPIC_BOUND * height / EPIC_HEIGHT)


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


def _check_destination(destination: Path, source: Path) -> None:
    """Refuse a destination that holds something else, or that would become part of the source."""
    if source.is_dir() and destination.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{destination} lies inside the source {source}; choose a folder outside it")
    if destination.exists() and not destination.is_dir():
        raise UserError(f"{destination} is a file; choose a new folder, or that of an earlier import")
    if destination.is_dir() and not _is_import(destination) and any(destination.iterdir()):
        raise UserError(f"{destination} holds files that no import has made; choose a new or an empty folder")


def _is_import(folder: Path) -> bool:
    return (folder / RECORDS).is_dir()


@contextmanager
def _locked(destination: Path) -> Iterator[None]:
    """Hold a destination alone, and clear what an interrupted import has left in it."""
    try:
        (destination / RECORDS).mkdir(parents=True, exist_ok=True)
        with FileLock(destination / ".import.lock", timeout=0):
            clear_drafts(destination)
            yield
    except Timeout as error:
        raise UserError(f"another import is writing to {destination}; wait for it, or choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot write to {destination}: {error.strerror}") from error


def _orders(listing: Listing, destination: Path, settings: Settings) -> list[Order]:
    """One for each video that some segment needs."""
    clips = {clip.video: clip for clip in listing.clips}
    return [
        Order(video, clip.domain, clip.source, listing.root / clip.source, destination, settings)
        for video, clip in clips.items()
    ]


def _finished(destination: Path, orders: Sequence[Order], *, overwrite: bool) -> dict[str, Record]:
    """The records of what is done; those of other settings or of other videos are refused, or done again."""
    records, wanted = read_records(destination), asdict(orders[0].settings)
    known = [records[order.video] for order in orders if order.video in records]
    if records and not known and not overwrite:
        raise UserError(
            f"{destination} holds an import of other videos, such as {next(iter(records))}; choose another folder"
        )
    for record in known if not overwrite else ():
        made = record.settings
        changed = [f"{name} {made.get(name)!r}, now {now!r}" for name, now in wanted.items() if made.get(name) != now]
        if changed:
            raise UserError(
                f"{destination} was imported with other settings: {', '.join(changed)} (video {record.video}); "
                "choose another folder, or make its videos again with overwrite=True (--overwrite)"
            )
    return {o.video: r for o in orders if (r := records.get(o.video)) and r.settings == wanted and r.holds_for(o)}


def _leftovers(destination: Path, records: Mapping[str, Record]) -> Iterator[str]:
    left = sorted(read_records(destination).keys() - records.keys())
    if left:
        yield f"{len(left)} videos of earlier imports lie in {destination} without a segment, such as {left[0]}"
