"""Tables of EPIC-KITCHENS-100's unsupervised domain adaptation challenge, which frames and features both come with."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mmsada_lab.datasets.tables import check_segments, read_table, tidy
from mmsada_lab.errors import UserError

EPIC100_CLASSES = 97  # verb classes of EPIC-100; the challenge scores over all of them
EPIC100_SPLITS = ("train", "val", "test")
EPIC100_TABLES = "EPIC_100_uda_*.csv"
EPIC100_VERBS = "EPIC_100_verb_classes.csv"

_NAME = re.compile(r"EPIC_100_uda_(?P<domain>source|target)_(?P<split>train|val|test)(_timestamps)?\.csv")


def find_epic100_uda(folder: Path) -> dict[Path, tuple[str, str]]:
    """The challenge's tables in a folder: path -> domain (source or target) and split (train, val or test)."""
    matches = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob(EPIC100_TABLES))}
    return {path: (match["domain"], match["split"]) for path, match in matches.items() if match}


def read_epic100_uda(folder: Path) -> pd.DataFrame:
    """Read the challenge's tables that are in a folder, with the columns of `mmsada_lab.datasets.tables`.

    Domains are source and target, splits train, val and test. Labelled are the source's train and val and the target's
    val; noun classes and narrations are in `further`. `UserError`: the folder has none of them, or one of them is
    damaged.
    """
    tables = [
        tidy(read_table(path), path).assign(domain=domain, split=split)
        for path, (domain, split) in find_epic100_uda(folder).items()
    ]
    if not tables:
        raise UserError(f"{folder} has no EPIC_100_uda_source_train.csv nor any other {EPIC100_TABLES}")
    return check_segments(pd.concat(tables, ignore_index=True), str(folder), splits=EPIC100_SPLITS)


def verb_keys(path: Path) -> dict[int, str]:
    """Class id -> canonical verb, from the list of verb classes of either release; empty if there is no such file."""
    if not path.is_file():
        return {}
    raw = read_table(path)
    columns = next((pair for pair in (("verb_id", "class_key"), ("id", "key")) if {*pair} <= {*raw.columns}), None)
    if columns is None:
        raise UserError(f"{path} has neither verb_id and class_key nor id and key; found {', '.join(raw.columns)}")
    try:
        return {int(number): str(key).strip() for number, key in raw[list(columns)].itertuples(index=False)}
    except ValueError as error:
        raise UserError(f"{path}: column {columns[0]} holds something else than numbers: {error}") from error
