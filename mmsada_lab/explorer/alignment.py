"""What two ways of alignment do to features: the reversed gradient of a discriminator, and a kernel of one width.

Legend: `N` points of a domain, `F` feature width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from mmsada_lab.analysis.gap.measures import mmd
from mmsada_lab.analysis.lessons.feature_plane import draw_plane, plane_border
from mmsada_lab.analysis.lessons.kernels import draw_kernels, kernel_curves, observed_distances
from mmsada_lab.errors import UserError

LARGEST_COEFFICIENT = 2.0


def draw_reversal(
    points: pd.DataFrame, *, largest: pd.DataFrame, weights: ArrayLike, offset: float, title: str
) -> go.Figure:
    """Draw `figures.reversal_points` and D's border, on the axes of the `largest` steps, which do not move."""
    borders = plane_border(weights, offset, name="D's border")
    figure, layout = draw_plane(points, borders=borders, title=title), draw_plane(largest).layout
    return figure.update_xaxes(range=layout.xaxis.range).update_yaxes(range=layout.yaxis.range)


def write_sizes(gradients: Mapping[str, NDArray[np.float64]]) -> str:
    """How much of the gradient arrives at the features, and how much at the discriminator.

    Example:
        >>> write_sizes({"source": np.array([[3.0, 4.0]]), "target": np.zeros((1, 2)), "discriminator": np.ones(1)})
        'gradient into the features 5.000, into the discriminator 1.000 (nats per unit)'
    """
    features = math.hypot(*(float(np.linalg.norm(gradients[side])) for side in ("source", "target")))
    own = float(np.linalg.norm(gradients["discriminator"]))
    return f"gradient into the features {features:.3f}, into the discriminator {own:.3f} (nats per unit)"


def mmd_at(features: Mapping[str, NDArray[Any]], *, bandwidth: float) -> pd.DataFrame:
    """MMD² of both domains, seen by one Gaussian kernel ``exp(-d^2 / g)``: unbiased, so 0 where nothing differs.

    Args:
        features: as in a run's ``features.npz``: f_MODALITY -> `(N, F)` of both domains, side -> `(N,)`.
        bandwidth: `g`, in squared units of the features, above 0.

    Returns:
        Columns modality, mmd (no unit, at most 2), a row per modality.

    Raises:
        UserError: a width that is no number above 0, or fewer than two segments of a domain.

    Example:
        >>> features = {"f_rgb": np.array([[0.0], [0.0], [1.0], [1.0]]), "side": np.repeat(["source", "target"], 2)}
        >>> mmd_at(features, bandwidth=1.0)["mmd"].round(3).tolist()  # 1 + 1 - 2 / e
        [1.264]
    """
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise UserError(f"the bandwidth is {bandwidth}; give a number above 0, in squared units of the features")
    sides = np.where(features["side"] == "source", 1, np.where(features["side"] == "target", -1, 0)).astype(np.int8)
    counts = [int((sides == side).sum()) for side in (1, -1)]
    if min(counts) < 2:
        raise UserError(f"features of {counts[0]} source and {counts[1]} target segments; give two of each or more")
    names = [name.removeprefix("f_") for name in features if name.startswith("f_")]
    values = {m: features[f"f_{m}"].astype(np.float64) for m in names}
    distances = {m: float(mmd(v, sides[:, None], bandwidths=(bandwidth,))[0]) for m, v in values.items()}
    return pd.DataFrame({"modality": names, "mmd": list(distances.values())})


def widths_of_gaps(features: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """At which width one Gaussian kernel sees the gap best, by modality: of 25 widths around the observed distances.

    Args:
        features: as for `mmd_at`.

    Returns:
        Columns modality, width (``sqrt(g)``, unit of the features), mmd (MMD² there, no unit), median (of the distances
        between the domains, unit of the features).

    Raises:
        UserError: as `mmd_at`; or all distances are 0.

    Example:
        >>> features = {"f_rgb": np.array([[0.0], [0.1], [1.0], [1.1]]), "side": np.repeat(["source", "target"], 2)}
        >>> widths_of_gaps(features)[["width", "mmd"]].round(2).to_numpy().tolist()
        [[0.43, 1.88]]
    """
    observed = check_observed(features)
    centre = usual_width(observed) ** 0.5
    widths = (centre * np.geomspace(1 / 30, 30, 25)).tolist()
    seen = pd.concat([mmd_at(features, bandwidth=width**2).assign(width=width) for width in widths])
    best = seen.sort_values("mmd").groupby("modality", sort=False).tail(1).set_index("modality")
    table = observed[["modality", "median"]].join(best, on="modality")
    return table[["modality", "width", "mmd", "median"]]


def usual_width(observed: pd.DataFrame) -> float:
    """The middle of the `observed_distances`, squared: a kernel of this width sees most of them.

    Example:
        >>> usual_width(pd.DataFrame({"median": [2.0, 4.0, 100.0]}))
        16.0
    """
    return float(observed["median"].median() ** 2)


def draw_kernel(features: Mapping[str, NDArray[Any]], *, bandwidth: float, observed: pd.DataFrame) -> go.Figure:
    """Draw one kernel and its pull over the `observed_distances`; MMD² at this width stands in the title."""
    low, high = observed["low"].min(), observed["high"].max()
    distances = [float(f"{d:.4g}") for d in np.geomspace(max(low, high / 1000) / 10, high * 10, 60)]
    seen = mmd_at(features, bandwidth=bandwidth)
    words = ", ".join(f"{m} {distance:.3f}" for m, distance in zip(seen["modality"], seen["mmd"], strict=True))
    curves = kernel_curves([bandwidth], distances=distances)
    return draw_kernels(curves, observed=observed, title=f"MMD² that this kernel sees: {words}")


def check_observed(features: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """`observed_distances`, or `UserError` where all of them are 0: no kernel has anything to see."""
    observed = observed_distances(features)
    if not (observed["high"] > 0).all():
        raise UserError("all distances between the domains are 0: no width tells anything; give features that differ")
    return observed
