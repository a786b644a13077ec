"""Runs of a lesson: configured on what modalities there are, trained once, read back whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from toy import toy_config

from mmsada_lab import build_config, methods
from mmsada_lab.analysis import figures
from mmsada_lab.datasets.open import load_data, shared_modalities
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.widget import Explorer
from mmsada_lab.lessons.lesson_runs import LessonRun, configure, train_run

pytestmark = pytest.mark.usefixtures("toy_format")


def test_all_modalities_that_the_domains_share_unless_some_are_named() -> None:
    config = configure("quick", source="A", target="B", data="toy")
    assert config.modalities == shared_modalities(load_data("toy")) != ("rgb", "flow")
    named = configure("quick", source="A", target="B", data="toy", overrides={"modalities": ["rgb"]})
    assert named.modalities == ("rgb",)


def test_kitchens_are_not_drawn_for_their_modalities(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise AssertionError

    monkeypatch.setattr("mmsada_lab.lessons.lesson_runs.load_data", refuse)
    for data in ("kitchens", "kitchens:seed=4,scale=0.01"):
        options = {"source": "D2", "target": "D1", "data": data, "seed": 3}
        assert configure("quick", **options) == build_config("quick", **options)  # type: ignore[arg-type]


def test_an_empty_source_is_none() -> None:
    config = configure("quick", source="", target="D1", method="supervised_target")
    assert config.source == config.target == "D1"
    with pytest.raises(UserError, match="needs a source"):
        configure("quick", source="", target="D1")


def test_a_run_is_trained_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("mmsada")
    run = train_run(config, tmp_path, device="cpu")
    before = (run.path / "manifest.json").stat().st_mtime_ns
    again = train_run(config, tmp_path, device="cpu")
    assert again.path == run.path
    assert (run.path / "manifest.json").stat().st_mtime_ns == before
    assert run.config.digest == config.digest
    assert run.classes == list(toy.CLASSES)
    streams = {"fused", *config.modalities}
    assert set(run.predictions["stream"]) == set(run.top1().index) == set(run.table()["stream"]) == streams
    assert set(run.features["side"]) == {"source", "target"}
    assert figures.accuracy_curves(run.history, averaged=run.evaluations)["averaged"].any()
    assert repr(run) == (
        f"mmsada A→B, seed 0: top-1 {run.top1()['fused']:.1f} % on B, trained for {config.total_steps} steps"
    )
    assert isinstance(run.explore(), Explorer)


def test_one_domain_gives_no_map(tmp_path: Path) -> None:
    run = train_run(toy_config("supervised_target"), tmp_path, device="cpu")
    assert run.explore() == "a map needs two domains"


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a readable manifest"):
        repr(LessonRun(tmp_path))


def test_a_summary_says_what_matters() -> None:
    overrides = {"pretrain.steps": 7, "adapt.weights.adversarial": 0.5, "modalities": ["rgb", "audio"]}
    summary = build_config("quick", source="D2", target="D1", seed=4, overrides=overrides).summary()
    assert len(summary) <= 10
    assert summary["method"] == "MM-SADA, D2→D1, seed 4"
    assert summary["modalities"] == "rgb, audio"
    assert summary["pretrain"] == "7 steps at rate 0.03: 1 classification + 5 correspondence"
    assert "0.5 adversarial" in summary["adapt"]
    assert summary["clips"] == "32 of the source and 32 of the target a step"


def test_noise_may_hold_clips_that_do_not_correspond() -> None:
    config = build_config("quick", source="D2", target="D1", overrides={"width": 4})
    batches = [methods.method_on_noise(config, mismatched=count)[1] for count in (0, 3)]
    assert [batch.source.corresponds.tolist() for batch in batches] == [[True] * 4, [True] + [False] * 3]
    assert batches[1].require_target().corresponds.tolist() == [True] + [False] * 3
    for m, clips in batches[0].source.clips.items():
        assert np.array_equal(clips, batches[1].source.clips[m]), "the noise is the same"
