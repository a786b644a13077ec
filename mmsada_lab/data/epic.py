"""The `epic:ROOT` door: a folder in the layout of EPIC-Kitchens becomes a `DataSource`.

    ROOT/segments.csv, or ROOT/D1_train.pkl, ROOT/D1_test.pkl, ... (or in ROOT/annotations)
    ROOT/rgb/P08/P08_01.tar     or folders of frames, ROOT/rgb/P08/P08_01/frame_0000000001.jpg
    ROOT/flow/P08/P08_01.tar    ROOT/flow/P08/P08_01/{u,v}/frame_0000000001.jpg

Flow is stored at stride 2: frame n of RGB goes with frame `int(n / 2)` of flow, as in the released code.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pandas as pd

from mmsada_lab.data.annotations import read_annotations
from mmsada_lab.data.frame_files import JpegReader, has_frames, inventory, missing_video
from mmsada_lab.data.kept_frames import KeptFrames, decoded_bytes
from mmsada_lab.data.segments import DataSource, Domain, Segment
from mmsada_lab.errors import UserError
from mmsada_lab.paper import VERBS

KEEP_BYTES = 2**30
"""A domain whose frames take no more than this when decoded keeps them in memory (each is decoded once)."""

_KEEP_FRAMES = 50_000


def load_epic(root: Path) -> DataSource:
    """Load annotations and find the frames below a root folder; no frame is decoded.

    A domain may come without any frames (only two of three kitchens downloaded): it is refused when first read.
    A domain with *some* of its videos missing is refused here, and not hours into a run.

    Raises:
        UserError: annotations missing or inconsistent, or videos missing.
    """
    # Not resolve(): a link to a folder keeps its own name, which names the data set.
    root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100
    table = read_annotations(root)
    readers = _readers(root, table)
    _check_videos(table, readers)
    ids, names = _classes(table)
    labels = {class_id: index for index, class_id in enumerate(ids)}
    domains = {str(name): _domain(str(name), rows, readers, labels) for name, rows in table.groupby("domain")}
    small = all(_fits_in_memory(domain, readers) for domain in domains.values())
    if small:
        domains = {name: _kept(domain, readers) for name, domain in domains.items()}
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-") or "root"
    digest = _digest(table, names, readers)
    return DataSource(name=f"epic-{slug}", classes=names, domains=domains, digest=digest, in_memory=small)


def _readers(root: Path, table: pd.DataFrame) -> dict[str, JpegReader]:
    videos = {video: f"{person}/{video}" for video, person in zip(table.video, table.participant, strict=True)}
    flow = JpegReader(root / "flow", videos, tracks=("u", "v"), stride=2, mirror_negates=(0,))
    return {"rgb": JpegReader(root / "rgb", videos), "flow": flow}


def _domain(name: str, rows: pd.DataFrame, readers: Mapping[str, JpegReader], labels: Mapping[int, int]) -> Domain:
    splits = {split: tuple(_segments(part, labels)) for split, part in rows.groupby("split")}
    return Domain(name=name, readers=readers, train=splits["train"], test=splits["test"])


def _fits_in_memory(domain: Domain, readers: Mapping[str, JpegReader]) -> bool:
    """Whether a domain's frames, decoded, take at most `KEEP_BYTES`; many segments are not even measured."""
    segments = (*domain.train, *domain.test)
    if sum(s.stop - s.start for s in segments) > _KEEP_FRAMES or not _has_all_frames(segments, readers):
        return False
    return sum(decoded_bytes(r, segments, stride=r.stride) for r in readers.values()) <= KEEP_BYTES


def _has_all_frames(segments: Sequence[Segment], readers: Mapping[str, JpegReader]) -> bool:
    return all(has_frames(r.root / r.videos[s.video]) for r in readers.values() for s in segments)


def _kept(domain: Domain, readers: Mapping[str, JpegReader]) -> Domain:
    return replace(domain, readers={m: KeptFrames(reader, stride=reader.stride) for m, reader in readers.items()})


def _segments(rows: pd.DataFrame, labels: Mapping[int, int]) -> Iterator[Segment]:
    for row in rows.to_dict("records"):
        label = None if pd.isna(row["verb_class"]) else labels[row["verb_class"]]
        yield Segment(uid=row["uid"], video=row["video"], start=row["start"], stop=row["stop"], label=label)


def _classes(table: pd.DataFrame) -> tuple[list[int], tuple[str, ...]]:
    """Class ids in increasing order, over all domains, and a name for each: its most frequent verb.

    The authors' pickles keep the narrator's own verb ("pick-up", "get"): where classes 0 to 7 have several verbs
    each and the canonical one among them, the canonical names are used.
    """
    labelled = table[table.verb_class.notna()]
    ids = sorted(int(class_id) for class_id in labelled.verb_class.unique())
    named = labelled[labelled.verb != ""]
    counts = {class_id: named.verb[named.verb_class == class_id].value_counts() for class_id in ids}
    epic = ids == list(range(len(VERBS))) and all(VERBS[c] in counts[c].index for c in ids)
    if epic and any(len(verbs) > 1 for verbs in counts.values()):
        return ids, VERBS
    names = [_commonest(counts[c], fallback=f"class {c}") for c in ids]
    return ids, tuple(n if names.count(n) == 1 else f"{n} ({c})" for c, n in zip(ids, names, strict=True))


def _commonest(counts: pd.Series[int], *, fallback: str) -> str:
    """The most frequent verb; of equally frequent ones the first in the alphabet."""
    return min(((-count, str(verb)) for verb, count in counts.items()), default=(0, fallback))[1]


def _check_videos(table: pd.DataFrame, readers: Mapping[str, JpegReader]) -> None:
    """Refuse a root without frames, and a domain that has only part of its videos."""
    found_any = False
    for reader in readers.values():
        for domain, videos in table.groupby("domain").video:
            names = sorted(videos.unique())
            missing = [n for n in names if not has_frames(reader.root / reader.videos[n])]
            found_any |= len(missing) < len(names)
            if missing and len(missing) < len(names):
                path = reader.root / reader.videos[missing[0]]
                raise UserError(
                    f"domain {domain}: {len(missing)} of {len(names)} videos lack {reader.root.name} frames. "
                    f"{missing_video(missing[0], path)}"
                )
    if not found_any:
        path = readers["rgb"].root / readers["rgb"].videos[table.video[0]]
        raise UserError(f"no video of the annotations has frames. {missing_video(table.video[0], path)}")


def _digest(table: pd.DataFrame, classes: tuple[str, ...], readers: Mapping[str, JpegReader]) -> str:
    """SHA-256 over the canonical segment table and the names and sizes of the frame files; no content is read."""
    shown = table.drop(columns="verb")  # it counts only through the class names
    found = hashlib.sha256("\t".join(classes).encode())
    found.update(shown.to_csv(index=False, lineterminator="\n").encode())
    for line in chain.from_iterable(_frame_lines(reader) for reader in readers.values()):
        found.update(f"{line}\n".encode())
    return found.hexdigest()


def _frame_lines(reader: JpegReader) -> Iterator[str]:
    for name in sorted(reader.videos):
        path = reader.root / reader.videos[name]
        yield f"{reader.root.name}/{reader.videos[name]}"
        yield from inventory(path, reader.tracks)
