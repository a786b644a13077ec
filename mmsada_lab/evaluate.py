"""Evaluation: windows to segments, streams to accuracies (paper section 4.1).

Legend: `N` segments, `K` outputs, `F` feature width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.data.clips import ClipRule
from mmsada_lab.data.segments import Segment
from mmsada_lab.data.test_clips import TestClipLoader
from mmsada_lab.data.windows import WindowRule
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
