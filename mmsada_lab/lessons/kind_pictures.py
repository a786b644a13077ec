"""The kinds of gap as pictures: one verb in every kitchen, changed in one way at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmsada_lab.analysis.lessons.clip_grid import AnimatedPng, Frames, clip_grid, to_animated_png
from mmsada_lab.datasets.kitchens.kinds import with_kind
from mmsada_lab.datasets.kitchens.loader import DOMAINS, parse_knobs, plan_segments, render
from mmsada_lab.errors import unknown
from mmsada_lab.paper import VERBS
from mmsada_lab.prepare.show.images import as_rgb

SEEN_IN = {"rgb": ("none", "camera", "nuisance", "context", "style"), "flow": ("none", "sway")}
"""Modality -> kinds of gap whose pictures differ in it; those of classes change no picture."""

_FRAME = 6  # of a video: something happens already


def kind_frames(kind: str, modality: str, *, world: int, verb: str, segments: int = 2) -> dict[str, Frames]:
    """One frame of some training segments of a verb, in every kitchen.

    Args:
        kind: a key of `KINDS`.
        modality: rgb or flow, which is shown in colours.
        world: seed of the kitchens.
        verb: one of `VERBS`.
        segments: how many of each kitchen.

    Returns:
        Caption (kitchen and number) -> `(1, 36, 64, 3)`, 8 bits.

    Raises:
        UserError: no such kind, modality or verb.

    Example:
        >>> list(kind_frames("camera", "rgb", world=100, verb="take", segments=1))
        ['D1, 1', 'D2, 1', 'D3, 1']
    """
    for word, value, known in (("modality", modality, SEEN_IN), ("verb", verb, VERBS)):
        if value not in known:
            raise unknown(word, value, known)
    kitchens = parse_knobs(with_kind(f"kitchens:seed={world}", kind).removeprefix("kitchens:"))
    plan, is_flow = plan_segments(kitchens), modality == "flow"
    frames = {}
    for number, kitchen in enumerate(DOMAINS):
        of_verb = [p for p in plan if (p.domain, p.label) == (number, VERBS.index(verb))][:segments]
        for k, planned in enumerate(of_verb, start=1):
            clip = render(kitchens, planned)[is_flow]
            frames[f"{kitchen}, {k}"] = as_rgb(clip[_FRAME : _FRAME + 1], is_flow=is_flow)
    return frames


def draw_kind_frames(
    *, world: int, verb: str, seen_in: Mapping[str, Sequence[str]] = SEEN_IN, height: int = 72
) -> AnimatedPng:
    """`kind_frames` of several kinds, a row each, as one picture.

    Example:
        >>> draw_kind_frames(world=100, verb="take", seen_in={"rgb": ["none"], "flow": ["sway"]})
        PNG of 808 x 188 pixels, 1 frame
    """
    rows = {}
    for modality, kinds in seen_in.items():
        for kind in kinds:
            title = kind if modality == "rgb" else f"{kind}, {modality}"
            rows[title] = kind_frames(kind, modality, world=world, verb=verb)
    return to_animated_png(clip_grid(rows, height=height))
