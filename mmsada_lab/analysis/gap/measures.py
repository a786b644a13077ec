"""Distances between two domains in feature space, each computed for many assignments of segments at once.

Legend: `N` segments of both domains, `F` feature width, `P` assignments. An assignment says of every segment whether
it counts as source (+1), as target (-1) or not at all (0): the true one, permuted ones and half-samples are columns
of one matrix, so that a kernel or a decomposition is computed once for all of them. All measures use the features as
they are, unscaled, and none changes when the feature space is rotated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.errors import UserError

Values = NDArray[np.float64]
Sides = NDArray[np.int8]
Measure = Callable[[Values, Sides], Values]

BANDWIDTHS = tuple(9.7 * 2 ** (-8 + math.sqrt(2) * step) for step in range(12))
"""The 12 kernels of MM-SADA's MMD baseline: exp(-|x - y|^2 / g) for g from 0.038 to 1826 (released code)."""

FOLDS = 5
"""Of the cross-validation behind the proxy A-distance."""


def a_distance(source: NDArray[Any], target: NDArray[Any]) -> float:
    """Proxy A-distance ``2 (1 - 2 err)`` of a linear classifier of the domains (Ben-David et al. 2010).

    The classifier is Fisher's discriminant on a Ledoit-Wolf covariance, its threshold half-way between the domains;
    `err` is the mean of the two domains' error rates over five fixed folds, so that sizes may differ. About 0 where
    the domains cannot be told apart (below it by chance), 2 where they always can.

    Args:
        source: `(N, F)` features.
        target: `(M, F)` features.
    """
    return _of_two(a_distances, source, target)


def mmd(source: NDArray[Any], target: NDArray[Any], *, bandwidths: tuple[float, ...] | None = BANDWIDTHS) -> float:
    """Squared maximum mean discrepancy of a sum of Gaussian kernels, ``sum_g exp(-|x - y|^2 / g)``.

    This is the unbiased estimate: its mean is 0 where the domains are alike, so it can fall below. The training loss
    is the biased one, greater by about ``(kernels - mean kernel) (1/N + 1/M)``.

    Args:
        source: `(N, F)` features.
        target: `(M, F)` features.
        bandwidths: `g` of each kernel, in squared units of the features; None: one kernel whose `g` is the median
            squared distance of all segments of both domains.
    """
    return _of_two(lambda values, sides: mmds(values, sides, bandwidths=bandwidths), source, target)


def frechet(source: NDArray[Any], target: NDArray[Any]) -> float:
    """Squared Fréchet distance of Gaussians, ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``.

    Each covariance is shrunk towards a multiple of the identity by Ledoit and Wolf's (2004) estimate, which keeps it of
    full rank where segments are fewer than features. In squared units of the features.

    Args:
        source: `(N, F)` features.
        target: `(M, F)` features.
    """
    return _of_two(frechets, source, target)


def coral(source: NDArray[Any], target: NDArray[Any]) -> float:
    """Squared Frobenius distance of the covariances over ``4 F^2`` (Sun and Saenko 2016); blind to the means.

    Args:
        source: `(N, F)` features.
        target: `(M, F)` features.
    """
    return _of_two(corals, source, target)


def _of_two(measure: Measure, source: NDArray[Any], target: NDArray[Any]) -> float:
    if source.ndim != 2 or source.shape[1:] != target.shape[1:] or min(len(source), len(target)) < 2:
        raise UserError(
            f"features have shapes {source.shape} and {target.shape}; expected (N, F) and (M, F) with at least 2 "
            "segments each"
        )
    sides = np.repeat(np.array([1, -1], dtype=np.int8), [len(source), len(target)])
    values = np.concatenate([source, target]).astype(np.float64)
    return float(measure(values - values.mean(axis=0), sides[:, None])[0])


def a_distances(values: Values, sides: Sides) -> Values:
    """`a_distance` for every column of `sides`: `(N, F)`, `(N, P)` -> `(P,)`."""
    folds = np.random.default_rng(0).permutation(len(values)) % FOLDS
    found = np.empty(sides.shape[1])
    whole = (sides != 0).all(axis=0)
    if whole.any():
        found[whole] = _discriminate(values, sides[:, whole], folds)
    for column in np.flatnonzero(~whole):
        rows = np.flatnonzero(sides[:, column])
        found[column] = _discriminate(values[rows], sides[rows, column, None], folds[rows])[0]
    return found


def _discriminate(values: Values, sides: Sides, folds: NDArray[np.int64]) -> Values:
    """One decomposition a fold serves all columns: neither scatter nor folds know which segment is of which side.

    The total scatter stands for the one within the domains: the two differ by a multiple of ``d d'``, where `d` is the
    difference of the means, which changes the length of the discriminant and not its direction.
    """
    wrong = np.zeros(sides.shape)
    for fold in range(FOLDS):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        source, target = (_means(values[train], sides[train] == side) for side in (1, -1))
        directions = _solve(shrunk_covariance(values[train]), source - target)
        threshold = ((source + target) / 2 * directions).sum(axis=0)
        scores = (values[test] @ directions - threshold) * sides[test]
        wrong[test] = (scores < 0) + 0.5 * (scores == 0)
    of_source, of_target = (np.average(wrong, axis=0, weights=sides == side) for side in (1, -1))
    found: Values = 2 - 2 * (of_source + of_target)
    return found


def _means(values: Values, members: NDArray[np.bool_]) -> Values:
    """Mean features of each column's members: `(F, P)`."""
    found: Values = values.T @ members.astype(np.float64) / np.maximum(1, members.sum(axis=0))
    return found


def _solve(covariance: Values, right: Values) -> Values:
    """Solve a symmetric system; a direction without any variance separates nothing."""
    level = np.trace(covariance) / len(covariance)
    if level <= 0:
        return np.zeros_like(right)
    ridge = 1e-10 * level * np.eye(len(covariance))
    return np.linalg.solve(covariance + ridge, right)


def mmds(values: Values, sides: Sides, *, bandwidths: tuple[float, ...] | None = BANDWIDTHS) -> Values:
    """`mmd` for every column of `sides`: `(N, F)`, `(N, P)` -> `(P,)`; the kernel is computed once."""
    squared = _squared_distances(values)
    if bandwidths is None:
        bandwidths = (float(np.median(squared[np.triu_indices(len(squared), k=1)])),)
    kernel = sum((np.exp(squared * (-1 / g)) for g in bandwidths if g > 0), np.zeros_like(squared))
    np.fill_diagonal(kernel, 0.0)
    source, target = ((sides == side).astype(np.float64) for side in (1, -1))
    near_source, near_target = kernel @ source, kernel @ target
    n, m = source.sum(axis=0), target.sum(axis=0)
    within = (source * near_source).sum(axis=0) / (n * (n - 1)) + (target * near_target).sum(axis=0) / (m * (m - 1))
    found: Values = within - 2 * (source * near_target).sum(axis=0) / (n * m)
    return found


def _squared_distances(values: Values) -> Values:
    squares = (values**2).sum(axis=1)
    found: Values = np.maximum(squares[:, None] + squares - 2 * (values @ values.T), 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def frechets(values: Values, sides: Sides) -> Values:
    """`frechet` for every column of `sides`: `(N, F)`, `(N, P)` -> `(P,)`."""
    return np.array([_frechet(values[column == 1], values[column == -1]) for column in sides.T])


def _frechet(source: Values, target: Values) -> float:
    means = source.mean(axis=0) - target.mean(axis=0)
    first, second = shrunk_covariance(source), shrunk_covariance(target)
    root = _root(first)
    overlap = np.sqrt(_positive_spectrum(root @ second @ root)).sum()
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * overlap)


def _root(covariance: Values) -> Values:
    """Symmetric square root."""
    spectrum, vectors = np.linalg.eigh(covariance)
    found: Values = (vectors * np.sqrt(np.maximum(spectrum, 0))) @ vectors.T
    return found


def _positive_spectrum(product: Values) -> Values:
    """Eigenvalues of a product that is symmetric but for rounding; none is below 0 but for rounding."""
    found: Values = np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)
    return found


def shrunk_covariance(values: Values) -> Values:
    """Ledoit and Wolf's covariance ``(1 - s) S + s tr(S)/F I`` of `(N, F)` values, `s` estimated from them."""
    centred = values - values.mean(axis=0)
    count, width = centred.shape
    sample = centred.T @ centred / count
    level = np.trace(sample) / width
    spread = (sample**2).sum() - width * level**2
    noise = (((centred**2).sum(axis=1) ** 2).mean() - (sample**2).sum()) / count
    shrinkage = min(noise, spread) / spread if spread > 0 else 0.0
    found: Values = (1 - shrinkage) * sample + shrinkage * level * np.eye(width)
    return found


def corals(values: Values, sides: Sides) -> Values:
    """`coral` for every column of `sides`: `(N, F)`, `(N, P)` -> `(P,)`."""
    gaps = (_covariance(values[column == 1]) - _covariance(values[column == -1]) for column in sides.T)
    found: Values = np.array([(gap**2).sum() for gap in gaps]) / (4 * values.shape[1] ** 2)
    return found


def _covariance(values: Values) -> Values:
    centred = values - values.mean(axis=0)
    found: Values = centred.T @ centred / (len(values) - 1)
    return found


MEASURES: dict[str, Measure] = {
    "a_distance": a_distances,
    "mmd": mmds,
    "mmd_median": lambda values, sides: mmds(values, sides, bandwidths=None),
    "frechet": frechets,
    "coral": corals,
}
"""What `gap_table` measures, in its order: `mmd` with the 12 kernels of MM-SADA, `mmd_median` with one."""

OF_COVARIANCES = ("frechet", "coral")
"""Those whose bias is no longer in proportion to 1/N where segments are fewer than features."""
