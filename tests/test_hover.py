"""What is said under the mouse: in words, with units, as it is drawn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from figure_geometry import measured_page

from mmsada_lab import figures, style

CLASSES = ["take", "put"]
PREDICTIONS = pd.DataFrame(
    {"stream": "fused", "step": 9, "label": [0] * 8 + [1], "predicted": [0] * 7 + [1, 1], "uid": list("abcdefghi")}
).assign(p0=[0.9] * 7 + [0.2, 0.1], p1=[0.1] * 7 + [0.8, 0.9])


def embedded(**options: Any) -> pd.DataFrame:
    side = np.repeat(["source", "target"], [6, 9])
    uids = np.array([*"uvwxyz", *PREDICTIONS["uid"]])
    label = np.array([0, 1] * 3 + PREDICTIONS["label"].tolist())
    features = {"f_rgb": np.random.default_rng(0).normal(size=(15, 4)), "side": side, "label": label, "uid": uids}
    return figures.joint_embedding(features, "rgb", **options)


def accuracy() -> go.Figure:
    bars = {"method": ["AdaBN"], "stream": "fused", "mean": 50.04, "sd": 1.5, "worlds": 1, "seeds": 3}
    return figures.draw_method_bars(pd.DataFrame(bars))


def confusion() -> go.Figure:
    return figures.draw_confusion(figures.confusion_counts(PREDICTIONS, classes=CLASSES))


def difference() -> go.Figure:
    counts = figures.confusion_counts(PREDICTIONS, classes=CLASSES)
    better = figures.confusion_counts(PREDICTIONS.assign(predicted=PREDICTIONS["label"]), classes=CLASSES)
    return figures.draw_confusion_difference(figures.confusion_difference(better, counts))


def line() -> go.Figure:
    return figures.draw_lines(
        pd.DataFrame({"ramp": [0.0, 0.25]}, index=[0, 10]), axes=("step", "loss (nats, mean)"), title=""
    )


EXPECTED = [
    (accuracy, 0, 0, "fused\nmethod AdaBN\naccuracy 50.04 % ± 1.5"),
    (confusion, 0, [0, 1], "take taken for put: 1 of 8, 12.5 %"),
    (confusion, 1, 0, "take: 8 test segments"),
    (difference, 0, [0, 1], "take taken for put: -12.5 points, -1 of 8 segments"),
    (line, 0, 1, "ramp\nstep 10\nloss 0.25 nats"),
]


def test_segments_are_told_with_their_prediction() -> None:
    points = embedded(predictions=PREDICTIONS)
    words = {text for trace in figures.draw_embedding(points, classes=CLASSES).data for text in trace.hovertext}
    assert {"u<br>source, take", "a<br>target, take<br>taken for take, 90 %"} <= words
    assert {"h<br>target, take<br>taken for put, 80 %", "i<br>target, put<br>taken for put, 90 %"} <= words
    by_class = figures.draw_embedding(points, by="class", classes=CLASSES)
    assert {text for trace in by_class.data for text in trace.hovertext} == words


def test_without_predictions_and_names() -> None:
    words = [text for trace in figures.draw_embedding(embedded()).data for text in trace.hovertext]
    assert words[:2] == ["u<br>source", "v<br>source"]


def test_what_says_something_of_its_own_keeps_it() -> None:
    figure = style.empty_figure("").add_scatter(x=[1], y=[1], hovertemplate="mine").add_scatter(x=[1], **style.HIDDEN)
    from mmsada_lab.analysis.hover import write_hover

    assert [trace.hovertemplate for trace in write_hover(figure).data] == ["mine", None]


def test_categories_of_a_panel_are_not_in_the_unit_of_another() -> None:
    points = pd.DataFrame({"group": ["accuracy", "score"], "name": ["target", "nuclear_norm"], "mean": [60.0, 0.9]})
    points = points.assign(value=1.0, sd=1.0, worlds=4, seeds=2, place=[np.nan, 1.0], chosen=True)
    score = figures.draw_sweep_point(points, name="λ").data[-1]
    assert score.hovertemplate.startswith("%{y}<br>score %{x"), "not: right nuclear norm %"


class TestAsDrawn:
    @pytest.mark.parametrize(
        ("draw", "trace", "point", "words"), EXPECTED, ids=lambda each: getattr(each, "__name__", "")
    )
    def test_words(self, page: Any, draw: Any, trace: int, point: Any, words: str) -> None:
        said = page.evaluate(
            """async ([figure, curveNumber, pointNumber]) => {
              const div = document.body.appendChild(document.createElement("div"));
              await Plotly.newPlot(div, figure.data, { ...figure.layout, width: 900, height: 400 });
              const { xaxis, yaxis } = div._fullData[curveNumber];
              const cell = { xval: pointNumber[1], yval: pointNumber[0] };
              const at = Array.isArray(pointNumber) ? cell : [{ curveNumber, pointNumber }];
              Plotly.Fx.hover(div, at, (xaxis ?? "x") + (yaxis ?? "y"));
              const lines = [...div.querySelectorAll(".hoverlayer .hovertext .nums")].map((text) =>
                [...text.querySelectorAll(".line")].map((line) => line.textContent).join("\\n") || text.textContent);
              Plotly.purge(div);
              div.remove();
              return lines;
            }""",
            [json.loads(draw().to_json()), trace, point],
        )
        assert said == [words]


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    return measured_page(browser)
