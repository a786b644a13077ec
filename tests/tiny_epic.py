"""A tiny data set in the manner of EPIC-Kitchens, written as files: what the tests of the format `epic:` look at."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simplejpeg

from mmsada_lab.clips.segments import MultiDomainData, Reader
from mmsada_lab.datasets.epic.jpeg_reader import JpegReader
from mmsada_lab.datasets.epic.kept_frames import KeptFrames

RGB_FRAMES, FLOW_FRAMES = 40, 20
FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
AUTHORS = ["uid", "participant_id", "video_id", "narration", "start_timestamp", "stop_timestamp"]
AUTHORS += ["start_frame", "stop_frame", "verb", "verb_class"]


def colour(number: int, *, shift: int = 0) -> tuple[int, int, int]:
    """The flat colour of RGB frame `number`: tells frames, and red from blue, apart."""
    return (5 * number + shift, 128, 240 - 5 * number)


def picture(*levels: int, height: int = 24, width: int = 32) -> bytes:
    pixels = np.broadcast_to(np.array(levels, dtype=np.uint8), (height, width, len(levels)))
    space = "GRAY" if len(levels) == 1 else "RGB"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=98, colorspace=space, colorsubsampling="444")


def video_files(*, shift: int = 0) -> dict[str, dict[str, bytes]]:
    rgb = {f"frame_{n:010d}.jpg": picture(*colour(n, shift=shift)) for n in range(1, RGB_FRAMES + 1)}
    flow = {
        f"{c}/frame_{n:010d}.jpg": picture(n * (8 + k)) for n in range(1, FLOW_FRAMES + 1) for k, c in enumerate("uv")
    }
    return {"rgb": rgb, "flow": flow}


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def write_tar(path: Path, files: dict[str, bytes], *, form: int = tarfile.USTAR_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1.5
            archive.addfile(member, io.BytesIO(data))


def table() -> pd.DataFrame:
    """Two domains, one participant and two videos each; three classes with ids 2, 4 and 9."""
    rows = []
    for domain, person in (("X", "P01"), ("Y", "P02")):
        for index in range(8):
            video, verb = f"{person}_{index // 4:02d}", (2, 4, 9, 4)[index % 4]
            name = {2: "open", 4: "wash", 9: "fold"}[verb]
            split = "train" if index < 4 else "test"
            rows.append((len(rows), person, video, name, 1 + index, 36, name, verb, domain, split))
    columns = ["uid", "participant_id", "video_id", "narration", "start_frame", "stop_frame", "verb", "verb_class"]
    return pd.DataFrame(rows, columns=[*columns, "domain", "split"])


def write_pickles(frame: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for (domain, split), rows in frame.groupby(["domain", "split"]):
        plain = rows.drop(columns=["domain", "split"]).assign(
            start_timestamp="00:00:00.00", stop_timestamp="00:00:01.00"
        )
        text = {name: object for name in plain.columns if plain[name].dtype != "int64"}
        plain = plain.astype(text)[AUTHORS]
        plain.columns = pd.Index(AUTHORS, dtype=object)  # as every pandas before 3 would write it
        plain.to_pickle(folder / f"{domain}_{split}.pkl", protocol=4)


def write_root(root: Path, *, tars: bool = False, annotations: pd.DataFrame | None = None) -> Path:
    frame = table() if annotations is None else annotations
    root.mkdir(parents=True, exist_ok=True)
    frame.to_csv(root / "segments.csv", index=False)
    for shift, (person, video) in enumerate(sorted({*zip(frame.participant_id, frame.video_id, strict=True)})):
        for modality, files in video_files(shift=shift).items():
            path = root / modality / person / video
            write_tar(path.with_name(f"{video}.tar"), files) if tars else write_folder(path, files)
    return root


def edited(column: str, value: object, *, rows: list[int]) -> pd.DataFrame:
    """The table with one value in some rows of a column."""
    frame = table().astype({column: object})
    frame.loc[rows, column] = value
    return frame


def add_to_tar(tar: Path, name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"") -> None:
    """Append a member of any kind."""
    with tarfile.open(tar, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, len(data)
        archive.addfile(member, io.BytesIO(data))


def read(data: MultiDomainData, modality: str, frames: list[int], *, domain: str = "X") -> np.ndarray[Any, Any]:
    """Frames of a domain's first training segment."""
    where = data.domain(domain)
    return where.readers[modality].read(where.train[0], np.array(frames, dtype=np.int64))


def from_files(reader: Reader) -> JpegReader:
    """What decodes behind a reader that keeps the frames of a small data set."""
    assert isinstance(reader, KeptFrames)
    assert isinstance(reader.reader, JpegReader)
    return reader.reader


def unpack(tar: Path, folder: Path) -> None:
    """Files of a tar, in a folder (`extractall` has a filter since Python 3.11.4 only)."""
    with tarfile.open(tar) as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
