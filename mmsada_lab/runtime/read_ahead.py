"""Batches that worker processes make ahead of the training step, in shared memory that is used again and again.

With `DataLoader` alone each batch, half a gigabyte at the paper's size, would allocate new shared memory, which takes
as long as decoding the JPEGs. Here a pool of shared buffers takes turns: a worker writes its clips where the training
process will read them, and sends only their locations.
"""

from __future__ import annotations

import copyreg
import gc
import io
import mmap
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmsada_lab.errors import UserError

T = TypeVar("T")

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def batches_ahead(workers: int) -> int:
    """Batches that each worker makes before they are asked for."""
    return 2 if workers <= 8 else 1  # memory is the limit: many workers keep the training step busy with one each


class BatchLoader(Generic[T]):
    """Iterates over items of a data set in a given order, the same for any number of worker processes.

    With workers the tensors of an item lie in a shared buffer: they are valid until the next item is asked for.
    Memory is bounded: there are never more than `batches_ahead` items for each worker, and one.

    Args:
        dataset: its items are pickled, except for their tensors.
        order: which items, such as the steps that remain.
        workers: processes; 0 makes every item when it is asked for, in this process.
        pin_memory: a thread copies items to memory that a GPU can copy from by itself (`item.pin_memory()`).
    """

    def __init__(self, dataset: Dataset[T], order: Sequence[int], *, workers: int, pin_memory: bool = False) -> None:
        self._dataset, self._order, self._workers, self._pin = dataset, order, workers, pin_memory
        self._buffers: list[SharedBuffer] = []
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[T]:
        if self._loader is None:
            self._loader = self._build_loader()
        with explain_lost_workers():
            for item in self._loader:
                if isinstance(item, UserError):
                    raise item
                yield item

    def close(self) -> None:
        """End the worker processes; they start again when items are asked for."""
        self._loader, self._buffers = None, []

    def _build_loader(self) -> DataLoader[Any]:
        # Processes, not threads: on two idle cores a pool of threads reaches 0.96 of this rate, but only a thirtieth
        # beside a thread that holds the interpreter lock, as a training loop does.
        ahead = batches_ahead(self._workers)
        self._buffers = _build_buffers(self._workers * ahead + 1) if self._workers else []
        return DataLoader(
            _Items(self._dataset, self._buffers),
            batch_size=None,
            sampler=list(enumerate(self._order)),
            num_workers=self._workers,
            prefetch_factor=ahead if self._workers else None,
            multiprocessing_context="fork" if self._buffers else None,  # workers inherit the buffers
            worker_init_fn=_freeze_inherited_objects,
            persistent_workers=self._workers > 0,
            pin_memory=self._pin,
        )


def _build_buffers(count: int) -> list[SharedBuffer]:
    """Shared buffers, or none where there cannot be any: then `DataLoader` copies the items."""
    try:
        return [SharedBuffer() for _ in range(count)] if hasattr(os, "memfd_create") else []
    except OSError:  # a limit on addresses (`ulimit -v`)
        return []


def _freeze_inherited_objects(worker: int) -> None:
    gc.freeze()  # a collector that visits inherited objects copies the pages they lie on, 50 MB in each worker


class _Items(Dataset[Any]):
    """Items of a data set with their tensors in shared buffers, if there are any, which take turns."""

    def __init__(self, dataset: Dataset[Any], buffers: Sequence[SharedBuffer]) -> None:
        self._dataset, self._buffers = dataset, buffers

    def __getitem__(self, turn_and_index: tuple[int, int]) -> Any:
        turn, index = turn_and_index
        try:
            if not self._buffers:
                return self._dataset[index]
            buffer = self._buffers[turn % len(self._buffers)]
            with buffer.activate():
                return _PickledItem(buffer.pickle(self._dataset[index]))
        except UserError as error:  # `DataLoader` would add a traceback to a message for the user
            return error


class _PickledItem:
    """An item that was pickled already: whoever receives this from a worker gets the item itself."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self._content,)


@contextmanager
def explain_lost_workers() -> Iterator[None]:
    """Within the context, the end of a worker process is a `UserError` that says what to do.

    PyTorch raises it from a signal handler, in whatever the training process does just then: put all of that in here.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        _drain_worker_errors()
        raise UserError(
            f"a process that reads clips ended early ({str(error).strip()}). Most often the machine ran out of memory: "
            "take fewer with --workers, or a smaller batch_size. Finished steps up to the last checkpoint are kept; "
            "the same command continues from there"
        ) from error


def _drain_worker_errors() -> None:
    """PyTorch raises the error once per loader, also during shutdown: raise all of them here, and ignore them."""
    while True:
        with suppress(RuntimeError):
            torch._C._error_if_any_worker_fails()
            return


def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An uninitialised array; in a worker process it lies in the shared buffer of the item that is being made."""
    buffer = SharedBuffer.active
    return np.empty(shape, dtype) if buffer is None else buffer.allocate(shape, dtype)


class SharedBuffer:
    """Memory for the tensors of one item, shared with the processes that are forked later, and used again.

    It has addresses for as much as the machine's memory. Pages are taken when they are first written, and kept.
    """

    active: ClassVar[SharedBuffer | None] = None
    _by_address: ClassVar[WeakValueDictionary[int, SharedBuffer]] = WeakValueDictionary()

    def __init__(self) -> None:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        file = os.memfd_create("batch")
        try:
            os.ftruncate(file, size)
            self._memory = mmap.mmap(file, size)
        finally:
            os.close(file)  # the mapping keeps a descriptor of its own
        self._address = np.frombuffer(self._memory, np.uint8).ctypes.data  # the same in forked processes
        self._by_address[self._address] = self
        self._used = 0

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Within the context, which begins with an empty buffer, `allocate` takes memory from it."""
        self._used, SharedBuffer.active = 0, self
        try:
            yield
        finally:
            SharedBuffer.active = None

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialised array in the buffer."""
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        array: NDArray[Any] = np.ndarray(shape, dtype, self._memory, start)
        self._used = start + array.nbytes
        return array

    def pickle(self, item: object) -> bytes:
        """Pickle an item with the locations of its tensors; those that lie elsewhere are copied into the buffer."""
        file = io.BytesIO()
        pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
        pickler.dispatch_table = copyreg.dispatch_table | {Tensor: self._reduce}
        pickler.dump(item)
        return file.getvalue()

    def _reduce(self, tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[object, ...]]:
        array = tensor.numpy()
        start = array.ctypes.data - self._address
        if not (array.flags.c_contiguous and 0 <= start <= self._used - array.nbytes):
            array = self.allocate(tuple(tensor.shape), array.dtype)
            array[...] = tensor.numpy()
            start = array.ctypes.data - self._address
        return SharedBuffer.read, (self._address, start, array.shape, array.dtype.str)

    @classmethod
    def read(cls, address: int, start: int, shape: tuple[int, ...], dtype: str) -> Tensor:
        """The tensor at a location in the buffer of this address."""
        return torch.from_numpy(np.ndarray(shape, dtype, cls._by_address[address]._memory, start))
