"""Batches without a scheduler: what would run and in which order, damaged folders, what a worker does."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from toy import SMALL, TOY, open_toy, run_toy, toy_config

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import FORMATS
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import build_config
from mmsada_lab.runs import find_runs, write_json
from mmsada_lab.sweeps import batch, clusters, jobs
from mmsada_lab.sweeps.batch import run_grid
from mmsada_lab.sweeps.grid import build_grid
from mmsada_lab.sweeps.jobs import Busy, Failure, TrainingJob, notebook_parameters, read_notebook, run_job
from mmsada_lab.sweeps.plans import estimate_seconds, find_damage, plan_batch, plan_runs, rename_damaged

pytestmark = pytest.mark.usefixtures("toy_format")


def toy_grid(*domains: str, methods: tuple[str, ...] = ("source_only",), seeds: int = 1, **overrides: object) -> list:
    shared = {"data": "toy", "preset": "quick", "overrides": SMALL | overrides}
    return build_grid(domains, methods=methods, seeds=range(seeds), **shared)


class TestGrid:
    def test_every_method_on_every_ordered_pair_with_every_seed(self) -> None:
        configs = toy_grid("A", "B", "C", methods=tuple(METHODS), seeds=2)
        assert len(configs) == 2 * ((len(METHODS) - 1) * 6 + 3)
        assert len({config.digest for config in configs}) == len(configs)
        assert Counter(config.method for config in configs) == {**dict.fromkeys(METHODS, 12), "supervised_target": 6}
        pairs = {str(config.pair) for config in configs if config.method == "mmsada"}
        assert pairs == {"A→B", "B→A", "A→C", "C→A", "B→C", "C→B"}
        assert {str(c.pair) for c in configs if c.method == "supervised_target"} == {"A→A", "B→B", "C→C"}
        assert {config.seed for config in configs} == {0, 1}

    def test_overrides_reach_every_run(self) -> None:
        assert {config.batch_size for config in toy_grid("A", "B", methods=("mmsada", "adabn"), batch_size=8)} == {8}

    def test_bad_names_are_answered_before_anything_runs(self) -> None:
        with pytest.raises(UserError, match=r"unknown method 'mmsda'.*Did you mean 'mmsada'\?"):
            toy_grid("A", "B", methods=("mmsda",))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs and one that stopped after 9 of its 12 steps."""
    runs = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "toy", TOY)
        for seed in (0, 1):
            run_toy(toy_config(seed=seed), runs, "cpu")
        from mmsada_lab import experiment

        evaluate = experiment.Experiment.evaluate
        seen = []

        def stop(self: experiment.Experiment, number: int, **kwargs: object) -> dict[str, float]:
            seen.append(1)
            if len(seen) == 5:  # after steps 3 and 5, and 3 and 6
                raise KeyboardInterrupt
            return evaluate(self, number, **kwargs)

        patch.setattr(experiment.Experiment, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy_config(seed=2), runs, "cpu")
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def folder_of(runs: Path, config: ExperimentConfig) -> Path:
    (run,) = plan_runs([config], runs)
    return run.folder


class TestPlan:
    configs = tuple(toy_config(seed=seed) for seed in range(4))

    def test_states_shares_and_times(self, runs: Path) -> None:
        swept = [toy_config(seed=3, reversal_coefficient=c) for c in (0.1, 0.5)]
        table = plan_batch([*self.configs, *swept], runs, device="cpu").set_index("digest")
        state = dict(zip(table["seed"], table["state"], strict=True))
        assert state == {0: "finished", 1: "finished", 2: "to continue", 3: "to do"}
        assert dict(zip(table["seed"], table["done"].round(), strict=True)) == {0: 100, 1: 100, 2: 92, 3: 0}
        third = table[table["seed"] == 3]
        assert list(third["first_stage"]) == ["trained", "shared", "shared"]
        assert set(third["setting"]) == {f"reversal_coefficient={c}" for c in (0.2, 0.1, 0.5)}
        manifests = [json.loads((folder_of(runs, c) / "manifest.json").read_text()) for c in self.configs[:2]]
        pace = np.mean([manifest["training_seconds"] for manifest in manifests]) / 12
        assert list(third["seconds"]) == pytest.approx([12 * pace, 7 * pace, 7 * pace])
        left = table[table["seed"] == 2]["seconds"].item()
        assert left == pytest.approx(pace)
        assert estimate_seconds(table, jobs=2) == pytest.approx((27 * pace) / 2)
        assert estimate_seconds(table, jobs=100) == pytest.approx(12 * pace)

    def test_nothing_has_run_and_nothing_is_known(self, tmp_path: Path) -> None:
        table = plan_batch(self.configs, tmp_path / "none")
        assert set(table["state"]) == {"to do"}
        assert table["seconds"].isna().all()
        assert np.isnan(estimate_seconds(table, jobs=2))
        assert not (tmp_path / "none").exists()

    def test_all_is_finished(self, runs: Path) -> None:
        table = plan_batch(self.configs[:2], runs)
        assert estimate_seconds(table, jobs=2) == 0
        assert set(plan_batch(self.configs[:2], runs, notebooks=True)["state"]) == {"notebook to do"}

    def test_of_runs_that_share_a_first_stage_one_goes_ahead(self, tmp_path: Path) -> None:
        sweep = [toy_config(seed=s, reversal_coefficient=c) for s in (0, 1) for c in (0.1, 0.2, 0.3)]
        table = plan_batch(sweep, tmp_path)
        assert list(table["seed"]) == [0, 1, 0, 0, 1, 1]
        assert list(table["first_stage"]) == ["trained"] * 2 + ["shared"] * 4

    def test_other_data_are_no_finished_run(self, runs: Path, open_as_toy: Callable[..., None]) -> None:
        open_as_toy(replace(open_toy(""), digest="other"))
        with pytest.raises(UserError, match=r"the data of .* have changed"):
            plan_batch(self.configs[:1], runs)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "damage"),
        [
            ("manifest.json", cut),
            ("manifest.json", lambda path: path.write_text("{}")),
            ("manifest.json", lambda path: path.write_text('{"status": "finished"')),
            ("predictions.npz", Path.unlink),
            ("predictions.npz", cut),
            ("predictions.npz", flip),
            ("features.npz", cut),
            ("history.jsonl", cut),
            ("model.safetensors", cut),
            ("model.safetensors", lambda path: path.write_bytes(b"\xff" * 100)),
        ],
    )
    def test_a_damaged_run_is_renamed(self, runs: Path, name: str, damage: Callable[[Path], object]) -> None:
        config = toy_config(seed=0)
        folder = folder_of(runs, config)
        assert rename_damaged([folder]) == []
        damage(folder / name)
        assert (find_damage(folder) or "").startswith(name)
        assert set(plan_batch([config], runs)["state"]) == {"damaged"}
        renamed = folder.with_name(f"{folder.name}.damaged-1")
        assert rename_damaged([folder, folder_of(runs, toy_config(seed=1)), runs / "none"]) == [renamed]
        assert not folder.exists()
        assert renamed not in find_runs(runs)
        assert set(plan_batch([config], runs)["state"]) == {"to do"}

    def test_numbers_go_on(self, runs: Path) -> None:
        folder = folder_of(runs, toy_config(seed=0))
        for number in (1, 2):
            folder.mkdir(exist_ok=True)
            (folder / "manifest.json").write_text("none")
            assert rename_damaged([folder]) == [folder.with_name(f"{folder.name}.damaged-{number}")]

    def test_a_result_without_its_numbers(self, runs: Path) -> None:
        folder = folder_of(runs, toy_config(seed=0))
        manifest = json.loads((folder / "manifest.json").read_text())
        write_json(folder / "manifest.json", {k: v for k, v in manifest.items() if k != "result"})
        assert find_damage(folder) == "manifest.json: 'result'"

    def test_a_checkpoint_that_cannot_be_read(self, runs: Path) -> None:
        folder = folder_of(runs, toy_config(seed=2))
        assert rename_damaged([folder]) == []
        flip(folder / "checkpoint.pt")
        assert len(rename_damaged([folder])) == 1

    def test_a_run_that_is_being_trained_is_left_alone(self, runs: Path) -> None:
        folder = folder_of(runs, toy_config(seed=0))
        (folder / "manifest.json").write_text("half")
        with FileLock(folder / ".lock"):
            assert rename_damaged([folder]) == []
        assert folder.exists()

    def test_one_that_cannot_be_renamed(self, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = folder_of(runs, toy_config(seed=0))
        cut(folder / "predictions.npz")
        monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
        with pytest.raises(UserError, match=r"cannot rename the damaged run .*read-only; move it away"):
            rename_damaged([folder])

    def test_a_batch_says_so_and_runs_it_anew(
        self, runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        config = toy_config(seed=0)
        cut(folder_of(runs, config) / "predictions.npz")
        asked = []
        monkeypatch.setattr(batch, "local_workers", lambda _: nullcontext())
        monkeypatch.setattr(batch._Batch, "run", lambda self, _: asked.extend(job.config for job in self.waiting) or [])
        assert run_grid([config, toy_config(seed=1)], runs, jobs=1, device="cpu") == []
        assert asked == [config]
        assert "damaged, renamed and run again: " in capfd.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to the runs folder"):
        run_grid([toy_config()], tmp_path / "file" / "runs", jobs=1)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    marker = tmp_path / ".batch-1"
    marker.mkdir()
    return TrainingJob(toy_config(), tmp_path, tmp_path / "run", "cpu", marker, patience=0.1)


class TestJob:
    def test_another_process_is_training(self, job: TrainingJob) -> None:
        job.folder.mkdir()
        with FileLock(job.folder / ".lock"):
            outcome = run_job(job, run_toy)
        assert outcome == Busy(job.config, f"{job.folder} is being trained by another process; skipped")

    def test_a_worker_with_another_disk(self, job: TrainingJob) -> None:
        job.marker.rmdir()
        failure = run_job(job, run_toy)
        assert isinstance(failure, Failure)
        assert "the runs folder must lie on a file system that all workers and this machine share" in failure.message

    def test_the_traceback_is_kept_until_the_run_finishes(self, job: TrainingJob) -> None:
        def fall(*_: object) -> None:
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="the disk is full"):
            run_job(job, fall)
        assert "fall" in (job.folder / jobs.ERROR_FILE).read_text()
        assert run_job(job, lambda *_: None) is None
        assert not (job.folder / jobs.ERROR_FILE).exists()

    def test_a_gpu_for_each_worker(self, job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name="1"))
        run_job(replace(job, gpus=("GPU-a", "GPU-b")), lambda *_: None)
        assert jobs.os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b"

    def test_gpus_by_number_or_as_they_were_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for count, expected in ((0, ()), (2, ("0", "1"))):
            monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
            assert clusters.visible_gpus() == expected
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
        assert clusters.visible_gpus() == ("3", "5")

    def test_a_busy_run_is_a_failure_one_can_tell_apart(self) -> None:
        config, message = busy = Busy(toy_config(), "busy")
        assert (config, message) == (busy.config, busy.message)
        assert isinstance(busy, Failure)
        assert not isinstance(Failure(config, message), Busy)


@pytest.mark.parametrize(
    "config",
    [
        toy_config(),
        toy_config("supervised_target"),
        toy_config("adabn", seed=3),
        toy_config(modalities=["rgb"], width=5),
        toy_config(modalities=["rgb", "depth", "flow"], pretrain__weights__adversarial=0.5, adapt__learning_rate=1.0),
        build_config("released", source="D1", target="D2", overrides={"dropout": 0}),
    ],
)
def test_a_notebook_builds_the_same_configuration(config: ExperimentConfig) -> None:
    given = notebook_parameters(config)
    assert build_config(given.pop("preset"), **given) == config
    assert json.loads(json.dumps(given)) == given


def test_a_configuration_no_preset_leads_to() -> None:
    config = toy_config()
    odd = replace(config, adapt=replace(config.adapt, weights={"classification": 1.0}))
    with pytest.raises(UserError, match="is not made from preset quick"):
        notebook_parameters(odd)


def test_the_notebook_of_this_checkout_takes_the_parameters() -> None:
    assert "run_experiment" in read_notebook("05_mmsada.ipynb")


def test_a_notebook_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no notebook"):
        read_notebook("06_none.ipynb")
    (tmp_path / "a.ipynb").write_text("{}")
    with pytest.raises(UserError, match=r"a\.ipynb (is not a readable notebook|does not take)"):
        read_notebook(tmp_path / "a.ipynb")
    (tmp_path / "a.ipynb").write_text("text")
    with pytest.raises(UserError, match=r"a\.ipynb is not a readable notebook"):
        run_grid([toy_config()], tmp_path / "runs", jobs=1, notebook=tmp_path / "a.ipynb")


def test_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to make"):
        run_grid([], tmp_path, jobs=1)
    with pytest.raises(UserError, match="jobs is 0"):
        run_grid([toy_config()], tmp_path, jobs=0)
