"""Feature spaces in two dimensions: source and target embedded together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from mmsada_lab.analysis import style
from mmsada_lab.analysis.figures import plain
from mmsada_lab.errors import UserError, unknown


def joint_embedding(
    features: Mapping[str, NDArray[Any]], modality: str, *, seed: int = 0, at_most: int = 400
) -> pd.DataFrame:
    """Two-dimensional t-SNE of source and target features, fitted once over both.

    Args:
        features: the arrays of a run's ``features.npz``.
        modality: whose features.
        seed: of the draw and of t-SNE. Coordinates still differ between machines; compare summaries, not points.
        at_most: segments drawn from each domain.

    Returns:
        Columns modality, x, y, side (source or target), label, uid.
    """
    from sklearn.manifold import TSNE

    if f"f_{modality}" not in features:
        known = [name.removeprefix("f_") for name in features if name.startswith("f_")]
        raise unknown("modality", modality, known)
    values, sides = features[f"f_{modality}"], features["side"]
    if not np.isfinite(values).all():
        raise UserError(f"features of {modality} are not all finite; the run behind them diverged")
    rng = np.random.default_rng(seed)
    rows = np.concatenate([_draw(np.flatnonzero(sides == side), at_most, rng) for side in style.DOMAIN_COLOURS])
    if len(rows) < 4:
        raise UserError(f"{len(rows)} segments are too few to embed; t-SNE needs at least 4")
    perplexity = min(30.0, (len(rows) - 1) / 3)
    points = TSNE(init="pca", random_state=seed, perplexity=perplexity).fit_transform(values[rows])
    meta = {name: features[name][rows] for name in ("side", "label", "uid")}
    return pd.DataFrame({"modality": modality, "x": points[:, 0], "y": points[:, 1], **meta})


def draw_embedding(points: pd.DataFrame, *, title: str = "Feature space") -> go.Figure:
    """Draw `joint_embedding`, of one modality or several joined, coloured by domain, with the sample counts."""
    modalities = list(points["modality"].unique())
    figure = make_subplots(1, len(modalities), subplot_titles=modalities)
    for column, modality in enumerate(modalities, start=1):
        for (side, colour), symbol in zip(style.DOMAIN_COLOURS.items(), ("circle", "diamond"), strict=True):
            one = points[(points["modality"] == modality) & (points["side"] == side)]
            marker = {"color": style.translucent(colour, 0.7), "size": 7, "symbol": symbol}
            shown = {"name": f"{side} ({len(one)} segments)", "legendgroup": side, "showlegend": column == 1}
            where = {"x": plain(one["x"]), "y": plain(one["y"]), "text": plain(one["uid"])}
            figure.add_scatter(**where, mode="markers", marker=marker, **shown, row=1, col=column)
    figure.update_xaxes(title="t-SNE 1 (no unit)", showticklabels=False)
    figure.update_yaxes(showticklabels=False).update_yaxes(title="t-SNE 2 (no unit)", col=1)
    return figure.update_layout(template=style.TEMPLATE, title={"text": title})


def _draw(rows: NDArray[np.int64], at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))
