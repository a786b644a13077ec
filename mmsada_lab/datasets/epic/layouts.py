"""The layouts in which frames of EPIC-Kitchens and its like lie on disk, and the search for a video in them.

A layout is a template of a path: ``[...]`` may be absent, ``{a,b}`` is either, ``<word>`` stands for a name. The
search expands it, and an error shows it, so that what is looked for and what is said cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from mmsada_lab.datasets.epic.frame_files import Place, Series, has_frames, open_tracks
from mmsada_lab.datasets.epic.tar_index import index_tar
from mmsada_lab.errors import UserError
from mmsada_lab.paper import KITCHENS

_FRAMES = {"rgb": (Series("", "frame_"),), "flow": (Series("u", "frame_"), Series("v", "frame_"))}
_RAW = {"rgb": (Series("", "img_"),), "flow": (Series("", "x_"), Series("", "y_"))}
_GROUP = re.compile(r"\[([^][{}]*)\]|\{([^][{}]*)\}")


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out frames: where a video stands below the root, and what its files are called.

    Attributes:
        name: whose it is.
        template: path of a video's folder; a tar has the same with ``.tar``.
        series: modality -> its tracks.
        shared: whether all modalities of a video share one folder or tar.
    """

    name: str
    template: str
    series: Mapping[str, tuple[Series, ...]]
    shared: bool = False


LAYOUTS = (
    Layout("authors", "<modality>/[<person>/]<video>", _FRAMES),
    Layout(
        "download script", "[EPIC_KITCHENS_2018/]frames_rgb_flow/<modality>/[{train,test}/][<group>/]<video>", _FRAMES
    ),
    Layout("EPIC release", "[EPIC-KITCHENS/]<person>/<modality>_frames/<video>", _FRAMES),
    Layout("rawframes", "[rawframes/][<person>/]<video>", _RAW, shared=True),
)
"""Tried in this order; in each, a folder before a tar."""


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom a video belongs: names that may stand in its path.

    Attributes:
        person: its participant.
        domains: the domains that have segments of it.
    """

    person: str
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Footage:
    """What was found of one modality.

    Attributes:
        modality: its name.
        places: video -> where its frames lie.
        absent: video -> what to say of one that was found nowhere.
        shared: videos that were found in a folder they share with the other modalities.
    """

    modality: str
    places: Mapping[str, Place]
    absent: Mapping[str, str]
    shared: frozenset[str]


def find_footage(root: Path, modality: str, videos: Mapping[str, Owner]) -> Footage:
    """Look for every video in every layout; a folder counts if it has at least one frame of each track.

    Args:
        root: the folder that holds the frames.
        modality: ``rgb`` or ``flow``.
        videos: the videos to look for.
    """
    is_folder = cache(Path.is_dir)  # most candidates have no parent: ask once for each
    places: dict[str, Place] = {}
    shared = set()
    for video, owner in videos.items():
        for layout in LAYOUTS:
            place = _find(root, layout, _names(modality, video, owner), is_folder)
            if place is not None:
                places[video] = place
                shared |= {video} if layout.shared else set()
                break
    absent = {v: _absent(root, _names(modality, v, owner)) for v, owner in videos.items() if v not in places}
    return Footage(modality, places, absent, frozenset(shared))


@lru_cache(maxsize=1024)
def expand(template: str) -> tuple[str, ...]:
    """Every path a template stands for, the fullest first: ``[a/]b`` is ``a/b`` and ``b``."""
    group = _GROUP.search(template)
    if group is None:
        return (template,)
    optional, either = group.groups()
    choices: Sequence[str] = [optional, ""] if either is None else either.split(",")
    made = (expand(template[: group.start()] + choice + template[group.end() :]) for choice in choices)
    return tuple(dict.fromkeys(path for paths in made for path in paths))


def _names(modality: str, video: str, owner: Owner) -> dict[str, str]:
    groups = dict.fromkeys((owner.person, *owner.domains, *KITCHENS))
    return {"modality": modality, "video": video, "person": owner.person, "group": f"{{{','.join(groups)}}}"}


def _filled(template: str, names: Mapping[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda word: names[word[1]], template)


def _candidates(layout: Layout, names: Mapping[str, str]) -> Iterator[str]:
    for template in expand(layout.template):
        yield from expand(_filled(template, names))


def _find(root: Path, layout: Layout, names: Mapping[str, str], is_folder: Callable[[Path], bool]) -> Place | None:
    series = layout.series[names["modality"]]
    for candidate in _candidates(layout, names):
        path = root / candidate
        if not is_folder(path.parent):
            continue
        # Not with_suffix: a video name may hold a dot.
        for place in (Place(path, series), Place(path.with_name(f"{path.name}.tar"), series, tar=True)):
            if has_frames(place) and not (place.tar and layout.shared and not _holds(place)):
                return place
    return None


def _holds(tar: Place) -> bool:
    """Whether a tar that modalities share has this one. A damaged tar, or one of odd names, is a `UserError`."""
    refused = index_tar(tar.path).refused
    try:
        return bool(open_tracks(tar))
    except UserError:
        if refused:
            raise
        return False


def _absent(root: Path, names: Mapping[str, str]) -> str:
    places = (_shown(layout, names) for layout in LAYOUTS)
    return (
        f"video {names['video']!r} has no {names['modality']} frames. Looked in {root} for a folder or a tar (.tar) at "
        f"{'; '.join(places)}. Put it at one of these places"
    )


def _shown(layout: Layout, names: Mapping[str, str]) -> str:
    files = " and ".join(series.shown for series in layout.series[names["modality"]])
    return f"{_filled(layout.template, names)} with {files}"
