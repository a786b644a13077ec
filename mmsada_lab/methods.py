"""The methods: the only place where data, model and losses meet. Each reads like its page in the paper.

A method's `forward(batch, progress)` returns named, *unweighted* loss terms; the weights are data (`Stage.weights`) and
meet the terms in one line of `train.py`. What tables and configurations must know of a method without torch, its title
and terms, is its entry in `facts.METHODS`. Legend: `B` clips, `F` feature width, `K` classes, `M` modalities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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
from mmsada_lab.models.heads import DomainDiscriminator, balanced_accuracy, reverse_gradient
from mmsada_lab.models.network import LateFusionNetwork, build_classifiers, build_network
from mmsada_lab.presets import build_config
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
        self.observed: dict[str, Tensor] = {}  # scalars of the last batch, beside its loss terms
        self._features: list[Features] = []  # of its domains
        self.register_forward_pre_hook(_forget)

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
        """How the method's opponents do on `(N, F)` features of both domains' segments; nothing if it has none."""
        return {}

    def parameter_groups(self, *, learning_rate: float) -> list[dict[str, Any]]:
        """The parameters in an optimiser's groups; one that does not learn at the stage's rate has an ``lr``."""
        return [{"params": list(self.parameters())}]

    def features(self, clips: Mapping[str, Tensor]) -> Features:
        """`(B, F)` features of clips of one domain, by modality; `observe` looks at their gradients."""
        features = self.network.features(clips)
        self._features.append(features)
        return features

    def both_domains(self, batch: TrainingBatch) -> tuple[Features, Features]:
        """Features of source and target. The domains pass apart, so that batch statistics never mix them."""
        target = batch.require_target()
        return self.features(batch.source.clips), self.features(target.clips)

    def observe(
        self, terms: Mapping[str, Tensor], weights: Mapping[str, float], *, shards: int = 1
    ) -> dict[str, Tensor]:
        """What a step is made of beside its loss terms; it changes nothing, and waits for nothing.

        To be called once, after `forward` and before the backward pass, which needs the same graph.

        Args:
            terms: of `forward`.
            weights: of the stage.
            shards: into how many the batch is divided, of which this is one; the mean over them is the batch's, but for
                the spread of their gradients.

        Returns:
            Scalars on the device: what the method notes in `observed`, for instance D's accuracy, and
            ``gradient/TERM/MODALITY``, the norm of the weighted term's gradient with respect to that modality's
            `(B, F)` features of all domains: what arrives at F, reversal included; 0 where nothing does. There is none
            for an F that is not trained.

        Example:
            >>> from mmsada_lab import build_config
            >>> config = build_config("quick", source="D2", target="D1", method="mmd")
            >>> method, batch = method_on_noise(config)
            >>> sorted(method.observe(method(batch, 0.5), config.adapt.weights))[:2]
            ['gradient/classification/flow', 'gradient/classification/rgb']
        """
        observed, domains = self.observed, self._features
        _forget(self)  # the graph is not kept longer than the step
        trained = [m for m, f in self.network.backbones.items() if any(p.requires_grad for p in f.parameters())]
        inputs = [(m, f) for features in domains for m, f in features.items() if m in trained and f.requires_grad]
        for name, term in terms.items():
            arrived: dict[str, list[Tensor]] = {modality: [] for modality in trained}
            if inputs and term.requires_grad:
                gradients = torch.autograd.grad(term, [f for _, f in inputs], retain_graph=True, allow_unused=True)
                for (modality, _), gradient in zip(inputs, gradients, strict=True):
                    if gradient is not None:
                        arrived[modality].append(gradient)
            # A shard's loss is a mean over fewer clips: each of them has `shards` times the gradient.
            factor = weights[name] / math.sqrt(shards)
            for modality, of_domains in arrived.items():
                # 0 where nothing arrives: a record has the same names at every step.
                norm = torch.linalg.vector_norm(torch.cat(of_domains)) if of_domains else term.new_zeros(())
                observed[f"gradient/{name}/{modality}"] = factor * norm
        return observed

    def reversal(self, progress: float) -> float:
        """The configured factor of the discriminators' reversed gradient at a stage's progress."""
        config = self.config
        return reversal_coefficient(progress, maximum=config.reversal_coefficient, schedule=config.reversal_schedule)

    def reverse(self, features: Features, coefficient: float) -> Features:
        """`(B, F)` features behind a gradient reversal, whose coefficient is noted."""
        # Filled where it is needed: a number copied to the device would wait for it.
        self.observed["reversal"] = next(iter(features.values())).new_full((), coefficient)
        return {m: reverse_gradient(feature, coefficient) for m, feature in features.items()}


def _forget(method: Method, *_: object) -> None:
    """What was noted of a batch; before every other one, too, whether it was observed or not."""
    method.observed, method._features = {}, []


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
        # D gets its full gradient; only what goes on into F is reversed and scaled.
        source, target = (self.reverse(features, self.reversal(progress)) for features in (source, target))
        losses = []
        for m, discriminator in self.discriminators.items():
            scores = discriminator(source[m]), discriminator(target[m])  # (B, 2) or (B,) each
            losses.append(domain_adversarial_loss(*scores))
            self.observed[f"domain_accuracy/{m}"] = _domain_accuracy(*scores)
            self.observed[f"domain_loss/{m}"] = losses[-1].detach()
        return torch.stack(losses).sum()

    @torch.no_grad()
    def game(self, source: Features, target: Features) -> dict[str, float]:
        """Balanced accuracy (percent) and loss of each modality's D, in which both domains count the same.

        Args:
            source: `(N, F)` features of segments, by modality.
            target: `(N', F)`.
        """
        played: dict[str, float] = {}
        for m, discriminator in self.discriminators.items() if "adversarial" in self.terms else ():
            scores = discriminator(source[m]), discriminator(target[m])  # (N, 2) or (N,), (N', 2) or (N',)
            of_source = domain_adversarial_loss(scores[0], scores[1][:0])
            of_target = domain_adversarial_loss(scores[0][:0], scores[1])
            played[f"domain_accuracy/{m}"] = float(_domain_accuracy(*scores))
            played[f"domain_loss/{m}"] = float(of_source + of_target) / 2
        return played

    def parameter_groups(self, *, learning_rate: float) -> list[dict[str, Any]]:
        """The parameters in an optimiser's groups; one that does not learn at the stage's rate has an ``lr``."""
        if self.config.discriminator_rate == 1:
            return super().parameter_groups(learning_rate=learning_rate)
        opponents = list(self.discriminators.parameters())
        others = set(self.parameters()) - set(opponents)  # parameters are told apart by identity
        return [
            {"params": [p for p in self.parameters() if p in others]},
            {"params": opponents, "lr": learning_rate * self.config.discriminator_rate},
        ]

    def pretext_score(self, features: Features) -> float | None:
        """How well the self-supervised task is solved on `(N, F)` features of a domain; None where none is trained."""
        return self.pretext.score(features) if self.config.pretext in self.terms else None


def _domain_accuracy(source_scores: Tensor, target_scores: Tensor) -> Tensor:
    """Balanced accuracy (percent) of D's scores, `(B, 2)` or `(B,)` of each domain."""
    scores = torch.cat([source_scores, target_scores])
    return balanced_accuracy(scores, torch.arange(len(scores), device=scores.device) >= len(source_scores))


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
            # Both classifiers descend on -discrepancy: they disagree more; F, reversed, makes them agree.
            reversed_features = self.reverse(target, self.discrepancy_reversal(progress))
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


def method_on_noise(
    config: ExperimentConfig | str, *, clips: int = 4, num_classes: int = 8, mismatched: int = 0
) -> tuple[Method, TrainingBatch]:
    """A method on RGB and flow, with the terms of the second stage, and a batch of noise to try it on.

    Args:
        config: of a run, or the name of a method, which is then configured as preset ``quick`` has it.
        clips: of each domain.
        num_classes: K.
        mismatched: how many of these, the last ones, do not correspond.

    Example:
        >>> method, batch = method_on_noise("mmd")
        >>> {m: tuple(x.shape) for m, x in method.features(batch.source.clips).items()}
        {'rgb': (4, 64), 'flow': (4, 64)}
    """
    if isinstance(config, str):
        config = build_config("quick", method=config, source="D1", target="D2")
    inputs: dict[str, tuple[Kind, int]] = {"rgb": ("video", 3), "flow": ("video", 2)}
    network = build_network(config, inputs, num_classes=num_classes)
    method = build_method(network, config, num_classes=num_classes)
    method.select_terms(config.adapt.weights)
    sizes = {"clips": clips, "classes": num_classes, "mismatched": mismatched}
    return method, random_batch(inputs, rule=clip_rule(config), **sizes)
