"""The RGB and flow frames of a video on disk, in the layout of EPIC-Kitchens.

    DST/rgb/D1/VIDEO/frame_0000000001.jpg       DST/flow/D1/VIDEO/{u,v}/frame_0000000001.jpg

Both folders appear when they are complete. A video counts as imported when `DST/imported/VIDEO.json`, which is written
last, is there.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import simplejpeg

from mmsada_lab.clips.segments import Image
from mmsada_lab.datasets.flow import DILATION, STRIDE, optical_flow, quantise_flow, require_algorithm
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_atomic, write_folder
from mmsada_lab.prepare.videos.decoding import UnreadableVideoError, inspect_video, sample_video

RECORDS = "imported"

EPIC_HEIGHT, EPIC_BOUND = 256, 25.0
"""EPIC-Kitchens stores flow up to 25 pixels, of frames 256 pixels high."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How frames are made, as in `import_videos`; the version is that of the layout and the procedure."""

    algorithm: str = "tvl1"
    bound: float = EPIC_BOUND
    dilation: int = DILATION
    height: int = EPIC_HEIGHT
    fps: str = ""
    quality: int = 95
    version: int = 1

    def __post_init__(self) -> None:
        require_algorithm(self.algorithm)
        for name, low, high in (("height", 16, 4096), ("dilation", 1, 100), ("quality", 1, 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise UserError(f"{name} = {value!r}; choose a whole number from {low} to {high}")
        if not 0 < self.bound < 10_000:
            raise UserError(f"flow bound {self.bound!r}; give a positive number of pixels (EPIC-Kitchens: 25)")


@dataclass(frozen=True, slots=True)
class ImportJob:
    """A video to import: its file (`path`; `source` in reports), its names in the data set, the settings."""

    video: str
    domain: str
    source: str
    path: Path
    destination: Path
    settings: Settings

    @property
    def folders(self) -> tuple[Path, Path]:
        """Where its RGB and flow frames belong."""
        rgb, flow = (self.destination / modality / self.domain / self.video for modality in ("rgb", "flow"))
        return rgb, flow


@dataclass(frozen=True, slots=True)
class ImportedVideo:
    """An imported video, as in `imported/VIDEO.json`.

    Attributes:
        source: its file, as reports name it, of `size` bytes and `modified` at so many nanoseconds.
        rgb: number of RGB frames; likewise `flow`.
        fps: frames per second, as a fraction.
        source_height: height of the original frames as shown, pixels.
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

    def matches(self, job: ImportJob) -> bool:
        """Whether the frames are there, and come from the file as it is now, for the same domain and settings."""
        there = job.path.is_file() and all(folder.is_dir() for folder in job.folders)
        if not there or self.domain != job.domain or self.settings != asdict(job.settings):
            return False
        status = job.path.stat()
        return (self.size, self.modified) == (status.st_size, status.st_mtime_ns)


def make_video(job: ImportJob) -> ImportedVideo:
    """Decode a video, compute its flow, write the frames of both and the record.

    Raises:
        UnreadableVideoError: the file cannot be used; nothing is written.
        OSError: the destination cannot be written.
    """
    video, status = inspect_video(job.path), job.path.stat()
    rate = Fraction(job.settings.fps) if job.settings.fps else video.rate
    record_path = job.destination / RECORDS / f"{job.video}.json"
    rgb_folder, flow_folder = job.folders
    with write_folder(rgb_folder, replace=True) as rgb, write_folder(flow_folder, replace=True) as flow:
        counts = _write_frames(job, rate, rgb, flow)
        if counts[1] == 0:
            least = f"flow needs at least {STRIDE + job.settings.dilation}"
            raise UnreadableVideoError(f"it has {counts[0]} frames at {float(rate):g} a second; {least}")
        record_path.unlink(missing_ok=True)  # it must not vouch for a mixture of old and new frames
    names = (job.video, job.domain, job.source, status.st_size, status.st_mtime_ns)
    record = ImportedVideo(*names, *counts, str(rate), video.height, asdict(job.settings))
    write_atomic(record_path, lambda file: file.write(f"{json.dumps(asdict(record), indent=1)}\n".encode()))
    return record


def read_records(destination: Path) -> dict[str, ImportedVideo]:
    """The records of all imported videos, by name; a video whose record cannot be read counts as not imported."""
    records = dict[str, ImportedVideo]()
    for path in sorted((destination / RECORDS).glob("*.json")):
        try:
            record = ImportedVideo(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            continue
        records[record.video] = record
    return records


def _write_frames(job: ImportJob, rate: Fraction, rgb: Path, flow: Path) -> tuple[int, int]:
    """Write the RGB and flow frames of a video and return how many there are of each."""
    settings, number, flow_number = job.settings, 0, 0
    (flow / "u").mkdir()
    (flow / "v").mkdir()
    recent: deque[Image] = deque(maxlen=settings.dilation + 1)
    for number, image in enumerate(sample_video(job.path, rate, height=settings.height), start=1):
        _write_jpeg(rgb, number, image, settings.quality)
        recent.append(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype("uint8", copy=False))
        # flow frame k leads from RGB frame 2 k to 2 k + dilation
        if number == STRIDE * (flow_number + 1) + settings.dilation:
            flow_number += 1
            pixels = optical_flow(recent[0], recent[-1], algorithm=settings.algorithm)
            codes = quantise_flow(pixels, bound=settings.bound)  # (H, W, 2)
            for channel, folder in enumerate((flow / "u", flow / "v")):
                _write_jpeg(folder, flow_number, codes[..., channel].copy(), settings.quality)
    return number, flow_number


def _write_jpeg(folder: Path, number: int, image: Image, quality: int) -> None:
    grey = image.ndim == 2
    coded: bytes = simplejpeg.encode_jpeg(
        image[..., None] if grey else image,
        quality=quality,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "420",
    )
    (folder / f"frame_{number:010d}.jpg").write_bytes(coded)
