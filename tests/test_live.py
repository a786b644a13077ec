"""Training that is watched: a run in a process of its own that stops at a click and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsada_lab import build_config
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.experiment import run_experiment
from mmsada_lab.explorer.live import WatchedRun, show_live, somebody_watches, train_live
from mmsada_lab.runs import read_arrays, read_manifest

SIZES = {
    "pretrain.steps": 4,
    "adapt.steps": 60,
    "evaluate_every": 2,
    "evaluate_before": 0,
    "batch_size": 8,
    "width": 4,
    "test_windows": 1,
    "keep_features": 6,
}


def tiny(**changes: Any) -> ExperimentConfig:
    data, overrides = "kitchens:scale=0.01", {**SIZES, **changes}
    return build_config("quick", source="D2", target="D1", data=data, overrides=overrides)


def wait(until: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_experiment(tiny(), tmp_path_factory.mktemp("whole"), device="cpu", show_progress=False)


def test_it_stops_within_two_seconds_and_goes_on_to_the_same_end(whole: Path, tmp_path: Path) -> None:
    run = WatchedRun(tiny(), tmp_path, device="cpu")
    assert run.history() is None
    assert run.snapshot() is None
    run.start()
    run.start()  # a second click does nothing
    wait((run.path / "history.jsonl").is_file)
    before = time.monotonic()
    run.stop()
    assert time.monotonic() - before < 2
    assert not run.running
    assert not run.finished
    assert run.error == ""
    done = run.history()["total_step"].max()
    assert 0 < done < 64
    assert read_manifest(run.path / "manifest.json")["status"] == "running"
    run.start()
    wait(lambda: run.finished and not run.running)
    for name in ("predictions.npz", "features.npz", "checkpoints.npz"):
        arrays, expected = read_arrays(run.path / name), read_arrays(whole / name)
        assert arrays.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_array_equal(arrays[key], values)
    run.start()
    assert not run.running, "a finished run is not started again"


def test_what_is_shown_while_it_runs(whole: Path, tmp_path: Path) -> None:
    run = WatchedRun(tiny(), tmp_path, device="cpu")
    run.start()
    wait(lambda: run.snapshot() is not None)
    early = run.snapshot()
    assert early.features["rgb"].shape == read_arrays(whole / "features.npz")["f_rgb"].shape
    assert len(run.sides()) == len(early.features["rgb"])
    side = read_arrays(whole / "features.npz")["side"]
    np.testing.assert_array_equal(run.sides(), side == "target")
    run.stop()
    last = WatchedRun(tiny(), whole.parents[3], device="cpu").snapshot()
    assert last.step == 64
    np.testing.assert_allclose(last.features["rgb"], read_arrays(whole / "features.npz")["f_rgb"], rtol=2e-3, atol=1e-4)


def test_an_error_is_told(tmp_path: Path) -> None:
    run = WatchedRun(tiny(batch_size=4096), tmp_path, device="cpu")
    run.start()
    wait(lambda: not run.running)
    assert "lower batch_size" in run.error
    assert not run.finished


def test_the_widget_follows_the_run_and_its_button_stops_it(tmp_path: Path) -> None:
    async def watched() -> None:
        config = tiny(**{"adapt.steps": 200, "evaluate_every": 4})  # longer than the first map takes
        shown = show_live(WatchedRun(config, tmp_path, device="cpu"))
        (go_on, stop, bar), said, tabs = shown.children[0].children, shown.children[1], shown.children[2]
        losses, accuracies, game, space = tabs.children

        async def until(condition: Callable[[], object]) -> None:
            end = time.monotonic() + 60
            while not condition():
                assert time.monotonic() < end, said.value
                await asyncio.sleep(0.05)

        await until(lambda: bar.value > 0 and len(losses.data) and len(space.data))
        assert {trace.name for trace in space.data} == {"source", "target"}
        stop.click()
        assert not shown.run.running
        await until(lambda: "stopped" in said.value)
        assert stop.disabled
        assert not go_on.disabled
        go_on.click()
        await until(lambda: "finished" in said.value)
        assert bar.value == bar.max == 204
        assert "target top-1" in said.value
        assert len(game.data)
        assert len(accuracies.data)
        await asyncio.wait_for(shown.watching, timeout=10)

    asyncio.run(watched())


def test_a_cell_that_is_run_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    async def watched() -> None:
        config = tiny(**{"adapt.steps": 400})
        first = show_live(WatchedRun(config, tmp_path, device="cpu"))
        await asyncio.to_thread(wait, lambda: first.run.snapshot() is not None)
        second = show_live(WatchedRun(config, tmp_path, device="cpu"))
        assert second.run is first.run, "or a second process would be refused, and nobody could stop the first"
        second.children[0].children[1].click()
        assert not first.run.running
        await asyncio.wait([first.watching], timeout=10)
        assert first.watching.cancelled()
        again = show_live(WatchedRun(config, tmp_path, device="cpu"))
        assert again.run is not first.run
        again.run.stop()
        again.watching.cancel()

    asyncio.run(watched())


def test_where_nobody_watches_it_simply_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    assert not somebody_watches()
    path = train_live(tiny(**{"adapt.steps": 2}), tmp_path, device="cpu")
    assert read_manifest(path / "manifest.json")["status"] == "finished"
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    assert somebody_watches()
