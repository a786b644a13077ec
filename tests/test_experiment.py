"""Whole runs on the toy: what they leave, that their configuration alone decides it, and that nothing breaks them.

Two runs are the same if their histories are the same bytes, their predictions, features and weights the same numbers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from accelerate import Accelerator
from safetensors.numpy import load_file
from toy import CLASSES, ToyReader, class_of, relabelled, toy_config, toy_data

import mmsada_lab
from mmsada_lab import evaluate, methods, pretexts
from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.clips.test_clips import TestClipLoader
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.evaluate import estimated_statistics
from mmsada_lab.experiment import Experiment, check_fit, moment_notes, run_experiment, starting_notes
from mmsada_lab.models.network import build_network
from mmsada_lab.presets import build_config
from mmsada_lab.runs import RunFolder, load_history, load_predictions, read_arrays, read_manifest
from mmsada_lab.trained import load_trained

pytestmark = pytest.mark.usefixtures("toy_format")
ADAPTING = ["adabn", "adversarial_only", "self_supervised_only", "mmsada"]


def run(config: ExperimentConfig, runs: Path, *, workers: int = 0) -> Path:
    return run_experiment(config, runs, device="cpu", workers=workers, show_progress=False)


def status(path: Path) -> str:
    return read_manifest(path / "manifest.json")["status"]


def assert_same(one: Path, other: Path) -> None:
    assert (one / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()
    for name in ("predictions.npz", "features.npz", "model.safetensors"):
        load = load_file if name.endswith("safetensors") else read_arrays
        first, second = load(one / name), load(other / name)
        assert first.keys() == second.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(second[key], array, err_msg=f"{name}: {key}")
    assert status(one) == status(other) == "finished"
    assert read_manifest(one / "manifest.json")["result"] == read_manifest(other / "manifest.json")["result"]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    }


class PowerCut(BaseException):
    """Nothing but a test ends it."""


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Writes]:
    with monkeypatch.context() as patch:
        yield Writes(patch)


class Writes:
    """Counts files about to appear, and raises an error in place of the one after `allowed`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.allowed, self.error, self.done = math.inf, PowerCut(), 0
        patch.setattr(os, "fsync", self._fsync)

    def _fsync(self, _: int) -> None:
        if self.done >= self.allowed:
            raise self.error
        self.done += 1

    def allow(self, count: float, error: BaseException | None = None) -> None:
        self.allowed, self.error, self.done = count, error or PowerCut(), 0


def stopped(config: ExperimentConfig, runs: Path, writes: Writes, *, after: int = 5) -> Path:
    """A run that ended in the middle, by default after the first stage: manifest, twice checkpoint and history."""
    writes.allow(after)
    with pytest.raises(PowerCut):
        run(config, runs)
    writes.allow(math.inf)
    return RunFolder(runs, config, data_name="toy").path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """An uninterrupted run of a configuration, made once."""
    made: dict[str, Path] = {}

    def make(config: ExperimentConfig) -> Path:
        if config.digest not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(toy.FORMATS, "toy", toy.TOY)
                made[config.digest] = run(config, tmp_path_factory.mktemp("finished"))
        return made[config.digest]

    return make


class TestWhatARunLeaves:
    def test_its_files(self, finished: Callable[..., Path]) -> None:
        path = finished(toy_config())
        names = {p.name for p in path.iterdir()} - {".lock"}
        arrays = {"predictions.npz", "features.npz", "windows.npz"}
        assert names == {"manifest.json", "history.jsonl", "model.safetensors", *arrays}

    def test_the_manifest_holds_the_configuration_and_the_circumstances(self, finished: Callable[..., Path]) -> None:
        manifest = read_manifest(finished(toy_config()) / "manifest.json")
        assert ExperimentConfig(**manifest["config"]) == toy_config()
        assert manifest["digest"] == toy_config().digest
        assert (manifest["data_name"], manifest["data_digest"]) == ("toy", toy_data().digest)
        assert manifest["classes"] == list(CLASSES)
        assert manifest["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
        assert manifest["processes"] == 1
        assert manifest["started"] <= manifest["ended"]
        assert manifest["training_seconds"] > 0

    @pytest.mark.parametrize("method", ["source_only", "supervised_target", "mmsada"])
    def test_the_targets_test_segments_are_evaluated(self, finished: Callable[..., Path], method: str) -> None:
        """Not the training split, and not the source's."""
        arrays = read_arrays(finished(toy_config(method)) / "predictions.npz")
        assert arrays["uid"].tolist() == [segment.uid for segment in toy_data().domain("B").test]
        assert arrays["label"].tolist() == [class_of(uid) for uid in arrays["uid"].tolist()]
        assert arrays["p_fused"].shape == (2, 9, 3)

    def test_the_test_clips_are_those_of_the_segments_named(
        self, finished: Callable[..., Path], open_as_toy, tmp_path: Path
    ) -> None:
        """Segments in another order are predicted in that order."""
        data = toy_data()
        target = data.domain("B")
        open_as_toy(replace(data, domains={**data.domains, "B": replace(target, test=target.test[::-1])}))
        turned = read_arrays(run(toy_config("source_only"), tmp_path) / "predictions.npz")
        straight = read_arrays(finished(toy_config("source_only")) / "predictions.npz")
        np.testing.assert_array_equal(turned["uid"], straight["uid"][::-1])
        np.testing.assert_allclose(turned["p_fused"], straight["p_fused"][:, ::-1], atol=1e-6)

    def test_reported_accuracy_is_the_mean_of_the_last_evaluations(self, finished: Callable[..., Path]) -> None:
        path = finished(toy_config(averaged_evaluations=3, evaluate_every=2))
        history = load_history(path)
        evaluated = history[(history["kind"] == "evaluation") & (history["stage"] == "adapt")]
        result = read_manifest(path / "manifest.json")["result"]
        assert result["evaluations"] == 3
        assert result["selection"] == "mean of the last 3 evaluations, at most 2 steps apart"
        assert read_arrays(path / "predictions.npz")["steps"].tolist() == [4, 6, 7]
        for stream, measures in result["target"].items():
            for measure, value in measures.items():
                assert value == pytest.approx(
                    evaluated[evaluated["name"] == f"{stream}/{measure}"]["value"].tail(3).mean()
                )

    @pytest.mark.parametrize("method", ["mmsada", "adabn"])
    def test_features_under_each_domains_own_statistics(self, finished: Callable[..., Path], method: str) -> None:
        """Beside those of evaluation; AdaBN is evaluated with them."""
        path = finished(toy_config(method))
        arrays, trained = read_arrays(path / "features.npz"), load_trained(path, device="cpu")
        data, names = toy_data(), {"source": "A", "target": "B"}
        assert arrays["split"].tolist() == ["test"] * 18
        predictor = replace(trained.predictor, target_statistics=True)
        for side, name in names.items():
            domain = data.domain(name)
            expected = predictor.predict(predictor.clips(domain, domain.test), trained.training_clips(domain)).features
            for modality in ("rgb", "flow"):
                own = arrays[f"own_{modality}"][arrays["side"] == side]
                np.testing.assert_allclose(own, expected[modality], atol=1e-5)
                as_evaluated = arrays[f"f_{modality}"][arrays["side"] == side]
                assert np.array_equal(own, as_evaluated) == (method == "adabn")

    def test_training_records_are_means_over_log_every_steps(self, finished: Callable[..., Path]) -> None:
        every, third = (load_history(finished(toy_config(log_every=n, evaluate_every=100))) for n in (1, 3))
        every, third = (
            h[(h["kind"] == "train") & (h["name"] == "classification") & (h["stage"] == "adapt")]
            for h in (every, third)
        )
        assert third["step"].tolist() == [3, 6, 7]
        losses = every["value"].tolist()
        assert third["value"].tolist() == pytest.approx(
            [np.mean(losses[:3]), np.mean(losses[3:6]), losses[6]], rel=1e-5
        )

    def test_no_term_of_another_stage_is_recorded(self, finished: Callable[..., Path]) -> None:
        history = load_history(finished(toy_config()))
        found = {stage: set(part["name"]) for stage, part in history[history["kind"] == "train"].groupby("stage")}
        assert found == {
            "pretrain": {"classification", "correspondence"},
            "adapt": {"classification", "correspondence", "adversarial"},
        }

    def test_it_learns(self, tmp_path: Path) -> None:
        config = toy_config("supervised_target", width=4, pretrain__steps=40, adapt__steps=1, evaluate_every=40)
        result = read_manifest(run(config, tmp_path) / "manifest.json")["result"]
        assert result["target"]["fused"]["top1"] > 80


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "rgb and flow"),
        ({"pretrained": "rgb:a.safetensors"}, "flow"),
        ({"backbone": "rgb:i3d,flow:small3d"}, "rgb"),
        ({"pretrained": "rgb:a.safetensors,flow:b.safetensors"}, None),
        ({"backbone": "auto"}, None),
    ],
    ids=str,
)
def test_i3d_without_weights_is_said_before_it_trains(changes: dict[str, str], named: str | None) -> None:
    notes = starting_notes(build_config("paper", source="D2", target="D1", overrides=changes))
    assert len(notes) == (named is not None)
    assert all(f"random weights for {named};" in note and "pretrained=" in note for note in notes)


MOMENTS = {"positives": "synchronous", "negatives": "moment", "correspondence_batch": "half"}


class TestMoments:
    def test_a_run_of_true_synchrony(self, finished: Callable[..., Path], tmp_path: Path) -> None:
        """It trains, is the same twice, and is another run than one whose negatives are other segments."""
        config = toy_config("self_supervised_only", **MOMENTS)
        assert_same(finished(config), run(config, tmp_path))
        other = finished(toy_config("self_supervised_only", **MOMENTS | {"negatives": "other"}))
        assert (other / "history.jsonl").read_bytes() != (finished(config) / "history.jsonl").read_bytes()

    def test_segments_too_short_for_it_are_counted_before_it_trains(self) -> None:
        """The toy's windows of 4 frames at a stride of 2: half of one is 4 frames."""
        domain = toy_data().domain("A")
        lengths = (20, 12, 11, 8, 1)  # centres: 13, 5, 4, 8 (of a segment as short as its window), 1
        train = tuple(toy.Segment(str(n), "v", 101, 100 + n) for n in lengths)
        (note,) = moment_notes(toy_config(**MOMENTS), [replace(domain, train=train), domain])
        assert note.startswith("2 of 5 training segments of A are too short for moments half a window (4 frames) apart")
        assert note.endswith("1 of them show one moment as if it were two")
        assert moment_notes(toy_config(), [replace(domain, train=train)]) == []

    def test_one_vector_a_segment_has_no_other_moment(self) -> None:
        data = toy_data()
        reader = data.domain("A").readers["rgb"]
        vector = type("Vectors", (), {"kind": "vector", "channels": 3, "mirror_negates": (), "read": reader.read})()
        domains = {n: replace(d, readers={**d.readers, "rgb": vector}) for n, d in data.domains.items()}
        with pytest.raises(UserError, match=r"negatives=moment .* rgb is one vector a segment; .* negatives=other"):
            check_fit(toy_config(**MOMENTS, backbone="auto"), replace(data, domains=domains))


class TestOnlyTheConfigurationDecides:
    @pytest.mark.parametrize("method", ["source_only", "mmsada"])
    def test_twice_the_same(self, finished: Callable[..., Path], tmp_path: Path, method: str) -> None:
        torch.rand(5)
        np.random.default_rng().random(5)
        assert_same(finished(toy_config(method)), run(toy_config(method), tmp_path))

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_whoever_reads_the_clips(self, finished: Callable[..., Path], tmp_path: Path) -> None:
        assert_same(finished(toy_config()), run(toy_config(), tmp_path, workers=2))

    def test_another_seed_is_another_run(self, finished: Callable[..., Path]) -> None:
        histories = {(finished(toy_config(seed=seed)) / "history.jsonl").read_bytes() for seed in (0, 1)}
        assert len(histories) == 2

    def test_adabn_trains_as_source_only_and_predicts_otherwise(self, finished: Callable[..., Path]) -> None:
        adabn, source_only = (finished(toy_config(method)) for method in ("adabn", "source_only"))
        trained = [
            history[history["kind"] == "train"]["value"].tolist() for history in map(load_history, (adabn, source_only))
        ]
        assert trained[0] == trained[1]
        weights = [load_file(path / "model.safetensors") for path in (adabn, source_only)]
        assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
        predictions = [read_arrays(path / "predictions.npz")["p_fused"] for path in (adabn, source_only)]
        assert np.abs(predictions[0] - predictions[1]).max() > 1e-3

    def test_half_precision_leaves_the_next_run_alone(self, finished: Callable[..., Path], tmp_path: Path) -> None:
        half = run(toy_config(precision="bf16"), tmp_path / "half")
        assert np.isfinite(read_arrays(half / "predictions.npz")["p_fused"]).all()
        assert_same(finished(toy_config()), run(toy_config(), tmp_path / "full"))


class TestTargetLabels:
    """The labels of the target's training segments cannot make a difference, because nothing sees them."""

    @pytest.mark.parametrize(
        "label", [lambda _: None, lambda s: (class_of(s.uid) * 2 + 1) % 3], ids=["withheld", "permuted"]
    )
    @pytest.mark.parametrize("method", ["source_only", *ADAPTING])
    def test_training_labels_of_the_target_are_of_no_consequence(
        self,
        method: str,
        label: Callable[..., int | None],
        finished: Callable[..., Path],
        open_as_toy,
        tmp_path: Path,
    ) -> None:
        open_as_toy(relabelled(toy_data(), "B", label))
        assert_same(finished(toy_config(method)), run(toy_config(method), tmp_path))

    def test_test_labels_change_accuracies_alone(
        self, finished: Callable[..., Path], open_as_toy, tmp_path: Path
    ) -> None:
        open_as_toy(relabelled(toy_data(), "B", lambda s: (class_of(s.uid) + 1) % 3, part="test"))
        before, after = (
            read_arrays(p / "predictions.npz") for p in (finished(toy_config()), run(toy_config(), tmp_path))
        )
        assert (before["label"] != after["label"]).all()
        assert all((before[name] == after[name]).all() for name in ("p_fused", "p_rgb", "p_flow"))

    @pytest.mark.parametrize(("method", "domain"), [("mmsada", "A"), ("supervised_target", "B")])
    def test_labels_that_are_meant_to_be_used_are(
        self, method: str, domain: str, finished: Callable[..., Path], open_as_toy, tmp_path: Path
    ) -> None:
        open_as_toy(relabelled(toy_data(), domain, lambda s: (class_of(s.uid) * 2 + 1) % 3))
        changed = run(toy_config(method), tmp_path)
        assert (changed / "history.jsonl").read_bytes() != (finished(toy_config(method)) / "history.jsonl").read_bytes()

    def test_unlabelled_source_segments_are_left_out(self, open_as_toy, tmp_path: Path) -> None:
        """As if they were not there."""
        data = toy_data()
        source = data.domain("A")
        open_as_toy(relabelled(data, "A", lambda s: s.label if toy.number_of(s.uid) < 13 else None))
        withheld = run(toy_config(), tmp_path / "withheld")
        open_as_toy(replace(data, domains={**data.domains, "A": replace(source, train=source.train[:13])}))
        assert_same(withheld, run(toy_config(), tmp_path / "absent"))


class TestInterruption:
    @pytest.mark.parametrize(
        ("method", "moment"),
        [
            ("source_only", "before any checkpoint"),
            ("adabn", "after the first checkpoint"),
            ("mmsada", "in the second stage"),
        ],
    )
    def test_killed_it_continues_as_if_nothing_had_happened(
        self, method: str, moment: str, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        config = toy_config(method)
        early = moment == "before any checkpoint"
        child = start(config, tmp_path, pause=0.05 if early else 0.01)
        folder = RunFolder(tmp_path, config, data_name="toy")
        history = folder.path / "history.jsonl"
        reached: dict[str, Callable[[], bool]] = {
            "before any checkpoint": folder.manifest_path.exists,
            "after the first checkpoint": folder.checkpoint_path.exists,
            "in the second stage": lambda: history.exists() and '"adapt"' in history.read_text(),
        }
        wait_for(reached[moment], child)
        if not early:
            time.sleep(random.uniform(0, 0.3))
        child.send_signal(signal.SIGKILL)
        assert child.wait(timeout=30) == -signal.SIGKILL
        child.communicate()
        assert status(folder.path) == "running"
        assert folder.checkpoint_path.exists() != early
        assert_same(finished(config), run(config, tmp_path))

    def test_what_alternates_goes_on_where_it_was(
        self, writes: Writes, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        """Stopped after step 4, so that the next one is the second of three."""
        config = toy_config("mcd", discrepancy_steps="alternating", evaluate_every=2)
        path = stopped(config, tmp_path, writes, after=11)
        assert json.loads((path / "history.jsonl").read_text().splitlines()[-1])["step"] == 4
        assert_same(finished(config), run(config, tmp_path))
        joint = finished(toy_config("mcd", evaluate_every=2))
        assert (joint / "history.jsonl").read_bytes() != (path / "history.jsonl").read_bytes()

    def test_at_whatever_file_the_power_fails(
        self, writes: Writes, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        config = toy_config(pretrain__steps=1, adapt__steps=3, evaluate_every=2)
        whole = finished(config)
        for count in range(100):
            runs = tmp_path / str(count)
            writes.allow(count)
            try:
                assert_same(whole, run(config, runs))
            except PowerCut:
                path = RunFolder(runs, config, data_name="toy").path
                assert not (path / "manifest.json").exists() or status(path) == "running"
                assert not [p for p in path.iterdir() if p.name.startswith(".") and p.name != ".lock"]
                writes.allow(math.inf)
                assert_same(whole, run(config, runs))
            else:
                break
        assert count == 1 + 2 * 3 + 6  # the manifest; checkpoint and history thrice; what a finished run leaves

    def test_time_adds_up_over_the_sittings(self, writes: Writes, tmp_path: Path) -> None:
        path = stopped(toy_config(), tmp_path, writes)
        before = torch.load(path / "checkpoint.pt", weights_only=True)["seconds"]
        run(toy_config(), tmp_path)
        assert read_manifest(path / "manifest.json")["training_seconds"] > before > 0

    def test_a_finished_run_is_skipped(self, finished: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
        path = finished(toy_config())
        before = snapshot(path)
        monkeypatch.setattr(methods.MMSADA, "forward", None)
        assert run(toy_config(), path.parents[3]) == path
        assert snapshot(path) == before

    def test_a_run_under_way_elsewhere_is_left_alone(self, writes: Writes, tmp_path: Path) -> None:
        path = stopped(toy_config(), tmp_path, writes)
        before = snapshot(path)
        with (
            RunFolder(tmp_path, toy_config(), data_name="toy").locked(),
            pytest.raises(UserError, match="another process"),
        ):
            run(toy_config(), tmp_path)
        assert snapshot(path) == before

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(b"garbage"),
            lambda path: path.write_bytes(path.read_bytes()[:-500]),
            lambda path: torch.save({"step": 1}, path),
            lambda path: torch.save([1, 2], path),
            lambda path: torch.save(torch.load(path, weights_only=True) | {"method": {}}, path),
            lambda path: torch.save(Path("/"), path),
        ],
        ids=["empty", "garbage", "cut", "of something else", "a list", "without weights", "an object"],
    )
    def test_a_checkpoint_that_is_none(
        self, spoil: Callable[[Path], object], writes: Writes, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = stopped(toy_config(), tmp_path, writes)
        spoil(path / "checkpoint.pt")
        with pytest.raises(
            UserError, match=r"(?s)the checkpoint .*checkpoint\.pt .*; remove it to start that run afresh"
        ):
            run(toy_config(), tmp_path)
        assert status(path) == "running"
        (path / "checkpoint.pt").unlink()
        assert_same(finished(toy_config()), run(toy_config(), tmp_path))

    def test_a_manifest_of_another_configuration_is_left_alone(
        self, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = RunFolder(tmp_path, toy_config(), data_name="toy").path
        path.mkdir(parents=True)
        manifest = read_manifest(finished(toy_config(seed=1)) / "manifest.json")
        (path / "manifest.json").write_text(json.dumps(manifest))
        before = snapshot(path)
        with pytest.raises(UserError, match="another configuration"):
            run(toy_config(), tmp_path)
        assert snapshot(path) == before

    @pytest.mark.parametrize("when", ["finished", "running"])
    def test_data_that_have_changed(self, when: str, writes: Writes, open_as_toy, tmp_path: Path) -> None:
        path = run(toy_config(), tmp_path) if when == "finished" else stopped(toy_config(), tmp_path, writes)
        before = snapshot(path)
        open_as_toy(replace(toy_data(), digest="0123456789"))
        with pytest.raises(UserError, match=r"data of .* have changed .*now 0123456789"):
            run(toy_config(), tmp_path)
        assert snapshot(path) == before

    def test_a_full_disk_keeps_the_checkpoint(
        self, writes: Writes, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = stopped(toy_config(), tmp_path, writes)
        before = (path / "checkpoint.pt").read_bytes()
        writes.allow(1, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(OSError, match="No space left"):
            run(toy_config(), tmp_path)
        assert (path / "checkpoint.pt").read_bytes() == before
        assert status(path) == "running"
        writes.allow(math.inf)
        assert_same(finished(toy_config()), run(toy_config(), tmp_path))

    def test_a_file_where_the_folder_should_be(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("mine")
        with pytest.raises(UserError, match="cannot write to the runs folder"):
            run(toy_config(), tmp_path / "runs")
        assert (tmp_path / "runs").read_text() == "mine"


def start(config: ExperimentConfig, runs: Path, *, pause: float = 0.0, **environment: str) -> subprocess.Popen[str]:
    library = str(Path(mmsada_lab.__file__).parents[1])
    command = [sys.executable, "-W", "ignore", toy.__file__, json.dumps(config.to_dict()), str(runs), str(pause)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": library, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[str], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


class TestLossesThatAreNotFinite:
    def test_training_stops_names_the_term_and_keeps_the_checkpoint(
        self, monkeypatch: pytest.MonkeyPatch, finished: Callable[..., Path], tmp_path: Path
    ) -> None:
        calls = []

        def failing(*arguments: Any, **options: Any) -> torch.Tensor:
            calls.append(None)
            return loss(*arguments, **options) * (math.nan if len(calls) == 10 else 1)

        loss = pretexts.correspondence_loss
        with monkeypatch.context() as patch:
            patch.setattr(pretexts, "correspondence_loss", failing)
            with pytest.raises(
                UserError, match=r"the correspondence loss became nan at step 5; .*last checkpoint is kept"
            ):
                run(toy_config(), tmp_path)
        path = RunFolder(tmp_path, toy_config(), data_name="toy").path
        assert status(path) == "running"
        state = torch.load(path / "checkpoint.pt", weights_only=True)
        assert (state["stage"], state["step"]) == (1, 3)
        assert all(tensor.isfinite().all() for tensor in state["method"].values())
        assert_same(finished(toy_config()), run(toy_config(), tmp_path))

    @pytest.mark.parametrize("steps", [1, 2])
    def test_weights_that_blow_up_are_never_a_result_nor_a_checkpoint(self, steps: int, tmp_path: Path) -> None:
        """The loss of a step is finite before the step is taken, and so says nothing of the weights after it."""
        config = toy_config(
            "source_only", pretrain__steps=0, adapt__steps=steps, adapt__learning_rate=1e38, evaluate_every=1
        )
        with pytest.raises(UserError, match="ower the learning rate"):
            run(config, tmp_path)
        path = RunFolder(tmp_path, config, data_name="toy").path
        assert status(path) == "running"
        if (path / "checkpoint.pt").exists():
            state = torch.load(path / "checkpoint.pt", weights_only=True)
            assert all(tensor.isfinite().all() for tensor in state["method"].values())


class TestDataThatDoNotFit:
    """Refused before anything is trained or written."""

    def changed(self, domain: str, **parts: Any) -> MultiDomainData:
        data = toy_data()
        return replace(data, domains={**data.domains, domain: replace(data.domain(domain), **parts)})

    def refused(self, config: ExperimentConfig, runs: Path, message: str) -> None:
        with pytest.raises(UserError, match=message):
            run(config, runs)
        assert not runs.exists() or not [p for p in runs.rglob("*") if p.is_file()]

    def test_unknown_domain(self, tmp_path: Path) -> None:
        self.refused(toy_config(pair="AX"), tmp_path / "runs", "unknown domain 'X'; choose A, B, C")

    def test_unknown_modality(self, tmp_path: Path) -> None:
        self.refused(
            toy_config(modalities=("rgb", "flaw")),
            tmp_path / "runs",
            r"unknown modality 'flaw'; .*Did you mean 'flow'\?",
        )

    def test_no_source_label(self, open_as_toy, tmp_path: Path) -> None:
        open_as_toy(relabelled(toy_data(), "A", lambda _: None))
        self.refused(toy_config(), tmp_path / "runs", "training set of A has no labelled segment")

    def test_no_source_segment(self, open_as_toy, tmp_path: Path) -> None:
        open_as_toy(self.changed("A", train=()))
        self.refused(toy_config(), tmp_path / "runs", "training set of A has no labelled segment")

    def test_one_class(self, open_as_toy, tmp_path: Path) -> None:
        open_as_toy(relabelled(toy_data(), "A", lambda _: 2))
        self.refused(toy_config(), tmp_path / "runs", "training set of A has only the class 'spin'")

    @pytest.mark.parametrize("method", ["source_only", "mmsada"])
    def test_a_batch_larger_than_a_domain(self, method: str, tmp_path: Path) -> None:
        self.refused(toy_config(method, batch_size=38), tmp_path / "runs", "lower batch_size")

    def test_nothing_to_adapt_to(self, open_as_toy, tmp_path: Path) -> None:
        open_as_toy(self.changed("B", test=(), train=()))
        self.refused(toy_config("source_only"), tmp_path / "runs", "nothing to adapt to")

    def test_modalities_that_differ_between_domains(self, open_as_toy, tmp_path: Path) -> None:
        readers = {**toy_data().domain("B").readers, "flow": ToyReader(1)}
        open_as_toy(self.changed("B", readers=readers))
        self.refused(toy_config(), tmp_path / "runs", "flow is video of 2 channels in A and video of 1 channels in B")

    def test_a_backbone_that_does_not_take_video(self, tmp_path: Path) -> None:
        self.refused(toy_config(backbone="rgb:temporal"), tmp_path / "runs", "temporal takes series, not video")

    def test_unknown_device(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="unknown device 'gpu'; choose auto, cpu"):
            run_experiment(toy_config(), tmp_path, device="gpu")


class TestUnlabelledTarget:
    """A site of which nothing is known: adapted to and predicted all the same, with no accuracy anywhere."""

    def test_test_segments_without_labels(self, open_as_toy, tmp_path: Path) -> None:
        run(toy_config(), tmp_path / "known")
        open_as_toy(relabelled(toy_data(), "B", lambda _: None, part="test"))
        path = run(toy_config(), tmp_path / "unknown")
        known, unknown = (load_predictions(one) for one in (run(toy_config(), tmp_path / "known"), path))
        assert (unknown["label"] == -1).all()
        pd.testing.assert_frame_equal(known.drop(columns="label"), unknown.drop(columns="label"))
        assert read_manifest(path / "manifest.json")["result"]["target"] == {}
        assert not load_history(path)["name"].str.contains("top1|mean_class").any()

    def test_some_labels_are_enough_for_an_accuracy(self, open_as_toy, tmp_path: Path) -> None:
        open_as_toy(relabelled(toy_data(), "B", lambda s: None if s.uid.endswith("3") else s.label, part="test"))
        path = run(toy_config("source_only"), tmp_path)
        last = load_predictions(path).query("stream == 'fused' and label >= 0")
        means = [100 * (part.predicted == part.label).mean() for _, part in last.groupby("step")]
        result = read_manifest(path / "manifest.json")["result"]
        assert result["target"]["fused"]["top1"] == pytest.approx(np.mean(means))
        assert result["test_segments"] == last["uid"].nunique() < load_predictions(path)["uid"].nunique()

    def test_no_test_segments(self, open_as_toy, tmp_path: Path) -> None:
        """Training segments are predicted; the labels they have here stay unseen."""
        data = toy_data()
        open_as_toy(TestDataThatDoNotFit().changed("B", test=()))
        path = run(toy_config("adabn"), tmp_path)
        found = load_predictions(path)
        assert set(found["uid"]) == {s.uid for s in data.domain("B").train}
        assert (found["label"] == -1).all()
        assert read_manifest(path / "manifest.json")["result"]["target"] == {}

    @pytest.mark.parametrize("count", [0, 1])
    def test_a_target_too_small_for_statistics_is_refused_before_it_trains(
        self, count: int, open_as_toy, tmp_path: Path
    ) -> None:
        train = toy_data().domain("B").train[:count]
        open_as_toy(TestDataThatDoNotFit().changed("B", train=train))
        with pytest.raises(UserError, match=f"which domain B has {count}; .* test_statistics=running"):
            run(toy_config("adabn"), tmp_path)
        path = run(toy_config("source_only"), tmp_path)
        assert status(path) == "finished"
        names = set(read_arrays(path / "features.npz"))
        assert {"f_rgb"} <= names, "there are none of the target's own"
        assert not [name for name in names if name.startswith("own_")]

    def test_statistics_are_estimated_once_an_evaluation_and_domain(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Three evaluations of each stage, the first of which looks at the target alone, and one at the end."""
        passes: list[str] = []

        def counted(network: Any, clips: TestClipLoader, *, device: torch.device) -> Any:
            passes.append(clips.clips.segments[0].video[0])
            return estimated_statistics(network, clips, device=device)

        monkeypatch.setattr(evaluate, "estimated_statistics", counted)
        run(toy_config("adabn", pretrain__steps=3, adapt__steps=6), tmp_path)
        assert passes == ["B", "B", "A", "B", "A", "A", "B"]

    def test_a_source_without_test_segments(self, open_as_toy, tmp_path: Path) -> None:
        open_as_toy(TestDataThatDoNotFit().changed("A", test=()))
        path = run(toy_config("source_only"), tmp_path)
        arrays = read_arrays(path / "features.npz")
        assert set(zip(arrays["side"], arrays["split"], strict=True)) == {("source", "train"), ("target", "test")}
        assert read_manifest(path / "manifest.json")["result"]["source_last"] == {}


@pytest.mark.parametrize(
    "config", [toy_config(), toy_config("mcd", discrepancy_steps="alternating")], ids=["all at once", "in turn"]
)
def test_two_processes_train_one_model(config: ExperimentConfig, tmp_path: Path) -> None:
    """Data parallelism: each process sees half of every batch, and both end with the same weights and statistics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [start(config, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]
    try:
        outputs = [child.communicate(timeout=100) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], outputs
    digests = {out.split()[-1] for out, _ in outputs}
    assert len(digests) == 1
    assert len(digests.pop()) == 64
    path = RunFolder(tmp_path, config, data_name="toy").path
    manifest = read_manifest(path / "manifest.json")
    assert (manifest["status"], manifest["processes"]) == ("finished", 2)
    assert load_history(path)["total_step"].max() == 12


@pytest.mark.usefixtures("toy_format")
def test_a_run_that_another_process_finished_meanwhile_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, made = RunFolder.locked, {}

    def late(folder: RunFolder, **options: bool):
        monkeypatch.setattr(RunFolder, "locked", locked)
        made["files"] = snapshot(run(folder.config, tmp_path))
        return locked(folder, **options)

    monkeypatch.setattr(RunFolder, "locked", late)
    assert snapshot(run(toy_config("source_only"), tmp_path)) == made["files"]


@pytest.mark.usefixtures("toy_format")
class TestPretrained:
    def weights(self, folder: Path, **more: torch.Tensor) -> Path:
        """Those of a stream as `toy_config` builds it, all ones."""
        network = build_network(toy_config(), {"rgb": ("video", 3), "flow": ("video", 2)}, num_classes=3)
        ones = {name: torch.ones_like(value) for name, value in network.backbones["rgb"].state_dict().items()}
        torch.save({**ones, **more}, folder / "rgb.pt")
        return folder / "rgb.pt"

    def test_backbones_start_from_a_file_and_the_manifest_says_which(self, tmp_path: Path, capsys) -> None:
        file = self.weights(tmp_path, **{"logits.weight": torch.ones(1)})
        config = toy_config(pretrained=f"rgb:{file}")
        experiment = Experiment(
            config, toy_data(), RunFolder(tmp_path, config, data_name="toy"), accelerator=Accelerator(cpu=True)
        )
        assert all((value == 1).all() for value in experiment.network.backbones["rgb"].parameters())
        assert not all((value == 1).all() for value in experiment.network.backbones["flow"].parameters())
        path = run_experiment(config, tmp_path / "runs", device="cpu", workers=0)
        assert "1 left\n  left: logits.weight" in capsys.readouterr().err
        found = read_manifest(path / "manifest.json")["pretrained"]
        assert found.keys() == {"rgb"}
        assert (found["rgb"]["left"], found["rgb"]["missing"]) == (["logits.weight"], [])
        assert found["rgb"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()

    def test_other_weights_under_the_same_name_share_no_first_stage(self, tmp_path: Path) -> None:
        config = toy_config("source_only", pretrained=f"rgb:{self.weights(tmp_path)}")
        for spare in (1.0, 2.0):
            self.weights(tmp_path, spare=torch.tensor([spare]))
            run(replace(config, seed=config.seed, reversal_coefficient=spare), tmp_path / "runs")
        assert len(list((tmp_path / "runs" / ".first_stages").glob("*.pt"))) == 2

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="there is no file"):
            run(toy_config(pretrained=f"flow:{tmp_path / 'none.pt'}"), tmp_path / "runs")
        assert not list(tmp_path.rglob("manifest.json"))
