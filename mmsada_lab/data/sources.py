"""The doors of the package: from a data specification to a `DataSource`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmsada_lab.data.segments import DataSource
from mmsada_lab.errors import UserError, unknown


def load_data(specification: str) -> DataSource:
    """Open a data set.

    Args:
        specification: ``kitchens`` (embedded; knobs as ``kitchens:appearance=0.5,motion=0``) or ``epic:ROOT``
            (video frames in the EPIC-Kitchens layout).

    Raises:
        UserError: if there is no such door, or what lies behind it cannot be read.
    """
    door, _, rest = specification.partition(":")
    if door not in DOORS:
        raise unknown("data", door, DOORS, hint="Write kitchens, kitchens:appearance=0.5 or epic:ROOT.")
    return DOORS[door](rest)


def _open_kitchens(knobs: str) -> DataSource:
    from mmsada_lab.data.kitchens import Kitchens, load_kitchens

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
    return load_kitchens(Kitchens(**chosen))


def _open_epic(root: str) -> DataSource:
    from mmsada_lab.data.epic import load_epic

    if not root:
        raise UserError("epic needs a folder: epic:ROOT")
    return load_epic(Path(root))


DOORS: dict[str, Callable[[str], DataSource]] = {"kitchens": _open_kitchens, "epic": _open_epic}
"""Door name -> what opens it, given the rest of the specification."""
