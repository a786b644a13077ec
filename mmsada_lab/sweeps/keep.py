"""Reference runs: finished runs in one small zip file, cut down to what tables and figures read.

Whatever reads a runs folder reads the zip file in place (`mmsada_lab.files.locate`).
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from statistics import fmean
from typing import Any, BinaryIO

import pandas as pd

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import locate, read_file, write_atomic, write_folder
from mmsada_lab.runs import Record, RunFolder, count_test_segments, find_runs, load_runs, read_manifest, to_json

DIGITS = 6
"""Significant digits of a kept history."""

GAME_STEPS = 15
"""Steps that a kept record of the game is the mean of."""

_ARRAYS = ("features.npz", "predictions.npz", "windows.npz", "checkpoints.npz")

ChosenRun = tuple[str, str, int]
"""Source, target and seed of a run whose arrays are kept."""


@dataclass(frozen=True)
class KeptRuns:
    """What `keep_runs` did: numbers of runs, and the size of the zip file in bytes; prints as a sentence."""

    path: Path
    runs: int
    with_arrays: int
    unfinished: int
    size: int

    def __str__(self) -> str:
        left_out = f" ({self.unfinished} unfinished left out)" if self.unfinished else ""
        size = f"{self.size / 1e6:.1f} MB; {self.with_arrays} with predictions and features"
        return f"{self.runs} finished runs kept in {self.path}{left_out}: {size}"


def reference_runs() -> Path:
    """The zip file of this checkout's reference runs, or `UserError` outside one."""
    path = Path(__file__).parents[2] / "assets/reference_runs.zip"
    if not path.is_file():
        hint = "work in a checkout, or name the folder of your own runs"
        raise UserError(f"no reference runs {path}: the installed package does not hold them; {hint}")
    return path


def find_run(runs: pd.DataFrame, config: ExperimentConfig, *, holding: str = "manifest.json") -> Path:
    """The folder of one configuration's finished run, among runs of which not all kept everything.

    Args:
        runs: from `load_runs`.
        config: of the run.
        holding: a file that its folder must hold, e.g. ``features.npz``.

    Raises:
        UserError: if there is no such run, or it was kept without that file; the message says which were.
    """
    wanted = f"{config.method} {config.source}-{config.target}, seed {config.seed}"
    folders = runs.drop_duplicates("path")
    matches = folders.loc[folders["digest"] == config.digest, "path"]
    if matches.empty:
        how = "with this data, preset and overrides; train it: mmsada train --help"
        raise UserError(f"no finished run of {wanted} {how}")
    path = Path(matches.iloc[0])
    if not locate(path / holding).is_file():
        holders = " or ".join(_runs_holding(holding, folders)) or "other runs"
        hint = f"choose {holders}, or name a folder of runs of your own"
        raise UserError(f"the run of {wanted} was kept without its {holding}; {hint}")
    return path


def run_or_reference(
    config: ExperimentConfig, runs_dir: Path | str, *, device: str = "auto", holding: str = "manifest.json"
) -> Path:
    """The folder of a configuration's run: finished here before, else of this checkout's reference runs, else trained.

    A reference run was trained in the same way, on the same data, and is copied into `runs_dir` as any other run, but
    for its weights, which were not kept: `run_experiment` would train it again.

    Args:
        config: of the run.
        runs_dir: where run folders lie.
        device: where it is trained if it must be, ``auto`` or ``cpu``.
        holding: a file that a reference run must hold to be taken, e.g. ``features.npz``.

    Raises:
        UserError: as `mmsada_lab.experiment.run_experiment`.
    """
    from mmsada_lab.datasets.open import load_data
    from mmsada_lab.experiment import run_experiment

    data = load_data(config.data)
    folder = RunFolder(Path(runs_dir), config, data_name=data.name)
    manifest = folder.manifest(data_digest=data.digest)
    if manifest is not None and manifest["status"] == "finished":
        return folder.path
    reference = None if manifest is not None else _reference_of(config, data_digest=data.digest, holding=holding)
    if reference is None or not _copy_run(reference, folder.path):
        return run_experiment(config, runs_dir, device=device)
    return folder.path


def _reference_of(config: ExperimentConfig, *, data_digest: str, holding: str) -> Path | None:
    """The reference run of a configuration, on the same data and with a file; None where there is none."""
    try:
        path = find_run(load_runs(reference_runs()), config, holding=holding)
    except UserError:  # outside a checkout, another configuration, or a file that was not kept
        return None
    return path if read_manifest(path / "manifest.json")["data_digest"] == data_digest else None


def _copy_run(kept: Path, to: Path) -> bool:
    """Copy the files of a kept run into a new folder; False where somebody else has just begun one there."""
    files = {file.name: file.read_bytes() for file in locate(kept).iterdir()}
    manifest = json.loads(files["manifest.json"])
    files["manifest.json"] = to_json({**manifest, "weights_kept": "model.safetensors" in files})
    try:
        with write_folder(to) as draft:
            for name, content in files.items():
                (draft / name).write_bytes(content)
    except FileExistsError:
        return False
    return True


def _runs_holding(name: str, runs: pd.DataFrame) -> list[str]:
    holders = runs[[locate(Path(folder, name)).is_file() for folder in runs["path"]]]
    return sorted({f"{run['source']}-{run['target']} seed {run['seed']}" for run in holders.to_dict("records")})


def keep_runs(runs_dir: Path, to: Path, *, arrays_of: Iterable[ChosenRun] = ()) -> KeptRuns:
    """Pack finished runs into a zip file small enough to commit. The same runs give the same bytes.

    Manifests stay as they are, but for the folders in absolute paths, and are told the number of test segments if they
    lack it; histories keep their evaluations and, as means of `GAME_STEPS` steps, the records of the game, rounded to
    `DIGITS` significant digits; predictions, scores of windows and features (of checkpoints too, where there are some)
    are kept for the chosen pairs and seeds, of every method and setting. The new file takes its place when it is whole.

    Args:
        runs_dir: folder or zip file of runs, read only.
        to: zip file to write: a new one, or one that an earlier call wrote, which is replaced.
        arrays_of: source, target and seed of the runs whose arrays are kept.

    Raises:
        UserError: no finished run, a choice that no run answers to, or a file that holds anything else.
    """
    runs_dir, to, chosen = Path(runs_dir), Path(to), set(arrays_of)
    _require_replaceable(to, runs_dir)
    folders = find_runs(runs_dir)
    manifests = {folder: read_manifest(folder / "manifest.json") for folder in folders}
    finished = {folder: manifest for folder, manifest in manifests.items() if manifest.get("status") == "finished"}
    _require_runs(finished.values(), chosen, runs_dir)
    with_arrays = {folder for folder, manifest in finished.items() if _choice(manifest) in chosen}
    contents = (
        ((folder.relative_to(runs_dir) / name).as_posix(), content)
        for folder, manifest in finished.items()
        for name, content in sorted(_kept_files(folder, manifest, arrays=folder in with_arrays).items())
    )
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(to, partial(_write_zip, contents=contents))
    return KeptRuns(to, len(finished), len(with_arrays), len(folders) - len(finished), to.stat().st_size)


def _require_replaceable(to: Path, runs_dir: Path) -> None:
    if to.suffix != ".zip":
        raise UserError(f"{to} does not end in .zip, as a file of kept runs must; choose e.g. {to}.zip")
    if to.resolve() == runs_dir.resolve():
        raise UserError(f"{to} is where the runs are read from; choose another file")
    if to.exists() and not _holds_kept_runs(to):
        raise UserError(f"{to} holds something else than kept runs; choose a new file")


def _holds_kept_runs(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name).name for name in archive.namelist()}
    except Exception:  # a folder, no zip file, a damaged one
        return False
    return names <= {"manifest.json", "history.jsonl", *_ARRAYS}


def _require_runs(manifests: Collection[dict[str, Any]], chosen: set[ChosenRun], runs_dir: Path) -> None:
    if not manifests:
        raise UserError(f"{runs_dir} holds only unfinished runs; start them again and they continue")
    if missing := sorted(chosen - {_choice(manifest) for manifest in manifests}):
        listed = ", ".join(f"{source}-{target} seed {seed}" for source, target, seed in missing)
        raise UserError(f"no finished run of {listed} in {runs_dir}; choose pairs and seeds that were trained")


def _choice(manifest: dict[str, Any]) -> ChosenRun:
    config = manifest["config"]
    return config["source"], config["target"], config["seed"]


def _kept_files(folder: Path, manifest: dict[str, Any], *, arrays: bool) -> dict[str, bytes]:
    """Name and content of the files of a run that are kept."""
    names = [name for name in _ARRAYS if arrays and locate(folder / name).is_file()]
    return {
        "manifest.json": to_json(without_folders(_counted(folder, manifest))),
        "history.jsonl": b"".join(_kept_records(folder / "history.jsonl")),
        **{name: read_file(folder / name) for name in names},
    }


def _counted(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the number of test segments, which predictions that are left out could not tell any more."""
    result = manifest["result"]
    if "test_segments" in result or math.isnan(count := count_test_segments(folder)):
        return manifest
    return {**manifest, "result": {**result, "test_segments": count}}


def _write_zip(file: BinaryIO, contents: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents:
            member = zipfile.ZipInfo(name)  # its date is 1980: the same runs give the same bytes
            member.external_attr = 0o644 << 16
            compression = zipfile.ZIP_STORED if name.endswith(".npz") else zipfile.ZIP_DEFLATED
            archive.writestr(member, content, compression, compresslevel=9)


def _kept_records(history: Path) -> Iterator[bytes]:
    """Evaluations and means of the game's records, in the order of their steps; kept again, they stay as they are."""
    records: list[Record] = [json.loads(line) for line in read_file(history).splitlines()]
    blocks: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        if record["kind"] == "game":
            blocks.setdefault((record["stage"], (record["step"] - 1) // GAME_STEPS), []).append(record)
    kept = [*map(_mean_record, blocks.values()), *(record for record in records if record["kind"] == "evaluation")]
    for record in sorted(kept, key=lambda record: int(record["total_step"])):  # of one step, the game comes first
        values = {name: float(f"{value:.{DIGITS}g}") for name, value in record["values"].items()}
        yield (json.dumps({**record, "values": values}) + "\n").encode()


def _mean_record(records: list[Record]) -> Record:
    """The mean of each value over the records that have it, in place of the last one."""
    names = dict.fromkeys(name for record in records for name in record["values"])
    values = {name: fmean(r["values"][name] for r in records if name in r["values"]) for name in names}
    return {**records[-1], "values": values}


_ALL_OF_IT = re.compile(r"(\w{2,}:)?(?P<path>~?/(?!/).*)")
_WITHIN = re.compile(r"(?<![\w/.:~])(?P<path>~?/(?!/)[^\s,;'\")]+)")


def without_folders(value: Any) -> Any:
    """A JSON value whose absolute paths are cut to their last names: ``epic:/data/epic`` is ``epic:epic``."""
    if isinstance(value, dict):
        return {name: without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if match := _ALL_OF_IT.fullmatch(value):  # it may hold spaces
        return value[: match.start("path")] + PurePosixPath(match["path"]).name
    return _WITHIN.sub(lambda match: PurePosixPath(match["path"]).name, value)
