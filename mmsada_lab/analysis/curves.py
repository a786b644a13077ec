"""Losses and accuracies over training: the data first, then a pure drawing of exactly those data.

A history of several runs has a column ``run`` (see `stack_runs`); then lines are means over runs and bands are one
standard deviation. Accuracies are percentages, on the target's test segments.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list, xy
from mmsada_lab.analysis.tables import ACCURACIES
from mmsada_lab.errors import UserError, unknown


def training_curves(history: pd.DataFrame, *, window: int = 9) -> pd.DataFrame:
    """Loss terms (nats, unweighted) over training, from `load_history`, one or several stacked.

    Columns stage, total_step, name, mean, sd (over runs, missing for one), runs, smooth (the centred mean over `window`
    records of a stage).

    Example:
        >>> terms = {"kind": "train", "stage": "adapt", "total_step": [1, 2], "name": "mmd", "value": [3.0, 1.0]}
        >>> training_curves(pd.DataFrame(terms))["smooth"].tolist()
        [2.0, 2.0]
    """
    curves = mean_over_runs(records_of(history, "train"))
    smoothed = curves.groupby(["stage", "name"], sort=False)["mean"]
    curves["smooth"] = smoothed.transform(lambda values: values.rolling(window, center=True, min_periods=1).mean())
    return curves


@hover_in_words
def draw_training_curves(curves: pd.DataFrame, *, title: str = "Loss terms") -> go.Figure:
    """Draw `training_curves`: recorded values (or the band over runs) faint, smoothed ones bold, stages apart.

    Example:
        >>> terms = {"kind": "train", "stage": "adapt", "total_step": [1, 2], "name": "mmd", "value": [3.0, 1.0]}
        >>> [trace.mode for trace in draw_training_curves(training_curves(pd.DataFrame(terms))).data]
        ['lines', 'lines']
    """
    figure = style.empty_figure(title)
    names = list(curves["name"].unique())
    colours = style.colours(names)
    in_legend = set[str]()
    for _, curve in curves.groupby(["stage", "name"], sort=False):
        name = str(curve["name"].iloc[0])
        add_recorded(figure, curve, colours[name])
        legend = {"name": name, "legendgroup": name, "showlegend": name not in in_legend}
        in_legend.add(name)
        line = style.line(colours[name], names.index(name))
        figure.add_scatter(**xy(curve, "total_step", "smooth"), mode="lines", line=line, **legend)
    mark_boundary(figure, curves)
    return figure.update_layout(xaxis_title="optimiser step", yaxis_title="loss (nats, unweighted)")


def accuracy_curves(history: pd.DataFrame, *, averaged: int = 0, measure: str = "top1") -> pd.DataFrame:
    """Target accuracy (``top1`` or ``mean_class``) of every stream over training, from `load_history`.

    Columns stage, total_step, name (of the stream), mean, sd (over runs, missing for one), runs, and averaged: whether
    it is one of the last evaluations, `averaged` in number, whose mean is reported (a run's ``evaluations``).

    Example:
        >>> record = {"kind": "evaluation", "stage": "adapt", "name": "rgb/top1"}
        >>> history = pd.DataFrame({**record, "total_step": [50, 100], "value": [40.0, 60.0]})
        >>> accuracy_curves(history, averaged=1)["averaged"].tolist()
        [False, True]
    """
    if measure not in ACCURACIES:
        raise unknown("measure", measure, ACCURACIES)
    evaluations = records_of(history, "evaluation")
    streams = evaluations["name"].str.split("/", n=1, expand=True)
    of_measure = evaluations.assign(name=streams[0])[streams[1] == measure]
    if of_measure.empty:
        raise UserError("the target of this run has no labelled test segments, so there is no accuracy to draw")
    curves = mean_over_runs(of_measure)
    last = curves.loc[curves["stage"] == curves["stage"].iloc[-1], "total_step"].drop_duplicates().nlargest(averaged)
    return curves.assign(averaged=curves["total_step"].isin(last))


@hover_in_words
def draw_accuracy_curves(curves: pd.DataFrame, *, title: str = "Target accuracy") -> go.Figure:
    """Draw `accuracy_curves`: a line per stream, the averaged evaluations shaded.

    Example:
        >>> record = {"kind": "evaluation", "stage": "adapt", "name": "rgb/top1"}
        >>> history = pd.DataFrame({**record, "total_step": [50, 100], "value": [40.0, 60.0]})
        >>> draw_accuracy_curves(accuracy_curves(history)).data[0].y
        (40.0, 60.0)
    """
    figure = style.empty_figure(title)
    names = list(curves["name"].unique())
    colours = style.colours(names)
    for number, name in enumerate(names):
        curve = curves[curves["name"] == name]
        add_band(figure, curve, colours[name], group=name)
        line = style.line(colours[name], number)
        figure.add_scatter(**xy(curve, "total_step", "mean"), mode="lines+markers", line=line, name=name)
    mark_boundary(figure, curves)
    _shade_averaged(figure, curves)
    title_of_y = f"accuracy (%){style.write_spread(curves['runs'], 'runs')}"
    return figure.update_layout(xaxis_title="optimiser step", yaxis_title=title_of_y, showlegend=True)


def records_of(history: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The records of one kind, or `UserError` if there are none, or if one is not finite."""
    records = history[history["kind"] == kind] if len(history) else history
    if records.empty:
        raise UserError(f"the history holds no {kind} record; let the run train further")
    broken = records[~np.isfinite(records["value"].astype(float))]
    if len(broken):
        row = broken.iloc[0]
        raise UserError(f"{row['name']} is {row['value']} at step {row['total_step']}; that run cannot be drawn")
    return records


def mean_over_runs(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd over runs of every value; all runs must have been recorded at the same steps."""
    keys = ["stage", "total_step", "name"]
    curves = records.groupby(keys, sort=False)["value"].agg(mean="mean", sd="std", runs="size").reset_index()
    if (curves["runs"] != (records["run"].nunique() if "run" in records else 1)).any():
        raise UserError("the runs were recorded at different steps; draw runs of one configuration together")
    return curves


def add_recorded(figure: go.Figure, curve: pd.DataFrame, colour: str, **panel: int) -> None:
    """Behind a smoothed curve: the band over runs, or the values of a single run; `panel` is a row and a column."""
    name = curve["name"].iloc[0]
    if curve["runs"].iloc[0] > 1:
        add_band(figure, curve, colour, group=name, **panel)
        return
    faint = {"mode": "lines", "line": {"color": style.translucent(colour, 0.25), "width": 1}}
    figure.add_scatter(**xy(curve, "total_step", "mean"), **faint, **style.HIDDEN, legendgroup=name, **panel)


def add_band(
    figure: go.Figure, curve: pd.DataFrame, colour: str, *, group: str, opacity: float = 0.15, **panel: int
) -> None:
    """Draw one sd on either side of the mean (columns total_step, mean, sd); nothing for a single run."""
    if curve.empty or curve["sd"].isna().any():
        return
    steps = to_list(curve["total_step"])
    edges = [*to_list(curve["mean"] + curve["sd"]), *to_list(curve["mean"] - curve["sd"])[::-1]]
    fill = {"fill": "toself", "fillcolor": style.translucent(colour, opacity), "line": {"width": 0}, "mode": "lines"}
    figure.add_scatter(x=[*steps, *steps[::-1]], y=edges, **fill, **style.HIDDEN, legendgroup=group, **panel)


def mark_boundary(figure: go.Figure, curves: pd.DataFrame, *, position: str = "top") -> None:
    """A dashed line after the last step of every stage but the final one, with the stages' names."""
    ends = curves.groupby("stage", sort=False)["total_step"].max()
    for before, after, step in zip(ends.index, ends.index[1:], ends, strict=False):
        label = {"annotation_text": f"{before} | {after}", "annotation_position": position}
        figure.add_vline(x=int(step), line=style.BOUNDARY, **label)


def _shade_averaged(figure: go.Figure, curves: pd.DataFrame) -> None:
    steps = sorted(curves.loc[curves["averaged"], "total_step"].unique())
    if steps:
        area = {"fillcolor": style.GREY, "opacity": 0.15, "line_width": 0, "layer": "below"}
        label = {"annotation_text": f"mean of {len(steps)}", "annotation_position": "bottom right"}
        figure.add_vrect(x0=int(steps[0]), x1=int(steps[-1]), **area, **label)
