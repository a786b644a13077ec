"""Lessons taken in hand: the laws of what is computed, and that moving a control changes what is shown."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image
from toy import CLASSES, toy_data

from mmsada_lab.analysis import figures, style
from mmsada_lab.analysis.gap.measures import mmd
from mmsada_lab.clips import batches
from mmsada_lab.clips.segments import Domain, Segment
from mmsada_lab.clips.transforms import centre_crop, sample_crop
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.errors import UserError
from mmsada_lab.explorer import alignment, pairings, stream_logits, window_frames
from mmsada_lab.explorer.hands import (
    try_confusion,
    try_game,
    try_kernel,
    try_pairing,
    try_prediction,
    try_reversal,
    try_streams,
    try_sweep,
    try_window,
)
from mmsada_lab.lessons.paper_tables import paper_tables
from mmsada_lab.losses import mmd_loss
from mmsada_lab.paper import MMD_BANDWIDTHS

VIEW, FIGURE = "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"
KITCHEN = toy_data().domains["A"]
SEGMENT = Segment("A-train-0", "A_train", 11, 60, 0)
RULE = WindowRule(length=4, stride=2)
CLOUDS = {"source": [[-1.0, 0.5], [0.2, 0.0]], "target": [[1.0, 0.0], [0.5, -1.0]]}
BORDER = {"weights": [1.0, -0.5], "offset": 0.25}


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")


# --- windows and crops ---------------------------------------------------------------------------------------------


def test_frames_of_a_window_by_hand() -> None:
    halved = SimpleNamespace(kind="video", file_numbers=lambda frames: frames // 2)
    domain = Domain("D", {"rgb": SimpleNamespace(kind="video"), "flow": halved}, (), ())
    frames = window_frames.window_frames(domain, Segment("s", "v", 14, 17), rule=RULE, centre=16)
    assert frames["modality"].tolist() == ["rgb"] * 4 + ["flow"] * 4
    assert frames["clock"].tolist() == [12, 14, 16, 18] * 2
    assert frames["inside"].tolist() == [False, True, True, False] * 2
    assert frames["file"].isna().tolist() == [True] * 4 + [False] * 4
    assert frames["file"][4:].tolist() == [6, 7, 8, 9]
    assert frames["place"].tolist() == [1, 2, 3, 4] * 2


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"around frame 12 of A-train-0; its centre can be 15 to 57"):
        window_frames.window_frames(KITCHEN, SEGMENT, rule=RULE, centre=12)
    with pytest.raises(UserError, match="Did you mean 'flow'"):
        window_frames.window_frames(KITCHEN, SEGMENT, rule=RULE, centre=20, modalities=["flwo"])
    with pytest.raises(UserError, match="span their segment"):
        try_window(KITCHEN, SEGMENT, rule=WindowRule(whole=True))
    series = Domain("D", {"acc": SimpleNamespace(kind="series")}, (), ())
    with pytest.raises(UserError, match="acc is a series; give a domain with"):
        try_window(series, SEGMENT, rule=RULE)


@pytest.mark.parametrize("size", [(256, 456), (36, 64)])
def test_crops_lie_where_training_and_testing_put_them(size: tuple[int, int]) -> None:
    quarters = {(q, r): window_frames.quarter_crop(*size, down=q, right=r) for q, r in product(range(5), repeat=2)}
    assert quarters[2, 2] == centre_crop(*size)
    rng = np.random.default_rng(0)
    drawn = [sample_crop(*size, rng, offsets="tsn") for _ in range(400)]
    side = quarters[0, 0].height
    of_this_size = {(c.top, c.left) for c in drawn if (c.height, c.width) == (side, side)}
    assert len(of_this_size) == 13
    assert of_this_size <= {(c.top, c.left) for c in quarters.values()}
    with pytest.raises(UserError, match="0 to 4"):
        window_frames.quarter_crop(*size, right=5)


def test_a_veil_leaves_the_crop_as_it_is() -> None:
    frames = np.random.default_rng(0).integers(250, size=(2, 36, 64, 3), dtype=np.uint8)
    crop = window_frames.quarter_crop(36, 64, down=0, right=4)
    veiled = window_frames.veil_outside(frames, crop)
    inside = np.zeros(frames.shape[1:3], dtype=bool)
    inside[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width] = True
    assert (veiled[:, inside] == frames[:, inside]).all()
    assert (veiled[:, ~inside] > frames[:, ~inside]).all()


def test_a_window_moves_with_its_centre() -> None:
    hands = try_window(KITCHEN, SEGMENT, rule=RULE, modalities=["rgb", "flow"])
    before = hands.shown
    hands.controls["centre"].value = 20
    assert hands.shown.sentence == "segment of frames 11 to 60; the window reads 16 to 22, 0 of 4 outside it"
    assert hands.shown.picture.png != before.picture.png
    assert hands.children[-1].value == hands.shown.picture.png, "what is shown is what was drawn"


def test_a_crop_moves_the_veil() -> None:
    hands = try_window(KITCHEN, SEGMENT, rule=RULE, modalities=["depth"])
    places = []
    for right in (0, 2, 4):
        hands.controls["right"].value = right
        pixels = np.asarray(Image.open(io.BytesIO(hands.shown.picture.png)).convert("L")).astype(int)
        row = pixels[30:90].mean(axis=0)  # of the thumbnails, below their captions
        first = row[:120]  # 40 pixels wide, three times enlarged
        places.append(float(np.average(np.arange(120), weights=255 - first)))
    assert places == sorted(places), "dark is what the crop keeps"
    assert places[2] - places[0] > 15


def test_a_longer_stride_keeps_the_centre_within_its_bounds() -> None:
    hands = try_window(KITCHEN, SEGMENT, rule=RULE)
    centre = hands.controls["centre"]
    centre.value = 57
    hands.controls["stride"].value = 8
    assert (centre.min, centre.max) == (27, 45)
    assert centre.value == 45
    assert "reads 29 to 53" in hands.shown.sentence
    hands.controls["stride"].value = 1
    assert (centre.min, centre.max, centre.value) == (13, 59, 45)


def test_windows_longer_than_a_row_are_drawn_in_two() -> None:
    rule = WindowRule(length=12, stride=1)
    short, long = (try_window(KITCHEN, SEGMENT, rule=r, modalities=["rgb"]).shown.picture for r in (RULE, rule))
    assert long.size[1] > 1.9 * short.size[1]


def test_a_frame_that_cannot_be_read_is_told() -> None:
    def read(segment: Segment, frames: np.ndarray) -> np.ndarray:
        if 50 in frames:
            raise UserError("A-train-0: frame 50 is <damaged>")
        return np.zeros((len(frames), 24, 40, 3), dtype=np.uint8)

    reader = SimpleNamespace(kind="video", mirror_negates=(), read=read)
    hands = try_window(Domain("A", {"rgb": reader}, (), ()), SEGMENT, rule=RULE)
    hands.controls["centre"].value = 50
    assert "not shown:</b> A-train-0: frame 50 is &lt;damaged&gt;" in hands.children[-2].value
    hands.controls["centre"].value = 30
    assert "reads 26 to 32" in hands.children[-2].value


# --- the reversed gradient -----------------------------------------------------------------------------------------


def gradients(coefficient: float) -> dict[str, np.ndarray]:
    return figures.reversal_gradients(CLOUDS, **BORDER, coefficient=coefficient)


def test_gradients_by_hand() -> None:
    """Of a source point ``D w / N``, of a target point ``-(1 - D) w / N``, D the sigmoid of the score."""
    w = np.array(BORDER["weights"])
    for side, sign in (("source", 0.0), ("target", 1.0)):
        answer = 1 / (1 + np.exp(-(np.array(CLOUDS[side]) @ w + BORDER["offset"])))
        np.testing.assert_allclose(gradients(-1.0)[side], (answer - sign)[:, None] * w / 4)


@pytest.mark.parametrize("coefficient", [0.0, 0.2, 1.0, 2.0])
def test_a_coefficient_scales_what_arrives_at_the_features_alone(coefficient: float) -> None:
    plain, reversed_ = gradients(-1.0), gradients(coefficient)
    for side in CLOUDS:
        np.testing.assert_allclose(reversed_[side], -coefficient * plain[side], atol=1e-15)
    np.testing.assert_array_equal(reversed_["discriminator"], plain["discriminator"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clouds": {"source": [[0.0, 0.0]]}}, "clouds of source"),
        ({"clouds": {"source": [[0.0]], "target": [[0.0]]}}, r"\(1, 1\)"),
        ({"weights": [0.0, 0.0]}, "no border"),
        ({"clouds": {"source": np.zeros((0, 2)), "target": [[0.0, 0.0]]}}, r"\(0, 2\)"),
    ],
)
def test_clouds_that_cannot_be_drawn_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        try_reversal(**{"clouds": CLOUDS, **BORDER, **changes})
    with pytest.raises(UserError, match="finite number"):
        gradients(float("nan"))


def arrows(figure: go.Figure) -> dict[str, np.ndarray]:
    """Steps of all arrows by side, `(N, 2)`."""
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    ends = [np.array([trace.x, trace.y], dtype=float).T.reshape(-1, 3, 2) for trace in lines]
    return {trace.legendgroup: e[:, 1] - e[:, 0] for trace, e in zip(lines, ends, strict=True)}


def test_arrows_grow_with_the_coefficient_on_axes_that_stay() -> None:
    hands = try_reversal(CLOUDS, **BORDER)
    one = hands.shown.picture
    hands.controls["coefficient"].value = 2.0
    two = hands.shown.picture
    for side in CLOUDS:
        np.testing.assert_allclose(arrows(two)[side], 2 * arrows(one)[side], atol=2e-3)
        np.testing.assert_allclose(arrows(one)[side], -150 * gradients(1.0)[side], atol=2e-3)
    assert (one.layout.xaxis.range, one.layout.yaxis.range) == (two.layout.xaxis.range, two.layout.yaxis.range)
    assert one.data[-1] == two.data[-1], "D's border does not move"
    hands.controls["coefficient"].value = 0.0
    assert arrows(hands.shown.picture) == {}
    assert "features 0.000" in hands.shown.sentence
    assert "coefficient 0.00" in hands.shown.picture.layout.title.text


# --- the game ------------------------------------------------------------------------------------------------------


def test_a_game_is_played_and_replayed_with_another_coefficient() -> None:
    hands = try_game(CLOUDS, steps=12)
    assert hands.controls["step"].value == 3
    for coefficient, step in ((1.0, 12), (0.0, 12), (2.0, 5)):
        hands.controls["coefficient"].value, hands.controls["step"].value = coefficient, step
        states = figures.play_game(CLOUDS, 12, coefficient=coefficient)
        source = hands.shown.picture.data[0]
        np.testing.assert_allclose(np.array([source.x, source.y]).T, states[step].points["source"], atol=1e-3)
        assert f"step {step} of 12: D tells {figures.told_right(states[step]):.0f} % right" in hands.shown.sentence
        assert hands.shown.picture.layout.title.text == f"The game, λ = {coefficient:.2f}, step {step}"
    hands.controls["step"].value = 0
    assert "D has not learnt" in hands.shown.sentence
    with pytest.raises(UserError, match="one or more"):
        try_game(CLOUDS, steps=0)


def test_a_play_button_is_linked_to_the_steps() -> None:
    """In the browser: so that the kernel hears of every step once, from the slider."""
    hands = try_game(CLOUDS, steps=12)
    player, step = hands.player, hands.controls["step"]
    assert player in hands.children
    assert (player.min, player.max, player.value) == (step.min, step.max, step.value) == (0, 12, 3)
    assert (player.link.source, player.link.target) == ((player, "value"), (step, "value"))
    assert try_reversal(CLOUDS, **BORDER).player is None


@pytest.mark.usefixtures("somebody_watches")
def test_a_game_in_motion_moves_its_traces() -> None:
    """Traces taken away and drawn anew would flicker."""
    hands = try_game(CLOUDS, steps=12)
    screen = hands.children[-1]
    before = screen.data
    for step in (0, 7, 12):
        hands.controls["step"].value = step
        assert all(trace is old for trace, old in zip(screen.data, before, strict=True)), "the same traces"
        for trace, drawn in zip(screen.data, hands.shown.picture.data, strict=True):
            assert {**trace.to_plotly_json(), "uid": None} == {**drawn.to_plotly_json(), "uid": None}


# --- pairs ---------------------------------------------------------------------------------------------------------

POSITIVE, NEGATIVE, NEVER = "positive", "negative", "never"


def test_rules_are_the_papers_and_the_librarys() -> None:
    rules = pairings.pairing_rules().pivot(index=list(pairings.RULE_OPTIONS), columns="relation", values="answer")
    assert {options: tuple(row) for options, row in rules[list(pairings.RELATIONS)].iterrows()} == {
        ("segment", "other", "half"): (POSITIVE, POSITIVE, POSITIVE, NEGATIVE, NEVER),
        ("segment", "other", "repair"): (POSITIVE, POSITIVE, POSITIVE, NEGATIVE, NEVER),
        ("synchronous", "other", "half"): (POSITIVE, NEVER, NEVER, NEGATIVE, NEVER),
        ("synchronous", "other", "repair"): (POSITIVE, NEVER, NEVER, NEGATIVE, NEVER),
        ("synchronous", "moment", "half"): (POSITIVE, NEVER, NEGATIVE, NEVER, NEVER),
    }


def test_rules_are_found_out_and_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that did not rotate would call a clip that corresponds a negative; so does the table."""
    monkeypatch.setattr(batches, "rotate_tail", lambda segments, positives, *, by: list(segments))
    rules = pairings.pairing_rules.__wrapped__()
    half = rules[(rules["positives"] == "segment") & (rules["correspondence_batch"] == "half")]
    assert dict(zip(half["relation"], half["answer"], strict=True)) == {
        "same": "both", "near": "both", "apart": "both", "segment": NEVER, "domain": NEVER,
    }  # fmt: skip


def test_moments_apart_are_those_that_negatives_draw() -> None:
    rule, drawn = WindowRule(length=16, stride=2), []
    for seed in range(300):
        windows = batches.windows_apart(SEGMENT, rule, np.random.default_rng(seed), count=2)
        drawn.append(abs(int(windows[0, 0] - windows[1, 0])))
    assert min(drawn) == pairings.least_gap(SEGMENT, rule) == 16


def moment(centre: int, segment: Segment = SEGMENT, domain: str = "A") -> pairings.Moment:
    return pairings.Moment(domain, segment, centre)


def test_relations_by_hand() -> None:
    other = Segment("A-train-1", "A_train", 11, 60, 1)
    pairs = {
        "same": moment(30),
        "near": moment(33),
        "apart": moment(34),
        "segment": moment(30, other),
        "domain": moment(30, domain="B"),
    }
    for relation, second in pairs.items():
        assert pairings.relations_of(moment(30), second, rule=RULE) == [relation]
        assert pairings.relations_of(second, moment(30), rule=RULE) == [relation]
    with pytest.raises(UserError, match="give 15 to 57"):
        pairings.relations_of(moment(30), moment(10), rule=RULE)


def test_a_segment_with_one_place_for_a_window_answers_both_ways() -> None:
    short = Segment("s", "v", 31, 31)
    assert pairings.relations_of(moment(31, short), moment(31, short), rule=RULE) == ["same", "apart"]
    answers = pairings.pairing_answers(moment(31, short), moment(31, short), rule=RULE)
    by_rule = answers.set_index(list(pairings.RULE_OPTIONS))["answer"]
    assert by_rule["synchronous", "moment", "half"] == "both"
    assert by_rule["synchronous", "other", "half"] == POSITIVE


def paired() -> Any:
    kitchens = [KITCHEN, toy_data().domains["B"].unlabelled()]
    return try_pairing(kitchens, rule=RULE, modalities=["rgb", "flow", "depth"], classes=CLASSES)


def test_a_pair_is_positive_or_negative_as_it_is_chosen() -> None:
    hands = paired()
    assert "one segment, moments apart" in hands.shown.sentence
    hands.controls["second"].index = 1
    assert "rgb of A, A-train-0 (sweep)" in hands.shown.sentence
    assert "flow of A, A-train-1 (poke)" in hands.shown.sentence
    assert hands.shown.picture.count("✗ negative") == 4
    assert hands.shown.picture.count("– never asked") == 1
    hands.controls["second"].index = 6
    assert "B, B-train-0 (no label)" in hands.shown.sentence
    assert hands.shown.picture.count("– never asked") == 5
    hands.controls["second"].index = 0
    hands.controls["second_centre"].value = hands.controls["first_centre"].value
    assert hands.shown.picture.count("✓ positive") == 5
    assert hands.children[-1].value == hands.shown.picture


def test_the_moments_are_those_of_the_segment_that_is_chosen() -> None:
    hands = paired()
    for index in (3, 5, 0):
        hands.controls["first"].index = index
        centre, segment = hands.controls["first_centre"], KITCHEN.train[index]
        assert (centre.min, centre.max) == window_frames.window_bounds(segment, RULE)
        assert centre.value == centre.min, "the first moment of one is the first of another"
        assert "not shown" not in hands.children[-2].value


def test_pairs_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="1 modalities; a pair has two"):
        try_pairing([KITCHEN], rule=RULE, modalities=["rgb"], classes=CLASSES)
    with pytest.raises(UserError, match="without training segments"):
        try_pairing([Domain("A", {}, (), ())], rule=RULE, modalities=["rgb", "flow"], classes=CLASSES)


# --- streams -------------------------------------------------------------------------------------------------------

LOGITS = {"rgb": [2.0, 0.0, -1.0], "flow": [1.0, 3.5, 0.0]}


def test_a_sum_of_logits_is_a_product_of_probabilities() -> None:
    table = stream_logits.clip_logits(LOGITS, CLASSES)
    probabilities = stream_logits.stream_probabilities(table)
    product = probabilities["rgb"] * probabilities["flow"]
    np.testing.assert_allclose(probabilities["fused"], product / product.sum())
    np.testing.assert_allclose(probabilities.sum(), 1.0)
    powers = np.exp(LOGITS["rgb"])
    np.testing.assert_allclose(probabilities["rgb"], powers / powers.sum())
    surer = stream_logits.stream_probabilities(table + np.array([5.0, -5.0]))  # a constant a stream drops out
    np.testing.assert_allclose(surer, probabilities)


def test_the_surer_stream_prevails() -> None:
    hands = try_streams(LOGITS, classes=CLASSES, of_class="sweep")
    assert "their sum poke" in hands.shown.sentence
    hands.controls["rgb"].value = 6.0
    assert "rgb says sweep (1.00), flow says poke (0.90), their sum sweep" in hands.shown.sentence
    total = sum(np.exp(np.array([6.0, 0.0, -1.0]) + LOGITS["flow"]))
    assert hands.shown.sentence.endswith(f"P(sweep) = exp(6.0 + 1.0) / {total:.1f} = {np.exp(7) / total:.2f}")
    hands.controls["flow_scale"].value = 3.0
    assert "their sum poke" in hands.shown.sentence
    assert "exp(6.0 + 3.0)" in hands.shown.sentence


def test_a_stream_that_is_scaled_to_nothing_leaves_the_other() -> None:
    hands = try_streams(LOGITS, classes=CLASSES)
    before = {bar.name: bar.y for bar in hands.shown.picture.data}
    hands.controls["flow_scale"].value = 0.0
    after = {bar.name: bar.y for bar in hands.shown.picture.data}
    assert after["fused"] == after["rgb"] == before["rgb"] != before["fused"]
    assert set(after["flow"]) == {0.333}
    colours = {bar.name: bar.marker.color for bar in hands.shown.picture.data}
    assert colours == {name: style.STREAM_COLOURS[name] for name in ("rgb", "flow", "fused")}


def test_a_start_beyond_the_usual_limits_is_kept() -> None:
    hands = try_streams({"rgb": [20.0, 0.0, 0.0], "flow": [0.0, 0.0, 0.0]}, classes=CLASSES)
    assert (hands.controls["rgb"].value, hands.controls["rgb"].max) == (20.0, 20.0)


@pytest.mark.parametrize(
    ("logits", "of_class", "message"),
    [
        ({"rgb": [1.0, 0.0, 0.0]}, "", "1 streams; logits are added of two or more"),
        (
            {"rgb": [1.0, 0.0], "flow": [1.0, 0.0, 2.0]},
            "",
            r"rgb \(2,\), flow \(3,\); give one number for each of the 3",
        ),
        ({"rgb": [1.0, 0.0, float("nan")], "flow": [1.0, 0.0, 2.0]}, "", "not finite"),
        (LOGITS, "swep", "Did you mean 'sweep'"),
    ],
    ids=["one stream", "lengths", "no number", "class"],
)
def test_logits_that_cannot_be_added_are_refused(logits: Any, of_class: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        try_streams(logits, classes=CLASSES, of_class=of_class)


# --- kernels -------------------------------------------------------------------------------------------------------


def features() -> dict[str, Any]:
    rng, sides = np.random.default_rng(0), np.repeat(["source", "target"], [20, 30])
    values = {f"f_{m}": rng.normal(size=(50, 4)) + shift * (sides == "target")[:, None] for m, shift in shifts.items()}
    return {**values, "side": sides}


shifts = {"rgb": 2.0, "flow": 0.0}


def test_mmd_of_all_widths_is_the_sum_of_each() -> None:
    values = features()
    signs = np.where(values["side"] == "source", 1, -1).astype(np.int8)[:, None]
    each = sum(alignment.mmd_at(values, bandwidth=g).set_index("modality")["mmd"] for g in MMD_BANDWIDTHS)
    for modality in shifts:
        assert each[modality] == pytest.approx(float(mmd(values[f"f_{modality}"], signs)[0]))
    halves = [torch.tensor(values["f_rgb"][values["side"] == side]) for side in ("source", "target")]
    assert each["rgb"] == pytest.approx(float(mmd_loss(*halves)), abs=12 * (1 / 20 + 1 / 30)), "but for the bias"


def test_a_kernel_sees_nothing_far_from_its_width() -> None:
    seen = {g: alignment.mmd_at(features(), bandwidth=g).set_index("modality")["mmd"] for g in (1e-6, 8.0, 1e7)}
    assert seen[8.0]["rgb"] > 0.3
    assert abs(seen[8.0]["flow"]) < 0.05
    assert max(abs(seen[1e-6]["rgb"]), abs(seen[1e7]["rgb"])) < 1e-3


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_is_a_number_above_zero(bandwidth: float) -> None:
    with pytest.raises(UserError, match="give a number above 0"):
        alignment.mmd_at(features(), bandwidth=bandwidth)


def test_features_that_tell_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="distances between the domains are 0"):
        try_kernel({"f_rgb": np.zeros((4, 2)), "side": np.repeat(["source", "target"], 2)})
    with pytest.raises(UserError, match="1 source and 3 target"):
        try_kernel({"f_rgb": np.arange(8.0).reshape(4, 2), "side": np.array(["source", *["target"] * 3])})


def test_a_kernel_widens() -> None:
    hands, values = try_kernel(features()), features()
    usual = hands.controls["bandwidth"].value
    medians = figures.observed_distances(values)["median"]
    assert usual == pytest.approx(float(medians.median()) ** 2)
    narrow = hands.shown.picture
    hands.controls["bandwidth"].value = 100 * usual
    wide = hands.shown.picture
    assert np.argmax(wide.data[1].y) > np.argmax(narrow.data[1].y), "the pull is greatest farther out"
    assert narrow.data[2:] == wide.data[2:], "the distances are what they were"
    now = alignment.mmd_at(values, bandwidth=100 * usual)["mmd"]
    for picture_or_sentence in (wide.layout.title.text, hands.shown.sentence):
        assert f"rgb {now[0]:.3f}, flow {now[1]:.3f}" in picture_or_sentence


def test_the_width_at_which_a_gap_is_seen_best() -> None:
    values = features()
    best = alignment.widths_of_gaps(values).set_index("modality")
    assert best.loc["rgb", "mmd"] > 10 * abs(best.loc["flow", "mmd"])
    for modality, row in best.iterrows():
        around = [alignment.mmd_at(values, bandwidth=float(w) ** 2) for w in np.geomspace(0.3, 30, 15)]
        seen = [frame.set_index("modality")["mmd"][modality] for frame in around]
        at = alignment.mmd_at(values, bandwidth=row["width"] ** 2).set_index("modality")["mmd"][modality]
        assert row["mmd"] == pytest.approx(at)
        assert row["mmd"] > max(seen) - 0.05
    assert f"greatest: rgb {best.loc['rgb', 'mmd']:.3f} at width" in try_kernel(values).shown.sentence


# --- predictions -------------------------------------------------------------------------------------------------

GAINS = pd.DataFrame({"fused": [6.0, 9.0, 14.0], "rgb": [4.0, 7.0, 15.0]}, index=["control", "adabn", "mmsada"])


def bar_names(hands: Any) -> list[str]:
    return [bar.name for bar in hands.shown.picture.data]


def test_a_prediction_that_nobody_watches_is_shown_beside_the_runs() -> None:
    hands = try_prediction(GAINS, predicted={"adabn": 10})
    assert bar_names(hands) == ["your guess", "fused", "rgb"]
    assert list(hands.shown.picture.data[0].x) == ["AdaBN"], "what was not predicted is no guess of 0"
    assert hands.shown.sentence.startswith("your guess is off by 1.0 points on average; MM-SADA gained most")
    assert "your guess" not in bar_names(try_prediction(GAINS))


@pytest.mark.usefixtures("somebody_watches")
def test_runs_are_hidden_until_they_are_revealed() -> None:
    hands = try_prediction(GAINS)
    hands.controls["mmsada"].value = 12.0
    assert bar_names(hands) == ["your guess"]
    assert list(hands.shown.picture.data[0].y) == [0.0, 0.0, 12.0]
    before = json.dumps(hands._repr_mimebundle_()[FIGURE]) + hands.shown.sentence + repr(hands)
    assert not any(text in before for text in ("14.0", "+14", "off by", "gained")), "nothing is given away"
    hands.controls["reveal"].value = True
    assert bar_names(hands) == ["your guess", "fused", "rgb"]
    assert hands.shown.sentence == ("your guess is off by 5.7 points on average; MM-SADA gained most, as you guessed")
    hands.controls["adabn"].value = 20.0
    assert "you guessed AdaBN" in hands.shown.sentence


def test_a_guess_for_a_method_that_was_not_trained_is_refused() -> None:
    with pytest.raises(UserError, match="a guess for mcd"):
        try_prediction(GAINS, predicted={"mcd": 1.0})


# --- sweeps --------------------------------------------------------------------------------------------------------

MEANS = pd.DataFrame({"value": [0.0, 1.0, 3.0], "top1": [50.0, 58.0, 54.0], "sd": [1.0, 2.0, np.nan]})
MEANS = MEANS.assign(worlds=1, seeds=3)
GAME = pd.DataFrame({"value": [0.0, 1.0, 3.0, 9.0], "name": "rgb", "right": [90.0, 70.0, 55.0, 50.0], "sd": 1.0})
GAME = GAME.assign(worlds=1, seeds=3, pairs=6)
_RUN = {"data": "k", "preset": "quick", "method": "mmsada", "source": "D1", "target": "D3", "world": 0}


def scores() -> pd.DataFrame:
    """Two seeds of all values, and a third of one, which would raise its mean."""
    rows = [
        {**_RUN, "seed": seed, "value": value, "top1": 50.0, "source_accuracy": 60 + value + seed, "nuclear_norm": 0.5}
        for seed, values in ((0, (0.0, 1.0, 3.0)), (1, (0.0, 1.0, 3.0)), (40, (3.0,)))
        for value in values
    ]
    return pd.DataFrame(rows)


def test_points_of_a_sweep_by_hand() -> None:
    points = figures.sweep_points(MEANS, value=1.0, game=GAME, scores=scores())
    assert points[points["chosen"]][["group", "name", "mean"]].to_numpy().tolist() == [
        ["accuracy", "target", 58.0],
        ["opponent", "rgb", 70.0],
        ["score", "source_accuracy", 61.5],
        ["score", "nuclear_norm", 0.5],
    ]
    places = points[points["group"] == "score"].pivot(index="name", columns="value", values="place")
    assert places.loc["source_accuracy"].tolist() == pytest.approx([0, 1 / 3, 1])
    assert places.loc["nuclear_norm"].isna().all(), "it does not vary"
    assert 9.0 not in set(points["value"]), "of which no accuracy is known"


def test_sweeps_that_cannot_be_shown_are_refused() -> None:
    with pytest.raises(UserError, match="2 is no value of this sweep; there are 0, 1, 3"):
        figures.sweep_points(MEANS, value=2.0)
    with pytest.raises(UserError, match="train the sweep first"):
        try_sweep(MEANS[:0], name="λd")
    with pytest.raises(UserError, match="no pair and seed has scores of every value"):
        try_sweep(MEANS, name="λd", scores=scores()[::4])


def named(figure: go.Figure, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def test_a_value_is_ringed_and_its_scores_are_shown() -> None:
    hands = try_sweep(MEANS, name="λd", game=GAME, scores=scores())
    before = hands.shown.picture
    assert hands.shown.sentence == "λd = 1: target top-1 58.0 ± 2.0 %"
    assert named(before, "λd = 1").y == (58.0, 70.0)
    assert before.data[-1].text == ("61.5",)
    hands.controls["value"].value = 3.0
    after = hands.shown.picture
    assert hands.shown.sentence == "λd = 3: target top-1 54.0 %"
    assert named(after, "λd = 3").x == ("3", "3")
    assert named(after, "λd = 3").y == (54.0, 55.0)
    assert (after.data[-1].y, after.data[-1].x) == (("accuracy on the source",), (1.0,))
    assert after.data[:2] == before.data[:2], "the curves stay"
    assert list(named(after, "target, top-1").error_y.array) == [1.0, 2.0, 0.0]
    assert "sd over 3 seeds" in after.layout.yaxis.title.text


def test_a_sweep_needs_neither_game_nor_scores() -> None:
    assert repr(try_sweep(MEANS[:1], name="λd")).startswith("Controls: λd (no unit) = 0. λd = 0: target")
    figure = try_sweep(MEANS, name="λd").shown.picture
    assert [trace.name for trace in figure.data] == ["target, top-1", "λd = 1"]
    assert "bdata" not in try_sweep(MEANS, name="λd", game=GAME, scores=scores()).shown.picture.to_json()


# --- all of them ---------------------------------------------------------------------------------------------------

HANDS: dict[str, tuple[Callable[[], Any], str, str, Any]] = {
    "window": (lambda: try_window(KITCHEN, SEGMENT, rule=RULE), "image/png", "centre", 20),
    "reversal": (lambda: try_reversal(CLOUDS, **BORDER), FIGURE, "coefficient", 0.5),
    "game": (lambda: try_game(CLOUDS, steps=12), FIGURE, "step", 9),
    "pairing": (paired, "text/html", "second_centre", 16),
    "streams": (lambda: try_streams(LOGITS, classes=CLASSES), FIGURE, "flow", -2.0),
    "kernel": (lambda: try_kernel(features()), FIGURE, "bandwidth", 100.0),
    "prediction": (lambda: try_prediction(GAINS, predicted={"adabn": 2.0}), FIGURE, "mmsada", 3.0),
    "confusion": (lambda: try_confusion(paper_tables().plain(seed=0)), FIGURE, "stream", "flow"),
    "sweep": (lambda: try_sweep(MEANS, name="λd", game=GAME, scores=scores()), FIGURE, "value", 3.0),
}
each = pytest.mark.parametrize(("build", "kind", "name", "value"), HANDS.values(), ids=HANDS)


@each
def test_the_first_picture_is_always_the_same(build: Callable[[], Any], kind: str, name: str, value: Any) -> None:
    first, second = (json.dumps(build()._repr_mimebundle_(), sort_keys=True) for _ in range(2))
    assert first == second
    assert set(json.loads(first)) == {kind, "text/plain"}, "no widget where nobody can move it"


@each
def test_moving_changes_the_picture_and_moving_back_restores_it(
    build: Callable[[], Any], kind: str, name: str, value: Any
) -> None:
    hands = build()
    before, start = hands._repr_mimebundle_(), hands.controls[name].value
    hands.controls[name].value = value
    moved = hands._repr_mimebundle_()
    assert moved[kind] != before[kind]
    assert moved["text/plain"] != before["text/plain"]
    hands.controls[name].value = start
    assert hands._repr_mimebundle_() == before


@each
@pytest.mark.usefixtures("somebody_watches")
def test_where_somebody_watches_it_is_a_widget(build: Callable[[], Any], kind: str, name: str, value: Any) -> None:
    hands = build()
    assert {VIEW, kind} <= set(hands._repr_mimebundle_())
    hands.controls[name].value = value
    screen, picture = hands.children[-1], hands.shown.picture
    if kind == FIGURE:
        assert isinstance(screen, go.FigureWidget)
        assert [trace.y for trace in screen.data] == [trace.y for trace in picture.data]
        assert screen.layout.title.text == picture.layout.title.text
    else:
        assert screen.value == getattr(picture, "png", picture)


@each
def test_controls_say_what_they_are_and_in_which_unit(
    build: Callable[[], Any], kind: str, name: str, value: Any
) -> None:
    import ipywidgets

    hands = build()
    for control in hands.controls.values():
        assert control.description
        unitless = isinstance(control, ipywidgets.Dropdown | ipywidgets.ToggleButton)
        assert unitless or control.description.endswith(")"), "the unit in brackets"
        assert control.disabled is False
        assert control in hands.children


@pytest.mark.parametrize("package", ["ipywidgets", "anywidget"])
def test_a_missing_package_is_told(package: str) -> None:
    """In an interpreter of its own: there is no way to forget a package in this one."""
    code = f"import sys; sys.modules[{package!r}] = None\nimport mmsada_lab.explorer.hands"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"mmsada_lab.errors.UserError: {package} is not installed; " + (
        "run pip install -e '.[notebooks]', or use the figures"
    )
