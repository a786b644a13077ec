"""A correspondence head on features that do not move: what it learns to say of pairs and of non-pairs.

Legend: `N` actions, `F` features of a modality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.lessons.line_chart import draw_lines
from mmsada_lab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from mmsada_lab.models.heads import CorrespondenceHead

ANSWERED_KINDS = ("pairs", "non-pairs")


class TrainedHead(NamedTuple):
    """C after training, and how often it said yes on its way: columns of `ANSWERED_KINDS`, percent, by step."""

    head: CorrespondenceHead
    yes: pd.DataFrame


def train_correspondence(
    first: ArrayLike, second: ArrayLike, *, steps: int = 200, printed: bool = False
) -> TrainedHead:
    """Train the shipped C on pairs (row k of both modalities) and as many non-pairs (row k and row k + 1).

    Each step is ``C <- C - 0.1 v``, ``v <- 0.9 v + dLc/dC``, with Lc of Eq. 3; the features stay as they are.

    Args:
        first: `(N, F)` features of one modality.
        second: `(N, F')` of the other, of the same actions.
        steps: of gradient descent on all pairs at once.
        printed: Eq. 3 as it is printed, ``-c log C``, in place of both terms.

    Raises:
        UserError: fewer than two actions, or not as many in both modalities.

    Example:
        >>> actions = np.random.default_rng(0).normal(size=(16, 2))
        >>> train_correspondence(actions, actions, steps=50, printed=True).yes.iloc[-1].to_dict()
        {'pairs': 100.0, 'non-pairs': 100.0}
    """
    import torch

    from mmsada_lab.losses import correspondence_loss
    from mmsada_lab.models.heads import CorrespondenceHead

    pairs, c = _questions(first, second)
    head, rng = CorrespondenceHead({m: x.shape[1] for m, x in pairs.items()}).double(), np.random.default_rng(1)
    for parameter in head.parameters():
        parameter.data = torch.tensor(rng.normal(scale=0.1, size=tuple(parameter.shape)))
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    yes = []
    for _ in range(steps + 1):
        scores = head(pairs)
        says_yes = scores.argmax(dim=1) == 1
        yes.append([100 * float(says_yes[kind].double().mean()) for kind in (c, ~c)])
        optimiser.zero_grad()
        correspondence_loss(scores, c, printed=printed).backward()
        optimiser.step()
    return TrainedHead(head, pd.DataFrame(yes, columns=list(ANSWERED_KINDS)).rename_axis("step"))


def _questions(first: ArrayLike, second: ArrayLike) -> tuple[dict[str, Tensor], Tensor]:
    """Features of pairs and non-pairs by modality, `(2 N, F)`, and whether they correspond, `(2 N,)`."""
    import torch

    one_side, other = (torch.tensor(np.asarray(x, dtype=np.float64)) for x in (first, second))
    count = len(one_side)
    if count != len(other) or count < 2:
        raise UserError(f"{count} and {len(other)} actions of the two modalities; give two or more, as many of each")
    pairs = {"first": one_side.repeat(2, 1), "second": torch.cat([other, other.roll(-1, dims=0)])}
    return pairs, torch.arange(2 * count) < count


def correspondence_right(head: CorrespondenceHead, first: ArrayLike, second: ArrayLike) -> float:
    """How often a trained C is right about pairs and non-pairs of other actions, percent; 50 is guessing.

    Example:
        >>> actions = np.random.default_rng(0).normal(size=(64, 2))
        >>> trained = train_correspondence(actions, actions)
        >>> correspondence_right(trained.head, actions, actions) > 80
        True
    """
    from mmsada_lab.models.heads import balanced_accuracy

    pairs, c = _questions(first, second)
    return float(balanced_accuracy(head(pairs), c))


@hover_in_words
def draw_yes(trained: Mapping[str, TrainedHead], *, every: int = 4, title: str = "What C learns to say") -> go.Figure:
    """Draw how often heads that were trained in different ways say yes: solid of pairs, dotted of non-pairs.

    Example:
        >>> actions = np.random.default_rng(0).normal(size=(8, 2))
        >>> figure = draw_yes({"both terms": train_correspondence(actions, actions, steps=4)})
        >>> [trace.name for trace in figure.data]
        ['both terms: pairs', 'both terms: non-pairs']
    """
    lines = pd.concat([t.yes.add_prefix(f"{name}: ") for name, t in trained.items()], axis=1)[::every]
    palette = (style.INK, style.TERM_COLOURS["correspondence"])
    paint = dict(zip(trained, palette, strict=False))
    look: dict[str, Any] = {
        "colours": {f"{name}: {kind}": paint[name] for name in paint for kind in ANSWERED_KINDS},
        "dashes": {name: "dot" if str(name).endswith("non-pairs") else "solid" for name in lines},
    }
    return draw_lines(lines, axes=("step", "answered 'they correspond' (%)"), title=title, **look)
