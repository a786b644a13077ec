"""The paper's printed numbers: whole, repeated faithfully, and the notes about them true."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise

import pandas as pd
import pytest

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import (
    KITCHENS,
    PAIRS,
    PAPER_CELLS,
    PAPER_DIFFERENCES,
    PAPER_NOTES,
    PAPER_ROWS,
    TEXT_UNITS,
    TRAINING_SEGMENTS,
    VARIANTS,
    VERBS,
    PaperDifference,
    PaperRow,
)
from mmsada_lab.presets import build_config, override_keys

MEANS = {  # of the printed accuracies, computed apart from them, in the order of the tables
    1: [45.47, 47.20, 46.82, 47.28, 50.25, 69.50],
    2: [45.47, 47.92, 49.37, 49.40, 50.10, 50.27],
    3: [37.40, 41.50, 43.83, 47.72, 48.22, 49.25],
    4: [47.90, 47.92],
}


def row(table: int, method: str, stream: str = "fused", variant: str = "") -> PaperRow:
    (found,) = [r for r in PAPER_ROWS if (r.table, r.method, r.stream, r.variant) == (table, method, stream, variant)]
    return found


def gains(better: PaperRow, baseline: PaperRow) -> list[float]:
    return [round(b - a, 1) for b, a in zip(better.top1, baseline.top1, strict=True)]


def note(name: str):
    (found,) = [one for one in PAPER_NOTES if one.name == name]
    return found


def config(preset: str, overrides: Mapping[str, object] | None = None) -> ExperimentConfig:
    return build_config(preset, source="D2", target="D1", overrides=overrides)


class TestTables:
    @pytest.mark.parametrize("table", MEANS)
    def test_rows_give_the_means_computed_apart(self, table: int) -> None:
        assert [round(r.mean, 2) for r in PAPER_ROWS if r.table == table] == MEANS[table]

    def test_printed_means_are_the_rows_but_for_one(self) -> None:
        off = [r for r in PAPER_ROWS if abs(r.printed_mean - r.mean) > 0.0501]
        assert off == [row(3, "mmsada", "rgb")]

    def test_every_row_has_every_pair(self) -> None:
        assert len(PAPER_CELLS) == 6 * len(PAPER_ROWS) == 120
        for r in PAPER_ROWS:
            assert tuple(cell.pair for cell in r.cells) == PAIRS
            assert all(20 < top1 < 80 for top1 in r.top1)

    def test_cells_are_tidy(self) -> None:
        cells = pd.DataFrame(PAPER_CELLS)
        assert list(cells.columns) == ["table", "method", "stream", "variant", "pair", "top1"]
        assert not cells.duplicated(["table", "method", "stream", "variant", "pair"]).any()
        chosen = cells[(cells["table"] == 1) & (cells["method"] == "mcd") & (cells["pair"].map(str) == "D3→D2")]
        assert chosen["top1"].tolist() == [52.7]

    def test_names_are_those_of_the_configuration(self) -> None:
        assert {r.method for r in PAPER_ROWS} == METHODS.keys()
        assert {r.stream for r in PAPER_ROWS} == {"fused", *ExperimentConfig.modalities}
        assert {r.variant for r in PAPER_ROWS} == VARIANTS.keys()

    def test_what_is_printed_twice_is_the_same(self) -> None:
        """But for one cell, which is noted."""
        for method, one, other in (("source_only", 1, 2), ("self_supervised_only", 2, 4), ("mmsada", 1, 2)):
            different = [p for p, gain in zip(PAIRS, gains(row(one, method), row(other, method)), strict=True) if gain]
            assert list(map(str, different)) == (["D1→D3"] if method == "mmsada" else [])

    def test_supervised_target_depends_on_the_target_alone(self) -> None:
        by_target = {(cell.pair.target, cell.top1) for cell in PAPER_CELLS if cell.method == "supervised_target"}
        assert by_target == {("D1", 62.8), ("D2", 71.7), ("D3", 74.0)}

    def test_variants_ask_for_what_they_are_called(self) -> None:
        plain, half, synchronous = (config("paper", overrides) for overrides in VARIANTS.values())
        assert (plain.lambda_d, plain.lambda_c) == (pytest.approx(1), pytest.approx(5))
        assert (half.lambda_d, half.lambda_c) == (pytest.approx(0.5), pytest.approx(5))
        assert (plain.positives, synchronous.positives) == ("segment", "synchronous")


class TestNotes:
    def test_names_are_unique_and_numbers_differ(self) -> None:
        assert len({one.name for one in PAPER_NOTES}) == len(PAPER_NOTES)
        assert all(one.printed != one.recomputed for one in PAPER_NOTES)

    @pytest.mark.parametrize(
        ("name", "better", "baseline"),
        [
            ("gain over mmd", (1, "mmsada"), (1, "mmd")),
            ("rgb gain", (3, "mmsada", "rgb"), (3, "source_only", "rgb")),
            ("flow gain", (3, "mmsada", "flow"), (3, "source_only", "flow")),
            ("rgb gain of self-supervision", (3, "mmsada", "rgb"), (3, "adversarial_only", "rgb")),
            ("flow gain of self-supervision", (3, "mmsada", "flow"), (3, "adversarial_only", "flow")),
            ("flow alone, source-only, over fused", (3, "source_only", "flow"), (1, "source_only")),
        ],
    )
    def test_gains_of_means(self, name: str, better: tuple, baseline: tuple) -> None:
        one, other = row(*better), row(*baseline)
        assert note(name).recomputed == round(one.mean - other.mean, 2)
        assert note(name).printed == round(one.printed_mean - other.printed_mean, 1), "of the rounded means"

    def test_the_cell_printed_twice(self) -> None:
        place = [str(pair) for pair in PAIRS].index("D1→D3")
        found = note("mmsada D1→D3")
        assert (found.printed, found.recomputed) == (row(1, "mmsada").top1[place], row(2, "mmsada").top1[place])
        assert round(found.printed - row(1, "source_only").top1[place], 1) == 2.9, "the gain printed in Table 1"

    def test_the_mean_that_is_off(self) -> None:
        found, printed = note("rgb mmsada mean"), row(3, "mmsada", "rgb")
        assert (found.printed, found.recomputed) == (printed.printed_mean, round(printed.mean, 2))

    def test_the_gain_that_is_off(self) -> None:
        printed = [5.7, 6.6, 7.5, -0.2, 2.9, 6.3]  # the arrows of Table 1
        found = gains(row(1, "mmsada"), row(1, "source_only"))
        off = [(str(p), a, b) for p, a, b in zip(PAIRS, printed, found, strict=True) if a != b]
        assert off == [("D2→D3", note("gain D2→D3").printed, note("gain D2→D3").recomputed)]

    def test_claims_over_adversarial_only(self) -> None:
        pairs, largest = note("pairs improved over adversarial only"), note("largest gain over adversarial only")
        ours, other = ({v: row(2, m, variant=v) for v in ("", "lambda_d=0.5")} for m in ("mmsada", "adversarial_only"))
        at = {v: gains(ours[v], other[v]) for v in ours}
        assert [sum(gain > 0 for gain in found) for found in at.values()] == [pairs.recomputed] * 2
        assert [max(found) for found in at.values()] == [largest.recomputed, 3.3]
        best = [map(max, *(r.top1 for r in rows.values())) for rows in (ours, other)]
        oracle = [round(b - a, 1) for b, a in zip(*best, strict=True)]
        assert (sum(gain > 0 for gain in oracle), max(oracle)) == (pairs.printed, largest.printed)

    def test_flow_alone_beats_the_fused_baselines(self) -> None:
        flow = row(3, "source_only", "flow").mean
        assert all(flow > row(1, method).mean for method in ("source_only", "adabn", "mmd", "mcd"))


GOES_WITH = {"negatives": {"positives": "synchronous"}}
"""What the value of the text asks for besides."""


class TestDifferences:
    def test_numbers_run_through_and_options_come_first(self) -> None:
        assert [d.number for d in PAPER_DIFFERENCES] == list(range(1, len(PAPER_DIFFERENCES) + 1))
        assert len({d.topic for d in PAPER_DIFFERENCES}) == len(PAPER_DIFFERENCES)
        assert all(bool(one.option) >= bool(other.option) for one, other in pairwise(PAPER_DIFFERENCES))

    @pytest.mark.parametrize("difference", [d for d in PAPER_DIFFERENCES if d.option], ids=lambda d: d.topic)
    def test_options_take_both_values_and_presets_have_the_ones_said(self, difference: PaperDifference) -> None:
        assert difference.option in override_keys()
        assert difference.paper_value != difference.code_value
        assert value_of(config("released"), difference.option) == difference.code_value
        assert value_of(config("paper"), difference.option) == difference.preset_value
        for value in filter(None, (difference.paper_value, difference.code_value)):
            found = config("paper", {**GOES_WITH.get(difference.option, {}), difference.option: value})
            assert value_of(found, difference.option) == value

    def test_the_units_of_the_text_take_more_than_one_option(self) -> None:
        text, alone = config("paper", TEXT_UNITS), config("paper", {"adapt.weights.classification": 1.0})
        assert (text.lambda_d, text.lambda_c) == (config("paper").lambda_d, config("paper").lambda_c) == (1.0, 5.0)
        assert (alone.lambda_d, alone.lambda_c) == (0.2, 1.0)

    def test_without_an_option_there_are_no_values(self) -> None:
        for difference in PAPER_DIFFERENCES:
            if not difference.option:
                assert (difference.paper_value, difference.code_value, difference.preset_value) == (None, None, None)

    def test_the_presets_differ_where_it_is_said(self) -> None:
        said = {d.option for d in PAPER_DIFFERENCES if d.preset_value != d.code_value}
        paper, released = config("paper"), config("released")
        names = [f.name for f in fields(ExperimentConfig) if f.name not in ("preset", "pretrain", "adapt")]
        found = {name for name in names if getattr(paper, name) != getattr(released, name)}
        found |= {"adapt.learning_rate"} if paper.adapt.learning_rate != released.adapt.learning_rate else set()
        assert found == said


def value_of(found: ExperimentConfig, option: str) -> object:
    """The value of a field, or of one of the second stage, ``adapt.weights.classification``."""
    value: object = found
    for name in option.split("."):
        value = value[name] if isinstance(value, Mapping) else getattr(value, name)
    return value


def test_the_facts_of_figure_4() -> None:
    assert {domain: sum(counts) for domain, counts in TRAINING_SEGMENTS.items()} == {"D1": 1543, "D2": 2495, "D3": 3897}
    assert all(len(counts) == len(VERBS) == 8 for counts in TRAINING_SEGMENTS.values())
    assert {pair.source for pair in PAIRS} == {pair.target for pair in PAIRS} == KITCHENS.keys()


def test_needs_nothing_but_python() -> None:
    code = "import sys, mmsada_lab.paper; print(sorted({'numpy', 'pandas', 'torch'} & set(sys.modules)))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
