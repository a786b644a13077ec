"""The benchmarks run and report, and their page shows what their files hold. How fast things are is not tested."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
EXPECTED = {
    "step": ("ratios", "tables"),
    "paper": ("settings", "tables"),
    "embedding": ("results", "tables"),
    "looking": ("ratios", "tables"),
    "busy": ("ratios", "tables"),
    "explorer_view": ("chromium", "tables"),
}
"""Script -> what its report holds beside the machine's facts."""
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
REQUIRED = os.environ.get("MMSADA_BROWSER") == "required"


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import what lies beside them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(BENCHMARKS / f"{script}.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def numbers(value: Any) -> Iterator[float]:
    """Every number of a report."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("script", EXPECTED)
def test_each_runs_and_reports(script: str, tmp_path: Path) -> None:
    if script == "explorer_view" and CHROMIUM is None and not REQUIRED:
        pytest.skip("needs Chromium (or its path in the variable CHROMIUM)")
    out = tmp_path / "report.json"
    done = run(script, "--quick", "--threads", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert {"date", "device", "cores", "versions", "git", *EXPECTED[script]} <= report.keys()
    assert report["quick"] is True
    assert report["versions"]["torch"] == torch.__version__
    assert all(math.isfinite(number) for number in numbers(report))
    for table in report["tables"]:
        assert table["rows"], table["title"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
        assert table["title"].split()[0] in done.stdout
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("script", EXPECTED)
def test_help_teaches(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script}.py" in done.stdout
    assert f"Written: {script}.json" in done.stdout


def test_a_folder_that_is_not_there_is_known_before_anything_is_measured(tmp_path: Path) -> None:
    done = run("embedding", "--out", tmp_path / "missing" / "report.json")
    assert done.returncode == 2
    assert f"there is no folder {tmp_path / 'missing'}" in done.stderr


def test_the_page_shows_what_the_files_hold() -> None:
    done = run("tables", "--check")
    assert done.returncode == 0, done.stderr


def test_the_page_is_made_of_the_files(beside: None, tmp_path: Path) -> None:
    import tables

    page = "before\n<!-- a.json -->\nold\n<!-- end -->\nbetween\n<!-- b.json -->\n<!-- end -->\n"
    one = {"title": "T", "columns": ["what", "ms", "s"], "rows": [["x|y", 1234.5, 0.1234], ["z", 32000, None]]}
    report = {"device": "D", "versions": {"torch": "1"}, "date": "2026-01-01", "tables": [one]}
    (tmp_path / "a.json").write_text(json.dumps(report))
    found = tables.filled(page, tmp_path)
    assert "old" not in found
    assert found.startswith("before\n")
    assert "\nbetween\n" in found
    assert "D, torch 1, 2026-01-01." in found
    assert "| x\\|y | 1,234 | 0.123 |\n| z | 32,000 |  |" in found
    assert "Not measured yet." in found
    assert tables.filled(found, tmp_path) == found
    one["rows"][0][2] = 0.2
    (tmp_path / "a.json").write_text(json.dumps(report))
    assert tables.filled(found, tmp_path) != found


def test_the_usual_i3d_is_ours(beside: None) -> None:
    """What a speed is compared with computes the same, running statistics aside."""
    from plain_i3d import PlainI3D

    from mmsada_lab.models.i3d import I3D

    torch.manual_seed(0)
    ours, usual = I3D(2), PlainI3D(2)
    usual.load_state_dict(ours.state_dict())
    clips = torch.randn(4, 2, 9, 33, 40)
    torch.testing.assert_close(usual(clips, 2), ours(clips, 2), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(usual(clips, 4), ours(clips, 2), atol=1e-3)


def test_ratios_are_taken_round_by_round(beside: None) -> None:
    from measure import Timing, ratio

    floor, other = Timing((1.0, 10.0, 2.0)), Timing((2.0, 20.0, 40.0))  # medians 2 and 20
    assert ratio(other, floor) == {"median": 2.0, "low": 2.0, "high": 11.0}


def test_contenders_take_turns(beside: None) -> None:
    from measure import interleaved

    said: list[str] = []
    contenders = {name: lambda name=name: said.append(name) for name in "abc"}
    timings = interleaved(contenders, rounds=3, warm_up=1)
    assert sorted(said[:3]) == sorted(said[3:6]) == ["a", "b", "c"]
    assert said[3:] == [*"abc", *"bca", *"cab"]
    assert all(len(timing.seconds) == 3 for timing in timings.values())


def test_memory_is_what_tensors_take(beside: None) -> None:
    from measure import tensor_bytes

    def work() -> None:
        first = torch.ones(1000, 1000)
        second = first + 1
        del first
        torch.ones(500, 1000).add_(second[:500])

    assert tensor_bytes(work) == pytest.approx(8e6, rel=0.01)


def test_schedule_and_arithmetic(beside: None) -> None:
    """344 PFLOP: the paper's schedule, counted rather than copied."""
    import paper

    assert 9000 * 128 * paper.flops_per_clip(224, 16) == pytest.approx(343.5e15, rel=0.002)


def test_peaks_by_name(beside: None) -> None:
    from peaks import known_peak

    assert known_peak("NVIDIA H100 80GB HBM3", "bf16") == 989
    assert known_peak("NVIDIA H100 PCIe", "bf16") == 756
    assert known_peak("NVIDIA A100-SXM4-80GB", "no") == 156
    assert known_peak("NVIDIA L4", "bf16") == 121
    assert known_peak("NVIDIA A10G-like", "bf16") is None
    assert known_peak("AMD EPYC, 2 threads", "no") is None


def test_too_large_a_step_is_made_easier_until_it_fits(beside: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    import paper

    from mmsada_lab.presets import build_config

    config = build_config("paper", source="D2", target="D1", overrides={"backbone": "i3d"})
    tried: list[tuple[int, bool, int]] = []

    def measure(config: Any, *_: Any, **__: Any) -> tuple[dict[str, Any], int]:
        tried.append((config.accumulation, config.checkpointing, config.norm_group))
        if len(tried) < 5:
            raise torch.OutOfMemoryError
        return {}, 0

    monkeypatch.setattr(paper, "measure", measure)
    (found,) = paper.speed_of("bf16", config, paper.noise(1), argparse.Namespace(data=None))
    assert tried == [(1, False, 16), (2, False, 16), (1, True, 16), (2, True, 16), (2, True, 8)]
    assert found.config.norm_group == 8
