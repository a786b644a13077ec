"""Distances between two domains in feature space, each computed for many assignments of segments at once.

Legend: `N` segments of both domains, `F` feature width, `P` assignments. A column of `sides` marks every segment as
source (+1), target (-1) or left out (0): the true assignment, permuted ones and half-samples are columns of one matrix,
so that a kernel or a decomposition is computed once for all of them. All measures use the features as they are,
unscaled, and none changes when the feature space is rotated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.paper import MMD_BANDWIDTHS

Values = NDArray[np.float64]
Sides = NDArray[np.int8]

FOLDS = 5  # of the cross-validation behind the proxy A-distance


def a_distance(values: Values, sides: Sides) -> Values:
    """Proxy A-distance ``2 (1 - 2 err)`` of a linear classifier of the domains, `(N, F)` and `(N, P)` -> `(P,)`.

    Source: Ben-David et al. 2010, https://doi.org/10.1007/s10994-009-5152-4. Fisher's discriminant on a Ledoit-Wolf
    covariance, its threshold half-way between the domains; `err` is the mean of the two domains' error rates over five
    fixed folds, so that sizes may differ. About 0 (or below, by chance) where domains cannot be told apart, up to
    2. All measures give one distance for each column of `sides`.

    Example:
        >>> values, sides = np.arange(20.0).reshape(10, 2), np.repeat([1, -1], 5)[:, None]
        >>> a_distance(values, sides).tolist()
        [2.0]
    """
    folds = np.random.default_rng(0).permutation(len(values)) % FOLDS
    distances = np.empty(sides.shape[1])
    whole = (sides != 0).all(axis=0)
    if whole.any():
        distances[whole] = _discriminate(values, sides[:, whole], folds)
    for column in np.flatnonzero(~whole):
        rows = np.flatnonzero(sides[:, column])
        distances[column] = _discriminate(values[rows], sides[rows, column, None], folds[rows])[0]
    return distances


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
    source, target = (np.average(wrong, axis=0, weights=sides == side) for side in (1, -1))
    return np.asarray(2 - 2 * (source + target))


def _means(values: Values, members: NDArray[np.bool_]) -> Values:
    """Mean features of each column's members: `(F, P)`."""
    return np.asarray(values.T @ members.astype(np.float64) / np.maximum(1, members.sum(axis=0)))


def _solve(covariance: Values, right: Values) -> Values:
    """Solve a symmetric system; a direction without any variance separates nothing."""
    level = np.trace(covariance) / len(covariance)
    if level <= 0:
        return np.zeros_like(right)
    ridge = 1e-10 * level * np.eye(len(covariance))
    return np.linalg.solve(covariance + ridge, right)


# One kernel matrix for all assignments, and no bias. The training loss (`losses.mmd_loss`) is the biased estimate, in
# torch for its gradients; so is the validator (`evaluate.domain_closeness`), whose scores histories hold.
def mmd(values: Values, sides: Sides, *, bandwidths: tuple[float, ...] | None = MMD_BANDWIDTHS) -> Values:
    """Squared maximum mean discrepancy of a sum of Gaussian kernels, ``sum_g exp(-|x - y|^2 / g)``.

    This is the unbiased estimate of Gretton et al. (2012, https://jmlr.org/papers/v13/gretton12a.html): its mean is 0
    where the domains are alike, so it can fall below. The training loss is the biased one, greater by about
    ``(kernels - mean kernel) (1/N + 1/M)``.

    Args:
        values: `(N, F)` features.
        sides: `(N, P)` assignments.
        bandwidths: `g` of each kernel, in squared units of the features; None: one kernel whose `g` is the median
            squared distance of all segments of both domains.

    Example:
        >>> values, sides = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([[1], [1], [-1], [-1]])
        >>> mmd(values, sides, bandwidths=(1.0,)).round(3).tolist()  # 1 / e - 1
        [-0.632]
    """
    squared = _squared_distances(values)
    if bandwidths is None:
        bandwidths = (float(np.median(squared[np.triu_indices(len(squared), k=1)])),)
    kernel = sum((np.exp(squared * (-1 / g)) for g in bandwidths if g > 0), np.zeros_like(squared))
    np.fill_diagonal(kernel, 0.0)
    source, target = ((sides == side).astype(np.float64) for side in (1, -1))
    near_source, near_target = kernel @ source, kernel @ target
    n, m = source.sum(axis=0), target.sum(axis=0)
    within = (source * near_source).sum(axis=0) / (n * (n - 1)) + (target * near_target).sum(axis=0) / (m * (m - 1))
    distances: Values = within - 2 * (source * near_target).sum(axis=0) / (n * m)
    return distances


def _squared_distances(values: Values) -> Values:
    squares = (values**2).sum(axis=1)
    squared: Values = np.maximum(squares[:, None] + squares - 2 * (values @ values.T), 0.0)
    np.fill_diagonal(squared, 0.0)
    return squared


def frechet(values: Values, sides: Sides) -> Values:
    """Squared Fréchet distance of Gaussians, ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, in squared units.

    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500; but each covariance is shrunk towards a multiple of
    the identity, which keeps it of full rank where segments are fewer than features.

    Example:
        >>> values, sides = np.array([[0.0], [2.0], [3.0], [5.0]]), np.array([[1], [1], [-1], [-1]])
        >>> frechet(values, sides).round(6).tolist()
        [9.0]
    """
    return np.array([_frechet(values[column == 1], values[column == -1]) for column in sides.T])


def _frechet(source: Values, target: Values) -> float:
    means = source.mean(axis=0) - target.mean(axis=0)
    first, second = shrunk_covariance(source), shrunk_covariance(target)
    spectrum, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(spectrum, 0))) @ vectors.T  # symmetric, (F, F)
    product = root @ second @ root
    shared = np.linalg.eigvalsh((product + product.T) / 2)  # symmetric and not negative but for rounding
    overlap = np.sqrt(np.maximum(shared, 0)).sum()
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * overlap)


def shrunk_covariance(values: Values) -> Values:
    """Covariance ``(1 - s) S + s tr(S)/F I`` of `(N, F)` values, `s` estimated from them (Ledoit and Wolf 2004).

    Source: https://doi.org/10.1016/S0047-259X(03)00096-4.

    Example:
        >>> shrunk_covariance(np.array([[0.0, 0.0], [2.0, 2.0]])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    # scikit-learn's takes 2 to 15 times as long, and a null distribution needs hundreds.
    centred = values - values.mean(axis=0)
    count, width = centred.shape
    sample = centred.T @ centred / count
    level = np.trace(sample) / width
    spread = (sample**2).sum() - width * level**2
    noise = (((centred**2).sum(axis=1) ** 2).mean() - (sample**2).sum()) / count
    shrinkage = min(noise, spread) / spread if spread > 0 else 0.0
    return np.asarray((1 - shrinkage) * sample + shrinkage * level * np.eye(width))


def coral(values: Values, sides: Sides) -> Values:
    """Squared Frobenius distance of the covariances over ``4 F^2``; blind to the means.

    Source: Sun and Saenko 2016, https://arxiv.org/abs/1607.01719.

    Example:
        >>> values, sides = np.array([[0.0], [1.0], [2.0], [5.0], [7.0], [9.0]]), np.repeat([1, -1], 3)[:, None]
        >>> coral(values, sides).tolist()  # variances 1 and 4
        [2.25]
    """
    gaps = (_covariance(values[column == 1]) - _covariance(values[column == -1]) for column in sides.T)
    return np.array([(gap**2).sum() / (4 * values.shape[1] ** 2) for gap in gaps])


def _covariance(values: Values) -> Values:
    centred = values - values.mean(axis=0)
    return np.asarray(centred.T @ centred / (len(values) - 1))


MEASURES: dict[str, Callable[[Values, Sides], Values]] = {
    "a_distance": a_distance,
    "mmd": mmd,
    "mmd_median": lambda values, sides: mmd(values, sides, bandwidths=None),
    "frechet": frechet,
    "coral": coral,
}
"""What `gap_table` measures, in its order: `mmd` with the 12 kernels of MM-SADA, `mmd_median` with one."""

OF_COVARIANCES = ("frechet", "coral")
"""Those whose bias is no longer in proportion to 1/N where segments are fewer than features."""


def measure_gap(source: NDArray[Any], target: NDArray[Any], *, measure: str) -> float:
    """One of `MEASURES` between the features of two domains, `(N, F)` and `(M, F)`, without null or interval.

    Example:
        >>> source = np.array([[0.0], [2.0], [4.0]])
        >>> round(measure_gap(source, source + 3, measure="frechet"), 6)
        9.0
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    if source.ndim != 2 or source.shape[1:] != target.shape[1:] or min(len(source), len(target)) < 2:
        shapes = f"features have shapes {source.shape} and {target.shape}"
        raise UserError(f"{shapes}; expected (N, F) and (M, F) with at least 2 segments each")
    sides = np.repeat(np.array([1, -1], dtype=np.int8), [len(source), len(target)])[:, None]  # (N + M, 1)
    values = np.concatenate([source, target]).astype(np.float64)
    return float(MEASURES[measure](values - values.mean(axis=0), sides)[0])
