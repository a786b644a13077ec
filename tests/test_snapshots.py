"""What a run leaves for maps that move: scores of single windows, and features of checkpoints through both stages."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from test_experiment import Writes, assert_same, stopped
from toy import CLASSES, toy_config, toy_data

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import load_history, read_arrays, read_manifest

pytestmark = pytest.mark.usefixtures("toy_format")
KEPT = toy_config(keep_features=3)  # evaluated after 3 and 5 steps of the first stage, 3, 6 and 7 of the second


def run(config: ExperimentConfig, runs: Path) -> Path:
    return run_experiment(config, runs, device="cpu", workers=0, show_progress=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import toy

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.FORMATS, "toy", toy.TOY)
        return run(KEPT, tmp_path_factory.mktemp("finished"))


def test_windows_average_to_the_last_prediction(finished: Path) -> None:
    windows, kept = read_arrays(finished / "windows.npz"), read_arrays(finished / "predictions.npz")
    features = read_arrays(finished / "features.npz")
    for name in ("uid", "label", "side", "split"):
        np.testing.assert_array_equal(windows[name], features[name])
    target = windows["side"] == "target"
    for stream in ("fused", "rgb", "flow"):
        scores = windows[f"w_{stream}"]
        assert scores.dtype == np.float16
        assert scores.shape == (len(features["uid"]), KEPT.test_windows, len(CLASSES))
        mean = scores[target].astype(np.float32).mean(axis=1)
        np.testing.assert_allclose(mean, kept[f"p_{stream}"][-1], atol=2e-3)
        assert not np.allclose(scores[:, 0], scores[:, 1], atol=1e-3), "windows are not all the same"


def test_checkpoints_are_spread_over_both_stages(finished: Path) -> None:
    arrays, features = read_arrays(finished / "checkpoints.npz"), read_arrays(finished / "features.npz")
    assert arrays["steps"].tolist() == [3, 8, 12], "the first, the middle and the last of five evaluations"
    np.testing.assert_array_equal(arrays["uid"], features["uid"])
    for modality in ("rgb", "flow"):
        kept = arrays[f"f_{modality}"]
        assert kept.shape == (3, *features[f"f_{modality}"].shape)
        np.testing.assert_allclose(kept[-1], features[f"f_{modality}"], rtol=2e-3, atol=1e-4)
        assert not np.allclose(kept[0], kept[-1], rtol=2e-3, atol=1e-4), "the network has learnt something"


def test_their_predictions_are_those_of_the_evaluations(finished: Path) -> None:
    arrays = read_arrays(finished / "checkpoints.npz")
    history = load_history(finished).query("kind == 'evaluation' and name == 'fused/top1'").set_index("total_step")
    target = arrays["side"] == "target"
    for step, probabilities in zip(arrays["steps"].tolist(), arrays["p_fused"], strict=True):
        right = probabilities[target].argmax(axis=1) == arrays["label"][target]
        assert 100 * right.mean() == pytest.approx(history.loc[step, "value"])
        np.testing.assert_allclose(probabilities.astype(float).sum(axis=1), 1, atol=5e-3)


def test_the_outcome_and_the_digest_do_not_depend_on_it(finished: Path, tmp_path: Path) -> None:
    plain = toy_config()
    assert plain.keep_features == 0
    assert plain.digest == KEPT.digest
    other = run(plain, tmp_path)
    assert_same(finished, other)
    assert not (other / "checkpoints.npz").exists()
    assert (other / "windows.npz").exists()


@pytest.mark.parametrize("after", [1 + 2, 1 + 2 * 3], ids=["first stage", "second stage"])
def test_an_interrupted_run_keeps_them(
    after: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    stopped(KEPT, tmp_path, writes, after=after)
    again = run(KEPT, tmp_path)
    assert_same(finished, again)
    for name, values in read_arrays(finished / "checkpoints.npz").items():
        np.testing.assert_array_equal(read_arrays(again / "checkpoints.npz")[name], values)


def test_a_first_stage_that_is_taken_brings_its_own(tmp_path: Path) -> None:
    one, other = (run(toy_config(keep_features=3, reversal_coefficient=value), tmp_path) for value in (0.1, 0.2))
    assert read_manifest(other / "manifest.json")["first_stage_reused"]
    first, second = (read_arrays(path / "checkpoints.npz") for path in (one, other))
    assert first["steps"].tolist() == second["steps"].tolist()
    np.testing.assert_array_equal(first["f_rgb"][0], second["f_rgb"][0])
    assert not np.array_equal(first["f_rgb"][-1], second["f_rgb"][-1])


def test_a_first_stage_that_kept_none_is_not_taken(tmp_path: Path) -> None:
    run(toy_config(reversal_coefficient=0.1), tmp_path)
    path = run(toy_config(keep_features=3, reversal_coefficient=0.2), tmp_path)
    assert not read_manifest(path / "manifest.json")["first_stage_reused"]
    assert read_arrays(path / "checkpoints.npz")["steps"].tolist() == [3, 8, 12]


@pytest.mark.parametrize(
    ("count", "steps"), [(0, []), (1, [12]), (2, [3, 12]), (5, [3, 5, 8, 11, 12]), (99, [3, 5, 8, 11, 12])]
)
def test_how_many_are_kept(count: int, steps: list[int]) -> None:
    config = toy_config(keep_features=count)
    kept = [
        step + 5 * number
        for number, (_, stage) in enumerate(config.stages)
        for step in range(1, stage.steps + 1)
        if config.keeps_features(number, step)
    ]
    assert kept == steps


def test_segments_of_both_domains_are_there(finished: Path) -> None:
    data, arrays = toy_data(), read_arrays(finished / "checkpoints.npz")
    expected = [s.uid for name in KEPT.pair for s in data.domain(name).test]
    assert arrays["uid"].tolist() == expected
    assert math.isfinite(float(arrays["f_rgb"].astype(float).sum()))
