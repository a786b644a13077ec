"""The game on a plane, against equations written out in numpy; what its figures show; what a trained game came to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.analysis import figures, style
from mmsada_lab.analysis.lessons.plane_game import GameState
from mmsada_lab.errors import UserError

RNG = np.random.default_rng(0)
CLOUDS = {"source": RNG.normal(size=(7, 2)) - 1.0, "target": RNG.normal(size=(5, 2)) + 1.0}


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize("coefficient", [0.0, 0.2, 1.0])
def test_a_game_by_hand(coefficient: float) -> None:
    x, w = {side: cloud.copy() for side, cloud in CLOUDS.items()}, np.zeros(3)
    states = figures.play_game(CLOUDS, 20, coefficient=coefficient)
    for state in states:
        for side, cloud in x.items():
            np.testing.assert_allclose(state.points[side], cloud, atol=1e-10)
        np.testing.assert_allclose(state.weights[:3], w, atol=1e-10)
        wrong = {"source": sigmoid(x["source"] @ w[:2] + w[2]), "target": sigmoid(x["target"] @ w[:2] + w[2]) - 1}
        slope = sum(np.append(wrong[side] @ x[side], wrong[side].sum()) for side in x) / 12
        x = {side: x[side] + 8 * coefficient * wrong[side][:, None] * w[:2] / 12 for side in x}
        w = w - 2 * (slope + 0.1 * w)


def test_weights_that_no_score_uses_stay_and_clouds_are_not_written_to() -> None:
    before = {side: cloud.copy() for side, cloud in CLOUDS.items()}
    assert not figures.play_game(CLOUDS, 5)[-1].weights[3:].any()
    for side, cloud in CLOUDS.items():
        np.testing.assert_array_equal(cloud, before[side])


def test_states_are_not_written_to_later() -> None:
    first, second, *_ = figures.play_game(CLOUDS, 5)
    assert not first.weights.any()
    np.testing.assert_array_equal(first.points["source"], CLOUDS["source"])
    assert second.weights[:3].all()


def test_discriminators_apart_are_games_apart() -> None:
    """Losses are summed: with a discriminator for each feature, each is played as if the other were not there."""
    both = figures.play_game(CLOUDS, 10, scores=lambda x, w: [x[:, 0] * w[0] + w[2], x[:, 1] * w[1] + w[3]])
    alone = figures.play_game(CLOUDS, 10, scores=lambda x, w: [x[:, 0] * w[0] + w[2]])
    np.testing.assert_allclose(both[-1].points["source"][:, 0], alone[-1].points["source"][:, 0])
    assert not np.allclose(both[-1].points["source"][:, 1], alone[-1].points["source"][:, 1])


@pytest.mark.parametrize(
    ("clouds", "coefficient", "message"),
    [
        ({"target": [[0.0, 0.0]], "source": [[0.0, 0.0]]}, 1.0, "give source and target"),
        ({"source": [[0.0]], "target": [[0.0]]}, 1.0, r"\(1, 1\)"),
        ({"source": np.zeros((0, 2)), "target": [[0.0, 0.0]]}, 1.0, r"\(0, 2\)"),
        (CLOUDS, math.inf, "finite number"),
    ],
)
def test_games_that_cannot_be_played_are_refused(clouds: Any, coefficient: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        figures.play_game(clouds, 1, coefficient=coefficient)


def test_how_many_are_told_right() -> None:
    state = GameState(
        {"source": np.array([[0.0, 0], [2, 0]]), "target": np.array([[2.0, 9], [3, 0]])}, np.array([1.0, 0, -1])
    )
    assert figures.told_right(state) == 75
    right = figures.game_steps([state._replace(weights=np.zeros(6)), state])["right"]
    assert math.isnan(right[0]), "a discriminator that has learnt nothing says nothing"
    assert right[1] == 75


def test_stills_of_a_game() -> None:
    states = figures.play_game(CLOUDS, 6)
    figure = figures.draw_game_steps(states, at=[0, 6])
    assert [text.text for text in figure.layout.annotations] == [
        "step 0: not learnt",
        f"step 6: {figures.told_right(states[6]):.0f} %",
    ]
    assert sum(trace.name == "D's border" for trace in figure.data) == 1, "there is none at first"
    last = [trace for trace in figure.data if trace.name == "target"][-1]
    np.testing.assert_allclose(np.array([last.x, last.y]).T, states[6].points["target"], atol=1e-3)
    for steps in ([], [7], [-1]):
        with pytest.raises(UserError, match="0 to 6"):
            figures.draw_game_steps(states, at=steps)


def test_a_game_in_motion_moves_nothing_but_the_game() -> None:
    states = figures.play_game(CLOUDS, 6)
    frames = [figures.draw_played_game(states, step=step) for step in range(7)]
    assert len({tuple((t.name, t.type) for t in f.data[:4]) for f in frames}) == 1, "the same traces"
    assert len({(f.layout.xaxis.range, f.layout.yaxis.range, f.layout.yaxis2.range) for f in frames}) == 1
    (low, high), *_ = {frame.layout.xaxis.range for frame in frames}
    for step, frame in enumerate(frames):
        source, target, _, curve, here = frame.data
        np.testing.assert_allclose(source.x, states[step].points["source"][:, 0], atol=1e-3)
        assert low < min(*source.x, *target.x) < max(*source.x, *target.x) < high
        assert (source.marker.color, target.marker.color) == tuple(
            style.translucent(colour, 0.6) for colour in (style.SOURCE, style.TARGET)
        )
        assert (here.x, here.y) == ((step,), (curve.y[step],))
    with pytest.raises(UserError, match="0 to 6"):
        figures.draw_played_game(states, step=7)


def test_reversals_are_drawn_on_one_panel_each() -> None:
    figure = figures.draw_reversals(CLOUDS, [1.0, 0.5, 0.0], coefficients={"with": 1.0, "without": -1.0}, longer=10.0)
    arrows = [np.array([t.x, t.y], dtype=float).T.reshape(-1, 3, 2) for t in figure.data if t.mode == "lines+markers"]
    steps = [arrow[:, 1] - arrow[:, 0] for arrow in arrows]
    np.testing.assert_allclose(steps[0], -steps[2], atol=3e-3)
    into = figures.reversal_gradients(CLOUDS, weights=[1.0, 0.5], offset=0.0, coefficient=1.0)
    np.testing.assert_allclose(steps[0], -10 * into["source"], atol=3e-3)


def test_gaps_of_means_by_hand() -> None:
    states = [
        GameState({"source": np.array([[0.0, 0], [2, 0]]), "target": np.array([[4.0, -3]])}, np.zeros(6)),
        GameState({"source": np.array([[1.0, 0]]), "target": np.array([[0.0, 1]])}, np.zeros(6)),
    ]
    gaps = figures.mean_gaps({"a": states, "b": states[:1] * 2}, names=("rgb", "flow"))
    assert gaps["a: rgb"].tolist() == [3, 1]
    assert gaps["a: flow"].tolist() == [3, 1]
    assert gaps["b: flow"].tolist() == [3, 3]
    lines = figures.draw_mean_gaps(gaps, every=1).data
    assert [line.line.dash for line in lines] == ["solid", "dot"] * 2
    assert lines[0].line.color == lines[1].line.color != lines[2].line.color


def test_alike_classes_are_alike_and_counted() -> None:
    points, labels = figures.alike_classes({"source": (300, 100), "target": (100, 300)})
    assert [np.bincount(labels[side]).tolist() for side in points] == [[300, 100], [100, 300]]
    for side in points:
        for k, centre in enumerate((-1.5, 1.5)):
            of_class = points[side][labels[side] == k]
            np.testing.assert_allclose(of_class.mean(axis=0), [centre, 0], atol=0.15)
            np.testing.assert_allclose(of_class.std(axis=0), 0.5, atol=0.1)


def test_alignment_of_unlike_frequencies_costs_accuracy_and_of_like_ones_does_not() -> None:
    right = {}
    for many in (32, 20):
        points, labels = figures.alike_classes({"source": (many, 40 - many), "target": (40 - many, many)})
        start, *_, end = figures.play_game(points, 100)
        right[many] = figures.aligned_classes({"before": start, "after": end}, labels=labels).right
    assert right[20]["after"] > 95
    assert right[32]["before"] > 95
    assert right[32]["after"] < 60


def test_a_classifier_is_of_the_source_and_judged_on_the_target() -> None:
    state = GameState({"source": np.array([[0.0, 0], [4, 0]]), "target": np.array([[1.0, 0], [1.0, 5]])}, np.zeros(6))
    aligned = figures.aligned_classes({"now": state}, labels={"source": [0, 1], "target": [0, 1]})
    assert aligned.right == {"now": 50}
    assert set(aligned.points["panel"]) == set(aligned.borders["panel"]) == {"now: 50 % of the target right"}
    assert aligned.borders[["x0", "x1"]].to_numpy().tolist() == [[2.0, 2.0]]
    with pytest.raises(UserError, match="class 0 and class 1"):
        figures.halfway_border([[0.0, 0.0]], [0])


def curves(right: list[float], loss: list[float], name: str = "rgb") -> pd.DataFrame:
    both = [("accuracy", right), ("loss", loss)]
    return pd.concat(
        [pd.DataFrame({"quantity": q, "name": name, "total_step": range(1, 1 + len(v)), "smooth": v}) for q, v in both]
    )


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        ([50.0, 59.0, 50.0], "never learnt to tell the domains apart"),
        ([50.0, 90.0, 85.0], "is still ahead of the features"),
        ([50.0, 90.0, 84.0], "was answered by the features"),
        ([50.0, 60.0, 60.0], "is still ahead of the features"),
    ],
)
def test_how_a_game_ended(right: list[float], verdict: str) -> None:
    course = figures.game_course(curves(right, [0.7, 0.5, 0.6]))
    assert course.iloc[0].tolist() == ["rgb", 50.0, right[1], 2, right[2], 0.7, 0.6, verdict]
    assert figures.write_course(course).endswith(f": it {verdict}.")


def test_a_self_supervised_head_is_no_discriminator() -> None:
    """C has an accuracy and no loss of its own among the game's records."""
    of_c = curves([60.0], [], name="correspondence")
    course = figures.game_course(pd.concat([curves([50.0], [0.7]), of_c, curves([70.0], [0.6], name="flow")]))
    assert course["name"].tolist() == ["rgb", "flow"]
    assert figures.write_course(course).count("D of") == 2
    assert figures.game_course(of_c).empty
