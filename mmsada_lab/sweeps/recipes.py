"""The paper's tables and figures as recipes: which runs each one needs, and the report it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.kitchens.kinds import KINDS, with_kind
from mmsada_lab.errors import unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import PAPER_ROWS, TEXT_UNITS, VARIANTS, PaperRow
from mmsada_lab.runs import join_world
from mmsada_lab.sweeps.grid import Pair, build_grid

LAMBDA_D = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Values of lambda_d in the sweep of Fig. 6 (the paper does not print its own)."""

LAMBDA_C = (0.0, 1.0, 2.5, 5.0, 10.0)
"""Values of lambda_c, in both stages; the paper's is 5, chosen by accuracy on the source."""

# True synchrony reads its negatives, which `repair` does not. Saito et al. have no reversal: full strength at once.
_SYNCHRONY = {"positives": "synchronous", "negatives": "moment", "correspondence_batch": "half"}
_SAITO = {"discrepancy_steps": "alternating", "discrepancy_reversal": 1.0, "reversal_schedule": "constant"}

ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "MM-SADA": ("mmsada", {}),
    "16 outputs for 8 classes": ("mmsada", {"outputs_per_class": 2}),
    "target's batch statistics at test": ("mmsada", {"test_statistics": "target"}),
    "learning rate 0.01 in both stages": ("mmsada", {"pretrain.learning_rate": 0.01, "adapt.learning_rate": 0.01}),
    "Adam": ("mmsada", {"optimiser": "adam"}),
    "second stage in the text's units": ("mmsada", TEXT_UNITS),
    "reversal constant, no ramp": ("mmsada", {"reversal_schedule": "constant"}),
    "13 crop offsets of TSN": ("mmsada", {"crops": "tsn"}),
    "dropout before every head": ("mmsada", {"dropout_on": "features"}),
    "synchronous positives": ("mmsada", {"positives": "synchronous"}),
    "synchronous positives, negatives of another moment": ("mmsada", _SYNCHRONY),
    "half-and-half correspondence batch": ("mmsada", {"correspondence_batch": "half"}),
    "Eq. 3 as printed": ("mmsada", {"correspondence_terms": "printed"}),
    "sigmoid heads (Eqs. 2 and 3)": ("mmsada", {"discriminator_outputs": 1}),
    "C with two hidden layers of 100": ("mmsada", {"correspondence_layers": 2}),
    "mean of the streams' logits (Fig. 3)": ("mmsada", {"fusion": "mean"}),
    "mean of logits over windows": ("mmsada", {"window_average": "logits"}),
    "MCD": ("mcd", {}),
    "MCD, reversal up to 1 (released)": ("mcd", {"discrepancy_reversal": 1.0}),
    "MCD in three alternating steps, as Saito et al.": ("mcd", _SAITO),
    "source-only, as many source clips a step": ("source_only", {"source_only_batch": "half"}),
    "source-only, twice as many (the paper's)": ("source_only", {"source_only_batch": "full"}),
}
"""What is changed -> method and overrides: the switches where paper and released code differ."""


@dataclass(frozen=True)
class RecipeRow:
    """One row of a report: runs of one setting over all pairs and seeds, and the accuracy of one stream.

    `paper` is the paper's row beside it, `value` that of the option that the recipe sweeps, `kind` the key of
    `KINDS` that the row's data have as their only gap.
    """

    title: str
    method: str
    overrides: tuple[tuple[str, Any], ...] = ()
    stream: str = "fused"
    paper: PaperRow | None = None
    value: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Recipe:
    """A table or figure: its key in `RECIPES`, heading and rows, and the title of the row the others are compared with.

    `swept` is the option whose values the rows are, if it is a sweep. With `selection` the report also shows what rules
    of selection would have cost; one setting per method.
    """

    name: str
    title: str
    rows: tuple[RecipeRow, ...]
    baseline: str = "Source-only"
    swept: str = ""
    selection: bool = False

    @property
    def of_kinds(self) -> bool:
        """Whether its lines differ in their kind of gap, which the kitchens alone have as knobs."""
        return any(row.kind for row in self.rows)


KIND_METHODS = ("adabn", "mmd", "mcd", "adversarial_only", "self_supervised_only", "mmsada")
"""Rows of the table of kinds, each compared with source-only and with the control."""

CONTROL = RecipeRow("Control: target clips, reversal 0", "adversarial_only", (("reversal_coefficient", 0.0),))
"""Adversarial only of which F feels nothing: what target clips in the batch statistics do by themselves."""

_AS_MANY = (("source_only_batch", "half"),)
_SOURCE_CLIPS = (
    RecipeRow("Source-only, as many source clips a step", "source_only", _AS_MANY),
    RecipeRow("Source-only, twice as many (the paper's)", "source_only", (("source_only_batch", "full"),)),
)
"""Methods that take target clips into a step see half as many source clips. One of these is what the preset does."""


def _of_kind(kind: str) -> tuple[RecipeRow, ...]:
    """Source-only, the control and the methods, all with equally many source clips a step, whatever the preset says."""
    control = RecipeRow(f"{kind}: control", CONTROL.method, CONTROL.overrides, kind=kind)
    plain, *methods = (
        RecipeRow(
            f"{kind}: {METHODS[method].title}", method, () if METHODS[method].needs_target else _AS_MANY, kind=kind
        )
        for method in ("source_only", *KIND_METHODS)
    )
    return (plain, control, *methods)


def _of_table(number: int) -> tuple[RecipeRow, ...]:
    return tuple(_of_paper(row) for row in PAPER_ROWS if row.table == number)


def _of_paper(row: PaperRow) -> RecipeRow:
    stream = "" if row.stream == "fused" else f", {row.stream} stream"
    variant = f", {row.variant}" if row.variant else ""
    title = f"{METHODS[row.method].title}{variant}{stream}"
    return RecipeRow(title, row.method, tuple(VARIANTS[row.variant].items()), row.stream, row)


def _sweep(name: str, values: Iterable[float], changes: Mapping[str, float]) -> tuple[RecipeRow, ...]:
    """Source-only, then MM-SADA at each value; `changes`: field -> what the value is multiplied with."""
    rows = [RecipeRow("Source-only", "source_only")]
    for value in values:
        overrides = tuple((key, factor * value) for key, factor in changes.items())
        rows.append(RecipeRow(f"MM-SADA, {name} = {value:g}", "mmsada", overrides, value=value))
    return tuple(rows)


# Classification weighs 1, then 0.2, in every preset: these make the paper's lambda the swept value in both stages.
_OF_LAMBDA_D = {"reversal_coefficient": 0.2}
_OF_LAMBDA_C = {"pretrain.weights.correspondence": 1.0, "adapt.weights.correspondence": 0.2}

_CURVES = (RecipeRow("Source-only", "source_only"), RecipeRow("MM-SADA", "mmsada"))
_SPACES = (_CURVES[0], RecipeRow("Self-supervised only", "self_supervised_only"), _CURVES[1])

RECIPES: dict[str, Recipe] = {
    "table1": Recipe(
        "table1",
        "Table 1: MM-SADA and the baselines",
        (*_of_table(1), *_SOURCE_CLIPS, CONTROL),
        selection=True,
    ),
    "table2": Recipe("table2", "Table 2: what each loss contributes", (*_of_table(2), CONTROL)),
    "table3": Recipe("table3", "Table 3: every stream on its own", _of_table(3), baseline="Source-only, rgb stream"),
    "table4": Recipe("table4", "Table 4: what corresponds", _of_table(4), baseline="Self-supervised only"),
    "fig4": Recipe("fig4", "Fig. 4: classes and segments of the domains", ()),
    "fig5": Recipe("fig5", "Fig. 5: accuracy on the target during training", _CURVES),
    "fig6": Recipe("fig6", "Fig. 6: accuracy over λd", _sweep("λd", LAMBDA_D, _OF_LAMBDA_D), swept="λd"),
    "lambda_c": Recipe("lambda_c", "Accuracy over λc", _sweep("λc", LAMBDA_C, _OF_LAMBDA_C), swept="λc"),
    "kinds": Recipe(
        "kinds",
        "Which gap does which method close?",
        tuple(row for kind in KINDS for row in _of_kind(kind)),
        baseline="none: Source-only",
    ),
    "fig7": Recipe("fig7", "Fig. 7: feature space of each stream", _SPACES),
    "ablations": Recipe(
        "ablations",
        "Where paper and released code differ",
        tuple(RecipeRow(title, method, tuple(changes.items())) for title, (method, changes) in ABLATIONS.items()),
        baseline="MM-SADA",
    ),
}


def find_recipe(name: str) -> Recipe:
    """A recipe by name, or `UserError` with the names there are."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def row_configs(
    row: RecipeRow,
    *,
    data: str,
    preset: str,
    domains: Sequence[str],
    seeds: Iterable[int],
    worlds: Iterable[int] | None = None,
    pairs: Sequence[Pair] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[ExperimentConfig]:
    """Configurations of one row, by `build_grid`, in each of some worlds; what the row changes wins over `overrides`.

    World w has the seeds 10 w + `seeds`: the interval over seeds takes those of different worlds as independent, which
    they are not where the same number draws the same first weights.

    Raises:
        UserError: worlds or a kind of gap of data that are not drawn.
    """
    grid: dict[str, Any] = {"methods": [row.method], "preset": preset, "pairs": pairs}
    grid["overrides"] = {**(overrides or {}), **dict(row.overrides)}
    chosen = with_kind(data, row.kind) if row.kind else data
    if worlds is None:
        return build_grid(domains, data=chosen, seeds=seeds, **grid)
    several = list(seeds)
    numbered = {world: [10 * world + seed for seed in several] for world in worlds}
    drawn = ((join_world(chosen, world), of_world) for world, of_world in numbered.items())
    return [config for data, of_world in drawn for config in build_grid(domains, data=data, seeds=of_world, **grid)]


def row_digests(row: RecipeRow, runs: pd.DataFrame, **grid: Any) -> frozenset[str]:
    """Digests of a row's runs among some, from `load_runs`: all worlds, seeds and pairs that there are.

    `grid` is that of `row_configs` without `seeds` and `worlds`.
    """
    settings = {config.digest for config in row_configs(row, seeds=[0], **grid)}
    return frozenset(runs.loc[runs["setting"].isin(settings), "digest"])
