"""Clips as thumbnails: one WebP strip a segment and modality, its frames side by side, small enough for a page.

The frames of all modalities are of the same moments, so that a page that shows frame k of each keeps them in step.
Strips are kept in the cache folder by what they were made of; a byte budget is met by smaller ones, and that is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, Frames, Image, MultiDomainData, Reader, Segment
from mmsada_lab.errors import UserError
from mmsada_lab.files import cache_root, remove_drafts, write_atomic
from mmsada_lab.prepare.show.images import as_rgb

TYPE = "image/webp"


@dataclass(frozen=True)
class StripSize:
    """How strips are made: number of frames, height of one (pixels), quality of WebP (0 to 100)."""

    frames: int = 8
    height: int = 72
    quality: int = 50

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.height} pixels' height, WebP quality {self.quality}"


SIZES = (
    StripSize(),
    StripSize(height=56, quality=45),
    StripSize(height=48, quality=40),
    StripSize(height=40, quality=35),
    StripSize(frames=6, height=40, quality=35),
    StripSize(frames=4, height=32, quality=30),
    StripSize(frames=1, height=32, quality=30),
)
"""From the best to the smallest: the first that a byte budget has room for is taken."""

_AS_TEXT = 4 / 3  # bytes of a page for each byte of a strip, which stands there as base64
_SAMPLED = 24  # segments whose strips are made to find out how large all will be
_BACK, _INK = (250, 250, 250), (60, 60, 60)
_MISSING = b""


@dataclass(frozen=True)
class Strips:
    """Strips of some segments.

    Attributes:
        size: how they were made.
        shapes: modality -> width and height of one frame.
        coded: modality -> WebP of every segment, in their order; empty where one could not be read.
        notes: what was missing or had to be smaller.
    """

    size: StripSize
    shapes: Mapping[str, tuple[int, int]]
    coded: Mapping[str, Sequence[bytes]]
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all strips."""
        return sum(len(strip) for strips in self.coded.values() for strip in strips)


def make_strips(
    data: MultiDomainData,
    segments: Sequence[tuple[str, Segment]],
    modalities: Sequence[str],
    *,
    budget: int,
    jobs: int = -1,
    cache_dir: Path | None = None,
) -> Strips:
    """Strips of segments, given with the names of their domains, in `budget` bytes of a page where that can be done.

    Args:
        data: whose digest the strips are cached by.
        segments: domain and segment.
        modalities: video is shown as it is, flow in colours; numbers in time as curves with a cursor, vectors as bars.
        budget: bytes of a page for all strips, as base64; the smallest of `SIZES` is taken where even it is too
            large, with a note.
        jobs: threads at once, as joblib counts them.
        cache_dir: in place of the user's cache folder.
    """
    maker = _Maker(data, tuple(modalities), cache_root(cache_dir) / "strips", jobs)
    sample = [segments[k] for k in np.linspace(0, len(segments) - 1, min(_SAMPLED, len(segments))).astype(int)]
    size, expected = SIZES[-1], 0.0
    for size in SIZES:
        expected = _AS_TEXT * maker.make(sample, size).bytes / len(sample) * len(segments)
        if expected <= budget:
            break
    strips = maker.make(segments, size)
    notes = [*strips.notes]
    if size != SIZES[0]:
        notes.append(
            f"clips are shown smaller than usual ({size}), to keep the page below {budget / 1e6:.0f} MB of clips"
        )
    if _AS_TEXT * strips.bytes > 1.1 * budget:
        taken = _AS_TEXT * strips.bytes / 1e6
        notes.append(f"even so clips take {taken:.1f} MB; give a larger budget, or fewer segments")
    return replace(strips, notes=tuple(notes))


_ABANDONED = 3600.0
"""Seconds after which the draft of a strip has no writer any more."""


@dataclass(frozen=True)
class _Maker:
    data: MultiDomainData
    modalities: tuple[str, ...]
    cache: Path
    jobs: int

    def make(self, segments: Sequence[tuple[str, Segment]], size: StripSize) -> Strips:
        """Strips of one size, from the cache where they are there."""
        names = [(self._path(m, domain, segment, size), m) for domain, segment in segments for m in self.modalities]
        missing = [
            (path, m, domain, segment)
            for (path, m), (domain, segment) in zip(names, [s for s in segments for _ in self.modalities], strict=True)
            if not path.is_file()
        ]
        if missing:
            self.cache.mkdir(parents=True, exist_ok=True)
            remove_drafts(self.cache, depth=0, older_than=_ABANDONED)  # others may be at work there
            messages = Parallel(n_jobs=self.jobs, prefer="threads")(
                delayed(_write_strip)(path, self.data.domains[domain], m, segment, size)
                for path, m, domain, segment in missing
            )
            failures = [message for message in messages if message]
        else:
            failures = []
        coded: dict[str, list[bytes]] = {m: [] for m in self.modalities}
        for path, m in names:
            coded[m].append(path.read_bytes() if path.is_file() else _MISSING)
        shapes = {m: _frame_shape(strips, size) for m, strips in coded.items()}
        return Strips(size, shapes, coded, tuple(_tell(failures)))

    def _path(self, modality: str, domain: str, segment: Segment, size: StripSize) -> Path:
        facts = (self.data.digest, modality, domain, segment.uid, segment.start, segment.stop, *vars(size).values())
        return self.cache / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.webp"


def _tell(failures: Sequence[str]) -> Iterator[str]:
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        yield f"no picture of {len(failures)} clips: {failures[0]}{more}"


def _write_strip(path: Path, domain: Domain, modality: str, segment: Segment, size: StripSize) -> str:
    """Make one strip; the error as a text if it cannot be read, since one missing clip must not cost the others."""
    try:
        reader = domain.readers[modality]
        frames = _pictures(reader, segment, size)
    except (UserError, OSError, KeyError, ValueError) as error:
        return str(error)
    strip = np.concatenate([_fitted(frame, size.height) for frame in frames], axis=1)
    done, coded = cv2.imencode(
        ".webp", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, size.quality]
    )
    if not done:
        return f"{segment.uid}: OpenCV cannot write WebP here"
    write_atomic(path, lambda file: file.write(coded.tobytes()))
    return ""


def moments(segment: Segment, count: int) -> NDArray[np.int64]:
    """Clock numbers of a strip's frames, `(count,)`: evenly over the middle of a segment, `_SPAN` frames at most.

    Example:
        >>> moments(Segment("a", "video", 101, 108), 4).tolist(), moments(Segment("a", "video", 1, 1001), 3).tolist()
        ([102, 104, 106, 108], [480, 501, 522])
    """
    first, last = segment.start, segment.stop + 1
    middle, half = (first + last) / 2, min(last - first, _SPAN) / 2
    shares = (np.arange(count) + 0.5) / count
    return np.floor(middle - half + 2 * half * shares).astype(np.int64)


_SPAN = 64
"""About a second of video."""


def _pictures(reader: Reader, segment: Segment, size: StripSize) -> Frames:
    """A modality of a segment as RGB, `(frames, H, W, 3)`."""
    if reader.kind == "video":
        clip = reader.read(segment, moments(segment, size.frames))
        return as_rgb(clip, is_flow=bool(reader.mirror_negates))
    numbers = np.linspace(segment.start, segment.stop, 4 * size.height).astype(np.int64)
    values = np.asarray(reader.read(segment, numbers), dtype=np.float64)  # (T, C)
    if reader.kind == "vector":
        return np.repeat(_bars(values[0], size.height)[None], size.frames, axis=0)
    return _curves(values, segment, size)


def _curves(values: NDArray[np.float64], segment: Segment, size: StripSize) -> Frames:
    """Numbers in time `(T, C)` as curves, a channel above the other where there are few, with a cursor that moves."""
    height, width = size.height, size.height * 4 // 3
    page = np.full((height, width, 3), _BACK, dtype=np.uint8)
    low, high = values.min(), values.max()
    span = high - low if high > low else 1.0
    x = np.linspace(1, width - 2, len(values))
    for channel in values.T[:_MOST_CURVES]:
        y = (height - 3) - (channel - low) / span * (height - 6)
        cv2.polylines(page, [np.stack([x, y], axis=1).round().astype(np.int32)], False, _INK, 1, cv2.LINE_AA)
    share = (moments(segment, size.frames) - segment.start) / max(segment.stop - segment.start, 1)
    frames = np.repeat(page[None], size.frames, axis=0)
    for frame, place in zip(frames, 1 + share * (width - 3), strict=True):
        cv2.line(frame, (round(place), 0), (round(place), height - 1), _CURSOR, 1)
    return frames


_MOST_CURVES = 12
_CURSOR = (213, 94, 0)


def _bars(vector: NDArray[np.float64], height: int) -> Image:
    """A vector as bars from zero, the mean of neighbours where it has more entries than there are pixels."""
    width = height * 4 // 3
    bins = min(width, len(vector))
    means = np.array([bin_values.mean() for bin_values in np.array_split(vector, bins)])
    page = np.full((height, bins, 3), _BACK, dtype=np.uint8)
    largest = np.abs(means).max() or 1.0
    ends = height / 2 - means / largest * (height / 2 - 2)
    for column, end in enumerate(ends):
        top, bottom = sorted((round(height / 2), round(float(end))))
        page[top : bottom + 1, column] = _INK
    return cv2.resize(page, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def _fitted(frame: Image, height: int) -> Image:
    """A frame `(H, W, 3)` at a height; very wide ones are cut at both sides."""
    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    way = cv2.INTER_AREA if frame.shape[0] > height else cv2.INTER_LINEAR
    resized = cv2.resize(frame, (width, height), interpolation=way)
    extra = max(0, width - round(_WIDEST * height))
    return resized[:, extra // 2 : width - (extra - extra // 2)].astype(np.uint8)


_WIDEST = 3.0
"""Widest frame, in heights."""


def _frame_shape(strips: Sequence[bytes], size: StripSize) -> tuple[int, int]:
    """Width and height of a frame, of the first strip there is; of a square one where there is none."""
    for coded in strips:
        if coded:
            strip = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
            if strip is not None:
                return strip.shape[1] // size.frames, strip.shape[0]
    return size.height, size.height
