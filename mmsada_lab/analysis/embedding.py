"""Feature spaces in two dimensions: source and target embedded together, and what the picture can be trusted for.

Legend: `N` segments of both domains, `F` feature width. Coordinates change between machines, threads and seeds; the
summaries change little, and are what should be compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.paper_figures import CLASS_COLOURS
from mmsada_lab.analysis.results import plain
from mmsada_lab.errors import UserError, unknown

METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
"""Key -> what the axes are called."""

SYMBOLS = {"source": "circle", "target": "diamond"}
UNLABELLED = "no label"

Values = NDArray[np.floating[Any]]


def joint_embedding(
    features: Mapping[str, NDArray[Any]], modality: str, *, method: str = "tsne", seed: int = 0, at_most: int = 400
) -> pd.DataFrame:
    """Two-dimensional t-SNE or UMAP of source and target features, fitted once over both.

    Args:
        features: the arrays of a run's ``features.npz``.
        modality: whose features.
        method: key of `METHODS`.
        seed: of the draw and of the fit. Coordinates still differ between machines; compare summaries, not points.
        at_most: segments drawn from each domain.

    Returns:
        Columns modality, method, x, y, side (source or target), label, uid, row (of the features).
    """
    if f"f_{modality}" not in features:
        known = [name.removeprefix("f_") for name in features if name.startswith("f_")]
        raise unknown("modality", modality, known)
    if method not in METHODS:
        raise unknown("method of embedding", method, METHODS)
    values, sides = features[f"f_{modality}"], features["side"]
    if not np.isfinite(values).all():
        raise UserError(f"features of {modality} are not all finite; the run behind them diverged")
    rng = np.random.default_rng(seed)
    rows = np.concatenate([_draw(np.flatnonzero(sides == side), at_most, rng) for side in style.DOMAIN_COLOURS])
    if len(rows) < 4:
        raise UserError(f"{len(rows)} segments are too few to embed; {METHODS[method]} needs at least 4")
    points = _FITS[method](values[rows].astype(np.float32), seed)
    meta = {name: features[name][rows] for name in ("side", "label", "uid")}
    where = {"modality": modality, "method": method, "x": points[:, 0], "y": points[:, 1]}
    return pd.DataFrame({**where, **meta, "row": rows})


def _tsne(values: Values, seed: int) -> Values:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(values) - 1) / 3)
    found: Values = TSNE(init="pca", random_state=seed, perplexity=perplexity).fit_transform(values)
    return found


def _umap(values: Values, seed: int) -> Values:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # of its parametric variant, which asks for Tensorflow
            import umap
    except ImportError:
        raise UserError("UMAP is not installed; run pip install -e '.[notebooks]', or take method 'tsne'") from None

    neighbours = min(15, len(values) - 1)
    start = "spectral" if len(values) > 2 * neighbours else "random"  # too few segments have no spectrum to start from
    # One job is what a seed asks of UMAP: it would say so, in a warning, if it were not asked for.
    found: Values = umap.UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1).fit_transform(values)
    return found


_FITS: dict[str, Callable[[Values, int], Values]] = {"tsne": _tsne, "umap": _umap}


def _draw(rows: NDArray[np.int64], at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def draw_embedding(
    points: pd.DataFrame, *, by: str = "domain", classes: Sequence[str] = (), title: str = "Feature space"
) -> go.Figure:
    """Draw `joint_embedding`, of one modality or several joined, with the sample counts.

    Args:
        points: from `joint_embedding`; those of several runs are told apart by a column ``run`` (see `several`), and
            each run has a row of panels, a fit of its own.
        by: what a colour stands for, ``domain`` or ``class``; symbols always stand for the domain.
        classes: names, by label, where colour stands for the class.
        title: of the figure.
    """
    groups = _groups(points, by, classes)
    runs = points["run"] if "run" in points else pd.Series("", index=points.index)
    panels = [(run, modality) for run in runs.unique() for modality in points["modality"].unique()]
    width = points["modality"].nunique()
    height = len(panels) // width
    titles = [", ".join(filter(None, panel)) for panel in panels]
    figure = make_subplots(height, width, subplot_titles=titles, vertical_spacing=0.2 / height, horizontal_spacing=0.06)
    for number, (run, modality) in enumerate(panels):
        chosen = points[(runs == run) & (points["modality"] == modality)]
        where = {"row": number // width + 1, "col": number % width + 1}
        _add_points(figure, chosen, groups, shown=number == 0, where=where)
    axes = METHODS[points["method"].iloc[0]]
    figure.update_xaxes(showticklabels=False).update_xaxes(title=f"{axes} 1 (no unit)", row=height)
    figure.update_yaxes(showticklabels=False).update_yaxes(title=f"{axes} 2 (no unit)", col=1)
    figure.update_layout(template=style.TEMPLATE, title={"text": title}, height=100 + 280 * height)
    return figure


def _add_points(
    figure: go.Figure, points: pd.DataFrame, groups: Mapping[str, _Group], *, shown: bool, where: Mapping[str, int]
) -> None:
    """One panel, a trace per group; the first panel makes the legend."""
    for name, (colour, symbol, members) in groups.items():
        one = points[members(points)]
        marker = {"color": style.translucent(colour, 0.7), "size": 7, "symbol": symbol}
        entry = {"name": f"{name} ({len(one)} segments)", "legendgroup": name, "showlegend": shown}
        drawn = {"x": plain(one["x"]), "y": plain(one["y"]), "text": plain(one["uid"])}
        figure.add_scatter(**drawn, mode="markers", marker=marker, **entry, **where)


_Group = tuple[str, str, Callable[[pd.DataFrame], "pd.Series[bool]"]]


def _groups(points: pd.DataFrame, by: str, classes: Sequence[str]) -> dict[str, _Group]:
    """Legend entry -> colour, symbol, and which points."""
    if by == "domain":
        return {s: (colour, SYMBOLS[s], _members(s)) for s, colour in style.DOMAIN_COLOURS.items()}
    if by != "class":
        raise unknown("meaning of colour", by, ("domain", "class"))
    found = sorted({int(label) for label in points["label"]}, key=lambda label: (label < 0, label))
    if max(found) >= len(classes):
        raise UserError(f"label {max(found)} has no name among {len(classes)} classes; give the names of all classes")
    groups: dict[str, _Group] = {}
    for label in found:
        colour = style.GREY if label < 0 else CLASS_COLOURS[label % len(CLASS_COLOURS)]
        name = UNLABELLED if label < 0 else classes[label]
        groups |= {f"{name}, {s}": (colour, SYMBOLS[s], _members(s, label)) for s in style.DOMAIN_COLOURS}
    return groups


def _members(side: str, label: int | None = None) -> Callable[[pd.DataFrame], pd.Series[bool]]:
    return lambda frame: (frame["side"] == side) & ((frame["label"] == label) | (label is None))


def embedding_summary(
    features: Mapping[str, NDArray[Any]], points: pd.DataFrame, *, neighbours: int = 10
) -> dict[str, float]:
    """What a picture keeps of the features it was made of.

    Args:
        features: the arrays of a run's ``features.npz``.
        points: from `joint_embedding`, of one modality.
        neighbours: how many count as near.

    Returns:
        overlap (see `neighbour_overlap`), trustworthiness (1: no segment is near in the picture that was far; Venna and
        Kaski 2001), and `domain_separation` of the features and of the picture.
    """
    from sklearn.manifold import trustworthiness

    (modality,) = points["modality"].unique()
    values = features[f"f_{modality}"][points["row"]].astype(np.float64)
    picture, sides = points[["x", "y"]].to_numpy(dtype=np.float64), points["side"].to_numpy()
    return {
        "overlap": neighbour_overlap(values, picture, neighbours=neighbours),
        "trustworthiness": float(trustworthiness(values, picture, n_neighbors=neighbours)),
        "separation, features": domain_separation(values, sides, neighbours=neighbours),
        "separation, picture": domain_separation(picture, sides, neighbours=neighbours),
    }


def neighbour_overlap(values: Values, picture: Values, *, neighbours: int = 10) -> float:
    """Share of a segment's nearest neighbours in feature space that are so in the picture too, mean over segments.

    Args:
        values: `(N, F)` features.
        picture: `(N, 2)` points.
        neighbours: how many.
    """
    near, shown = (nearest(each, neighbours) for each in (values, picture))
    shared = [len(np.intersect1d(a, b)) for a, b in zip(near, shown, strict=True)]
    return float(np.mean(shared) / neighbours)


def domain_separation(values: Values, sides: NDArray[Any], *, neighbours: int = 10) -> float:
    """Share of a segment's nearest neighbours that are of its own domain: about 0.5 if mixed, 1 if apart.

    The mean of the two domains' means, so that the larger domain does not weigh more: where membership means nothing it
    is ``(N - 2) / (2 (N - 1))``, whatever the sizes.

    Args:
        values: `(N, F)` features, or `(N, 2)` points.
        sides: `(N,)` ``"source"`` or ``"target"``.
        neighbours: how many.
    """
    if len(np.unique(sides)) != 2:
        raise UserError(f"segments are of {len(np.unique(sides))} domains; separation is between two")
    own = sides[nearest(values, neighbours)] == sides[:, None]
    return float(np.mean([own[sides == side].mean() for side in np.unique(sides)]))


def nearest(values: Values, neighbours: int) -> NDArray[np.int64]:
    """Rows of the nearest neighbours of every row, itself left out: `(N, F)` -> `(N, neighbours)`."""
    if not 0 < neighbours < len(values):
        raise UserError(f"{neighbours} neighbours among {len(values)} segments; ask for 1 to {len(values) - 1}")
    squares = (values**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * values @ values.T
    np.fill_diagonal(distances, np.inf)
    found: NDArray[np.int64] = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
    return found
