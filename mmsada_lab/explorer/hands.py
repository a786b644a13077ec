"""Lessons to take in hand: a few controls above the picture that they change, for the last line of a notebook's cell.

What is shown is computed and drawn elsewhere (`window_frames`, `pairings`, `alignment`, `stream_logits`,
`figures.sweep_points`); here it is connected. Where nobody can move a control (a notebook that is executed, tested or
stored) the first picture is shown alone, as any other figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mmsada_lab.analysis import figures
from mmsada_lab.analysis.lessons.plane_game import GameState, game_steps, play_game, reversal_gradients
from mmsada_lab.analysis.lessons.prediction import GUESS
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.explorer import alignment, stream_logits
from mmsada_lab.explorer.alignment import widths_of_gaps
from mmsada_lab.explorer.clip_hands import try_pairing, try_window
from mmsada_lab.explorer.controls import WIDE, Controls, Shown, widgets
from mmsada_lab.explorer.live import somebody_watches
from mmsada_lab.facts import METHODS

__all__ = [
    "try_game",
    "try_kernel",
    "try_pairing",
    "try_prediction",
    "try_reversal",
    "try_streams",
    "try_sweep",
    "try_window",
    "widths_of_gaps",
]

LARGEST_LOGIT, LARGEST_SCALE = 8.0, 3.0


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
        return reversal_gradients(clouds, weights=weights, offset=offset, coefficient=coefficient)

    largest = figures.reversal_points(clouds, gradients(alignment.LARGEST_COEFFICIENT), longer=longer)

    def show(coefficient: float) -> Shown:
        into = gradients(coefficient)
        points = figures.reversal_points(clouds, into, longer=longer)
        title = f"One step behind the layer, {longer:g} times enlarged; coefficient {coefficient:.2f}"
        figure = alignment.draw_reversal(points, largest=largest, weights=weights, offset=offset, title=title)
        return Shown(figure, alignment.write_sizes(into))

    text = "coefficient of the reversal (no unit)"
    limits = {"min": 0.0, "max": alignment.LARGEST_COEFFICIENT, "step": 0.05, "value": 1.0}
    return Controls({"coefficient": widgets.FloatSlider(description=text, **limits, **WIDE)}, show)


def try_streams(logits: Mapping[str, ArrayLike], *, classes: Sequence[str], of_class: str = "") -> Controls:
    """Move what each stream says of one clip: how sure is their sum, and which stream prevails?

    Args:
        logits: stream -> `(K,)` logits of one clip, to start from; two streams or more.
        classes: K names.
        of_class: whose logit is moved; empty: the first.

    Returns:
        For each stream a control by its name, the logit of that class, and one called ``NAME_scale``, by which all its
        logits are multiplied (both have no unit); each stream's probabilities beside those of the sum of logits.

    Raises:
        UserError: an unknown class, fewer than two streams, logits that do not fit the classes or are not finite.

    Example:
        >>> hands = try_streams({"rgb": [2.0, 0.0], "flow": [1.0, 3.5]}, classes=["take", "put"])
        >>> hands.controls["rgb_scale"].value = 2.0  # the surer stream has its way
        >>> hands.shown.sentence
        'rgb says take (0.98), flow says put (0.92), their sum take (0.82); P(take) = exp(4.0 + 1.0) / 181.5 = 0.82'
    """
    start, streams = stream_logits.clip_logits(logits, classes), list(logits)
    of_class = of_class or classes[0]
    if of_class not in classes:
        raise unknown("class", of_class, classes)
    widest = max(LARGEST_LOGIT, *np.abs(start.to_numpy()[classes.index(of_class)]).tolist())
    limits = {"min": -widest, "max": widest, "step": 0.1, **WIDE}
    scales = {"min": 0.0, "max": LARGEST_SCALE, "step": 0.1, "value": 1.0, **WIDE}
    controls: dict[str, Any] = {}
    for stream in streams:
        value, of_stream = (
            float(start.to_numpy()[classes.index(of_class), streams.index(stream)]),
            f"{stream}'s logit of {of_class} (no unit)",
        )
        controls[stream] = widgets.FloatSlider(value=value, description=of_stream, **limits)
        controls[f"{stream}_scale"] = widgets.FloatSlider(description=f"all of {stream}'s times (no unit)", **scales)

    def show(**values: float) -> Shown:
        moved = start.copy()
        for stream in streams:
            moved.loc[of_class, stream] = values[stream]
            moved[stream] *= values[f"{stream}_scale"]
        probabilities = stream_logits.stream_probabilities(moved)
        figure = stream_logits.draw_streams(probabilities, title="One clip: each stream, and the sum of their logits")
        return Shown(figure, stream_logits.write_fusion(moved, of_class=of_class))

    return Controls(controls, show)


def try_game(clouds: Mapping[str, ArrayLike], *, steps: int = 100) -> Controls:
    """Play the game of Eq. 2 on a plane: both clouds and D's border move, and beside them is what D tells right.

    Args:
        clouds: source and target -> `(N, 2)` points to start from.
        steps: of the game.

    Returns:
        Controls `coefficient` of the reversal, 0 to 2 (no unit), and `step`, which a play button moves; it starts a
        quarter of the way, as a still shows it.

    Raises:
        UserError: sides other than source and target, points that are no `(N, 2)`, a game without steps.

    Example:
        >>> hands = try_game({"source": [[-1.0, 0.0]], "target": [[1.0, 0.0]]}, steps=8)
        >>> hands.shown.sentence  # the points have jumped across the border
        'step 2 of 8: D tells 0 % right; at most 100 %, at step 1'
        >>> hands.controls["coefficient"].value = 0.0  # D learns alone
        >>> hands.shown.sentence
        'step 2 of 8: D tells 100 % right; at most 100 %, at step 1'
    """
    if steps < 1:
        raise UserError(f"a game of {steps} steps; give one or more")

    @lru_cache(maxsize=64)
    def played(coefficient: float) -> list[GameState]:
        return play_game(clouds, steps, coefficient=coefficient)

    def show(coefficient: float, step: int) -> Shown:
        states = played(coefficient)
        right = game_steps(states)["right"]
        figure = figures.draw_played_game(states, step=step, title=f"The game, λ = {coefficient:.2f}, step {step}")
        now = "has not learnt" if math.isnan(right[step]) else f"tells {right[step]:.0f} % right"
        return Shown(figure, f"step {step} of {steps}: D {now}; at most {right.max():.0f} %, at step {right.idxmax()}")

    limits = {"min": 0.0, "max": alignment.LARGEST_COEFFICIENT, "step": 0.05, "value": 1.0}
    text = "λ, coefficient of the reversal (no unit)"
    controls = {
        "coefficient": widgets.FloatSlider(description=text, continuous_update=False, **limits, **WIDE),
        "step": widgets.IntSlider(description="step (of the game)", min=0, max=steps, value=steps // 4, **WIDE),
    }
    return Controls(controls, show, play="step")


def try_kernel(features: Mapping[str, NDArray[Any]]) -> Controls:
    """Widen a Gaussian kernel over the distances between two domains: what does MMD² see at this width?

    Args:
        features: as in a run's ``features.npz``: f_MODALITY -> `(N, F)`, side -> `(N,)` source or target.

    Returns:
        A control `bandwidth` (squared units of the features), from the squared median of the distances on; the kernel,
        its pull, the distances, MMD² of each modality, and at which width it is greatest.

    Raises:
        UserError: distances that are not finite or all 0, fewer than two segments of a domain.

    Example:
        >>> import numpy as np
        >>> features = {"f_rgb": np.array([[0.0], [0.0], [1.0], [1.0]]), "side": np.repeat(["source", "target"], 2)}
        >>> hands = try_kernel(features)
        >>> hands.controls["bandwidth"].value = 1000.0  # much wider than all distances: flat, nothing is seen
        >>> hands.shown.sentence
        'kernel of width sqrt(g) = 31.6; MMD² rgb 0.002; greatest: rgb 2.000 at width 0.078'
    """
    observed = alignment.check_observed(features)
    usual = alignment.usual_width(observed)
    middle = math.floor(math.log10(usual))
    best = alignment.widths_of_gaps(features).to_dict("records")
    greatest = ", ".join(f"{row['modality']} {row['mmd']:.3f} at width {row['width']:.3g}" for row in best)

    def show(bandwidth: float) -> Shown:
        figure = alignment.draw_kernel(features, bandwidth=bandwidth, observed=observed)
        seen = alignment.mmd_at(features, bandwidth=bandwidth)
        distances = ", ".join(f"{m} {value:.3f}" for m, value in zip(seen["modality"], seen["mmd"], strict=True))
        return Shown(figure, f"kernel of width sqrt(g) = {bandwidth**0.5:.3g}; MMD² {distances}; greatest: {greatest}")

    limits = {"min": middle - 3, "max": middle + 4, "step": 0.1, "value": usual, "readout_format": ".3g"}
    text = "bandwidth g (squared units of the features)"
    return Controls({"bandwidth": widgets.FloatLogSlider(description=text, base=10, **limits, **WIDE)}, show)


def try_prediction(
    gains: pd.DataFrame, *, predicted: Mapping[str, float] | None = None, title: str = "Points above source-only"
) -> Controls:
    """Guess what each method gains, then press *Reveal*: the runs stand beside the guess, and how good it was.

    Where nobody can move a slider, the guess is what was `predicted`, and the runs are shown.

    Args:
        gains: points above source-only, a row per method (by name), a column per stream; the first is what is guessed.
        predicted: method -> points the sliders start from, 0 for the others.
        title: of the figure.

    Returns:
        A control for each method (points), and `reveal`.

    Raises:
        UserError: no method, gains that are not finite, or a guess for a method that is not there.

    Example:
        >>> gains = pd.DataFrame({"fused": [9.0, 14.0]}, index=["adabn", "mmsada"])
        >>> hands = try_prediction(gains, predicted={"adabn": 10.0})
        >>> hands.controls["mmsada"].value = 8.0
        >>> hands.shown.sentence
        'your guess is off by 3.5 points on average; MM-SADA gained most, you guessed AdaBN'
        >>> hands.controls["reveal"].value = False
        >>> hands.shown.sentence
        'guess what each method gains, then press Reveal'
    """
    starts = {name: float(points) for name, points in (predicted or {}).items()}
    figures.prediction_bars(gains, starts)  # says what is wrong
    watched = somebody_watches()

    def show(reveal: bool, **sliders: float) -> Shown:
        guess = {name: points for name, points in sliders.items() if watched or name in starts or points}
        bars = figures.prediction_bars(gains, guess)
        if not reveal:
            bars = bars[bars["name"] == GUESS]
            return Shown(figures.draw_prediction(bars, title=title), "guess what each method gains, then press Reveal")
        return Shown(figures.draw_prediction(bars, title=title), str(figures.score_prediction(gains, guess)))

    limits = {"min": -20.0, "max": 40.0, "step": 0.5, "readout_format": "+.1f"}
    titles = {name: METHODS[name].title if name in METHODS else name for name in gains.index}
    controls: dict[str, Any] = {
        name: widgets.FloatSlider(description=f"{text} (points)", value=starts.get(name, 0.0), **limits, **WIDE)
        for name, text in titles.items()
    }
    button = widgets.ToggleButton(description="Reveal", value=not watched, tooltip="show what the runs came to")
    return Controls({**controls, "reveal": button}, show)


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
