"""The format `epic:ROOT`: a folder of frames and annotations in the manner of EPIC-Kitchens.

    ROOT/segments.csv, or ROOT/D1_train.pkl, ROOT/D1_test.pkl, ..., or ROOT/EPIC_100_uda_*.csv (or in ROOT/annotations)
    ROOT/rgb/P08/P08_01.tar     or folders of frames, ROOT/rgb/P08/P08_01/frame_0000000001.jpg
    ROOT/flow/P08/P08_01.tar    ROOT/flow/P08/P08_01/{u,v}/frame_0000000001.jpg

The other layouts in which frames are found stand in `layouts.py`. Flow is stored at stride 2: frame n of RGB goes with
frame `int(n / 2)` of flow, as in the released code, unless another index is chosen (`jpeg_reader.FLOW_INDEX`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.datasets.epic.annotations import Annotations, read_annotations
from mmsada_lab.datasets.epic.frame_digest import data_digest
from mmsada_lab.datasets.epic.frame_files import open_tracks
from mmsada_lab.datasets.epic.jpeg_reader import FLOW_INDEX, FrameIndex, JpegReader
from mmsada_lab.datasets.epic.kept_frames import KeptFrames, decoded_bytes
from mmsada_lab.datasets.epic.layouts import MODALITIES, Footage, Owner, find_footage
from mmsada_lab.datasets.folders import KEEP_BYTES, Incomplete, leave_out, open_folder, slug
from mmsada_lab.errors import UserError

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
            raw frames the one that fits their numbers.
        missing: what becomes of a segment whose video lacks a modality: ``error``, or ``drop`` it.
        evaluate: the test part of EPIC-100's adaptation challenge, ``val`` or ``test``.

    Raises:
        UserError: annotations missing or inconsistent, or videos missing.
    """
    root = open_folder(root, content="the annotations, rgb/ and flow/")
    annotations = read_annotations(root, evaluate=evaluate)
    footage = _find(root, annotations.table)
    index, index_notes = _choose_flow_index(flow_index, footage)
    incomplete, absence_notes = _find_incomplete(annotations.table, footage)
    uids, drop_notes = leave_out(incomplete, missing=missing)
    table = annotations.table[~annotations.table["uid"].isin(uids)].reset_index(drop=True)
    readers = _readers(footage, FLOW_INDEX[index])
    domains = _domains(table, annotations, readers)
    small = all(_fits_in_memory(domain, readers) for domain in domains.values())
    return MultiDomainData(
        name=f"epic-{slug(root)}",
        classes=annotations.classes,
        domains={name: _keep_frames(domain, readers) for name, domain in domains.items()} if small else domains,
        digest=data_digest(table, classes=annotations.classes, readers=readers),
        in_memory=small,
        notes=(*index_notes, *drop_notes, *absence_notes),
    )


def _find(root: Path, table: pd.DataFrame) -> dict[str, Footage]:
    firsts = table.drop_duplicates("video").sort_values("video")
    domains = table.groupby("video")["domain"].unique()
    videos = {
        video: Owner(person, tuple(sorted(domains[video])))
        for video, person in zip(firsts["video"], firsts["participant"], strict=True)
    }
    footage = {modality: find_footage(root, modality, videos) for modality in MODALITIES}
    if not any(videos_found.locations for videos_found in footage.values()):
        first = next(iter(videos))
        raise UserError(f"no video of the annotations has frames. {footage['rgb'].absent[first]}")
    return footage


def _readers(footage: Mapping[str, Footage], flow: FrameIndex) -> dict[str, JpegReader]:
    return {
        name: JpegReader(
            footage[name].locations,
            channels=modality.channels,
            index=flow if modality.at_flow_index else FrameIndex(),
            mirror_negates=modality.mirror_negates,
            absent=footage[name].absent,
        )
        for name, modality in MODALITIES.items()
    }


def _choose_flow_index(chosen: str | None, footage: Mapping[str, Footage]) -> tuple[str, list[str]]:
    """The index that was chosen, the authors', or for raw frames the one that fits their numbers; and a note."""
    raw = sorted(footage["flow"].raw & footage["rgb"].raw)
    if chosen is not None or not raw:
        return chosen or "authors", []
    counted = raw[:_COUNTED_VIDEOS]
    rgb, flow = (sum(_count_frames(footage[m], video) for video in counted) for m in ("rgb", "flow"))
    counts = f"{flow} flow frames (x_) for {rgb} RGB frames (img_) in {len(counted)} of {len(raw)} raw videos"
    same, half = 0.75 <= flow / rgb <= 1.25, 0.4 <= flow / rgb <= 0.6
    mixed = same and len(raw) < len(footage["flow"].locations)
    if mixed or not (same or half):
        other = ", but other videos lie in another layout" if mixed else ""
        question = "say which flow frame goes with an RGB frame, flow_index=authors or same"
        raise UserError(f"found {counts}{other}: {question}")
    name, number = ("same", "n") if same else ("authors", "int(n/2)")
    return name, [f"flow_index={name}: {counts}, so flow frame {number} goes with RGB frame n"]


def _count_frames(footage: Footage, video: str) -> int:
    return len(open_tracks(footage.locations[video])[0].numbers)


def _find_incomplete(table: pd.DataFrame, footage: Mapping[str, Footage]) -> tuple[list[Incomplete], list[str]]:
    """Segments whose video lacks a modality that others of their domain have; notes on domains that lack one."""
    groups, notes = [], []
    for modality, videos in footage.items():
        lacks = table["video"].isin([*videos.absent])
        for domain, rows in table.groupby("domain"):
            lacking = rows[lacks[rows.index]]
            if len(lacking) == len(rows):
                notes.append(f"domain {domain} has no {modality} frames here and can only be used without them")
            elif len(lacking):
                reason = videos.absent[lacking["video"].iloc[0]]
                groups.append(Incomplete(f"domain {domain}", modality, lacking["uid"].tolist(), len(rows), reason))
    return groups, notes


def _domains(table: pd.DataFrame, annotations: Annotations, readers: Mapping[str, JpegReader]) -> dict[str, Domain]:
    """Every domain of the annotations, even one that has lost all segments."""
    labels = {class_id: index for index, class_id in enumerate(annotations.ids)}
    domains = {}
    for name in map(str, sorted(annotations.table["domain"].unique())):
        rows = table[table["domain"] == name]
        train, test = (tuple(_segments(rows[rows["split"] == split], labels)) for split in ("train", "test"))
        domains[name] = Domain(name=name, readers=readers, train=train, test=test)
    return domains


def _segments(rows: pd.DataFrame, labels: Mapping[int, int]) -> Iterator[Segment]:
    for row in rows.to_dict("records"):
        label = None if pd.isna(row["verb_class"]) else labels[row["verb_class"]]
        yield Segment(row["uid"], row["video"], row["start"], row["stop"], label=label, further=row["further"])


def _fits_in_memory(domain: Domain, readers: Mapping[str, JpegReader]) -> bool:
    """Whether a domain's frames, decoded, take at most `KEEP_BYTES`; many segments are not even measured."""
    segments = (*domain.train, *domain.test)
    if sum(s.stop - s.start for s in segments) > _KEEP_FRAMES:
        return False
    if any(s.video in reader.absent for reader in readers.values() for s in segments):
        return False
    try:
        return sum(decoded_bytes(r, segments, stride=r.index.stride) for r in readers.values()) <= KEEP_BYTES
    except UserError:  # damaged frames are reported when read; the rest of the data must open
        return False


def _keep_frames(domain: Domain, readers: Mapping[str, JpegReader]) -> Domain:
    return replace(domain, readers={modality: KeptFrames(r, r.index) for modality, r in readers.items()})
