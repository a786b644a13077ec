"""Evaluation: windows to segments, streams to accuracies (paper section 4.1).

Legend: `N` segments, `K` outputs, `F` feature width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from mmsada_lab.checkpoint import KeptEvaluation, KeptFeatures
from mmsada_lab.clips.clips import ClipRule, clip_rule, labels_of
from mmsada_lab.clips.segments import Domain, Segment
from mmsada_lab.clips.test_clips import TestClipLoader, TestClips
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED
from mmsada_lab.models.batchnorm import adapted_batchnorm, has_batch_statistics
from mmsada_lab.models.network import LateFusionNetwork
from mmsada_lab.runtime.processes import gather_objects
from mmsada_lab.validators import domain_closeness, score_target


@dataclass(frozen=True)
class Predictions:
    """Class probabilities and features of N segments.

    Attributes:
        probabilities: `(N, K)` by stream (``fused`` and each modality): mean over windows of the softmax.
        features: `(N, F)` by modality: mean over windows.
        windows: `(N, windows, K)` by stream: the softmax of each window.
    """

    probabilities: Mapping[str, NDArray[np.float32]]
    features: Mapping[str, NDArray[np.float32]]
    windows: Mapping[str, NDArray[np.float16]] = field(default_factory=dict)


def concatenate_predictions(shards: Iterable[Predictions]) -> Predictions:
    """Predictions of several shards of some segments, in their order; a shard may be empty."""
    filled = [shard for shard in shards if shard.probabilities]
    return Predictions(
        {s: np.concatenate([shard.probabilities[s] for shard in filled]) for s in filled[0].probabilities},
        {m: np.concatenate([shard.features[m] for shard in filled]) for m in filled[0].features},
        {s: np.concatenate([shard.windows[s] for shard in filled]) for s in filled[0].windows},
    )


@dataclass(frozen=True)
class Predictor:
    """A network and how segments are shown to it: the same in training, in ``mmsada predict`` and in ``extract``.

    Attributes:
        network: F and G of every modality.
        rule: how clips are cut.
        windows: per segment.
        average: what is averaged over windows, see `predict`.
        target_statistics: whether batch statistics are re-estimated on a domain's training clips (AdaBN).
        compiled: whether backbones are compiled.
        batch_size: segments at once. Batch statistics, of one window each, always take up to 16.
        device: where to compute.
        workers: processes that read clips.
        show_progress: draw a bar while clips are read for more than two seconds.
    """

    network: LateFusionNetwork
    rule: ClipRule
    windows: int
    average: str
    target_statistics: bool
    compiled: bool
    batch_size: int
    device: torch.device
    workers: int = 0
    show_progress: bool = False

    def clips(self, domain: Domain, segments: Sequence[Segment], *, shard: tuple[int, int] = (0, 1)) -> TestClipLoader:
        """All windows of some segments."""
        return self._loader(domain, segments, windows=self.windows, batch_size=self.batch_size, shard=shard)

    def single_windows(self, domain: Domain, segments: Sequence[Segment]) -> TestClipLoader:
        """One window of each segment: what standardisation is estimated on."""
        return self._loader(domain, segments, windows=1, batch_size=_BATCH)

    def shuffled_windows(self, domain: Domain, segments: Sequence[Segment]) -> TestClipLoader:
        """One window of each segment, in an order that is always the same: what batch statistics are estimated on.

        Neighbours in a table are often of one video, by whose statistics alone they would be normalised on their way.
        Batches are as equal as can be, so that none is of a single clip.
        """
        order = np.random.default_rng(_ORDER).permutation(len(segments))
        return self._loader(domain, [segments[k] for k in order], windows=1, batch_size=_BATCH, equal=True)

    def _loader(
        self, domain: Domain, segments: Sequence[Segment], *, windows: int, batch_size: int, **division: Any
    ) -> TestClipLoader:
        modalities = tuple(self.network.backbones)
        clips = TestClips(domain, segments, rule=self.rule, modalities=modalities, windows=windows)
        title = f"{len(segments)} segments of {domain.name}" if self.show_progress else ""
        return TestClipLoader(clips, batch_size=batch_size, workers=self.workers, title=title, **division)

    @contextmanager
    def statistics_of(self, training: TestClipLoader) -> Iterator[None]:
        """Within the context, batch statistics are those of training clips, if that is how the run is evaluated."""
        if not self.target_statistics:
            yield
            return
        with estimated_statistics(self.network, training, device=self.device):
            yield

    def predict(self, clips: TestClipLoader, training: TestClipLoader) -> Predictions:
        """Predictions of segments; `training` serves only batch statistics that are those of a domain."""
        # Evaluation has batches of many sizes: a compiled backbone would be compiled again for each.
        eager = torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()
        with eager, self.statistics_of(training):
            return predict(self.network, clips, device=self.device, average=self.average)


_BATCH = 16
_ORDER = 0  # seed of the order in which clips pass for batch statistics


def build_predictor(
    network: LateFusionNetwork,
    config: ExperimentConfig,
    *,
    device: torch.device,
    workers: int,
    show_progress: bool = False,
) -> Predictor:
    """How a configuration has a network evaluated.

    A step in parts is a sign of little memory, so evaluation takes fewer segments at once too.
    """
    return Predictor(
        network,
        clip_rule(config),
        config.test_windows,
        config.window_average,
        config.test_statistics == "target",
        config.compile,
        max(1, _BATCH // config.accumulation),
        device,
        workers,
        show_progress,
    )


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
    of_windows: dict[str, list[Tensor]] = {}
    for batch in clips.on(device):
        windows = next(iter(batch.values())).shape[1]
        # All windows of some segments pass at once: in evaluation clips do not see each other.
        flat = {m: clip.flatten(0, 1) for m, clip in batch.items()}  # (N windows, C, ...)
        window_features = network.features(flat)
        streams = network.stream_logits(window_features)
        for name, logits in {FUSED: network.fused(streams), **streams}.items():
            probabilities.setdefault(name, []).append(_window_probabilities(logits, windows, average))
            each = logits.softmax(dim=1).unflatten(0, (-1, windows))  # (N windows, K) to (N, windows, K)
            of_windows.setdefault(name, []).append(each.half().cpu())
        for modality, feature in window_features.items():
            features.setdefault(modality, []).append(_window_mean(feature, windows))
    return Predictions(_concatenate(probabilities), _concatenate(features), _concatenate(of_windows))


def _window_probabilities(logits: Tensor, windows: int, average: str) -> Tensor:
    if average == "logits":  # the code averages probabilities; a single sure window counts less then
        return _window_mean(logits, windows).softmax(dim=1)
    return _window_mean(logits.softmax(dim=1), windows)


def _window_mean(values: Tensor, windows: int) -> Tensor:
    mean: Tensor = values.float().unflatten(0, (-1, windows)).mean(dim=1)  # (N, windows, ...) to (N, ...)
    return mean.cpu()


def _concatenate(batches: Mapping[str, Iterable[Tensor]]) -> dict[str, NDArray[Any]]:
    return {name: torch.cat(list(tensors)).numpy() for name, tensors in batches.items()}


@contextmanager
def estimated_statistics(network: LateFusionNetwork, clips: TestClipLoader, *, device: torch.device) -> Iterator[None]:
    """Within the context, batch statistics are those of the given clips (AdaBN); afterwards as before.

    Args:
        network: its weights stay as they are.
        clips: training clips of the target; they carry no label.
        device: where to compute.

    Raises:
        UserError: if there are fewer than two clips.
    """
    if (count := len(clips.clips)) < 2:
        raise UserError(
            f"batch statistics of a domain (AdaBN) need two training clips or more, found {count}; give more training "
            "segments, or test_statistics=running"
        )

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
        flat = {m: clip.flatten(0, 1) for m, clip in batch.items()}  # (N windows, C, ...)
        for modality, feature in network.features(flat).items():
            features.setdefault(modality, []).append(
                feature.float().unflatten(0, (-1, windows)).cpu()
            )  # (N, windows, F)
    return _concatenate(features)


def top1(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Top-1 accuracy in percent of probabilities `(N, K)` with labels `(N,)`; a spare output that wins is wrong."""
    return 100 * float(np.mean(probabilities.argmax(axis=1) == labels))


def mean_class_accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean over the classes that occur of each one's accuracy, in percent; arguments as for `top1`.

    A class of one segment counts as much as one of hundreds, see `mean_class_caution`.
    """
    correct = probabilities.argmax(axis=1) == labels
    # Classes without a segment have no accuracy; counting them as 0 would punish small domains.
    return 100 * float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def mean_class_caution(labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Which classes have so few segments that one of them moves the mean class accuracy by five points or more.

    Args:
        labels: `(N,)`, -1 where unknown.
        classes: their names.

    Example:
        >>> mean_class_caution(np.array([0] * 40 + [1]), ("take", "mix"))
        'one test segment of mix (1) moves the mean class accuracy by up to 50.0 points; read top-1'
    """
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    moves = {classes[k]: (int(n), 100 / (n * len(present))) for k, n in zip(present, counts, strict=True)}
    few = {name: move for name, move in moves.items() if move[1] >= 5}
    if not few:
        return ""
    listed = " or ".join(f"{name} ({count})" for name, (count, _) in few.items())
    points = max(points for _, points in few.values())
    return f"one test segment of {listed} moves the mean class accuracy by up to {points:.1f} points; read top-1"


def accuracies(predictions: Predictions, labels: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Top-1 and mean class accuracy of every stream over the labelled segments, in percent; empty if there are none.

    Args:
        predictions: of `N` segments.
        labels: `(N,)`, -1 where unknown.
    """
    known = labels >= 0  # practitioners have targets of which little or nothing is labelled
    if not known.any():
        return {}
    return {
        stream: {"top1": top1(p[known], labels[known]), "mean_class": mean_class_accuracy(p[known], labels[known])}
        for stream, p in predictions.probabilities.items()
    }


class Evaluation:
    """The segments of both domains that a run is evaluated on, and what is computed of their predictions.

    Args:
        predictor: the network, and how segments are shown to it.
        source: labelled domain.
        target: unlabelled domain; one without test segments is predicted where it is trained on.
        accelerator: several processes share the segments.
    """

    def __init__(self, predictor: Predictor, source: Domain, target: Domain, *, accelerator: Accelerator) -> None:
        self.predictor = predictor
        # Labels that training segments of the target may have stay unseen.
        self.target_segments = target.test or target.unlabelled().train
        self.source_segments = source.test or source.train
        self.labels = labels_of(self.target_segments)  # for reporting alone; no training batch can hold them
        self.source_is_test = bool(source.test)
        self.splits = ["test" if domain.test else "train" for domain in (source, target)]
        shard = (accelerator.process_index, accelerator.num_processes)
        self.target_clips = predictor.clips(target, self.target_segments, shard=shard)
        self.source_clips = predictor.clips(source, self.source_segments, shard=shard)
        self.target_training = predictor.shuffled_windows(target, target.unlabelled().train)
        self.source_training = predictor.shuffled_windows(source, source.unlabelled().train)

    def predict_target(self) -> Predictions:
        """Predictions of all target segments, of which every process computes a shard."""
        return self._predict(self.predictor, self.target_clips, self.target_training)

    def predict_source(self) -> Predictions:
        """Predictions of all source segments, under the source's own batch statistics where the target has its own."""
        return self._predict(self.predictor, self.source_clips, self.source_training)

    def predict_under_own_statistics(self, source: Predictions, target: Predictions) -> Sequence[Predictions]:
        """Predictions of source and target, each under the batch statistics of its own training clips.

        That is how discriminators see features in training, where domains pass apart. Nothing where a network has no
        batch statistics, or a domain too few clips.

        Args:
            source: predictions of evaluation.
            target: likewise.
        """
        if self.predictor.target_statistics:  # evaluation has them, too
            return source, target
        loaders = (self.source_clips, self.source_training), (self.target_clips, self.target_training)
        enough = all(len(training.clips) > 1 for _, training in loaders)
        if not enough or not has_batch_statistics(self.predictor.network):
            return ()
        own = replace(self.predictor, target_statistics=True)
        return tuple(self._predict(own, *pair) for pair in loaders)

    def _predict(self, predictor: Predictor, clips: TestClipLoader, training: TestClipLoader) -> Predictions:
        return concatenate_predictions(gather_objects(predictor.predict(clips, training)))

    def source_accuracies(self, source: Predictions) -> dict[str, dict[str, float]]:
        """Accuracies on the source's test segments; empty where it has none."""
        return accuracies(source, labels_of(self.source_segments)) if self.source_is_test else {}

    def label_free_scores(self, source: Predictions, target: Predictions) -> dict[str, float]:
        """Scores of this checkpoint that need no target label, see `score_target`."""
        # Some need the source as well, none the target's labels.
        scores = score_target(target.probabilities[FUSED])
        scores["domain_closeness"] = domain_closeness(source.features, target.features)
        if measured := self.source_accuracies(source):
            scores["source_accuracy"] = measured[FUSED]["top1"]
        return scores

    def mean_accuracies(self, kept: Sequence[KeptEvaluation]) -> dict[str, dict[str, float]]:
        """Mean over evaluations of each stream's accuracies."""
        measured = [accuracies(Predictions(streams, {}), self.labels) for _, streams in kept]
        return {
            stream: {name: float(np.mean([m[stream][name] for m in measured])) for name in measures}
            for stream, measures in measured[0].items()
        }

    def prediction_arrays(self, kept: Sequence[KeptEvaluation]) -> dict[str, NDArray[Any]]:
        """Probabilities `(evaluations, N, K)` of every stream, with uids, labels and steps."""
        arrays = {f"p_{stream}": np.stack([streams[stream] for _, streams in kept]) for stream in kept[0][1]}
        uids = np.array([segment.uid for segment in self.target_segments])
        return {"uid": uids, "label": self.labels, "steps": np.array([step for step, _ in kept]), **arrays}

    def feature_arrays(
        self, source: Predictions, target: Predictions, own: Sequence[Predictions] = ()
    ) -> dict[str, NDArray[Any]]:
        """Features `(N, F)` of every modality, of the source's segments and then the target's.

        ``f_...`` are those of evaluation, ``own_...`` those of `predict_under_own_statistics`, if there are any.
        """
        arrays = {
            f"{prefix}_{m}": np.concatenate([side.features[m] for side in sides])
            for prefix, sides in (("f", (source, target)), ("own", own))
            for m in (source.features if sides else ())
        }
        return {**self._facts(), **arrays}

    def window_arrays(self, source: Predictions, target: Predictions) -> dict[str, NDArray[Any]]:
        """Softmax of every window, `w_...` `(N, windows, K)` of each stream, of the segments of `feature_arrays`."""
        both = {f"w_{s}": np.concatenate([source.windows[s], target.windows[s]]) for s in target.windows}
        return {**self._facts(), **both}

    def snapshot(self, source: Predictions, target: Predictions) -> dict[str, NDArray[np.float16]]:
        """Features ``f_...`` `(N, F)` and probabilities ``p_...`` `(N, K)` of the segments of `feature_arrays`."""
        kinds = (("f", source.features, target.features), ("p", source.probabilities, target.probabilities))
        return {
            f"{prefix}_{name}": np.concatenate([sides[0][name], sides[1][name]]).astype(np.float16)
            for prefix, *sides in kinds
            for name in sides[0]
        }

    def checkpoint_arrays(self, snapshots: Sequence[KeptFeatures]) -> dict[str, NDArray[Any]]:
        """Snapshots on top of each other, `(checkpoints, N, ...)`, with their steps."""
        stacked = {name: np.stack([arrays[name] for _, arrays in snapshots]) for name in snapshots[0][1]}
        return {**self._facts(), "steps": np.array([step for step, _ in snapshots]), **stacked}

    def _facts(self) -> dict[str, NDArray[Any]]:
        """Of the source's segments and then the target's: uid, label (-1 where unknown), side, split."""
        segments, counts = [*self.source_segments, *self.target_segments], [len(self.source_segments), len(self.labels)]
        uids = np.array([segment.uid for segment in segments])
        sides = {"side": np.repeat(["source", "target"], counts), "split": np.repeat(self.splits, counts)}
        return {"uid": uids, "label": labels_of(segments), **sides}
