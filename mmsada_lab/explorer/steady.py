"""t-SNE of several views at once, in which a point is held back by where it lies in the neighbouring views.

Dynamic t-SNE (Rauber, Falcão and Telea 2016, https://doi.org/10.2312/eurovisshort.20161164) adds to the divergence of
every map the squared distances that points travel. Here it is their length beyond a short way, so that those whose
neighbours really changed may go far, and all others stay. All pairs are looked at: for some thousand segments.

Legend: `V` views, `N` segments, `k` neighbours that have an affinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Values = NDArray[np.floating[Any]]

_STEPS = 250
_NEAR = 0.1  # radii of the map, below which a way is counted squared, as by Huber
_HALVINGS = 60


def steady_maps(views: Sequence[Values], start: Values, *, pull: float, perplexity: float) -> list[Values]:
    """Maps of all views, `V` times `(N, 2)`, from one common start.

    Args:
        views: features, `V` times `(N, F)`, F may differ.
        start: `(N, 2)`, where every map begins.
        pull: weight of travelling beside a map's divergence; 0 leaves every view to itself.
        perplexity: of t-SNE.
    """
    affinities = [affinity(view, perplexity) for view in views]
    maps: Values = np.repeat(start[None].astype(np.float32), len(views), axis=0)  # (V, N, 2)
    size = float(np.sqrt((start**2).sum(axis=1).mean())) or 1.0
    update: Values = np.zeros_like(maps)
    gains: Values = np.ones_like(maps)
    rate = max(len(start) / 4, 50.0)  # as scikit-learn has it
    for step in range(_STEPS):
        gradient = np.stack([_divergence_gradient(p, points) for p, points in zip(affinities, maps, strict=True)])
        ways = np.diff(maps, axis=0)  # (V - 1, N, 2)
        lengths = np.linalg.norm(ways, axis=2, keepdims=True) / size
        force = 2 * pull / len(start) * ways / np.sqrt(1 + (lengths / _NEAR) ** 2)
        gradient[1:] += force
        gradient[:-1] -= force
        gains = np.where(update * gradient < 0, gains + 0.2, gains * 0.8).clip(0.01)
        update = (0.5 if step < _STEPS // 2 else 0.8) * update - rate * gains * gradient
        maps += update
    return [points.astype(np.float64) for points in maps]


def affinity(values: Values, perplexity: float) -> Any:
    """t-SNE's symmetric probabilities of pairs among near ones, sparse `(N, N)`, of sum 1."""
    from sklearn.neighbors import NearestNeighbors

    count = len(values)
    width = min(count - 1, int(3 * perplexity + 1))
    distances, near = NearestNeighbors(n_neighbors=width).fit(values).kneighbors()  # (N, k), without itself
    squares = distances**2 - distances[:, :1] ** 2
    low, high = np.full((count, 1), -40.0), np.full((count, 1), 40.0)
    shares = np.empty_like(squares)
    for _ in range(_HALVINGS):  # the width at which a point has so many neighbours, in logarithms
        middle = (low + high) / 2
        shares = np.exp(-np.exp(middle) * squares)
        shares /= shares.sum(axis=1, keepdims=True)
        entropy = -(shares * np.log(np.maximum(shares, 1e-30))).sum(axis=1, keepdims=True)
        is_wide = entropy > np.log(perplexity)
        low, high = np.where(is_wide, middle, low), np.where(is_wide, high, middle)
    starts = np.arange(0, count * width + 1, width)
    one_sided = csr_array((shares.ravel().astype(np.float32), near.ravel(), starts), shape=(count, count))
    return ((one_sided + one_sided.T) / (2 * count)).tocsr()


def _divergence_gradient(affinities: Any, points: Values) -> Values:
    """Of the Kullback-Leibler divergence by the places of points, `(N, 2)`."""
    squares = (points**2).sum(axis=1)
    nearness = points @ points.T  # (N, N), worked on in place
    nearness *= -2
    nearness += squares[:, None] + 1
    nearness += squares
    np.reciprocal(nearness, out=nearness)
    np.fill_diagonal(nearness, 0)
    rows = np.repeat(np.arange(len(points)), np.diff(affinities.indptr))
    weights = affinities.data * nearness[rows, affinities.indices]
    pulling = csr_array((weights, affinities.indices, affinities.indptr), shape=affinities.shape)
    total = nearness.sum()
    np.square(nearness, out=nearness)
    drawn = pulling.sum(axis=1)[:, None] * points - pulling @ points
    pushed = nearness.sum(axis=1)[:, None] * points - nearness @ points
    gradient: Values = 4 * (drawn - pushed / total)
    return gradient
