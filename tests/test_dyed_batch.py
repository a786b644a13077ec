"""A batch with dye in the pipe says where it is from; a first stage is found by its history; methods side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy
from toy import TOY, toy_data

from mmsada_lab.analysis import figures
from mmsada_lab.datasets import open as formats
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.dyed_batch import DYE_DOMAIN, DYE_MIDDLE, DYE_SEGMENT, DyedBatch, clips_taught, dye_batch
from mmsada_lab.lessons.first_stage import ask_first_stage, find_first_stage
from mmsada_lab.lessons.method_runs import run_methods
from mmsada_lab.runs import load_history

TINY = {
    "pretrain.steps": 4,
    "adapt.steps": 4,
    "evaluate_every": 2,
    "averaged_evaluations": 1,
    "batch_size": 8,
    "width": 4,
    "test_windows": 1,
}


def dyed(**options: object) -> DyedBatch:
    return dye_batch(toy_data(), source="A", target="B", clips=6, **options)  # type: ignore[arg-type]


def test_half_of_a_batch_is_of_other_segments_of_the_same_domain() -> None:
    batch = dyed(correspondence_batch="half")
    for number, side in enumerate(("source", "target")):
        dye = {m: values.int().numpy() for m, values in batch.asked[side].items()}
        segments = np.array([values[:, DYE_SEGMENT] for values in dye.values()])
        assert all((values[:, DYE_DOMAIN] == number).all() for values in dye.values())
        assert (segments[:, :3] == segments[0, :3]).all()
        assert (segments[1:, 3:] != segments[0, 3:]).all()
        assert set(segments[1]) == set(segments[0])


def test_dye_tells_the_moment() -> None:
    """Inside the segment, half a window from its ends; one moment for all modalities where they are synchronous."""
    batch = dyed(correspondence_batch="half", positives="synchronous")
    train = [s for s in toy_data().domains["A"].train if s.label is not None]
    first, *others = batch.asked["source"].values()
    for row in first.int().tolist():
        segment = train[row[DYE_SEGMENT] - 1]
        assert segment.start <= row[DYE_MIDDLE] <= segment.stop
    for other in others:
        assert (other[:3, DYE_MIDDLE] == first[:3, DYE_MIDDLE]).all()


def test_a_repaired_batch_is_asked_twice_and_teaches_every_clip() -> None:
    batch = dyed(correspondence_batch="repair")
    grid = batch.grid
    answers = grid.loc[(grid["side"] == "source") & (grid["column"] == "corresponds"), "text"]
    assert answers.tolist() == ["yes"] * 6 + ["no"] * 6
    classes = grid.loc[(grid["side"] == "source") & (grid["column"] == "class"), "text"].tolist()
    assert classes[6:] == ["–"] * 6
    assert classes[:6] == [batch.classes[k] for k in batch.batch.source.labels]
    assert set(grid.loc[(grid["side"] == "target") & (grid["column"] == "class"), "text"]) == {"–"}


@pytest.mark.parametrize("batch", ["half", "repair"])
def test_the_term_is_that_of_the_questions(batch: str) -> None:
    made = dyed(correspondence_batch=batch)
    scores, answers = [], []
    for features in made.asked.values():
        numbers = torch.stack([dye[:, DYE_SEGMENT] for dye in features.values()])
        scores.append(made.method.pretext.head(features))  # type: ignore[operator]
        answers.append((numbers == numbers[0]).all(dim=0).repeat(len(scores[-1]) // numbers.shape[1]))
    expected = cross_entropy(torch.cat(scores), torch.cat(answers).long())
    torch.testing.assert_close(made.terms["correspondence"], expected)


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = dyed(correspondence_batch="half"), dyed(correspondence_batch="half")
    torch.testing.assert_close(torch.rand(2), expected)
    pd.testing.assert_frame_equal(first.grid, second.grid)


def test_what_a_batch_teaches() -> None:
    made = dyed(correspondence_batch="half")
    taught = clips_taught(made)
    assert taught.loc["source", "classification"].tolist() == [1, 1, 1, 0, 0, 0]
    assert taught.loc["target", "classification"].tolist() == [0] * 6
    assert taught["correspondence"].tolist() == [1] * 12
    alone = clips_taught(made, domains=("source",))
    assert alone["correspondence"].tolist() == [1] * 6 + [0] * 6


def test_batches_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="lower batch_size"):
        dye_batch(toy_data(), source="A", target="B", clips=10_000)
    with pytest.raises(UserError, match="unknown"):
        dyed(correspondence_bath="half")


@pytest.fixture
def toy_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(formats.FORMATS, "toy", TOY)
    return tmp_path / "runs"


def test_methods_side_by_side(toy_runs: Path) -> None:
    options = {"preset": "quick", "data": "toy", "source": "A", "target": "B", "overrides": TINY, "device": "cpu"}
    runs = run_methods(["source_only", "self_supervised_only"], toy_runs, **options)  # type: ignore[arg-type]
    assert list(runs.paths) == ["source_only", "self_supervised_only"]
    assert runs.summary.index.tolist() == ["Source-only", "Self-supervised only"]
    assert runs.summary["steps, stage one"].tolist() == [4, 4]
    rows = runs.results
    fused = rows[(rows["method"] == "source_only") & (rows["stream"] == "fused")]
    assert runs.top1("source_only") == fused["top1"].item()
    assert set(runs.table["pair"]) == {"A→B"}
    pd.testing.assert_frame_equal(runs.history("source_only"), load_history(runs.paths["source_only"]))
    again = run_methods(["source_only"], toy_runs, **options)  # type: ignore[arg-type]
    assert again.paths["source_only"] == runs.paths["source_only"]

    asked = ask_first_stage(runs.paths["self_supervised_only"], toy_runs)
    assert asked.index.tolist() == ["source", "target"]
    assert asked["right (%)"].between(0, 100).all()
    data = toy_data()
    assert asked["segments"].tolist() == [len(data.domains[k].test or data.domains[k].train) for k in "AB"]
    found = {m: find_first_stage(path, toy_runs) for m, path in runs.paths.items()}
    assert None not in found.values()
    assert found["source_only"] != found["self_supervised_only"]
    assert ask_first_stage(runs.paths["source_only"], toy_runs).empty, "it has no such task"
    for kept in found.values():
        kept.unlink()  # type: ignore[union-attr]
    assert find_first_stage(runs.paths["source_only"], toy_runs) is None
    assert ask_first_stage(runs.paths["self_supervised_only"], toy_runs).empty


# --- a head on features that do not move ---------------------------------------------------------------------------

ACTIONS = np.random.default_rng(0).normal(size=(32, 2))


def test_the_printed_equation_teaches_to_say_yes() -> None:
    both, printed = (figures.train_correspondence(ACTIONS, ACTIONS, printed=p) for p in (False, True))
    assert printed.yes.iloc[-1].tolist() == [100, 100]
    assert both.yes.iloc[-1]["pairs"] > 80
    assert both.yes.iloc[-1]["non-pairs"] < 20
    assert len(both.yes) == 201


def test_a_head_is_right_about_what_it_learnt_and_guesses_where_nothing_corresponds() -> None:
    head = figures.train_correspondence(ACTIONS, ACTIONS).head
    others, unrelated = (np.random.default_rng(seed).normal(size=(200, 2)) for seed in (1, 2))
    assert figures.correspondence_right(head, others, others) > 80
    assert abs(figures.correspondence_right(head, others, unrelated) - 50) < 8
    with pytest.raises(UserError, match="32 and 31 actions"):
        figures.train_correspondence(ACTIONS, ACTIONS[1:])


def test_yes_is_drawn_by_form_and_kind() -> None:
    trained = {form: figures.train_correspondence(ACTIONS, ACTIONS, steps=8) for form in ("both terms", "as printed")}
    lines = figures.draw_yes(trained, every=4).data
    assert [line.name for line in lines] == [f"{form}: {kind}" for form in trained for kind in ("pairs", "non-pairs")]
    assert [line.line.dash for line in lines] == ["solid", "dot"] * 2
    assert lines[0].line.color == lines[1].line.color != lines[2].line.color
    assert lines[1].x == (0, 4, 8)
    assert list(lines[1].y) == trained["both terms"].yes["non-pairs"][::4].round(4).tolist()
