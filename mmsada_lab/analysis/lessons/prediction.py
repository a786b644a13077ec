"""A guess beside what came of it: gains of methods that were predicted, and those of the runs; data first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import xy
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS

GUESS = "your guess"
"""Name of the bars of a prediction, among those of streams."""

_AXIS = (-10.0, 30.0)
WHITE = "#FFFFFF"


def prediction_bars(gains: pd.DataFrame, predicted: Mapping[str, float]) -> pd.DataFrame:
    """Guessed gains beside those of the runs.

    Args:
        gains: points above source-only, a row per method (by name), a column per stream.
        predicted: method -> guessed points of the first stream; methods without a guess are left out.

    Returns:
        Columns method (its title), name (`GUESS` or a stream), points, a row per bar, the guesses first.

    Raises:
        UserError: no method, gains that are not finite, or a guess for a method that is not there.

    Example:
        >>> gains = pd.DataFrame({"fused": [9.2]}, index=["adabn"])
        >>> prediction_bars(gains, {"adabn": 2.0})[["name", "points"]].to_numpy().tolist()
        [['your guess', 2.0], ['fused', 9.2]]
    """
    _check(gains, predicted)
    guesses = [(_title(str(name)), GUESS, float(predicted[name])) for name in gains.index if name in predicted]
    runs = [(_title(str(name)), str(s), float(gain)) for s in gains for name, gain in gains[s].items()]
    return pd.DataFrame([*guesses, *runs], columns=["method", "name", "points"])


def _title(name: str) -> str:
    return METHODS[name].title if name in METHODS else name


def _check(gains: pd.DataFrame, predicted: Mapping[str, float]) -> None:
    if gains.empty or not np.isfinite(gains.to_numpy(dtype=float)).all():
        raise UserError("no gain to guess, or one that is not finite; give a row for each method that was trained")
    if unknown_names := [name for name in predicted if name not in gains.index]:
        raise UserError(f"a guess for {', '.join(unknown_names)}; there are runs of {', '.join(gains.index)}")


class PredictionScore(NamedTuple):
    """How good a guess was.

    Attributes:
        error: mean absolute error over the guessed methods, points; missing without a guess.
        guessed_best: title of the method that was guessed to gain most; empty without a guess.
        best: title of the one that did.
    """

    error: float
    guessed_best: str
    best: str

    def __str__(self) -> str:
        """The sentence that a picture of both stands below."""
        if not self.guessed_best:
            return f"no guess; {self.best} gained most"
        ranked = "as you guessed" if self.guessed_best == self.best else f"you guessed {self.guessed_best}"
        return f"your guess is off by {self.error:.1f} points on average; {self.best} gained most, {ranked}"


def score_prediction(gains: pd.DataFrame, predicted: Mapping[str, float]) -> PredictionScore:
    """Compare guessed gains with those of the runs, in the first stream; of equal ones the first counts as best.

    Example:
        >>> gains = pd.DataFrame({"fused": [9.0, 14.0]}, index=["adabn", "mmsada"])
        >>> str(score_prediction(gains, {"adabn": 10.0, "mmsada": 8.0}))
        'your guess is off by 3.5 points on average; MM-SADA gained most, you guessed AdaBN'
    """
    _check(gains, predicted)
    came = gains.iloc[:, 0]
    guesses = pd.Series({name: float(predicted[name]) for name in gains.index if name in predicted}, dtype=float)
    best = _title(str(came.idxmax()))
    if guesses.empty:
        return PredictionScore(float("nan"), "", best)
    return PredictionScore(float((guesses - came).abs().mean()), _title(str(guesses.idxmax())), best)


@hover_in_words
def draw_prediction(bars: pd.DataFrame, *, title: str = "Points above source-only") -> go.Figure:
    """Draw `prediction_bars`: a group per method, the guess in hatched white, streams in their colours.

    The axis is the same whether runs are among the bars or not, unless they go beyond it: it gives nothing away.

    Example:
        >>> gains = pd.DataFrame({"fused": [9.2]}, index=["adabn"])
        >>> [bar.name for bar in draw_prediction(prediction_bars(gains, {"adabn": 2.0})).data]
        ['your guess', 'fused']
    """
    figure = style.empty_figure(title)
    palette = style.colours([name for name in bars["name"].unique() if name != GUESS])
    for name, of_name in bars.groupby("name", sort=False):
        look: dict[str, Any] = {"color": palette.get(str(name), WHITE)}
        if name == GUESS:
            look = {"color": WHITE, "line": {"color": style.INK, "width": 1.5}, "pattern": {"shape": "/"}}
        texts = [f"{points:+.1f}" for points in of_name["points"]]
        figure.add_bar(**xy(of_name, "method", "points", 2), name=str(name), marker=look, text=texts)
    figure.update_traces(textposition="outside", cliponaxis=False)
    figure.add_hline(y=0, line={"color": style.GREY, "dash": "dash"})
    low, high = min(bars["points"].min(), _AXIS[0]), max(bars["points"].max(), _AXIS[1])
    figure.update_yaxes(title="top-1, difference (points)", range=[round(float(low)) - 1, round(float(high)) + 1])
    figure.update_xaxes(title="method (one seed, no spread)", categoryorder="array")
    return figure.update_layout(barmode="group", showlegend=True)
