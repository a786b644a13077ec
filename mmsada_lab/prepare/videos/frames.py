"""One video on disk: its RGB and flow frames in the layout of EPIC-Kitchens, written whole or not at all.

    DST/rgb/D1/VIDEO/frame_0000000001.jpg       DST/flow/D1/VIDEO/{u,v}/frame_0000000001.jpg

Both grow in folders named `.VIDEO.part` and are renamed when they are complete; `DST/imported/VIDEO.json`, written
last, is what makes a video count.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import simplejpeg

from mmsada_lab.datasets.flow import DILATION, STRIDE, optical_flow, quantise_flow, require_algorithm
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos.decoding import UnreadableVideoError, sample_video, survey
from mmsada_lab.prepare.videos.pictures import Picture

MODALITIES = ("rgb", "flow")
RECORDS = "imported"

EPIC_HEIGHT, EPIC_BOUND = 256, 25.0
"""EPIC-Kitchens keeps flow up to 25 pixels in pictures 256 pixels high."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How frames are made.

    Attributes:
        algorithm: of optical flow.
        bound: largest flow kept, pixels.
        dilation: RGB frames from the first picture of a flow frame to the second.
        height: of the frames, pixels.
        fps: frames per second; empty: each video's own average.
        quality: of the JPEG files, 1 to 100.
        version: of the layout and the procedure.
    """

    algorithm: str = "tvl1"
    bound: float = EPIC_BOUND
    dilation: int = DILATION
    height: int = EPIC_HEIGHT
    fps: str = ""
    quality: int = 95
    version: int = _VERSION

    def __post_init__(self) -> None:
        require_algorithm(self.algorithm)
        for name, low, high in (("height", 16, 4096), ("dilation", 1, 100), ("quality", 1, 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise UserError(f"{name} = {value!r}; choose a whole number from {low} to {high}")
        if not 0 < self.bound < 10_000:
            raise UserError(f"flow bound {self.bound!r}; give a positive number of pixels (EPIC-Kitchens: 25)")


@dataclass(frozen=True, slots=True)
class Order:
    """A video to be made: from which file, under which names, how."""

    video: str
    domain: str
    source: str
    path: Path
    destination: Path
    settings: Settings


@dataclass(frozen=True, slots=True)
class Record:
    """What was made of a video.

    Attributes:
        video: its name.
        domain: the domain it belongs to.
        source: the file it was made from, below the folder of the source.
        size: of that file, bytes.
        modified: when that file was last written, nanoseconds.
        rgb: number of RGB frames.
        flow: number of flow frames.
        fps: frames per second, as a fraction.
        source_height: height of the original picture as shown, pixels.
        settings: how it was made.
    """

    video: str
    domain: str
    source: str
    size: int
    modified: int
    rgb: int
    flow: int
    fps: str
    source_height: int
    settings: dict[str, Any]

    def holds_for(self, order: Order) -> bool:
        """Whether it was made from the file as it is now, for the same domain, and its frames are there."""
        folders = [order.destination / m / self.domain / self.video for m in MODALITIES]
        if self.domain != order.domain or not order.path.is_file() or not all(f.is_dir() for f in folders):
            return False
        status = order.path.stat()
        return (self.size, self.modified) == (status.st_size, status.st_mtime_ns)


def make_video(order: Order) -> Record:
    """Decode a video, compute its flow, write both, record it.

    Raises:
        UnreadableVideoError: the file cannot be used; nothing of it is left.
        OSError: the destination cannot be written.
    """
    found, status = survey(order.path), order.path.stat()
    rate = Fraction(order.settings.fps) if order.settings.fps else found.rate
    drafts, finals = _folders(order)
    _remove(drafts)
    try:
        rgb, flow = _write_frames(order, rate, drafts)
        if flow == 0:
            least = STRIDE + order.settings.dilation
            raise UnreadableVideoError(f"it has {rgb} frames at {float(rate):g} a second; flow needs at least {least}")
    except UnreadableVideoError:
        _remove(drafts)
        raise
    _remove(finals)
    for draft, final in zip(drafts, finals, strict=True):
        os.replace(draft, final)
    names = (order.video, order.domain, order.source, status.st_size, status.st_mtime_ns)
    record = Record(*names, rgb, flow, str(rate), found.height, asdict(order.settings))
    write_text(record_path(order.destination, order.video), json.dumps(asdict(record), indent=1) + "\n")
    return record


def record_path(destination: Path, video: str) -> Path:
    """Where the record of a video lies."""
    return destination / RECORDS / f"{video}.json"


def read_records(destination: Path) -> dict[str, Record]:
    """The records of all finished videos, by name; one that cannot be read makes its video count as unfinished."""
    records = dict[str, Record]()
    for path in sorted((destination / RECORDS).glob("*.json")):
        try:
            record = Record(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            continue
        records[record.video] = record
    return records


def clear_drafts(destination: Path) -> None:
    """Remove what an interrupted import has left unfinished."""
    for modality in MODALITIES:
        _remove(tuple(destination.glob(f"{modality}/*/.*.part")))
    for path in (*destination.glob(".*.part"), *(destination / RECORDS).glob(".*.part")):
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8", newline="")
    os.replace(draft, path)


def flow_frames(rgb: int, *, dilation: int) -> int:
    """Number of flow frames of a video with that many RGB frames: frame k leads from 2 k to 2 k + dilation."""
    return max(0, (rgb - dilation) // STRIDE)


def _folders(order: Order) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Where a video's RGB and flow grow, and where they end up."""
    parents = [order.destination / modality / order.domain for modality in MODALITIES]
    return tuple(p / f".{order.video}.part" for p in parents), tuple(p / order.video for p in parents)


def _remove(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


def _write_frames(order: Order, rate: Fraction, drafts: tuple[Path, ...]) -> tuple[int, int]:
    """Write the RGB and flow frames of a video and return how many there are of each."""
    rgb, flow = drafts
    for folder in (rgb, flow / "u", flow / "v"):
        folder.mkdir(parents=True)
    number, made, settings = 0, 0, order.settings
    recent: deque[Picture] = deque(maxlen=settings.dilation + 1)
    for number, picture in enumerate(sample_video(order.path, rate, height=settings.height), start=1):
        _write_jpeg(rgb, number, picture, settings.quality)
        recent.append(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype("uint8", copy=False))
        if flow_frames(number, dilation=settings.dilation) > made:
            made += 1
            for channel, codes in zip("uv", _flow_codes(recent, settings), strict=True):
                _write_jpeg(flow / channel, made, codes, settings.quality)
    return number, made


def _flow_codes(recent: deque[Picture], settings: Settings) -> Iterator[Picture]:
    """The two 8-bit pictures `(H, W)`, u and v, of the flow from the oldest to the newest of some grey pictures."""
    codes = quantise_flow(optical_flow(recent[0], recent[-1], algorithm=settings.algorithm), bound=settings.bound)
    yield from (codes[..., channel].copy() for channel in (0, 1))


def _write_jpeg(folder: Path, number: int, picture: Picture, quality: int) -> None:
    grey = picture.ndim == 2
    data: bytes = simplejpeg.encode_jpeg(
        picture[..., None] if grey else picture,
        quality=quality,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "420",
    )
    (folder / f"frame_{number:010d}.jpg").write_bytes(data)
