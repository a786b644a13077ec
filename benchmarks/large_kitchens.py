"""The embedded kitchens as JPEG frames of the size and weight of EPIC-Kitchens', for benchmarks of reading them.

The exporter writes the kitchens at their own 64 x 36 pixels. Here every picture is enlarged to 456 x 256 and given
grain, because smooth pictures make JPEG files that are decoded too fast: at quality 90, with colour at half the
resolution as in EPIC-Kitchens, an RGB frame has about 25 kB and a flow picture about 7 kB.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import simplejpeg
from measure import progress
from numpy.typing import NDArray

from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.datasets.epic import loader as source
from mmsada_lab.datasets.kitchens.loader import Kitchens
from mmsada_lab.datasets.tables import SEGMENTS_CSV
from mmsada_lab.prepare.export_kitchens import export_kitchens

WIDTH, HEIGHT, QUALITY = 456, 256, 90
DOMAINS = ("D1", "D2")
_GRAIN = {3: 4.0, 1: 1.0}  # standard deviation in grey levels, of RGB and of flow pictures
_GRAINS = 16


def large_kitchens(root: Path, *, videos: int) -> dict[str, Path]:
    """Make the same videos as folders and as tars below a folder, unless they are there already.

    Args:
        root: where ``folder`` and ``tar`` lie, two data sets of the format `epic:` with training segments alone.
        videos: of each of two kitchens, one segment each.
    """
    made = {layout: root / f"{layout}-{videos}" for layout in ("folder", "tar")}
    if not (made["tar"] / SEGMENTS_CSV).is_file():
        with TemporaryDirectory(prefix="mmsada-small-kitchens-") as folder:
            small = export_kitchens(Path(folder) / "kitchens", Kitchens(scale=0.01))
            table = pd.read_csv(small / SEGMENTS_CSV).query("split == 'train'")
            table = table[table["domain"].isin(DOMAINS)].groupby("domain").head(videos)
            _enlarge(small, made["folder"], table)
        _pack(made["folder"], made["tar"])
        for layout in made.values():
            table.to_csv(layout / SEGMENTS_CSV, index=False)
    return made


def _enlarge(small: Path, large: Path, table: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    grains = {c: np.round(rng.normal(0, s, (_GRAINS, HEIGHT, WIDTH, c))).astype(np.int16) for c, s in _GRAIN.items()}
    folders = [f"{m}/{d}/{v}" for m in ("rgb", "flow") for d, v in zip(table["domain"], table["video_id"], strict=True)]
    for folder in progress(folders, "enlarge kitchens"):
        for number, path in enumerate(sorted((small / folder).rglob("*.jpg"))):
            written = large / path.relative_to(small)
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(_enlarged(path.read_bytes(), grains, number))


def _enlarged(data: bytes, grains: dict[int, NDArray[np.int16]], number: int) -> bytes:
    colours = "GRAY" if simplejpeg.decode_jpeg_header(data)[2].upper() == "GRAY" else "RGB"
    picture = cv2.resize(
        simplejpeg.decode_jpeg(data, colorspace=colours), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    ).reshape(HEIGHT, WIDTH, -1)
    grain = grains[picture.shape[2]][number % _GRAINS]
    found: bytes = simplejpeg.encode_jpeg(
        np.clip(picture + grain, 0, 255).astype(np.uint8),
        quality=QUALITY,
        colorspace=colours,
        colorsubsampling="Gray" if colours == "GRAY" else "420",
        fastdct=False,
    )
    return found


def _pack(folders: Path, tars: Path) -> None:
    for video in progress(sorted(folders.glob("*/*/*")), "pack tars"):
        tar = tars / video.relative_to(folders).with_name(f"{video.name}.tar")
        tar.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(video.rglob("*.jpg")):
                archive.add(path, arcname=str(path.relative_to(video)))


@contextmanager
def opened_as_large() -> Iterator[None]:
    """Within the context the format `epic:` keeps no frames in memory, however few there are."""
    kept, source.KEEP_BYTES = source.KEEP_BYTES, 0
    try:
        yield
    finally:
        source.KEEP_BYTES = kept


def open_large(root: Path) -> MultiDomainData:
    """Open a data set of `large_kitchens` as one of a terabyte would be opened."""
    with opened_as_large():
        return source.load_epic(root)
