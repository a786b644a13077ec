"""A swept option (Fig. 6): target accuracy at its values, and how F's opponents do; data first, then the drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.game import game_curves, opponent
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.tables import MEAN, domain_pairs, seeds_by_pair, spread_by_pair
from mmsada_lab.runs import load_history


def common_runs(runs: pd.DataFrame, values: Mapping[str, float]) -> pd.DataFrame:
    """Rows of `load_runs` of the pairs, worlds and seeds that every value of a sweep has a run of, its baseline's too.

    Values are compared on these: a mean over more seeds, or over other pairs, is another mean. `values` are by digest.

    Example:
        >>> runs = {"digest": ["a", "b", "c"], "source": "D1", "target": "D3", "world": 0, "seed": [0, 0, 1]}
        >>> common_runs(pd.DataFrame(runs), {"a": 0.0, "b": 1.0, "c": 1.0})["digest"].tolist()
        ['a', 'b']
    """
    swept = runs.assign(value=runs["digest"].map(values)).dropna(subset="value")
    counts = swept.groupby(_REPLICATE)["value"].nunique()
    complete = counts.index[counts == swept["value"].nunique()]
    return runs[pd.MultiIndex.from_frame(runs[_REPLICATE]).isin(complete)]


_REPLICATE = ["source", "target", "world", "seed"]


def sweep_means(table: pd.DataFrame, values: Mapping[str, float]) -> pd.DataFrame:
    """Mean accuracy over pairs at each value of a swept option (Fig. 6), of `report_table` and the values of its rows.

    Columns value, top1, sd, worlds, seeds.

    Example:
        >>> means = {"row": ["λ = 1", "λ = 0.5"], "pair": MEAN, "top1": [60.0, 58.0], "sd": 1, "worlds": 1, "seeds": 3}
        >>> table = pd.DataFrame(means)
        >>> sweep_means(table, {"λ = 1": 1.0, "λ = 0.5": 0.5})["top1"].tolist()
        [58.0, 60.0]
    """
    means = table[(table["pair"] == MEAN) & table["row"].isin(list(values))]
    means = means.assign(value=means["row"].map(values))[["value", "top1", "sd", "worlds", "seeds"]]
    return means.dropna(subset="top1").sort_values("value", ignore_index=True)


@hover_in_words
def draw_sweep(means: pd.DataFrame, *, name: str, baseline: float | None = None, title: str = "Sweep") -> go.Figure:
    """Draw `sweep_means` with error bars of one sd, values at equal distances; a dashed line at the baseline.

    Example:
        >>> means = pd.DataFrame({"value": [0.5, 1.0], "top1": [58.0, 60.0], "sd": 1.0, "worlds": 1, "seeds": 3})
        >>> draw_sweep(means, name="λ", baseline=55.0).layout.yaxis.title.text
        'top-1, mean over pairs (%),<br>± sd over 3 seeds'
    """
    figure = style.empty_figure(title)
    look = {"mode": "lines+markers", "line": {"color": style.TARGET, "width": 2.5}}
    figure.add_scatter(
        x=style.categories(means["value"]),
        y=style.to_list(means["top1"]),
        error_y=style.error_bars(means["sd"]),
        **look,
    )
    if baseline is not None:
        figure.add_hline(y=baseline, line={"color": style.GREY, "dash": "dash"}, annotation_text="source-only")
    title_of_y = style.on_two_lines("top-1, mean over pairs (%)", style.write_spread_over(means))
    figure.update_xaxes(title=name, type="category")
    return figure.update_layout(yaxis_title=title_of_y, showlegend=False)


def sweep_game(runs: pd.DataFrame, values: Mapping[str, float], *, share: float = 1 / 3) -> pd.DataFrame:
    r"""How often F's opponents are right at each value of an option, in the last `share` of the last stage's steps.

    `runs` is from `load_runs`, `values` are by digest of a configuration. Columns value, name (a modality: its D; a
    self-supervised task: its head), right (percent, balanced, on training clips; mean over pairs, seeds and worlds),
    sd (over worlds, over seeds where there is one world), worlds, seeds, pairs. Of runs without opponents there is no
    row.

    Example:
        >>> import json, tempfile
        >>> record = {"kind": "game", "stage": "adapt", "values": {"domain_accuracy/rgb": 80.0}}
        >>> run = {"digest": "0f", "source": "D1", "target": "D3", "world": 0, "seed": 0}
        >>> with tempfile.TemporaryDirectory() as path:
        ...     lines = [json.dumps({**record, "step": step, "total_step": step}) for step in (1, 2)]
        ...     _ = Path(path, "history.jsonl").write_text("\n".join(lines))
        ...     sweep_game(pd.DataFrame([run | {"path": path}]), {"0f": 1.0})[["value", "name"]].to_numpy().tolist()
        [[1.0, 'rgb']]
    """
    runs = runs[runs["digest"].isin(list(values))].drop_duplicates("digest")
    records = [
        {**run, "value": values[str(run["digest"])], "name": name, "right": right}
        for run in runs.to_dict("records")
        for name, right in right_at_the_end(load_history(Path(run["path"])), share).items()
    ]
    played, rows = pd.DataFrame(records, columns=[*runs, "value", "name", "right"]), []
    for (value, name), of_opponent in played.groupby(["value", "name"]):
        seeds = seeds_by_pair(of_opponent, domain_pairs(of_opponent), measure="right")
        mean = spread_by_pair(seeds).rename(columns={"mean": "right"}).loc[MEAN].to_dict()
        rows.append({"value": value, "name": name, **mean, "pairs": seeds.shape[1]})
    return pd.DataFrame(rows, columns=["value", "name", "right", "sd", "worlds", "seeds", "pairs"])


def right_at_the_end(history: pd.DataFrame, share: float = 1 / 3) -> dict[str, float]:
    """How often each of F's opponents is right (percent) in the last `share` of the last stage, from `load_history`.

    Example:
        >>> game = {"kind": "game", "stage": "adapt", "name": "domain_accuracy/rgb"}
        >>> history = pd.DataFrame({**game, "total_step": [1, 2, 3], "step": [1, 2, 3], "value": [90.0, 80.0, 60.0]})
        >>> right_at_the_end(history, share=0.5)
        {'rgb': 60.0}
    """
    curves = game_curves(history)
    first, last = curves["total_step"].min(), curves["total_step"].max()
    late = curves[(curves["quantity"] == "accuracy") & (curves["total_step"] > last - share * (last - first))]
    return {str(name): float(mean) for name, mean in late.groupby("name", sort=False)["mean"].mean().items()}


@hover_in_words
def draw_sweep_game(game: pd.DataFrame, *, name: str, title: str = "The game") -> go.Figure:
    """Draw `sweep_game`: a line per opponent with error bars of one sd, and chance, which the legend names.

    Example:
        >>> game = pd.DataFrame({"value": [0.0, 1.0], "name": "rgb", "right": [80.0, 60.0], "sd": 1.0})
        >>> [trace.name for trace in draw_sweep_game(game.assign(worlds=4, seeds=2), name="λd").data]
        ['D, rgb']
    """
    figure = style.empty_figure(title)
    for played, colour in style.colours(list(game["name"].unique())).items():
        line = game[game["name"] == played].sort_values("value")
        look = {"mode": "lines+markers", "name": opponent(played), "line": {"color": colour, "width": 2.5}}
        bars = style.error_bars(line["sd"])
        figure.add_scatter(x=style.categories(line["value"]), y=style.to_list(line["right"]), error_y=bars, **look)
    figure.add_hline(y=50, line={"color": style.GREY, "dash": "dot"}, name="chance", showlegend=True)
    figure.update_xaxes(title=name, type="category")
    spread = style.write_spread_over(game) if len(game) else ""
    return figure.update_layout(
        yaxis_title=style.on_two_lines("right at the end (%, balanced)", spread), showlegend=True
    )
