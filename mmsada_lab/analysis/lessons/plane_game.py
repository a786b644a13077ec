"""The adversarial game on a plane: points that are their own features, and discriminators that are straight lines.

Legend: `N` points of a domain, `F` features of a point, 2 where it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.lessons.feature_plane import draw_plane, plane_border, plane_points
from mmsada_lab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

PLAYED_STEPS = 100
POINT_RATE, WEIGHT_RATE, WEIGHT_DECAY = 8.0, 2.0, 0.1
"""Learning rates of the points and of D, and D's weight decay."""


class GameState(NamedTuple):
    """The game after some steps: source and target -> `(N, 2)` points, and D's `(6,)` weights."""

    points: dict[str, Floats]
    weights: Floats


def straight_line(x: Tensor, w: Tensor) -> list[Tensor]:
    """Scores `(N,)` of one linear discriminator, ``w1 x1 + w2 x2 + b``: the weights are ``w1, w2, b``."""
    return [x @ w[:2] + w[2]]


def play_game(
    clouds: Mapping[str, ArrayLike],
    steps: int = PLAYED_STEPS,
    *,
    coefficient: float = 1.0,
    scores: Callable[[Tensor, Tensor], list[Tensor]] = straight_line,
) -> list[GameState]:
    """Play the game of Eq. 2 on a plane, where the points themselves are the features.

    With ``L = sum_D mean over points of -d log D(x) - (1 - d) log(1 - D(x))``, every step is one of gradient descent,
    in which both move at once:

        w <- w - 2 (dL/dw + 0.1 w)       D descends: it learns to tell source (0) from target (1)
        x <- x + 8 coefficient dL/dx     behind the reversal, points climb: they learn to leave it guessing

    Args:
        clouds: source and target -> `(N, 2)` points to start from.
        steps: to play.
        coefficient: of the reversal; at 0 D learns alone.
        scores: of `(N, 2)` points by `(6,)` weights, `(N,)` for each discriminator; one straight line as it comes.

    Returns:
        The states after 0, 1, ..., `steps` steps; weights start at 0.

    Raises:
        UserError: sides other than source and target, points that are no `(N, 2)`, a coefficient that is not finite.

    Example:
        >>> clouds = {"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}
        >>> states = play_game(clouds, 2)
        >>> [state.weights[:3].round(2).tolist() for state in states]  # after one step D is to the right of 0
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.34, 0.0, 0.0]]
        >>> states[2].points["target"].round(2).tolist()  # the target steps to the left, out of D's reach
        [[-0.08, 0.0]]
    """
    import torch

    from mmsada_lab.losses import domain_adversarial_loss
    from mmsada_lab.models.heads import reverse_gradient

    _check_sides(clouds, coefficient)
    points = {side: torch.tensor(np.asarray(cloud, dtype=np.float64)) for side, cloud in clouds.items()}
    if any(cloud.ndim != 2 or cloud.shape[1] != 2 or not len(cloud) for cloud in points.values()):
        raise UserError(f"points of shapes {[tuple(c.shape) for c in points.values()]}; give (N, 2) of each side")
    weights = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    moving = {"params": [cloud.requires_grad_() for cloud in points.values()], "lr": POINT_RATE}
    optimiser = torch.optim.SGD([moving, {"params": [weights], "lr": WEIGHT_RATE, "weight_decay": WEIGHT_DECAY}])

    def state() -> GameState:
        return GameState(
            {side: x.detach().numpy().copy() for side, x in points.items()}, weights.detach().numpy().copy()
        )

    states = [state()]
    for _ in range(steps):
        source, target = (scores(reverse_gradient(x, coefficient), weights) for x in points.values())
        losses = [domain_adversarial_loss(*of_both) for of_both in zip(source, target, strict=True)]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        states.append(state())
    return states


def _check_sides(clouds: Mapping[str, ArrayLike], coefficient: float) -> None:
    if list(clouds) != ["source", "target"] or not math.isfinite(coefficient):
        sides = ", ".join(clouds)
        raise UserError(f"clouds of {sides} and coefficient {coefficient}; give source and target, and a finite number")


def told_right(state: GameState) -> float:
    """How many points a straight line tells right, in percent: source below 0, target above.

    Example:
        >>> points = {"source": [[-1.0, 0.0], [3.0, 0.0]], "target": [[2.0, 5.0], [0.0, 0.0]]}
        >>> told_right(GameState(points, np.array([1.0, 0.0, -1.0])))
        50.0
    """
    w = np.asarray(state.weights, dtype=float)
    below, above = (np.asarray(state.points[side]) @ w[:2] + w[2] for side in ("source", "target"))
    return 100 * float(np.concatenate([below < 0, above > 0]).mean())


def game_steps(states: Sequence[GameState]) -> pd.DataFrame:
    """How D does over a game: column ``right`` (`told_right`, percent) by step; missing before it has learnt anything.

    Example:
        >>> states = play_game({"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}, 1)
        >>> game_steps(states)["right"].tolist()
        [nan, 100.0]
    """
    right = [told_right(state) if state.weights.any() else math.nan for state in states]
    return pd.DataFrame({"right": right}, index=pd.RangeIndex(len(states), name="step"))


@hover_in_words
def draw_game_steps(states: Sequence[GameState], *, at: Sequence[int], title: str = "The game") -> go.Figure:
    """Draw the clouds and D's border after some steps, a panel for each; how many D tells right stands above.

    Example:
        >>> states = play_game({"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}, 2)
        >>> [text.text for text in draw_game_steps(states, at=[1]).layout.annotations]
        ['step 1: 100 %']
    """
    if not at or not 0 <= min(at) <= max(at) < len(states):
        raise UserError(f"steps {list(at)} of a game of {len(states) - 1}; give one or more of 0 to {len(states) - 1}")
    panels = {f"step {step}: {_write_right(states[step])}": states[step] for step in at}
    points = pd.concat([plane_points(state.points, panel=panel) for panel, state in panels.items()])
    return draw_plane(points, borders=_borders(panels), title=title)


def _write_right(state: GameState) -> str:
    return f"{told_right(state):.0f} %" if state.weights.any() else "not learnt"


def _borders(panels: Mapping[str, GameState]) -> pd.DataFrame | None:
    """D's border in every panel where it has learnt something."""
    borders = [
        plane_border(state.weights[:2], float(state.weights[2]), name="D's border", panel=panel)
        for panel, state in panels.items()
        if state.weights[:2].any()
    ]
    return pd.concat(borders) if borders else None


@hover_in_words
def draw_played_game(states: Sequence[GameState], *, step: int, title: str = "The game") -> go.Figure:
    """Draw a game after some steps: clouds and D's border; beside them how many D told right up to then, and after.

    Axes hold the whole game, so that nothing but the game moves.

    Example:
        >>> states = play_game({"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}, 2)
        >>> [trace.name for trace in draw_played_game(states, step=1).data]
        ['source', 'target', "D's border", 'told right', 'step 1']
    """
    if not 0 <= step < len(states):
        raise UserError(f"step {step} of a game of {len(states) - 1}; give 0 to {len(states) - 1}")
    state = states[step]
    everywhere = np.concatenate([cloud for s in states for cloud in s.points.values()])
    corners = plane_points({"source": [everywhere.min(axis=0), everywhere.max(axis=0)]})
    plane, axes = draw_plane(plane_points(state.points), borders=_borders({"": state})), draw_plane(corners).layout
    figure = make_subplots(1, 2, column_widths=[0.55, 0.45], horizontal_spacing=0.12)
    figure.update_layout(template=style.TEMPLATE, title={"text": title}, height=420)
    figure.add_traces(list(plane.data), rows=[1] * len(plane.data), cols=[1] * len(plane.data))
    if len(plane.data) < 3:  # D has no border yet; its trace is there, so that a game in motion keeps its traces
        line = {"color": style.INK, "width": 2}
        figure.add_scatter(x=[], y=[], mode="lines", line=line, name="D's border", row=1, col=1)
    right = game_steps(states)["right"].round(1)
    curve = {"x": list(range(len(states))), "y": style.to_list(right)}
    figure.add_scatter(**curve, mode="lines", line=style.line(style.GREY, 0), name="told right", row=1, col=2)
    here = {"x": [step], "y": style.to_list(right[[step]]), "mode": "markers", "showlegend": False}
    figure.add_scatter(**here, marker={"color": style.INK, "size": 11}, name=f"step {step}", row=1, col=2)
    dotted = {"color": style.GREY, "dash": "dot", "width": 1.5}
    figure.add_hline(y=50, line=dotted, annotation_text="chance", annotation_position="bottom right", row=1, col=2)
    figure.update_xaxes(title="feature 1 (no unit)", range=axes.xaxis.range, col=1)
    figure.update_yaxes(title="feature 2 (no unit)", range=axes.yaxis.range, col=1)
    figure.update_xaxes(title="step", range=[-2, len(states) + 1], col=2)
    figure.update_yaxes(title="points told right (%)", range=[min(40, right.min() - 5), 103], col=2)
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, showlegend=True)


def reversal_gradients(
    clouds: Mapping[str, ArrayLike], *, weights: ArrayLike, offset: float, coefficient: float
) -> dict[str, Floats]:
    """Gradients of a linear discriminator's loss (Eq. 2) behind a gradient reversal.

    Args:
        clouds: source and target -> `(N, F)` features.
        weights: of the discriminator, `(F,)`.
        offset: its bias.
        coefficient: of the reversal, at least 0; -1 is no layer at all.

    Returns:
        source and target -> `(N, F)` gradient into the features; discriminator -> `(F + 1,)` gradient of its weights
        and bias, which no coefficient changes. In nats per unit.

    Raises:
        UserError: other sides than source and target, widths that do not fit, a coefficient that is not finite.

    Example:
        >>> clouds = {"source": [[0.0, 0.0]], "target": [[0.0, 0.0]]}
        >>> gradients = reversal_gradients(clouds, weights=[1.0, 0.0], offset=0.0, coefficient=0.5)
        >>> gradients["source"].tolist()  # of -log(1 - D): D w / 2 clips = 0.25 w, times -0.5
        [[-0.125, -0.0]]
    """
    import torch

    from mmsada_lab.losses import domain_adversarial_loss
    from mmsada_lab.models.heads import reverse_gradient

    _check_sides(clouds, coefficient)
    points = {side: torch.tensor(np.asarray(c, dtype=np.float64), requires_grad=True) for side, c in clouds.items()}
    w = torch.tensor(np.asarray(weights, dtype=np.float64), requires_grad=True)
    b = torch.tensor(float(offset), dtype=torch.float64, requires_grad=True)
    if any(cloud.ndim != 2 or cloud.shape[1:] != w.shape or not len(cloud) for cloud in points.values()):
        shapes = {side: tuple(cloud.shape) for side, cloud in points.items()}
        raise UserError(f"points of shapes {shapes} and weights {tuple(w.shape)}; give (N, F) of each side, and (F,)")
    scores = [reverse_gradient(cloud, coefficient) @ w + b for cloud in points.values()]
    source, target, of_w, of_b = torch.autograd.grad(domain_adversarial_loss(*scores), [*points.values(), w, b])
    own = torch.cat([of_w, of_b[None]])
    return {"source": source.numpy(), "target": target.numpy(), "discriminator": own.numpy()}


def reversal_points(
    clouds: Mapping[str, ArrayLike], gradients: Mapping[str, Floats], *, longer: float = 150.0, panel: str = ""
) -> pd.DataFrame:
    """`plane_points` of both domains in a panel, with a step down `reversal_gradients`, so many times longer.

    Example:
        >>> clouds = {"source": [[1.0, 0.0]], "target": [[2.0, 0.0]]}
        >>> moves = {side: np.array([[0.5, 0.0]]) for side in clouds}
        >>> reversal_points(clouds, moves, longer=2.0)["dx"].tolist()
        [-1.0, -1.0]
    """
    return plane_points(clouds, moves={side: -longer * gradients[side] for side in clouds}, panel=panel)


@hover_in_words
def draw_reversals(
    clouds: Mapping[str, ArrayLike],
    weights: ArrayLike,
    *,
    coefficients: Mapping[str, float],
    longer: float = 150.0,
    title: str = "One step of gradient descent",
) -> go.Figure:
    """Draw the step that points take behind reversals of some coefficients, a panel each, and D's border.

    Args:
        clouds: source and target -> `(N, 2)` points.
        weights: of D, ``w1, w2, b``.
        coefficients: panel -> that of its reversal; -1 is no layer at all.
        longer: how many times longer than a step of gradient descent an arrow is.
        title: of the figure.

    Example:
        >>> clouds = {"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}
        >>> figure = draw_reversals(clouds, [1.0, 0.0, 0.0], coefficients={"plain": -1.0, "reversed": 1.0})
        >>> [text.text for text in figure.layout.annotations]
        ['plain', 'reversed']
    """
    w = np.asarray(weights, dtype=float)
    points, borders = [], []
    for panel, coefficient in coefficients.items():
        into = reversal_gradients(clouds, weights=w[:2], offset=float(w[2]), coefficient=coefficient)
        points.append(reversal_points(clouds, into, longer=longer, panel=panel))
        borders.append(plane_border(w[:2], float(w[2]), name="D's border", panel=panel))
    return draw_plane(pd.concat(points), borders=pd.concat(borders), title=title)


def mean_gaps(games: Mapping[str, Sequence[GameState]], *, names: tuple[str, str]) -> pd.DataFrame:
    """How far apart the means of both domains are over some games, along each feature.

    Args:
        games: name -> its states, all of as many steps.
        names: of the two features.

    Returns:
        A column ``GAME: FEATURE`` (units of the features) for every game and feature, by step.

    Example:
        >>> states = play_game({"source": [[-1.0, 0.0]], "target": [[1.0, 3.0]]}, 0)
        >>> mean_gaps({"one line": states}, names=("rgb", "flow")).iloc[0].to_dict()
        {'one line: rgb': 2.0, 'one line: flow': 3.0}
    """
    gaps: dict[str, Floats] = {}
    for game, states in games.items():
        apart = [np.mean(s.points["target"], axis=0) - np.mean(s.points["source"], axis=0) for s in states]
        gaps |= {f"{game}: {name}": np.abs(apart)[:, number] for number, name in enumerate(names)}
    return pd.DataFrame(gaps).rename_axis("step")


@hover_in_words
def draw_mean_gaps(gaps: pd.DataFrame, *, every: int = 4, title: str = "How far apart the domains are") -> go.Figure:
    """Draw `mean_gaps`: a colour for every game, solid the first feature and dotted the second; every so many steps.

    Example:
        >>> gaps = pd.DataFrame({"one line: rgb": [2.0], "one line: flow": [3.0]})
        >>> [trace.line.dash for trace in draw_mean_gaps(gaps).data]
        ['solid', 'dot']
    """
    from mmsada_lab.analysis.lessons.line_chart import draw_lines

    games = list(dict.fromkeys(str(name).rpartition(": ")[0] for name in gaps))
    paint = dict(zip(games, style.CYCLE, strict=False))
    colours = {str(name): paint[str(name).rpartition(": ")[0]] for name in gaps}
    dashes = {str(name): ("solid", "dot")[number % 2] for number, name in enumerate(gaps)}
    axes = ("step", "gap of the means (standard deviations)")
    return draw_lines(gaps[::every], axes=axes, colours=colours, dashes=dashes, title=title)


def alike_classes(
    counts: Mapping[str, tuple[int, int]], *, seed: int = 0
) -> tuple[dict[str, Floats], dict[str, NDArray[np.int64]]]:
    """Two classes that look exactly alike in both domains: normal around (-1.5, 0) and (1.5, 0), with sd 0.5.

    Args:
        counts: source and target -> points of class 0 and of class 1.
        seed: of the draws.

    Returns:
        Points `(N, 2)` and labels `(N,)` of each side.

    Example:
        >>> points, labels = alike_classes({"source": (3, 1), "target": (1, 3)})
        >>> points["target"].shape, labels["target"].tolist()
        ((4, 2), [0, 1, 1, 1])
    """
    rng, means = np.random.default_rng(seed), np.array([[-1.5, 0.0], [1.5, 0.0]])
    labels = {side: np.repeat([0, 1], of_classes) for side, of_classes in counts.items()}
    return {side: means[label] + 0.5 * rng.normal(size=(len(label), 2)) for side, label in labels.items()}, labels


class AlignedClasses(NamedTuple):
    """Points and borders as `draw_plane` takes them, a panel each; and target points classified right, in percent."""

    points: pd.DataFrame
    borders: pd.DataFrame
    right: dict[str, float]


def halfway_border(points: ArrayLike, labels: Sequence[int]) -> tuple[Floats, float]:
    """Weights `(2,)` and offset of a border half-way between the means of two classes; class 1 is where it is above 0.

    Example:
        >>> weights, offset = halfway_border([[0.0, 0.0], [2.0, 0.0]], [0, 1])
        >>> weights.tolist(), float(offset)
        ([2.0, 0.0], -2.0)
    """
    values, classes = np.asarray(points, dtype=float), np.asarray(labels)
    if set(classes.tolist()) != {0, 1}:
        raise UserError(f"classes {sorted(set(classes.tolist()))}; a border needs points of class 0 and class 1")
    low, high = (values[classes == number].mean(axis=0) for number in (0, 1))
    return high - low, float(-(high - low) @ (high + low) / 2)


def aligned_classes(moments: Mapping[str, GameState], *, labels: Mapping[str, Sequence[int]]) -> AlignedClasses:
    """What a classifier that learnt the source is worth on the target, at some moments of a game.

    Args:
        moments: name -> a state of the game.
        labels: source and target -> `(N,)` class of each point, 0 or 1.

    Example:
        >>> state = GameState({"source": [[-1.0, 0.0], [1.0, 0.0]], "target": [[-2.0, 0.0], [-1.0, 0.0]]}, np.zeros(6))
        >>> aligned_classes({"before": state}, labels={"source": [0, 1], "target": [0, 1]}).right
        {'before': 50.0}
    """
    points, borders, right = [], [], {}
    for name, state in moments.items():
        weights, offset = halfway_border(state.points["source"], labels["source"])
        says = np.asarray(state.points["target"]) @ weights + offset > 0
        right[name] = 100 * float((says == np.asarray(labels["target"])).mean())
        panel = f"{name}: {right[name]:.0f} % of the target right"
        points.append(plane_points(state.points, labels=labels, panel=panel))
        borders.append(plane_border(weights, offset, name="border of the classes", panel=panel))
    return AlignedClasses(pd.concat(points), pd.concat(borders), right)
