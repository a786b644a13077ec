"""Reference runs: the same tables and figures from one small file, and nothing overwritten."""

from __future__ import annotations

import json
import math
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy import toy_config, toy_data

from mmsada_lab import experiment
from mmsada_lab.analysis.selection import selection_table
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.files import read_file
from mmsada_lab.runs import (
    RunFolder,
    find_runs,
    load_history,
    load_predictions,
    load_runs,
    read_arrays,
    read_manifest,
    write_arrays,
    write_json,
)
from mmsada_lab.sweeps import keep
from mmsada_lab.sweeps.keep import find_run, keep_runs, reference_runs, run_or_reference
from mmsada_lab.sweeps.plans import plan_batch
from mmsada_lab.trained import load_trained


def made_run(runs: Path, config: ExperimentConfig, *, status: str = "finished", **facts: Any) -> Path:
    """A run folder as training leaves it, its numbers drawn."""
    rng = np.random.default_rng(config.seed)
    folder = RunFolder(runs, config, data_name="toy")
    folder.path.mkdir(parents=True)
    accuracies = {stream: {"top1": 100 * rng.random(), "mean_class": 50.0} for stream in ("fused", "rgb")}
    result = {"selection": "last", "evaluations": 2, "test_segments": 12, "target": accuracies}
    shared = {"status": status, "config": config.to_dict(), "digest": config.digest, "classes": ["a", "b", "c"]}
    write_json(folder.manifest_path, {**shared, "training_seconds": 1.0, "device": "cpu", "result": result, **facts})
    records = []
    for step in range(1, 7):
        where = {"stage": "adapt", "step": step, "total_step": step}
        records.append({"kind": "train", **where, "values": {"classification": rng.random()}})
        records.append({"kind": "game", **where, "values": {"domain_accuracy/rgb": 100 * rng.random()}})
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


def names_in(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as file:
        return file.namelist()


@pytest.fixture
def kept(runs: Path, tmp_path: Path) -> Path:
    """All of them packed, one pair and seed with its arrays."""
    return keep_runs(runs, tmp_path / "kept.zip", arrays_of=[("A", "B", 0)]).path


class TestWhatIsKept:
    def test_results_are_the_same(self, runs: Path, kept: Path) -> None:
        original, packed = load_runs(runs), load_runs(kept)
        pd.testing.assert_frame_equal(original.drop(columns="path"), packed.drop(columns="path"))
        names = [Path(path).relative_to(kept) for path in packed["path"]]
        assert names == [Path(path).relative_to(runs) for path in original["path"]], "the same layout"

    def test_histories_hold_the_evaluations_to_six_digits(self, runs: Path, kept: Path) -> None:
        for path in find_runs(runs):
            original, packed = load_history(path), load_history(kept / path.relative_to(runs))
            wanted, found = (
                history[history["kind"] == "evaluation"].reset_index(drop=True) for history in (original, packed)
            )
            pd.testing.assert_frame_equal(wanted.drop(columns="value"), found.drop(columns="value"))
            np.testing.assert_allclose(found["value"], wanted["value"], rtol=5e-6)
            assert all(value == float(f"{value:.6g}") for value in packed["value"])
            assert set(packed["kind"]) == {"game", "evaluation"}

    @pytest.mark.parametrize("every", [1, 4, 10, 15, 40])
    def test_histories_hold_means_of_the_game(self, every: int, tmp_path: Path) -> None:
        """Over 15 steps of a stage; of records of more steps, each as it is."""
        path = made_run(tmp_path / "runs", toy_config("mmsada"))
        rng, records = np.random.default_rng(0), []
        for stage, first, steps in (("pretrain", 0, 20), ("adapt", 20, 40)):
            for step in sorted({*range(every, steps + 1, every), steps}):
                where = {"stage": stage, "step": step, "total_step": first + step}
                values = {"reversal": rng.random(), **({"late": rng.random()} if step > 20 else {})}
                records += [
                    {"kind": "train", **where, "values": {"mmd": 1.0}},
                    {"kind": "game", **where, "values": values},
                ]
                if step % 15 == 0 or step == steps:
                    records.append({"kind": "evaluation", **where, "values": {"fused/top1": 50.0}})
        (path / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        kept = keep_runs(tmp_path / "runs", tmp_path / "kept.zip").path
        found = load_history(kept / path.relative_to(tmp_path / "runs")).query("kind == 'game'")
        games = [record for record in records if record["kind"] == "game"]
        for name in ("reversal", "late"):
            expected = {}
            for record in games:
                if name in record["values"]:
                    block = record["stage"], math.ceil(record["step"] / 15)
                    expected.setdefault(block, []).append((record["total_step"], record["values"][name]))
            means = {values[-1][0]: np.mean([value for _, value in values]) for values in expected.values()}
            rows = found[found["name"] == name]
            assert dict(zip(rows["total_step"], rows["value"], strict=True)) == pytest.approx(means, rel=1e-5)
        assert found["total_step"].is_monotonic_increasing
        again = keep_runs(kept, tmp_path / "again.zip").path
        assert again.read_bytes() == kept.read_bytes()

    def test_rules_of_selection_choose_the_same(self, runs: Path, kept: Path) -> None:
        tables = [selection_table(load_runs(folder)) for folder in (runs, kept)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-5)

    def test_arrays_of_the_chosen_alone(self, runs: Path, tmp_path: Path) -> None:
        summary = keep_runs(runs, tmp_path / "kept.zip", arrays_of=[("A", "B", 0)])
        names = names_in(summary.path)
        with_arrays = {tuple(name.split("/")[1:]) for name in names if name.endswith(".npz")}
        assert {method for method, *_ in with_arrays} == {"source_only", "mmsada"}
        assert {(pair, run[:5]) for _, pair, run, _ in with_arrays} == {("A-B", "seed0")}
        assert (summary.runs, summary.with_arrays) == (8, 2)
        assert not [name for name in names if name.endswith((".safetensors", ".lock"))]

    def test_predictions_and_features_are_the_same(self, runs: Path, kept: Path) -> None:
        for name in names_in(kept):
            if name.endswith("predictions.npz"):
                run = Path(name).parent
                pd.testing.assert_frame_equal(load_predictions(runs / run), load_predictions(kept / run))
                original, packed = (read_arrays(folder / run / "features.npz") for folder in (runs, kept))
                assert original.keys() == packed.keys()
                np.testing.assert_array_equal(original["f_rgb"], packed["f_rgb"])

    def test_unfinished_runs_stay_out(self, runs: Path, tmp_path: Path) -> None:
        made_run(runs, toy_config("adabn"), status="running")
        summary = keep_runs(runs, tmp_path / "kept.zip")
        assert (summary.runs, summary.unfinished) == (8, 1)
        assert "8 finished runs kept" in str(summary)
        assert "1 unfinished left out" in str(summary)

    def test_it_is_small(self, runs: Path, tmp_path: Path) -> None:
        summary = keep_runs(runs, tmp_path / "kept.zip")
        assert summary.size == summary.path.stat().st_size
        assert summary.size < sum(path.stat().st_size for path in runs.rglob("*") if path.is_file()) / 20

    def test_the_same_runs_give_the_same_bytes(self, kept: Path, tmp_path: Path) -> None:
        """Also when kept runs are kept again, at another time."""
        again = keep_runs(kept, tmp_path / "again.zip", arrays_of=[("A", "B", 0)]).path
        assert again.read_bytes() == kept.read_bytes()
        assert names_in(again) == sorted(names_in(again), key=Path)
        with zipfile.ZipFile(again) as file:
            assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


class TestPaths:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("/data/epic", "epic"),
            ("epic:/data/My Kitchens,missing=drop", "epic:My Kitchens,missing=drop"),
            ("arrays:~/data/watch", "arrays:watch"),
            ("3 files of /data/me/epic missing", "3 files of epic missing"),
            ("kitchens:scale=0.01", "kitchens:scale=0.01"),
            ("cpu (x86_64)", "cpu (x86_64)"),
            ("https://example.org/a/b", "https://example.org/a/b"),
            ("and/or 1/2", "and/or 1/2"),
            ("data/epic", "data/epic"),
        ],
    )
    def test_only_absolute_ones_are_cut(self, text: str, expected: str) -> None:
        assert keep.without_folders({"notes": [text], "n": 1}) == {"notes": [expected], "n": 1}

    def test_manifests_are_else_the_same(self, runs: Path, tmp_path: Path) -> None:
        path = made_run(runs, toy_config("adabn"), data_notes=["read from /data/toy"])
        kept = keep_runs(runs, tmp_path / "kept.zip").path
        original, packed = (read_manifest(f / path.relative_to(runs) / "manifest.json") for f in (runs, kept))
        assert packed.pop("data_notes") == ["read from toy"]
        assert original.pop("data_notes") == ["read from /data/toy"]
        assert packed == original

    def test_an_older_manifest_is_told_the_number_of_test_segments(self, runs: Path, tmp_path: Path) -> None:
        """Its predictions, which could tell it, are left out."""
        for path in find_runs(runs):
            manifest = read_manifest(path / "manifest.json")
            del manifest["result"]["test_segments"]
            write_json(path / "manifest.json", manifest)
        kept = keep_runs(runs, tmp_path / "kept.zip").path
        assert set(load_runs(kept)["test_segments"]) == {12}
        (next(iter(find_runs(runs))) / "predictions.npz").unlink()
        again = keep_runs(runs, tmp_path / "again.zip").path
        assert load_runs(again)["test_segments"].isna().sum() == 2, "both streams of one run"


class TestTheFile:
    def test_other_files_are_never_touched(self, runs: Path, tmp_path: Path) -> None:
        thesis = tmp_path / "thesis.zip"
        thesis.write_text("years of work")
        (tmp_path / "folder.zip").mkdir()
        for path in (thesis, tmp_path / "folder.zip"):
            with pytest.raises(UserError, match="holds something else than kept runs; choose a new file"):
                keep_runs(runs, path)
        assert thesis.read_text() == "years of work"
        with zipfile.ZipFile(thesis, "w") as file:
            file.writestr("thesis.txt", "years of work")
        with pytest.raises(UserError, match="holds something else"):
            keep_runs(runs, thesis)
        assert names_in(thesis) == ["thesis.txt"]

    def test_an_earlier_one_is_replaced(self, runs: Path, tmp_path: Path) -> None:
        made_run(tmp_path / "few", toy_config("adabn"))
        kept = keep_runs(tmp_path / "few", tmp_path / "kept.zip", arrays_of=[("A", "B", 0)]).path
        assert set(load_runs(kept)["method"]) == {"adabn"}
        keep_runs(runs, kept)
        assert set(load_runs(kept)["method"]) == {"source_only", "mmsada"}, "it is read anew"
        assert {path.name for path in tmp_path.iterdir()} == {"runs", "few", "kept.zip"}, "nothing is left behind"

    def test_what_stood_there_stays_if_a_run_cannot_be_read(self, runs: Path, kept: Path, tmp_path: Path) -> None:
        before = kept.read_bytes()
        next(runs.rglob("history.jsonl")).write_text("{")
        with pytest.raises(ValueError, match="Expecting"):
            keep_runs(runs, kept, arrays_of=[("A", "B", 0)])
        assert kept.read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {"runs", "kept.zip"}

    def test_it_ends_in_zip(self, runs: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"does not end in \.zip.*choose e\.g\. .*small\.zip"):
            keep_runs(runs, tmp_path / "small")

    def test_not_over_the_runs_themselves(self, kept: Path) -> None:
        with pytest.raises(UserError, match="is where the runs are read from"):
            keep_runs(kept, kept)

    def test_a_choice_nobody_trained(self, runs: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no finished run of A-B seed 7"):
            keep_runs(runs, tmp_path / "kept.zip", arrays_of=[("A", "B", 7)])
        assert not (tmp_path / "kept.zip").exists()

    def test_nothing_finished(self, tmp_path: Path) -> None:
        made_run(tmp_path / "runs", toy_config("adabn"), status="running")
        with pytest.raises(UserError, match="only unfinished runs"):
            keep_runs(tmp_path / "runs", tmp_path / "kept.zip")


class TestFinding:
    def test_a_run_by_its_configuration(self, runs: Path) -> None:
        config = toy_config("mmsada", pair="BA", seed=1)
        assert find_run(load_runs(runs), config) == RunFolder(runs, config, data_name="toy").path

    def test_what_was_never_trained(self, runs: Path) -> None:
        with pytest.raises(UserError, match="no finished run of adabn A-B, seed 0"):
            find_run(load_runs(runs), toy_config("adabn"))
        with pytest.raises(UserError, match="no finished run of mmsada"):
            find_run(load_runs(runs), toy_config("mmsada", adapt__steps=9))

    def test_what_was_kept_without_features(self, kept: Path) -> None:
        packed = load_runs(kept)
        run = find_run(packed, toy_config("mmsada"), holding="features.npz")
        assert "f_rgb" in read_arrays(run / "features.npz")
        with pytest.raises(UserError, match=r"without its features.npz; choose A-B seed 0, or name"):
            find_run(packed, toy_config("mmsada", seed=1), holding="features.npz")


@pytest.mark.usefixtures("toy_format")
class TestTakenFromTheReference:
    """A run that was kept is not trained again, as long as it is the same run of the same data."""

    @pytest.fixture
    def trained(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Digests of what was trained, in place of training."""
        digests: list[str] = []

        def train(config: ExperimentConfig, runs_dir: Path, *, device: str) -> Path:
            digests.append(config.digest)
            return RunFolder(Path(runs_dir), config, data_name="toy").path

        monkeypatch.setattr(experiment, "run_experiment", train)
        return digests

    @pytest.fixture
    def reference(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Two seeds of a method, kept; of the first with arrays."""
        for seed in (0, 1):
            made_run(tmp_path / "all", toy_config("source_only", seed=seed), data_digest=toy_data().digest)
        packed = keep_runs(tmp_path / "all", tmp_path / "reference.zip", arrays_of=[("A", "B", 0)]).path
        monkeypatch.setattr(keep, "reference_runs", lambda: packed)
        return packed

    def test_it_is_copied_with_all_that_was_kept(self, reference: Path, trained: list[str], tmp_path: Path) -> None:
        config = toy_config("source_only")
        path = run_or_reference(config, tmp_path / "runs", holding="features.npz")
        assert path == RunFolder(tmp_path / "runs", config, data_name="toy").path
        kept = reference / path.relative_to(tmp_path / "runs")
        for name in ("history.jsonl", "predictions.npz", "features.npz"):
            assert (path / name).read_bytes() == read_file(kept / name), name
        assert read_manifest(path / "manifest.json") == read_manifest(kept / "manifest.json") | {"weights_kept": False}
        assert run_or_reference(config, tmp_path / "runs") == path
        assert trained == []
        mine, theirs = (load_runs(folder).drop(columns="path") for folder in (tmp_path / "runs", reference))
        pd.testing.assert_frame_equal(mine, theirs[theirs["digest"] == config.digest])

    @pytest.mark.parametrize("other", [{"method": "mmsada"}, {"seed": 2}, {"adapt__steps": 3}], ids=str)
    def test_what_was_not_kept_is_trained(
        self, other: dict[str, Any], reference: Path, trained: list[str], tmp_path: Path
    ) -> None:
        config = toy_config(**{"method": "source_only", **other})
        run_or_reference(config, tmp_path / "runs")
        assert trained == [config.digest]

    def test_what_was_kept_without_a_file_is_trained(self, reference: Path, trained: list[str], tmp_path: Path) -> None:
        config = toy_config("source_only", seed=1)
        run_or_reference(config, tmp_path / "runs", holding="features.npz")
        assert trained == [config.digest]
        run_or_reference(config, tmp_path / "runs")
        assert trained == [config.digest], "its accuracies were kept"

    def test_runs_of_other_data_are_not_taken(
        self, reference: Path, trained: list[str], tmp_path: Path, open_as_toy: Any
    ) -> None:
        open_as_toy(replace(toy_data(), digest="0123456789"))
        run_or_reference(toy_config("source_only"), tmp_path / "runs")
        assert len(trained) == 1

    def test_outside_a_checkout_it_is_trained(
        self, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keep, "__file__", str(tmp_path / "site-packages/mmsada_lab/sweeps/keep.py"))
        run_or_reference(toy_config("source_only"), tmp_path / "runs")
        assert len(trained) == 1

    def test_a_run_that_was_begun_here_goes_on(self, reference: Path, trained: list[str], tmp_path: Path) -> None:
        config = toy_config("source_only")
        with RunFolder(tmp_path / "runs", config, data_name="toy").locked():
            run_or_reference(config, tmp_path / "runs")
        assert trained == [config.digest], "which says that another process is training it"
        made_run(tmp_path / "others", config, status="running", data_digest=toy_data().digest)
        run_or_reference(config, tmp_path / "others")
        assert len(trained) == 2

    def test_whoever_needs_its_weights_trains_it(self, reference: Path, tmp_path: Path) -> None:
        config = toy_config("source_only")
        path = run_or_reference(config, tmp_path / "runs")
        with pytest.raises(UserError, match="came with the checkout, without its weights; train it"):
            load_trained(path)
        assert list(plan_batch([config], tmp_path / "runs")["state"]) == ["to do"], "no damage"
        assert experiment.run_experiment(config, tmp_path / "runs", device="cpu", show_progress=False) == path
        assert load_trained(path, device="cpu").config == config
        assert "weights_kept" not in read_manifest(path / "manifest.json")
        assert run_or_reference(config, tmp_path / "runs") == path


class TestThisCheckout:
    def test_its_reference_runs_are_whole(self) -> None:
        runs = load_runs(reference_runs())
        folders = find_runs(reference_runs())
        assert len(folders) == runs["digest"].nunique() == 532
        assert {path.name.partition("-")[2] for path in folders} == set(runs["digest"])
        with zipfile.ZipFile(reference_runs()) as file:
            assert file.testzip() is None
            texts = b"".join(file.read(name) for name in file.namelist() if name.endswith(".json"))
        assert not re.search(rb'"(/|~|[A-Z]:)', texts), "no machine's paths"

    def test_outside_a_checkout_there_are_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(keep, "__file__", str(tmp_path / "site-packages/mmsada_lab/sweeps/keep.py"))
        with pytest.raises(UserError, match="work in a checkout"):
            reference_runs()
        path = tmp_path / "site-packages/assets/reference_runs.zip"
        path.parent.mkdir(parents=True)
        path.touch()
        assert reference_runs() == path
