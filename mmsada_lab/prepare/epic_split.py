"""Builds `segments.csv` from the annotations of EPIC-Kitchens: any kitchens as domains, any verbs as classes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from mmsada_lab.datasets.epic100 import verb_keys
from mmsada_lab.datasets.tables import SEGMENTS_CSV, check_segments, commonest, read_table, refuse_rows, tidy
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.files import write_whole
from mmsada_lab.paper import VERBS

_VERB_FILES = {"uid": "EPIC_verb_classes.csv", "narration_id": "EPIC_100_verb_classes.csv"}
"""Column of the segments' names -> list of verb classes of that release."""

_COLUMNS = {"uid": "uid", "participant": "participant_id", "video": "video_id"}
_COLUMNS |= {"start": "start_frame", "stop": "stop_frame", "verb": "verb", "verb_class": "verb_class"}
_DRAWS = 16
_MOST_NAMED, _NEAR = 30, 5
_KEPT = ("narration", "start_timestamp", "stop_timestamp", "noun", "noun_class")


def build_split(
    annotations: Sequence[Path],
    *,
    domains: Mapping[str, str | Sequence[str]],
    verbs: Sequence[str] | int | None = None,
    test: Sequence[Path] = (),
    test_fraction: float = 0.2,
    seed: int = 0,
    verb_classes: Path | None = None,
) -> pd.DataFrame:
    """Choose training and test segments of some kitchens and verbs.

    The labels of EPIC's own test sets were never released, so the test part is made of held-out videos, whole ones,
    unless labelled tables for it are given. Test and training videos are disjoint.

    Args:
        annotations: labelled tables of one release: ``EPIC_train_action_labels.csv``, ``EPIC_100_train.csv`` or such.
        domains: name -> its kitchens (``P08``) or videos (a pattern as ``P01_1??``).
        verbs: canonical names, the number of classes counted from class id 0, or None for all.
        test: labelled tables to take the test part from.
        test_fraction: share of each domain's segments that the held-out videos shall have, about; unused with `test`.
        seed: chooses the held-out videos, for each domain by itself.
        verb_classes: EPIC's list of verb classes; by default the one beside the first table, if there.

    Returns:
        Columns as in ``segments.csv``, class ids as in EPIC, `verb` the class's canonical name (the narrator's own
        is `verb_narrated`), sorted by domain, split and uid.

    Raises:
        UserError: a table cannot be read or has no labels, a kitchen or verb does not exist, or a split is impossible.
    """
    if not annotations:
        raise UserError("no annotations were given; name at least one CSV, such as EPIC_train_action_labels.csv")
    if not 0 <= test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction}; give a share from 0 (no test part) to below 1")
    raws = {path: read_table(path) for path in (*annotations, *test)}
    if seed < 0:
        raise UserError(f"seed is {seed}; give a whole number from 0")
    release = "uid" if "uid" in raws[annotations[0]].columns else "narration_id"
    everything = _labelled({path: raws[path] for path in annotations}, release)
    listed = _canonical(verb_classes or annotations[0].parent / _VERB_FILES[release], release)
    names = _chosen_classes(everything, verbs, listed)
    chosen = _of_domains(everything, domains)
    chosen = chosen[chosen["verb_class"].isin(names)]
    if test:
        held_out = _of_domains(_labelled({path: raws[path] for path in test}, release), domains, whole=False)
        held_out = held_out[held_out["verb_class"].isin(names)]
        chosen = pd.concat([chosen.assign(split="train"), held_out.assign(split="test")], ignore_index=True)
    else:
        chosen = _with_held_out_videos(chosen, test_fraction, seed=seed)
    _refuse_leaks(chosen, domains)
    return _as_written(check_segments(chosen, annotations[0].name), names)


def write_split(table: pd.DataFrame, path: Path, *, overwrite: bool = False) -> Path:
    """Write a split whole, for the `epic:` door to read; returns the file.

    Args:
        table: what `build_split` returned.
        path: a name in ``.csv``, or a folder that shall have it as `segments.csv`.
        overwrite: whether a file that is there may be replaced.
    """
    file = path if path.suffix.lower() == ".csv" and not path.is_dir() else path / SEGMENTS_CSV
    if file.exists() and not overwrite:
        raise UserError(
            f"{file} is there already; choose another place, or replace it with overwrite=True (--overwrite)"
        )
    write_whole(file, table.to_csv(index=False, lineterminator="\n").encode())
    return file


def parse_domains(items: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Domains as written on a command line: ``D1=P08``, ``D2=P01+P22``."""
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, _, kitchens = item.partition("=")
        if not name or not all(kitchens.split("+")):
            raise UserError(f"domain {item!r} cannot be read; write NAME=KITCHEN or NAME=KITCHEN+KITCHEN, as in D1=P08")
        if name in found:
            raise UserError(f"domain {name} was given twice; join its kitchens with +, as in {name}=P01+P22")
        found[name] = tuple(kitchens.split("+"))
    return found


def parse_verbs(text: str) -> tuple[str, ...] | int | None:
    """Verbs as written on a command line: ``take,put``, ``first-8``, or ``all``."""
    if text == "all":
        return None
    if text.startswith("first-"):
        count = text.removeprefix("first-")
        if not count.isdecimal() or int(count) < 1:
            raise UserError(f"verbs {text!r} cannot be read; write first-8 for the classes 0 to 7")
        return int(count)
    return tuple(verb.strip() for verb in text.split(",") if verb.strip()) or None


def _labelled(raws: Mapping[Path, pd.DataFrame], release: str) -> pd.DataFrame:
    """Tables of one release, end to end; without labels no verb can be chosen."""
    parts = []
    for path, raw in raws.items():
        if "verb_class" not in raw.columns:
            raise UserError(
                f"{path} has no verb_class, so no verbs can be chosen from it (the labels of EPIC's test sets were "
                "never released); hold out videos of a labelled table with test_fraction"
            )
        if release not in raw.columns:
            raise UserError(
                f"{path} lacks the column {release}: the class ids of EPIC-55 and EPIC-100 differ, mix none"
            )
        table = tidy(raw, path)
        refuse_rows(table, table["verb_class"].isna(), f"{path}: segments without verb_class")
        parts.append(table)
    whole = pd.concat(parts, ignore_index=True)
    refuse_rows(whole, whole["uid"].duplicated(keep=False), "uids that several of the tables have")
    return whole


def _of_domains(table: pd.DataFrame, domains: Mapping[str, str | Sequence[str]], *, whole: bool = True) -> pd.DataFrame:
    """The rows of every domain, with its name; a kitchen that has none is a `UserError` unless not `whole`."""
    if not domains:
        raise UserError("no domains were given; name kitchens, as in D1=P08")
    parts = []
    for name, kitchens in domains.items():
        for kitchen in (kitchens,) if isinstance(kitchens, str) else kitchens:
            rows = table[_belongs(table, kitchen)]
            if rows.empty and whole:
                raise _unknown_kitchen(kitchen, sorted(table["participant"].unique()))
            parts.append(rows.assign(domain=name))
    found = pd.concat(parts, ignore_index=True)
    refuse_rows(found, found["uid"].duplicated(keep=False), "segments that belong to two domains")
    return found


def _unknown_kitchen(found: str, kitchens: Sequence[str]) -> UserError:
    """Names a kitchen whose number is right (``P8``, ``p08``) before one that only looks alike."""
    number = re.fullmatch(r"[Pp]?(\d+)", found)
    meant = f"P{int(number[1]):02d}" if number else ""
    if meant in kitchens:
        return UserError(f"unknown kitchen {found!r}; did you mean {meant}?")
    return unknown("kitchen", found, kitchens)


def _unknown_verb(found: str, verbs: Sequence[str]) -> UserError:
    if len(verbs) <= _MOST_NAMED:
        return unknown("verb", found, verbs)
    near = difflib.get_close_matches(found, verbs, n=_NEAR) or verbs[:_NEAR]
    return UserError(f"unknown verb {found!r}; choose some of the {len(verbs)} there are, such as {', '.join(near)}")


def _belongs(table: pd.DataFrame, kitchen: str) -> pd.Series[bool]:
    """Whether segments are of a kitchen, or of a video that matches a pattern."""
    return (table["participant"] == kitchen) | table["video"].map(lambda video: fnmatchcase(video, kitchen)).astype(
        bool
    )


def _canonical(path: Path, release: str) -> dict[int, str]:
    """Canonical verbs by class id: EPIC's own list, else what the paper says of EPIC-55's first eight."""
    return verb_keys(path) or (dict(enumerate(VERBS)) if release == "uid" else {})


def _chosen_classes(
    table: pd.DataFrame, verbs: Sequence[str] | int | None, listed: Mapping[int, str]
) -> dict[int, str]:
    """Ids and names of the chosen classes: canonical names, else the commonest verb of a class.

    A chosen verb that is no class's name stands for the class it was sorted into, and names it if nothing else does.
    """
    ids = sorted(int(class_id) for class_id in table["verb_class"].unique())
    named = table[table["verb"] != ""]
    counts = {class_id: named["verb"][named["verb_class"] == class_id].value_counts() for class_id in ids}
    names = {c: listed.get(c) or commonest(counts[c], fallback=f"class {c}") for c in ids}
    if verbs is None or isinstance(verbs, int):
        return {class_id: name for class_id, name in names.items() if verbs is None or class_id < verbs}
    numbers = {name: class_id for class_id, name in names.items()}
    sorted_into = {verb: class_id for class_id, found in counts.items() for verb in found.index}
    chosen: dict[int, str] = {}
    for verb in verbs:
        class_id = numbers.get(verb, sorted_into.get(verb))
        if class_id is None:
            raise _unknown_verb(verb, list(numbers))
        chosen.setdefault(class_id, listed.get(class_id) or verb)
    return chosen


def _with_held_out_videos(table: pd.DataFrame, fraction: float, *, seed: int) -> pd.DataFrame:
    """Split every domain into training and test videos."""
    test: set[str] = set()
    for domain, rows in table.groupby("domain") if fraction else ():
        sizes = rows["video"].value_counts().sort_index()
        if len(sizes) < 2:
            raise UserError(
                f"domain {domain} has only the video {sizes.index[0]}; whole videos are held out, so give it more "
                "kitchens, a table of test segments, or test_fraction 0"
            )
        test |= _held_out(sizes, fraction, np.random.default_rng(seed))
    return table.assign(split=np.where(table["video"].isin(test), "test", "train"))


def _held_out(sizes: pd.Series[int], fraction: float, rng: np.random.Generator) -> set[str]:
    """Random videos with about that share of the segments: the best of a few draws, and never all of them."""
    wanted = fraction * int(sizes.sum())
    draws = [_drawn(sizes, wanted, rng) for _ in range(_DRAWS)]
    return min(draws, key=lambda videos: abs(int(sizes[sorted(videos)].sum()) - wanted))


def _drawn(sizes: pd.Series[int], wanted: float, rng: np.random.Generator) -> set[str]:
    """Videos in random order, each taken if it brings the number of segments nearer to what was asked for."""
    taken, found = 0, set[str]()
    for video in rng.permutation(sizes.index.to_numpy(dtype=object)):
        nearer = abs(taken + int(sizes[video]) - wanted) < abs(taken - wanted)
        if nearer and len(found) < len(sizes) - 1:
            found.add(str(video))
            taken += int(sizes[video])
    return found or {str(sizes.idxmin())}


def _refuse_leaks(table: pd.DataFrame, domains: Mapping[str, object]) -> None:
    """Refuse videos on both sides of the split, and domains without training segments."""
    train = {*table["video"][table["split"] == "train"]}
    both = (table["split"] == "test") & table["video"].isin(train)
    refuse_rows(table, both, "test segments of videos that are in the training part, too")
    for domain in domains:
        if not ((table["domain"] == domain) & (table["split"] == "train")).any():
            raise UserError(f"domain {domain} has no training segments of these verbs; choose others")


def _as_written(table: pd.DataFrame, names: Mapping[int, str]) -> pd.DataFrame:
    """Columns in the names and the order of `segments.csv`."""
    written = table.rename(columns=_COLUMNS)[[*_COLUMNS.values(), "domain", "split"]]
    further = [dict(pairs) for pairs in table["further"]]
    for at, name in enumerate(n for n in _KEPT if any(n in cells for cells in further)):
        written.insert(3 + at, name, pd.Series([cells.get(name, "") for cells in further], dtype="str"))
    written["verb_narrated"] = written["verb"]
    written["verb"] = written["verb_class"].map(lambda class_id: names[int(class_id)]).astype("str")
    return written.astype({"verb_class": "int64"})
