"""Reads clips from JPEG frames, and says which file goes with which RGB frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mmsada_lab.data.epic.frame_files import Place, Track, open_tracks
from mmsada_lab.data.segments import Frames, Kind, Segment
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


FLOW_INDEX = {
    "authors": FrameIndex(2),
    "ceil": FrameIndex(2, 1),
    "ceil-1": FrameIndex(2, -1),
    "same": FrameIndex(),
}
"""Flow frame of RGB frame n: int(n/2) as in the released code, ceil(n/2), ceil(n/2)-1 as in PyKale, or n."""


MOST_PIXELS_PER_BYTE = 512
"""A Huffman code spends a bit or more on each block of 8 by 8 pixels. A picture that claims to have more pixels has a
damaged header: to decode it anyway could fill the memory with grey before anybody noticed."""


@dataclass(slots=True)
class JpegReader:
    """A `Reader` over JPEG files.

    Numbers before the first or after the last frame of the video give that frame: windows of short segments may
    leave the video. A hole inside it, an undecodable file or a change of size within a clip is a `UserError`.

    Attributes:
        places: video name -> where its frames lie.
        channels: 3 decodes one track as RGB; otherwise there are as many tracks, each decoded as grey.
        index: which file goes with an RGB frame.
        mirror_negates: channels that change sign when mirrored.
        absent: video name -> what to say when one that has no frames is read.
    """

    places: Mapping[str, Place]
    channels: int = 3
    index: FrameIndex = FrameIndex()
    mirror_negates: tuple[int, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = field(init=False, default="video")

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """Return the frames at the given RGB frame numbers, `(T, H, W, C)`; equal numbers are decoded once."""
        tracks = self._open(segment)
        first, last = _shared_range(tracks)
        end = self.index.frames(first, last)[1]
        if segment.start > end:
            raise UserError(
                f"segment {segment.uid} starts at RGB frame {segment.start}, but {tracks[0].path} ends with its frame "
                f"{last}, RGB frame {end}; the video is incomplete or the annotations are of another"
            )
        numbers, back = np.unique(np.clip(self.index.files(frames), first, last), return_inverse=True)
        pixels = _decode_tracks(tracks, numbers, self.channels)
        return pixels if np.array_equal(back, np.arange(len(frames))) else pixels[back]

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last RGB frame number at which the segment's video has a file on every track."""
        return self.index.frames(*_shared_range(self._open(segment)))

    def _open(self, segment: Segment) -> tuple[Track, ...]:
        if segment.video in self.absent:
            raise UserError(f"segment {segment.uid}: {self.absent[segment.video]}")
        if segment.video not in self.places:
            raise unknown("video", segment.video, self.places)
        return open_tracks(self.places[segment.video])


def _shared_range(tracks: tuple[Track, ...]) -> tuple[int, int]:
    return max(int(t.numbers[0]) for t in tracks), min(int(t.numbers[-1]) for t in tracks)


def _decode_tracks(tracks: tuple[Track, ...], numbers: NDArray[np.int64], channels: int) -> Frames:
    """Decode frames `(T,)` of every track into `(T, H, W, C)`; all must have the first one's size."""
    pixels: Frames | None = None
    for channel, track in enumerate(tracks):
        positions = track.locate(numbers)
        for row, data in enumerate(track.payloads(positions)):
            name = track.label(int(positions[row]))
            size = _jpeg_size(data, name)
            if pixels is None:
                pixels = np.empty((len(numbers), *size, channels), dtype=np.uint8)
            if size != pixels.shape[1:3]:
                height, width = pixels.shape[1:3]
                raise UserError(
                    f"{name} is {size[1]}x{size[0]}, but the clip began with {width}x{height} frames, "
                    f"{tracks[0].label(int(tracks[0].locate(numbers[:1])[0]))}"
                )
            if len(tracks) == 1 and channels == 3:
                _decode(data, name, "RGB", out=pixels[row])
            else:
                grey = np.empty((*size, 1), dtype=np.uint8)
                _decode(data, name, "GRAY", out=grey)
                pixels[row, :, :, channel] = grey[:, :, 0]
    if pixels is None:
        raise ValueError("no frame numbers were asked for")
    return pixels


def _jpeg_size(data: bytes, name: str) -> tuple[int, int]:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise _undecodable(name, error) from error
    if height * width > MOST_PIXELS_PER_BYTE * len(data):
        raise _undecodable(name, ValueError(f"{width}x{height} pixels in {len(data):,} bytes"))
    return height, width


def _decode(data: bytes, name: str, colours: str, *, out: Frames) -> None:
    try:
        simplejpeg.decode_jpeg(data, colorspace=colours, buffer=out)
    except ValueError as error:
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: ValueError) -> UserError:
    return UserError(f"{name} is not a whole JPEG picture ({error}); copy or extract this frame again")
