"""Choosing without target labels: which checkpoint, or which value of a swept option, and what would it have cost?

A rule is a score that every evaluation of the last stage was given without a target label (`mmsada_lab.evaluate`), or
the mean of the last evaluations, which is what runs report. Regret is the accuracy given away against the oracle, which
looks at the target's labels and is shown as the bound it is. Most rules see the target's *test* inputs, unlabelled
(`TRANSDUCTIVE`). Nothing here gives a checkpoint or a value for use.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmsada_lab.analysis.tables import of_stream, write_accuracy
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS, PRETEXTS
from mmsada_lab.runs import load_history

LAST = "last evaluations"
AT_RANDOM = "at random"  # the mean over all values of an option, which any rule should beat
USUAL = "the usual value"  # the same value for every run
ORACLE = "oracle"
PRETEXT_RULES = {name: f"how well {facts.title.lower()} is solved on the target" for name, facts in PRETEXTS.items()}
"""Rules of methods that have the self-supervised task."""

RULES = {
    LAST: "mean of the last evaluations (the paper's, the default)",
    "source_accuracy": "top-1 on the source's test segments",
    "negative_entropy": "minus the mean entropy of target predictions",
    "information_maximisation": "entropy of their mean minus their mean entropy",
    "neighbourhood_density": "soft neighbourhood density (SND)",
    "nuclear_norm": "batch nuclear norm (BNM)",
    "domain_closeness": "minus MMD² between source and target features",
    **PRETEXT_RULES,
    ORACLE: "top-1 on the target's labels: a bound, not a rule",
}
"""Rule -> what it looks at. All but the last need no target label. Information maximisation:
https://arxiv.org/abs/1206.6438, SND: https://arxiv.org/abs/2108.10860, BNM: https://arxiv.org/abs/2003.12237; compared
by https://arxiv.org/abs/2208.07360."""

_TITLES = {
    LAST: "mean of the last evaluations",
    "source_accuracy": "accuracy on the source",
    "negative_entropy": "low entropy (sure)",
    "information_maximisation": "information maximisation",
    "neighbourhood_density": "neighbourhood density",
    "nuclear_norm": "nuclear norm",
    "domain_closeness": "domains close (−MMD²)",
    **{name: f"{facts.title.lower()} on the target" for name, facts in PRETEXTS.items()},
}

TRANSDUCTIVE = (
    "every rule but the last evaluations and source_accuracy looks at the target's test segments, without their "
    "labels: what it chooses has seen them (transductive), where the paper's protocol has not (inductive)"
)
"""What a choice by these rules is."""

_RUN = ["data", "preset", "method", "source", "target", "world", "seed"]


def rule_title(rule: str) -> str:
    """What tables and figures call a rule, in few words; what it looks at is in `RULES`.

    Example:
        >>> rule_title("domain_closeness"), rule_title(ORACLE)
        ('domains close (−MMD²)', 'oracle')
    """
    return _TITLES.get(rule, rule.replace("_", " "))


def selection_table(runs: pd.DataFrame, *, stream: str = "fused") -> pd.DataFrame:
    """Which evaluation each rule would have chosen in each run of `load_runs`.

    Columns data, preset, method, source, target, world, seed, rule, step (missing for a mean), top1 (percent), regret
    (points below the oracle), correlation (Spearman's, of score and target accuracy over the evaluations; missing where
    one of them does not vary), evaluations.

    Example:
        >>> import json, tempfile
        >>> record = {"kind": "evaluation", "stage": "adapt", "step": 5, "total_step": 5, "values": {"fused/top1": 60}}
        >>> with tempfile.TemporaryDirectory() as path:
        ...     _ = Path(path, "history.jsonl").write_text(json.dumps(record))
        ...     run = dict.fromkeys(_RUN, "") | {"stream": "fused", "evaluations": 1, "path": path}
        ...     selection_table(pd.DataFrame([run]))[["rule", "top1"]].to_numpy().tolist()
        [['last evaluations', 60.0], ['oracle', 60.0]]
    """
    rows = []
    for run in of_stream(runs, stream).to_dict("records"):
        rows += [{**{key: run[key] for key in _RUN}, **choice} for choice in _choices_of_run(run, stream)]
    return pd.DataFrame(rows).rename(columns={"choice": "step"})


def _choices_of_run(run: Mapping[Hashable, Any], stream: str) -> list[dict[str, object]]:
    evaluations = _last_stage(run)
    if (accuracy := f"{stream}/top1") not in evaluations:
        reason = "rules can be judged on labelled targets only"
        raise UserError(f"{run['path']} has no target accuracies in its history; {reason}")
    top1 = evaluations[accuracy]
    last = _row(LAST, np.nan, top1.iloc[-int(run["evaluations"]) :].mean(), top1)
    return [last, *_choices(_scores(evaluations), top1)]


def value_scores(runs: pd.DataFrame, values: Mapping[str, float], *, stream: str = "fused") -> pd.DataFrame:
    """Label-free scores and accuracy (percent) of every run of a sweep, means over its last evaluations.

    `values` are by digest of a configuration. Columns data, preset, method, source, target, world, seed, value, top1,
    and one for every rule of `RULES` that the run has scores of.

    Example:
        >>> import json, tempfile
        >>> record = {"stage": "adapt", "step": 5, "total_step": 5, "values": {"validator/nuclear_norm": 0.9}}
        >>> with tempfile.TemporaryDirectory() as path:
        ...     _ = Path(path, "history.jsonl").write_text(json.dumps(record | {"kind": "evaluation"}))
        ...     run = dict.fromkeys(_RUN, "") | {"stream": "fused", "evaluations": 1, "path": path}
        ...     runs = pd.DataFrame([run | {"digest": "0f", "top1": 60.0}])
        ...     value_scores(runs, {"0f": 0.5})[["value", "nuclear_norm"]].to_numpy().tolist()
        [[0.5, 0.9]]
    """
    of_sweep = runs[(runs["stream"] == stream) & runs["digest"].isin(list(values))].drop_duplicates("path")
    if of_sweep.empty:
        raise UserError("none of the runs of this sweep is finished; train them first: mmsada reproduce --help")
    rows = []
    for run in of_sweep.to_dict("records"):
        scores = _scores(_last_stage(run).tail(int(run["evaluations"]))).mean()
        rows.append({**{k: run[k] for k in _RUN}, "value": values[run["digest"]], "top1": run["top1"], **scores})
    return pd.DataFrame(rows).sort_values([*_RUN, "value"], ignore_index=True)


def _last_stage(run: Mapping[Hashable, Any]) -> pd.DataFrame:
    return stage_evaluations(Path(run["path"]))


def stage_evaluations(run: Path) -> pd.DataFrame:
    """What a finished run recorded at every evaluation of its last stage.

    Args:
        run: its folder.

    Returns:
        A row per step, a column per quantity: ``fused/top1`` (percent), ``validator/nuclear_norm`` and others.

    Example:
        >>> import json, tempfile
        >>> record = {"kind": "evaluation", "stage": "adapt", "step": 5, "total_step": 5, "values": {"fused/top1": 60}}
        >>> with tempfile.TemporaryDirectory() as path:
        ...     _ = Path(path, "history.jsonl").write_text(json.dumps(record))
        ...     stage_evaluations(Path(path))["fused/top1"].to_dict()
        {5: 60.0}
    """
    history = load_history(run)
    records = history[history["kind"] == "evaluation"]
    last = records[records["stage"] == records["stage"].iloc[-1]] if len(records) else records
    return last.pivot_table(index="step", columns="name", values="value", sort=False)


def _scores(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The columns of rules, in the order of `RULES`."""
    names = {f"validator/{rule}": rule for rule in RULES if f"validator/{rule}" in evaluations}
    return evaluations[list(names)].rename(columns=names)


def value_choices(scores: pd.DataFrame, *, usual: float | None = None) -> pd.DataFrame:
    """Which value would each rule have chosen, pair by pair and seed by seed of each world, and at what cost?

    Of `value_scores`, as `selection_table` with the value (missing for `AT_RANDOM`) for the step; `usual` is one that
    is always taken. Left out: pairs and seeds that lack a value, and rules that not all values have a score of.

    Example:
        >>> run = dict.fromkeys(["data", "preset", "method", "source", "target", "world", "seed"], 0)
        >>> scores = pd.DataFrame({**run, "value": [0.5, 1.0], "top1": [60.0, 70.0], "nuclear_norm": [0.9, 0.8]})
        >>> value_choices(scores)[["rule", "regret"]].to_numpy().tolist()
        [['at random', 5.0], ['nuclear_norm', 10.0], ['oracle', 0.0]]
    """
    wanted = set(scores["value"])
    if usual is not None and usual not in wanted:
        known = ", ".join(f"{value:g}" for value in sorted(wanted))
        raise UserError(f"{usual:g} is none of the values {known}; name one of these")
    groups = [group for _, group in scores.groupby(_RUN, sort=False) if set(group["value"]) == wanted]
    if not groups:
        raise UserError("no pair and seed has a finished run of every value; train the sweep first")
    rows = [{**group.iloc[0][_RUN], **row} for group in groups for row in _choices_of_value(group, usual)]
    return pd.DataFrame(rows).rename(columns={"choice": "value"})


def _choices_of_value(group: pd.DataFrame, usual: float | None) -> list[dict[str, object]]:
    by_value = group.set_index("value")
    top1 = by_value["top1"]
    chosen = [_row(AT_RANDOM, np.nan, top1.mean(), top1)]
    chosen += [] if usual is None else [_row(USUAL, usual, top1[usual], top1)]
    return chosen + _choices(by_value.filter(list(RULES)).dropna(axis=1), top1)


def _choices(scores: pd.DataFrame, top1: pd.Series[float]) -> list[dict[str, object]]:
    """What each rule takes, and the oracle: rows of `scores` and `top1` are evaluations, or values."""
    rows = []
    for rule in scores:
        at = int(scores[rule].argmax())
        rows.append(_row(rule, top1.index[at], top1.iloc[at], top1, rank_correlation(scores[rule], top1)))
    return [*rows, _row(ORACLE, top1.idxmax(), top1.max(), top1)]


def _row(
    rule: object, choice: object, reached: float, top1: pd.Series[float], correlation: float = np.nan
) -> dict[str, object]:
    costs = {"top1": reached, "regret": top1.max() - reached}
    return {"rule": rule, "choice": choice, **costs, "correlation": correlation, "evaluations": len(top1)}


def rank_correlation(scores: pd.Series[float], truth: pd.Series[float]) -> float:
    """Spearman's, ties sharing their mean rank; missing where one of the two does not vary.

    Example:
        >>> rank_correlation(pd.Series([0.1, 0.5, 0.9]), pd.Series([40.0, 60.0, 50.0]))
        0.5
    """
    varied = min(scores.nunique(), truth.nunique()) > 1
    return float(scores.rank().corr(truth.rank())) if varied else float("nan")


def selection_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and rule of `selection_table` or `value_choices`: means over runs, sd and worst of the regret.

    Example:
        >>> table = {"method": "mmsada", "rule": LAST, "top1": [60.0, 70.0], "regret": [4.0, 0.0], "correlation": None}
        >>> selection_summary(pd.DataFrame(table))[["runs", "top1", "regret", "worst"]].iloc[0].tolist()
        [2.0, 65.0, 2.0, 4.0]
    """
    measures = {"runs": ("top1", "size"), "top1": ("top1", "mean"), "regret": ("regret", "mean")}
    measures |= {"regret_sd": ("regret", "std"), "worst": ("regret", "max"), "correlation": ("correlation", "mean")}
    return table.groupby(["method", "rule"], sort=False).agg(**measures).reset_index()


def format_selection(summary: pd.DataFrame) -> pd.DataFrame:
    """`selection_summary` for the eye: rounded, with the methods' titles and what each rule looks at.

    Example:
        >>> summary = {"method": ["mmsada"], "rule": [LAST], "runs": [2], "top1": [65.0], "regret": [2.0]}
        >>> summary = pd.DataFrame({**summary, "regret_sd": [2.83], "worst": [4.0], "correlation": [np.nan]})
        >>> format_selection(summary)[["", "regret"]].iloc[0].tolist()
        ['MM-SADA', '2.0 ± 2.8']
    """
    columns = {
        "": [METHODS[method].title for method in summary["method"]],
        "rule": summary["rule"].map(RULES),
        "runs": summary["runs"],
        "top-1": summary["top1"].map("{:.1f}".format),
        "regret": list(map(write_accuracy, summary["regret"], summary["regret_sd"])),
        "worst regret": summary["worst"].map("{:.1f}".format),
        "rank correlation": summary["correlation"].map("{:+.2f}".format).replace("+nan", ""),
    }
    return pd.DataFrame(columns)


def choice_counts(choices: pd.DataFrame) -> pd.DataFrame:
    """How often each rule of `value_choices` took each value.

    Returns:
        A row per rule, in words, in the order of `RULES`; a column per method (or weight) and value.

    Example:
        >>> choices = {"method": "λ", "rule": ["nuclear_norm", "nuclear_norm", AT_RANDOM], "value": [0.5, 0.5, None]}
        >>> choice_counts(pd.DataFrame(choices)).loc["nuclear norm"].tolist()
        [2]
    """
    taken = choices.dropna(subset="value")
    order = {rule: number for number, rule in enumerate([USUAL, *RULES])}
    counts = pd.crosstab(taken["rule"], [taken["method"], taken["value"]])
    counts = counts.sort_index(key=lambda rules: rules.map(order))
    counts = counts.rename(columns=lambda value: f"{value:g}", level="value")
    return counts.rename(index=rule_title)


def mean_regrets(table: pd.DataFrame) -> pd.DataFrame:
    """Mean regret (points) of every rule of `selection_table` or `value_choices` but the oracle.

    Returns:
        A row per rule, in words; a column per method, by its title.

    Example:
        >>> table = {"method": "mmsada", "rule": [LAST, LAST, ORACLE], "top1": 60.0, "regret": [4.0, 2.0, 0.0]}
        >>> mean_regrets(pd.DataFrame({**table, "correlation": None}))["MM-SADA"].to_dict()
        {'mean of the last evaluations': 3.0}
    """
    summary = selection_summary(table[table["rule"] != ORACLE])
    regrets = summary.pivot_table(index="rule", columns="method", values="regret", sort=False)
    titles = {method: METHODS[method].title for method in regrets if method in METHODS}
    return regrets.rename(index=rule_title, columns=titles)
