"""Chooses kitchens as domains and verbs as classes from EPIC-Kitchens' annotations, for `segments.csv`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from mmsada_lab.datasets.epic100 import verb_keys
from mmsada_lab.datasets.tables import (
    SEGMENTS_CSV,
    check_segments,
    commonest,
    read_table,
    refuse_rows,
    tidy,
    write_segments,
)
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.paper import VERBS

_VERB_FILES = {"uid": "EPIC_verb_classes.csv", "narration_id": "EPIC_100_verb_classes.csv"}
"""Column that names the segments, by release -> the release's list of verb classes."""

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
    """Choose training and test segments of some kitchens and verbs; no video is on both sides.

    Args:
        annotations: labelled tables of one release, such as ``EPIC_train_action_labels.csv`` or ``EPIC_100_train.csv``.
        domains: name -> its kitchens (``P08``) or videos (a pattern, ``P01_1??``).
        verbs: canonical names, the number of classes counted from class id 0, or None for all.
        test: labelled tables of the test segments; without one, whole videos are held out.
        test_fraction: approximate share of each domain's segments that is held out.
        seed: of the draw of the held-out videos; a domain's draw does not depend on other domains.
        verb_classes: EPIC's list of verb classes; by default the one beside the first table, if there is one.

    Returns:
        Columns as in ``segments.csv``, class ids as in EPIC, `verb` is the class's canonical name and `verb_narrated`
        the narrator's own; sorted by domain, split and uid.

    Raises:
        UserError: a table cannot be read or has no labels, a kitchen or verb does not exist, or a split is impossible.
    """
    if not annotations:
        raise UserError("no annotations were given; name at least one CSV, such as EPIC_train_action_labels.csv")
    if not 0 <= test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction}; give a share from 0 (no test segments) to below 1")
    tables = {path: read_table(path) for path in (*annotations, *test)}
    if seed < 0:
        raise UserError(f"seed is {seed}; give a whole number from 0")
    release = "uid" if "uid" in tables[annotations[0]].columns else "narration_id"
    labelled = _labelled({path: tables[path] for path in annotations}, release)
    canonical = verb_keys(verb_classes or annotations[0].parent / _VERB_FILES[release])
    names = _chosen_classes(labelled, verbs, canonical or (dict(enumerate(VERBS)) if release == "uid" else {}))
    chosen = _of_domains(labelled, domains, names, required=True)
    if test:
        held_out = _labelled({path: tables[path] for path in test}, release)
        held_out = _of_domains(held_out, domains, names, required=False)
        chosen = pd.concat([chosen.assign(split="train"), held_out.assign(split="test")], ignore_index=True)
    else:
        chosen = _with_held_out_videos(chosen, test_fraction, seed=seed)
    _refuse_leaks(chosen, domains)
    return _as_written(check_segments(chosen, annotations[0].name), names)


def write_split(table: pd.DataFrame, path: Path, *, overwrite: bool = False) -> Path:
    """Write a split whole, as the format `epic:` reads it; returns the file.

    Args:
        table: what `build_split` returned.
        path: a name in ``.csv``, or a folder that shall have it as `segments.csv`.
        overwrite: whether a file that is there may be replaced.
    """
    file = path if path.suffix.lower() == ".csv" and not path.is_dir() else path / SEGMENTS_CSV
    if file.exists() and not overwrite:
        hint = "choose another place, or replace it with overwrite=True (--overwrite)"
        raise UserError(f"{file} is there already; {hint}")
    write_segments(file, table)
    return file


def parse_domains(items: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Domains as written on a command line: ``D1=P08``, ``D2=P01+P22``."""
    domains: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, _, kitchens = item.partition("=")
        if not name or not all(kitchens.split("+")):
            raise UserError(f"domain {item!r} cannot be read; write NAME=KITCHEN or NAME=KITCHEN+KITCHEN, as in D1=P08")
        if name in domains:
            raise UserError(f"domain {name} was given twice; join its kitchens with +, as in {name}=P01+P22")
        domains[name] = tuple(kitchens.split("+"))
    return domains


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


def _labelled(tables: Mapping[Path, pd.DataFrame], release: str) -> pd.DataFrame:
    """Tables of one release, end to end; tables without labels are an error."""
    joined = pd.concat([_tidied(raw, path, release) for path, raw in tables.items()], ignore_index=True)
    refuse_rows(joined, joined["uid"].duplicated(keep=False), "uids that several of the tables have")
    return joined


def _tidied(raw: pd.DataFrame, path: Path, release: str) -> pd.DataFrame:
    if "verb_class" not in raw.columns:
        raise UserError(
            f"{path} has no verb_class, so no verbs can be chosen from it (the labels of EPIC's test sets were "
            "never released); hold out videos of a labelled table with test_fraction"
        )
    if release not in raw.columns:
        differ = "the class ids of EPIC-55 and EPIC-100 differ; give tables of one"
        raise UserError(f"{path} lacks the column {release}: {differ}")
    table = tidy(raw, path)
    refuse_rows(table, table["verb_class"].isna(), f"{path}: segments without verb_class")
    return table


def _of_domains(
    table: pd.DataFrame, domains: Mapping[str, str | Sequence[str]], names: Mapping[int, str], *, required: bool
) -> pd.DataFrame:
    """The rows of the chosen classes of every domain, with its name; a required kitchen that has none is an error."""
    if not domains:
        raise UserError("no domains were given; name kitchens, as in D1=P08")
    chosen = []
    for name, kitchens in domains.items():
        for kitchen in (kitchens,) if isinstance(kitchens, str) else kitchens:
            matches = table["video"].map(lambda video, pattern=kitchen: fnmatchcase(video, pattern)).astype(bool)
            rows = table[(table["participant"] == kitchen) | matches]
            if rows.empty and required:
                raise _unknown_kitchen(kitchen, sorted(table["participant"].unique()))
            chosen.append(rows.assign(domain=name))
    joined = pd.concat(chosen, ignore_index=True)
    refuse_rows(joined, joined["uid"].duplicated(keep=False), "segments that belong to two domains")
    return joined[joined["verb_class"].isin(names)]


def _unknown_kitchen(kitchen: str, kitchens: Sequence[str]) -> UserError:
    """Suggest the kitchen with the same number (``P8``, ``p08``) before one that only looks alike."""
    number = re.fullmatch(r"[Pp]?(\d+)", kitchen)
    meant = f"P{int(number[1]):02d}" if number else ""
    if meant in kitchens:
        return UserError(f"unknown kitchen {kitchen!r}; did you mean {meant}?")
    return unknown("kitchen", kitchen, kitchens)


def _unknown_verb(verb: str, verbs: Sequence[str]) -> UserError:
    if len(verbs) <= _MOST_NAMED:
        return unknown("verb", verb, verbs)
    near = difflib.get_close_matches(verb, verbs, n=_NEAR) or verbs[:_NEAR]
    return UserError(f"unknown verb {verb!r}; choose from {len(verbs)}, such as {', '.join(near)}")


def _chosen_classes(
    table: pd.DataFrame, verbs: Sequence[str] | int | None, canonical: Mapping[int, str]
) -> dict[int, str]:
    """Ids and names of the chosen classes: canonical names, else the commonest verb of a class.

    A chosen verb that is no class's name stands for its class, and names the class unless it has a canonical name.
    """
    ids = sorted(int(class_id) for class_id in table["verb_class"].unique())
    narrated = table[table["verb"] != ""]
    counts = {class_id: narrated["verb"][narrated["verb_class"] == class_id].value_counts() for class_id in ids}
    names = {c: canonical.get(c) or commonest(counts[c], fallback=f"class {c}") for c in ids}
    if verbs is None or isinstance(verbs, int):
        return {class_id: name for class_id, name in names.items() if verbs is None or class_id < verbs}
    class_of = {verb: class_id for class_id in ids for verb in counts[class_id].index}
    class_of |= {name: class_id for class_id, name in names.items()}
    chosen: dict[int, str] = {}
    for verb in verbs:
        if verb not in class_of:
            raise _unknown_verb(verb, list(dict.fromkeys(names.values())))
        chosen.setdefault(class_of[verb], canonical.get(class_of[verb]) or verb)
    return chosen


def _with_held_out_videos(table: pd.DataFrame, fraction: float, *, seed: int) -> pd.DataFrame:
    """Split every domain into training and test videos."""
    test: set[str] = set()
    for domain, rows in table.groupby("domain") if fraction else ():
        sizes = rows["video"].value_counts().sort_index()
        if len(sizes) == 1:
            hint = "give it more kitchens, a table of test segments, or test_fraction 0"
            only = f"domain {domain} has only the video {sizes.index[0]}"
            raise UserError(f"{only}; whole videos are held out, so {hint}")
        test |= _held_out(sizes, fraction, np.random.default_rng(seed))
    return table.assign(split=np.where(table["video"].isin(test), "test", "train"))


def _held_out(sizes: pd.Series[int], fraction: float, rng: np.random.Generator) -> set[str]:
    """Random videos with about that share of the segments: the best of a few draws, and never all of them."""
    wanted = fraction * int(sizes.sum())
    draws = [_draw(sizes, wanted, rng) for _ in range(_DRAWS)]
    return min(draws, key=lambda videos: abs(int(sizes[sorted(videos)].sum()) - wanted))


def _draw(sizes: pd.Series[int], wanted: float, rng: np.random.Generator) -> set[str]:
    """Videos in random order, each taken if it brings the number of segments nearer to the wanted one."""
    videos, count = set[str](), 0
    for video in rng.permutation(sizes.index.to_numpy(dtype=object)):
        size = int(sizes[video])
        if abs(count + size - wanted) < abs(count - wanted) and len(videos) < len(sizes) - 1:
            videos.add(str(video))
            count += size
    return videos or {str(sizes.idxmin())}


def _refuse_leaks(table: pd.DataFrame, domains: Iterable[str]) -> None:
    """Refuse videos on both sides of the split, and domains without training segments."""
    train = table[table["split"] == "train"]
    leaks = (table["split"] == "test") & table["video"].isin(train["video"])
    refuse_rows(table, leaks, "test segments of videos that are in the training part, too")
    if untrained := [domain for domain in domains if domain not in set(train["domain"])]:
        raise UserError(f"domain {untrained[0]} has no training segments of these verbs; choose others")


def _as_written(table: pd.DataFrame, names: Mapping[int, str]) -> pd.DataFrame:
    """Columns in the names and the order of `segments.csv`."""
    written = table.rename(columns=_COLUMNS)[[*_COLUMNS.values(), "domain", "split"]]
    further = [dict(pairs) for pairs in table["further"]]
    for at, name in enumerate(n for n in _KEPT if any(n in cells for cells in further)):
        written.insert(3 + at, name, pd.Series([cells.get(name, "") for cells in further], dtype="str"))
    written["verb_narrated"] = written["verb"]
    written["verb"] = written["verb_class"].map(lambda class_id: names[int(class_id)]).astype("str")
    return written.astype({"verb_class": "int64"})
