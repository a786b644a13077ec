"""Aligned maps: the same where features are the same, close where they are close, and honest about what it costs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes

from mmsada_lab.errors import UserError
from mmsada_lab.explorer.maps import aligned_maps, kept_neighbours, procrustes, radius, travel
from mmsada_lab.explorer.steady import _divergence_gradient, affinity, steady_maps

COUNT, WIDTH = 90, 12


def clusters(seed: int, *, noise: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 6 * np.random.default_rng(0).normal(size=(4, WIDTH))
    return (centres[np.arange(COUNT) % 4] + noise * rng.normal(size=(COUNT, WIDTH))).astype(np.float32)


def drifting(steps: int) -> list[np.ndarray]:
    """A network that learns: every view is the one before, moved a little."""
    views = [clusters(1)]
    for k in range(1, steps):
        views.append((views[-1] + 0.3 * np.random.default_rng(k).normal(size=(COUNT, WIDTH))).astype(np.float32))
    return views


def independent(views: list[np.ndarray]) -> list[np.ndarray]:
    """Each map fitted on its own, from a start of its own, laid over the one before as well as can be."""
    maps = [aligned_maps([view], seed=k)[0] for k, view in enumerate(views)]
    return [maps[0], *(procrustes(now, before) for before, now in pairwise(maps))]


def test_points_travel_a_quarter_of_what_they_do_between_independent_maps() -> None:
    views = drifting(4)
    together, apart = aligned_maps(views), independent(views)
    ours, theirs = ([travel(a, b) for a, b in pairwise(maps)] for maps in (together, apart))
    assert np.mean(ours) <= np.mean(theirs) / 4
    kept, alone = (
        np.mean([kept_neighbours(view, points) for view, points in zip(views, maps, strict=True)])
        for maps in (together, apart)
    )
    assert kept >= alone - 0.02


def test_equal_views_are_drawn_alike_and_a_map_follows_its_own_features() -> None:
    first, second = clusters(1), clusters(2)
    second[:, :] = second[::-1]  # other clusters for the same segments
    a, b, c = aligned_maps([first, first, second])
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert travel(a, c) > 0.3
    assert kept_neighbours(second, c) > kept_neighbours(second, a)


def test_steadiness_trades_travel_for_neighbourhoods() -> None:
    views = [clusters(1), clusters(2)]
    travelled = [travel(*aligned_maps(views, steadiness=s)) for s in (0.0, 0.5, 1.0)]
    assert travelled[0] > travelled[1] > travelled[2]
    assert travelled[2] == pytest.approx(0, abs=1e-9)


def test_affinities_are_tsne_s() -> None:
    """Among all pairs rather than the nearest, as scikit-learn's exact method has them: few others weigh anything."""
    from scipy.spatial.distance import pdist, squareform
    from sklearn.manifold._t_sne import _joint_probabilities

    values = clusters(1)
    theirs = squareform(_joint_probabilities(squareform(pdist(values, "sqeuclidean")).astype(np.float32), 8.0, 0))
    ours = affinity(values, 8.0).toarray()
    assert ours.sum() == pytest.approx(1)
    np.testing.assert_allclose(ours, ours.T, atol=1e-9)
    np.testing.assert_allclose(ours, theirs, atol=0.02 * theirs.max())


def test_the_gradient_is_that_of_the_divergence() -> None:
    near, points = affinity(clusters(1), 8.0).astype(float), np.random.default_rng(0).normal(size=(COUNT, 2))
    shares = near.toarray()

    def divergence(places: np.ndarray) -> float:
        nearness = 1 / (1 + ((places[:, None] - places[None]) ** 2).sum(axis=2))
        np.fill_diagonal(nearness, 0)
        seen = shares > 0
        return float((shares[seen] * np.log(shares[seen] / (nearness / nearness.sum())[seen])).sum())

    gradient = _divergence_gradient(near, points)
    for row, axis in ((0, 0), (17, 1), (COUNT - 1, 0)):
        step = np.zeros_like(points)
        step[row, axis] = 1e-5
        slope = (divergence(points + step) - divergence(points - step)) / 2e-5
        assert gradient[row, axis] == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_pulled_points_stay_unless_their_neighbours_changed() -> None:
    before, start = clusters(1), np.random.default_rng(0).normal(scale=5, size=(COUNT, 2))
    after = before.copy()
    after[:5] = before[5:10]  # five segments go to other clusters
    a, b = steady_maps([before, after], start, pull=0.1, perplexity=8.0)
    ways = np.linalg.norm(a - b, axis=1)
    assert ways[:5].mean() > 3 * np.median(ways[5:])


def test_maps_do_not_depend_on_the_scale_of_features() -> None:
    """By a power of two, which rounds nothing: t-SNE makes much of a last bit."""
    views = drifting(2)
    for plain, other in zip(aligned_maps(views), aligned_maps([views[0], 64 * views[1]]), strict=True):
        np.testing.assert_allclose(plain, other, atol=1e-9)


def test_procrustes_against_scipy() -> None:
    rng = np.random.default_rng(3)
    points, onto = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    ours = procrustes(points, onto)
    # scipy scales to the least squares, ours to the same size: the angles agree.
    _, theirs, _ = scipy_procrustes(onto, points)
    ours = (ours - ours.mean(axis=0)) / np.linalg.norm(ours - ours.mean(axis=0))
    np.testing.assert_allclose(ours, theirs / np.linalg.norm(theirs), atol=1e-9)
    assert radius(procrustes(points, onto)) == pytest.approx(radius(onto))


def test_travel_and_neighbours_by_hand() -> None:
    square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert travel(square, square) == 0
    assert travel(square, -square) == pytest.approx(2.0)
    assert travel(5 * square, -5 * square) == pytest.approx(2.0), "in radii of the map"
    line = np.arange(6.0)[:, None]
    assert kept_neighbours(line, np.hstack([line, line]), neighbours=2) == 1.0


@pytest.mark.parametrize(
    ("views", "options", "message"),
    [
        ([np.zeros((5, 2)), np.zeros((6, 2))], {}, "the same segments"),
        ([np.zeros((3, 2))], {}, "too few"),
        ([np.zeros((9, 2))], {"steadiness": 2.0}, "steadiness is 2.0"),
        ([np.full((9, 2), np.nan)], {}, "not all finite"),
    ],
)
def test_bad_views(views: list[np.ndarray], options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        aligned_maps(views, **options)


def test_a_view_without_any_spread_has_a_map_all_the_same() -> None:
    flat = np.ones((12, 3), dtype=np.float32)
    assert all(np.isfinite(points).all() for points in aligned_maps([clusters(1)[:12], flat]))
