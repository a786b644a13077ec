"""Nearest neighbours in feature space: how far apart domains lie, and what a picture of them can be trusted for.

Legend: `N` segments of both domains, `F` feature width. Distances are computed in blocks, so that memory grows with
`N` and not with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.errors import UserError

Values = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]


def nearest(values: Values, neighbours: int) -> Rows:
    """Rows of the nearest neighbours of every row, itself left out: `(N, F)` -> `(N, neighbours)`.

    Of several that are equally near, the first rows are taken.

    Example:
        >>> nearest(np.array([[0.0], [1.0], [3.0]]), 1).tolist()
        [[1], [0], [1]]
    """
    if not 0 < neighbours < len(values):
        raise UserError(f"{neighbours} neighbours among {len(values)} segments; ask for 1 to {len(values) - 1}")

    def closest(distances: Values, rows: Rows) -> Rows:
        bounds = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
        near = np.empty((len(rows), neighbours), dtype=np.int64)
        for number, (row, bound) in enumerate(zip(distances, bounds, strict=True)):
            candidates = np.flatnonzero(row <= bound)  # more than asked for where there are ties
            near[number] = candidates[np.argsort(row[candidates], kind="stable")[:neighbours]]
        return near

    return _by_block(values, closest)


def _by_block(values: Values, reduce: Callable[[Values, Rows], Rows]) -> Rows:
    """Apply a function to the distances of some rows to all, `(rows, N)`, and to these rows; a row is far from itself.

    scikit-learn's `NearestNeighbors` would leave ties to the number of threads.
    """
    from sklearn.metrics import pairwise_distances_chunked

    def without_itself(distances: Values, start: int) -> Rows:
        rows = np.arange(start, start + len(distances))
        distances[rows - start, rows] = np.inf
        return reduce(distances, rows)

    blocks = pairwise_distances_chunked(values, reduce_func=without_itself, working_memory=64)  # MiB
    return np.concatenate(list(blocks))


def domain_separation(near: Rows, sides: NDArray[Any]) -> float:
    """Share of a segment's nearest neighbours that are of its own domain: about 0.5 if mixed, 1 if apart.

    The mean of the two domains' means, so that the larger domain does not weigh more: where membership means nothing it
    is ``(N - 2) / (2 (N - 1))``, whatever the sizes.

    Args:
        near: from `nearest`, of `(N, F)` features or `(N, 2)` points.
        sides: `(N,)` ``"source"`` or ``"target"``.

    Example:
        >>> near = nearest(np.array([[0.0], [1.0], [5.0], [6.0]]), 1)
        >>> domain_separation(near, np.array(["source", "source", "target", "target"]))
        1.0
    """
    if len(np.unique(sides)) != 2:
        raise UserError(f"segments are of {len(np.unique(sides))} domains; separation is between two")
    own = sides[near] == sides[:, None]  # (N, neighbours)
    return float(np.mean([own[sides == side].mean() for side in np.unique(sides)]))


def neighbour_overlap(near: Rows, drawn_near: Rows) -> float:
    """Share of a segment's nearest neighbours in feature space that are so in a picture too, mean over segments.

    Example:
        >>> picture = np.array([[0.0], [1.0], [5.0], [2.5]])  # the last has moved towards the second
        >>> neighbour_overlap(nearest(np.array([[0.0], [1.0], [5.0], [7.0]]), 1), nearest(picture, 1))
        0.75
    """
    return float((near[:, :, None] == drawn_near[:, None]).sum() / near.size)


def embedding_summary(
    features: Mapping[str, NDArray[Any]], points: pd.DataFrame, *, neighbours: int = 10
) -> dict[str, float]:
    """What a picture (`joint_embedding`, of one modality) keeps of the features it was made of (``features.npz``).

    `neighbour_overlap`, trustworthiness (1: none that was far is near in the picture; Venna and Kaski 2001,
    https://doi.org/10.1007/3-540-44668-0_68), `domain_separation` of either. Fewer than half of the segments are near.

    Example:
        >>> points = pd.DataFrame({"x": [0.0, 1.0, 5.0, 6.0], "y": 0.0, "modality": "rgb", "row": range(4)})
        >>> points["side"] = ["source", "source", "target", "target"]
        >>> embedding_summary({"f_rgb": points[["x", "y"]].to_numpy()}, points, neighbours=1)["overlap"]
        1.0
    """
    (modality,) = points["modality"].unique()
    values = features[f"f_{modality}"][points["row"]].astype(np.float64)
    picture, sides = points[["x", "y"]].to_numpy(dtype=np.float64), points["side"].to_numpy()
    if 2 * neighbours >= len(points):
        raise UserError(f"{neighbours} neighbours among {len(points)} segments; ask for fewer than half")
    near, drawn_near = nearest(values, neighbours), nearest(picture, neighbours)
    return {
        "overlap": neighbour_overlap(near, drawn_near),
        "trustworthiness": _trustworthiness(values, drawn_near),
        "separation, features": domain_separation(near, sides),
        "separation, picture": domain_separation(drawn_near, sides),
    }


def _trustworthiness(values: Values, drawn_near: Rows) -> float:
    """As scikit-learn's, which needs three matrices of all pairs."""
    count, neighbours = drawn_near.shape

    def surplus(distances: Values, rows: Rows) -> Rows:
        """Rank in feature space of each neighbour in the picture, as far as it lies beyond the nearest ones."""
        to_drawn = np.take_along_axis(distances, drawn_near[rows], axis=1)  # (rows, neighbours)
        ranks = 1 + np.stack([(distances < column[:, None]).sum(axis=1) for column in to_drawn.T], axis=1)
        return np.asarray(np.maximum(ranks - neighbours, 0))

    largest = count * neighbours * (2 * count - 3 * neighbours - 1) / 2
    return float(1 - _by_block(values, surplus).sum() / largest)


def class_votes(values: Values, sides: NDArray[Any], labels: NDArray[Any], *, neighbours: int = 5) -> float:
    """Percent of labelled target segments whose nearest *source* segments vote for their class; no classifier is asked.

    Args:
        values: `(N, F)` features of both domains.
        sides: `(N,)` ``"source"`` or ``"target"``.
        labels: `(N,)` classes, -1 where unknown; only these vote, and of a tie the lowest is taken.
        neighbours: that vote; all source segments where there are fewer.

    Raises:
        UserError: no labelled segment in one of the domains.

    Example:
        >>> sides = np.array(["source", "source", "target", "target"])
        >>> class_votes(np.array([[0.0], [9.0], [1.0], [2.0]]), sides, np.array([0, 1, 0, 1]), neighbours=1)
        50.0
    """
    from sklearn.metrics import pairwise_distances

    voters, voted = (np.flatnonzero((sides == side) & (labels >= 0)) for side in ("source", "target"))
    if not (len(voters) and len(voted)):
        raise UserError(f"{len(voters)} labelled source and {len(voted)} target segments; a vote needs both")
    distances = pairwise_distances(values[voted], values[voters])  # (target, source)
    near = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
    winners = np.array([np.bincount(labels[voters][row]).argmax() for row in near])
    return float(100 * (winners == labels[voted]).mean())


def made_up_neighbours(values: Values, picture: Values, *, neighbours: int) -> pd.DataFrame:
    """Neighbours in a picture that are none in feature space: what trustworthiness takes points off for.

    Args:
        values: `(N, F)` features.
        picture: `(N, 2)` points.
        neighbours: k, of every segment.

    Returns:
        Columns segment, neighbour (rows), rank (of the neighbour in feature space, 1 is the nearest), beyond (rank
        - k); a row for each that has no business there.

    Example:
        >>> line, bad = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [3.0], [1.0]])
        >>> made_up_neighbours(line, bad, neighbours=1).to_numpy().tolist()
        [[0, 2, 2, 1], [1, 2, 2, 1], [2, 0, 2, 1]]
    """
    count, drawn_near = len(values), nearest(picture, neighbours)
    ranks = np.empty((count, count), dtype=np.int64)
    order = nearest(values, count - 1)
    ranks[np.arange(count)[:, None], order] = np.arange(1, count)
    segment, rank = np.repeat(np.arange(count), neighbours), np.take_along_axis(ranks, drawn_near, axis=1).ravel()
    table = pd.DataFrame(
        {"segment": segment, "neighbour": drawn_near.ravel(), "rank": rank, "beyond": rank - neighbours}
    )
    return table[table["beyond"] > 0].reset_index(drop=True)
