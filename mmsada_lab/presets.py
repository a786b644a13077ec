"""Presets: the schedules and sizes experiments start from, and how one is changed. Standard library only.

`quick` (minutes on a CPU), `sensors` (likewise, for arrays and features), `paper` (as published, with the
authors' corrections) and `released` (as the code runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mmsada_lab.config import METHODS, ExperimentConfig, MethodFacts, Stage
from mmsada_lab.errors import UserError, unknown


@dataclass(frozen=True)
class _Preset:
    pretrain: Stage
    adapt: Stage
    fields: Mapping[str, Any] = field(default_factory=dict)


_PAPER_FIELDS = {"backbone": "i3d", "norm_momentum": 0.001, "norm_group": 16, "width": 256, "log_every": 10}
_PRETRAIN_WEIGHTS = {"classification": 1.0, "auxiliary": 1.0, "correspondence": 5.0}
_ADAPT_WEIGHTS = {
    "classification": 0.2,
    "adversarial": 1.0,
    "correspondence": 1.0,
    "mmd": 0.2,
    "auxiliary": 0.2,
    "discrepancy": 0.2,
}
_QUICK_FIELDS = {
    "window_length": 8,
    "input_size": 32,
    "batch_size": 64,
    "correspondence_batch": "repair",
    "evaluate_every": 15,
}

PRESETS: dict[str, _Preset] = {
    "quick": _Preset(
        pretrain=Stage(180, 0.03, _PRETRAIN_WEIGHTS),
        adapt=Stage(135, 0.01, _ADAPT_WEIGHTS),
        fields=_QUICK_FIELDS,
    ),
    "sensors": _Preset(
        pretrain=Stage(400, 0.03, _PRETRAIN_WEIGHTS),
        adapt=Stage(400, 0.03, _ADAPT_WEIGHTS),
        fields=_QUICK_FIELDS | {"window_length": 64, "window_span": "segment", "width": 32, "evaluate_every": 20},
    ),
    "paper": _Preset(
        pretrain=Stage(3000, 0.01, _PRETRAIN_WEIGHTS),
        adapt=Stage(6000, 0.001, _ADAPT_WEIGHTS),
        fields=_PAPER_FIELDS,
    ),
    "released": _Preset(
        pretrain=Stage(3000, 0.01, _PRETRAIN_WEIGHTS),
        adapt=Stage(6000, 0.01, _ADAPT_WEIGHTS),
        fields=_PAPER_FIELDS | {"outputs_per_class": 2},
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
    if source is None and method != "supervised_target":
        raise UserError(f"method {method} needs a source domain; only supervised_target goes without")
    chosen, overrides = PRESETS[preset], dict(overrides or {})
    values: dict[str, Any] = {"test_statistics": "target" if method == "adabn" and preset != "released" else "running"}
    values |= chosen.fields
    modalities = _typed("modalities", overrides.get("modalities", ()), ()) or ExperimentConfig.modalities
    for name in ("pretrain", "adapt"):
        values[name] = _stage_of(getattr(chosen, name), METHODS[method], modalities=len(modalities))
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


def _stage_of(stage: Stage, method: MethodFacts, *, modalities: int) -> Stage:
    """Keep the terms a method has; correspondence needs a second modality to correspond with."""
    kept = {t: w for t, w in stage.weights.items() if t in method.terms and (t != "correspondence" or modalities > 1)}
    return replace(stage, weights=kept)


LOSS_TERMS = tuple(dict.fromkeys(term for method in METHODS.values() for term in method.terms))
"""Every loss term that some method has."""

_RESERVED = ("source", "target", "method", "data", "preset", "seed")


def override_keys() -> tuple[str, ...]:
    """Every key that `build_config` accepts in `overrides`."""
    plain = [f.name for f in fields(ExperimentConfig) if f.name not in (*_RESERVED, "pretrain", "adapt")]
    parts = ["steps", "learning_rate", *(f"weights.{term}" for term in LOSS_TERMS)]
    return (*plain, *(f"{stage}.{part}" for stage in ("pretrain", "adapt") for part in parts))


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    if key not in override_keys():
        raise unknown("override", key, override_keys())
    stage, _, part = key.partition(".")
    if not part:
        values[key] = _typed(key, value, getattr(ExperimentConfig, key))
    elif part.startswith("weights."):
        weights = {**values[stage].weights, part.removeprefix("weights."): _typed(key, value, 0.0)}
        values[stage] = replace(values[stage], weights=weights)
    else:
        values[stage] = replace(values[stage], **{part: _typed(key, value, getattr(values[stage], part))})


def _typed(key: str, value: Any, like: Any) -> Any:
    """Accept a value of the type the field has (an int where a float is meant); refuse the rest."""
    if isinstance(like, tuple):
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise UserError(f"override {key} is {value!r}; give names separated by commas, e.g. {key}=rgb,flow")
        return tuple(names)
    if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(like):
        raise UserError(f"override {key} is {value!r} ({type(value).__name__}); give a {type(like).__name__}")
    return value
