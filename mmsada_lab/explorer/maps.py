"""Maps that can be compared: t-SNE of several views of the same segments, in which points stay where nothing changed.

Independent maps differ by chance alone: turned, mirrored, clusters elsewhere. Here all views start from one common map,
fitted on their features side by side, follow their own features from there, held by their neighbours in the series as
much as is asked for (`steady.py`), and are laid over it by Procrustes. What that costs is measured: how far points
travel, and how much of their neighbourhood a map keeps.

Legend: `V` views, `N` segments, `F` feature width (views may differ in it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.analysis.neighbours import nearest, neighbour_overlap
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.steady import steady_maps

Values = NDArray[np.floating[Any]]

_WIDTH = 50  # principal components that t-SNE sees, as its authors do
_STEPS = 250  # of a view from the common map
_PULL = 0.027  # of neighbouring views, at a steadiness of a half
MOST_HELD = 3000
"""Segments of which maps can be held steady: all pairs are looked at."""


def aligned_maps(features: Sequence[Values], *, steadiness: float = 0.0, seed: int = 0) -> list[Values]:
    """Two-dimensional t-SNE of every view, alike where features are alike: `V` times `(N, F)` -> `V` times `(N, 2)`.

    t-SNE: https://jmlr.org/papers/v9/vandermaaten08a.html.

    Args:
        features: of the same segments in every view, in the same order.
        steadiness: 0: every map follows its own features; 1: all are the common map. Between, points travel less and
            maps keep less of their neighbourhoods; of more than `MOST_HELD` segments, maps are as with 0.
        seed: of the common map.

    Raises:
        UserError: views of different segments, fewer than four, features that are not finite.

    Example:
        >>> values = np.random.default_rng(0).normal(size=(12, 3))
        >>> before, after = aligned_maps([values, values])
        >>> bool(np.allclose(before, after))
        True
    """
    _check(features, steadiness)
    reduced = [_reduce(view) for view in features]
    common = _fit(np.concatenate(reduced, axis=1), start="pca", seed=seed)
    if len(features) == 1:
        return [_centred(common)]
    common = _centred(common)
    if steadiness == 1:
        return [common for _ in reduced]
    if steadiness == 0 or len(common) > MOST_HELD:
        own = [_fit(view, start=common, seed=seed) for view in reduced]
    else:
        pull = _PULL * steadiness / (1 - steadiness)
        own = steady_maps(reduced, common, pull=pull, perplexity=_perplexity(len(common)))
    return [procrustes(view, common) for view in own]


def follow_map(features: Values, before: Values | None, *, seed: int = 0) -> Values:
    """A map of features `(N, F)` that goes on from the map before, `(N, 2)`; the first one if there is none."""
    _check([features], 0.0)
    if before is None:
        return _centred(_fit(_reduce(features), start="pca", seed=seed))
    return procrustes(_fit(_reduce(features), start=before, seed=seed), before)


def side_by_side(features: Mapping[str, Values]) -> NDArray[np.float32]:
    """Features of all modalities as one space, each of the same total variance: `(N, F)` each -> `(N, sum of F)`.

    Example:
        >>> side_by_side({"rgb": np.array([[0.0], [2.0]]), "flow": np.array([[0.0], [20.0]])}).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
    """
    spaces = []
    for values in features.values():
        centred = values.astype(np.float32) - values.mean(axis=0, dtype=np.float64).astype(np.float32)
        size = float(np.sqrt((centred.astype(np.float64) ** 2).sum(axis=1).mean()))
        spaces.append(centred / size if size > 0 else centred)
    return np.concatenate(spaces, axis=1)


def _check(features: Sequence[Values], steadiness: float) -> None:
    counts = {len(view) for view in features}
    if len(counts) != 1:
        raise UserError(f"maps are of the same segments in every view; these have {sorted(counts)}")
    if (count := counts.pop()) < 4:
        raise UserError(f"{count} segments are too few for a map; t-SNE needs at least 4")
    if not 0 <= steadiness <= 1:
        raise UserError(f"steadiness is {steadiness}; give 0 (maps follow their features) to 1 (one map for all)")
    if not all(np.isfinite(view).all() for view in features):
        raise UserError("features are not all finite; the run behind them diverged")


def _reduce(view: Values) -> Values:
    """Principal components of unit total variance, so that every view weighs the same: `(N, F)` -> `(N, <= 50)`."""
    centred: Values = view.astype(np.float64) - view.mean(axis=0, dtype=np.float64)
    if min(centred.shape) > _WIDTH:
        from sklearn.decomposition import PCA

        centred = PCA(_WIDTH, svd_solver="randomized", random_state=0).fit_transform(centred)
    scale = float(np.sqrt((centred**2).sum(axis=1).mean()))
    return np.asarray(centred / scale if scale > 0 else centred)


def _fit(values: Values, *, start: Values | str, seed: int) -> Values:
    from sklearn.manifold import TSNE

    perplexity = _perplexity(len(values))
    if isinstance(start, str):
        options: dict[str, Any] = {"init": start}
    else:  # from where it lies: no exaggeration, which would tear the map apart first
        options = {"init": start.astype(np.float32), "early_exaggeration": 1.0, "max_iter": _STEPS}
    fitted = TSNE(random_state=seed, perplexity=perplexity, **options).fit_transform(values.astype(np.float32))
    return np.asarray(fitted, dtype=np.float64)


def _perplexity(count: int) -> float:
    return min(30.0, (count - 1) / 3)


def _centred(points: Values) -> Values:
    centred: Values = points - points.mean(axis=0)
    return centred


def procrustes(points: Values, onto: Values) -> Values:
    """Points moved, turned, mirrored and scaled as a whole to lie over others as closely as can be: `(N, 2)` both.

    Schönemann 1966, https://doi.org/10.1007/BF02289451. The scale is that which makes both equally large.

    Example:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> turned = 3 * square @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 7
        >>> bool(np.allclose(procrustes(turned, square), square))
        True
    """
    moved, target = _centred(points), _centred(onto)
    left, _, right = np.linalg.svd(moved.T @ target)
    size = radius(moved)
    scale = radius(target) / size if size > 0 else 1.0
    laid: Values = scale * moved @ left @ right + onto.mean(axis=0)
    return laid


def radius(points: Values) -> float:
    """Root mean square distance of points from their centre."""
    return float(np.sqrt((_centred(points) ** 2).sum(axis=1).mean()))


def travel(before: Values, after: Values) -> float:
    """Mean distance that points travel from one map to the next, in radii of the first.

    Example:
        >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> travel(square, square + [0.5, 0.0])
        0.5
    """
    size = radius(before)
    return float(np.linalg.norm(after - before, axis=1).mean() / size) if size > 0 else 0.0


def kept_neighbours(features: Values, points: Values, *, neighbours: int = 10) -> float:
    """Share of the nearest neighbours in feature space that are so in the map, see `neighbour_overlap`."""
    neighbours = min(neighbours, len(points) - 1)
    return neighbour_overlap(nearest(features.astype(np.float64), neighbours), nearest(points, neighbours))
