"""The benchmarks of reading frames run at their quick size and leave what they promise; figures are not tested."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both keep the frames they make."""
    return tmp_path_factory.mktemp("large")


def report(name: str, data: Path, tmp_path: Path, *words: str) -> dict[str, Any]:
    out = tmp_path / f"{name}.json"
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--workers", "2", "--data", data, "--out", out]
    subprocess.run([*map(str, command), *words], check=True, timeout=300, capture_output=True)
    return json.loads(out.read_text())


def check_tables(tables: list[dict[str, Any]], count: int) -> None:
    assert len(tables) == count
    for table in tables:
        assert table["rows"]
        for row in table["rows"]:
            assert len(row) == len(table["columns"])
            numbers = [cell for cell in row if isinstance(cell, float)]
            assert numbers
            assert all(math.isfinite(number) for number in numbers)


def test_frames(data: Path, tmp_path: Path) -> None:
    found = report("frames", data, tmp_path, "--soak", "0.05")
    assert {"date", "device", "cores", "quick", "tables"} <= found.keys()
    check_tables(found["tables"], 3)
    rates, compared, _ = found["tables"]
    assert all(row[1] > 0 for row in [*rates["rows"], *compared["rows"]])
    assert 15 < found["kilobytes_a_frame"]["rgb"] < 40
    assert found["soak"]["clips"] > 0
    assert len(found["soak"]["samples"]) > 3


def test_scale(data: Path, tmp_path: Path) -> None:
    found = report("scale", data, tmp_path)
    check_tables(found["tables"], 1)
    assert [row[0] for row in found["tables"][0]["rows"]] == ["60 segments", "6,000 segments"]
    assert not [path for path in data.iterdir() if path.name.startswith("mmsada-scale")]
