"""Optical flow between two pictures, and its 8-bit form (paper, section 4.1; EPIC-Kitchens).

EPIC-Kitchens ships flow as two 8-bit pictures, u (to the right) and v (downwards), computed by TV-L1 at
stride 2, dilation 3 and bound 25: values in [-bound, bound] pixels are mapped linearly to [0, 255]. Here the dilation
counts RGB frames: flow frame k stands at RGB frame 2k and leads to RGB frame 2k + 3. The tool that EPIC-Kitchens used,
furnari-flow, counted it in strides until 2020 (its issues 1 and 2), so that a flow frame of the 2018 release seems to
lead from 2k - 5 to 2k + 1: for as long a step as that, make the dilation 6.

Accuracy (`tests/test_flow.py`): on a smooth texture moved by fractions of a pixel all three algorithms are right to
0.1 pixels, on the average over the inner picture: Farneback 0.02, DIS 0.03 to 0.07, TV-L1 0.04 to 0.07.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Image
from mmsada_lab.errors import UserError, unknown

Flow = NDArray[np.float32]

STRIDE = 2  # RGB frames between two flow frames
DILATION = 3  # RGB frames from the first picture of a flow frame to the second


def optical_flow(first: Image, second: Image, *, algorithm: str = "dis") -> Flow:
    """Optical flow from one picture to the next: what stands at (x, y) moves to (x + u, y + v).

    Pictures are `(H, W, 3)` RGB or `(H, W)` grey, 8 bits; flow is `(H, W, 2)` float32, in pixels. Algorithms: ``dis``
    (fast), ``farneback``, or ``tvl1`` (as in EPIC-Kitchens, about forty times slower). `UserError`: unknown algorithm,
    or pictures whose shapes differ.
    """
    require_algorithm(algorithm)
    if first.shape != second.shape:
        shapes = f"{first.shape} and {second.shape}"
        raise UserError(f"optical flow of pictures of shapes {shapes}; resize them to one shape")
    return ALGORITHMS[algorithm](_grey(first), _grey(second))


def require_algorithm(algorithm: str) -> None:
    """Refuse an algorithm that does not exist or is not installed, before any work is done with it.

    Raises:
        UserError: saying which there are, or what to install.
    """
    if algorithm not in ALGORITHMS:
        raise unknown("flow algorithm", algorithm, ALGORITHMS)
    if algorithm == "tvl1" and not hasattr(cv2, "optflow"):
        raise UserError(
            "flow algorithm 'tvl1' needs OpenCV's contributed modules, which are not installed; "
            "install opencv-contrib-python-headless in place of other builds of OpenCV, or choose 'dis' or 'farneback'"
        )


def quantise_flow(flow: Flow, *, bound: float) -> Image:
    """Map flow in [-bound, bound] pixels to 8 bits, as EPIC-Kitchens stores it; beyond, it is clipped.

    x becomes 255 (x + bound) / (2 bound), rounded half up: no motion is 127.5 and so becomes 128. One step is
    2 bound / 255 pixels. The mirror image of a code q is 255 - q, which stands for no motion at 127.

    Args:
        flow: any shape, pixels.
        bound: the largest motion that is kept, pixels, above 0.
    """
    _check_bound(bound)
    codes = np.floor((flow + bound) * (255.0 / (2.0 * bound)) + 0.5)
    return np.asarray(np.clip(codes, 0, 255), dtype=np.uint8)


def dequantise_flow(codes: Image, *, bound: float) -> Flow:
    """Map 8-bit flow back to pixels; the error of a round trip is at most bound / 255 inside the bound."""
    _check_bound(bound)
    return (codes.astype(np.float32) * np.float32(2.0 * bound / 255.0) - np.float32(bound)).astype(np.float32)


def _check_bound(bound: float) -> None:
    if not bound > 0:
        raise UserError(f"flow bound {bound!r}; give a positive number of pixels (EPIC-Kitchens: 25)")


def _grey(picture: Image) -> Image:
    if picture.ndim == 2:
        return np.ascontiguousarray(picture)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _dis(first: Image, second: Image) -> Flow:
    # a new engine each time: one that is used again may give other values for the same pictures
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(engine.calc(first, second, np.empty(0, dtype=np.float32)), dtype=np.float32)


def _farneback(first: Image, second: Image) -> Flow:
    start = np.zeros((*first.shape, 2), dtype=np.float32)
    return np.asarray(cv2.calcOpticalFlowFarneback(first, second, start, 0.5, 3, 11, 5, 5, 1.1, 0), dtype=np.float32)


def _tvl1(first: Image, second: Image) -> Flow:
    optflow: Any = cv2.optflow
    return np.asarray(optflow.DualTVL1OpticalFlow_create().calc(first, second, None), dtype=np.float32)


ALGORITHMS: dict[str, Callable[[Image, Image], Flow]] = {"dis": _dis, "farneback": _farneback, "tvl1": _tvl1}
