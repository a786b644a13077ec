"""I3D the way it is usually written in PyTorch: what `mmsada_lab.models.i3d` is compared with.

Explicit `F.pad` before every convolution and pooling, one group of batch statistics after another. Layers are named as
in the common port, so that the weights of either model load into the other.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MIXED = {
    "3b": (192, [64, 96, 128, 16, 32, 32]),
    "3c": (256, [128, 128, 192, 32, 96, 64]),
    "4b": (480, [192, 96, 208, 16, 48, 64]),
    "4c": (512, [160, 112, 224, 24, 64, 64]),
    "4d": (512, [128, 128, 256, 24, 64, 64]),
    "4e": (512, [112, 144, 288, 32, 64, 64]),
    "4f": (528, [256, 160, 320, 32, 128, 128]),
    "5b": (832, [256, 160, 320, 32, 128, 128]),
    "5c": (832, [384, 192, 384, 48, 128, 128]),
}


def pad_same(clips: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Zeros around clips, so that a layer without padding gives ``ceil(size / stride)`` values."""
    padding: list[int] = []
    for size, k, s in zip(clips.shape[2:], kernel, stride, strict=True):
        total = max((math.ceil(size / s) - 1) * s + k - size, 0)
        padding = [total // 2, total - total // 2, *padding]
    return F.pad(clips, padding)


class PaddedPool(nn.Module):
    """Max-pooling after explicit padding."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.pool = nn.MaxPool3d(kernel, stride)

    def forward(self, clips: Tensor) -> Tensor:
        """Pooled clips."""
        return self.pool(pad_same(clips, self.kernel, self.stride))  # type: ignore[no-any-return]


class PaddedUnit(nn.Module):
    """Convolution after explicit padding, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=0.001, momentum=0.001)
        self.bn.weight.requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Values of the layer."""
        clips = pad_same(clips, self.kernel, self.stride)
        return F.relu(self.bn(self.conv3d(clips)))


class PaddedMixed(nn.Module):
    """An Inception module."""

    def __init__(self, inputs: int, widths: list[int]) -> None:
        super().__init__()
        self.b0 = PaddedUnit(inputs, widths[0])
        self.b1a, self.b1b = PaddedUnit(inputs, widths[1]), PaddedUnit(widths[1], widths[2], 3)
        self.b2a, self.b2b = PaddedUnit(inputs, widths[3]), PaddedUnit(widths[3], widths[4], 3)
        self.b3a, self.b3b = PaddedPool((3, 3, 3), (1, 1, 1)), PaddedUnit(inputs, widths[5])

    def forward(self, clips: Tensor) -> Tensor:
        """The four branches, joined."""
        branches = [self.b0(clips), self.b1b(self.b1a(clips)), self.b2b(self.b2a(clips)), self.b3b(self.b3a(clips))]
        return torch.cat(branches, dim=1)


class PlainI3D(nn.Module):
    """I3D up to its features."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": PaddedUnit(in_channels, 64, 7, 2),
            "MaxPool3d_2a_3x3": PaddedPool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": PaddedUnit(64, 64),
            "Conv3d_2c_3x3": PaddedUnit(64, 192, 3),
            "MaxPool3d_3a_3x3": PaddedPool((1, 3, 3), (1, 2, 2)),
        }
        pools = {"4b": PaddedPool((3, 3, 3), (2, 2, 2)), "5b": PaddedPool((2, 2, 2), (2, 2, 2))}
        for name, (inputs, widths) in _MIXED.items():
            if name in pools:
                layers[f"MaxPool3d_{name}"] = pools[name]
            layers[f"Mixed_{name}"] = PaddedMixed(inputs, widths)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, clips: Tensor, norm_group: int = 0) -> Tensor:
        """Features `(B, 1024)` of clips `(B, C, T, H, W)`, group by group."""
        return torch.cat([self._features(group) for group in clips.split(norm_group or len(clips))])

    def _features(self, clips: Tensor) -> Tensor:
        for layer in self.children():
            clips = layer(clips)
        kernel = [min(k, size) for k, size in zip((2, 7, 7), clips.shape[2:], strict=True)]
        return F.avg_pool3d(clips, kernel, stride=1).flatten(2).mean(dim=2)
