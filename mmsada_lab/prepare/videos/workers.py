"""Imports many videos at once, each in a process that ends with its parent, even if that is killed."""

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
from mmsada_lab.prepare.videos.frames import ImportedVideo, ImportJob, make_video
from mmsada_lab.prepare.videos.listing import Rejected


def make_videos(videos: Sequence[ImportJob], *, processes: int) -> tuple[dict[str, ImportedVideo], list[Rejected]]:
    """Import videos, the largest files first, with a progress bar; 1 process means this one.

    Returns:
        The records by video name, and the files that cannot be used, both in the order of the videos.

    Raises:
        UserError: the destination cannot be written, or a process was killed; finished videos stay.
    """
    results = dict[str, ImportedVideo | Rejected]()
    processes = min(processes, len(videos))
    try:
        with tqdm(total=len(videos), desc="Importing videos", unit="video", disable=not videos) as bar:
            for name, result in _in_processes(videos, processes) if processes > 1 else _here(videos):
                results[name] = result
                bar.update()
    except OSError as error:
        hint = "finished videos are kept: make room and run the same import again"
        raise UserError(f"cannot write {error.filename or 'the frames'}: {error.strerror}; {hint}") from error
    ordered = [results[job.video] for job in videos]
    imported = {result.video: result for result in ordered if isinstance(result, ImportedVideo)}
    return imported, [result for result in ordered if isinstance(result, Rejected)]


def _make(job: ImportJob) -> tuple[str, ImportedVideo | Rejected]:
    try:
        return job.video, make_video(job)
    except UnreadableVideoError as error:
        return job.video, Rejected(job.source, str(error))


def _here(videos: Sequence[ImportJob]) -> Iterator[tuple[str, ImportedVideo | Rejected]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield from map(_make, videos)
    finally:
        cv2.setNumThreads(threads)


def _in_processes(videos: Sequence[ImportJob], processes: int) -> Iterator[tuple[str, ImportedVideo | Rejected]]:
    largest_first = sorted(videos, key=lambda job: -job.path.stat().st_size if job.path.is_file() else 0)
    with _pool(processes) as pool:
        try:
            for future in as_completed([pool.submit(_make, job) for job in largest_first]):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that decodes videos ended early (killed, out of memory, or a file that crashes FFmpeg); "
                "finished videos are kept: run again with jobs=1 (--jobs 1) to see which file it is. In a script, call "
                "import_videos below `if __name__ == '__main__':`"
            ) from error


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes that end at once if this block is left by an error, or if this process is killed."""
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(theirs,))
    try:
        yield pool
        pool.shutdown()
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()


def _start_worker(parent: Connection) -> None:
    """One thread for OpenCV; Ctrl-C is left to the parent; end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: Connection) -> None:
    try:
        parent.recv()  # nothing is ever sent: this raises when the other end is closed
    except (EOFError, OSError):
        os._exit(1)
