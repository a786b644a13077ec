"""Figures: their data, with one run, several, none and broken ones; and that drawing is pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mmsada_lab.analysis import embedding, figures, style
from mmsada_lab.analysis.confusion import SPARE_OUTPUT
from mmsada_lab.analysis.tables import stack_runs
from mmsada_lab.errors import UserError

CLASSES = ("take", "put", "open")
STREAMS = {
    "one": ("fused", "rgb"),
    "two": ("fused", "rgb", "flow"),
    "three": ("fused", "rgb", "flow", "audio"),
    "unheard of": ("fused", "rgb", "skeleton", "inertial"),
}


def history(
    *, streams: tuple[str, ...] = STREAMS["two"], seed: int = 0, pretrain: int = 4, adapt: int = 8
) -> pd.DataFrame:
    """What `load_history` gives for a run of two stages, evaluated at every second step."""
    rng = np.random.default_rng(seed)
    rows = []
    terms = {"pretrain": ("classification", "correspondence"), "adapt": ("classification", "adversarial")}
    for total in range(1, pretrain + adapt + 1):
        stage = "pretrain" if total <= pretrain else "adapt"
        shared = {"stage": stage, "step": total - pretrain * (stage == "adapt"), "total_step": total}
        rows += [{"kind": "train", **shared, "name": name, "value": rng.random()} for name in terms[stage]]
        if total % 2 == 0:
            names = [f"{stream}/{measure}" for stream in streams for measure in ("top1", "mean_class")]
            rows += [{"kind": "evaluation", **shared, "name": name, "value": 100 * rng.random()} for name in names]
    return pd.DataFrame(rows)


def predictions(
    predicted: Mapping[int, list[int]], labels: list[int], *, streams: tuple[str, ...] = ("fused",), outputs: int = 3
) -> pd.DataFrame:
    """What `load_predictions` gives for these predicted classes by step, the same for every stream."""
    rows = []
    for stream in streams:
        for step, classes in predicted.items():
            for number, (one, label) in enumerate(zip(classes, labels, strict=True)):
                chances = {f"p{k}": float(k == one) for k in range(outputs)}
                head = {"uid": f"s{number}", "label": label, "predicted": one}
                rows.append({**head, **chances, "step": step, "stream": stream})
    return pd.DataFrame(rows)


def features(*, sizes: tuple[int, int] = (12, 9)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = sum(sizes)
    arrays = {f"f_{m}": rng.normal(size=(count, 5)).astype(np.float32) for m in ("rgb", "flow")}
    sides = np.array(["source"] * sizes[0] + ["target"] * sizes[1])
    return {**arrays, "side": sides, "label": np.zeros(count, int), "uid": np.array([f"u{k}" for k in range(count)])}


THREE_RUNS = stack_runs({f"seed{k}": history(seed=k) for k in range(3)})


# --- training curves -----------------------------------------------------------------------------------------------


def test_training_curves_of_one_run_are_its_records() -> None:
    one = history()
    curves = figures.training_curves(one)
    records = one[one["kind"] == "train"]
    assert list(curves["mean"]) == list(records["value"])
    assert list(curves["total_step"]) == list(records["total_step"])
    assert curves["sd"].isna().all()
    assert set(curves["runs"]) == {1}


def test_training_curves_of_runs_are_mean_and_sd() -> None:
    curves = figures.training_curves(THREE_RUNS)
    at = (THREE_RUNS["total_step"] == 6) & (THREE_RUNS["name"] == "adversarial")
    row = curves[(curves["total_step"] == 6) & (curves["name"] == "adversarial")].iloc[0]
    assert row["mean"] == pytest.approx(THREE_RUNS.loc[at, "value"].mean())
    assert row["sd"] == pytest.approx(THREE_RUNS.loc[at, "value"].std(ddof=1))
    assert row["runs"] == 3


def test_smoothing_is_a_centred_mean_that_stops_at_the_stage_boundary() -> None:
    curves = figures.training_curves(history(), window=3)
    one = curves[curves["name"] == "classification"].set_index("total_step")
    assert one.loc[2, "smooth"] == pytest.approx(one.loc[1:3, "mean"].mean())
    assert one.loc[4, "smooth"] == pytest.approx(one.loc[3:4, "mean"].mean())
    assert one.loc[5, "smooth"] == pytest.approx(one.loc[5:6, "mean"].mean())


def test_smoothing_over_one_record_changes_nothing() -> None:
    curves = figures.training_curves(history(), window=1)
    assert list(curves["smooth"]) == list(curves["mean"])


def test_the_boundary_is_drawn_after_the_last_step_of_stage_one() -> None:
    figure = figures.draw_training_curves(figures.training_curves(history(pretrain=4)))
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(4, 4)]
    assert figure.layout.annotations[0].text == "pretrain | adapt"


def test_without_a_first_stage_there_is_no_boundary() -> None:
    figure = figures.draw_training_curves(figures.training_curves(history(pretrain=0)))
    assert not figure.layout.shapes


def test_a_term_of_both_stages_is_one_entry_of_the_legend() -> None:
    figure = figures.draw_training_curves(figures.training_curves(history()))
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert sorted(shown) == ["adversarial", "classification", "correspondence"]


# --- accuracy curves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
def test_accuracy_curves_have_every_stream(streams: tuple[str, ...]) -> None:
    curves = figures.accuracy_curves(history(streams=streams))
    assert tuple(curves["name"].unique()) == streams
    assert curves["mean"].between(0, 100).all()
    figure = figures.draw_accuracy_curves(curves)
    assert tuple(trace.name for trace in figure.data) == streams
    assert len({trace.line.color for trace in figure.data}) == len(streams)


def test_accuracy_curves_take_one_measure() -> None:
    one = history(streams=("fused",))
    wanted = one.loc[one["name"] == "fused/mean_class", "value"]
    assert list(figures.accuracy_curves(one, measure="mean_class")["mean"]) == list(wanted)


@pytest.mark.parametrize(("averaged", "steps"), [(0, []), (1, [12]), (2, [10, 12]), (99, [6, 8, 10, 12])])
def test_the_averaged_evaluations_are_the_last_of_the_last_stage(averaged: int, steps: list[int]) -> None:
    curves = figures.accuracy_curves(history(), averaged=averaged)
    assert sorted(curves.loc[curves["averaged"], "total_step"].unique()) == steps
    areas = [s for s in figures.draw_accuracy_curves(curves).layout.shapes if s.type == "rect"]
    assert [(area.x0, area.x1) for area in areas] == ([(steps[0], steps[-1])] if steps else [])


@pytest.mark.parametrize("runs", [1, 3])
def test_a_band_stands_for_several_runs_only(runs: int) -> None:
    frame = history() if runs == 1 else THREE_RUNS
    for figure in (
        figures.draw_training_curves(figures.training_curves(frame)),
        figures.draw_accuracy_curves(figures.accuracy_curves(frame)),
    ):
        bands = [trace for trace in figure.data if trace.fill == "toself"]
        assert bool(bands) == (runs > 1)


def test_a_band_is_one_sd_on_either_side() -> None:
    curves = figures.accuracy_curves(THREE_RUNS)
    one = curves[curves["name"] == "fused"]
    band = next(trace for trace in figures.draw_accuracy_curves(curves).data if trace.fill == "toself")
    assert list(band.y[: len(one)]) == pytest.approx(list(one["mean"] + one["sd"]))
    assert list(band.y[len(one) :][::-1]) == pytest.approx(list(one["mean"] - one["sd"]))


# --- what cannot be drawn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curves", [figures.training_curves, figures.accuracy_curves])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(curves: Callable[..., pd.DataFrame], value: float) -> None:
    broken = history()
    broken.loc[broken["total_step"] == 2, "value"] = value
    with pytest.raises(UserError, match="at step 2"):
        curves(broken)


@pytest.mark.parametrize("curves", [figures.training_curves, figures.accuracy_curves])
@pytest.mark.parametrize("frame", [pd.DataFrame(), history()[:0]], ids=["no columns", "no rows"])
def test_an_empty_history_is_refused(curves: Callable[..., pd.DataFrame], frame: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="holds no"):
        curves(frame)


@pytest.mark.parametrize("curves", [figures.training_curves, figures.accuracy_curves])
def test_runs_of_different_lengths_are_refused(curves: Callable[..., pd.DataFrame]) -> None:
    mixed = stack_runs({"short": history(adapt=4), "long": history(adapt=8)})
    with pytest.raises(UserError, match="different steps"):
        curves(mixed)


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="at least one"):
        stack_runs({})


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'top1'"):
        figures.accuracy_curves(history(), measure="top5")


@pytest.mark.parametrize("draw", [figures.stream_accuracies, lambda p: figures.confusion_counts(p, classes=CLASSES)])
def test_broken_predictions_are_refused(draw: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    one = predictions({10: [0, 1]}, [0, 1])
    with pytest.raises(UserError, match="no prediction"):
        draw(one[:0])
    with pytest.raises(UserError, match="not finite"):
        draw(one.assign(p1=[np.nan, 0.0]))


# --- accuracy per stream -------------------------------------------------------------------------------------------


def test_accuracies_by_hand() -> None:
    table = figures.stream_accuracies(predictions({10: [0, 0, 0, 1], 12: [0, 0, 0, 0]}, [0, 0, 0, 1]))
    found = table.set_index("measure")
    assert found.loc["top1", "mean"] == pytest.approx((100 + 75) / 2)
    assert found.loc["mean_class", "mean"] == pytest.approx((100 + 50) / 2)
    assert found.loc["top1", "sd"] == pytest.approx(np.std([100, 75], ddof=1))
    assert set(table["spread"]) == {"± sd over the last 2 evaluations of one run"}


def test_over_runs_the_sd_is_that_of_their_means() -> None:
    right, wrong = predictions({10: [0, 1], 12: [0, 1]}, [0, 1]), predictions({10: [0, 1], 12: [0, 0]}, [0, 1])
    table = figures.stream_accuracies(stack_runs({"a": right, "b": wrong})).set_index("measure")
    assert table.loc["top1", "mean"] == pytest.approx((100 + 75) / 2)
    assert table.loc["top1", "sd"] == pytest.approx(np.std([100, 75], ddof=1))
    assert set(table["spread"]) == {"± sd over 2 runs"}


def test_one_evaluation_has_no_spread_and_no_error_bar() -> None:
    table = figures.stream_accuracies(predictions({10: [0, 1]}, [0, 1]))
    assert table["sd"].isna().all()
    figure = figures.draw_stream_accuracies(table)
    assert not figure.data[0].error_y.visible
    assert "no spread" in figure.layout.xaxis.title.text


def test_segments_without_a_label_are_neither_right_nor_wrong() -> None:
    labelled = predictions({10: [0, 1, 0], 12: [0, 1, 1]}, [0, 1, 1])
    others = predictions({10: [2, 0], 12: [1, 1]}, [-1, -1])
    expected, with_others = (figures.stream_accuracies(p) for p in (labelled, pd.concat([labelled, others])))
    pd.testing.assert_frame_equal(with_others, expected)
    counts, among_others = (
        figures.confusion_counts(p, classes=CLASSES) for p in (labelled, pd.concat([labelled, others]))
    )
    pd.testing.assert_frame_equal(among_others, counts)


def test_a_spare_output_needs_a_labelled_segment_for_its_column() -> None:
    spare = predictions({10: [0, 4]}, [0, -1], outputs=6)
    assert SPARE_OUTPUT not in set(figures.confusion_counts(spare, classes=CLASSES)["predicted"])


def test_without_any_label_there_is_no_accuracy_and_the_figures_say_so() -> None:
    unlabelled = predictions({10: [0, 2], 12: [1, 1]}, [-1, -1])
    figure = figures.draw_stream_accuracies(figures.stream_accuracies(unlabelled))
    assert figure.layout.xaxis.title.text == "measure (bars: no segment has a label)"
    assert figure.data[0].y == (None, None)
    assert figure.data[0].text == ("", "")
    counts = figures.confusion_counts(unlabelled, classes=CLASSES)
    assert (counts["count"] == 0).all()
    assert set(figures.draw_confusion(counts).data[1].x) == {0}


@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
def test_a_bar_per_stream(streams: tuple[str, ...]) -> None:
    table = figures.stream_accuracies(predictions({10: [0, 1], 12: [1, 1]}, [0, 1], streams=streams))
    figure = figures.draw_stream_accuracies(table)
    assert tuple(bar.name for bar in figure.data) == streams
    assert all(bar.error_y.visible for bar in figure.data)
    assert all(tuple(bar.x) == ("top-1", "mean class") for bar in figure.data)


# --- confusion -----------------------------------------------------------------------------------------------------


def test_confusion_counts_are_means_over_evaluations() -> None:
    counts = figures.confusion_counts(predictions({10: [0, 0, 1], 12: [0, 1, 1]}, [0, 0, 1]), classes=CLASSES)
    table = counts.pivot(index="true", columns="predicted", values="count")
    assert table.loc["take", "take"] == 1.5
    assert table.loc["take", "put"] == 0.5
    assert table.loc["put", "put"] == 1
    assert table.to_numpy().sum() == 3


def test_the_diagonal_is_the_reported_accuracy() -> None:
    rng = np.random.default_rng(0)
    labels = [0, 1, 2, *rng.integers(3, size=30)]
    runs = {str(k): predictions({s: list(rng.integers(3, size=33)) for s in (10, 12)}, labels) for k in range(3)}
    frame = stack_runs(runs)
    counts = figures.confusion_counts(frame, classes=CLASSES)
    diagonal = counts[counts["true"] == counts["predicted"]]
    found = figures.stream_accuracies(frame).set_index("measure")["mean"]
    assert 100 * diagonal["count"].sum() / 33 == pytest.approx(found["top1"])
    assert diagonal["percent"].mean() == pytest.approx(found["mean_class"])
    assert diagonal["segments"].sum() == 33


def test_a_class_without_segments_has_no_percentage() -> None:
    counts = figures.confusion_counts(predictions({10: [0, 2]}, [0, 1]), classes=CLASSES)
    empty = counts[counts["true"] == "open"]
    assert (empty["count"] == 0).all()
    assert empty["percent"].isna().all()
    heat = figures.draw_confusion(counts).data[0]
    assert set(heat.z[2]) == {None}
    assert set(heat.text[2]) == {""}


def test_spare_outputs_have_a_column_of_their_own() -> None:
    spare = predictions({10: [0, 4, 5]}, [0, 0, 1], outputs=6)
    counts = figures.confusion_counts(spare, classes=CLASSES)
    table = counts.pivot(index="true", columns="predicted", values="count")
    assert list(table[SPARE_OUTPUT][list(CLASSES)]) == [1, 1, 0]


def test_the_sizes_of_the_classes_stand_beside() -> None:
    counts = figures.confusion_counts(predictions({10: [0, 0, 1]}, [0, 0, 1]), classes=CLASSES)
    bars = figures.draw_confusion(counts).data[1]
    assert list(bars.x) == [2, 1, 0]
    assert list(bars.y) == list(CLASSES)


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(UserError, match="choose fused"):
        figures.confusion_counts(predictions({10: [0]}, [0]), classes=CLASSES, stream="fuse")


# --- feature space -------------------------------------------------------------------------------------------------


def test_embedding_is_one_fit_of_both_domains() -> None:
    points = embedding.joint_embedding(features(), "rgb")
    assert points["side"].value_counts().to_dict() == {"source": 12, "target": 9}
    assert np.isfinite(points[["x", "y"]]).all(axis=None)
    again = embedding.joint_embedding(features(), "rgb")
    pd.testing.assert_frame_equal(points, again)


def test_embedding_draws_at_most_so_many_of_each_domain() -> None:
    points = embedding.joint_embedding(features(), "flow", at_most=5)
    assert points["side"].value_counts().to_dict() == {"source": 5, "target": 5}
    assert points["uid"].is_unique


def test_embedding_shows_counts_and_domain_colours() -> None:
    frames = [embedding.joint_embedding(features(), modality) for modality in ("rgb", "flow")]
    figure = embedding.draw_embedding(pd.concat(frames))
    assert [trace.name for trace in figure.data[:2]] == ["source (12 segments)", "target (9 segments)"]
    assert [a.text for a in figure.layout.annotations] == ["rgb", "flow"]
    assert figure.data[0].marker.color == style.translucent(style.SOURCE, 0.7)


def test_features_that_cannot_be_embedded_are_refused() -> None:
    with pytest.raises(UserError, match="choose rgb, flow"):
        embedding.joint_embedding(features(), "audio")
    broken = features()
    broken["f_rgb"][0, 0] = np.nan
    with pytest.raises(UserError, match="not all finite"):
        embedding.joint_embedding(broken, "rgb")
    with pytest.raises(UserError, match="too few"):
        embedding.joint_embedding(features(sizes=(2, 1)), "rgb")


# --- drawing -------------------------------------------------------------------------------------------------------

FRAMES: dict[str, tuple[Callable[..., go.Figure], Callable[[], pd.DataFrame]]] = {
    "training": (figures.draw_training_curves, lambda: figures.training_curves(THREE_RUNS)),
    "accuracy": (figures.draw_accuracy_curves, lambda: figures.accuracy_curves(THREE_RUNS, averaged=2)),
    "streams": (figures.draw_stream_accuracies, lambda: figures.stream_accuracies(predictions({9: [0, 1]}, [0, 1]))),
    "confusion": (
        figures.draw_confusion,
        lambda: figures.confusion_counts(predictions({9: [0, 1]}, [0, 1]), classes=CLASSES),
    ),
    "embedding": (embedding.draw_embedding, lambda: embedding.joint_embedding(features(), "rgb")),
}


@pytest.mark.parametrize("name", FRAMES)
def test_drawing_is_pure_styled_and_labelled(name: str) -> None:
    draw, make = FRAMES[name]
    frame = make()
    before = frame.copy()
    figure = draw(frame, title="Title")
    pd.testing.assert_frame_equal(frame, before)
    assert figure.to_json() == draw(frame.copy(), title="Title").to_json()
    assert "bdata" not in figure.to_json(), "arrays are written as plain numbers"
    assert figure.layout.template == style.TEMPLATE
    assert figure.layout.title.text == "Title"
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text


@pytest.mark.parametrize(("colour", "rgba"), [("#0072B2", "rgba(0,114,178,0.5)"), ("#FFFFFF", "rgba(255,255,255,0.5)")])
def test_translucent(colour: str, rgba: str) -> None:
    assert style.translucent(colour, 0.5) == rgba


def test_source_is_blue_and_target_red() -> None:
    def channels(colour: str) -> tuple[Any, ...]:
        return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))

    assert max(range(3), key=channels(style.SOURCE).__getitem__) == 2
    assert max(range(3), key=channels(style.TARGET).__getitem__) == 0
