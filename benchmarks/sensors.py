"""Phone to watch, person to person: the methods on two data sets of sensors, in the format `arrays:`.

    python benchmarks/sensors.py DATA WORK --jobs 2

DATA holds `sp_sw_har/` (SP-SW-HAR, Matey-Sanz et al. 2023: accelerometer and gyroscope of a phone and of a watch worn
at once) and `utd_mhad/` (UTD-MHAD, Chen et al. 2015: inertial sensor and skeleton of 27 actions by 8 people). Both are
laid out below WORK as `arrays:` folders; every method is trained on every pair with the preset `sensors`. The results
are written to `sensors_<data set>.csv` beside this script, one row a run and stream.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mmsada_lab.analysis.differences import paired_difference
from mmsada_lab.analysis.tables import pair_matrix
from mmsada_lab.runs import load_runs
from mmsada_lab.sweeps.batch import run_grid
from mmsada_lab.sweeps.grid import build_grid

METHODS = ("source_only", "adversarial_only", "self_supervised_only", "mmsada", "supervised_target")
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


SETS = {
    "sp_sw_har": (prepare_sp_sw_har, ("phone", "watch"), "acc,gyro"),
    "utd_mhad": (prepare_utd_mhad, tuple(SUBJECTS), "inertial,skeleton"),
}


def main() -> None:
    """Prepare, train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with sp_sw_har/ and utd_mhad/")
    parser.add_argument("work", type=Path, help="where arrays and runs go")
    parser.add_argument("--sets", default=",".join(SETS), help="which, comma-separated")
    parser.add_argument("--methods", default=",".join(METHODS), help="which, comma-separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the CSVs go")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        prepare, domains, modalities = SETS[name]
        folder, runs = arguments.work / name, arguments.work / "runs" / name
        if not folder.exists():
            draft = folder.with_name(f".{name}")
            prepare(arguments.data / name, draft)
            draft.rename(folder)
        shared = {"data": f"arrays:{folder}", "preset": "sensors", "overrides": {"modalities": modalities}}
        configs = build_grid(domains, methods=arguments.methods.split(","), seeds=range(arguments.seeds), **shared)
        for config, message in run_grid(configs, runs, jobs=arguments.jobs, device="cpu"):
            print(f"failed: {config.method} {config.pair} seed {config.seed}: {message}")
        report(name, load_runs(runs), modalities.split(","), arguments.out)


def report(name: str, frame: pd.DataFrame, modalities: list[str], out: Path) -> None:
    """Print the tables of one data set and write its figures."""
    for stream in ("fused", *modalities):
        for measure in ("top1", "mean_class"):
            print(f"\n{name}, {stream}, {measure}\n{pair_matrix(frame, stream=stream, measure=measure).to_string()}")
    for baseline in ("source_only", "adversarial_only"):
        if {baseline, "mmsada"} <= set(frame["method"]):
            print(f"mmsada - {baseline}: {paired_difference(frame, 'mmsada', baseline, measure='mean_class')}")
    frame.drop(columns=["path", "data"]).to_csv(out / f"sensors_{name}.csv", index=False, float_format="%.3f")


if __name__ == "__main__":
    main()
