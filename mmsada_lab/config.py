"""What a run is: every option declared once, checked, and digested. Standard library only.

Where the paper and the authors' released code differ there is an option here; the presets (`presets.py`) set them.
Losses and schedules are written in the units of the released code, ``0.2 Ly + Ld + Lc`` with gradients into F reversed
by a coefficient of 0.2, which is the paper's ``Ly + lambda_d Ld + lambda_c Lc`` with lambda_d = 1, lambda_c = 5.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS, PRETEXTS, MethodFacts
from mmsada_lab.paper import DomainPair


@dataclass(frozen=True)
class Option:
    """What there is to know of a field of `ExperimentConfig` beside its name, type and default.

    Attributes:
        group: heading under which it is listed.
        sentence: what it does.
        choices: allowed values; empty if it is not a choice.
        least: smallest number allowed.
        above: the number must be greater.
        below: the number must be smaller.
        acts_on: loss terms through which alone it acts; empty if it acts on every run. To a method without any of
            them it makes no difference.
        second_stage: changes nothing before the second stage, so runs that differ in it can share the first.
        added_later: at its default it is not part of the digest, so that runs of older versions keep theirs.
        no_outcome: decides nothing of the outcome, so it is not part of any digest.
    """

    group: str
    sentence: str
    choices: Collection[Any] = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None
    acts_on: Collection[str] = ()
    second_stage: bool = False
    added_later: bool = False
    no_outcome: bool = False

    def check(self, name: str, value: Any) -> None:
        """Check a value.

        Raises:
            UserError: naming the option, the value and what is allowed.
        """
        if self.choices and value not in self.choices:
            raise unknown(name.replace("_", " "), value, map(str, self.choices))
        if self._limits and not self._holds(value):
            raise UserError(f"{name} is {value!r}; give a number {self._limits}")

    @property
    def allowed(self) -> str:
        """Choices or range, as text; empty where anything of the type goes."""
        return " | ".join(map(str, self.choices)).replace("False | True", "true or false") or self._limits

    @property
    def _limits(self) -> str:
        limits = {"of at least": self.least, "above": self.above, "below": self.below}
        return " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)

    def in_digest(self, value: object, *, default: object) -> bool:
        """Whether a value is part of the digest."""
        return not (self.no_outcome or (self.added_later and value == default))

    def _holds(self, value: Any) -> bool:
        # bool is an int to Python, and NaN compares with nothing
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return (
            number
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def option(group: str, sentence: str, default: Any = MISSING, **facts: Any) -> Any:
    """Declare a field of `ExperimentConfig`; `facts` are those of `Option`."""
    return field(default=default, metadata={"option": Option(group, sentence, **facts)})


def choice(group: str, sentence: str, *choices: Any, **facts: Any) -> Any:
    """Declare a choice; the first one is the default."""
    return option(group, sentence, choices[0], choices=choices, **facts)


def flag(group: str, sentence: str) -> Any:
    """Declare something that is off by default."""
    return choice(group, sentence, False, True, added_later=True)


_REVERSED, _CORRESPOND = ("adversarial", "discrepancy"), ("correspondence",)


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
class BatchPlan:
    """The clips of a training step, and into how many equal micro-batches it can be divided.

    Attributes:
        source: labelled source clips.
        target: unlabelled target clips.
        mismatched: whether the second half of each domain's clips has modalities of different segments.
        norm_group: clips that share batch statistics, always of one domain; 0 = all of a domain in the step.
        accumulation: micro-batches that a process computes one after another.
    """

    source: int
    target: int
    mismatched: bool
    norm_group: int
    accumulation: int

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Group sizes of a step: per domain, corresponding and non-corresponding clips."""
        # Micro-batches that take an equal share of each group are equal.
        domains = [clips for clips in (self.source, self.target) if clips]
        halves = [(clips // 2, clips - clips // 2) if self.mismatched else (clips,) for clips in domains]
        return tuple(clips for sizes in halves for clips in sizes)

    def divides_into(self, count: int) -> bool:
        """Whether a step falls into so many equal micro-batches of whole groups of `norm_group` clips."""
        unit = count * self.norm_group
        return count == 1 or (unit > 0 and all(clips % unit == 0 for clips in self.group_sizes))

    def divisors(self, *, times: int = 1) -> list[int]:
        """Numbers of micro-batches above 1 that `divides_into` allows, in so many processes."""
        return [n for n in range(2, self.source + self.target + 1) if self.divides_into(n * times)]


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything that decides the outcome of one run; frozen, comparable, JSON-serialisable.

    Each option is declared with what help, validation, digests and sweeps know of it; ``mmsada options`` prints them.
    """

    data: str = option("run", "data set: kitchens, kitchens:appearance=0.5, epic:ROOT, ...", "kitchens")
    source: str = option("run", "labelled domain")
    target: str = option("run", "unlabelled domain")
    method: str = option("run", "how to adapt", "mmsada", choices=METHODS)
    preset: str = option("run", "preset that this was built from, a name only", "quick", no_outcome=True)
    seed: int = option("run", "of initialisation, sampling, augmentation and dropout", 0, least=0)
    modalities: tuple[str, ...] = option("run", "streams, in order; any number", ("rgb", "flow"))

    window_length: int = option("clips", "frames of a clip (paper: 16)", 16, above=0)
    window_stride: int = option("clips", "RGB frames from one frame of a clip to the next (paper: 2)", 2, above=0)
    window_span: str = choice(
        "clips", "stride: as window_stride makes it (paper); segment: all of it, in equal parts", "stride", "segment"
    )
    input_size: int = option("clips", "side of a clip in pixels after cropping (paper: 224)", 224, above=0)
    crops: str = choice("clips", "released: 4 offsets, as the code; tsn: 13, as the text", "released", "tsn")
    resize_on: str = choice(
        "clips", "where training crops are resized: by clip or by batch", "loader", "device", added_later=True
    )

    backbone: str = option("network", "auto (by kind of modality), one name, or rgb:small3d,inertial:mlp", "auto")
    pretrained: str = option("network", "weights to start from, rgb:FILE,flow:FILE; none", "", added_later=True)
    width: int = option("network", "channels of a small backbone's first layer; features are 4 x width", 16, above=0)
    dropout: float = option("network", "probability (paper: 0.5)", 0.5, least=0, below=1)
    dropout_on: str = choice("network", "heads that see it: G alone (code) or all (text)", "classifier", "features")
    fusion: str = choice(
        "network", "of the streams' logits: their sum (Eq. 1) or mean (Fig. 3)", "sum", "mean", added_later=True
    )
    outputs_per_class: int = choice("network", "2: spare outputs compete at test, as in the code", 1, 2)
    norm_momentum: float = option("network", "weight of the newest batch in running statistics", 0.1, above=0)
    norm_group: int = option("network", "clips that share batch statistics; 0: a domain's in the step", 0, least=0)
    precision: str = choice("network", "of the backbones; heads and losses stay in float32", "no", "bf16", "fp16")
    checkpointing: bool = flag("network", "recompute in the backward pass: less memory, a third more time (I3D)")
    compile: bool = flag("network", "compile the backbones for training: minutes at the start, faster on a GPU")
    channels_last: bool = flag("network", "memory layout of 3-D convolutions that some devices prefer")

    pretrain: Stage = option("schedule", "first stage: steps, learning_rate, weights")  # noqa: RUF009
    adapt: Stage = option("schedule", "second stage: steps, learning_rate, weights", second_stage=True)  # noqa: RUF009
    optimiser: str = choice("schedule", "sgd, as the authors correct, or adam, as printed", "sgd", "adam")
    momentum: float = option("schedule", "of SGD", 0.9, least=0)
    weight_decay: float = option("schedule", "of all parameters", 1e-7, least=0)
    batch_size: int = option("schedule", "clips per step, half source and half target", 128, above=0)
    source_only_batch: str = choice("schedule", "source clips where no target clips are trained on", "full", "half")
    accumulation: int = option(
        "schedule", "micro-batches of a step: less memory, the same step", 1, above=0, added_later=True
    )

    reversal_coefficient: float = option(
        "adversary",
        "largest factor of D's reversed gradient",
        0.2,
        least=0,
        acts_on=("adversarial",),
        second_stage=True,
    )
    discrepancy_reversal: float = option(
        "adversary",
        "largest factor of MCD's reversed gradient (released code: 1, no script)",
        0.2,
        least=0,
        acts_on=("discrepancy",),
        second_stage=True,
        added_later=True,
    )
    discrepancy_steps: str = choice(
        "adversary",
        "of MCD: one for all (code), or the three of Saito et al. in turn, one an optimiser step",
        "joint",
        "alternating",
        acts_on=("discrepancy",),
        second_stage=True,
        added_later=True,
    )
    reversal_schedule: str = choice(
        "adversary",
        "times 2/(1+exp(-10p))-1 (code), or as it is (text)",
        "ramp",
        "constant",
        acts_on=_REVERSED,
        second_stage=True,
    )
    discriminator_rate: float = option(
        "adversary",
        "learning rate of D, relative to the stage's (paper: 1)",
        1.0,
        above=0,
        acts_on=("adversarial",),
        second_stage=True,
        added_later=True,
    )
    discriminator_outputs: int = choice(
        "adversary",
        "softmax (code) or sigmoid (Eqs. 2 and 3)",
        2,
        1,
        acts_on=("adversarial", "correspondence"),
    )

    pretext: str = option(
        "self-supervision",
        "the self-supervised task",
        "correspondence",
        choices=PRETEXTS,
        acts_on=PRETEXTS,
        added_later=True,
    )
    positives: str = choice(
        "self-supervision", "windows of a clip: drawn independently or the same", "segment", "synchronous"
    )
    negatives: str = choice(
        "self-supervision",
        "clips that do not correspond show another segment (code), or another moment of the same (true synchrony)",
        "other",
        "moment",
        acts_on=_CORRESPOND,
        added_later=True,
    )
    correspondence_batch: str = choice(
        "self-supervision",
        "half of the clips mismatched, or both from each clip",
        "half",
        "repair",
        acts_on=_CORRESPOND,
    )
    correspondence_over: str = choice(
        "self-supervision", "of three or more modalities: a head per pair, or one", "pairs", "all", acts_on=_CORRESPOND
    )
    correspondence_terms: str = choice(
        "self-supervision", "of Eq. 3: both (code), or -c log C alone", "both", "printed", acts_on=_CORRESPOND
    )
    correspondence_layers: int = choice(
        "self-supervision",
        "hidden layers of C, of 100 units: one (code), or two (section 4.1 to the letter)",
        1,
        2,
        acts_on=_CORRESPOND,
        added_later=True,
    )

    evaluate_every: int = option("evaluation", "steps between evaluations, within a stage", 50, above=0)
    evaluate_before: int = option(
        "evaluation",
        "steps between evaluations before those that are averaged; 0: as evaluate_every",
        0,
        least=0,
        added_later=True,
    )
    averaged_evaluations: int = option(
        "evaluation", "last evaluations whose mean is reported (paper: 9)", 9, above=0, second_stage=True
    )
    test_windows: int = option("evaluation", "equidistant windows per test segment (paper: 5)", 5, above=0)
    window_average: str = choice(
        "evaluation", "what is averaged over windows, as in the code or before the softmax", "probabilities", "logits"
    )
    test_statistics: str = choice(
        "evaluation", "of batch normalisation: as in the code, or re-estimated (AdaBN)", "running", "target"
    )
    log_every: int = option("evaluation", "steps a training record is the mean of", 1, above=0)
    keep_features: int = option(
        "evaluation",
        "checkpoints through both stages whose features are kept, for maps that move; 0: the last alone",
        0,
        least=0,
        no_outcome=True,
    )

    def __post_init__(self) -> None:
        # From JSON come lists and mappings; frozen, so through `object`.
        object.__setattr__(self, "modalities", tuple(self.modalities))
        for name in ("pretrain", "adapt"):
            if isinstance(stage := getattr(self, name), Mapping):
                object.__setattr__(self, name, Stage(**stage))
        _validate(self)

    @property
    def facts(self) -> MethodFacts:
        """Of the method."""
        return METHODS[self.method]

    @property
    def pair(self) -> DomainPair:
        """Source and target."""
        return DomainPair(self.source, self.target)

    @property
    def stages(self) -> tuple[tuple[str, Stage], ...]:
        """The two stages in order, with their names."""
        return (("pretrain", self.pretrain), ("adapt", self.adapt))

    @property
    def total_steps(self) -> int:
        """Optimiser steps of both stages."""
        return self.pretrain.steps + self.adapt.steps

    def summary(self) -> dict[str, str]:
        """What matters most of it, in words; all of it is `to_dict`.

        Example:
            >>> from mmsada_lab import build_config
            >>> build_config("quick", source="D2", target="D1").summary()["adapt"]
            '300 steps at rate 0.1: 0.2 classification + 1 adversarial + 1 correspondence'
        """
        clips = f"{self.batch.source} of the source and {self.batch.target} of the target a step"
        of_stages = {
            name: f"{stage.steps} steps at rate {stage.learning_rate:g}: "
            + " + ".join(f"{weight:g} {term}" for term, weight in stage.weights.items())
            for name, stage in self.stages
        }
        return {
            "data": self.data,
            "method": f"{self.facts.title}, {self.pair}, seed {self.seed}",
            "modalities": ", ".join(self.modalities),
            "clips": clips,
            "backbone": self.backbone,
            **of_stages,
            "batch statistics in tests": self.test_statistics,
            "reported": f"mean of the last {self.averaged_evaluations} evaluations",
        }

    def backbone_of(self, modality: str) -> str:
        """Name of a modality's backbone, or ``auto``."""
        return by_modality(self.backbone).get(modality, "auto") if ":" in self.backbone else self.backbone

    def mismatches(self, stage: Stage) -> bool:
        """Whether half of each domain's clips mix modalities of different segments, for the self-supervised task."""
        options = PRETEXTS[self.pretext].mismatched_when
        needed = self.pretext in stage.weights and options is not None
        return needed and all(getattr(self, name) == value for name, value in (options or {}).items())

    @property
    def batch(self) -> BatchPlan:
        """The clips of a step."""
        # AdaBN as released trains on source clips alone, but its running statistics see target clips too.
        feeds_statistics = self.facts.target_statistics and self.test_statistics == "running"
        target = self.batch_size // 2 if self.facts.needs_target or feeds_statistics else 0
        full = not target and self.source_only_batch == "full"
        source = self.batch_size if full else self.batch_size // 2
        mismatched = any(self.mismatches(stage) for _, stage in self.stages)
        return BatchPlan(source, target, mismatched, self.norm_group, self.accumulation)

    def is_evaluated(self, number: int, step: int) -> bool:
        """Whether the network is evaluated after a step of a stage: at its end, and more often near the last one's.

        Example:
            >>> from mmsada_lab import build_config
            >>> sparse = {"adapt.steps": 90, "evaluate_every": 10, "evaluate_before": 40, "averaged_evaluations": 3}
            >>> config = build_config("quick", source="D2", target="D1", overrides=sparse)
            >>> [step for step in range(1, 91) if config.is_evaluated(1, step)]
            [40, 70, 80, 90]
        """
        last = number == len(self.stages) - 1
        stage = self.stages[number][1]
        averaged = last and stage.steps - step < self.evaluate_every * self.averaged_evaluations
        every = self.evaluate_every if averaged or not self.evaluate_before else self.evaluate_before
        return step == stage.steps or step % every == 0

    def keeps_features(self, number: int, step: int) -> bool:
        """Whether features are kept after a step of a stage: at `keep_features` of its evaluations, evenly chosen.

        Example:
            >>> from mmsada_lab import build_config
            >>> often = {"pretrain.steps": 40, "adapt.steps": 60, "evaluate_every": 10, "evaluate_before": 0}
            >>> config = build_config("quick", source="D2", target="D1", overrides={**often, "keep_features": 4})
            >>> [(number, step) for number in (0, 1) for step in range(1, 61) if config.keeps_features(number, step)]
            [(0, 10), (0, 40), (1, 30), (1, 60)]
        """
        if not self.keep_features or not self.is_evaluated(number, step):
            return False
        evaluated = [
            (k, s)
            for k, (_, stage) in enumerate(self.stages)
            for s in range(1, stage.steps + 1)
            if self.is_evaluated(k, s)
        ]
        last, gaps = len(evaluated) - 1, max(self.keep_features - 1, 1)
        return (number, step) in {evaluated[last - round(last * k / gaps)] for k in range(self.keep_features)}

    @property
    def lambda_d(self) -> float:
        """The paper's lambda_d: what reaches F of the adversarial term, relative to classification, at full ramp."""
        weights = self.adapt.weights
        return weights.get("adversarial", 0.0) * self.reversal_coefficient / weights["classification"]

    @property
    def lambda_c(self) -> float:
        """The paper's lambda_c: the self-supervised term relative to classification, in the second stage."""
        return self.adapt.weights.get(self.pretext, 0.0) / self.adapt.weights["classification"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``ExperimentConfig(**config.to_dict()) == config``."""
        # Lists, as JSON has them: a manifest that was read equals one that was not written yet.
        return asdict(self) | {"modalities": list(self.modalities)}

    def digested(self, *, first_stage: bool = False) -> dict[str, Any]:
        """The fields that identify a run; with `first_stage`, those that matter before the second stage."""
        return {
            name: value
            for name, value in self.to_dict().items()
            if OPTIONS[name].in_digest(value, default=getattr(ExperimentConfig, name, None))
            and not (first_stage and self._acts_in_second_stage_alone(OPTIONS[name]))
        }

    def _acts_in_second_stage_alone(self, declared: Option) -> bool:
        # A term of the second stage that a user gives a weight in the first one brings its options along.
        return declared.second_stage and not any(self.pretrain.weights.get(term) for term in declared.acts_on)

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits that change whenever any field does (the preset's name aside)."""
        return hashlib.sha256(json.dumps(self.digested(), sort_keys=True).encode()).hexdigest()[:10]


OPTIONS: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(ExperimentConfig)}
"""Every option by name, in the order of their groups."""


def _validate(config: ExperimentConfig) -> None:
    for name, declared in OPTIONS.items():
        declared.check(name, getattr(config, name))
    for name, stage in config.stages:
        _validate_stage(name, stage, config.facts, pretext=config.pretext)
    if not config.modalities or len(set(config.modalities)) != len(config.modalities):
        raise UserError(f"modalities are {list(config.modalities)}; name at least one, each once")
    # Which backbones there are, models know; here only that a list names modalities of this run.
    if ":" in config.backbone or "," in config.backbone or not config.backbone:
        _validate_by_modality(config, "backbone", like="auto, one name, or rgb:small3d,inertial:mlp")
    if config.pretrained:
        _validate_by_modality(config, "pretrained", like="a file for each modality, rgb:FILE,flow:FILE")
    _validate_pair(config)
    _validate_moments(config)
    _validate_batch(config)
    _validate_memory(config)


# Parts of a stage are no fields of the configuration, but are checked the same way.
_POSITIVE, _NOT_NEGATIVE = Option("", "", above=0), Option("", "", least=0)


def _validate_stage(name: str, stage: Stage, facts: MethodFacts, *, pretext: str) -> None:
    (_POSITIVE if name == "adapt" else _NOT_NEGATIVE).check(f"{name}.steps", stage.steps)
    _POSITIVE.check(f"{name}.learning_rate", stage.learning_rate)
    for term, weight in stage.weights.items():
        if term not in facts.terms(pretext):
            terms = facts.terms(pretext)
            raise unknown(f"loss term in {name}.weights", term, terms, hint=f"{facts.title} has no other.")
        (_POSITIVE if term == "classification" else _NOT_NEGATIVE).check(f"{name}.weights.{term}", weight)
    if "classification" not in stage.weights:
        raise UserError(f"{name}.weights has no classification term; every stage classifies the source")


def by_modality(value: str) -> dict[str, str]:
    """What an option such as ``rgb:small3d,inertial:mlp`` says, by modality."""
    return dict(entry.split(":", 1) for entry in value.split(",") if entry)


def _validate_by_modality(config: ExperimentConfig, name: str, *, like: str) -> None:
    """Check that ``rgb:small3d,inertial:mlp`` names modalities; which backbones there are, models know."""
    value = getattr(config, name)
    for choice in value.split(","):
        modality, separator, chosen = choice.partition(":")
        if not separator or not chosen:
            raise UserError(f"{name} is {value!r}; give {like}")
        if modality not in config.modalities:
            raise unknown(f"modality in {name}", modality, config.modalities)


def _validate_pair(config: ExperimentConfig) -> None:
    if not config.facts.needs_source and config.source != config.target:
        raise UserError(
            f"{config.method} trains on the target itself, but source is {config.source!r} and target "
            f"{config.target!r}; leave the source out"
        )
    if config.facts.needs_source and config.source == config.target:
        alone = " or ".join(name for name, facts in METHODS.items() if not facts.needs_source)
        raise UserError(f"source and target are both {config.source!r}; choose two domains, or the method {alone}")


def _validate_moments(config: ExperimentConfig) -> None:
    """Check that other moments of a segment are told from the same one, and that there are any."""
    if config.negatives != "moment":
        return
    if config.positives != "synchronous":
        raise UserError(
            f"negatives=moment asks whether modalities show one moment, but with positives={config.positives} those of "
            "a positive show two moments as well, so that nothing could tell the two apart; give positives=synchronous"
        )
    if config.correspondence_batch != "half":
        raise UserError(
            "negatives=moment reads a clip's modalities at different moments, but "
            f"correspondence_batch={config.correspondence_batch} makes negatives of features that are there already, "
            "pairing segments; give correspondence_batch=half"
        )
    if config.window_span == "segment":
        raise UserError(
            "negatives=moment shows another moment of a segment, but with window_span=segment a window spans all of "
            "it; give window_span=stride, with a window_length and window_stride shorter than the segments"
        )


def _validate_batch(config: ExperimentConfig) -> None:
    """Check that each domain's clips of a step suffice to pair modalities of different segments."""
    streams, clips = len(config.modalities), config.batch_size // 2
    pairs = any(config.pretext in stage.weights for _, stage in config.stages)
    pairs = pairs and PRETEXTS[config.pretext].mismatched_when is not None
    # Of `half`, the mismatched half is rolled; of `repair`, the clips of a micro-batch.
    candidates = clips - clips // 2 if config.batch.mismatched else clips // config.accumulation
    if config.batch.source < 1 or (config.facts.needs_target and clips < 1):
        raise UserError(f"batch_size is {config.batch_size}; half of it has no clip, give at least 2")
    if pairs and (candidates < streams or clips // 2 < 1):
        raise UserError(
            f"batch_size is {config.batch_size}: its halves of {clips} clips are too few to pair {streams} modalities "
            f"of different segments (correspondence_batch={config.correspondence_batch}); give at least {4 * streams}"
        )


def _validate_memory(config: ExperimentConfig) -> None:
    """Check that micro-batches are equal, and hold what batch statistics are taken over."""
    # Recomputation inside a compiled graph is refused by torch with an error that names neither option.
    if config.checkpointing and config.compile:
        raise UserError("checkpointing and compile are both true, which torch cannot; choose the one or the other")
    count, group, batch = config.accumulation, config.norm_group, config.batch
    if batch.divides_into(count):
        return
    if not group:
        raise UserError(
            f"accumulation is {count}, but norm_group=0 takes batch statistics over all clips of a domain in the step, "
            "which no part of it has; give the clips of a group, e.g. norm_group=16"
        )
    clips = " + ".join(map(str, batch.group_sizes))
    raise UserError(
        f"accumulation is {count}: the {clips} clips of a step do not fall into {count} equal parts of whole groups of "
        f"norm_group={group}; choose {' or '.join(map(str, [1, *batch.divisors()]))}, another batch_size or a smaller "
        "norm_group"
    )
