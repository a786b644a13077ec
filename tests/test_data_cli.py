"""The `mmsada data` commands: what they print, write and exit with, and the whole way of somebody with own data."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toy import SMALL, Mmsada, Said

from mmsada_lab.cli import main as cli
from mmsada_lab.cli.data import data_app
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens, parse_knobs
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.prepare import export_kitchens as export
from mmsada_lab.prepare.epic_split import build_split
from mmsada_lab.prepare.videos.importing import import_videos

TINY = Kitchens(scale=0.001)
COMMANDS = {command.name or command.callback.__name__: command.callback for command in data_app.registered_commands}
QUICK = ["--device", "cpu", "--workers", "0"]
QUICK += [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]
IMPORT = ["--algorithm", "dis", "--height", "16", "--jobs", "1"]


def in_a_process(*words: str | Path) -> Said:
    program = [sys.executable, "-c", "from mmsada_lab.cli.main import main; main()"]
    done = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def refused(said: Said, message: str) -> None:
    assert said.code == 2
    assert message in " ".join(said.err.replace("│", " ").split())
    assert said.out == ""
    assert "Traceback" not in said.err


def write_clip(path: Path, *, seed: int = 0, frames: int = 12) -> Path:
    """A texture that moves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(seed).integers(0, 255, (24, 32 + frames, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = 24, 32, "yuv420p"
        for at in range(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(texture[:, at : at + 32]), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight labelled clips at home, four unlabelled ones away."""
    root = tmp_path_factory.mktemp("clips")
    for at in range(4):
        write_clip(root / "home" / "open" / f"open{at}.mp4", seed=at)
        write_clip(root / "home" / "pour" / f"pour{at}.mp4", seed=10 + at)
        write_clip(root / "away" / "unlabelled" / f"x{at}.mp4", seed=20 + at)
    return root


@pytest.fixture(scope="module")
def kitchens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest kitchens, as tars, exported by the command."""
    target = tmp_path_factory.mktemp("kitchens") / "jpeg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mmsada", *f"data export-kitchens {target} --scale 0.001 --tar".split()])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code
    return target


# --- import-videos ----------------------------------------------------------------------------------------------


def test_what_can_be_imported_is_and_the_rest_is_named(tmp_path: Path) -> None:
    for domain in ("home", "away"):
        write_clip(tmp_path / "clips" / domain / "open" / f"{domain}.mp4")
    sound = (tmp_path / "clips/home/open/home.mp4").read_bytes()
    (tmp_path / "clips/home/open/cut.mp4").write_bytes(sound[: len(sound) // 2])
    said = in_a_process("data", "import-videos", tmp_path / "clips", tmp_path / "frames", *IMPORT)
    assert said.code == 1
    refusals = [line for line in said.lines if line.startswith("rejected ")]
    assert len(refusals) == 1
    assert re.match(r"rejected home/open/cut\.mp4: it cannot be decoded \(.+\); repair it", refusals[0])
    assert said.lines[0].endswith("2 videos imported, 0 finished before, 1 files or segments rejected")
    assert said.lines[-1] == f"epic:{tmp_path / 'frames'}"
    assert "Importing videos" in said.err
    assert "Importing videos" not in said.out
    assert "Traceback" not in said.err
    assert {name: [s.uid for s in d.train] for name, d in load_data(said.lines[-1]).domains.items()} == {
        "home": ["home"],
        "away": ["away"],
    }


def test_an_import_goes_on_and_its_settings_are_kept_or_changed(mmsada: Mmsada, clips: Path, tmp_path: Path) -> None:
    source = tmp_path / "clips"
    shutil.copytree(clips / "away", source / "away")
    for label in ("open", "pour"):
        write_clip(source / "home" / label / f"{label}.mp4")
    words = ["data", "import-videos", source, tmp_path / "frames", *IMPORT]
    assert mmsada(*words).code == 0
    again = mmsada(*words)
    assert (again.code, again.err) == (0, "")
    assert "0 videos imported, 6 finished before" in again.lines[0]
    other = [*words, "--dilation", "1", "--quality", "60", "--bound", "3", "--fps", "5"]
    refused(mmsada(*other), "other settings: bound 1.5625, now 3.0, dilation 3, now 1, fps '', now '5', quality 95")
    assert "6 videos imported" in mmsada(*other, "--overwrite").lines[0]
    record = json.loads((tmp_path / "frames/imported/x0.json").read_text())
    assert (record["fps"], record["rgb"], record["flow"]) == ("5", 6, 2)
    assert (record["settings"]["height"], record["settings"]["algorithm"]) == (16, "dis")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algorithm", "tvl2"], "unknown flow algorithm 'tvl2'; choose dis, farneback, tvl1. Did you mean 'tvl1'?"),
        (["--fps", "fast"], "fps = 'fast'; choose a number"),
        (["--bound", "0"], "flow bound 0.0; give a positive number"),
        (["--height", "9000"], "height = 9000; choose a whole number from 16 to 4096"),
        (["--test-fraction", "1"], "test_fraction = 1.0; choose a number from 0"),
        (["--dilation", "0"], "Invalid value for '--dilation'"),
        (["--quality", "101"], "Invalid value for '--quality'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_import_that_cannot_be_meant(
    mmsada: Mmsada, clips: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    refused(mmsada("data", "import-videos", clips, tmp_path / "frames", *words), message)
    assert not (tmp_path / "frames").exists()


def test_places_that_cannot_be_imported_from_or_to(mmsada: Mmsada, clips: Path, tmp_path: Path) -> None:
    refused(mmsada("data", "import-videos", tmp_path / "no", tmp_path / "frames"), "found nothing, not a folder")
    (tmp_path / "file").write_text("")
    refused(mmsada("data", "import-videos", clips, tmp_path / "file"), "is a file; choose a new folder")
    refused(mmsada("data", "import-videos", clips, tmp_path / "file/in"), "cannot write to")
    with pytest.raises(UserError, match="seed = -1; choose 0"):
        import_videos(clips, tmp_path / "frames", seed=-1)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder nobody may enter."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("root may read and write everything")
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0)
    yield folder
    folder.chmod(stat.S_IRWXU)


def test_folders_without_rights(mmsada: Mmsada, clips: Path, locked: Path, tmp_path: Path) -> None:
    def stopped(*words: str | Path, code: int = 2) -> None:
        said = mmsada(*words)
        assert said.code == code, words
        assert "ermission denied" in said.out + said.err
        assert "Traceback" not in said.err

    stopped("data", "import-videos", locked, tmp_path / "frames")
    stopped("data", "import-videos", clips, locked / "frames", *IMPORT)
    stopped("data", "export-kitchens", locked / "jpeg", "--scale", "0.001")
    stopped("data", "show", f"epic:{locked}", "--uid", "1")


# --- split ------------------------------------------------------------------------------------------------------


def write_annotations(path: Path, *, first: int = 0) -> Path:
    """Two kitchens, five videos from the `first`, four segments of each, three verbs."""
    rows = [
        (f"{kitchen}_0{video}", kitchen, 100 * at + 1, 100 * at + 50, f"verb{at % 3}", at % 3)
        for kitchen in ("P01", "P08")
        for video in range(first, first + 5)
        for at in range(4)
    ]
    table = pd.DataFrame(rows, columns="video_id participant_id start_frame stop_frame verb verb_class".split())
    table.insert(0, "uid", range(100 * first, 100 * first + len(table)))
    table.to_csv(path, index=False)
    return path


def test_a_split_is_told_and_written(mmsada: Mmsada, tmp_path: Path) -> None:
    source = write_annotations(tmp_path / "train.csv")
    words = ["data", "split", source, "--to", tmp_path / "new", "--domain", "D1=P08", "--domain", "D2=P01"]
    said = mmsada(*words, "--verbs", "all", "--test-fraction", "0.4", "--seed", "5")
    assert said.code == 0
    assert said.lines == [
        "D1: 12 training and 8 test segments",
        "D2: 12 training and 8 test segments",
        "classes (3): take, put, open",
        str(tmp_path / "new/segments.csv"),
    ]
    options: dict[str, Any] = {"domains": {"D1": "P08", "D2": "P01"}, "test_fraction": 0.4}
    wanted = build_split([source], **options, seed=5)
    assert wanted.uid.tolist() != build_split([source], **options).uid.tolist(), "the seed matters"
    written = pd.read_csv(tmp_path / "new/segments.csv", dtype=str)
    assert written.split.tolist() == wanted.split.tolist()
    assert written.uid.tolist() == wanted.uid.tolist()
    refused(mmsada(*words), "segments.csv is there already; choose another place, or replace it with overwrite=True")
    assert mmsada(*words, "--overwrite", "--test-fraction", "0").lines[0] == "D1: 20 training and 0 test segments"


def test_test_segments_and_names_may_come_from_other_tables(mmsada: Mmsada, tmp_path: Path) -> None:
    source, other = write_annotations(tmp_path / "train.csv"), write_annotations(tmp_path / "other.csv", first=5)
    names = tmp_path / "names.csv"
    names.write_text("verb_id,class_key\n0,grasp\n1,lay\n2,unfold\n")
    words = ["data", "split", source, "--to", tmp_path, "--domain", "D1=P08", "--verbs", "grasp,unfold"]
    said = mmsada(*words, "--test", other, "--verb-classes", names)
    assert said.lines[:2] == ["D1: 15 training and 15 test segments", "classes (2): grasp, unfold"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--domain", "D1"], "domain 'D1' cannot be read; write NAME=KITCHEN"),
        (["--domain", "D1=P8"], "unknown kitchen 'P8'; did you mean P08?"),
        (["--domain", "D1=p01"], "unknown kitchen 'p01'; did you mean P01?"),
        (["--domain", "D1=P09"], "unknown kitchen 'P09'; choose P01, P08. Did you mean"),
        (["--domain", "D1=P01", "--verbs", "tak"], "unknown verb 'tak'; choose take, put, open. Did you mean 'take'?"),
        (["--domain", "D1=P01", "--verbs", "first-x"], "verbs 'first-x' cannot be read; write first-8"),
        (["--domain", "D1=P01", "--test-fraction", "2"], "test_fraction is 2.0; give a share"),
        (["--domain", "D1=P01", "--seed", "-1"], "Invalid value for '--seed'"),
        (["--domain", "D1=P01", "--test", "no.csv"], "cannot read no.csv: No such file"),
        ([], "Missing option '--domain'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_split_that_cannot_be_made(mmsada: Mmsada, tmp_path: Path, words: list[str], message: str) -> None:
    source = write_annotations(tmp_path / "train.csv")
    refused(mmsada("data", "split", source, "--to", tmp_path / "new", *words), message)
    assert not (tmp_path / "new").exists()


def test_of_many_verbs_the_nearest_are_named(mmsada: Mmsada, tmp_path: Path) -> None:
    rows = [("P01", f"P01_{n // 20:02d}", n + 1, n + 9, f"verb{n}", 20 + n, n) for n in range(60)]
    names = "participant_id video_id start_frame stop_frame verb verb_class uid".split()
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "train.csv", index=False)
    words = ["data", "split", tmp_path / "train.csv", "--to", tmp_path / "new", "--domain", "A=P01", "--verbs"]
    said = mmsada(*words, "vrb33")
    refused(said, "error: unknown verb 'vrb33'; choose from 60, such as verb33, ")
    assert said.err.count("verb") == 6
    refused(mmsada(*words, "qqq"), "such as verb0, verb1, verb2, verb3, verb4")


def test_the_authors_kitchens_from_the_real_annotations(mmsada: Mmsada, tmp_path: Path) -> None:
    """All rows of P08 and P01 with the first eight verbs are the authors' training segments."""
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    source = Path(os.environ["MMSADA_TEST_DATA"]) / "epic55/EPIC_train_action_labels.csv"
    words = ["data", "split", source, "--to", tmp_path, "--domain", "D1=P08", "--domain", "D2=P01"]
    said = mmsada(*words, "--test-fraction", "0")
    assert said.lines == [
        "D1: 1543 training and 0 test segments",
        "D2: 2495 training and 0 test segments",
        "classes (8): take, put, open, close, wash, cut, mix, pour",
        str(tmp_path / "segments.csv"),
    ]
    refused(mmsada(*words, "--verbs", "tak"), "such as take")
    assert "classes (2): take, wash" in mmsada(*words, "--verbs", "wash,take", "--overwrite").out


# --- check ------------------------------------------------------------------------------------------------------


def test_a_sound_data_set_is_fit_to_train_on(mmsada: Mmsada, kitchens: Path, tmp_path: Path) -> None:
    said = mmsada("data", "check", f"epic:{kitchens}", "--jobs", "1", "--fast", "--json", tmp_path / "new/report.json")
    assert said.code == 0
    assert said.lines[0] == f"epic:{kitchens}; a sample: first and last frame of some segments"
    assert said.lines[-2:] == ["0 errors, 0 warnings, 0 notes", str(tmp_path / "new/report.json")]
    report = json.loads((tmp_path / "new/report.json").read_text())
    assert (report["ok"], report["fast"], report["data"]) == (True, True, f"epic:{kitchens}")
    assert "Checking" in said.err
    assert "Checking" not in said.out


def test_a_damaged_data_set_is_not(kitchens: Path, tmp_path: Path) -> None:
    shutil.copytree(kitchens, tmp_path / "jpeg")
    tar = tmp_path / "jpeg/flow/D2/D2_train_0003.tar"
    content = bytearray(tar.read_bytes())
    content[600:3000] = b"\0" * 2400
    tar.write_bytes(content)
    data = f"epic:{tmp_path / 'jpeg'}"
    said = in_a_process("data", "check", data, "--jobs", "1", "--json", tmp_path / "report.json")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert said.lines[-1] == str(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["ok"]
    errors = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert {error["segment"] for error in errors} == {"D2_train_0003"}
    assert {(error["domain"], error["modality"]) for error in errors} == {("D2", "flow")}
    assert "segment D2_train_0003" in said.out
    assert sum(row["segments"] for row in report["table"]) == 2 * 96


def test_what_cannot_be_opened_is_an_error_but_a_slip_a_refusal(mmsada: Mmsada, tmp_path: Path) -> None:
    said = mmsada("data", "check", f"epic:{tmp_path}", "--json", tmp_path / "report.json")
    assert (said.code, said.err) == (1, "")
    assert "ERROR the data cannot be opened (1)" in said.out
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["error"] == 1
    refused(mmsada("data", "check", f"epik:{tmp_path}"), "error: unknown data 'epik'; choose kitchens, epic, arrays, f")
    (tmp_path / "file").write_text("")
    said = mmsada("data", "check", f"epic:{tmp_path}", "--json", tmp_path / "file/report.json")
    assert said.code == 2
    assert "error: cannot write" in said.err
    assert "1 error" in said.out, "the report is not lost with its file"


def test_the_authors_tables_alone_are_told_where_frames_belong(mmsada: Mmsada) -> None:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    said = mmsada("data", "check", f"epic:{os.environ['MMSADA_TEST_DATA']}/mmsada_splits")
    assert said.code == 1
    assert "no video of the annotations has frames" in said.out


def test_wrong_columns_are_no_advice(mmsada: Mmsada, tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text("uid,domain,split\n1,A,train\n")
    said = mmsada("data", "check", f"features:{tmp_path}")
    assert "lacks the columns label; found uid, domain, split" in said.out


# --- show -------------------------------------------------------------------------------------------------------


def test_a_segment_is_shown_as_page_and_picture(mmsada: Mmsada, kitchens: Path, tmp_path: Path) -> None:
    data, uid = f"epic:{kitchens}", "D3_test_0001"
    page = mmsada("data", "show", data, "--uid", uid, "--to", tmp_path / "new/page.html", "--windows", "3")
    assert (page.code, page.out) == (0, f"{tmp_path / 'new/page.html'}\n")
    text = (tmp_path / "new/page.html").read_text()
    assert uid in text
    assert "test 3" in text
    assert "test 4" not in text
    assert mmsada("data", "show", data, "--uid", uid, "--to", tmp_path / "it.gif").code == 0
    with Image.open(tmp_path / "it.gif") as picture:
        segment = load_data(data).domain("D3").test[1]
        assert picture.n_frames == segment.stop - segment.start + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--uid", "D1_trian_0000"], "no segment 'D1_trian_0000' among the 96 of epic-jpeg; the nearest are D1_train_"),
        (["--uid", "D1_train_0000", "--to", "it.mp4"], "cannot write it.mp4: choose a name ending in .html"),
        (["--uid", "D1_train_0000", "--windows", "0"], "Invalid value for '--windows'"),
        ([], "Missing option '--uid'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_shown(mmsada: Mmsada, kitchens: Path, words: list[str], message: str) -> None:
    refused(mmsada("data", "show", f"epic:{kitchens}", *words), message)


# --- export-kitchens --------------------------------------------------------------------------------------------


def test_knobs_and_scale_reach_the_export(mmsada: Mmsada, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stand_in(destination: Path, kitchens: Kitchens, *, tar: bool) -> Path:
        asked.append((kitchens, tar))
        return destination

    monkeypatch.setattr(export, "export_kitchens", stand_in)
    said = mmsada("data", "export-kitchens", tmp_path, "--knobs", "appearance=0.5,motion=0", "--scale", "0.02", "--tar")
    assert said == Said(0, f"epic:{tmp_path}\n", "")
    mmsada("data", "export-kitchens", tmp_path)
    mmsada("data", "export-kitchens", tmp_path, "--knobs", "seed=3,scale=0.5")
    assert asked == [
        (Kitchens(appearance=0.5, motion=0, scale=0.02), True),
        (Kitchens(), False),
        (Kitchens(seed=3, scale=0.5), False),
    ]
    assert parse_knobs("") == Kitchens()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "3"], "scale = 3.0; choose a number above 0"),
        (["--knobs", "apearance=1"], "unknown knob of kitchens 'apearance'; choose"),
        (["--knobs", "motion"], "knob motion of kitchens is ''; give a number, as in motion=0.5"),
        (["--knobs", "motion=2"], "motion = 2.0; choose a number from 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_export_that_cannot_be_meant(mmsada: Mmsada, tmp_path: Path, words: list[str], message: str) -> None:
    refused(mmsada("data", "export-kitchens", tmp_path / "jpeg", *words), message)
    assert not (tmp_path / "jpeg").exists()


def test_another_export_is_named_by_what_differs(mmsada: Mmsada, kitchens: Path, tmp_path: Path) -> None:
    words = ["data", "export-kitchens", kitchens, "--tar"]
    refused(mmsada(*words, "--scale", "0.002"), 'jpeg holds another export ("scale": 0.001, now 0.002); give another')
    shutil.copy(kitchens / export.MARK, tmp_path)
    mark = tmp_path / export.MARK
    mark.write_text(mark.read_text().replace('"digest": "', '"digest": "0'))
    words = ["data", "export-kitchens", tmp_path, "--scale", "0.001", "--tar"]
    refused(mmsada(*words), '("digest": "0')
    mark.write_text("{")
    refused(mmsada(*words), "holds another export (its kitchens.json cannot be read)")


# --- the whole way ----------------------------------------------------------------------------------------------


def test_from_exported_frames_to_features_and_a_run_on_them(mmsada: Mmsada, kitchens: Path, tmp_path: Path) -> None:
    runs = ["--source", "D2", "--target", "D1", "--runs", tmp_path / "runs", *QUICK]
    trained = mmsada("train", "--data", f"epic:{kitchens}", *runs)
    assert trained.code == 0, trained.err
    assert [line.split()[0] for line in trained.lines[:3]] == ["fused", "rgb", "flow"]
    run = trained.lines[-1]

    predicted = mmsada("predict", run, "--to", tmp_path / "d1.csv", "--device", "cpu")
    assert predicted.code == 0, predicted.err
    table = pd.read_csv(tmp_path / "d1.csv")
    domain = load_data(f"epic:{kitchens}").domain("D1")
    assert table.uid.tolist() == [segment.uid for segment in domain.train + domain.test]
    right = 100 * (table.label == table.predicted).mean()
    assert f"{right:.1f} % of the {len(table)} segments with a label" in predicted.out

    extracted = mmsada("extract", run, tmp_path / "features", "--device", "cpu")
    assert (extracted.code, extracted.out) == (0, f"features:{tmp_path / 'features'}\n")
    data = extracted.out.strip()
    assert mmsada("data", "check", data).code == 0
    refused(
        mmsada("data", "show", data, "--uid", "D1_test_0000", "--to", "it.gif"), "has no video in domain D1; choose"
    )
    again = mmsada("train", "--data", data, *runs)
    assert again.code == 0, again.err
    assert again.lines[-1] != run
    assert again.lines[0].startswith("   fused  top-1")


def test_from_clips_of_two_sites_to_predictions_where_nothing_is_labelled(
    mmsada: Mmsada, clips: Path, tmp_path: Path
) -> None:
    data = mmsada("data", "import-videos", clips, tmp_path / "frames", *IMPORT).lines[-1]
    checked = mmsada("data", "check", data, "--jobs", "1")
    assert checked.code == 0
    assert "away train: 4 of 4 segments have no label" in checked.out
    words = ["--data", data, "--source", "home", "--target", "away", "--runs", tmp_path / "runs", *QUICK]
    trained = mmsada("train", *words, "--method", "adabn", "-o", "batch_size=4")
    assert trained.code == 0, trained.err
    message, run = trained.lines
    assert message == f"away has no labelled test segments, so there is no accuracy to report; see mmsada predict {run}"
    said = mmsada("predict", run, "--to", tmp_path / "away.csv", "--device", "cpu")
    assert said.code == 0, said.err
    table = pd.read_csv(tmp_path / "away.csv")
    assert sorted(table.uid) == ["x0", "x1", "x2", "x3"]
    assert {*table.predicted} <= {"open", "pour"}
    assert table.label.isna().all()
    assert "with a label" not in said.out


# --- help -------------------------------------------------------------------------------------------------------


def examples(command: str) -> list[list[str]]:
    """The commands in a help text, as words after `mmsada`."""
    text = COMMANDS[command].__doc__ or ""
    return [line.split()[2:] for line in text.splitlines() if re.match(r"\s*(Example|Then|Or): mmsada ", line)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    listed = next(entry for entry in data_app.registered_commands if entry.callback is COMMANDS[command])
    parameters = dict(inspect.signature(listed.callback, eval_str=True).parameters)
    parameters.pop("context", None)
    for name, parameter in parameters.items():
        (about,) = parameter.annotation.__metadata__
        assert about.help, name
        assert len(about.help) > 20, name
        assert "[" not in about.help, "rich would take it for markup"


def test_defaults_are_those_of_the_functions() -> None:
    ours = {name: p.default for name, p in inspect.signature(COMMANDS["import-videos"]).parameters.items()}
    assert ours.pop("context") is inspect.Parameter.empty
    assert ours == {name: p.default for name, p in inspect.signature(import_videos).parameters.items()}
    ours = inspect.signature(COMMANDS["split"]).parameters
    for name in ("test_fraction", "seed"):
        assert ours[name].default == inspect.signature(build_split).parameters[name].default


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_work(
    command: str, mmsada: Mmsada, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that has what they name; training stops where it would begin."""
    said = mmsada("data", command, "--help")
    assert said.code == 0
    assert f"Example: mmsada data {command} " in " ".join(said.out.split())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").symlink_to(clips)
    write_annotations(tmp_path / "EPIC_train_action_labels.csv")
    if command == "check":
        import_videos(clips, tmp_path / "frames", algorithm="dis", height=16, jobs=1)
    real, asked = export.export_kitchens, list[ExperimentConfig]()
    monkeypatch.setattr("mmsada_lab.datasets.kitchens.loader.load_kitchens", lambda _: load_kitchens(TINY))
    monkeypatch.setattr(export, "export_kitchens", lambda to, *_, **__: real(to, TINY, tar=True))
    monkeypatch.setattr("mmsada_lab.experiment.run_experiment", lambda config, *_, **__: asked.append(config))
    for words in examples(command):
        if words[0] == "data":
            said = mmsada(*words)
            assert said.code == 0, said.err
        else:
            with pytest.raises(TypeError):  # there is no run to look into
                mmsada(*words)
    for config in asked:
        if command != "split":  # no frames belong to its table
            assert {config.source, config.target} <= {*load_data(config.data).domains}
    assert len(asked) == sum(words[0] == "train" for words in examples(command))
