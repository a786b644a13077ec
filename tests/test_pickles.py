"""Pickles read through an allow-list: honest ones come out whole, crafted ones are refused and do nothing."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.datasets import pickles
from mmsada_lab.datasets.pickles import read_pickle_arrays, read_pickle_frame
from mmsada_lab.errors import UserError

PROTOCOLS = [2, 3, 4, 5]


def written(content: object, path: Path, *, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def challenge(segments: int = 7) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(segments, 5, 9)).astype("f4") for name in ("RGB", "Flow", "Audio")}
    return {"features": features, "narration_ids": np.array([f"P01_{n}" for n in range(segments)])}


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    else:
        assert (found, type(found)) == (expected, type(expected))


# --- honest ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dicts_of_arrays(protocol: int, tmp_path: Path) -> None:
    content = challenge()
    found = read_pickle_arrays(written(content, tmp_path / "a.pkl", protocol=protocol))
    assert_same(found, content)
    assert not found["features"]["RGB"].flags.writeable


ARRAYS = {
    "doubles": np.linspace(0, 1, 7),
    "halves": np.arange(6, dtype="f2").reshape(2, 3),
    "big end first": np.arange(6, dtype=">i4"),
    "column by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "booleans": np.array([True, False]),
    "no rows": np.zeros((0, 25, 8), "f4"),
    "a number": np.array(3.5),
    "bytes": np.array([b"P01_1", b"P01_22"]),
    "text": np.array(["ü", "Walter"]),
    "objects": np.array(["P01_1", "x", 3, None], dtype=object),
    "a large one": np.arange(50_000, dtype="f8").reshape(50, 1000),
    "every other": np.arange(20)[::2],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_kind_of_array(protocol: int, tmp_path: Path) -> None:
    assert_same(read_pickle_arrays(written(ARRAYS, tmp_path / "a.pkl", protocol=protocol)), ARRAYS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values(protocol: int, tmp_path: Path) -> None:
    shared = ["same"]
    content = {
        "numbers": [0, 1, 255, 256, 70_000, -1, -(2**31), 2**31, -(2**40), 2**200, 0.1, -1e300, True, False, None],
        "texts": ["", "short", "ü" * 200, "long " * 30_000],
        "nested": {"a": {"b": [[], {}, ["x"]]}, 3: "three"},
        "shared": [shared, shared],
        "NumPy's own": [1.5, "P01_1", 7],
    }
    raw = content | {"NumPy's own": [np.float32(1.5), np.str_("P01_1"), np.int64(7)]}
    assert_same(read_pickle_arrays(written(raw, tmp_path / "a.pkl", protocol=protocol)), content)
    pairs = read_pickle_arrays(written({"pairs": (1, ("a", 2, 3), (), (4, 5, 6, 7))}, tmp_path / "t.pkl"))
    assert pairs == {"pairs": [1, ["a", 2, 3], [], [4, 5, 6, 7]]}


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """Written by hand as Python 2 did: all text, and the bytes of arrays, in string opcodes."""
    data = np.arange(20_000, dtype="<f4")
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M\x20\x4e\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", data.nbytes) + data.tobytes() + b"tb"
    )
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}q\x00(U\x03RGB" + array + b"U\x03idsq\x01]U\x05P01_1au.")
    assert_same(read_pickle_arrays(tmp_path / "a.pkl"), {"RGB": data, "ids": ["P01_1"]})


def test_arrays_stay_in_their_file(tmp_path: Path) -> None:
    """A gigabyte in a sparse file is read at once, and without its memory."""
    size = 2**30
    shape = pickle.dumps(np.zeros(0, "u1"), protocol=5)
    header = b"\x80\x05}\x8c\x01acnumpy.core.numeric\n_frombuffer\n(\x8e" + struct.pack("<Q", size)
    tail = b"cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    assert b"numpy" in shape
    with (tmp_path / "a.pkl").open("wb") as file:
        file.write(header)
        file.seek(size, os.SEEK_CUR)
        file.write(tail + b"J" + struct.pack("<i", size) + b"\x85\x8c\x01CtRs.")
    start = time.perf_counter()
    found = read_pickle_arrays(tmp_path / "a.pkl")["a"]
    assert (found.shape, found.dtype) == ((size,), np.uint8)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tables(protocol: int, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "t": ["a", "b", "ü"], "x": [0.5, np.nan, -1.0], "b": [True, False, True]})
    frame = frame.astype({"t": pd.StringDtype("python", na_value=np.nan)})
    frame.columns = pd.Index(frame.columns, dtype=object)
    frame[frame.n > 1].to_pickle(tmp_path / "frame.pkl", protocol=protocol)
    found = read_pickle_frame(tmp_path / "frame.pkl")
    (tmp_path / "frame.pkl").unlink()
    assert found.columns.tolist() == ["n", "t", "x", "b"]
    assert found.astype(object).where(found.notna(), None).to_numpy().tolist() == [
        [2, "b", None, False],
        [3, "ü", -1.0, True],
    ]


def test_tables_as_pandas_reads_them() -> None:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    paths = sorted((Path(os.environ["MMSADA_TEST_DATA"]) / "mmsada_splits").glob("*.pkl"))
    assert len(paths) == 6
    for path in paths:
        ours, theirs = read_pickle_frame(path), pd.read_pickle(path)
        assert ours.columns.tolist() == theirs.columns.tolist()
        assert ours.astype(object).to_numpy().tolist() == theirs.astype(object).to_numpy().tolist()


# --- crafted ones -----------------------------------------------------------------------------------------------


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: object, state: object = None) -> None:
        self.call = (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class Stateful:
    def __setstate__(self, state: object) -> None:
        os.system("touch " + str(state))


def payloads(mark: Path) -> dict[str, Any]:
    touch = f"touch {mark}"
    return {
        "posix.system": Call(os.system, touch),
        "eval": Call(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Call(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": Call(getattr, "text", "upper"),
        "__import__": Call(__import__, "os"),
        "subprocess.Popen": Call(subprocess.Popen, touch.split()),
        "numpy.load": Call(np.load, str(mark), None, True),
        "numpy.fromfile": Call(np.fromfile, str(mark)),
        "open": Call(open, str(mark), "w"),
        "with state": Call(np.dtype, "f4", state=Call(os.system, touch)),
        "an argument of an array": Call(np.frombuffer, Call(os.system, touch)),
        "in an array": np.array([Call(os.system, touch)], dtype=object),
        "Stateful": Stateful(),
        "OrderedDict": OrderedDict(a=1),
        "BytesIO": io.BytesIO(b"x"),
        "Path": Path("x"),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", list(payloads(Path("x"))))
def test_calls_are_refused_and_not_made(name: str, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hidden = {"features": {"RGB": payloads(mark)[name]}, "narration_ids": ["a"]}
    path = written(hidden, tmp_path / "source_train.pkl", protocol=protocol)
    for read, what in ((read_pickle_arrays, "dict of arrays"), (read_pickle_frame, "pickled table")):
        with pytest.raises(UserError, match=rf"source_train\.pkl is not a plain .*{what} .* it asks for"):
            read(path)
    assert not mark.exists()


def stream(*parts: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + b"".join(parts) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


SYSTEM = text("os") + text("system") + b"\x93"
DTYPE = b"cnumpy\ndtype\n" + text("f4") + b"\x89\x88\x87R(K\x03" + text("<") + b"NNNK\x00K\x00K\x00tb"
EMPTY = b"cnumpy\n_core.multiarray._reconstruct\n"
STREAMS = {
    "a global of os": stream(b"cos\nsystem\n"),
    "a dotted global": stream(text("numpy") + text("ndarray.tofile") + b"\x93"),
    "a name out of the memo": stream(text("os") + b"\x94" + text("system") + b"\x94h\x00h\x01\x93"),
    "a name of bytes": stream(b"C\x02os" + b"C\x06system\x93"),
    "a name that is a list": stream(b"]]\x93"),
    "a persistent id": stream(text("x") + b"Q"),
    "a persistent id in text": stream(b"Px\n"),
    "an extension code": stream(b"\x82\x01"),
    "an extension code of two bytes": stream(b"\x83\x01\x01"),
    "an extension code of four bytes": stream(b"\x84\x01\x01\x01\x01"),
    "an instance": stream(b"(" + text("x") + b"ios\nsystem\n"),
    "an object": stream(b"(cnumpy\ndtype\no"),
    "new with keywords": stream(b"cnumpy\ndtype\n)}\x92"),
    "an out-of-band buffer": stream(b"\x97", protocol=5),
    "a read-only buffer": stream(b"\x97\x98", protocol=5),
    "a set": stream(b"\x8f"),
    "a frozen set": stream(b"(\x91"),
    "state of a dict": stream(b"}" + b"}" + text("a") + b"K\x01sb"),
    "state of a list": stream(b"]}b"),
    "state of a name": stream(b"cnumpy\ndtype\n}" + text("__reduce__") + text("x") + b"sb"),
    "a call of a result": stream(DTYPE + b")R"),
    "a call of text": stream(text("os.system") + text("x") + b"\x85R"),
    "items of a name": stream(b"cnumpy\ndtype\n" + text("a") + text("b") + b"s"),
    "appended to a tuple": stream(b")K\x01a"),
    "a name as a value": stream(b"}" + text("a") + b"cnumpy\ndtype\ns"),
    "a type as a value": stream(b"}" + text("a") + DTYPE + b"s"),
    "a list as a key": stream(b"}]K\x01s"),
    "bytes as a value": stream(b"}" + text("a") + b"C\x01xs"),
    "no dict": stream(b"]"),
    "nothing on the stack": stream(b""),
    "pop of nothing": stream(b"K\x01s"),
    "a mark that is not there": stream(b"e"),
    "an empty memo": stream(b"h\x05"),
    "a huge memo": stream(b"Nr\xff\xff\xff\x7f"),
    "64 GiB of bytes": stream(b"\x96\x00\x00\x00\x00\x10\x00\x00\x00"),
    "a negative length": stream(b"T\xff\xff\xff\xff"),
    "a negative long": stream(b"\x8b\xff\xff\xff\xff"),
    "a frame beyond the end": b"\x80\x04\x95\xff",
    "protocol 0": b"(dp0\nVa\np1\nI1\ns.",
    "protocol 1": b"}q\x00U\x01aK\x01s.",
    "protocol 6": stream(b"}", protocol=6),
    "no end": b"\x80\x04}",
    "nothing": b"",
    "text": b"hello, world",
    "two protocols": stream(b"\x80"),
    "a line without end": stream(b"c" + b"x" * 5000),
    "deeper than the stack": stream(b"}" + text("a") + b"]" * 200_000 + b"a" * 199_999 + b"s"),
    "a dtype of objects": stream(
        b"}" + text("a") + b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8)
        + DTYPE.replace(b"f4", b"O8") + b"K\x01\x85" + text("C") + b"tRs"
    ),
    "an array of more than its bytes": stream(
        b"}" + text("a") + b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8)
        + DTYPE + b"J\xff\xff\xff\x7f\x85" + text("C") + b"tRs"
    ),
    "an array of negative length": stream(
        b"}" + text("a") + b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8)
        + DTYPE + b"J\xff\xff\xff\xff\x85" + text("C") + b"tRs"
    ),
    "an array without state": stream(b"}" + text("a") + b"cnumpy.core.multiarray\n_reconstruct\n)Rs"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(STREAMS))
def test_odd_streams_are_refused(what: str, tmp_path: Path) -> None:
    (tmp_path / "odd.pkl").write_bytes(STREAMS[what])
    for read in (read_pickle_arrays, read_pickle_frame):
        with pytest.raises(UserError, match=r"odd\.pkl is not a plain pickled .* and was not read: "):
            read(tmp_path / "odd.pkl")


def test_what_the_odd_streams_are_made_of_is_good(tmp_path: Path) -> None:
    array = b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8) + DTYPE + b"K\x02\x85" + text("C") + b"tR"
    (tmp_path / "a.pkl").write_bytes(stream(b"}" + text("a") + array + b"s"))
    assert_same(read_pickle_arrays(tmp_path / "a.pkl"), {"a": np.zeros(2, "f4")})


def test_a_thing_inside_itself(tmp_path: Path) -> None:
    inside: dict[str, Any] = {"a": []}
    inside["a"] += [inside, inside["a"]]
    assert read_pickle_arrays(written(inside, tmp_path / "a.pkl")) == {"a": [None, None]}


def test_lists_of_lists_of_the_same_list_take_no_time(tmp_path: Path) -> None:
    laughs: list[Any] = ["ha"]
    for _ in range(60):
        laughs = [laughs] * 10
    start = time.perf_counter()
    found = read_pickle_arrays(written({"a": laughs}, tmp_path / "a.pkl"))["a"]
    assert found[0][9] is found[9][0]
    assert time.perf_counter() - start < 1


def test_too_many_opcodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_READS", 1000)
    (tmp_path / "a.pkl").write_bytes(stream(b"]" * 1001))
    with pytest.raises(UserError, match=r"more than 1,000 items"):
        read_pickle_arrays(tmp_path / "a.pkl")


def test_a_length_that_leads_back(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(stream(b"T\xfb\xff\xff\xff"))
    with pytest.raises(UserError, match=r"negative byte count"):
        read_pickle_arrays(tmp_path / "a.pkl")


def test_tensors_get_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(stream(b"ctorch._utils\n_rebuild_tensor_v2\n"))
    with pytest.raises(UserError, match=r"asks for torch\._utils\._rebuild_tensor_v2.*save tensors as NumPy arrays"):
        read_pickle_arrays(tmp_path / "a.pkl")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.pkl is not .*FileNotFoundError"):
        read_pickle_arrays(tmp_path / "a.pkl")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    match int(rng.integers(3)):
        case 0:
            for _ in range(int(rng.integers(1, 4))):
                changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        case 1:
            del changed[int(rng.integers(len(changed))) :]
        case _:
            at = int(rng.integers(len(changed)))
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(changed)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_seeded_damage_is_refused_or_read_as_plain_values(protocol: int, tmp_path: Path) -> None:
    rng, whole = np.random.default_rng(protocol), pickle.dumps(challenge(2), protocol=protocol)
    path, refused = tmp_path / "a.pkl", 0
    for _ in range(100):
        path.write_bytes(mutated(whole, rng))
        try:
            assert isinstance(read_pickle_arrays(path), dict)
        except UserError:
            refused += 1
    assert 10 < refused < 100
