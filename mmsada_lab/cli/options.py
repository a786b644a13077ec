"""What the `mmsada` commands share: options and the format of tables."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mmsada_lab.datasets.open import describe_formats, describe_presets
from mmsada_lab.errors import UserError
from mmsada_lab.presets import PRESETS
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK

if TYPE_CHECKING:
    import pandas as pd

Data = Annotated[str, Option(metavar="SPEC", help=describe_formats())]
OtherData = Annotated[str | None, Option(metavar="SPEC", help="Other data than the run's own.")]
Preset = Annotated[
    str | None,
    Option(help=f"Schedule and sizes: {', '.join(PRESETS)}. By default {describe_presets()}.", show_default=False),
]
Overrides = Annotated[
    list[str],
    Option("-o", "--override", metavar="KEY=VALUE", help="Change one field, e.g. -o adapt.steps=500. Repeatable."),
]
RunPath = Annotated[Path, Argument(help="Folder of a finished run, as mmsada train printed it.")]
RunsPath = Annotated[Path, Option(help="Where run folders are written; finished runs are skipped, others continue.")]
Device = Annotated[str, Option(help="auto (a GPU if there is one) or cpu.")]
Workers = Annotated[int | None, Option(min=0, help="Processes that read clips; chosen by default.")]
Jobs = Annotated[int, Option("--jobs", min=1, help="Processes at once; they share the cores.")]
Scheduler = Annotated[
    str | None,
    Option(metavar="tcp://HOST:PORT", help="A Dask scheduler whose workers train; processes here by default."),
]
Notebooks = Annotated[
    bool,
    Option(
        "--notebooks",
        help=f"Train by executing {RUN_NOTEBOOK} for each run, kept in the run's folder; slower, for its figures.",
    ),
]


class TableFormat(StrEnum):
    """How a table is printed."""

    text = "text"
    md = "md"
    csv = "csv"
    json = "json"


Format = Annotated[TableFormat, Option(help="text, md (Markdown), csv or json.")]


def format_table(table: pd.DataFrame, style: TableFormat, *, digits: int = 1) -> str:
    """A table as text; `digits` after the point, where people read it."""
    if style is TableFormat.csv:
        return table.to_csv(index=False).rstrip()
    if style is TableFormat.json:
        return table.to_json(orient="records", force_ascii=False, indent=1)
    rounded = table.round(digits).astype(object).where(table.notna(), "")
    if style is TableFormat.md:
        lines = [list(table.columns), ["---"] * len(table.columns), *rounded.to_numpy().tolist()]
        return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return str(rounded.to_string(index=False))


def parse_overrides(items: list[str]) -> dict[str, Any]:
    """Parse ``key=value`` pairs; values are JSON where they can be, text otherwise.

    Example:
        >>> parse_overrides(["dropout=0.5", "crops=tsn"])
        {'dropout': 0.5, 'crops': 'tsn'}
    """
    overrides: dict[str, Any] = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator:
            raise UserError(f"override {item!r} has no value; write -o key=value")
        try:
            overrides[key] = json.loads(value)
        except json.JSONDecodeError:
            overrides[key] = value
    return overrides
