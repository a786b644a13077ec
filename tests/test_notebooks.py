"""Every notebook: its structure, its stored outputs, and that it runs with other parameters.

What depends on training is tagged ``nbval-ignore-output``: its outputs are those of whole runs, on one thread; all
other outputs are compared exactly with what the code gives now. Of figures that depend on training everything but the
values is compared (``notebook_figures.json``), in a run with other parameters, and the values of some with the
reference runs. Every figure has a still picture beside it. ``python tests/test_notebooks.py`` makes all of it anew
(half an hour; runs are kept in runs/stored); names of notebooks may follow.
"""

from __future__ import annotations

import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from figure_outlines import numbers, outline
from nbformat import NotebookNode
from notebook_pictures import PICTURE, add_pictures, drawn_from, figure_digest, without_picture
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from mmsada_lab import METHODS, build_config
from mmsada_lab.analysis.sweep import right_at_the_end
from mmsada_lab.datasets.kitchens.loader import Kitchens
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.export_kitchens import export_kitchens
from mmsada_lab.publish import demo
from mmsada_lab.publish.notebooks import FIGURE, execute_notebook, find_notebook, without_widgets
from mmsada_lab.runs import load_history, load_runs, read_arrays
from mmsada_lab.sweeps.keep import find_run, reference_runs

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LIVE = "nbval-ignore-output"
LESSON_FIGURES, RUN_FIGURES = 3, 7  # of 05_mmsada

TINY = {
    "pretrain.steps": 4,
    "adapt.steps": 6,
    "evaluate_every": 2,
    "averaged_evaluations": 2,
    "batch_size": 8,
    "width": 4,
    "test_windows": 2,
}
SMALL_DATA = "kitchens:scale=0.01"
QUICK = {"data": SMALL_DATA, "overrides": TINY, "device": "cpu"}
SMOKE: dict[str, dict[str, Any]] = {
    "00_quickstart": QUICK,
    "02_late_fusion": QUICK,
    "03_adversarial_alignment": QUICK,
    "04_correspondence": QUICK,
    "05_mmsada": QUICK,
    "06_baselines": QUICK,
    "10_your_own_data": {"clips_per_site": 24, "overrides": TINY, "device": "cpu"},
    "11_kinds_of_gap": {"scale": 0.01, "overrides": TINY, "device": "cpu"},
}
"""Parameters that make a notebook quick; one that is not listed runs as it is."""

OTHER: dict[str, dict[str, Any]] = {
    "00_quickstart": {"method": "self_supervised_only", "seed": 1},
    "01_domains_and_segments": {"seed": 1},
    "02_late_fusion": {"source": "D3", "target": "D2", "seed": 1},
    "03_adversarial_alignment": {"source": "D3", "target": "D2", "seed": 1},
    "04_correspondence": {"source": "D3", "target": "D2", "seed": 1},
    "06_baselines": {"source": "D3", "target": "D2", "seed": 1},
    "05_mmsada": {"method": "adversarial_only", "source": "D3", "target": "D2", "seed": 1},
    "07_results": {"method": "adabn", "baseline": "mmsada"},
    "08_feature_space": {"methods": ["source_only", "mmsada"]},
    "09_lambda_sweep": {"source": "D1", "target": "D3", "seed": 1},
    "10_your_own_data": {"seed": 1},
    "11_kinds_of_gap": {"kind": "sway", "methods": ["mmsada"], "source": "D3", "target": "D2"},
}
"""What is changed besides in the run whose figures are compared."""

FIGURES = Path(__file__).parent / "notebook_figures.json"
"""Notebook -> cell -> outline of the figure it shows."""

LARGEST_OUTPUT = 1_500_000
A_MACHINES_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users|mnt|var|opt)/|\b[A-Z]:\\\\")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True, scope="module")
def kernel_environment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Kitchens that are drawn already (a progress bar is an output), and one thread for every kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MMSADA_CACHE", os.environ.get("MMSADA_CACHE") or str(tmp_path_factory.mktemp("cache")))
        draw_kitchens()
        yield


def draw_kitchens() -> None:
    for data in ("kitchens", SMALL_DATA):
        load_data(data)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def is_figure(cell: NotebookNode) -> bool:
    """Whether a cell ends in a figure: by its tag, its output or its last line."""
    last = cell.source.strip().splitlines()[-1]
    shown = any(FIGURE in output.get("data", {}) for output in cell.get("outputs", []))
    return "figure" in tags(cell) or shown or bool(re.match(r"(\w+\.)*draw_\w+\(|fig(ure)?$", last))


# --- structure -----------------------------------------------------------------------------------------------------


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS if path.stem == "05_mmsada"]


@every_notebook
def test_it_is_a_valid_notebook_with_clean_metadata(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info.name == "python"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, "no widgets, no papermill record"
    folds = {"jupyter", "jp-MarkdownHeadingCollapsed"}  # parameters and solutions come folded
    assert all(set(cell.metadata) <= {"tags"} | folds for cell in notebook.cells)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert not [name for name in ids if re.fullmatch(r"[0-9a-f]{8}(-.*)?", name)], "ids are words, and stay"


@every_notebook
def test_code_is_thin(path: Path) -> None:
    cells = [cell for cell in code_cells(read(path)) if "solution" not in tags(cell)]
    assert len(cells) <= 30
    assert statistics.median(map(lines, cells)) <= 6
    assert max(map(lines, cells)) <= 15
    assert not [cell.id for cell in cells if re.search(r"^\s*class ", cell.source, flags=re.MULTILINE)]


@every_notebook
def test_the_first_code_cell_holds_the_parameters(path: Path) -> None:
    first, *others = code_cells(read(path))
    assert "parameters" in tags(first)
    assert not [cell.id for cell in others if "parameters" in tags(cell)]


@every_notebook
def test_papermill_describes_every_parameter(path: Path) -> None:
    found = papermill.inspect_notebook(path)
    tree = ast.parse(code_cells(read(path))[0].source)
    assigned = [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)]
    assert len(assigned) == len(tree.body), "parameters are typed assignments and nothing else"
    assert list(found) == assigned
    for name, facts in found.items():
        assert facts["inferred_type_name"] != "None", f"{name} has no type that papermill can read"
        assert len(facts["help"]) > 10, f"{name} has no comment that papermill can read"


@every_notebook
def test_it_begins_with_a_question_and_ends_with_work(path: Path) -> None:
    notebook = read(path)
    title = notebook.cells[0].source
    assert title.startswith("# ")
    assert "?**" in title
    assert "*Time and device:*" in title
    headings = re.findall(r"^## (.+)", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    assert headings[0] == "Parameters"
    assert headings[-3:] == ["What the paper leaves out", "Exercise", "Next"]


@every_notebook
def test_every_figure_is_the_end_of_its_cell_and_is_explained(path: Path) -> None:
    notebook = read(path)
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if cell.cell_type == "code" and is_figure(cell):
            assert "figure" in tags(cell), f"{cell.id} shows a figure; tag it"
            assert isinstance(ast.parse(cell.source).body[-1], ast.Expr), f"{cell.id} does not end in its figure"
            assert after is not None, f"{cell.id} ends the notebook"
            assert after.cell_type == "markdown", f"{cell.id} is not followed by a sentence"
            assert re.match(r"See\b", after.source), f"{cell.id} is not followed by what to see"


@every_notebook
def test_it_is_whole_as_stored(path: Path) -> None:
    """No figure is missing, and beside each there is a picture that was drawn from it."""
    cells = code_cells(read(path))
    outputs = {cell.id: [output.data for output in cell.outputs if "data" in output] for cell in cells}
    for cell in cells:
        if "figure" in tags(cell):
            (figure,) = [data for data in outputs[cell.id] if FIGURE in data]
            assert drawn_from(figure[PICTURE]) == figure_digest(figure[FIGURE]), f"{cell.id} has an old picture"
        if re.search(r"\bexplore\(", cell.source):
            assert [data.keys() & {PICTURE, "text/html"} for data in outputs[cell.id]] == [{PICTURE}], cell.id
    stored = [output for cell in cells for output in cell.outputs]
    assert all(o.output_type != "error" and o.get("name") != "stderr" for o in stored)


@every_notebook
def test_nothing_stored_is_stale_large_or_of_one_machine(path: Path) -> None:
    notebook = read(path)
    for number, cell in enumerate(code_cells(notebook), start=1):
        stored = cell.execution_count is not None or cell.outputs
        assert cell.execution_count == (number if stored else None), f"{cell.id} was stored out of order"
        assert {o.execution_count for o in cell.outputs if "execution_count" in o} <= {number}, cell.id
        for output in cell.outputs:
            assert len(json.dumps(output)) <= LARGEST_OUTPUT, f"{cell.id} shows more than 1.5 MB"
    assert not A_MACHINES_PATH.findall(path.read_text())
    assert "application/vnd.jupyter.widget" not in path.read_text()


@every_notebook
def test_lessons_are_checked_by_hand(path: Path) -> None:
    assert sum(bool(re.search(r"\b(assert_close|compare)\(", cell.source)) for cell in code_cells(read(path))) >= 2


BAND = 3.0
"""Points by which a run of the same seed may differ on another machine; most methods and streams lie farther apart."""


def reference_top1(method: str, source: str, target: str) -> pd.Series:
    """Top-1 by stream of the reference run of seed 0 in the first world, as `quick` has it."""
    config = build_config(
        "quick",
        data="kitchens",
        method=method,
        source=None if method == "supervised_target" else source,
        target=target,
    )
    runs = load_runs(reference_runs())
    return runs[runs["digest"] == config.digest].set_index("stream")["top1"]


def stored(name: str, cell: str) -> dict[str, Any]:
    return figures_of(read(FOLDER / f"{name}.ipynb"))[cell]


class TestStoredValues:
    """What trained cells show is what the reference runs came to: an exchanged method, stream or class is seen."""

    def test_bars_of_methods(self) -> None:
        bars = {
            trace["name"]: dict(zip(trace["x"], trace["y"], strict=True))
            for trace in stored("00_quickstart", "gap-figure")["data"]
        }
        for method in ("source_only", "mmsada", "supervised_target"):
            expected = reference_top1(method, "D1", "D3")
            assert bars[METHODS[method].title] == pytest.approx(expected.to_dict(), abs=BAND), method

    @pytest.mark.parametrize(("name", "method"), [("02_late_fusion", "source_only"), ("05_mmsada", "mmsada")])
    def test_bars_of_streams(self, name: str, method: str) -> None:
        bars = {trace["name"]: trace["y"][0] for trace in stored(name, "bars")["data"]}
        assert bars == pytest.approx(reference_top1(method, "D2", "D1").to_dict(), abs=BAND)

    @pytest.mark.parametrize(
        ("name", "cell", "methods"),
        [
            ("04_correspondence", "streams", ("source_only", "self_supervised_only")),
            ("06_baselines", "bars", ("source_only", "adabn", "mmd", "mcd", "supervised_target")),
        ],
    )
    def test_bars_of_methods_by_stream(self, name: str, cell: str, methods: tuple[str, ...]) -> None:
        bars = {
            (method, trace["name"]): y
            for trace in stored(name, cell)["data"]
            for method, y in zip(trace["x"], trace["y"], strict=True)
        }
        expected = {m: reference_top1(m, "D1", "D3") for m in methods}
        assert bars == pytest.approx(
            {(METHODS[m].title, stream): value for m, of in expected.items() for stream, value in of.items()}, abs=BAND
        )

    def test_the_game(self) -> None:
        """How often each discriminator is right in the last third of stage two."""
        config = build_config("quick", data="kitchens", method="adversarial_only", source="D1", target="D3")
        expected = right_at_the_end(load_history(find_run(load_runs(reference_runs()), config)), share=1 / 3)
        smooth = {t["name"]: t for t in stored("03_adversarial_alignment", "opponents")["data"] if t.get("showlegend")}
        for modality, right in expected.items():
            curve = smooth[f"D, {modality}"]
            assert curve["yaxis"] == "y", "the panel of accuracies"
            late = [y for x, y in zip(curve["x"], curve["y"], strict=True) if x > 350]  # stage two: 151 to 450
            assert statistics.fmean(late) == pytest.approx(right, abs=BAND), modality

    def test_curves_of_methods(self) -> None:
        curves = {trace["name"]: trace["y"] for trace in stored("00_quickstart", "accuracy-curves")["data"]}
        for method in ("source_only", "mmsada", "supervised_target"):
            expected = reference_top1(method, "D1", "D3")["fused"]
            assert statistics.fmean(curves[METHODS[method].title][-9:]) == pytest.approx(expected, abs=BAND), method

    @pytest.mark.parametrize(("name", "pair"), [("00_quickstart", ("D1", "D3")), ("05_mmsada", ("D2", "D1"))])
    def test_confusion(self, name: str, pair: tuple[str, str]) -> None:
        """By each class's share of the test segments, which is the data's own, the diagonal comes to the accuracy."""
        percent, counts = stored(name, "confusion")["data"]
        data = load_data("kitchens")
        labels = [data.classes[segment.label] for segment in data.domain(pair[1]).test]
        assert dict(zip(counts["y"], counts["x"], strict=True)) == {k: labels.count(k) for k in data.classes}
        assert percent["x"] == percent["y"] == list(data.classes)
        right = sum(row[k] * counts["x"][k] for k, row in enumerate(percent["z"])) / len(labels)
        assert right == pytest.approx(reference_top1("mmsada", *pair)["fused"], abs=BAND)

    def test_clips_that_are_won_in_the_answer_on_them(self) -> None:
        def right(method: str) -> dict[str, Any]:
            config = build_config("quick", data="kitchens", method=method, source="D1", target="D3")
            path = find_run(load_runs(reference_runs()), config, holding="windows.npz")
            features, windows = (read_arrays(path / name) for name in ("features.npz", "windows.npz"))
            of_target = features["side"] == "target"
            predicted = {s: windows[f"w_{s}"].astype(np.float32).mean(axis=1).argmax(axis=1) for s in ("fused", "flow")}
            return {stream: (k == features["label"])[of_target] for stream, k in predicted.items()}

        before, after = right("source_only"), right("mmsada")
        won = ~before["fused"] & after["fused"]
        numbers = [won.sum(), len(won), (before["fused"] & ~after["fused"]).sum()]
        numbers += [won.sum(), (won & before["flow"]).sum()]
        (cell,) = [cell for cell in read(FOLDER / "00_quickstart.ipynb").cells if cell.id == "explorer-answer"]
        (output,) = cell.outputs
        assert [int(number) for number in re.findall(r"\d+", output.data["text/plain"])] == numbers
        assert "flow alone had" in output.data["text/plain"]


def smoke_parameters(path: Path, folder: Path) -> dict[str, Any]:
    """Those that make it quick; what it trains goes to a folder of its own."""
    return {**SMOKE.get(path.stem, {}), **({} if reads(path) else {"runs_dir": str(folder / "runs")})}


def executed(path: Path, folder: Path, **parameters: Any) -> NotebookNode:
    """A copy, executed with the smoke parameters and others."""
    execute_notebook(path, folder / path.name, parameters={**smoke_parameters(path, folder), **parameters})
    return read(folder / path.name)


def outlines_of(notebook: NotebookNode) -> dict[str, Any]:
    return {name: outline(figure) for name, figure in figures_of(notebook).items()}


STORED_RUNS = Path("runs/stored")
"""Runs behind the stored outputs of cells that depend on training, in the checkout: no machine's path is stored."""


def renew(path: Path) -> None:
    """Store what a notebook shows, and a picture of every figure."""
    with tempfile.TemporaryDirectory() as folder:
        exact = {cell.id: cell for cell in code_cells(executed(path, Path(folder)))}
        whole = {cell.id: cell for cell in code_cells(executed_whole(path, Path(folder)))}
    notebook = read(path)
    notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec", "language_info")}
    for number, cell in enumerate(code_cells(notebook), start=1):
        outputs = (whole if LIVE in tags(cell) else exact)[cell.id].outputs
        said = [output for output in without_widgets(outputs) if output.get("name") != "stderr"]
        cell.outputs = [relative(output) for output in said]
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    add_pictures(notebook)
    nbformat.write(notebook, path)


def relative(output: NotebookNode) -> NotebookNode:
    """The same with paths from the checkout on."""
    return nbformat.from_dict(json.loads(json.dumps(output).replace(f"{FOLDER.parent}/", "")))


def executed_whole(path: Path, folder: Path) -> NotebookNode:
    """A copy, executed as it is, but for where it trains; what was trained before is not trained again."""
    copy = folder / f"whole_{path.name}"
    execute_notebook(path, copy, parameters={} if reads(path) else {"runs_dir": str(STORED_RUNS)})
    return read(copy)


def reads(path: Path) -> bool:
    """Whether a notebook reads the runs that come with the checkout, and trains none."""
    return path.stem in ("07_results", "08_feature_space", "09_lambda_sweep")


def renew_outlines(path: Path) -> None:
    stored = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        stored[path.stem] = outlines_of(executed(path, Path(folder), **OTHER.get(path.stem, {})))
    FIGURES.write_text(json.dumps(dict(sorted(stored.items())), indent=1, ensure_ascii=False) + "\n")


# --- execution -----------------------------------------------------------------------------------------------------


@every_notebook
def test_stored_outputs_are_what_the_code_gives(path: Path, tmp_path: Path) -> None:
    """Run nbval in a process of its own: its plugin is not made to share one."""
    copy = tmp_path / path.name
    notebook = parameterize_notebook(load_notebook_node(str(path)), smoke_parameters(path, tmp_path))
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "data" in output:
                output.data = without_picture(output.data)
    nbformat.write(notebook, copy)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    done = subprocess.run([*command, copy.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


class TestFigures:
    """A class is a share of its own where processes share the tests."""

    @every_notebook
    def test_figures_keep_their_structure_with_other_parameters(self, path: Path, tmp_path: Path) -> None:
        """Titles, axes, traces, colours, bands and how many points; percentages stay percentages."""
        notebook = executed(path, tmp_path, **OTHER.get(path.stem, {}))
        assert outlines_of(notebook) == json.loads(FIGURES.read_text())[path.stem]
        for name, figure in figures_of(notebook).items():
            percent = [value for title, value in numbers(figure) if "%" in title]
            assert all(-100 <= value <= 115 for value in percent), f"{name}: beyond 100 % and a band"
        figure_cells = {cell.id for cell in code_cells(notebook) if "figure" in tags(cell)}
        assert figures_of(notebook).keys() == figure_cells, "every figure is shown, and by a cell that is tagged so"


def test_one_stream_and_no_source(tmp_path: Path) -> None:
    """Supervised target on one modality: two streams and one loss term, and still every figure."""
    parameters = {**SMOKE["05_mmsada"], "method": "supervised_target", "source": "", "target": "D3"}
    parameters |= {"runs_dir": str(tmp_path / "runs"), "overrides": {**TINY, "modalities": ["rgb"]}}
    execute_notebook(FOLDER / "05_mmsada.ipynb", tmp_path / "out.ipynb", parameters=parameters)
    drawn = figures_of(read(tmp_path / "out.ipynb"))
    assert len(drawn) == LESSON_FIGURES + RUN_FIGURES
    assert {trace["name"] for trace in drawn["accuracy"]["data"]} == {"fused", "rgb"}
    assert {trace["name"] for trace in drawn["curves"]["data"] if trace.get("showlegend")} == {"classification"}
    runs = load_runs(tmp_path / "runs")
    assert set(zip(runs["method"], runs["source"], runs["target"], strict=True)) == {("supervised_target", "D3", "D3")}


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two devices with two sensors each, no video; what is done shows in both."""
    root, rng = tmp_path_factory.mktemp("devices"), np.random.default_rng(0)
    rows = [
        (f"{d}{k}", d, "train" if k % 3 else "test", "abc"[k % 3 - 1]) for d in ("phone", "watch") for k in range(36)
    ]
    table = pd.DataFrame(rows, columns=["uid", "domain", "split", "label"])
    table.to_csv(root / "segments.csv", index=False)
    height = table["label"].map(ord).to_numpy()[:, None, None]
    for name in ("acc", "gyro"):
        np.save(root / f"{name}.npy", (height + rng.normal(size=(len(table), 30, 3))).astype("f4"))
    return f"arrays:{root}"


class TestOtherData:
    """Lessons and the workhorse on what is no kitchen in memory."""

    @pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem < "07"], ids=lambda path: path.stem)
    def test_lessons_are_given_on_sensors_too(self, path: Path, sensors: str, tmp_path: Path) -> None:
        parameters = {"data": sensors, "preset": "sensors", "source": "phone", "target": "watch"}
        drawn = figures_of(executed(path, tmp_path, **parameters))
        assert drawn
        text = json.dumps(drawn)
        assert "gyro" in text or path.stem == "01_domains_and_segments"
        assert "NaN" not in text

    def test_the_workhorse_on_frames(self, tmp_path: Path) -> None:
        """The kitchens as exported frames, read as EPIC: the same figures as from memory."""
        export_kitchens(tmp_path / "frames", kitchens=Kitchens(scale=0.01))
        other = OTHER["05_mmsada"]
        drawn = outlines_of(executed(FOLDER / "05_mmsada.ipynb", tmp_path, data=f"epic:{tmp_path / 'frames'}", **other))
        assert drawn == json.loads(FIGURES.read_text())["05_mmsada"]


def figures_of(notebook: NotebookNode) -> dict[str, Any]:
    """Figures by cell id."""
    cells = code_cells(notebook)
    return {cell.id: o.data[FIGURE] for cell in cells for o in cell.outputs if FIGURE in o.get("data", {})}


def test_an_unknown_override_stops_the_notebook(tmp_path: Path) -> None:
    parameters = {"overrides": {"adapt.step": 5}, "runs_dir": str(tmp_path / "runs")}
    with pytest.raises(UserError, match=r"unknown override 'adapt.step'.*Did you mean 'adapt.steps'"):
        execute_notebook(FOLDER / "05_mmsada.ipynb", tmp_path / "out.ipynb", parameters=parameters)
    assert not (tmp_path / "runs").exists()


# --- the demo ------------------------------------------------------------------------------------------------------


def test_the_demo_leaves_a_run_a_notebook_and_a_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = demo.run_demo(tmp_path / "demo", methods=["adabn"], data=SMALL_DATA, overrides=TINY, device="cpu")
    assert set(done.table["method"]) == {"adabn"}
    assert list(done.table["stream"]) == ["fused", "rgb", "flow"]
    for path in (*done.notebooks, *done.pages):
        assert path.is_file()
        assert str(path) in str(done)
    assert re.search(r"\[1/1\] AdaBN: 100%.*target top-1", capfd.readouterr().err)
    page = done.pages[0].read_text()
    assert page.count("Plotly.newPlot(") >= LESSON_FIGURES + RUN_FIGURES
    assert not re.findall(r"<script[^>]*\bsrc=\"([^\"]*)\"", page), "the page needs no network"
    assert page.count("<math ") >= 20
    assert WIDGETS.isdisjoint(re.findall(r"application/vnd\.jupyter\.[\w+.-]+", page))


WIDGETS = {"application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"}


def test_the_demo_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'mmsada'"):
        demo.run_demo(tmp_path / "demo", methods=["mmsda"])
    with pytest.raises(UserError, match="run this from a checkout"):
        find_notebook("99_missing.ipynb")
    assert not (tmp_path / "demo").exists()


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # as the reference runs were trained
    os.chdir(FOLDER.parent)
    draw_kitchens()
    for notebook_path in NOTEBOOKS:
        if not sys.argv[1:] or notebook_path.stem in sys.argv[1:]:
            renew(notebook_path)
            renew_outlines(notebook_path)
