"""The scale of fp16 gradients on a CPU: it goes on where it was, and steps that it skips are told.

The runs are in float32; their accelerator has a gradient scaler all the same, which is what fp16 adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from test_experiment import Writes, assert_same, run, stopped, writes
from toy import toy_config

from mmsada_lab import experiment
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import load_history, read_manifest

pytestmark = pytest.mark.usefixtures("toy_format")
__all__ = ["writes"]  # a fixture

GROWS = {"init_scale": 1024.0, "growth_interval": 3}
OVERFLOWS = {"init_scale": 2.0**127, "growth_interval": 1000}
STEEP = {f"{stage}__{name}": value for stage in ("pretrain", "adapt") for name, value in
         {"weights__classification": 100.0, "learning_rate": 1e-4}.items()}  # fmt: skip
"""A hundred times as steep, and as slow: its scaled gradients do not fit into float32 for some steps."""


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From now on runs have a scaler with these settings."""
    opened = experiment.open_accelerator

    def put(**settings: Any) -> None:
        @contextmanager
        def with_scaler(*arguments: Any, **options: Any) -> Iterator[Accelerator]:
            with opened(*arguments, **options) as accelerator:
                accelerator.scaler = torch.amp.GradScaler("cpu", **settings)
                yield accelerator

        monkeypatch.setattr(experiment, "open_accelerator", with_scaler)

    return put


def scales(path: Path, name: str = "scale") -> list[float]:
    history = load_history(path)
    return history[(history["kind"] == "scale") & (history["name"] == name)]["value"].tolist()


def test_the_scale_grows_and_is_recorded(scaled: Callable[..., None], tmp_path: Path) -> None:
    """Doubled every three steps, over both stages: 5 and 7 steps, evaluated after 3, 5 and 3, 6, 7."""
    scaled(**GROWS)
    path = run(toy_config(), tmp_path)
    assert scales(path) == [1024 * 2**doubled for doubled in (1, 1, 2, 3, 4)]
    assert scales(path, "skipped_steps") == [0] * 5
    assert read_manifest(path / "manifest.json")["skipped_steps"] == 0


@pytest.mark.parametrize("after", [3, 8], ids=["in the first stage", "in the second stage"])
def test_a_resumed_run_has_the_scale_it_had(
    after: int, scaled: Callable[..., None], writes: Writes, tmp_path: Path
) -> None:
    scaled(**GROWS)
    config = toy_config("mmsada")
    whole = run(config, tmp_path / "whole")
    half = stopped(config, tmp_path / "half", writes, after=after)
    checkpoint = torch.load(half / "checkpoint.pt", weights_only=True)
    assert checkpoint["scaler"]["scale"] == scales(whole)[after // 2 - 1] > 1024
    assert_same(whole, run(config, tmp_path / "half"))


def test_a_first_stage_that_is_shared_hands_its_scale_on(scaled: Callable[..., None], tmp_path: Path) -> None:
    scaled(**GROWS)
    alone = run_experiment(toy_config(), tmp_path / "alone", device="cpu", show_progress=False, share_first_stage=False)
    run(toy_config(reversal_coefficient=0.5), tmp_path / "shared")
    assert_same(alone, reused := run(toy_config(), tmp_path / "shared"))
    assert read_manifest(reused / "manifest.json")["first_stage_reused"]


def test_skipped_steps_are_counted_and_told(
    scaled: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The scale is halved for every step that it skips."""
    scaled(**OVERFLOWS)
    config = toy_config("source_only", **STEEP)
    path = run_experiment(config, tmp_path, device="cpu")
    skipped = read_manifest(path / "manifest.json")["skipped_steps"]
    assert 0 < skipped < config.total_steps
    assert scales(path)[-1] == 2.0 ** (127 - skipped)
    assert scales(path, "skipped_steps")[-1] == skipped
    note = f"note: {skipped} of {config.total_steps} steps changed nothing: gradients overflowed in no"
    assert note in capsys.readouterr().err


def test_the_count_goes_on_with_the_run(scaled: Callable[..., None], writes: Writes, tmp_path: Path) -> None:
    scaled(**OVERFLOWS)
    config = toy_config("source_only", **STEEP)
    whole = run(config, tmp_path / "whole")
    stopped(config, tmp_path / "half", writes, after=5)
    half = run(config, tmp_path / "half")
    counts = [read_manifest(path / "manifest.json")["skipped_steps"] for path in (whole, half)]
    assert counts[0] == counts[1] > 0


def test_without_a_scaler_nothing_is_said_of_one(tmp_path: Path) -> None:
    path = run(toy_config("source_only"), tmp_path)
    assert set(load_history(path)["kind"]) == {"train", "game", "evaluation"}
    assert read_manifest(path / "manifest.json")["skipped_steps"] == 0
