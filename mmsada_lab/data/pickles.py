"""Pickled tables, read through an allow-list.

A pickle is a program. The authors' six are read all the same, but nothing in them runs: every name a file asks
for must be one that a pandas DataFrame of plain columns needs, and even those become inert stand-ins that only
remember their arguments. The table is then rebuilt from what they remember, so that neither the pandas that
wrote a file nor the one that reads it matters.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.errors import UserError


class _Inert:
    """What a name in a pickle becomes: it remembers how it was called, and does nothing."""

    kind = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: object) -> _Inert:
        made = object.__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: object) -> None:
        self.state = state


_KINDS = {
    "frame": ("pandas.DataFrame", "pandas.core.frame.DataFrame"),
    "manager": ("pandas.core.internals.managers.BlockManager",),
    "block": ("pandas._libs.internals._unpickle_block", "pandas.core.internals.blocks.new_block"),
    "slice": ("builtins.slice", "__builtin__.slice"),
    "index": ("pandas.core.indexes.base._new_Index",),
    "index class": (
        *("pandas.Index", "pandas.core.indexes.base.Index", "pandas.RangeIndex"),
        *("pandas.core.indexes.range.RangeIndex", "pandas.core.indexes.numeric.Int64Index"),
    ),
    "array": ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"),
    "buffer": ("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"),
    "array class": ("numpy.ndarray",),
    "dtype": ("numpy.dtype",),
    "strings": ("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",),
    "strings class": ("pandas.arrays.StringArray", "pandas.core.arrays.string_.StringArray"),
    "strings dtype": ("pandas.StringDtype", "pandas.core.arrays.string_.StringDtype"),
    "missing": ("pandas.NA", "pandas._libs.missing.NA"),
    "bytes": ("_codecs.encode",),
}
_STAND_INS = {
    name: type(f"_Inert_{kind.replace(' ', '_')}", (_Inert,), {"kind": kind})
    for kind, names in _KINDS.items()
    for name in names
}


class _TableUnpickler(pickle.Unpickler):
    """Gives stand-ins for the names a DataFrame needs, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked not in _STAND_INS:
            hint = " (text kept by pyarrow cannot be rebuilt)" if "arrow" in asked.lower() else ""
            raise UserError(f"it asks for {asked}, which a plain table does not need{hint}")
        return _STAND_INS[asked]


def read_pickle_frame(path: Path) -> pd.DataFrame:
    """Read a pickled DataFrame of number and text columns without running anything in it.

    Written for pandas 0.25 to 3, pickle protocols 2 to 5. The row index is not kept.

    Raises:
        UserError: the file is damaged, holds something else, or asks for any name off the list.
    """
    try:
        data = path.read_bytes()
        _refuse_bombs(data)
        return _rebuild_frame(_TableUnpickler(io.BytesIO(data)).load())
    except Exception as error:  # a crafted or damaged stream can fail in any way; none of them is a crash
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path} is not a plain pickled table and was not read: {reason}; "
            "if you trust it, write it as a CSV table with the pandas that made it"
        ) from error


def _refuse_bombs(data: bytes) -> None:
    """Refuse lengths and memo numbers beyond the file's own size: the unpickler would allocate them unread."""
    for opcode, argument, _ in pickletools.genops(data):  # raises ValueError where a length passes the end
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "FRAME") and (argument or 0) > len(data):
            raise UserError(f"{opcode.name} {argument} in a file of {len(data)} bytes")


def _expect(thing: Any, *kinds: str) -> Any:
    if getattr(thing, "kind", None) not in kinds or isinstance(thing, type):
        raise UserError(f"found {type(thing).__name__} where a table has its {kinds[0]}")
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
    return pd.DataFrame({name: columns[at] for at, name in enumerate(names)})


def _places(places: Any, width: int) -> list[int]:
    """Column positions of a block."""
    if getattr(places, "kind", None) == "slice":
        return list(range(width))[slice(*places.arguments)]
    return [int(at) for at in _values(places)]


def _values(array: Any) -> NDArray[Any]:
    """Rebuild an array from its stand-in: plain numbers from bytes, or text from a list."""
    made = _expect(array, "array", "buffer", "strings")
    if made.kind == "strings":
        return _values(next(part for part in made.state if getattr(part, "kind", "") == "array"))
    if made.kind == "buffer":
        data, dtype, shape, order = made.arguments[:4]
        return np.frombuffer(data, _dtype(dtype)).reshape(shape, order=order)
    _, shape, dtype, fortran, data = made.state
    if isinstance(data, list):
        return np.array([_cell(value) for value in data], dtype=object).reshape(shape)
    if isinstance(data, _Inert):  # protocol 2 has no bytes: it encodes text
        data = _expect(data, "bytes").arguments[0].encode("latin1")
    return np.frombuffer(data, _dtype(dtype)).reshape(shape, order="F" if fortran else "C")


def _dtype(dtype: Any) -> np.dtype[Any]:
    code, order = _expect(dtype, "dtype").arguments[0], dtype.state[1]
    if not re.fullmatch(r"[iuf][1248]|b1", code) or order not in ("<", ">", "|", "="):
        raise UserError(f"column type {code!r} is neither number nor text")
    made: np.dtype[Any] = np.dtype(order + code)
    return made


def _cell(value: Any) -> Any:
    if isinstance(value, type) and getattr(value, "kind", "") == "missing":
        return None
    if value is not None and not isinstance(value, (str, int, float)):
        raise UserError(f"a cell holds {type(value).__name__}, not number or text")
    return value
