"""Crops that are resized and mirrored where the network is, many at a time; the loader only cuts them out.

On a CPU the resizing takes three times as long here as in the loader: this is for a GPU whose loaders do not keep up,
and off by default.

Legend: `B` clips of a batch, `b` of those with a crop of one size, `P` planes of `c` channels each that were decoded
apart (1 of 3 in RGB, 2 of 1 in flow), `C` = P c channels, `T` frames, `h`, `w` sides of the crop and `S` side of the
clip, in pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmsada_lab.clips.segments import FramePart
from mmsada_lab.clips.transforms import Crop
from mmsada_lab.runtime.read_ahead import allocate


@dataclass(frozen=True)
class Box:
    """A crop as it was cut out of the frames of one clip, `(P, T, h, w, c)` uint8, and whether to mirror it."""

    pixels: Tensor
    mirror: bool


@dataclass(frozen=True)
class Boxes:
    """The crops of one modality of a batch. Their sizes and mirrors are known on the host: no waiting for the device.

    Attributes:
        cuts: B of them.
        size: S.
        mirror_negates: channels whose meaning changes sign in a mirror, see `apply_crop`.
    """

    cuts: tuple[Box, ...]
    size: int
    mirror_negates: tuple[int, ...] = ()

    def to(self, device: torch.device) -> Boxes:
        """The same crops on a device."""
        return replace(self, cuts=tuple(Box(c.pixels.to(device, non_blocking=True), c.mirror) for c in self.cuts))

    def pin_memory(self) -> Boxes:
        """The same crops in memory that a device can copy from by itself."""
        return replace(self, cuts=tuple(Box(c.pixels.pin_memory(), c.mirror) for c in self.cuts))


def cut_out(pictures: Iterable[tuple[Crop, FramePart]], *, channels: int, length: int) -> Box:
    """Cut the same crop out of the pictures of a clip, of all `channels` and `length` times, each while it is there."""
    box = None
    for crop, (channel, times, picture) in pictures:
        if box is None:
            depth = picture.shape[2]
            box = allocate((channels // depth, length, crop.height, crop.width, depth), np.uint8)
            rows, columns = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
        for time in times:
            box[channel // depth, time] = picture[rows, columns]
    if box is None:
        raise ValueError("a clip has no pictures")
    return Box(torch.from_numpy(box), crop.mirror)


def resize_on_device(boxes: Boxes) -> Tensor:
    """Clips `(B, C, T, S, S)` uint8 of a batch's crops, computed where they lie.

    The same map as OpenCV's bilinear resizing, which rounds its weights to 11 bits: one grey level apart at most.
    """
    clips: dict[int, Tensor] = {}
    for places in _of_one_size(boxes.cuts):
        cuts = [boxes.cuts[place] for place in places]
        resized = _resized(torch.stack([cut.pixels for cut in cuts]), boxes.size)
        _mirror(resized[[cut.mirror for cut in cuts].count(False) :], boxes.mirror_negates)
        clips.update(zip(places, resized, strict=True))
    return torch.stack([clips[place] for place in range(len(clips))])


def _of_one_size(cuts: Sequence[Box]) -> list[list[int]]:
    """Where in a batch the crops of each size are, those to be mirrored at the end."""
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for place in sorted(range(len(cuts)), key=lambda place: cuts[place].mirror):
        groups[cuts[place].pixels.shape].append(place)
    return list(groups.values())


def _resized(group: Tensor, size: int) -> Tensor:
    """`(b, P, T, h, w, c)` to `(b, C, T, S, S)`."""
    pictures = group.flatten(0, 2).permute(0, 3, 1, 2)
    if pictures.shape[2:] != (size, size):
        pictures = F.interpolate(pictures.float(), (size, size), mode="bilinear", align_corners=False)
        pictures = pictures.round_().to(torch.uint8)
    apart: Tensor = pictures.unflatten(0, group.shape[:3])  # (b, P, T, c, S, S)
    return apart.transpose(2, 3).flatten(1, 2).contiguous()


def _mirror(clips: Tensor, negated: Sequence[int]) -> None:
    """Mirror clips `(b, C, T, S, S)` in place."""
    clips.copy_(clips.flip(-1))
    for channel in negated:
        clips[:, channel] = 255 - clips[:, channel]
