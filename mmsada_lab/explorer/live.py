"""Training that is watched while it runs, from a notebook, and can be stopped and gone on with at a click.

A button cannot reach a kernel that trains. So the run is a process of its own, and the notebook reads what it writes:
its history after every evaluation, and the features of its last checkpoint for a map that moves. Stopping ends the
process; whatever it had done up to its last checkpoint stays, and starting again goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.maps import follow_map, side_by_side
from mmsada_lab.runs import RunFolder, load_history, read_arrays, read_manifest

_SECONDS = 1.0  # from one look to the next


@dataclass(frozen=True)
class Snapshot:
    """Features of the last checkpoint that kept some: the step (of both stages), and `(N, F)` by modality."""

    step: int
    features: dict[str, NDArray[np.float32]]


class WatchedRun:
    """One run in a process of its own.

    Args:
        config: what to run.
        runs_dir: where run folders lie.
        device: ``auto`` or ``cpu``.
    """

    def __init__(self, config: ExperimentConfig, runs_dir: Path | str, *, device: str = "auto") -> None:
        self.config, self.runs_dir, self.device = config, Path(runs_dir), device
        data = load_data(config.data)
        self.classes = data.classes
        self.folder = RunFolder(self.runs_dir, config, data_name=data.name)
        self._process: subprocess.Popen[bytes] | None = None
        handle, name = tempfile.mkstemp(prefix="mmsada-", suffix=".log")
        os.close(handle)
        self._log = Path(name)  # of the process: read if it ends by itself
        weakref.finalize(self, self._log.unlink, missing_ok=True)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def finished(self) -> bool:
        """Whether the run is done."""
        manifest = self.folder.manifest()
        return manifest is not None and manifest["status"] == "finished"

    def start(self) -> None:
        """Start the run, or go on with it from its last checkpoint; nothing to do if it is running or finished."""
        if self.running or self.finished:
            return
        job = {"config": self.config.to_dict(), "runs": str(self.runs_dir.resolve()), "device": self.device}
        command = [sys.executable, "-m", "mmsada_lab.explorer.live", json.dumps(job)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self) -> None:
        """End the process; what it did up to its last checkpoint stays."""
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def wait(self) -> None:
        """Wait until the process has ended."""
        if self._process is not None:
            self._process.wait()

    @property
    def error(self) -> str:
        """Why the process ended by itself without finishing; empty while there is no such reason."""
        process = self._process
        if process is None or process.poll() in (None, 0) or process.returncode < 0:
            return ""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the training process ended with exit code {process.returncode}"

    def history(self) -> pd.DataFrame | None:
        """Records so far; None before the first evaluation."""
        return load_history(self.path) if (self.path / "history.jsonl").is_file() else None

    def snapshot(self) -> Snapshot | None:
        """The features kept last; None while there are none."""
        if (self.path / "checkpoints.npz").is_file():
            arrays = read_arrays(self.path / "checkpoints.npz")
            last = {name.removeprefix("f_"): f[-1].astype(np.float32) for name, f in arrays.items() if name[:2] == "f_"}
            return Snapshot(int(arrays["steps"][-1]), last)
        return _read_checkpoint(self.folder.checkpoint_path)

    def sides(self) -> NDArray[np.bool_]:
        """Whether each segment of a snapshot is of the target, `(N,)`."""
        data = load_data(self.config.data)
        source, target = data.domain(self.config.source), data.domain(self.config.target)
        labelled = [s for s in source.train if s.label is not None]
        counts = [len(source.test or labelled), len(target.test or target.train)]
        return np.repeat([False, True], counts)


def _read_checkpoint(path: Path) -> Snapshot | None:
    """The last snapshot of a checkpoint; None if there is none, or it is being replaced."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        step, arrays = state["snapshots"][-1]
    except (OSError, RuntimeError, KeyError, IndexError):
        return None
    features = {name[2:]: tensor.float().numpy() for name, tensor in arrays.items() if name.startswith("f_")}
    return Snapshot(int(step), features)


def train_live(
    config: ExperimentConfig, runs_dir: Path | str, *, device: str = "auto", block: bool | None = None
) -> Any:
    """Train one run and watch it: losses by term, the game, accuracies, and a map that moves.

    Args:
        config: what to run.
        runs_dir: where run folders lie.
        device: ``auto`` or ``cpu``.
        block: train in this process and return the run folder when it is done; None does so wherever nobody could
            click: under papermill, in tests, in scripts.

    Returns:
        The run folder or, where it is watched, a widget whose `run` is a `WatchedRun`.

    Raises:
        UserError: what `run_experiment` refuses, before anything is started.
    """
    if somebody_watches() if block is None else not block:
        return show_live(WatchedRun(config, runs_dir, device=device))
    from mmsada_lab.experiment import run_experiment

    return run_experiment(config, runs_dir, device=device)


def somebody_watches() -> bool:
    """Whether this kernel belongs to a notebook that is open: in JupyterLab, VS Code or Colab."""
    return any(name in os.environ for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"))


def show_live(run: WatchedRun) -> Any:
    """The widget: buttons, progress and figures of a run, which is started; it takes the place of an earlier one."""
    import ipywidgets as widgets
    import plotly.graph_objects as go

    from mmsada_lab.analysis import curves, game

    run = _take_over(run)
    go_on, stop = (widgets.Button(description=text, icon=icon) for text, icon in (("Go on", "play"), ("Stop", "stop")))
    bar = widgets.IntProgress(max=run.config.total_steps, description="steps")
    state = widgets.HTML()
    drawings: dict[str, tuple[go.FigureWidget, Callable[[pd.DataFrame], go.Figure]]] = {
        "losses": (go.FigureWidget(), lambda h: curves.draw_training_curves(curves.training_curves(h))),
        "accuracies": (go.FigureWidget(), lambda h: curves.draw_accuracy_curves(curves.accuracy_curves(h))),
        "game": (go.FigureWidget(), lambda h: game.draw_game(game.game_curves(h))),
    }
    space = go.FigureWidget()
    tabs = widgets.Tab([figure for figure, _ in drawings.values()] + [space], titles=[*drawings, "map"])
    shown = widgets.VBox([widgets.HBox([go_on, stop, bar]), state, tabs])
    shown.run = run
    go_on.on_click(lambda _: run.start())
    stop.on_click(lambda _: run.stop())

    async def watch() -> None:
        seen, points, step = 0.0, None, -1
        while True:
            go_on.disabled, stop.disabled = run.running or run.finished, not run.running
            state.value = _state(run)
            path = run.path / "history.jsonl"
            if path.is_file() and (changed := path.stat().st_mtime) != seen:
                seen, history = changed, run.history()
                assert history is not None
                bar.value = int(history["total_step"].max())
                for figure, draw in drawings.values():
                    _redraw(figure, draw, history)
            snapshot = await asyncio.to_thread(run.snapshot)
            if snapshot is not None and snapshot.step != step:
                step = snapshot.step
                points = await asyncio.to_thread(follow_map, side_by_side(snapshot.features), points)
                _redraw(space, partial(_draw_map, run=run, step=step), points)
            if run.finished:
                await asyncio.to_thread(run.wait)
                bar.value, state.value = bar.max, _state(run)
                return
            await asyncio.sleep(_SECONDS)

    run.start()
    shown.watching = asyncio.ensure_future(watch())
    _shown[run.path] = shown
    return shown


_shown: dict[Path, Any] = {}
"""The widget of each run, by its folder."""


def _take_over(run: WatchedRun) -> WatchedRun:
    """The run that an earlier widget of this folder began, if it still trains: nobody else could stop it."""
    earlier = _shown.get(run.path)
    if earlier is None:
        return run
    earlier.watching.cancel()  # of the same cell, run before: what it showed is gone from the page
    return earlier.run if earlier.run.running else run


def _redraw(figure: Any, draw: Callable[[Any], Any], data: Any) -> None:
    """Replace what a figure widget shows, all at once; what cannot be drawn yet is left for later."""
    try:
        drawn = draw(data)
    except (UserError, IndexError, KeyError, ValueError):  # no record of that kind yet
        return
    with figure.batch_update():
        figure.data = []
        figure.add_traces(drawn.data)
        figure.layout = drawn.layout


def _draw_map(points: NDArray[Any], run: WatchedRun, step: int) -> Any:
    from mmsada_lab.analysis import style

    figure, of_target = style.empty_figure(f"Feature space after {step} steps"), run.sides()
    for side, rows in (("source", ~of_target), ("target", of_target)):
        marker = {"color": style.translucent(style.DOMAIN_COLOURS[side], 0.7), "size": 7}
        x, y = points[rows].T.round(3).tolist()
        figure.add_scatter(x=x, y=y, mode="markers", name=side, marker=marker)
    return figure.update_xaxes(showticklabels=False).update_yaxes(showticklabels=False)


def _state(run: WatchedRun) -> str:
    if run.finished:
        result = read_manifest(run.path / "manifest.json")["result"]["target"]
        fused = f": target top-1 {result['fused']['top1']:.1f} %" if result else ""
        return f"finished{fused}, {run.path.name}"
    if run.error:
        return f"<b>stopped by an error:</b> {_escape(run.error)}"
    return "training" if run.running else "stopped; <i>Go on</i> continues from the last checkpoint"


def _escape(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def main() -> None:
    """Train what the only argument describes: the process that a `WatchedRun` starts."""
    from mmsada_lab.experiment import run_experiment

    job = json.loads(sys.argv[1])
    try:
        run_experiment(ExperimentConfig(**job["config"]), job["runs"], device=job["device"], show_progress=False)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
