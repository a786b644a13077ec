"""Figures of training and results. Each is two functions: the data first, then a pure drawing of exactly those data.

A frame of several runs carries a column ``run`` (see `several`); then lines are means over runs with a band of one
standard deviation, and bars have error bars. All accuracies are percentages, on the target's test segments unless
said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.errors import UserError, unknown

MEASURES = {"top1": "top-1", "mean_class": "mean class"}
SPARE_OUTPUT = "(no class)"
"""Where a confusion matrix counts predictions of outputs beyond the classes."""


def several(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the frames of several runs (histories, or predictions), named by a column ``run``."""
    if not frames:
        raise UserError("no run to draw; give at least one")
    return pd.concat([frame.assign(run=name) for name, frame in frames.items()], ignore_index=True)


def training_curves(history: pd.DataFrame, *, window: int = 9) -> pd.DataFrame:
    """Loss terms over training.

    Args:
        history: from `load_history`, or `several` of them.
        window: training records that a smoothed value is the centred mean of, within a stage.

    Returns:
        Columns stage, total_step, name, mean, sd (over runs, missing for one), runs, smooth (nats, unweighted).

    Raises:
        UserError: no training record, a value that is not finite, or runs of different lengths.
    """
    curves = _over_runs(_of_kind(history, "train"))
    smoothed = curves.groupby(["stage", "name"], sort=False)["mean"]
    curves["smooth"] = smoothed.transform(lambda values: values.rolling(window, center=True, min_periods=1).mean())
    return curves


def draw_training_curves(curves: pd.DataFrame, *, title: str = "Loss terms") -> go.Figure:
    """Draw `training_curves`: recorded values (or the band over runs) faint, smoothed ones bold, stages apart."""
    figure = style.empty_figure(title)
    names = list(curves["name"].unique())
    colour = style.colours(names, style.TERM_COLOURS)
    for key, part in curves.groupby(["stage", "name"], sort=False):
        stage, name = cast("tuple[str, str]", key)
        _add_faint(figure, part, colour[name])
        number, first = names.index(name), stage == curves.loc[curves["name"] == name, "stage"].iloc[0]
        line = {"color": colour[name], "width": 2.5, "dash": style.DASHES[number % len(style.DASHES)]}
        shown = {"name": name, "legendgroup": name, "showlegend": bool(first)}
        figure.add_scatter(x=plain(part["total_step"]), y=plain(part["smooth"]), mode="lines", line=line, **shown)
    _mark_boundary(figure, curves)
    return figure.update_layout(xaxis_title="optimiser step", yaxis_title="loss (nats, unweighted)")


def accuracy_curves(history: pd.DataFrame, *, averaged: int = 0, measure: str = "top1") -> pd.DataFrame:
    """Target accuracy of every stream at every evaluation.

    Args:
        history: from `load_history`, or `several` of them.
        averaged: how many last evaluations the reported accuracy is the mean of (a run's ``evaluations``).
        measure: ``top1`` or ``mean_class``.

    Returns:
        Columns stage, total_step, name (of the stream), mean, sd (over runs, missing for one), runs, averaged.

    Raises:
        UserError: as `training_curves`, or unknown measure.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    evaluations = _of_kind(history, "evaluation")
    streams = evaluations["name"].str.split("/", n=1, expand=True)
    chosen = evaluations.assign(name=streams[0])[streams[1] == measure]
    if chosen.empty:
        raise UserError("the target of this run has no labelled test segments, so there is no accuracy to draw")
    curves = _over_runs(chosen)
    last = sorted(curves.loc[curves["stage"] == curves["stage"].iloc[-1], "total_step"].unique())
    return curves.assign(averaged=curves["total_step"].isin(last[len(last) - min(averaged, len(last)) :]))


def draw_accuracy_curves(curves: pd.DataFrame, *, title: str = "Target accuracy") -> go.Figure:
    """Draw `accuracy_curves`: a line per stream, the averaged evaluations shaded."""
    figure = style.empty_figure(title)
    names = list(curves["name"].unique())
    colour = style.colours(names, style.STREAM_COLOURS)
    for number, name in enumerate(names):
        one = curves[curves["name"] == name]
        _add_band(figure, one, colour[name])
        line = {"color": colour[name], "width": 2.5, "dash": style.DASHES[number % len(style.DASHES)]}
        figure.add_scatter(x=plain(one["total_step"]), y=plain(one["mean"]), mode="lines+markers", line=line, name=name)
    _mark_boundary(figure, curves)
    _shade_averaged(figure, curves)
    return figure.update_layout(xaxis_title="optimiser step", yaxis_title=f"accuracy (%){_spread_note(curves)}")


def stream_accuracies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every stream with its spread.

    Args:
        predictions: from `load_predictions`, or `several` of them.

    Returns:
        Columns stream, measure, mean, sd and spread, which says what sd is over: the runs or, for one run, its
        averaged evaluations (which share most of their weights: a smaller spread than seeds would give).
    """
    _require_predictions(predictions)
    found = predictions.assign(correct=100.0 * (predictions["predicted"] == predictions["label"]))
    found["run"] = found.get("run", "")
    keys = ["run", "step", "stream"]
    classes = found.groupby([*keys, "label"], sort=False)["correct"].mean()
    measured = {
        "top1": found.groupby(keys, sort=False)["correct"].mean(),
        "mean_class": classes.groupby(level=keys, sort=False).mean(),
    }
    tidy = pd.DataFrame(measured).reset_index().melt(keys, var_name="measure", value_name="accuracy")
    runs = tidy["run"].nunique()
    if runs > 1:
        tidy = tidy.groupby(["run", "stream", "measure"], sort=False)["accuracy"].mean().reset_index()
    table = tidy.groupby(["stream", "measure"], sort=False)["accuracy"].agg(["mean", "std"]).reset_index()
    return table.rename(columns={"std": "sd"}).assign(spread=_spread(runs, found["step"].nunique()))


def draw_stream_accuracies(accuracies: pd.DataFrame, *, title: str = "Target accuracy per stream") -> go.Figure:
    """Draw `stream_accuracies`: a group of bars per measure, a bar per stream."""
    figure = style.empty_figure(title)
    streams = list(accuracies["stream"].unique())
    colour = style.colours(streams, style.STREAM_COLOURS)
    for stream in streams:
        one = accuracies[accuracies["stream"] == stream]
        error = {
            "type": "data",
            "array": plain(one["sd"].fillna(0.0)),
            "visible": bool(one["sd"].notna().any()),
            "color": style.GREY,
        }
        bars = {"name": stream, "marker": {"color": colour[stream]}, "error_y": error}
        texts = [f"{value:.1f}" for value in one["mean"]]
        labels = [MEASURES[measure] for measure in one["measure"]]
        figure.add_bar(
            x=labels, y=plain(one["mean"]), text=texts, textposition="inside", insidetextanchor="start", **bars
        )
    figure.update_yaxes(title="accuracy (%)", range=[0, 100])
    return figure.update_xaxes(title=f"measure (bars: {accuracies['spread'].iloc[0]})")


def confusion_counts(predictions: pd.DataFrame, *, classes: Sequence[str], stream: str = "fused") -> pd.DataFrame:
    """How often each class was taken for each other.

    Counts are means over the averaged evaluations (and over runs), the very predictions behind the reported
    accuracy: the diagonal's share of all counts *is* that top-1. They need not be whole numbers.

    Args:
        predictions: from `load_predictions`, or `several` of them.
        classes: names, by label.
        stream: whose predictions.

    Returns:
        A row per pair of classes, in order: true, predicted, count, segments (of the true class) and percent (of
        these; missing where there are none). Outputs beyond the classes count as `SPARE_OUTPUT`.
    """
    _require_predictions(predictions)
    chosen = predictions[predictions["stream"] == stream]
    if chosen.empty:
        raise unknown("stream", stream, predictions["stream"].unique())
    runs = chosen["run"] if "run" in chosen else pd.Series("", index=chosen.index)
    passes = len(pd.DataFrame({"run": runs, "step": chosen["step"]}).drop_duplicates())
    size = len(classes)
    spare = int((chosen["predicted"] >= size).any())
    counts = np.zeros((size, size + spare))
    np.add.at(counts, (chosen["label"].to_numpy(), chosen["predicted"].clip(upper=size).to_numpy()), 1 / passes)
    columns = [*classes, *[SPARE_OUTPUT] * spare]
    pairs = pd.MultiIndex.from_product([list(classes), columns], names=["true", "predicted"]).to_frame(index=False)
    segments = np.repeat(counts.sum(axis=1).round().astype(int), len(columns))
    tidy = pairs.assign(count=counts.ravel(), segments=segments)
    return tidy.assign(percent=100 * tidy["count"] / tidy["segments"].where(tidy["segments"] > 0))


def draw_confusion(counts: pd.DataFrame, *, title: str = "Confusion") -> go.Figure:
    """Draw `confusion_counts`: row percentages as colour, counts below, the classes' sizes as bars beside."""
    heat = {"zmin": 0, "zmax": 100, "colorscale": style.PERCENT_SCALE, "showscale": False}
    figure = confusion_frame(counts, "percent", cell=_cell, title=title, **heat)
    return figure.update_xaxes(title="predicted class (row %, count below)", row=1, col=1)


def confusion_frame(
    table: pd.DataFrame, value: str, *, cell: Callable[[float, float], str], title: str, **heat: Any
) -> go.Figure:
    """A row per true class: values as colour with a text in each cell, the classes' sizes as bars beside.

    Args:
        table: a row per pair of classes, in order: true, predicted, count, segments (of the true class), and the value.
        value: column to colour by.
        cell: text of a cell, of its value and count.
        title: of the figure.
        heat: colours, as Plotly's heatmap takes them.
    """
    columns, rows = list(table["predicted"].unique()), list(table["true"].unique())
    values, counts = (table[name].to_numpy().reshape(len(rows), -1) for name in (value, "count"))
    texts = [[cell(v, c) for v, c in zip(*row, strict=True)] for row in zip(values, counts, strict=True)]
    shown = [[None if np.isnan(value) else round(float(value), 2) for value in row] for row in values]
    sizes = plain(table["segments"])[:: len(columns)]
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=[0.82, 0.18], horizontal_spacing=0.02)
    figure.add_heatmap(x=columns, y=rows, z=shown, text=texts, texttemplate="%{text}", **heat, row=1, col=1)
    bars = {"orientation": "h", "marker": {"color": style.GREY}, "showlegend": False, "text": sizes}
    figure.add_bar(x=sizes, y=rows, **bars, row=1, col=2)
    figure.update_layout(template=style.TEMPLATE, title={"text": title}, height=120 + 48 * len(rows))
    figure.update_xaxes(title="test segments", row=1, col=2)
    return figure.update_yaxes(autorange="reversed").update_yaxes(title="true class", col=1)


def _require_predictions(predictions: pd.DataFrame) -> None:
    if predictions.empty:
        raise UserError("no prediction to draw; give the predictions of a finished run")
    if not np.isfinite(predictions.filter(regex=r"^p\d+$")).all(axis=None):
        raise UserError("some probabilities are not finite; the run behind them diverged and cannot be drawn")


def _of_kind(history: pd.DataFrame, kind: str) -> pd.DataFrame:
    chosen = history[history["kind"] == kind] if len(history) else history
    if chosen.empty:
        raise UserError(f"the history holds no {kind} record; let the run train further")
    broken = chosen[~np.isfinite(chosen["value"].astype(float))]
    if len(broken):
        row = broken.iloc[0]
        raise UserError(f"{row['name']} is {row['value']} at step {row['total_step']}; that run cannot be drawn")
    return chosen


def _over_runs(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd over runs of every value; all runs must have been recorded at the same steps."""
    keys = ["stage", "total_step", "name"]
    table = records.groupby(keys, sort=False)["value"].agg(["mean", "std", "size"]).reset_index()
    runs = records["run"].nunique() if "run" in records else 1
    if (table["size"] != runs).any():
        raise UserError("the runs were recorded at different steps; draw runs of one configuration together")
    return table.rename(columns={"std": "sd", "size": "runs"})


def _add_faint(figure: go.Figure, curve: pd.DataFrame, colour: str) -> None:
    if curve["runs"].iloc[0] > 1:
        _add_band(figure, curve, colour)
        return
    line = {"color": style.translucent(colour, 0.25), "width": 1}
    hidden = {"showlegend": False, "hoverinfo": "skip", "legendgroup": curve["name"].iloc[0]}
    figure.add_scatter(x=plain(curve["total_step"]), y=plain(curve["mean"]), mode="lines", line=line, **hidden)


def _add_band(figure: go.Figure, curve: pd.DataFrame, colour: str) -> None:
    """One standard deviation over runs, around the mean; nothing for a single run."""
    if curve["runs"].iloc[0] == 1:
        return
    steps = plain(curve["total_step"])
    edges = [*plain(curve["mean"] + curve["sd"]), *plain(curve["mean"] - curve["sd"])[::-1]]
    fill = {"fill": "toself", "fillcolor": style.translucent(colour, 0.15), "line": {"width": 0}, "mode": "lines"}
    hidden = {"showlegend": False, "hoverinfo": "skip", "legendgroup": curve["name"].iloc[0]}
    figure.add_scatter(x=[*steps, *steps[::-1]], y=edges, **fill, **hidden)


def _mark_boundary(figure: go.Figure, curves: pd.DataFrame) -> None:
    """A dashed line after the last step of every stage but the final one, with the stages' names."""
    ends = curves.groupby("stage", sort=False)["total_step"].max()
    for (before, after), step in zip(zip(ends.index[:-1], ends.index[1:], strict=True), ends[:-1], strict=True):
        line = {"color": style.GREY, "dash": "dash", "width": 1.5}
        figure.add_vline(x=int(step), line=line, annotation_text=f"{before} | {after}", annotation_position="top")


def _shade_averaged(figure: go.Figure, curves: pd.DataFrame) -> None:
    steps = sorted(curves.loc[curves["averaged"], "total_step"].unique())
    if steps:
        area = {"fillcolor": style.GREY, "opacity": 0.15, "line_width": 0, "layer": "below"}
        label = {"annotation_text": f"mean of {len(steps)}", "annotation_position": "bottom right"}
        figure.add_vrect(x0=int(steps[0]), x1=int(steps[-1]), **area, **label)


def _spread(runs: int, evaluations: int) -> str:
    if runs > 1:
        return f"± sd over {runs} runs"
    return (
        f"± sd over the last {evaluations} evaluations of one run" if evaluations > 1 else "one evaluation, no spread"
    )


def _spread_note(curves: pd.DataFrame) -> str:
    runs = int(curves["runs"].iloc[0])
    return f", ± sd over {runs} runs" if runs > 1 else ""


def _cell(percent: float, count: float) -> str:
    return "" if np.isnan(percent) or count == 0 else f"{percent:.0f} %<br>{count:.1f}".replace(".0", "")


def plain(values: pd.Series[Any]) -> list[Any]:
    """A column as plain Python values: Plotly would write an array as base64, which no diff can read."""
    return list(values.to_list())
