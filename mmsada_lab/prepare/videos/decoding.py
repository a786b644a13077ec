"""Decodes video files to upright RGB images with square pixels, at a constant rate.

Time 0 is the first frame of a file. The image at time t is the last frame that begins at or before t, so that a video
of variable frame rate comes out in real time, with frames repeated or skipped. Begin times have a tolerance of half a
tick of the file's clock (0.5 ms at most), because containers round them.

Colours follow the file's own tags; without tags, FFmpeg's defaults hold (BT.601, limited range).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmsada_lab.clips.segments import Image
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos.images import scaled_size, shown_size, to_rgb
from mmsada_lab.prepare.videos.listing import parse_seconds

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Item = TypeVar("Item")

LONGEST_GAP = 600
"""Seconds a single frame may last; beyond that the file's clock counts as broken."""

_TRUST = 0.1
"""Relative difference from the measured frame rate up to which the one that the file states is used."""

_REPAIR = "repair it, e.g. with `ffmpeg -i OLD NEW.mp4`"


class UnreadableVideoError(UserError):
    """A file that cannot be decoded from beginning to end; the message is the reason alone, without its name."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Average frames per second, and the size in pixels of a video as shown: upright, in square pixels."""

    rate: Fraction
    width: int
    height: int


def inspect_video(path: Path) -> VideoInfo:
    """Read all packets of a video, and decode only its first frame.

    Raises:
        UnreadableVideoError: not a video, cut off, or a single frame.
    """
    with _opened(path) as (container, stream):
        count, begin, end = _packets(container, stream)
        _refuse_cut_off(container, stream, path, end)
    if count < 2:
        raise UnreadableVideoError("it holds a single frame, and so no motion")
    with _opened(path) as (container, stream):
        frame = next(iter(container.decode(stream)), None)
        if frame is None:
            raise UnreadableVideoError("no frame can be decoded")
        width, height = shown_size(frame, stream.sample_aspect_ratio)
        return VideoInfo(_rate(stream, count, end - begin), width, height)


def sample_video(path: Path, rate: Fraction, *, height: int) -> Iterator[Image]:
    """Decode a whole video at a constant rate.

    Args:
        path: any file FFmpeg can read.
        rate: images per second.
        height: of the images; their width follows the aspect ratio. Smaller videos are enlarged.

    Yields:
        `(height, W, 3)` RGB, 8 bits: the image at 0, 1 / rate, 2 / rate, ... seconds.

    Raises:
        UnreadableVideoError: a frame cannot be decoded.
    """
    with _opened(path) as (container, stream):
        aspect = stream.sample_aspect_ratio
        tick = min(stream.time_base or Fraction(1, 1000), Fraction(1, 1000))
        last: VideoFrame | None = None
        for frame in resample(_timed(container, stream, rate), rate, tolerance=tick / 2):
            if last is None:
                size = scaled_size(shown_size(frame, aspect), height)
            if frame is not last:
                last, image = frame, to_rgb(frame, size)
            yield image


def resample(
    items: Iterable[tuple[Fraction, Fraction, Item]], rate: Fraction, *, tolerance: Fraction = Fraction(0)
) -> Iterator[Item]:
    """Sample items that last until the next one begins: at 0, 1 / rate, 2 / rate, ... the last that has begun.

    Args:
        items: (begin, length, item) in seconds, by increasing begin, the first at 0. Only the last length counts.
        rate: samples per second.
        tolerance: seconds before its begin from which an item counts.
    """
    index, current, end = 0, None, Fraction(0)
    for begin, length, item in items:
        while current is not None and index / rate + tolerance < begin:
            yield current
            index += 1
        current, end = item, begin + length
    while current is not None and index / rate + 2 * tolerance < end:
        yield current
        index += 1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its first video stream; an error of FFmpeg becomes an `UnreadableVideoError`."""
    import av

    # a playlist inside a file may point elsewhere: allow local files only
    local = {"protocol_whitelist": "file"}
    try:
        if path.stat().st_size == 0:
            raise UnreadableVideoError("it is empty (0 bytes)")
        with av.open(f"file:{path}", metadata_errors="replace", container_options=local) as container:
            cover = av.stream.Disposition.attached_pic
            stream = next((s for s in container.streams.video if not s.disposition & cover), None)
            if stream is None:
                raise UnreadableVideoError("it has no video stream")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.error.FFmpegError as error:
        raise UnreadableVideoError(f"it cannot be decoded ({error.strerror}); {_REPAIR}") from error
    except OSError as error:
        if error.filename != str(path):  # of the caller's block, such as a full disk
            raise
        raise UnreadableVideoError(f"it cannot be opened ({error.strerror})") from error


def _packets(container: InputContainer, stream: VideoStream) -> tuple[int, Fraction, Fraction]:
    """Number of packets, begin of the first and end of the last, seconds on the file's clock."""
    count, spans = 0, list[tuple[int, int]]()
    for packet in (packet for packet in container.demux(stream) if packet.size):
        if packet.is_corrupt:
            raise UnreadableVideoError(f"it is cut off or damaged after {count} frames; copy it again, or {_REPAIR}")
        count += 1
        begin = packet.dts if packet.pts is None else packet.pts
        spans += [] if begin is None else [(begin, begin + (packet.duration or 0))]
    tick = stream.time_base or Fraction(1)
    return count, min((begin for begin, _ in spans), default=0) * tick, max((end for _, end in spans), default=0) * tick


def _refuse_cut_off(container: InputContainer, stream: VideoStream, path: Path, end: Fraction) -> None:
    """Refuse a file that ends well before the length it states, or a GIF without its last byte."""
    stated = _stated_end(container, stream)
    if stated is not None and stated - end > max(Fraction(1, 2), stated / 10):
        lengths = f"it states {float(stated):.1f} s and ends at {float(end):.1f} s"
        raise UnreadableVideoError(f"it is cut off: {lengths}; copy it again, or {_REPAIR}")
    if container.format.name == "gif" and not path.read_bytes()[-64:].rstrip(b"\0").endswith(b";"):
        raise UnreadableVideoError(f"it is cut off: a GIF ends in ';'; copy it again, or {_REPAIR}")


def _stated_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """The end of the video that its container states, seconds on its clock; None if it may be that of the sound."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    if (tag := parse_seconds(stream.metadata.get("DURATION", ""))) is not None:
        return tag
    if len(container.streams) == 1 and container.duration:
        return Fraction((container.start_time or 0) + container.duration, 1_000_000)
    return None


def _rate(stream: VideoStream, count: int, seconds: Fraction) -> Fraction:
    """The rate that the container states if it agrees with the packets, otherwise theirs."""
    stated = stream.average_rate or stream.guessed_rate
    if seconds <= 0:
        if not stated:
            raise UnreadableVideoError("it has no clock; give the number of frames per second")
        return Fraction(stated)
    counted = count / seconds
    if stated and abs(stated / counted - 1) < _TRUST:
        return Fraction(stated)
    return counted.limit_denominator(1001)


def _timed(
    container: InputContainer, stream: VideoStream, rate: Fraction
) -> Iterator[tuple[Fraction, Fraction, VideoFrame]]:
    """Every decoded frame with its begin and length, seconds from the first; begins never decrease."""
    tick = stream.time_base or 1 / rate
    first: int | None = None
    begin, length = Fraction(0), Fraction(0)
    for frame, stamp in _stamped(container.decode(stream)):
        if frame.is_corrupt:
            raise UnreadableVideoError(f"it is damaged at {float(begin + length):.2f} s; {_REPAIR}")
        first = stamp if first is None else first
        at = begin + length if stamp is None or first is None else (stamp - first) * tick
        if at - begin > LONGEST_GAP:
            raise UnreadableVideoError(f"its clock jumps by {float(at - begin):.0f} s; {_REPAIR}")
        begin, length = max(begin, at), (frame.duration or 0) * tick or 1 / rate
        yield begin, length, frame


def _stamped(frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, int | None]]:
    """Frames with the time stamp that decreases less often: of presentation, or of decoding (old AVI files)."""
    faults, last = [0, 0], [-(2**63), -(2**63)]
    for frame in frames:
        for which, stamp in enumerate((frame.pts, frame.dts)):
            faults[which] += stamp is None or stamp <= last[which]
            last[which] = last[which] if stamp is None else stamp
        yield frame, frame.dts if faults[1] < faults[0] else frame.pts
