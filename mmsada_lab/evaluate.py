"""Evaluation: windows to segments, streams to accuracies (paper section 4.1).

Legend: `N` segments, `K` outputs, `F` feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsada_lab.clips.clips import ClipRule
from mmsada_lab.clips.segments import Segment
from mmsada_lab.clips.test_clips import TestClipLoader
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.models.batchnorm import adapted_batchnorm
from mmsada_lab.models.network import LateFusionNetwork, fuse

FUSED = "fused"
"""Name of the late-fused prediction beside the streams' own."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of some segments.

    Attributes:
        probabilities: `(N, K)` by stream (``fused`` and each modality): mean over windows of the softmax.
        features: `(N, F)` by modality: mean over windows.
    """

    probabilities: Mapping[str, NDArray[np.float32]]
    features: Mapping[str, NDArray[np.float32]]


def joined(parts: Iterable[Predictions]) -> Predictions:
    """Predictions of several parts of some segments, in their order; a part may be empty."""
    some = [part for part in parts if part.probabilities]
    probabilities, features = [part.probabilities for part in some], [part.features for part in some]
    return Predictions(
        {stream: np.concatenate([part[stream] for part in probabilities]) for stream in probabilities[0]},
        {modality: np.concatenate([part[modality] for part in features]) for modality in features[0]},
    )


def clip_rule(config: ExperimentConfig) -> ClipRule:
    """How a configuration has clips cut."""
    return ClipRule(
        WindowRule(config.window_length, config.window_stride, whole=config.window_span == "segment"),
        config.input_size,
        offsets=config.crops,
        synchronous=config.positives == "synchronous",
    )


def labels_of(segments: Iterable[Segment]) -> NDArray[np.int64]:
    """Labels of segments, `(N,)`; -1 where one has none."""
    return np.array([-1 if segment.label is None else segment.label for segment in segments], dtype=np.int64)


@torch.no_grad()
def predict(
    network: LateFusionNetwork, clips: TestClipLoader, *, device: torch.device, average: str = "probabilities"
) -> Predictions:
    """Predict every segment from its windows.

    A modality's own prediction uses the same jointly trained weights and its logits alone (Table 3).

    Args:
        network: put into evaluation mode.
        clips: what to predict.
        device: where to compute.
        average: ``probabilities``: the mean over windows of each one's softmax; ``logits``: the softmax of the mean.
    """
    network.eval()
    probabilities: dict[str, list[Tensor]] = {}
    features: dict[str, list[Tensor]] = {}
    for batch in clips.on(device):
        windows = next(iter(batch.values())).shape[1]
        found = network.features({m: clip.flatten(0, 1) for m, clip in batch.items()})
        streams = network.stream_logits(found)
        for name, logits in {FUSED: fuse(streams), **streams}.items():
            probabilities.setdefault(name, []).append(_window_probabilities(logits, windows, average))
        for modality, feature in found.items():
            features.setdefault(modality, []).append(_window_mean(feature, windows))
    return Predictions(_joined(probabilities), _joined(features))


def _window_probabilities(logits: Tensor, windows: int, average: str) -> Tensor:
    if average == "logits":
        return _window_mean(logits, windows).softmax(dim=1)
    return _window_mean(logits.softmax(dim=1), windows)


def _window_mean(values: Tensor, windows: int) -> Tensor:
    mean: Tensor = values.float().unflatten(0, (-1, windows)).mean(dim=1)
    return mean.cpu()


def _joined(parts: Mapping[str, Iterable[Tensor]]) -> dict[str, NDArray[np.float32]]:
    return {name: torch.cat(list(tensors)).numpy() for name, tensors in parts.items()}


@contextmanager
def statistics_of(network: LateFusionNetwork, clips: TestClipLoader, *, device: torch.device) -> Iterator[None]:
    """Within the context, batch statistics are those of the given clips (AdaBN); afterwards as before.

    Args:
        network: its weights stay as they are.
        clips: training clips of the target; they carry no label.
        device: where to compute.
    """

    def forward_target() -> None:
        for batch in clips.on(device):
            network.features({m: clip.flatten(0, 1) for m, clip in batch.items()})

    with adapted_batchnorm(network, forward_target):
        yield


@torch.no_grad()
def extract_features(
    network: LateFusionNetwork, clips: TestClipLoader, *, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Features F^m of every window of every segment, `(N, windows, F)` by modality."""
    network.eval()
    features: dict[str, list[Tensor]] = {}
    for batch in clips.on(device):
        windows = next(iter(batch.values())).shape[1]
        for modality, found in network.features({m: clip.flatten(0, 1) for m, clip in batch.items()}).items():
            features.setdefault(modality, []).append(found.float().unflatten(0, (-1, windows)).cpu())
    return _joined(features)


def top1(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Top-1 accuracy in percent, over all segments.

    Args:
        probabilities: `(N, K)`; spare outputs compete (and lose when they win).
        labels: `(N,)`.
    """
    return 100 * float(np.mean(probabilities.argmax(axis=1) == labels))


def mean_class_accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean over the classes that occur of each one's accuracy, in percent; arguments as for `top1`."""
    correct = probabilities.argmax(axis=1) == labels
    return 100 * float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def accuracies(predictions: Predictions, labels: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Top-1 and mean class accuracy of every stream over the labelled segments, in percent; empty if there are none.

    Args:
        predictions: of `N` segments.
        labels: `(N,)`, -1 where unknown.
    """
    known = labels >= 0
    if not known.any():
        return {}
    return {
        stream: {"top1": top1(p[known], labels[known]), "mean_class": mean_class_accuracy(p[known], labels[known])}
        for stream, p in predictions.probabilities.items()
    }


Array = NDArray[np.floating]
_TINY = 1e-12
_SND_TEMPERATURE = 0.05


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
    """
    return float(-_entropy(probabilities).mean())


def information_maximisation(probabilities: Array) -> float:
    """Entropy of the mean prediction minus mean entropy: sure of each, and not of the same class for all.

    Source: Shi and Sha 2012; as a validator Musgrave et al. 2022.

    Args:
        probabilities: `(N, K)` of target segments.
    """
    return float(_entropy(probabilities.mean(axis=0)) - _entropy(probabilities).mean())


def nuclear_norm(probabilities: Array) -> float:
    """Batch nuclear-norm (BNM): the sum of singular values of the predictions over N; sure and diverse is large.

    Source: Cui et al. 2020.

    Args:
        probabilities: `(N, K)` of target segments.
    """
    return float(np.linalg.norm(probabilities, ord="nuc") / len(probabilities))


def neighbourhood_density(probabilities: Array) -> float:
    """Soft neighbourhood density (SND): mean entropy of each segment's similarities to all others.

    Source: Saito et al. 2021; similarities are cosines of predictions at a temperature of 0.05.

    Args:
        probabilities: `(N, K)` of target segments; of a single one the density is 0.
    """
    if len(probabilities) < 2:
        return 0.0
    unit = probabilities / np.maximum(np.linalg.norm(probabilities, axis=1, keepdims=True), _TINY)
    similarity = unit @ unit.T / _SND_TEMPERATURE
    np.fill_diagonal(similarity, -np.inf)
    powers = np.exp(similarity - similarity.max(axis=1, keepdims=True))
    return float(_entropy(powers / powers.sum(axis=1, keepdims=True)).mean())


def domain_closeness(source: Mapping[str, Array], target: Mapping[str, Array]) -> float:
    """Minus the MMD^2 of source and target features, a mean over modalities: domains alike are good.

    One Gaussian kernel whose width is the median distance, so that the scale of the features does not count; biased.

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
    found: Array = -(probabilities * np.log(np.maximum(probabilities, _TINY))).sum(axis=-1)
    return found


TARGET_SCORES: tuple[Callable[[Array], float], ...] = (
    negative_entropy,
    information_maximisation,
    neighbourhood_density,
    nuclear_norm,
)
