"""Run folders that broke: found without torch, and put aside so that their runs are made anew."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.runs import RunFolder, load_history, read_manifest


def quarantine_damaged(runs_dir: Path, configs: Iterable[ExperimentConfig]) -> list[Path]:
    """Rename the folders of damaged runs to ``<name>.damaged-<n>``; a folder that is being trained in is left alone.

    Damaged is a manifest that is none, a finished run of which a file is missing or cut short, and an unfinished one
    whose checkpoint is.

    Returns:
        Where the damaged folders are now.

    Raises:
        UserError: if the data cannot be opened or a folder cannot be renamed.
    """
    configs = list(configs)
    names = {data: load_data(data).name for data in {config.data for config in configs}}
    folders = [RunFolder(Path(runs_dir), config, data_name=names[config.data]).path for config in configs]
    return [moved for folder in folders for moved in _put_aside(folder)]


def damage_of(folder: Path) -> str | None:
    """What is wrong with a run folder, or None: nothing, or nothing has run in it."""
    if not (folder / "manifest.json").exists():
        return None
    try:
        manifest = read_manifest(folder / "manifest.json")
        checks = _FINISHED if manifest["status"] == "finished" else _UNFINISHED
        if checks is _FINISHED:
            manifest["result"]["target"], manifest["training_seconds"]
    except (UserError, KeyError, TypeError) as error:
        return f"manifest.json: {error}"
    for name, check in checks.items():
        try:
            check(folder / name)
        except Exception as error:  # damaged files fail in many ways
            return f"{name}: {error}"
    return None


def _put_aside(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    try:
        with FileLock(folder / ".lock", timeout=0):  # the lock of `RunFolder.locked`
            if damage_of(folder) is None:
                return
            number = 1
            while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
                number += 1
            folder.rename(aside)
            yield aside
    except Timeout:
        return
    except OSError as error:
        raise UserError(f"cannot put the damaged run {folder} aside: {error}; move it away") from error


def _whole_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise ValueError(f"{name} in it is damaged")


def _whole_checkpoint(path: Path) -> None:
    if path.exists():
        _whole_zip(path)


def _whole_weights(path: Path) -> None:
    """A safetensors file is the length of its header, the header, and as many bytes as that says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(min(length, size)))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if size != 8 + length + end:
        raise ValueError(f"it has {size} bytes, not {8 + length + end}")


_FINISHED: dict[str, Callable[[Path], object]] = {
    "history.jsonl": lambda path: load_history(path.parent),
    "predictions.npz": _whole_zip,
    "features.npz": _whole_zip,
    "model.safetensors": _whole_weights,
}
_UNFINISHED: dict[str, Callable[[Path], object]] = {"checkpoint.pt": _whole_checkpoint}
