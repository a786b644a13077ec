"""The format `arrays:`: kinds, the common clock, damaged files, segments that lack a modality."""

from __future__ import annotations

import csv
import io
import os
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.datasets.arrays import files as array_files, loader as arrays
from mmsada_lab.datasets.arrays.loader import load_arrays
from mmsada_lab.datasets.arrays.readers import sample_spec
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError

Array = np.ndarray[Any, Any]
HEADER = ("uid", "domain", "split", "label")
ROWS = [
    ("s10", "A", "train", "wave"),
    ("s2", "A", "test", "clap"),
    ("3", "B", "train", ""),
    ("20", "B", "train", "wave"),
    ("100", "B", "test", "clap"),
]
UIDS = [row[0] for row in ROWS]
LENGTHS = dict(zip(UIDS, (7, 4, 11, 5, 6), strict=True))


def write_table(root: Path, rows: Sequence[Sequence[str]] = ROWS, *, header: Sequence[str] = HEADER) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "segments.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root


def write_files(folder: Path, contents: Mapping[str, Array]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for uid, array in contents.items():
        np.save(folder / f"{uid}.npy", array)


def ramps(*trailing: int, dtype: str = "f4") -> dict[str, Array]:
    """Files in which sample t of a segment holds t everywhere."""
    return {
        uid: np.broadcast_to(np.arange(n, dtype=dtype).reshape(-1, *[1] * len(trailing)), (n, *trailing))
        for uid, n in LENGTHS.items()
    }


def write_set(root: Path) -> Path:
    """A video in files, a series in one array, a vector in one array."""
    write_table(root)
    write_files(root / "rgb", ramps(6, 8, 3, dtype="u1"))
    np.save(root / "imu.npy", np.arange(5 * 3 * 2 * 2, dtype="f8").reshape(5, 3, 2, 2))
    np.save(root / "place.npy", np.arange(20, dtype="i2").reshape(5, 4))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_set(tmp_path / "my set")


def everything(data: MultiDomainData) -> dict[tuple[str, str], Array]:
    """All samples there are, by uid and modality."""
    return {
        (segment.uid, modality): reader.read(segment, np.arange(1, segment.stop + 1))
        for domain in data.domains.values()
        for segment in (*domain.train, *domain.test)
        for modality, reader in domain.readers.items()
    }


def segment(data: MultiDomainData, uid: str) -> Segment:
    return next(s for d in data.domains.values() for s in (*d.train, *d.test) if s.uid == uid)


# --- what a good folder gives -----------------------------------------------------------------------------------


def test_three_kinds_in_one_data_set(root: Path) -> None:
    data = load_arrays(root)
    assert (data.name, data.classes, data.in_memory, data.notes) == (
        "arrays-my-set",
        ("clap", "wave"),
        True,
        (),
    )
    assert list(data.domains) == ["A", "B"]
    assert [(s.uid, s.label) for s in data.domain("B").train] == [("3", None), ("20", 1)], "numbers in order"
    readers = data.domain("A").readers
    shown = {m: (r.kind, r.channels, r.mirror_negates) for m, r in readers.items()}
    assert shown == {"imu": ("series", 4, ()), "place": ("vector", 4, ()), "rgb": ("video", 3, ())}
    for uid, stop in LENGTHS.items():
        here = segment(data, uid)
        assert (here.video, here.start, here.stop) == (uid, 1, stop)
        assert {r.extent(here) for r in readers.values()} == {(1, stop)}
        assert {m: r.length(here) for m, r in readers.items()} == {"imu": 3, "place": 1, "rgb": stop}


def test_clock_against_a_loop(root: Path) -> None:
    data = load_arrays(root)
    stored = {"imu": np.load(root / "imu.npy"), "place": np.load(root / "place.npy")}
    numbers = np.array([-40, 0, 1, 2, 3, 4, 5, 6, 7, 5, 1, 99])
    for uid, stop in LENGTHS.items():
        here, row = segment(data, uid), UIDS.index(uid)
        readers = data.domain("A").readers
        for at, n in enumerate(numbers.tolist()):
            inside = min(max(n, 1), stop)
            sample = int((inside - 1) * 3 / stop + 1e-9)
            np.testing.assert_array_equal(readers["imu"].read(here, numbers)[at], stored["imu"][row, sample].ravel())
            np.testing.assert_array_equal(readers["rgb"].read(here, numbers)[at], np.full((6, 8, 3), inside - 1))
            np.testing.assert_array_equal(readers["place"].read(here, numbers)[at], stored["place"][row])
        assert readers["rgb"].read(here, numbers).dtype == np.uint8
        assert {readers[m].read(here, numbers).dtype for m in ("imu", "place")} == {np.dtype("f4")}


def test_reading_nothing_gives_nothing(root: Path) -> None:
    data, none = load_arrays(root), np.array([], dtype=np.int64)
    shapes = {m: r.read(segment(data, "3"), none).shape for m, r in data.domain("B").readers.items()}
    assert shapes == {"imu": (0, 4), "place": (0, 4), "rgb": (0, 6, 8, 3)}


@pytest.mark.parametrize(
    ("dtype", "shape", "kind", "channels"),
    [
        ("u1", (5, 4, 6, 3), "video", 3),
        ("u1", (5, 4, 6), "video", 1),
        ("u1", (5, 4), "series", 4),
        ("u1", (5, 2, 2, 2, 2), "series", 16),
        ("i1", (5, 4, 6, 3), "series", 72),
        ("f2", (5, 20, 3), "series", 60),
        ("?", (5, 7), "series", 7),
        ("f8", (9,), "vector", 9),
        ("u1", (9,), "vector", 9),
    ],
)
def test_kinds(dtype: str, shape: tuple[int, ...], kind: str, channels: int, tmp_path: Path) -> None:
    content = (np.arange(np.prod(shape)).reshape(shape) % 120).astype(dtype)
    write_files(write_table(tmp_path) / "m", dict.fromkeys(UIDS, content))
    write_files(tmp_path / "clock", {uid: np.zeros((5, 1)) for uid in UIDS})
    np.save(tmp_path / "n.npy", np.stack([content] * 5))
    data = load_arrays(tmp_path)
    readers, here = data.domain("A").readers, segment(data, "s10")
    expected = {
        "video": lambda: content.reshape(5, 4, 6, -1),
        "series": lambda: content.reshape(5, -1).astype("f4"),
        "vector": lambda: np.stack([content] * 5).astype("f4"),
    }[kind]()
    for name in ("m", "n"):
        assert (readers[name].kind, readers[name].channels) == (kind, channels)
        np.testing.assert_array_equal(readers[name].read(here, np.arange(1, 6)), expected)


@pytest.mark.parametrize("change", [lambda a: a.astype(">f8"), np.asfortranarray, lambda a: a.astype("f2")])
def test_byte_order_and_axis_order_do_not_matter(change: Callable[[Array], Array], root: Path) -> None:
    plain = everything(load_arrays(root))
    np.save(root / "imu.npy", change(np.load(root / "imu.npy")))
    for key, value in everything(load_arrays(root)).items():
        np.testing.assert_array_equal(value, plain[key])


def test_only_vectors_have_a_clock_of_one(tmp_path: Path) -> None:
    np.save(write_table(tmp_path) / "v.npy", np.eye(5))
    here = segment(load_arrays(tmp_path), "3")
    assert (here.start, here.stop) == (1, 1)


def test_classes_in_the_order_of_numbers_or_as_listed(tmp_path: Path) -> None:
    labels = ["10", "9", "-1", "2.5", "b10"]
    write_table(tmp_path, [(*row[:3], label) for row, label in zip(ROWS, labels, strict=True)])
    np.save(tmp_path / "v.npy", np.eye(5))
    assert load_arrays(tmp_path).classes == ("-1", "2.5", "9", "10", "b10")
    (tmp_path / "classes.txt").write_text("\ufeffb10\n9\nunused\r\n10\n-1\n2.5\n\n", encoding="utf-8")
    data = load_arrays(tmp_path)
    assert data.classes == ("b10", "9", "unused", "10", "-1", "2.5")
    assert [s.label for s in data.domain("B").train] == [4, 5]
    (tmp_path / "classes.txt").write_text("9\n10\n-1\n2.5\n")
    with pytest.raises(
        UserError, match=r"unknown label 'b10'; choose 9, 10, -1, 2\.5\..* row 5 of .*uid 100; .*classes"
    ):
        load_arrays(tmp_path)


def test_further_columns_and_byte_order_mark(tmp_path: Path) -> None:
    write_table(tmp_path, [(*row, f"p{n}", "") for n, row in enumerate(ROWS)], header=[*HEADER, "person", "note"])
    (tmp_path / "segments.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "segments.csv").read_bytes())
    np.save(tmp_path / "v.npy", np.eye(5))
    assert segment(load_arrays(tmp_path), "3").further == (("person", "p2"), ("note", ""))


def test_order_of_rows_does_not_matter_for_files_and_does_for_one_array(root: Path) -> None:
    first = load_arrays(root)
    write_table(root, ROWS[::-1])
    swapped = load_arrays(root)
    assert swapped.digest != first.digest, "the rows of imu.npy now belong to others"
    for name in ("imu", "place"):
        np.save(root / f"{name}.npy", np.load(root / f"{name}.npy")[::-1])
    for key, value in everything(load_arrays(root)).items():
        np.testing.assert_array_equal(value, everything(first)[key] if key[1] == "rgb" else value)
    for name in ("imu", "place"):
        (root / f"{name}.npy").unlink()
    here = load_arrays(root)
    write_table(root)
    assert load_arrays(root).digest == here.digest
    assert [s.uid for s in here.domain("B").train] == ["3", "20"]


def test_digest_follows_tables_sizes_and_shapes(root: Path) -> None:
    digests = [load_arrays(root).digest, load_arrays(root).digest]
    assert digests[0] == digests[1]
    write_table(root, [("s10", "A", "train", "clap"), *ROWS[1:]])
    digests.append(load_arrays(root).digest)
    np.save(root / "imu.npy", np.load(root / "imu.npy").reshape(5, 2, 3, 2))
    digests.append(load_arrays(root).digest)
    np.save(root / "rgb" / "s2.npy", np.zeros((9, 6, 8, 3), "u1"))
    digests.append(load_arrays(root).digest)
    (root / "classes.txt").write_text("wave\nclap\n")
    digests.append(load_arrays(root).digest)
    assert len({*digests}) == len(digests) - 1


def test_data_are_picklable_and_reads_the_same(root: Path) -> None:
    data = load_arrays(root)
    before = everything(data)
    pickled = pickle.dumps(data)
    assert len(pickled) < 10_000, "no array travels"
    for key, value in everything(pickle.loads(pickled)).items():
        np.testing.assert_array_equal(value, before[key])


def test_large_folders_are_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = everything(load_arrays(root))
    monkeypatch.setattr(arrays, "KEEP_BYTES", 1000)
    data = load_arrays(root)
    assert not data.in_memory
    for key, value in everything(data).items():
        np.testing.assert_array_equal(value, kept[key])
    assert not data.domain("A").readers["rgb"]._kept


# --- segments that lack a modality ------------------------------------------------------------------------------


def test_missing_files_and_rows_of_nothing(root: Path) -> None:
    (root / "rgb" / "20.npy").unlink()
    with pytest.raises(UserError, match=r"1 of 5 segments lack rgb, .* 20: nothing in .*rgb/20\.npy; .*missing=drop"):
        load_arrays(root)
    imu = np.load(root / "imu.npy")
    imu[[0, 3]] = np.nan
    np.save(root / "imu.npy", imu)
    with pytest.raises(UserError, match=r"2 of 5 segments lack imu, such as segment s10: .*imu\.npy, row 0 is all NaN"):
        load_arrays(root)
    full = everything(load_arrays(write_set(root.parent / "full")))
    data = load_arrays(root, missing="drop")
    assert data.notes == (
        "segments.csv: dropped 2 of 5 segments (s10, 20) that lack imu",
        "segments.csv: dropped 1 of 5 segments (20) that lack rgb",
    )
    assert (len(data.domain("A").train), len(data.domain("B").train)) == (0, 1)
    for key, value in everything(data).items():
        np.testing.assert_array_equal(value, full[key])
    with pytest.raises(UserError, match=r"unknown missing 'dorp'; choose error, drop"):
        load_data(f"arrays:{root},missing=dorp")


def test_a_row_that_begins_with_nan_is_damaged_and_not_missing(root: Path) -> None:
    imu = np.load(root / "imu.npy")
    imu[2, 0] = np.nan
    np.save(root / "imu.npy", imu)
    data = load_arrays(root, missing="drop")
    assert data.notes == ()
    with pytest.raises(UserError, match=r"row 2, segment 3: nan at sample 0, value 0"):
        everything(data)


def test_nothing_left(tmp_path: Path) -> None:
    np.save(write_table(tmp_path) / "v.npy", np.full((5, 3), np.nan))
    with pytest.raises(UserError, match=r"no segment of .*segments\.csv has all of v"):
        load_arrays(tmp_path, missing="drop")


def test_files_nobody_names_are_noted(root: Path) -> None:
    write_files(root / "rgb", {"other": np.zeros((3, 6, 8, 3), "u1")})
    (root / "rgb" / "._s2.npy").write_bytes(b"what macOS leaves")
    (root / "rgb" / "README").write_text("hello")
    (root / ".cache").mkdir()
    np.save(root / ".cache" / "x.npy", np.zeros(3))
    data = load_arrays(root)
    assert data.notes == (f"ignored 1 file (other) in {root / 'rgb'} that no row of {root / 'segments.csv'} names",)
    assert sorted(data.domain("A").readers) == ["imu", "place", "rgb"]


# --- bad tables -------------------------------------------------------------------------------------------------

BAD_ROWS = {
    r"row 2 has no uid": [ROWS[0], ("", "A", "test", "x")],
    r"row 2 has no domain": [ROWS[0], ("z", " ", "test", "x")],
    r"row 1: domain '\.\./x' cannot name a folder": [("z", "../x", "test", "x")],
    r"unknown split 'val'; choose train, test\. See .*row 1": [("z", "A", "val", "x")],
    r"rows 1 and 3 both have uid s10": [ROWS[0], ROWS[1], ROWS[0]],
    r"has a header but no segments": [],
    r"row 1: label 'x\\x07' has characters": [("z", "A", "test", "x\a")],
    r"has 2 cells": [ROWS[0], ("z", "A")],
}


@pytest.mark.parametrize("message", list(BAD_ROWS))
def test_bad_tables(message: str, root: Path) -> None:
    write_table(root, BAD_ROWS[message])
    with pytest.raises(UserError, match=message):
        load_arrays(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"uid;domain;split\n1;A;train\n", r"lacks the columns uid, domain, split, label; found uid;domain;split"),
        (b"uid,domain,label\n1,A,x\n", r"lacks the columns split; found uid, domain, label"),
        (b"uid,domain,split,label,label\n1,A,train,x,y\n", r"column 'label' twice"),
        ("uid,domain,split,label\n1,A,train,grüßen\n".encode("latin1"), r"UTF-8"),
        (b"", r"segments\.csv"),
        (b'uid,domain,split,label\n"1,A,train,x\n', r"CSV"),
    ],
)
def test_bad_table_files(text: bytes, message: str, root: Path) -> None:
    (root / "segments.csv").write_bytes(text)
    with pytest.raises(UserError, match=message):
        load_arrays(root)


def test_missing_folder_table_and_modalities(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not a folder"):
        load_arrays(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no segments\.csv in .*uid, domain, split, label"):
        load_arrays(tmp_path)
    write_table(tmp_path)
    with pytest.raises(UserError, match=r"no modality in .*neither a file MODALITY\.npy .* nor a folder"):
        load_arrays(tmp_path)
    (tmp_path / "classes.txt").write_text("a\na\n")
    with pytest.raises(UserError, match=r"lists the class 'a' twice"):
        load_arrays(tmp_path)
    (tmp_path / "classes.txt").write_text("\n")
    with pytest.raises(UserError, match=r"lists no classes"):
        load_arrays(tmp_path)


@pytest.mark.parametrize("uid", ["../secret", "/etc/x", "a/b", "a\\b", ".hidden", ".."])
def test_uids_that_leave_their_folder(uid: str, root: Path) -> None:
    np.save(root / "secret.npy", np.zeros((3, 6, 8, 3), "u1"))
    write_table(root, [(uid, *ROWS[0][1:]), *ROWS[1:]])
    (root / "imu.npy").unlink()
    (root / "secret.npy").rename(root.parent / "secret.npy")
    with pytest.raises(UserError, match=r"cannot name a file in .*rgb"):
        load_arrays(root, missing="drop")
    for path in (root / "rgb").iterdir():
        path.unlink()
    assert segment(load_arrays(root), uid).uid == uid, "in one array a uid names no file"


# --- bad arrays -------------------------------------------------------------------------------------------------


class Calls:
    """Unpickled, it would leave a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/mmsada-array-was-unpickled",)


BAD_ARRAYS: dict[str, Array] = {
    r"imu\.npy holds complex128": np.zeros((5, 3, 2), "c16"),
    r"imu\.npy holds <U3": np.full((5, 3, 2), "abc"),
    r"imu\.npy holds \[\('a', '<f4'\)\]": np.zeros((5, 3), [("a", "<f4")]),
    r"imu\.npy holds datetime64": np.zeros((5, 3), "M8[s]"),
    r"shape \(4, 3, 2\), but .* has 5 segments": np.zeros((4, 3, 2)),
    r"shape \(\), but .* has 5 segments": np.zeros(()),
    r"has shape \(\) for a segment": np.zeros(5),
    r"has shape \(0, 2\) for a segment": np.zeros((5, 0, 2)),
    r"imu\.npy holds object": np.full((5, 2), None),
}


@pytest.mark.parametrize("message", list(BAD_ARRAYS))
def test_bad_stacked_arrays(message: str, root: Path) -> None:
    np.save(root / "imu.npy", BAD_ARRAYS[message], allow_pickle=True)
    with pytest.raises(UserError, match=message):
        load_arrays(root)


def npy(header: str, data: bytes = b"", *, version: int = 1) -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 2), }"
BAD_FILES = {
    "empty": b"",
    "magic": b"\x93NUMPX" + npy(GOOD, bytes(40))[6:],
    "a pickle": pickle.dumps(np.zeros((5, 2))),
    "version": npy(GOOD, bytes(40), version=9),
    "cut header": npy(GOOD)[:30],
    "cut data": npy(GOOD, bytes(39)),
    "more than there should be": npy(GOOD, bytes(44)),
    "a shape beyond the file": npy(GOOD.replace("(5, 2)", "(5, 10**3)".replace("10**3", "1000000000000")), bytes(40)),
    "a shape beyond all": npy(GOOD.replace("(5, 2)", f"(5, {'9' * 4000})"), bytes(40)),
    "many axes": npy(GOOD.replace("(5, 2)", f"({'999999999999999999, ' * 400})"), bytes(40)),
    "a negative shape": npy(GOOD.replace("(5, 2)", "(-5, -2)"), bytes(40)),
    "a call in the header": npy(GOOD.replace("(5, 2)", "(5, len('ab'))"), bytes(40)),
    "a deep header": npy("(" * 9000, bytes(40)),
    "a long header": npy(GOOD + " " * 20_000, bytes(40)),
    "a header that claims 4 GiB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
    "not a dict": npy("[1, 2]", bytes(40)),
    "text of Python 2": npy(GOOD.replace("5", "5L"), bytes(39)),
}


@pytest.mark.parametrize("what", list(BAD_FILES))
@pytest.mark.parametrize("place", ["imu.npy", "rgb/s2.npy"])
def test_damaged_files(what: str, place: str, root: Path) -> None:
    (root / place).write_bytes(BAD_FILES[what])
    with pytest.raises(UserError, match=re.escape(str(root / place))):
        load_arrays(root)


def test_the_header_of_the_bad_files_is_good_when_whole(tmp_path: Path) -> None:
    np.save(write_table(tmp_path) / "v.npy", np.eye(5))
    (tmp_path / "w.npy").write_bytes(npy(GOOD, np.arange(10, dtype="f4").tobytes()))
    data = load_arrays(tmp_path)
    np.testing.assert_array_equal(data.domain("B").readers["w"].read(segment(data, "3"), np.array([1])), [[4, 5]])
    (tmp_path / "w.npy").write_bytes(npy(GOOD.replace("5", "5L"), np.arange(10, dtype="f4").tobytes()))
    assert len(everything(load_arrays(tmp_path))) == 10, "also as Python 2 wrote it"


def test_objects_are_refused_and_do_not_run(root: Path) -> None:
    mark = Path("/tmp/mmsada-array-was-unpickled")
    np.save(root / "rgb" / "s2.npy", np.array([Calls(), None], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"s2\.npy holds object, not plain numbers"):
        load_arrays(root)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("uid", "content", "message"),
    [
        ("20", np.zeros((3, 6, 8, 4), "u1"), r"20\.npy holds a video of samples \(6, 8, 4\), but .*s10\.npy a video"),
        ("20", np.zeros((3, 6, 8, 3), "f4"), r"20\.npy holds a series of samples \(6, 8, 3\), but .* a video of"),
        ("20", np.zeros((3, 7, 8, 3), "u1"), r"may differ in length only"),
        ("20", np.zeros((0, 6, 8, 3), "u1"), r"20\.npy has shape \(0, 6, 8, 3\) for a segment"),
    ],
)
def test_files_that_do_not_belong_together(uid: str, content: Array, message: str, root: Path) -> None:
    np.save(root / "rgb" / f"{uid}.npy", content)
    with pytest.raises(UserError, match=message):
        load_arrays(root)


def test_flat_series_get_a_hint(tmp_path: Path) -> None:
    write_files(write_table(tmp_path) / "ecg", {uid: np.zeros(n) for uid, n in LENGTHS.items()})
    with pytest.raises(UserError, match=r"write a series of one channel as \(T, 1\)"):
        load_arrays(tmp_path)


def test_names_that_cannot_be_modalities(root: Path) -> None:
    (root / "rgb.npy").write_bytes((root / "imu.npy").read_bytes())
    with pytest.raises(UserError, match=r"has both rgb\.npy and a folder rgb"):
        load_arrays(root)
    (root / "rgb.npy").rename(root / "rgb.v2.npy")
    with pytest.raises(UserError, match=r"'rgb\.v2' cannot name a modality"):
        load_arrays(root)


def test_a_folder_of_other_files(root: Path) -> None:
    for path in (root / "rgb").iterdir():
        path.rename(path.with_name(f"x_{path.name}"))
    with pytest.raises(UserError, match=r"rgb has \.npy files, but none of a segment of .*name them UID\.npy"):
        load_arrays(root, missing="drop")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite(bad: float, root: Path) -> None:
    imu = np.load(root / "imu.npy")
    imu[2, 1, 1, 0] = bad
    np.save(root / "imu.npy", imu)
    data = load_arrays(root)
    reader, here = data.domain("B").readers["imu"], segment(data, "3")
    assert reader.read(here, np.array([1, 4, 9])).shape == (3, 4), "samples 0, 0 and 2 are good"
    with pytest.raises(UserError, match=r"imu\.npy, row 2, segment 3: -?(nan|inf) at sample 1, value 2 \(counted from"):
        reader.read(here, np.arange(1, 12))


def test_vectors_that_are_not_finite(tmp_path: Path) -> None:
    write_files(write_table(tmp_path) / "v", {uid: np.array([1.0, np.inf]) for uid in UIDS})
    data = load_arrays(tmp_path)
    with pytest.raises(UserError, match=r"v/s2\.npy, segment s2: inf at value 1"):
        data.domain("A").readers["v"].read(segment(data, "s2"), np.arange(3))


def test_files_that_change_while_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_arrays(root)
    for name, content in (("rgb/s2.npy", np.zeros((9, 6, 8, 3), "u1")), ("imu.npy", np.zeros((5, 1, 1, 1)))):
        np.save(root / name, content)
        reader = data.domain("A").readers[name[:3]]
        with pytest.raises(UserError, match=r"start again"):
            pickle.loads(pickle.dumps(reader)).read(segment(data, "s2"), np.array([1]))
    (root / "rgb" / "s10.npy").unlink()
    with pytest.raises(UserError, match=r"cannot read .*s10\.npy"):
        data.domain("A").readers["rgb"].read(segment(data, "s10"), np.array([1]))


def test_spec_of_nothing() -> None:
    with pytest.raises(UserError, match=r"x has shape \(3, 0\)"):
        sample_spec(np.dtype("f4"), (3, 0), "x")


# --- seeded damage ----------------------------------------------------------------------------------------------


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with some flipped, cut off, doubled or put in."""
    changed = bytearray(data)
    head = int(rng.choice([len(changed), min(len(changed), 140)]))  # headers are short, and where the harm is
    match int(rng.integers(5)):
        case 0 | 1:
            for _ in range(int(rng.integers(1, 4))):
                changed[int(rng.integers(head))] = int(rng.integers(256))
        case 2:
            del changed[int(rng.integers(head)) :]
        case 3:
            at = int(rng.integers(head))
            del changed[at : at + int(rng.integers(1, 9))]
        case _:
            at = int(rng.integers(head))
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(changed)


@pytest.mark.parametrize("name", ["segments.csv", "imu.npy", "place.npy", "rgb/s2.npy"])
def test_damage_is_refused_or_read_as_numbers(name: str, root: Path) -> None:
    rng, whole = np.random.default_rng(7), (root / name).read_bytes()
    refused: list[str] = []
    for _ in range(50):
        (root / name).write_bytes(damaged(whole, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                data = load_arrays(root, missing="drop")
                assert all(np.isfinite(value).all() for value in everything(data).values())
            except UserError as error:
                refused.append(str(error))
    assert len(refused) > 5
    assert all(str(root) in message for message in refused)
    (root / name).write_bytes(whole)
    assert load_arrays(root).notes == ()


# --- real sensors -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UTD-MHAD: inertial and skeleton, linked; domains are subjects {1, 2, 3}, {4, 5, 6}, {7, 8}."""
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    real = Path(os.environ["MMSADA_TEST_DATA"]) / "utd_mhad"
    rows = []
    for path in (real / "inertial").glob("*.npy"):
        action, subject, trial = re.findall(r"\d+", path.stem)
        rows.append((path.stem, "AAABBBCC"[int(subject) - 1], "train" if int(trial) < 3 else "test", action))
    root = write_table(tmp_path_factory.mktemp("arrays") / "utd", rows)
    for name in ("inertial", "skeleton"):
        (root / name).symlink_to(real / name)
    return root


def test_utd_mhad(sensors: Path) -> None:
    data = load_arrays(sensors)
    assert (data.name, data.in_memory, data.notes) == ("arrays-utd", True, ())
    assert data.classes == tuple(str(n) for n in range(1, 28))
    counts = {name: (len(d.train), len(d.test)) for name, d in data.domains.items()}
    assert counts == {"A": (162, 161), "B": (162, 161), "C": (108, 107)}
    assert sum(map(sum, counts.values())) == 861
    readers = data.domain("A").readers
    assert {m: (r.kind, r.channels) for m, r in readers.items()} == {
        "inertial": ("series", 6),
        "skeleton": ("series", 60),
    }
    for (uid, modality), found in everything(data).items():
        stored = np.load(sensors / modality / f"{uid}.npy")
        stored = stored.reshape(len(stored), -1)
        here = len(found)
        index = [(n * len(stored)) // here for n in range(here)]
        np.testing.assert_array_equal(found, stored[index])
        assert here >= len(stored)


def test_utd_mhad_as_one_stacked_array(sensors: Path, tmp_path: Path) -> None:
    files = load_arrays(sensors)
    root = write_table(tmp_path / "stacked", list(csv.reader(io.StringIO((sensors / "segments.csv").read_text())))[1:])
    uids = [row.uid for row in arrays.read_array_table(root).rows]
    shown = everything(files)
    fixed = np.stack([shown[uid, "inertial"][:50] for uid in uids])
    np.save(root / "inertial.npy", fixed)
    data = load_arrays(root)
    for (uid, _), found in everything(data).items():
        np.testing.assert_array_equal(found, shown[uid, "inertial"][:50])


def test_headers_are_parsed_once(sensors: Path) -> None:
    array_files._parse.cache_clear()
    load_arrays(sensors)
    assert array_files._parse.cache_info().misses < 400 < array_files._parse.cache_info().hits
