"""One segment to look at: what it shows, what its table says of it, and what training and testing see of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, Frames, MultiDomainData, Reader, Segment
from mmsada_lab.clips.windows import WindowRule, test_windows, training_window
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_whole
from mmsada_lab.prepare.show.page import ShownWindow, bars, curves, facts_table, page, player, timeline, window_table
from mmsada_lab.prepare.show.pictures import animated_gif, as_rgb, data_uri, fitted

MOST_PICTURES = 150
"""Pictures of a segment that are shown at most; a longer one is shown in steps."""

MILLISECONDS = 60
"""How long each stays."""

_TRAINING_WINDOWS = 3
_SEED = 0
_POINTS = 600
_NEAR = 5


def show_segment(
    specification: str, uid: str, destination: Path, *, windows: int = 5, rule: WindowRule | None = None
) -> Path:
    """Write a page, or a GIF, that shows one segment.

    Args:
        specification: of the data, as for `load_data`.
        uid: of the segment.
        destination: a name in ``.html`` (a page that needs no network) or ``.gif`` (the video modalities alone).
        windows: test windows to show.
        rule: of the windows; the paper's if None.

    Returns:
        The destination.

    Raises:
        UserError: no such segment, another kind of file, a GIF of data without video, or unreadable frames.
    """
    destination = Path(destination).expanduser()
    suffix = destination.suffix.lower()
    if suffix not in (".html", ".htm", ".gif"):
        raise UserError(f"cannot write {destination.name}: choose a name in .html for a page, or in .gif")
    if windows < 1:
        raise UserError(f"windows = {windows!r}; choose 1 or more")
    data = load_data(specification)
    domain, split, segment = find_segment(data, uid)
    if suffix == ".gif":
        clips = _clips(domain, segment)
        if not clips:
            raise UserError(f"{data.name} has no video in domain {domain.name}; choose a name in .html for a page")
        write_whole(destination, animated_gif(clips, milliseconds=MILLISECONDS))
    else:
        shown = list(_windows(domain, segment, rule or WindowRule(), windows))
        write_whole(destination, _page(data, domain, split, segment, shown).encode())
    return destination


def find_segment(data: MultiDomainData, uid: str) -> tuple[Domain, str, Segment]:
    """The segment of a uid, with its domain and split.

    Raises:
        UserError: there is none; the message gives the nearest uids.
    """
    uids = []
    for domain in data.domains.values():
        for split, segments in (("train", domain.train), ("test", domain.test)):
            for segment in segments:
                if segment.uid == uid:
                    return domain, split, segment
                uids.append(segment.uid)
    near = difflib.get_close_matches(uid, uids, n=_NEAR, cutoff=0.5)
    hint = f"the nearest are {', '.join(near)}" if near else f"they are written like {', '.join(uids[:3])}"
    raise UserError(f"no segment {uid!r} among the {len(uids)} of {data.name}; {hint}")


def _page(data: MultiDomainData, domain: Domain, split: str, segment: Segment, windows: Sequence[ShownWindow]) -> str:
    extents = {modality: reader.extent(segment) for modality, reader in domain.readers.items()}
    numbers = _spread(segment, MOST_PICTURES)
    tracks = {name: [data_uri(picture) for picture in clip] for name, clip in _clips(domain, segment).items()}
    step = f", every {numbers[1] - numbers[0]} frames" if len(numbers) < segment.stop - segment.start + 1 else ""
    sections = [
        ("Facts", facts_table(list(_facts(data, domain, split, segment)))),
        (f"Pictures{step}", player(tracks, numbers.tolist(), milliseconds=MILLISECONDS)),
        *_plots(domain, segment),
        ("Timeline", timeline((segment.start, segment.stop), extents, windows)),
        ("Windows", window_table(windows, list(domain.readers))),
    ]
    return page(f"Segment {segment.uid} of {data.name}", sections)


def _facts(data: MultiDomainData, domain: Domain, split: str, segment: Segment) -> Iterator[tuple[str, str]]:
    yield "uid", segment.uid
    yield "domain", domain.name
    yield "split", split
    yield "label", "(unlabelled)" if segment.label is None else data.classes[segment.label]
    yield "video", segment.video
    yield "frames", f"{segment.start} to {segment.stop} ({segment.stop - segment.start + 1})"
    for modality, reader in domain.readers.items():
        first, last = reader.extent(segment)
        length = getattr(reader, "length", None)
        own = f", {length(segment)} samples" if callable(length) else ""
        plural = "s" * (reader.channels != 1)
        yield modality, f"{reader.kind}, {reader.channels} channel{plural}, frames {first} to {last}{own}"
    yield from segment.further


def _spread(segment: Segment, most: int) -> NDArray[np.int64]:
    """Clock numbers of a segment in equal steps, at most so many."""
    step = -(-(segment.stop - segment.start + 1) // most)
    return np.arange(segment.start, segment.stop + 1, step, dtype=np.int64)


def _clips(domain: Domain, segment: Segment) -> dict[str, Frames]:
    """The video modalities in the order of the data set, ready for the screen."""
    numbers = _spread(segment, MOST_PICTURES)
    return {
        modality: fitted(as_rgb(reader.read(segment, numbers), is_flow=bool(reader.mirror_negates)))
        for modality, reader in domain.readers.items()
        if reader.kind == "video"
    }


def _plots(domain: Domain, segment: Segment) -> Iterator[tuple[str, str]]:
    numbers = _spread(segment, _POINTS)
    for modality, reader in domain.readers.items():
        if reader.kind == "series":
            yield modality, curves(numbers, reader.read(segment, numbers))
        elif reader.kind == "vector":
            yield modality, bars(reader.read(segment, numbers[:1])[0])


def _windows(domain: Domain, segment: Segment, rule: WindowRule, count: int) -> Iterator[ShownWindow]:
    rng = np.random.default_rng(_SEED)
    named = [(f"test {at + 1}", window) for at, window in enumerate(test_windows(segment, rule, count=count))]
    named += [(f"training, e.g. {at + 1}", training_window(segment, rule, rng)) for at in range(_TRAINING_WINDOWS)]
    for name, frames in named:
        numbers = {modality: _numbers_read(reader, segment, frames) for modality, reader in domain.readers.items()}
        yield ShownWindow(name, frames, numbers)


def _numbers_read(reader: Reader, segment: Segment, frames: NDArray[np.int64]) -> str:
    """What a modality gives for a window: its file numbers where its reader tells them, else clock numbers.

    Numbers outside the video are those of its first or last frame, as the reader has it.
    """
    if reader.kind == "vector":
        return "the same for every frame"
    inside = np.clip(frames, *reader.extent(segment))
    index: Any = getattr(getattr(reader, "reader", reader), "index", None)
    files = getattr(index, "files", None)
    if not callable(files):
        return ", ".join(map(str, inside.tolist()))
    return f"files {', '.join(map(str, files(inside).tolist()))}"
