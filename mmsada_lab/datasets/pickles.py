"""Pickled tables and arrays, read without running anything in them.

A pickle is a program: it names functions and calls them. Here every name must be on a list, and stands for a `Call`
that only records its arguments; opcodes that plain data do not need are refused. Tables and arrays are rebuilt from
the records, so the versions of pandas and NumPy that wrote a file do not matter. Long byte strings, the contents of
arrays, are never copied: they are views of the memory-mapped file.
"""

from __future__ import annotations

import mmap
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.errors import UserError

VIEW_BYTES = 2**16  # byte strings of this length and more are given as views of the file
MAX_READS = 60_000_000
"""A table of a million cells takes about 6 million; a small file of nothing but empty lists could fill the memory."""

_OPCODES = b"\x80N\x88\x89)KMJG\x8a\x8b\x8cX\x8dCB\x8eUT]}\x85\x86\x87(taesu\x94qrhjc\x93R\x81b."

_ARRAY_KINDS = {
    "array": ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"),
    "buffer": ("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"),
    "scalar": ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"),
    "array class": ("numpy.ndarray",),
    "dtype": ("numpy.dtype",),
    "bytes": ("_codecs.encode", "builtins.bytes", "__builtin__.bytes"),
}
_FRAME_KINDS = {
    "frame": ("pandas.DataFrame", "pandas.core.frame.DataFrame"),
    "manager": ("pandas.core.internals.managers.BlockManager",),
    "block": ("pandas._libs.internals._unpickle_block", "pandas.core.internals.blocks.new_block"),
    "slice": ("builtins.slice", "__builtin__.slice"),
    "index": ("pandas.core.indexes.base._new_Index",),
    "index class": (
        *("pandas.Index", "pandas.core.indexes.base.Index", "pandas.RangeIndex"),
        *("pandas.core.indexes.range.RangeIndex", "pandas.core.indexes.numeric.Int64Index"),
    ),
    "strings": ("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",),
    "strings class": ("pandas.arrays.StringArray", "pandas.core.arrays.string_.StringArray"),
    "strings dtype": ("pandas.StringDtype", "pandas.core.arrays.string_.StringDtype"),
    "missing": ("pandas.NA", "pandas._libs.missing.NA"),
}
_ARRAY_NAMES = {name: kind for kind, names in _ARRAY_KINDS.items() for name in names}
_FRAME_NAMES = _ARRAY_NAMES | {name: kind for kind, names in _FRAME_KINDS.items() for name in names}


def read_pickle_frame(path: Path) -> pd.DataFrame:
    """Read a pickled DataFrame of number and text columns without running anything in it; damage is a `UserError`.

    Written for pandas 0.25 to 3, pickle protocols 2 to 5. The row index is not kept.
    """
    with _explain_refusal(path, "table", advice="write it as a CSV table with the pandas that made it"):
        return _rebuild_frame(_load(path, _FRAME_NAMES))


def read_pickle_arrays(path: Path) -> dict[Any, Any]:
    """Read a pickled dict of arrays, numbers, text, and lists and dicts of them, without running anything in it.

    Written for protocols 2 to 5; damage, or a name off the list, is a `UserError`. Arrays are read-only; from protocol
    3 on they stay in the file, memory-mapped, so that hundreds of megabytes take milliseconds. Arrays of objects may
    hold text and numbers; tuples become lists.
    """
    with _explain_refusal(path, "dict of arrays", advice="write its arrays as .npz (np.savez)"):
        content = _to_plain(_load(path, _ARRAY_NAMES), {})
        if not isinstance(content, dict):
            raise UserError(f"it holds one {type(content).__name__}, not a dict")
        return content


@contextmanager
def _explain_refusal(path: Path, content: str, *, advice: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged or crafted stream can fail in any way
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        refused = f"{path} is not a plain pickled {content} and was not read: {reason}"
        raise UserError(f"{refused}; if you trust it, {advice}") from error


class Call:
    """A call that a pickle asks for and that is not made. There is a subclass for each name; `kind` is its meaning."""

    kind: ClassVar[str] = ""
    arguments: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *arguments: Any) -> Call:
        """Record a call; pickles make objects by `__new__` as well as by calling their class."""
        call = super().__new__(cls)
        call.arguments = arguments
        return call

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _MappedFile:
    """A memory-mapped file for an unpickler: no length in it can ask for more than the file holds."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # Never closed by hand: arrays look into it, and the last of them to go lets it go.
            self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._position, self._reads = 0, 0

    def read(self, count: int) -> Any:
        start, self._reads = self._position, self._reads + 1
        if not 0 <= count <= len(self.data) - start:
            raise UserError(f"it ends at byte {len(self.data)}, within {count} bytes that start at byte {start}")
        if self._reads > MAX_READS:
            raise UserError(f"it has more than {MAX_READS:,} items")
        self._position += count
        view = self.data[start : self._position]
        return view if count >= VIEW_BYTES else bytes(view)

    def readline(self) -> bytes:
        head = bytes(self.data[self._position : self._position + 1000])  # a longer name is on no list
        line: bytes = self.read(head.index(b"\n") + 1)
        return line


class _Actions(dict[int, Callable[..., None]]):
    """What to do for each opcode."""

    def __missing__(self, opcode: int) -> Callable[..., None]:
        raise UserError(f"opcode {opcode:#04x} is not one that numbers and text need")


_STANDARD: Mapping[int, Callable[..., None]] = pickle._Unpickler.dispatch


class _RecordingUnpickler(pickle._Unpickler):
    """Turns names into `Call`s. The unpickler in C would copy all bytes, and allots what a crafted memo asks for."""

    dispatch = _Actions({opcode: _STANDARD[opcode] for opcode in _OPCODES})
    dispatch[pickle.BYTEARRAY8[0]] = _STANDARD[pickle.BINBYTES8[0]]
    dispatch[pickle.FRAME[0]] = lambda self: self.read(8)  # the length of a frame, of use to streams only

    def __init__(self, file: _MappedFile, names: Mapping[str, str]) -> None:
        super().__init__(file, encoding="latin1")
        self._names = names

    def find_class(self, module: str, name: str) -> type[Call]:
        spelling = f"{module}.{name}"
        if spelling not in self._names:
            hint = " (text kept by pyarrow cannot be rebuilt)" if "arrow" in spelling.lower() else ""
            hint = " (save tensors as NumPy arrays)" if "torch" in spelling else hint
            raise UserError(f"it asks for {spelling:.200}, which numbers and text do not need{hint}")
        return type(spelling, (Call,), {"kind": self._names[spelling]})

    def _decode_string(self, value: Any) -> Any:
        """Python 2 had no other strings: a long one is taken for the bytes of an array."""
        return value if isinstance(value, memoryview) else value.decode("latin1")


def _load(path: Path, names: Mapping[str, str]) -> Any:
    file = _MappedFile(path)
    if bytes(file.data[:2]) not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise UserError("it does not begin as a pickle of protocol 2 to 5")
    return _RecordingUnpickler(file, names).load()


def _to_plain(value: Any, done: dict[int, Any]) -> Any:
    """Rebuild what a dict of arrays may hold; `done` keeps each value, as lists may hold one another many times."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if id(value) not in done:
        done[id(value)] = None  # stands for a list inside itself
        done[id(value)] = _rebuild(value, done)
    return done[id(value)]


def _rebuild(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return {_to_plain(key, done): _to_plain(item, done) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(item, done) for item in value]
    if isinstance(value, Call) and value.kind == "scalar":
        dtype, data = value.arguments
        return np.frombuffer(_bytes(data), _dtype(dtype))[0].item()
    if isinstance(value, Call):
        return _array(value)
    raise UserError(f"it holds {_describe(value)}, which is neither number nor text")


def _describe(value: Any) -> str:
    return f"the name {value.__name__}" if isinstance(value, type) else getattr(value, "kind", type(value).__name__)


def _expect(value: Any, *kinds: str) -> Call:
    if not isinstance(value, Call) or value.kind not in kinds:
        raise UserError(f"found {_describe(value)} where a table has its {kinds[0]}")
    return value


def _rebuild_frame(frame: Any) -> pd.DataFrame:
    state = _expect(frame, "frame").state
    manager = _expect(state["_mgr"] if "_mgr" in state else state["_data"], "manager")
    if manager.arguments:  # pandas 1.3 and later
        calls, axes = manager.arguments[:2]
        blocks = [_expect(call, "block").arguments[:2] for call in calls]
    else:
        axes, extra = manager.state[0], manager.state[3]["0.14.1"]
        blocks = [(block["values"], block["mgr_locs"]) for block in extra["blocks"]]
    names = _array(_expect(axes[0], "index").arguments[1]["data"]).tolist()
    columns: dict[int, NDArray[Any]] = {}
    for values, positions in blocks:
        columns |= dict(zip(_positions(positions, len(names)), np.atleast_2d(_array(values)), strict=True))
    # pandas copies the columns of a dict: the table does not look into its file.
    return pd.DataFrame({name: columns[at] for at, name in enumerate(names)})


def _positions(positions: Any, width: int) -> list[int]:
    if isinstance(positions, Call) and positions.kind == "slice":
        return list(range(width))[slice(*positions.arguments)]
    return [int(at) for at in _array(positions)]


def _array(value: Any) -> NDArray[Any]:
    """Rebuild an array: numbers from bytes, or text from a list."""
    call = _expect(value, "array", "buffer", "strings")
    if call.kind == "strings":
        return _array(next(item for item in call.state if getattr(item, "kind", "") == "array"))
    if call.kind == "buffer":
        data, dtype, shape, order = call.arguments[:4]
        return _from_bytes(data, dtype, shape=shape, order=order)
    _, shape, dtype, fortran, data = call.state
    if isinstance(data, list):
        return np.array([_cell(item) for item in data], dtype=object).reshape(shape)
    return _from_bytes(data, dtype, shape=shape, order="F" if fortran else "C")


def _from_bytes(data: Any, dtype: Any, *, shape: Any, order: Any) -> NDArray[Any]:
    sizes, kind, content = tuple(int(size) for size in shape), _dtype(dtype), _bytes(data)
    if min(sizes, default=0) < 0:
        raise UserError(f"an array of shape {sizes}")
    flat: NDArray[Any] = np.frombuffer(content, kind) if len(content) else np.empty(0, kind)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _bytes(data: Any) -> bytes | memoryview:
    """Bytes as the protocols write them: protocol 2 has none and encodes text, Python 2 has no other text."""
    if isinstance(data, Call):
        data = next(iter(_expect(data, "bytes").arguments), "")
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, (bytes, memoryview)):
        raise UserError(f"found {type(data).__name__} where an array has its bytes")
    return data


def _dtype(value: Any) -> np.dtype[Any]:
    call = _expect(value, "dtype")
    code, order = call.arguments[0], call.state[1]
    if not re.fullmatch(r"[iuf][1248]|b1|[SU][1-9]\d{0,5}", code) or order not in ("<", ">", "|", "="):
        raise UserError(f"column type {code!r} is neither number nor text")
    dtype: np.dtype[Any] = np.dtype(order + code)
    return dtype


def _cell(value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, Call) and value.kind == "missing":
        return None
    if value is not None and not isinstance(value, (str, int, float)):
        raise UserError(f"a cell holds {_describe(value)}, not number or text")
    return value
