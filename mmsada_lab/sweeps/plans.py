"""What a batch would do: which runs are finished, which continue, which share a first stage, and how long it takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.runs import RunFolder, find_runs, load_history, read_manifest
from mmsada_lab.sweeps.damage import damage_of

EXECUTED = "notebook.ipynb"
"""The executed notebook, in its run's folder."""
FINISHED, CONTINUED, NEW, DAMAGED, UNSHOWN = "finished", "to continue", "to do", "damaged", "notebook to do"


@dataclass(frozen=True)
class Task:
    """One run of a batch and where it stands.

    Attributes:
        config: of the run.
        folder: of the run.
        state: ``finished``, ``to continue``, ``to do``, ``damaged`` (it will be put aside and made anew) or, where a
            notebook is wanted and the finished run has none, ``notebook to do``.
        done: share of the steps that are done, 0 to 1.
        first_stage: where its first stage is kept for all runs that have the same, or None if it has none.
    """

    config: ExperimentConfig
    folder: Path
    state: str
    done: float
    first_stage: Path | None


def tasks_of(configs: Iterable[ExperimentConfig], runs_dir: Path, *, notebooks: bool = False) -> list[Task]:
    """The runs of a batch, each configuration once, with their state.

    Raises:
        UserError: if the data of one cannot be opened, or a folder holds a run of other data or another configuration.
    """
    unique = {config.digest: config for config in configs}.values()
    data = {name: load_data(name) for name in {config.data for config in unique}}
    tasks = []
    for config in unique:
        opened = data[config.data]
        folder = RunFolder(runs_dir, config, data_name=opened.name)
        state, done = _state(folder, data_digest=opened.digest, notebooks=notebooks)
        shared = _first_stage(runs_dir, config, data_digest=opened.digest)
        tasks.append(Task(config, folder.path, state, done, shared))
    return tasks


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """The unfinished tasks; of those that want one first stage, one goes ahead, so that no worker waits for another."""
    todo = [task for task in tasks if task.state != FINISHED]
    ahead: list[Task] = []
    behind: list[Task] = []
    seen: set[Path] = set()
    for task in todo:
        shared = task.first_stage
        waits = shared is not None and task.state == NEW and shared in seen and not shared.exists()
        (behind if waits else ahead).append(task)
        seen |= {shared} if shared is not None else set()
    return ahead + behind


def plan(
    configs: Iterable[ExperimentConfig], runs_dir: Path, *, device: str = "auto", notebooks: bool = False
) -> pd.DataFrame:
    """What `run_grid` would do with the same arguments, one row per run in the order in which they would start.

    Args:
        configs: of the runs.
        runs_dir: where run folders lie.
        device: ``auto`` or ``cpu``; times are taken from runs on such a device.
        notebooks: whether each run executes a notebook.

    Returns:
        Columns method, pair, seed, setting (the fields that differ between runs of a method), digest, state, done
        (percent of the steps), first_stage (``trained``, ``shared`` with a run above or kept in the folder, or empty),
        seconds (what is left, estimated from finished runs of the same method, preset and data in the folder; missing
        where there is none).
    """
    tasks = tasks_of(configs, Path(runs_dir), notebooks=notebooks)
    settings = _settings([task.config for task in tasks])
    pace, rows = _seconds_per_step(Path(runs_dir), device=device), []
    seen: set[Path] = set()
    for task in [*in_order(tasks), *(task for task in tasks if task.state == FINISHED)]:
        config, stage = task.config, _stage_is(task, seen=seen)
        rows.append(
            {
                "method": config.method,
                "pair": str(config.pair),
                "seed": config.seed,
                "setting": settings[config.digest],
                "digest": config.digest,
                "state": task.state,
                "done": 100 * task.done,
                "first_stage": stage,
                "seconds": _steps_left(task, stage) * pace.get(_kind(config), np.nan),
            }
        )
    return pd.DataFrame(rows)


def total_seconds(table: pd.DataFrame, *, jobs: int) -> float:
    """How long the runs of a `plan` take in so many processes; NaN where the time of one is not known."""
    left = table.loc[table["state"] != FINISHED, "seconds"]
    return float(max(left.sum(skipna=False) / jobs, left.max(skipna=False))) if len(left) else 0.0


def _state(folder: RunFolder, *, data_digest: str, notebooks: bool) -> tuple[str, float]:
    if damage_of(folder.path) is not None:
        return DAMAGED, 0.0
    if (manifest := folder.manifest()) is None:
        return NEW, 0.0
    if manifest["data_digest"] != data_digest:
        raise UserError(
            f"the data of {folder.path} have changed (digest {manifest['data_digest']}, now {data_digest}); "
            "give another runs folder or move that run away"
        )
    if manifest["status"] == "finished":
        shown = not notebooks or (folder.path / EXECUTED).exists()
        return FINISHED if shown else UNSHOWN, 1.0
    if not folder.checkpoint_path.exists():
        return NEW, 0.0
    return CONTINUED, _last_step(folder.path) / _total(folder.config)


def _last_step(folder: Path) -> int:
    try:
        return int(load_history(folder)["total_step"].max())
    except (OSError, ValueError, KeyError):  # the history follows the checkpoint by an instant
        return 0


def _total(config: ExperimentConfig) -> int:
    return sum(stage.steps for _, stage in config.stages)


def _first_stage(runs_dir: Path, config: ExperimentConfig, *, data_digest: str) -> Path | None:
    from mmsada_lab.checkpoint import first_stage_path

    return first_stage_path(runs_dir, config, data_digest=data_digest) if config.pretrain.steps else None


def _stage_is(task: Task, *, seen: set[Path]) -> str:
    """What becomes of the first stage of a task; `seen` collects those of the tasks before it."""
    path = task.first_stage
    if (
        path is None
        or task.state in (FINISHED, UNSHOWN)
        or task.done * _total(task.config) >= task.config.pretrain.steps
    ):
        return ""
    shared = task.state != CONTINUED and (path in seen or path.exists())
    seen.add(path)
    return "shared" if shared else "trained"


def _steps_left(task: Task, first_stage: str) -> float:
    if first_stage == "shared":
        return task.config.adapt.steps
    return (1 - task.done) * _total(task.config)


def _kind(config: ExperimentConfig) -> tuple[str, str, str]:
    return config.data, config.method, config.preset


def _seconds_per_step(runs_dir: Path, *, device: str) -> dict[tuple[str, str, str], float]:
    """Median over the finished runs of a folder, by data, method and preset."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for manifest in _manifests(runs_dir):
        if manifest["status"] == "finished" and (device == "auto" or manifest["device"].startswith(device)):
            config = ExperimentConfig(**manifest["config"])
            found.setdefault(_kind(config), []).append(manifest["training_seconds"] / _total(config))
    return {kind: float(np.median(values)) for kind, values in found.items()}


def _manifests(runs_dir: Path) -> Iterator[dict[str, Any]]:
    """All that can be read."""
    with suppress(UserError):
        for folder in find_runs(runs_dir):
            with suppress(UserError):
                yield read_manifest(folder / "manifest.json")


def _settings(configs: Sequence[ExperimentConfig]) -> dict[str, str]:
    """Digest -> the fields in which runs of one method differ, as overrides: ``adapt.steps=500``."""
    flat = {config.digest: _flat(config.to_dict()) for config in configs}
    texts = {}
    for config in configs:
        mates = [flat[other.digest] for other in configs if other.method == config.method]
        own = flat[config.digest]
        varied = [key for key in own if any(mate.get(key) != own[key] for mate in mates)]
        texts[config.digest] = " ".join(f"{key}={own[key]}" for key in varied)
    return texts


_NAMED_APART = ("method", "source", "target", "seed", "preset")


def _flat(values: dict[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{key}.")
        elif key not in _NAMED_APART:
            flat[above + key] = value if isinstance(value, str) else json.dumps(value)
    return flat
