"""A training batch with dye in the pipe: readers that return, in place of pictures, where and when they were read.

The rest is the code that trains, so whatever comes out says where it is from: which segment each modality of a clip is
of, and what the self-supervised head is asked. Legend: `B` clips of a domain, `Q` questions, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsada_lab.analysis.lessons.correspondence_grid import correspondence_grid
from mmsada_lab.clips.batches import TrainingBatch, TrainingBatches
from mmsada_lab.clips.clips import clip_rule
from mmsada_lab.clips.segments import Domain, Kind, MultiDomainData, Segment
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data, shared_modalities
from mmsada_lab.methods import MMSADA
from mmsada_lab.models.network import LateFusionNetwork
from mmsada_lab.presets import build_config

DYE_DOMAIN, DYE_SEGMENT, DYE_MIDDLE = range(3)
"""Columns of the dye."""


@dataclass
class DyedReader:
    """A reader that returns, for pictures, three numbers: of its domain, of the segment, and the middle of the window.

    Attributes:
        domain: its number.
        numbers: uid of a segment -> its number.
    """

    domain: int
    numbers: Mapping[str, int]
    kind: Kind = "vector"
    channels: int = 3
    mirror_negates: tuple[int, ...] = ()

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """The dye of a window, `(1, 3)`: the frame that the window is centred on stands for its time."""
        return np.array([[self.domain, self.numbers[segment.uid], frames[len(frames) // 2]]], dtype=np.float32)

    def extent(self, segment: Segment) -> tuple[int, int]:
        """First and last frame of a segment: all of it can be read."""
        return segment.start, segment.stop


class Ear(nn.Module):
    """In a head's place: passes every question on, and notes it with the answer.

    Attributes:
        asked: features by modality, `(Q, F)`, and the scores that the head gave, in order of the questions.
    """

    def __init__(self, head: Callable[[dict[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.head = head
        self.asked: list[tuple[dict[str, Tensor], Tensor]] = []

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The head's scores."""
        scores = self.head(features)
        self.asked.append((features, scores))
        return scores


class _Stream(nn.Identity):
    """A stream that passes the dye on unchanged; its features are the dye's columns."""

    features = len((DYE_DOMAIN, DYE_SEGMENT, DYE_MIDDLE))


@dataclass(frozen=True)
class DyedBatch:
    """A batch, what the method makes of it, and what its self-supervised head C is asked.

    Attributes:
        config: of the method.
        domains: source and target, as they are without dye; the target's labels are hidden.
        classes: names of the labels.
        method: as it ships, around streams that pass the dye on unchanged.
        batch: as training gets it.
        terms: the method's loss terms of it.
        asked: source and target -> modality -> `(Q, 3)`: domain, segment (from 1) and middle of the window.
    """

    config: ExperimentConfig
    domains: tuple[Domain, Domain]
    classes: tuple[str, ...]
    method: MMSADA
    batch: TrainingBatch
    terms: Mapping[str, Tensor]
    asked: Mapping[str, Mapping[str, Tensor]]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of a clip, in order."""
        return tuple(self.config.modalities)

    @property
    def window(self) -> WindowRule:
        """How windows are drawn."""
        return clip_rule(self.config).window

    @property
    def grid(self) -> pd.DataFrame:
        """Every question as a row, as `figures.draw_correspondence_grid` takes it."""
        return pd.concat([self._grid_of(side) for side in self.asked])

    def _grid_of(self, side: str) -> pd.DataFrame:
        segments, middles = (
            {m: dye[:, column].int().tolist() for m, dye in self.asked[side].items()}
            for column in (DYE_SEGMENT, DYE_MIDDLE)
        )
        labels: list[str | None] = [None] * len(segments[self.modalities[0]])
        source = self.batch.source
        for clip, label in enumerate(source.labels.tolist() if side == "source" else []):
            labels[clip] = self.classes[label] if source.corresponds[clip] else None
        return correspondence_grid(segments, side=side, labels=labels, middles=middles)


def dye_batch(
    data: str | MultiDomainData, *, source: str, target: str, clips: int = 6, seed: int = 0, **options: Any
) -> DyedBatch:
    """The first training batch of the paper's self-supervised stage, with dye in the pipe.

    Args:
        data: a data set, or its specification.
        source: the labelled domain.
        target: the other one.
        clips: of each domain.
        seed: of the batch and of C's weights.
        options: of the configuration, e.g. ``correspondence_batch="half"``.

    Raises:
        UserError: for unknown domains or options, and where a domain has fewer training segments than `clips`.

    Example:
        >>> dyed = dye_batch("kitchens:scale=0.01", source="D1", target="D3", clips=4, correspondence_batch="half")
        >>> {m: dye[:, DYE_SEGMENT].int().tolist() for m, dye in dyed.asked["source"].items()}  # two are no pairs
        {'rgb': [3, 12, 4, 11], 'flow': [3, 12, 11, 4]}
    """
    opened = load_data(data) if isinstance(data, str) else data
    modalities = shared_modalities(opened)
    overrides = {"modalities": modalities, "batch_size": 2 * clips, **options}
    config = build_config(
        "paper", source=source, target=target, method="self_supervised_only", seed=seed, overrides=overrides
    )
    # Labels of the source are of what training has; one of its segments without a label is not trained on.
    domains = opened.domain(source), opened.domain(target).unlabelled()
    labelled = replace(domains[0], train=tuple(s for s in domains[0].train if s.label is not None))
    dyed = [_dye(domain, number, modalities) for number, domain in enumerate((labelled, domains[1]))]
    rule = replace(clip_rule(config), negatives=config.mismatches(config.pretrain))
    batch = TrainingBatches(
        *dyed, rule=rule, modalities=modalities, source_batch=clips, target_batch=clips, steps=1, seed=(seed, 0)
    )[0]
    method = _transparent_method(config, classes=len(opened.classes), seed=seed)
    head = cast("nn.Module", method.pretext.head)
    ear = method.pretext.head = Ear(head)
    terms = method(batch, progress=0.0)
    method.pretext.head = head
    asked = {side: features for side, (features, _) in zip(("source", "target"), ear.asked, strict=True)}
    return DyedBatch(config, domains, opened.classes, method, batch, terms, asked)


def _dye(domain: Domain, number: int, modalities: tuple[str, ...]) -> Domain:
    numbers = {segment.uid: count for count, segment in enumerate(domain.train, start=1)}
    return replace(domain, readers=dict.fromkeys(modalities, DyedReader(number, numbers)))


def _transparent_method(config: ExperimentConfig, *, classes: int, seed: int) -> MMSADA:
    """The method as it ships, but for its streams: they pass what they get on."""
    streams = {modality: _Stream() for modality in config.modalities}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LateFusionNetwork(streams, classes, dropout=0.0)
        method = MMSADA(network, config, num_classes=classes)
    method.select_terms(config.pretrain.weights)
    return method


def clips_taught(dyed: DyedBatch, *, domains: tuple[str, ...] = ("source", "target")) -> pd.DataFrame:
    """Which clips of a batch each loss term teaches: those whose features get a gradient from it.

    Args:
        dyed: a batch and its method.
        domains: whose clips the correspondence loss is given.

    Returns:
        A row per clip, index (side, clip from 1); a column per term: 1 where it reaches the features of every modality,
        0 where it reaches none.

    Raises:
        AssertionError: a term that reaches some modalities of a clip only.

    Example:
        >>> dyed = dye_batch("kitchens:scale=0.01", source="D1", target="D3", clips=4, correspondence_batch="half")
        >>> clips_taught(dyed).groupby("side").sum().to_numpy().tolist()  # source: half of it no pairs; target
        [[2, 4], [0, 4]]
    """
    sides = {"source": dyed.batch.source, "target": dyed.batch.require_target()}
    generator = torch.Generator().manual_seed(0)
    leaves = {
        side: {m: torch.randn(len(batch.corresponds), 3, generator=generator, requires_grad=True) for m in batch.clips}
        for side, batch in sides.items()
    }
    terms = {
        "classification": dyed.method.classification(leaves["source"], dyed.batch.source),
        "correspondence": dyed.method.pretext.loss(*((leaves[side], sides[side]) for side in domains)),
    }
    index = [(side, clip) for side, batch in sides.items() for clip in range(1, len(batch.corresponds) + 1)]
    inputs = [leaf for of_side in leaves.values() for leaf in of_side.values()]
    taught = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, inputs, allow_unused=True)
        reached = [
            torch.zeros(len(x)) if g is None else g.abs().sum(dim=1) for x, g in zip(inputs, gradients, strict=True)
        ]
        count = len(leaves["source"])
        by_modality = [torch.cat([reached[number], reached[count + number]]) > 0 for number in range(count)]
        assert all(torch.equal(by_modality[0], other) for other in by_modality)
        taught[name] = by_modality[0].int().tolist()
    return pd.DataFrame(taught, index=pd.MultiIndex.from_tuples(index, names=["side", "clip"]))
