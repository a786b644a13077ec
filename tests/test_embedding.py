"""Embeddings: one fit of both domains, and summaries against independent computations."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from mmsada_lab.analysis import style
from mmsada_lab.analysis.embedding import PROJECTIONS, draw_embedding, joint_embedding
from mmsada_lab.analysis.neighbours import domain_separation, embedding_summary, nearest, neighbour_overlap
from mmsada_lab.analysis.tables import stack_runs
from mmsada_lab.errors import UserError

CLASSES = ("take", "put", "open")


def features(*, sizes: tuple[int, int] = (24, 16), shift: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = sum(sizes)
    sides = np.repeat(["source", "target"], sizes)
    values = {f"f_{m}": rng.normal(size=(count, 5)).astype(np.float32) for m in ("rgb", "flow")}
    for array in values.values():
        array[sizes[0] :] += shift
    labels = np.arange(count) % 3
    return {**values, "side": sides, "label": labels, "uid": np.array([f"u{k}" for k in range(count)])}


@pytest.fixture(scope="module", params=PROJECTIONS)
def apart(request: pytest.FixtureRequest) -> pd.DataFrame:
    return joint_embedding(features(shift=9.0), "rgb", method=request.param)


class TestJointEmbedding:
    def test_what_a_row_holds(self, apart: pd.DataFrame) -> None:
        given = features(shift=9.0)
        assert list(apart.columns) == ["modality", "method", "x", "y", "side", "label", "uid", "row"]
        assert list(apart["uid"]) == list(given["uid"][apart["row"]])
        assert list(apart["side"]) == list(given["side"][apart["row"]])
        assert np.isfinite(apart[["x", "y"]]).all(axis=None)

    def test_domains_that_are_far_apart_are_drawn_apart(self, apart: pd.DataFrame) -> None:
        found = embedding_summary(features(shift=9.0), apart, neighbours=5)
        assert found["separation, features"] == 1
        assert found["separation, picture"] > 0.95

    @pytest.mark.parametrize("method", PROJECTIONS)
    def test_a_seed_gives_the_same_points_again(self, method: str) -> None:
        first, again = (joint_embedding(features(), "flow", method=method, seed=3) for _ in range(2))
        pd.testing.assert_frame_equal(first, again)

    @pytest.mark.parametrize("method", PROJECTIONS)
    def test_half_precision_will_do(self, method: str) -> None:
        half = {k: v.astype(np.float16) if k.startswith("f_") else v for k, v in features(sizes=(3, 3)).items()}
        assert np.isfinite(joint_embedding(half, "rgb", method=method)[["x", "y"]]).all(axis=None)

    def test_unknown_method(self) -> None:
        with pytest.raises(UserError, match="Did you mean 'umap'"):
            joint_embedding(features(), "rgb", method="umab")

    def test_without_umap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "umap", None)
        with pytest.raises(UserError, match="UMAP is not installed"):
            joint_embedding(features(), "rgb", method="umap")


def by_row(values: np.ndarray, sides: np.ndarray, near: int) -> float:
    """Separation with scikit-learn's neighbours and a loop."""
    rows = NearestNeighbors(n_neighbors=near).fit(values).kneighbors(return_distance=False)
    own = np.array([np.mean(sides[row] == side) for row, side in zip(rows, sides, strict=True)])
    return (own[sides == "source"].mean() + own[sides == "target"].mean()) / 2


class TestSummaries:
    @given(seed=st.integers(0, 999), near=st.integers(1, 8))
    @settings(max_examples=25, deadline=None, derandomize=True)
    def test_against_scikit_learn(self, seed: int, near: int) -> None:
        rng = np.random.default_rng(seed)
        values, sides = rng.normal(size=(20, 4)), np.repeat(["source", "target"], [12, 8])
        rows = NearestNeighbors(n_neighbors=near).fit(values).kneighbors(return_distance=False)
        np.testing.assert_array_equal(nearest(values, near), rows)
        assert domain_separation(nearest(values, near), sides) == pytest.approx(by_row(values, sides, near))

    @given(seed=st.integers(0, 999), near=st.integers(1, 8))
    @settings(max_examples=25, deadline=None, derandomize=True)
    def test_trustworthiness_against_scikit_learn(self, seed: int, near: int) -> None:
        rng = np.random.default_rng(seed)
        values, picture = rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
        points = pd.DataFrame(picture, columns=["x", "y"]).assign(modality="rgb", row=range(20))
        points["side"] = ["source", "target"] * 10
        found = embedding_summary({"f_rgb": values}, points, neighbours=near)["trustworthiness"]
        assert found == pytest.approx(trustworthiness(values, picture, n_neighbors=near), abs=1e-12)

    def test_of_segments_equally_near_the_first_are_taken(self) -> None:
        """On a grid, and over several blocks of rows."""
        values = np.random.default_rng(0).integers(5, size=(4000, 3)).astype(float)
        squared = np.square(values[:, None] - values[None]).sum(axis=2)
        np.fill_diagonal(squared, np.inf)
        np.testing.assert_array_equal(nearest(values, 7), np.argsort(squared, axis=1, kind="stable")[:, :7])

    def test_memory_does_not_grow_with_all_pairs(self) -> None:
        """All distances would take 288 MB, and their ranks as much again."""
        count = 6000
        points = pd.DataFrame(np.random.default_rng(0).normal(size=(count, 2)), columns=["x", "y"])
        points = points.assign(modality="rgb", row=range(count), side=np.repeat(["source", "target"], count // 2))
        tracemalloc.start()
        embedding_summary({"f_rgb": points[["x", "y"]].to_numpy()}, points)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 250e6

    def test_mixed_domains_of_unequal_sizes_read_one_half(self) -> None:
        rng = np.random.default_rng(0)
        sides = np.repeat(["source", "target"], [150, 50])
        draws = [domain_separation(nearest(rng.normal(size=(200, 3)), 10), sides) for _ in range(30)]
        assert np.mean(draws) == pytest.approx(198 / 398, abs=0.01)

    def test_overlap_of_a_picture_with_itself_and_with_noise(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=(101, 2))
        near = nearest(values, 10)
        assert neighbour_overlap(near, nearest(3 * values + 1, 10)) == 1
        chance = np.mean([neighbour_overlap(near, nearest(rng.normal(size=(101, 2)), 10)) for _ in range(20)])
        assert chance == pytest.approx(10 / 100, abs=0.02)

    def test_summary_is_of_the_segments_drawn(self) -> None:
        given = features(sizes=(60, 40))
        points = joint_embedding(given, "rgb", at_most=20)
        found = embedding_summary(given, points, neighbours=4)
        drawn = given["f_rgb"][points["row"]].astype(float)
        assert found["separation, features"] == pytest.approx(by_row(drawn, points["side"].to_numpy(), 4))
        assert 0 <= found["overlap"] <= 1
        assert 0.5 < found["trustworthiness"] <= 1

    @pytest.mark.parametrize("near", [0, 20, 21])
    def test_more_neighbours_than_there_are(self, near: int) -> None:
        with pytest.raises(UserError, match="ask for 1 to 19"):
            nearest(np.zeros((20, 2)), near)

    def test_half_of_the_segments_are_no_neighbours(self) -> None:
        points = joint_embedding(features(), "rgb")
        with pytest.raises(UserError, match="20 neighbours among 40 segments; ask for fewer than half"):
            embedding_summary(features(), points, neighbours=20)

    def test_one_domain_is_not_apart_from_anything(self) -> None:
        with pytest.raises(UserError, match="of 1 domains"):
            domain_separation(nearest(np.zeros((20, 2)), 3), np.repeat("source", 20))


class TestDrawing:
    POINTS = pd.concat([joint_embedding(features(), modality) for modality in ("rgb", "flow")])

    def test_by_class_colours_are_classes_and_symbols_domains(self) -> None:
        figure = draw_embedding(self.POINTS, by="class", classes=CLASSES)
        names = [trace.name for trace in figure.data if trace.showlegend]
        assert names[:2] == ["take, source (8 segments)", "take, target (6 segments)"]
        assert len(figure.data) == 2 * 3 * 2
        colours = {trace.legendgroup.split(", ")[0]: trace.marker.color for trace in figure.data}
        assert len(set(colours.values())) == 3
        assert {t.marker.symbol for t in figure.data if "target" in t.name} == {"diamond"}
        assert sum(len(trace.x) for trace in figure.data) == len(self.POINTS)

    def test_runs_stand_side_by_side(self) -> None:
        runs = stack_runs({"before": self.POINTS, "after": self.POINTS.assign(x=0.0)})
        figure = draw_embedding(runs)
        titles = [a.text for a in figure.layout.annotations]
        assert titles == ["before, rgb", "after, rgb", "before, flow", "after, flow"]
        tops = [note.y for note in figure.layout.annotations]
        assert tops[0] == tops[1] > tops[2] == tops[3], "what is compared shares a row"
        assert figure.layout.height <= 720, "and all of it a screen"
        assert len(figure.data) == 2 * 2 * 2
        assert sum(bool(trace.showlegend) for trace in figure.data) == 2
        assert {len(trace.x) for trace in figure.data} == {24, 16}
        assert set(figure.data[-1].x) == {0.0}

    def test_a_legend_has_room_for_every_class(self) -> None:
        few, many = (
            draw_embedding(self.POINTS.assign(label=label), by="class", classes=[f"class {k}" for k in range(27)])
            for label in (0, np.arange(len(self.POINTS)) % 27)
        )
        assert few.layout.height == 380
        assert many.layout.height - 136 >= 19 * sum(bool(trace.showlegend) for trace in many.data)

    def test_segments_without_a_label_are_grey(self) -> None:
        points = self.POINTS.assign(label=np.where(self.POINTS["side"] == "target", -1, self.POINTS["label"]))
        figure = draw_embedding(points, by="class", classes=CLASSES)
        grey = [t for t in figure.data if t.marker.color == style.translucent(style.GREY, 0.7) and len(t.x)]
        assert {trace.legendgroup for trace in grey} == {"no label, target"}

    def test_a_class_without_a_name(self) -> None:
        with pytest.raises(UserError, match="label 2 has no name among 2 classes"):
            draw_embedding(self.POINTS, by="class", classes=CLASSES[:2])

    def test_unknown_colour(self) -> None:
        with pytest.raises(UserError, match="choose domain, class"):
            draw_embedding(self.POINTS, by="kitchen")

    @pytest.mark.parametrize("by", ["domain", "class"])
    def test_axes_name_the_method(self, by: str, apart: pd.DataFrame) -> None:
        figure = draw_embedding(apart, by=by, classes=CLASSES)
        title = PROJECTIONS[apart["method"].iloc[0]].title
        assert figure.layout.xaxis.title.text == f"{title} 1 (no unit)"
        assert figure.layout.yaxis.title.text == f"{title} 2 (no unit)"
        assert "bdata" not in figure.to_json()
