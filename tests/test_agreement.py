"""Which stream is right where: the four cells, counted by hand; and that drawing is pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mmsada_lab.analysis import style
from mmsada_lab.analysis.agreement import ALL_CLASSES, BOTH, NEITHER, draw_agreement, stream_agreement
from mmsada_lab.analysis.tables import stack_runs
from mmsada_lab.errors import UserError

CLASSES = ("take", "put", "open")
LABELS = [0, 0, 0, 1, 1]  # nothing is opened
RGB = [0, 0, 1, 1, 0]
FLOW = [0, 1, 0, 0, 0]
FUSED = [0, 0, 1, 1, 1]
CELLS = [BOTH, "only rgb", "only flow", NEITHER]


def predictions(
    by_stream: dict[str, list[int]] | None = None, labels: list[int] = LABELS, *, steps: tuple[int, ...] = (10,)
) -> pd.DataFrame:
    """What `load_predictions` gives, but for the probabilities."""
    rows = []
    for stream, predicted in (by_stream or {"fused": FUSED, "rgb": RGB, "flow": FLOW}).items():
        for step in steps:
            for number, (one, label) in enumerate(zip(predicted, labels, strict=True)):
                rows.append({"uid": f"s{number}", "label": label, "predicted": one, "step": step, "stream": stream})
    return pd.DataFrame(rows)


def cells(agreement: pd.DataFrame, name: str, column: str) -> list[float]:
    return list(agreement.loc[agreement["class"] == name, column])


def test_every_segment_is_in_the_cell_it_belongs_to() -> None:
    found = stream_agreement(predictions(), classes=CLASSES)
    assert list(found["class"].unique()) == [ALL_CLASSES, *CLASSES]
    assert list(found["right"]) == CELLS * 4
    assert cells(found, "take", "segments") == [1, 1, 1, 0]
    assert cells(found, "put", "segments") == [0, 1, 0, 1]
    assert cells(found, ALL_CLASSES, "segments") == [1, 2, 1, 1]
    assert cells(found, ALL_CLASSES, "percent") == [20, 40, 20, 20]


def test_fused_says_how_many_of_a_cell_fusion_gets_right() -> None:
    found = stream_agreement(predictions(), classes=CLASSES)
    assert cells(found, ALL_CLASSES, "fused") == [100, 100, 0, 100]
    np.testing.assert_array_equal(cells(found, "take", "fused"), [100, 100, 0, np.nan])


def test_the_cells_add_up_to_the_streams_accuracies() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=200).tolist()
    streams = {stream: rng.integers(3, size=200).tolist() for stream in ("fused", "rgb", "flow")}
    found = stream_agreement(predictions(streams, labels), classes=CLASSES)
    both, rgb, flow, neither = cells(found, ALL_CLASSES, "percent")
    assert both + rgb == pytest.approx(100 * np.mean(np.equal(streams["rgb"], labels)))
    assert both + flow == pytest.approx(100 * np.mean(np.equal(streams["flow"], labels)))
    assert both + rgb + flow + neither == pytest.approx(100)
    whole = found[found["class"] == ALL_CLASSES]
    fused = (whole["segments"] * whole["fused"]).sum() / 200
    assert fused == pytest.approx(100 * np.mean(np.equal(streams["fused"], labels)))
    by_class = found[found["class"] != ALL_CLASSES].groupby("right", sort=False)["segments"].sum()
    assert list(by_class) == cells(found, ALL_CLASSES, "segments")


def test_a_class_without_segments_has_no_percentage() -> None:
    found = stream_agreement(predictions(), classes=CLASSES)
    assert cells(found, "open", "segments") == [0, 0, 0, 0]
    assert np.isnan(cells(found, "open", "percent")).all()


def test_counts_are_means_over_evaluations_and_runs() -> None:
    once = stream_agreement(predictions(), classes=CLASSES)
    pd.testing.assert_frame_equal(stream_agreement(predictions(steps=(10, 20, 30)), classes=CLASSES), once)
    runs = stack_runs({"a": predictions(steps=(10, 20)), "b": predictions(steps=(10, 20))})
    pd.testing.assert_frame_equal(stream_agreement(runs, classes=CLASSES), once)
    other = predictions({"fused": FUSED, "rgb": FLOW, "flow": RGB})
    mixed = stream_agreement(stack_runs({"a": predictions(), "b": other}), classes=CLASSES)
    assert cells(mixed, ALL_CLASSES, "segments") == [1, 1.5, 1.5, 1]


def test_segments_without_a_label_are_left_out() -> None:
    labels = [0, -1, -1, 1, 1]
    found = stream_agreement(predictions(labels=labels), classes=CLASSES)
    assert sum(cells(found, ALL_CLASSES, "segments")) == 3
    with pytest.raises(UserError, match="no labelled test segment"):
        stream_agreement(predictions(labels=[-1] * 5), classes=CLASSES)


def test_two_of_three_streams_have_to_be_named() -> None:
    three = predictions({"fused": FUSED, "rgb": RGB, "flow": FLOW, "audio": RGB})
    with pytest.raises(UserError, match=r"have \['rgb', 'flow', 'audio'\]; name two"):
        stream_agreement(three, classes=CLASSES)
    found = stream_agreement(three, classes=CLASSES, streams=("audio", "rgb"))
    assert cells(found, ALL_CLASSES, "segments") == [3, 0, 0, 2]


@pytest.mark.parametrize("streams", [{"fused": FUSED, "rgb": RGB}, {"fused": FUSED}])
def test_one_stream_has_nothing_to_agree_with(streams: dict[str, list[int]]) -> None:
    with pytest.raises(UserError, match="between two streams"):
        stream_agreement(predictions(streams), classes=CLASSES)


def test_an_unknown_stream_and_no_predictions() -> None:
    with pytest.raises(UserError, match=r"unknown stream 'flwo'.*Did you mean 'flow'"):
        stream_agreement(predictions(), classes=CLASSES, streams=("rgb", "flwo"))
    with pytest.raises(UserError, match="between two streams"):
        stream_agreement(pd.DataFrame(), classes=CLASSES)


def test_the_figure_draws_the_data() -> None:
    found = stream_agreement(predictions(), classes=CLASSES)
    before = found.copy()
    drawn = draw_agreement(found)
    pd.testing.assert_frame_equal(found, before)
    assert isinstance(drawn, go.Figure)
    assert [trace.name for trace in drawn.data] == CELLS
    for trace in drawn.data:
        one = found[found["right"] == trace.name]
        assert list(trace.x) == list(one["percent"].fillna(0).round(1))
        assert list(trace.y) == ["all classes (5)", "take (3)", "put (2)", "open (0)"]
    assert drawn.layout.xaxis.title.text == "segments of the class (%)"
    assert drawn.layout.yaxis.title.text
    assert drawn.layout.barmode == "stack"


def test_a_stream_alone_has_its_colour() -> None:
    def colours(found: pd.DataFrame) -> dict[str, Any]:
        return {trace.name: trace.marker.color for trace in draw_agreement(found).data}

    own = colours(stream_agreement(predictions(), classes=CLASSES))
    assert own["only rgb"] == style.STREAM_COLOURS["rgb"]
    assert own["only flow"] == style.STREAM_COLOURS["flow"]
    unheard = predictions({"fused": FUSED, "skeleton": RGB, "inertial": FLOW})
    assert len(set(colours(stream_agreement(unheard, classes=CLASSES)).values())) == 4


def test_a_figure_holds_plain_numbers() -> None:
    text = draw_agreement(stream_agreement(predictions(), classes=CLASSES)).to_json()
    assert "bdata" not in text
    assert "NaN" not in text
