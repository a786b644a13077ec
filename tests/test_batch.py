"""Grids of runs: which, that a failure stays alone, and that they run in processes of their own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from toy import SMALL, run_toy

from mmsada_lab import batch
from mmsada_lab.batch import grid, run_grid
from mmsada_lab.config import METHODS
from mmsada_lab.errors import UserError
from mmsada_lab.runs import load_runs


def toy_grid(*domains: str, methods: tuple[str, ...] = ("source_only",), seeds: int = 1, **overrides: object) -> list:
    return grid(domains, methods=methods, seeds=range(seeds), data="toy", preset="quick", overrides=SMALL | overrides)


class TestGrid:
    def test_every_method_on_every_ordered_pair_with_every_seed(self) -> None:
        configs = toy_grid("A", "B", "C", methods=tuple(METHODS), seeds=2)
        assert len(configs) == 2 * (5 * 6 + 3)
        assert len({config.digest for config in configs}) == len(configs)
        assert Counter(config.method for config in configs) == {**dict.fromkeys(METHODS, 12), "supervised_target": 6}
        pairs = {str(config.pair) for config in configs if config.method == "mmsada"}
        assert pairs == {"A→B", "B→A", "A→C", "C→A", "B→C", "C→B"}
        assert {str(c.pair) for c in configs if c.method == "supervised_target"} == {"A→A", "B→B", "C→C"}
        assert {config.seed for config in configs} == {0, 1}

    def test_overrides_reach_every_run(self) -> None:
        assert {config.batch_size for config in toy_grid("A", "B", methods=("mmsada", "adabn"), batch_size=8)} == {8}

    def test_bad_names_are_answered_before_anything_runs(self) -> None:
        with pytest.raises(UserError, match=r"unknown method 'mmsda'.*Did you mean 'mmsada'\?"):
            toy_grid("A", "B", methods=("mmsda",))


def test_runs_in_processes_of_their_own_and_a_failure_stays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Domain X does not exist."""
    monkeypatch.setattr(batch, "_run_one", run_toy)
    configs = toy_grid("A", "B") + toy_grid("A", "X")[:1]
    failures = run_grid(configs, tmp_path, jobs=2, device="cpu")
    assert [(str(config.pair), message.partition(";")[0]) for config, message in failures] == [
        ("A→X", "unknown domain 'X'")
    ]
    assert set(load_runs(tmp_path)["source"]) == {"A", "B"}
    assert "1 failed" in capfd.readouterr().err
