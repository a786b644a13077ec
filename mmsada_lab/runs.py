"""Run folders: everything a run leaves, written atomically, read back without torch.

``RUNS/<data>/<method>/<source>-<target>/seed<k>-<digest>/`` holds

- ``manifest.json``: configuration, digest, versions, git state, device, data digest, start, end, status, result;
- ``history.jsonl``: one JSON record a line, ``kind`` ``train`` (loss terms, unweighted), ``game`` (of the same steps:
  D's balanced accuracy and loss by modality, the self-supervised head's accuracy, the reversal, and
  ``gradient/TERM/MODALITY``, the norm of what arrives at F of a weighted term), ``scale`` (of gradients in fp16) or
  ``evaluation`` (accuracies; in the last stage ``validator/...`` and, of D on the evaluated segments, ``game/...``);
- ``predictions.npz``: window-averaged probabilities per stream of every averaged evaluation;
- ``features.npz``: features per modality of the source's and the target's test segments (``f_...``, and ``own_...``
  under the batch statistics of each domain's own training clips);
- ``windows.npz``: class probabilities of every window of these segments, per stream (``w_...``, float16);
- ``checkpoints.npz``, with ``keep_features``: features (``f_...``) and probabilities (``p_...``) of these segments
  after some evaluations of both stages (float16);
- ``model.safetensors``: the final weights (none where the manifest's ``weights_kept`` is false: such a run came with
  the checkout); ``checkpoint.pt`` while the run is unfinished.

``RUNS`` may also be a zip file of such folders, as `mmsada keep` writes them: it is read in place, never unpacked.
"""

from __future__ import annotations

import io
import json
import math
import platform
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import locate, read_file, write_atomic

Record = dict[str, Any]


def to_json(value: object) -> bytes:
    """JSON as manifests are written."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically."""
    write_atomic(path, lambda file: file.write(to_json(value)))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz`` atomically; arrays of objects are refused, so that reading never unpickles."""
    buffer = io.BytesIO()  # numpy would append .npz to a temporary file's name
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    write_atomic(path, lambda file: file.write(buffer.getvalue()))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read an ``.npz`` without unpickling anything."""
    with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as arrays:
        return dict(arrays)


class RunFolder:
    """The folder of one run.

    Args:
        runs_dir: where all runs lie.
        config: of this run.
        data_name: name of the data set, a folder level.
    """

    def __init__(self, runs_dir: Path, config: ExperimentConfig, *, data_name: str) -> None:
        pair = f"{config.source}-{config.target}"
        self.path = Path(runs_dir) / data_name / config.method / pair / f"seed{config.seed}-{config.digest}"
        self.config = config

    @property
    def manifest_path(self) -> Path:
        """Where the manifest is."""
        return self.path / "manifest.json"

    @property
    def checkpoint_path(self) -> Path:
        """Where an unfinished run's checkpoint is."""
        return self.path / "checkpoint.pt"

    def manifest(self, *, data_digest: str | None = None) -> dict[str, Any] | None:
        """Read the manifest; None where nothing has run yet.

        Args:
            data_digest: of the data as they are now, to be compared with those of the run.

        Raises:
            UserError: the manifest cannot be read, or belongs to another configuration or to other data.
        """
        if not self.manifest_path.exists():
            return None
        manifest = read_manifest(self.manifest_path)
        elsewhere = "give another runs folder or move that run away"
        if ExperimentConfig(**manifest["config"]).digest != self.config.digest:
            raise UserError(
                f"{self.path} holds a run of another configuration (digest {manifest['digest']}, expected "
                f"{self.config.digest}); {elsewhere}"
            )
        if data_digest not in (None, manifest.get("data_digest")):
            raise UserError(
                f"the data of {self.path} have changed (digest {manifest.get('data_digest')}, now {data_digest}); "
                f"{elsewhere}"
            )
        return manifest

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Lock the folder for one process; the lock ends with the process, however it ends.

        Where another process has it this is a `UserError`; with `wait` that is said, and waited for.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                if not wait:
                    raise
                run = f"{self.config.pair} {self.config.method} seed {self.config.seed}"
                waiting = "is being trained by another process; waiting for it (interrupt to stop waiting)"
                tqdm.write(f"{run} {waiting}", file=sys.stderr)
                lock.acquire(timeout=-1)
        except Timeout:
            raise UserError(f"another process is training {self.path}; wait for it or stop it") from None
        except OSError as error:
            raise UserError(f"cannot write to the runs folder {self.path}: {error}; choose another") from error
        try:
            for leftover in self.path.glob(".*.*"):  # drafts of a process that was killed while writing
                leftover.unlink()
            yield
        finally:  # not by leaving it to garbage: a notebook keeps the frames of its last error
            lock.release()

    def write_history(self, history: Iterable[Record]) -> None:
        """Write the history, one record a line."""
        text = "".join(json.dumps(record) + "\n" for record in history)
        write_atomic(self.path / "history.jsonl", lambda file: file.write(text.encode()))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        UserError: if it is not one.
    """
    try:
        manifest: dict[str, Any] = json.loads(read_file(path))
        ExperimentConfig(**manifest["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a readable manifest ({error}); move its folder away and run again") from error
    return manifest


def is_complete(manifest: Record) -> bool:
    """Whether a run is finished and kept its weights, which a copied reference run did not (`weights_kept`)."""
    return bool(manifest["status"] == "finished" and manifest.get("weights_kept", True))


_RUN_NAME = re.compile(r"seed\d+-[0-9a-f]{10}$")


def find_runs(runs_dir: Path) -> list[Path]:
    """Folders of all runs below a folder or in a zip file, finished or not, in order.

    Raises:
        UserError: if the folder does not exist or holds no run.
    """
    folder = locate(runs_dir)
    if not folder.is_dir():
        raise UserError(f"no runs folder {runs_dir}; train something first: mmsada train --help")
    if isinstance(folder, Path):
        manifests = list(folder.rglob("manifest.json"))
    else:
        names = [name.removeprefix(folder.at) for name in folder.root.namelist() if name.startswith(folder.at)]
        manifests = [Path(runs_dir, name) for name in names if f"/{name}".endswith("/manifest.json")]
    runs = sorted(path.parent for path in manifests if _RUN_NAME.search(path.parent.name))
    if not runs:
        raise UserError(f"{runs_dir} holds no run; train something first: mmsada train --help")
    return runs


def load_runs(runs_dir: Path) -> pd.DataFrame:
    """Tidy results of all finished runs: one row per run and stream.

    Returns:
        Columns data (without the seed of its world), world, method, source, target, seed, preset, digest, setting (the
        digest but for seed and world), stream, top1, mean_class (percent), test_segments (how many labelled ones the
        accuracies are of; missing where it is not known), evaluations (how many the accuracies are the mean of),
        selection, training_seconds, device, version (of this package), caution (about mean_class, if there is any),
        path.
    """
    survey = survey_runs(runs_dir)
    if survey.damaged:
        raise UserError(next(iter(survey.damaged.values())))
    if not survey.finished:
        raise UserError(f"{runs_dir} holds only unfinished runs; start them again and they continue")
    if survey.results.empty:
        hint = "mmsada predict gives their predictions"
        raise UserError(
            f"the target of no run in {runs_dir} has labelled test segments, so there is no accuracy; {hint}"
        )
    return survey.results


@dataclass(frozen=True)
class RunsSurvey:
    """What a folder of runs holds.

    Attributes:
        results: as `load_runs` returns them; empty where no run has an accuracy.
        finished: manifest of every finished run, by path.
        unfinished: manifest of every other run.
        damaged: why a run cannot be read.
    """

    results: pd.DataFrame
    finished: dict[Path, Record]
    unfinished: dict[Path, Record]
    damaged: dict[Path, str]


def survey_runs(runs_dir: Path) -> RunsSurvey:
    """Read all runs of a folder or zip file; one that cannot be read is named, and is no reason to stop.

    Raises:
        UserError: the folder does not exist or holds no run.
    """
    rows: list[Record] = []
    survey = RunsSurvey(pd.DataFrame(), {}, {}, {})
    for path in find_runs(runs_dir):
        try:
            manifest = read_manifest(path / "manifest.json")
            finished = manifest["status"] == "finished"
            rows += _result_rows(path, manifest) if finished else []
            (survey.finished if finished else survey.unfinished)[path] = manifest
        except UserError as error:
            survey.damaged[path] = str(error)
        except (KeyError, TypeError, AttributeError) as error:  # a finished run without a whole result
            survey.damaged[path] = f"{path / 'manifest.json'} lacks {error}; move its folder away and run again"
    return replace(survey, results=pd.DataFrame(rows))


def _result_rows(path: Path, manifest: Record) -> list[Record]:
    config, result = manifest["config"], manifest["result"]
    data, world = split_world(config["data"])
    shared = {
        "data": data,
        "world": world,
        **{name: config[name] for name in ("method", "source", "target", "seed", "preset")},
        "digest": manifest["digest"],
        "setting": replace(ExperimentConfig(**config), seed=0, data=data).digest,
        "test_segments": result.get("test_segments") or count_test_segments(path),
        **{name: result[name] for name in ("evaluations", "selection")},
        **{name: manifest[name] for name in ("training_seconds", "device")},
        "version": manifest.get("versions", {}).get("mmsada_lab", "unknown"),
        "caution": result.get("caution", ""),
        "path": str(path),
    }
    return [{**shared, "stream": stream, **values} for stream, values in result["target"].items()]


def split_world(specification: str) -> tuple[str, int]:
    """A data specification without the seed that its data are drawn with, and that seed: its *world*.

    Only the embedded kitchens are drawn: each of their seeds is another world, 0 where none is named. Recorded data
    are one world, 0.

    Example:
        >>> split_world("kitchens:appearance=0.5,seed=3"), split_world("kitchens"), split_world("epic:ROOT")
        (('kitchens:appearance=0.5', 3), ('kitchens', 0), ('epic:ROOT', 0))
    """
    name, _, knobs = specification.partition(":")
    if name != "kitchens":
        return specification, 0
    world, others = 0, []
    for knob in filter(None, knobs.split(",")):
        if seed := _SEED.fullmatch(knob):
            world = int(seed[1])
        else:
            others.append(knob)
    return ":".join(filter(None, [name, ",".join(others)])), world


def join_world(data: str, world: int) -> str:
    """The specification of a world: the inverse of `split_world`; world 0 needs no name.

    Raises:
        UserError: the data are not drawn, so there is one world of them.

    Example:
        >>> join_world("kitchens:camera=1", 3), join_world("kitchens:seed=7", 0)
        ('kitchens:camera=1,seed=3', 'kitchens')
    """
    shared, _ = split_world(data)
    name, _, knobs = shared.partition(":")
    if name != "kitchens":
        raise UserError(f"{data} is recorded data, of which there is one world; only kitchens are drawn anew")
    return ":".join(filter(None, [name, ",".join(filter(None, [knobs, f"seed={world}" if world else ""]))]))


_SEED = re.compile(r"seed=(\d+)")


def count_test_segments(path: Path) -> float:
    """How many labelled target test segments a run's predictions are of; missing if they were not kept."""
    predictions = Path(path) / "predictions.npz"
    if not locate(predictions).is_file():
        return math.nan
    try:
        with np.load(io.BytesIO(read_file(predictions)), allow_pickle=False) as arrays:
            return int((arrays["label"] >= 0).sum())
    except (UserError, OSError, ValueError, KeyError, zipfile.BadZipFile):  # accuracies are read without it
        return math.nan


def load_history(path: Path) -> pd.DataFrame:
    """History of one run as a tidy frame: kind, stage, step, total_step, name, value.

    Names are loss terms (kind ``train``), ``stream/measure`` (``evaluation``), and as above (``game``).
    """
    rows = []
    for record in map(json.loads, read_file(Path(path) / "history.jsonl").splitlines()):
        shared = {name: record[name] for name in ("kind", "stage", "step", "total_step")}
        rows += [{**shared, "name": name, "value": value} for name, value in record["values"].items()]
    return pd.DataFrame(rows)


def load_predictions(path: Path) -> pd.DataFrame:
    """Predictions of one run: one row per averaged evaluation, stream and target test segment.

    Returns:
        Columns step, stream, uid, label, predicted and p0, p1, ... (window-averaged probabilities).
    """
    arrays = read_arrays(Path(path) / "predictions.npz")
    frames = []
    for name in arrays:
        if name.startswith("p_"):
            for step, probabilities in zip(arrays["steps"], arrays[name], strict=True):
                frame = pd.DataFrame(probabilities).add_prefix("p")  # (N, K)
                facts = {"uid": arrays["uid"], "label": arrays["label"], "predicted": probabilities.argmax(axis=1)}
                frame = pd.concat([pd.DataFrame(facts), frame], axis=1)
                frames.append(frame.assign(step=int(step), stream=name.removeprefix("p_")))
    return pd.concat(frames, ignore_index=True)


def provenance() -> dict[str, Any]:
    """Versions of what computes, and the state of the package's checkout."""
    return {"versions": versions(), "git": _git_state()}


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of what computes."""
    names = ("mmsada_lab", "torch", "accelerate", "numpy", "opencv-contrib-python-headless", "av")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_state() -> dict[str, Any]:
    """Commit of the package's checkout and whether it was changed; empty outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=here, stderr=subprocess.PIPE, text=True, timeout=10).strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return {}
