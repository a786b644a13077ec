"""Finished runs opened to look at, and the paper's tables of them: the reference runs, and runs that lack something."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmsada_lab import finished_runs, paper_tables
from mmsada_lab.analysis import figures
from mmsada_lab.analysis.neighbours import class_votes, embedding_summary, made_up_neighbours
from mmsada_lab.analysis.tables import MEAN
from mmsada_lab.errors import UserError
from mmsada_lab.lessons.paper_tables import PaperTables

PAIR = {"preset": "quick", "source": "D1", "target": "D3"}


@pytest.fixture(scope="module")
def results() -> PaperTables:
    return paper_tables()


class TestFinishedRuns:
    def test_they_come_in_the_order_they_are_asked_for(self) -> None:
        runs = finished_runs(["mmsada", "adabn"], **PAIR, holding="predictions.npz")
        assert list(runs) == ["MM-SADA", "AdaBN"]
        assert [run.title for run in runs.values()] == list(runs)
        assert str(runs["AdaBN"].pair) == "D1→D3"

    def test_the_reported_accuracy_is_the_mean_of_the_last_evaluations(self) -> None:
        (run,) = finished_runs(["mmsada"], **PAIR).values()
        for stream in ("fused", "rgb", "flow"):
            assert run.accuracies(stream).iloc[-run.evaluations :].mean() == pytest.approx(run.top1(stream))
        last = run.predictions.query("stream == 'fused'")
        assert 100 * (last["label"] == last["predicted"]).mean() == pytest.approx(run.top1(), abs=0.01)

    def test_what_was_not_kept_is_told(self) -> None:
        with pytest.raises(UserError, match="choose D1-D3 seed 0"):
            finished_runs(["mmsada"], preset="quick", source="D2", target="D1", holding="features.npz")
        with pytest.raises(UserError, match="no finished run of mmsada"):
            finished_runs(["mmsada"], **PAIR, overrides={"width": 3})

    def test_segments_separations_and_votes_are_of_its_features(self) -> None:
        (run,) = finished_runs(["source_only"], **PAIR).values()
        assert run.segments["side"].value_counts().to_dict() == {"target": 156, "source": 70}
        assert set(run.segments["class"]) == set(run.classes)
        assert run.modalities == list(run.separations()) == list(run.votes()) == ["rgb", "flow"]
        assert 0.5 < run.separations()["rgb"] < 1
        assert (run.neighbours(10), run.neighbours(1000)) == (10, 56)

    def test_a_gap_has_both_scopes(self) -> None:
        (run,) = finished_runs(["source_only"], **PAIR).values()
        table = run.gap(["mmd_median"], draws=0)
        assert table["conditional"].tolist() == [False, True] * 2

    def test_a_picture_says_what_the_network_said(self) -> None:
        (run,) = finished_runs(["source_only"], **PAIR).values()
        points = run.embedding()
        assert set(points["run"]) == {"Source-only"}
        assert points.groupby("modality", sort=False).size().to_dict() == {"rgb": 226, "flow": 226}
        known = points[(points["side"] == "target") & (points["modality"] == "rgb")]
        right = 100 * (known["predicted"] == known["label"]).mean()
        assert right == pytest.approx(run.accuracies().iloc[-1], abs=0.1)
        assert run.summaries(points).loc["rgb", "overlap"] > 0.3


class TestPaperTables:
    def test_a_table_begins_with_the_difference_and_breaks_no_cell(self, results: PaperTables) -> None:
        table = results.table("table1")
        assert list(table)[:4] == ["− Source-only", "95 % over worlds", "95 % over seeds, worlds fixed", MEAN]
        assert not table.map(lambda cell: " " in cell).any(axis=None)
        assert table.loc["MM-SADA", "− Source-only"] == f"{results.means('table1').loc['MM-SADA', 'difference']:+.1f}"

    def test_differences_are_those_of_the_report(self, results: PaperTables) -> None:
        by_pair = results.differences("fig5", "MM-SADA", "Source-only")
        mean = by_pair.mean(axis=1).groupby("world").mean().mean()
        assert mean == pytest.approx(results.means("fig5").loc["MM-SADA", "difference"])
        assert by_pair.shape == (8, 6)

    def test_told_in_a_sentence(self, results: PaperTables) -> None:
        told = results.told("table2", "MM-SADA", "Adversarial only")
        difference = results.compared("table2", "MM-SADA", "Adversarial only")
        assert difference is not None
        assert told.startswith(f"MM-SADA − Adversarial only: {difference.difference:+.1f} points (95 % over 4 worlds [")
        assert told.endswith("of 6 pairs.")
        alone = results.told("table4", "Self-supervised only, synchronous", "Self-supervised only")
        assert alone.endswith("too few runs for an interval.")

    def test_gains_leave_out_the_upper_bound_and_rows_without_numbers(self, results: PaperTables) -> None:
        gains = results.gains("table1", "table2")
        assert "Supervised target" not in set(gains["row"])
        assert gains[["difference", "paper"]].notna().any(axis=1).all()
        assert gains["row"].is_unique

    def test_curves_come_in_the_recipes_order(self, results: PaperTables) -> None:
        """The last line is drawn solid: it must not be the order of folders."""
        assert list(results.curves()["row"].unique()) == ["Source-only", "MM-SADA"]
        drawn = figures.draw_target_curves(results.curves())
        dashes = {trace.name: trace.line.dash for trace in drawn.data if trace.name}
        assert dashes == {"Source-only": "dot", "MM-SADA": "solid"}

    def test_plain_runs_have_one_setting(self, results: PaperTables) -> None:
        plain = results.plain(0)
        assert (plain.groupby(["method", "source", "target"])["setting"].nunique() == 1).all()
        assert set(plain["seed"]) == {0}
        assert set(plain["world"]) == {0}

    def test_what_there_is_not_is_told(self, results: PaperTables) -> None:
        with pytest.raises(UserError, match="there are runs on kitchens, preset quick"):
            paper_tables(preset="paper")
        with pytest.raises(UserError, match="Did you mean 'table1'"):
            results.table("tabel1")
        with pytest.raises(UserError, match="Did you mean 'MM-SADA'"):
            results.told("table1", "MMSADA", "Source-only")


class TestNeighboursByHand:
    def test_trustworthiness_is_made_of_made_up_neighbours(self) -> None:
        rng = np.random.default_rng(0)
        values, picture = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
        made_up = made_up_neighbours(values, picture, neighbours=4)
        by_hand = 1 - 2 / (30 * 4 * (60 - 12 - 1)) * made_up["beyond"].sum()
        points = pd.DataFrame(picture, columns=["x", "y"]).assign(modality="a", row=range(30))
        points["side"] = ["source", "target"] * 15
        assert embedding_summary({"f_a": values}, points, neighbours=4)["trustworthiness"] == pytest.approx(by_hand)
        assert made_up_neighbours(picture, picture, neighbours=4).empty

    def test_votes_by_hand(self) -> None:
        """Of two near source segments and one far one; who has no label neither votes nor is voted on."""
        sides = np.array(["source"] * 4 + ["target"] * 3)
        values = np.array([[0.0], [0.1], [5.0], [0.05], [0.2], [4.9], [0.0]])
        labels = np.array([0, 0, 1, -1, 0, 0, -1])
        assert class_votes(values, sides, labels, neighbours=1) == 50
        assert class_votes(values, sides, labels, neighbours=3) == 100
        with pytest.raises(UserError, match="0 labelled source"):
            class_votes(values, sides, np.where(sides == "source", -1, labels))


class TestGapChanges:
    BARS = pd.DataFrame({
        "row": ["Source-only", "AdaBN", "MM-SADA"] * 2, "modality": "rgb", "measure": "a_distance",
        "scope": ["all segments"] * 3 + ["within classes"] * 3, "value": [1.0, 0.5, 1.5, 1.0, 0.0, 0.9],
        "low": [0.8, 0.1, 1.3, 0.8, 0.0, 0.7], "high": [1.2, 0.7, 1.7, 1.2, 0.1, 1.1],
    })  # fmt: skip

    def test_from_the_first_method_to_the_last(self) -> None:
        changes = figures.gap_changes(self.BARS, measure="a_distance")
        assert changes[["before", "after", "apart"]].to_numpy().tolist() == [[1.0, 1.5, True], [1.0, 0.9, False]]
        assert figures.tell_changes(changes) == (
            "From Source-only to MM-SADA: rgb, all segments rises from 1.00 to 1.50 (arms do not overlap); "
            "rgb, within classes falls from 1.00 to 0.90 (arms overlap)."
        )
        assert "stays at 1.0 " in figures.tell_changes(changes.assign(after=1.0), decimals=1)

    def test_one_method_does_not_change(self) -> None:
        with pytest.raises(UserError, match="measured of 1 methods"):
            figures.gap_changes(self.BARS[self.BARS["row"] == "AdaBN"], measure="a_distance")


def test_dots_are_runs_and_bars_means_of_pairs() -> None:
    rows = pd.MultiIndex.from_product([[0, 1], [0, 1]], names=["world", "seed"])
    given = pd.DataFrame({"D2→D1": [1.0, 2.0, 3.0, np.nan], "D1→D2": [0.0, 0.0, 4.0, 4.0]}, rows)
    dots, bars = figures.draw_seed_differences(given).data
    assert sorted(zip(dots.x, dots.y, dots.hovertext, strict=True))[-1] == ("D2→D1", 3.0, "world 1, seed 0")
    assert len(dots.x) == 7
    assert (bars.x, bars.y) == (("D2→D1", "D1→D2"), (2.0, 2.0))
