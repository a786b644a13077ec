"""Two classifiers that must agree (MCD), on a plane: they learn, they disagree, the features answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.lessons.feature_plane import (
    Classifier,
    draw_plane,
    plane_border,
    plane_disagreement,
    plane_points,
)
from mmsada_lab.errors import UserError

DISAGREE_FROM, ANSWER_FROM = 20, 60
"""Steps from which the classifiers disagree, and from which the features answer."""

_NAMES = ("first", "second")


@dataclass(frozen=True)
class DiscrepancyStep:
    """How the game stands after so many steps.

    Attributes:
        step: steps that are done.
        phase: what happened last.
        source: features `(60, 2)`, which stay.
        target: features `(60, 2)`.
        labels: class (0 or 1) of each point, `(60,)`, of source and target alike.
        classifiers: weights `(2, 2)` and biases `(2,)` of both.
        right: how often each is right about the target, percent.
        agree: on how many points of the target they give the same class, percent.
    """

    step: int
    phase: str
    source: NDArray[np.float64]
    target: NDArray[np.float64]
    labels: NDArray[np.int64]
    classifiers: tuple[Classifier, Classifier]
    right: tuple[float, float]
    agree: float


def discrepancy_game(*, angle: float = 75.0, steps: int = 120) -> list[DiscrepancyStep]:
    """Play MCD on a target that is the source turned and shifted, by gradient descent on the library's losses.

    Two linear classifiers learn the source from different beginnings; from step `DISAGREE_FROM` on they are to disagree
    on the target, from `ANSWER_FROM` on an affine map of the target, behind a gradient reversal, makes them agree.

    Args:
        angle: by which the target is turned, degrees.
        steps: of gradient descent, at least 0.

    Returns:
        The game before the first step and after each.

    Raises:
        UserError: an angle that is not finite, or a negative number of steps.

    Example:
        >>> game = discrepancy_game(angle=0.0, steps=30)
        >>> len(game), game[30].phase, game[30].right
        (31, 'disagree', (100.0, 100.0))
    """
    import torch
    from torch.nn import functional as F

    from mmsada_lab.losses import classifier_discrepancy
    from mmsada_lab.models.heads import reverse_gradient

    if not np.isfinite(angle) or steps < 0:
        raise UserError(f"angle {angle} and {steps} steps; give a finite angle in degrees, and 0 steps or more")
    labels, source, turned = _clouds(angle)
    seen, unseen, y = (torch.tensor(values) for values in (source, turned, labels))
    extractor = torch.eye(3, 2, dtype=torch.float64, requires_grad=True)  # (x, 1) to features: no turn, no shift
    starts = (np.random.default_rng(seed).normal(scale=0.5, size=(3, 2)) for seed in (1, 5))
    pair = [torch.tensor(start, requires_grad=True) for start in starts]
    optimiser = torch.optim.SGD([{"params": [extractor], "lr": 0.3}, {"params": pair, "lr": 0.5}])
    game = []
    for step in range(steps + 1):
        x = unseen @ extractor[:2] + extractor[2]
        weights = [w.detach().numpy().copy() for w in pair]
        game.append(_standing(step, source, x.detach().numpy(), labels=labels, weights=weights))
        behind = reverse_gradient(x, float(step >= ANSWER_FROM))
        first, second = (behind @ w[:2] + w[2] for w in pair)
        loss = torch.stack([F.cross_entropy(seen @ w[:2] + w[2], y) for w in pair]).sum()
        loss = loss - (step >= DISAGREE_FROM) * classifier_discrepancy(first, second)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return game


def _clouds(angle: float) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Labels, the source, and the target: other draws of the same two classes, turned and shifted."""
    rng, turn = np.random.default_rng(0), np.deg2rad(angle)
    labels = np.repeat([0, 1], 30)
    centres = np.array([[-1.2, 0.9], [1.2, -0.9]])[labels]
    source, other = (centres + 0.35 * rng.normal(size=(60, 2)) for _ in range(2))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return labels, source, other @ rotation + np.array([0.3, 0.2])


def _standing(
    step: int,
    source: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    labels: NDArray[np.int64],
    weights: Sequence[NDArray[np.float64]],
) -> DiscrepancyStep:
    first, second = (target @ w[:2] + w[2] for w in weights)
    answers = first.argmax(axis=1), second.argmax(axis=1)
    right = (100 * float((answers[0] == labels).mean()), 100 * float((answers[1] == labels).mean()))
    phase = "learn the source" if step <= DISAGREE_FROM else "disagree" if step <= ANSWER_FROM else "features answer"
    classifiers = ((weights[0][:2].T, weights[0][2]), (weights[1][:2].T, weights[1][2]))
    agree = 100 * float((answers[0] == answers[1]).mean())
    return DiscrepancyStep(step, phase, source, target.copy(), labels, classifiers, right, agree)


@hover_in_words
def draw_discrepancy(
    game: Sequence[DiscrepancyStep], *, title: str = "Two classifiers; grey: they disagree"
) -> go.Figure:
    """Draw moments of `discrepancy_game` side by side: points, borders, and how much the classifiers disagree.

    Example:
        >>> game = discrepancy_game(angle=75.0, steps=20)
        >>> draw_discrepancy([game[20]]).layout.annotations[0].text
        'step 20: learn the source<br>67 and 87 % right'
    """
    points, borders, maps = [], [], []
    for state in game:
        panel = f"step {state.step}: {state.phase}<br>{state.right[0]:.0f} and {state.right[1]:.0f} % right"
        clouds = {"source": state.source, "target": state.target}
        points.append(plane_points(clouds, labels=dict.fromkeys(clouds, state.labels.tolist()), panel=panel))
        for name, (weights, biases) in zip(_NAMES, state.classifiers, strict=True):
            w, b = np.asarray(weights), np.asarray(biases)
            borders.append(plane_border(w[1] - w[0], float(b[1] - b[0]), name=f"{name} classifier", panel=panel))
    if not points:
        raise UserError("no moment to draw; give at least one step of the game")
    together = pd.concat(points)
    for state, of_panel in zip(game, points, strict=True):
        panel = of_panel["panel"].iloc[0]
        maps.append(plane_disagreement(*state.classifiers, points=together, panel=panel))
    drawn = {"borders": pd.concat(borders), "disagreement": pd.concat(maps)}
    figure = draw_plane(together, **drawn, title=title)
    figure.update_annotations(font_size=13)
    return figure.update_layout(margin_t=100, legend={"orientation": "h", "x": 0, "y": -0.22})
