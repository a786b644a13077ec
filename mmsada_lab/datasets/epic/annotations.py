"""Annotations of EPIC-like data: a CSV, the authors' pickles, or the tables of EPIC-100's adaptation challenge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmsada_lab.datasets.epic100 import EPIC100_CLASSES, EPIC100_VERBS, find_epic100_uda, read_epic100_uda, verb_keys
from mmsada_lab.datasets.pickles import read_pickle_frame
from mmsada_lab.datasets.tables import (
    CLASSES_TXT,
    SEGMENTS_CSV,
    check_segments,
    count_verbs,
    name_classes,
    read_classes,
    read_table,
    refuse_rows,
    tidy,
)
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.paper import VERBS

_PICKLE_NAME = re.compile(r"(?P<domain>.+)_(?P<split>train|test)\.pkl")


@dataclass(frozen=True)
class Annotations:
    """Every segment of a data set, and its classes, of which labels are an index.

    `table` has the columns of `tables.TIDY`, sorted by domain, split (train first) and uid; `verb_class` is Int64 and
    missing where a segment has no label. `ids` are the `verb_class` of each class.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    ids: tuple[int, ...]


def read_annotations(root: Path, *, evaluate: str = "val") -> Annotations:
    """Read every segment below a root folder; needs no frames.

    `segments.csv` is preferred over `{domain}_{train,test}.pkl`, and that over `EPIC_100_uda_*.csv`, each in ROOT
    first, then in ROOT/annotations: a table one can look at is the one that should count. A file `classes.txt` beside
    them, one name a line, fixes the classes. Of EPIC-100's challenge `evaluate` is the test part: the labelled ``val``
    or unlabelled ``test``. `UserError`: annotations missing, damaged or inconsistent.
    """
    folders = (root, root / "annotations")
    for read in (_read_csv, _read_pickles, _read_challenge):
        for folder in folders:
            annotations = read(folder, evaluate)
            if annotations is not None:
                return annotations
    raise UserError(
        f"no annotations in {root}: put {SEGMENTS_CSV}, or a pair DOMAIN_train.pkl and DOMAIN_test.pkl for each "
        f"domain, or EPIC-100's EPIC_100_uda_*.csv, there or into {folders[1]}"
    )


def _read_csv(folder: Path, _: str) -> Annotations | None:
    path = folder / SEGMENTS_CSV
    if not path.is_file():
        return None
    raw = read_table(path)
    table = check_segments(tidy(raw, path, needs=("domain", "split"), classes=True), str(path))
    return _with_classes(table, path, named="verb_class" not in raw.columns)


def _read_pickles(folder: Path, _: str) -> Annotations | None:
    matches = {path: match for path in sorted(folder.glob("*.pkl")) if (match := _PICKLE_NAME.fullmatch(path.name))}
    if not matches:
        return None
    raws = {path: read_pickle_frame(path) for path in matches}
    tables = [
        tidy(raw, path, classes=True).assign(domain=matches[path]["domain"], split=matches[path]["split"])
        for path, raw in raws.items()
    ]
    numbered = [path for path, raw in raws.items() if "verb_class" in raw.columns]
    if numbered and len(numbered) < len(raws):
        other = next(path for path in raws if path not in numbered)
        raise UserError(f"{other} lacks the column verb_class, which {numbered[0].name} has; all must have it, or none")
    table = check_segments(pd.concat(tables, ignore_index=True), str(folder))
    return _with_classes(table, next(iter(matches)), named=not numbered)


def _read_challenge(folder: Path, evaluate: str) -> Annotations | None:
    if not find_epic100_uda(folder):
        return None
    table = read_epic100_uda(folder)
    for domain in ("source", "target"):
        for split in ("train", evaluate):
            if not ((table["domain"] == domain) & (table["split"] == split)).any():
                raise UserError(f"{folder} lacks the EPIC_100_uda table of the {domain}'s {split} segments")
    beyond = table["verb_class"].notna() & (table["verb_class"].fillna(0) >= EPIC100_CLASSES)
    refuse_rows(table, beyond, f"{folder}: verb classes from {EPIC100_CLASSES} on")
    ids = tuple(range(EPIC100_CLASSES))
    names = name_classes(table, ids, known=_listed_classes(folder) or verb_keys(folder / EPIC100_VERBS))
    used = table[table["split"].isin(("train", evaluate))]
    used = used.assign(split=used["split"].where(used["split"] == "train", "test").astype("str"))
    return Annotations(used.reset_index(drop=True), names, ids)


def _listed_classes(folder: Path) -> dict[int, str]:
    """Class id -> name, from the list beside the annotations; empty where there is none."""
    names = read_classes(folder / CLASSES_TXT)
    if "" in names:  # the lines after it would change their numbers
        raise UserError(f"{folder / CLASSES_TXT}: line {names.index('') + 1} is empty; give every class a name")
    return dict(enumerate(names))


def _with_classes(table: pd.DataFrame, path: Path, *, named: bool) -> Annotations:
    """Settle the classes of a table: those listed, or those its segments have."""
    listed = _listed_classes(path.parent)
    if named:
        table, listed = _number_classes(table, listed, path)
    ids = tuple(listed) or tuple(sorted(int(class_id) for class_id in table["verb_class"].dropna().unique()))
    if not ids:
        raise UserError(f"{path}: no segment has a label; list the classes in {path.parent / CLASSES_TXT}")
    outside = table["verb_class"].notna() & ~table["verb_class"].isin(ids)
    refuse_rows(table, outside, f"{path}: verb classes that {CLASSES_TXT}, with {len(ids)} lines (from 0), lacks")
    names = tuple(listed.values()) or name_classes(table, ids, known=_canonical(table, ids))
    return Annotations(table, names, ids)


def _number_classes(table: pd.DataFrame, listed: dict[int, str], path: Path) -> tuple[pd.DataFrame, dict[int, str]]:
    """Number the classes of a table that only names them: in the order listed, or sorted."""
    verbs = sorted({*table["verb"]} - {""}, key=lambda v: (not v.isdecimal(), int(v) if v.isdecimal() else 0, v))
    listed = listed or dict(enumerate(verbs))
    numbers = {name: number for number, name in listed.items()}
    unlisted = next((verb for verb in verbs if verb not in numbers), None)
    if unlisted is not None:
        raise unknown("class", unlisted, numbers, hint=f"{path.parent / CLASSES_TXT} lists them; {path} has another.")
    return table.assign(verb_class=table["verb"].map(numbers).astype("Int64")), listed


def _canonical(table: pd.DataFrame, ids: tuple[int, ...]) -> dict[int, str]:
    """The paper's names, where classes 0 to 7 have several verbs each and the canonical one among them.

    The authors' pickles keep the narrator's own verb ("pick-up", "get").
    """
    verbs = dict(enumerate(VERBS))
    counts = count_verbs(table, ids)
    epic = ids == tuple(verbs) and all(verbs[c] in counts[c].index for c in ids)
    return verbs if epic and any(len(count) > 1 for count in counts.values()) else {}
