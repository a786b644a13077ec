"""Figs 4 to 6 of the paper on our runs, and our gains beside the paper's: the data first, then the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.curves import add_band
from mmsada_lab.analysis.differences import OVER_SEEDS, OVER_WORLDS
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import CYCLE, to_list, xy
from mmsada_lab.analysis.tables import MEAN, over_replicates, write_replicates
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.runs import load_history

_PATTERNS = ("", "/", "x", ".")
"""Of bars of one colour, where there are more classes than colours."""

_OTHER_DASHES = ("dot", "dash", "dashdot", "longdash", "longdashdot")
"""Of all lines of a pair but the last."""

_PANELS_ABREAST = 3


def class_shares(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> pd.DataFrame:
    """Class distribution of every domain (Fig. 4), of counts of training segments in the order of `classes`.

    Columns domain, class, segments, share (percent of the domain).

    Example:
        >>> class_shares({"D1": [30, 10], "D2": [5, 5]}, ["take", "put"])["share"].tolist()
        [75.0, 25.0, 50.0, 50.0]
    """
    rows = [(d, c, n) for d, row in counts.items() for c, n in zip(classes, row, strict=True)]
    frame = pd.DataFrame(rows, columns=["domain", "class", "segments"])
    totals = frame.groupby("domain")["segments"].transform("sum")
    return frame.assign(share=100 * frame["segments"] / totals)


_ROOM = 3.0  # percent of a bar that a number takes


@hover_in_words
def draw_class_shares(shares: pd.DataFrame, *, title: str = "Class distribution") -> go.Figure:
    """Draw `class_shares`: a bar per domain, stacked by class, counts of segments where there is room.

    Where colours end, bars are hatched.

    Example:
        >>> draw_class_shares(class_shares({"D1": [30, 10]}, ["take", "put"])).data[0].y
        ('D1 (40 segments)',)
    """
    figure = style.empty_figure(title)
    totals = shares.groupby("domain", sort=False)["segments"].sum()
    names = {domain: f"{domain} ({total} segments)" for domain, total in totals.items()}
    for number, (name, of_class) in enumerate(shares.groupby("class", sort=False)):
        look = {"name": name, "orientation": "h", "marker_color": CYCLE[number % len(CYCLE)]}
        if number >= len(CYCLE):  # colours come again
            look["marker_pattern_shape"] = _PATTERNS[number // len(CYCLE) % len(_PATTERNS)]
        bar = {"x": to_list(of_class["share"], 2), "y": [names[domain] for domain in of_class["domain"]]}
        text = [str(n) if share >= _ROOM else "" for n, share in zip(of_class["segments"], bar["x"], strict=True)]
        figure.add_bar(**bar, text=text, textposition="inside", textangle=0, insidetextanchor="middle", **look)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(barmode="stack", legend_traceorder="normal", showlegend=True)
    return figure.update_layout(xaxis_title="training segments (%)")


def target_curves(runs: pd.DataFrame, titles: Mapping[str, str], *, stream: str = "fused") -> pd.DataFrame:
    """Accuracy (percent) on the target over training (Fig. 5) of the runs in `titles`, by digest of a configuration.

    Columns row (the title), pair, stage, total_step, worlds, seeds, mean, sd (over worlds, or the seeds of a single
    one), as `over_replicates` has them.

    Example:
        >>> import json, tempfile
        >>> record = {"kind": "evaluation", "stage": "adapt", "step": 5, "total_step": 5, "values": {"fused/top1": 60}}
        >>> with tempfile.TemporaryDirectory() as path:
        ...     _ = Path(path, "history.jsonl").write_text(json.dumps(record))
        ...     run = {"path": path, "digest": "0f", "source": "D2", "target": "D1", "world": 0, "seed": 0}
        ...     target_curves(pd.DataFrame([run]), {"0f": "MM-SADA"})[["row", "pair", "mean"]].to_numpy().tolist()
        [['MM-SADA', 'D2→D1', 60.0]]
    """
    histories = []
    for run in runs[runs["digest"].isin(list(titles))].drop_duplicates("path").to_dict("records"):
        history = load_history(Path(run["path"]))
        accuracy = history[(history["kind"] == "evaluation") & (history["name"] == f"{stream}/top1")]
        pair = f"{run['source']}→{run['target']}"
        replicate = {"world": run["world"], "seed": run["seed"]}
        histories.append(accuracy.assign(row=titles[run["digest"]], pair=pair, **replicate))
    if not histories:
        raise UserError("none of the runs is finished")
    order = {title: number for number, title in enumerate(dict.fromkeys(titles.values()))}
    stacked = pd.concat(histories).sort_values("row", key=lambda rows: rows.map(order), kind="stable")
    return over_replicates(stacked, ["row", "pair", "stage", "total_step"], "value")


@hover_in_words
def draw_target_curves(curves: pd.DataFrame, *, title: str = "Accuracy on the target during training") -> go.Figure:
    """Draw `target_curves`: a panel per pair; the last line solid, the first dotted, as in the paper; bands are sd.

    Example:
        >>> curves = pd.DataFrame({"row": ["Source-only", "MM-SADA"], "pair": "D2→D1", "stage": "adapt"})
        >>> curves = curves.assign(total_step=5, mean=60.0, sd=1.0, worlds=1, seeds=3)
        >>> [trace.line.dash for trace in draw_target_curves(curves).data if trace.name]
        ['dot', 'solid']
    """
    pairs, rows = sorted(curves["pair"].unique()), list(curves["row"].unique())
    width = min(len(pairs), _PANELS_ABREAST)
    height = -(-len(pairs) // width)
    options = {"subplot_titles": pairs, "shared_yaxes": "all", "shared_xaxes": "all", "vertical_spacing": 0.12}
    figure = style.empty_figure(title, panels=(height, width), height=190 + 210 * height, **options)
    dashes = {row: _OTHER_DASHES[number % len(_OTHER_DASHES)] for number, row in enumerate(rows[:-1])}
    colours = style.colours(rows)
    for number, pair in enumerate(pairs):
        panel = {"row": number // width + 1, "col": number % width + 1}
        for row in rows:
            curve = curves[(curves["pair"] == pair) & (curves["row"] == row)].sort_values("total_step")
            add_band(figure, curve, colours[row], group=row, opacity=0.15, **panel)
            look = {"color": colours[row], "width": 2, "dash": dashes.get(row, "solid")}
            listed = {"name": row, "legendgroup": row, "showlegend": number == 0}
            figure.add_scatter(**xy(curve, "total_step", "mean"), mode="lines", line=look, **listed, **panel)
    title_of_y = f"top-1 (%){style.write_spread_over(curves)}"
    figure.update_xaxes(title="optimiser step", row=height).update_yaxes(title=title_of_y, col=1)
    return figure.update_layout(legend=style.LEGEND_BELOW, margin_b=110, showlegend=True)


def mean_gains(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Gains of a report's lines over its baseline, in points of the mean over pairs, beside the paper's.

    `table` is from `report_table`, made with the same baseline. Columns row, worlds, seeds, difference, low, high (of
    the 95 % interval over worlds where there is one, else of that over seeds), over (which of the two, by its name),
    paper (difference of the printed means, which come without a spread; missing where none is printed).

    Example:
        >>> means = {"row": ["Source-only", "MM-SADA"], "pair": MEAN, "worlds": 1, "seeds": 3, "paper": [45.5, 50.3]}
        >>> ends = {"worlds_low": None, "worlds_high": None, "seeds_low": [None, 5.0], "seeds_high": [None, 7.0]}
        >>> table = pd.DataFrame({**means, "difference": [None, 6.0], **ends}, dtype=object)
        >>> mean_gains(table, baseline="Source-only").round(1)[["row", "low", "over", "paper"]].to_numpy().tolist()
        [['MM-SADA', 5.0, 'over seeds, worlds fixed', 4.8]]
    """
    means = table[table["pair"] == MEAN]
    if baseline not in set(means["row"]):
        raise unknown("line", baseline, means["row"])
    printed = float(means.loc[means["row"] == baseline, "paper"].iloc[0])
    others = means[means["row"] != baseline].reset_index(drop=True)
    numbers = ["difference", "worlds_low", "worlds_high", "seeds_low", "seeds_high", "paper"]
    others = others.astype(dict.fromkeys(numbers, float)).assign(paper=lambda rows: rows["paper"] - printed)
    over_worlds = others["worlds_low"].notna()
    for end in ("low", "high"):
        others[end] = others[f"worlds_{end}"].where(over_worlds, others[f"seeds_{end}"])
    others["over"] = over_worlds.map({True: OVER_WORLDS, False: OVER_SEEDS})
    return others[["row", "worlds", "seeds", "difference", "low", "high", "over", "paper"]]


@hover_in_words
def draw_mean_gains(gains: pd.DataFrame, *, baseline: str, title: str = "Gains") -> go.Figure:
    """Draw `mean_gains`: ours with its interval, the paper's as an open diamond, a line at no gain.

    Example:
        >>> gains = {"row": ["MM-SADA"], "worlds": 1, "seeds": 3, "difference": 6.0, "low": 2.0, "high": 9.0}
        >>> gains = pd.DataFrame({**gains, "over": OVER_SEEDS, "paper": 4.8})
        >>> [trace.x for trace in draw_mean_gains(gains, baseline="Source-only").data]
        [(6.0,), (4.8,)]
    """
    figure = style.empty_figure(title)
    for over, symbol in ((OVER_WORLDS, "square"), (OVER_SEEDS, "circle")):
        ours = gains[gains["difference"].notna() & (gains["over"] == over)]
        if len(ours):
            _add_own_gains(figure, ours, over=over, symbol=symbol)
    printed = gains[gains["paper"].notna()]
    marker = {"color": style.GREY, "size": 11, "symbol": "diamond-open", "line": {"width": 2}}
    look = {"name": "the paper's, on EPIC-Kitchens,<br>one run, no spread", "marker": marker}
    figure.add_scatter(x=to_list(printed["paper"], 2), y=to_list(printed["row"]), mode="markers", **look)
    figure.add_vline(x=0, line=style.BOUNDARY)
    figure.update_yaxes(categoryorder="array", categoryarray=to_list(gains["row"]), autorange="reversed")
    figure.update_layout(xaxis_title=f"top-1, points over {baseline}", yaxis_title="method")
    return figure.update_layout(height=160 + 34 * len(gains))


def _add_own_gains(figure: go.Figure, gains: pd.DataFrame, *, over: str, symbol: str) -> None:
    difference = gains["difference"]
    ends = {"array": to_list(gains["high"] - difference, 2), "arrayminus": to_list(difference - gains["low"], 2)}
    name = f"ours, {write_replicates(gains['worlds'], gains['seeds'])},<br>95 % {over}"
    look = {"name": name, "mode": "markers", "marker": {"color": style.INK, "size": 9, "symbol": symbol}}
    error = {"type": "data", "symmetric": False, **ends}
    figure.add_scatter(x=to_list(difference, 2), y=to_list(gains["row"]), error_x=error, **look)
