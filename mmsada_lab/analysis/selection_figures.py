"""What it costs to choose without target labels: the choice of an evaluation, and that of a swept option.

Regret is the accuracy given away against the best choice there was. The target's labels alone can tell it, so it is
shown as a bound: nothing here gives a checkpoint or a value for use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.paper_figures import CLASS_COLOURS
from mmsada_lab.analysis.results import plain
from mmsada_lab.analysis.selection import ORACLE, RULES, selection_summary
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.runs import load_history

AT_RANDOM = "at random"
"""Every value alike: the mean over them, which any rule should beat."""

USUAL = "the usual value"
"""The same value always, whatever the run says."""

_KEYS = ["data", "preset", "method", "source", "target", "seed"]
_SYMBOLS = ("circle", "diamond", "square", "x", "cross", "triangle-up", "star", "hexagon")


def value_scores(runs: pd.DataFrame, values: Mapping[str, float], *, stream: str = "fused") -> pd.DataFrame:
    """Label-free scores and target accuracy of every run of a sweep, means over its last evaluations.

    Args:
        runs: from `load_runs`.
        values: digest of a configuration -> the value it was trained with.
        stream: whose target accuracy is looked at.

    Returns:
        One row per run: data, preset, method, source, target, seed, value, top1 (percent), and a column per rule of
        `RULES` that the run has scores of.

    Raises:
        UserError: if none of the runs is finished.
    """
    chosen = runs[(runs["stream"] == stream) & runs["digest"].isin(list(values))].drop_duplicates("path")
    if chosen.empty:
        raise UserError("none of the runs of this sweep is finished; train them first: mmsada reproduce --help")
    rows = []
    for run in chosen.to_dict("records"):
        history = load_history(Path(run["path"]))
        records = history[history["kind"] == "evaluation"]
        last = records[records["stage"] == records["stage"].iloc[-1]]
        scores = last.pivot_table(index="step", columns="name", values="value").tail(int(run["evaluations"])).mean()
        found = {rule: scores[f"validator/{rule}"] for rule in RULES if f"validator/{rule}" in scores}
        rows.append({**{k: run[k] for k in _KEYS}, "value": values[run["digest"]], "top1": run["top1"], **found})
    return pd.DataFrame(rows).sort_values([*_KEYS, "value"], ignore_index=True)


def value_choices(scores: pd.DataFrame, *, usual: float | None = None) -> pd.DataFrame:
    """Which value would each rule have chosen, pair by pair and seed by seed, and what would that have cost?

    Args:
        scores: from `value_scores`.
        usual: the value to compare with as one that is always taken; None: without.

    Returns:
        One row per pair, seed and rule: data, preset, method, source, target, seed, rule, value (missing for
        `AT_RANDOM`), top1 (percent), regret (points below the best value), correlation (Spearman's, of score and target
        accuracy over the values; missing where one of them does not vary), evaluations (here: values). Pairs and
        seeds that lack a value are left out, and so is a rule that not all values have a score of.

    Raises:
        UserError: if no pair and seed has all values, or the usual one is not among them.
    """
    wanted = set(scores["value"])
    if usual is not None and usual not in wanted:
        raise UserError(
            f"{usual:g} is none of the values {', '.join(f'{v:g}' for v in sorted(wanted))}; name one of these"
        )
    rows = []
    for key, group in scores.groupby(_KEYS, sort=False):
        if set(group["value"]) == wanted:
            shared = dict(zip(_KEYS, key if isinstance(key, tuple) else (key,), strict=True))
            rows += [{**shared, **row} for row in _choices(group.reset_index(drop=True), usual)]
    if not rows:
        raise UserError("no pair and seed has a finished run of every value; train the sweep first")
    return pd.DataFrame(rows)


def _choices(group: pd.DataFrame, usual: float | None) -> list[dict[str, object]]:
    top1, best = group["top1"], float(group["top1"].max())

    def row(rule: str, at: int, correlation: float = np.nan) -> dict[str, object]:
        found = {"rule": rule, "value": group["value"].iloc[at], "top1": top1.iloc[at]}
        return {**found, "regret": best - top1.iloc[at], "correlation": correlation, "evaluations": len(group)}

    mean = float(top1.mean())
    rows = [{**row(AT_RANDOM, 0), "value": np.nan, "top1": mean, "regret": best - mean}]
    if usual is not None:
        rows.append(row(USUAL, int((group["value"] == usual).to_numpy().argmax())))
    for rule in RULES:
        if rule in group and group[rule].notna().all():
            rows.append(row(rule, int(group[rule].argmax()), rank_correlation(group[rule], top1)))
    return [*rows, row(ORACLE, int(top1.argmax()))]


def rank_correlation(scores: pd.Series[float], truth: pd.Series[float]) -> float:
    """Spearman's, ties sharing their mean rank; missing where one of the two does not vary."""
    if scores.nunique() < 2 or truth.nunique() < 2:
        return float("nan")
    return float(scores.rank().corr(truth.rank()))


def selection_bars(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and rule: `selection_summary` with the spread of the rank correlation, rules in order, oracle last.

    Args:
        table: from `selection_table` or `value_choices`.
    """
    if table.empty:
        raise UserError("no run to look at; give finished runs of a labelled target")
    spread = table.groupby(["method", "rule"], sort=False)["correlation"].std().rename("correlation_sd").reset_index()
    bars = selection_summary(table).merge(spread, on=["method", "rule"])
    order = {rule: number for number, rule in enumerate([AT_RANDOM, USUAL, *RULES])}
    return bars.sort_values("rule", key=lambda rules: rules.map(order), kind="stable", ignore_index=True)


def draw_selection(bars: pd.DataFrame, *, title: str = "What choosing without labels costs") -> go.Figure:
    """Draw `selection_bars`: regret (points below the oracle) with its spread, the worst run as a tick, 0 as a line.

    Beside it the rank correlation of score and accuracy, for the rules that have a score.
    """
    shown = bars[bars["rule"] != ORACLE]
    rules = list(dict.fromkeys(shown["rule"]))
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=[0.62, 0.38], horizontal_spacing=0.04)
    for number, (method, one) in enumerate(shown.groupby("method", sort=False)):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        symbol = _SYMBOLS[number % len(_SYMBOLS)]
        runs = "-".join(map(str, sorted({int(one["runs"].min()), int(one["runs"].max())})))
        group = {"legendgroup": method, "mode": "markers", "y": plain(one["rule"]), "marker_color": colour}
        group |= {"orientation": "h", "offsetgroup": method}  # beside one another, not on top
        spread = {"type": "data", "array": _rounded(one["regret_sd"]), "color": colour}
        name = METHODS[str(method)].title if method in METHODS else str(method)  # or a hyper-parameter
        named = {"name": f"{name} ({runs} runs)", "marker_size": 9, "marker_symbol": symbol}
        figure.add_scatter(x=_rounded(one["regret"]), error_x=spread, **named, **group, row=1, col=1)
        tick = {"marker_symbol": "line-ns-open", "marker_size": 14, "showlegend": False, "name": f"{name}, worst run"}
        figure.add_scatter(x=_rounded(one["worst"]), **tick, **group, row=1, col=1)
        spread = {"type": "data", "array": _rounded(one["correlation_sd"]), "color": colour}
        quiet = {**named, "showlegend": False}
        figure.add_scatter(x=_rounded(one["correlation"]), error_x=spread, **quiet, **group, row=1, col=2)
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dash", "width": 1.5})
    figure.update_layout(template=style.TEMPLATE, title={"text": title}, scattermode="group")
    figure.update_layout(height=150 + (24 + 9 * shown["method"].nunique()) * len(rules))
    figure.update_xaxes(title="regret (points, ± sd; tick: worst)", col=1)
    figure.update_xaxes(title="rank correlation (± sd)", range=[-1.05, 1.05], col=2)
    order = {"categoryorder": "array", "categoryarray": rules, "autorange": "reversed"}
    return figure.update_yaxes(**order).update_yaxes(title="rule", col=1)


def _rounded(values: pd.Series[float]) -> list[float | None]:
    return [None if pd.isna(value) else round(float(value), 3) for value in values]
