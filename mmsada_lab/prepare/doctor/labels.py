"""What can be said of segments and labels without opening a file: repeats, overlaps, classes that are missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.prepare.doctor.report import Finding

SHORT = 16
"""Clock frames below which a segment of a video is called very short."""

OVERLAP = 0.5
"""Intersection over union from which on two segments show the same thing."""

_NAMED = 5


def label_findings(data: MultiDomainData) -> Iterator[Finding]:
    """Everything about segments and labels, domain by domain."""
    if not data.domains:
        yield Finding("error", "nothing there", "the data set has no domains", "see its table of segments")
    yield from _repeated_uids(data)
    classes = {name: _training_classes(domain) for name, domain in data.domains.items()}
    for domain in data.domains.values():
        yield from _empty_splits(domain)
        yield from _shared_videos(domain)
        yield from _duplicates(domain, data.classes)
        for split, segments in splits(domain).items():
            yield from _overlaps(domain, split, segments, data.classes)
            yield from _short_segments(domain, split, segments)
            yield from _unlabelled(domain, split, segments)
        yield from _class_sets(domain, data.classes, classes)


def splits(domain: Domain) -> dict[str, tuple[Segment, ...]]:
    """Segments by the name of their split."""
    return {"train": domain.train, "test": domain.test}


def _repeated_uids(data: MultiDomainData) -> Iterator[Finding]:
    counts = Counter(s.uid for domain in data.domains.values() for s in (*domain.train, *domain.test))
    for uid, count in counts.items():
        if count > 1:
            message = f"{count} segments have this uid"
            yield Finding("error", "uids given more than once", message, "give each its own", segment=uid)


def _empty_splits(domain: Domain) -> Iterator[Finding]:
    for split, segments in splits(domain).items():
        if not segments:
            use = "trained or adapted on" if split == "train" else "tested on"
            yield Finding(
                "warning",
                "domains without segments",
                f"there are no {split} segments, so the domain cannot be {use}",
                domain=domain.name,
                split=split,
            )


def _shared_videos(domain: Domain) -> Iterator[Finding]:
    shared = sorted({s.video for s in domain.train} & {s.video for s in domain.test})
    if shared:
        yield Finding(
            "warning",
            "training and test share videos",
            f"segments of both come from {_listed(shared)}",
            "split by video, or read test accuracy on this domain as optimistic",
            domain=domain.name,
        )


def _duplicates(domain: Domain, classes: Sequence[str]) -> Iterator[Finding]:
    """Segments of the same frames; within a domain, whatever the split."""
    same: dict[tuple[str, int, int], list[tuple[str, Segment]]] = defaultdict(list)
    for split, segments in splits(domain).items():
        for segment in segments:
            same[segment.video, segment.start, segment.stop].append((split, segment))
    for (video, start, stop), found in same.items():
        if len(found) > 1:
            labels = sorted({s.label for _, s in found if s.label is not None})
            conflict = len(labels) > 1
            names = f", labelled {_listed([classes[at] for at in labels])}" if conflict else ""
            uids = _listed([segment.uid for _, segment in found])
            yield Finding(
                "warning",
                "conflicting labels of the same frames" if conflict else "duplicate segments",
                f"segments {uids} are all frames {start} to {stop} of {video}{names}",
                "keep the right one" if conflict else "keep one",
                domain=domain.name,
                split=found[0][0],
                segment=found[0][1].uid,
            )


def _overlaps(domain: Domain, split: str, segments: Sequence[Segment], classes: Sequence[str]) -> Iterator[Finding]:
    """One note with the number of pairs that overlap by more than half and are labelled differently."""
    pairs = [pair for pair in _overlapping(segments) if pair[0].label != pair[1].label]
    if pairs:
        first, second = pairs[0]
        names = [classes[s.label] for s in (first, second) if s.label is not None]
        yield Finding(
            "note",
            "segments that overlap under different labels",
            f"pairs that share more than half their frames: {len(pairs)}, such as {first.uid} ({names[0]}) "
            f"and {second.uid} ({names[1]})",
            domain=domain.name,
            split=split,
            segment=first.uid,
        )


def _overlapping(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Segment]]:
    """Pairs of labelled segments of one video that overlap by more than half, but are not the same."""
    ordered = sorted((s for s in segments if s.label is not None), key=lambda s: (s.video, s.start, s.stop))
    for at, first in enumerate(ordered):
        for second in ordered[at + 1 :]:
            if second.video != first.video or second.start > first.stop:
                break
            shared = min(first.stop, second.stop) - second.start + 1
            union = max(first.stop, second.stop) - first.start + 1
            same = (first.start, first.stop) == (second.start, second.stop)
            if not same and shared > OVERLAP * union:
                yield first, second


def _short_segments(domain: Domain, split: str, segments: Sequence[Segment]) -> Iterator[Finding]:
    if all(reader.kind != "video" for reader in domain.readers.values()):
        return
    for segment in segments:
        length = segment.stop - segment.start + 1
        if length < SHORT:
            yield Finding(
                "note",
                "very short segments",
                f"{length} frames; a window of the paper spans 32",
                domain=domain.name,
                split=split,
                segment=segment.uid,
            )


def _unlabelled(domain: Domain, split: str, segments: Sequence[Segment]) -> Iterator[Finding]:
    count = sum(segment.label is None for segment in segments)
    if count:
        message = f"{count} of {len(segments)} segments have no label"
        yield Finding("note", "segments without labels", message, domain=domain.name, split=split)


def _training_classes(domain: Domain) -> Counter[int]:
    return Counter(segment.label for segment in domain.train if segment.label is not None)


def _class_sets(domain: Domain, names: Sequence[str], found: Mapping[str, Counter[int]]) -> Iterator[Finding]:
    """Classes that other domains train on and this one does not, that it has once, or only tests on."""
    own = found[domain.name]
    if not own:
        return
    elsewhere = {label for counts in found.values() for label in counts}
    tested = {segment.label for segment in domain.test if segment.label is not None}
    topics = {
        "classes missing from the training segments of a domain": (
            sorted(elsewhere - own.keys()),
            "other domains train on",
            "leave them out of the others, or expect them to be mistaken",
        ),
        "classes with a single training segment": (
            sorted(label for label, count in own.items() if count == 1),
            "a single training segment shows",
            "add segments, or leave the classes out",
        ),
        "test classes without training segments": (
            sorted(tested - own.keys()),
            "test segments, but no training segment of this domain, show",
            "they cannot be learned from this domain: read its supervised accuracy with that in mind",
        ),
    }
    for topic, (labels, what, fix) in topics.items():
        if labels:
            message = f"{what} {_listed([names[at] for at in labels])}"
            yield Finding("warning", topic, message, fix, domain=domain.name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
