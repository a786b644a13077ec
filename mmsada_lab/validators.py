"""Validators: scores of a checkpoint that need no target label, the higher the better.

Each is written at every evaluation of the last stage beside the accuracies, so that any rule of selection can be looked
at afterwards (`analysis/selection.py`). None of them decides anything here: what a run reports is the mean of its last
evaluations. They see the inputs of the target's *test* segments, so that a choice by them would be transductive, where
the paper's protocol is inductive. Legend: `N`, `M` segments, `K` outputs, `F` feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
_TINY = 1e-12  # below any probability that matters; keeps log(0) out
_SND_TEMPERATURE = 0.05  # the authors'


def score_target(probabilities: Array) -> dict[str, float]:
    """Every score that looks at the target's predictions alone, by name.

    Args:
        probabilities: `(N, K)` of target segments.
    """
    return {score.__name__: score(probabilities) for score in TARGET_SCORES}


def negative_entropy(probabilities: Array) -> float:
    """Minus the mean entropy of the predictions: sure is good.

    Args:
        probabilities: `(N, K)` of target segments.

    Example:
        >>> round(negative_entropy(np.full((3, 2), 0.5)), 4)  # undecided between two classes: -log 2
        -0.6931
    """
    return float(-_entropy(probabilities).mean())


def information_maximisation(probabilities: Array) -> float:
    """Entropy of the mean prediction minus mean entropy: sure of each, and not of the same class for all.

    Source: [Shi and Sha 2012](https://arxiv.org/abs/1206.6438); as a validator
    [Musgrave et al. 2022](https://arxiv.org/abs/2208.07360).

    Args:
        probabilities: `(N, K)` of target segments.
    """
    return float(_entropy(probabilities.mean(axis=0)) - _entropy(probabilities).mean())


def nuclear_norm(probabilities: Array) -> float:
    """Batch nuclear-norm (BNM): the sum of singular values of the predictions over N; sure and diverse is large.

    Source: [Cui et al. 2020](https://arxiv.org/abs/2003.12237).

    Args:
        probabilities: `(N, K)` of target segments.
    """
    return float(np.linalg.norm(probabilities, ord="nuc") / len(probabilities))


def neighbourhood_density(probabilities: Array) -> float:
    """Soft neighbourhood density (SND): mean entropy of each segment's similarities to all others.

    Source: [Saito et al. 2021](https://arxiv.org/abs/2108.10860); similarities are cosines of predictions at a
    temperature of 0.05.

    Args:
        probabilities: `(N, K)` of target segments; of a single one the density is 0.
    """
    if len(probabilities) < 2:
        return 0.0
    unit = probabilities / np.maximum(np.linalg.norm(probabilities, axis=1, keepdims=True), _TINY)
    similarity = unit @ unit.T / _SND_TEMPERATURE  # (N, N)
    np.fill_diagonal(similarity, -np.inf)  # a segment is no neighbour of its own
    powers = np.exp(similarity - similarity.max(axis=1, keepdims=True))  # shifted, so that nothing overflows
    return float(_entropy(powers / powers.sum(axis=1, keepdims=True)).mean())


def domain_closeness(source: Mapping[str, Array], target: Mapping[str, Array]) -> float:
    """Minus the MMD^2 of source and target features, a mean over modalities: domains alike are good.

    One Gaussian kernel whose width is the median distance, so that the scale of the features does not count; biased.
    Features are those of evaluation, under its batch statistics; discriminators see others (`analysis/gap/table.py`).

    Args:
        source: `(N, F)` by modality.
        target: `(M, F)` by modality.
    """
    return -float(np.mean([_mmd(source[m], target[m]) for m in source]))


def _mmd(source: Array, target: Array) -> float:
    joined = np.concatenate([source, target]).astype(np.float64)
    squares = (joined**2).sum(axis=1)
    squared = np.maximum(squares[:, None] + squares[None] - 2 * joined @ joined.T, 0)
    width = np.median(squared[~np.eye(len(squared), dtype=bool)]) or 1.0
    kernel, n = np.exp(-squared / width), len(source)
    return float(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def _entropy(probabilities: Array) -> Array:
    """Entropy in nats along the last axis."""
    entropy: Array = -(probabilities * np.log(np.maximum(probabilities, _TINY))).sum(axis=-1)
    return entropy


TARGET_SCORES: tuple[Callable[[Array], float], ...] = (
    negative_entropy,
    information_maximisation,
    neighbourhood_density,
    nuclear_norm,
)
