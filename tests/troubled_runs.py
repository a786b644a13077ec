"""Runs on the toy that go wrong in a worker of a batch, as their seed says; as a program, a batch to be killed.

They are here, and not in a test, because the workers import them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import toy

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import FORMATS
from mmsada_lab.sweeps import batch

DIES_ONCE, RAISES, DIES_ALWAYS = 7, 8, 9
"""Seeds: killed after its first checkpoint; fails with an error that no user made; killed whenever it runs."""
PAUSE = 0.005


def attempts(runs_dir: Path) -> list[tuple[int, bool]]:
    """Seed of each attempt so far, and whether it found a checkpoint."""
    lines = (runs_dir / "attempts.log").read_text().splitlines()
    return [(int(seed), found == "True") for seed, found in map(str.split, lines)]


def run(config: ExperimentConfig, runs_dir: Path, device: str) -> None:
    """Take the place of `batch.train_quietly`."""
    checkpoints = list(runs_dir.glob(f"*/*/*/seed{config.seed}-{config.digest}/checkpoint.pt"))
    with (runs_dir / "attempts.log").open("a") as log:
        log.write(f"{config.seed} {bool(checkpoints)}\n")
    if config.seed == RAISES:
        raise RuntimeError("the lamp fell over")
    if config.seed == DIES_ALWAYS:
        os.kill(os.getpid(), signal.SIGKILL)
    toy.ToyReader.pause = 0.0
    if config.seed == DIES_ONCE and not checkpoints:
        toy.ToyReader.pause = PAUSE
        threading.Thread(target=_die_at_checkpoint, args=(runs_dir, config), daemon=True).start()
    toy.run_toy(config, runs_dir, device)


def slowly(config: ExperimentConfig, runs_dir: Path, device: str) -> None:
    """The same with pauses, so that somebody can end it in the middle."""
    with (runs_dir / "attempts.log").open("a") as log:
        log.write(f"{config.seed} False\n")
    toy.ToyReader.pause = PAUSE
    toy.run_toy(config, runs_dir, device)


def _die_at_checkpoint(runs_dir: Path, config: ExperimentConfig) -> None:
    while not list(runs_dir.glob(f"*/*/*/seed{config.seed}-{config.digest}/checkpoint.pt")):
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)


def configs() -> list[ExperimentConfig]:
    """Of the batch to be killed."""
    return [toy.toy_config("source_only", seed=seed) for seed in range(3)]


def main() -> None:
    """Run the batch in the folder given, on the scheduler given or on this machine."""
    import troubled_runs

    runs, *scheduler = sys.argv[1:]
    FORMATS["toy"] = toy.TOY
    batch.train_quietly = troubled_runs.slowly
    print(batch.run_grid(configs(), Path(runs), jobs=2, device="cpu", scheduler=scheduler[0] if scheduler else None))


if __name__ == "__main__":
    main()
