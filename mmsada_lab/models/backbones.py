"""Backbones F^m: what turns a clip of one modality into a feature vector."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mmsada_lab.errors import unknown


class Small3D(nn.Module):
    """A small 3-D convolutional backbone for the CPU: four layers that halve space three times and time twice.

    Time is halved first: most of the work is in the first two layers, and this saves half of it.

    Args:
        in_channels: channels of the modality.
        width: channels of the first layer; `features` is four times that.
        norm_momentum: weight of the newest batch in the running statistics.
    """

    def __init__(self, in_channels: int, *, width: int = 16, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.features = 4 * width
        self.layers = nn.Sequential(
            *_convolution(in_channels, width, (3, 5, 5), (2, 2, 2), norm_momentum),
            *_convolution(width, 2 * width, (3, 3, 3), (2, 2, 2), norm_momentum),
            *_convolution(2 * width, 4 * width, (3, 3, 3), (1, 2, 2), norm_momentum),
            *_convolution(4 * width, 4 * width, (3, 3, 3), (1, 1, 1), norm_momentum),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Features `(B, F)` of clips `(B, C, T, H, W)`."""
        features: Tensor = self.layers(clips)
        return features


_Size = tuple[int, int, int]


def _convolution(
    inputs: int, outputs: int, kernel: _Size, stride: _Size, norm_momentum: float
) -> tuple[nn.Module, ...]:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    convolution = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
    return convolution, nn.BatchNorm3d(outputs, eps=1e-3, momentum=norm_momentum), nn.ReLU(inplace=True)


BACKBONES: dict[str, Callable[..., nn.Module]] = {"small3d": Small3D}


def build_backbone(name: str, in_channels: int, *, width: int, norm_momentum: float) -> nn.Module:
    """Build a fresh backbone by name.

    Raises:
        UserError: if there is no such backbone.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name](in_channels, width=width, norm_momentum=norm_momentum)
