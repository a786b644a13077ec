"""One method beside another: differences of confusions to the last count, gains beside the paper's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mmsada_lab.analysis import style
from mmsada_lab.analysis.confusion import (
    SPARE_OUTPUT,
    confusion_counts,
    confusion_difference,
    draw_confusion_difference,
)
from mmsada_lab.analysis.differences import OVER_SEEDS, OVER_WORLDS
from mmsada_lab.analysis.paper_figures import draw_mean_gains, mean_gains
from mmsada_lab.analysis.tables import MEAN
from mmsada_lab.errors import UserError

CLASSES = ("take", "put", "open")
LABELS = [0, 0, 0, 0, 1, 1]  # nobody opens anything


def counted(predicted: list[int], labels: list[int] = LABELS) -> pd.DataFrame:
    """What `confusion_counts` gives for one evaluation of these predictions."""
    rows = {"uid": [f"s{k}" for k in range(len(labels))], "label": labels, "predicted": predicted}
    return confusion_counts(pd.DataFrame(rows).assign(step=1, stream="fused"), classes=CLASSES)


BEFORE, AFTER = counted([0, 0, 1, 1, 1, 0]), counted([0, 0, 0, 2, 1, 1])


class TestConfusionDifference:
    def test_by_hand(self) -> None:
        found = confusion_difference(AFTER, BEFORE).set_index(["true", "predicted"])
        assert found.loc[("take", "take"), ["points", "count", "segments"]].tolist() == [25, 1, 4]
        assert found.loc[("take", "put"), ["points", "count"]].tolist() == [-50, -2]
        assert found.loc[("put", "put"), ["points", "count"]].tolist() == [50, 1]

    def test_a_class_without_segments_has_no_percentage(self) -> None:
        found = confusion_difference(AFTER, BEFORE)
        assert found.loc[found["true"] == "open", "points"].isna().all()
        assert (found.loc[found["true"] == "open", "count"] == 0).all()

    def test_order_of_the_classes_stays(self) -> None:
        found = confusion_difference(AFTER, BEFORE)
        assert list(found["true"].unique()) == list(CLASSES)
        assert list(found["predicted"].unique()) == list(CLASSES)

    @given(seed=st.integers(0, 999))
    @settings(max_examples=20, deadline=None, derandomize=True)
    def test_rows_sum_to_nothing_and_the_two_ways_are_opposite(self, seed: int) -> None:
        one, other = (counted(list(np.random.default_rng([seed, k]).integers(3, size=6))) for k in (0, 1))
        there, back = confusion_difference(one, other), confusion_difference(other, one)
        assert there.groupby("true")["count"].sum().abs().max() < 1e-9
        np.testing.assert_allclose(there["count"], -back["count"])
        assert (confusion_difference(one, one)["count"] == 0).all()

    def test_an_output_that_only_one_of_them_has(self) -> None:
        spare = counted([0, 0, 0, 5, 1, 1])
        for there, sign in ((confusion_difference(spare, BEFORE), 1), (confusion_difference(BEFORE, spare), -1)):
            cells = there.set_index(["true", "predicted"])["count"]
            assert cells[("take", SPARE_OUTPUT)] == sign
            assert len(cells) == 3 * 4

    def test_other_segments_are_refused(self) -> None:
        with pytest.raises(UserError, match="different segments"):
            confusion_difference(AFTER, counted([0, 0], labels=[0, 1]))


class TestDrawing:
    FIGURE = draw_confusion_difference(confusion_difference(AFTER, BEFORE), title="Title")

    def test_the_scale_is_centred_and_as_wide_as_the_largest_change(self) -> None:
        heat = self.FIGURE.data[0]
        assert (heat.zmin, heat.zmid, heat.zmax) == (-50, 0, 50)
        assert heat.colorscale[1] == (0.5, "#FFFFFF")
        assert {colour for _, colour in style.DIFFERENCE_SCALE}.isdisjoint(style.DOMAIN_COLOURS.values())

    def test_cells_say_points_and_counts(self) -> None:
        assert self.FIGURE.data[0].text[0][1] == "-50<br>-2.0"
        assert self.FIGURE.data[0].text[1][1] == "+50<br>+1.0"
        assert self.FIGURE.data[0].z[2][0] is None, "no segment, no colour"

    def test_class_sizes_stand_beside(self) -> None:
        assert list(self.FIGURE.data[1].x) == [4, 2, 0]
        assert self.FIGURE.layout.xaxis2.title.text == "test segments"

    def test_no_change_at_all(self) -> None:
        figure = draw_confusion_difference(confusion_difference(AFTER, AFTER))
        assert (figure.data[0].zmin, figure.data[0].zmax) == (-1, 1)
        assert {text for row in figure.data[0].text for text in row} == {""}

    def test_it_is_pure_styled_and_plain(self) -> None:
        frame = confusion_difference(AFTER, BEFORE)
        before = frame.copy()
        figure = draw_confusion_difference(frame)
        pd.testing.assert_frame_equal(frame, before)
        assert "bdata" not in figure.to_json()
        assert figure.layout.template == style.TEMPLATE
        assert figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text


NONE = (np.nan, np.nan)


def report() -> pd.DataFrame:
    columns = "row pair worlds seeds top1 difference worlds_low worlds_high seeds_low seeds_high paper".split()
    rows = [
        ("Source-only", MEAN, 1, 3, 50.0, np.nan, *NONE, *NONE, 45.5),
        ("AdaBN", MEAN, 1, 3, 49.0, -1.0, *NONE, -2.5, 0.75, 47.2),
        ("AdaBN", "D2→D1", 1, 3, 10.0, np.nan, *NONE, *NONE, 44.6),
        ("not in the paper", MEAN, 1, 2, 51.0, 1.0, *NONE, 0.5, 1.5, np.nan),
        ("unfinished", MEAN, 0, 0, np.nan, np.nan, *NONE, *NONE, 50.3),
    ]
    return pd.DataFrame(rows, columns=columns)


class TestGains:
    def test_ours_and_the_papers(self) -> None:
        gains = mean_gains(report(), baseline="Source-only").set_index("row")
        assert list(gains.index) == ["AdaBN", "not in the paper", "unfinished"]
        assert gains.loc["AdaBN", ["difference", "low", "high"]].tolist() == [-1, -2.5, 0.75]
        assert gains.loc["AdaBN", "paper"] == pytest.approx(1.7)
        assert np.isnan(gains.loc["not in the paper", "paper"])
        assert np.isnan(gains.loc["unfinished", "difference"])

    def test_drawn_with_both_arms(self) -> None:
        figure = draw_mean_gains(mean_gains(report(), baseline="Source-only"), baseline="Source-only")
        ours, theirs = figure.data
        assert list(ours.x) == [-1, 1]
        assert (list(ours.error_x.array), list(ours.error_x.arrayminus)) == ([1.75, 0.5], [1.5, 0.5])
        assert ours.name == "ours, 2-3 seeds,<br>95 % over seeds, worlds fixed"
        assert list(theirs.y) == ["AdaBN", "unfinished"]
        assert theirs.marker.symbol == "diamond-open"
        assert "no spread" in theirs.name
        assert figure.layout.shapes[0].x0 == 0
        assert "points over Source-only" in figure.layout.xaxis.title.text
        assert "bdata" not in figure.to_json()

    def test_an_interval_over_worlds_is_shown_where_there_is_one_and_both_are_named(self) -> None:
        table = report()
        table.loc[1, ["worlds", "worlds_low", "worlds_high"]] = [4, -6.0, 4.0]
        gains = mean_gains(table, baseline="Source-only").set_index("row")
        assert gains.loc["AdaBN", ["low", "high", "over"]].tolist() == [-6, 4, OVER_WORLDS]
        assert gains.loc["not in the paper", ["low", "high", "over"]].tolist() == [0.5, 1.5, OVER_SEEDS]
        worlds, seeds, _ = draw_mean_gains(gains.reset_index(), baseline="Source-only").data
        assert (list(worlds.y), worlds.name) == (["AdaBN"], "ours, 4 worlds of 3 seeds,<br>95 % over worlds")
        assert (list(seeds.y), seeds.name) == (["not in the paper"], "ours, 2 seeds,<br>95 % over seeds, worlds fixed")
        assert worlds.marker.symbol != seeds.marker.symbol

    def test_unknown_baseline(self) -> None:
        with pytest.raises(UserError, match="Did you mean 'Source-only'"):
            mean_gains(report(), baseline="Source only")
