"""The losses of MM-SADA, one function per equation of the paper.

Legend: `B` clips of a batch, `K` classes, `M` modalities. Every loss is a mean over clips (the paper prints sums).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mmsada_lab.paper import MMD_BANDWIDTHS

_IGNORED = -100
"""In place of the label of a clip that is not classified."""


def classification_loss(
    fused_logits: Tensor, labels: Tensor, *, corresponds: Tensor | None = None, num_classes: int | None = None
) -> Tensor:
    """Classification loss of the late-fused streams, ``-y log P(x)`` (Eq. 1).

    Args:
        fused_logits: `(B, K)` sum of the streams' logits; the softmax comes after the sum.
        labels: `(B,)` class of each source clip.
        corresponds: `(B,)` True where the modalities of a clip come from one segment; only those clips are
            classified (section 4.1). None means all of them.
        num_classes: classes that enter the softmax; further outputs are ignored (released code: 8 of 16).

    Returns:
        Scalar: mean cross-entropy over the corresponding clips; 0 where there are none.

    Example:
        >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
        >>> corresponds = torch.tensor([True, False])  # the second clip does not count
        >>> round(classification_loss(logits, labels, corresponds=corresponds).item(), 4)
        0.1269

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691), section 3.2.
    """
    if corresponds is None:
        return F.cross_entropy(fused_logits[:, :num_classes], labels, reduction="sum") / max(1, len(labels))
    # Mask instead of index: indexing would synchronise with the device.
    labels = labels.where(corresponds, _IGNORED)
    summed = F.cross_entropy(fused_logits[:, :num_classes], labels, ignore_index=_IGNORED, reduction="sum")
    return summed / corresponds.sum().clamp(min=1)


def domain_adversarial_loss(source_scores: Tensor, target_scores: Tensor) -> Tensor:
    """Domain loss of one modality's discriminator, ``-d log D - (1-d) log(1-D)`` (Eq. 2).

    The features come through a gradient reversal, so that minimising this trains D to tell the domains apart
    and F to make them alike.

    Args:
        source_scores: `(B, 2)` logits of D for source clips (d = 0), or `(B,)` logits of a sigmoid.
        target_scores: the same for target clips (d = 1).

    Returns:
        Scalar: mean over all clips of both domains.

    Example:
        >>> undecided = torch.zeros(4, 2)
        >>> round(domain_adversarial_loss(undecided, undecided).item(), 4)  # log 2
        0.6931

    Source: [Ganin et al. 2016](https://arxiv.org/abs/1505.07818); section 3.3.
    """
    scores = torch.cat([source_scores, target_scores])  # (2 B, 2) or (2 B,): source first, so targets are 1
    return _binary_cross_entropy(scores, torch.arange(len(scores), device=scores.device) >= len(source_scores))


def correspondence_loss(scores: Tensor, corresponds: Tensor, *, printed: bool = False) -> Tensor:
    """Self-supervised loss: do the modalities correspond? (Eq. 3, both terms).

    The paper prints ``-c log C`` only, under which non-corresponding clips would cost nothing; this is the
    full ``-c log C - (1-c) log(1-C)`` of the released code.

    Args:
        scores: `(B, 2)` logits of C, or `(B,)` logits of a sigmoid.
        corresponds: `(B,)` True where the modalities come from the same action segment.
        printed: the printed term alone.

    Returns:
        Scalar: mean over the clips of both domains.

    Example:
        >>> scores, corresponds = torch.tensor([3.0, 3.0]), torch.tensor([True, False])
        >>> round(correspondence_loss(scores, corresponds).item(), 3)
        1.549
        >>> round(correspondence_loss(scores, corresponds, printed=True).item(), 3)  # the second clip costs nothing
        0.024

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691), section 3.4.
    """
    if printed:
        # Only the first term: what does not correspond adds 0, but still counts in the mean.
        costs = _binary_cross_entropy(scores, torch.ones_like(corresponds), reduction="none")
        return (costs * corresponds).mean()
    return _binary_cross_entropy(scores, corresponds)


def _binary_cross_entropy(scores: Tensor, positive: Tensor, *, reduction: str = "mean") -> Tensor:
    if scores.ndim == 1:  # one output, a sigmoid (Eqs. 2 and 3); else two, a softmax (the code)
        return F.binary_cross_entropy_with_logits(scores, positive.to(scores), reduction=reduction)
    return F.cross_entropy(scores, positive.to(scores.device, torch.long), reduction=reduction)


def mmd_loss(source: Tensor, target: Tensor) -> Tensor:
    """Multiple-kernel maximum mean discrepancy between the domains' features, ``MMD^2``.

    The kernel is the sum (not the mean) of 12 Gaussians; the estimator is the biased one, whose sums include the
    diagonal, as in the released code.

    Args:
        source: `(B, F)` features of one modality; every head but the classifier sees them without dropout.
        target: `(B', F)`.

    Returns:
        Scalar, at least 0 but for rounding.

    Example:
        >>> features = torch.arange(6.0).view(3, 2)  # (3, 2)
        >>> mmd_loss(features, features).item(), mmd_loss(features, features + 9).item() > 1
        (0.0, True)

    Source: [Long et al. 2015](https://arxiv.org/abs/1502.02791).
    """

    def mean_kernel(rows: Tensor, columns: Tensor) -> Tensor:
        nearness = -(rows.unsqueeze(1) - columns.unsqueeze(0)).square().sum(dim=2)  # (B, B')
        # One exponential for all kernels: of so few clips, fewer operations are faster.
        return torch.stack([nearness / g for g in MMD_BANDWIDTHS]).exp().sum(dim=0).mean()

    return mean_kernel(source, source) + mean_kernel(target, target) - 2 * mean_kernel(source, target)


def classifier_discrepancy(logits: Tensor, auxiliary_logits: Tensor, *, num_classes: int | None = None) -> Tensor:
    """How much two classifiers disagree, ``mean |p1 - p2|`` (MCD).

    Args:
        logits: `(B, K)` fused logits of target clips.
        auxiliary_logits: `(B, K)` those of the second classifier.
        num_classes: classes that enter the softmax; further outputs are ignored (released code: 8 of 16).

    Returns:
        Scalar: L1 distance of the two probability vectors, mean over clips and classes.

    Example:
        >>> sure = torch.tensor([[50.0, 0.0]])
        >>> classifier_discrepancy(sure, sure).item(), classifier_discrepancy(sure, -sure).item()
        (0.0, 1.0)

    Source: [Saito et al. 2018](https://arxiv.org/abs/1712.02560).
    """
    # Probabilities, not logits: L1 between logits would grow with their scale.
    p1, p2 = (fused[:, :num_classes].softmax(dim=1) for fused in (logits, auxiliary_logits))
    return (p1 - p2).abs().mean()


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The training objective, ``Ly + lambda_d sum_m Ld_m + lambda_c Lc`` (Eq. 4).

    Args:
        terms: named scalar losses.
        weights: weight of each; must name exactly the same terms.

    Raises:
        KeyError: if a term has no weight, or a weight no term.

    Example:
        >>> terms = {"classification": torch.tensor(2.0), "adversarial": torch.tensor(0.5)}
        >>> total_loss(terms, {"classification": 0.2, "adversarial": 1.0}).item()
        0.8999999761581421

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691), section 3.5.
    """
    if terms.keys() != weights.keys():
        raise KeyError(f"loss terms {sorted(terms)} and weights {sorted(weights)} must name the same terms")
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
