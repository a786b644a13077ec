"""Lists the segments to import: from a folder of videos sorted by domain and label, or from a CSV.

CLIPS/D1/open/any name.mp4            a whole video is a segment of domain D1 with the label open
CLIPS/D1/unlabelled/x.mkv             for adaptation only

video,start,stop,label,domain         seconds, or h:m:s; both empty: the whole file
a/kitchen.mp4,1.5,3.25,open,D1        paths are relative to the CSV's folder
a/kitchen.mp4,4,5,,D1                 no label: unlabelled
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from mmsada_lab.datasets.tables import SPLITS, read_rows
from mmsada_lab.errors import UserError, unknown

SUFFIXES = frozenset(
    "3g2 3gp asf avi f4v flv gif m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts".split()
    + "mxf ogm ogv rm rmvb ts vob webm wmv y4m".split()
)
"""Files with these suffixes count as videos."""

COLUMNS = ("video", "start", "stop", "label", "domain", "uid", "split")
RESERVED = frozenset(("participant_id", "video_id", "start_frame", "stop_frame", "verb", "verb_class"))
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")

_LAYOUT = "arrange it as CLIPS/DOMAIN/LABEL/*.mp4 (CLIPS/DOMAIN/unlabelled/*.mp4), or give a CSV"
_INSIDE = "it is a folder inside a label's folder; put its videos there, or give a CSV"
_OUTSIDE = "it lies outside a label's folder; put it into DOMAIN/LABEL or DOMAIN/unlabelled"
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class VideoSegment:
    """A segment to import.

    Attributes:
        video: safe name of its video, unique over all domains.
        file: path of the video below the listing's root.
        label: empty if unlabelled.
        start: seconds from the first frame of the video; None: its own start. Likewise `stop`.
        split: train, test, or empty if it is to be drawn.
        further: other columns of its table: (column, value) pairs.
    """

    uid: str
    video: str
    file: str
    domain: str
    label: str
    start: Fraction | None = None
    stop: Fraction | None = None
    split: str = ""
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file or a segment that is not imported, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Segments, the folder their paths start from, and misplaced files; other files are counted in the notes."""

    root: Path
    segments: tuple[VideoSegment, ...]
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()


def list_segments(path: Path) -> Listing:
    """List the segments of a folder of videos or of a CSV, or raise `UserError`; no video is opened."""
    if path.is_dir():
        return _list_folder(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _list_csv(path)
    what = "a file" if path.is_file() else "nothing"
    raise UserError(f"{path}: found {what}, not a folder of videos nor a CSV; {_LAYOUT}")


def safe_name(name: str) -> str:
    """A similar name made of letters, digits, '_', '-' and '.'."""
    safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._-")
    return safe[:_LONGEST_NAME].rstrip("._-") or "video"


def video_names(files: Iterable[str]) -> dict[str, str]:
    """A safe name for each video file: its stem; equal stems all get a hash of their path."""
    stems = {file: safe_name(Path(file).stem) for file in sorted(set(files))}
    counts = Counter(stem.casefold() for stem in stems.values())
    return {
        file: stem if counts[stem.casefold()] == 1 else f"{stem}-{hashlib.sha256(file.encode()).hexdigest()[:8]}"
        for file, stem in stems.items()
    }


def parse_seconds(text: str) -> Fraction | None:
    """Exact seconds of `12.5` or `0:00:12.5`; None if it is neither."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text)
    return 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + Fraction(match[3]) if match else None


def _list_folder(root: Path) -> Listing:
    videos, rejected, others = list[tuple[str, ...]](), list[Rejected](), Counter[str]()
    for path in sorted(path for pattern in ("*", "*/*", "*/*/*") for path in root.glob(pattern)):
        levels = path.relative_to(root).parts
        if any(name.startswith(".") for name in levels) or (path.is_dir() and len(levels) < 3):
            continue
        if not path.is_dir() and path.suffix[1:].lower() not in SUFFIXES:
            others[path.suffix.lower() or path.name] += 1
        elif path.is_dir() or len(levels) < 3:
            rejected.append(Rejected("/".join(levels), _INSIDE if path.is_dir() else _OUTSIDE))
        else:
            videos.append(levels)
    if not videos:
        raise UserError(f"{root} holds no video in a label's folder; {_LAYOUT}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
    notes = (f"skipped {others.total()} files that are not videos by their names: {kinds}",) if others else ()
    return Listing(root, tuple(_whole_videos(videos)), tuple(rejected), notes)


def _whole_videos(videos: Sequence[tuple[str, ...]]) -> Iterator[VideoSegment]:
    """A segment for each video, given as domain, label's folder and file name."""
    names, domains = video_names(map("/".join, videos)), _safe_domains({domain for domain, _, _ in videos})
    for domain, folder, name in videos:
        file = f"{domain}/{folder}/{name}"
        label = "" if folder.casefold() in UNLABELLED_FOLDERS else folder.strip()
        yield VideoSegment(names[file], names[file], file, domains[domain], label)


def _safe_domains(domains: Iterable[str]) -> dict[str, str]:
    names = {domain: safe_name(domain) for domain in sorted(domains)}
    if twice := [domain for domain, name in names.items() if list(names.values()).count(name) > 1]:
        raise UserError(f"domains {' and '.join(map(repr, twice))} would have the same folder; rename one")
    return names


def _list_csv(path: Path) -> Listing:
    rows = list(_rows(path))
    if not rows:
        raise UserError(f"{path} lists no segments; give a row for each")
    names = video_names(row["video"] for _, row in rows)
    domains = _safe_domains({row["domain"] for _, row in rows})
    segments, seen = list[VideoSegment](), dict[str, str]()
    for number, row in rows:
        where = f"{path}, line {number}"
        if seen.setdefault(row["video"], row["domain"]) != row["domain"]:
            raise UserError(f"{where}: {row['video']} is also given domain {seen[row['video']]!r}; a video has one")
        segments.append(_segment(row, names, domains, where=where))
    segments = _numbered(segments)
    if twice := [uid for uid, count in Counter(segment.uid for segment in segments).items() if count > 1]:
        raise UserError(f"{path}: uid {twice[0]!r} is given to more than one segment; each needs its own")
    return Listing(path.parent, tuple(segments))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as text with their line numbers, cells stripped, paths in one form."""
    names, rows = read_rows(path)
    _check_header(names, path)
    for line, cells in rows:
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
        for name in ("video", "domain"):
            if not row[name]:
                raise UserError(f"{path}, line {line}: no {name}; every segment needs one")
        yield line, {**row, "video": os.path.normpath(row["video"]).replace(os.sep, "/")}


def _check_header(names: list[str], path: Path) -> None:
    if missing := [name for name in ("video", "domain") if name not in names]:
        raise UserError(
            f"{path} lacks the columns {', '.join(missing)}; found {', '.join(names) or 'none'}, "
            f"wanted {', '.join(COLUMNS)} (start, stop, label, uid and split may be left out)"
        )
    clash = next((name for name in names if name in RESERVED or not name), None)
    if clash is not None:
        raise UserError(f"{path}: column {clash!r} {'is made here' if clash else 'has no name'}; rename it")


def _segment(
    row: Mapping[str, str], names: Mapping[str, str], domains: Mapping[str, str], *, where: str
) -> VideoSegment:
    label, split = row.get("label", ""), row.get("split", "")
    if split and split not in SPLITS:
        raise unknown("split", split, SPLITS, hint=f"See {where}; leave it empty to have it drawn.")
    if split == "test" and not label:
        raise UserError(f"{where}: a test segment without a label; only training segments may be unlabelled")
    start, stop = (_seconds(row.get(name, ""), name, where) for name in ("start", "stop"))
    if stop is not None and stop <= (start or 0):
        raise UserError(f"{where}: stop {row['stop']} is not after start {row.get('start') or 0}; correct it")
    further = tuple((name, cell) for name, cell in row.items() if name not in COLUMNS)
    file, domain = row["video"], domains[row["domain"]]
    return VideoSegment(row.get("uid", ""), names[file], file, domain, label, start, stop, split, further)


def _seconds(text: str, name: str, where: str) -> Fraction | None:
    seconds = parse_seconds(text)
    if text and seconds is None:
        raise UserError(f"{where}: {name} is {text!r}; give seconds (12.5) or hours, minutes and seconds (0:00:12.5)")
    return seconds


def _numbered(segments: list[VideoSegment]) -> list[VideoSegment]:
    """Give each segment without a uid the name of its video, numbered from 1 if the video has several segments."""
    totals, counts, numbered = Counter(segment.video for segment in segments), Counter[str](), list[VideoSegment]()
    for segment in segments:
        counts[segment.video] += 1
        uid = segment.video if totals[segment.video] == 1 else f"{segment.video}_{counts[segment.video]}"
        numbered.append(segment if segment.uid else replace(segment, uid=uid))
    return numbered
