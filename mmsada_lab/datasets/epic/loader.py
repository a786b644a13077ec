"""The `epic:ROOT` door: a folder of frames and annotations in the manner of EPIC-Kitchens becomes a `MultiDomainData`.

    ROOT/segments.csv, or ROOT/D1_train.pkl, ROOT/D1_test.pkl, ..., or ROOT/EPIC_100_uda_*.csv (or in ROOT/annotations)
    ROOT/rgb/P08/P08_01.tar     or folders of frames, ROOT/rgb/P08/P08_01/frame_0000000001.jpg
    ROOT/flow/P08/P08_01.tar    ROOT/flow/P08/P08_01/{u,v}/frame_0000000001.jpg

The other layouts in which frames are found stand in `layouts.py`. Flow is stored at stride 2: frame n of RGB goes with
frame `int(n / 2)` of flow, as in the released code, unless another index is chosen (`jpeg_reader.FLOW_INDEX`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.datasets.epic.annotations import Annotations, read_annotations
from mmsada_lab.datasets.epic.frame_digest import data_digest
from mmsada_lab.datasets.epic.frame_files import open_tracks
from mmsada_lab.datasets.epic.jpeg_reader import FLOW_INDEX, FrameIndex, JpegReader
from mmsada_lab.datasets.epic.kept_frames import KeptFrames, decoded_bytes
from mmsada_lab.datasets.epic.layouts import Footage, Owner, find_footage
from mmsada_lab.errors import UserError

KEEP_BYTES = 2**30
"""A domain whose frames take no more than this when decoded keeps them in memory (each is decoded once)."""

_KEEP_FRAMES = 50_000
_COUNTED_VIDEOS = 4


def load_epic(
    root: Path | str, *, flow_index: str | None = None, missing: str = "error", evaluate: str = "val"
) -> MultiDomainData:
    """Load annotations and find the frames below a root folder; no frame of a large data set is listed or decoded.

    A domain may come without any frames of a modality (only two of three kitchens downloaded, or no flow): that is
    refused when first read. A domain with *some* of its videos missing is settled here, and not hours into a run.

    Args:
        root: the folder that holds annotations and frames.
        flow_index: which flow frame goes with an RGB frame, a key of `FLOW_INDEX`; by default ``authors``, and for
            raw frames what their numbers say.
        missing: what becomes of a segment whose video lacks a modality: ``error``, or ``drop`` it.
        evaluate: the test part of EPIC-100's adaptation challenge, ``val`` or ``test``.

    Raises:
        UserError: annotations missing or inconsistent, or videos missing.
    """
    # Not resolve(): a link to a folder keeps its own name, which names the data set.
    root = Path(os.path.abspath(Path(root).expanduser()))  # noqa: PTH100
    annotations = read_annotations(root, evaluate=evaluate)
    footage = _find(root, annotations.table)
    chosen = _flow_index(flow_index, footage)
    settled = _settle_missing(annotations.table, footage, drop=missing == "drop")
    readers = _readers(footage, FLOW_INDEX[chosen.name])
    domains = _domains(settled.table, annotations, readers)
    small = all(_fits_in_memory(domain, readers) for domain in domains.values())
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-") or "root"
    return MultiDomainData(
        name=f"epic-{slug}",
        classes=annotations.classes,
        domains={name: _kept(domain, readers) for name, domain in domains.items()} if small else domains,
        digest=data_digest(settled.table, classes=annotations.classes, readers=readers),
        in_memory=small,
        notes=(*chosen.notes, *settled.notes),
    )


def _find(root: Path, table: pd.DataFrame) -> dict[str, Footage]:
    firsts = table.drop_duplicates("video").sort_values("video")
    domains = table.groupby("video")["domain"].unique()
    videos = {
        video: Owner(person, tuple(sorted(domains[video])))
        for video, person in zip(firsts["video"], firsts["participant"], strict=True)
    }
    footage = {modality: find_footage(root, modality, videos) for modality in ("rgb", "flow")}
    if not any(found.places for found in footage.values()):
        first = next(iter(videos))
        raise UserError(f"no video of the annotations has frames. {footage['rgb'].absent[first]}")
    return footage


def _readers(footage: Mapping[str, Footage], flow: FrameIndex) -> dict[str, JpegReader]:
    rgb, uv = footage["rgb"], footage["flow"]
    return {
        "rgb": JpegReader(rgb.places, absent=rgb.absent),
        "flow": JpegReader(uv.places, channels=2, index=flow, mirror_negates=(0,), absent=uv.absent),
    }


# --- which flow frame -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FlowChoice:
    name: str
    notes: tuple[str, ...] = ()


def _flow_index(given: str | None, footage: Mapping[str, Footage]) -> _FlowChoice:
    """The index that was chosen, the authors', or for raw frames the one their numbers speak for."""
    raw = sorted(footage["flow"].shared & footage["rgb"].shared)
    if given is not None or not raw:
        return _FlowChoice(given or "authors")
    counted = raw[:_COUNTED_VIDEOS]
    rgb, flow = (sum(_count(footage[m], video) for video in counted) for m in ("rgb", "flow"))
    what = f"{flow} flow frames (x_) for {rgb} RGB frames (img_) in {len(counted)} of {len(raw)} raw videos"
    name = next(
        (n for n, low, high in (("same", 0.75, 1.25), ("authors", 0.4, 0.6)) if low <= flow / rgb <= high), None
    )
    if name is None or (name == "same" and len(raw) < len(footage["flow"].places)):
        other = "" if name is None else ", but other videos lie in another layout"
        raise UserError(f"found {what}{other}: say which flow frame goes with an RGB frame, flow_index=authors or same")
    meaning = "flow frame n goes with RGB frame n" if name == "same" else "flow frame int(n/2) goes with RGB frame n"
    return _FlowChoice(name, (f"flow_index={name}: {what}, so {meaning}",))


def _count(footage: Footage, video: str) -> int:
    return len(open_tracks(footage.places[video])[0].numbers)


# --- missing frames ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settled:
    table: pd.DataFrame
    notes: tuple[str, ...]


def _settle_missing(table: pd.DataFrame, footage: Mapping[str, Footage], *, drop: bool) -> _Settled:
    """Refuse or drop segments whose video lacks a modality that others of their domain have."""
    notes = []
    dropped = pd.Series(False, index=table.index)
    for modality, found in footage.items():
        lacks = table["video"].isin([*found.absent])
        for domain, rows in table.groupby("domain"):
            part = lacks[rows.index]
            if part.all():
                notes.append(f"domain {domain} has no {modality} frames here and can only be used without them")
            elif part.any() and not drop:
                raise _incomplete(rows, part, found)
            elif part.any():
                notes.append(_dropped(f"domain {domain}", rows, part, modality))
                dropped |= lacks & (table["domain"] == domain)
    return _Settled(table[~dropped].reset_index(drop=True), tuple(notes))


def _incomplete(rows: pd.DataFrame, lacks: pd.Series[bool], found: Footage) -> UserError:
    first = rows[lacks].sort_values("video", kind="stable").iloc[0]
    videos, lacking = rows["video"].nunique(), rows["video"][lacks].nunique()
    return UserError(
        f"domain {first['domain']}: {lacking} of {videos} videos lack {found.modality} frames, such as that of segment "
        f"{first['uid']}: {found.absent[first['video']]}, or leave out these {int(lacks.sum())} segments: missing=drop"
    )


def _dropped(where: str, rows: pd.DataFrame, lacks: pd.Series[bool], modality: str) -> str:
    uids = rows["uid"][lacks].tolist()
    shown = ", ".join(uids[:5]) + (", ..." if len(uids) > 5 else "")
    return f"{where}: dropped {len(uids)} of {len(rows)} segments, whose videos lack {modality} frames: uid {shown}"


# --- segments and domains ---------------------------------------------------------------------------------------


def _domains(table: pd.DataFrame, annotations: Annotations, readers: Mapping[str, JpegReader]) -> dict[str, Domain]:
    """Every domain of the annotations, even one that has lost all segments."""
    labels = {class_id: index for index, class_id in enumerate(annotations.ids)}
    domains = {}
    for name in sorted(annotations.table["domain"].unique()):
        rows = table[table["domain"] == name]
        train, test = (tuple(_segments(rows[rows["split"] == split], labels)) for split in ("train", "test"))
        domains[str(name)] = Domain(name=str(name), readers=readers, train=train, test=test)
    return domains


def _segments(rows: pd.DataFrame, labels: Mapping[int, int]) -> Iterator[Segment]:
    for row in rows.to_dict("records"):
        label = None if pd.isna(row["verb_class"]) else labels[row["verb_class"]]
        yield Segment(
            uid=row["uid"],
            video=row["video"],
            start=row["start"],
            stop=row["stop"],
            label=label,
            further=row["further"],
        )


def _fits_in_memory(domain: Domain, readers: Mapping[str, JpegReader]) -> bool:
    """Whether a domain's frames, decoded, take at most `KEEP_BYTES`; many segments are not even measured."""
    segments = (*domain.train, *domain.test)
    if sum(s.stop - s.start for s in segments) > _KEEP_FRAMES:
        return False
    if any(s.video in reader.absent for reader in readers.values() for s in segments):
        return False
    try:
        return sum(decoded_bytes(r, segments, stride=r.index.stride) for r in readers.values()) <= KEEP_BYTES
    except UserError:  # a damaged frame is whoever reads it's to report; the rest of the set must open
        return False


def _kept(domain: Domain, readers: Mapping[str, JpegReader]) -> Domain:
    kept = {m: KeptFrames(r, stride=r.index.stride, shift=r.index.shift) for m, r in readers.items()}
    return replace(domain, readers=kept)
