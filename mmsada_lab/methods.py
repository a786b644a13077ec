"""The methods: the only place where data, model and losses meet. Each reads like its page in the paper.

A method's `forward(batch, progress)` returns named, *unweighted* loss terms; the weights are data (`Stage.weights`) and
meet the terms in one line of `train.py`. What tables and configurations must know of a method without torch, its title
and terms, is its entry in `facts.METHODS`. Legend: `B` clips, `F` feature width, `K` classes, `M` modalities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmsada_lab.clips.batches import SourceBatch, TrainingBatch, random_batch
from mmsada_lab.clips.clips import clip_rule
from mmsada_lab.clips.segments import Kind
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.facts import METHODS, load_class
from mmsada_lab.losses import classification_loss, classifier_discrepancy, domain_adversarial_loss, mmd_loss
from mmsada_lab.models.heads import DomainDiscriminator, reverse_gradient
from mmsada_lab.models.network import LateFusionNetwork, build_classifiers, build_network
from mmsada_lab.pretexts import Features, build_pretext
from mmsada_lab.runtime.processes import all_gather


def reversal_coefficient(progress: float, *, maximum: float, schedule: str) -> float:
    """Factor of the reversed gradient ([Ganin et al. 2016](https://arxiv.org/abs/1505.07818), section 5.2.2).

    Args:
        progress: fraction of the stage that is done, 0 to 1.
        maximum: value at the end of the ramp.
        schedule: ``ramp``: ``maximum (2 / (1 + exp(-10 p)) - 1)``, as the released code; ``constant``, as the
            paper reads.

    Example:
        >>> [round(reversal_coefficient(p, maximum=0.2, schedule="ramp"), 3) for p in (0, 0.1, 1)]
        [0.0, 0.092, 0.2]
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
        self.step = 0  # optimiser steps of the stage that are done; the training loop counts
        self.terms: frozenset[str] = frozenset({"classification"})  # of the current stage
        self.observed: dict[str, Tensor] = {}  # of the last batch, beside the loss terms
        self._features: list[Features] = []

    def select_terms(self, terms: Iterable[str]) -> None:
        """Choose the loss terms of the coming stage; heads that no term needs keep their initial weights."""
        self.terms = frozenset(terms)

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """Named, unweighted loss terms of one step at a stage's progress (0 to 1)."""
        raise NotImplementedError

    def classification(self, source: Features, batch: SourceBatch) -> Tensor:
        """Ly of source features (Eq. 1): only corresponding clips are classified."""
        fused = self.network.fused(self.network.stream_logits(source))
        return classification_loss(fused, batch.labels, corresponds=batch.corresponds, num_classes=self.num_classes)

    def pretext_score(self, features: Features) -> float | None:
        """How well the self-supervised task is solved on `(N, F)` features of a domain; None where none is trained."""
        return None

    def game(self, source: Features, target: Features) -> dict[str, float]:
        """How the method's opponents do on `(N, F)` features of both domains' segments; nothing if there are none."""
        return {}

    def parameter_groups(self, *, learning_rate: float) -> list[dict[str, Any]]:
        """The parameters in groups for an optimiser, those with a learning rate of their own apart."""
        return [{"params": list(self.parameters())}]

    def features(self, clips: Mapping[str, Tensor]) -> Features:
        """Features of clips of one domain, at which `observe` looks."""
        features = self.network.features(clips)
        self._features.append(features)
        return features

    def observe(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
        """What a step is made of, beside its loss terms; to be called between `forward` and its backward pass.

        Args:
            terms: of `forward`.
            weights: of the stage.

        Returns:
            Scalars: what the method has noted (for instance D's accuracy), and ``gradient/TERM/MODALITY``: the norm of
            the weighted term's gradient with respect to that modality's features, over the clips of the batch. It is
            what arrives at F, reversal included.
        """
        domains, self._features = self._features, []
        noted, self.observed = self.observed, {}
        inputs = [(m, f) for features in domains for m, f in features.items() if f.requires_grad]
        for name, term in terms.items():
            gradients: Sequence[Tensor | None] = [None] * len(inputs)
            if term.requires_grad and inputs:
                gradients = torch.autograd.grad(
                    weights[name] * term, [f for _, f in inputs], retain_graph=True, allow_unused=True
                )
            for modality in domains[0] if domains else ():
                squares = [
                    g.square().sum()
                    for (m, _), g in zip(inputs, gradients, strict=True)
                    if m == modality and g is not None
                ]
                # 0 where nothing arrives: a record has the same names at every step.
                norm = torch.stack(squares).sum().sqrt() if squares else term.new_zeros(())
                noted[f"gradient/{name}/{modality}"] = norm
        return noted

    def both_domains(self, batch: TrainingBatch) -> tuple[Features, Features]:
        """Features of source and target. The domains pass apart, so that batch statistics never mix them."""
        target = batch.require_target()
        return self.features(batch.source.clips), self.features(target.clips)

    def reversal(self, progress: float) -> float:
        """The configured factor of the discriminators' reversed gradient at a stage's progress."""
        config = self.config
        return reversal_coefficient(progress, maximum=config.reversal_coefficient, schedule=config.reversal_schedule)


class SourceOnly(Method):
    """Classification of labelled clips, ``L = Ly``.

    Also AdaBN ([Li et al. 2018](https://arxiv.org/abs/1603.04779)), before its statistics are adapted, and supervised
    target. Target clips, where a batch has them (AdaBN as released), pass through for the batch statistics alone.

    Example:
        >>> from mmsada_lab import build_config
        >>> config = build_config("quick", source="D2", target="D1", method="source_only")
        >>> method, batch = method_on_noise(config)
        >>> sorted(method(batch, 0.5))
        ['classification']
    """

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The classification term."""
        source = self.features(batch.source.clips)
        if batch.target is not None:  # AdaBN as released: only the running statistics see the target
            with torch.no_grad():
                self.network.features(batch.target.clips)
        return {"classification": self.classification(source, batch.source)}


class MMSADA(Method):
    """Multi-Modal Self-Supervised Adversarial Domain Adaptation ([paper](https://arxiv.org/abs/2001.09691), section 3).

    ``L = Ly + lambda_d sum_m Ld_m + lambda_c Lc`` (Eq. 4). Adversarial only and self-supervised only are this
    with a term left out (Table 2).

    Example:
        >>> from mmsada_lab import build_config
        >>> config = build_config("quick", source="D2", target="D1", method="mmsada")
        >>> method, batch = method_on_noise(config)
        >>> sorted(method(batch, 0.5))
        ['adversarial', 'classification', 'correspondence']
    """

    def __init__(self, network: LateFusionNetwork, config: ExperimentConfig, *, num_classes: int) -> None:
        super().__init__(network, config, num_classes=num_classes)
        widths, outputs = network.feature_widths, config.discriminator_outputs
        # Heads are built after the network, in this order: initial weights are drawn in it.
        self.discriminators = nn.ModuleDict({m: DomainDiscriminator(f, outputs=outputs) for m, f in widths.items()})
        self.pretext = build_pretext(widths, config)

    def select_terms(self, terms: Iterable[str]) -> None:
        """Choose the terms of the coming stage and freeze the heads that none of them needs."""
        super().select_terms(terms)
        # Frozen, or weight decay and momentum would move heads that no loss trains.
        self.discriminators.requires_grad_("adversarial" in self.terms)
        self.pretext.requires_grad_(self.config.pretext in self.terms)

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The terms of the current stage."""
        source, target = self.both_domains(batch)
        terms = {"classification": self.classification(source, batch.source)}
        if "adversarial" in self.terms:
            terms["adversarial"] = self.adversarial(source, target, progress)
        if self.config.pretext in self.terms:
            terms[self.config.pretext] = self.pretext.loss((source, batch.source), (target, batch.require_target()))
            self.observed |= self.pretext.observed
        return terms

    def adversarial(self, source: Features, target: Features, progress: float) -> Tensor:
        """``sum_m Ld_m`` behind a gradient reversal (Eq. 2): one discriminator per modality."""
        coefficient = self.reversal(progress)
        self.observed["reversal"] = torch.tensor(coefficient, device=next(iter(source.values())).device)
        losses = []
        for m, discriminator in self.discriminators.items():
            # D gets its full gradient; only what goes on into F is reversed and scaled.
            scores = [discriminator(reverse_gradient(features[m], coefficient)) for features in (source, target)]
            losses.append(domain_adversarial_loss(*scores))
            self.observed |= _domain_game(m, *scores)
        return torch.stack(losses).sum()

    @torch.no_grad()
    def game(self, source: Features, target: Features) -> dict[str, float]:
        """Balanced accuracy (percent) and loss of each modality's D on `(N, F)` features of both domains."""
        if "adversarial" not in self.terms:
            return {}
        scores = {m: (d(source[m]), d(target[m])) for m, d in self.discriminators.items()}
        return {name: float(v) for m, pair in scores.items() for name, v in _domain_game(m, *pair).items()}

    def parameter_groups(self, *, learning_rate: float) -> list[dict[str, Any]]:
        """The parameters in groups for an optimiser, those with a learning rate of their own apart."""
        if self.config.discriminator_rate == 1:
            return super().parameter_groups(learning_rate=learning_rate)
        opponents = list(self.discriminators.parameters())
        others = [p for p in self.parameters() if not any(p is opponent for opponent in opponents)]
        return [{"params": others}, {"params": opponents, "lr": learning_rate * self.config.discriminator_rate}]

    def pretext_score(self, features: Features) -> float | None:
        """How well the self-supervised task is solved on `(N, F)` features of a domain; None where none is trained."""
        return self.pretext.score(features) if self.config.pretext in self.terms else None


@torch.no_grad()
def _domain_game(modality: str, source_scores: Tensor, target_scores: Tensor) -> dict[str, Tensor]:
    """Balanced accuracy in percent, and loss, of a discriminator's scores of source and target clips."""
    right = []
    for scores, is_target in ((source_scores, False), (target_scores, True)):
        says_target = scores > 0 if scores.ndim == 1 else scores[:, 1] > scores[:, 0]
        right.append((says_target == is_target).float().mean())
    # A mean over domains, so that always giving the same answer is 50 % whatever their sizes.
    accuracy = 50 * (right[0] + right[1])
    loss = domain_adversarial_loss(source_scores, target_scores)
    return {f"domain_accuracy/{modality}": accuracy, f"domain_loss/{modality}": loss}


class MMD(Method):
    """Multiple-kernel maximum mean discrepancy of every modality's features (section 4.2's MMD baseline).

    ``L = Ly + sum_m MMD^2(F^m(source), F^m(target))`` ([Long et al. 2015](https://arxiv.org/abs/1502.02791)), with
    constant weights; nothing is learned beside F and G.

    Example:
        >>> from mmsada_lab import build_config
        >>> config = build_config("quick", source="D2", target="D1", method="mmd")
        >>> method, batch = method_on_noise(config)
        >>> sorted(method(batch, 0.5))
        ['classification', 'mmd']
    """

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The terms of the current stage."""
        source, target = self.both_domains(batch)
        terms = {"classification": self.classification(source, batch.source)}
        if "mmd" in self.terms:
            source, target = all_gather(source), all_gather(target)  # not a mean over clips
            terms["mmd"] = torch.stack([mmd_loss(source[m], target[m]) for m in source]).sum()
        return terms


class MCD(Method):
    """Maximum classifier discrepancy with two multi-modal classifiers (section 4.2's MCD baseline).

    The second classifier of each modality sees the same dropped-out features as the first. Both learn the source; on
    the target they learn to disagree, while F, behind a gradient reversal, learns to make them agree
    ([Saito et al. 2018](https://arxiv.org/abs/1712.02560)). `discrepancy_steps` says when: all in one step (``joint``,
    as the released code), or, ``alternating``, each optimiser step one of the original's three in turn (`TURNS`):

    - ``source``: F and both classifiers learn the source;
    - ``classifiers``: the classifiers learn the source and to disagree on the target, F is fixed;
    - ``features``: F learns to make them agree on the target, the classifiers are fixed.

    What is fixed gets no gradient, so that neither momentum nor weight decay moves it; batch statistics follow the
    clips in all three. A stage has a third of its steps of each. The gradient into F keeps the factor of
    `discrepancy_reversal`; the original has 1 and no ramp.

    Example:
        >>> from mmsada_lab import build_config
        >>> config = build_config("quick", source="D2", target="D1", method="mcd")
        >>> method, batch = method_on_noise(config)
        >>> sorted(method(batch, 0.5))
        ['auxiliary', 'classification', 'discrepancy']
    """

    TURNS = ("source", "classifiers", "features")

    def __init__(self, network: LateFusionNetwork, config: ExperimentConfig, *, num_classes: int) -> None:
        super().__init__(network, config, num_classes=num_classes)
        self.auxiliary = build_classifiers(network.feature_widths, num_classes * config.outputs_per_class)

    def forward(self, batch: TrainingBatch, progress: float) -> dict[str, Tensor]:
        """The terms of the current stage; ``discrepancy`` is negative, since the classifiers are to maximise it."""
        turn = self.turn
        with _without_gradient(turn in ("classifiers", "features")):
            source = self.features(batch.source.clips)
        with _without_gradient(turn in ("classifiers", "source")):
            target = self.features(batch.require_target().clips)
        labels, corresponds = batch.source.labels, batch.source.corresponds
        with _without_gradient(turn == "features"):
            losses = [
                classification_loss(fused, labels, corresponds=corresponds, num_classes=self.num_classes)
                for fused in self._fused_twice(source)
            ]
        terms = dict(zip(("classification", "auxiliary"), losses, strict=True))
        if "discrepancy" in self.terms:
            coefficient = self.discrepancy_reversal(progress)
            # Both classifiers descend on -discrepancy: they disagree more; F, reversed, makes them agree.
            reversed_features = {m: reverse_gradient(feature, coefficient) for m, feature in target.items()}
            with _without_gradient(turn == "source"):
                main, auxiliary = self._fused_twice(reversed_features, fixed=turn == "features")
            terms["discrepancy"] = -classifier_discrepancy(main, auxiliary, num_classes=self.num_classes)
        return terms

    @property
    def turn(self) -> str:
        """Which of `TURNS` this optimiser step is, or ``joint``; by its number alone, so a resumed run is the same."""
        alternating = self.config.discrepancy_steps == "alternating" and "discrepancy" in self.terms
        return self.TURNS[self.step % len(self.TURNS)] if alternating else "joint"

    def discrepancy_reversal(self, progress: float) -> float:
        """The configured factor of the discrepancy's reversed gradient at a stage's progress."""
        config = self.config
        return reversal_coefficient(progress, maximum=config.discrepancy_reversal, schedule=config.reversal_schedule)

    def _fused_twice(self, features: Features, *, fixed: bool = False) -> tuple[Tensor, Tensor]:
        """Fused logits of both classifiers, `(B, K)` each, on one draw of dropout; `fixed` ones are constants."""
        dropped = self.network.dropped(features)  # one draw for both: they must not differ by dropout alone
        main, auxiliary = (
            {m: _classify(classifier, dropped[m], fixed=fixed) for m, classifier in classifiers.items()}
            for classifiers in (self.network.classifiers, self.auxiliary)
        )
        return self.network.fused(main), self.network.fused(auxiliary)


def _classify(classifier: nn.Module, features: Tensor, *, fixed: bool) -> Tensor:
    constants = {name: weights.detach() for name, weights in classifier.named_parameters()} if fixed else {}
    logits: Tensor = functional_call(classifier, constants, (features,))
    return logits


def _without_gradient(off: bool) -> AbstractContextManager[object]:
    return torch.no_grad() if off else nullcontext()


def build_method(network: LateFusionNetwork, config: ExperimentConfig, *, num_classes: int) -> Method:
    """The method that a configuration names, around a network."""
    method: Method = load_class(METHODS[config.method].implementation)(network, config, num_classes=num_classes)
    return method


def method_on_noise(config: ExperimentConfig, *, clips: int = 4, num_classes: int = 8) -> tuple[Method, TrainingBatch]:
    """A method on RGB and flow, with the terms of the second stage, and a batch of noise to try it on."""
    inputs: dict[str, tuple[Kind, int]] = {"rgb": ("video", 3), "flow": ("video", 2)}
    network = build_network(config, inputs, num_classes=num_classes)
    method = build_method(network, config, num_classes=num_classes)
    method.select_terms(config.adapt.weights)
    return method, random_batch(inputs, rule=clip_rule(config), clips=clips, classes=num_classes)
