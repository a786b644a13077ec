"""Recipes ask for the runs the paper's tables need; reports say what runs hold, to the last digit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy import SMALL, toy_data

from mmsada_lab.analysis.paper_figures import (
    class_shares,
    draw_class_shares,
    draw_target_curves,
    target_curves,
)
from mmsada_lab.analysis.report import (
    LEFT_OUT,
    PAPER_LINE,
    ReportLine,
    describe_runs,
    format_report,
    render_html,
    render_markdown,
    report_table,
)
from mmsada_lab.analysis.sweep import draw_sweep, draw_sweep_game, sweep_game, sweep_means
from mmsada_lab.analysis.tables import MEAN, TEST_SE
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.kitchens.kinds import KINDS
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import PAIRS, PAPER_DIFFERENCES
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_runs, split_world
from mmsada_lab.sweeps.grid import unique_configs
from mmsada_lab.sweeps.recipes import (
    ABLATIONS,
    KIND_METHODS,
    LAMBDA_C,
    LAMBDA_D,
    RECIPES,
    Recipe,
    find_recipe,
    row_configs,
    row_digests,
)
from mmsada_lab.sweeps.reproduce import reproduce

GRID = {"data": "kitchens", "preset": "quick", "domains": ("D1", "D2", "D3"), "seeds": (0, 1)}


def recipe_configs(recipe: Recipe) -> list[ExperimentConfig]:
    return unique_configs(config for row in recipe.rows for config in row_configs(row, **GRID))


class TestRecipes:
    def test_runs_of_every_recipe(self) -> None:
        """Six pairs and two seeds a line; supervised target has three runs a seed; lines of one setting share them."""
        counts = {name: len(recipe_configs(recipe)) for name, recipe in RECIPES.items()}
        assert counts == {
            "table1": 2 * (7 * 6 + 3),
            "table2": 2 * 7 * 6,
            "table3": 2 * 3 * 6,
            "table4": 2 * 2 * 6,
            "fig4": 0,
            "fig5": 2 * 2 * 6,
            "fig6": 2 * 6 * (1 + len(LAMBDA_D)),
            "lambda_c": 2 * 6 * (1 + len(LAMBDA_C)),
            "kinds": 2 * 6 * len(KINDS) * (2 + len(KIND_METHODS)),
            "fig7": 2 * 3 * 6,
            "ablations": 2 * 6 * len(ABLATIONS),
        }

    def test_every_difference_with_an_option_has_a_line(self) -> None:
        """Of MM-SADA, or of the method that it is about; the evaluations' distance is no difference in what is run."""
        changed = {key for _, changes in ABLATIONS.values() for key in changes}
        wanted = {difference.option for difference in PAPER_DIFFERENCES if difference.option} - {"evaluate_every"}
        assert wanted <= changed
        for title, (method, changes) in ABLATIONS.items():
            found = build_config("paper", source="D2", target="D1", method=method, overrides=changes)
            # as the preset paper has it; others do not
            same = {"half-and-half correspondence batch", "source-only, twice as many (the paper's)"}
            plain = build_config("paper", source="D2", target="D1", method=method)
            assert (found == plain) == (not changes or title in same), title

    def test_recipes_share_their_runs(self) -> None:
        def digests(name: str) -> set[str]:
            return {config.digest for config in recipe_configs(RECIPES[name])}

        assert digests("table3") < digests("table2")
        assert digests("fig5") < digests("table1")
        assert digests("fig7") < digests("table2")
        assert len(digests("fig6") & digests("table1")) == 2 * 2 * 6, "λd = 1 and source-only"

    def test_runs_of_a_line_are_found_in_every_world(self) -> None:
        """Those of its own setting, whatever world and seed they are of."""
        several = {**GRID, "worlds": (0, 3)}
        ours, theirs = RECIPES["fig5"].rows
        configs = {row.title: row_configs(row, **several) for row in (ours, theirs)}
        found = [
            {"digest": c.digest, "setting": replace(c, seed=0, data=split_world(c.data)[0]).digest}
            for of_row in configs.values()
            for c in of_row
        ]
        grid = {name: GRID[name] for name in ("data", "preset", "domains")}
        for row in (ours, theirs):
            assert row_digests(row, pd.DataFrame(found), **grid) == {c.digest for c in configs[row.title]}
        assert len(configs[ours.title]) == 2 * 2 * 6

    def test_lambda_d_is_what_lines_say(self) -> None:
        for row in RECIPES["fig6"].rows[1:]:
            (config, *_) = row_configs(row, **GRID)
            assert config.lambda_d == pytest.approx(float(row.title.rpartition("= ")[2]))
            assert config.lambda_d == pytest.approx(row.value)
        halved = next(row for row in RECIPES["table2"].rows if row.title == "MM-SADA, lambda_d=0.5")
        assert row_configs(halved, **GRID)[0].lambda_d == pytest.approx(0.5)

    @pytest.mark.parametrize("preset", ["quick", "sensors", "paper", "released"])
    def test_lambda_c_is_what_lines_say_in_both_stages(self, preset: str) -> None:
        rows = RECIPES["lambda_c"].rows[1:]
        assert [row.value for row in rows] == list(LAMBDA_C)
        for row in rows:
            (config, *_) = row_configs(row, **{**GRID, "preset": preset})
            weights = [stage.weights for _, stage in config.stages]
            ratios = [each["correspondence"] / each["classification"] for each in weights]
            assert [config.lambda_c, *ratios] == pytest.approx([row.value] * 3)
        assert len({c.digest for row in rows for c in row_configs(row, **GRID)} & self.of_table1()) == 2 * 6, "λc = 5"

    def of_table1(self) -> set[str]:
        return {config.digest for config in recipe_configs(RECIPES["table1"])}

    @pytest.mark.parametrize("preset", ["quick", "sensors", "paper", "released"])
    def test_every_ablation_changes_something_in_some_preset(self, preset: str) -> None:
        beyond = {"sensors": {"synchronous positives, negatives of another moment"}}.get(preset, set())
        rows = [row for row in RECIPES["ablations"].rows if row.title not in beyond]
        digests = {row.title: row_configs(row, **{**GRID, "preset": preset})[0].digest for row in rows}
        same = {title for title, digest in digests.items() if list(digests.values()).count(digest) > 1}
        allowed = {
            "quick": set(),
            "sensors": set(),
            "paper": {"MM-SADA", "half-and-half correspondence batch"},
            "released": {
                "MM-SADA",
                "half-and-half correspondence batch",
                "16 outputs for 8 classes",
                "learning rate 0.01 in both stages",
                "MCD",
                "MCD, reversal up to 1 (released)",
            },
        }
        assert same == allowed[preset]

    def test_titles_are_unique_and_baselines_exist(self) -> None:
        for recipe in RECIPES.values():
            titles = [row.title for row in recipe.rows]
            assert len(set(titles)) == len(titles)
            assert not titles or recipe.baseline in titles
            assert {row.method for row in recipe.rows} <= METHODS.keys()

    def test_unknown(self) -> None:
        with pytest.raises(UserError, match=r"unknown recipe 'tabel1'.*Did you mean 'table1'"):
            find_recipe("tabel1")


def made_runs(*, world: int = 0, **top1: dict[str, list[float]]) -> pd.DataFrame:
    """Runs as `load_runs` gives them: by method, then pair, a list over seeds."""
    rows = []
    for method, pairs in top1.items():
        for pair, values in pairs.items():
            for seed, value in enumerate(values):
                rows.append({"method": method, "source": pair[:2], "target": pair[2:], "seed": seed, "top1": value})
    shared = {"data": "toy", "preset": "quick", "stream": "fused", "selection": "last", "training_seconds": 36.0}
    shared |= {"world": world, "test_segments": 100}
    frame = pd.DataFrame(rows).assign(**shared, device="cpu", version="1", digest=lambda f: f["method"])
    return frame.assign(path=[str(number) for number in range(len(frame))])


RUNS = made_runs(
    source_only={"D2D1": [40.0, 50.0, 60.0], "D1D2": [10.0, 20.0, 30.0]},
    mmsada={"D2D1": [45.0, 55.0, 68.0], "D1D2": [19.0, 24.0, 35.0]},
    mmd={"D2D1": [1.0]},
    supervised_target={"D1D1": [90.0, 91.0, 92.0], "D2D2": [80.0, 82.0, 84.0]},
)
LINES = [
    ReportLine("Source-only", frozenset({"source_only"}), paper={"D2→D1": 42.5, MEAN: 45.5}),
    *(ReportLine(name, frozenset({name})) for name in ("mmsada", "mmd", "supervised_target")),
]


class TestReportTable:
    TABLE = report_table(RUNS, LINES, baseline="Source-only").set_index(["row", "pair"])

    def test_cells(self) -> None:
        assert self.TABLE.loc[("Source-only", "D2→D1"), ["seeds", "top1", "sd", "paper"]].tolist() == [3, 50, 10, 42.5]
        assert list(self.TABLE.index.unique("pair")) == ["D2→D1", "D1→D2", MEAN], "the paper's order"

    def test_the_mean_is_over_pairs_within_seeds(self) -> None:
        mean = self.TABLE.loc[("Source-only", MEAN)]
        assert (mean["top1"], mean["sd"], mean["paper"]) == (35, np.std([25, 35, 45], ddof=1), 45.5)
        assert (mean["worlds"], mean["seeds"]) == (1, 3)

    def test_differences_are_paired(self) -> None:
        """Means over the pairs 7, 4.5 and 6.5: variance 1.75, of their mean 0.583; t of two degrees is 4.30."""
        mean = self.TABLE.loc[("mmsada", MEAN)]
        assert mean["difference"] == pytest.approx(np.mean([5, 5, 8, 9, 4, 5]))
        assert mean[["seeds_low", "seeds_high"]].tolist() == pytest.approx([6 - 3.286, 6 + 3.286], abs=1e-3)
        assert mean[["worlds_low", "worlds_high"]].isna().all()
        assert (mean["worlds_compared"], mean["left_out"]) == (1, "")
        assert np.isnan(self.TABLE.loc[("Source-only", MEAN), "difference"]), "not with itself"

    def test_the_test_sets_standard_error(self) -> None:
        """Of 100 segments at 50 %: 5 points; at 20 %: 4. Two targets, so two test sets."""
        errors = self.TABLE.loc["Source-only"][TEST_SE]
        assert errors.tolist() == pytest.approx([5, 4, np.hypot(5, 4) / 2])
        assert self.TABLE.loc["mmd"][TEST_SE].isna().tolist() == [False, True, True]

    def test_several_worlds(self) -> None:
        """Gains of four worlds 1, 2, 3, 4 over both pairs; the line of one more seed and the one of one world."""
        base = {"D2D1": [40.0, 50.0], "D1D2": [10.0, 20.0]}
        gains = {w: {pair: [value + w for value in values] for pair, values in base.items()} for w in (1, 2, 3, 4)}
        runs = [made_runs(world=w, source_only=base, mmsada=gain) for w, gain in gains.items()]
        runs += [made_runs(world=1, mmd=base, adabn={"D2D1": [1.0] * 3, "D1D2": [1.0] * 3})]
        lines = [ReportLine(name, frozenset({name})) for name in ("source_only", "mmsada", "mmd", "adabn")]
        table = report_table(pd.concat(runs), lines, baseline="source_only").set_index(["row", "pair"])
        mean = table.loc[("mmsada", MEAN)]
        assert mean[["worlds", "seeds", "top1", "difference"]].tolist() == [4, 2, 32.5, 2.5]
        assert mean["sd"] == pytest.approx(np.std([1, 2, 3, 4], ddof=1)), "not that of the seeds, 7.1"
        half = 3.1824 * np.sqrt(5 / 12)
        assert mean[["worlds_low", "worlds_high"]].tolist() == pytest.approx([2.5 - half, 2.5 + half], abs=1e-3)
        assert mean[["seeds_low", "seeds_high"]].tolist() == pytest.approx([2.5, 2.5])
        other = table.loc[("adabn", MEAN), ["worlds", "seeds", "worlds_compared", "left_out"]]
        assert other.tolist() == [1, 3, 1, "7 seeds"], "one of its own, six of the baseline in other worlds"
        shown = format_report(table.reset_index(), baseline="source_only").set_index("")
        assert shown["worlds"].tolist() == ["4", "4", "1", "1"]
        assert shown.loc["mmsada", "95 % over worlds"] == "[+0.4, +4.6]"
        assert shown.loc["mmd", "95 % over worlds"] == "none (1 world)"
        assert shown.loc["mmd", "mean"] == "30.0 ± 7.1", "one world: over its seeds"
        against_one = format_report(report_table(pd.concat(runs), lines, baseline="mmd"), baseline="mmd").set_index("")
        assert against_one.loc["mmsada", ["worlds", "95 % over worlds"]].tolist() == ["4", "none (1 world)"]

    def test_what_is_missing_stays_missing(self) -> None:
        one = self.TABLE.loc[("mmd", "D2→D1")]
        assert (one["seeds"], one["top1"]) == (1, 1)
        assert np.isnan(one["sd"])
        assert np.isnan(self.TABLE.loc[("mmd", MEAN), "top1"]), "no mean of some of the pairs"
        assert np.isnan(self.TABLE.loc[("mmd", MEAN), "difference"])

    def test_supervised_target_stands_under_every_pair_of_its_target(self) -> None:
        assert self.TABLE.loc[("supervised_target", "D2→D1"), "top1"] == 91
        assert self.TABLE.loc[("supervised_target", "D1→D2"), "top1"] == 82

    def test_format_report(self) -> None:
        shown = format_report(self.TABLE.reset_index(), baseline="Source-only").set_index("")
        assert shown.loc["Source-only", "D2→D1"] == "50.0 ± 10.0"
        assert shown.loc[PAPER_LINE, ["seeds", "D2→D1", "D1→D2", MEAN]].tolist() == ["1", "42.5", "–", "45.5"]
        intervals = ["95 % over worlds", "95 % over seeds, worlds fixed"]
        assert shown.loc["mmsada", intervals].tolist() == ["none (1 world)", "[+2.7, +9.3]"]
        assert shown.loc["mmd", ["seeds", MEAN]].tolist() == ["0-1", "–"]
        compared = shown["− Source-only"]
        assert compared["mmsada"] == "+6.0"
        assert compared["mmd"] == "too few runs"
        assert compared["Source-only"] == compared[PAPER_LINE] == ""
        assert shown[TEST_SE].tolist() == ["3.2", "", "3.3", "–", "2.4"]
        assert LEFT_OUT not in shown

    def test_what_is_not_compared_is_named(self) -> None:
        """And only where there is any."""
        pairs = {"D2D1": [40.0, 50.0, 60.0], "D1D2": [10.0, 20.0, 30.0]}
        runs = made_runs(source_only=pairs, mmsada={pair: values[:2] for pair, values in pairs.items()})
        lines = [ReportLine(name, frozenset({name})) for name in ("source_only", "mmsada")]
        shown = format_report(report_table(runs, lines, baseline="source_only"), baseline="source_only").set_index("")
        assert shown[LEFT_OUT].tolist() == ["", "seed 2"]


class TestPages:
    def test_describe_runs(self) -> None:
        text = " ".join(describe_runs(RUNS))
        assert "19 runs on toy (1 world), preset quick" in text
        assert "0.2 hours of training on cpu" in text
        assert "CAUTION" not in text
        assert "CAUTION" in " ".join(describe_runs(RUNS.assign(version=["1", "2"] * 9 + ["1"])))

    def test_a_page_is_closed_escaped_and_offline(self) -> None:
        table = format_report(TestReportTable.TABLE.reset_index(), baseline="Source-only")
        figure = draw_sweep(
            pd.DataFrame({"value": [0, 1], "top1": [1, 2], "sd": [0.1, 0.2], "worlds": 1, "seeds": 3}), name="λd"
        )
        text = render_html("<b>Table & 1", {"": table}, [figure, figure], ["a < b"])
        stack: list[str] = []

        class Closed(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                assert not [value for name, value in attrs if name == "src"]
                stack.extend([tag] if tag not in ("meta", "br") else [])

            def handle_endtag(self, tag: str) -> None:
                assert stack.pop() == tag

        Closed().feed(text)
        assert not stack
        assert "&lt;b&gt;Table &amp; 1" in text
        assert text.count("Plotly.newPlot(") >= 2

    def test_markdown_has_a_cell_for_each_column(self) -> None:
        table = format_report(TestReportTable.TABLE.reset_index(), baseline="Source-only")
        lines = [line for line in render_markdown("T", {"": table}, ["n"]).splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines} == {len(table.columns) + 1}

    def test_tables_stand_under_their_headings(self) -> None:
        tables = {"": pd.DataFrame({"a": [1]}), "Second & last": pd.DataFrame({"b": [2]})}
        assert re.findall(r"^(#+ .*|\| [ab] \|)$", render_markdown("T", tables, []), re.M) == [
            "# T", "| a |", "## Second & last", "| b |",
        ]  # fmt: skip
        headings = re.findall(r'<h2 id="table.*?">(.*?)</h2>|<th>(.)</th>', render_html("T", tables, [], []))
        assert headings == [("", "a"), ("Second &amp; last", ""), ("", "b")]


class TestFigures:
    def test_class_shares(self) -> None:
        shares = class_shares({"A": [1, 3], "B": [5, 5]}, ["x", "y"])
        assert shares["share"].tolist() == [25, 75, 50, 50]
        figure = draw_class_shares(shares)
        assert [list(trace.x) for trace in figure.data] == [[25, 50], [75, 50]]
        assert figure.layout.barmode == "stack"
        assert [list(trace.text) for trace in figure.data] == [["1", "5"], ["3", "5"]]
        assert {trace.textangle for trace in figure.data} == {0}
        narrow = draw_class_shares(class_shares({"A": [1, 99]}, ["x", "y"]))
        assert [list(trace.text) for trace in narrow.data] == [[""], ["99"]], "no number where there is no room"

    def test_curves_of_several_worlds_have_the_spread_of_these(self, tmp_path: Path) -> None:
        """With the same seeds in each: 50 ± 1 and 60 ± 1."""
        rows = []
        for world, (seed, sign) in product((0, 1), enumerate((-1, 1))):
            path = tmp_path / f"{world}{seed}"
            path.mkdir()
            record = {"kind": "evaluation", "stage": "adapt", "step": 5, "total_step": 5}
            line = json.dumps(record | {"values": {"fused/top1": 50 + 10 * world + sign}})
            (path / "history.jsonl").write_text(f"{line}\n")
            row = {"digest": f"{world}{seed}", "source": "D2", "target": "D1", "world": world, "seed": seed}
            rows.append(row | {"path": str(path)})
        runs = pd.DataFrame(rows)
        (curve,) = target_curves(runs, dict.fromkeys(runs["digest"], "MM-SADA")).to_dict("records")
        assert (curve["mean"], curve["worlds"], curve["seeds"]) == (55, 2, 2)
        assert curve["sd"] == pytest.approx(np.std([50, 60], ddof=1))
        title = draw_target_curves(pd.DataFrame([curve])).layout.yaxis.title.text
        assert title == "top-1 (%), ± sd over 2 worlds"

    def test_sweep(self) -> None:
        table = report_table(RUNS, LINES, baseline="Source-only")
        means = sweep_means(table, {"supervised_target": 2.0, "mmsada": 0.5, "mmd": 1.0})
        assert means["value"].tolist() == [0.5, 2.0], "a value without a mean is left out"
        figure = draw_sweep(means, name="λd", baseline=35.0)
        assert list(figure.data[0].error_y.array) == pytest.approx(means["sd"].tolist())
        assert figure.layout.shapes[0].y0 == 35
        assert list(figure.data[0].x) == ["0.5", "2"]
        assert figure.layout.xaxis.type == "category", "0, 0.1, 0.3, 1, 3, 10 stand apart"

    def test_the_game_over_a_sweep(self, tmp_path: Path) -> None:
        """The last third of the second stage, mean over pairs, then seeds, then worlds; spread over worlds."""
        right: dict[tuple[float, str, int], list[float]] = {}
        rows, rng = [], np.random.default_rng(0)
        for number, (value, world, seed, target) in enumerate(product((10.0, 0.0), range(2), range(2), ("D1", "D3"))):
            path = tmp_path / str(number)
            path.mkdir()
            lines = []
            for step in range(15, 106, 15):  # 7 records; after 105 - 90 / 3 = 75 come two
                values = {f"domain_accuracy/{m}": 100 * rng.random() for m in ("rgb", "flow")}
                lines.append({"kind": "game", "stage": "adapt", "step": step, "total_step": 40 + step})
                lines[-1]["values"] = {**values, "domain_loss/rgb": 1.0, "reversal": 0.1, "gradient/mmd/rgb": 2.0}
                if step > 75:
                    right.setdefault((value, "rgb", world), []).append(values["domain_accuracy/rgb"])
            first = {"stage": "pretrain", "total_step": 5, "values": {"correspondence_accuracy": 9}}
            lines.insert(0, {**lines[0], **first})
            (path / "history.jsonl").write_text("\n".join(map(json.dumps, lines)))
            row = {"digest": str(number), "source": "D2", "target": target, "world": world, "seed": seed}
            rows += [{**row, "stream": stream, "value": value, "path": str(path)} for stream in ("fused", "rgb")]
        runs = pd.DataFrame(rows)
        values = dict(zip(runs["digest"], runs.pop("value"), strict=True))
        game = sweep_game(runs, values)
        assert set(zip(game["value"], game["name"], strict=True)) == set(product((0.0, 10.0), ("rgb", "flow")))
        for value in (0.0, 10.0):
            (row,) = game[(game["value"] == value) & (game["name"] == "rgb")].to_dict("records")
            of_worlds = [np.mean(right[value, "rgb", world]) for world in range(2)]
            assert row["right"] == pytest.approx(np.mean(of_worlds))
            assert row["sd"] == pytest.approx(np.std(of_worlds, ddof=1))
            assert (row["worlds"], row["seeds"], row["pairs"]) == (2, 2, 2)
        figure = draw_sweep_game(game, name="λd")
        assert {trace.name: list(trace.x) for trace in figure.data} == {"D, rgb": ["0", "10"], "D, flow": ["0", "10"]}
        assert figure.layout.yaxis.title.text == "right at the end (%, balanced),<br>± sd over 2 worlds"
        assert sweep_game(runs, {}).empty
        assert not draw_sweep_game(sweep_game(runs, {}), name="λd").data


@pytest.mark.usefixtures("toy_format")
class TestReproduce:
    def test_a_figure_from_runs_to_page(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mmsada_lab.sweeps.reproduce.run_grid", in_this_process)
        shared = {"data": "toy", "preset": "quick", "seeds": [0, 1], "overrides": SMALL, "device": "cpu"}
        places = {"runs_dir": tmp_path / "runs", "out": tmp_path / "reports"}
        files, failures = reproduce(RECIPES["fig5"], **shared, **places)
        assert not failures
        assert [path.suffix for path in files] == [".csv", ".md", ".html"]
        assert all(path.stat().st_size for path in files)
        runs = load_runs(tmp_path / "runs")
        assert len(runs.drop_duplicates("path")) == 2 * 2 * 6
        curves = target_curves(runs, dict(zip(runs.digest, runs.method, strict=True)))
        assert set(curves["seeds"]) == {2}
        assert len(draw_target_curves(curves).data) == 6 * 2 * 2, "a line and a band for each pair and method"
        again, _ = reproduce(RECIPES["fig5"], **shared, **places, train=False)
        assert again == files

    def test_a_line_that_a_preset_cannot_have_is_left_out_and_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mmsada_lab.sweeps.reproduce.run_grid", in_this_process)
        chosen = {"MM-SADA", "synchronous positives", "synchronous positives, negatives of another moment"}
        ablations = RECIPES["ablations"]
        recipe = replace(ablations, rows=tuple(row for row in ablations.rows if row.title in chosen))
        shared = {"data": "toy", "preset": "sensors", "seeds": [0], "device": "cpu", "out": tmp_path}
        small = {"backbone": "auto", **SMALL}
        (_, report, _), failures = reproduce(recipe, **shared, runs_dir=tmp_path / "runs", overrides=small)
        text = report.read_text()
        assert not failures
        assert "| synchronous positives |" in text
        assert "| synchronous positives, negatives" not in text
        assert "left out: synchronous positives, negatives of another moment (negatives=moment shows another" in text
        with pytest.raises(UserError, match="unknown override 'widht'"):
            reproduce(recipe, **shared, runs_dir=tmp_path / "runs", overrides={"widht": 3})

    def test_a_report_that_tells_what_rules_of_selection_would_have_cost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mmsada_lab.sweeps.reproduce.run_grid", in_this_process)
        assert [recipe.name for recipe in RECIPES.values() if recipe.selection] == ["table1"]
        wanted = ("Source-only", "AdaBN", "Supervised target")
        rows = tuple(row for row in RECIPES["table1"].rows if row.title in wanted)
        recipe = replace(RECIPES["table1"], rows=rows)
        shared = {"data": "toy", "preset": "quick", "seeds": [0], "overrides": SMALL, "device": "cpu"}
        (_, report, _), _ = reproduce(recipe, **shared, runs_dir=tmp_path / "runs", out=tmp_path)
        text = report.read_text()
        assert "## What each rule of choosing a checkpoint would have reached" in text
        assert re.search(r"\| Source-only \| minus the mean entropy of target predictions \| 6 \| ", text)
        assert re.search(
            r"\| Source-only \| top-1 on the target's labels: a bound, not a rule \| 6 \| .* \| 0\.0 ", text
        )

    @pytest.mark.parametrize("name", ["fig6", "lambda_c"])
    def test_a_sweep_has_a_point_for_each_value(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mmsada_lab.sweeps.reproduce.run_grid", in_this_process)
        drawn: list[object] = []
        monkeypatch.setattr("mmsada_lab.analysis.report.render_html", lambda *given: drawn.extend(given[2]) or "")
        recipe = replace(RECIPES[name], rows=tuple(RECIPES[name].rows[k] for k in (0, 2, 1)))
        shared = {"data": "toy", "preset": "quick", "seeds": [0], "overrides": SMALL, "device": "cpu"}
        reproduce(recipe, **shared, runs_dir=tmp_path / "runs", out=tmp_path)
        figure, game = drawn
        values = [f"{recipe.rows[k].value:g}" for k in (2, 1)]
        assert list(figure.data[0].x) == values
        assert {trace.name: list(trace.x) for trace in game.data} == dict.fromkeys(
            ("D, rgb", "D, flow", "C, correspondence"), values
        )
        assert figure.layout.xaxis.title.text == recipe.swept
        assert figure.layout.shapes[0].y0 == pytest.approx(
            load_runs(tmp_path / "runs").query("method == 'source_only' and stream == 'fused'")["top1"].mean()
        )

    def test_classes_need_no_run(self, tmp_path: Path) -> None:
        shared = {"data": "toy", "preset": "quick", "seeds": [0], "runs_dir": tmp_path / "runs", "out": tmp_path}
        (path,), _ = reproduce(RECIPES["fig4"], **shared)
        assert f"A ({len(toy_data().domain('A').train)} segments)" in path.read_text()

    def test_nothing_finished(self, tmp_path: Path) -> None:
        shared = {"data": "toy", "preset": "quick", "seeds": [0], "runs_dir": tmp_path / "runs", "out": tmp_path}
        with pytest.raises(UserError, match="train something first"):
            reproduce(RECIPES["table1"], **shared, train=False)


def in_this_process(configs, runs_dir, **_):
    from mmsada_lab.experiment import run_experiment

    for config in configs:
        run_experiment(config, runs_dir, device="cpu", workers=0, show_progress=False)
    return []


def test_pairs_of_the_paper_come_first() -> None:
    table = report_table(RUNS, LINES, baseline="Source-only")
    assert [p for p in map(str, PAIRS) if p in set(table["pair"])] == list(table["pair"].unique())[:-1]
