"""From runs to a folder that can be sent: the library's numbers, a word on what is missing, nothing lost or run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy
from barriers import barriers
from toy import CLASSES, Mmsada, toy_config, toy_data

from mmsada_lab.analysis.accuracies import method_bars
from mmsada_lab.analysis.confusion import confusion_counts
from mmsada_lab.analysis.curves import accuracy_curves
from mmsada_lab.analysis.report import ReportLine, format_report, report_table
from mmsada_lab.analysis.tables import over_replicates
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.explorer.views import collect_views
from mmsada_lab.paper import DomainPair
from mmsada_lab.runs import load_history, load_predictions, load_runs, read_manifest, survey_runs, write_json
from mmsada_lab.sweeps.report import folder
from mmsada_lab.sweeps.report.folder import REPORT_MARK, ExplorerPlan, write_report
from mmsada_lab.sweeps.report.lines import group_runs
from mmsada_lab.sweeps.report.manifests import cautions, runs_table
from mmsada_lab.sweeps.report.page import figure_json
from mmsada_lab.sweeps.report.pictures import method_pictures, overview, pair_runs

pytestmark = pytest.mark.usefixtures("toy_format")

NO_EXPLORER = ExplorerPlan(wanted=False)
EVIL = '<img src=x onerror="window.harmed=1"><script>window.harmed = 1</script>'
A_TO_B = DomainPair("A", "B")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four methods, a second seed, a sweep of λd, another pair: all on the toy."""
    runs_dir = tmp_path_factory.mktemp("runs")
    configs = [toy_config(method) for method in ("source_only", "adabn", "mmsada", "supervised_target")]
    configs += [toy_config("mmsada", reversal_coefficient=value) for value in (0.0, 1.0)]
    configs += [toy_config("mmsada", seed=1), toy_config("mmsada", pair="BA")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.FORMATS, "toy", toy.TOY)
        for config in configs:
            run_experiment(config, runs_dir, device="cpu", workers=0, show_progress=False)
    return runs_dir


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """Runs that a test may damage."""
    return Path(shutil.copytree(runs, tmp_path / "copied"))


@pytest.fixture(scope="module")
def written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report, an explorer in it."""
    out = tmp_path_factory.mktemp("written") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.FORMATS, "toy", toy.TOY)
        write_report(runs, out, explorer=ExplorerPlan(clips=1.0, jobs=1))
    return out


def page_of(runs_dir: Path, out: Path, *pairs: str, explorer: ExplorerPlan = NO_EXPLORER) -> str:
    return write_report(runs_dir, out, pairs=pairs, explorer=explorer).index.read_text()


def tables_of(page: str) -> list[pd.DataFrame]:
    return [table_of(text) for text in re.findall(r"<table>.*?</table>", page, re.S)]


def table_of(text: str) -> pd.DataFrame:
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", text, re.S)]
    cells = [[unescape(cell) for cell in row] for row in rows]
    return pd.DataFrame(cells[1:], columns=cells[0])


def path_of(runs_dir: Path, method: str, seed: int = 0) -> Path:
    listed = load_runs(runs_dir)
    chosen = listed[(listed["method"] == method) & (listed["seed"] == seed) & (listed["target"] == "B")]
    return Path(chosen["path"].iloc[0])


class TestNumbers:
    def test_tables_are_the_library_s(self, runs: Path, written: Path) -> None:
        listed = load_runs(runs)
        method_of = {run["digest"]: run for run in listed.to_dict("records")}
        titles = {
            "Source-only": lambda run: run["method"] == "source_only",
            "AdaBN": lambda run: run["method"] == "adabn",
            "MM-SADA": lambda run: run["method"] == "mmsada" and run["setting"] in usual,
            "MM-SADA, reversal_coefficient=0": lambda run: run["digest"] == toy_config(reversal_coefficient=0.0).digest,
            "MM-SADA, reversal_coefficient=1": lambda run: run["digest"] == toy_config(reversal_coefficient=1.0).digest,
            "Supervised target": lambda run: run["method"] == "supervised_target",
        }
        usual = {toy_config(pair=pair).digest for pair in ("AB", "BA")}
        shown = [table for table in tables_of((written / "index.html").read_text()) if "test-set SE" in table]
        for stream, table in zip(("fused", "rgb", "flow"), shown, strict=True):
            lines = [
                ReportLine(title, frozenset(d for d, run in method_of.items() if holds(run)), stream)
                for title, holds in titles.items()
            ]
            report = format_report(report_table(listed, lines, baseline="Source-only"), baseline="Source-only")
            for name in table:
                assert table[name].tolist() == report[name].map(str).tolist()
            assert all((report[name] == "").all() for name in set(report) - set(table))

    def test_csv(self, runs: Path, written: Path) -> None:
        listed, results = load_runs(runs), pd.read_csv(written / "results.csv", keep_default_na=False)
        assert results["top1"].tolist() == listed["top1"].tolist()
        assert [str(runs / name) for name in results["run"]] == listed["path"].tolist()
        shown = pd.read_csv(written / "runs.csv", keep_default_na=False)
        fused = listed[listed["stream"] == "fused"].set_index("path")["top1"].round(2)
        assert shown["top1"].tolist() == [fused[str(runs / name)] for name in shown["run"]]
        (in_page,) = [t for t in tables_of((written / "index.html").read_text()) if "digest" in t]
        assert (
            in_page.astype(str).to_numpy().tolist()
            == runs_table(survey_runs(runs), runs).astype(str).to_numpy().tolist()
        )

    def test_manifests(self, runs: Path) -> None:
        table = runs_table(survey_runs(runs), runs)
        for row in table.to_dict("records"):
            manifest = read_manifest(runs / row["run"] / "manifest.json")
            assert (row["digest"], row["device"]) == (manifest["digest"], manifest["device"])
            assert row["version"] == manifest["versions"]["mmsada_lab"]
            assert row["commit"].startswith(manifest["git"].get("commit", "")[:10])
            assert row["minutes"] == f"{manifest['training_seconds'] / 60:.2f}"
        assert set(table["state"]) == {"finished"}

    def test_pictures(self, runs: Path) -> None:
        (group,) = group_runs(survey_runs(runs))
        of_pair = pair_runs(group, A_TO_B)
        assert sorted(of_pair["method"].unique()) == ["adabn", "mmsada", "source_only", "supervised_target"]
        (bars,) = overview(of_pair, A_TO_B).pictures
        wanted = method_bars(of_pair)
        assert [y for trace in bars.figure.data for y in trace.y] == [
            round(mean, 2) for stream in ("fused", "rgb", "flow") for mean in wanted[wanted["stream"] == stream]["mean"]
        ]
        assert f"MM-SADA fused {wanted.set_index(['method', 'stream'])['mean']['MM-SADA', 'fused']:.1f} %" in bars.alt
        accuracy, confusion, game = method_pictures(of_pair, "mmsada").pictures
        paths = [path_of(runs, "mmsada", seed) for seed in (0, 1)]
        histories = pd.concat([load_history(path).assign(run=str(path)) for path in paths], ignore_index=True)
        curves = accuracy_curves(histories, averaged=2)
        drawn = [list(trace.y) for trace in accuracy.figure.data if trace.mode == "lines+markers"]
        assert drawn == [curves[curves["name"] == name]["mean"].tolist() for name in ("fused", "rgb", "flow")]
        assert "C, correspondence" in game.alt
        predictions = pd.concat([load_predictions(path).assign(run=str(path)) for path in paths], ignore_index=True)
        counts = confusion_counts(predictions, classes=CLASSES)
        assert [z for row in confusion.figure.data[0].z for z in row] == counts["percent"].round(2).tolist()
        assert "2 runs of 2" in confusion.caption

    def test_a_sweep(self, runs: Path) -> None:
        (group,) = group_runs(survey_runs(runs))
        sweep, game = folder.group_pictures(group).pictures
        listed = load_runs(runs)
        fused = listed[(listed["stream"] == "fused") & (listed["seed"] == 0) & (listed["source"] == "A")]
        top1 = fused.set_index("digest")["top1"]
        wanted = [top1[toy_config(reversal_coefficient=value).digest] for value in (0.0, 0.2, 1.0)]
        assert list(sweep.figure.data[0].x) == ["0", "1", "5"]
        assert list(sweep.figure.data[0].y) == pytest.approx(wanted)
        assert sweep.figure.layout.shapes[0].y0 == pytest.approx(top1[toy_config("source_only").digest])
        assert "λd" in sweep.alt
        assert "D, rgb" in game.alt

    def test_worlds_are_what_spreads_are_over(self) -> None:
        """On the reference runs: the table that stands in docs/results.md."""
        reference = Path(__file__).parents[1] / "assets/reference_runs.zip"
        (group,) = group_runs(survey_runs(reference))
        table = group.table("fused").set_index("")
        assert table.loc["MM-SADA", "mean"] == "63.8 ± 1.5"
        assert table.loc["MM-SADA", "95 % over worlds"] == "[+7.5, +9.1]"
        assert table.loc["Adversarial only, reversal_coefficient=0", "− Source-only"] == "+2.5"
        runs = pair_runs(group, DomainPair("D1", "D3"))
        assert over_replicates(runs, ["method", "stream"], "top1")["worlds"].unique().tolist() == [4]


class TestWhatIsMissing:
    def test_unfinished_and_damaged_runs_are_named(self, copied: Path, tmp_path: Path) -> None:
        unfinished, damaged, cut = (path_of(copied, m) for m in ("adabn", "source_only", "supervised_target"))
        write_json(unfinished / "manifest.json", read_manifest(unfinished / "manifest.json") | {"status": "running"})
        (damaged / "manifest.json").write_text("{")
        manifest = read_manifest(cut / "manifest.json")
        write_json(cut / "manifest.json", {name: value for name, value in manifest.items() if name != "result"})
        page = page_of(copied, tmp_path / "report")
        shown = pd.read_csv(tmp_path / "report/runs.csv").set_index("run")["state"]
        names = [path.relative_to(copied).as_posix() for path in (unfinished, damaged, cut)]
        assert shown[names[0]] == "unfinished"
        assert "not a readable manifest" in shown[names[1]]
        assert "lacks 'result'" in shown[names[2]]
        assert f"unfinished, and not in the results: {names[0]}" in unescape(page)
        assert f"damaged, and left out: {names[1]}/manifest.json is not" in unescape(page)
        assert str(copied) not in page
        assert "2 runs are damaged: left out" in collect_views(copied).notes
        with pytest.raises(UserError, match="not a readable manifest"):
            load_runs(copied)

    def test_no_features_no_explorer(self, copied: Path, tmp_path: Path) -> None:
        for path in copied.rglob("features.npz"):
            path.unlink()
        page = page_of(copied, tmp_path / "report", explorer=ExplorerPlan(jobs=1))
        assert "no explorer: none of 6 runs kept its features.npz" in page
        assert "<iframe" not in page

    def test_damaged_arrays(self, copied: Path, tmp_path: Path) -> None:
        for path in [*copied.rglob("features.npz"), *copied.rglob("predictions.npz")]:
            path.write_bytes(path.read_bytes()[:100])
        for path in copied.rglob("history.jsonl"):
            path.unlink()
        page = page_of(copied, tmp_path / "report", explorer=ExplorerPlan(jobs=1))
        assert "no explorer: " in page
        assert page.count("Not shown: accuracy over training:") == 4
        assert page.count("Not shown: confusion:") == 4
        assert str(copied) not in page

    def test_no_labels_no_accuracy(self, copied: Path, tmp_path: Path) -> None:
        for path in copied.rglob("seed*/manifest.json"):
            manifest = read_manifest(path)
            write_json(path, manifest | {"result": manifest["result"] | {"target": {}}})
        page = page_of(copied, tmp_path / "report")
        assert "without labelled test segments, so without an accuracy:" in page
        assert (pd.read_csv(tmp_path / "report/runs.csv")["state"] == "finished").all()
        with pytest.raises(UserError, match="has labelled test segments"):
            load_runs(copied)

    def test_cautions(self, copied: Path) -> None:
        changes: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
            lambda m: m | {"result": m["result"] | {"caution": "one of few"}},
            lambda m: m | {"git": {"commit": "f" * 40, "changed": True}, "data_notes": ["a clip was short"]},
            lambda m: m | {"skipped_steps": 3, "data_digest": "other", "device": "a card"},
        ]
        for path, change in zip((path_of(copied, m) for m in ("adabn", "source_only", "mmsada")), changes, strict=True):
            write_json(path / "manifest.json", change(read_manifest(path / "manifest.json")))
        text = "\n".join(cautions(survey_runs(copied), copied))
        for wanted in ("B: one of few (1 run)", "toy: a clip was short", "checkout with changes", "some steps were"):
            assert wanted in text
        assert "toy changed between runs: 2 digests" in text
        assert "made by 2 devices: a card, cpu" in text

    def test_a_run_that_stands_twice_counts_once(self, runs: Path, tmp_path: Path) -> None:
        shutil.copytree(runs, tmp_path / "both/one")
        shutil.copytree(runs, tmp_path / "both/two")
        survey = survey_runs(tmp_path / "both")
        (group,), (alone,) = group_runs(survey), group_runs(survey_runs(runs))
        pd.testing.assert_frame_equal(group.table("fused"), alone.table("fused"))
        assert "8 runs stand twice in the folder; each counts once" in cautions(survey, tmp_path / "both")

    def test_supervised_target_alone(self, runs: Path, tmp_path: Path) -> None:
        source = path_of(runs, "supervised_target")
        shutil.copytree(source, tmp_path / "alone" / source.relative_to(runs))
        page = page_of(tmp_path / "alone", tmp_path / "report")
        assert "Supervised target" in page

    def test_pairs(self, runs: Path, tmp_path: Path) -> None:
        assert re.findall(r"<h2>(.→.)</h2>", page_of(runs, tmp_path / "report")) == ["A→B"]
        assert re.findall(r"<h2>(.→.)</h2>", page_of(runs, tmp_path / "report", "B-A")) == ["B→A"]
        assert re.findall(r"<h2>(.→.)</h2>", page_of(runs, tmp_path / "report", "all")) == ["B→A", "A→B"]
        with pytest.raises(UserError, match="unknown pair 'A-C'; choose all, B-A, A-B"):
            page_of(runs, tmp_path / "report", "A-C")


class TestTheFolder:
    def test_what_is_not_a_report_is_refused(self, runs: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis/index.html").write_text("mine")
        with pytest.raises(UserError, match=r"holds what no report has written \(index.html\); choose a new folder"):
            page_of(runs, tmp_path / "thesis")
        assert (tmp_path / "thesis/index.html").read_text() == "mine"
        with pytest.raises(UserError, match="is a file"):
            page_of(runs, tmp_path / "thesis/index.html")
        with pytest.raises(UserError, match="holds what no report"):
            page_of(runs, runs)

    def test_an_older_report_is_replaced(self, runs: Path, tmp_path: Path) -> None:
        page_of(runs, tmp_path / "report", explorer=ExplorerPlan(clips=0.0, jobs=1))
        assert list((tmp_path / "report").glob("explorer-*.html"))
        page_of(runs, tmp_path / "report")
        files = sorted(path.name for path in (tmp_path / "report").iterdir())
        assert files == ["index.html", REPORT_MARK, "results.csv", "runs.csv"]
        (tmp_path / "report/notes.txt").write_text("mine")
        with pytest.raises(UserError, match=r"\(notes\.txt\)"):
            page_of(runs, tmp_path / "report")
        assert (tmp_path / "report/notes.txt").read_text() == "mine"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_interrupted_it_leaves_the_old_one(
        self, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        page_of(runs, tmp_path / "report")
        before = {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()}

        def stop(*_: Any) -> str:
            raise error

        monkeypatch.setattr(folder, "render_index", stop)
        with pytest.raises(error):
            page_of(runs, tmp_path / "report")
        assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["report"]

    def test_a_folder_that_became_foreign_meanwhile(
        self, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write_there(*_: Any) -> str:
            (tmp_path / "report").mkdir()
            (tmp_path / "report/mine.txt").touch()
            return ""

        monkeypatch.setattr(folder, "render_index", write_there)
        with pytest.raises(UserError, match=r"mine\.txt"):
            write_report(runs, tmp_path / "report", explorer=NO_EXPLORER)
        assert (tmp_path / "report/mine.txt").is_file()

    def test_it_names_its_files(self, written: Path) -> None:
        listed = json.loads((written / REPORT_MARK).read_text())["files"]
        assert sorted([*listed, REPORT_MARK]) == sorted(path.name for path in written.iterdir())

    def test_the_command(self, mmsada: Mmsada, runs: Path, tmp_path: Path) -> None:
        said = mmsada("report", runs, "--out", tmp_path / "report", "--no-explorer")
        assert said.code == 0, said.err
        assert said.out.startswith(f"{tmp_path / 'report' / 'index.html'}: 8 runs, 0 explorers; ")
        refused = mmsada("report", runs, "--out", runs)
        assert refused.code == 2
        assert "holds what no report has written" in refused.err


class TestThePage:
    def test_it_fetches_nothing(self, written: Path) -> None:
        page = (written / "index.html").read_text()
        own = page[: page.index("<script>/**")]  # what stands before Plotly.js
        assert "default-src &#39;none&#39;" in own
        assert "unsafe-eval" not in own
        targets = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#][^"']*)""", own)
        assert set(targets) == {"results.csv", "runs.csv", *(path.name for path in written.glob("explorer-*"))}

    def test_every_picture_has_words(self, written: Path) -> None:
        plots = re.findall(r'<div class="plot" role="img" aria-label="(.*?)"', (written / "index.html").read_text())
        assert len(plots) == 2 + 1 + 4 * 2 + 1, "sweep, bars, accuracy and confusion of four methods, one game"
        assert all(re.search(r"\d", words) for words in plots)

    def test_tags_in_a_figure_are_text(self, runs: Path) -> None:
        (group,) = group_runs(survey_runs(runs))
        picture = method_pictures(pair_runs(group, A_TO_B), "mmsada").pictures[0]
        picture.figure.update_layout(title_text=f"{EVIL}<a href='https://x'>x</a>")
        text = figure_json(picture)
        assert "<" not in text
        assert "&lt;script" in json.loads(text)["layout"]["title"]["text"]
        assert re.findall(r"<(?!br>|/?extra>)", json.dumps(json.loads(text))) == []


@pytest.fixture
def evil(open_as_toy: Callable[..., None], tmp_path: Path) -> Path:
    """Runs of data whose classes and domain have HTML for names."""
    data = toy_data()
    domains = {name: replace(domain, name=name) for name, domain in data.domains.items()}
    open_as_toy(replace(data, classes=(EVIL, "<b>poke</b>", "spin & <br> span"), domains=domains))
    for method in ("source_only", "mmsada"):
        run_experiment(toy_config(method), tmp_path / "evil", device="cpu", workers=0, show_progress=False)
    for path in (tmp_path / "evil").rglob("seed*/manifest.json"):
        manifest = read_manifest(path)
        result = manifest["result"] | {"caution": EVIL}
        config = manifest["config"] | {"data": f"arrays:{EVIL}"}
        write_json(path, manifest | {"result": result, "config": config, "device": EVIL, "data_notes": [EVIL]})
    return tmp_path / "evil"


def test_names_are_no_html(evil: Path, tmp_path: Path) -> None:
    page = page_of(evil, tmp_path / "report", explorer=ExplorerPlan(jobs=1))
    assert "<img" not in page[: page.index("<script>/**")]
    assert "window.harmed = 1</script>" not in page
    assert "&lt;img src=x" in page


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a report from the disk without a network; nothing may be said or asked for but its own files."""
    pages: list[Any] = []
    said: list[str] = []

    def open_it(report: Path, **options: Any) -> Any:
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720}, **options)
        page = context.new_page()
        page.set_default_timeout(20_000)
        context.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        context.on("request", lambda request: said.append(f"request: {request.url[:300]}"))
        page.goto((report / "index.html").as_uri())
        pages.append((page, report))
        return page

    yield open_it
    for page, report in pages:
        page.context.close()
        others = [line for line in said if not line.startswith(f"request: {report.as_uri()}/")]
        assert [line for line in others if not re.match("request: (data|blob):", line)] == []


def see_all(page: Any) -> int:
    """Open every method, look at every picture, and wait until it is drawn; returns how many there are."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    plots = page.locator(".plot")
    for number in range(plots.count()):
        plots.nth(number).scroll_into_view_if_needed()
        plots.nth(number).locator(".main-svg").first.wait_for()
    return int(plots.count())


class TestInChromium:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_opens_from_the_disk(self, opened: Callable[..., Any], written: Path, scheme: str) -> None:
        page = opened(written, color_scheme=scheme)
        assert page.locator("h1").inner_text() == "Report on 8 finished runs"
        assert see_all(page) == 12
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wide tables scroll by themselves"
        figures = json.loads(page.evaluate("JSON.stringify(document.querySelector('.plot').data[0].y)"))
        assert len(figures) == 3

    def test_its_explorer_opens_within_it_and_alone(self, opened: Callable[..., Any], written: Path) -> None:
        page = opened(written)
        page.locator("iframe").scroll_into_view_if_needed()
        frame = page.frame_locator("iframe")
        frame.locator("canvas.map").first.wait_for()
        (inner,) = [frame for frame in page.frames if "explorer-" in frame.url]
        inner.wait_for_function("window.__explorers?.length")
        assert inner.locator("#back").count() == 0, "it stands within the report"
        page.get_by_role("link", name="open it on a page of its own").click()
        page.wait_for_function("window.__explorers?.length")
        assert page.url.endswith("explorer-1-A-B.html")
        page.get_by_role("link", name="Back to the report").click()
        assert page.url.endswith("index.html")

    def test_names_do_nothing(self, opened: Callable[..., Any], evil: Path, tmp_path: Path) -> None:
        page_of(evil, tmp_path / "report", explorer=ExplorerPlan(jobs=1))
        page = opened(tmp_path / "report")
        assert see_all(page) > 4
        assert page.evaluate("window.harmed === undefined && !document.querySelector('img')")
        labels = page.evaluate("[...document.querySelectorAll('.plot text')].map((each) => each.textContent)")
        assert any("<img" in label for label in labels), "the name is shown as it is"
