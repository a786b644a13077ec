"""Self-supervised tasks: one class per task. `MMSADA` holds the one that the configuration names.

A task owns a head on the features of all modalities, its loss, and a score that needs no labels; what its batches must
contain is a fact of its entry in `facts.PRETEXTS`. Legend: `B` clips, `N` segments, `F` feature width, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from mmsada_lab.clips.batches import TargetBatch
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.facts import PRETEXTS, load_class
from mmsada_lab.losses import correspondence_loss
from mmsada_lab.models.heads import CorrespondenceHead, PairwiseCorrespondence, balanced_accuracy
from mmsada_lab.runtime.processes import all_gather, local_shard

Features = dict[str, Tensor]


class Pretext(nn.Module):
    """A self-supervised task.

    Args:
        widths: F of each modality.
        config: its options.
    """

    def __init__(self, widths: Mapping[str, int], config: ExperimentConfig) -> None:
        super().__init__()
        self.config = config
        self.observed: dict[str, Tensor] = {}  # scalars of the last batch, beside its loss

    def loss(self, *domains: tuple[Features, TargetBatch]) -> Tensor:
        """Scalar loss over the clips of all domains, from `(B, F)` features by modality and the batch they are of."""
        raise NotImplementedError

    def score(self, features: Features) -> float | None:
        """How well the task is solved on `(N, F)` features of one domain, higher is better; None if N is too small."""
        raise NotImplementedError


class Correspondence(Pretext):
    """Do the modalities of a clip come from the same action segment, or (``negatives=moment``) show one moment of it?

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691), section 3.4.

    Example:
        >>> from mmsada_lab import build_config
        >>> task = Correspondence({"rgb": 8, "flow": 8}, build_config("quick", source="D2", target="D1"))
        >>> task.score({"rgb": torch.ones(3, 8), "flow": torch.ones(3, 8)})  # all alike: right half of the time
        50.0
    """

    def __init__(self, widths: Mapping[str, int], config: ExperimentConfig) -> None:
        super().__init__(widths, config)
        pairwise = config.correspondence_over == "pairs" and len(widths) > 2
        head = PairwiseCorrespondence if pairwise else CorrespondenceHead
        self.head = head(widths, hidden_layers=config.correspondence_layers, outputs=config.discriminator_outputs)

    def loss(self, *domains: tuple[Features, TargetBatch]) -> Tensor:
        """Lc over both domains (Eq. 3); of more than two modalities, the mean over every pair of them."""
        # Each domain is paired within itself: a clip never corresponds across kitchens.
        pairs = [self._pair(features, batch.corresponds) for features, batch in domains]
        scores = [self.head(features) for features, _ in pairs]  # (P B, 2) or (P B,) for P pairs of modalities
        answers = [c.repeat(len(s) // len(c)) for s, (_, c) in zip(scores, pairs, strict=True)]  # (P B,)
        scored, answered = torch.cat(scores), torch.cat(answers)
        self.observed["correspondence_accuracy"] = balanced_accuracy(scored, answered)
        return correspondence_loss(scored, answered, printed=self.config.correspondence_terms == "printed")

    @torch.no_grad()
    def score(self, features: Features) -> float | None:
        """Accuracy in percent: each segment is judged as it is, and once with the other modalities of other segments.

        Which ones is always the same, and has nothing to do with their order: neighbours in a table are often of one
        video, and overlap. Features are means over a segment's windows, so of ``negatives=moment``, where C learns to
        tell moments of one segment, this measures only whether it can tell segments besides.
        """
        count = len(next(iter(features.values())))
        if count < len(features):
            return None
        order = torch.from_numpy(np.random.default_rng(0).permutation(count))
        shuffled = {m: feature[order.to(feature.device)] for m, feature in features.items()}
        scores = torch.cat([self.head(shuffled), self.head(_roll(shuffled))])
        # Half of the questions have the answer yes, so that chance is 50 %.
        return float(balanced_accuracy(scores, torch.arange(len(scores), device=scores.device) < len(scores) // 2))

    def _pair(self, features: Features, corresponds: Tensor) -> tuple[Features, Tensor]:
        """Features to judge, and whether they correspond.

        ``half``: as the batch has them. ``repair``: each clip once with its own and once with its neighbours'
        other modalities, so that every feature serves a positive and a negative.
        """
        if self.config.correspondence_batch == "half":
            return features, corresponds
        # Rolled in the whole batch, so that pairs do not depend on how many processes share it.
        rolled = local_shard(_roll(all_gather(features)))
        paired = {m: torch.cat([features[m], rolled[m]]) for m in features}  # (2 B, F)
        return paired, torch.cat([corresponds, torch.zeros_like(corresponds)])


def _roll(features: Features) -> Features:
    """Modality 0 as it is, modality 1 of the next clip, modality 2 of the one after: no two of the same clip."""
    return {m: feature.roll(-k, dims=0) for k, (m, feature) in enumerate(features.items())}


def build_pretext(widths: Mapping[str, int], config: ExperimentConfig) -> Pretext:
    """The task that a configuration names, with a fresh head."""
    task: Pretext = load_class(PRETEXTS[config.pretext].implementation)(widths, config)
    return task
