"""What the terms of a loss do: how much each adds, how hard it pulls over training, and which modules it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import to_list
from mmsada_lab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


def loss_shares(terms: Mapping[str, float], weights: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """What each term adds to the loss of each stage.

    Args:
        terms: values of the unweighted terms, nats.
        weights: stage -> weight of each term it has.

    Returns:
        Columns stage, term, loss (weight x term, nats; 0 where the stage has no such term), share (percent of the
        stage's loss), a row per stage and term.

    Raises:
        UserError: no term, or no stage.

    Example:
        >>> shares = loss_shares({"classification": 2.0, "mmd": 1.0}, {"adapt": {"classification": 0.5, "mmd": 3}})
        >>> shares["share"].tolist()
        [25.0, 75.0]
    """
    rows = [(s, t, w.get(t, 0.0) * float(value)) for s, w in weights.items() for t, value in terms.items()]
    if not rows:
        raise UserError("nothing to draw; give at least one stage and one term")
    frame = pd.DataFrame(rows, columns=["stage", "term", "loss"])
    return frame.assign(share=100 * frame["loss"] / frame.groupby("stage")["loss"].transform("sum"))


@hover_in_words
def draw_loss_shares(shares: pd.DataFrame, *, title: str = "What each term adds to the loss") -> go.Figure:
    """Draw `loss_shares`: a bar per stage, stacked by term.

    Example:
        >>> draw_loss_shares(loss_shares({"mmd": 1.0}, {"adapt": {"mmd": 3}})).data[0].x
        (3.0,)
    """
    figure = style.empty_figure(title, height=260)
    palette = style.colours(list(shares["term"].unique()))
    for term, of_term in shares.groupby("term", sort=False):
        bar = {"x": to_list(of_term["loss"], 2), "y": to_list(of_term["stage"]), "orientation": "h"}
        figure.add_bar(**bar, name=str(term), marker_color=palette[str(term)])
    figure.update_yaxes(title="stage", autorange="reversed")
    figure.update_layout(barmode="stack", legend_traceorder="normal", showlegend=True)
    return figure.update_layout(xaxis_title="weight × loss (nats)")


@hover_in_words
def draw_coefficients(
    coefficients: pd.DataFrame, *, boundary: float, title: str = "What reaches the features"
) -> go.Figure:
    """Draw coefficients of gradients over optimiser steps, and where the second stage begins.

    Args:
        coefficients: a column per loss term (its name), a row per step.
        boundary: last step of the first stage.
        title: of the figure.

    Example:
        >>> figure = draw_coefficients(pd.DataFrame({"adversarial": [0, 1]}, index=[0, 90]), boundary=30)
        >>> figure.data[0].line.dash, figure.layout.shapes[0].x0
        ('solid', 30)
    """
    figure = style.empty_figure(title)
    palette = style.colours(list(coefficients.columns))
    for number, term in enumerate(map(str, coefficients)):
        points = {"x": to_list(coefficients.index.to_series()), "y": to_list(coefficients[term], 3)}
        figure.add_scatter(**points, name=term, mode="lines", line=style.line(palette[term], number))
    label = {"annotation_text": "pretrain | adapt", "annotation_position": "top"}
    figure.add_vline(x=boundary, line=style.BOUNDARY, **label)
    axes = {"xaxis_title": "optimiser step", "yaxis_title": "coefficient of the gradient into F"}
    return figure.update_layout(**axes, showlegend=True)


def term_reach(terms: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> pd.DataFrame:
    """Which loss term has a gradient into which module: 1 where any weight of it moves, else 0.

    Args:
        terms: scalar losses, whose graph is kept.
        modules: parts of the network, by name.

    Returns:
        A row per term, a column per module.

    Example:
        >>> import torch
        >>> first, second = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        >>> term_reach({"loss": first(torch.ones(1, 1)).sum()}, {"first": first, "second": second}).loc["loss"].tolist()
        [1, 0]
    """
    return pd.DataFrame({n: {m: _reaches(t, module) for m, module in modules.items()} for n, t in terms.items()}).T


def _reaches(term: Tensor, module: nn.Module) -> int:
    import torch

    gradients = torch.autograd.grad(term, list(module.parameters()), retain_graph=True, allow_unused=True)
    return int(any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients))


@hover_in_words
def draw_term_reach(reach: pd.DataFrame, *, title: str = "Which term trains which part") -> go.Figure:
    """Draw `term_reach`: dark where a term trains a module.

    Example:
        >>> draw_term_reach(pd.DataFrame({"F": [1], "D": [0]}, index=["mmd"])).data[0].z
        ([1, 0],)
    """
    figure = style.empty_figure(title, height=110 + 45 * len(reach))
    words = [["trains" if cell else "does not train" for cell in row] for row in reach.to_numpy()]
    cells = {"z": reach.to_numpy().tolist(), "x": list(reach.columns), "y": list(reach.index), "text": words}
    look = {"colorscale": style.PERCENT_SCALE, "zmin": 0, "zmax": 1, "showscale": False, "xgap": 3, "ygap": 3}
    figure.add_heatmap(**cells, **look, hovertemplate="%{y} %{text} %{x}<extra></extra>")
    return figure.update_layout(
        xaxis_title="part of the network", yaxis={"autorange": "reversed", "title": "loss term"}
    )
