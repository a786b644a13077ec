"""Backbones F^m: what turns a clip of one modality into a feature vector.

Legend: `B` clips, `C` channels, `T` frames, `H`, `W` pixels, `F` feature width.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import pad

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.models.batchnorm import single_clip_error
from mmsada_lab.models.external import build_external
from mmsada_lab.models.i3d import I3D


class _Stack(nn.Module):
    """Layers one after another, the last of which is four times `width` wide."""

    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__()
        self.features = 4 * width
        self.layers = nn.Sequential(*layers)

    def forward(self, clips: Tensor) -> Tensor:
        """Features `(B, F)` of clips."""
        features: Tensor = self.layers(clips)
        return features


class _PairedConv3d(nn.Conv3d):
    """A convolution of frames two by two; an odd number of them is filled up with one of zeros."""

    def forward(self, input: Tensor) -> Tensor:
        """Of `(B, C, T, H, W)`."""
        return super().forward(pad(input, (0, 0, 0, 0, 0, 1)) if input.shape[2] % 2 else input)


class Small3D(_Stack):
    """A small 3-D convolutional backbone for clips `(B, C, T, H, W)`: four layers that a CPU can train.

    The first three halve T, H and W, rounded up, so that 8 frames are one before the last layer.

    Args:
        in_channels: C.
        width: channels of the first layer; F is four times that.
        norm_momentum: weight of the newest batch in the running statistics.

    Example:
        >>> import torch
        >>> Small3D(3, width=4)(torch.zeros(2, 3, 8, 32, 32)).shape
        torch.Size([2, 16])
    """

    def __init__(self, in_channels: int, *, width: int = 16, norm_momentum: float = 0.1) -> None:
        layers: list[nn.Module] = []
        # Most of the work is in the first two layers, and kernels over time cost the most: they end with the frames.
        for inputs, outputs, kernel, stride in (
            (in_channels, width, (3, 3, 3), (2, 2, 2)),
            (width, 2 * width, (3, 3, 3), (2, 2, 2)),
            (2 * width, 4 * width, (2, 3, 3), (2, 2, 2)),
            (4 * width, 4 * width, (1, 3, 3), (1, 1, 1)),
        ):
            padding = 1 if kernel[0] == 3 else 0, 1, 1
            norm = nn.BatchNorm3d(outputs, eps=1e-3, momentum=norm_momentum)
            build = _PairedConv3d if kernel[0] == 2 else nn.Conv3d
            layers += [build(inputs, outputs, kernel, stride, padding, bias=False), norm, nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), width=width)


class Temporal(_Stack):
    """A small 1-D convolutional backbone for clips `(B, C, T)`: sensors, skeletons, audio, features of a video.

    Arguments as for `Small3D`.

    Example:
        >>> import torch
        >>> Temporal(6, width=4)(torch.zeros(2, 6, 50)).shape
        torch.Size([2, 16])
    """

    def __init__(self, in_channels: int, *, width: int = 16, norm_momentum: float = 0.1) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((in_channels, width, 2 * width, 4 * width)):
            norm = nn.BatchNorm1d(outputs, eps=1e-3, momentum=norm_momentum)
            layers += [nn.Conv1d(inputs, outputs, 5, stride=2, padding=2, bias=False), norm, nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), width=width)


class MLP(_Stack):
    """Two fully connected layers, for one vector a segment, `(B, C)`; of a series `(B, C, T)`, for its mean over time.

    Arguments as for `Small3D`; both layers are F wide.

    Example:
        >>> import torch
        >>> MLP(6, width=4)(torch.zeros(2, 6)).shape
        torch.Size([2, 16])
    """

    def __init__(self, in_channels: int, *, width: int = 16, norm_momentum: float = 0.1) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((in_channels, 4 * width, 4 * width)):
            norm = nn.BatchNorm1d(outputs, eps=1e-3, momentum=norm_momentum)
            layers += [nn.Linear(inputs, outputs, bias=False), norm, nn.ReLU(inplace=True)]
        super().__init__(*layers, width=width)

    def forward(self, clips: Tensor) -> Tensor:
        """Features `(B, F)` of clips."""
        vectors = clips if clips.ndim == 2 else clips.mean(dim=2)  # (B, C)
        if self.training and len(vectors) == 1:
            raise single_clip_error()
        return super().forward(vectors)


class Backbone(NamedTuple):
    """How a backbone is built, the kinds of modality it takes, and which of ``width``, ``checkpointing`` it knows."""

    build: Callable[..., nn.Module]
    kinds: tuple[str, ...]
    options: tuple[str, ...] = ("width",)


BACKBONES: dict[str, Backbone] = {
    "small3d": Backbone(Small3D, ("video",)),
    "i3d": Backbone(I3D, ("video",), options=("checkpointing",)),
    "temporal": Backbone(Temporal, ("series",)),
    "mlp": Backbone(MLP, ("vector", "series")),
}

AUTO = {"video": "small3d", "series": "temporal", "vector": "mlp"}
"""Kind of a modality -> the backbone it gets unless another is chosen."""


def knows_checkpointing(name: str) -> bool:
    """Whether a backbone can compute again in the backward pass what it does not keep."""
    return name in BACKBONES and "checkpointing" in BACKBONES[name].options


def build_backbone(
    name: str,
    in_channels: int,
    *,
    kind: str = "video",
    width: int,
    norm_momentum: float,
    checkpointing: bool = False,
) -> nn.Module:
    """Build a fresh backbone by name; ``auto`` chooses by the kind of the modality.

    Args:
        name: key of `BACKBONES`, ``auto``, or a model of another library (`mmsada_lab.models.external`).
        in_channels: channels of the modality.
        kind: of the modality.
        width: channels of a small backbone's first layer; the others have a width of their own.
        norm_momentum: weight of the newest batch in the running statistics; models of other libraries keep theirs.
        checkpointing: keep less for the backward pass, where the backbone knows how (`knows_checkpointing`).

    Raises:
        UserError: if there is no such backbone, or it does not take this kind of modality.

    Example:
        >>> type(build_backbone("auto", 6, kind="series", width=4, norm_momentum=0.1)).__name__
        'Temporal'
    """
    name = AUTO[kind] if name == "auto" else name
    if ":" in name and kind == "video":
        return build_external(name, in_channels)
    if name not in BACKBONES:
        raise unknown("backbone", name, ["auto", *BACKBONES])
    build, kinds, allowed = BACKBONES[name]
    if kind not in kinds:
        fitting = ", ".join(n for n, backbone in BACKBONES.items() if kind in backbone.kinds)
        raise UserError(
            f"backbone {name} takes {' or '.join(kinds)}, not {kind}; choose {fitting}, or leave it to the kind of "
            "each modality with -o backbone=auto"
        )
    options = {"width": width, "checkpointing": checkpointing}
    return build(in_channels, norm_momentum=norm_momentum, **{option: options[option] for option in allowed})
