"""The package extended as its users would: what they write, and where."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_epic import picture, write_folder, write_root

from mmsada_lab.datasets import open as opening
from mmsada_lab.datasets.epic.frame_files import FramePattern
from mmsada_lab.datasets.epic.jpeg_reader import FLOW_INDEX
from mmsada_lab.datasets.epic.layouts import MODALITIES, FrameModality
from mmsada_lab.datasets.open import FORMATS, Format, complete_choice, load_data
from mmsada_lab.errors import UserError

# One file: readers of two made-up sensors for two people, who push or pull.
TOY_FORMAT = """
import numpy as np

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment


class Sensor:
    kind, channels, mirror_negates = "series", 3, ()

    def read(self, segment, frames):
        return np.outer(np.sin(frames * (1 + int(segment.uid[1:]) % 2)), [1, 2, 3]).astype("float32")

    def extent(self, segment):
        return segment.start, segment.stop


def open_toy(path, sensors="both"):
    readers = {name: Sensor() for name in ("wrist", "ankle")[: 2 if sensors == "both" else 1]}
    domains = {}
    for person in "AB":
        segments = tuple(Segment(f"{person}{n}", f"{path}{person}{n}", 1, 20 + n, label=n % 2) for n in range(24))
        domains[person] = Domain(person, readers, train=segments[:16], test=segments[16:])
    return MultiDomainData("toy-format", ("push", "pull"), domains, digest=f"{path} {sensors}")
"""

# One line: its entry among the formats. It stands before the command, as it would stand in `datasets/open.py`.
ENTRY = """
from mmsada_lab.datasets.open import FORMATS, Format
FORMATS["toyformat"] = Format(syntax="toyformat:DIR", help="two people who push or pull", opener="toy_format:open_toy",
                              options={"sensors": ("both", "wrist")}, preset="sensors", all_modalities=True)
from mmsada_lab.cli.main import main
main()
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The `mmsada` command of a package with the format, in a process of its own: its help is made on import."""
    (tmp_path / "toy_format.py").write_text(TOY_FORMAT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", ENTRY, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_a_dataset_format_is_one_file_and_one_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    toy_format = Format(syntax="toyformat:DIR", help="", opener="toy_format:open_toy")
    monkeypatch.setitem(FORMATS, "toyformat", toy_format)
    assert load_data("toyformat:there").digest == "there both"

    checked = command("data", "check", "toyformat:there,sensors=wrist")
    assert checked.returncode == 0, checked.stderr
    assert "toyformat:there" in checked.stdout

    small = ["-o", "pretrain.steps=1", "-o", "adapt.steps=1", "-o", "batch_size=8"]
    trained = command("train", "--data", "toyformat:there", "--source", "A", "--target", "B", "--device", "cpu", *small)
    assert trained.returncode == 0, trained.stderr
    assert [line.split()[0] for line in trained.stdout.splitlines()[:3]] == ["fused", "wrist", "ankle"]


def test_help_and_hints_name_every_format(command: Command) -> None:
    shown = [command(*words, "--help").stdout.replace("│", "").split() for words in (["train"], ["data", "check"])]
    helps = [" ".join(words) for words in shown]
    assert all("toyformat:DIR (two people who push or pull; sensors=both|wrist)" in text for text in helps)
    assert "quick for kitchens, epic; sensors for arrays, features, toyformat" in helps[0]
    refused = command("data", "check", "toifromat:x")
    assert refused.returncode == 2
    assert "Did you mean 'toyformat'? Write kitchens, epic:ROOT, arrays:DIR, features:DIR or toyformat:DIR." in (
        refused.stderr
    )


def test_options_are_checked_before_anything_is_opened() -> None:
    with pytest.raises(UserError, match=r"unknown option of epic 'mising'; choose flow_index, missing, evaluate"):
        load_data("epic:nowhere,mising=drop")
    with pytest.raises(UserError, match=r"unknown missing 'dorp'; choose error, drop\. Did you mean 'drop'"):
        load_data("features:nowhere,missing=dorp")
    assert FORMATS["epic"].options["flow_index"] == tuple(FLOW_INDEX)


def test_a_choice_is_completed_by_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete_choice("kitchens", None, overrides={"width": 8}) == ("quick", {"width": 8})
    chosen = {"modalities": ("imu",)}
    assert complete_choice("arrays:x", "paper", overrides=chosen) == ("paper", chosen)
    monkeypatch.setattr(opening, "load_data", lambda text: text)
    monkeypatch.setattr(opening, "shared_modalities", lambda data: (data, "imu"))
    assert complete_choice("features:x", None, overrides={}) == ("sensors", {"modalities": ("features:x", "imu")})


def test_a_modality_in_frames_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth, one grey track: beside rgb/ and flow/, read at RGB frames, and refused where its frames are missing."""
    pattern = (FramePattern("", "frame_"),)
    monkeypatch.setitem(MODALITIES, "depth", FrameModality(1, tracks=pattern, raw_tracks=pattern))
    root = write_root(tmp_path)
    for video in ("P01/P01_00", "P01/P01_01", "P02/P02_00", "P02/P02_01"):
        write_folder(root / "depth" / video, {f"frame_{n:010d}.jpg": picture(5 * n) for n in range(1, 41)})
    data = load_data(f"epic:{root}")
    assert [*data.domain("X").readers] == ["rgb", "flow", "depth"]
    clip = data.domain("X").readers["depth"].read(data.domain("X").train[0], np.array([3, 20]))
    assert clip.shape == (2, 24, 32, 1)
    assert np.abs(clip.mean(axis=(1, 2, 3)) - [15, 100]).max() < 1
    shutil.rmtree(root / "depth" / "P02" / "P02_01")
    with pytest.raises(UserError, match=r"4 of 8 segments lack depth, .* has no depth frames.*depth/\[P02/\]P02_01"):
        load_data(f"epic:{root}")
