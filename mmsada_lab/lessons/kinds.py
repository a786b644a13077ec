"""Kinds of gap, for a lesson: what they are, what they look like, the runs of one of them, and the reference table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mmsada_lab.analysis.kinds import kinds_table
from mmsada_lab.analysis.paper_figures import class_shares
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.kitchens.kinds import KINDS, with_kind
from mmsada_lab.datasets.kitchens.loader import DOMAINS, class_counts, parse_knobs
from mmsada_lab.errors import unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.paper import VERBS
from mmsada_lab.presets import build_config
from mmsada_lab.sweeps.keep import reference_runs
from mmsada_lab.sweeps.recipes import CONTROL

if TYPE_CHECKING:
    from mmsada_lab.analysis.lessons.clip_grid import AnimatedPng

PLAIN, WITHOUT_PULL = "source-only", "control"
"""Names of the two runs beside the methods: what gains are measured from, and target clips without alignment."""


def list_kinds() -> pd.DataFrame:
    """Every kind of gap, and the knobs of the kitchens that make it.

    Example:
        >>> list_kinds().loc["style", "knobs"]
        'appearance, viewpoint, motion'
    """
    knobs = {kind: ", ".join(of_kind) or "all 0" for kind, of_kind in KINDS.items()}
    return pd.DataFrame({"knobs": knobs}).rename_axis("kind")


def show_pictures(*, world: int, verb: str) -> AnimatedPng:
    """Segments of one verb in every kitchen, a row per kind of gap that can be seen, see `draw_kind_frames`."""
    from mmsada_lab.lessons.kind_pictures import draw_kind_frames

    return draw_kind_frames(world=world, verb=verb)


def shares_of_kinds(kinds: Sequence[str], domains: Sequence[str]) -> pd.DataFrame:
    """`class_shares` of the training segments of some kitchens under some kinds of gap; the domain names both.

    Raises:
        UserError: no such kind or kitchen.

    Example:
        >>> shares_of_kinds(["label shift"], ["D1", "D3"])["domain"].unique().tolist()
        ['label shift, D1', 'label shift, D3']
    """
    counts = {}
    for kind in kinds:
        kitchens = parse_knobs(with_kind("kitchens", kind).removeprefix("kitchens:"))
        for domain in domains:
            if domain not in DOMAINS:
                raise unknown("domain", domain, DOMAINS)
            counts[f"{kind}, {domain}"] = class_counts(kitchens, DOMAINS.index(domain), 0).tolist()
    return class_shares(counts, VERBS)


def configs_of_kind(
    kind: str,
    *,
    methods: Sequence[str],
    source: str,
    target: str,
    preset: str = "quick",
    world: int = 100,
    scale: float = 0.08,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, ExperimentConfig]:
    """Configurations of a row of the table of kinds: source-only, the control and some methods.

    All see equally many source clips a step; in the control target clips pass, and the reversal is multiplied by 0.

    Args:
        kind: a key of `KINDS`.
        methods: keys of `METHODS`.
        source: labelled kitchen.
        target: unlabelled kitchen.
        preset: see `build_config`.
        world: seed of the kitchens.
        scale: of their number of segments.
        seed: of everything random in training.
        overrides: see `build_config`.

    Example:
        >>> configs_of_kind("camera", methods=["mmsada"], source="D1", target="D3")["control"].reversal_coefficient
        0.0
    """
    data = with_kind(f"kitchens:seed={world},scale={scale:g}", kind)
    as_many = {"source_only_batch": "half"}
    rows: dict[str, tuple[str, dict[str, Any]]] = {PLAIN: ("source_only", as_many)}
    rows[WITHOUT_PULL] = (CONTROL.method, dict(CONTROL.overrides))
    rows |= {method: (method, {} if METHODS[method].needs_target else as_many) for method in methods}
    options: dict[str, Any] = {"source": source, "target": target, "data": data, "seed": seed}
    return {
        name: build_config(preset, method=method, overrides={**(overrides or {}), **changes}, **options)
        for name, (method, changes) in rows.items()
    }


def gains_of(top1: Mapping[str, pd.Series[float]]) -> pd.DataFrame:
    """Points above source-only.

    Args:
        top1: name of a run (`PLAIN` among them) -> its top-1 (percent) by stream.

    Returns:
        A row per run but source-only, a column per stream, the fused one first; rounded to a tenth.

    Example:
        >>> top1 = {"source-only": pd.Series({"fused": 40.0}), "adabn": pd.Series({"fused": 49.2})}
        >>> gains_of(top1).loc["adabn"].tolist()
        [9.2]
    """
    others = {name: values - top1[PLAIN] for name, values in top1.items() if name != PLAIN}
    return pd.DataFrame(others).T.round(1)


def reference_table(*, beyond: bool = False) -> pd.DataFrame:
    """`kinds_table` of the reference report of this checkout; with `beyond`, less the gain without a gap.

    Raises:
        UserError: outside a checkout.

    Example:
        >>> sorted(set(reference_table()["kind"]) - set(reference_table(beyond=True)["kind"]))
        ['none']
    """
    return kinds_table(pd.read_csv(reference_runs().parent / "reports" / "kinds.csv"), beyond=beyond)


def write_clear_gains(table: pd.DataFrame) -> dict[str, str]:
    """Kind of gap -> the methods whose interval lies above 0, with their gain (points), or "all", or "nobody".

    Args:
        table: of `reference_table`.

    Example:
        >>> row = {"kind": "camera", "method": "AdaBN", "difference": 9.0, "low": 8.0, "high": 10.0}
        >>> write_clear_gains(pd.DataFrame([row, {**row, "kind": "sway", "low": -1.0}]))
        {'camera': 'AdaBN (+9.0)', 'sway': 'nobody'}
    """
    texts = {}
    for kind, of_kind in table.groupby("kind", sort=False):
        clear = of_kind[of_kind["low"] > 0]
        names = [f"{row['method']} ({row['difference']:+.1f})" for row in clear.to_dict("records")]
        every = f"all ({clear['difference'].min():+.1f} to {clear['difference'].max():+.1f})"
        texts[str(kind)] = every if len(clear) == len(of_kind) > 1 else ", ".join(names) or "nobody"
    return texts
