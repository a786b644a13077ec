"""The embedded kitchens written as a tree of EPIC-Kitchens, so that the path of real data can be walked without any.

    DESTINATION/kitchens.json                      which kitchens these are, and how they were written
    DESTINATION/rgb/D1/D1_train_0000/frame_0000000001.jpg       or rgb/D1/D1_train_0000.tar
    DESTINATION/flow/D1/D1_train_0000/{u,v}/frame_0000000001.jpg   flow/D1/D1_train_0000.tar
    DESTINATION/D1_train.pkl, D1_test.pkl, ...     the authors' columns
    DESTINATION/segments.csv                       the same in one table, written last

The domain stands in the participant's place. RGB frame n is file n, flow file k stands at RGB frame 2k. The same
kitchens give the same bytes wherever the same versions of the packages write them.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simplejpeg
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mmsada_lab.clips.segments import Frames, MultiDomainData, Reader, Segment
from mmsada_lab.datasets.flow import STRIDE
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens
from mmsada_lab.datasets.tables import SEGMENTS_CSV, SPLITS
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_whole

MARK = "kitchens.json"
"""What tells an export, finished or not, from a folder of somebody else's."""

FRAME_RATE = 60
"""Frames a second by which time stamps are written, as in EPIC-Kitchens."""

_STRIDES = {"rgb": 1, "flow": STRIDE}
_PICKLE_PROTOCOL = 4


def export_kitchens(
    destination: Path,
    kitchens: Kitchens | None = None,
    *,
    tar: bool = False,
    quality: int = 95,
    cache_dir: Path | None = None,
) -> Path:
    """Write the kitchens as JPEG frames and annotations in the layout of EPIC-Kitchens.

    An interrupted export goes on where it stopped: videos that are there are passed over. RGB is stored without
    subsampling of colour (4:4:4), which pictures this small would not survive; flow as two grey pictures.

    Args:
        destination: a folder that does not exist, is empty, or holds the same export.
        kitchens: the knobs; the calibrated defaults if None.
        tar: one tar per video and modality in place of a folder of frames.
        quality: of the JPEG files, 1 to 100.
        cache_dir: of the kitchens themselves, as for `load_kitchens`.

    Returns:
        The destination, to be opened as ``epic:DESTINATION``.

    Raises:
        UserError: the destination holds something else or cannot be written, or the quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise UserError(f"quality = {quality!r}; choose 1 (coarse) to 100 (fine); 95 is the default")
    kitchens = kitchens or Kitchens()
    destination = Path(destination).expanduser()
    try:
        _claim(destination, {**asdict(kitchens), "digest": kitchens.digest, "tar": tar, "quality": quality})
        data = load_kitchens(kitchens, cache_dir=cache_dir)
        _write_videos(destination, data, tar=tar, quality=quality)
        _write_annotations(destination, data)
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or destination}: {error.strerror}; see space and rights"
        ) from error
    return destination


def _claim(destination: Path, facts: dict[str, Any]) -> None:
    """Make the folder ours, or refuse one that holds anything but an export of the same facts."""
    if destination.exists() and not destination.is_dir():
        raise UserError(f"{destination} is a file; give a folder")
    destination.mkdir(parents=True, exist_ok=True)
    mark, text = destination / MARK, f"{json.dumps(facts, indent=1)}\n"
    if mark.is_file():
        found = mark.read_text(errors="replace")
        if found != text:
            raise UserError(
                f"{destination} holds another export ({_difference(found, facts)}); give another folder, or remove it"
            )
        return
    others = sorted(path.name for path in destination.iterdir())
    if others:
        raise UserError(f"{destination} holds {', '.join(others[:3])} and no {MARK}; give a new or an empty folder")
    write_whole(mark, text.encode())


def _difference(mark: str, facts: dict[str, Any]) -> str:
    """How the export that a mark describes differs from one of these facts."""
    try:
        found = dict(json.loads(mark))
    except (TypeError, ValueError):
        return f"its {MARK} cannot be read"
    changed = [name for name, value in facts.items() if found.get(name) != value]
    # the digest follows from the knobs, unless another version of the generator made the kitchens
    shown = [name for name in changed if name != "digest"] or changed
    return "; ".join(f'"{name}": {json.dumps(found.get(name))}, now {json.dumps(facts[name])}' for name in shown)


def _write_videos(destination: Path, data: MultiDomainData, *, tar: bool, quality: int) -> None:
    videos = [(domain, segment) for domain in data.domains.values() for segment in domain.train + domain.test]
    for domain, segment in tqdm(videos, desc="Writing kitchens", unit="video"):
        for modality, reader in domain.readers.items():
            path = destination / modality / domain.name / (f"{segment.video}.tar" if tar else segment.video)
            if not path.exists():
                files = _frame_files(reader, segment, stride=_STRIDES[modality], quality=quality)
                (_write_tar if tar else _write_folder)(path, files)


def _frame_files(reader: Reader, segment: Segment, *, stride: int, quality: int) -> Iterator[tuple[str, bytes]]:
    """File names and JPEG bytes of a whole video."""
    first, last = reader.extent(segment)
    numbers = np.arange(first // stride, last // stride + 1, dtype=np.int64)
    pictures: Frames = reader.read(segment, numbers * stride)
    tracks = {"": pictures} if reader.channels == 3 else {"u/": pictures[..., :1], "v/": pictures[..., 1:]}
    for prefix, track in tracks.items():
        for number, picture in zip(numbers, track, strict=True):
            yield f"{prefix}frame_{number:010d}.jpg", _jpeg(picture, quality)


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    space = "RGB" if picture.shape[2] == 3 else "GRAY"
    made: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=quality, colorspace=space, colorsubsampling="444", fastdct=False
    )
    return made


def _draft(path: Path) -> Path:
    """Where a video is written until it is whole; what an interrupted export left there is removed."""
    draft = path.with_name(f".{path.name}.part")
    draft.parent.mkdir(parents=True, exist_ok=True)
    if draft.is_dir():
        shutil.rmtree(draft)
    return draft


def _write_folder(path: Path, files: Iterator[tuple[str, bytes]]) -> None:
    draft = _draft(path)
    for name, content in files:
        file = draft / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    os.replace(draft, path)


def _write_tar(path: Path, files: Iterator[tuple[str, bytes]]) -> None:
    draft = _draft(path)
    with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)  # time 0 and no owner: the same bytes whenever it is written
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    os.replace(draft, path)


def _write_annotations(destination: Path, data: MultiDomainData) -> None:
    tables = []
    for domain in data.domains.values():
        for split, segments in zip(SPLITS, (domain.train, domain.test), strict=True):
            table = _table(domain.name, segments, data.classes)
            write_whole(destination / f"{domain.name}_{split}.pkl", _pickled(table))
            tables.append(table.assign(domain=domain.name, split=split))
    text = pd.concat(tables, ignore_index=True).to_csv(index=False, lineterminator="\n")
    write_whole(destination / SEGMENTS_CSV, text.encode())


def _table(domain: str, segments: tuple[Segment, ...], classes: tuple[str, ...]) -> pd.DataFrame:
    labels = [segment.label for segment in segments if segment.label is not None]
    verbs = [classes[label] for label in labels]
    return pd.DataFrame(
        {
            "uid": [s.uid for s in segments],
            "participant_id": [domain] * len(segments),
            "video_id": [s.video for s in segments],
            "narration": verbs,
            "start_timestamp": [timestamp(s.start) for s in segments],
            "stop_timestamp": [timestamp(s.stop) for s in segments],
            "start_frame": [s.start for s in segments],
            "stop_frame": [s.stop for s in segments],
            "verb": verbs,
            "verb_class": labels,
        }
    )


def _pickled(table: pd.DataFrame) -> bytes:
    """A pickle of plain columns: text as objects, as older versions of pandas have it."""
    plain = table.astype({name: object for name in table.columns if table[name].dtype.kind not in "iuf"})
    plain.columns = pd.Index(list(table.columns), dtype=object)
    return pickle.dumps(plain, protocol=_PICKLE_PROTOCOL)


def timestamp(frame: int) -> str:
    """The time of a frame as EPIC-Kitchens writes it, ``HH:MM:SS.ss``: the first hundredth that falls in the frame.

    Multiplied by 60 and rounded down, it gives the frame again, which is how EPIC-Kitchens numbers frames.
    """
    hundredths = -(-frame * 100 // FRAME_RATE)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 100:02d}.{rest % 100:02d}"
