"""The methods: the only place where data, model and losses meet. Each reads like its page in the paper.

A method's `forward(batch, progress)` returns named, *unweighted* loss terms; the weights are data
(`Stage.weights`) and meet the terms in one line of `train.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from mmsada_lab.clips.batches import SourceBatch, TargetBatch, TrainingBatch
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.losses import (
    classification_loss,
    classifier_discrepancy,
    correspondence_loss,
    domain_adversarial_loss,
    mmd_loss,
)
from mmsada_lab.models.heads import CorrespondenceHead, DomainDiscriminator, PairwiseCorrespondence, reverse_gradient
from mmsada_lab.models.network import LateFusionNetwork, build_classifiers, fuse
from mmsada_lab.runtime.processes import own_share, whole_batch

Features = dict[str, Tensor]


def reversal_coefficient(progress: float, *, maximum: float, schedule: str) -> float:
    """Factor of the reversed gradient.

    Args:
        progress: fraction of the stage that is done, 0 to 1.
        maximum: value at the end of the ramp.
        schedule: ``ramp``: ``maximum (2 / (1 + exp(-10 p)) - 1)``, as the released code; ``constant``, as the
            paper reads.
    """
    return maximum if schedule == "constant" else maximum * (2 / (1 + math.exp(-10 * progress)) - 1)


class Method(nn.Module):
    """A late-fusion network and a way to train it.

    Args:
        network: what is trained and, later, used.
        config: options of the method.
        num_classes: K; the classification loss looks at the first K outputs.
    """

    def __init__(self, network: LateFusionNetwork, config: ExperimentConfig, *, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.num_classes = num_classes
        self.terms: frozenset[str] = frozenset({"classification"})

    def select_terms(self, terms: Iterable[str]) -> None:
        """Choose the loss terms of the coming stage; heads that no term needs keep their initial weights."""
        self.terms = frozenset(terms)

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """Named, unweighted loss terms of one step at a stage's progress (0 to 1)."""
        raise NotImplementedError

    def classification(self, source: Features, batch: SourceBatch) -> Tensor:
        """Ly of source features (Eq. 1): only corresponding clips are classified."""
        fused = fuse(self.network.stream_logits(source))
        return classification_loss(fused, batch.labels, corresponds=batch.corresponds, num_classes=self.num_classes)

    def correspondence_accuracy(self, features: Features) -> float | None:
        """How often a trained correspondence head is right, in percent; None for methods that have none.

        Args:
            features: `(N, F)` by modality, of segments of one domain.
        """
        return None

    def both_domains(self, batch: TrainingBatch) -> tuple[Features, Features]:
        """Features of source and target. The domains pass apart, so that batch statistics never mix them."""
        target = batch.require_target()
        return self.network.features(batch.source.clips), self.network.features(target.clips)

    def reversal(self, progress: float) -> float:
        """The configured coefficient of the reversed gradient at a stage's progress."""
        config = self.config
        return reversal_coefficient(progress, maximum=config.reversal_coefficient, schedule=config.reversal_schedule)


class SourceOnly(Method):
    """Classification of labelled clips, ``L = Ly``.

    Also AdaBN, before its statistics are adapted, and supervised target. Target clips, where a batch has them
    (AdaBN as released), pass through for the batch statistics alone.
    """

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The classification term."""
        source = self.network.features(batch.source.clips)
        if batch.target is not None:
            with torch.no_grad():
                self.network.features(batch.target.clips)
        return {"classification": self.classification(source, batch.source)}


class MMSADA(Method):
    """Multi-Modal Self-Supervised Adversarial Domain Adaptation (section 3).

    ``L = Ly + lambda_d sum_m Ld_m + lambda_c Lc`` (Eq. 4). Adversarial only and self-supervised only are this
    with a term left out (Table 2).
    """

    def __init__(self, network: LateFusionNetwork, config: ExperimentConfig, *, num_classes: int) -> None:
        super().__init__(network, config, num_classes=num_classes)
        widths, outputs = network.feature_widths, config.discriminator_outputs
        self.discriminators = nn.ModuleDict({m: DomainDiscriminator(f, outputs=outputs) for m, f in widths.items()})
        pairwise = config.correspondence_over == "pairs" and len(widths) > 2
        head = PairwiseCorrespondence if pairwise else CorrespondenceHead
        self.correspondence_head = head(widths, outputs=outputs)

    def select_terms(self, terms: Iterable[str]) -> None:
        """Choose the terms of the coming stage and freeze the heads that none of them needs."""
        super().select_terms(terms)
        self.discriminators.requires_grad_("adversarial" in self.terms)
        self.correspondence_head.requires_grad_("correspondence" in self.terms)

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The terms of the current stage."""
        source, target = self.both_domains(batch)
        terms = {"classification": self.classification(source, batch.source)}
        if "adversarial" in self.terms:
            terms["adversarial"] = self.adversarial(source, target, progress)
        if "correspondence" in self.terms:
            terms["correspondence"] = self.correspondence((source, batch.source), (target, batch.require_target()))
        return terms

    def adversarial(self, source: Features, target: Features, progress: float) -> Tensor:
        """``sum_m Ld_m`` behind a gradient reversal (Eq. 2): one discriminator per modality."""
        coefficient = self.reversal(progress)
        losses = [
            domain_adversarial_loss(
                discriminator(reverse_gradient(source[m], coefficient)),
                discriminator(reverse_gradient(target[m], coefficient)),
            )
            for m, discriminator in self.discriminators.items()
        ]
        return torch.stack(losses).sum()

    def correspondence(self, *domains: tuple[Features, TargetBatch]) -> Tensor:
        """Lc over both domains (Eq. 3); of more than two modalities, the mean over every pair of them."""
        pairs = [self._pairs(features, batch.corresponds) for features, batch in domains]
        scores = [self.correspondence_head(features) for features, _ in pairs]
        answers = [c.repeat(len(s) // len(c)) for s, (_, c) in zip(scores, pairs, strict=True)]
        printed = self.config.correspondence_terms == "printed"
        return correspondence_loss(torch.cat(scores), torch.cat(answers), printed=printed)

    @torch.no_grad()
    def correspondence_accuracy(self, features: Features) -> float | None:
        """Each segment is judged once as it is, and once with its other modalities from its neighbours."""
        count = len(next(iter(features.values())))
        if "correspondence" not in self.terms or count < len(features):
            return None
        scores = torch.cat([self.correspondence_head(features), self.correspondence_head(_rolled(features))])
        says = scores > 0 if scores.ndim == 1 else scores.argmax(dim=1) == 1
        answers = torch.arange(len(says), device=says.device) < len(says) // 2
        return 100 * float((says == answers).float().mean())

    def _pairs(self, features: Features, corresponds: Tensor) -> tuple[Features, Tensor]:
        """Features to judge, and whether they correspond.

        ``half``: as the batch has them. ``repair``: each clip once with its own and once with its neighbours'
        other modalities, so that every feature serves a positive and a negative.
        """
        if self.config.correspondence_batch == "half":
            return features, corresponds
        rolled = own_share(_rolled(whole_batch(features)))
        paired = {m: torch.cat([features[m], rolled[m]]) for m in features}
        return paired, torch.cat([corresponds, torch.zeros_like(corresponds)])


def _rolled(features: Features) -> Features:
    """Modality 0 as it is, modality 1 of the next clip, modality 2 of the one after: no two of the same clip."""
    return {m: feature.roll(-k, dims=0) for k, (m, feature) in enumerate(features.items())}


class MMD(Method):
    """Multiple-kernel maximum mean discrepancy of every modality's features (section 4.2's MMD baseline).

    ``L = Ly + sum_m MMD^2(F^m(source), F^m(target))``, with constant weights; nothing is learned beside F and G.
    """

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The terms of the current stage."""
        source, target = self.both_domains(batch)
        terms = {"classification": self.classification(source, batch.source)}
        if "mmd" in self.terms:
            source, target = whole_batch(source), whole_batch(target)  # no mean over clips
            terms["mmd"] = torch.stack([mmd_loss(source[m], target[m]) for m in source]).sum()
        return terms


class MCD(Method):
    """Maximum classifier discrepancy with two multi-modal classifiers, in one joint step (section 4.2's MCD baseline).

    The second classifier of each modality sees the same dropped-out features as the first. Both learn the source; on
    the target they learn to disagree, while F, behind a gradient reversal, learns to make them agree.
    """

    def __init__(self, network: LateFusionNetwork, config: ExperimentConfig, *, num_classes: int) -> None:
        super().__init__(network, config, num_classes=num_classes)
        self.auxiliary = build_classifiers(network.feature_widths, num_classes * config.outputs_per_class)

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The terms of the current stage; ``discrepancy`` is negative, since the classifiers are to maximise it."""
        source, target = self.both_domains(batch)
        labels, corresponds = batch.source.labels, batch.source.corresponds
        losses = [
            classification_loss(fused, labels, corresponds=corresponds, num_classes=self.num_classes)
            for fused in self._fused_twice(source)
        ]
        terms = dict(zip(("classification", "auxiliary"), losses, strict=True))
        if "discrepancy" in self.terms:
            coefficient = self.reversal(progress)
            reversed_features = {m: reverse_gradient(feature, coefficient) for m, feature in target.items()}
            main, auxiliary = self._fused_twice(reversed_features)
            terms["discrepancy"] = -classifier_discrepancy(main, auxiliary, num_classes=self.num_classes)
        return terms

    def _fused_twice(self, features: Features) -> tuple[Tensor, Tensor]:
        """Fused logits of both classifiers, on one draw of dropout."""
        dropped = self.network.dropped(features)
        main = {m: classifier(dropped[m]) for m, classifier in self.network.classifiers.items()}
        auxiliary = {m: classifier(dropped[m]) for m, classifier in self.auxiliary.items()}
        return fuse(main), fuse(auxiliary)


METHODS: dict[str, Callable[..., Method]] = {
    "source_only": SourceOnly,
    "adabn": SourceOnly,
    "mmd": MMD,
    "mcd": MCD,
    "adversarial_only": MMSADA,
    "self_supervised_only": MMSADA,
    "mmsada": MMSADA,
    "supervised_target": SourceOnly,
}
