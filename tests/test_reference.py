"""Reference runs: the same tables and figures from a fraction of the bytes, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy import toy_config

from mmsada_lab.analysis.selection import selection_table
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.runs import (
    RunFolder,
    load_history,
    load_predictions,
    load_runs,
    read_arrays,
    write_arrays,
    write_json,
)
from mmsada_lab.sweeps import keep as reference
from mmsada_lab.sweeps.keep import find_run, keep_runs, reference_runs


def made_run(runs: Path, config: ExperimentConfig, *, status: str = "finished", **facts: Any) -> Path:
    """A run folder as training leaves it, its numbers drawn."""
    rng = np.random.default_rng(config.seed)
    folder = RunFolder(runs, config, data_name="toy")
    folder.path.mkdir(parents=True)
    accuracies = {stream: {"top1": 100 * rng.random(), "mean_class": 50.0} for stream in ("fused", "rgb")}
    result = {"selection": "last", "evaluations": 2, "target": accuracies}
    shared = {"status": status, "config": config.to_dict(), "digest": config.digest, "classes": ["a", "b", "c"]}
    write_json(folder.manifest_path, {**shared, "training_seconds": 1.0, "device": "cpu", "result": result, **facts})
    records = []
    for step in range(1, 7):
        where = {"stage": "adapt", "step": step, "total_step": step}
        records.append({"kind": "train", **where, "values": {"classification": rng.random()}})
        values = {"fused/top1": 100 * rng.random(), "validator/nuclear_norm": rng.random() / 1000}
        records.append({"kind": "evaluation", **where, "values": values})
    folder.write_history(records)
    probabilities = rng.dirichlet(np.ones(3), size=(2, 12)).astype(np.float32)
    about = {"uid": np.array([f"s{k}" for k in range(12)]), "label": np.arange(12) % 3}
    write_arrays(folder.path / "predictions.npz", {**about, "steps": np.array([5, 6]), "p_fused": probabilities})
    sides = np.repeat(["source", "target"], 6)
    features = rng.normal(size=(12, 40)).astype(np.float32)
    write_arrays(folder.path / "features.npz", {**about, "side": sides, "f_rgb": features})
    (folder.path / "model.safetensors").write_bytes(bytes(100_000))
    (folder.path / ".lock").touch()
    return folder.path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods, two pairs, two seeds."""
    folder = tmp_path / "runs"
    for method in ("source_only", "mmsada"):
        for pair in ("AB", "BA"):
            for seed in (0, 1):
                made_run(folder, toy_config(method, pair=pair, seed=seed))
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class TestWhatIsKept:
    def test_results_are_the_same(self, runs: Path, tmp_path: Path) -> None:
        keep_runs(runs, tmp_path / "kept")
        full, kept = load_runs(runs), load_runs(tmp_path / "kept")
        pd.testing.assert_frame_equal(full.drop(columns="path"), kept.drop(columns="path"))
        names = [Path(path).relative_to(tmp_path / "kept") for path in kept["path"]]
        assert names == [Path(path).relative_to(runs) for path in full["path"]], "the same layout"

    def test_histories_hold_the_evaluations_to_six_digits(self, runs: Path, tmp_path: Path) -> None:
        keep_runs(runs, tmp_path / "kept")
        for path in map(Path, load_runs(runs)["path"].unique()):
            full, kept = load_history(path), load_history(tmp_path / "kept" / path.relative_to(runs))
            wanted = full[full["kind"] == "evaluation"].reset_index(drop=True)
            pd.testing.assert_frame_equal(wanted.drop(columns="value"), kept.drop(columns="value"))
            np.testing.assert_allclose(kept["value"], wanted["value"], rtol=5e-6)
            assert all(value == float(f"{value:.6g}") for value in kept["value"])

    def test_rules_of_selection_choose_the_same(self, runs: Path, tmp_path: Path) -> None:
        keep_runs(runs, tmp_path / "kept")
        tables = [selection_table(load_runs(folder)) for folder in (runs, tmp_path / "kept")]
        pd.testing.assert_frame_equal(*tables, rtol=1e-5)

    def test_arrays_of_the_chosen_alone(self, runs: Path, tmp_path: Path) -> None:
        done = keep_runs(runs, tmp_path / "kept", arrays_of=[("A", "B", 0)])
        with_arrays = {name for name in files_of(tmp_path / "kept") if name.endswith(".npz")}
        assert {name.split("/")[1] for name in with_arrays} == {"source_only", "mmsada"}
        assert {(name.split("/")[2], name.split("/")[3][:5]) for name in with_arrays} == {("A-B", "seed0")}
        assert (done.runs, done.with_arrays, done.halved + done.whole) == (8, 2, 4)
        assert not [name for name in files_of(tmp_path / "kept") if name.endswith((".safetensors", ".lock"))]

    def test_predictions_and_features_are_read_as_ever(self, runs: Path, tmp_path: Path) -> None:
        keep_runs(runs, tmp_path / "kept", arrays_of=[("A", "B", 0)])
        for path in (tmp_path / "kept").rglob("predictions.npz"):
            full = runs / path.parent.relative_to(tmp_path / "kept")
            one, other = load_predictions(full), load_predictions(path.parent)
            exact = ["uid", "label", "predicted", "step", "stream"]
            pd.testing.assert_frame_equal(one[exact], other[exact])
            np.testing.assert_allclose(one[["p0", "p1", "p2"]], other[["p0", "p1", "p2"]], atol=5e-4)
            was, now = read_arrays(full / "features.npz"), read_arrays(path.parent / "features.npz")
            assert was.keys() == now.keys()
            np.testing.assert_allclose(was["f_rgb"], now["f_rgb"], atol=2e-3)

    def test_unfinished_runs_stay_out(self, runs: Path, tmp_path: Path) -> None:
        made_run(runs, toy_config("adabn"), status="running")
        done = keep_runs(runs, tmp_path / "kept")
        assert (done.runs, done.unfinished) == (8, 1)
        assert "8 finished runs kept" in str(done)
        assert "1 unfinished left out" in str(done)

    def test_size_is_that_of_the_files(self, runs: Path, tmp_path: Path) -> None:
        done = keep_runs(runs, tmp_path / "kept")
        assert done.size == sum(path.stat().st_size for path in done.folder.rglob("*") if path.is_file())
        assert done.size < sum(path.stat().st_size for path in runs.rglob("*") if path.is_file()) / 20

    def test_kept_runs_can_be_kept_again(self, runs: Path, tmp_path: Path) -> None:
        first = keep_runs(runs, tmp_path / "kept", arrays_of=[("A", "B", 0)])
        again = keep_runs(tmp_path / "kept", tmp_path / "again", arrays_of=[("A", "B", 0)])
        assert (again.runs, again.halved, again.size) == (first.runs, first.halved, first.size)


class TestHalfPrecision:
    def test_where_a_prediction_would_change_it_is_not_taken(self) -> None:
        close = np.array([[[0.25, 0.25001, 0.49999]], [[0.40001, 0.40002, 0.2]]], dtype=np.float32)
        assert close.argmax(axis=-1).tolist() == [[2], [1]]
        assert close.astype(np.float16).argmax(axis=-1).tolist() == [[2], [0]]
        assert reference.half_if_same("p_fused", close).dtype == np.float32
        assert reference.half_if_same("p_fused", close[:1]).dtype == np.float16

    def test_where_a_neighbour_would_change_it_is_not_taken(self) -> None:
        spread = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
        assert reference.half_if_same("f_rgb", spread).dtype == np.float16
        crowded = (spread * 1e-4 + 7).astype(np.float32)
        assert reference.half_if_same("f_rgb", crowded).dtype == np.float32

    def test_where_it_would_overflow_it_is_not_taken(self) -> None:
        assert reference.half_if_same("f_rgb", np.diag([1e5, 1, 2, 3]).astype(np.float32)).dtype == np.float32

    @pytest.mark.parametrize("name", ["uid", "label", "side", "steps"])
    def test_other_arrays_are_left_alone(self, name: str) -> None:
        values = np.arange(4)
        assert reference.half_if_same(name, values) is values


class TestPaths:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("/data/epic", "epic"),
            ("epic:/data/My Kitchens,missing=drop", "epic:My Kitchens,missing=drop"),
            ("arrays:~/data/watch", "arrays:watch"),
            ("arrays:C:\\data\\watch", "arrays:watch"),
            ("3 files of /data/me/epic missing", "3 files of epic missing"),
            ("kitchens:scale=0.01", "kitchens:scale=0.01"),
            ("cpu (x86_64)", "cpu (x86_64)"),
            ("https://example.org/a/b", "https://example.org/a/b"),
            ("and/or 1/2", "and/or 1/2"),
            ("data/epic", "data/epic"),
        ],
    )
    def test_only_absolute_ones_are_cut(self, text: str, expected: str) -> None:
        assert reference.without_folders({"notes": [text], "n": 1}) == {"notes": [expected], "n": 1}

    def test_manifests_are_else_the_same(self, runs: Path, tmp_path: Path) -> None:
        path = made_run(runs, toy_config("adabn"), data_notes=["read from /data/toy"])
        keep_runs(runs, tmp_path / "kept")
        full = json.loads((path / "manifest.json").read_text())
        kept = json.loads((tmp_path / "kept" / path.relative_to(runs) / "manifest.json").read_text())
        assert kept.pop("data_notes") == ["read from toy"]
        assert full.pop("data_notes") == ["read from /data/toy"]
        assert kept == full


class TestTheFolder:
    def test_other_files_are_never_touched(self, runs: Path, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept/thesis.txt").write_text("years of work")
        with pytest.raises(UserError, match=r"other files \(thesis.txt\)"):
            keep_runs(runs, tmp_path / "kept")
        assert files_of(tmp_path / "kept") == {"thesis.txt"}

    def test_a_folder_of_trained_runs_is_not_taken_for_a_kept_one(self, runs: Path, tmp_path: Path) -> None:
        made_run(tmp_path / "others", toy_config("adabn"))
        with pytest.raises(UserError, match="other files"):
            keep_runs(runs, tmp_path / "others")

    def test_an_earlier_one_is_replaced(self, runs: Path, tmp_path: Path) -> None:
        made_run(tmp_path / "few", toy_config("adabn"))
        keep_runs(tmp_path / "few", tmp_path / "kept", arrays_of=[("A", "B", 0)])
        keep_runs(runs, tmp_path / "kept")
        assert set(load_runs(tmp_path / "kept")["method"]) == {"source_only", "mmsada"}
        assert {path.name for path in tmp_path.iterdir()} == {"runs", "few", "kept"}, "nothing is left behind"

    def test_what_stood_there_stays_if_a_run_cannot_be_read(self, runs: Path, tmp_path: Path) -> None:
        keep_runs(runs, tmp_path / "kept")
        before = files_of(tmp_path / "kept")
        next(runs.rglob("history.jsonl")).write_text("{")
        with pytest.raises(ValueError, match="Expecting"):
            keep_runs(runs, tmp_path / "kept", arrays_of=[("A", "B", 0)])
        assert files_of(tmp_path / "kept") == before
        assert {path.name for path in tmp_path.iterdir()} == {"runs", "kept"}

    @pytest.mark.parametrize("inside", [".", "toy", ".."])
    def test_not_inside_the_runs_nor_around_them(self, inside: str, runs: Path) -> None:
        with pytest.raises(UserError, match="in one another"):
            keep_runs(runs, runs / inside)

    def test_a_choice_nobody_trained(self, runs: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no finished run of A-B seed 7"):
            keep_runs(runs, tmp_path / "kept", arrays_of=[("A", "B", 7)])
        assert not (tmp_path / "kept").exists()

    def test_nothing_finished(self, tmp_path: Path) -> None:
        made_run(tmp_path / "runs", toy_config("adabn"), status="running")
        with pytest.raises(UserError, match="only unfinished runs"):
            keep_runs(tmp_path / "runs", tmp_path / "kept")


class TestFinding:
    def test_a_run_by_its_configuration(self, runs: Path) -> None:
        config = toy_config("mmsada", pair="BA", seed=1)
        assert find_run(load_runs(runs), config) == RunFolder(runs, config, data_name="toy").path

    def test_what_was_never_trained(self, runs: Path) -> None:
        with pytest.raises(UserError, match="no finished run of adabn A-B, seed 0"):
            find_run(load_runs(runs), toy_config("adabn"))
        with pytest.raises(UserError, match="no finished run of mmsada"):
            find_run(load_runs(runs), toy_config("mmsada", adapt__steps=9))

    def test_what_was_kept_without_features(self, runs: Path, tmp_path: Path) -> None:
        keep_runs(runs, tmp_path / "kept", arrays_of=[("A", "B", 0)])
        kept = load_runs(tmp_path / "kept")
        assert find_run(kept, toy_config("mmsada"), holding="features.npz").is_dir()
        with pytest.raises(UserError, match=r"without its features.npz; choose A-B seed 0, or name"):
            find_run(kept, toy_config("mmsada", seed=1), holding="features.npz")


def test_outside_a_checkout_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reference, "__file__", str(tmp_path / "site-packages/mmsada_lab/sweeps/keep.py"))
    with pytest.raises(UserError, match="work in a checkout"):
        reference_runs()
    folder = tmp_path / "site-packages/assets/reference_runs"
    folder.mkdir(parents=True)
    assert reference_runs() == folder
