"""What a method gains over another, pair by pair and world by world, at the settings of a preset."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.differences import interval_of
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.tables import of_stream, seeds_by_pair
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED
from mmsada_lab.paper import PAIRS
from mmsada_lab.presets import build_config


def preset_gains(
    runs: pd.DataFrame,
    *,
    better: str = "mmsada",
    baseline: str = "source_only",
    stream: str = FUSED,
    data: str = "kitchens",
    preset: str = "quick",
) -> pd.DataFrame:
    """Differences of top-1 (points) of two methods, each as a preset has it, on the six pairs of D1, D2 and D3.

    Args:
        runs: from `load_runs`; runs with other settings are left out.
        better: a method.
        baseline: the method that it is compared with.
        stream: whose accuracy.
        data: specification without the seed of a world.
        preset: of both.

    Returns:
        A row per world and seed that both methods have, a column per pair.

    Raises:
        UserError: no such runs of one of the methods.

    Example:
        >>> from mmsada_lab.runs import load_runs
        >>> from mmsada_lab.sweeps.keep import reference_runs
        >>> gains = preset_gains(load_runs(reference_runs()))
        >>> gains.shape, round(interval_of(gains).difference, 1)  # 4 worlds of 2 seeds, 6 pairs
        ((8, 6), 8.3)
    """
    of_methods = []
    for method in (better, baseline):
        settings = {
            build_config(preset, data=data, method=method, source=source, target=target).digest
            for source, target in PAIRS
        }
        chosen = runs[runs["setting"].isin(settings)]
        if chosen.empty:
            raise UserError(f"no run of {method} on {data} as preset {preset} has it; train some, or give others")
        of_methods.append(seeds_by_pair(of_stream(chosen, stream), PAIRS))
    return (of_methods[0] - of_methods[1]).dropna(axis=0, how="any")


@hover_in_words
def draw_gains(gains: pd.DataFrame, *, title: str = "Gains, pair by pair") -> go.Figure:
    """Draw `preset_gains`: a bar per pair with its number above the error bar; grey where it loses.

    The dashed line is the mean, the band its 95 % interval over worlds (see `interval_of`), where there is one.

    Example:
        >>> rows = pd.MultiIndex.from_product([range(4), [0]], names=["world", "seed"])
        >>> gains = pd.DataFrame({"D2→D1": [1.0, 2.0, 3.0, 4.0], "D1→D2": -1.0}, rows)
        >>> [note.text for note in draw_gains(gains).layout.annotations[:2]]
        ['+2.5', '-1.0']
    """
    difference, of_worlds = interval_of(gains), gains.groupby("world").mean()
    bars = pd.DataFrame({"pair": list(gains), "mean": of_worlds.mean().tolist(), "sd": of_worlds.std().tolist()})
    figure = style.empty_figure(title)
    colours = [style.GREY if mean < 0 else style.INK for mean in bars["mean"]]
    error = {**style.error_bars(bars["sd"].round(2)), "color": style.CYCLE[-1]}
    figure.add_bar(**style.xy(bars, "pair", "mean", 1), marker_color=colours, error_y=error, showlegend=False)
    for bar in bars.fillna({"sd": 0.0}).to_dict("records"):
        top = round(max(bar["mean"], 0.0) + bar["sd"], 2)
        place = {"x": bar["pair"], "y": top, "yanchor": "bottom", "yshift": 2}
        figure.add_annotation(text=f"{bar['mean']:+.1f}", showarrow=False, **place)
    if difference.over_worlds:
        low, high = (round(end, 1) for end in difference.over_worlds)
        figure.add_hrect(y0=low, y1=high, fillcolor=style.GREY, opacity=0.2, line_width=0, layer="below")
    figure.add_hline(y=round(difference.difference, 1), line={"color": style.GREY, "dash": "dash"}, layer="below")
    worlds = f" (± sd over {difference.worlds} worlds)" if difference.worlds > 1 else ""
    return figure.update_layout(xaxis_title=f"pair{worlds}", yaxis_title="difference (points of top-1)")
