"""The layouts in which frames of EPIC-Kitchens and its like lie on disk, and the search for a video in them.

A layout is a template of a path: ``[...]`` may be absent, ``{a,b}`` is either, ``<word>`` stands for a name. The
search expands the template and an error shows it, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from mmsada_lab.datasets.epic.frame_files import FrameLocation, FramePattern, has_frames, open_tracks
from mmsada_lab.datasets.epic.tar_index import index_tar
from mmsada_lab.errors import UserError
from mmsada_lab.paper import KITCHENS


@dataclass(frozen=True, slots=True)
class FrameModality:
    """How a modality lies on disk as JPEG frames: 3 channels of one track of colours, or 1 of each grey track.

    Tracks are names of its files in the layouts of EPIC-Kitchens, `raw_tracks` those in the layout ``rawframes``.
    Channels in `mirror_negates` change sign when the image is mirrored. Frames are numbered as those of RGB or
    (`at_flow_index`) flow.
    """

    channels: int
    tracks: tuple[FramePattern, ...]
    raw_tracks: tuple[FramePattern, ...]
    mirror_negates: tuple[int, ...] = ()
    at_flow_index: bool = False


MODALITIES = {
    "rgb": FrameModality(3, tracks=(FramePattern("", "frame_"),), raw_tracks=(FramePattern("", "img_"),)),
    "flow": FrameModality(
        2,
        tracks=(FramePattern("u", "frame_"), FramePattern("v", "frame_")),
        raw_tracks=(FramePattern("", "x_"), FramePattern("", "y_")),
        mirror_negates=(0,),
        at_flow_index=True,
    ),
}
"""What is looked for below the root, by name; another modality in frames is one more entry."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out frames: the path of a video's folder below the root; a tar has the same with ``.tar``.

    Where it is raw, all modalities of a video share one folder or tar, under the names of `raw_tracks`.
    """

    name: str
    template: str
    raw: bool = False

    def patterns(self, modality: str) -> tuple[FramePattern, ...]:
        """Names of a modality's files, a pattern for each track."""
        return MODALITIES[modality].raw_tracks if self.raw else MODALITIES[modality].tracks


LAYOUTS = (
    Layout("authors", "<modality>/[<person>/]<video>"),
    Layout("download script", "[EPIC_KITCHENS_2018/]frames_rgb_flow/<modality>/[{train,test}/][<group>/]<video>"),
    Layout("EPIC release", "[EPIC-KITCHENS/]<person>/<modality>_frames/<video>"),
    Layout("rawframes", "[rawframes/][<person>/]<video>", raw=True),
)
"""Tried in this order; in each, a folder before a tar."""

_GROUP = re.compile(r"\[([^][{}]*)\]|\{([^][{}]*)\}")


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom a video belongs, its participant and its domains: names that may stand in its path."""

    person: str
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Footage:
    """The videos of one modality: where each lies, or (`absent`) was looked for, as an error says it.

    `raw` are those in a raw layout.
    """

    locations: Mapping[str, FrameLocation]
    absent: Mapping[str, str]
    raw: frozenset[str]


def find_footage(root: Path, modality: str, videos: Mapping[str, Owner]) -> Footage:
    """Look for every video in every layout; a folder counts if it has at least one frame of each track."""
    is_folder = cache(Path.is_dir)  # most candidates have no parent: ask once for each
    locations: dict[str, FrameLocation] = {}
    raw = set()
    for video, owner in videos.items():
        for layout in LAYOUTS:
            location = _find(root, layout, _names(modality, video, owner), is_folder)
            if location is not None:
                locations[video] = location
                raw |= {video} if layout.raw else set()
                break
    absent = {v: _explain_absence(root, _names(modality, v, o)) for v, o in videos.items() if v not in locations}
    return Footage(locations, absent, frozenset(raw))


@lru_cache(maxsize=1024)
def expand(template: str) -> tuple[str, ...]:
    """Every path a template stands for, the fullest first: ``[a/]b`` is ``a/b`` and ``b``."""
    group = _GROUP.search(template)
    if group is None:
        return (template,)
    optional, either = group.groups()
    choices: Sequence[str] = [optional, ""] if either is None else either.split(",")
    expanded = (expand(template[: group.start()] + choice + template[group.end() :]) for choice in choices)
    return tuple(dict.fromkeys(path for paths in expanded for path in paths))


def _names(modality: str, video: str, owner: Owner) -> dict[str, str]:
    groups = dict.fromkeys((owner.person, *owner.domains, *KITCHENS))
    return {"modality": modality, "video": video, "person": owner.person, "group": f"{{{','.join(groups)}}}"}


def _fill(template: str, names: Mapping[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda word: names[word[1]], template)


def _find(
    root: Path, layout: Layout, names: Mapping[str, str], is_folder: Callable[[Path], bool]
) -> FrameLocation | None:
    patterns = layout.patterns(names["modality"])
    filled = [_fill(template, names) for template in expand(layout.template)]
    for candidate in (path for template in filled for path in expand(template)):
        path = root / candidate
        if not is_folder(path.parent):
            continue
        tar = path.with_name(f"{path.name}.tar")  # not with_suffix: a video name may hold a dot
        for location in (FrameLocation(path, patterns), FrameLocation(tar, patterns, tar=True)):
            if has_frames(location) and not (location.tar and layout.raw and not _has_tracks(location)):
                return location
    return None


def _has_tracks(tar: FrameLocation) -> bool:
    """Whether a tar that modalities share has this one. A damaged tar, or one of odd names, is a `UserError`."""
    refused = index_tar(tar.path).refused
    try:
        return bool(open_tracks(tar))
    except UserError:
        if refused:
            raise
        return False


def _explain_absence(root: Path, names: Mapping[str, str]) -> str:
    paths = [
        f"{_fill(layout.template, names)} with {' and '.join(map(str, layout.patterns(names['modality'])))}"
        for layout in LAYOUTS
    ]
    return (
        f"video {names['video']!r} has no {names['modality']} frames. Looked in {root} for a folder or a tar (.tar) at "
        f"{'; '.join(paths)}. Put it at one of these places"
    )
