"""I3D: Inception-v1 inflated to three dimensions, the paper's F^m (section 4.1).

Legend: `B` clips, `C` channels, `T` frames, `H`, `W` pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmsada_lab.models.batchnorm import GroupedBatchNorm3d, held_statistics

_Sizes = tuple[int, int, int]
_Norm = Callable[[int], GroupedBatchNorm3d]

# Output channels of each branch: 1x1x1 | 1x1x1, 3x3x3 | 1x1x1, 3x3x3 | pooling, 1x1x1.
_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Layer -> kernel and stride of the max-pooling before it.
_POOLING: dict[str, tuple[_Sizes, _Sizes]] = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
    """I3D up to its features: the average over 2 x 7 x 7 of the last layer, before dropout.

    Layers and parameters are named as in the common PyTorch port, so that its Kinetics weights fit
    (`mmsada_lab.models.pretrained`). All padding is TensorFlow's "SAME". 12.3 million parameters.

    Args:
        in_channels: C; 3 for RGB, 2 for flow, any number for what is trained from scratch.
        norm_momentum: weight of the newest group in the running statistics.
        checkpointing: keep only what passes between layers and compute the rest again for the gradient: less memory,
            a third more time, the same numbers.

    Source: [Carreira and Zisserman 2017](https://arxiv.org/abs/1705.07750).

    Example:
        >>> I3D(2).eval()(torch.zeros(1, 2, 8, 32, 32)).shape
        torch.Size([1, 1024])
    """

    def __init__(self, in_channels: int = 3, *, norm_momentum: float = 0.001, checkpointing: bool = False) -> None:
        super().__init__()
        norm = partial(GroupedBatchNorm3d, momentum=norm_momentum)
        self.Conv3d_1a_7x7 = Unit(in_channels, 64, 7, norm=norm, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1, norm=norm)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3, norm=norm)
        width = 192
        for name, widths in _MIXED.items():
            mixed = Mixed(width, widths, norm=norm)
            self.add_module(name, mixed)
            width = mixed.width
        self.features = width
        self.checkpointing = checkpointing

    def forward(self, clips: Tensor, norm_group: int = 0) -> Tensor:
        """Features `(B, 1024)` of clips `(B, C, T, H, W)` of one domain, of any T, H and W.

        Args:
            clips: pixels in [-1, 1).
            norm_group: in training, clips that share batch statistics, from the first on; the last group may be
                smaller. 0 = all.
        """
        groups = len(clips) // norm_group if self.training and norm_group else 0
        if groups < 2:
            return torch.cat([self._features(group) for group in clips.split(norm_group if groups else len(clips))])
        # All whole groups at once, interleaved as `GroupedBatchNorm3d` wants them, and the smaller one after them.
        whole, rest = clips.tensor_split([groups * norm_group])
        interleaved = whole.unflatten(0, (groups, -1)).transpose(0, 1).flatten(0, 1)  # (B, C, T, H, W)
        features = self._features(interleaved, groups)  # (B, F), interleaved
        features = features.unflatten(0, (-1, groups)).transpose(0, 1).flatten(0, 1)  # (B, F), in order
        return torch.cat([features, self._features(rest)]) if len(rest) else features

    def _features(self, clips: Tensor, groups: int = 1) -> Tensor:
        """Features of interleaved groups, see `GroupedBatchNorm3d`."""
        values = clips
        for name, layer in self.named_children():
            values = self._layer(values, name, layer, groups)
        kernel = [min(*sizes) for sizes in zip((2, 7, 7), values.shape[2:], strict=True)]
        return F.avg_pool3d(values, kernel, stride=1).flatten(2).mean(dim=2)  # (B, F), the mean over positions

    def _layer(self, values: Tensor, name: str, layer: nn.Module, groups: int) -> Tensor:
        def compute(values: Tensor) -> Tensor:
            pooled = max_pool(values, *_POOLING[name]) if name in _POOLING else values
            return layer(pooled, groups)  # type: ignore[no-any-return]

        if not (self.checkpointing and torch.is_grad_enabled()):
            return compute(values)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), held_statistics(layer)  # a batch must not count twice in the running statistics

        result: Tensor = checkpoint(compute, values, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        return result


class Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, norm: _Norm, stride: int = 1) -> None:
        super().__init__()
        # At stride 1 "SAME" is the same on both sides; at others it depends on the input's size.
        padding = kernel // 2 if stride == 1 else 0
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = norm(outputs)
        self.same = (kernel, stride)

    def forward(self, values: Tensor, groups: int = 1) -> Tensor:
        """Values `(B, C', T', H', W')` of values `(B, C, T, H, W)`; `groups` as for `GroupedBatchNorm3d`."""
        kernel, stride = self.same
        if stride > 1:
            sides = [same_padding(size, kernel, stride) for size in values.shape[2:]]
            # `F.pad` begins with the last dimension.
            values = F.pad(values, [side for before_and_after in reversed(sides) for side in before_and_after])
        normalised: Tensor = self.bn(self.conv3d(values), groups)
        return normalised.relu()


class Mixed(nn.Module):
    """An Inception module: four branches, concatenated along the channels."""

    def __init__(self, inputs: int, widths: tuple[int, ...], *, norm: _Norm) -> None:
        super().__init__()
        unit = partial(Unit, norm=norm)
        self.b0 = unit(inputs, widths[0], 1)
        self.b1a, self.b1b = unit(inputs, widths[1], 1), unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = unit(inputs, widths[3], 1), unit(widths[3], widths[4], 3)
        self.b3b = unit(inputs, widths[5], 1)
        self.width = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, values: Tensor, groups: int = 1) -> Tensor:
        """Values `(B, width, T, H, W)` of values `(B, C, T, H, W)`."""
        branches = [
            self.b0(values, groups),
            self.b1b(self.b1a(values, groups), groups),
            self.b2b(self.b2a(values, groups), groups),
            self.b3b(max_pool(values, (3, 3, 3), (1, 1, 1)), groups),
        ]
        return torch.cat(branches, dim=1)  # (B, width, T, H, W)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME": padding before and after, so that `ceil(size / stride)` values come out.

    Example:
        >>> same_padding(224, 7, 2)
        (2, 3)
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def max_pool(values: Tensor, kernel: _Sizes, stride: _Sizes) -> Tensor:
    """Max-pooling with "SAME" padding of values `(B, C, T, H, W)`; `ceil_mode` adds an odd one after the end."""
    # TensorFlow pads with minus infinity, as here, the common port with zeros: the same after a ReLU.
    sizes = zip(values.shape[2:], kernel, stride, strict=True)
    return F.max_pool3d(values, kernel, stride, [same_padding(*size)[0] for size in sizes], ceil_mode=True)
