"""What a training step costs, in time and memory, as the segments grow a hundredfold.

    python benchmarks/scale.py [--workers 2] [--segments 300] [--quick]

MM-SADA is trained with worker processes on 300, 3,000 and 30,000 segments in the layout of EPIC-Kitchens: tars of
456 x 256 JPEG frames, 15 segments a video and at most 700 videos (hard links to a few, so that the disk stays small).
Every size is a process of its own with its own workers; they take turns, a few steps each, and the others wait. The
first turns do not count: there every worker meets every tar for the first time, and indexes it. Time is
the processor's, of the training process and its workers together, and the wall's. Memory is what the two kinds hold
beside libraries; what they share is parted between them. Prints a table and writes benchmarks/scale.json.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from families import megabytes, processor_seconds
from large_kitchens import DOMAINS, large_kitchens, open_large
from measure import Timing, parser, progress, ratio, rounded, run, save, table

from mmsada_lab.datasets.tables import SEGMENTS_CSV
from mmsada_lab.errors import UserError

VIDEO_SEGMENTS, MOST_VIDEOS = 15, 700
DISCARDED = 6  # steps whose batches were made while others were timed


def write_segments(root: Path, tars: Path, *, segments: int) -> Path:
    """A data set of so many segments at random places of videos, which are links to those of a few tars."""
    base = pd.read_csv(tars / SEGMENTS_CSV)
    rng = np.random.default_rng(0)
    tables = []
    for domain in DOMAINS:
        rows = base[base["domain"] == domain]
        videos = _linked(root, tars, domain, rows, count=min(segments // VIDEO_SEGMENTS, MOST_VIDEOS) // 2)
        drawn = rows.iloc[rng.integers(len(rows), size=segments // 2)].reset_index(drop=True)
        drawn["video_id"] = [rng.choice(videos[video]) for video in drawn["video_id"]]
        drawn["uid"] = [f"{domain}_{number:06d}" for number in range(len(drawn))]
        drawn["split"] = np.where(drawn.index < 16, "test", "train")  # evaluation is not measured
        tables.append(drawn)
    pd.concat(tables).to_csv(root / SEGMENTS_CSV, index=False)
    return root


def _linked(root: Path, tars: Path, domain: str, rows: pd.DataFrame, *, count: int) -> dict[str, list[str]]:
    """Names of the copies of every video; there is at least one."""
    videos = sorted(rows["video_id"].unique())
    copies: dict[str, list[str]] = {video: [] for video in videos}
    for number in range(max(count, len(videos))):
        video = videos[number % len(videos)]
        copies[video].append(f"{video}_{number:04d}")
        for modality in ("rgb", "flow"):
            link = root / modality / domain / f"{copies[video][-1]}.tar"
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(tars / modality / domain / f"{video}.tar", link)
    return copies


# --- one size, in a process of its own --------------------------------------------------------------------------


def train(end: Connection, root: Path, runs: Path, workers: int, clips: int) -> None:
    """Train on one data set, some steps whenever told to; says what it took.

    Args:
        end: gets a number of steps, 0 to finish; gives first what opening took, then wall and processor seconds.
        root: of the data.
        runs: where a run folder would lie.
        workers: worker processes.
        clips: of a batch, both domains together.
    """
    from accelerate import Accelerator

    from mmsada_lab.experiment import Experiment
    from mmsada_lab.presets import build_config
    from mmsada_lab.runs import RunFolder
    from mmsada_lab.train import train_steps

    start = time.perf_counter()
    data = open_large(root)
    opened = time.perf_counter() - start
    overrides = {"batch_size": clips, "adapt.steps": 9000, "modalities": "rgb,flow"}
    config = build_config("quick", source="D1", target="D2", data=f"epic:{root}", overrides=overrides)
    accelerator = Accelerator(cpu=True)
    experiment = Experiment(config, data, RunFolder(runs, config, data_name="scale"), accelerator=accelerator)
    experiment.workers = workers
    method, optimiser = experiment.prepare_stage(config.adapt)
    start = time.perf_counter()
    steps = train_steps(
        method,
        optimiser,
        experiment.load_batches(config.adapt, seed=(0, 1)),
        stage=config.adapt,
        accelerator=accelerator,
        first_step=0,
        seed=(0, 1),
    )
    next(steps)
    end.send((opened, time.perf_counter() - start))
    while count := end.recv():
        for _ in range(DISCARDED):
            next(steps)
        before, start = processor_seconds(), time.perf_counter()
        for _ in range(count):
            next(steps)
        end.send((time.perf_counter() - start, processor_seconds() - before, megabytes()))


# --- all sizes --------------------------------------------------------------------------------------------------


@contextmanager
def sizes(
    folder: Path, tars: Path, *, segments: Sequence[int], workers: int, clips: int
) -> Iterator[dict[str, Connection]]:
    """Processes that train on every size, by the size's name, all of them waiting."""
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for count in segments:
        root = folder / f"segments-{count}"
        root.mkdir()
        write_segments(root, tars, segments=count)
        ours, theirs = context.Pipe()
        work = (theirs, root, folder / "runs", workers, clips)
        processes.append(context.Process(target=train, args=work))
        processes[-1].start()
        theirs.close()
        ends[f"{count:,} segments"] = ours
    try:
        yield ends
    finally:
        for end in ends.values():
            end.send(0)
        for process in processes:
            process.join(30)


def received(end: Connection) -> Any:
    """What a size says; it may have ended in an error of its own."""
    try:
        return end.recv()
    except EOFError:
        raise UserError("a process that trains ended early; what it printed says why") from None


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, __file__)
    options.add_argument("--workers", type=int, default=joblib.cpu_count(), help="worker processes (%(default)s)")
    options.add_argument("--segments", type=int, default=300, help="at 1x (%(default)s)")
    options.add_argument("--data", type=Path, help="where the frames are made, and kept; by default a temporary folder")
    options.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    given = options.parse_args()
    factors = (1, 100) if given.quick else (1, 10, 100)
    first_size, steps, clips = (60, 2, 8) if given.quick else (given.segments, 30, 16)
    rounds, warm_up = (1, 0) if given.quick else (given.rounds, 4)
    segments = [factor * first_size for factor in factors]
    with TemporaryDirectory(prefix="mmsada-scale-", dir=given.data) as temporary:
        folder = Path(temporary)
        tars = large_kitchens(given.data or folder, videos=4 if given.quick else 16)["tar"]
        os.environ["MMSADA_CACHE"] = str(folder / "cache")  # of the links' indices; nothing is left behind
        with sizes(folder, tars, segments=segments, workers=given.workers, clips=clips) as ends:
            first = {name: received(end) for name, end in ends.items()}
            said: dict[str, list[Any]] = {name: [] for name in ends}
            for number in progress(range(-warm_up, rounds), "scale"):
                for name, end in ends.items():
                    end.send(steps)
                    found = received(end)
                    if number >= 0:
                        said[name].append(found)
    save(given.out, reported(first, said, steps=steps, workers=given.workers, clips=clips), quick=given.quick)


def reported(
    first: dict[str, Any], said: dict[str, list[Any]], *, steps: int, workers: int, clips: int
) -> dict[str, Any]:
    """Tables of what the sizes said."""
    wall, processor = ({n: Timing(tuple(f[at] / steps for f in found)) for n, found in said.items()} for at in (0, 1))
    smallest = next(iter(said))
    rows = []
    for name, found in said.items():
        opened, begun = first[name]
        memory = [f[2] for f in found]
        rows.append(
            [
                name,
                rounded(1000 * wall[name].median),
                ratio(wall[name], wall[smallest])["median"],
                rounded(1000 * processor[name].median),
                ratio(processor[name], processor[smallest])["median"],
                *(rounded(max(one[at] for one in memory)) for at in range(2)),
                rounded(opened),
                rounded(begun),
            ]
        )
    columns = ["", "ms a step", "× 1x", "processor ms", "× 1x", "MB trainer", "MB workers"]
    title = f"Steps of {clips} clips a domain, {workers} workers"
    return {
        "workers": workers,
        "steps_a_round": steps,
        "rounds": said,
        "tables": [table(title, [*columns, "s to open", "s to first step"], rows)],
    }


if __name__ == "__main__":
    run(main)
