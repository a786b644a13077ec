"""Opens data sets. `FORMATS` lists the dataset formats; whatever depends on the format is read off there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.errors import UserError, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A dataset format. A new one is a module with an opener, and an entry in `FORMATS`.

    Attributes:
        syntax: how a user writes it: ``epic:ROOT``, or a bare name where no path is needed.
        help: what it holds, in a few words.
        opener: ``module:function``, imported on first use. The function takes the text after the colon, the options as
            keywords, and returns a `MultiDomainData`.
        options: option -> its values, or a word for them where any text will do.
        preset: the preset of a run that names none.
        all_modalities: whether a run takes all modalities that its domains share, unless told otherwise.
    """

    syntax: str
    help: str
    opener: str
    options: Mapping[str, Sequence[str] | str] = field(default_factory=dict)
    preset: str = "quick"
    all_modalities: bool = False


_MISSING, _EVALUATE = ("error", "drop"), ("val", "test")

FORMATS: dict[str, Format] = {
    "kitchens": Format(
        syntax="kitchens",
        help="embedded, nothing to download; knobs: kitchens:appearance=0.5,motion=0",
        opener="mmsada_lab.datasets.kitchens.loader:load_kitchens",
    ),
    "epic": Format(
        syntax="epic:ROOT",
        help="video frames in a layout of EPIC-Kitchens",
        opener="mmsada_lab.datasets.epic.loader:load_epic",
        options={"flow_index": ("authors", "ceil", "ceil-1", "same"), "missing": _MISSING, "evaluate": _EVALUATE},
    ),
    "arrays": Format(
        syntax="arrays:DIR",
        help="sensors, skeletons, any arrays",
        opener="mmsada_lab.datasets.arrays.loader:load_arrays",
        options={"missing": _MISSING},
        preset="sensors",
        all_modalities=True,
    ),
    "features": Format(
        syntax="features:DIR",
        help="features of segments",
        opener="mmsada_lab.datasets.arrays.features:load_features",
        options={"missing": _MISSING, "evaluate": _EVALUATE},
        preset="sensors",
        all_modalities=True,
    ),
}
"""Name -> format."""

_OPTION = re.compile(r",(\w+)=([^,=/\\]*)$")


def load_data(specification: str) -> MultiDomainData:
    """Open a data set.

    Args:
        specification: in the syntax of one of the `FORMATS`, then its options after commas:
            ``epic:ROOT,missing=drop``.

    Raises:
        UserError: if there is no such format or option, or the data cannot be read.
    """
    data_format = find_format(specification)
    text, options = _split_options(specification, data_format)
    opener: Callable[..., MultiDomainData] = resolve_name(data_format.opener)
    return opener(text, **options)


def find_format(specification: str) -> Format:
    """The format of a specification; no such name is a `UserError`."""
    name = specification.partition(":")[0]
    if name not in FORMATS:
        *most, last = [known.syntax for known in FORMATS.values()]
        raise unknown("data", name, FORMATS, hint=f"Write {', '.join(most)} or {last}.")
    return FORMATS[name]


def shared_modalities(data: MultiDomainData) -> tuple[str, ...]:
    """The modalities that every domain of a data set has, in their order; none is a `UserError`."""
    first, *others = data.domains.values()
    shared = tuple(m for m in first.readers if all(m in domain.readers for domain in others))
    if not shared:
        raise UserError(f"the domains of {data.name} have no modality in common")
    return shared


def complete_choice(data: str, preset: str | None, *, overrides: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Preset and overrides of a run, completed by the defaults of the data's format.

    Args:
        data: the specification.
        preset: the one chosen, if any.
        overrides: of single fields; ``modalities`` is added where the format takes all of them by default.
    """
    data_format, completed = find_format(data), dict(overrides)
    if data_format.all_modalities and "modalities" not in completed:
        completed["modalities"] = shared_modalities(load_data(data))
    return preset or data_format.preset, completed


def describe_formats() -> str:
    """How each format is written, what it holds and its options, for the help of a command."""
    formats = []
    for known in FORMATS.values():
        options = [f"{name}={v if isinstance(v, str) else '|'.join(v)}" for name, v in known.options.items()]
        formats.append(f"{known.syntax} ({'; '.join([known.help, *options])})")
    return f"{', '.join(formats)}. Options follow a comma: epic:ROOT,missing=drop"


def describe_presets() -> str:
    """Which preset is the default of which formats."""
    names: dict[str, list[str]] = {}
    for name, known in FORMATS.items():
        names.setdefault(known.preset, []).append(name)
    return "; ".join(f"{preset} for {', '.join(formats)}" for preset, formats in names.items())


def _split_options(specification: str, data_format: Format) -> tuple[str, dict[str, str]]:
    """The text after the colon and the options; a path that exists under the whole text has none."""
    name, _, text = specification.partition(":")
    options: dict[str, str] = {}
    while data_format.options and not Path(text).expanduser().exists() and (match := _OPTION.search(text)):
        option, value = match.groups()
        if option not in data_format.options:
            raise unknown(f"option of {name}", option, data_format.options)
        values = data_format.options[option]
        if not isinstance(values, str) and value not in values:
            raise unknown(option, value, values)
        options.setdefault(option, value)
        text = text[: match.start()]
    if not text and ":" in data_format.syntax:
        raise UserError(f"{name} needs a folder: {data_format.syntax}")
    return text, options
