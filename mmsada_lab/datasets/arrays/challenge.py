"""Features as EPIC-100's adaptation challenge gives them out: a pickle for each domain and split.

Labels are verb classes, and all 97 of them are classes: the challenge scores over all.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.datasets.arrays.files import PickledArray
from mmsada_lab.datasets.arrays.loader import checked_modality, row_numbers, stacked, text_of
from mmsada_lab.datasets.arrays.source import Found, counted
from mmsada_lab.datasets.arrays.table import Row, SegmentTable
from mmsada_lab.datasets.epic100 import EPIC100_CLASSES, EPIC100_VERBS, read_epic100_uda, verb_keys
from mmsada_lab.datasets.pickles import read_pickle_arrays
from mmsada_lab.datasets.tables import commonest
from mmsada_lab.errors import UserError

_NAME = re.compile(r"(.*[_.-])?(?P<domain>source|target)_(?P<split>train|val|test)\.pkl")
_IDS = "narration_ids"
_TABLES = "EPIC_100_uda_*.csv"


def has_challenge(root: Path) -> bool:
    """Whether a folder has any of the challenge's pickles."""
    return bool(_pickles(root))


def find_challenge(root: Path, *, evaluate: str) -> tuple[SegmentTable, dict[str, Found], tuple[str, ...]]:
    """Find the pickles of a folder and the segments they are of.

    Args:
        root: the folder.
        evaluate: the split that is the test part, ``val`` or ``test``.

    Returns:
        The segments, the modalities, and notes. A part without a pickle has no segments.
    """
    splits = {"train": "train", evaluate: "test"}
    paths = {part: path for part, path in _pickles(root).items() if part[1] in splits}
    wanted = [(domain, split) for domain in ("source", "target") for split in splits]
    notes = [f"no {d}_{s}.pkl in {root}: {d} has no {splits[s]} segments" for d, s in wanted if (d, s) not in paths]
    if not paths:
        raise UserError(
            f"{root} has none of {', '.join(f'{d}_{s}.pkl' for d, s in wanted)}; nothing to train or test on"
        )
    folder = next((f for f in (root, root / "annotations") if any(f.glob(_TABLES))), None)
    if folder is None:
        raise UserError(f"no {_TABLES} in {root} or {root / 'annotations'}; the labels are in these tables")
    listed = read_epic100_uda(folder)
    used = listed[[part in paths for part in zip(listed.domain, listed.split, strict=True)]]
    classes = _classes(listed, folder)
    rows = tuple(_row(row, classes, splits) for row in used.to_dict("records"))
    if not rows:
        raise UserError(f"{folder} lists no segment of {', '.join(path.name for path in paths.values())}")
    table = SegmentTable(rows, classes, str(folder / _TABLES))
    found, ignored = _modalities(paths, table)
    return table, found, (*notes, *ignored)


def _pickles(root: Path) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(root.glob("*.pkl")):
        match = _NAME.fullmatch(path.name)
        part = (match["domain"], match["split"]) if match else None
        if part in found:
            raise UserError(f"{root} has both {found[part].name} and {path.name}; keep one of them")
        if part:
            found[part] = path
    return found


def _classes(listed: pd.DataFrame, folder: Path) -> tuple[str, ...]:
    """A name for each verb class: that of the challenge's own list if it is there, else its commonest verb."""
    labelled = listed[listed.verb_class.notna()]
    count = max([EPIC100_CLASSES, *(number + 1 for number in labelled.verb_class.unique().tolist())])
    if count > 10 * EPIC100_CLASSES:
        raise UserError(f"{folder} has verb class {count - 1}; EPIC-100 has {EPIC100_CLASSES}, numbered from 0")
    keys, named = verb_keys(folder / EPIC100_VERBS), labelled[labelled.verb != ""]
    verbs = {number: named.verb[named.verb_class == number].value_counts() for number in {*named.verb_class.tolist()}}
    none = pd.Series(dtype="int64")
    names = [keys.get(c) or commonest(verbs.get(c, none), fallback=f"class {c}") for c in range(count)]
    return tuple(n if names.count(n) == 1 else f"{n} ({c})" for c, n in enumerate(names))


def _row(row: dict[Any, Any], classes: tuple[str, ...], splits: dict[str, str]) -> Row:
    label = "" if pd.isna(row["verb_class"]) else classes[int(row["verb_class"])]
    frames = (("video", row["video"]), ("start_frame", str(row["start"])), ("stop_frame", str(row["stop"])))
    further = tuple(row.get("further") or ())
    return Row(row["uid"], row["domain"], splits[row["split"]], label, (*frames, *further))


def _modalities(paths: dict[tuple[str, str], Path], table: SegmentTable) -> tuple[dict[str, Found], list[str]]:
    """Every modality, in one part for each pickle that has it."""
    parts: dict[str, list[PickledArray]] = {}
    rows: dict[str, dict[str, tuple[int, int]]] = {}
    places, notes = _places(table), []
    for (domain, split), path in paths.items():
        ids, arrays = _read(path)
        at = row_numbers(ids, str(path))
        here = [uid for uid in at if places.get(uid) == (domain, "train" if split == "train" else "test")]
        known = {*here}
        ignored = [uid for uid in at if uid not in known]
        if ignored:
            notes.append(
                f"ignored {counted(ignored, 'row', of=len(at))} of {path} that {table.place} does not list there"
            )
        for modality, array in arrays.items():
            parts.setdefault(modality, []).append(array)
            number = len(parts[modality]) - 1
            rows.setdefault(modality, {}).update({uid: (number, at[uid]) for uid in here})
    sizes = [f"{path.name} {path.stat().st_size}" for path in paths.values()]
    return {m: stacked(parts[m], rows[m], sizes=sizes) for m in sorted(parts)}, notes


def _places(table: SegmentTable) -> dict[str, tuple[str, str]]:
    return {row.uid: (row.domain, row.split) for row in table.rows}


def _read(path: Path) -> tuple[NDArray[np.str_], dict[str, PickledArray]]:
    """Narration ids and arrays of a pickle, by modality."""
    content = read_pickle_arrays(path)
    if _IDS not in content:
        raise UserError(f"{path} has no {_IDS}; found {', '.join(map(str, content)) or 'nothing'}")
    ids = text_of(content[_IDS])
    nested = content.get("features")
    prefix = ("features",) if isinstance(nested, dict) else ()
    arrays = nested if isinstance(nested, dict) else {k: v for k, v in content.items() if k != _IDS}
    found: dict[str, PickledArray] = {}
    for key, array in arrays.items():
        name = checked_modality(str(key).lower(), path)
        if not isinstance(array, np.ndarray) or array.shape[:1] != ids.shape or name in found:
            shown = f"an array {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
            raise UserError(f"{path}: {key} is {shown}; each modality must be one array with {len(ids)} rows")
        found[name] = PickledArray(path, (*prefix, str(key)), array.shape, array.dtype)
    if not found:
        raise UserError(f"{path} has {_IDS} but no features; found {', '.join(map(str, content))}")
    return ids, found
