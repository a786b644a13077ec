"""What is to be imported: a folder of videos sorted by domain and label, or a CSV of segments.

SRC/D1/open/any name.mp4      a whole video is one segment; D1 is its domain, open its label
SRC/D1/unlabelled/x.mkv       seen by adaptation only

video,start,stop,label,domain         seconds, or h:m:s; both empty: the whole file
a/kitchen.mp4,1.5,3.25,open,D1        paths are relative to the CSV's folder
a/kitchen.mp4,4,5,,D1                 no label: unlabelled
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from mmsada_lab.errors import UserError, unknown

SUFFIXES = frozenset(
    "3g2 3gp asf avi f4v flv gif m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts".split()
    + "mxf ogm ogv rm rmvb ts vob webm wmv y4m".split()
)
"""File names that are taken for videos; what is in them is found out by FFmpeg."""

COLUMNS = ("video", "start", "stop", "label", "domain", "uid", "split")
RESERVED = frozenset(("participant_id", "video_id", "start_frame", "stop_frame", "verb", "verb_class"))
SPLITS = ("train", "test")
UNLABELLED = ("unlabelled", "unlabeled")

_LAYOUT = "arrange it as SRC/DOMAIN/LABEL/*.mp4 (SRC/DOMAIN/unlabelled/*.mp4), or give a CSV"
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Clip:
    """A segment that was asked for.

    Attributes:
        uid: unique.
        video: safe name of its video, unique over all domains.
        source: path of the video below the folder of the source.
        domain: safe name.
        label: empty if unlabelled.
        start: seconds from the first picture; None: from there.
        stop: likewise; None: to the last picture.
        split: train, test, or empty where it is to be drawn.
        further: other columns of its table: (column, value) pairs.
    """

    uid: str
    video: str
    source: str
    domain: str
    label: str
    start: Fraction | None = None
    stop: Fraction | None = None
    split: str = ""
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file or a segment that is not imported, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything a source asks for: its segments, the folder their paths start from, what cannot be meant.

    Files beside the videos that are none by their suffix are passed over with a note.
    """

    root: Path
    clips: tuple[Clip, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()


def list_source(source: Path) -> Listing:
    """Read the names and the table of a source; no video is opened.

    Raises:
        UserError: neither a folder with videos nor a sound CSV.
    """
    if source.is_dir():
        return _list_folder(source)
    if source.is_file() and source.suffix.lower() == ".csv":
        return _list_csv(source)
    found = "a file" if source.is_file() else "nothing"
    raise UserError(f"{source}: found {found}, not a folder of videos nor a CSV; {_LAYOUT}")


def safe_name(name: str) -> str:
    """A file name made of letters, digits, '_', '-' and '.' that says the same as far as it can."""
    kept = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._-")
    return kept[:_LONGEST_NAME].rstrip("._-") or "video"


def video_names(sources: Iterable[str]) -> dict[str, str]:
    """A safe name for each video path: its stem; where two would agree, all of them end in a hash of their path."""
    sources = sorted(set(sources))
    stems = {source: safe_name(Path(source).stem) for source in sources}
    counts = Counter(stem.casefold() for stem in stems.values())
    return {s: stem if counts[stem.casefold()] == 1 else f"{stem}-{_hash(s)}" for s, stem in stems.items()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _list_folder(root: Path) -> Listing:
    found, refused, others = list[tuple[str, str, str]](), list[Refusal](), Counter[str]()
    for domain in _visible(root):
        for label in _visible(domain) if domain.is_dir() else [domain]:
            for path in _visible(label) if label.is_dir() else [label]:
                where = path.relative_to(root).as_posix()
                if path.is_file() and path.suffix[1:].lower() not in SUFFIXES:
                    others[path.suffix.lower() or path.name] += 1
                    continue
                reason = _misplaced(path, depth=where.count("/"))
                if reason:
                    refused.append(Refusal(where, reason))
                else:
                    found.append((where, domain.name, label.name))
    if not found:
        raise UserError(f"{root} holds no video in a label's folder; {_LAYOUT}")
    names, domains = video_names(f[0] for f in found), _safe_domains({f[1] for f in found})
    clips = (
        Clip(names[w], names[w], w, domains[d], "" if label.casefold() in UNLABELLED else label.strip())
        for w, d, label in found
    )
    return Listing(root, tuple(clips), tuple(refused), tuple(_passed_over(others)))


def _passed_over(others: Counter[str]) -> Iterator[str]:
    if others:
        shown = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        yield f"passed over {others.total()} files that are no videos by their names: {shown}"


def _misplaced(path: Path, *, depth: int) -> str:
    if path.is_dir():
        return "it is a folder inside a label's folder; put its videos there, or give a CSV"
    return "" if depth == 2 else "it lies outside a label's folder; put it into DOMAIN/LABEL or DOMAIN/unlabelled"


def _safe_domains(domains: Iterable[str]) -> dict[str, str]:
    names = {domain: safe_name(domain) for domain in sorted(domains)}
    twice = [domain for domain, name in names.items() if list(names.values()).count(name) > 1]
    if twice:
        raise UserError(f"domains {' and '.join(map(repr, twice))} would have the same folder; rename one")
    return names


def _list_csv(path: Path) -> Listing:
    rows = list(_rows(path))
    names = video_names(row["video"] for _, row in rows)
    domains = _safe_domains({row["domain"] for _, row in rows})
    clips, seen = list[Clip](), dict[str, str]()
    for number, row in rows:
        where = f"{path}, line {number}"
        if seen.setdefault(row["video"], row["domain"]) != row["domain"]:
            raise UserError(f"{where}: {row['video']} is also given domain {seen[row['video']]!r}; a video has one")
        clips.append(_clip(row, names, domains, where=where))
    clips = _numbered(clips)
    twice = [uid for uid, count in Counter(clip.uid for clip in clips).items() if count > 1]
    if twice:
        raise UserError(f"{path}: uid {twice[0]!r} is given to more than one segment; each needs its own")
    return Listing(path.parent, tuple(clips), ())


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as text with their line numbers, cells stripped, paths in one form."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            reader.fieldnames = _header([name.strip() for name in reader.fieldnames or ()], path)
            for raw in reader:
                if "" in raw:
                    raise UserError(f"{path}, line {reader.line_num}: more cells than columns; quote those with commas")
                row = {name: cell.strip() for name, cell in raw.items()}
                for name in ("video", "domain"):
                    if not row[name]:
                        raise UserError(f"{path}, line {reader.line_num}: no {name}; every segment needs one")
                yield reader.line_num, {**row, "video": os.path.normpath(row["video"]).replace(os.sep, "/")}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} as a CSV table in UTF-8: {error}") from error


def _header(names: list[str], path: Path) -> list[str]:
    missing = [name for name in ("video", "domain") if name not in names]
    if missing:
        raise UserError(
            f"{path} lacks the columns {', '.join(missing)}; found {', '.join(names) or 'none'}, "
            f"wanted {', '.join(COLUMNS)} (start, stop, label, uid and split may be left out)"
        )
    twice = [name for name, count in Counter(names).items() if count > 1 or not name]
    clash = sorted(RESERVED & set(names))
    if twice or clash:
        raise UserError(f"{path}: column {(twice + clash)[0]!r} {'twice' if twice else 'is made here'}; rename it")
    return names


def _clip(row: Mapping[str, str], names: Mapping[str, str], domains: Mapping[str, str], *, where: str) -> Clip:
    label, split = row.get("label", ""), row.get("split", "")
    if split and split not in SPLITS:
        raise unknown("split", split, SPLITS, hint=f"See {where}; leave it empty to have it drawn.")
    if split == "test" and not label:
        raise UserError(f"{where}: a test segment without a label; only training segments may be unlabelled")
    start, stop = (_seconds(row.get(name, ""), name, where) for name in ("start", "stop"))
    if stop is not None and stop <= (start or 0):
        raise UserError(f"{where}: stop {row['stop']} is not after start {row.get('start') or 0}; correct it")
    further = tuple((name, cell) for name, cell in row.items() if name not in COLUMNS)
    video, source = names[row["video"]], row["video"]
    return Clip(
        row.get("uid", ""), video, source, domains[row["domain"]], label, start, stop, split=split, further=further
    )


def _numbered(clips: list[Clip]) -> list[Clip]:
    """Give every segment without a uid that of its video, numbered from 1 where the video has several."""
    totals, counts, out = Counter(clip.video for clip in clips), Counter[str](), list[Clip]()
    for clip in clips:
        counts[clip.video] += 1
        own = clip.video if totals[clip.video] == 1 else f"{clip.video}_{counts[clip.video]}"
        out.append(clip if clip.uid else replace(clip, uid=own))
    return out


def _seconds(text: str, name: str, where: str) -> Fraction | None:
    """Exact seconds of `12.5` or `0:00:12.5`; None if empty."""
    if not text:
        return None
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text)
    if not match:
        raise UserError(f"{where}: {name} is {text!r}; give seconds (12.5) or hours, minutes and seconds (0:00:12.5)")
    return 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + Fraction(match[3])
