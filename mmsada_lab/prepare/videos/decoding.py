"""Decoding of video files: upright RGB pictures with square pixels, at a constant rate.

Time 0 is the first picture of a file. The picture at time t is the last one that begins at or before t, so that
a video of variable frame rate comes out in real time, with pictures repeated or passed over. Begin times are taken
with half a tick of the file's clock to spare (0.5 ms at most), because containers round them.

Colours follow the file's own tags; where it has none, FFmpeg's defaults hold (BT.601, limited range). Transparent
parts are white.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos.pictures import Picture, fitted, shown_picture, shown_size

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Item = TypeVar("Item")

LONGEST_GAP = 600
"""Seconds a single picture may stand before its file's clock is taken to be broken."""

_TRUST = 0.1

_REPAIR = "repair it, e.g. with `ffmpeg -i OLD NEW.mp4`"


class UnreadableVideoError(UserError):
    """A file that cannot be decoded from beginning to end; the message is the reason alone, without its name."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file says of itself before anything is decoded.

    Attributes:
        rate: average pictures per second.
        width: of the picture as shown, in its own pixels, upright and square.
        height: likewise.
    """

    rate: Fraction
    width: int
    height: int


def survey(path: Path) -> Survey:
    """Read all packets of a video, decoding only the first picture.

    The rate that the container states counts if it agrees with its packets to a tenth, otherwise theirs does.

    Raises:
        UnreadableVideoError: not a video, cut off, or a single picture.
    """
    with _opened(path) as (container, stream):
        count, begin, end = _span(container, stream)
        _refuse_cut_off(container, stream, path, end)
    if count < 2:
        raise UnreadableVideoError("it holds a single picture, and so no motion")
    with _opened(path) as (container, stream):
        frame = next(iter(container.decode(stream)), None)
        if frame is None:
            raise UnreadableVideoError("no picture can be decoded")
        width, height = shown_size(frame, stream.sample_aspect_ratio)
        return Survey(_rate(stream, count, end - begin), width, height)


def sample_video(path: Path, rate: Fraction, *, height: int) -> Iterator[Picture]:
    """Decode a whole video at a constant rate.

    Args:
        path: any file FFmpeg can read.
        rate: pictures per second.
        height: of the pictures, pixels; their width follows the aspect ratio. Smaller videos are enlarged.

    Yields:
        `(height, W, 3)` RGB, 8 bits: the picture at 0, 1 / rate, 2 / rate, ... seconds.

    Raises:
        UnreadableVideoError: part of it cannot be decoded.
    """
    with _opened(path) as (container, stream):
        aspect = stream.sample_aspect_ratio
        tick = min(stream.time_base or Fraction(1, 1000), Fraction(1, 1000))
        held: VideoFrame | None = None
        for frame in hold(_timed(container, stream, rate), rate, tolerance=tick / 2):
            if held is None:
                size = fitted(shown_size(frame, aspect), height)
            if frame is not held:
                held, picture = frame, shown_picture(frame, size)
            yield picture


def hold(
    items: Iterable[tuple[Fraction, Fraction, Item]], rate: Fraction, *, tolerance: Fraction = Fraction(0)
) -> Iterator[Item]:
    """Sample items that last until the next one begins.

    Args:
        items: (begin, length, item) in seconds, by increasing begin, the first at 0. Only the last length counts.
        rate: samples per second.
        tolerance: an item counts from this much before its begin, seconds.

    Yields:
        At 0, 1 / rate, 2 / rate, ... the last item that has begun, as long as the last one lasts.
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
    """A file and its first moving-picture stream; what FFmpeg says against it becomes the reason of a refusal."""
    import av

    try:
        if path.stat().st_size == 0:
            raise UnreadableVideoError("it is empty (0 bytes)")
        # Playlists inside a file may point elsewhere: local files are as far as they lead.
        limits = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", metadata_errors="replace", container_options=limits) as container:
            cover = av.stream.Disposition.attached_pic
            stream = next((s for s in container.streams.video if not s.disposition & cover), None)
            if stream is None:
                raise UnreadableVideoError("it has no video stream")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.error.FFmpegError as error:
        raise UnreadableVideoError(f"it cannot be decoded ({error.strerror}); {_REPAIR}") from error
    except OSError as error:
        if error.filename != str(path):  # not ours: a disk that is full
            raise
        raise UnreadableVideoError(f"it cannot be opened ({error.strerror})") from error


def _span(container: InputContainer, stream: VideoStream) -> tuple[int, Fraction, Fraction]:
    """Number of packets, begin of the first and end of the last, seconds on the file's clock."""
    count, spans = 0, list[tuple[int, int]]()
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.is_corrupt:
            raise UnreadableVideoError(f"it is cut off or damaged after {count} pictures; copy it again, or {_REPAIR}")
        count += 1
        at = packet.dts if packet.pts is None else packet.pts
        if at is not None:
            spans.append((at, at + (packet.duration or 0)))
    tick = stream.time_base or Fraction(1)
    return count, min((s[0] for s in spans), default=0) * tick, max((s[1] for s in spans), default=0) * tick


def _refuse_cut_off(container: InputContainer, stream: VideoStream, path: Path, end: Fraction) -> None:
    """Refuse a file that ends well before the length it states, or a GIF without its last byte."""
    stated = _stated_end(container, stream)
    if stated is not None and stated - end > max(Fraction(1, 2), stated / 10):
        raise UnreadableVideoError(
            f"it is cut off: it states {float(stated):.1f} s and ends at {float(end):.1f} s; "
            f"copy it again, or {_REPAIR}"
        )
    if container.format.name == "gif" and not path.read_bytes()[-64:].rstrip(b"\0").endswith(b";"):
        raise UnreadableVideoError(f"it is cut off: a GIF ends in ';'; copy it again, or {_REPAIR}")


def _stated_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """The end of the video that its container states, seconds on its clock; None where that may be the sound's."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", stream.metadata.get("DURATION", ""))
    if tag:
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3])
    if len(container.streams) == 1 and container.duration:
        return Fraction((container.start_time or 0) + container.duration, 1_000_000)
    return None


def _rate(stream: VideoStream, count: int, seconds: Fraction) -> Fraction:
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
    """Frames with whichever stamp has gone backwards less often: of presentation, or of decoding (old AVI files)."""
    faults, last = [0, 0], [-(2**63), -(2**63)]
    for frame in frames:
        for which, stamp in enumerate((frame.pts, frame.dts)):
            faults[which] += stamp is None or stamp <= last[which]
            last[which] = last[which] if stamp is None else stamp
        yield frame, frame.dts if faults[1] < faults[0] else frame.pts
