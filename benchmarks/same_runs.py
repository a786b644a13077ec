"""Do two versions of the package train the same runs, bit for bit? The proof that a refactor owes.

``python benchmarks/same_runs.py OTHER WORK`` trains, with one thread and fixed seeds, every method on the embedded
kitchens, MM-SADA on exported frames read by two processes, and MM-SADA on arrays of three modalities; once with this
checkout and once with the checkout OTHER. It then compares, byte for byte, what each run left: history, predictions,
features and weights, the table of ``mmsada predict``, the arrays of ``mmsada extract``. Folders of runs are
named after the digests of their configurations, so equal folders are equal digests.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[1]
METHODS = "source_only adabn mmd mcd adversarial_only self_supervised_only mmsada supervised_target".split()
STEPS = "pretrain.steps=12 adapt.steps=12 evaluate_every=6 averaged_evaluations=2".split()
COMPARED = ("history.jsonl", "predictions.npz", "features.npz", "model.safetensors")


def train(
    checkout: Path,
    work: Path,
    data: str,
    pair: str,
    method: str,
    *options: str,
    preset: str = "quick",
    workers: int = 0,
) -> Path:
    """Train one run with a checkout's package in a folder; returns the run folder."""
    source, _, target = pair.partition("-")
    words = ["train", "--data", data, "--preset", preset, "--target", target, "--method", method, "--runs", "runs"]
    words += [] if method == "supervised_target" else ["--source", source]
    words += ["--device", "cpu", "--workers", str(workers)]
    for option in (*STEPS, *options):
        words += ["-o", option]
    return work / mmsada(checkout, work, *words).splitlines()[-1]


def mmsada(checkout: Path, work: Path, *words: str) -> str:
    """What the command of a checkout prints, run in a folder with one thread."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    entry = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["scripts"]["mmsada"]
    module, _, function = entry.partition(":")
    code = f"import sys; from {module} import {function}; sys.argv[0] = 'mmsada'; {function}()"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mmsada {' '.join(words)} failed in {work}:\n{done.stderr}")
    return done.stdout.strip()


def write_arrays(folder: Path) -> None:
    """Two sites, three sensors whose phases tell the class, and a shift of the second site."""
    rng, rows = np.random.default_rng(0), ["uid,domain,split,label"]
    signals: dict[str, list[np.ndarray]] = {"acc": [], "gyro": [], "mag": []}
    for number in range(96):
        domain, split, label = number % 2, "test" if number % 3 == 0 else "train", number // 2 % 3
        rows.append(f"s{number:03d},{'AB'[domain]},{split},{'abc'[label]}")
        time = np.linspace(0, 6, 80)
        for modality, (name, series) in enumerate(signals.items()):
            channels = 2 if name == "mag" else 3
            wave = np.sin(time[:, None] * (1 + label) + modality + np.arange(channels)) + 0.5 * domain
            series.append((wave + 0.3 * rng.standard_normal(wave.shape)).astype(np.float32))
    folder.mkdir()
    (folder / "segments.csv").write_text("\n".join(rows) + "\n")
    for name, series in signals.items():
        np.save(folder / f"{name}.npy", np.stack(series))


def make(checkout: Path, work: Path) -> None:
    """Train everything with one checkout."""
    work.mkdir(parents=True)
    for method in METHODS:
        run = train(checkout, work, "kitchens", "D1-D3", method)
        print(f"  {run.relative_to(work)}", flush=True)
    mmsada(checkout, work, "data", "export-kitchens", "jpeg", "--scale", "0.02")
    run = train(checkout, work, "epic:jpeg", "D2-D1", "mmsada", "batch_size=16", workers=2)
    print(f"  {run.relative_to(work)}", flush=True)
    mmsada(checkout, work, "predict", str(run.relative_to(work)), "--to", "predicted.csv", "--device", "cpu")
    mmsada(checkout, work, "extract", str(run.relative_to(work)), "extracted", "--device", "cpu")
    write_arrays(work / "arrays")
    for options in ((), ("correspondence_batch=half", "batch_size=24")):
        run = train(checkout, work, "arrays:arrays", "A-B", "mmsada", "modalities=acc,gyro,mag", "batch_size=16",
                    *options, preset="sensors")  # fmt: skip
        print(f"  {run.relative_to(work)}", flush=True)


def digests(work: Path) -> dict[str, str]:
    """SHA-256 of every compared file, by its path."""
    files = [path for name in COMPARED for path in (work / "runs").rglob(name)]
    files += [work / "predicted.csv", *(path for path in (work / "extracted").rglob("*") if path.is_file())]
    return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def main() -> None:
    """Train with both and compare; exit status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, help="another checkout of the project, e.g. a git worktree of HEAD~1")
    parser.add_argument("work", type=Path, help="folder to train in; runs of OTHER that are there already are taken")
    arguments = parser.parse_args()
    folders = {}
    for name, checkout in (("other", arguments.other.resolve()), ("this", HERE)):
        folders[name] = arguments.work.resolve() / name
        if name == "this" or not folders[name].exists():
            print(f"{name}: {checkout}", flush=True)
            shutil.rmtree(folders[name], ignore_errors=True)
            make(checkout, folders[name])
    before, after = digests(folders["other"]), digests(folders["this"])
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            kind = "differs" if path in before and path in after else "only there" if path in before else "only here"
            print(f"{kind}: {path}")
    same = sum(before.get(path) == digest for path, digest in after.items())
    print(f"{same} of {len(before.keys() | after.keys())} files are the same, byte for byte")
    sys.exit(same != len(before.keys() | after.keys()))


if __name__ == "__main__":
    main()
