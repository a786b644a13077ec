"""Logits of one clip, stream by stream, and what becomes of them when they are added (Eq. 1): numbers, then bars.

Legend: `K` classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from numpy.typing import ArrayLike

from mmsada_lab.analysis import style
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED
from mmsada_lab.models.network import fuse


def clip_logits(logits: Mapping[str, ArrayLike], classes: Sequence[str]) -> pd.DataFrame:
    """Logits of one clip as a frame: a row per class, a column per stream.

    Args:
        logits: stream -> `(K,)` numbers.
        classes: K names.

    Raises:
        UserError: fewer than two streams, other numbers of logits than classes, or a logit that is not finite.

    Example:
        >>> clip_logits({"rgb": [2.0, 0.0], "flow": [1.0, 3.0]}, ["take", "put"])["flow"].to_dict()
        {'take': 1.0, 'put': 3.0}
    """
    if len(logits) < 2:
        raise UserError(f"{len(logits)} streams; logits are added of two or more")
    values = {stream: np.asarray(of_stream, dtype=np.float64) for stream, of_stream in logits.items()}
    if any(of_stream.shape != (len(classes),) for of_stream in values.values()):
        shapes = ", ".join(f"{stream} {of_stream.shape}" for stream, of_stream in values.items())
        raise UserError(f"logits of shapes {shapes}; give one number for each of the {len(classes)} classes")
    table = pd.DataFrame(values, index=list(classes))
    if not np.isfinite(table).all(axis=None):
        raise UserError("some logits are not finite; give numbers")
    return table


def stream_probabilities(logits: pd.DataFrame) -> pd.DataFrame:
    """Softmax of each stream's logits, and of their sum.

    Args:
        logits: from `clip_logits`.

    Returns:
        The same rows; the streams' columns, and `FUSED`; each sums to 1.

    Example:
        >>> logits = clip_logits({"rgb": [0.0, 0.0], "flow": [np.log(3.0), 0.0]}, ["take", "put"])
        >>> stream_probabilities(logits).loc["take"].round(2).to_dict()
        {'rgb': 0.5, 'flow': 0.75, 'fused': 0.75}
    """
    streams = {str(name): torch.tensor(values.to_numpy())[None] for name, values in logits.items()}  # (1, K)
    every = {**streams, FUSED: fuse(streams)}
    return pd.DataFrame({name: values.softmax(dim=1)[0].numpy() for name, values in every.items()}, index=logits.index)


def write_fusion(logits: pd.DataFrame, *, of_class: str) -> str:
    """What each stream says and what their sum says, and the fused probability of a class by hand.

    Example:
        >>> logits = clip_logits({"rgb": [2.0, 0.0], "flow": [1.0, 3.5]}, ["take", "put"])
        >>> write_fusion(logits, of_class="take")
        'rgb says take (0.88), flow says put (0.92), their sum put (0.62); P(take) = exp(2.0 + 1.0) / 53.2 = 0.38'
    """
    probabilities = stream_probabilities(logits)
    verdicts = [f"{name} says {p.idxmax()} ({p.max():.2f})" for name, p in probabilities.drop(columns=FUSED).items()]
    fused, total = probabilities[FUSED], float(np.exp(logits.sum(axis=1)).sum())
    addends = logits.to_numpy()[list(logits.index).index(of_class)].tolist()
    added, by_hand = " + ".join(f"{value:.1f}" for value in addends), math.exp(sum(addends)) / total
    outcome = f"their sum {fused.idxmax()} ({fused.max():.2f})"
    return f"{', '.join(verdicts)}, {outcome}; P({of_class}) = exp({added}) / {total:.1f} = {by_hand:.2f}"


def draw_streams(probabilities: pd.DataFrame, *, title: str) -> go.Figure:
    """Draw `stream_probabilities`: a group of bars per class, a bar per stream, the fused one last.

    Example:
        >>> logits = clip_logits({"rgb": [0.0, 0.0], "flow": [0.0, 0.0]}, ["take", "put"])
        >>> [bar.name for bar in draw_streams(stream_probabilities(logits), title="").data]
        ['rgb', 'flow', 'fused']
    """
    figure, colours = style.empty_figure(title), style.colours([str(name) for name in probabilities])
    for stream, values in probabilities.items():
        heights = [round(float(value), 3) for value in values]
        look = {"name": str(stream), "marker_color": colours[str(stream)], "textposition": "outside"}
        figure.add_bar(x=list(probabilities.index), y=heights, text=[f"{y:.2f}" for y in heights], **look)
    figure.update_yaxes(title="probability", range=[0, 1.1], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return figure.update_layout(xaxis_title="class", barmode="group")
