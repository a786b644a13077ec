"""Backbones F^m: what turns a clip of one modality into a feature vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.models.external import build_external
from mmsada_lab.models.i3d import I3D


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


class Temporal(nn.Module):
    """A small 1-D convolutional backbone for numbers in time: sensors, skeletons, audio, features of a video.

    Args:
        in_channels: channels of the modality.
        width: channels of the first layer; `features` is four times that.
        norm_momentum: weight of the newest batch in the running statistics.
    """

    def __init__(self, in_channels: int, *, width: int = 16, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.features = 4 * width
        layers: list[nn.Module] = []
        for inputs, outputs in ((in_channels, width), (width, 2 * width), (2 * width, 4 * width)):
            norm = nn.BatchNorm1d(outputs, eps=1e-3, momentum=norm_momentum)
            layers += [nn.Conv1d(inputs, outputs, 5, stride=2, padding=2, bias=False), norm, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, clips: Tensor) -> Tensor:
        """Features `(B, F)` of clips `(B, C, T)`."""
        features: Tensor = self.layers(clips)
        return features


class MLP(nn.Module):
    """Two fully connected layers, for one vector a segment; of a series, for its mean over time.

    Args:
        in_channels: length of the vector.
        width: `features` is four times that, and so is the hidden layer.
        norm_momentum: weight of the newest batch in the running statistics.
    """

    def __init__(self, in_channels: int, *, width: int = 16, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.features = 4 * width
        layers: list[nn.Module] = []
        for inputs in (in_channels, self.features):
            norm = nn.BatchNorm1d(self.features, eps=1e-3, momentum=norm_momentum)
            layers += [nn.Linear(inputs, self.features, bias=False), norm, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, clips: Tensor) -> Tensor:
        """Features `(B, F)` of clips `(B, C)` or `(B, C, T)`."""
        vectors = clips if clips.ndim == 2 else clips.mean(dim=2)
        if self.training and len(vectors) == 1:
            raise UserError("a batch of one clip has no batch statistics; raise batch_size (or norm_group)")
        features: Tensor = self.layers(vectors)
        return features


def _i3d(in_channels: int, *, width: int, norm_momentum: float = 0.001, checkpointing: bool = False) -> I3D:
    """I3D, which has one width only."""
    del width
    return I3D(in_channels, norm_momentum=norm_momentum, checkpointing=checkpointing)


class Backbone(NamedTuple):
    """How a backbone is built, what kinds of modality it takes, and whether it knows checkpointing."""

    build: Callable[..., nn.Module]
    kinds: tuple[str, ...]
    checkpoints: bool = False


BACKBONES: dict[str, Backbone] = {
    "small3d": Backbone(Small3D, ("video",)),
    "i3d": Backbone(_i3d, ("video",), checkpoints=True),
    "temporal": Backbone(Temporal, ("series",)),
    "mlp": Backbone(MLP, ("vector", "series")),
}

AUTO = {"video": "small3d", "series": "temporal", "vector": "mlp"}
"""Kind of a modality -> the backbone it gets unless another is chosen."""


def knows_checkpointing(name: str) -> bool:
    """Whether a backbone can compute again in the backward pass what it does not keep."""
    return name in BACKBONES and BACKBONES[name].checkpoints


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
        width: channels of a small backbone's first layer; I3D and other libraries' have widths of their own.
        norm_momentum: weight of the newest batch in the running statistics; those of other libraries keep theirs.
        checkpointing: to keep less for the backward pass, where the backbone knows how (`knows_checkpointing`).

    Raises:
        UserError: if there is no such backbone, or it does not take this kind of modality.
    """
    name = AUTO[kind] if name == "auto" else name
    if ":" in name and kind == "video":
        return build_external(name, in_channels)
    if name not in BACKBONES:
        raise unknown("backbone", name, ["auto", *BACKBONES])
    if kind not in BACKBONES[name].kinds:
        fitting = ", ".join(n for n, backbone in BACKBONES.items() if kind in backbone.kinds)
        raise UserError(
            f"backbone {name} takes {' or '.join(BACKBONES[name].kinds)}, not {kind}; choose {fitting}, or leave it to "
            "the kind of each modality with -o backbone=auto"
        )
    more = {"checkpointing": checkpointing} if knows_checkpointing(name) else {}
    return BACKBONES[name].build(in_channels, width=width, norm_momentum=norm_momentum, **more)
