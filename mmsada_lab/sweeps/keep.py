"""Reference runs: finished runs, cut down to what tables and figures read, small enough to be committed.

The layout is that of `mmsada_lab.runs`, so whatever reads a runs folder reads these. What is left out: weights, locks,
the loss terms of every step, and the predictions and features of all runs but a chosen few.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_atomic
from mmsada_lab.runs import find_runs, read_arrays, read_manifest, write_arrays, write_json

DIGITS = 6
"""Significant digits of a kept history."""

NEIGHBOURS = 10
"""Features are kept at half precision where no segment's so many nearest neighbours change."""

_FILES = {"manifest.json", "history.jsonl", "predictions.npz", "features.npz"}
_RUN_NAME = re.compile(r"seed\d+-[0-9a-f]{10}$")

Chosen = tuple[str, str, int]
"""Source, target and seed of a run whose arrays are kept."""


@dataclass(frozen=True)
class Kept:
    """What `keep_runs` did; prints as a sentence.

    Attributes:
        folder: where the runs were put.
        runs: how many.
        with_arrays: how many of them with predictions and features.
        unfinished: runs that were left out because they are not finished.
        halved: arrays kept as float16.
        whole: arrays kept as they were, since float16 would have changed a prediction or a neighbour.
        size: of all files, in bytes.
    """

    folder: Path
    runs: int
    with_arrays: int
    unfinished: int
    halved: int
    whole: int
    size: int

    def __str__(self) -> str:
        left = f" ({self.unfinished} unfinished left out)" if self.unfinished else ""
        return (
            f"{self.runs} finished runs kept in {self.folder}{left}: {self.size / 1e6:.1f} MB; {self.with_arrays} with "
            f"predictions and features, {self.halved} arrays at half precision, {self.whole} whole"
        )


def reference_runs() -> Path:
    """The folder of this checkout's reference runs.

    Raises:
        UserError: if the package does not lie in a checkout that holds them.
    """
    path = Path(__file__).parents[2] / "assets" / "reference_runs"
    if not path.is_dir():
        raise UserError(
            f"no reference runs {path}: the installed package does not hold them; work in a checkout, or name the "
            "folder of your own runs"
        )
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
    paths = runs.drop_duplicates("path")
    found = paths.loc[paths["digest"] == config.digest, "path"]
    if found.empty:
        raise UserError(
            f"no finished run of {wanted} with this data, preset and overrides; train it: mmsada train --help"
        )
    path = Path(found.iloc[0])
    if not (path / holding).is_file():
        holders = paths[[(Path(other) / holding).is_file() for other in paths["path"]]]
        named = sorted({f"{run['source']}-{run['target']} seed {run['seed']}" for run in holders.to_dict("records")})
        raise UserError(
            f"the run of {wanted} was kept without its {holding}; choose {' or '.join(named) or 'other runs'}, or name "
            "a folder of runs of your own"
        )
    return path


def keep_runs(runs_dir: Path, to: Path, *, arrays_of: Iterable[Chosen] = ()) -> Kept:
    """Copy finished runs into a folder small enough to commit.

    Manifests stay as they are, but for the folders in absolute paths; histories keep their evaluations, rounded to
    `DIGITS` significant digits; predictions and features are kept for the chosen pairs and seeds, of every method and
    setting. The new folder takes its place at once, when it is whole.

    Args:
        runs_dir: folder of runs, read only.
        to: folder to write: a new one, an empty one, or one that an earlier call wrote, which is replaced.
        arrays_of: source, target and seed of the runs whose arrays are kept.

    Raises:
        UserError: no finished run, a choice that no run answers to, or a folder that holds anything else.
    """
    source, target = Path(runs_dir).resolve(), Path(to).resolve()
    _require_free(target, source)
    found = find_runs(source)
    finished = {
        path: manifest
        for path in found
        if (manifest := read_manifest(path / "manifest.json")).get("status") == "finished"
    }
    chosen = set(arrays_of)
    _require_answers(finished.values(), chosen, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        whole = Path(scratch) / "new"
        halved = [
            _keep(path, whole / path.relative_to(source), manifest, chosen) for path, manifest in finished.items()
        ]
        _put_in_place(whole, target, Path(scratch) / "old")
    with_arrays = [flags for flags in halved if flags is not None]
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    halves = [flag for flags in with_arrays for flag in flags]
    counts = {"halved": sum(halves), "whole": len(halves) - sum(halves), "size": size}
    return Kept(target, len(finished), len(with_arrays), len(found) - len(finished), **counts)


def _require_free(target: Path, source: Path) -> None:
    if target == source or source in target.parents or target in source.parents:
        raise UserError(f"{target} and the runs folder {source} lie in one another; choose a folder outside")
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; choose a folder that is new or empty")
    files = (path for path in target.rglob("*") if not path.is_dir()) if target.exists() else ()
    other = next((f for f in files if f.name not in _FILES or not _RUN_NAME.search(f.parent.name)), None)
    if other is not None:
        raise UserError(
            f"{target} holds other files ({other.relative_to(target)}); choose a folder that is new or empty"
        )


def _require_answers(manifests: Collection[dict[str, Any]], chosen: set[Chosen], source: Path) -> None:
    if not manifests:
        raise UserError(f"{source} holds only unfinished runs; start them again and they continue")
    if missing := sorted(chosen - {_choice(manifest) for manifest in manifests}):
        listed = ", ".join(f"{s}-{t} seed {seed}" for s, t, seed in missing)
        raise UserError(f"no finished run of {listed} in {source}; choose pairs and seeds that were trained")


def _choice(manifest: dict[str, Any]) -> Chosen:
    config = manifest["config"]
    return config["source"], config["target"], config["seed"]


def _put_in_place(new: Path, target: Path, aside: Path) -> None:
    """Swap folders; if the new one cannot be moved, the old one comes back."""
    old = target.exists()
    if old:
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if old:
            aside.rename(target)
        raise


def _keep(path: Path, to: Path, manifest: dict[str, Any], chosen: set[Chosen]) -> list[bool] | None:
    """Write one run; whether each array was halved, or None for a run without arrays."""
    to.mkdir(parents=True)
    write_json(to / "manifest.json", without_folders(manifest))
    lines = [json.dumps(record) + "\n" for record in _evaluations(path / "history.jsonl")]
    write_atomic(to / "history.jsonl", lambda file: file.write("".join(lines).encode()))
    if _choice(manifest) not in chosen:
        return None
    halved = []
    for name in ("predictions.npz", "features.npz"):
        if (path / name).is_file():
            arrays = read_arrays(path / name)
            smaller = {key: half_if_same(key, values) for key, values in arrays.items()}
            write_arrays(to / name, smaller)
            halved += [smaller[key].dtype == np.float16 for key in arrays if key.startswith(("p_", "f_"))]
    return halved


def _evaluations(history: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in history.read_text().splitlines()]
    kept = [record for record in records if record["kind"] == "evaluation"]
    return [{**record, "values": {k: rounded(v) for k, v in record["values"].items()}} for record in kept]


def rounded(value: float) -> float:
    """A value to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def half_if_same(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Probabilities (``p_``) or features (``f_``) as float16 if that changes no figure, any other array as it is.

    Args:
        name: of the array.
        values: `(..., N, K)` probabilities, which must predict the same classes; or `(N, F)` features, whose
            segments must keep their `NEIGHBOURS` nearest neighbours.
    """
    if not name.startswith(("p_", "f_")) or values.dtype == np.float16:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    kept = values.argmax(axis=-1) if name.startswith("p_") else _neighbours(values)
    now = half.argmax(axis=-1) if name.startswith("p_") else _neighbours(half)
    same = np.isfinite(half).all() and np.array_equal(kept, now)
    return half if same else values


def _neighbours(values: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of the nearest neighbours of every row, themselves included, in order of number."""
    with np.errstate(invalid="ignore"):
        rows = values.astype(np.float64)
        squares = (rows**2).sum(axis=1)
        distances = squares[:, None] + squares - 2 * rows @ rows.T
    count = min(NEIGHBOURS + 1, len(rows))
    return np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)


def without_folders(value: Any) -> Any:
    """A JSON value whose absolute paths are cut to their last names: ``epic:/data/epic`` is ``epic:epic``."""
    if isinstance(value, dict):
        return {name: without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    return _without_folders(value) if isinstance(value, str) else value


_WHOLE = re.compile(r"(?:\w{2,}:)?(?P<path>~?/(?!/).*|[A-Za-z]:[\\/].*)")
_WITHIN = re.compile(r"(?<![\w/.:~])(?P<path>~?/(?!/)[^\s,;'\")]+|[A-Za-z]:\\[^\s,;'\")]+)")


def _without_folders(text: str) -> str:
    if match := _WHOLE.fullmatch(text):
        return text[: match.start("path")] + _last_name(match["path"])
    return _WITHIN.sub(lambda found: _last_name(found["path"]), text)


def _last_name(path: str) -> str:
    return PureWindowsPath(path).name if re.match(r"[A-Za-z]:[\\/]", path) else PurePosixPath(path).name
