"""The doctor: finds what was planted, all of it and nothing else, and has nothing to say of clean data."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toy

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens
from mmsada_lab.datasets.open import FORMATS, Format, load_data
from mmsada_lab.datasets.pickles import read_pickle_frame
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.doctor import check as doctor
from mmsada_lab.prepare.doctor.check import check_data, check_domains
from mmsada_lab.prepare.doctor.report import DoctorReport, Finding
from mmsada_lab.prepare.export_kitchens import export_kitchens

TINY = Kitchens(scale=0.001)


# --- readers that do as they are told ---------------------------------------------------------------------------


@dataclass
class Signal:
    """A modality made of noise; `broken` answers for single segments, `ends` are extents of single videos."""

    kind: str = "video"
    channels: int = 3
    mirror_negates: tuple[int, ...] = ()
    first: int = 1
    last: int = 100
    ends: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    size: tuple[int, int] = (32, 40)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
        self.asked += [(segment.uid, int(n)) for n in frames]
        noise = np.random.default_rng(frames.tolist())
        if self.kind == "video":
            values = noise.integers(0, 256, (len(frames), *self.size, self.channels), dtype=np.uint8)
        else:
            values = noise.normal(size=(len(frames), self.channels)).astype(np.float32)
        return self.broken.get(segment.uid, lambda same: same)(values)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return self.first, self.ends.get(segment.video, self.last)


@dataclass
class Recording(Signal):
    """One whose samples are counted."""

    kind: str = "series"
    channels: int = 2
    lengths: Mapping[str, int] = field(default_factory=dict)
    usual: int = 40

    def length(self, segment: Segment) -> int:
        return self.lengths.get(segment.uid, self.usual)


def segments(domain: str, split: str, *, count: int = 6, classes: int = 2) -> tuple[Segment, ...]:
    """Each in a video of its own, 40 frames long."""
    uids = [f"{domain}-{split}-{at}" for at in range(count)]
    return tuple(Segment(uid, f"V-{uid}", 11, 50, at % classes) for at, uid in enumerate(uids))


def clean(**readers: Signal) -> MultiDomainData:
    """Two domains of which nothing is to be said."""
    shown = readers or {"rgb": Signal(), "flow": Signal(channels=2, last=97)}
    domains = {name: Domain(name, shown, segments(name, "train"), segments(name, "test")) for name in "AB"}
    return MultiDomainData("clean", ("open", "close", "fold"), domains, "digest", in_memory=True)


def edited(data: MultiDomainData, split: str = "train", *, domain: str = "A", **changes: Any) -> MultiDomainData:
    """The data with the first segment of a split changed."""
    old = data.domain(domain)
    first, *others = getattr(old, split)
    return with_segments(data, (replace(first, **changes), *others), split, domain=domain)


def with_segments(data: MultiDomainData, new: tuple[Segment, ...], split: str, *, domain: str = "A") -> MultiDomainData:
    return replace(data, domains={**data.domains, domain: replace(data.domain(domain), **{split: new})})


def added(data: MultiDomainData, *new: Segment, split: str = "train") -> MultiDomainData:
    return with_segments(data, (*getattr(data.domain("A"), split), *new), split)


def told(report: DoctorReport) -> list[tuple[str, str, str]]:
    """Level, topic and place of every finding."""
    return [(f.level, f.topic, f.place) for f in report.findings]


def broken(how: Callable[[np.ndarray], np.ndarray], **options: Any) -> MultiDomainData:
    return clean(rgb=Signal(), other=Signal(broken={"A-train-1": how}, **options))


def boom(_: np.ndarray) -> np.ndarray:
    raise RuntimeError("out of order")


def poisoned(values: np.ndarray) -> np.ndarray:
    values[0, 0] = np.nan
    return values


def still(values: np.ndarray) -> np.ndarray:
    picture = np.arange(values[0].size).reshape(values[0].shape).astype(np.uint8)
    return np.repeat(picture[None], len(values), axis=0)


FIRST = segments("A", "train")[0]
SERIES = {"kind": "series", "channels": 2}
VECTOR = {"kind": "vector", "channels": 5}
BAD = ("error", "cannot be read", "A train other segment A-train-1")
DEAD = ("warning", "constant signals", "A train other segment A-train-1")
MISSING = "classes missing from the training segments of a domain"
PLANTED: dict[str, tuple[MultiDomainData, list[tuple[str, str, str]]]] = {
    "nothing": (clean(), []),
    "nothing in series and vectors": (clean(a=Signal(**SERIES), b=Signal(**VECTOR), c=Recording()), []),
    "a reader that crashes": (broken(boom), [BAD]),
    "too few frames": (broken(lambda v: v[1:]), [BAD]),
    "another type": (broken(lambda v: v.astype(np.float32)), [BAD]),
    "another channel": (broken(lambda v: v[..., :2]), [BAD]),
    "NaN": (broken(poisoned, **SERIES), [BAD]),
    "infinite": (broken(lambda v: v / np.float32(0), **VECTOR), [BAD]),
    "a black video": (broken(np.zeros_like), [DEAD]),
    "a video of one colour": (broken(lambda v: v * np.uint8(0) + np.array([9, 8, 7], np.uint8)), [DEAD]),
    "a sensor that stands still": (broken(lambda v: v * 0 + np.float32([3, 4]), **SERIES), [DEAD]),
    "a vector of zeros": (broken(np.zeros_like, **VECTOR), [DEAD]),
    "a still picture": (broken(still), []),
    "a channel that stands still": (broken(lambda v: v * np.array([0, 1, 1], np.uint8)), []),
    "a vector of one number": (clean(x=Signal(kind="vector", channels=1)), []),
    "a segment after its video": (
        edited(clean(), start=111, stop=150),
        [("error", "segments outside their video", f"A train {m} segment A-train-0") for m in ("rgb", "flow")],
    ),
    "a segment that leaves its video": (
        edited(clean(), start=61, stop=101),
        [("warning", "segments that leave their video", "A train rgb segment A-train-0")],
    ),
    "a segment that leaves every modality": (
        edited(clean(), start=61, stop=130),
        [("warning", "segments that leave their video", f"A train {m} segment A-train-0") for m in ("rgb", "flow")],
    ),
    "a segment before its video": (
        clean(rgb=Signal(first=30), flow=Signal(first=20)),
        [
            ("warning", "segments that leave their video", f"{d} {s} {m} segment {d}-{s}-{n}")
            for d in "AB"
            for s in ("train", "test")
            for n in range(6)
            for m in ("rgb", "flow")
        ],
    ),
    "a video cut short in one modality": (
        clean(rgb=Signal(), flow=Signal(channels=2, ends={"V-B-test-2": 60})),
        [("warning", "modalities of different length", "B test flow segment B-test-2")],
    ),
    "eight frames less": (clean(rgb=Signal(), flow=Signal(last=92)), []),
    "two per cent less": (clean(rgb=Signal(last=1000), flow=Signal(last=980)), []),
    "recordings in the same ratio": (clean(a=Recording(usual=200), b=Recording(usual=50)), []),
    "a recording in another ratio": (
        clean(a=Recording(usual=200), b=Recording(usual=50, lengths={"A-test-1": 39, "B-test-1": 45})),
        [("warning", "modalities of different length", "A test b segment A-test-1")],
    ),
    "tiny frames": (
        clean(rgb=Signal(size=(31, 300)), flow=Signal()),
        [("note", "tiny frames", f"{d} rgb") for d in "AB"],
    ),
    "a very short segment": (edited(clean(), stop=25), [("note", "very short segments", "A train segment A-train-0")]),
    "sixteen frames": (edited(clean(), stop=26), []),
    "a short recording": (edited(clean(a=Signal(**SERIES)), stop=25), []),
    "a segment twice": (
        added(clean(), replace(FIRST, uid="again")),
        [("warning", "duplicate segments", "A train segment A-train-0")],
    ),
    "the same frames with another label": (
        added(clean(), replace(FIRST, uid="again", label=1)),
        [("warning", "conflicting labels of the same frames", "A train segment A-train-0")],
    ),
    "the same frames without a label": (
        added(clean(), replace(FIRST, uid="again", label=None)),
        [
            ("warning", "duplicate segments", "A train segment A-train-0"),
            ("note", "segments without labels", "A train"),
        ],
    ),
    "overlap under another label": (
        added(clean(), replace(FIRST, uid="again", start=20, stop=50, label=1)),
        [("note", "segments that overlap under different labels", "A train segment A-train-0")],
    ),
    "overlap under the same label": (added(clean(), replace(FIRST, uid="again", start=20, stop=50)), []),
    "overlap by half": (added(clean(), replace(FIRST, uid="again", start=31, stop=50, label=1)), []),
    "the same numbers in another video": (added(clean(), replace(FIRST, uid="x", video="W", label=1)), []),
    "a class that one domain lacks": (
        with_segments(clean(), segments("B", "train", classes=3), "train", domain="B"),
        [("warning", MISSING, "A")],
    ),
    "a class with one segment": (
        edited(clean(), label=2),
        [("warning", "classes with a single training segment", "A"), ("warning", MISSING, "B")],
    ),
    "a class that is only tested": (
        edited(clean(), "test", label=2),
        [("warning", "test classes without training segments", "A")],
    ),
    "a target without labels": (
        with_segments(clean(), tuple(replace(s, label=None) for s in segments("B", "train")), "train", domain="B"),
        [("note", "segments without labels", "B train")],
    ),
    "no test segments": (with_segments(clean(), (), "test"), [("warning", "domains without segments", "A test")]),
    "a shared video": (
        edited(clean(), "test", video=FIRST.video),
        [
            ("warning", "training and test share videos", "A"),
            ("warning", "duplicate segments", "A train segment A-train-0"),
        ],
    ),
    "a uid twice": (
        edited(clean(), "test", uid="B-train-3"),
        [("error", "uids given more than once", "segment B-train-3")],
    ),
    "no domains": (replace(clean(), domains={}), [("error", "nothing there", "")]),
    "notes": (replace(clean(), notes=("dropped 3 of 9",)), [("note", "told when opened", "")]),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_planted_is_found_and_nothing_else(name: str) -> None:
    data, expected = PLANTED[name]
    report = check_domains(data)
    assert Counter(told(report)) == Counter(expected)
    assert report.ok == all(level != "error" for level, _, _ in expected)


def test_messages_say_what_and_by_how_much() -> None:
    def only(name: str) -> Finding:
        return check_domains(PLANTED[name][0]).findings[0]

    assert "frames 11 to 50 of V-A-train-0, labelled open, close" in only("the same frames with another label").message
    assert "segments A-train-0, again are all" in only("a segment twice").message
    leaving = only("a segment that leaves its video").message
    assert leaving == "it ends 1 frame after its video; the segment is frames 61 to 101, the video 1 to 100"
    assert only("a recording in another ratio").message.startswith("39 samples of b to 200 of a; the other")
    assert only("a video cut short in one modality").message.endswith("end at different frames: rgb 100, flow 60")
    assert only("a reader that crashes").message == "RuntimeError: out of order"
    overlap = only("overlap under another label").message
    assert overlap == "pairs that share more than half their frames: 1, such as A-train-0 (open) and again (close)"
    assert only("a class that is only tested").message.endswith("of this domain, show fold")


def test_a_modality_that_a_domain_lacks_is_one_finding() -> None:
    class Absent(Signal):
        def extent(self, segment: Segment) -> tuple[int, int]:
            raise UserError(f"no flow for {segment.video}; get it")

    data = clean()
    lacking = replace(data.domain("B"), readers={"rgb": Signal(), "flow": Absent()})
    report = check_domains(replace(data, domains={"A": data.domain("A"), "B": lacking}))
    assert told(report) == [("error", "modalities that a domain lacks", "B flow")]
    assert report.findings[0].message == "none of 12 segments has any; the first: no flow for V-B-train-0"
    assert report.findings[0].fix == "get it"


@pytest.mark.parametrize(
    ("problem", "message", "fix"),
    [
        ("x is cut; copy it again", "x is cut", "copy it again"),
        ("a; b; do it", "a; b", "do it"),
        ("looked in a; [b/]c", "looked in a; [b/]c", "copy or make its files again"),
        ("no more", "no more", "copy or make its files again"),
    ],
)
def test_what_to_do_stands_after_the_last_semicolon(problem: str, message: str, fix: str) -> None:
    def refuse(_: np.ndarray) -> np.ndarray:
        raise UserError(problem)

    assert [(f.message, f.fix) for f in check_domains(broken(refuse)).findings] == [(message, fix)]


# --- what is read -----------------------------------------------------------------------------------------------


def test_every_frame_is_read_once() -> None:
    reader = Signal()
    long = edited(clean(rgb=reader), stop=99)
    check_domains(long)
    counts = Counter(reader.asked)
    assert set(counts.values()) == {1}
    for domain in long.domains.values():
        for s in domain.train + domain.test:
            assert {n for uid, n in counts if uid == s.uid} == set(range(s.start, s.stop + 1))


def test_frames_that_windows_of_a_short_segment_take_in_are_read_too() -> None:
    reader = Signal()
    check_domains(edited(clean(rgb=reader), start=40, stop=59))
    assert sorted(n for uid, n in reader.asked if uid == "A-train-0") == list(range(40 - 16, 59 + 16))


def test_a_fast_check_reads_the_ends_of_at_most_fifty_segments() -> None:
    reader = Signal(size=(32, 32), broken={"A-train-0": np.zeros_like})
    data = clean(rgb=reader)
    for name in "AB":
        for split in ("train", "test"):
            data = with_segments(data, segments(name, split, count=60), split, domain=name)
    report = check_domains(data, fast=True)
    assert report.findings == (), "two black frames do not make a dead signal"
    assert set(Counter(reader.asked).values()) == {1}
    assert {n for _, n in reader.asked} == {11, 50}
    assert len(reader.asked) == 2 * 4 * doctor.SAMPLED
    first = list(reader.asked)
    check_domains(data, fast=True)
    assert reader.asked[len(first) :] == first
    assert report.table.segments.sum() == 240
    assert "a sample" in report.as_text()


def test_the_table_counts_and_measures() -> None:
    data = edited(clean(rgb=Signal(), imu=Recording(lengths={"A-train-0": 10, "A-train-2": 15})), stop=60)
    table = check_domains(edited(data, "test", label=None)).table.set_index(["domain", "split", "class", "modality"])
    assert table.loc[("A", "train", "open", "rgb")].tolist() == [3, 3, 40, 40, 50]
    assert table.loc[("A", "train", "open", "imu")].tolist() == [3, 3, 10, 15, 40]
    assert table.loc[("A", "test", "(unlabelled)", "rgb")].tolist() == [1, 1, 40, 40, 40]
    assert ("A", "train", "fold", "rgb") not in table.index
    assert table.segments.sum() == 2 * 4 * 6


def test_bad_jobs_are_refused() -> None:
    with pytest.raises(UserError, match="jobs = 0; choose 1 or more"):
        check_domains(clean(), jobs=0)


# --- the report -------------------------------------------------------------------------------------------------


def test_the_report_is_plain_and_written_whole(tmp_path: Path) -> None:
    report = check_domains(broken(boom, **SERIES))
    path = report.write_json(tmp_path / "new" / "report.json")
    read = json.loads(path.read_text())
    assert read == report.to_json()
    assert (read["ok"], read["counts"]) == (False, {"error": 1, "warning": 0, "note": 0})
    assert read["findings"][0]["segment"] == "A-train-1"
    assert read["table"][0]["segments"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]
    unmeasured = check_domains(clean(a=Recording(broken={}), b=Signal()), fast=True).to_json()
    json.dumps(unmeasured, allow_nan=False)


def test_lengths_that_nobody_told_are_none() -> None:
    class Silent(Recording):
        def length(self, segment: Segment) -> int:
            raise UserError("gone")

    rows = check_domains(clean(a=Silent())).to_json()["table"]
    assert {row["measured"] for row in rows} == {0}
    assert {row["median"] for row in rows} == {None}


def test_the_text_shows_ten_of_a_topic() -> None:
    findings = [Finding("note", "few", "m", "do", segment=str(n)) for n in range(3)]
    findings += [Finding("error", "many", f"message {n}", "do this", domain="A", segment=str(n)) for n in range(25)]
    text = DoctorReport("set", findings=tuple(findings)).as_text()
    assert "ERROR many (25)" in text
    assert "A segment 9: message 9\n" in text
    assert "message 10" not in text
    assert "... and 15 more" in text
    assert text.count("-> do this") == 1
    assert text.endswith("25 errors, 0 warnings, 3 notes")


def test_errors_come_first() -> None:
    levels = [f.level for f in check_domains(replace(PLANTED["a uid twice"][0], notes=("n",))).findings]
    assert levels == ["error", "note"]


# --- opening ----------------------------------------------------------------------------------------------------


def test_what_cannot_be_opened_is_the_one_error(tmp_path: Path) -> None:
    for specification in ("nonsense", f"epic:{tmp_path / 'nowhere'}", "kitchens:taste=1"):
        report = check_data(specification)
        assert [(f.level, f.topic) for f in report.findings] == [("error", "the data cannot be opened")]
        assert not report.ok
        assert len(report.table) == 0
        assert report.as_text().startswith(specification)


def test_data_with_holes_are_examined_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_holed(rest: str) -> MultiDomainData:
        if not rest.endswith(",missing=drop"):
            raise UserError("segment 7 lacks flow; get it")
        return replace(PLANTED["a segment twice"][0], notes=("dropped 1 of 7",))

    monkeypatch.setattr(toy, "open_other", open_holed)
    monkeypatch.setitem(FORMATS, "holed", Format(syntax="holed:ROOT", help="", opener="toy:open_other"))
    report = check_data("holed:ROOT")
    assert [(f.level, f.message) for f in report.findings][::2] == [
        ("error", "segment 7 lacks flow"),
        ("note", "dropped 1 of 7"),
    ]
    assert [f.topic for f in report.findings][1] == "duplicate segments"
    assert report.findings[0].fix == "get it"
    assert (report.data, len(report.table) > 0) == ("holed:ROOT", True)


# --- real trees -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trees")
    load_kitchens(TINY, cache_dir=root, workers=1)
    export_kitchens(root / "folders", TINY, cache_dir=root)
    export_kitchens(root / "tars", TINY, tar=True, cache_dir=root)
    return root


@pytest.mark.parametrize("form", ["folders", "tars"])
def test_clean_trees_are_clean(form: str, trees: Path) -> None:
    report = check_data(f"epic:{trees / form}")
    assert report.findings == ()
    assert report.table.segments.sum() == 2 * 3 * 2 * 16


def test_faults_of_files_are_all_found(trees: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(trees / "folders", root)
    (root / "rgb/D1/D1_train_0003/frame_0000000010.jpg").unlink()
    cut = root / "rgb/D2/D2_test_0001/frame_0000000012.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    (root / "flow/D3/D3_train_0002/u/frame_0000000006.jpg").write_bytes(b"")
    table = pd.read_csv(root / "segments.csv", dtype=str, keep_default_na=False)
    row = table.uid == "D3_test_0005"
    table.loc[row, ["start_frame", "stop_frame"]] = ["200", "230"]
    twin = table[table.uid == "D1_test_0002"].assign(uid="twin")
    twin = twin.assign(verb_class=str((int(twin.verb_class.iloc[0]) + 1) % 8), verb="other")
    pd.concat([table, twin]).to_csv(root / "segments.csv", index=False)
    report = check_data(f"epic:{root}")
    assert Counter(told(report)) == Counter(
        [
            ("error", "cannot be read", "D1 train rgb segment D1_train_0003"),
            ("error", "cannot be read", "D2 test rgb segment D2_test_0001"),
            ("error", "cannot be read", "D3 train flow segment D3_train_0002"),
            ("error", "segments outside their video", "D3 test rgb segment D3_test_0005"),
            ("error", "segments outside their video", "D3 test flow segment D3_test_0005"),
            ("warning", "conflicting labels of the same frames", "D1 test segment D1_test_0002"),
        ]
    )
    messages = {f.segment: f.message for f in report.findings}
    assert "D1_train_0003/frame_0000000010.jpg" in messages["D1_train_0003"]
    assert "frame_0000000012.jpg is not a whole JPEG" in messages["D2_test_0001"]
    assert "frame_0000000006.jpg is not a whole JPEG" in messages["D3_train_0002"]


def test_faults_of_tars_are_all_found(trees: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(trees / "tars", root)
    cut = root / "rgb/D1/D1_test_0004.tar"
    cut.write_bytes(cut.read_bytes()[:20_000])
    report = check_data(f"epic:{root}")
    assert told(report) == [("error", "cannot be read", "D1 test rgb segment D1_test_0004")]
    assert "D1_test_0004.tar is not a whole, uncompressed tar" in report.findings[0].message


def test_a_missing_flow_video_does_not_hide_the_rest(trees: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(trees / "tars", root)
    (root / "flow/D2/D2_test_0005.tar").unlink()
    cut = root / "rgb/D1/D1_test_0004.tar"
    cut.write_bytes(cut.read_bytes()[:20_000])
    report = check_data(f"epic:{root}")
    errors = [f for f in report.findings if f.level == "error"]
    assert [f.topic for f in errors] == ["the data cannot be opened", "cannot be read"]
    assert "D2_test_0005" in errors[0].message
    assert "flow" in errors[0].message
    assert errors[1].segment == "D1_test_0004"
    assert {f.topic for f in report.findings} - {f.topic for f in errors} == {"told when opened"}


def test_several_processes_find_the_same(trees: Path) -> None:
    data = load_data(f"epic:{trees / 'tars'}")
    few = {name: replace(d, train=d.train[:3], test=d.test[:3]) for name, d in data.domains.items()}
    once, twice = (check_domains(replace(data, domains=few), jobs=jobs).to_json() for jobs in (1, 2))
    assert once == twice


def test_a_killed_process_is_told() -> None:
    class Killer(Signal):
        def extent(self, segment: Segment) -> tuple[int, int]:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("still alive")

    with pytest.raises(UserError, match=r"was killed, perhaps for lack of memory; use fewer with jobs"):
        check_domains(clean(x=Killer()), jobs=2)


def test_duplicates_of_the_real_splits() -> None:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    root = Path(os.environ["MMSADA_TEST_DATA"]) / "mmsada_splits"
    domains = {}
    for name in ("D1", "D2", "D3"):
        parts = {}
        for split in ("train", "test"):
            rows = read_pickle_frame(root / f"{name}_{split}.pkl").itertuples()
            parts[split] = tuple(
                Segment(str(r.uid), r.video_id, r.start_frame, r.stop_frame, r.verb_class) for r in rows
            )
        domains[name] = Domain(name, {"rgb": Signal(last=10**6)}, **parts)
    data = MultiDomainData("real", tuple("abcdefgh"), domains, "digest", in_memory=True)
    report = check_domains(data, fast=True)
    same = [f for f in report.findings if "same frames" in f.topic or "duplicate" in f.topic]
    assert sorted((f.domain, f.split, f.topic) for f in same) == [
        ("D3", "train", "conflicting labels of the same frames"),
        ("D3", "train", "duplicate segments"),
    ]
    assert report.ok
    counts = report.table.groupby(["domain", "split"]).segments.sum()
    assert counts.to_dict() == {
        ("D1", "train"): 1543, ("D1", "test"): 435, ("D2", "train"): 2495,
        ("D2", "test"): 750, ("D3", "train"): 3897, ("D3", "test"): 974,
    }  # fmt: skip
