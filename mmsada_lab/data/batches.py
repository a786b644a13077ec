"""Training batches and test clips, each a pure function of (seed, stage, step): that is what makes runs resumable.

Legend: `B` clips, `C` channels, `T` frames, `S` side of a clip in pixels. A clip of video is `(C, T, S, S)` uint8, of
a series `(C, T)` float32, of a vector `(C,)` float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmsada_lab.data.segments import Domain, Kind, Reader, Segment
from mmsada_lab.data.transforms import apply_crop, centre_crop, sample_crop
from mmsada_lab.data.windows import WindowRule, test_windows, training_window
from mmsada_lab.errors import UserError


@dataclass(frozen=True)
class TargetBatch:
    """Clips of one domain, without labels: there is no field that could hold one.

    Attributes:
        clips: `(B, C, T, S, S)` uint8 by modality; `(B, C, T)` or `(B, C)` float32 where it is no video.
        corresponds: `(B,)` True where the modalities of a clip come from the same segment.
    """

    clips: dict[str, Tensor]
    corresponds: Tensor

    def to(self, device: torch.device) -> TargetBatch:
        """The same batch on a device."""
        clips = {modality: clip.to(device, non_blocking=True) for modality, clip in self.clips.items()}
        return TargetBatch(clips, self.corresponds.to(device))


@dataclass(frozen=True)
class SourceBatch(TargetBatch):
    """Clips of the source with the class of each, `(B,)`: that of the segment its first modality comes from."""

    labels: Tensor

    def to(self, device: torch.device) -> SourceBatch:
        """The same batch on a device."""
        moved = super().to(device)
        return SourceBatch(moved.clips, moved.corresponds, self.labels.to(device))


@dataclass(frozen=True)
class TrainingBatch:
    """What one step sees: labelled source clips and, for methods that adapt, unlabelled target clips."""

    source: SourceBatch
    target: TargetBatch | None

    def require_target(self) -> TargetBatch:
        """The target clips, for methods that adapt."""
        if self.target is None:
            raise ValueError("this method needs target clips in every training batch")
        return self.target

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch on a device."""
        return TrainingBatch(self.source.to(device), self.target.to(device) if self.target else None)


@dataclass(frozen=True)
class ClipRule:
    """How clips are cut from segments, in time and in space.

    Attributes:
        window: length and stride of a window.
        size: S, side of a clip.
        offsets: crop offsets in training, see `sample_crop`.
        synchronous: the modalities of a clip share window, crop and flip (Table 4's "Sync").
        negatives: the last half of each domain's clips gets its later modalities from other segments
            (batches of kind ``half``); otherwise every clip corresponds.
    """

    window: WindowRule
    size: int
    offsets: str = "released"
    synchronous: bool = False
    negatives: bool = False


def draw_indices(count: int, batch_size: int, *, steps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Segment indices of every step, `(steps, batch_size)`: epochs without replacement.

    An epoch's leftover fills the next batch together with a top-up from the rest, which then does not come again
    in the new epoch (the released code's rule); no batch holds a segment twice.
    """
    if batch_size > count:
        raise UserError(
            f"a batch takes {batch_size} segments of a domain that has {count} for training; lower batch_size"
        )
    rows: list[NDArray[np.int64]] = []
    remaining = rng.permutation(count)
    while len(rows) < steps:
        batch, remaining = remaining[:batch_size], remaining[batch_size:]
        if len(batch) < batch_size:
            fresh = rng.permutation(count)
            top_up = fresh[~np.isin(fresh, batch)][: batch_size - len(batch)]
            batch, remaining = np.concatenate([batch, top_up]), fresh[~np.isin(fresh, top_up)]
        rows.append(batch)
    return np.array(rows, dtype=np.int64).reshape(steps, batch_size)


class TrainingBatches(Dataset[TrainingBatch]):
    """The batches of one stage: item k is that of step k, whatever was read before.

    Args:
        source: labelled domain.
        target: the domain to adapt to, or None.
        rule: how clips are cut.
        modalities: streams.
        source_batch: source clips per step (over all processes).
        target_batch: target clips per step (over all processes).
        steps: length of the stage.
        seed: integers that name the run and the stage.
        shard: (process index, number of processes); each takes its share of every batch.
    """

    def __init__(
        self,
        source: Domain,
        target: Domain | None,
        *,
        rule: ClipRule,
        modalities: Sequence[str],
        source_batch: int,
        target_batch: int,
        steps: int,
        seed: Sequence[int],
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self._source, self._target = source, target.unlabelled() if target is not None else None
        self._rule, self._modalities, self._seed, self._shard = rule, tuple(modalities), tuple(seed), shard
        draw = np.random.default_rng([*seed, 0])
        self._source_rows = draw_indices(len(source.train), source_batch, steps=steps, rng=draw)
        if target is not None:
            self._target_rows = draw_indices(len(target.train), target_batch, steps=steps, rng=draw)

    def __len__(self) -> int:
        return len(self._source_rows)

    def __getitem__(self, step: int) -> TrainingBatch:
        clips, corresponds, segments = self._clips(self._source, self._source_rows[step], step, side=0)
        labels = torch.tensor([segment.label for segment in segments])
        source = SourceBatch(clips, corresponds, labels)
        if self._target is None:
            return TrainingBatch(source, None)
        clips, corresponds, _ = self._clips(self._target, self._target_rows[step], step, side=1)
        return TrainingBatch(source, TargetBatch(clips, corresponds))

    def _clips(
        self, domain: Domain, row: NDArray[np.int64], step: int, *, side: int
    ) -> tuple[dict[str, Tensor], Tensor, list[Segment]]:
        rank, shards = self._shard
        slots = np.array_split(np.arange(len(row)), shards)[rank]
        segments = [domain.train[i] for i in row[slots]]
        positives = len(segments) // 2 if self._rule.negatives else len(segments)
        clips = {}
        for number, modality in enumerate(self._modalities):
            shared = 0 if self._rule.synchronous else number
            generators = [np.random.default_rng([*self._seed, 1 + step, side, slot, shared]) for slot in slots]
            shown = rotate_tail(segments, positives, by=number)
            clips[modality] = self._stack(domain, modality, shown, generators)
        return clips, torch.arange(len(segments)) < positives, segments

    def _stack(
        self, domain: Domain, modality: str, segments: Sequence[Segment], generators: Sequence[np.random.Generator]
    ) -> Tensor:
        reader, rule = domain.readers[modality], self._rule
        # One array for the batch: a tensor for each clip and a stack of them would copy everything once more.
        clips = np.empty((len(segments), *clip_shape(reader, rule)), dtype=_DTYPES[reader.kind])
        for clip, segment, rng in zip(clips, segments, generators, strict=True):
            clip[:] = _training_clip(reader, segment, rule, rng)
        return torch.from_numpy(clips)


_DTYPES: dict[Kind, type[np.generic]] = {"video": np.uint8, "series": np.float32, "vector": np.float32}


def clip_shape(reader: Reader, rule: ClipRule) -> tuple[int, ...]:
    """Shape of one clip: `(C, T, S, S)`, `(C, T)` or `(C,)`."""
    length, size = rule.window.length, rule.size
    shapes: dict[Kind, tuple[int, ...]] = {"video": (length, size, size), "series": (length,), "vector": ()}
    return (reader.channels, *shapes[reader.kind])


def _training_clip(reader: Reader, segment: Segment, rule: ClipRule, rng: np.random.Generator) -> NDArray[Any]:
    frames = reader.read(segment, training_window(segment, rule.window, rng))
    if reader.kind == "video":
        height, width = frames.shape[1:3]
        crop = sample_crop(height, width, rng, offsets=rule.offsets)
        frames = apply_crop(frames, crop, size=rule.size, mirror_negates=reader.mirror_negates)
    return _channels_first(frames, reader.kind)


def _channels_first(frames: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """`(T, H, W, C)` to `(C, T, H, W)`, `(T, C)` to `(C, T)`, and of a vector's equal rows the first."""
    return frames[0] if kind == "vector" else np.moveaxis(frames, -1, 0)


def rotate_tail(segments: Sequence[Segment], positives: int, *, by: int) -> list[Segment]:
    """Leave the first `positives` in place and rotate the rest: how non-corresponding clips are made.

    Modality 0 is not rotated, modality 1 by one, ...: every modality of a negative is of another segment
    (section 3.4: "for negative examples, each modality is sampled from a different action").
    """
    tail = list(segments[positives:])
    by %= max(len(tail), 1)
    return [*segments[:positives], *tail[by:], *tail[:by]]


class TestClips(Dataset[dict[str, Tensor]]):
    """Equidistant windows of segments, centre-cropped; item i is a `(windows, ...)` stack of clips by modality.

    Args:
        domain: where the segments are read.
        segments: which ones, in order.
        rule: how clips are cut; only window and size matter here.
        modalities: streams.
        windows: windows per segment (5 in the paper); all modalities see the same ones.
    """

    __test__ = False

    def __init__(
        self, domain: Domain, segments: Sequence[Segment], *, rule: ClipRule, modalities: Sequence[str], windows: int
    ) -> None:
        self._domain, self.segments = domain, tuple(segments)
        self._rule, self._modalities, self._windows = rule, tuple(modalities), windows

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {modality: self._windows_of(self.segments[index], modality) for modality in self._modalities}

    def _windows_of(self, segment: Segment, modality: str) -> Tensor:
        reader = self._domain.readers[modality]
        windows = test_windows(segment, self._rule.window, count=self._windows)
        frames = reader.read(segment, windows.ravel())
        if reader.kind == "video":
            frames = apply_crop(frames, centre_crop(*frames.shape[1:3]), size=self._rule.size)
        clips = [_channels_first(window, reader.kind) for window in np.split(frames, len(windows))]
        return torch.from_numpy(np.stack(clips))


class TestClipLoader:
    """Iterates over test clips in batches of segments; keeps them in memory when they are small.

    Yields dicts of `(B, windows, ...)` clips by modality.
    """

    __test__ = False
    KEEP_BYTES = 512 * 2**20

    def __init__(self, clips: TestClips, *, batch_size: int = 16, workers: int = 0) -> None:
        self.segments = clips.segments
        self._loader = DataLoader(clips, batch_size=batch_size, num_workers=workers)
        self._kept: list[dict[str, Tensor]] | None = None

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[dict[str, Tensor]] | None = []
        bytes_kept = 0
        for batch in self._loader:
            bytes_kept += sum(clip.nbytes for clip in batch.values())
            kept = [*kept, batch] if kept is not None and bytes_kept <= self.KEEP_BYTES else None
            yield batch
        self._kept = kept


def inputs_of(domain: Domain, modalities: Sequence[str]) -> dict[str, tuple[Kind, int]]:
    """Kind and number of channels C of each modality: what a network's backbones are built for."""
    return {modality: (domain.readers[modality].kind, domain.readers[modality].channels) for modality in modalities}
