"""What the benchmarks share: timing in turns, what the machine is, the table, the JSON file.

Contenders are timed in turns, one call each a round, so that whatever else the machine does hits all of them alike;
what is compared is the ratio within a round. Absolute times are for orientation.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from tqdm.auto import tqdm

from mmsada_lab.errors import UserError
from mmsada_lab.runs import now, provenance, write_json

Work = Callable[[], object]
Clock = Callable[[], float]
Column = tuple[str, Mapping[str, object]]
T = TypeVar("T")
R = TypeVar("R")
CPU = torch.device("cpu")


def parser(doc: str, script: str) -> argparse.ArgumentParser:
    """Command line of a benchmark: its docstring as help, `--quick`, `--threads` and `--out`.

    Args:
        doc: the script's docstring.
        script: its `__file__`; the JSON goes beside it unless `--out` names another file.
    """
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a size for tests, seconds: its figures mean nothing")
    made.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1, help="(%(default)s)")
    made.add_argument("--out", type=_place, default=Path(script).with_suffix(".json"), help="JSON file (%(default)s)")
    made.add_argument(
        "--processor-time",
        dest="clock",
        action="store_const",
        const=time.process_time,
        default=time.perf_counter,
        help="count the processor's seconds rather than the wall's: for a busy machine, with --threads 1",
    )
    return made


def _place(text: str) -> Path:
    """A file that can be written, known before anything is measured."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent} to write {path.name} to; make it first")
    return path


@dataclass(frozen=True)
class Timing:
    """Seconds of every timed call of one contender, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return float(np.median(self.seconds))

    def to_dict(self) -> dict[str, float]:
        """Median and quartiles in milliseconds."""
        low, middle, high = np.percentile(np.array(self.seconds) * 1000, [25, 50, 75])
        return {"median_ms": rounded(middle), "low_ms": rounded(low), "high_ms": rounded(high)}


def interleaved(
    contenders: Mapping[str, Work],
    *,
    rounds: int,
    warm_up: int = 2,
    device: torch.device = CPU,
    title: str = "",
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time some calls in turns: every contender once a round, each round beginning with another.

    Args:
        contenders: by name.
        rounds: timed rounds.
        warm_up: rounds before them that are not timed.
        device: a CUDA device is synchronised before and after every call.
        title: of the progress line, which shows after two seconds.
        clock: the wall's, or the processor's (see `parser`).
    """
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in progress(range(-warm_up, rounds), title):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken = timed(contenders[name], device, clock=clock)
            if number >= 0:
                seconds[name].append(taken)
    return {name: Timing(tuple(taken)) for name, taken in seconds.items()}


def timed(work: Work, device: torch.device = CPU, *, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, the device's share of it included."""
    synchronise(device)
    start = clock()
    work()
    synchronise(device)
    return clock() - start


def synchronise(device: torch.device) -> None:
    """Wait until a CUDA device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(timing: Timing, floor: Timing) -> dict[str, float]:
    """Median and quartiles of the ratio of two contenders, round by round."""
    low, middle, high = np.percentile(np.array(timing.seconds) / np.array(floor.seconds), [25, 50, 75])
    return {"median": rounded(middle), "low": rounded(low), "high": rounded(high)}


def tensor_bytes(work: Work, device: torch.device = CPU) -> int:
    """Bytes of tensors a call holds at its peak, beyond those there were before it, as torch's allocator counts."""
    release()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _quiet_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        work()
    # `found.events()` leaves out what was allocated within an operator.
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((int(event.nbytes()) for event in events), initial=0))


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Within the context, nothing reaches stderr: the profiler says there that it starts and stops."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def resident_bytes(work: Work) -> int:
    """Resident memory a call takes at its peak, beyond what was taken before it, looked at every few milliseconds.

    What earlier calls freed and the C library kept is given back first, as far as it goes; a fresh process is surer.
    """
    release()
    with _watched_memory() as seen:
        work()
    return max(seen) - seen[0]


def fitting(work: Callable[[int], R], most: int) -> tuple[R, int]:
    """Do something with as many clips as the GPU's memory holds: `most`, or half as many, and so on.

    Returns:
        What the work returned, and with how many clips.

    Raises:
        UserError: if not even one fits.
    """
    count = most
    while count:
        try:
            return work(count), count
        except torch.OutOfMemoryError:
            count //= 2
        release()  # outside the handler, whose traceback holds what was allocated
    raise UserError("a single clip does not fit into this GPU's memory; nothing can be measured on it")


def release() -> None:
    """Give back what nothing holds any more, to the system too, where its C library knows how."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _watched_memory() -> Iterator[list[int]]:
    process, done = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.003):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        seen.append(process.memory_info().rss)


def progress(items: Sequence[T], title: str) -> Iterator[T]:
    """Go through items under a progress line on stderr, which shows after two seconds."""
    yield from tqdm(items, desc=title, delay=2, file=sys.stderr, leave=False)


def device_name(device: torch.device = CPU) -> str:
    """What a device calls itself, with the number of threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """Name of the processor; Linux tells, elsewhere its kind must do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """Date, device, cores, memory, versions and state of the package: what figures mean nothing without."""
    memory = {"memory_gb": rounded(psutil.virtual_memory().total / 1e9), "cores": psutil.cpu_count(logical=False)}
    return {"date": now()[:10], "device": device_name(device), **memory, **provenance()}


def save(out: Path, report: Mapping[str, Any], *, quick: bool, device: torch.device = CPU) -> None:
    """Write a benchmark's report, the machine's facts before it, as JSON, whole or not at all.

    Raises:
        UserError: if it cannot be written there.
    """
    try:
        write_json(out, {**machine(device), "quick": quick, **report})
    except OSError as error:
        raise UserError(f"cannot write {out}: {error}; give another file with --out") from error
    print(f"written to {out}")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    """Print a table and return it as it goes into the report's list ``tables`` (which `tables.py` copies).

    Args:
        title: what is compared, and at what size.
        columns: headings; the first says what a row is, the others hold numbers.
        rows: numbers, strings or None.
    """
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    for row in rows:
        made.add_row(*map(shown, row))
    Console(width=max(Console().width, 150)).print(made)
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def compared(title: str, timings: Mapping[str, Timing], floor: str, *, more: Sequence[Column] = ()) -> dict[str, Any]:
    """Print and return the `table` of some contenders: milliseconds, and how many times the floor's.

    Args:
        title: of the table.
        timings: from `interleaved`.
        floor: name of the contender the others are compared with.
        more: further columns, (heading, value by contender).
    """
    rows = []
    for name, timing in timings.items():
        took, times = timing.to_dict(), ratio(timing, timings[floor])
        spread = (
            f"{shown(low)}–{shown(high)}"
            for low, high in ((took["low_ms"], took["high_ms"]), (times["low"], times["high"]))
        )
        cells = [took["median_ms"], next(spread), times["median"], next(spread)]
        rows.append([name, *cells, *(values.get(name) for _, values in more)])
    headings = ["", "ms", "quartiles", f"× {floor}", "quartiles", *(heading for heading, _ in more)]
    return table(title, headings, rows)


def shown(value: object) -> str:
    """A value in a table: three digits of a number."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; a user's mistake is one line on stderr."""
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
