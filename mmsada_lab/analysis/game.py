"""The game between F and its opponents, of a run's records: who is ahead, and what arrives at F of every loss term.

The data first, then a pure drawing of exactly those data. A history of several runs has a column ``run`` (see
`stack_runs`); then lines are means over runs and bands are one standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.curves import add_recorded, mark_boundary, mean_over_runs, records_of
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import xy
from mmsada_lab.facts import PRETEXTS

_PANELS = {"accuracy": (1, 1), "loss": (1, 2), "reversal": (2, 1)}
"""Row and column of each quantity: the reversal is a strip below the accuracies."""


def game_curves(history: pd.DataFrame, *, window: int = 15) -> pd.DataFrame:
    """How F's opponents do over the last stage, on their training clips, from `load_history`, one or several stacked.

    Columns quantity (``accuracy``, balanced, percent; ``loss``, nats; ``reversal``), name (a modality: its D; a
    self-supervised task: its head; ``reversal``), stage, total_step, mean (of the recorded values), runs, smooth (of
    every run's centred mean over `window` steps) and its sd (over runs, missing for one). Without opponents, as
    source-only is, there is no row.

    Example:
        >>> records = {"kind": "game", "stage": "adapt", "total_step": [1, 2], "name": "domain_accuracy/rgb"}
        >>> curves = game_curves(pd.DataFrame({**records, "value": [50.0, 70.0]}))
        >>> curves[["quantity", "name", "smooth"]].to_numpy().tolist()
        [['accuracy', 'rgb', 60.0], ['accuracy', 'rgb', 60.0]]
    """
    records = records_of(history, "game")
    of_opponents = ~records["name"].str.startswith("gradient/")
    curves = _smoothed(records[of_opponents & (records["stage"] == records["stage"].iloc[-1])], window)
    names = [_quantity_and_name(name) for name in curves["name"]]
    curves["name"] = [name for _, name in names]
    curves.insert(0, "quantity", [quantity for quantity, _ in names])
    return curves


def _quantity_and_name(recorded: str) -> tuple[str, str]:
    """``domain_loss/rgb`` is the loss of rgb's D, ``correspondence_accuracy`` the accuracy of C."""
    what, _, modality = recorded.partition("/")
    if modality:
        return what.removeprefix("domain_"), modality
    return ("accuracy", what.removesuffix("_accuracy")) if what.endswith("_accuracy") else (what, what)


@hover_in_words
def draw_game(curves: pd.DataFrame, *, title: str = "The game") -> go.Figure:
    """Draw `game_curves`: accuracies with chance, below them the reversal, beside them D's loss with that of guessing.

    Recorded values (or the band over runs) are faint, smoothed ones bold.

    Example:
        >>> records = {"kind": "game", "stage": "adapt", "total_step": [1, 2], "name": "domain_accuracy/rgb"}
        >>> curves = game_curves(pd.DataFrame({**records, "value": [50.0, 70.0]}))
        >>> [trace.name for trace in draw_game(curves).data if trace.name]
        ['D, rgb']
    """
    specs = [[{}, {"rowspan": 2}], [{}, None]]
    spacing = {"row_heights": [0.78, 0.22], "vertical_spacing": 0.06, "horizontal_spacing": 0.17}
    figure = style.empty_figure(title, panels=(2, 2), height=480, specs=specs, **spacing)
    played = curves[curves["quantity"].isin(["accuracy", "loss"])]
    names = list(played["name"].unique())
    for name, colour in style.colours(names).items():
        line = style.line(colour, names.index(name))
        of_name = played[played["name"] == name]
        for quantity in of_name["quantity"].unique():  # one entry of the legend for both
            legend = {"name": opponent(name), "showlegend": quantity == of_name["quantity"].iloc[0]}
            _add_curve(figure, of_name[of_name["quantity"] == quantity], line, legend, _PANELS[quantity])
    reversal = curves[curves["quantity"] == "reversal"]
    if len(reversal):
        row, col = _PANELS["reversal"]
        thin = {"mode": "lines", "line": {"color": style.INK, "width": 1.5}, "showlegend": False}
        figure.add_scatter(**xy(reversal, "total_step", "mean"), **thin, row=row, col=col)
    _add_levels(figure, curves)
    return _label_axes(figure, curves)


def _add_curve(
    figure: go.Figure, curve: pd.DataFrame, line: Mapping[str, Any], legend: Mapping[str, Any], panel: tuple[int, int]
) -> None:
    """The smoothed values, and behind them those recorded, or the band over runs."""
    row, col = panel
    behind = curve if curve["runs"].iloc[0] == 1 else curve.assign(mean=curve["smooth"])
    add_recorded(figure, behind, line["color"], row=row, col=col)
    look = {"mode": "lines", "line": line, "legendgroup": curve["name"].iloc[0], **legend}
    figure.add_scatter(**xy(curve, "total_step", "smooth"), **look, row=row, col=col)


def opponent(name: str) -> str:
    """What a figure calls an opponent of F: D of a modality, C of a self-supervised task.

    Example:
        >>> opponent("rgb"), opponent("correspondence")
        ('D, rgb', 'C, correspondence')
    """
    return f"{'C' if name in PRETEXTS else 'D'}, {name}"


def _add_levels(figure: go.Figure, curves: pd.DataFrame) -> None:
    """What guessing gives; and a word in every panel that has nothing to show."""
    for quantity, (row, col) in _PANELS.items():
        if quantity not in set(curves["quantity"]):
            text = "no reversal" if quantity == "reversal" else "no discriminator"
            figure.add_scatter(x=[], y=[], **style.HIDDEN, row=row, col=col)  # or there would be no axes
            where = {"xref": "x domain", "yref": "y domain", "x": 0.5, "y": 0.5, "showarrow": False}
            figure.add_annotation(text=text, font_color=style.GREY, **where, row=row, col=col)
    dotted = {"color": style.GREY, "dash": "dot", "width": 1.5}
    levels = (("accuracy", 50.0, "chance", "bottom"), ("loss", math.log(2), "ln 2: guessing", "top"))
    for quantity, level, text, side in levels:
        row, col = _PANELS[quantity]
        label = {"annotation_text": text, "annotation_position": f"{side} right"}
        figure.add_hline(y=level, row=row, col=col, line=dotted, **label)


def _label_axes(figure: go.Figure, curves: pd.DataFrame) -> go.Figure:
    spread = style.write_spread(curves["runs"], "runs")
    lowest = min([40.0, *curves.loc[curves["quantity"] == "accuracy", "smooth"] - 5])
    figure.update_yaxes(
        title=style.on_two_lines("right (%, balanced", spread) + ")", range=[max(lowest, 0.0), 101], row=1, col=1
    )
    figure.update_yaxes(title=style.on_two_lines("loss of D (nats", spread) + ")", rangemode="tozero", row=1, col=2)
    figure.update_yaxes(title="reversal", rangemode="tozero", nticks=3, row=2, col=1)
    figure.update_xaxes(showticklabels=False, row=1, col=1)
    for row, col in ((2, 1), (1, 2)):
        figure.update_xaxes(title="optimiser step", matches="x", row=row, col=col)
    return figure


LEARNT, AHEAD = 60.0, 5.0
"""Percent right from which a D has learnt something; points below its highest up to which it still has what it won."""


def game_verdicts(curves: pd.DataFrame) -> pd.DataFrame:
    """How the game went for each opponent, in words, from the smoothed accuracies of `game_curves`.

    Columns name (``D, rgb``), highest, end (percent right, balanced; means over runs), verdict: a D that never is right
    in `LEARNT` % of cases has learnt nothing; one that ends `AHEAD` points below its highest was answered by F.

    Example:
        >>> records = {"kind": "game", "stage": "adapt", "total_step": [1, 40, 80], "name": "domain_accuracy/rgb"}
        >>> game_verdicts(game_curves(pd.DataFrame({**records, "value": [50.0, 90.0, 60.0]})))["verdict"].tolist()
        ['was answered by the features']
    """
    accuracies = curves[curves["quantity"] == "accuracy"].groupby("name", sort=False)["smooth"]
    table = accuracies.agg(highest="max", end="last").reset_index()
    verdicts = [_verdict(str(name), top, end) for name, top, end in table.itertuples(index=False)]
    return table.assign(name=[opponent(str(name)) for name in table["name"]], verdict=verdicts)


def _verdict(name: str, highest: float, end: float) -> str:
    if name in PRETEXTS:
        return "is helped by the features"
    if highest < LEARNT:
        return "never learnt to tell the domains apart"
    return "was answered by the features" if end < highest - AHEAD else "is still ahead of the features"


def gradient_sizes(history: pd.DataFrame, *, window: int = 15) -> pd.DataFrame:
    """Norms of the weighted terms' gradients into F over training, from `load_history`, one or several stacked.

    They are those with respect to the features of a batch, reversal included. Columns modality, name (of the term),
    stage, total_step, mean (of the recorded values), runs, smooth (of every run's centred mean over `window` steps of a
    stage) and its sd (over runs, missing for one).

    Example:
        >>> records = {"kind": "game", "stage": "adapt", "total_step": 1, "name": ["gradient/mmd/rgb", "reversal"]}
        >>> sizes = gradient_sizes(pd.DataFrame({**records, "value": [3.0, 0.2]}))
        >>> sizes[["modality", "name", "smooth"]].to_numpy().tolist()
        [['rgb', 'mmd', 3.0]]
    """
    records = records_of(history, "game")
    sizes = _smoothed(records[records["name"].str.startswith("gradient/")], window)
    names = [str(name).split("/") for name in sizes["name"]]
    sizes["name"] = [term for _, term, _ in names]
    sizes.insert(0, "modality", [modality for _, _, modality in names])
    return sizes


@hover_in_words
def draw_gradient_sizes(sizes: pd.DataFrame, *, title: str = "What arrives at F") -> go.Figure:
    """Draw `gradient_sizes` on a logarithmic axis, a panel per modality; a term that never arrives is named as 0.

    Recorded values (or the band over runs, cut where the axis ends) are faint, smoothed ones bold.

    Example:
        >>> records = {"kind": "game", "stage": "adapt", "total_step": 1, "name": ["gradient/mmd/rgb", "reversal"]}
        >>> sizes = gradient_sizes(pd.DataFrame({**records, "value": [3.0, 0.2]}))
        >>> [trace.name for trace in draw_gradient_sizes(sizes).data if trace.name]
        ['mmd']
    """
    modalities, terms = list(sizes["modality"].unique()), list(sizes["name"].unique())
    sharing = {"subplot_titles": modalities, "shared_yaxes": True, "horizontal_spacing": 0.04}
    figure = style.empty_figure(title, panels=(1, max(len(modalities), 1)), height=440, **sharing)
    lowest = sizes.loc[sizes["smooth"] > 0, "smooth"].min()
    for term, colour in style.colours(terms).items():
        line = style.line(colour, terms.index(term))
        of_term = sizes[sizes["name"] == term]
        name = term if (of_term["mean"] > 0).any() else f"{term}: 0"
        for modality in of_term["modality"].unique():
            legend = {"name": name, "showlegend": modality == of_term["modality"].iloc[0]}
            curve = _above_0(of_term[of_term["modality"] == modality], lowest)
            _add_curve(figure, curve, line, legend, (1, modalities.index(modality) + 1))
    mark_boundary(figure, sizes, position="bottom left")
    spread = style.write_spread(sizes["runs"], "runs")
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    figure.update_yaxes(title=f"norm of the gradient into F{spread}", col=1)
    return figure.update_xaxes(title="optimiser step")


def _above_0(curve: pd.DataFrame, lowest: float) -> pd.DataFrame:
    """What a logarithm can show: gaps for zeros, and `lowest` for a band's lower edge below it."""
    curve = curve.assign(sd=curve["sd"].clip(upper=(curve["smooth"] - lowest).clip(lower=0)))
    return curve.assign(**{column: curve[column].where(curve[column] > 0) for column in ("mean", "smooth")})


def _smoothed(records: pd.DataFrame, window: int) -> pd.DataFrame:
    """Means over runs, of every record and of every run's centred mean over `window` steps of a stage (smooth, sd)."""
    records = records.reset_index(drop=True)
    smoothed = records["value"].astype(float)
    for _, curve in records.groupby(["stage", "name", *({"run"} & set(records))], sort=False):
        # Windows of time are what pandas knows: steps as seconds, of however many a record is the mean.
        seconds = pd.to_timedelta(curve["total_step"].to_numpy(), unit="s")
        rolled = pd.Series(curve["value"].to_numpy(), index=seconds).rolling(f"{window}s", center=True).mean()
        smoothed[curve.index] = rolled.to_numpy()
    curves, smooth = mean_over_runs(records), mean_over_runs(records.assign(value=smoothed))
    return curves.assign(sd=smooth["sd"], smooth=smooth["mean"])
