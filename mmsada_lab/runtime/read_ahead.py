"""Batches that worker processes make ahead, in memory they share with the training process and use over and over.

A batch of clips is half a gigabyte at the paper's size. Sent from process to process it would cost new pages of shared
memory each time, which take as long to be had as JPEG pictures to be decoded. Here every batch has a *slot*, a piece of
memory that all processes see; a few of them take turns. The worker writes its clips where the training process will
read them, and only says where they are.
"""

from __future__ import annotations

import gc
import io
import math
import mmap
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmsada_lab.errors import UserError

T = TypeVar("T")
Where = tuple[int, tuple[int, ...], str]
"""Offset in a slot, shape and type of a tensor."""

_ALIGNMENT = 64
_LOST = re.compile(r"DataLoader worker \(pid")


def batches_ahead(workers: int) -> int:
    """Batches that each worker makes before they are asked for; of many workers one each is enough, and half a GB."""
    return 2 if workers <= 8 else 1


class BatchLoader(Generic[T]):
    """Iterates over items of a data set in a given order, whatever the number of processes that make them.

    With workers an item's tensors lie in memory that is used again: they are valid until the next item is asked for.
    Memory is bounded: there are never more than `batches_ahead` for each worker, and one.

    Args:
        batches: the data set; its items are pickled, but for their tensors, which stay where they are.
        order: which items, such as the steps that remain.
        workers: processes; 0 makes every item when it is asked for, here.
        pin_memory: items are copied, by a thread, to memory that a GPU can copy from by itself (`item.pin_memory()`).
    """

    def __init__(self, batches: Dataset[T], order: Sequence[int], *, workers: int, pin_memory: bool = False) -> None:
        self._batches, self._order, self._workers, self._pin = batches, order, workers, pin_memory
        self._loader: DataLoader[Any] | None = None
        self._slots: list[Slot] = []

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[T]:
        if self._loader is None:
            self._loader = self._built()
        with lost_workers_named():
            for made in self._loader:
                if isinstance(made, UserError):
                    raise made
                yield made.unpacked() if isinstance(made, _Packed) else made

    def close(self) -> None:
        """End the worker processes; they start again when items are asked for."""
        self._loader, self._slots = None, []

    def _built(self) -> DataLoader[Any]:
        if not self._workers or not hasattr(os, "memfd_create"):  # not on Linux: sent, at the price above
            order, workers = self._order, self._workers
            return DataLoader(self._batches, batch_size=None, sampler=order, num_workers=workers, pin_memory=self._pin)
        ahead = batches_ahead(self._workers)
        self._slots = [Slot() for _ in range(self._workers * ahead + 1)]
        return DataLoader(
            _InSlots(self._batches, self._order, self._slots),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=ahead,
            multiprocessing_context="fork",  # slots are inherited
            worker_init_fn=_leave_inherited,
            persistent_workers=True,
            pin_memory=self._pin,
        )


def _leave_inherited(worker: int) -> None:
    """To look for garbage in what a process inherited would copy the pages it lies on, 50 MB in each of them."""
    gc.freeze()


class _InSlots(Dataset["_Packed | UserError"]):
    """Items with their tensors in slots."""

    def __init__(self, batches: Dataset[Any], order: Sequence[int], slots: Sequence[Slot]) -> None:
        self._batches, self._order, self._slots = batches, order, slots

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> _Packed | UserError:
        slot = self._slots[number % len(self._slots)]
        try:
            with slot.in_use():
                return _Packed(slot.number, slot.pickled(self._batches[self._order[number]]))
        except UserError as error:  # its message is the user's; `DataLoader` would put a traceback into it
            return error


@dataclass(frozen=True, slots=True)
class _Packed:
    """What is sent of an item: the slot that holds its tensors, and the rest of it."""

    slot: int
    rest: bytes

    def unpacked(self) -> Any:
        return Slot.made[self.slot].unpickled(self.rest)

    def pin_memory(self) -> Any:
        """Asked for by `DataLoader`, by this name."""
        return self.unpacked().pin_memory()


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Turn the end of a worker process into a `UserError`.

    PyTorch raises it in whatever the training process does when the worker ends, so all of that belongs in here.
    """
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        _forget_lost_workers()
        raise UserError(
            f"a process that reads clips ended early ({str(error).strip()}). Most often the machine ran out of memory: "
            "take fewer with --workers, or a smaller batch_size. Finished steps up to the last checkpoint are kept; "
            "the same command continues from there"
        ) from error


def _forget_lost_workers() -> None:
    """PyTorch says it once for every loader, be it while that is taken down: hear it out here."""
    while True:
        try:
            torch._C._error_if_any_worker_fails()
        except RuntimeError:
            continue
        return


def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array to be filled; in a worker process it lies in the slot of the batch that is being made."""
    return np.empty(shape, dtype) if Slot.current is None else Slot.current.array(shape, dtype)[1]


class Slot:
    """Memory for one batch, shared by the processes forked after it was made; it grows as needed and never shrinks."""

    current: ClassVar[Slot | None] = None
    made: ClassVar[WeakValueDictionary[int, Slot]] = WeakValueDictionary()

    def __init__(self) -> None:
        self._file = self.number = os.memfd_create("batch")
        Slot.made[self.number] = self
        self._memory: mmap.mmap | None = None
        self._used = 0
        self._given: dict[int, Where] = {}

    def __del__(self) -> None:
        os.close(self._file)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Begin anew with this slot, and give `room` in it."""
        self._used, self._given, Slot.current = 0, {}, self
        try:
            yield
        finally:
            Slot.current = None

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> tuple[Where, NDArray[Any]]:
        """An uninitialised array in the slot, and where it lies."""
        kind = np.dtype(dtype)
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        self._used = start + math.prod(shape) * kind.itemsize
        where = (start, shape, kind.str)
        made = self.view(where)
        self._given[made.ctypes.data] = where
        return where, made

    def pickled(self, item: object) -> bytes:
        """An item as bytes that say where its tensors lie in the slot; those that lie elsewhere are copied to it."""
        written = io.BytesIO()
        _Pickler(written, self).dump(item)
        return written.getvalue()

    def unpickled(self, packed: bytes) -> Any:
        """The item again, its tensors where they lie."""
        return _Unpickler(io.BytesIO(packed), self).load()

    def put(self, tensor: Tensor) -> Where:
        """Where a tensor lies in the slot; it is copied there if it lies elsewhere."""
        array = tensor.numpy()
        where = self._given.get(tensor.data_ptr())
        if where is None or where[1:] != (array.shape, array.dtype.str) or not tensor.is_contiguous():
            where, copy = self.array(array.shape, array.dtype)
            copy[...] = array
        return where

    def view(self, where: Where) -> NDArray[Any]:
        """What lies in the slot there."""
        start, shape, dtype = where
        count = math.prod(shape)
        if not count:
            return np.empty(shape, dtype)
        end = start + count * np.dtype(dtype).itemsize
        if self._memory is None or len(self._memory) < end:
            if os.fstat(self._file).st_size < end:
                os.ftruncate(self._file, end)
            self._memory = mmap.mmap(self._file, os.fstat(self._file).st_size)
        return np.frombuffer(self._memory, dtype, count, start).reshape(shape)


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, slot: Slot) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._slot = slot

    def persistent_id(self, thing: object) -> Where | None:
        return self._slot.put(thing) if isinstance(thing, Tensor) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, slot: Slot) -> None:
        super().__init__(file)
        self._slot = slot

    def persistent_load(self, where: Where) -> Tensor:
        return torch.from_numpy(self._slot.view(where))
