"""What segments and labels show without opening a file: repeats, overlaps, missing classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.prepare.doctor.report import Finding

SHORT = 16
"""A segment of a video is called very short if it has fewer clock frames."""

OVERLAP = 0.5
"""Intersection over union above which two segments show the same thing."""

_NAMED = 5


def label_findings(data: MultiDomainData) -> Iterator[Finding]:
    """All findings about segments and labels, domain by domain."""
    if not data.domains:
        yield Finding("error", "nothing there", "the data set has no domains", "see its table of segments")
    yield from _repeated_uids(data)
    trained = {name: Counter(s.label for s in d.train if s.label is not None) for name, d in data.domains.items()}
    for domain in data.domains.values():
        yield from _shared_videos(domain)
        yield from _duplicates(domain, data.classes)
        for split, segments in domain.splits.items():
            yield from _overlaps(domain, split, segments, data.classes)
            yield from _of_split(domain, split, segments)
        yield from _class_sets(domain, data.classes, trained)


def _repeated_uids(data: MultiDomainData) -> Iterator[Finding]:
    counts = Counter(s.uid for domain in data.domains.values() for s in (*domain.train, *domain.test))
    for uid in (uid for uid, count in counts.items() if count > 1):
        message = f"{counts[uid]} segments have this uid"
        yield Finding("error", "uids given more than once", message, "give each its own", segment=uid)


def _of_split(domain: Domain, split: str, segments: Sequence[Segment]) -> Iterator[Finding]:
    """A split that is empty, or has very short segments of videos, or segments without labels."""
    where = {"domain": domain.name, "split": split}
    if not segments:
        use = "trained or adapted on" if split == "train" else "tested on"
        message = f"there are no {split} segments, so the domain cannot be {use}"
        yield Finding("warning", "domains without segments", message, **where)
    is_video = any(reader.kind == "video" for reader in domain.readers.values())
    for segment in segments:
        length = segment.stop - segment.start + 1
        if is_video and length < SHORT:
            message = f"{length} frames; a window of the paper spans 32"
            yield Finding("note", "very short segments", message, **where, segment=segment.uid)
    if unlabelled := sum(segment.label is None for segment in segments):
        message = f"{unlabelled} of {len(segments)} segments have no label"
        yield Finding("note", "segments without labels", message, **where)


def _shared_videos(domain: Domain) -> Iterator[Finding]:
    if shared := sorted({s.video for s in domain.train} & {s.video for s in domain.test}):
        message = f"segments of both come from {_listed(shared)}"
        fix = "split by video, or read test accuracy on this domain as optimistic"
        yield Finding("warning", "training and test share videos", message, fix, domain=domain.name)


def _duplicates(domain: Domain, classes: Sequence[str]) -> Iterator[Finding]:
    """Segments of the same frames within a domain, whatever the split."""
    same: dict[tuple[str, int, int], list[tuple[str, Segment]]] = defaultdict(list)
    for split, segments in domain.splits.items():
        for segment in segments:
            same[segment.video, segment.start, segment.stop].append((split, segment))
    for (video, start, stop), copies in same.items():
        if len(copies) > 1:
            uids = _listed([segment.uid for _, segment in copies])
            message = f"segments {uids} are all frames {start} to {stop} of {video}"
            labels = sorted({segment.label for _, segment in copies if segment.label is not None})
            topic, fix = "duplicate segments", "keep one"
            if len(labels) > 1:
                message += f", labelled {_listed([classes[label] for label in labels])}"
                topic, fix = "conflicting labels of the same frames", "keep the right one"
            split, first = copies[0]
            yield Finding("warning", topic, message, fix, domain=domain.name, split=split, segment=first.uid)


def _overlaps(domain: Domain, split: str, segments: Sequence[Segment], classes: Sequence[str]) -> Iterator[Finding]:
    """A single note on the pairs that overlap and are labelled differently."""
    pairs = list(_unlike_pairs(segments))
    if pairs:
        names = " and ".join(f"{s.uid} ({classes[s.label]})" for s in pairs[0] if s.label is not None)
        message = f"pairs that share more than half their frames: {len(pairs)}, such as {names}"
        topic = "segments that overlap under different labels"
        yield Finding("note", topic, message, domain=domain.name, split=split, segment=pairs[0][0].uid)


def _unlike_pairs(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Segment]]:
    """Pairs of segments that overlap and are labelled differently."""
    labelled = [segment for segment in segments if segment.label is not None]
    labelled.sort(key=lambda segment: (segment.video, segment.start, segment.stop))
    for at, first in enumerate(labelled):
        for second in labelled[at + 1 :]:
            if second.video != first.video or second.start > first.stop:
                break
            if first.label != second.label and _mostly_overlap(first, second):
                yield first, second


def _mostly_overlap(first: Segment, second: Segment) -> bool:
    """Whether two segments share most of their frames without being the same; the second starts no earlier."""
    shared = min(first.stop, second.stop) - second.start + 1
    union = max(first.stop, second.stop) - first.start + 1
    return shared > OVERLAP * union and (first.start, first.stop) != (second.start, second.stop)


def _class_sets(domain: Domain, names: Sequence[str], trained: Mapping[str, Counter[int]]) -> Iterator[Finding]:
    """Classes that only other domains train on, that this one trains on with a single segment, or only tests on."""
    own = trained[domain.name]
    if not own:
        return
    elsewhere = {label for counts in trained.values() for label in counts}
    tested = {segment.label for segment in domain.test if segment.label is not None}
    warn = partial(Finding, "warning", domain=domain.name)
    if missing := _listed([names[label] for label in sorted(elsewhere - own.keys())]):
        topic = "classes missing from the training segments of a domain"
        fix = "leave them out of the others, or expect them to be mistaken"
        yield warn(topic, f"other domains train on {missing}", fix)
    if single := _listed([names[label] for label in sorted(own) if own[label] == 1]):
        topic, fix = "classes with a single training segment", "add segments, or leave the classes out"
        yield warn(topic, f"a single training segment shows {single}", fix)
    if untrained := _listed([names[label] for label in sorted(tested - own.keys())]):
        fix = "they cannot be learned from this domain: read its supervised accuracy with that in mind"
        message = f"test segments, but no training segment of this domain, show {untrained}"
        yield warn("test classes without training segments", message, fix)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
