"""Two thousand damaged files, each read whole: refused by name, or read as what it may well be.

Nothing else may come of them: no other error, no hang, no code run, no word on stderr. What is held against the sound
file besides: no frame ever stands in for another, frames and rows whose bytes were not touched are as they were, and
what a checksum covers (the members of an `.npz`, the headers of a tar) is refused or unchanged.

What cannot be noticed, because no checksum covers it: bits flipped within the coded data of a JPEG picture, if what
they give can be decoded, or its height and width changed by less than a block of 8; numbers in a raw `.npy`, in a
pickle, in a cell of a table, or in an `.npz` member too large to be read for its checksum; a type in the header of a
`.npy` that takes as many bytes; the last members of a tar, if nothing but zeros is left of them and of their headers.
"""

from __future__ import annotations

import builtins
import io
import os
import pickle
import pickletools
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import cv2
import numpy as np
import pandas as pd
import pytest
import simplejpeg
from tiny_epic import write_folder, write_pickles, write_tar

from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.datasets.arrays.features import write_features
from mmsada_lab.datasets.epic.frame_files import FrameLocation, FramePattern
from mmsada_lab.datasets.epic.jpeg_reader import JpegReader
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer to end a hang with")

Array = np.ndarray[Any, Any]
Reading = Mapping[tuple[str, str], Array]
FRAMES, SECONDS, CHUNK = 6, 10.0, 100


# --- ways to damage a file --------------------------------------------------------------------------------------


def stretch(data: bytes, rng: np.random.Generator, *, longest: int = 600) -> tuple[int, int]:
    """Start and stop of a random stretch, short ones as likely as long ones; now and then of whole blocks of a tar."""
    block = 512 if len(data) > 2048 and rng.random() < 0.5 else 1
    size = block * int(2 ** rng.uniform(0, np.log2(longest * min(block, 4))))
    start = int(rng.integers(max(len(data) // block, 1))) * block
    return start, min(start + size, len(data))


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    found = bytearray(data)
    for at in rng.integers(len(data), size=int(rng.integers(1, 5))):
        found[at] ^= 1 << int(rng.integers(8))
    return bytes(found)


def overwritten(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = stretch(data, rng, longest=40)
    return data[:start] + rng.bytes(stop - start) + data[stop:]


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = stretch(data, rng)
    return data[:start] + bytes(stop - start) + data[stop:]


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data)))
    return data[at:] if rng.random() < 0.2 else data[:at]


def removed(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = stretch(data, rng)
    return data[:start] + data[stop:]


def repeated(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = stretch(data, rng)
    return data[:stop] + data[start:]


def inserted(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = stretch(data, rng, longest=100)
    return data[:start] + rng.bytes(stop - start) + data[start:]


def swapped(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = stretch(data, rng)
    other, end = stretch(data, rng)
    (a, b), (c, d) = sorted([(start, stop), (max(other, stop) if other >= start else other, end)])
    b, d = min(b, c), max(c, d)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def misnumbered(data: bytes, rng: np.random.Generator) -> bytes:
    """Another number where one stands in digits, or an extreme one in binary anywhere."""
    numbers = list(re.finditer(rb"\d+", data))
    if numbers and rng.random() < 0.6:
        found = numbers[int(rng.integers(len(numbers)))]
        value = int(found[0][:15])
        choices = [b"0", b"-1", b"%d" % (value + 1), b"%d" % (10 * value), b"9" * 15, b"9" * 19, b"1e9", b""]
        new = choices[int(rng.integers(len(choices)))]
        return data[: found.start()] + new + data[found.end() :]
    new = [b"\0" * 4, b"\xff" * 4, b"\xff" * 8, b"\x7f" + b"\xff" * 3, b"\xff" * 3 + b"\x7f"][int(rng.integers(5))]
    at = int(rng.integers(len(data)))
    return data[:at] + new + data[at + len(new) :]


WAYS = (flipped, overwritten, zeroed, cut, removed, repeated, inserted, swapped, misnumbered)
Way = Callable[[bytes, np.random.Generator], bytes]


def resized_picture(data: bytes, rng: np.random.Generator) -> bytes:
    """A JPEG that claims another height or width, or both."""
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    sizes = [int(rng.choice([0, 1, 7, 8, 9, 16, 255, 4096, 65500, 65535])) for _ in "hw"]
    return data[: frame + 5] + b"".join(size.to_bytes(2, "big") for size in sizes) + data[frame + 9 :]


def resized_member(data: bytes, rng: np.random.Generator) -> bytes:
    """A tar with another size in one header, whose checksum agrees."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = rng.choice(np.array([m.offset for m in archive]))
    header, found = bytearray(data[member : member + 512]), int(data[member + 124 : member + 135], 8)
    size = int(rng.choice([0, 1, found - 1, found + 1, found + 512, 2**31, 8**11 - 1]))
    header[124:136] = b"%011o\0" % size
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:member] + bytes(header) + data[member + 512 :]


CALLS = (
    b"cos\nsystem\nX\x0a\0\0\0touch mark\x85R0",
    b"cposix\nsystem\nX\x0a\0\0\0touch mark\x85R0",
    b"cbuiltins\neval\nX\x11\0\0\0open('mark', 'w+')\x85R0",
    b"X\x0a\0\0\0subprocessX\x05\0\0\0Popen\x93X\x05\0\0\0touch\x85\x85R0",
    b"cnumpy\nload\nX\x04\0\0\0mark\x85R0",
    b"c__builtin__\n__import__\nX\x02\0\0\0os\x85R0",
)


def hostile(data: bytes, rng: np.random.Generator) -> bytes:
    """A pickle that calls something between two of its opcodes."""
    places = [at for _, _, at in pickletools.genops(data) if at]
    at = int(rng.choice(np.array(places)))
    return data[:at] + CALLS[int(rng.integers(len(CALLS)))] + data[at:]


# --- guards -----------------------------------------------------------------------------------------------------


class Alarm(BaseException):
    """What no reader catches: it took too long, or ran code."""


def ring(_: int, __: FrameType | None) -> NoReturn:
    raise Alarm(f"still not done after {SECONDS} s")


def watched(run: Callable[..., Any]) -> Callable[..., Any]:
    """Something that runs code, for the standard library's own use only: to import modules, to make named tuples."""

    def call(*arguments: object) -> Any:
        if sys._getframe(1).f_globals["__name__"] in ("importlib._bootstrap", "collections"):
            return run(*arguments)
        raise Alarm("code was run")

    return call


GUARDED = (
    (os, "system popen execv"),
    (subprocess, "Popen"),
    (builtins, "eval exec"),
    (pickle, "load loads Unpickler"),
)


@contextmanager
def guarded() -> Iterator[None]:
    """Whatever runs code, and whatever takes too long, raises an alarm."""
    before = signal.signal(signal.SIGALRM, ring)
    with pytest.MonkeyPatch.context() as patch:
        for where, names in GUARDED:
            for name in names.split():
                patch.setattr(where, name, watched(getattr(where, name)))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


# --- sound files ------------------------------------------------------------------------------------------------


@dataclass
class Subject:
    """One file of a data set, and how to read all that depends on it.

    Attributes:
        path: the file to be damaged.
        read: reads everything; opens the data set anew if told so.
        names: what an error may name: the file, or for tables the data set.
        ways: in which it is damaged.
        spans: for what was read of a (segment, modality): the bytes of the file (start, stop) that each part along
            the first axis and each channel depends on, `(T, C, 2)`; None where any byte may change anything.
        free: bytes at the beginning that may change anything.
        covered: whether a checksum covers all that is read.
        ends: where zeros up to the end of the file are an end like any other.
    """

    path: Path
    read: Callable[[bool], Reading]
    names: tuple[str, ...]
    ways: tuple[Way, ...] = WAYS
    spans: Callable[[tuple[str, str]], Array] | None = None
    free: int = 0
    covered: bool = False
    ends: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.sound = self.path.read_bytes()
        self.expected = self.read(True)
        assert self.expected


def clock(segment: Segment) -> Array:
    return np.linspace(segment.start, segment.stop, FRAMES).astype(np.int64)


def read_all(source: MultiDomainData, *, domains: str = "", modality: str = "") -> Reading:
    """Every segment at six clock numbers: one of them, and then all, as clips that overlap would be read."""
    found = {}
    for name in domains or source.domains:
        domain = source.domain(name)
        for segment in (*domain.train, *domain.test):
            assert segment.label is None or 0 <= segment.label < len(source.classes)
            for kind in [modality] if modality else domain.readers:
                reader, numbers = domain.readers[kind], clock(segment)
                reader.read(segment, numbers[1:2])
                clip = found[segment.uid, kind] = reader.read(segment, numbers)
                assert clip.dtype == (np.uint8 if reader.kind == "video" else np.float32)
                assert (len(clip), clip.shape[-1]) == (FRAMES, reader.channels)
                assert clip.ndim == (4 if reader.kind == "video" else 2)
    return found


def noise(seed: int, channels: int, *, progressive: bool = False) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    if progressive:
        return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return simplejpeg.encode_jpeg(pixels, colorspace="RGB" if channels == 3 else "GRAY", colorsubsampling="444")


def segments() -> pd.DataFrame:
    """A domain A and a domain B, three segments and one video each."""
    rows = [
        (f"{n}", d, f"{d}_0", 1, FRAMES, v, c, d, s)
        for n, (d, v, c, s) in enumerate(
            (d, ("open", "shut")[n % 2], n % 2, ("train", "train", "test")[n]) for d in "AB" for n in range(3)
        )
    ]
    columns = "uid participant_id video_id start_frame stop_frame verb verb_class domain split"
    return pd.DataFrame(rows, columns=columns.split())


def write_epic(root: Path, *, tars: bool, pickles: bool = False) -> Path:
    root.mkdir(parents=True)
    if pickles:
        write_pickles(segments().assign(narration=segments().verb), root)
    else:
        segments().to_csv(root / "segments.csv", index=False)
    for seed, domain in enumerate("AB"):
        rgb = {f"frame_{n:010d}.jpg": noise(100 * seed + n, 3) for n in range(1, FRAMES + 1)}
        flow = {
            f"{c}/frame_{n:010d}.jpg": noise(100 * seed + 10 * n + ord(c), 1, progressive=True)
            for n in range(1, FRAMES // 2 + 1)
            for c in "uv"
        }
        for modality, files in {"rgb": rgb, "flow": flow}.items():
            path = root / modality / domain / f"{domain}_0"
            write_tar(path.with_name(f"{domain}_0.tar"), files) if tars else write_folder(path, files)
    return root


def video_subject(root: Path, modality: str, *, tars: bool) -> Subject:
    """A frame, or the tar of a video; the data set is kept open, as by a run, and pickled as for its workers."""
    kept = pickle.dumps(load_data(f"epic:{write_epic(root, tars=tars)}"))
    load = pickle.loads  # before it is guarded
    tracks, name = ("",) if modality == "rgb" else ("u/", "v/"), "frame_{:010d}.jpg"
    path = root / modality / "A" / "A_0"
    spans = {f"{tracks[-1]}{name.format(2)}": (0, 10**9)}
    path = path.with_name("A_0.tar") if tars else path / next(iter(spans))
    if tars:
        with tarfile.open(path) as archive:
            spans = {m.name: (m.offset_data, m.offset_data + m.size) for m in archive}

    def spanned(_: object) -> Array:
        numbers = np.arange(1, FRAMES + 1) if modality == "rgb" else np.array([1, 1, 1, 2, 2, 3])
        rows = [[spans.get(f"{t}{name.format(n)}", (0, 0)) for t in tracks] for n in numbers]
        return np.array([row * 3 if modality == "rgb" else row for row in rows])

    def read(anew: bool) -> Reading:
        source = load_data(f"epic:{root}") if anew else load(kept)
        return read_all(source, domains="A", modality=modality)

    ways = (*WAYS, resized_member if tars else resized_picture)
    ends = tuple(start - 512 for start, _ in spans.values()) if tars else ()
    return Subject(path, read, (str(path),), ways, spanned, ends=ends)


UIDS, ROW = [f"s{n}" for n in range(6)], 3 * 2 * 4


def write_sensors(root: Path) -> Path:
    """The modality ``whole`` in one array of 6 segments, ``each`` in a file a segment: series of 3 samples of 2."""
    root.mkdir(parents=True)
    rows = zip(UIDS, "AAABBB", ("train", "test", "train") * 2, ("walk", "run") * 3, strict=True)
    pd.DataFrame(rows, columns=["uid", "domain", "split", "label"]).to_csv(root / "segments.csv", index=False)
    values = np.random.default_rng(0).normal(size=(6, 3, 2)).astype("f4")
    np.save(root / "whole.npy", values)
    (root / "each").mkdir()
    for uid, row in zip(UIDS, values, strict=True):
        np.save(root / "each" / f"{uid}.npy", row)
    return root


def sensor_subject(root: Path, modality: str) -> Subject:
    write_sensors(root)
    path = root / ("whole.npy" if modality == "whole" else "each/s2.npy")
    head = path.stat().st_size - ROW * (6 if modality == "whole" else 1)

    def spanned(key: tuple[str, str]) -> Array:
        row = UIDS.index(key[0]) if modality == "whole" else 0
        touched = key[1] == modality and (modality == "whole" or key[0] == "s2")
        return np.broadcast_to((head + ROW * row, head + ROW * (row + 1)) if touched else (0, 0), (FRAMES, 2, 2))

    return Subject(path, lambda _: read_all(load_data(f"arrays:{root}")), (str(path),), spans=spanned, free=head)


def archive_subject(root: Path, *, compressed: bool) -> Subject:
    """Features of 60 kB: more than is looked at for a header."""
    table = pd.read_csv(write_sensors(root.with_name(f"{root.name} table")) / "segments.csv")
    features = np.random.default_rng(1).normal(size=(6, 25, 100)).astype("f4")
    write_features(root, table, {"rgb": features})
    if compressed:
        np.savez_compressed(root / "rgb.npz", uid=np.array(UIDS), features=features)
    path = root / "rgb.npz"
    return Subject(path, lambda _: read_all(load_data(f"features:{root}")), (str(path),), covered=True)


def table_subject(root: Path, name: str) -> Subject:
    write_sensors(root) if name == "arrays" else write_epic(root, tars=False)
    return Subject(root / "segments.csv", lambda _: read_all(load_data(f"{name}:{root}")), (str(root),))


def pickled_table_subject(root: Path) -> Subject:
    write_epic(root, tars=False, pickles=True)
    read = lambda _: read_all(load_data(f"epic:{root}"))  # noqa: E731
    return Subject(root / "A_train.pkl", read, (str(root),), (*WAYS, hostile, hostile))


def challenge_subject(root: Path, *, protocol: int) -> Subject:
    root.mkdir(parents=True)
    for seed, (domain, split) in enumerate((d, s) for d in ("source", "target") for s in ("train", "val")):
        ids = [f"{domain}_{split}_{n}" for n in range(3)]
        frames = pd.DataFrame({"narration_id": ids, "video_id": "P01_1", "start_frame": 1, "stop_frame": 60})
        verbs = {} if (domain, split) == ("target", "train") else {"verb": ["a", "b", "a"], "verb_class": [0, 1, 0]}
        frames.assign(**verbs).to_csv(root / f"EPIC_100_uda_{domain}_{split}.csv", index=False)
        values = np.random.default_rng(seed).normal(size=(2, 3, 4, 5)).astype("f4")
        content = {"features": {"RGB": values[0], "Flow": values[1]}, "narration_ids": np.array(ids)}
        (root / f"{domain}_{split}.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    path = root / "source_train.pkl"
    read = lambda _: read_all(load_data(f"features:{root}"))  # noqa: E731
    return Subject(path, read, (str(path), str(root / "EPIC_100")), (*WAYS, hostile, hostile))


SUBJECTS: dict[str, tuple[int, Callable[[Path], Subject]]] = {
    "rgb frame": (200, lambda root: video_subject(root, "rgb", tars=False)),
    "flow frame": (200, lambda root: video_subject(root, "flow", tars=False)),
    "rgb tar": (200, lambda root: video_subject(root, "rgb", tars=True)),
    "flow tar": (200, lambda root: video_subject(root, "flow", tars=True)),
    "npy of all": (100, lambda root: sensor_subject(root, "whole")),
    "npy of one": (100, lambda root: sensor_subject(root, "each")),
    "npz": (100, lambda root: archive_subject(root, compressed=False)),
    "compressed npz": (100, lambda root: archive_subject(root, compressed=True)),
    "table of frames": (200, lambda root: table_subject(root, "epic")),
    "table of arrays": (200, lambda root: table_subject(root, "arrays")),
    "pickled table": (200, pickled_table_subject),
    "features, protocol 2": (100, lambda root: challenge_subject(root, protocol=2)),
    "features, protocol 5": (100, lambda root: challenge_subject(root, protocol=5)),
}
CHUNKS = [(name, first) for name, (count, _) in SUBJECTS.items() for first in range(0, count, CHUNK)]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """Each subject, made once."""
    made: dict[str, Subject] = {}

    def make(name: str) -> Subject:
        if name not in made:
            made[name] = SUBJECTS[name][1](tmp_path_factory.mktemp("damage") / name.replace(" ", "_"))
        return made[name]

    return make


# --- what may come of it ----------------------------------------------------------------------------------------


def assert_plausible(found: Reading, subject: Subject, *, data: bytes) -> None:
    """What was read of a damaged file, held against the sound one."""
    if subject.covered:
        assert found.keys() == subject.expected.keys()
        for key, expected in subject.expected.items():
            np.testing.assert_array_equal(found[key], expected, err_msg="a checksum covers it")
    if subject.spans is None:
        return
    assert found.keys() == subject.expected.keys()
    same_length = len(data) == len(subject.sound)
    touched = [at for at, (a, b) in enumerate(zip(data, subject.sound, strict=False)) if a != b]
    if any(at < subject.free for at in touched) or any(not any(data[at:]) for at in subject.ends):
        return
    assert subject.free == 0 or same_length, "a header that is whole tells the size"
    for key, expected in subject.expected.items():
        clip = found[key]
        assert clip.shape == expected.shape or subject.ways[-1] is resized_picture
        assert_no_stand_in(clip, expected)
        for (t, c), (start, stop) in same_length * list(np.ndenumerate(spans_of(subject, key))):
            if not any(start <= at < stop for at in touched):
                np.testing.assert_array_equal(clip[t, ..., c], expected[t, ..., c], err_msg=f"{key}, {t}, {c}")


def spans_of(subject: Subject, key: tuple[str, str]) -> Array:
    """Spans as one object array `(T, C)` of pairs."""
    assert subject.spans is not None
    spans = subject.spans(key)
    found = np.empty(spans.shape[:2], dtype=object)
    for at in np.ndindex(*found.shape):
        found[at] = tuple(spans[at].tolist())
    return found


def assert_no_stand_in(clip: Array, expected: Array) -> None:
    """No frame holds what is another one's."""
    for t, frame in enumerate(clip):
        others = [other for other in expected if not np.array_equal(other, expected[t])]
        assert not any(np.array_equal(frame, other) for other in others), f"another stands at {t}"


def examine(name: str, number: int, subject: Subject) -> str:
    """Damage, read, judge: ``refused``, ``read``, or ``sound`` where the damage came to nothing."""
    rng = np.random.default_rng([list(SUBJECTS).index(name), number])
    way = subject.ways[number % len(subject.ways)]
    data, case = way(subject.sound, rng), f"{name}, case {number} ({way.__name__})"
    subject.path.write_bytes(data)
    stamp = time.time_ns() + 10**9 * number  # the clock may be too slow to tell two states of a tar apart
    os.utime(subject.path, ns=(stamp, stamp))
    try:
        with guarded():
            found = subject.read(number % 20 == 0)
        assert way is not hostile, "a call was passed over"
        assert_plausible(found, subject, data=data)
    except UserError as error:
        if not any(place in str(error) for place in subject.names):
            pytest.fail(f"{case}: the error names no file: {error}")
        return "refused"
    except (Exception, Alarm) as error:
        raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
    return "sound" if data == subject.sound else "read"


@pytest.mark.parametrize(("name", "first"), CHUNKS, ids=[f"{name} {first}" for name, first in CHUNKS])
def test_damage(
    name: str,
    first: int,
    subjects: Callable[[str], Subject],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    subject = subjects(name)
    monkeypatch.chdir(tmp_path)
    try:
        fates = [examine(name, number, subject) for number in range(first, first + CHUNK)]
    finally:
        subject.path.write_bytes(subject.sound)
        os.utime(subject.path, ns=(1, 1))
    assert fates.count("refused") >= 20, "most damage is noticed"
    assert fates.count("sound") <= 20, "most cases are damaged"
    assert not list(tmp_path.iterdir()), "no call left its mark"
    assert capfd.readouterr() == ("", "")


def test_there_are_two_thousand() -> None:
    assert CHUNK * len(CHUNKS) == sum(count for count, _ in SUBJECTS.values()) == 2000


# --- pictures ---------------------------------------------------------------------------------------------------


FRAME_TRACK = (FramePattern("", "frame_"),)
SEGMENT = Segment("7", "V", 1, 1)


def encoded(form: str) -> bytes:
    """A picture of noise, in one of the forms that libjpeg writes."""
    pixels = np.random.default_rng(5).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    options = {"progressive": cv2.IMWRITE_JPEG_PROGRESSIVE, "restarts": cv2.IMWRITE_JPEG_RST_INTERVAL}
    if form in options:
        return cv2.imencode(".jpg", pixels[:8, :8], [options[form], 1])[1].tobytes()
    if form == "grey":
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels[..., :1]), colorspace="GRAY")
    return simplejpeg.encode_jpeg(pixels, colorsubsampling=form)


def read_picture(folder: Path, data: bytes) -> Array:
    write_folder(folder, {"frame_1.jpg": data})
    return JpegReader({"V": FrameLocation(folder, FRAME_TRACK)}).read(SEGMENT, np.array([1]))


@pytest.mark.parametrize("form", ["444", "420", "grey", "progressive", "restarts"])
def test_a_cut_picture_is_never_filled_with_grey(form: str, tmp_path: Path) -> None:
    """Wherever it is cut, be it within the marker of its end, and with such a marker after the cut."""
    whole = encoded(form)
    assert whole[-2:] == b"\xff\xd9"
    assert read_picture(tmp_path, whole).std() > 40, "sound, it is noise"
    scan = whole.rindex(b"\xff\xda") + 14
    cuts = [whole[:at] for at in (*range(0, len(whole), 11), *range(len(whole) - 4, len(whole)))]
    for data in [*cuts, *(whole[:at] + b"\xff\xd9" for at in (*range(scan, len(whole) - 3, 11), len(whole) - 3))]:
        with pytest.raises(UserError, match=r"frame_1\.jpg is not a whole JPEG"):
            read_picture(tmp_path, data)


def test_a_picture_cannot_claim_more_than_its_bytes_can_tell(tmp_path: Path) -> None:
    """Decoded all the same, this one would take a minute and 12 GB, only to be refused as cut."""
    whole = encoded("444")
    at = whole.index(b"\xff\xc0") + 5
    with guarded(), pytest.raises(UserError, match=r"frame_1\.jpg .*65500x65500 pixels in [\d,]+ bytes"):
        read_picture(tmp_path, whole[:at] + (65500).to_bytes(2, "big") * 2 + whole[at + 4 :])


@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_OPTIMIZE, 1]])
@pytest.mark.parametrize("shape", [(1080, 1920), (1080, 1920, 3)])
def test_the_flattest_of_pictures_is_read(shape: tuple[int, ...], options: list[int], tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", np.full(shape, 128, np.uint8), [*options, cv2.IMWRITE_JPEG_QUALITY, 1])[1].tobytes()
    assert read_picture(tmp_path, data).shape == (1, 1080, 1920, 3)


def test_pictures_of_two_sizes_are_both_named(tmp_path: Path) -> None:
    """Also where a data set is so small that its frames are kept, and each was read before on its own."""
    root = write_epic(tmp_path / "data", tars=False)
    (root / "rgb/A/A_0/frame_0000000004.jpg").write_bytes(encoded("444"))
    domain = load_data(f"epic:{root}").domain("A")
    for number in (3, 4):
        assert len(domain.readers["rgb"].read(domain.train[0], np.array([number]))) == 1
    with pytest.raises(UserError) as caught:
        domain.readers["rgb"].read(domain.train[0], np.array([3, 4]))
    assert re.search(r"frame_0+4\.jpg is 24x16, but .* began with 8x8 frames, .*frame_0+3\.jpg", str(caught.value))


# --- tars and archives ------------------------------------------------------------------------------------------


def test_a_hole_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    """What a download in parts leaves: the frames after the hole must not be taken for frames there never were."""
    tar = tmp_path / "V.tar"
    write_tar(tar, {f"frame_{n}.jpg": noise(n, 3) for n in range(1, 5)})
    whole, reader = tar.read_bytes(), JpegReader({"V": FrameLocation(tar, FRAME_TRACK, tar=True)})

    def read(data: bytes, number: int) -> int:
        tar.write_bytes(data)
        os.utime(tar, ns=(number, number))
        return len(reader.read(SEGMENT, np.array([1])))

    with tarfile.open(tar) as archive:
        headers = [member.offset for member in archive]
        end = archive.offset
    for number, at in enumerate(headers[:-1]):
        with pytest.raises(UserError, match=rf"V\.tar is not a whole.*damaged or cut off at byte {at}\)"):
            read(whole[:at] + bytes(512) + whole[at + 512 :], number)
    assert read(whole[:end] + bytes(2**20), 11) == 1, "programs may round up to a megabyte"
    with pytest.raises(UserError, match=r"V\.tar is not a whole"):
        read(whole[:end] + bytes(2**20 + 512), 12)


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_the_checksum_of_an_npz_counts(savez: Callable[..., None], tmp_path: Path) -> None:
    root = tmp_path / "features"
    subject = archive_subject(root, compressed=savez is np.savez_compressed)
    at = subject.sound.index(b"features.npy") + 50_000
    subject.path.write_bytes(subject.sound[:at] + bytes([subject.sound[at] ^ 1]) + subject.sound[at + 1 :])
    with pytest.raises(UserError, match=r"cannot read .*rgb\.npz: \w+: .*CRC"):
        read_all(load_data(f"features:{root}"))
