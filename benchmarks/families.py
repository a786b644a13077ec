"""Time and memory of a process and of the workers it started, for benchmarks that read with several."""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]


def family() -> list[psutil.Process]:
    """This process, then its descendants."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def processor_seconds() -> float:
    """Processor time of the family so far."""
    return float(sum(sum(process.cpu_times()[:2]) for process in family()))


def megabytes() -> tuple[float, float]:
    """Memory of this process, and of its workers; what several share is parted between them.

    Pages of files, such as those of libraries, are left out where Linux tells them apart: what they count for depends
    on who else runs on the machine.
    """
    own, *workers = map(_megabytes, family())
    return own, sum(workers)


def _megabytes(process: psutil.Process) -> float:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return float(process.memory_full_info().uss / 1e6)
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
    if "Pss_Anon" not in kilobytes:
        return kilobytes["Pss"] * 1024 / 1e6
    return (kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"]) * 1024 / 1e6
