"""Presets: the schedules and sizes experiments start from, and how one is changed. Standard library only.

`quick` (minutes on a CPU), `sensors` (likewise, for arrays and features), `paper` (as published, with the
authors' corrections) and `released` (as the code runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from mmsada_lab.config import OPTIONS, ExperimentConfig, Stage
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS, PRETEXTS, MethodFacts
from mmsada_lab.paper import PAPER_DIFFERENCES


@dataclass(frozen=True)
class Preset:
    """Where a run starts from.

    Attributes:
        pretrain: steps and learning rate of the first stage.
        adapt: of the second.
        fields: other fields of `ExperimentConfig`.
    """

    pretrain: tuple[int, float]
    adapt: tuple[int, float]
    fields: Mapping[str, Any] = field(default_factory=dict)


# I3D as released: statistics over 16 clips, decay 0.999; `width` only of small backbones, kept in old digests.
_PAPER_FIELDS = {"backbone": "i3d", "norm_momentum": 0.001, "norm_group": 16, "width": 256, "log_every": 10}
# Sized for two CPU cores; `repair`, since `half` would classify 16 of 64 clips only; `half` of the source clips, so
# that all methods see equally many. How rates and steps were chosen: docs/worlds.md.
_QUICK_FIELDS = {
    "window_length": 8,
    "input_size": 32,
    "batch_size": 64,
    "correspondence_batch": "repair",
    "source_only_batch": "half",
    "discriminator_rate": 3.0,
    "evaluate_every": 15,
    "evaluate_before": 75,
    "keep_features": 12,
}
_SENSOR_FIELDS = {
    "window_length": 64,
    "window_span": "segment",
    "width": 32,
    "discriminator_rate": 1.0,
    "evaluate_every": 20,
    "evaluate_before": 100,
}

PRESETS: dict[str, Preset] = {
    "quick": Preset((150, 0.03), (300, 0.1), _QUICK_FIELDS),
    "sensors": Preset((400, 0.03), (400, 0.03), _QUICK_FIELDS | _SENSOR_FIELDS),
    "paper": Preset((3000, 0.01), (6000, 0.001), _PAPER_FIELDS),
    # With the running statistics of the released code, AdaBN feeds them target clips in training. No script runs MCD:
    # its reversal is what the code does without being told.
    "released": Preset(
        (3000, 0.01),
        (6000, 0.01),
        _PAPER_FIELDS | {"outputs_per_class": 2, "test_statistics": "running", "discrepancy_reversal": 1.0},
    ),
}


def build_config(
    preset: str,
    *,
    target: str,
    source: str | None = None,
    method: str = "mmsada",
    data: str = "kitchens",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> ExperimentConfig:
    """Build the configuration of one run from a preset.

    Args:
        preset: key of `PRESETS`.
        target: target domain.
        source: source domain; may be left out for supervised target.
        method: key of `METHODS`; the stages keep only the terms it has.
        data: data specification.
        seed: of everything random.
        overrides: field -> value; fields of a stage are written ``adapt.steps``, ``adapt.weights.adversarial``.

    Raises:
        UserError: for anything unknown, naming the nearest valid name, or out of range.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    facts, overrides = METHODS[method], dict(overrides or {})
    if source is None and facts.needs_source:
        without = " or ".join(name for name, other in METHODS.items() if not other.needs_source)
        raise UserError(f"method {method} needs a source domain; only {without} goes without")
    # In order of precedence: what the method needs, the preset, the user.
    values: dict[str, Any] = {"test_statistics": "target" if facts.target_statistics else "running"}
    values |= {**PRESETS[preset].fields, **_stages(PRESETS[preset], facts, overrides)}
    for key, value in overrides.items():
        _override(values, key, value)
    return ExperimentConfig(
        source=target if source is None else source,
        target=target,
        method=method,
        data=data,
        preset=preset,
        seed=seed,
        **values,
    )


def _stages(preset: Preset, facts: MethodFacts, overrides: Mapping[str, Any]) -> dict[str, Stage]:
    """Both stages with the weights of the method, before the user's overrides."""
    # The modalities decide whether there is a self-supervised task, so they are read before the stages are made.
    modalities = _typed("modalities", overrides.get("modalities", ()), ()) or ExperimentConfig.modalities
    pretext = _typed("pretext", overrides.get("pretext", ExperimentConfig.pretext), "")
    weights = [default_weights(facts, number, pretext=pretext, modalities=len(modalities)) for number in (0, 1)]
    return {"pretrain": Stage(*preset.pretrain, weights[0]), "adapt": Stage(*preset.adapt, weights[1])}


def default_weights(facts: MethodFacts, stage: int, *, pretext: str, modalities: int) -> dict[str, float]:
    """Weights of a stage (0 or 1) of a method; a self-supervised task is left out where modalities are too few for it.

    Raises:
        UserError: unknown task.
    """
    if pretext not in PRETEXTS:
        raise unknown("pretext", pretext, PRETEXTS)
    terms = {term: weights[stage] for term, weights in facts.terms(pretext).items()}
    if modalities < PRETEXTS[pretext].least_modalities:
        terms.pop(pretext, None)
    return {term: weight for term, weight in terms.items() if weight is not None}


def loss_terms() -> tuple[str, ...]:
    """Every loss term that some method has with some self-supervised task."""
    terms = (term for facts in METHODS.values() for pretext in PRETEXTS for term in facts.terms(pretext))
    return tuple(dict.fromkeys(terms))


_RESERVED = ("source", "target", "method", "data", "preset", "seed")


def override_keys() -> tuple[str, ...]:
    """Every key that `build_config` accepts in `overrides`."""
    plain = [f.name for f in fields(ExperimentConfig) if f.name not in (*_RESERVED, "pretrain", "adapt")]
    of_a_stage = ["steps", "learning_rate", *(f"weights.{term}" for term in loss_terms())]
    return (*plain, *(f"{stage}.{name}" for stage in ("pretrain", "adapt") for name in of_a_stage))


def has_effect(key: str, method: str) -> bool:
    """Whether an override can change a run of a method: those that act through loss terms need one of them."""
    name, _, term = key.partition(".weights.")  # a weight acts through its own term
    needed = (term,) if term else OPTIONS[name.partition(".")[0]].acts_on
    return not needed or any(set(needed) & METHODS[method].terms(pretext).keys() for pretext in PRETEXTS)


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    if key not in override_keys():
        raise unknown("override", key, override_keys())
    stage, _, name = key.partition(".")
    if not name:
        values[key] = _typed(key, value, getattr(ExperimentConfig, key))
    elif name.startswith("weights."):
        weights = {**values[stage].weights, name.removeprefix("weights."): _typed(key, value, 0.0)}
        values[stage] = replace(values[stage], weights=weights)
    else:
        values[stage] = replace(values[stage], **{name: _typed(key, value, getattr(values[stage], name))})


def _typed(key: str, value: Any, like: Any) -> Any:
    """Accept a value of the type the field has (an int where a float is meant); refuse the rest."""
    if isinstance(like, tuple):
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise UserError(f"override {key} is {value!r}; give names separated by commas, e.g. {key}=rgb,flow")
        return tuple(names)
    # A whole number serves as a weight; True must not serve as 1.
    if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(like):
        raise UserError(f"override {key} is {value!r} ({type(value).__name__}); give a {type(like).__name__}")
    return value


class OptionLine(NamedTuple):
    """An override, as help lists it.

    Attributes:
        key: as `build_config` takes it.
        group: heading it stands under.
        sentence: what it does.
        allowed: choices or range, as text.
        default: of `ExperimentConfig`, or None for the parts of a stage.
        presets: value in each preset.
        paper: what the paper's text says, where text and released code differ; None elsewhere.
        code: what the released code does, likewise.
    """

    key: str
    group: str
    sentence: str
    allowed: str
    default: Any
    presets: dict[str, Any]
    paper: Any
    code: Any

    def __str__(self) -> str:
        default = "" if self.default is None else f" = {_shown(self.default)}"
        facts = [self.allowed] if self.allowed else []
        others = {preset: value for preset, value in self.presets.items() if _shown(value) != _shown(self.default)}
        facts += [f"{preset}: {_shown(value)}" for preset, value in others.items()]
        if self.paper is not None:
            facts.append(f"as printed: {_shown(self.paper)}, released code: {_shown(self.code)}")
        return f"  {self.key}{default}\n      {self.sentence}" + (f"\n      [{'; '.join(facts)}]" if facts else "")


def _shown(value: Any) -> str:
    """A value as ``-o`` takes it."""
    if isinstance(value, list | tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe_options(method: str = "mmsada") -> list[OptionLine]:
    """Every override that can change a run of a method, group by group.

    Example:
        >>> next(line.presets for line in describe_options() if line.key == "adapt.steps")
        {'quick': 300, 'sensors': 400, 'paper': 6000, 'released': 6000}
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    source = "D2" if METHODS[method].needs_source else None
    built = {preset: build_config(preset, source=source, target="D1", method=method) for preset in PRESETS}
    configs = {preset: flatten(config.to_dict()) for preset, config in built.items()}
    differences = {difference.option: difference for difference in PAPER_DIFFERENCES}
    lines = []
    for key in override_keys():
        values = {preset: config.get(key) for preset, config in configs.items()}
        if not has_effect(key, method) or all(value is None for value in values.values()):
            continue
        declared, difference = OPTIONS[key.partition(".")[0]], differences.get(key)
        paper, code = (difference.paper_value, difference.code_value) if difference else (None, None)
        sentence = _STAGE_PARTS.get(key.split(".")[1], "") if "." in key else declared.sentence
        default = None if "." in key else getattr(ExperimentConfig, key)
        lines.append(OptionLine(key, declared.group, sentence, declared.allowed, default, values, paper, code))
    groups = list(dict.fromkeys(option.group for option in OPTIONS.values()))
    return sorted(lines, key=lambda line: groups.index(line.group))


_STAGE_PARTS = {
    "steps": "optimiser steps",
    "learning_rate": "constant within the stage",
    "weights": "of this loss term",
}


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested values with the keys of overrides.

    Example:
        >>> flatten({"width": 4, "adapt": {"weights": {"mmd": 0.2}}})
        {'width': 4, 'adapt.weights.mmd': 0.2}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat
