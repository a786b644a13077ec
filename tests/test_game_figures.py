"""The game as figures: their data, with one run, several, none and broken ones; and that drawing is pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from toy import toy_config

from mmsada_lab.analysis import figures, style
from mmsada_lab.analysis.tables import stack_runs
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import load_history

PRETRAIN, ADAPT = 20, 40


def history(
    *,
    seed: int = 0,
    modalities: tuple[str, ...] = ("rgb", "flow"),
    d: bool = True,
    c: bool = True,
    every: int = 1,
    adapt: int = ADAPT,
    coefficient: float = 0.2,
) -> pd.DataFrame:
    """What `load_history` gives for a run of two stages: the records of its game, and some losses beside them."""
    rng = np.random.default_rng(seed)
    rows = []
    for total in range(every, PRETRAIN + adapt + 1, every):
        stage = "pretrain" if total <= PRETRAIN else "adapt"
        step = total - PRETRAIN * (stage == "adapt")
        shared = {"stage": stage, "step": step, "total_step": total}
        played = d and stage == "adapt"
        reversal = coefficient * (step - 1) / adapt
        values = {"correspondence_accuracy": 50 + 50 * rng.random()} if c else {}
        values |= {"reversal": reversal} if played else {}
        for m in modalities:
            values |= {f"domain_accuracy/{m}": 100 * rng.random(), f"domain_loss/{m}": rng.random()} if played else {}
            terms = {
                "classification": 1.0,
                "correspondence": 1.0 if c else None,
                "adversarial": reversal if played else None,
            }
            values |= {f"gradient/{t}/{m}": w * (0.1 + rng.random()) for t, w in terms.items() if w is not None}
        rows += [{"kind": "game", **shared, "name": name, "value": value} for name, value in values.items()]
        rows.append({"kind": "train", **shared, "name": "classification", "value": rng.random()})
    return pd.DataFrame(rows)


THREE_RUNS = stack_runs({f"seed{k}": history(seed=k) for k in range(3)})
WITHOUT = history(d=False, c=False)


def recorded(frame: pd.DataFrame, name: str, *, stage: str = "adapt") -> pd.DataFrame:
    return frame[(frame["kind"] == "game") & (frame["name"] == name) & (frame["stage"] == stage)]


# --- the game ------------------------------------------------------------------------------------------------------


class TestGameCurves:
    def test_they_are_the_records_of_the_last_stage(self) -> None:
        one = history()
        curves = figures.game_curves(one)
        assert set(zip(curves["quantity"], curves["name"], strict=True)) == {
            ("accuracy", "rgb"),
            ("accuracy", "flow"),
            ("accuracy", "correspondence"),
            ("loss", "rgb"),
            ("loss", "flow"),
            ("reversal", "reversal"),
        }
        assert set(curves["stage"]) == {"adapt"}
        for quantity, name, record in (
            ("accuracy", "flow", "domain_accuracy/flow"),
            ("loss", "rgb", "domain_loss/rgb"),
            ("accuracy", "correspondence", "correspondence_accuracy"),
            ("reversal", "reversal", "reversal"),
        ):
            curve = curves[(curves["quantity"] == quantity) & (curves["name"] == name)]
            assert curve["mean"].tolist() == recorded(one, record)["value"].tolist()
            assert curve["total_step"].tolist() == list(range(PRETRAIN + 1, PRETRAIN + ADAPT + 1))
        assert curves["sd"].isna().all()
        assert set(curves["runs"]) == {1}

    def test_of_several_runs_they_are_mean_and_sd(self) -> None:
        curves = figures.game_curves(THREE_RUNS, window=1)
        found = curves[(curves["quantity"] == "loss") & (curves["name"] == "rgb") & (curves["total_step"] == 30)].iloc[
            0
        ]
        values = recorded(THREE_RUNS, "domain_loss/rgb").query("total_step == 30")["value"]
        assert found["mean"] == pytest.approx(values.mean())
        assert found["sd"] == pytest.approx(values.std(ddof=1))
        assert found["runs"] == 3

    def test_every_run_is_smoothed_by_itself_and_the_sd_is_over_them(self) -> None:
        """Not of single steps, which hold as much noise as runs differ."""
        together = figures.game_curves(THREE_RUNS).set_index(["quantity", "name", "total_step"])
        apart = [
            figures.game_curves(history(seed=k)).set_index(["quantity", "name", "total_step"])["smooth"]
            for k in range(3)
        ]
        table = pd.concat(apart, axis=1).loc[together.index]
        np.testing.assert_allclose(together["smooth"], table.mean(axis=1))
        np.testing.assert_allclose(together["sd"], table.std(axis=1, ddof=1), atol=1e-12)

    @pytest.mark.parametrize("window", [1, 3, 15])
    def test_smoothing_is_a_centred_mean_over_steps(self, window: int) -> None:
        curves = figures.game_curves(history(), window=window)
        curve = curves[(curves["quantity"] == "accuracy") & (curves["name"] == "rgb")].set_index("total_step")
        for step, smooth in curve["smooth"].items():
            assert smooth == pytest.approx(curve.loc[step - window // 2 : step + window // 2, "mean"].mean())

    def test_of_records_that_are_means_over_the_window_it_changes_nothing(self) -> None:
        curves = figures.game_curves(history(every=5), window=5)
        assert curves["smooth"].tolist() == pytest.approx(curves["mean"].tolist())

    def test_without_d_there_is_c_alone(self) -> None:
        curves = figures.game_curves(history(d=False))
        assert set(zip(curves["quantity"], curves["name"], strict=True)) == {("accuracy", "correspondence")}

    def test_without_opponents_there_is_no_row(self) -> None:
        curves = figures.game_curves(WITHOUT)
        assert curves.empty
        assert set(curves.columns) == set(figures.game_curves(history()).columns)


class TestDrawnGame:
    def panels(self, figure: go.Figure) -> dict[str, list[go.Scatter]]:
        """Traces by the title of their vertical axis, up to its unit."""
        axes = {trace.yaxis or "y" for trace in figure.data}
        titles = {axis: figure.layout["yaxis" + axis[1:]].title.text.split(" (")[0] for axis in axes}
        return {title: [t for t in figure.data if (t.yaxis or "y") == axis] for axis, title in titles.items()}

    def bold(self, traces: list[go.Scatter]) -> list[go.Scatter]:
        return [trace for trace in traces if trace.name]

    def test_a_panel_for_each_quantity(self) -> None:
        curves = figures.game_curves(history())
        panels = self.panels(figures.draw_game(curves))
        assert panels.keys() == {"right", "loss of D", "reversal"}
        assert [trace.name for trace in self.bold(panels["right"])] == ["C, correspondence", "D, rgb", "D, flow"]
        assert [trace.name for trace in self.bold(panels["loss of D"])] == ["D, rgb", "D, flow"]
        (thin,) = panels["reversal"]
        assert thin.line.width < min(trace.line.width for trace in self.bold(panels["right"]))
        assert list(thin.y) == curves.loc[curves["quantity"] == "reversal", "mean"].tolist()

    def test_lines_are_smoothed_and_records_faint_behind(self) -> None:
        curves = figures.game_curves(history())
        panels = self.panels(figures.draw_game(curves))
        for title, quantity in (("right", "accuracy"), ("loss of D", "loss")):
            for trace in self.bold(panels[title]):
                curve = curves[(curves["quantity"] == quantity) & (curves["name"] == trace.legendgroup)]
                assert list(trace.y) == curve["smooth"].tolist()
                (behind,) = [t for t in panels[title] if t.legendgroup == trace.legendgroup and not t.name]
                assert list(behind.y) == curve["mean"].tolist()
                assert behind.line.color == style.translucent(trace.line.color, 0.25)

    def test_colours_are_those_of_streams_and_terms_and_dashes_differ(self) -> None:
        figure = figures.draw_game(figures.game_curves(history()))
        lines = {trace.legendgroup: trace.line for trace in figure.data if trace.name}
        assert {name: line.color for name, line in lines.items()} == {
            "rgb": style.STREAM_COLOURS["rgb"],
            "flow": style.STREAM_COLOURS["flow"],
            "correspondence": style.TERM_COLOURS["correspondence"],
        }
        assert len({line.dash for line in lines.values()}) == 3
        shown = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
        assert sorted(shown) == ["C, correspondence", "D, flow", "D, rgb"], "each once"

    def test_what_guessing_gives_is_marked(self) -> None:
        figure = figures.draw_game(figures.game_curves(history()))
        levels = {shape.yref: shape.y0 for shape in figure.layout.shapes}
        assert levels == {"y": 50, "y2": pytest.approx(math.log(2))}
        assert [a.text for a in figure.layout.annotations] == ["chance", "ln 2: guessing"]

    def test_panels_share_their_steps(self) -> None:
        figure = figures.draw_game(figures.game_curves(history()))
        assert [figure.layout[axis].matches for axis in ("xaxis", "xaxis2", "xaxis3")] == [None, "x", "x"]
        assert figure.layout.xaxis2.title.text == figure.layout.xaxis3.title.text == "optimiser step"
        low, high = figure.layout.yaxis.range
        assert low <= 40
        assert high > 100

    @pytest.mark.parametrize(
        ("frame", "said"),
        [
            (WITHOUT, {"no discriminator", "no reversal"}),
            (history(d=False), {"no discriminator", "no reversal"}),
            (history(c=False), set()),
        ],
        ids=["none", "C alone", "D alone"],
    )
    def test_a_panel_without_anything_says_so(self, frame: pd.DataFrame, said: set[str]) -> None:
        figure = figures.draw_game(figures.game_curves(frame))
        assert {a.text for a in figure.layout.annotations} - {"chance", "ln 2: guessing"} == said
        assert "NaN" not in figure.to_json()
        assert {trace.yaxis or "y" for trace in figure.data} == {"y", "y2", "y3"}, "or the panel would have no axes"
        assert len(figure.layout.shapes) == 2

    def test_bands_stand_for_several_runs(self) -> None:
        curves = figures.game_curves(THREE_RUNS)
        figure = figures.draw_game(curves)
        bands = [trace for trace in figure.data if trace.fill == "toself"]
        assert len(bands) == 5
        assert "± sd over 3 runs" in figure.layout.yaxis.title.text
        one = curves[(curves["quantity"] == "loss") & (curves["name"] == "rgb")]
        band = next(t for t in bands if t.legendgroup == "rgb" and t.yaxis == "y2")
        assert list(band.y[: len(one)]) == pytest.approx(list(one["smooth"] + one["sd"]))


# --- gradients -----------------------------------------------------------------------------------------------------


class TestGradientSizes:
    def test_they_are_the_records_of_both_stages(self) -> None:
        one = history()
        sizes = figures.gradient_sizes(one)
        assert set(sizes["modality"]) == {"rgb", "flow"}
        assert set(sizes["stage"]) == {"pretrain", "adapt"}
        assert set(sizes["name"]) == {"classification", "correspondence", "adversarial"}
        for stage in ("pretrain", "adapt"):
            found = sizes.query(f"stage == '{stage}' and name == 'correspondence' and modality == 'flow'")
            assert (
                found["mean"].tolist() == recorded(one, "gradient/correspondence/flow", stage=stage)["value"].tolist()
            )

    def test_smoothing_stops_at_the_stage_boundary(self) -> None:
        sizes = figures.gradient_sizes(history(), window=3)
        one = sizes.query("name == 'classification' and modality == 'rgb'").set_index("total_step")
        assert one.loc[PRETRAIN, "smooth"] == pytest.approx(one.loc[PRETRAIN - 1 : PRETRAIN, "mean"].mean())
        assert one.loc[PRETRAIN + 1, "smooth"] == pytest.approx(one.loc[PRETRAIN + 1 : PRETRAIN + 2, "mean"].mean())

    def test_methods_without_opponents_have_them_too(self) -> None:
        assert set(figures.gradient_sizes(WITHOUT)["name"]) == {"classification"}

    @pytest.mark.parametrize("modalities", [("rgb",), ("rgb", "flow"), ("acc", "gyro", "skeleton", "depth")], ids=len)
    def test_a_panel_for_each_modality_on_a_logarithmic_axis(self, modalities: tuple[str, ...]) -> None:
        figure = figures.draw_gradient_sizes(figures.gradient_sizes(history(modalities=modalities)))
        axes = [figure.layout["yaxis" + (str(k + 1) if k else "")] for k in range(len(modalities))]
        assert {axis.type for axis in axes} == {"log"}
        assert [axis.matches for axis in axes[1:]] == ["y"] * (len(modalities) - 1)
        titles = [a.text for a in figure.layout.annotations if a.text in modalities]
        assert titles == list(modalities)
        for k in range(len(modalities)):
            axis = "y" + (str(k + 1) if k else "")
            terms = {t.legendgroup for t in figure.data if t.name and (t.yaxis or "y") == axis}
            assert terms == {"classification", "correspondence", "adversarial"}
        shown = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
        assert sorted(shown) == ["adversarial", "classification", "correspondence"]

    def test_colours_are_those_of_the_terms(self) -> None:
        figure = figures.draw_gradient_sizes(figures.gradient_sizes(history()))
        for trace in figure.data:
            if trace.name:
                assert trace.line.color == style.TERM_COLOURS[trace.name]

    def test_the_boundary_of_the_stages_is_in_every_panel(self) -> None:
        figure = figures.draw_gradient_sizes(figures.gradient_sizes(history()))
        assert [(s.x0, s.x1) for s in figure.layout.shapes] == [(PRETRAIN, PRETRAIN)] * 2

    def test_zeros_are_gaps(self) -> None:
        """The ramp begins with nothing, of which there is no logarithm."""
        figure = figures.draw_gradient_sizes(figures.gradient_sizes(history(), window=1))
        traces = [t for t in figure.data if t.name == "adversarial"]
        assert [trace.y[0] for trace in traces] == [None, None]
        assert all(value > 0 for trace in traces for value in trace.y[1:])

    def test_a_term_that_never_arrives_is_named_as_0(self) -> None:
        figure = figures.draw_gradient_sizes(figures.gradient_sizes(history(coefficient=0.0)))
        names = {trace.name for trace in figure.data if trace.name}
        assert names == {"classification", "correspondence", "adversarial: 0"}

    def test_bands_are_cut_where_the_axis_ends(self) -> None:
        sizes = figures.gradient_sizes(THREE_RUNS, window=1)
        figure = figures.draw_gradient_sizes(sizes)
        bands = [trace for trace in figure.data if trace.fill == "toself"]
        lowest = sizes.loc[sizes["smooth"] > 0, "smooth"].min()
        assert (sizes["smooth"] - sizes["sd"]).min() < lowest, "some would reach below"
        assert min(value for band in bands for value in band.y if value is not None) >= lowest * (1 - 1e-9)
        assert "± sd over 3 runs" in figure.layout.yaxis.title.text


# --- both ----------------------------------------------------------------------------------------------------------

PAIRS = {
    "game": (figures.game_curves, figures.draw_game),
    "gradients": (figures.gradient_sizes, figures.draw_gradient_sizes),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "frame", [history(), THREE_RUNS, WITHOUT, history(every=5)], ids=["one", "three", "none", "means"]
)
def test_drawing_is_pure_styled_and_labelled(name: str, frame: pd.DataFrame) -> None:
    make, draw = PAIRS[name]
    data = make(frame)
    before = data.copy()
    figure = draw(data, title="Title")
    pd.testing.assert_frame_equal(data, before)
    assert figure.to_json() == draw(data.copy(), title="Title").to_json()
    assert "bdata" not in figure.to_json(), "arrays are written as plain numbers"
    assert figure.layout.template == style.TEMPLATE
    assert figure.layout.title.text == "Title"
    assert figure.layout.yaxis.title.text


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    broken = history()
    broken.loc[(broken["total_step"] == 30) & (broken["kind"] == "game"), "value"] = value
    with pytest.raises(UserError, match="at step 30"):
        PAIRS[name][0](broken)


@pytest.mark.parametrize("make", [make for make, _ in PAIRS.values()], ids=PAIRS)
@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame(), history()[:0], history().query("kind == 'train'")],
    ids=["no columns", "no rows", "older run"],
)
def test_a_history_without_records_of_the_game_is_refused(
    make: Callable[..., pd.DataFrame], frame: pd.DataFrame
) -> None:
    with pytest.raises(UserError, match="holds no game record"):
        make(frame)


@pytest.mark.parametrize("make", [make for make, _ in PAIRS.values()], ids=PAIRS)
def test_runs_of_different_lengths_are_refused(make: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(UserError, match="different steps"):
        make(stack_runs({"short": history(adapt=10), "long": history()}))


def test_loss_curves_show_loss_terms_only() -> None:
    assert set(figures.training_curves(history())["name"]) == {"classification"}


@pytest.mark.usefixtures("toy_format")
@pytest.mark.parametrize("method", ["source_only", "adversarial_only", "self_supervised_only", "mmsada", "mmd", "mcd"])
def test_the_records_of_a_run_are_drawn(method: str, tmp_path: Path) -> None:
    path = run_experiment(toy_config(method), tmp_path, device="cpu", workers=0, show_progress=False)
    one = load_history(path)
    for make, draw in PAIRS.values():
        drawn = json.loads(draw(make(one)).to_json())
        assert drawn["data"]
    terms = {trace.legendgroup for trace in figures.draw_gradient_sizes(figures.gradient_sizes(one)).data if trace.name}
    assert terms == set(toy_config(method).adapt.weights)
    named = {trace.name for trace in figures.draw_game(figures.game_curves(one)).data if trace.name}
    of_d, of_c = {"D, rgb", "D, flow"}, {"C, correspondence"}
    assert named == {"adversarial_only": of_d, "self_supervised_only": of_c, "mmsada": of_d | of_c}.get(method, set())


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_verdicts_on_opponents_by_hand() -> None:
    played = {
        "domain_accuracy/rgb": [50.0, 90.0, 60.0],
        "domain_accuracy/flow": [50.0, 90.0, 88.0],
        "domain_accuracy/audio": [50.0, 58.0, 50.0],
        "correspondence_accuracy": [50.0, 95.0, 60.0],
    }
    rows = [
        {"kind": "game", "stage": "adapt", "total_step": step, "name": name, "value": value}
        for name, values in played.items()
        for step, value in zip((1, 40, 80), values, strict=True)
    ]
    verdicts = figures.game_verdicts(figures.game_curves(pd.DataFrame(rows)))
    assert verdicts.to_numpy().tolist() == [
        ["D, rgb", 90.0, 60.0, "was answered by the features"],
        ["D, flow", 90.0, 88.0, "is still ahead of the features"],
        ["D, audio", 58.0, 50.0, "never learnt to tell the domains apart"],
        ["C, correspondence", 95.0, 60.0, "is helped by the features"],
    ]


def test_there_is_no_verdict_without_opponents() -> None:
    assert figures.game_verdicts(figures.game_curves(WITHOUT)).empty
