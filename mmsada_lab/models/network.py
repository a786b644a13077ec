"""The action classifier: one stream per modality, fused late (Eq. 1).

Legend: `B` clips, `C` channels, `T` frames, `H`, `W` pixels, `F` feature width, `K` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.models.backbones import BACKBONES, build_backbone, knows_checkpointing
from mmsada_lab.models.i3d import I3D

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of the precisions that are less than float32's."""


def normalise(clips: Tensor) -> Tensor:
    """Map 8-bit pixels to [-1, 1) as the released code does: ``2 (x / 256 - 0.5)``. Other types pass unchanged.

    Example:
        >>> normalise(torch.tensor([0, 128, 255], dtype=torch.uint8))
        tensor([-1.0000,  0.0000,  0.9922])
    """
    # In place: each further copy of a batch is new memory, which takes as long as the arithmetic.
    return clips.float().div_(128).sub_(1) if clips.dtype == torch.uint8 else clips


class Standardise(nn.Module):
    """Subtracts a mean and divides by a standard deviation, channel by channel: what 8-bit pixels do not need.

    Both are those of the labelled source, whatever domain passes, so that a shift between domains stays a shift.

    Args:
        channels: C.

    Example:
        >>> standardise = Standardise(1)
        >>> standardise.fit(torch.tensor([[1.0], [3.0]]))
        >>> standardise(torch.tensor([[5.0]]))
        tensor([[3.]])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, clips: Tensor) -> None:
        """Take mean and standard deviation of clips `(N, C)` or `(N, C, T)`; a constant channel is only centred."""
        values = clips.double().movedim(1, 0).flatten(1)  # (C, N) or (C, N T)
        std = values.std(dim=1, correction=0)
        self.get_buffer("mean").copy_(values.mean(dim=1))
        self.get_buffer("std").copy_(torch.where(std > 0, std, 1.0))

    def forward(self, clips: Tensor) -> Tensor:
        """Standardised clips, of the same shape."""
        shape = (-1, *[1] * (clips.ndim - 2))  # (C, 1) or (C,)
        return (clips - self.get_buffer("mean").view(shape)) / self.get_buffer("std").view(shape)


def fuse(stream_logits: Mapping[str, Tensor], *, fusion: str = "sum") -> Tensor:
    """Late fusion: the sum of the streams' logits, `(B, K)`; the softmax of P(x) comes after it (Eq. 1).

    With `fusion` ``mean`` it is their mean ("average pooled scores", Fig. 3): an M-th of it, so a window's class is the
    same, but its probabilities are less sure, and so are gradients smaller.

    Example:
        >>> fuse({"rgb": torch.tensor([[1.0, 0.0]]), "flow": torch.tensor([[2.0, 3.0]])})
        tensor([[3., 3.]])
    """
    stacked = torch.stack(list(stream_logits.values()))  # (M, B, K)
    return stacked.mean(dim=0) if fusion == "mean" else stacked.sum(dim=0)


class LateFusionNetwork(nn.Module):
    """F^m and G^m of every modality m (section 3.2).

    Args:
        backbones: F^m by modality: maps clips to `(B, F)` and has an integer attribute `features`.
        num_outputs: K, outputs of each G^m (a single fully connected layer).
        dropout: probability, in training.
        dropout_on: ``classifier``: only G sees dropped-out features (released code); ``features``: every head
            does (section 4.1 as it reads).
        fusion: of the streams' logits, see `fuse`.
        standardise: by modality, for those that are not 8-bit video.
        norm_group: clips that share batch statistics in training; 0 = all that are passed at once. Callers pass
            one domain at a time, so that statistics never mix domains.
        precision: ``no``, ``bf16`` or ``fp16``: of the backbones alone. Features come out in float32, whatever it is,
            and so does all that follows. A processor evaluates in float32.
    """

    def __init__(
        self,
        backbones: Mapping[str, nn.Module],
        num_outputs: int,
        *,
        dropout: float = 0.5,
        dropout_on: str = "classifier",
        fusion: str = "sum",
        norm_group: int = 0,
        standardise: Mapping[str, Standardise] | None = None,
        precision: str = "no",
    ) -> None:
        super().__init__()
        self.feature_widths = {modality: int(backbone.features) for modality, backbone in backbones.items()}  # type: ignore[arg-type]
        self.backbones = nn.ModuleDict(dict(backbones))
        self.standardise = nn.ModuleDict(dict(standardise or {}))
        self.classifiers = build_classifiers(self.feature_widths, num_outputs)
        self.dropout = nn.Dropout(dropout)
        self.dropout_on = dropout_on
        self.fusion = fusion
        self.norm_group = norm_group
        self.precision = precision

    def features(self, clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features F^m(x^m), `(B, F)` float32 by modality, of clips of *one* domain (video `(B, C, T, H, W)`)."""
        inputs = {
            m: self.standardise[m](clips[m]) if m in self.standardise else normalise(clips[m]) for m in self.backbones
        }
        with self._autocast(next(iter(inputs.values())).device.type):
            features = {m: self._grouped(backbone, inputs[m]) for m, backbone in self.backbones.items()}
        features = {m: f.float() if f.dtype in PRECISIONS.values() else f for m, f in features.items()}
        return {m: self.dropout(f) for m, f in features.items()} if self.dropout_on == "features" else features

    def _autocast(self, device: str) -> AbstractContextManager[object]:
        if self.precision not in PRECISIONS or (device == "cpu" and not self.training):
            return nullcontext()  # a processor has time to evaluate in float32
        return torch.autocast(device, PRECISIONS[self.precision])

    def _grouped(self, backbone: nn.Module, clips: Tensor) -> Tensor:
        if not (self.training and self.norm_group):
            return backbone(clips)  # type: ignore[no-any-return]
        if isinstance(backbone, I3D):  # normalises all groups at once
            return backbone(clips, self.norm_group)  # type: ignore[no-any-return]
        return torch.cat([backbone(group) for group in clips.split(self.norm_group)])

    def stream_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits G^m, `(B, K)` by modality."""
        dropped = self.dropped(features)
        return {m: classifier(dropped[m]) for m, classifier in self.classifiers.items()}

    def dropped(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features as the classifiers see them, `(B, F)` by modality: dropped out in training, unless they were."""
        drop = self.dropout if self.dropout_on == "classifier" else nn.Identity()
        return {m: drop(feature) for m, feature in features.items()}

    def fused(self, stream_logits: Mapping[str, Tensor]) -> Tensor:
        """The streams' logits `(B, K)` as one, fused the way this network is trained and tested."""
        return fuse(stream_logits, fusion=self.fusion)

    def forward(self, clips: Mapping[str, Tensor]) -> Tensor:
        """Fused logits `(B, K)`; P(x) is their softmax (Eq. 1)."""
        return self.fused(self.stream_logits(self.features(clips)))


def build_classifiers(widths: Mapping[str, int], num_outputs: int) -> nn.ModuleDict:
    """Build a fresh G^m, `(B, F)` to `(B, K)`, for every modality of width F; K is the number of outputs."""
    return nn.ModuleDict({m: _build_classifier(width, num_outputs) for m, width in widths.items()})


def _build_classifier(features: int, outputs: int) -> nn.Linear:
    """G^m, "a single fully connected layer"; truncated normal of std 1/sqrt(F), bias 0 (released code)."""
    layer = nn.Linear(features, outputs)
    std = features**-0.5
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer


def build_network(
    config: ExperimentConfig, inputs: Mapping[str, tuple[str, int]], *, num_classes: int
) -> LateFusionNetwork:
    """Build the fresh network that a configuration asks for.

    Args:
        config: of a run.
        inputs: kind and channels of each modality, in order.
        num_classes: classes; outputs are `outputs_per_class` times as many.

    Raises:
        UserError: unknown backbone, one that does not take its modality, or checkpointing where no backbone knows it.

    Example:
        >>> from mmsada_lab import build_config
        >>> config = build_config("quick", source="D2", target="D1")
        >>> build_network(config, {"rgb": ("video", 3), "flow": ("video", 2)}, num_classes=8).feature_widths
        {'rgb': 64, 'flow': 64}
    """
    names = {m: config.backbone_of(m) for m in inputs}
    if config.checkpointing and not any(map(knows_checkpointing, names.values())):
        able = ", ".join(name for name in BACKBONES if knows_checkpointing(name))
        raise UserError(
            f"checkpointing=true, but no backbone of this run knows it ({', '.join(names.values())}); only {able} "
            "does. Leave it out; accumulation saves memory with any backbone"
        )
    build = partial(
        build_backbone, width=config.width, norm_momentum=config.norm_momentum, checkpointing=config.checkpointing
    )
    backbones = {m: build(names[m], channels, kind=kind) for m, (kind, channels) in inputs.items()}
    return LateFusionNetwork(
        backbones,
        num_classes * config.outputs_per_class,
        dropout=config.dropout,
        dropout_on=config.dropout_on,
        fusion=config.fusion,
        norm_group=config.norm_group,
        standardise={m: Standardise(channels) for m, (kind, channels) in inputs.items() if kind != "video"},
        precision=config.precision,
    )
