"""Lessons to take in hand: a few controls above the picture that they change, for the last line of a notebook's cell.

What is shown is computed and drawn elsewhere (`window_frames`, `pairings`, `alignment`, `figures.sweep_points`); here
it is connected. Where nobody can move a control (a notebook that is executed, tested or stored) the first picture is
shown alone, as any other figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mmsada_lab.analysis import figures
from mmsada_lab.explorer import alignment
from mmsada_lab.explorer.clip_hands import try_pairing, try_window
from mmsada_lab.explorer.controls import WIDE, Controls, Shown, widgets

__all__ = ["try_kernel", "try_pairing", "try_reversal", "try_sweep", "try_window"]


def __getattr__(name: str) -> Any:
    if name != "try_confusion":  # loaded when it is first asked for
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("mmsada_lab.explorer.confusion_hands").try_confusion


def try_reversal(
    clouds: Mapping[str, ArrayLike], *, weights: ArrayLike, offset: float, longer: float = 150.0
) -> Controls:
    """Turn the coefficient of the gradient reversal: the arrows by which the features move grow, the border does not.

    Args:
        clouds: source and target -> `(N, 2)` features.
        weights: of a linear discriminator, `(2,)`.
        offset: its bias.
        longer: how many times longer than a step of gradient descent an arrow is.

    Returns:
        A control `coefficient`, 0 to 2 (no unit); the points and their arrows.

    Raises:
        UserError: sides other than source and target, shapes that do not fit, weights of 0.

    Example:
        >>> hands = try_reversal({"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}, weights=[1.0, 0.0], offset=0.0)
        >>> hands.shown.sentence
        'gradient into the features 0.190, into the discriminator 0.269 (nats per unit)'
        >>> hands.controls["coefficient"].value = 2.0
        >>> hands.shown.sentence
        'gradient into the features 0.380, into the discriminator 0.269 (nats per unit)'
    """

    def gradients(coefficient: float) -> dict[str, NDArray[Any]]:
        return alignment.reversal_gradients(clouds, weights=weights, offset=offset, coefficient=coefficient)

    largest = alignment.reversal_points(clouds, gradients(alignment.LARGEST_COEFFICIENT), longer=longer)

    def show(coefficient: float) -> Shown:
        into = gradients(coefficient)
        points = alignment.reversal_points(clouds, into, longer=longer)
        title = f"One step behind the layer, {longer:g} times enlarged; coefficient {coefficient:.2f}"
        figure = alignment.draw_reversal(points, largest=largest, weights=weights, offset=offset, title=title)
        return Shown(figure, alignment.write_sizes(into))

    text = "coefficient of the reversal (no unit)"
    limits = {"min": 0.0, "max": alignment.LARGEST_COEFFICIENT, "step": 0.05, "value": 1.0}
    return Controls({"coefficient": widgets.FloatSlider(description=text, **limits, **WIDE)}, show)


def try_kernel(features: Mapping[str, NDArray[Any]]) -> Controls:
    """Widen a Gaussian kernel over the distances between two domains: what does MMD² see at this width?

    Args:
        features: as in a run's ``features.npz``: f_MODALITY -> `(N, F)`, side -> `(N,)` source or target.

    Returns:
        A control `bandwidth` (squared units of the features), from the squared median of the distances on; the kernel,
        its pull, the distances, and MMD² of each modality.

    Raises:
        UserError: distances that are not finite or all 0, fewer than two segments of a domain.

    Example:
        >>> import numpy as np
        >>> features = {"f_rgb": np.array([[0.0], [0.0], [1.0], [1.0]]), "side": np.repeat(["source", "target"], 2)}
        >>> hands = try_kernel(features)
        >>> hands.controls["bandwidth"].value = 1000.0  # much wider than all distances: flat, nothing is seen
        >>> hands.shown.sentence
        'kernel of width sqrt(g) = 31.6; MMD² rgb 0.002'
    """
    observed = alignment.check_observed(features)
    usual = alignment.usual_width(observed)
    middle = math.floor(math.log10(usual))

    def show(bandwidth: float) -> Shown:
        figure = alignment.draw_kernel(features, bandwidth=bandwidth, observed=observed)
        seen = alignment.mmd_at(features, bandwidth=bandwidth)
        distances = ", ".join(f"{m} {value:.3f}" for m, value in zip(seen["modality"], seen["mmd"], strict=True))
        return Shown(figure, f"kernel of width sqrt(g) = {bandwidth**0.5:.3g}; MMD² {distances}")

    limits = {"min": middle - 3, "max": middle + 4, "step": 0.1, "value": usual, "readout_format": ".3g"}
    text = "bandwidth g (squared units of the features)"
    return Controls({"bandwidth": widgets.FloatLogSlider(description=text, base=10, **limits, **WIDE)}, show)


def try_sweep(
    means: pd.DataFrame,
    *,
    name: str,
    game: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    title: str = "",
) -> Controls:
    """Walk through the values of a swept option: accuracy, opponents, and the scores that need no target label.

    Args:
        means: from `figures.sweep_means`, percent.
        name: of the option.
        game: from `figures.sweep_game`, percent.
        scores: from `figures.value_scores`.
        title: of the figure; the option and its value if there is none.

    Returns:
        A control `value` (of the option, no unit); it starts in the middle, not at the best, which only labels know.

    Raises:
        UserError: a sweep without values; scores of which no run has every value.

    Example:
        >>> means = pd.DataFrame({"value": [0.5, 1.0, 2.0], "top1": [58.0, 60.0, 57.0]})
        >>> means = means.assign(sd=1.0, worlds=1, seeds=3)
        >>> hands = try_sweep(means, name="λ")
        >>> hands.controls["value"].value = 2.0
        >>> hands.shown.sentence
        'λ = 2: target top-1 57.0 ± 1.0 %'
    """
    values = means["value"].tolist()
    first = values[len(values) // 2] if values else math.nan

    def show(value: float) -> Shown:
        points = figures.sweep_points(means, value=value, game=game, scores=scores)
        figure = figures.draw_sweep_point(points, name=name, title=title or f"{name} = {value:g}")
        accuracy = points[points["chosen"] & (points["group"] == "accuracy")].iloc[0]
        spread = "" if pd.isna(accuracy["sd"]) else f" ± {accuracy['sd']:.1f}"
        return Shown(figure, f"{name} = {value:g}: target top-1 {accuracy['mean']:.1f}{spread} %")

    if not values:
        show(first)  # says what to do
    options = [(f"{value:g}", value) for value in values]
    slider = widgets.SelectionSlider(options=options, description=f"{name} (no unit)", **WIDE)
    slider.index = values.index(first)  # given above, the first option would be left without its label
    return Controls({"value": slider}, show)
