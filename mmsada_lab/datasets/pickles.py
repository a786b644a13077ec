"""Pickled tables and arrays, read through an allow-list.

A pickle is a program. These are read all the same, but nothing in them runs: `pickle_tree` turns a file into plain
values and inert records of the calls it asks for, each by a name on one of the lists below. Table and arrays are
then rebuilt from those records, so that neither the pandas or NumPy that wrote a file nor the one that reads it
matters.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.datasets.pickle_tree import Made, Name, parse_pickle
from mmsada_lab.errors import UserError

_Result = TypeVar("_Result")

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
    """Read a pickled DataFrame of number and text columns without running anything in it.

    Written for pandas 0.25 to 3, pickle protocols 2 to 5. The row index is not kept.

    Raises:
        UserError: the file is damaged, holds something else, or asks for any name off the list.
    """
    advice = "if you trust it, write it as a CSV table with the pandas that made it"
    with _refusals(path, "a plain pickled table", advice):
        return _rebuild_frame(_parse(path, _FRAME_NAMES))


def read_pickle_arrays(path: Path) -> dict[Any, Any]:
    """Read a pickled dict of arrays, numbers, text, and lists and dicts of them, without running anything in it.

    Written for protocols 2 to 5. Arrays are read-only; those of protocol 3 and later stay in the file, memory-mapped,
    until they are used, so that hundreds of megabytes take milliseconds. Arrays of numbers and of text are allowed,
    also arrays of objects if each is text or a number; tuples become lists.

    Raises:
        UserError: the file is damaged, holds something else, or asks for any name off the list.
    """
    advice = "if you trust it, write its arrays as .npz (np.savez) with the NumPy that made it"
    with _refusals(path, "a plain pickled dict of arrays", advice):
        found = _plain(_parse(path, _ARRAY_NAMES), {})
        if not isinstance(found, dict):
            raise UserError(f"it holds one {type(found).__name__}, not a dict")
        return found


@contextmanager
def _refusals(path: Path, wanted: str, advice: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a crafted or damaged stream can fail in any way; none of them is a crash
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is not {wanted} and was not read: {reason}; {advice}") from error


def _parse(path: Path, names: Mapping[str, str]) -> Any:
    with path.open("rb") as file:
        # Never closed by hand: arrays may look into it, and the last of them to go lets it go.
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return parse_pickle(data, names)
    except UserError as error:
        hint = " (text kept by pyarrow cannot be rebuilt)" if "arrow" in str(error).lower() else ""
        hint = " (save tensors as NumPy arrays)" if "torch" in str(error) else hint
        raise UserError(f"{error}{hint}") from error


def _plain(thing: Any, done: dict[int, Any]) -> Any:
    """Rebuild what a dict of arrays may hold; `done` gives each thing once, however often the file names it."""
    if thing is None or isinstance(thing, (str, int, float)):
        return thing
    if id(thing) not in done:
        done[id(thing)] = None  # what a thing would find of itself inside itself
        done[id(thing)] = _rebuilt(thing, lambda part: _plain(part, done))
    return done[id(thing)]


def _rebuilt(thing: Any, plain: Callable[[Any], Any]) -> Any:
    if isinstance(thing, dict):
        return {plain(key): plain(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [plain(part) for part in thing]
    if isinstance(thing, Made) and thing.kind == "scalar":
        dtype, data = thing.arguments
        return np.frombuffer(_bytes(data), _dtype(dtype))[0].item()
    if isinstance(thing, Made):
        return _values(thing)
    raise UserError(f"it holds {_shown(thing)}, which is neither number nor text")


def _shown(thing: Any) -> str:
    return f"the name {thing.spelling}" if isinstance(thing, Name) else getattr(thing, "kind", type(thing).__name__)


def _expect(thing: Any, *kinds: str) -> Made:
    if not isinstance(thing, Made) or thing.kind not in kinds:
        raise UserError(f"found {_shown(thing)} where a table has its {kinds[0]}")
    return thing


def _rebuild_frame(frame: Any) -> pd.DataFrame:
    state = _expect(frame, "frame").state
    manager = _expect(state["_mgr"] if "_mgr" in state else state["_data"], "manager")
    if manager.arguments:  # pandas 1.3 and later
        blocks, axes = manager.arguments[:2]
        parts = [_expect(block, "block").arguments[:2] for block in blocks]
    else:
        axes, extra = manager.state[0], manager.state[3]["0.14.1"]
        parts = [(block["values"], block["mgr_locs"]) for block in extra["blocks"]]
    names = _values(_expect(axes[0], "index").arguments[1]["data"]).tolist()
    columns: dict[int, NDArray[Any]] = {}
    for values, places in parts:
        block = np.atleast_2d(_values(values))
        columns |= dict(zip(_places(places, len(names)), block, strict=True))
    # pandas copies the columns of a dict: the table does not look into its file.
    return pd.DataFrame({name: columns[at] for at, name in enumerate(names)})


def _places(places: Any, width: int) -> list[int]:
    """Column positions of a block."""
    if isinstance(places, Made) and places.kind == "slice":
        return list(range(width))[slice(*places.arguments)]
    return [int(at) for at in _values(places)]


def _values(array: Any) -> NDArray[Any]:
    """Rebuild an array from the record of it: plain numbers from bytes, or text from a list."""
    made = _expect(array, "array", "buffer", "strings")
    if made.kind == "strings":
        return _values(next(part for part in made.state if getattr(part, "kind", "") == "array"))
    if made.kind == "buffer":
        data, dtype, shape, order = made.arguments[:4]
        return _from_bytes(data, dtype, shape=shape, order=order)
    _, shape, dtype, fortran, data = made.state
    if isinstance(data, list):
        return np.array([_cell(value) for value in data], dtype=object).reshape(shape)
    return _from_bytes(data, dtype, shape=shape, order="F" if fortran else "C")


def _from_bytes(data: Any, dtype: Any, *, shape: Any, order: Any) -> NDArray[Any]:
    sizes, kind = tuple(int(size) for size in shape), _dtype(dtype)
    if min(sizes, default=0) < 0:
        raise UserError(f"an array of shape {sizes}")
    found = _bytes(data)
    flat: NDArray[Any] = np.frombuffer(found, kind) if len(found) else np.empty(0, kind)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _bytes(data: Any) -> bytes | memoryview:
    """Bytes as the protocols write them: protocol 2 has none and encodes text, Python 2 has no other text."""
    if isinstance(data, Made):
        data = next(iter(_expect(data, "bytes").arguments), "")
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, (bytes, memoryview)):
        raise UserError(f"found {type(data).__name__} where an array has its bytes")
    return data


def _dtype(dtype: Any) -> np.dtype[Any]:
    found = _expect(dtype, "dtype")
    code, order = found.arguments[0], found.state[1]
    if not re.fullmatch(r"[iuf][1248]|b1|[SU][1-9]\d{0,5}", code) or order not in ("<", ">", "|", "="):
        raise UserError(f"column type {code!r} is neither number nor text")
    made: np.dtype[Any] = np.dtype(order + code)
    return made


def _cell(value: Any) -> Any:
    if isinstance(value, Name) and value.kind == "missing":
        return None
    if value is not None and not isinstance(value, (str, int, float)):
        raise UserError(f"a cell holds {_shown(value)}, not number or text")
    return value
