"""The heads on top of the features: domain discriminator D, correspondence classifier C, gradient reversal.

Legend: `B` clips of a batch, `F` feature width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor, nn


class ReverseGradient(torch.autograd.Function):
    """Nothing on the way forward; on the way back, the gradient times minus the coefficient.

    Source: [Ganin et al. 2016](https://arxiv.org/abs/1505.07818).

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> ReverseGradient.apply(x, 0.5).backward()
        >>> x.grad
        tensor(-0.5000)
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, coefficient: float) -> Tensor:
        """The features as they are."""
        ctx.coefficient = coefficient
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """None for the coefficient, which is no tensor."""
        return -ctx.coefficient * gradients[0], None


def reverse_gradient(features: Tensor, coefficient: float) -> Tensor:
    """Gradient reversal: the identity forwards, the gradient times ``-coefficient`` backwards.

    Args:
        features: `(B, F)` or any shape.
        coefficient: factor of the reversed gradient; what lies behind (the discriminator) keeps its full gradient.

    Source: [Ganin et al. 2016](https://arxiv.org/abs/1505.07818), used in section 3.3 of the paper.

    Example:
        >>> features = torch.ones(1, requires_grad=True)
        >>> reverse_gradient(features, 0.2).sum().backward()
        >>> round(features.grad.item(), 3)
        -0.2
    """
    result: Tensor = ReverseGradient.apply(features, coefficient)  # type: ignore[no-untyped-call]
    return result


def _fully_connected(*widths: int) -> nn.Sequential:
    """Layers from width to width, ReLUs between; kernels truncated normal of std 0.1, biases 0 (released code)."""
    layers = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)]
    for layer in layers:
        nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        nn.init.zeros_(layer.bias)
    first, *others = layers
    return nn.Sequential(first, *(module for layer in others for module in (nn.ReLU(), layer)))


def _scores(layers: nn.Module, features: Tensor, outputs: int) -> Tensor:
    scores: Tensor = layers(features)
    return scores.squeeze(1) if outputs == 1 else scores  # (B,) or (B, 2)


@torch.no_grad()
def balanced_accuracy(scores: Tensor, positive: Tensor) -> Tensor:
    """How often a head is right, in percent: the mean over both answers of the share of clips it is right about.

    A head that always gives the same answer is right half of the time, however many clips there are of either kind.

    Args:
        scores: `(B, 2)` logits, or `(B,)` logits of a sigmoid; equal ones say no.
        positive: `(B,)` whether the right answer is yes; where only one answer is ever right, it alone counts.

    Returns:
        Scalar, on the device of the scores.

    Source: [Brodersen et al. 2010](https://doi.org/10.1109/ICPR.2010.764).

    Example:
        >>> always_yes = torch.ones(4)
        >>> balanced_accuracy(always_yes, torch.tensor([True, True, True, False])).item()
        50.0
    """
    right = (scores > 0 if scores.ndim == 1 else scores[:, 1] > scores[:, 0]) == positive
    shares = [(right & kind).sum() / kind.sum() for kind in (positive, ~positive)]  # NaN where there are none
    return 100 * torch.stack(shares).nanmean()


class DomainDiscriminator(nn.Module):
    """D^m, "2 fully connected layers with a hidden layer of 100 dimensions and a ReLU" (section 4.1).

    Args:
        features: F, width of the modality's features.
        hidden: width of the hidden layer.
        outputs: 2 for a two-way softmax (released code), 1 for a sigmoid (Eq. 2).

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691).

    Example:
        >>> features = torch.zeros(3, 64)
        >>> DomainDiscriminator(64)(features).shape, DomainDiscriminator(64, outputs=1)(features).shape
        (torch.Size([3, 2]), torch.Size([3]))
    """

    def __init__(self, features: int, *, hidden: int = 100, outputs: int = 2) -> None:
        super().__init__()
        self.outputs = outputs
        self.layers = _fully_connected(features, hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Scores of `(B, F)` features: `(B, 2)`, or `(B,)` with one output; source = 0, target = 1."""
        return _scores(self.layers, features, self.outputs)


class CorrespondenceHead(nn.Module):
    """C, over the features of all modalities, "concatenated along the channel dimension" (section 4.1).

    Args:
        features: F of each modality; their order fixes the concatenation.
        hidden: width of a hidden layer.
        hidden_layers: 1 (released code), or 2: "two fully connected layers of 100 dimensions", read literally.
        outputs: 2 for a two-way softmax (released code), 1 for a sigmoid (Eq. 3).

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691).

    Example:
        >>> head = CorrespondenceHead({"rgb": 64, "flow": 32})
        >>> head({"rgb": torch.zeros(3, 64), "flow": torch.zeros(3, 32)}).shape
        torch.Size([3, 2])
    """

    def __init__(
        self, features: Mapping[str, int], *, hidden: int = 100, hidden_layers: int = 1, outputs: int = 2
    ) -> None:
        super().__init__()
        self.modalities = tuple(features)
        self.outputs = outputs
        self.layers = _fully_connected(sum(features.values()), *[hidden] * hidden_layers, outputs)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Scores of `(B, F)` features by modality: `(B, 2)`, or `(B,)` with one output; 1 = corresponds."""
        concatenated = torch.cat([features[modality] for modality in self.modalities], dim=1)  # (B, sum of F)
        return _scores(self.layers, concatenated, self.outputs)


class PairwiseCorrespondence(nn.Module):
    """C for more than two modalities: a head for every pair of them, as section 3.4 has it for RGB and flow.

    Args:
        features: F of each modality.
        hidden: width of each head's hidden layers.
        hidden_layers: of each head, as for `CorrespondenceHead`.
        outputs: likewise.

    Source: [Munro and Damen 2020](https://arxiv.org/abs/2001.09691) have two modalities; the pairs are ours.

    Example:
        >>> head = PairwiseCorrespondence({"rgb": 8, "flow": 8, "audio": 8})
        >>> head({m: torch.zeros(5, 8) for m in ("rgb", "flow", "audio")}).shape  # 3 pairs of 5 clips
        torch.Size([15, 2])
    """

    def __init__(
        self, features: Mapping[str, int], *, hidden: int = 100, hidden_layers: int = 1, outputs: int = 2
    ) -> None:
        super().__init__()
        pairs = [{m: features[m] for m in pair} for pair in combinations(features, 2)]
        build = partial(CorrespondenceHead, hidden=hidden, hidden_layers=hidden_layers, outputs=outputs)
        self.heads = nn.ModuleList(build(pair) for pair in pairs)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Scores of `(B, F)` features by modality: those of the first pair, then of the second, ...: `(P B, 2)`."""
        return torch.cat([head(features) for head in self.heads])
