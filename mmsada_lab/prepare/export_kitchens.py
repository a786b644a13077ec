"""The embedded kitchens as JPEG frames and annotations in the layout of EPIC-Kitchens: to try `epic:` without its data.

    DESTINATION/kitchens.json                      which kitchens, and how they were written
    DESTINATION/rgb/D1/D1_train_0000/frame_0000000001.jpg       or rgb/D1/D1_train_0000.tar
    DESTINATION/flow/D1/D1_train_0000/{u,v}/frame_0000000001.jpg   flow/D1/D1_train_0000.tar
    DESTINATION/D1_train.pkl, D1_test.pkl, ...     the authors' columns
    DESTINATION/segments.csv                       the same in one table, written last

The participant is the domain. RGB frame n is file n, flow file k belongs to RGB frame 2k. The same kitchens give the
same bytes wherever the same versions of the packages write them.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import simplejpeg
from tqdm.auto import tqdm

from mmsada_lab.clips.segments import Frames, MultiDomainData, Reader, Segment
from mmsada_lab.datasets.flow import STRIDE
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens
from mmsada_lab.datasets.tables import SEGMENTS_CSV, write_segments
from mmsada_lab.errors import UserError
from mmsada_lab.files import remove_drafts, write_atomic, write_folder, write_whole

MARK = "kitchens.json"
"""Marks a folder as an export, finished or not."""

FRAME_RATE = 60
"""Frames a second of the time stamps, as in EPIC-Kitchens."""

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

    An interrupted export continues when it is called again: finished videos are skipped. RGB is stored without
    chroma subsampling (4:4:4), because the images are small; flow as two grey images, u and v.

    Args:
        destination: a folder that does not exist, is empty, or holds the same export.
        kitchens: the knobs; the defaults if None.
        tar: one tar per video and modality in place of a folder of frames.
        quality: of the JPEG files, 1 to 100.
        cache_dir: as for `load_kitchens`.

    Returns:
        The destination; ``epic:DESTINATION`` opens it.

    Raises:
        UserError: the destination holds something else or cannot be written, or the quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise UserError(f"quality = {quality!r}; choose 1 (coarse) to 100 (fine); 95 is the default")
    kitchens = kitchens or Kitchens()
    destination = Path(destination).expanduser()
    try:
        _claim(destination, {**asdict(kitchens), "digest": kitchens.digest, "tar": tar, "quality": quality})
        remove_drafts(destination, depth=2)
        data = load_kitchens(kitchens, cache_dir=cache_dir)
        _write_videos(destination, data, tar=tar, quality=quality)
        _write_annotations(destination, data)
    except OSError as error:
        where = error.filename or destination
        raise UserError(f"cannot write {where}: {error.strerror}; see space and rights") from error
    return destination


def _claim(destination: Path, facts: dict[str, Any]) -> None:
    """Mark a new folder with what is exported, or refuse one that holds anything else."""
    if destination.exists() and not destination.is_dir():
        raise UserError(f"{destination} is a file; give a folder")
    destination.mkdir(parents=True, exist_ok=True)
    mark = destination / MARK
    if mark.is_file():
        if difference := _difference(mark.read_text(errors="replace"), facts):
            raise UserError(f"{destination} holds another export ({difference}); give another folder, or remove it")
    elif files := sorted(path.name for path in destination.iterdir()):
        raise UserError(f"{destination} holds {', '.join(files[:3])} and no {MARK}; give a new or an empty folder")
    else:
        write_whole(mark, f"{json.dumps(facts, indent=1)}\n".encode())


def _difference(mark: str, facts: dict[str, Any]) -> str:
    """How the export that a mark describes differs from this one; empty if it does not."""
    try:
        marked = dict(json.loads(mark))
    except (TypeError, ValueError):
        return f"its {MARK} cannot be read"
    changed = [name for name, value in facts.items() if marked.get(name) != value]
    # the digest follows from the knobs, unless another version of the generator made the kitchens
    shown = [name for name in changed if name != "digest"] or changed
    return "; ".join(f'"{name}": {json.dumps(marked.get(name))}, now {json.dumps(facts[name])}' for name in shown)


def _write_videos(destination: Path, data: MultiDomainData, *, tar: bool, quality: int) -> None:
    videos = [(domain, segment) for domain in data.domains.values() for segment in domain.train + domain.test]
    for domain, segment in tqdm(videos, desc="Writing kitchens", unit="video"):
        for modality, reader in domain.readers.items():
            path = destination / modality / domain.name / (f"{segment.video}.tar" if tar else segment.video)
            if not path.exists():
                frames = _frame_files(reader, segment, stride=_STRIDES[modality], quality=quality)
                (_write_tar if tar else _write_frames)(path, frames)


def _frame_files(reader: Reader, segment: Segment, *, stride: int, quality: int) -> Iterator[tuple[str, bytes]]:
    """File names and JPEG bytes of a whole video."""
    first, last = reader.extent(segment)
    numbers = np.arange(first // stride, last // stride + 1, dtype=np.int64)
    clip: Frames = reader.read(segment, numbers * stride)
    tracks = {"": clip} if reader.channels == 3 else {"u/": clip[..., :1], "v/": clip[..., 1:]}
    coding = {"quality": quality, "colorspace": "RGB" if reader.channels == 3 else "GRAY"}
    for prefix, track in tracks.items():
        for number, frame in zip(numbers, np.ascontiguousarray(track), strict=True):
            coded = simplejpeg.encode_jpeg(frame, colorsubsampling="444", fastdct=False, **coding)
            yield f"{prefix}frame_{number:010d}.jpg", coded


def _write_frames(path: Path, frames: Iterable[tuple[str, bytes]]) -> None:
    with write_folder(path) as draft:
        for name, content in frames:
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_bytes(content)


def _write_tar(path: Path, frames: Iterable[tuple[str, bytes]]) -> None:
    def write(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in frames:
                member = tarfile.TarInfo(name)  # time 0 and no owner: the same bytes whenever it is written
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, write)


def _write_annotations(destination: Path, data: MultiDomainData) -> None:
    tables = []
    for domain in data.domains.values():
        for split, segments in domain.splits.items():
            table = _table(domain.name, segments, data.classes)
            write_whole(destination / f"{domain.name}_{split}.pkl", _pickled(table))
            tables.append(table.assign(domain=domain.name, split=split))
    write_segments(destination / SEGMENTS_CSV, pd.concat(tables, ignore_index=True))


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
    """A pickle of plain columns: text as objects, as in older versions of pandas."""
    plain = table.astype({name: object for name in table.columns if table[name].dtype.kind not in "iuf"})
    plain.columns = pd.Index(list(table.columns), dtype=object)
    return pickle.dumps(plain, protocol=_PICKLE_PROTOCOL)


def timestamp(frame: int) -> str:
    """The time of a frame as EPIC-Kitchens writes it, ``HH:MM:SS.ss``: the first hundredth that falls in the frame.

    Multiplied by 60 and rounded down, it gives the frame again, which is how EPIC-Kitchens numbers frames.
    """
    minutes, rest = divmod(-(-frame * 100 // FRAME_RATE), 6000)  # in hundredths of a second, rounded up
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 100:02d}.{rest % 100:02d}"
