"""Crops that are resized and mirrored where the network is, many at a time; the loader only cuts them out.

What that saves is small. Of a clip of 456 x 256 JPEG frames, decoding is five sixths of the loader's work in RGB and
nine tenths in flow; without resizing and mirroring it does 12 and 5 per cent less (one core, frames of 47 and 34 kB).
On a CPU the resizing takes three times as long here as in the loader: this is for a GPU whose loaders do not keep up,
and off by default.

Legend: `B` clips of a batch, `b` of those with a crop of one size, `C` channels, `T` frames, `h`, `w` sides of the
crop and `S` side of the clip, in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmsada_lab.data.segments import Frames
from mmsada_lab.data.transforms import Crop

Cut = tuple[Frames, bool]
"""A crop as it was cut, `(T, h, w, C)`, and whether to mirror it."""


@dataclass(frozen=True)
class Boxes:
    """The crops of one modality of a batch, as they were cut out of their frames.

    How many crops a kernel call takes and which of them are mirrored is known where the batch is made, so that the
    device is never waited for.

    Attributes:
        groups: crops of one size each, `(b, C, T, h, w)` uint8, those to be mirrored at the end.
        mirrored: how many those are, for every group.
        places: `(B,)`, where in the groups, one after another, the crop of each clip is.
        size: S.
        mirror_negates: channels whose meaning changes sign in a mirror, see `apply_crop`.
    """

    groups: tuple[Tensor, ...]
    mirrored: tuple[int, ...]
    places: Tensor
    size: int
    mirror_negates: tuple[int, ...] = ()

    def to(self, device: torch.device) -> Boxes:
        """The same crops on a device."""
        groups = tuple(group.to(device, non_blocking=True) for group in self.groups)
        return replace(self, groups=groups, places=self.places.to(device, non_blocking=True))

    def pin_memory(self) -> Boxes:
        """The same crops in memory that a device can copy from by itself."""
        return replace(self, groups=tuple(g.pin_memory() for g in self.groups), places=self.places.pin_memory())


def cut_out(frames: Frames, crop: Crop) -> Cut:
    """A copy of a crop's pixels, so that the frames, `(T, H, W, C)`, need not be kept."""
    cut = frames[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    return cut.copy(order="K"), crop.mirror


def boxes_of(cuts: Sequence[Cut], *, size: int, mirror_negates: tuple[int, ...] = ()) -> Boxes:
    """Group the crops of a batch by their sizes.

    Args:
        cuts: one for each clip of the batch.
        size: S.
        mirror_negates: channels whose meaning changes sign in a mirror.
    """
    # Sorting by size, then by mirror, keeps the order of the batch within equals.
    order = sorted(range(len(cuts)), key=lambda i: (cuts[i][0].shape, cuts[i][1]))
    shapes = sorted({frames.shape for frames, _ in cuts})
    groups = [[cuts[i] for i in order if cuts[i][0].shape == shape] for shape in shapes]
    return Boxes(
        groups=tuple(_stacked([frames for frames, _ in group]) for group in groups),
        mirrored=tuple(sum(mirror for _, mirror in group) for group in groups),
        places=torch.from_numpy(np.argsort(order)),
        size=size,
        mirror_negates=mirror_negates,
    )


def _stacked(crops: Sequence[Frames]) -> Tensor:
    """Crops of one size, `(b, C, T, h, w)`; in memory as they were, colours last, since NumPy stacks them so."""
    return torch.from_numpy(np.stack([np.moveaxis(crop, 3, 0) for crop in crops]))


def resize_on_device(boxes: Boxes) -> Tensor:
    """Clips `(B, C, T, S, S)` uint8 of a batch's crops, computed where they lie.

    The same map as OpenCV's bilinear resizing, which rounds its weights to 11 bits: one grey level apart at most.
    """
    resized = [_resized(group, boxes.size) for group in boxes.groups]
    for clips, mirrored in zip(resized, boxes.mirrored, strict=True):
        _mirror(clips[len(clips) - mirrored :], boxes.mirror_negates)
    return torch.cat(resized).index_select(0, boxes.places)


def _resized(group: Tensor, size: int) -> Tensor:
    """`(b, C, T, h, w)` to `(b, C, T, S, S)`, a new tensor."""
    if group.shape[3:] == (size, size):
        return group.clone(memory_format=torch.contiguous_format)
    pictures = group.transpose(1, 2).flatten(0, 1).float()
    pictures = F.interpolate(pictures, (size, size), mode="bilinear", align_corners=False)
    levels = pictures.round_().to(torch.uint8)
    return levels.view(len(group), -1, *levels.shape[1:]).transpose(1, 2).contiguous()


def _mirror(clips: Tensor, negated: Sequence[int]) -> None:
    """Mirror clips `(b, C, T, S, S)` in place."""
    clips.copy_(clips.flip(-1))
    for channel in negated:
        clips[:, channel] = 255 - clips[:, channel]
