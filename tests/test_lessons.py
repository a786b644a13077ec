"""Figures of the lessons: the laws of their data, and that what is drawn is those data and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mmsada_lab.analysis import style
from mmsada_lab.analysis.accuracies import draw_method_bars, method_bars
from mmsada_lab.analysis.lessons import kernels, loss_terms, prediction, two_classifiers
from mmsada_lab.analysis.lessons.correspondence_grid import correspondence_grid, draw_correspondence_grid
from mmsada_lab.analysis.lessons.feature_plane import draw_plane, plane_border, plane_disagreement, plane_points
from mmsada_lab.analysis.lessons.line_chart import draw_lines
from mmsada_lab.analysis.lessons.normalised_target import normalised_target
from mmsada_lab.errors import UserError

AXES = ("step", "loss (nats)")
CLOUDS = {"source": [[0.0, 0.0], [1.0, 2.0]], "target": [[3.0, -1.0]]}
MOVES = {"source": [[0.5, 0.0], [0.0, 0.0]], "target": [[-1.0, 1.0]]}


def titles(figure: go.Figure) -> set[str]:
    """Titles of all axes that have one."""
    axes = [*figure.select_xaxes(), *figure.select_yaxes()]
    return {axis.title.text for axis in axes if axis.title.text}


def named(figure: go.Figure, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def has_no_arrays(figure: go.Figure) -> bool:
    """Whether the figure's JSON is readable: an array of numbers would be written as base64."""
    return "bdata" not in figure.to_json()


# --- lines ---------------------------------------------------------------------------------------------------------


def test_lines_are_the_columns_in_their_order() -> None:
    lines = pd.DataFrame({"b": [1.0, 2.0], "a": [3.0, np.nan]}, index=[10, 20])
    figure = draw_lines(lines, axes=AXES, colours={"a": style.TARGET}, dashes={"b": "dot"}, title="t")
    assert [trace.name for trace in figure.data] == ["b", "a"]
    assert list(named(figure, "a").x) == [10, 20]
    assert list(named(figure, "a").y) == [3.0, None], "a missing number is a gap"
    assert named(figure, "a").line.color == style.TARGET
    assert named(figure, "b").line.dash == "dot"
    assert titles(figure) == set(AXES)
    assert has_no_arrays(figure)


def test_lines_without_a_colour_take_different_ones_and_never_a_domains() -> None:
    figure = draw_lines(pd.DataFrame({k: [0.0] for k in "abcdef"}), axes=AXES, title="")
    colours = [trace.line.color for trace in figure.data]
    assert len(set(colours)) == 6
    assert not set(colours) & set(style.DOMAIN_COLOURS.values())


def test_a_level_is_drawn_across_with_its_text() -> None:
    figure = draw_lines(pd.DataFrame({"a": [0.0]}), axes=AXES, levels={"chance": 50.0}, title="")
    assert [(shape.y0, shape.y1) for shape in figure.layout.shapes] == [(50, 50)]
    assert [annotation.text for annotation in figure.layout.annotations] == ["chance"]


@pytest.mark.parametrize("lines", [pd.DataFrame(), pd.DataFrame({"a": [np.inf]})], ids=["none", "infinite"])
def test_lines_that_cannot_be_drawn_are_refused(lines: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        draw_lines(lines, axes=AXES, title="")


# --- methods -----------------------------------------------------------------------------------------------------


def runs(*, seeds: int = 1, world: int = 0, pairs: tuple[tuple[str, str], ...] = (("D1", "D3"),)) -> pd.DataFrame:
    """What `load_runs` gives, as far as the bars look at it; the upper bound first, out of order."""
    rows = [
        {
            "method": method,
            "source": s,
            "target": t,
            "world": world,
            "seed": seed,
            "stream": stream,
            "top1": 50.0 + seed + 10 * world,
            "mean_class": 9,
        }
        for s, t in pairs
        for method in ("supervised_target", "source_only")
        for seed in range(seeds)
        for stream in ("fused", "skeleton")
    ]
    found = pd.DataFrame(rows)
    return found.assign(source=found["source"].where(found["method"] != "supervised_target", found["target"]))


def test_method_bars_are_means_over_seeds_in_the_order_of_methods() -> None:
    bars = method_bars(runs(seeds=3))
    assert list(bars["method"]) == ["Source-only"] * 2 + ["Supervised target"] * 2
    assert list(bars["stream"]) == ["fused", "skeleton"] * 2
    assert set(bars["mean"]) == {51.0}
    assert set(bars["sd"]) == {1.0}
    assert set(bars["seeds"]) == {3}
    assert set(method_bars(runs(), measure="mean_class")["mean"]) == {9.0}


def test_method_bars_say_whether_there_is_a_spread() -> None:
    one, three = (draw_method_bars(method_bars(runs(seeds=k))) for k in (1, 3))
    assert titles(one) == {"method (one seed, no spread)", "accuracy (%)"}
    assert titles(three) == {"method (± sd over 3 seeds)", "accuracy (%)"}
    assert not named(one, "fused").error_y.visible
    assert list(named(three, "fused").error_y.array) == [1.0, 1.0]
    assert named(one, "fused").marker.color == style.STREAM_COLOURS["fused"]
    assert has_no_arrays(three)


def test_method_bars_of_several_worlds_have_the_spread_of_these() -> None:
    """With the same seeds in each: 51 and 61."""
    bars = method_bars(pd.concat([runs(seeds=3), runs(seeds=3, world=1)]))
    assert set(bars["mean"]) == {56.0}
    assert set(bars["sd"]) == {np.std([51, 61], ddof=1)}
    assert titles(draw_method_bars(bars)) == {"method (± sd over 2 worlds)", "accuracy (%)"}


def test_method_bars_are_of_one_pair() -> None:
    with pytest.raises(UserError, match="2 pairs"):
        method_bars(runs(pairs=(("D1", "D3"), ("D2", "D3"))))
    with pytest.raises(UserError, match="Did you mean 'top1'"):
        method_bars(runs(), measure="top")


# --- planes --------------------------------------------------------------------------------------------------------


def test_plane_points_are_rows_in_order_with_their_steps() -> None:
    points = plane_points(CLOUDS, moves=MOVES, labels={"source": [0, 1], "target": [1]}, panel="p")
    assert list(points.columns) == ["panel", "side", "label", "x", "y", "dx", "dy"]
    assert points.to_numpy().tolist() == [
        ["p", "source", 0, 0.0, 0.0, 0.5, 0.0],
        ["p", "source", 1, 1.0, 2.0, 0.0, 0.0],
        ["p", "target", 1, 3.0, -1.0, -1.0, 1.0],
    ]


def test_points_rest_without_moves() -> None:
    assert not plane_points(CLOUDS)[["dx", "dy"]].to_numpy().any()
    assert len(draw_plane(plane_points(CLOUDS)).data) == 2, "no arrow, no trace of arrows"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({}, "no point"),
        ({"source": np.zeros((0, 2))}, "no point"),
        ({"sink": [[0.0, 0.0]]}, "source or target"),
        ({"source": [[0.0, np.nan]]}, "not all finite"),
        ({"source": [[0.0, 0.0, 0.0]]}, r"shape \(1, 3\)"),
    ],
)
def test_points_that_cannot_be_drawn_are_refused(points: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plane_points(points)


def test_an_arrow_goes_from_its_point_to_where_the_step_leads() -> None:
    figure = draw_plane(plane_points(CLOUDS, moves=MOVES))
    arrows = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [list(trace.x) for trace in arrows] == [[0.0, 0.5, None], [3.0, 2.0, None]], "a point at rest has none"
    assert [trace.line.color for trace in arrows] == [style.SOURCE, style.TARGET]
    assert list(arrows[0].marker.size) == [0, 8, 0], "one head, at the end"
    assert has_no_arrays(figure)


def test_panels_stand_side_by_side_on_the_same_axes_with_one_legend() -> None:
    points = pd.concat([plane_points(CLOUDS, panel=p) for p in ("before", "after")])
    figure = draw_plane(points)
    assert [a.text for a in figure.layout.annotations] == ["before", "after"]
    assert len({axis.range for axis in figure.select_xaxes()}) == 1
    assert [t.name for t in figure.data if t.showlegend] == ["source", "target"]
    assert titles(figure) == {"feature 1 (no unit)", "feature 2 (no unit)"}


@pytest.mark.parametrize(("weights", "offset"), [([1.0, 0.0], -2.0), ([0.3, -4.0], 1.0), ([0.0, 5.0], 0.0)])
def test_the_score_is_zero_on_a_border(weights: list[float], offset: float) -> None:
    border = plane_border(weights, offset, name="D").iloc[0]
    for x, y in ((border.x0, border.y0), (border.x1, border.y1)):
        assert weights[0] * x + weights[1] * y + offset == pytest.approx(0, abs=0.01)
    assert np.hypot(border.x1 - border.x0, border.y1 - border.y0) == pytest.approx(200, abs=0.01)


def test_weights_of_zero_have_no_border() -> None:
    with pytest.raises(UserError, match="no border"):
        plane_border([0.0, 0.0], 1.0, name="D")
    with pytest.raises(UserError, match="not all finite"):
        plane_border([np.inf, 0.0], 1.0, name="D")


ONE, OTHER = ([[0.0, 0.0], [3.0, 0.0]], [0.0, 0.0]), ([[0.0, 0.0], [0.0, 3.0]], [0.0, 0.0])


def test_a_classifier_agrees_with_itself_and_disagreement_takes_no_side() -> None:
    points = plane_points(CLOUDS)
    assert not plane_disagreement(ONE, ONE, points=points)["value"].any()
    first, second = (plane_disagreement(*pair, points=points) for pair in ((ONE, OTHER), (OTHER, ONE)))
    pd.testing.assert_frame_equal(first, second)
    assert first["value"].between(0, 1).all()
    assert len(first) == 1600


def test_disagreement_is_the_loss_of_mcd() -> None:
    torch = pytest.importorskip("torch")
    from mmsada_lab.losses import classifier_discrepancy

    cell = plane_disagreement(ONE, OTHER, points=plane_points(CLOUDS)).iloc[700]
    logits = [torch.tensor([cell.x, cell.y]) @ torch.tensor(w).double().T + torch.tensor(b) for w, b in (ONE, OTHER)]
    assert float(classifier_discrepancy(*(one[None] for one in logits))) == pytest.approx(cell.value, abs=2e-3)


def test_disagreement_lies_below_points_and_borders() -> None:
    points = plane_points(CLOUDS)
    shown = {"disagreement": plane_disagreement(ONE, OTHER, points=points, cells=5)}
    figure = draw_plane(points, borders=plane_border([1, 0], 0, name="first"), **shown)
    assert [trace.type for trace in figure.data] == ["heatmap", "scatter", "scatter", "scatter"]
    assert np.shape(figure.data[0].z) == (5, 5)
    assert figure.data[-1].name == "first"


def test_a_border_of_a_later_panel_is_in_the_legend_and_has_a_dash_of_its_own() -> None:
    points = pd.concat([plane_points(CLOUDS, panel=p) for p in ("before", "after")])
    places = [("D", "before"), ("C", "after"), ("D", "after")]
    borders = pd.concat([plane_border([1, k], 0, name=name, panel=p) for k, (name, p) in enumerate(places)])
    lines = [trace for trace in draw_plane(points, borders=borders).data if trace.mode == "lines"]
    assert [(t.name, t.line.dash, t.showlegend) for t in lines] == [
        ("D", "solid", True),
        ("C", "dash", True),
        ("D", "solid", False),
    ]


# --- correspondence ------------------------------------------------------------------------------------------------

PAIRS = {"rgb": [1, 2, 3], "flow": [1, 3, 2]}


def grid(**options: Any) -> pd.DataFrame:
    return correspondence_grid(PAIRS, **{"side": "source", "labels": ["take", None, None], **options})


def test_a_grid_says_what_corresponds_and_what_teaches() -> None:
    table = grid().pivot(index="clip", columns="column", values="text")
    assert table["corresponds"].tolist() == ["yes", "no", "no"]
    assert table["class"].tolist() == ["take", "–", "–"]
    assert table["flow"].tolist() == ["1", "3", "2"]
    filled = grid().pivot(index="clip", columns="column", values="filled")
    assert filled["rgb"].tolist() == ["own"] * 3
    assert filled["flow"].tolist() == ["own", "other", "other"]
    assert list(grid()["column"].unique()) == ["rgb", "flow", "corresponds", "class"]


def test_a_grid_shows_middles_and_takes_any_number_of_modalities() -> None:
    three = correspondence_grid(
        {"acc": ["a"], "gyro": ["a"], "audio": ["b"]},
        side="target",
        labels=[None],
        middles={"acc": [5], "gyro": [7], "audio": [9]},
    )
    assert three["text"].tolist() == ["a @ 5", "a @ 7", "b @ 9", "no", "–"]


def test_a_grid_needs_one_entry_a_clip() -> None:
    with pytest.raises(UserError, match=r"columns of \[2, 3\] clips"):
        grid(labels=[None, None])
    with pytest.raises(UserError, match=r"columns of \[0\] clips"):
        correspondence_grid({"rgb": []}, side="source", labels=[])


def test_a_grid_is_drawn_a_row_a_clip_in_the_colours_of_the_domains() -> None:
    figure = draw_correspondence_grid(pd.concat([grid(), grid(side="target", labels=[None] * 3)]))
    assert [a.text for a in figure.layout.annotations] == ["source", "target"]
    source, target = figure.data
    assert list(source.y) == ["1", "2", "3"]
    assert list(source.z[1]) == [2, 1, 1, 0]
    assert source.colorscale[2][1] == style.translucent(style.SOURCE, 0.35)
    assert target.colorscale[2][1] == style.translucent(style.TARGET, 0.35)
    assert has_no_arrays(figure)


# --- kernels -------------------------------------------------------------------------------------------------------


def test_kernels_fall_from_one_to_nothing_and_pull_most_at_their_width() -> None:
    curves = kernels.kernel_curves([4.0, 100.0], distances=np.geomspace(0.01, 1000, 601).tolist())
    for g, one in curves.groupby("bandwidth"):
        assert one["value"].is_monotonic_decreasing
        assert one["value"].iloc[0] == pytest.approx(1, abs=1e-3)
        assert one["value"].iloc[-1] == 0
        assert one["pull"].max() == pytest.approx(2 / np.e, abs=1e-3)
        assert one.loc[one["pull"].idxmax(), "distance"] == pytest.approx(float(g) ** 0.5, rel=0.05)
    assert len(curves) == 2 * 601


@pytest.mark.parametrize(
    ("bandwidths", "distances"), [([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [np.nan]), ([np.inf], [1.0])]
)
def test_kernels_want_numbers_above_zero(bandwidths: list[float], distances: list[float]) -> None:
    with pytest.raises(UserError, match="a number above 0"):
        kernels.kernel_curves(bandwidths, distances=distances)


def features() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "f_acc": np.concatenate([np.zeros((20, 3)), np.full((30, 3), 2.0)]),
        "f_gyro": rng.normal(size=(50, 4)),
        "side": np.array(["source"] * 20 + ["target"] * 30),
    }


def test_observed_distances_are_between_the_domains() -> None:
    found = kernels.observed_distances(features())
    assert list(found["modality"]) == ["acc", "gyro"]
    assert set(found.iloc[0, 1:]) == {round(12**0.5, 3)}
    assert (found[["low", "q25", "median", "q75", "high"]].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)


def test_observed_distances_of_a_diverged_run_are_refused() -> None:
    broken = features()
    broken["f_acc"][0] = np.nan
    with pytest.raises(UserError, match="acc give no finite distance"):
        kernels.observed_distances(broken)


def test_kernels_are_drawn_with_their_pull_and_the_distances_below() -> None:
    curves = kernels.kernel_curves([1.0, 9.0], distances=[0.1, 1.0, 10.0])
    alone = kernels.draw_kernels(curves)
    both = kernels.draw_kernels(curves, observed=kernels.observed_distances(features()))
    assert [trace.name for trace in alone.data] == ["g = 1", "g = 1", "g = 9", "g = 9"]
    assert len({trace.line.color for trace in alone.data}) == 2
    assert [trace.type for trace in both.data[4:]] == ["box", "box"]
    assert titles(alone) == {"kernel", "pull (per log distance)", "distance of two features (their unit, log scale)"}
    assert all(axis.type == "log" for axis in both.select_xaxes())
    assert has_no_arrays(both)


def test_many_kernels_share_a_colour_bar_and_say_their_width_when_hovered() -> None:
    curves = kernels.kernel_curves(np.geomspace(0.04, 1800, 12).tolist(), distances=[0.1, 1.0, 10.0])
    figure = kernels.draw_kernels(curves, observed=kernels.observed_distances(features()))
    assert not any(trace.showlegend for trace in figure.data if trace.type == "scatter")
    assert not any(trace.showlegend for trace in figure.data if trace.type == "box"), "their axis names them"
    scatters = [trace for trace in figure.data if trace.type == "scatter"]
    (bar,) = [trace.marker for trace in scatters if trace.marker.colorbar.title.text == "g"]
    assert list(bar.colorbar.ticktext) == ["0.04", "14", "1800"]
    assert (bar.cmin, bar.cmax) == (pytest.approx(np.log10(0.04), abs=1e-3), pytest.approx(np.log10(1800), abs=1e-3))
    assert figure.data[0].hovertemplate.startswith("g = 0.04<br>distance of two features %{x")
    assert len({trace.line.color for trace in figure.data[:24]}) == 12


# --- loss terms ----------------------------------------------------------------------------------------------------


def test_shares_of_a_loss_by_hand() -> None:
    weights = {"pretrain": {"classification": 1.0}, "adapt": {"classification": 0.2, "mmd": 2.0}}
    shares = loss_terms.loss_shares({"classification": 2.0, "mmd": 0.3}, weights)
    assert shares[["stage", "term", "loss"]].to_numpy().tolist() == [
        ["pretrain", "classification", 2.0],
        ["pretrain", "mmd", 0.0],
        ["adapt", "classification", 0.4],
        ["adapt", "mmd", 0.6],
    ]
    assert shares["share"].tolist() == pytest.approx([100, 0, 40, 60])
    figure = loss_terms.draw_loss_shares(shares)
    assert [(bar.name, bar.marker.color) for bar in figure.data] == [
        (term, style.TERM_COLOURS[term]) for term in ("classification", "mmd")
    ]
    assert list(named(figure, "mmd").x) == [0.0, 0.6]
    with pytest.raises(UserError, match="one stage and one term"):
        loss_terms.loss_shares({}, weights)


def test_coefficients_are_lines_with_a_boundary() -> None:
    lines = pd.DataFrame({"correspondence": [5.0, 5.0], "adversarial": [0.0, 1.0]}, index=[0, 90])
    figure = loss_terms.draw_coefficients(lines, boundary=30)
    assert list(named(figure, "adversarial").y) == [0.0, 1.0]
    assert named(figure, "adversarial").line.color == style.TERM_COLOURS["adversarial"]
    assert named(figure, "adversarial").line.dash != named(figure, "correspondence").line.dash
    assert [shape.x0 for shape in figure.layout.shapes] == [30]
    assert has_no_arrays(figure)


def test_a_term_reaches_what_it_depends_on_and_nothing_where_its_gradient_is_zero() -> None:
    torch = pytest.importorskip("torch")
    first, second, third = (torch.nn.Linear(2, 1) for _ in range(3))
    x = torch.ones(1, 2)
    terms = {"both": (first(x) + second(x)).sum(), "none": 0.0 * first(x).sum()}
    modules = {"first": first, "second": second, "third": third}
    reach = loss_terms.term_reach(terms, modules)
    assert reach.to_numpy().tolist() == [[1, 1, 0], [0, 0, 0]]
    pd.testing.assert_frame_equal(reach, loss_terms.term_reach(terms, modules))  # the graph is kept
    figure = loss_terms.draw_term_reach(reach)
    assert list(figure.data[0].text[0]) == ["trains", "trains", "does not train"]
    assert (list(figure.data[0].x), list(figure.data[0].y)) == (["first", "second", "third"], ["both", "none"])


# --- batch statistics ----------------------------------------------------------------------------------------------


def test_only_its_own_statistics_bring_a_target_to_0_and_1() -> None:
    densities = normalised_target(mean=2.0, sd=0.5)
    x, step = densities.index.to_numpy(), densities.index[1] - densities.index[0]
    assert (densities.sum() * step).tolist() == pytest.approx([1.0] * 3, abs=0.01)
    means = [float((x * densities[name]).sum() * step) for name in densities]
    variances = [float(((x - m) ** 2 * densities[n]).sum() * step) for m, n in zip(means, densities, strict=True)]
    mixed = (1 + 0.25) / 2
    assert means == pytest.approx([2.0, (2 - 1) / mixed**0.5, 0.0], abs=0.02)
    assert variances == pytest.approx([0.25, 0.25 / mixed, 1.0], abs=0.02)
    with pytest.raises(UserError, match="above 0"):
        normalised_target(sd=0.0)


# --- two classifiers -----------------------------------------------------------------------------------------------


def test_the_game_of_mcd_has_its_three_phases() -> None:
    game = two_classifiers.discrepancy_game(angle=75)
    assert [game[step].step for step in (0, 20, 60, 120)] == [0, 20, 60, 120]
    assert [game[step].phase for step in (20, 21, 60, 61)] == [
        "learn the source",
        "disagree",
        "disagree",
        "features answer",
    ]
    assert (game[60].target == game[0].target).all(), "features rest until they answer"
    assert (game[61].target != game[0].target).any()
    assert game[60].agree < 10
    assert game[120].agree > 90
    assert min(game[120].right) > 90
    for state in (game[20], game[60], game[120]):  # both have learnt the source, and keep it
        for weights, biases in state.classifiers:
            answers = (state.source @ np.asarray(weights).T + biases).argmax(axis=1)
            assert (answers == state.labels).mean() > 0.9


def test_without_a_gap_everybody_is_right_and_far_turned_everybody_agrees_to_be_wrong() -> None:
    assert two_classifiers.discrepancy_game(angle=0, steps=20)[20].right == (100.0, 100.0)
    far = two_classifiers.discrepancy_game(angle=100)[-1]
    assert far.agree > 90
    assert max(far.right) < 10
    for options in ({"angle": float("nan")}, {"steps": -1}):
        with pytest.raises(UserError, match="finite angle"):
            two_classifiers.discrepancy_game(**options)  # type: ignore[arg-type]


def test_panels_of_the_game_have_short_titles_on_one_scale() -> None:
    game = two_classifiers.discrepancy_game(angle=75)
    figure = two_classifiers.draw_discrepancy([game[20], game[60], game[120]])
    lines = [line for a in figure.layout.annotations for line in a.text.split("<br>")]
    assert len(lines) == 6
    assert max(map(len, lines)) * figure.layout.annotations[0].font.size * 0.55 < 900 / 3 - 40, (
        "they fit beside one another"
    )
    assert sum(trace.type == "heatmap" for trace in figure.data) == 3
    assert len({axis.range for axis in figure.select_xaxes()}) == 1
    assert {trace.name for trace in figure.data if trace.showlegend} >= {"source", "target", "first classifier"}
    with pytest.raises(UserError, match="no moment"):
        two_classifiers.draw_discrepancy([])


# --- predictions ---------------------------------------------------------------------------------------------------

GAINS = pd.DataFrame({"fused": [6.0, 9.0, 14.0], "rgb": [4.0, 7.0, 15.0]}, index=["control", "adabn", "mmsada"])


def test_a_guess_stands_before_the_runs() -> None:
    bars = prediction.prediction_bars(GAINS, {"mmsada": 8, "control": 1.0})
    assert bars[bars["name"] == prediction.GUESS][["method", "points"]].to_numpy().tolist() == [
        ["control", 1.0],
        ["MM-SADA", 8.0],
    ], "methods without a guess are left out"
    figure = prediction.draw_prediction(bars)
    assert [bar.name for bar in figure.data] == [prediction.GUESS, "fused", "rgb"]
    assert list(named(figure, "rgb").y) == [4.0, 7.0, 15.0]
    assert named(figure, "rgb").marker.color == style.STREAM_COLOURS["rgb"]
    assert list(named(figure, "fused").text) == ["+6.0", "+9.0", "+14.0"]
    assert has_no_arrays(figure)


def test_the_axis_gives_nothing_away() -> None:
    bars = prediction.prediction_bars(GAINS, dict.fromkeys(GAINS.index, 0.0))
    hidden = bars[bars["name"] == prediction.GUESS]
    ranges = {prediction.draw_prediction(frame).layout.yaxis.range for frame in (bars, hidden)}
    assert len(ranges) == 1
    beyond = prediction.draw_prediction(bars.assign(points=bars["points"] * 10)).layout.yaxis.range
    assert beyond[1] > 150, "a bar beyond the axis moves it"


def test_a_guess_is_scored_by_hand() -> None:
    score = prediction.score_prediction(GAINS, {"control": 0.0, "adabn": 10.0, "mmsada": 9.0})
    assert score.error == pytest.approx((6 + 1 + 5) / 3)
    assert (score.guessed_best, score.best) == ("AdaBN", "MM-SADA")
    right = prediction.score_prediction(GAINS, {"mmsada": 14.0})
    assert str(right) == "your guess is off by 0.0 points on average; MM-SADA gained most, as you guessed"
    assert str(prediction.score_prediction(GAINS, {})) == "no guess; MM-SADA gained most"


@pytest.mark.parametrize(
    ("gains", "predicted", "message"),
    [
        (GAINS[:0], {}, "a row for each method"),
        (GAINS.assign(rgb=np.nan), {}, "not finite"),
        (GAINS, {"mcd": 1.0}, "a guess for mcd; there are runs of control, adabn, mmsada"),
    ],
)
def test_guesses_that_cannot_be_compared_are_refused(gains: pd.DataFrame, predicted: Any, message: str) -> None:
    for function in (prediction.prediction_bars, prediction.score_prediction):
        with pytest.raises(UserError, match=message):
            function(gains, predicted)
