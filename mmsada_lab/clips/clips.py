"""How a clip is cut from a segment, in time and in space.

Legend: `C` channels, `T` frames, `S` side of a clip in pixels, `W` windows. A clip of video is `(C, T, S, S)` uint8, of
a series `(C, T)` float32, of a vector `(C,)` float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, FramePart, Kind, Reader, Segment
from mmsada_lab.clips.transforms import Crop, negate_mirrored, place_crop
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.runtime.read_ahead import allocate


@dataclass(frozen=True)
class ClipRule:
    """How clips are cut from segments, in time and in space.

    Attributes:
        window: length and stride of a window.
        size: S, side of a clip.
        offsets: crop offsets in training, see `sample_crop`.
        synchronous: the modalities of a clip share window, crop and flip (Table 4's "Sync").
        negatives: the last half of each domain's clips gets its later modalities from other segments (``half``).
        moments: its modalities show different moments of one segment instead; those of the others share a moment that
            is drawn alike, so that no modality by itself tells which half a clip is of.
        resize_on: where training crops are resized: by the ``loader``, clip by clip, or on the ``device``, batch by
            batch (at most one grey level apart).
    """

    window: WindowRule
    size: int
    offsets: str = "released"
    synchronous: bool = False
    negatives: bool = False
    moments: bool = False
    resize_on: str = "loader"


def clip_rule(config: ExperimentConfig) -> ClipRule:
    """How a configuration has clips cut."""
    return ClipRule(
        WindowRule(config.window_length, config.window_stride, whole=config.window_span == "segment"),
        config.input_size,
        offsets=config.crops,
        synchronous=config.positives == "synchronous",
        moments=config.negatives == "moment",
        resize_on=config.resize_on,
    )


def labels_of(segments: Iterable[Segment]) -> NDArray[np.int64]:
    """Labels of segments, `(N,)`; -1 where a segment has none."""
    return np.array([-1 if segment.label is None else segment.label for segment in segments], dtype=np.int64)


def inputs_of(domain: Domain, modalities: Sequence[str]) -> dict[str, tuple[Kind, int]]:
    """Kind and number of channels C of each modality: what a network's backbones are built for."""
    return {modality: (domain.readers[modality].kind, domain.readers[modality].channels) for modality in modalities}


def clip_shape(kind: Kind, channels: int, rule: ClipRule) -> tuple[int, ...]:
    """Shape of a clip: `(C, T, S, S)`, `(C, T)` or `(C,)`."""
    length, size = rule.window.length, rule.size
    shapes: dict[Kind, tuple[int, ...]] = {"video": (length, size, size), "series": (length,), "vector": ()}
    return (channels, *shapes[kind])


def allocate_clips(count: int, reader: Reader, rule: ClipRule) -> NDArray[Any]:
    """An array for some clips, to be filled: a tensor for each and a stack of them would copy everything once more."""
    shape = (count, *clip_shape(reader.kind, reader.channels, rule))
    return allocate(shape, np.uint8 if reader.kind == "video" else np.float32)


def cropped(pictures: Iterable[FramePart], crop_of: Callable[[int, int], Crop]) -> Iterator[tuple[Crop, FramePart]]:
    """Pictures of clips that share a crop, each with it; `crop_of` gives it for a height and a width."""
    crop = None
    for channel, times, frame in pictures:
        crop = crop or crop_of(*frame.shape[:2])  # drawn when the first frame tells how large they are
        yield crop, (channel, times, frame)


def cut_clips(
    clips: NDArray[Any], pictures: Iterable[tuple[Crop, FramePart]], *, mirror_negates: tuple[int, ...] = ()
) -> None:
    """Fill the clips `(W, C, T, S, S)` of windows of video with pictures, each cut, resized and mirrored at once.

    The pictures (see `cropped`) are those of all channels and times, counted through all windows.
    """
    length = clips.shape[2]
    for crop, (channel, times, picture) in pictures:
        channels = slice(channel, channel + picture.shape[2])
        (window, time), *again = (divmod(at, length) for at in times)
        place_crop(picture, crop, clips[window, channels, time])
        for other, later in again:
            clips[other, channels, later] = clips[window, channels, time]
    for clip in clips:
        negate_mirrored(clip, crop, mirror_negates)


def read_clips(clips: NDArray[Any], reader: Reader, segment: Segment, windows: NDArray[np.int64]) -> None:
    """Fill the clips `(W, C, T)` or `(W, C)` of windows `(W, T)`, clock numbers of a segment that is no video."""
    for clip, window in zip(clips, windows, strict=True):
        read = reader.read(segment, window)
        clip[:] = read[0] if reader.kind == "vector" else read.T
