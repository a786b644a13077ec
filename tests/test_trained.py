"""A finished run put to use: its predictions are those it was judged by, and its features can be trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from toy import relabelled, toy_config, toy_data
from tqdm.auto import tqdm
from typer.testing import CliRunner

from mmsada_lab.cli.main import app
from mmsada_lab.clips import test_clips
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import load_predictions, read_arrays
from mmsada_lab.trained import load_trained, predict_table, write_run_features

pytestmark = pytest.mark.usefixtures("toy_format")


def run(method: str, runs: Path, **changes: object) -> Path:
    return run_experiment(toy_config(method, **changes), runs, device="cpu", workers=0, show_progress=False)


class TestPredictions:
    @pytest.mark.parametrize("method", ["source_only", "adabn", "mmsada"])
    def test_they_are_those_of_the_last_evaluation(self, method: str, tmp_path: Path) -> None:
        path = run(method, tmp_path)
        last = load_predictions(path).query("stream == 'fused'")
        last = last[last["step"] == last["step"].max()]
        found = predict_table(path, split="test", device="cpu")
        assert found["uid"].tolist() == last["uid"].tolist()
        probabilities = found[[c for c in found if c.startswith("p(")]].to_numpy()
        np.testing.assert_allclose(probabilities, last[["p0", "p1", "p2"]].to_numpy(), atol=1e-6)
        assert found["predicted"].tolist() == [toy_data().classes[k] for k in last["predicted"]]
        np.testing.assert_allclose(found["confidence"], probabilities.max(axis=1))

    def test_a_mean_of_streams_is_one_in_training_and_after(self, tmp_path: Path) -> None:
        """The run's own predictions are those of the mean, and a finished run predicts the same."""
        path = run("mcd", tmp_path, fusion="mean", test_windows=1)
        arrays = read_arrays(path / "predictions.npz")
        logs = {stream: np.log(arrays[f"p_{stream}"][-1]) for stream in ("fused", "rgb", "flow")}
        mean = (logs["rgb"] + logs["flow"]) / 2  # a softmax drops a constant a row
        powers = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(np.exp(logs["fused"]), powers, rtol=1e-3)
        probabilities = predict_table(path, split="test", device="cpu").filter(like="p(").to_numpy()
        np.testing.assert_allclose(probabilities, arrays["p_fused"][-1], atol=1e-6)

    @pytest.mark.parametrize(
        ("method", "changes"),
        [("mmsada", {}), ("adabn", {}), ("source_only", {"fusion": "mean"})],
        ids=["sum", "statistics of the domain", "mean"],
    )
    def test_logits_of_windows_are_behind_the_predictions(
        self, method: str, changes: dict[str, Any], tmp_path: Path
    ) -> None:
        trained, domain = load_trained(run(method, tmp_path, **changes), device="cpu"), toy_data().domain("B")
        segments = domain.test[:20]  # more than a batch
        logits, probabilities = trained.logits(domain, segments), trained.predict(domain, segments).probabilities
        assert list(logits) == ["fused", *trained.config.modalities]
        for stream, values in logits.items():
            assert values.shape == (len(segments), trained.config.test_windows, 3)
            np.testing.assert_allclose(values.softmax(dim=2).mean(dim=1), probabilities[stream], atol=1e-6)
            assert not values.requires_grad

    def test_every_segment_of_a_domain_labelled_or_not(self, open_as_toy, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        open_as_toy(relabelled(toy_data(), "C", lambda _: None))
        found = predict_table(path, domain="C", device="cpu")
        domain = toy_data().domain("C")
        assert found["uid"].tolist() == [s.uid for s in (*domain.train, *domain.test)]
        assert found["split"].tolist() == ["train"] * len(domain.train) + ["test"] * len(domain.test)
        assert (found.loc[found["split"] == "train", "label"] == "").all()
        assert found.loc[found["split"] == "test", "label"].tolist() == [
            toy_data().classes[s.label] for s in domain.test
        ]

    def test_any_number_of_processes_reads_the_same(self, tmp_path: Path) -> None:
        path = run("adabn", tmp_path)
        alone, two = (predict_table(path, device="cpu", workers=workers) for workers in (0, 2))
        pd.testing.assert_frame_equal(alone, two)

    def test_a_bar_is_drawn_where_it_is_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = run("source_only", tmp_path)
        monkeypatch.setattr(test_clips, "tqdm", lambda *args, **options: tqdm(*args, **options | {"delay": 0}))
        for asked in (False, True):
            predict_table(path, device="cpu", show_progress=asked)
            assert ("27 segments of B:" in capsys.readouterr().err) == asked

    def test_spare_outputs_are_named_as_such(self, tmp_path: Path) -> None:
        found = predict_table(run("source_only", tmp_path, outputs_per_class=2), device="cpu")
        assert [c for c in found if c.startswith("p(")][3:] == [f"p((spare output {k}))" for k in (3, 4, 5)]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"domain": "X"}, "unknown domain 'X'; choose A, B, C"),
            ({"split": "val"}, "unknown split 'val'; choose all, train, test"),
            ({"device": "gpu"}, "unknown device"),
            ({"data": "epik:x"}, "unknown data"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, str], message: str, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        with pytest.raises(UserError, match=message):
            predict_table(path, **{"device": "cpu", **arguments})

    def test_a_run_that_is_not_finished(self, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
        with pytest.raises(UserError, match="not finished"):
            load_trained(path)

    @pytest.mark.parametrize("fault", ["missing", "cut", "other"])
    def test_weights_that_are_not_the_runs(self, fault: str, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        weights = path / "model.safetensors"
        if fault == "other":
            tensors = load_file(weights)
            save_file({name: array[:1] for name, array in tensors.items() if array.ndim}, weights)
        else:
            data = weights.read_bytes()
            weights.unlink()
            if fault == "cut":
                weights.write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match="does not hold the weights"):
            load_trained(path, device="cpu")

    def test_a_domain_of_other_modalities(self, open_as_toy, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        open_as_toy(toy_data(modalities=("rgb",)))
        with pytest.raises(UserError, match="unknown modality 'flow'"):
            predict_table(path, device="cpu")

    def test_the_command(self, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        done = CliRunner().invoke(app, ["predict", str(path), "--to", str(tmp_path / "p.csv"), "--device", "cpu"])
        assert done.exit_code == 0, done.output
        assert "% of the 27 segments with a label" in done.output
        assert len((tmp_path / "p.csv").read_text().splitlines()) == 28


class TestFeatures:
    def test_they_are_what_the_run_saved(self, tmp_path: Path) -> None:
        path = run("mmsada", tmp_path)
        write_run_features(path, tmp_path / "features", device="cpu")
        data, saved = load_data(f"features:{tmp_path / 'features'}"), read_arrays(path / "features.npz")
        for modality in ("rgb", "flow"):
            for name, side in (("A", "source"), ("B", "target")):
                domain = data.domain(name)
                windows = [domain.readers[modality].read(s, np.arange(1, s.stop + 1)) for s in domain.test]
                assert all(w.shape == (2, 8) for w in windows)  # two test windows, four times width 2
                chosen = saved["side"] == side
                assert [s.uid for s in domain.test] == saved["uid"][chosen].tolist()
                np.testing.assert_allclose([w.mean(axis=0) for w in windows], saved[f"f_{modality}"][chosen], atol=1e-5)

    def test_labels_and_splits_are_kept(self, open_as_toy, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        open_as_toy(relabelled(toy_data(), "B", lambda _: None))
        write_run_features(path, tmp_path / "features", domains=["B", "C"], device="cpu")
        data = load_data(f"features:{tmp_path / 'features'}")
        assert sorted(data.domains) == ["B", "C"]
        assert {s.label for s in data.domain("B").train} == {None}
        for name in ("B", "C"):
            old, new = toy_data().domain(name), data.domain(name)
            assert {s.uid: toy_data().classes[s.label] for s in old.test} == {
                s.uid: data.classes[s.label] for s in new.test
            }

    def test_trained_on_again(self, tmp_path: Path) -> None:
        path = run("source_only", tmp_path)
        write_run_features(path, tmp_path / "features", device="cpu")
        config = toy_config("mmsada", window_span="segment")
        again = type(config)(**config.to_dict() | {"data": f"features:{tmp_path / 'features'}"})
        assert run_experiment(again, tmp_path, device="cpu", show_progress=False).is_dir()
