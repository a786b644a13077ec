"""Reads clips from JPEG frames, and says which file goes with which RGB frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mmsada_lab.clips.segments import FramePart, Frames, Image, Kind, Segment
from mmsada_lab.datasets.epic.frame_files import FrameLocation, Track, open_tracks
from mmsada_lab.errors import UserError, unknown


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """RGB frame n goes with file ``(n + shift) // stride``."""

    stride: int = 1
    shift: int = 0

    def files(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """File numbers of RGB frames, `(T,)`."""
        return (np.asarray(frames) + self.shift) // self.stride

    def frames(self, first: int, last: int) -> tuple[int, int]:
        """First and last RGB frame that go with files `first` to `last`."""
        return first * self.stride - self.shift, last * self.stride - self.shift + self.stride - 1


FLOW_INDEX = {"authors": FrameIndex(2), "ceil": FrameIndex(2, 1), "ceil-1": FrameIndex(2, -1), "same": FrameIndex()}
"""Flow frame of RGB frame n: int(n/2) as in the released code, ceil(n/2), ceil(n/2)-1 as in PyKale, or n."""

MOST_PIXELS_PER_BYTE = 512
"""A Huffman code spends at least a bit on each block of 8 by 8 pixels. An image that claims to have more pixels has a
damaged header, and decoding it could fill the memory with grey."""


@dataclass(slots=True)
class JpegReader:
    """A `Reader` over JPEG files.

    Numbers before the first or after the last frame of the video give that frame: windows of short segments may
    leave the video. A hole inside it, an undecodable file or a change of size within a clip is a `UserError`.

    Attributes:
        locations: video name -> where its frames lie.
        channels: 3 decodes one track as RGB; otherwise there are as many tracks, each decoded as grey.
        index: which file goes with an RGB frame.
        mirror_negates: channels that change sign when mirrored.
        absent: video name -> the error when one that has no frames is read.
    """

    locations: Mapping[str, FrameLocation]
    channels: int = 3
    index: FrameIndex = FrameIndex()
    mirror_negates: tuple[int, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = field(init=False, default="video")

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """Return the frames at the given RGB frame numbers, `(T, H, W, C)`; equal numbers are decoded once."""
        clip: Frames | None = None
        for channel, times, image in self.frame_parts(segment, frames):
            if clip is None:
                clip = _allocate_clip(self.channels, len(frames), image)
            clip[times, :, :, channel : channel + image.shape[2]] = image
        if clip is None:
            raise ValueError("no frame numbers were asked for")
        return clip

    def frame_parts(self, segment: Segment, frames: NDArray[np.int64]) -> Iterator[FramePart]:
        """The same frames one at a time: colours, or one channel of a grey track."""
        tracks = self._open(segment)
        first, last = _shared_range(tracks)
        end = self.index.frames(first, last)[1]
        if segment.start > end:
            raise UserError(
                f"segment {segment.uid} starts at RGB frame {segment.start}, but {tracks[0].path} ends with its frame "
                f"{last}, RGB frame {end}; the video is incomplete or the annotations are of another"
            )
        times: dict[int, list[int]] = {}
        for time, number in enumerate(np.clip(self.file_numbers(frames), first, last).tolist()):
            times.setdefault(number, []).append(time)
        numbers = np.array(sorted(times), dtype=np.int64)
        colours = "RGB" if len(tracks) == 1 and self.channels == 3 else "GRAY"
        for channel, number, image in _decode_tracks(tracks, numbers, colours):
            yield channel, times[number], image

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last RGB frame number at which the segment's video has a file on every track."""
        return self.index.frames(*_shared_range(self._open(segment)))

    def file_numbers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """File numbers of RGB frames, `(T,)`."""
        return self.index.files(frames)

    def _open(self, segment: Segment) -> tuple[Track, ...]:
        if segment.video in self.absent:
            raise UserError(f"segment {segment.uid}: {self.absent[segment.video]}")
        if segment.video not in self.locations:
            raise unknown("video", segment.video, self.locations)
        return open_tracks(self.locations[segment.video])


def _shared_range(tracks: tuple[Track, ...]) -> tuple[int, int]:
    return max(int(t.numbers[0]) for t in tracks), min(int(t.numbers[-1]) for t in tracks)


def _allocate_clip(channels: int, length: int, image: Image) -> Frames:
    """An array `(T, H, W, C)` for images such as this; in memory, those of grey tracks lie one after another."""
    height, width, depth = image.shape
    planes = np.empty((channels // depth, length, height, width, depth), dtype=np.uint8)
    return planes[0] if depth == channels else np.moveaxis(planes[..., 0], 0, -1)  # (T, H, W, C)


def _decode_tracks(
    tracks: tuple[Track, ...], numbers: NDArray[np.int64], colours: str
) -> Iterator[tuple[int, int, Image]]:
    """Channel, number and pixels of frames `(T,)` of every track; all must have the first one's size."""
    image, first = None, ""
    for channel, track in enumerate(tracks):
        positions = track.locate(numbers)
        for number, position, data in zip(numbers.tolist(), positions.tolist(), track.payloads(positions), strict=True):
            try:
                if image is None:
                    image = np.empty((*_image_size(data), 3 if colours == "RGB" else 1), dtype=np.uint8)
                    first = track.label(position)
                decoded = simplejpeg.decode_jpeg(data, colorspace=colours, buffer=image)
                if decoded.shape != image.shape:
                    raise ValueError(f"{decoded.shape} in place of {image.shape}")
            except ValueError as error:
                raise _explain(error, data, track.label(position), image=image, first=first) from error
            yield channel, number, image


def _image_size(data: bytes) -> tuple[int, int]:
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if height * width > MOST_PIXELS_PER_BYTE * len(data):
        raise ValueError(f"{width}x{height} pixels in {len(data):,} bytes")
    return height, width


def _explain(error: ValueError, data: bytes, name: str, *, image: Image | None, first: str) -> UserError:
    """Why a frame could not be decoded into the array that was made for the clip's first one."""
    try:
        height, width = _image_size(data)
    except ValueError as cause:
        error = cause
    else:
        if image is not None and (height, width) != image.shape[:2]:
            size = f"{image.shape[1]}x{image.shape[0]}"
            return UserError(f"{name} is {width}x{height}, but the clip began with {size} frames, {first}")
    return UserError(f"{name} is not a whole JPEG picture ({error}); copy or extract this frame again")
