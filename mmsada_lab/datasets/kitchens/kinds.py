"""Kinds of gap: kitchens that differ in one way alone."""

from __future__ import annotations

from collections.abc import Mapping

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.runs import join_world, split_world

KINDS: dict[str, Mapping[str, float]] = {
    "none": {},
    "camera": {"camera": 1},
    "nuisance": {"nuisance": 1},
    "sway": {"sway": 1},
    "context": {"context": 1},
    "style": {"appearance": 1, "viewpoint": 1, "motion": 1},
    "label shift": {"label_shift": 1},
    "absent classes": {"absent": 1},
}
"""Kind of gap -> the knobs of the kitchens that make it; all others are 0."""


def with_kind(data: str, kind: str) -> str:
    """A specification of kitchens with one kind of gap alone, a key of `KINDS`; world and size stay.

    Raises:
        UserError: the data are no kitchens, or there is no such kind.

    Example:
        >>> with_kind("kitchens:seed=3", "camera").split(",")[3:]
        ['context=0', 'appearance=0', 'viewpoint=0', 'motion=0', 'label_shift=0', 'absent=0', 'seed=3']
    """
    if kind not in KINDS:
        raise unknown("kind of gap", kind, KINDS)
    shared, world = split_world(data)
    name, _, given = shared.partition(":")
    if name != "kitchens":
        raise UserError(f"kinds of gap are knobs of the kitchens; {data} has none")
    knobs = {**dict.fromkeys((knob for kinds in KINDS.values() for knob in kinds), 0), **KINDS[kind]}
    others = [item for item in filter(None, given.split(",")) if item.partition("=")[0] not in knobs]  # such as scale
    alone = [f"{knob}={value:g}" for knob, value in knobs.items()]
    return join_world("kitchens:" + ",".join([*alone, *others]), world)
