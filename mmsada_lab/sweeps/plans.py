"""What a batch would do: which runs are finished, damaged, to continue, share a first stage, and how long it takes."""

from __future__ import annotations

import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from safetensors import safe_open

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.presets import flatten
from mmsada_lab.runs import RunFolder, find_runs, is_complete, load_history, read_manifest
from mmsada_lab.sweeps.grid import unique_configs

EXECUTED = "notebook.ipynb"
"""The executed notebook, in its run's folder."""
FINISHED, TO_CONTINUE, TO_DO, DAMAGED, NOTEBOOK_TO_DO = "finished", "to continue", "to do", "damaged", "notebook to do"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a batch, its folder and where it stands.

    Attributes:
        state: ``finished``, ``to continue``, ``to do``, ``damaged`` (it will be renamed and done again) or, where a
            notebook is wanted and the finished run has none, ``notebook to do``.
        done: share of the steps that are done, 0 to 1.
        first_stage: where its first stage is kept for all runs that have the same; None if it has none.
    """

    config: ExperimentConfig
    folder: Path
    state: str
    done: float
    first_stage: Path | None


def plan_runs(configs: Iterable[ExperimentConfig], runs_dir: Path, *, notebooks: bool = False) -> list[PlannedRun]:
    """The runs of a batch, each configuration once, with their state.

    Raises:
        UserError: if the data of one cannot be opened, or a folder holds a run of other data or another configuration.
    """
    from mmsada_lab.checkpoint import first_stage_path

    configs = unique_configs(configs)
    opened = {name: load_data(name) for name in {config.data for config in configs}}
    runs = []
    for config in configs:
        data = opened[config.data]
        folder = RunFolder(runs_dir, config, data_name=data.name)
        state, done = _state(folder, data_digest=data.digest, notebooks=notebooks)
        first_stage = first_stage_path(runs_dir, config, data_digest=data.digest)
        runs.append(PlannedRun(config, folder.path, state, done, first_stage if config.pretrain.steps else None))
    return runs


def order_unfinished(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The unfinished runs; of those that share a first stage, one goes ahead, so that no worker waits for another."""
    ahead, behind, seen = list[PlannedRun](), list[PlannedRun](), set[Path | None]()
    for run in (run for run in runs if run.state != FINISHED):
        stage = run.first_stage
        waits = stage is not None and run.state == TO_DO and stage in seen and not stage.exists()
        (behind if waits else ahead).append(run)
        seen.add(stage)
    return ahead + behind


_PLAN_COLUMNS = "method pair seed setting digest state done first_stage seconds".split()


def plan_batch(
    configs: Iterable[ExperimentConfig], runs_dir: Path, *, device: str = "auto", notebooks: bool = False
) -> pd.DataFrame:
    """What `run_grid` would do with the same arguments, one row per run in the order in which they would start.

    Returns:
        Columns method, pair, seed, setting (the fields that differ between runs of a method), digest, state, done
        (percent of the steps), first_stage (``trained``, ``shared`` with a run above or kept in the folder, or empty),
        seconds (what is left, by finished runs of the same method, preset and data; missing where there is none).
    """
    runs = plan_runs(configs, Path(runs_dir), notebooks=notebooks)
    settings = _settings([run.config for run in runs])
    seconds = _seconds_per_step(Path(runs_dir), device=device)
    seen: set[Path] = set()
    rows = []
    for run in [*order_unfinished(runs), *(run for run in runs if run.state == FINISHED)]:
        config, stage = run.config, _first_stage_fate(run, seen=seen)
        left = config.adapt.steps if stage == "shared" else (1 - run.done) * _total_steps(config)
        names = (config.method, str(config.pair), config.seed, settings[config.digest], config.digest)
        rows.append((*names, run.state, 100 * run.done, stage, left * seconds.get(_kind(config), np.nan)))
    return pd.DataFrame(rows, columns=_PLAN_COLUMNS)


def estimate_seconds(plan: pd.DataFrame, *, jobs: int) -> float:
    """How long the runs of `plan_batch` take in so many processes; NaN where the time of one is not known."""
    left = plan.loc[plan["state"] != FINISHED, "seconds"]
    return float(max(left.sum(skipna=False) / jobs, left.max(skipna=False))) if len(left) else 0.0


def find_damage(folder: Path) -> str | None:
    """What is wrong with a run folder, or None.

    A run is damaged if its manifest is invalid, a file of a finished run is missing or truncated, or the checkpoint of
    an unfinished run is.
    """
    if not (folder / "manifest.json").exists():
        return None
    try:
        manifest = read_manifest(folder / "manifest.json")
        if finished := manifest["status"] == "finished":
            manifest["result"]["target"], manifest["training_seconds"]
    except (UserError, KeyError, TypeError) as error:
        return f"manifest.json: {error}"
    if finished and not is_complete(manifest):  # nobody promised these files
        return None
    checkpoint = {"checkpoint.pt": _check_zip} if (folder / "checkpoint.pt").exists() else {}
    for name, check in (_FINISHED_CHECKS if finished else checkpoint).items():
        try:
            check(folder / name)
        except Exception as error:  # damaged files fail in many ways
            return f"{name}: {error}"
    return None


def rename_damaged(folders: Iterable[Path]) -> list[Path]:
    """Rename damaged run folders to ``<name>.damaged-<n>`` and return these; one in which a process trains stays."""
    paths = [_rename_if_damaged(folder) for folder in folders if folder.is_dir()]
    return [path for path in paths if path is not None]


def _rename_if_damaged(folder: Path) -> Path | None:
    try:
        with FileLock(folder / ".lock", timeout=0):  # the lock of `RunFolder.locked`
            if find_damage(folder) is None:
                return None
            paths = (folder.with_name(f"{folder.name}.damaged-{number}") for number in count(1))
            return folder.rename(next(path for path in paths if not path.exists()))
    except Timeout:
        return None
    except OSError as error:
        raise UserError(f"cannot rename the damaged run {folder}: {error}; move it away") from error


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise ValueError(f"{name} in it is damaged")


def _check_weights(path: Path) -> None:
    with safe_open(path, framework="numpy"):  # compares the header with the size of the file
        pass


_FINISHED_CHECKS: dict[str, Callable[[Path], object]] = {
    "history.jsonl": lambda path: load_history(path.parent),
    "predictions.npz": _check_zip,
    "features.npz": _check_zip,
    "model.safetensors": _check_weights,
}


def _state(folder: RunFolder, *, data_digest: str, notebooks: bool) -> tuple[str, float]:
    """State of a run, and the share of its steps that are done."""
    if find_damage(folder.path) is not None:
        return DAMAGED, 0.0
    manifest = folder.manifest(data_digest=data_digest)
    if manifest is not None and is_complete(manifest):
        return (NOTEBOOK_TO_DO if notebooks and not (folder.path / EXECUTED).exists() else FINISHED), 1.0
    if manifest is None or not folder.checkpoint_path.exists():
        return TO_DO, 0.0
    try:
        last_step = int(load_history(folder.path)["total_step"].max())
    except (OSError, ValueError, KeyError):  # the history is written an instant after the checkpoint
        last_step = 0
    return TO_CONTINUE, last_step / _total_steps(folder.config)


def _total_steps(config: ExperimentConfig) -> int:
    return sum(stage.steps for _, stage in config.stages)


def _first_stage_fate(run: PlannedRun, *, seen: set[Path]) -> str:
    """Whether a run's first stage is ``trained``, ``shared`` or done; `seen` collects those of the runs before it."""
    path, steps_done = run.first_stage, run.done * _total_steps(run.config)
    if path is None or run.state in (FINISHED, NOTEBOOK_TO_DO) or steps_done >= run.config.pretrain.steps:
        return ""
    shared = run.state != TO_CONTINUE and (path in seen or path.exists())
    seen.add(path)
    return "shared" if shared else "trained"


def _kind(config: ExperimentConfig) -> tuple[str, str, str]:
    return config.data, config.method, config.preset


def _seconds_per_step(runs_dir: Path, *, device: str) -> dict[tuple[str, str, str], float]:
    """Median over the finished runs of a folder, by data, method and preset."""
    seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with suppress(UserError):  # there is no run yet
        for folder in find_runs(runs_dir):
            with suppress(UserError):  # a damaged manifest
                manifest = read_manifest(folder / "manifest.json")
                config = ExperimentConfig(**manifest["config"])
                if manifest["status"] == "finished" and (device == "auto" or manifest["device"].startswith(device)):
                    seconds[_kind(config)].append(manifest["training_seconds"] / _total_steps(config))
    return {kind: float(np.median(values)) for kind, values in seconds.items()}


_OWN_COLUMNS = {"method", "source", "target", "seed", "preset"}


def _settings(configs: Sequence[ExperimentConfig]) -> dict[str, str]:
    """Digest -> the fields in which runs of one method differ, as overrides: ``adapt.steps=500``."""
    fields = {config.digest: _fields(config) for config in configs}
    runs = Counter(config.method for config in configs)
    alike = Counter((config.method, text) for config in configs for text in fields[config.digest])
    return {c.digest: " ".join(t for t in fields[c.digest] if alike[c.method, t] < runs[c.method]) for c in configs}


def _fields(config: ExperimentConfig) -> list[str]:
    values = {key: value for key, value in flatten(config.to_dict()).items() if key not in _OWN_COLUMNS}
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
