"""A pickle is a program; this reads one as a notation instead.

A small interpreter of the opcodes that tables and arrays are written with. No class or function is ever looked up:
a name from the caller's list becomes a `Name`, a call of it a `Made` that remembers its arguments, and any other
name or opcode is refused. Bytes are not copied: those of an array stay where they are in the (memory-mapped) file,
and no length in a file can ask for more than the file holds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmsada_lab.errors import UserError

VIEW_BYTES = 2**16
"""Byte strings from this length on are given as views of the file; shorter ones as bytes."""

MAX_OPCODES = 20_000_000
"""A table of a million cells has 2 to 3 million; a file of nothing but empty lists would fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A name on the list: what it is good for, and how the file spells it."""

    kind: str
    spelling: str


@dataclass(slots=True, eq=False)
class Made:
    """A call that was not made: whose, with which arguments, and the state set afterwards."""

    kind: str
    arguments: tuple[Any, ...]
    state: Any = None


def parse_pickle(data: memoryview, names: Mapping[str, str]) -> Any:
    """Read a pickle of protocol 2 to 5 into plain values, `Name`s and `Made`s.

    Args:
        data: the file.
        names: dotted names the file may use -> their kind.

    Raises:
        UserError: a name or opcode off the list, or a length beyond the end of the file.
        Exception: of any kind, where the stream is not well formed; the caller has to catch it.
    """
    return _Parser(data, names).parse()


class _Parser:
    """The stack machine of the pickle format, less everything that could act."""

    def __init__(self, data: memoryview, names: Mapping[str, str]) -> None:
        self._data, self._names, self._at = data, names, 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each open mark
        self._memo: dict[int, Any] = {}

    def parse(self) -> Any:
        if bytes(self._data[:2]) not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise UserError("it does not begin as a pickle of protocol 2 to 5")
        for _ in range(MAX_OPCODES):
            opcode = self._take(1)[0]
            if opcode == ord("."):
                return self._stack.pop()
            if opcode not in _ACTIONS:
                raise UserError(f"opcode {opcode:#04x} at byte {self._at - 1} is not one that numbers and text need")
            action, operand = _ACTIONS[opcode]
            action(self, operand)
        raise UserError(f"it has more than {MAX_OPCODES:,} opcodes")

    def _take(self, count: int) -> memoryview:
        """The next bytes of the file."""
        start = self._at
        if not 0 <= count <= len(self._data) - start:
            raise UserError(f"it ends at byte {len(self._data)}, within {count} bytes that start at byte {start}")
        self._at += count
        return self._data[start : self._at]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        text = bytes(self._data[self._at : self._at + _LONGEST_NAME])
        return str(self._take(text.index(b"\n") + 1), "utf-8")[:-1]

    def _pop_to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _top(self, kind: type[Any]) -> Any:
        if type(self._stack[-1]) is not kind:
            raise UserError(f"byte {self._at}: found {type(self._stack[-1]).__name__} in place of a {kind.__name__}")
        return self._stack[-1]

    def _name(self, module: object, name: object) -> None:
        spelling = f"{module}.{name}"
        if spelling not in self._names:
            raise UserError(f"it asks for {spelling:.200}, which numbers and text do not need")
        self._stack.append(Name(self._names[spelling], spelling))

    # What follows are the opcodes; each is given the operand its entry in `_OPCODES` has.

    def skip(self, count: int) -> None:
        self._take(count)

    def constant(self, value: object) -> None:
        self._stack.append(value)

    def number(self, form: str) -> None:
        self._stack.append(self._number(form))

    def long_number(self, form: str) -> None:
        self._stack.append(int.from_bytes(self._take(self._number(form)), "little", signed=True))

    def text(self, form: str) -> None:
        self._stack.append(str(self._take(self._number(form)), "utf-8", "surrogatepass"))

    def data(self, form: str) -> None:
        view = self._take(self._number(form))
        self._stack.append(view if len(view) >= VIEW_BYTES else bytes(view))

    def old_text(self, form: str) -> None:
        """Text of Python 2, which had no other bytes either: what is long is taken for the bytes of an array."""
        view = self._take(self._number(form))
        self._stack.append(view if len(view) >= VIEW_BYTES else str(view, "latin1"))

    def new(self, kind: type[Any]) -> None:
        self._stack.append(kind())

    def short_tuple(self, length: int) -> None:
        items = tuple(reversed([self._stack.pop() for _ in range(length)]))
        self._stack.append(items)

    def mark(self, _: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def marked_tuple(self, _: None) -> None:
        items = tuple(self._pop_to_mark())
        self._stack.append(items)

    def append(self, _: None) -> None:
        value = self._stack.pop()
        self._top(list).append(value)

    def extend(self, _: None) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def set_item(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._top(dict)[key] = value

    def set_items(self, _: None) -> None:
        items = self._pop_to_mark()
        self._top(dict).update(zip(items[::2], items[1::2], strict=True))

    def memoize(self, form: str) -> None:
        self._memo[self._number(form) if form else len(self._memo)] = self._stack[-1]

    def recall(self, form: str) -> None:
        self._stack.append(self._memo[self._number(form)])

    def name_in_lines(self, _: None) -> None:
        module = self._line()
        self._name(module, self._line())

    def name_on_stack(self, _: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(module, name)

    def call(self, _: None) -> None:
        arguments = self._top(tuple)
        self._stack.pop()
        called = self._top(Name)
        self._stack[-1] = Made(called.kind, arguments)

    def build(self, _: None) -> None:
        state = self._stack.pop()
        self._top(Made).state = state


_LONGEST_NAME = 1000
_OPCODES: dict[Callable[[_Parser, Any], None], Mapping[str, Any]] = {
    _Parser.skip: {"\x80": 1, "\x95": 8},  # the protocol; the length of a frame, of use to streams only
    _Parser.constant: {"N": None, "\x88": True, "\x89": False, ")": ()},
    _Parser.number: {"K": "<B", "M": "<H", "J": "<i", "G": ">d"},
    _Parser.long_number: {"\x8a": "<B", "\x8b": "<i"},
    _Parser.text: {"\x8c": "<B", "X": "<I", "\x8d": "<Q"},
    _Parser.data: {"C": "<B", "B": "<I", "\x8e": "<Q", "\x96": "<Q"},
    _Parser.old_text: {"U": "<B", "T": "<i"},
    _Parser.new: {"]": list, "}": dict},
    _Parser.short_tuple: {"\x85": 1, "\x86": 2, "\x87": 3},
    _Parser.mark: {"(": None},
    _Parser.marked_tuple: {"t": None},
    _Parser.append: {"a": None},
    _Parser.extend: {"e": None},
    _Parser.set_item: {"s": None},
    _Parser.set_items: {"u": None},
    _Parser.memoize: {"\x94": "", "q": "<B", "r": "<I"},
    _Parser.recall: {"h": "<B", "j": "<I"},
    _Parser.name_in_lines: {"c": None},
    _Parser.name_on_stack: {"\x93": None},
    _Parser.call: {"R": None, "\x81": None},
    _Parser.build: {"b": None},
}
"""Action -> its opcodes, each with the operand it acts with: a constant, or the form of a length."""

_ACTIONS = {
    ord(opcode): (action, operand) for action, operands in _OPCODES.items() for opcode, operand in operands.items()
}
