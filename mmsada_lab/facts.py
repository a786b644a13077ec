"""Methods and self-supervised tasks as configurations, tables and sweeps see them. Standard library only, no torch.

The classes are in `methods.py` and `pretexts.py`; an entry here names its class, which is loaded when a run is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

StageWeights = tuple[float | None, float | None]
"""Default weight of a loss term in the first and in the second stage; None where the term is not computed."""


FUSED = "fused"
"""Name of the late-fused prediction beside the streams' own."""


@dataclass(frozen=True)
class MethodFacts:
    """What the configuration, tables and sweeps must know of a method without loading torch.

    Attributes:
        title: name in tables and figures.
        implementation: the class, as ``module:Class``.
        weights: the method's own loss terms, with their default weights.
        self_supervised: whether it also has the term of the configured self-supervised task.
        needs_source: whether it trains on another, labelled domain.
        needs_target: whether unlabelled target clips enter every training step.
        target_statistics: whether test statistics are those of the target, re-estimated (AdaBN). With the running
            statistics of the released code instead, target clips pass through the network in training to feed them.
    """

    title: str
    implementation: str
    weights: Mapping[str, StageWeights]
    self_supervised: bool = False
    needs_source: bool = True
    needs_target: bool = True
    target_statistics: bool = False

    def terms(self, pretext: str = "correspondence") -> dict[str, StageWeights]:
        """Every loss term with its default weights, given the self-supervised task."""
        return {**self.weights, **({pretext: PRETEXTS[pretext].weights} if self.self_supervised else {})}


@dataclass(frozen=True)
class PretextFacts:
    """What the configuration must know of a self-supervised task (its loss term has the task's name).

    Attributes:
        title: name in tables and figures.
        implementation: the class, as ``module:Class``.
        weights: default weights of its loss.
        least_modalities: with fewer the task is left out.
        mismatched_when: options with which half of each domain's clips have modalities of different segments; None if
            the task needs no such clips.
    """

    title: str
    implementation: str
    weights: StageWeights = (1.0, 1.0)
    least_modalities: int = 1
    mismatched_when: Mapping[str, object] | None = None


# In units of the released code: 1.0 in the first stage, 0.2 in the second, where D and C have weight 1.
_CLASSIFY: dict[str, StageWeights] = {"classification": (1.0, 0.2)}
_ALIGN: dict[str, StageWeights] = {"adversarial": (None, 1.0)}

METHODS: dict[str, MethodFacts] = {
    "source_only": MethodFacts("Source-only", "mmsada_lab.methods:SourceOnly", _CLASSIFY, needs_target=False),
    "adabn": MethodFacts(
        "AdaBN", "mmsada_lab.methods:SourceOnly", _CLASSIFY, needs_target=False, target_statistics=True
    ),
    "mmd": MethodFacts("MMD", "mmsada_lab.methods:MMD", _CLASSIFY | {"mmd": (None, 0.2)}),
    "mcd": MethodFacts(
        "MCD", "mmsada_lab.methods:MCD", _CLASSIFY | {"auxiliary": (1.0, 0.2), "discrepancy": (None, 0.2)}
    ),
    "adversarial_only": MethodFacts("Adversarial only", "mmsada_lab.methods:MMSADA", _CLASSIFY | _ALIGN),
    "self_supervised_only": MethodFacts(
        "Self-supervised only", "mmsada_lab.methods:MMSADA", _CLASSIFY, self_supervised=True
    ),
    "mmsada": MethodFacts("MM-SADA", "mmsada_lab.methods:MMSADA", _CLASSIFY | _ALIGN, self_supervised=True),
    "supervised_target": MethodFacts(
        "Supervised target", "mmsada_lab.methods:SourceOnly", _CLASSIFY, needs_source=False, needs_target=False
    ),
}
"""Every method. To add one, write its class and its entry here."""

PRETEXTS: dict[str, PretextFacts] = {
    "correspondence": PretextFacts(
        "Correspondence",
        "mmsada_lab.pretexts:Correspondence",
        weights=(5.0, 1.0),  # lambda_c = 5 of Ly in both stages
        least_modalities=2,
        mismatched_when={"correspondence_batch": "half"},
    ),
}
"""Every self-supervised task. To add one, write its class and its entry here."""


def load_class(implementation: str) -> Any:
    """The class at ``module:Class``."""
    module, _, name = implementation.partition(":")
    return getattr(import_module(module), name)
