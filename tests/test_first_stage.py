"""First stages shared between runs: the same results with and without, whoever trains them and whatever happens."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from test_experiment import Writes, assert_same, stopped
from toy import run_toy, toy_config

from mmsada_lab import checkpoint, experiment
from mmsada_lab.checkpoint import FIRST_STAGES, first_stage_path
from mmsada_lab.experiment import run_experiment
from mmsada_lab.facts import METHODS
from mmsada_lab.runs import read_manifest

pytestmark = pytest.mark.usefixtures("toy_format")


def run(config, runs: Path, *, share: bool = True) -> Path:
    return run_experiment(config, runs, device="cpu", workers=0, show_progress=False, share_first_stage=share)


def reused(path: Path) -> bool:
    return read_manifest(path / "manifest.json")["first_stage_reused"]


def kept(runs: Path) -> list[Path]:
    return sorted((runs / FIRST_STAGES).glob("*.pt"))


@pytest.mark.parametrize("method", METHODS)
def test_results_are_those_of_a_run_alone(method: str, tmp_path: Path) -> None:
    """Runs that differ in the second stage alone, which the second of them starts from the first one's first."""
    one, other = (toy_config(method, adapt__learning_rate=rate) for rate in (0.01, 0.02))
    shared = [run(config, tmp_path / "shared") for config in (one, other)]
    assert [reused(path) for path in shared] == [False, True]
    assert_same(run(other, tmp_path / "alone", share=False), shared[1])
    assert len(kept(tmp_path / "shared")) == 1
    assert not kept(tmp_path / "alone")


def test_a_sweep_of_the_reversal_trains_one_first_stage(tmp_path: Path) -> None:
    paths = [run(toy_config(reversal_coefficient=value), tmp_path) for value in (0.0, 0.1, 0.2)]
    assert [reused(path) for path in paths] == [False, True, True]
    assert len(kept(tmp_path)) == 1


def test_the_reversal_matters_to_a_first_stage_that_is_adversarial_itself(tmp_path: Path) -> None:
    weighted = {"pretrain__weights__adversarial": 1.0}
    paths = [run(toy_config(**weighted, reversal_coefficient=value), tmp_path) for value in (0.0, 0.2)]
    assert [reused(path) for path in paths] == [False, False]
    idle = [toy_config(pretrain__weights__adversarial=0.0, reversal_coefficient=value) for value in (0.0, 0.2)]
    assert len({first_stage_path(tmp_path, config, data_digest="") for config in idle}) == 1


def test_an_interrupted_run_still_knows_that_its_first_stage_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(toy_config(), tmp_path)
    config = toy_config(adapt__learning_rate=0.02)
    path = stopped(config, tmp_path, Writes(monkeypatch), after=3)  # manifest, checkpoint, history
    assert read_manifest(path / "manifest.json")["status"] == "running"
    assert (path / "checkpoint.pt").exists()
    assert run(config, tmp_path) == path
    assert reused(path)


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"width": 3}, {"pretrain__steps": 6}, {"pretrain__weights__correspondence": 2.0}], ids=str
)
def test_what_matters_to_the_first_stage_is_told_apart(changes: dict, tmp_path: Path) -> None:
    run(toy_config(), tmp_path)
    assert not reused(run(toy_config(**changes), tmp_path))
    assert len(kept(tmp_path)) == 2


def test_other_data_have_another_first_stage(tmp_path: Path) -> None:
    paths = {first_stage_path(tmp_path, toy_config(), data_digest=digest) for digest in ("a", "b")}
    assert len(paths) == 2


class Gpu:
    """Of a name that no machine here has."""

    type = "cuda"


@pytest.mark.parametrize("what", ["threads", "device", "a package", "the code"])
def test_what_computes_it_matters_too(what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its last bits depend on it, and in the end an accuracy of a single run."""
    config, device = toy_config(), torch.device("cpu")
    here = first_stage_path(tmp_path, config, data_digest="")
    assert first_stage_path(tmp_path, config, data_digest="", device=device) == here
    if what == "threads":
        torch.set_num_threads(2)
    elif what == "device":
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
        device = Gpu()
    elif what == "a package":
        monkeypatch.setattr(checkpoint, "versions", lambda: {"numpy": "9.9"})
    else:
        monkeypatch.setattr(checkpoint, "sources_digest", lambda: "0")
    assert first_stage_path(tmp_path, config, data_digest="", device=device) != here


def test_a_run_asks_for_the_first_stage_of_its_own_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def spy(*arguments: object, device: torch.device, **options: object) -> Path:
        asked.append(device)
        return first_stage_path(*arguments, device=device, **options)

    monkeypatch.setattr(experiment, "first_stage_path", spy)
    run(toy_config(), tmp_path)
    assert asked == [torch.device("cpu")]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99])
def test_a_damaged_one_is_trained_again_and_replaced(damage, tmp_path: Path) -> None:
    run(toy_config(), tmp_path)
    (path,) = kept(tmp_path)
    path.unlink()  # not through the link: the run's own checkpoint is gone, but no other name may suffer
    path.write_bytes(damage(b"0123456789" * 50))
    again = toy_config(adapt__learning_rate=0.02)
    mended = run(again, tmp_path)
    assert not reused(mended)
    assert_same(run(again, tmp_path / "alone", share=False), mended)
    assert reused(run(toy_config(adapt__learning_rate=0.03), tmp_path))


def test_two_processes_that_want_it_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    configs = [toy_config(adapt__learning_rate=rate) for rate in (0.01, 0.02)]
    started = [context.Process(target=run_toy, args=(config, tmp_path, "cpu")) for config in configs]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    paths = [run(config, tmp_path) for config in configs]
    assert sorted(map(reused, paths)) == [False, True]
    for config, path in zip(configs, paths, strict=True):
        assert_same(run(config, tmp_path / "alone", share=False), path)


def test_a_process_killed_in_the_first_stage_blocks_nobody(tmp_path: Path) -> None:
    config = toy_config(pretrain__steps=4000)
    process = multiprocessing.get_context("spawn").Process(target=run_toy, args=(config, tmp_path, "cpu"))
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.join()
    assert not kept(tmp_path)
    lock = next((tmp_path / FIRST_STAGES).glob("*.lock"))
    with FileLock(lock, timeout=5):
        pass
