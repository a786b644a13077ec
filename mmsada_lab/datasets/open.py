"""The doors of the package: from a data specification to a `MultiDomainData`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.errors import UserError, unknown

if TYPE_CHECKING:
    from mmsada_lab.datasets.kitchens.loader import Kitchens


def shared_modalities(data: MultiDomainData) -> tuple[str, ...]:
    """The modalities that every domain of a data set has, in their order.

    Raises:
        UserError: if there is none.
    """
    first, *others = data.domains.values()
    found = tuple(m for m in first.readers if all(m in domain.readers for domain in others))
    if not found:
        raise UserError(f"the domains of {data.name} have no modality in common")
    return found


def load_data(specification: str) -> MultiDomainData:
    """Open a data set.

    Args:
        specification: one of

            - ``kitchens``: embedded; knobs as ``kitchens:appearance=0.5,motion=0``;
            - ``epic:ROOT``: video frames in a layout of EPIC-Kitchens; options ``flow_index=authors|ceil|ceil-1|same``,
              ``missing=error|drop``, ``evaluate=val|test`` (EPIC-100), as in ``epic:ROOT,missing=drop``;
            - ``arrays:DIR``: one array a segment and modality; option ``missing``;
            - ``features:DIR``: features of segments; options ``missing``, ``evaluate``.

    Raises:
        UserError: if there is no such door or option, or what lies behind it cannot be read.
    """
    door, _, rest = specification.partition(":")
    if door not in DOORS:
        raise unknown("data", door, DOORS, hint="Write kitchens, epic:ROOT, arrays:DIR or features:DIR.")
    return DOORS[door](rest)


def parse_knobs(knobs: str) -> Kitchens:
    """Read the knobs of the kitchens as a specification has them: ``appearance=0.5,motion=0``, or nothing.

    Raises:
        UserError: there is no such knob, or its value is no number in range.
    """
    from mmsada_lab.datasets.kitchens.loader import Kitchens

    types: dict[str, type[float]] = {f.name: int if f.name == "seed" else float for f in fields(Kitchens)}
    chosen: dict[str, Any] = {}
    for item in filter(None, knobs.split(",")):
        name, _, value = item.partition("=")
        if name not in types:
            raise unknown("knob of kitchens", name, types)
        try:
            chosen[name] = types[name](value)
        except (TypeError, ValueError):
            raise UserError(f"knob {name} of kitchens is {value!r}; give a number, as in {name}=0.5") from None
    return Kitchens(**chosen)


def _open_kitchens(knobs: str) -> MultiDomainData:
    from mmsada_lab.datasets.kitchens.loader import load_kitchens

    return load_kitchens(parse_knobs(knobs))


def _open_epic(rest: str) -> MultiDomainData:
    from mmsada_lab.datasets.epic.loader import load_epic

    root, options = _root_and_options("epic", rest, allowed=("flow_index", "missing", "evaluate"))
    return load_epic(root, **options)


def _open_arrays(rest: str) -> MultiDomainData:
    from mmsada_lab.datasets.arrays.loader import load_arrays

    root, options = _root_and_options("arrays", rest, allowed=("missing",))
    return load_arrays(root, **options)


def _open_features(rest: str) -> MultiDomainData:
    from mmsada_lab.datasets.arrays.features import load_features

    root, options = _root_and_options("features", rest, allowed=("missing", "evaluate"))
    return load_features(root, **options)


_OPTION = re.compile(r",(\w+)=([^,=/\\]*)$")


def _root_and_options(door: str, rest: str, *, allowed: tuple[str, ...]) -> tuple[Path, dict[str, str]]:
    """``ROOT,missing=drop`` as a folder and its options; a folder that exists under the whole name is that folder."""
    options: dict[str, str] = {}
    while not Path(rest).expanduser().exists() and (found := _OPTION.search(rest)):
        if found[1] not in allowed:
            raise unknown(f"option of {door}", found[1], allowed)
        options.setdefault(found[1], found[2])
        rest = rest[: found.start()]
    if not rest:
        raise UserError(f"{door} needs a folder: {door}:ROOT")
    return Path(rest), options


DOORS: dict[str, Callable[[str], MultiDomainData]] = {
    "kitchens": _open_kitchens,
    "epic": _open_epic,
    "arrays": _open_arrays,
    "features": _open_features,
}
"""Door name -> what opens it, given the rest of the specification."""
