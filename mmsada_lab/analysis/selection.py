"""Which checkpoint would a rule have chosen, and what would that have cost? Label-free rules beside the oracle.

A rule is a score that every evaluation of the last stage was given without a target label (`mmsada_lab.evaluate`), or
the mean of the last evaluations, which is what runs report. The oracle, which looks at the target's labels, is shown as
the bound it is. Nothing here gives a checkpoint for use.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.runs import load_history

LAST = "last evaluations"
ORACLE = "oracle"
RULES = {
    LAST: "mean of the last evaluations (the paper's, the default)",
    "source_accuracy": "top-1 on the source's test segments",
    "negative_entropy": "minus the mean entropy of target predictions",
    "information_maximisation": "entropy of their mean minus their mean entropy",
    "neighbourhood_density": "soft neighbourhood density (SND)",
    "nuclear_norm": "batch nuclear norm (BNM)",
    "domain_closeness": "minus MMD² between source and target features",
    "correspondence": "accuracy of the correspondence head on the target",
    ORACLE: "top-1 on the target's labels: a bound, not a rule",
}
"""Rule -> what it looks at. All but the last need no target label."""


def selection_table(runs: pd.DataFrame, *, stream: str = "fused") -> pd.DataFrame:
    """What each rule would have chosen in each run.

    Args:
        runs: from `load_runs`.
        stream: whose target accuracy is looked at.

    Returns:
        One row per run and rule: data, preset, method, source, target, seed, rule, step (missing for a mean),
        top1 (percent), regret (points below the oracle), correlation (Spearman's, of score and target accuracy over
        the evaluations; missing where one of them does not vary), evaluations.
    """
    chosen = runs[runs["stream"] == stream]
    if chosen.empty:
        raise unknown("stream", stream, runs["stream"].unique())
    keys = ["data", "preset", "method", "source", "target", "seed"]
    rows = []
    for record in chosen.to_dict("records"):
        found = _of_run(Path(record["path"]), stream=stream, averaged=int(record["evaluations"]))
        rows += [{**{key: record[key] for key in keys}, **row} for row in found]
    return pd.DataFrame(rows)


def selection_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and rule: mean accuracy, mean (with sd over runs) and worst regret, mean rank correlation, runs.

    Args:
        table: from `selection_table`.
    """
    grouped = table.groupby(["method", "rule"], sort=False)
    summary = grouped.agg(
        runs=("top1", "size"),
        top1=("top1", "mean"),
        regret=("regret", "mean"),
        regret_sd=("regret", "std"),
        worst=("regret", "max"),
        correlation=("correlation", "mean"),
    )
    return summary.reset_index()


def selection_lines(summary: pd.DataFrame) -> pd.DataFrame:
    """`selection_summary` as it is read: rounded, with the methods' titles and what each rule looks at."""
    spread = summary["regret_sd"].map(lambda sd: "" if np.isnan(sd) else f" ± {sd:.1f}")
    return pd.DataFrame(
        {
            "": summary["method"].map(lambda method: METHODS[method].title),
            "rule": summary["rule"].map(RULES),
            "runs": summary["runs"],
            "top-1": summary["top1"].map("{:.1f}".format),
            "regret": summary["regret"].map("{:.1f}".format) + spread,
            "worst regret": summary["worst"].map("{:.1f}".format),
            "rank correlation": summary["correlation"].map(lambda value: "" if np.isnan(value) else f"{value:+.2f}"),
        }
    )


def _of_run(path: Path, *, stream: str, averaged: int) -> list[dict[str, object]]:
    history = load_history(path)
    records = history[history["kind"] == "evaluation"]
    last = records[records["stage"] == records["stage"].iloc[-1]] if len(records) else records
    scores = last.pivot_table(index="step", columns="name", values="value", sort=False)
    accuracy = f"{stream}/top1"
    if accuracy not in scores:
        raise UserError(f"{path} has no target accuracies in its history; rules can be judged on labelled targets only")
    truth = scores[accuracy]
    best = truth.max()
    rows = [_row(LAST, None, truth.iloc[-averaged:].mean(), best, np.nan, len(truth))]
    for rule in RULES:
        if (name := f"validator/{rule}") in scores:
            at = int(scores[name].argmax())
            rows.append(_row(rule, scores.index[at], truth.iloc[at], best, _spearman(scores[name], truth), len(truth)))
    return [*rows, _row(ORACLE, truth.idxmax(), best, best, np.nan, len(truth))]


def _row(rule: str, step: object, top1: float, best: float, correlation: float, count: int) -> dict[str, object]:
    return {
        "rule": rule,
        "step": step,
        "top1": top1,
        "regret": best - top1,
        "correlation": correlation,
        "evaluations": count,
    }


def _spearman(scores: pd.Series[float], truth: pd.Series[float]) -> float:
    if scores.nunique() < 2 or truth.nunique() < 2:
        return float("nan")
    return float(scores.rank().corr(truth.rank()))
