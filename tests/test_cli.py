"""The command: what it prints, and that every mistake is a message on stderr with status 2 and no traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from toy import SMALL, TOY, Mmsada, Said, run_toy
from typer.main import get_command

from mmsada_lab import __version__
from mmsada_lab.analysis.tables import results_table
from mmsada_lab.cli import main as cli
from mmsada_lab.cli.options import parse_overrides
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import FORMATS
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.files import locate
from mmsada_lab.presets import has_effect, override_keys
from mmsada_lab.runs import find_runs, load_runs, read_manifest
from mmsada_lab.sweeps import batch
from mmsada_lab.sweeps.grid import build_grid, load_grid
from mmsada_lab.sweeps.jobs import Busy, Failure

pytestmark = pytest.mark.usefixtures("toy_format")
SMALL_OPTIONS = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]


def training(runs: Path, *words: str, source: str = "A", target: str = "B") -> list[str | Path]:
    options = ["--data", "toy", "--source", source, "--target", target, "--runs", runs, "--workers", "0"]
    return ["train", *options, "--device", "cpu", *SMALL_OPTIONS, *words]


def in_turn(
    configs: list[ExperimentConfig],
    runs: Path,
    *,
    jobs: int,
    device: str,
    scheduler: str | None = None,
    notebook: object = None,
) -> list[Failure]:
    """`run_grid` without processes."""
    failures = []
    for config in configs:
        try:
            run_toy(config, runs, device)
        except UserError as error:
            failures.append(Failure(config, str(error)))
    return failures


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on two pairs with two seeds."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "toy", TOY)
        methods = ["source_only", "adabn"]
        configs = build_grid(["A", "B"], methods=methods, seeds=range(2), data="toy", preset="quick", overrides=SMALL)
        assert in_turn(configs, folder, jobs=1, device="cpu") == []
    return folder


class TestTrain:
    def test_prints_what_was_reached_and_where_it_is(self, mmsada: Mmsada, tmp_path: Path) -> None:
        said = mmsada(
            *training(tmp_path, "--method", "adversarial_only", "--seed", "3", "-o", "averaged_evaluations=1")
        )
        assert said.code == 0
        *streams, evaluated, folder = said.out.splitlines()
        assert [line.split()[0] for line in streams] == ["fused", "rgb", "flow"]
        assert evaluated == "on B's test segments, mean of the last 1 evaluations, 3 steps apart"
        manifest = read_manifest(Path(folder) / "manifest.json")
        config = ExperimentConfig(**manifest["config"])
        assert (config.method, config.seed, config.averaged_evaluations, config.adapt.steps) == (
            "adversarial_only",
            3,
            1,
            7,
        )
        assert float(streams[0].split()[2]) == round(manifest["result"]["target"]["fused"]["top1"], 1)

    def test_again_it_is_only_printed(self, mmsada: Mmsada, compared: Path) -> None:
        before = {
            path: path.stat().st_mtime_ns for path in compared.rglob("*") if path.is_file() and path.name != ".lock"
        }
        said = mmsada(*training(compared, "--method", "source_only"))
        assert said.code == 0
        assert "fused" in said.out
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_supervised_target_needs_no_source(self, mmsada: Mmsada, tmp_path: Path) -> None:
        words = training(tmp_path, "--method", "supervised_target")
        del words[3:5]
        assert mmsada(*words).code == 0
        assert [path.parent.name for path in find_runs(tmp_path)] == ["B-B"]

    def test_one_modality(self, mmsada: Mmsada, tmp_path: Path) -> None:
        """Written as one writes it: no quotes, no brackets."""
        said = mmsada(*training(tmp_path, "-o", "modalities=flow"))
        assert said.code == 0
        config = read_manifest(find_runs(tmp_path)[0] / "manifest.json")["config"]
        assert config["modalities"] == ["flow"]
        assert "correspondence" not in config["adapt"]["weights"]


class TestResults:
    def test_csv(self, mmsada: Mmsada, compared: Path) -> None:
        table = pd.read_csv(io.StringIO(mmsada("results", compared, "--format", "csv").out))
        expected = results_table(load_runs(compared))
        pd.testing.assert_frame_equal(table, expected, check_dtype=False)
        assert len(table) == 2 * 2 * 3

    def test_json(self, mmsada: Mmsada, compared: Path) -> None:
        table = json.loads(mmsada("results", compared, "--format", "json").out)
        expected = results_table(load_runs(compared))
        assert [row["pair"] for row in table] == expected["pair"].tolist()
        assert [row["top1"] for row in table] == pytest.approx(expected["top1"].tolist())

    @pytest.mark.parametrize("matrix", [False, True])
    def test_markdown(self, mmsada: Mmsada, compared: Path, matrix: bool) -> None:
        said = mmsada("results", compared, "--format", "md", *["--matrix"] * matrix)
        rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in said.out.splitlines()]
        assert {len(row) for row in rows} == {5 if matrix else 14}
        assert set(rows[1]) == {"---"}
        if matrix:
            assert rows[0] == ["method", "B→A", "A→B", "mean", "± over"]
            assert [row[0] for row in rows[2:]] == ["Source-only", "AdaBN"]
            assert all("±" in cell for row in rows[2:] for cell in row[1:-1])
            assert {row[-1] for row in rows[2:]} == {"2 seeds"}

    def test_text(self, mmsada: Mmsada, compared: Path) -> None:
        said = mmsada("results", compared, "--matrix", "--stream", "rgb")
        assert said.out.split()[:4] == ["method", "B→A", "A→B", "mean"]
        assert len(said.out.splitlines()) == 3

    def test_difference(self, mmsada: Mmsada, compared: Path) -> None:
        said = mmsada("results", compared, "--difference", "adabn,source_only")
        assert said.out.startswith("adabn - source_only, fused: ")
        assert "95 % over worlds: none (1 world; four are needed); over seeds, worlds fixed [" in said.out
        assert said.out.endswith("] (2 pairs, 2 seeds)\n")


class TestCompare:
    options = (
        "compare",
        "--data",
        "toy",
        "--methods",
        "source_only,supervised_target",
        "--seeds",
        "1",
        "--device",
        "cpu",
    )

    def test_trains_the_grid_and_prints_the_table(
        self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batch, "run_grid", in_turn)
        said = mmsada(*self.options, "--domains", "A,B", "--runs", tmp_path, *SMALL_OPTIONS)
        assert said.code == 0
        assert len(find_runs(tmp_path)) == 4
        assert "Source-only" in said.out
        assert "Supervised target" in said.out

    def test_all_domains_by_default(self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr(
            batch,
            "run_grid",
            lambda configs, *_, **__: asked.extend(configs) or [Failure(c, "no") for c in configs],
        )
        assert mmsada(*self.options, "--runs", tmp_path, *SMALL_OPTIONS).code == 1
        assert {str(config.pair) for config in asked} == {"A→B", "B→A", "A→C", "C→A", "B→C", "C→B", "A→A", "B→B", "C→C"}

    def test_failures_are_named_and_the_rest_is_printed(
        self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            batch,
            "run_grid",
            lambda configs, *args, **kwargs: [
                Failure(configs[0], "the disk is full"),
                *in_turn(configs[1:], *args, **kwargs),
            ],
        )
        said = mmsada(*self.options, "--domains", "A,B", "--runs", tmp_path, *SMALL_OPTIONS)
        assert said.code == 1
        assert "failed: source_only A→B seed 0: the disk is full" in said.err
        assert "Traceback" not in said.err
        assert "Supervised target" in said.out

    def test_what_does_not_fit_the_data_is_refused_before_anything_runs(self, mmsada: Mmsada, tmp_path: Path) -> None:
        said = mmsada(*self.options, "--domains", "A,X", "--runs", tmp_path / "runs", *SMALL_OPTIONS)
        assert (said.code, said.err) == (2, "error: unknown domain 'X'; choose A, B, C.\n")
        assert not (tmp_path / "runs").exists()


class TestBatch:
    GRID = f"data: toy\nmethods: [source_only, mmsada]\npairs: [A-B]\nseeds: 2\noverrides: {json.dumps(SMALL)}\n"

    def test_dry_run_shows_the_jobs_and_trains_nothing(self, mmsada: Mmsada, tmp_path: Path) -> None:
        (tmp_path / "GRID.yaml").write_text(self.GRID)
        said = mmsada("batch", tmp_path / "GRID.yaml", "--runs", tmp_path / "runs", "--dry-run")
        assert said.code == 0
        assert said.out.count("to do") == 4
        assert "4 runs, time unknown yet" in said.out
        assert not list(tmp_path.rglob("manifest.json"))

    def test_a_grid_is_run(self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batch, "run_grid", in_turn)
        (tmp_path / "GRID.yaml").write_text(self.GRID)
        asked = ("batch", tmp_path / "GRID.yaml", "--runs", tmp_path / "runs", "--device", "cpu")
        assert mmsada(*asked).code == 0
        assert len(find_runs(tmp_path / "runs")) == 4
        assert mmsada(*asked, "--dry-run").out.count("finished") == 4

    def test_failures_decide_the_exit_status(
        self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kinds = (Busy, Failure)
        monkeypatch.setattr(
            batch,
            "run_grid",
            lambda configs, *_, **__: [kind(c, "why") for kind, c in zip(kinds, configs, strict=False)],
        )
        (tmp_path / "GRID.yaml").write_text(self.GRID)
        said = mmsada("batch", tmp_path / "GRID.yaml", "--runs", tmp_path / "runs")
        assert said.code == 1
        assert "skipped: source_only A→B seed 0: why" in said.err
        assert "failed: " in said.err

    def test_an_unknown_key(self, mmsada: Mmsada, tmp_path: Path) -> None:
        (tmp_path / "GRID.yaml").write_text(self.GRID.replace("seeds", "seedz"))
        said = mmsada("batch", tmp_path / "GRID.yaml")
        assert said.code == 2
        assert "seedz" in said.err
        assert "seeds" in said.err


class TestReproduce:
    def test_a_report_of_what_is_there(self, mmsada: Mmsada, compared: Path, tmp_path: Path) -> None:
        options = ["--data", "toy", "--seeds", "2", "--runs", compared, "--out", tmp_path, *SMALL_OPTIONS]
        said = mmsada("reproduce", "table1", *options, "--report-only")
        assert said.code == 0, said.err
        assert [Path(line).name for line in said.out.splitlines()] == ["table1.csv", "table1.md", "table1.html"]
        assert re.search(r"^\| Source-only \|.*\| 1 \| 2 \|$", (tmp_path / "table1.md").read_text(), flags=re.MULTILINE)

    @pytest.mark.parametrize(("words", "notebook"), [([], None), (["--notebooks"], "05_mmsada.ipynb")])
    @pytest.mark.parametrize("verb", ["compare", "reproduce"])
    def test_runs_by_notebook(
        self, verb: str, words: list[str], notebook: str | None, mmsada: Mmsada, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[object] = []

        def refuse(configs, *_, notebook, **__):
            asked.append(notebook)
            return [Failure(config, "not today") for config in configs]

        monkeypatch.setattr("mmsada_lab.sweeps.batch.run_grid", refuse)
        monkeypatch.setattr("mmsada_lab.sweeps.reproduce.run_grid", refuse)
        mmsada(
            *([verb, "table4"] if verb == "reproduce" else [verb]),
            "--data",
            "toy",
            "--seeds",
            "1",
            *words,
            *SMALL_OPTIONS,
        )
        assert asked == [notebook]

    def test_unknown_recipe(self, mmsada: Mmsada) -> None:
        said = mmsada("reproduce", "table9")
        assert said.code == 2
        assert "unknown recipe 'table9'" in said.err

    def test_gap_and_selection_of_runs(self, mmsada: Mmsada, compared: Path) -> None:
        said = mmsada("gap", find_runs(compared)[0], "--permutations", "19", "--at-least", "5")
        assert said.code == 0, said.err
        assert "a_distance" in said.out
        assert {line.split()[0] for line in said.lines[1:]} == {"evaluation", "own"}
        assert "note: statistics: evaluation, " in said.err
        assert "own, each domain's, as discriminators see features" in said.err
        assert "note: low and high are nominally 95 %; they held the truth in 80 %" in said.err
        said = mmsada("results", compared, "--selection")
        assert said.code == 0, said.err
        assert "oracle" in said.out
        assert "looks at the target's test segments, without their labels" in said.err
        assert "(transductive)" in said.err
        said = mmsada("results", compared)
        assert "note: B: one test segment of sweep (3) or poke (3) or spin (3) moves the mean class" in said.err


class TestKeep:
    def test_runs_are_kept_small_and_read_as_before(self, mmsada: Mmsada, compared: Path, tmp_path: Path) -> None:
        kept = tmp_path / "kept.zip"
        said = mmsada("keep", compared, kept, "--arrays", "A,B,0")
        assert said.code == 0, said.err
        assert mmsada("results", kept, "--matrix").out == mmsada("results", compared, "--matrix").out
        with_arrays = [path for path in find_runs(kept) if locate(path / "features.npz").is_file()]
        assert {path.parent.name for path in with_arrays} == {"A-B"}
        words = ("--permutations", "19", "--at-least", "5")
        said = mmsada("gap", with_arrays[0], *words)
        assert "a_distance" in said.out
        assert {line.split()[0] for line in said.lines[1:]} == {"evaluation", "own"}, "arrays are kept as they are"
        without = next(path for path in find_runs(kept) if path not in with_arrays)
        assert f"{without} holds no features.npz" in mmsada("gap", without, *words).err

    @pytest.mark.parametrize("words", ["A,B", "A,B,x", "A,B,0,1"])
    def test_what_is_no_run(self, words: str, mmsada: Mmsada, compared: Path, tmp_path: Path) -> None:
        said = mmsada("keep", compared, tmp_path / "kept.zip", "--arrays", words)
        assert said.code == 2
        assert "give source, target and seed, e.g. D1,D3,0" in said.err
        assert not (tmp_path / "kept.zip").exists()


class TestWeights:
    def test_converted_once(self, mmsada: Mmsada, tmp_path: Path) -> None:
        torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "a.pt")
        words = ("weights", "convert", tmp_path / "a.pt", tmp_path / "a.safetensors")
        assert mmsada(*words).lines == [str(tmp_path / "a.safetensors")]
        assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [1, 1]
        assert "already holds these weights" in mmsada(*words).out
        torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
        said = mmsada(*words)
        assert said.code == 2
        assert "holds other weights" in said.err


class TestMistakes:
    def refused(self, said: Said, message: str) -> None:
        assert said.code == 2
        assert said.out == ""
        assert message in " ".join(said.err.replace("│", " ").split())
        assert "Traceback" not in said.err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--method", "mmsda"], "error: unknown method 'mmsda'; choose"),
            (["--preset", "papper"], "Did you mean 'paper'?"),
            (["--data", "tooy"], "error: unknown data 'tooy'; choose kitchens, epic, arrays, features, toy."),
            (["--data", "epic"], "epic needs a folder"),
            (["--data", "kitchens:apearance=1"], "Did you mean 'appearance'?"),
            (["--source", "X"], "error: unknown domain 'X'; choose A, B, C"),
            (["--target", "A"], "source and target are both 'A'"),
            (["--method", "supervised_target"], "leave the source out"),
            (["--seed", "-1"], "seed is -1"),
            (["--device", "gpu"], "unknown device 'gpu'"),
            (["-o", "adapt.step=3"], "Did you mean 'adapt.steps'?"),
            (["-o", "batch_size"], "override 'batch_size' has no value; write -o key=value"),
            (["-o", "batch_size=many"], "override batch_size is 'many' (str); give a int"),
            (["-o", "batch_size=1000"], "lower batch_size"),
            (["-o", "adapt.learning_rate=NaN"], "adapt.learning_rate is nan"),
            (["-o", "adapt.weights.adversarial=-1"], "adapt.weights.adversarial is -1"),
            (["-o", "modalities=rgb,flaw"], "Did you mean 'flow'?"),
            (["-o", "modalities=3"], "modalities"),
            (["-o", "modalities=null"], "modalities"),
            (["-o", "backbone=big3d"], "unknown backbone 'big3d'; choose"),
            (["--seed", "one"], "Invalid value for '--seed'"),
            (["--sauce", "D2"], "No such option"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_train(self, mmsada: Mmsada, tmp_path: Path, words: list[str], message: str) -> None:
        self.refused(mmsada(*training(tmp_path, *words)), message)

    def test_no_target(self, mmsada: Mmsada) -> None:
        self.refused(mmsada("train", "--source", "A"), "Missing option '--target'")

    def test_no_source(self, mmsada: Mmsada) -> None:
        self.refused(mmsada("train", "--data", "toy", "--target", "A"), "method mmsada needs a source domain")

    def test_runs_is_a_file(self, mmsada: Mmsada, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("")
        self.refused(mmsada(*training(tmp_path / "runs")), "cannot write to the runs folder")

    def test_disk_is_full(self, mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        said = mmsada(*training(tmp_path))
        assert said.code == 2
        assert "No space left on device" in said.err
        assert "Traceback" not in said.err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--format", "xml"], "xml"),
            (["--matrix", "--stream", "audio"], "unknown stream 'audio'; choose fused, rgb, flow"),
            (["--difference", "adabn"], "adabn"),
            (["--difference", "adabn,mmsada"], "unknown method 'mmsada'; choose adabn, source_only"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_results(self, mmsada: Mmsada, compared: Path, words: list[str], message: str) -> None:
        self.refused(mmsada("results", compared, *words), message)

    def test_results_of_nothing(self, mmsada: Mmsada, tmp_path: Path) -> None:
        self.refused(mmsada("results", tmp_path / "runs"), "train something first")
        self.refused(mmsada("results", tmp_path), "holds no run")

    def test_results_of_a_damaged_run(self, mmsada: Mmsada, compared: Path, tmp_path: Path) -> None:
        shutil.copytree(compared, tmp_path / "runs")
        path = find_runs(tmp_path / "runs")[0] / "manifest.json"
        path.write_text(path.read_text()[:100])
        self.refused(mmsada("results", tmp_path / "runs"), "is not a readable manifest")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--methods", "mmsda"], "Did you mean 'mmsada'?"),
            (["--data", "tooy"], "unknown data 'tooy'"),
            (["--seeds", "0"], "--seeds"),
            (["--jobs", "0"], "--jobs"),
            (["-o", "batchsize=3"], "Did you mean 'batch_size'?"),
            (["--methods", "source_only", "--domains", "A"], "domain"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_compare(self, mmsada: Mmsada, tmp_path: Path, words: list[str], message: str) -> None:
        self.refused(mmsada("compare", "--data", "toy", "--runs", tmp_path, *words), message)

    def test_no_such_verb(self, mmsada: Mmsada) -> None:
        self.refused(mmsada("trian"), "No such command 'trian'")


def test_version(mmsada: Mmsada) -> None:
    assert mmsada("--version") == Said(0, f"mmsada_lab {__version__}\n", "")


COMMANDS = {name: command for name, command in get_command(cli.app).commands.items() if name not in ("data", "weights")}


def test_the_commands() -> None:
    single = {"train", "predict", "extract", "gap", "demo", "gallery", "lab", "options", "explore", "report"}
    assert COMMANDS.keys() == single | {"compare", "batch", "results", "reproduce", "keep"}


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_has_an_example_that_the_command_takes(mmsada: Mmsada, verb: str) -> None:
    said = mmsada(verb, "--help")
    assert said.code == 0
    assert f"Example: mmsada {verb}" in " ".join(said.out.split())
    assert verb in mmsada("--help").out
    for example in re.findall(r"Example: mmsada (.*)", COMMANDS[verb].help):
        name, *words = shlex.split(example)
        assert name == verb
        assert COMMANDS[verb].make_context(verb, words).args == []


def test_the_grid_in_the_help_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"GRID\.yaml: (\{.*\})", COMMANDS["batch"].help)
    (tmp_path / "GRID.yaml").write_text(text)
    configs = load_grid(tmp_path / "GRID.yaml").configs(["A", "B"])
    assert {config.method for config in configs} == METHODS.keys()
    assert {config.reversal_coefficient for config in configs if config.method == "mmsada"} == {0.1, 0.2}


def test_the_examples_in_the_help_are_valid(mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped where training would begin."""
    asked = []

    def stop(config: ExperimentConfig, *_: object, **__: object) -> Path:
        asked.append(config)
        raise UserError("stopped")

    monkeypatch.setattr("mmsada_lab.experiment.run_experiment", stop)
    example = next(line for line in (cli.train.__doc__ or "").splitlines() if "Example: " in line)
    said = mmsada(*example.split()[2:])
    assert (said.code, said.err) == (2, "error: stopped\n")
    assert asked[0].reversal_coefficient == 0.5


def test_overrides_are_json_where_they_can_be() -> None:
    items = ["dropout=0.5", "seed=3", "crops=tsn", "modalities=rgb,flow", 'modalities2=["rgb"]', "data=epic:/a=b", "x="]
    assert parse_overrides(items) == {
        "dropout": 0.5,
        "seed": 3,
        "crops": "tsn",
        "modalities": "rgb,flow",
        "modalities2": ["rgb"],
        "data": "epic:/a=b",
        "x": "",
    }


class TestOptions:
    def test_every_override_of_a_method_is_listed_once(self, mmsada: Mmsada) -> None:
        said = mmsada("options")
        listed = [line.split()[0] for line in said.lines if line.startswith("  ") and not line.startswith("   ")]
        assert sorted(listed) == sorted(key for key in override_keys() if _of_mmsada(key))

    def test_groups_defaults_presets_and_where_paper_and_code_differ(self, mmsada: Mmsada) -> None:
        text = mmsada("options").out
        assert "\nadversary\n  reversal_coefficient = 0.2\n" in text
        assert "quick: 300; sensors: 400; paper: 6000; released: 6000" in text
        assert "as printed: constant, released code: ramp" in text
        assert "modalities = rgb,flow\n      streams, in order; any number\n\n" in text, "presets that do not differ"

    def test_of_a_method_that_has_less(self, mmsada: Mmsada) -> None:
        text = mmsada("options", "--method", "source_only").out
        assert "reversal" not in text
        assert "adapt.weights.classification" in text

    def test_search(self, mmsada: Mmsada) -> None:
        assert [line for line in mmsada("options", "--search", "momentum").lines if line.startswith("  momentum")]
        assert "crops" not in mmsada("options", "--search", "momentum").out

    def test_an_unknown_method(self, mmsada: Mmsada) -> None:
        said = mmsada("options", "--method", "mmsda")
        assert (said.code, "Did you mean 'mmsada'?" in said.err) == (2, True)


def _of_mmsada(key: str) -> bool:
    """Whether a run of MM-SADA can have an option; terms that only other stages have are left out."""
    return has_effect(key, "mmsada") and key != "pretrain.weights.adversarial"


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")], ids=str)
def test_waiting_threads_sleep_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    """Asked for before torch is loaded, since OpenMP reads it then."""
    before = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = "import os, sys; import mmsada_lab.cli.main; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=before | given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]
