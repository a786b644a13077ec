"""Gap figures: every number of the table reaches the figure, nulls and intervals too."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.analysis import style
from mmsada_lab.analysis.gap import table as tables_of_gaps
from mmsada_lab.analysis.gap.figures import SCOPES, TITLES, draw_gap, gap_bars
from mmsada_lab.analysis.gap.measures import MEASURES
from mmsada_lab.analysis.gap.table import COVERAGE, gap_table
from mmsada_lab.errors import UserError


def measured(shift: float, *, seed: int = 0, classes: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = {m: rng.normal(size=(60, 4)) for m in ("rgb", "flow")}
    for features in values.values():
        features[30:] += shift
    labels = np.arange(60) % 2 if classes else None
    sides = np.repeat(["source", "target"], 30)
    return gap_table(values, sides, labels, measures=["a_distance", "coral"], permutations=9, resamples=9)


TABLES = {"before": measured(2.0), "after": measured(0.1, seed=1)}
BARS = gap_bars(TABLES)


class TestData:
    def test_one_row_for_each(self) -> None:
        assert len(BARS) == 2 * 2 * 2 * 2
        assert list(BARS["row"].unique()) == ["before", "after"]
        assert list(BARS["scope"].unique()) == list(SCOPES.values())

    def test_numbers_are_those_of_the_tables(self) -> None:
        for name, table in TABLES.items():
            one = BARS[BARS["row"] == name].reset_index(drop=True)
            for column in ("value", "null", "p", "corrected", "low", "high"):
                np.testing.assert_array_equal(one[column], table[column])

    def test_the_smaller_side_is_told(self) -> None:
        assert set(BARS["segments"]) == {30}

    def test_scopes_without_a_value_are_left_out(self) -> None:
        few = gap_table(
            {"rgb": np.eye(40)}, np.repeat(["source", "target"], 20), np.arange(40), permutations=0, resamples=0
        )
        assert few["value"].isna().any()
        assert set(gap_bars({"few": few})["scope"]) == {"all segments"}

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(UserError, match="no gap to draw"):
            gap_bars({})


class TestDrawing:
    FIGURE = draw_gap(BARS, measure="a_distance", title="Title")

    def test_a_panel_for_each_modality_and_scope(self) -> None:
        titles = [a.text for a in self.FIGURE.layout.annotations]
        assert titles == ["rgb, all segments", "flow, all segments", "rgb, within classes", "flow, within classes"]
        assert len(self.FIGURE.data) == 4 * 3
        assert draw_gap(gap_bars({"one": measured(1, classes=False)}), measure="coral").layout.annotations[1].text == (
            "flow, all segments"
        )

    def test_bars_nulls_and_intervals_are_the_tables(self) -> None:
        chosen = BARS[
            (BARS["measure"] == "a_distance") & (BARS["scope"] == "all segments") & (BARS["modality"] == "rgb")
        ]
        bar, null, interval = self.FIGURE.data[:3]
        assert list(bar.x) == ["before", "after"]
        np.testing.assert_allclose(bar.y, chosen["value"], rtol=1e-3)
        np.testing.assert_allclose(null.y, chosen["null"], rtol=1e-3)
        np.testing.assert_allclose(interval.y, chosen["corrected"], rtol=1e-3)
        np.testing.assert_allclose(np.add(interval.y, interval.error_y.array), chosen["high"], atol=2e-3)
        np.testing.assert_allclose(np.subtract(interval.y, interval.error_y.arrayminus), chosen["low"], atol=2e-3)

    def test_one_legend_entry_each(self) -> None:
        shown = [trace.name for trace in self.FIGURE.data if trace.showlegend]
        assert shown == [
            "value",
            "null (domains shuffled)",
            "less its bias; arms hold it in 80 % or more (nominally 95 %)",
        ]

    def test_what_arms_guarantee_is_said_at_each(self) -> None:
        """Not 95 %: what their module says of simulated samples."""
        interval = self.FIGURE.data[2]
        assert (interval.hoverinfo, len(interval.hovertext)) == ("x+text", 2)
        assert all(text.endswith(f": {COVERAGE}") for text in interval.hovertext)
        assert "80 % of simulated samples or more" in COVERAGE
        (expected,) = re.findall(r"held the truth in (\d+ %) of simulated", " ".join(tables_of_gaps.__doc__.split()))
        assert expected in COVERAGE

    def test_each_kind_of_statistics_has_panels_of_its_own(self) -> None:
        kinds = [measured(shift).assign(statistics=kind) for kind, shift in (("evaluation", 2.0), ("own", 0.5))]
        bars = gap_bars({"run": pd.concat(kinds)})
        assert bars.groupby("statistics").size().to_dict() == {"evaluation": 8, "own": 8}
        figure = draw_gap(bars, measure="a_distance")
        titles = [a.text for a in figure.layout.annotations]
        evaluation, own = "statistics of evaluation", "each domain's own statistics"
        lines = [(scope, kind) for scope in SCOPES.values() for kind in (evaluation, own)]
        assert titles == [f"{m}, {scope}, {kind}" for scope, kind in lines for m in ("rgb", "flow")]
        chosen = bars[(bars["measure"] == "a_distance") & (bars["scope"] == "all segments")]
        heights = [bar.y[0] for bar in figure.data if bar.name == "value"][:4]
        np.testing.assert_allclose(heights, chosen["value"], rtol=1e-3)
        mixed = gap_bars({"older": measured(1.0), "newer": kinds[1]})
        assert mixed.groupby("row")["statistics"].unique().map(list).to_dict() == {
            "older": ["evaluation"],
            "newer": ["own"],
        }

    def test_colours_are_the_streams(self) -> None:
        assert self.FIGURE.data[0].marker.color == style.STREAM_COLOURS["rgb"]
        assert self.FIGURE.data[3].marker.color == style.STREAM_COLOURS["flow"]

    def test_without_null_and_interval(self) -> None:
        one = gap_table({"rgb": np.random.default_rng(0).normal(size=(40, 3))}, np.repeat(["source", "target"], 20),
                        measures=["mmd"], permutations=0, resamples=0)  # fmt: skip
        bar, null, interval = draw_gap(gap_bars({"run": one}), measure="mmd").data
        assert (len(bar.y), len(null.y), len(interval.y)) == (1, 0, 0)

    def test_every_measure_says_what_it_is(self) -> None:
        assert TITLES.keys() == MEASURES.keys()
        assert self.FIGURE.layout.yaxis.title.text == TITLES["a_distance"]

    def test_a_measure_that_was_not_taken(self) -> None:
        with pytest.raises(UserError, match="choose a_distance, coral"):
            draw_gap(BARS, measure="mmd")

    def test_it_is_pure_styled_and_plain(self) -> None:
        before = BARS.copy()
        figure = draw_gap(BARS, measure="coral")
        pd.testing.assert_frame_equal(BARS, before)
        assert "bdata" not in figure.to_json()
        assert figure.layout.template == style.TEMPLATE
        assert figure.layout.title.text == TITLES["coral"]
