"""Features as EPIC-100's adaptation challenge gives them out: a pickle for each domain and split.

Labels are verb classes, and all 97 of them are classes: the challenge scores over all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.datasets.arrays.assembly import FoundModality
from mmsada_lab.datasets.arrays.files import StoredArray, locate_pickled
from mmsada_lab.datasets.arrays.loader import check_modality, row_numbers, stack, uid_text
from mmsada_lab.datasets.arrays.table import SegmentRow, SegmentTable
from mmsada_lab.datasets.epic100 import (
    EPIC100_CLASSES,
    EPIC100_TABLES,
    EPIC100_VERBS,
    find_epic100_uda,
    read_epic100_uda,
    verb_keys,
)
from mmsada_lab.datasets.folders import count
from mmsada_lab.datasets.pickles import read_pickle_arrays
from mmsada_lab.datasets.tables import name_classes
from mmsada_lab.errors import UserError

_NAME = re.compile(r"(.*[_.-])?(?P<domain>source|target)_(?P<split>train|val|test)\.pkl")
_IDS = "narration_ids"

Pickles = dict[tuple[str, str], Path]  # domain and split -> the pickle of their features


def find_pickles(root: Path) -> Pickles:
    """The challenge's pickles in a folder."""
    paths: Pickles = {}
    for path in sorted(root.glob("*.pkl")):
        match = _NAME.fullmatch(path.name)
        if match and (other := paths.setdefault((match["domain"], match["split"]), path)) != path:
            raise UserError(f"{root} has both {other.name} and {path.name}; keep one of them")
    return paths


def read_challenge(
    root: Path, pickles: Pickles, *, evaluate: str
) -> tuple[SegmentTable, dict[str, FoundModality], list[str]]:
    """Read the tables of a folder and find the features of their segments: the segments, the modalities, and notes.

    The split `evaluate`, ``val`` or ``test``, is the test part. A split without a pickle has no segments.
    """
    splits = {"train": "train", evaluate: "test"}
    wanted = [(domain, split) for domain in ("source", "target") for split in splits]
    used = {key: path for key, path in pickles.items() if key in wanted}
    notes = [f"no {d}_{s}.pkl in {root}: {d} has no {splits[s]} segments" for d, s in wanted if (d, s) not in used]
    if not used:
        names = ", ".join(f"{domain}_{split}.pkl" for domain, split in wanted)
        raise UserError(f"{root} has none of {names}; nothing to train or test on")
    table = _read_tables(root, used, splits)
    modalities, ignored = _find_modalities(used, table)
    return table, modalities, [*notes, *ignored]


def _read_tables(root: Path, pickles: Pickles, splits: Mapping[str, str]) -> SegmentTable:
    folder = next((f for f in (root, root / "annotations") if find_epic100_uda(f)), None)
    if folder is None:
        raise UserError(f"no {EPIC100_TABLES} in {root} or {root / 'annotations'}; the labels are in these tables")
    listed = read_epic100_uda(folder)
    used = listed[[key in pickles for key in zip(listed.domain, listed.split, strict=True)]]
    most = max([EPIC100_CLASSES, *(number + 1 for number in listed.verb_class.dropna().unique().tolist())])
    if most > 10 * EPIC100_CLASSES:
        raise UserError(f"{folder} has verb class {most - 1}; EPIC-100 has {EPIC100_CLASSES}, numbered from 0")
    classes = name_classes(listed, range(most), known=verb_keys(folder / EPIC100_VERBS))
    rows = tuple(_row(row, classes, splits) for row in used.to_dict("records"))
    if not rows:
        raise UserError(f"{folder} lists no segment of {', '.join(path.name for path in pickles.values())}")
    return SegmentTable(rows, classes, str(folder / EPIC100_TABLES))


def _row(row: dict[Any, Any], classes: tuple[str, ...], splits: Mapping[str, str]) -> SegmentRow:
    label = "" if pd.isna(row["verb_class"]) else classes[int(row["verb_class"])]
    frames = (("video", row["video"]), ("start_frame", str(row["start"])), ("stop_frame", str(row["stop"])))
    return SegmentRow(row["uid"], row["domain"], splits[row["split"]], label, (*frames, *row["further"]))


def _find_modalities(pickles: Pickles, table: SegmentTable) -> tuple[dict[str, FoundModality], list[str]]:
    """Every modality, an array for each pickle that has it; and notes."""
    arrays: dict[str, list[StoredArray]] = {}
    rows: dict[str, dict[str, tuple[int, int]]] = {}
    keys, notes = {row.uid: (row.domain, row.split) for row in table.rows}, []
    for (domain, split), path in pickles.items():
        ids, by_modality = _locate_arrays(path)
        numbers = row_numbers(ids, str(path))
        key = (domain, "train" if split == "train" else "test")
        ignored = [uid for uid in numbers if keys.get(uid) != key]
        if ignored:
            shown = count(ignored, "row", of=len(numbers))
            notes.append(f"ignored {shown} of {path} that {table.place} does not list there")
        for modality, array in by_modality.items():
            index = len(arrays.setdefault(modality, []))
            arrays[modality].append(array)
            known = {uid: (index, number) for uid, number in numbers.items() if keys.get(uid) == key}
            rows.setdefault(modality, {}).update(known)
    sizes = [f"{path.name} {path.stat().st_size}" for path in pickles.values()]
    return {m: stack(arrays[m], rows[m], sizes=sizes) for m in sorted(arrays)}, notes


def _locate_arrays(path: Path) -> tuple[NDArray[np.str_], dict[str, StoredArray]]:
    content = read_pickle_arrays(path)
    if _IDS not in content:
        raise UserError(f"{path} has no {_IDS}; found {', '.join(map(str, content)) or 'nothing'}")
    ids = uid_text(content.pop(_IDS))
    nested = content.get("features")
    prefix, values = (("features",), nested) if isinstance(nested, dict) else ((), content)
    arrays: dict[str, StoredArray] = {}
    for key, value in values.items():
        name = check_modality(str(key).lower(), path)
        if not isinstance(value, np.ndarray) or value.shape[:1] != ids.shape or name in arrays:
            shown = f"an array {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            raise UserError(f"{path}: {key} is {shown}; each modality must be one array with {len(ids)} rows")
        arrays[name] = locate_pickled(path, (*prefix, str(key)), value)
    if not arrays:
        raise UserError(f"{path} has {_IDS} but no features; found {', '.join(map(str, content)) or 'nothing else'}")
    return ids, arrays
