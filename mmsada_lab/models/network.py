"""The action classifier: one stream per modality, fused late (Eq. 1).

Legend: `B` clips, `C` channels, `T` frames, `H`, `W` pixels, `F` feature width, `K` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def normalise(clips: Tensor) -> Tensor:
    """Map 8-bit pixels to [-1, 1) as the released code does: ``2 (x / 256 - 0.5)``. Other types pass unchanged."""
    return clips.float() / 128 - 1 if clips.dtype == torch.uint8 else clips


def fuse(stream_logits: Mapping[str, Tensor]) -> Tensor:
    """Late fusion: the sum of the streams' logits, `(B, K)`; the softmax of P(x) comes after it (Eq. 1)."""
    return torch.stack(list(stream_logits.values())).sum(dim=0)


class LateFusionNetwork(nn.Module):
    """F^m and G^m of every modality m (section 3.2).

    Args:
        backbones: F^m by modality: maps `(B, C, T, H, W)` to `(B, F)` and has an integer attribute `features`.
        num_outputs: K, outputs of each G^m (a single fully connected layer).
        dropout: probability, in training.
        dropout_on: ``classifier``: only G sees dropped-out features (released code); ``features``: every head
            does (section 4.1 as it reads).
        norm_group: clips that share batch statistics in training; 0 = all that are passed at once. Callers pass
            one domain at a time, so that statistics never mix domains.
    """

    def __init__(
        self,
        backbones: Mapping[str, nn.Module],
        num_outputs: int,
        *,
        dropout: float = 0.5,
        dropout_on: str = "classifier",
        norm_group: int = 0,
    ) -> None:
        super().__init__()
        self.feature_widths = {modality: int(backbone.features) for modality, backbone in backbones.items()}  # type: ignore[arg-type]
        self.backbones = nn.ModuleDict(dict(backbones))
        self.classifiers = nn.ModuleDict({m: _classifier(f, num_outputs) for m, f in self.feature_widths.items()})
        self.dropout = nn.Dropout(dropout)
        self.dropout_on = dropout_on
        self.norm_group = norm_group

    def features(self, clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features F^m(x^m), `(B, F)` by modality, of clips `(B, C, T, H, W)` of *one* domain."""
        features = {m: self._grouped(backbone, normalise(clips[m])) for m, backbone in self.backbones.items()}
        if self.dropout_on == "features":
            features = {m: self.dropout(f) for m, f in features.items()}
        return features

    def _grouped(self, backbone: nn.Module, clips: Tensor) -> Tensor:
        if not (self.training and self.norm_group):
            return backbone(clips)  # type: ignore[no-any-return]
        return torch.cat([backbone(group) for group in clips.split(self.norm_group)])

    def stream_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits G^m, `(B, K)` by modality."""
        drop = self.dropout if self.dropout_on == "classifier" else nn.Identity()
        return {m: classifier(drop(features[m])) for m, classifier in self.classifiers.items()}

    def forward(self, clips: Mapping[str, Tensor]) -> Tensor:
        """Fused logits `(B, K)`; P(x) is their softmax (Eq. 1)."""
        return fuse(self.stream_logits(self.features(clips)))


def _classifier(features: int, outputs: int) -> nn.Linear:
    """G^m, "a single fully connected layer"; truncated normal of std 1/sqrt(F), bias 0 (released code)."""
    layer = nn.Linear(features, outputs)
    std = features**-0.5
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer
