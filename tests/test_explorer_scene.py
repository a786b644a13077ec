"""From run folders to a scene and its page: the right runs, the right numbers, and a word on what is missing."""

from __future__ import annotations

import base64
import inspect
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from toy import CLASSES, toy_config, toy_data
from typer.testing import CliRunner

from mmsada_lab.analysis import style
from mmsada_lab.cli.main import app, explore
from mmsada_lab.cli.report import report
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.explorer.page import POLICY, VIEW, script_json, write_page
from mmsada_lab.explorer.scene import ExplorerScene, build_scene
from mmsada_lab.explorer.views import NOT_KEPT, Series, View, collect_views
from mmsada_lab.runs import load_predictions, load_runs, read_arrays, read_manifest, write_arrays, write_json
from mmsada_lab.sweeps.report.folder import ExplorerPlan

pytestmark = pytest.mark.usefixtures("toy_format")
LAMBDAS = {"0": 0.0, "1": 0.2, "5": 1.0}
"""λd as a scene writes it -> the reversal coefficient."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, a sweep of λd, a second seed, another pair: all on the toy."""
    folder = tmp_path_factory.mktemp("runs")
    configs = [
        toy_config(method, keep_features=3) for method in ("source_only", "adabn", "mmsada", "supervised_target")
    ]
    configs += [toy_config("mmsada", reversal_coefficient=value, keep_features=3) for value in LAMBDAS.values()]
    configs += [toy_config("mmsada", seed=1, keep_features=3), toy_config("mmsada", pair="BA")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.FORMATS, "toy", toy.TOY)
        for config in configs:
            run_experiment(config, folder, device="cpu", workers=0, show_progress=False)
    return folder


@pytest.fixture(scope="module")
def scene(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> ExplorerScene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.FORMATS, "toy", toy.TOY)
        return build_scene(runs, jobs=1, cache_dir=tmp_path_factory.mktemp("cache"))


def decoded(entry: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(entry["base64"]), entry["dtype"]).reshape(entry["shape"])


def series(scene: ExplorerScene, key: str) -> dict[str, dict[str, Any]]:
    (found,) = [s for s in scene.content["series"] if s["key"] == key]
    return {view["key"]: view for view in found["views"]}


def folder_of(runs: Path, method: str = "mmsada", *, seed: int = 0, coefficient: float | None = None) -> Path:
    config = toy_config(method, seed=seed, **({} if coefficient is None else {"reversal_coefficient": coefficient}))
    listed = load_runs(runs)
    (path,) = listed.loc[listed["digest"] == config.digest, "path"].unique()
    return Path(path)


class TestWhichRuns:
    def test_series(self, scene: ExplorerScene) -> None:
        keys = {s["key"]: [view["key"] for view in s["views"]] for s in scene.content["series"]}
        assert keys["method"] == ["source_only", "adabn", "mmsada"], "supervised target has no source to be mapped"
        assert keys["λd"] == list(LAMBDAS)
        assert keys["seed"] == ["0", "1"]
        assert keys["checkpoint"] == ["3", "8", "12"]
        assert scene.content["reference"] == {"series": "method", "view": "source_only"}
        assert "λc" not in keys

    def test_the_method_s_run_is_the_usual_one_of_a_sweep(self, runs: Path, scene: ExplorerScene) -> None:
        usual = read_arrays(folder_of(runs) / "predictions.npz")["p_fused"][-1].argmax(axis=1)
        target = decoded(scene.content["points"]["domain"]) == 1
        np.testing.assert_array_equal(decoded(series(scene, "method")["mmsada"]["predicted"])[0][target], usual)

    def test_the_pair_with_most_runs_unless_another_is_asked_for(self, runs: Path) -> None:
        views = collect_views(runs)
        assert str(views.pair) == "A→B"
        assert any("B→A of toy" in note for note in views.notes)
        assert str(collect_views(runs, source="B", target="A").pair) == "B→A"
        with pytest.raises(UserError, match="no finished run of source C"):
            collect_views(runs, source="C")

    def test_a_seed_can_be_chosen(self, runs: Path) -> None:
        views = collect_views(runs, seed=1)
        assert [view.key for view in views.series[0].views] == ["mmsada"]

    def test_series_can_be_chosen(self, runs: Path, tmp_path: Path) -> None:
        chosen = build_scene(runs, series=["checkpoint", "λd"], clips=0, cache_dir=tmp_path).content
        assert [each["key"] for each in chosen["series"]] == ["checkpoint", "λd"]
        assert chosen["reference"] is None, "source-only is not shown"
        lacking = build_scene(runs, series=["method", "λc"], clips=0, cache_dir=tmp_path).content
        assert "the runs have no λc to walk through" in lacking["notes"]
        with pytest.raises(UserError, match="have no λc to walk through; choose method, λd, seed, checkpoint"):
            build_scene(runs, series=["λc"])
        with pytest.raises(UserError, match="unknown series 'step'; choose method, λd, λc, seed, checkpoint"):
            build_scene(runs, series=["step"])

    def test_runs_of_other_data_are_left_out_and_told(self, runs: Path, tmp_path: Path) -> None:
        shutil.copytree(runs, tmp_path / "runs")
        path = folder_of(tmp_path / "runs", "adabn") / "manifest.json"
        write_json(path, read_manifest(path) | {"classes": ["x", "y", "z"]})
        views = collect_views(tmp_path / "runs")
        assert [view.key for view in views.series[0].views] == ["source_only", "mmsada"]
        assert any("1 runs are of other data" in note for note in views.notes)

    def test_a_run_that_was_interrupted_is_left_out_and_told(
        self, runs: Path, scene: ExplorerScene, tmp_path: Path
    ) -> None:
        shutil.copytree(runs, tmp_path / "runs")
        path = folder_of(tmp_path / "runs", "adabn") / "manifest.json"
        write_json(path, read_manifest(path) | {"status": "running", "result": None})
        views = collect_views(tmp_path / "runs")
        assert [view.key for view in views.series[0].views] == ["source_only", "mmsada"]
        assert "1 run is not finished: left out; start again and it continues" in views.notes
        assert not any("finished" in note for note in scene.content["notes"])

    def test_runs_without_features(self, runs: Path, tmp_path: Path) -> None:
        shutil.copytree(runs, tmp_path / "runs")
        for path in (tmp_path / "runs").rglob("features.npz"):
            path.unlink()
        with pytest.raises(UserError, match=r"has its features\.npz"):
            collect_views(tmp_path / "runs")


class TestWhatIsShown:
    def test_points(self, scene: ExplorerScene) -> None:
        data, points = toy_data(), scene.content["points"]
        segments = [*data.domain("A").test, *data.domain("B").test]
        assert points["uid"] == [segment.uid for segment in segments]
        assert decoded(points["label"]).tolist() == [segment.label for segment in segments]
        assert decoded(points["domain"]).tolist() == [0] * len(data.domain("A").test) + [1] * len(data.domain("B").test)
        assert scene.content["classes"] == list(CLASSES)
        modalities = list(toy_config("mmsada").modalities)
        assert scene.content["modalities"] == modalities
        assert [panel["key"] for panel in scene.content["panels"]] == ["fused", *modalities]
        assert {decoded(view["positions"]).shape[0] for s in scene.content["series"] for view in s["views"]} == {3}

    def test_predictions_are_the_network_s(self, runs: Path, scene: ExplorerScene) -> None:
        windows = read_arrays(folder_of(runs, "source_only") / "windows.npz")
        view = series(scene, "method")["source_only"]
        for panel, stream in enumerate(("fused", "rgb", "flow")):
            mean = windows[f"w_{stream}"].astype(np.float32).mean(axis=1)
            sure = np.sort(mean, axis=1)
            clear = sure[:, -1] - sure[:, -2] > 0.01
            np.testing.assert_array_equal(decoded(view["predicted"])[panel][clear], mean.argmax(axis=1)[clear])
            np.testing.assert_allclose(decoded(view["confidence"])[panel] / 255, mean.max(axis=1), atol=0.01)
            shown = decoded(view["windows"])[panel] / 255
            np.testing.assert_allclose(shown, windows[f"w_{stream}"].astype(float), atol=0.004)

    def test_accuracies(self, runs: Path, scene: ExplorerScene) -> None:
        table = load_predictions(folder_of(runs)).query("stream == 'rgb'")
        last = table[table["step"] == table["step"].max()]
        right = 100 * (last["label"] == last["predicted"]).mean()
        assert series(scene, "method")["mmsada"]["accuracy"]["rgb"]["B"] == pytest.approx(right, abs=0.06)

    def test_maps_of_a_series_share_their_scale(self, scene: ExplorerScene) -> None:
        for found in scene.content["series"]:
            positions = np.stack([decoded(view["positions"]) for view in found["views"]])  # (views, panels, N, 2)
            assert positions.dtype == np.int16
            assert (np.abs(positions.astype(int)).max(axis=(0, 2, 3)) >= 31999).all(), "each panel fills its square"
            assert found["views"][0]["travel"] is None
            assert all(set(view["travel"]) == {"fused", "rgb", "flow"} for view in found["views"][1:])

    def test_neighbours(self, scene: ExplorerScene) -> None:
        view, side = series(scene, "method")["mmsada"], decoded(scene.content["points"]["domain"])
        own, across = decoded(view["own"]), decoded(view["across"])
        assert own.shape == (3, len(side))
        assert own.max() <= 100
        assert across.shape == (3, len(side), 5)
        assert (side[across] != side[None, :, None]).all()

    def test_neighbours_by_brute_force(self, runs: Path, scene: ExplorerScene) -> None:
        values = read_arrays(folder_of(runs) / "features.npz")["f_flow"].astype(float)
        distances = np.linalg.norm(values[:, None] - values[None], axis=2)
        np.fill_diagonal(distances, np.inf)  # nobody is his own neighbour
        side = decoded(scene.content["points"]["domain"])
        own = (side[np.argsort(distances, kind="stable")[:, :10]] == side[:, None]).mean(axis=1)
        np.testing.assert_allclose(decoded(series(scene, "method")["mmsada"]["own"])[2], 100 * own, atol=0.5)

    def test_the_sweep(self, runs: Path, scene: ExplorerScene) -> None:
        (sweep,) = scene.content["sweeps"]
        assert sweep["values"] == [0.0, 1.0, 5.0]
        table = (
            load_runs(runs).query("stream == 'fused' and source == 'A' and target == 'B'").set_index("digest")["top1"]
        )
        for value, mean in zip(LAMBDAS.values(), sweep["accuracy"]["mean"], strict=True):  # seed 0, which all have
            assert mean == pytest.approx(table[toy_config("mmsada", reversal_coefficient=value).digest], abs=0.01)
        assert set(sweep["opponents"]) == {"D, rgb", "D, flow", "C, correspondence"}
        assert len(sweep["recall"]) == 3
        assert all(len(row) == len(CLASSES) for row in sweep["recall"])
        assert sweep["series"] == "λd"
        assert sweep["baseline"]["top1"] == pytest.approx(table[toy_config("source_only").digest], abs=0.01)

    def test_clips_are_those_of_the_points(self, scene: ExplorerScene) -> None:
        assert scene.strips is not None
        assert set(scene.strips.coded) == {"rgb", "flow"}
        assert all(len(strips) == len(scene.content["points"]["uid"]) for strips in scene.strips.coded.values())
        facts = scene.content["clips"]
        assert facts["frames"] == scene.strips.size.frames
        assert facts["modalities"]["rgb"]["height"] == 72


class TestWhatIsMissing:
    @pytest.fixture
    def old(self, runs: Path, tmp_path: Path) -> Path:
        """Runs as an older version left them."""
        shutil.copytree(runs, tmp_path / "runs")
        for name in ("windows.npz", "checkpoints.npz"):
            for path in (tmp_path / "runs").rglob(name):
                path.unlink()
        return tmp_path / "runs"

    def test_runs_of_an_older_version_open(self, old: Path, tmp_path: Path) -> None:
        scene = build_scene(old, jobs=1, cache_dir=tmp_path)
        view = series(scene, "method")["mmsada"]
        side = decoded(scene.content["points"]["domain"])
        predicted = decoded(view["predicted"])
        assert (predicted[:, side == 0] == NOT_KEPT).all()
        assert (predicted[:, side == 1] >= 0).all()
        assert view["windows"] is None
        assert view["note"] == "kept no predictions of the source"
        assert set(view["accuracy"]["fused"]) == {"B"}
        assert any("no run kept features of its checkpoints" in note for note in scene.content["notes"])

    def test_data_that_cannot_be_opened(self, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost(_: str) -> None:
            raise UserError("no folder /nowhere")

        monkeypatch.setattr("mmsada_lab.datasets.open.load_data", lost)
        scene = build_scene(runs, jobs=1, cache_dir=tmp_path)
        assert scene.content["clips"] is None
        assert "no clips: no folder /nowhere" in scene.content["notes"]

    def test_segments_are_sampled_by_domain_and_class(self, runs: Path, tmp_path: Path) -> None:
        scene = build_scene(runs, jobs=1, cache_dir=tmp_path, at_most=12, clips=0)
        points = scene.content["points"]
        assert len(points["uid"]) <= 12
        assert set(zip(decoded(points["domain"]).tolist(), decoded(points["label"]).tolist(), strict=True)) == {
            (side, label) for side in (0, 1) for label in range(3)
        }
        assert "drawn by domain and class (seed 0)" in scene.content["notes"][0]
        again = build_scene(runs, jobs=1, cache_dir=tmp_path, at_most=12, clips=0)
        assert again.content == scene.content

    def test_a_million_segments_are_sampled_in_their_shares(self, runs: Path) -> None:
        count, rng = 1_000_000, np.random.default_rng(5)
        label = rng.choice(50, count, p=np.arange(1, 51) / np.arange(1, 51).sum())
        label[:3] = 50  # a class of three
        side = np.where(rng.random(count) < 0.3, "source", "target")
        side[:3] = "target"
        rows = np.arange(count)
        features = {"rgb": rows[:, None].astype(np.float32)}
        view = View("a", "A", None, features, {"fused": np.ones((count, 1), np.float32)}, {})
        many = replace(
            collect_views(runs), uid=rows.astype(str), side=side, label=label, series=(Series("method", "m", (view,)),)
        )
        began = time.perf_counter()
        drawn = many.sampled(2000)
        assert time.perf_counter() - began < 10
        (shown,) = drawn.series[0].views
        chosen = drawn.uid.astype(int)
        np.testing.assert_array_equal(chosen, np.unique(chosen))
        np.testing.assert_array_equal(shown.features["rgb"][:, 0], chosen)
        np.testing.assert_array_equal((drawn.side, drawn.label.astype(str)), (side[chosen], label[chosen].astype(str)))
        for of_side in ("source", "target"):
            for k in range(50):
                expected = ((side == of_side) & (label == k)).sum() * 2000 / count
                assert max(1, int(expected)) == ((drawn.side == of_side) & (drawn.label == k)).sum()
        assert (drawn.label == 50).sum() == 1
        assert drawn.notes[0] == f"{len(chosen)} of 1000000 segments are shown, drawn by domain and class (seed 0)"
        np.testing.assert_array_equal(many.sampled(2000).uid, drawn.uid)
        assert (many.sampled(2000, seed=1).uid != drawn.uid).any()

    def test_clips_beyond_the_budget_are_told(self, runs: Path, tmp_path: Path) -> None:
        scene = build_scene(runs, jobs=1, cache_dir=tmp_path, at_most=12, clips=0.0001)
        assert scene.strips.size.frames == 1
        notes = " ".join(scene.content["notes"])
        assert "clips are shown smaller than usual (1 frames of 32 pixels' height" in notes
        assert "give a larger budget" in notes
        assert scene.content["clips"]["frames"] == 1

    def test_unlabelled_segments(self, runs: Path, tmp_path: Path) -> None:
        shutil.copytree(runs, tmp_path / "runs")
        for path in (tmp_path / "runs").rglob("features.npz"):
            arrays = read_arrays(path)
            write_arrays(path, arrays | {"label": np.full_like(arrays["label"], -1)})
        scene = build_scene(tmp_path / "runs", jobs=1, cache_dir=tmp_path, clips=0)
        assert (decoded(scene.content["points"]["label"]) == -1).all()
        assert series(scene, "method")["mmsada"]["accuracy"] == {"fused": {}, "rgb": {}, "flow": {}}

    def test_too_few_segments_asked_for(self, runs: Path) -> None:
        with pytest.raises(UserError, match="give 4 or more"):
            build_scene(runs, at_most=2)


class TestThePage:
    def test_it_is_closed(self, scene: ExplorerScene, tmp_path: Path) -> None:
        text = write_page(scene, tmp_path / "map.html").read_text()
        assert POLICY in text
        assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", text)
        assert not re.findall(r"@import|url\((?!data:)", text)

    def test_its_scene_is_whole(self, scene: ExplorerScene, tmp_path: Path) -> None:
        text = write_page(scene, tmp_path / "map.html").read_text()
        (inside,) = re.findall(r'<script type="application/json" id="scene">(.*?)</script>', text, re.S)
        assert json.loads(inside) == scene.content
        (clips,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', text, re.S)
        assert base64.b64decode(json.loads(clips)["rgb"][3]) == scene.strips.coded["rgb"][3]

    def test_no_name_ends_a_script(self) -> None:
        text = script_json({"class": "</script><script>alert(1)</script><!--"})
        assert "<" not in text
        assert json.loads(text) == {"class": "</script><script>alert(1)</script><!--"}
        with pytest.raises(ValueError, match="not JSON compliant"):
            script_json({"value": float("nan")})

    def test_the_command(self, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MMSADA_CACHE", str(tmp_path / "cache"))
        done = CliRunner().invoke(app, ["explore", str(runs), "--out", str(tmp_path / "map.html"), "--jobs", "1"])
        assert done.exit_code == 0, done.output
        assert "views 3 by method" in done.output
        assert (tmp_path / "map.html").stat().st_size > 10_000
        refused = CliRunner().invoke(app, ["explore", str(runs), "--out", str(tmp_path / "map.pdf")])
        assert isinstance(refused.exception, UserError)


def test_defaults_of_the_commands_are_those_of_the_library() -> None:
    """The commands write theirs out, since their help must not load what makes maps."""
    library = inspect.signature(build_scene).parameters
    for command, names in ((explore, ("at_most", "steadiness", "clips", "jobs")), (report, ("clips", "jobs"))):
        given = inspect.signature(command).parameters
        assert {name: given[name].default for name in names} == {name: library[name].default for name in names}
    assert ExplorerPlan() == ExplorerPlan(clips=library["clips"].default, jobs=library["jobs"].default)


class TestColours:
    def test_the_view_has_those_of_figures(self, scene: ExplorerScene) -> None:
        colours = scene.content["colours"]
        assert colours["sides"] == style.DOMAIN_COLOURS
        assert colours["streams"] == {name: c for name, c in style.STREAM_COLOURS.items() if c != style.INK}
        assert tuple(colours["cycle"]) == style.CYCLE
        assert (colours["less"], colours["more"]) == (style.DIFFERENCE_SCALE[0][1], style.DIFFERENCE_SCALE[-1][1])
        assert colours["deep"] == [style.PERCENT_SCALE[-1][1], style.KERNEL_SCALE[0][1]]

    def test_no_colour_is_declared_a_second_time(self) -> None:
        """Black, white and the grounds of the page are no colours with a meaning."""
        sources = {path.name: path.read_text() for path in VIEW.glob("*.js")}
        declared = {colour.lower() for text in sources.values() for colour in re.findall(r"#[0-9a-fA-F]{6}", text)}
        assert declared == {"#ffffff", "#000000", "#17191d"}


def test_the_second_time_nothing_is_fitted(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build_scene(runs, jobs=1, cache_dir=tmp_path, clips=0)

    def refuse(*_: Any, **__: Any) -> Callable[..., Any]:
        raise AssertionError("maps are in the cache")

    monkeypatch.setattr("mmsada_lab.explorer.scene.aligned_maps", refuse)
    assert build_scene(runs, jobs=1, cache_dir=tmp_path, clips=0).content == one.content
