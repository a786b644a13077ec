"""Shows one segment: its frames, its row of the table, and the windows that training and testing take from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.analysis.pages import render_page
from mmsada_lab.clips.segments import CountsSamples, Domain, Frames, MultiDomainData, NumbersFiles, Reader, Segment
from mmsada_lab.clips.windows import WindowRule, test_windows, training_window
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_whole
from mmsada_lab.prepare.show.images import animated_gif, as_rgb, data_uri, resize_for_screen
from mmsada_lab.prepare.show.page import PAGE, STYLE, ShownWindow, plot_series, plot_vector, timeline

MOST_FRAMES = 150
"""Frames of a segment that are shown at most; a longer one is shown in steps."""

MILLISECONDS = 60
"""How long each is shown."""

_TRAINING_WINDOWS = 3
_SEED = 0
_MOST_POINTS = 600
_NEAR = 5


def show_segment(
    specification: str, uid: str, destination: Path, *, windows: int = 5, rule: WindowRule | None = None
) -> Path:
    """Write a page or a GIF that shows one segment; returns its path.

    Args:
        specification: of the data, as for `load_data`.
        uid: of the segment.
        destination: a name ending in ``.html`` (a page that needs no network) or ``.gif`` (video modalities only).
        windows: number of test windows on the page.
        rule: of the windows; the paper's if None.

    Raises:
        UserError: no such segment, another suffix, a GIF of data without video, or frames that cannot be read.
    """
    destination = Path(destination).expanduser()
    if destination.suffix.lower() not in (".html", ".htm", ".gif"):
        raise UserError(f"cannot write {destination.name}: choose a name ending in .html for a page, or in .gif")
    if windows < 1:
        raise UserError(f"windows = {windows!r}; choose 1 or more")
    data = load_data(specification)
    domain, split, segment = find_segment(data, uid)
    if destination.suffix.lower() != ".gif":
        shown = list(_windows(domain, segment, rule or WindowRule(), windows))
        content = _page(data, domain, split, segment, shown).encode()
    elif clips := _clips(domain, segment):
        content = animated_gif(clips, milliseconds=MILLISECONDS)
    else:
        raise UserError(f"{data.name} has no video in domain {domain.name}; choose a name ending in .html for a page")
    write_whole(destination, content)
    return destination


def find_segment(data: MultiDomainData, uid: str) -> tuple[Domain, str, Segment]:
    """The segment with a uid, its domain and split, or `UserError` with the nearest uids."""
    uids = []
    for domain in data.domains.values():
        for split, segments in domain.splits.items():
            for segment in segments:
                if segment.uid == uid:
                    return domain, split, segment
                uids.append(segment.uid)
    near = difflib.get_close_matches(uid, uids, n=_NEAR, cutoff=0.5)
    hint = f"the nearest are {', '.join(near)}" if near else f"they are written like {', '.join(uids[:3])}"
    raise UserError(f"no segment {uid!r} among the {len(uids)} of {data.name}; {hint}")


def _page(data: MultiDomainData, domain: Domain, split: str, segment: Segment, windows: list[ShownWindow]) -> str:
    numbers = _spread(segment, MOST_FRAMES)
    extents = {modality: reader.extent(segment) for modality, reader in domain.readers.items()}
    values = {
        "facts": list(_facts(data, domain, split, segment)),
        "tracks": {modality: [data_uri(frame) for frame in clip] for modality, clip in _clips(domain, segment).items()},
        "numbers": list(numbers),
        "step": numbers.step,
        "milliseconds": MILLISECONDS,
        "plots": list(_plots(domain, segment)),
        "timeline": timeline((segment.start, segment.stop), extents, windows),
        "modalities": list(extents),
        "windows": windows,
    }
    return render_page(f"Segment {segment.uid} of {data.name}", PAGE, values, style=STYLE)


def _facts(data: MultiDomainData, domain: Domain, split: str, segment: Segment) -> Iterator[tuple[str, str]]:
    label = "(unlabelled)" if segment.label is None else data.classes[segment.label]
    frames = f"{segment.start} to {segment.stop} ({segment.stop - segment.start + 1})"
    facts = {"uid": segment.uid, "domain": domain.name, "split": split, "label": label}
    yield from (facts | {"video": segment.video, "frames": frames}).items()
    for modality, reader in domain.readers.items():
        first, last = reader.extent(segment)
        own = f", {reader.length(segment)} samples" if isinstance(reader, CountsSamples) else ""
        plural = "s" * (reader.channels != 1)
        yield modality, f"{reader.kind}, {reader.channels} channel{plural}, frames {first} to {last}{own}"
    yield from segment.further


def _spread(segment: Segment, most: int) -> range:
    """At most `most` clock numbers of a segment, in equal steps."""
    return range(segment.start, segment.stop + 1, -(-(segment.stop - segment.start + 1) // most))


def _clips(domain: Domain, segment: Segment) -> dict[str, Frames]:
    """The video modalities in the order of the data set, as RGB at a size for the screen."""
    numbers = np.array(_spread(segment, MOST_FRAMES))
    return {
        modality: resize_for_screen(as_rgb(reader.read(segment, numbers), is_flow=bool(reader.mirror_negates)))
        for modality, reader in domain.readers.items()
        if reader.kind == "video"
    }


def _plots(domain: Domain, segment: Segment) -> Iterator[dict[str, object]]:
    numbers = np.array(_spread(segment, _MOST_POINTS))
    for modality, reader in domain.readers.items():
        if reader.kind == "series":
            yield plot_series(modality, numbers, reader.read(segment, numbers))
        elif reader.kind == "vector":
            yield plot_vector(modality, reader.read(segment, numbers[:1])[0])


def _windows(domain: Domain, segment: Segment, rule: WindowRule, count: int) -> Iterator[ShownWindow]:
    rng = np.random.default_rng(_SEED)
    windows = {f"test {at + 1}": frames for at, frames in enumerate(test_windows(segment, rule, count=count))}
    windows |= {f"training, e.g. {at + 1}": training_window(segment, rule, rng) for at in range(_TRAINING_WINDOWS)}
    for name, frames in windows.items():
        read = {modality: _numbers_read(reader, segment, frames) for modality, reader in domain.readers.items()}
        yield ShownWindow(name, frames.tolist(), read)


def _numbers_read(reader: Reader, segment: Segment, frames: NDArray[np.int64]) -> str:
    """What is read for a window: file numbers if the reader knows them, otherwise clock numbers."""
    if reader.kind == "vector":
        return "the same for every frame"
    inside = np.clip(frames, *reader.extent(segment))  # as the reader does
    if isinstance(reader, NumbersFiles):
        return f"files {', '.join(map(str, reader.file_numbers(inside).tolist()))}"
    return ", ".join(map(str, inside.tolist()))
