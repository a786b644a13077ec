"""What a lesson says of its own numbers: two ways to the same value side by side, and an answer in a sentence.

Numbers of a run stand in such output and not in the text around it, so they are those of the run that was made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_VALUES = 6
"""Values of an array that are written out; the rest is counted."""


class Answer(str):
    """A sentence that a notebook sets as Markdown."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return f"> **Answer.** {self}"

    def __repr__(self) -> str:
        return str(self)


def answer(sentence: str) -> Answer:
    """The answer to the question above a figure, for the last line of a cell.

    Args:
        sentence: with its numbers, taken from the run at hand.

    Example:
        >>> answer(f"MM-SADA wins back {13.05:.1f} of {45.8:.1f} points.")
        MM-SADA wins back 13.1 of 45.8 points.
    """
    return Answer(sentence)


def compare(by_hand: ArrayLike, library: ArrayLike, name: str = "", *, decimals: int = 4) -> None:
    """Print a value worked out by hand beside the library's, and stop if they differ.

    Args:
        by_hand: a number, array or tensor of any shape.
        library: the same from the library, of the same shape.
        name: of the value, printed before both.
        decimals: that are printed; compared is to 1 part in 10,000 (or 1e-6 near 0).

    Raises:
        AssertionError: the two differ, in shape or by more than that.

    Example:
        >>> compare(0.25 + 0.5, 0.75, "loss")
        loss: by hand 0.75, library 0.75
        >>> compare([1, 2], [1, 3])
        Traceback (most recent call last):
        AssertionError: by hand [1 2], library [1 3]
    """
    ours, theirs = _to_array(by_hand), _to_array(library)
    before = f"{name}: " if name else ""
    text = f"{before}by hand {_write(ours, decimals)}, library {_write(theirs, decimals)}"
    if ours.shape != theirs.shape:
        raise AssertionError(f"{text}: shapes {ours.shape} and {theirs.shape}")
    if not np.allclose(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise AssertionError(text)
    print(text)  # noqa: T201  # for whoever reads the lesson


def _to_array(values: Any) -> NDArray[Any]:
    detached = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(detached)


def _write(values: NDArray[Any], decimals: int) -> str:
    def number(value: Any) -> str:
        if values.dtype.kind != "f":
            return str(value)
        return f"{value:z.{decimals}f}".rstrip("0").rstrip(".")  # z: no -0

    if values.ndim == 0:
        return number(values[()])
    flat = values.ravel()
    more = f" … ({flat.size} values)" if flat.size > MOST_VALUES else ""
    return f"[{' '.join(number(value) for value in flat[:MOST_VALUES])}{more}]"
