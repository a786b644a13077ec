"""Confusions taken in hand: what can be chosen, and that what is drawn and said is of what was chosen."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.analysis import figures
from mmsada_lab.errors import UserError
from mmsada_lab.explorer import hands as every_hand
from mmsada_lab.explorer.hands import try_confusion
from mmsada_lab.presets import build_config


@pytest.fixture(scope="module")
def confused(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows as `load_runs` has them: three methods on A→B, two on B→A, one run without predictions."""
    root, rows = tmp_path_factory.mktemp("confused"), []
    labels, config = [0, 0, 0, 1], asdict(build_config("quick", source="D1", target="D3"))
    predicted = {"source_only": [0, 1, 1, 1], "adabn": [0, 0, 0, 0], "mmsada": [0, 0, 1, 1]}
    for method, source, target in [
        *((m, "A", "B") for m in predicted),
        ("source_only", "B", "A"),
        ("mmsada", "B", "A"),
    ]:
        path = root / f"{method}-{source}"
        path.mkdir()
        (path / "manifest.json").write_text(json.dumps({"config": config, "classes": ["take", "put"]}))
        seen = {"p_fused": predicted[method], "p_rgb": predicted["adabn"]}
        kept = {name: np.eye(2)[ks][None] for name, ks in seen.items()}
        np.savez(path / "predictions.npz", uid=[*"abcd"], label=labels, steps=[9], **kept)
        run = {"method": method, "source": source, "target": target, "path": str(path), "setting": method}
        rows += [{**run, "stream": stream} for stream in ("fused", "rgb")]
    lost = {"method": "mmd", "source": "A", "target": "B", "path": str(root), "setting": "mmd", "stream": "fused"}
    return pd.DataFrame([*rows, lost])


def test_only_runs_that_hold_predictions_can_be_chosen(confused: pd.DataFrame) -> None:
    hands = try_confusion(confused, method="mmd", pair="A→B")
    assert [value for _, value in hands.controls["method"].options] == ["mmsada"], "AdaBN has no run of B→A"
    assert hands.controls["method"].value == "mmsada"
    assert list(hands.controls["pair"].options) == ["A→B", "B→A"]
    assert list(hands.controls["stream"].options) == ["fused", "rgb"]
    alone = try_confusion(confused[confused["target"] == "B"])
    assert {value for _, value in alone.controls["method"].options} == {"adabn", "mmsada"}


def test_a_confusion_and_its_difference_are_those_of_what_is_chosen(confused: pd.DataFrame) -> None:
    hands = try_confusion(confused[confused["target"] == "B"])
    left, right = hands.shown.picture.data
    np.testing.assert_allclose(left.z, [[66.67, 33.33], [0, 100]])
    np.testing.assert_allclose(right.z, [[33.33, -33.33], [0, 0]])
    assert hands.shown.sentence == (
        "MM-SADA, fused, A→B: top-1 75.0 %, +25.0 points to Source-only; gains most: take (+33 points of 3 segments)"
    )
    hands.controls["method"].value = "adabn"
    np.testing.assert_allclose(hands.shown.picture.data[1].z, [[66.67, -66.67], [100, -100]])
    assert "loses most: put (-100 points of 1 segments)" in hands.shown.sentence
    hands.controls["stream"].value = "rgb"
    np.testing.assert_allclose(hands.shown.picture.data[1].z, np.zeros((2, 2)))
    assert "rgb, A→B" in hands.shown.picture.layout.title.text


def test_another_baseline(confused: pd.DataFrame) -> None:
    hands = try_confusion(confused[confused["target"] == "B"], method="source_only", baseline="adabn")
    np.testing.assert_allclose(hands.shown.picture.data[1].z, [[-66.67, 66.67], [-100, 100]])


def test_confusions_that_cannot_be_compared_are_refused(confused: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="no pair with predictions of mmd and of another"):
        try_confusion(confused, baseline="mmd")
    with pytest.raises(UserError, match="no pair with predictions of source_only"):
        try_confusion(confused[confused["method"] == "source_only"])
    twice = pd.concat([confused, confused.assign(setting="other")])
    with pytest.raises(UserError, match="runs of 2 settings"):
        try_confusion(twice)


def test_many_classes_are_told_by_colour_and_mouse_alone() -> None:
    names = [f"verb {k}" for k in range(12)]
    counts = pd.DataFrame([(a, b, float(a == b), 1, 100.0 * (a == b)) for a in names for b in names])
    counts.columns = ["true", "predicted", "count", "segments", "percent"]
    change = figures.confusion_difference(counts, counts)
    left, right = figures.draw_confusion_beside(counts, change).data
    assert left.text is None
    assert right.texttemplate is None
    assert "taken for" in left.hovertemplate


def test_a_hand_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'try_everything'"):
        every_hand.try_everything  # noqa: B018
