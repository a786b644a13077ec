"""Figs 4 to 6 of the paper, on our runs: the data first, then the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.results import plain
from mmsada_lab.analysis.tables import MEAN
from mmsada_lab.errors import UserError
from mmsada_lab.runs import load_history

CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#8C564B")


def class_shares(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> pd.DataFrame:
    """Class distribution of every domain (Fig. 4).

    Args:
        counts: training segments per class, by domain.
        classes: names, in the order of the counts.

    Returns:
        Columns domain, class, segments, share (percent of the domain).
    """
    frame = pd.DataFrame([(d, c, n) for d, row in counts.items() for c, n in zip(classes, row, strict=True)])
    frame.columns = pd.Index(["domain", "class", "segments"])
    totals = frame.groupby("domain")["segments"].transform("sum")
    return frame.assign(share=100 * frame["segments"] / totals)


def draw_class_shares(shares: pd.DataFrame, *, title: str = "Class distribution") -> go.Figure:
    """Draw `class_shares`: a bar per domain, stacked by class, with the counts of segments."""
    figure = style.empty_figure(title)
    totals = shares.groupby("domain", sort=False)["segments"].sum()
    names = {domain: f"{domain} ({total} segments)" for domain, total in totals.items()}
    for number, name in enumerate(shares["class"].unique()):
        one = shares[shares["class"] == name]
        figure.add_bar(
            y=[names[d] for d in one["domain"]],
            x=plain(one["share"].round(2)),
            text=plain(one["segments"]),
            name=name,
            orientation="h",
            marker_color=CLASS_COLOURS[number % len(CLASS_COLOURS)],
        )
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(barmode="stack", xaxis_title="training segments (%)", legend_traceorder="normal")


def target_curves(runs: pd.DataFrame, titles: Mapping[str, str], *, stream: str = "fused") -> pd.DataFrame:
    """Accuracy on the target at every evaluation, over seeds (Fig. 5).

    Args:
        runs: from `load_runs`.
        titles: digest of a configuration -> title of the line it belongs to.
        stream: whose accuracy.

    Returns:
        Columns row, pair, stage, total_step, mean, sd (over seeds, missing for one), seeds.
    """
    parts = []
    for run in runs.drop_duplicates("path").to_dict("records"):
        if run["digest"] in titles:
            history = load_history(Path(run["path"]))
            chosen = history[(history["kind"] == "evaluation") & (history["name"] == f"{stream}/top1")]
            pair = f"{run['source']}→{run['target']}"
            parts.append(chosen.assign(row=titles[run["digest"]], pair=pair, seed=run["seed"]))
    if not parts:
        raise UserError("none of the runs is finished")
    keys = ["row", "pair", "stage", "total_step"]
    table = pd.concat(parts).groupby(keys, sort=False)["value"].agg(["mean", "std", "size"]).reset_index()
    return table.rename(columns={"std": "sd", "size": "seeds"})


def draw_target_curves(curves: pd.DataFrame, *, title: str = "Accuracy on the target during training") -> go.Figure:
    """Draw `target_curves`: a colour per pair; the last line solid, others dotted, as in the paper; bands are sd."""
    figure = style.empty_figure(title)
    rows = list(curves["row"].unique())
    for number, pair in enumerate(sorted(curves["pair"].unique())):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        for row in rows:
            one = curves[(curves["pair"] == pair) & (curves["row"] == row)].sort_values("total_step")
            steps, dash = plain(one["total_step"]), "solid" if row == rows[-1] else "dot"
            if one["sd"].notna().all() and len(one):
                edges = [*plain(one["mean"] + one["sd"]), *plain(one["mean"] - one["sd"])[::-1]]
                band = {"fill": "toself", "fillcolor": style.translucent(colour, 0.08), "line": {"width": 0}}
                hidden = {"showlegend": False, "hoverinfo": "skip", "legendgroup": pair, "mode": "lines"}
                figure.add_scatter(x=[*steps, *steps[::-1]], y=edges, **band, **hidden)
            line = {"color": colour, "width": 2, "dash": dash}
            name = f"{pair}, {row}"
            figure.add_scatter(x=steps, y=plain(one["mean"]), mode="lines", line=line, name=name, legendgroup=pair)
    seeds = int(curves["seeds"].min())
    note = f", ± sd over {seeds} seeds" if seeds > 1 else ""
    return figure.update_layout(xaxis_title="optimiser step", yaxis_title=f"top-1 (%){note}", height=520)


def sweep_means(table: pd.DataFrame, values: Mapping[str, float]) -> pd.DataFrame:
    """Mean accuracy over pairs at each value of a swept option (Fig. 6).

    Args:
        table: from `report_table`.
        values: row -> value.

    Returns:
        Columns value, top1, sd, seeds, in increasing value.
    """
    means = table[(table["pair"] == MEAN) & table["row"].isin(list(values))]
    found = means.assign(value=means["row"].map(values))
    return found[["value", "top1", "sd", "seeds"]].dropna(subset="top1").sort_values("value").reset_index(drop=True)


def draw_sweep(means: pd.DataFrame, *, name: str, baseline: float | None = None, title: str = "Sweep") -> go.Figure:
    """Draw `sweep_means` with error bars of one sd over seeds; a dashed line at the baseline."""
    figure = style.empty_figure(title)
    error = {"type": "data", "array": plain(means["sd"].fillna(0)), "visible": bool(means["sd"].notna().any())}
    line = {"color": style.TARGET, "width": 2.5}
    figure.add_scatter(x=plain(means["value"]), y=plain(means["top1"]), error_y=error, mode="lines+markers", line=line)
    if baseline is not None:
        figure.add_hline(y=baseline, line={"color": style.GREY, "dash": "dash"}, annotation_text="source-only")
    seeds = int(means["seeds"].min()) if len(means) else 0
    note = f", ± sd over {seeds} seeds" if seeds > 1 else ""
    return figure.update_layout(xaxis_title=name, yaxis_title=f"top-1, mean over pairs (%){note}", showlegend=False)
