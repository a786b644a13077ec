"""Many videos at once: one process each, which ends when its parent does, however that ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread

import cv2
from tqdm.auto import tqdm

from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos.decoding import UnreadableVideoError
from mmsada_lab.prepare.videos.frames import Order, Record, make_video
from mmsada_lab.prepare.videos.listing import Refusal


def make_videos(orders: Sequence[Order], *, jobs: int) -> tuple[dict[str, Record], list[Refusal]]:
    """Make all videos, the largest files first, and show how many are done.

    Args:
        orders: what to make; if nothing, nothing is shown.
        jobs: processes; 1 means this one.

    Returns:
        The records by video name, and the files that cannot be used, in the order of the orders.

    Raises:
        UserError: the destination cannot be written, or a process was killed; finished videos stay.
    """
    results = dict[str, Record | Refusal]()
    try:
        with tqdm(total=len(orders), desc="Importing videos", unit="video", disable=not orders) as bar:
            for result in _in_processes(orders, jobs) if min(jobs, len(orders)) > 1 else _here(orders):
                results[result.source if isinstance(result, Record) else result.what] = result
                bar.update()
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or 'the frames'}: {error.strerror}; finished videos are kept: "
            "make room and run the same import again"
        ) from error
    found = [results[order.source] for order in orders]
    return {r.video: r for r in found if isinstance(r, Record)}, [r for r in found if isinstance(r, Refusal)]


def _make(order: Order) -> Record | Refusal:
    try:
        return make_video(order)
    except UnreadableVideoError as error:
        return Refusal(order.source, str(error))


def _here(orders: Sequence[Order]) -> Iterator[Record | Refusal]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield from map(_make, orders)
    finally:
        cv2.setNumThreads(threads)


def _in_processes(orders: Sequence[Order], jobs: int) -> Iterator[Record | Refusal]:
    largest_first = sorted(orders, key=lambda order: -_size(order))
    with _pool(min(jobs, len(orders))) as pool:
        try:
            for future in as_completed([pool.submit(_make, order) for order in largest_first]):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that decodes videos ended early (killed, out of memory, or a file that crashes FFmpeg); "
                "finished videos are kept: run again with jobs=1 (--jobs 1) to see which file it is. In a script, call "
                "import_videos below `if __name__ == '__main__':`"
            ) from error


def _size(order: Order) -> int:
    return order.path.stat().st_size if order.path.is_file() else 0


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes that end at once when this block is left by an error, or when this process is killed."""
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(theirs,))
    try:
        yield pool
        pool.shutdown()
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()


def _begin(parent: Connection) -> None:
    """Prepare a worker: one thread for OpenCV, Ctrl-C left to the parent, an end together with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    try:
        parent.recv()  # nothing is ever sent: it ends when the other end is closed
    except (EOFError, OSError):
        os._exit(1)
