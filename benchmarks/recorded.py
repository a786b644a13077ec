"""Recorded data: the methods on video of other people, on skeletons and sensors of other people, on other devices.

    python benchmarks/recorded.py DATA WORK --jobs 2

DATA holds `utd_video/` (depth video and flow of eight actions in the layout of EPIC-Kitchens), `utd_mhad/` (inertial
sensor and skeleton of 27 actions by the same 8 people; both of UTD-MHAD, Chen et al. 2015) and `sp_sw_har/` (SP-SW-HAR,
Matey-Sanz et al. 2023: accelerometer and gyroscope of a phone and of a watch worn at once). Those of sensors are laid
out below WORK as `arrays:` folders.

First a schedule is chosen for each data set on one pair of its domains, with the target's labels in view: the one of
`SCHEDULES` with the highest mean of `CHOSEN_BY`. Then every method is trained with it on all *other* pairs, each with
as many source clips a step as the others. Written beside this script: `recorded_schedules.csv`, one row a data set,
schedule and method; `recorded_<data set>.csv`, one row a run and stream. Given again, an interrupted command goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmsada_lab.analysis.report import ReportLine, format_report, report_table
from mmsada_lab.analysis.tables import TEST_SE
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.batch import run_grid
from mmsada_lab.sweeps.grid import Pair, build_grid, unique_configs
from mmsada_lab.sweeps.recipes import CONTROL

METHODS = ("source_only", "adabn", "adversarial_only", "self_supervised_only", "mmsada", "supervised_target")
CHOSEN_BY = ("source_only", "adversarial_only", "mmsada")
"""Methods whose mean accuracy on the pair that is left out decides on the schedule, for all of them alike."""
SCHEDULES: dict[str, dict[str, float]] = {
    "quick": {
        "pretrain.steps": 150,
        "pretrain.learning_rate": 0.03,
        "adapt.steps": 300,
        "adapt.learning_rate": 0.1,
        "discriminator_rate": 3,
    },
    "even": {
        "pretrain.steps": 400,
        "pretrain.learning_rate": 0.03,
        "adapt.steps": 400,
        "adapt.learning_rate": 0.03,
        "discriminator_rate": 1,
    },
    "even, D faster": {
        "pretrain.steps": 400,
        "pretrain.learning_rate": 0.03,
        "adapt.steps": 400,
        "adapt.learning_rate": 0.03,
        "discriminator_rate": 10,
    },
}
LENGTH, HOP, PURITY = 100, 50, 80
"""Samples of a window (0.9 s), from one to the next, and how many of them must have the window's label."""
WALKING_SHARE = 0.25
DEVICES = {"sp": "phone", "sw": "watch"}
SUBJECTS = {"A": (1, 2, 3), "B": (4, 5, 6), "C": (7, 8)}


def prepare_sp_sw_har(source: Path, folder: Path) -> None:
    """Windows of one activity, phone and watch; people 1 to 16 train, 17 to 23 test; walking capped to a quarter."""
    windows = [window for path in sorted(source.glob("s*/*.csv")) for window in _windows(path)]
    table = pd.DataFrame([row for row, _ in windows])
    values = np.stack([samples for _, samples in windows])
    kept = np.concatenate([_capped(part) for _, part in table.groupby(["domain", "split"])])
    folder.mkdir(parents=True)
    np.save(folder / "acc.npy", values[kept, :, :3])
    np.save(folder / "gyro.npy", values[kept, :, 3:])
    table.iloc[kept].to_csv(folder / "segments.csv", index=False)


def _windows(path: Path) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    subject, _, device = path.stem.split("_")
    recording = pd.read_csv(path)
    samples, labels = recording.iloc[:, :6].to_numpy(np.float32), recording["label"].to_numpy(str)
    split = "train" if int(subject[1:]) <= 16 else "test"
    for start in range(0, len(samples) - LENGTH + 1, HOP):
        found, counts = np.unique(labels[start : start + LENGTH], return_counts=True)
        if counts.max() >= PURITY:
            row = {
                "uid": f"{path.stem}_{start}",
                "domain": DEVICES[device],
                "split": split,
                "label": found[counts.argmax()],
            }
            yield row, samples[start : start + LENGTH]


def _capped(part: pd.DataFrame) -> np.ndarray:
    """Positions to keep: all but so much walking that it is a quarter of what stays."""
    walking, other = part.index[part["label"] == "WALKING"], part.index[part["label"] != "WALKING"]
    room = int(len(other) * WALKING_SHARE / (1 - WALKING_SHARE))
    chosen = np.random.default_rng(0).permutation(walking)[:room]
    return np.sort(np.concatenate([chosen, other]))


def prepare_utd_mhad(source: Path, folder: Path) -> None:
    """The files as they are, linked; trials 1 and 2 of each person and action train, 3 and 4 test."""
    folder.mkdir(parents=True)
    for modality in ("inertial", "skeleton"):
        (folder / modality).symlink_to((source / modality).resolve())
    domain_of = {subject: name for name, subjects in SUBJECTS.items() for subject in subjects}
    rows = []
    for path in sorted((source / "inertial").glob("*.npy")):
        action, subject, trial = (int(part[1:]) for part in path.stem.split("_"))
        split = "train" if trial <= 2 else "test"
        rows.append({"uid": path.stem, "domain": domain_of[subject], "split": split, "label": action})
    pd.DataFrame(rows).to_csv(folder / "segments.csv", index=False)


@dataclass(frozen=True)
class Recorded:
    """A data set: how its folder is laid out (None: as it is), its domains, where training starts from, what is told.

    `chosen_on` is the pair that a schedule is chosen on, `measure` the accuracy that is compared.
    """

    domains: tuple[str, ...]
    chosen_on: Pair
    preset: str
    measure: str = "top1"
    kind: str = "arrays"
    prepare: Callable[[Path, Path], None] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, source: Path, work: Path) -> Path:
        """Where it lies, laid out below `work` if need be."""
        if self.prepare is None:
            return source
        folder = work / source.name
        if not folder.exists():
            draft = folder.with_name(f".{source.name}")
            self.prepare(source, draft)
            draft.rename(folder)
        return folder


SETS = {
    "utd_video": Recorded(
        tuple(SUBJECTS), ("A", "B"), "quick", kind="epic", overrides={"batch_size": 32, "window_stride": 4}
    ),
    "utd_mhad": Recorded(
        tuple(SUBJECTS),
        ("A", "B"),
        "sensors",
        prepare=prepare_utd_mhad,
        overrides={"modalities": "inertial,skeleton"},
    ),
    "sp_sw_har": Recorded(
        ("phone", "watch"),
        ("phone", "watch"),
        "sensors",
        "mean_class",
        prepare=prepare_sp_sw_har,
        overrides={"modalities": "acc,gyro"},
    ),
}
"""UTD's domain C has 32 training segments of video, so a batch has no more; the window is half a second there."""


class Trainer:
    """Trains on one data set and reads what came out."""

    def __init__(self, recorded: Recorded, folder: Path, runs: Path, *, jobs: int) -> None:
        self.recorded, self.runs, self.jobs = recorded, runs, jobs
        self.data = f"{recorded.kind}:{folder.resolve()}"

    def rows(
        self, schedule: str, methods: tuple[str, ...], *, pairs: list[Pair], seeds: int
    ) -> dict[str, list[ExperimentConfig]]:
        """Title of a row -> its runs; the control comes last."""
        chosen = {"source_only_batch": "half", **self.recorded.overrides, **SCHEDULES[schedule]}
        shared: dict[str, Any] = {"data": self.data, "preset": self.recorded.preset, "pairs": pairs}
        rows = {(method, method): {} for method in methods} | {("control", CONTROL.method): dict(CONTROL.overrides)}
        return {
            title: build_grid(
                self.recorded.domains, methods=[method], seeds=range(seeds), overrides=chosen | changes, **shared
            )
            for (title, method), changes in rows.items()
        }

    def train(self, rows: Mapping[str, list[ExperimentConfig]]) -> pd.DataFrame:
        """Make the runs that are missing; all of them as `load_runs` has them, with the row of each."""
        configs = unique_configs(config for of_row in rows.values() for config in of_row)
        if failures := run_grid(configs, self.runs, jobs=self.jobs, device="cpu"):
            raise UserError("\n".join(f"{config.method} {config.pair}: {message}" for config, message in failures))
        title_of = {config.digest: title for title, of_row in rows.items() for config in of_row}
        runs = load_runs(self.runs)
        return runs[runs["digest"].isin(title_of)].assign(row=lambda runs: runs["digest"].map(title_of))


def choose(trainer: Trainer, *, seeds: int) -> pd.DataFrame:
    """Accuracy of each schedule and method on the pair that is left out; the first schedule is the best."""
    measure, found = trainer.recorded.measure, {}
    for schedule in SCHEDULES:
        rows = trainer.rows(schedule, CHOSEN_BY, pairs=[trainer.recorded.chosen_on], seeds=seeds)
        runs = trainer.train({title: rows[title] for title in CHOSEN_BY})
        fused = runs[runs["stream"] == "fused"]
        found[schedule] = fused.groupby("row")[measure].mean()
    table = pd.DataFrame(found).T[list(CHOSEN_BY)].assign(mean=lambda table: table.mean(axis=1))
    return table.rename_axis("schedule").sort_values("mean", ascending=False, kind="stable")


def report(runs: pd.DataFrame, recorded: Recorded) -> None:
    """Print a table a stream, each row against source-only."""
    digests = {title: frozenset(part["digest"]) for title, part in runs.groupby("row", sort=False)}
    measured = runs.assign(top1=runs[recorded.measure])
    for stream in runs["stream"].unique():
        lines = [ReportLine(title, of_row, stream) for title, of_row in digests.items()]
        shown = format_report(report_table(measured, lines, baseline="source_only"), baseline="source_only")
        shown = shown.drop(columns=TEST_SE) if recorded.measure != "top1" else shown  # that of a proportion
        print(f"\n{stream}, {recorded.measure}\n{shown.to_string(index=False)}")


def main() -> None:
    """Prepare, choose, train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with utd_video/, utd_mhad/ and sp_sw_har/")
    parser.add_argument("work", type=Path, help="where arrays and runs go")
    parser.add_argument("--sets", default=",".join(SETS), help="which, comma-separated (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of the table; the choice has two (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the CSVs go")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        recorded = SETS[name]
        folder = recorded.folder(arguments.data / name, arguments.work)
        trainer = Trainer(recorded, folder, arguments.work / "runs" / name, jobs=arguments.jobs)
        schedules = choose(trainer, seeds=2)
        print(f"\n{name}, {recorded.measure} on {'→'.join(recorded.chosen_on)}\n{schedules.round(1).to_string()}")
        update(arguments.out / "recorded_schedules.csv", name, schedules.reset_index())
        pairs = [pair for pair in permutations(recorded.domains, 2) if pair != recorded.chosen_on]
        chosen = str(schedules.index[0])
        runs = trainer.train(trainer.rows(chosen, METHODS, pairs=pairs, seeds=arguments.seeds))
        report(runs, recorded)
        kept = runs.drop(columns=["path", "data"])
        kept.to_csv(arguments.out / f"recorded_{name}.csv", index=False, float_format="%.3f")


def update(path: Path, name: str, schedules: pd.DataFrame) -> None:
    """Put one data set's schedules into the file of all."""
    others = pd.read_csv(path).query("data != @name") if path.exists() else None
    pd.concat([others, schedules.assign(data=name)]).to_csv(path, index=False, float_format="%.2f")


if __name__ == "__main__":
    main()
