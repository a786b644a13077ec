"""Annotations of EPIC-like data: a CSV, the authors' pickles, or the tables of EPIC-100's adaptation challenge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmsada_lab.datasets.epic100 import EPIC100_CLASSES, EPIC100_NAME, EPIC100_VERBS, read_epic100_uda, verb_keys
from mmsada_lab.datasets.pickles import read_pickle_frame
from mmsada_lab.datasets.tables import checked, commonest, read_table, read_text, refuse_rows, tidy
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.paper import VERBS

CSV_NAME = "segments.csv"
CLASSES_NAME = "classes.txt"

_PICKLE_NAME = re.compile(r"(?P<domain>.+)_(?P<split>train|test)\.pkl")


@dataclass(frozen=True)
class Annotations:
    """Every segment of a data set, and its classes.

    Attributes:
        table: columns uid, domain, split, video, participant, start, stop, verb, verb_class, further, sorted by domain,
            split (train first) and uid; `verb_class` is Int64 and missing where a segment has no label.
        classes: class names; a label is an index into them.
        ids: the `verb_class` of each.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    ids: tuple[int, ...]


def read_annotations(root: Path, *, evaluate: str = "val") -> Annotations:
    """Read every segment below a root folder; needs no frames.

    `segments.csv` is preferred over `{domain}_{train,test}.pkl`, and that over `EPIC_100_uda_*.csv`, each in ROOT
    first, then in ROOT/annotations: a table one can look at is the one that should count. A file `classes.txt` beside
    them, one name a line, fixes the classes.

    Args:
        root: the folder that holds the annotations, or a folder `annotations` with them.
        evaluate: what is the test part of the challenge's tables: its labelled ``val`` or its unlabelled ``test``.

    Raises:
        UserError: annotations missing, damaged or inconsistent.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds the annotations, rgb/ and flow/")
    folders = (root, root / "annotations")
    for read in (_read_csv, _read_pickles, _read_challenge):
        for folder in folders:
            found = read(folder, evaluate)
            if found is not None:
                return found
    raise UserError(
        f"no annotations in {root}: put {CSV_NAME}, or a pair DOMAIN_train.pkl and DOMAIN_test.pkl for each domain, "
        f"or EPIC-100's EPIC_100_uda_*.csv, there or into {folders[1]}"
    )


def _read_csv(folder: Path, _: str) -> Annotations | None:
    path = folder / CSV_NAME
    if not path.is_file():
        return None
    raw = read_table(path)
    table = checked(tidy(raw, path, needs=("domain", "split"), classes=True), str(path))
    return _with_classes(table, path, named="verb_class" not in raw.columns)


def _read_pickles(folder: Path, _: str) -> Annotations | None:
    matches = {path: _PICKLE_NAME.fullmatch(path.name) for path in sorted(folder.glob("*.pkl"))}
    paths = {path: match for path, match in matches.items() if match}
    if not paths:
        return None
    raws = {path: read_pickle_frame(path) for path in paths}
    parts = [
        tidy(raw, path, classes=True).assign(domain=paths[path]["domain"], split=paths[path]["split"])
        for path, raw in raws.items()
    ]
    numbered = [path for path, raw in raws.items() if "verb_class" in raw.columns]
    if numbered and len(numbered) < len(raws):
        other = next(path for path in raws if path not in numbered)
        raise UserError(f"{other} lacks the column verb_class, which {numbered[0].name} has; all must have it, or none")
    table = checked(pd.concat(parts, ignore_index=True), str(folder))
    return _with_classes(table, folder / next(iter(paths)).name, named=not numbered)


def _read_challenge(folder: Path, evaluate: str) -> Annotations | None:
    if not any(EPIC100_NAME.fullmatch(path.name) for path in folder.glob("EPIC_100_uda_*.csv")):
        return None
    table = read_epic100_uda(folder)
    for domain in ("source", "target"):
        for split in ("train", evaluate):
            if not ((table["domain"] == domain) & (table["split"] == split)).any():
                raise UserError(f"{folder} lacks the EPIC_100_uda table of the {domain}'s {split} segments")
    ids = tuple(range(EPIC100_CLASSES))
    beyond = table["verb_class"].notna() & (table["verb_class"].fillna(0) >= EPIC100_CLASSES)
    refuse_rows(table, beyond, f"{folder}: verb classes from {EPIC100_CLASSES} on")
    listed = _listed_classes(folder) or verb_keys(folder / EPIC100_VERBS)
    names = tuple(listed.get(i, "") for i in ids) if listed else _names(table, ids)
    used = table[table["split"].isin(("train", evaluate))]
    used = used.assign(split=used["split"].where(used["split"] == "train", "test").astype("str"))
    return Annotations(used.reset_index(drop=True), _distinct(names, ids), ids)


def _listed_classes(folder: Path) -> dict[int, str]:
    """Class id -> name of a list beside the annotations; empty where there is none."""
    path = folder / CLASSES_NAME
    if not path.is_file():
        return {}
    names = [line.strip() for line in read_text(path).splitlines()]
    while names and not names[-1]:
        names.pop()
    odd = next((at for at, name in enumerate(names) if not name or name in names[:at]), None)
    if odd is not None or not names:
        what = "is empty" if not names else f"line {(odd or 0) + 1} is empty or there already"
        raise UserError(f"{path}: {what}; give every class a name and a line of its own")
    return dict(enumerate(names))


def _with_classes(table: pd.DataFrame, path: Path, *, named: bool) -> Annotations:
    """Settle the classes of a table: those listed, or those its segments have."""
    listed = _listed_classes(path.parent)
    if named:
        table, listed = _numbered(table, listed, path)
    ids = tuple(listed) or tuple(sorted(int(class_id) for class_id in table["verb_class"].dropna().unique()))
    if not ids:
        raise UserError(f"{path}: no segment has a label; list the classes in {path.parent / CLASSES_NAME}")
    outside = table["verb_class"].notna() & ~table["verb_class"].isin(ids)
    refuse_rows(table, outside, f"{path}: verb classes that {CLASSES_NAME}, with {len(ids)} lines (from 0), lacks")
    names = tuple(listed.values()) or _distinct(_names(table, ids), ids)
    return Annotations(table, names, ids)


def _numbered(table: pd.DataFrame, listed: dict[int, str], path: Path) -> tuple[pd.DataFrame, dict[int, str]]:
    """Number the classes of a table that only names them: in the order listed, or sorted."""
    verbs = sorted({*table["verb"]} - {""}, key=lambda v: (not v.isdecimal(), int(v) if v.isdecimal() else 0, v))
    listed = listed or dict(enumerate(verbs))
    numbers = {name: number for number, name in listed.items()}
    odd = next((verb for verb in verbs if verb not in numbers), None)
    if odd is not None:
        raise unknown("class", odd, numbers, hint=f"{path.parent / CLASSES_NAME} lists them; {path} has another.")
    return table.assign(verb_class=table["verb"].map(numbers).astype("Int64")), listed


def _names(table: pd.DataFrame, ids: tuple[int, ...]) -> tuple[str, ...]:
    """A name for each class: its most frequent verb.

    The authors' pickles keep the narrator's own verb ("pick-up", "get"): where classes 0 to 7 have several verbs
    each and the canonical one among them, the canonical names are used.
    """
    named = table[table["verb_class"].notna() & (table["verb"] != "")]
    counts = {class_id: named["verb"][named["verb_class"] == class_id].value_counts() for class_id in ids}
    epic = ids == tuple(range(len(VERBS))) and all(VERBS[c] in counts[c].index for c in ids)
    if epic and any(len(verbs) > 1 for verbs in counts.values()):
        return VERBS
    return tuple(commonest(counts[c], fallback=f"class {c}") for c in ids)


def _distinct(names: tuple[str, ...], ids: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(n if n and names.count(n) == 1 else f"{n or 'class'} ({c})" for c, n in zip(ids, names, strict=True))
