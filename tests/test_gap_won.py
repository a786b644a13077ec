"""What is won of a gap, and on which pairs: the laws of the data, and that figures draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmsada_lab import build_config
from mmsada_lab.analysis import style
from mmsada_lab.analysis.lessons.gains import draw_gains, preset_gains
from mmsada_lab.analysis.lessons.gap_won import (
    clips_won,
    draw_gap_won,
    gap_won,
    method_curves,
    run_accuracies,
)
from mmsada_lab.errors import UserError
from mmsada_lab.paper import PAIRS
from mmsada_lab.runs import RunFolder, write_arrays, write_json

METHODS = ("source_only", "mmsada", "supervised_target")


def write_run(folder: Path, method: str, *, values: tuple[float, ...] = (40.0, 50.0, 60.0), **result: Any) -> Path:
    """A run of three evaluations, of which the last two are averaged; flow is twenty points better."""
    source = None if method == "supervised_target" else "D1"
    config = build_config("quick", data="kitchens", method=method, source=source, target="D3")
    run = RunFolder(folder, config, data_name="kitchens")
    run.path.mkdir(parents=True)
    streams = {"fused": 0.0, "flow": 20.0}
    target = {s: {"top1": float(np.mean(values[-2:])) + more, "mean_class": 1.0} for s, more in streams.items()}
    facts = {"evaluations": 2, "selection": "last", "target": target, **result}
    write_json(run.manifest_path, {"status": "finished", "config": config.to_dict(), "result": facts})
    rows = [
        {"kind": "evaluation", "stage": "adapt", "step": k, "total_step": k}
        | {"values": {**{f"{s}/top1": value + more for s, more in streams.items()}, "fused/mean_class": 1.0}}
        for k, value in enumerate(values, start=1)
    ]
    run.write_history(rows)
    return run.path


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    values = dict(zip(METHODS, ((40.0, 30.0, 40.0), (40.0, 50.0, 52.0), (70.0, 80.0, 80.0)), strict=True))
    return {method: write_run(tmp_path, method, values=values[method]) for method in METHODS}


class TestGap:
    def test_accuracies_are_the_result_and_the_spread_of_its_evaluations(self, runs: dict[str, Path]) -> None:
        table = run_accuracies(runs)
        assert table[table["stream"] == "fused"][["method", "mean", "evaluations"]].to_numpy().tolist() == [
            ["Source-only", 35.0, 2],
            ["MM-SADA", 51.0, 2],
            ["Supervised target", 80.0, 2],
        ]
        assert table["sd"].tolist() == pytest.approx(
            [np.std([30, 40], ddof=1)] * 2 + [np.std([50, 52], ddof=1)] * 2 + [0, 0]
        )
        assert table.query("stream == 'flow'")["mean"].tolist() == [55.0, 71.0, 100.0]

    def test_the_gap_and_what_is_won_by_hand(self, runs: dict[str, Path]) -> None:
        table = gap_won(run_accuracies(runs))
        assert list(table.index) == ["fused", "flow"]
        assert table.loc["fused"].tolist() == [35.0, 51.0, 80.0, 45.0, 16.0]
        assert list(table) == ["Source-only", "MM-SADA", "Supervised target", "gap", "won back"]

    def test_a_gap_needs_three_methods(self, runs: dict[str, Path]) -> None:
        runs.pop("mmsada")
        with pytest.raises(UserError, match="2 methods; give three"):
            gap_won(run_accuracies(runs))

    def test_a_run_without_an_accuracy_is_refused(self, tmp_path: Path) -> None:
        path = write_run(tmp_path, "mmsada", target={})
        with pytest.raises(UserError, match="no accuracy on its target"):
            run_accuracies({"mmsada": path})

    def test_numbers_stand_where_nothing_covers_them(self, runs: dict[str, Path]) -> None:
        accuracies = run_accuracies(runs)
        figure = draw_gap_won(accuracies, title="t")
        for bar in figure.data:
            assert bar.text == tuple(f"{y:.1f}" for y in bar.y)
            assert (bar.textposition, bar.insidetextanchor, bar.textangle) == ("inside", "start", 0)
            assert all(y - sd > 10 for y, sd in zip(bar.y, bar.error_y.array, strict=True)), "the foot is free"
            assert bar.marker.color == style.METHOD_COLOURS[bar.name]
        notes = {note.x: note for note in figure.layout.annotations}
        assert notes["fused"].text == "gap 45.0<br>won back 16.0"
        for stream, of_stream in accuracies.groupby("stream"):
            assert notes[stream].y > (of_stream["mean"] + of_stream["sd"]).max(), "above every error bar"
            assert notes[stream].yanchor == "bottom"
        assert "last 2 evaluations" in figure.layout.xaxis.title.text
        assert "bdata" not in figure.to_json()

    def test_a_single_evaluation_has_no_spread(self, tmp_path: Path) -> None:
        paths = {m: write_run(tmp_path, m, evaluations=1) for m in METHODS}
        figure = draw_gap_won(run_accuracies(paths))
        assert not any(bar.error_y.visible for bar in figure.data)
        assert "no spread" in figure.layout.xaxis.title.text

    def test_a_line_for_each_method(self, runs: dict[str, Path]) -> None:
        curves = method_curves(runs)
        assert list(curves["name"].unique()) == ["Source-only", "MM-SADA", "Supervised target"]
        assert curves.query("name == 'MM-SADA'")["mean"].tolist() == [40.0, 50.0, 52.0]
        assert curves.query("name == 'MM-SADA'")["averaged"].tolist() == [False, True, True]
        assert method_curves(runs, stream="flow")["mean"].max() == 100.0


class TestClipsWon:
    def write(self, folder: Path, predicted: dict[str, list[int]], **changes: Any) -> Path:
        """Three segments of the target and one of the source, of class 1 but for one without a label."""
        folder.mkdir()
        facts = {"side": np.array(["source", "target", "target", "target"]), "label": np.array([1, 1, 1, -1])}
        facts |= {"uid": np.array(["s", "a", "b", "c"]), **changes}
        write_arrays(folder / "features.npz", facts)
        windows = {f"w_{s}": np.eye(3, dtype=np.float16)[np.array(k)][:, None] for s, k in predicted.items()}
        write_arrays(folder / "windows.npz", windows)
        return folder

    def test_segments_of_the_target_by_hand(self, tmp_path: Path) -> None:
        before = self.write(tmp_path / "before", {"fused": [1, 0, 1, 1], "rgb": [1, 1, 0, 0]})
        after = self.write(tmp_path / "after", {"fused": [0, 1, 1, 1], "rgb": [1, 0, 0, 0]})
        clips = clips_won(before, after)
        assert clips.index.tolist() == ["a", "b"], "neither the source nor a segment without a label"
        assert clips.to_dict("list") == {
            "before": [False, True],
            "before rgb": [True, False],
            "after": [True, True],
            "after rgb": [False, False],
        }

    def test_windows_are_averaged(self, tmp_path: Path) -> None:
        """Two windows for class 0 by a little, one for class 1 by much."""
        path = self.write(tmp_path / "run", {"fused": [1, 1, 1, 1]})
        window = np.array([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1], [0.0, 1.0, 0.0]], dtype=np.float16)
        write_arrays(path / "windows.npz", {"w_fused": np.stack([window] * 4)})
        assert clips_won(path, path)["after"].tolist() == [True, True]

    def test_other_segments_are_refused(self, tmp_path: Path) -> None:
        one = self.write(tmp_path / "one", {"fused": [1] * 4})
        other = self.write(tmp_path / "other", {"fused": [1] * 4}, uid=np.array(["s", "a", "x", "c"]))
        with pytest.raises(UserError, match="tested on other segments"):
            clips_won(one, other)


def rows(*, worlds: int = 4, loses: str = "") -> pd.DataFrame:
    """What `load_runs` gives; MM-SADA gains as many points as the number of its world, and a point a seed."""
    table = []
    for method in ("source_only", "mmsada"):
        for source, target in PAIRS:
            config = build_config("quick", data="kitchens", method=method, source=source, target=target)
            gain = 0.0 if method == "source_only" else -5.0 if f"{source}→{target}" == loses else 1.0
            shared = {"setting": config.digest, "method": method, "source": source, "target": target, "stream": "fused"}
            table += [
                {**shared, "world": w, "seed": 10 * w + s, "top1": 50.0 + gain * (w + 1 + s)}
                for w in range(worlds)
                for s in (0, 1)
            ]
    return pd.DataFrame(table)


class TestGains:
    def test_differences_by_world_seed_and_pair(self) -> None:
        gains = preset_gains(rows())
        assert list(gains) == [f"{source}→{target}" for source, target in PAIRS]
        assert gains.groupby("world").mean()["D1→D3"].tolist() == [1.5, 2.5, 3.5, 4.5]
        assert len(gains) == 8

    def test_other_settings_are_left_out(self) -> None:
        swept = rows().assign(setting="another", top1=99.0)
        pd.testing.assert_frame_equal(preset_gains(pd.concat([swept, rows()])), preset_gains(rows()))

    def test_what_only_one_method_has_is_left_out(self) -> None:
        lacking = rows().query("not (method == 'mmsada' and seed == 31 and source == 'D2' and target == 'D1')")
        assert preset_gains(lacking).index.get_level_values("seed").tolist() == [0, 1, 10, 11, 20, 21, 30]

    def test_no_such_runs(self) -> None:
        with pytest.raises(UserError, match="no run of source_only on epic:ROOT as preset quick has it"):
            preset_gains(rows().query("method == 'source_only'"), better="source_only", data="epic:ROOT")

    def test_numbers_stand_above_the_error_bars(self) -> None:
        figure = draw_gains(preset_gains(rows(loses="D3→D2")), title="t")
        (bars,) = figure.data
        notes = {note.x: note for note in figure.layout.annotations if note.x in bars.x}
        for pair, mean, sd, colour in zip(bars.x, bars.y, bars.error_y.array, bars.marker.color, strict=True):
            assert notes[pair].text == f"{mean:+.1f}"
            assert notes[pair].y == pytest.approx(max(mean, 0) + sd, abs=0.01)
            assert colour == (style.GREY if pair == "D3→D2" else style.INK)
        assert "± sd over 4 worlds" in figure.layout.xaxis.title.text
        assert "bdata" not in figure.to_json()

    def test_the_band_is_the_interval_over_worlds(self) -> None:
        four, three = (draw_gains(preset_gains(rows(worlds=k))) for k in (4, 3))
        bands = [shape for shape in four.layout.shapes if shape.type == "rect"]
        means = np.array([1.5, 2.5, 3.5, 4.5])
        half = 3.182 * means.std(ddof=1) / 2  # Student's t of 3 degrees of freedom
        assert (bands[0].y0, bands[0].y1) == pytest.approx((3 - half, 3 + half), abs=0.06)
        assert not [shape for shape in three.layout.shapes if shape.type == "rect"], "too few for an interval"
