"""Feature spaces in two dimensions: source and target embedded together.

Coordinates change between machines, threads and seeds; compare the summaries of `mmsada_lab.analysis.neighbours`.
Legend: `N` segments of both domains, `F` feature width.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.style import CYCLE, to_list, xy
from mmsada_lab.errors import UserError, unknown

SIDE_SYMBOLS = {"source": "circle", "target": "diamond"}
_VARIANTS = ("", "-open", "-x-open", "-cross-open")  # of both symbols, where there are more classes than colours
NO_LABEL = "no label"
_SINGLE, _AROUND, _ENTRY = 380, 160, 20
"""Pixels: height of one row of panels; what lies above and below a legend; an entry of it."""

Values = NDArray[np.floating[Any]]


def joint_embedding(
    features: Mapping[str, NDArray[Any]],
    modality: str,
    *,
    method: str = "tsne",
    seed: int = 0,
    at_most: int = 400,
    predictions: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Two-dimensional t-SNE or UMAP of source and target features, fitted once over both.

    t-SNE: https://jmlr.org/papers/v9/vandermaaten08a.html, UMAP: https://arxiv.org/abs/1802.03426.

    Args:
        features: the arrays of a run's ``features.npz``.
        modality: whose features.
        method: key of `PROJECTIONS`.
        seed: of the draw and of the fit. Coordinates still differ between machines; compare summaries, not points.
        at_most: segments drawn from each domain.
        predictions: of the same run, from `load_predictions`; what the last evaluation says of a segment is then told
            under the mouse.

    Returns:
        Columns modality, method, x, y, side (source or target), label, uid, row (of the features), and with
        `predictions` predicted (a label) and confidence (percent), missing where a segment has none.

    Example:
        >>> side = np.repeat(["source", "target"], 4)
        >>> features = {"f_rgb": np.eye(8), "side": side, "label": np.zeros(8), "uid": np.arange(8)}
        >>> joint_embedding(features, "rgb", at_most=3)["side"].value_counts().to_dict()
        {'source': 3, 'target': 3}
    """
    if f"f_{modality}" not in features:
        known = [name.removeprefix("f_") for name in features if name.startswith("f_")]
        raise unknown("modality", modality, known)
    if method not in PROJECTIONS:
        raise unknown("method of embedding", method, PROJECTIONS)
    values, sides = features[f"f_{modality}"], features["side"]
    if not np.isfinite(values).all():
        raise UserError(f"features of {modality} are not all finite; the run behind them diverged")
    rng = np.random.default_rng(seed)
    rows = np.concatenate([_draw(np.flatnonzero(sides == side), at_most, rng) for side in style.DOMAIN_COLOURS])
    if len(rows) < 4:
        raise UserError(f"{len(rows)} segments are too few to embed; {PROJECTIONS[method].title} needs at least 4")
    points = PROJECTIONS[method].fit(values[rows].astype(np.float32), seed)
    meta = {name: features[name][rows] for name in ("side", "label", "uid")}
    table = pd.DataFrame(
        {"modality": modality, "method": method, "x": points[:, 0], "y": points[:, 1], **meta, "row": rows}
    )
    return table if predictions is None else table.join(_last_predictions(predictions), on="uid")


def _last_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """By uid, what the last evaluation takes a segment for, and its probability in percent."""
    last = predictions.query("stream == 'fused' and step == step.max()").set_index("uid")
    return pd.DataFrame({"predicted": last["predicted"], "confidence": 100 * last.filter(regex=r"^p\d+$").max(axis=1)})


def _tsne(values: Values, seed: int) -> Values:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(values) - 1) / 3)
    return np.asarray(TSNE(init="pca", random_state=seed, perplexity=perplexity).fit_transform(values))


def _umap(values: Values, seed: int) -> Values:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # of its parametric variant, which asks for Tensorflow
            import umap
    except ImportError:
        raise UserError("UMAP is not installed; run pip install -e '.[notebooks]', or take method 'tsne'") from None

    neighbours = min(15, len(values) - 1)
    start = "spectral" if len(values) > 2 * neighbours else "random"  # too few segments have no spectrum to start from
    # With a seed UMAP takes one job, and warns unless one is asked for.
    return np.asarray(umap.UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1).fit_transform(values))


class Projection(NamedTuple):
    """A drawing of features in two dimensions: title of its axes; its fit, `(N, F)` and a seed -> `(N, 2)`."""

    title: str
    fit: Callable[[Values, int], Values]


PROJECTIONS = {"tsne": Projection("t-SNE", _tsne), "umap": Projection("UMAP", _umap)}


def _draw(rows: NDArray[np.int64], at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


@hover_in_words
def draw_embedding(
    points: pd.DataFrame, *, by: str = "domain", classes: Sequence[str] = (), title: str = "Feature space"
) -> go.Figure:
    """Draw `joint_embedding`, of one modality or several joined; several runs (column ``run``) stand side by side.

    A colour stands for the ``domain`` or the ``class``, a symbol for the domain (its variants for classes of the same
    colour); `classes` are names, by label.

    Example:
        >>> points = pd.DataFrame({"x": [0.0, 1.0], "y": 0.0, "side": ["source", "target"], "label": 0, "uid": "a"})
        >>> [trace.name for trace in draw_embedding(points.assign(modality="rgb", method="tsne")).data]
        ['source (1 segments)', 'target (1 segments)']
    """
    groups = _groups(points, by, classes)
    points = points.assign(run=points.get("run", ""))
    runs, modalities = points["run"].unique(), points["modality"].unique()
    panels = [(run, modality) for modality in modalities for run in runs]
    several = len(runs) > 1  # what is compared shares a row
    width, height = (len(runs), len(modalities)) if several else (len(modalities), 1)
    titles = [", ".join(filter(None, panel)) for panel in panels]
    options = {"subplot_titles": titles, "vertical_spacing": 0.2 / height, "horizontal_spacing": 0.12 / width}
    tall = 140 + 230 * height if several else _SINGLE
    tall = max(tall, _AROUND + _ENTRY * len(groups)) if by == "class" else tall  # all entries are seen
    figure = style.empty_figure(title, panels=(height, width), height=tall, **options)
    for number, (run, modality) in enumerate(panels):
        of_panel = points[(points["run"] == run) & (points["modality"] == modality)]
        where = {"row": number // width + 1, "col": number % width + 1}
        _add_points(figure, of_panel.assign(words=_hover(of_panel, classes)), groups, legend=number == 0, where=where)
    axes = PROJECTIONS[points["method"].iloc[0]].title
    figure.update_layout(legend_tracegroupgap=0)
    if several and by == "domain":
        figure.update_layout(legend=style.LEGEND_BELOW, margin_b=100)
    figure.update_xaxes(showticklabels=False).update_xaxes(title=f"{axes} 1 (no unit)", row=height)
    return figure.update_yaxes(showticklabels=False).update_yaxes(title=f"{axes} 2 (no unit)", col=1)


class _Group(NamedTuple):
    """Segments of one colour and symbol: of a domain, or of a class in a domain."""

    name: str
    colour: str
    side: str
    label: int | None = None

    def symbol(self) -> str:
        """That of the domain; a variant of it for classes that have the colour of an earlier one."""
        return SIDE_SYMBOLS[self.side] + _VARIANTS[max(self.label or 0, 0) // len(CYCLE) % len(_VARIANTS)]

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return points[(points["side"] == self.side) & ((points["label"] == self.label) | (self.label is None))]


def _groups(points: pd.DataFrame, by: str, classes: Sequence[str]) -> list[_Group]:
    if by == "domain":
        return [_Group(side, colour, side) for side, colour in style.DOMAIN_COLOURS.items()]
    if by != "class":
        raise unknown("meaning of colour", by, ("domain", "class"))
    labels = sorted({int(label) for label in points["label"]}, key=lambda label: (label < 0, label))
    if max(labels) >= len(classes):
        raise UserError(f"label {max(labels)} has no name among {len(classes)} classes; give the names of all classes")
    groups = []
    for label in labels:
        colour = style.GREY if label < 0 else CYCLE[label % len(CYCLE)]
        name = NO_LABEL if label < 0 else classes[label]
        groups += [_Group(f"{name}, {side}", colour, side, label) for side in style.DOMAIN_COLOURS]
    return groups


def _add_points(
    figure: go.Figure, points: pd.DataFrame, groups: Sequence[_Group], *, legend: bool, where: Mapping[str, int]
) -> None:
    for group in groups:
        of_group = group.rows(points)
        marker = {"color": style.translucent(group.colour, 0.7), "size": 7, "symbol": group.symbol()}
        entry = {"name": f"{group.name} ({len(of_group)} segments)", "legendgroup": group.name, "showlegend": legend}
        words = {"hovertext": to_list(of_group["words"]), "hovertemplate": "%{hovertext}<extra></extra>"}
        figure.add_scatter(**xy(of_group, "x", "y"), **words, mode="markers", marker=marker, **entry, **where)


def _hover(points: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Of every segment its name, domain and class, and what it was taken for with which confidence."""

    def name(label: float) -> str:
        return classes[int(label)] if 0 <= label < len(classes) else ""

    told = points.reindex(columns=["uid", "side", "label", "predicted", "confidence"])
    lines = []
    for uid, side, label, predicted, confidence in told.itertuples(index=False):
        taken = f"taken for {name(predicted)}, {confidence:.0f} %" if classes and not math.isnan(predicted) else ""
        lines.append("<br>".join(filter(None, [str(uid), ", ".join(filter(None, [side, name(label)])), taken])))
    return lines
