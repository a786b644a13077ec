"""What an experiment is: stages, fields, validation, digest. Standard library only.

Where the paper and the authors' released code differ there is an option here; the presets (`presets.py`) set
them. Losses and schedules are written in the units of the released code, ``0.2 Ly + Ld + Lc`` with gradients into F
reversed by a coefficient of 0.2, which is the paper's ``Ly + lambda_d Ld + lambda_c Lc`` with lambda_d = 1,
lambda_c = 5 (see `ExperimentConfig.lambda_d`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.paper import DomainPair


@dataclass(frozen=True)
class MethodFacts:
    """What the configuration must know of a method.

    Attributes:
        title: how tables and figures call it.
        terms: the loss terms it has (the keys of `Stage.weights`).
        target_batches: whether unlabelled target clips enter every training step.
        needs_source: whether it is trained on a source domain; otherwise on the target's own labels.
    """

    title: str
    terms: tuple[str, ...]
    target_batches: bool
    needs_source: bool = True


METHODS: dict[str, MethodFacts] = {
    "source_only": MethodFacts("Source-only", ("classification",), False),
    "adabn": MethodFacts("AdaBN", ("classification",), False),
    "mmd": MethodFacts("MMD", ("classification", "mmd"), True),
    "mcd": MethodFacts("MCD", ("classification", "auxiliary", "discrepancy"), True),
    "adversarial_only": MethodFacts("Adversarial only", ("classification", "adversarial"), True),
    "self_supervised_only": MethodFacts("Self-supervised only", ("classification", "correspondence"), True),
    "mmsada": MethodFacts("MM-SADA", ("classification", "adversarial", "correspondence"), True),
    "supervised_target": MethodFacts("Supervised target", ("classification",), False, needs_source=False),
}


@dataclass(frozen=True)
class Stage:
    """One stage of training: how many steps, how fast, and what the loss is made of (Eq. 4).

    Attributes:
        steps: optimiser steps.
        learning_rate: constant within the stage.
        weights: weight of each loss term, by name; a term that is not named is not computed.
    """

    steps: int
    learning_rate: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides the outcome of one run; frozen, comparable, JSON-serialisable.

    Attributes:
        data: data specification, ``kitchens``, ``kitchens:appearance=0.5`` or ``epic:ROOT``.
        source: labelled domain.
        target: unlabelled domain (equal to `source` for supervised target).
        method: key of `METHODS`.
        preset: the preset this was built from (a name only).
        seed: of initialisation, sampling, augmentation and dropout.
        modalities: streams, in order; any number.
        window_length: frames of a clip (paper: 16).
        window_stride: frames of the clock (RGB frames) between two frames of a clip (paper: 2).
        window_span: ``stride``: a window is as long as `window_length` and `window_stride` make it (paper);
            ``segment``: it spans its segment, one frame from each of `window_length` equal parts.
        input_size: side of a clip in pixels after cropping (paper: 224).
        crops: ``released`` (top/centre and left/centre offsets only, as the code) or ``tsn`` (13 offsets).
        backbone: ``auto`` (by the kind of each modality: ``small3d`` for 8-bit video, ``temporal`` for numbers in time,
            ``mlp`` for a vector), one name for all, or one for each, ``rgb:small3d,inertial:mlp`` (others: auto).
        pretrained: files of weights that backbones start from, by modality: ``rgb:rgb_imagenet.safetensors,flow:...``;
            empty: all start fresh.
        width: channels of a small backbone's first layer; its features are 4 x width.
        dropout: probability (paper: 0.5).
        dropout_on: ``classifier`` (as the code) or ``features`` (all heads, as the text reads).
        outputs_per_class: 1, or 2 as the released classifier (16 outputs for 8 classes; spare ones compete at test).
        discriminator_outputs: 2 (two-way softmax, as the code) or 1 (sigmoid, as Eq. 2).
        norm_momentum: weight of the newest batch in the running statistics (torch convention).
        norm_group: clips per batch-statistics group, always of one domain; 0 = all clips of a domain in the step.
        test_statistics: ``running`` (mixed source and target, as the code) or ``target`` (re-estimated, AdaBN).
        batch_size: clips per step, half source and half target.
        source_only_batch: ``full`` (methods without target batches fill the batch with source) or ``half``.
        correspondence_batch: ``half`` (half corresponding, half rolled by one within the domain) or ``repair``
            (both formed from the same features, every source clip classified).
        correspondence_over: with more than two modalities, ``pairs`` (a head for every two of them) or ``all`` (one
            head over all of them, as Eq. 3 reads).
        correspondence_terms: ``both`` terms of Eq. 3 (as the code) or only the one that is ``printed``, under which
            non-corresponding clips cost nothing.
        positives: ``segment`` (windows drawn independently) or ``synchronous`` (same window, crop and flip).
        pretrain: first stage.
        adapt: second stage.
        optimiser: ``sgd`` (as the authors correct) or ``adam`` (as printed).
        momentum: of SGD.
        weight_decay: on all parameters.
        reversal_coefficient: largest factor of the reversed gradient.
        reversal_schedule: ``ramp`` (2/(1+exp(-10p))-1, as the code) or ``constant`` (as the paper reads).
        evaluate_every: steps between evaluations (and checkpoints), counted within a stage.
        averaged_evaluations: how many last evaluations the reported accuracy is the mean of (paper: 9).
        test_windows: equidistant windows per test segment (paper: 5).
        window_average: what is averaged over them: ``probabilities`` (as the code) or ``logits``, before the softmax.
        log_every: steps a training record is the mean of.
        precision: ``no``, ``bf16`` or ``fp16``: of the backbones, in training and, on a GPU, in evaluation; features,
            heads, losses and batch statistics stay in float32.
        checkpointing: backbones that can (I3D) keep little for the backward pass and compute the rest again: less
            memory, a third more time, the same step.
        accumulation: equal parts that a step's batch is computed in, one after the other: less memory, the same step.
            A part holds whole groups of `norm_group` clips. Dropout is drawn part by part; what is no mean over clips
            (``mmd``) is the mean over the parts, and ``repair`` pairs clips of one part.
        compile: backbones are compiled (`torch.compile`) for training: minutes at the start, faster steps on a GPU.
        channels_last: weights of 3-D convolutions are laid out channels last, which some devices prefer.
        resize_on: where training crops are resized and mirrored: by the ``loader``, clip by clip, or on the ``device``,
            a batch at a time; pixels differ by one grey level at most.
    """

    source: str
    target: str
    pretrain: Stage
    adapt: Stage
    data: str = "kitchens"
    method: str = "mmsada"
    preset: str = "quick"
    seed: int = 0
    modalities: tuple[str, ...] = ("rgb", "flow")
    window_length: int = 16
    window_stride: int = 2
    window_span: str = "stride"
    input_size: int = 224
    crops: str = "released"
    backbone: str = "auto"
    width: int = 16
    dropout: float = 0.5
    dropout_on: str = "classifier"
    outputs_per_class: int = 1
    discriminator_outputs: int = 2
    norm_momentum: float = 0.1
    norm_group: int = 0
    test_statistics: str = "running"
    batch_size: int = 128
    source_only_batch: str = "full"
    correspondence_batch: str = "half"
    correspondence_over: str = "pairs"
    correspondence_terms: str = "both"
    positives: str = "segment"
    optimiser: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-7
    reversal_coefficient: float = 0.2
    reversal_schedule: str = "ramp"
    evaluate_every: int = 50
    averaged_evaluations: int = 9
    test_windows: int = 5
    window_average: str = "probabilities"
    log_every: int = 1
    precision: str = "no"
    pretrained: str = ""
    checkpointing: bool = False
    accumulation: int = 1
    compile: bool = False
    channels_last: bool = False
    resize_on: str = "loader"

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        for name in ("pretrain", "adapt"):
            if isinstance(stage := getattr(self, name), Mapping):
                object.__setattr__(self, name, Stage(**stage))
        _validate(self)

    @property
    def pair(self) -> DomainPair:
        """Source and target."""
        return DomainPair(self.source, self.target)

    @property
    def stages(self) -> tuple[tuple[str, Stage], ...]:
        """The two stages in order, with their names."""
        return (("pretrain", self.pretrain), ("adapt", self.adapt))

    def backbone_of(self, modality: str) -> str:
        """Name of a modality's backbone, or ``auto``."""
        if ":" not in self.backbone:
            return self.backbone
        return dict(part.split(":", 1) for part in self.backbone.split(",")).get(modality, "auto")

    @property
    def target_batches(self) -> bool:
        """Whether unlabelled target clips enter every training step.

        AdaBN as released forwards target clips in training only to feed the shared running statistics.
        """
        released_adabn = self.method == "adabn" and self.test_statistics == "running"
        return METHODS[self.method].target_batches or released_adabn

    @property
    def source_batch(self) -> int:
        """Source clips per step."""
        whole = not self.target_batches and self.source_only_batch == "full"
        return self.batch_size if whole else self.batch_size // 2

    @property
    def target_batch(self) -> int:
        """Target clips per step."""
        return self.batch_size // 2 if self.target_batches else 0

    @property
    def like_clips(self) -> tuple[int, ...]:
        """Clips of a step that count alike in every loss: of each domain those that correspond, and those that do not.

        Parts of a batch that take an equal share of each are equal parts.
        """
        corresponds = any("correspondence" in stage.weights for _, stage in self.stages)
        halves = corresponds and self.correspondence_batch == "half"
        sides = [side for side in (self.source_batch, self.target_batch) if side]
        return tuple(clips for side in sides for clips in ((side // 2, side - side // 2) if halves else (side,)))

    def divides_into(self, parts: int) -> bool:
        """Whether a step's batch falls into so many equal parts that hold whole groups of `norm_group` clips."""
        whole = parts * self.norm_group
        return parts == 1 or (whole > 0 and all(clips % whole == 0 for clips in self.like_clips))

    @property
    def lambda_d(self) -> float:
        """The paper's lambda_d: what reaches F of the adversarial term, relative to classification, at full ramp."""
        weights = self.adapt.weights
        return weights.get("adversarial", 0.0) * self.reversal_coefficient / weights["classification"]

    @property
    def lambda_c(self) -> float:
        """The paper's lambda_c: the correspondence term relative to classification, in the second stage."""
        return self.adapt.weights.get("correspondence", 0.0) / self.adapt.weights["classification"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``ExperimentConfig(**config.to_dict()) == config``."""
        values = asdict(self)
        return values | {"modalities": list(self.modalities)}

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits that change whenever any field does (the preset's name aside)."""
        values = {name: value for name, value in self.to_dict().items() if _counts(name, value)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


_YOUNGER = ("pretrained", "checkpointing", "accumulation", "compile", "channels_last", "resize_on")
"""Fields that were added later: at their default they leave the digests of older runs as they are."""


def _counts(name: str, value: object) -> bool:
    """Whether a field enters the digest."""
    return name != "preset" and not (name in _YOUNGER and value == getattr(ExperimentConfig, name))


_CHOICES: dict[str, tuple[object, ...]] = {
    "method": tuple(METHODS),
    "window_span": ("stride", "segment"),
    "crops": ("released", "tsn"),
    "dropout_on": ("classifier", "features"),
    "outputs_per_class": (1, 2),
    "discriminator_outputs": (1, 2),
    "test_statistics": ("running", "target"),
    "source_only_batch": ("full", "half"),
    "correspondence_batch": ("half", "repair"),
    "correspondence_over": ("pairs", "all"),
    "correspondence_terms": ("both", "printed"),
    "window_average": ("probabilities", "logits"),
    "positives": ("segment", "synchronous"),
    "optimiser": ("sgd", "adam"),
    "reversal_schedule": ("ramp", "constant"),
    "precision": ("no", "bf16", "fp16"),
    "resize_on": ("loader", "device"),
    "checkpointing": (False, True),
    "compile": (False, True),
    "channels_last": (False, True),
}
_POSITIVE = (
    "window_length window_stride input_size width batch_size evaluate_every averaged_evaluations "
    "test_windows log_every norm_momentum accumulation"
).split()
_NOT_NEGATIVE = "seed dropout norm_group momentum weight_decay reversal_coefficient".split()


def _validate(config: ExperimentConfig) -> None:
    for name, allowed in _CHOICES.items():
        if (value := getattr(config, name)) not in allowed:
            raise unknown(name.replace("_", " "), value, map(str, allowed))
    for name in (*_POSITIVE, *_NOT_NEGATIVE):
        _require_number(name, getattr(config, name), above_zero=name in _POSITIVE)
    for name, stage in config.stages:
        _validate_stage(name, stage, METHODS[config.method])
    if not config.modalities or len(set(config.modalities)) != len(config.modalities):
        raise UserError(f"modalities are {list(config.modalities)}; name at least one, each once")
    if config.dropout >= 1:
        raise UserError(f"dropout is {config.dropout}; choose a probability from 0 to below 1")
    _validate_backbone(config)
    _validate_pair(config)
    _validate_batch(config)
    _validate_memory(config)


def _require_number(name: str, value: object, *, above_zero: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (above_zero and value == 0):  # type: ignore[operator]
        raise UserError(f"{name} is {value!r}; give a number {'above 0' if above_zero else 'of at least 0'}")


def _validate_stage(name: str, stage: Stage, method: MethodFacts) -> None:
    _require_number(f"{name}.steps", stage.steps, above_zero=name == "adapt")
    _require_number(f"{name}.learning_rate", stage.learning_rate, above_zero=True)
    for term, weight in stage.weights.items():
        if term not in method.terms:
            raise unknown(f"loss term in {name}.weights", term, method.terms, hint=f"{method.title} has no other.")
        _require_number(f"{name}.weights.{term}", weight, above_zero=term == "classification")
    if "classification" not in stage.weights:
        raise UserError(f"{name}.weights has no classification term; every stage classifies the source")


def _validate_backbone(config: ExperimentConfig) -> None:
    """Whether each part of ``rgb:small3d,inertial:mlp`` names a modality; which backbones there are, models know."""
    if ":" in config.backbone or "," in config.backbone or not config.backbone:
        _validate_parts(config, "backbone", like="auto, one name, or rgb:small3d,inertial:mlp")
    if config.pretrained:
        _validate_parts(config, "pretrained", like="a file for each modality, rgb:FILE,flow:FILE")


def _validate_parts(config: ExperimentConfig, name: str, *, like: str) -> None:
    value = getattr(config, name)
    for part in value.split(","):
        modality, separator, chosen = part.partition(":")
        if not separator or not chosen:
            raise UserError(f"{name} is {value!r}; give {like}")
        if modality not in config.modalities:
            raise unknown(f"modality in {name}", modality, config.modalities)


def _validate_pair(config: ExperimentConfig) -> None:
    if config.method == "supervised_target" and config.source != config.target:
        raise UserError(
            f"supervised_target trains on the target itself, but source is {config.source!r} and target "
            f"{config.target!r}; leave the source out"
        )
    if config.method != "supervised_target" and config.source == config.target:
        raise UserError(
            f"source and target are both {config.source!r}; choose two domains, or the method supervised_target"
        )


def _validate_batch(config: ExperimentConfig) -> None:
    """A side of a batch must hold the clips that its correspondence pairs are made of."""
    streams, side = len(config.modalities), config.batch_size // 2
    corresponds = any("correspondence" in stage.weights for _, stage in config.stages)
    negatives = side - side // 2 if config.correspondence_batch == "half" else side // config.accumulation
    if config.source_batch < 1 or (config.target_batches and side < 1):
        raise UserError(f"batch_size is {config.batch_size}; half of it has no clip, give at least 2")
    if corresponds and (negatives < streams or side // 2 < 1):
        raise UserError(
            f"batch_size is {config.batch_size}: its halves of {side} clips are too few to pair {streams} modalities "
            f"of different segments (correspondence_batch={config.correspondence_batch}); give at least {4 * streams}"
        )


def _validate_memory(config: ExperimentConfig) -> None:
    """Parts of a step must be equal, and hold what batch statistics are taken over."""
    if config.checkpointing and config.compile:
        raise UserError("checkpointing and compile are both true, which torch cannot; choose the one or the other")
    parts, group = config.accumulation, config.norm_group
    if config.divides_into(parts):
        return
    if not group:
        raise UserError(
            f"accumulation is {parts}, but norm_group=0 takes batch statistics over all clips of a domain in the step, "
            "which no part of it has; give the clips of a group, e.g. norm_group=16"
        )
    fitting = [str(number) for number in range(2, config.batch_size) if config.divides_into(number)]
    raise UserError(
        f"accumulation is {parts}: {_counted(config)} do not fall into {parts} equal parts of whole groups of "
        f"norm_group={group}; choose {' or '.join(['1', *fitting])}, another batch_size or a smaller norm_group"
    )


def _counted(config: ExperimentConfig) -> str:
    return f"the {' + '.join(map(str, config.like_clips))} clips of a step"
