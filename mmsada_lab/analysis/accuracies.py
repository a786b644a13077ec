"""Accuracies as bars: of every stream of a run, and of every method; in percent, on the target's test segments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import xy
from mmsada_lab.analysis.tables import ACCURACIES, method_order, over_replicates
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS


def stream_accuracies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy (percent) of every stream over labelled segments, from `load_predictions` of a run or several stacked.

    Columns stream, measure, mean, sd and spread, which says what sd is over: the runs or, for one run, its averaged
    evaluations (which share most of their weights: a smaller spread than seeds would give). Where no segment has a
    label, means are missing.

    Example:
        >>> predictions = pd.DataFrame({"stream": "rgb", "step": 9, "label": [0, 0, 1], "predicted": [0, 1, 1]})
        >>> stream_accuracies(predictions)["mean"].round(1).tolist()  # top-1, mean class
        [66.7, 75.0]
    """
    check_predictions(predictions)
    tidy = _accuracies(predictions)
    runs = tidy["run"].nunique()
    if runs > 1:
        tidy = tidy.groupby(["run", "stream", "measure"], sort=False)["accuracy"].mean().reset_index()
    table = tidy.groupby(["stream", "measure"], sort=False)["accuracy"].agg(mean="mean", sd="std").reset_index()
    labelled = table["mean"].notna().any()
    return table.assign(spread=_spread(runs, predictions["step"].nunique()) if labelled else "no segment has a label")


def _accuracies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Both accuracies of every stream at every evaluation of every run."""
    keys = ["run", "step", "stream"]
    correct = 100.0 * (predictions["predicted"] == predictions["label"])
    # A segment without a label (-1) is neither right nor wrong, and of no class.
    known = predictions["label"] >= 0
    by_segment = predictions.assign(run=predictions.get("run", ""), correct=correct.where(known))
    classes = by_segment.groupby([*keys, "label"], sort=False)["correct"].mean()
    measured = {
        "top1": by_segment.groupby(keys, sort=False)["correct"].mean(),
        "mean_class": classes.groupby(level=keys, sort=False).mean(),
    }
    return pd.DataFrame(measured).reset_index().melt(keys, var_name="measure", value_name="accuracy")


@hover_in_words
def draw_stream_accuracies(accuracies: pd.DataFrame, *, title: str = "Target accuracy per stream") -> go.Figure:
    """Draw `stream_accuracies`: a group of bars per measure, a bar per stream.

    Example:
        >>> predictions = pd.DataFrame({"stream": "rgb", "step": 9, "label": [0, 0, 1], "predicted": [0, 1, 1]})
        >>> draw_stream_accuracies(stream_accuracies(predictions)).data[0].text
        ('66.7', '75.0')
    """
    figure = style.empty_figure(title)
    _add_bars(figure, accuracies.assign(group=accuracies["measure"].map(ACCURACIES)))
    figure.update_yaxes(title="accuracy (%)", range=[0, 100])
    return figure.update_xaxes(title=f"measure (bars: {accuracies['spread'].iloc[0]})")


def method_bars(runs: pd.DataFrame, *, measure: str = "top1") -> pd.DataFrame:
    """Accuracy (percent) of methods and streams on the target, of one pair: a `measure` of `load_runs`.

    Columns method (its title), stream, worlds, seeds, mean, sd (over worlds, or the seeds of a single one; missing for
    one seed), as `over_replicates` has them.

    Example:
        >>> run = {"source": "D2", "target": "D1", "stream": "fused", "world": 0, "seed": 0}
        >>> runs = pd.DataFrame({**run, "method": ["mmsada", "adabn"], "top1": [60.0, 50.0]})
        >>> method_bars(runs)["method"].tolist()
        ['AdaBN', 'MM-SADA']
    """
    if measure not in ACCURACIES:
        raise unknown("measure", measure, ACCURACIES)
    pairs = runs[runs["source"] != runs["target"]][["source", "target"]].drop_duplicates()
    if len(pairs) > 1 or runs["target"].nunique() != 1:
        raise UserError(f"runs of {len(pairs)} pairs; a bar is for one, so choose runs of one source and target")
    bars = over_replicates(runs, ["method", "stream"], measure)
    bars = bars.sort_values("method", key=method_order, kind="stable", ignore_index=True)
    return bars.assign(method=[METHODS[method].title for method in bars["method"]])


@hover_in_words
def draw_method_bars(bars: pd.DataFrame, *, title: str = "Accuracy on the target") -> go.Figure:
    """Draw `method_bars`: a group per method, a bar per stream, error bars where there are several seeds or worlds.

    Example:
        >>> bars = {"method": ["AdaBN"], "stream": "fused", "mean": 50.0, "sd": 1.5, "worlds": 1, "seeds": 3}
        >>> bars = pd.DataFrame(bars)
        >>> draw_method_bars(bars).layout.xaxis.title.text
        'method (± sd over 3 seeds)'
    """
    figure = style.empty_figure(title)
    _add_bars(figure, bars.assign(group=bars["method"]))
    spread = style.write_spread_over(bars).removeprefix(", ") or "one seed, no spread"
    figure.update_xaxes(title=f"method ({spread})")
    return figure.update_yaxes(title="accuracy (%)", range=[0, 100])


def _add_bars(figure: go.Figure, bars: pd.DataFrame) -> None:
    colours = style.colours(list(bars["stream"].unique()))
    for stream, of_stream in bars.groupby("stream", sort=False):
        error = {**style.error_bars(of_stream["sd"].round(2)), "color": style.GREY}
        look = {"name": stream, "marker": {"color": colours[str(stream)]}, "error_y": error}
        text = ["" if np.isnan(value) else f"{value:.1f}" for value in of_stream["mean"]]
        at_the_foot = {"textposition": "inside", "insidetextanchor": "start"}  # error bars are at the head
        figure.add_bar(**xy(of_stream, "group", "mean", 2), text=text, **at_the_foot, **look)
    figure.update_layout(showlegend=True)


def check_predictions(predictions: pd.DataFrame) -> None:
    """Refuse predictions that nothing can be drawn from: none, or probabilities that are not finite."""
    if predictions.empty:
        raise UserError("no prediction to draw; give the predictions of a finished run")
    if not np.isfinite(predictions.filter(regex=r"^p\d+$")).all(axis=None):
        raise UserError("some probabilities are not finite; the run behind them diverged and cannot be drawn")


def _spread(runs: int, evaluations: int) -> str:
    if runs > 1:
        return f"± sd over {runs} runs"
    if evaluations > 1:
        return f"± sd over the last {evaluations} evaluations of one run"
    return "one evaluation, no spread"
