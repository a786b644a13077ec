"""The losses of MM-SADA, one function per equation of the paper.

Legend: `B` clips of a batch, `K` classes, `M` modalities. Every loss is a mean over clips (the paper prints sums).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mmsada_lab.paper import MMD_BANDWIDTHS

_PASSED_OVER = -100
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
    """
    if corresponds is None:
        return F.cross_entropy(fused_logits[:, :num_classes], labels, reduction="sum") / max(1, len(labels))
    # Passed over rather than picked out: how many there are is known on the device, which nothing here waits for.
    labels = labels.where(corresponds, _PASSED_OVER)
    summed = F.cross_entropy(fused_logits[:, :num_classes], labels, ignore_index=_PASSED_OVER, reduction="sum")
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
    """
    scores = torch.cat([source_scores, target_scores])
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
    """
    if printed:
        costs = _binary_cross_entropy(scores, torch.ones_like(corresponds), reduction="none")
        return (costs * corresponds).mean()
    return _binary_cross_entropy(scores, corresponds)


def _binary_cross_entropy(scores: Tensor, positive: Tensor, *, reduction: str = "mean") -> Tensor:
    if scores.ndim == 1:
        return F.binary_cross_entropy_with_logits(scores, positive.to(scores), reduction=reduction)
    return F.cross_entropy(scores, positive.to(scores.device, torch.long), reduction=reduction)


def mmd_loss(source: Tensor, target: Tensor) -> Tensor:
    """Multiple-kernel maximum mean discrepancy between the domains' features, ``MMD^2`` (Long et al. 2015).

    The kernel is the sum (not the mean) of 12 Gaussians; the estimator is the biased one, whose sums include the
    diagonal, as in the released code.

    Args:
        source: `(B, F)` features of one modality; every head but the classifier sees them without dropout.
        target: `(B', F)`.

    Returns:
        Scalar, at least 0 but for rounding.
    """

    def mean_kernel(one: Tensor, other: Tensor) -> Tensor:
        squared = (one.unsqueeze(1) - other.unsqueeze(0)).square().sum(dim=2)
        return torch.stack([torch.exp(-squared / g) for g in MMD_BANDWIDTHS]).sum(dim=0).mean()

    return mean_kernel(source, source) + mean_kernel(target, target) - 2 * mean_kernel(source, target)


def classifier_discrepancy(logits: Tensor, auxiliary_logits: Tensor, *, num_classes: int | None = None) -> Tensor:
    """How much two classifiers disagree, ``mean |p1 - p2|`` (MCD; Saito et al. 2018).

    Args:
        logits: `(B, K)` fused logits of target clips.
        auxiliary_logits: `(B, K)` those of the second classifier.
        num_classes: classes that enter the softmax; further outputs are ignored (released code: 8 of 16).

    Returns:
        Scalar: L1 distance of the two probability vectors, mean over clips and classes.
    """
    p1, p2 = (fused[:, :num_classes].softmax(dim=1) for fused in (logits, auxiliary_logits))
    return (p1 - p2).abs().mean()


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The training objective, ``Ly + lambda_d sum_m Ld_m + lambda_c Lc`` (Eq. 4).

    Args:
        terms: named scalar losses.
        weights: weight of each; must name exactly the same terms.

    Raises:
        KeyError: if a term has no weight, or a weight no term.
    """
    if terms.keys() != weights.keys():
        raise KeyError(f"loss terms {sorted(terms)} and weights {sorted(weights)} must name the same terms")
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
