"""How much slower is a run beside programs that keep the processor busy, as on a laptop with a browser and a call open?

    python benchmarks/busy.py

A short run of `quick` on the kitchens is trained alone and beside one and two endless loops, with threads that sleep
while they wait for one another (what importing `mmsada_lab` asks OpenMP for, unless OMP_WAIT_POLICY is set) and with
threads that spin (OpenMP's own habit: they take the time of whoever they wait for). Seconds of training alone, start
and drawing left out; the ratios are to the quiet run with spinning threads of the same round.

Written: busy.json, with the median ratios under `ratios`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from measure import parser, progress, rounded, run, save, table

from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.runs import find_runs, read_manifest

SPINNING, SLEEPING = "spinning", "sleeping"
HABITS = {SPINNING: {"GOMP_SPINCOUNT": "300000"}, SLEEPING: {"OMP_WAIT_POLICY": "PASSIVE"}}
STEPS = ["pretrain.steps=40", "adapt.steps=40", "evaluate_every=40"]
TINY = ["pretrain.steps=2", "adapt.steps=2", "evaluate_every=2", "batch_size=8", "width=4", "test_windows=1"]


@contextmanager
def busy_process() -> Iterator[None]:
    """Within the context, a process takes all the time it can get."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def seconds(data: str, options: list[str], *, threads: int, habit: str, beside: int) -> float:
    """Training time of one run beside some busy processes."""
    command = [sys.executable, "-c", "from mmsada_lab.cli.main import main; main()", "train", "--data", data]
    command += ["--source", "D2", "--target", "D1", "--preset", "quick", "--device", "cpu"]
    for option in options:
        command += ["-o", option]
    waiting = {name for habit in HABITS.values() for name in habit}
    inherited = {name: value for name, value in os.environ.items() if name not in waiting}
    environment = inherited | {"OMP_NUM_THREADS": str(threads)} | HABITS[habit]
    with tempfile.TemporaryDirectory() as runs, ExitStack() as stack:
        for _ in range(beside):
            stack.enter_context(busy_process())
        done = subprocess.run([*command, "--runs", runs], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"the run failed: {done.stderr.strip().splitlines()[-1]}")
        (path,) = find_runs(Path(runs))
        return float(read_manifest(path / "manifest.json")["training_seconds"])


def main() -> None:
    """Measure and report."""
    made = parser(__doc__ or "", __file__)
    made.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    arguments = made.parse_args()
    data, options = ("kitchens:scale=0.01", TINY) if arguments.quick else ("kitchens", STEPS)
    load_data(data)  # drawn before anything is measured
    cases = [(habit, beside) for habit in HABITS for beside in ((0, 1) if arguments.quick else (0, 1, 2))]
    rounds = range(1 if arguments.quick else arguments.rounds)
    timings = {case: [0.0 for _ in rounds] for case in cases}
    for number, (habit, beside) in progress([(k, case) for k in rounds for case in cases], "runs"):
        taken = seconds(data, options, threads=arguments.threads, habit=habit, beside=beside)
        timings[habit, beside][number] = taken
    quiet = timings[SPINNING, 0]
    ratios = {case: [t / q for t, q in zip(taken, quiet, strict=True)] for case, taken in timings.items()}
    rows = [
        [f"{habit}, beside {beside}", *map(rounded, (median(timings[habit, beside]), median(r), min(r), max(r)))]
        for (habit, beside), r in ratios.items()
    ]
    title = f"Training a short run of quick, {arguments.threads} threads, beside busy processes"
    made_table = table(title, ["threads that wait", "s", "× quiet, spinning", "lowest", "highest"], rows)
    named = {f"{habit} beside {beside}": rounded(median(r)) for (habit, beside), r in ratios.items()}
    save(arguments.out, {"ratios": named, "rounds": len(rounds), "tables": [made_table]}, quick=arguments.quick)


if __name__ == "__main__":
    run(main)
