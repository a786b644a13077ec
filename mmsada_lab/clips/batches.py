"""Training batches, each a pure function of (seed, stage, step): that is what makes runs resumable.

Legend: `B` clips, `C` channels, `T` frames, `S` side of a clip in pixels. A clip of video is `(C, T, S, S)` uint8, of
a series `(C, T)` float32, of a vector `(C,)` float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from mmsada_lab.clips.clips import ClipRule, allocate_clips, clip_shape, cropped, cut_clips, read_clips
from mmsada_lab.clips.device_crops import Boxes, cut_out, resize_on_device
from mmsada_lab.clips.segments import Domain, FramePart, Kind, MultiDomainData, Reader, Segment, read_frame_parts
from mmsada_lab.clips.transforms import Crop, sample_crop
from mmsada_lab.clips.windows import training_window, windows_apart
from mmsada_lab.config import BatchPlan
from mmsada_lab.errors import UserError
from mmsada_lab.runtime.processes import select_shard
from mmsada_lab.runtime.read_ahead import BatchLoader


@dataclass(frozen=True)
class TargetBatch:
    """Clips of one domain, without labels: there is no field that could hold one.

    Attributes:
        clips: `(B, C, T, S, S)` uint8 by modality; `(B, C, T)` or `(B, C)` float32 where it is no video.
        corresponds: `(B,)` True where the modalities of a clip come from the same segment; of `ClipRule.moments`, from
            the same moment of it.
        boxes: crops by modality that become clips on the way to the device (`ClipRule.resize_on`).
    """

    clips: dict[str, Tensor]
    corresponds: Tensor
    boxes: dict[str, Boxes] = field(default_factory=dict, kw_only=True)

    def to(self, device: torch.device) -> Self:
        """The same batch on a device, all of it clips."""
        clips = {modality: clip.to(device, non_blocking=True) for modality, clip in self.clips.items()}
        clips |= {modality: resize_on_device(boxes.to(device)) for modality, boxes in self.boxes.items()}
        return replace(self, clips=clips, corresponds=self.corresponds.to(device, non_blocking=True), boxes={})

    def pin_memory(self) -> Self:
        """The same batch in memory that a device can copy from by itself (`DataLoader` asks for it by this name)."""
        clips = {modality: clip.pin_memory() for modality, clip in self.clips.items()}
        boxes = {modality: boxes.pin_memory() for modality, boxes in self.boxes.items()}
        return replace(self, clips=clips, corresponds=self.corresponds.pin_memory(), boxes=boxes)


@dataclass(frozen=True)
class SourceBatch(TargetBatch):
    """Clips of the source with the class of each, `(B,)`: that of the segment its first modality comes from."""

    labels: Tensor

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""
        return replace(super().to(device), labels=self.labels.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The same batch in memory that a device can copy from by itself."""
        return replace(super().pin_memory(), labels=self.labels.pin_memory())


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

    def pin_memory(self) -> TrainingBatch:
        """The same batch in memory that a device can copy from by itself."""
        return TrainingBatch(self.source.pin_memory(), self.target.pin_memory() if self.target else None)


def draw_indices(count: int, batch_size: int, *, steps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Segment indices of every step, `(steps, batch_size)`: epochs without replacement.

    An epoch's leftover fills the next batch together with a top-up from the rest, which then does not come again
    in the new epoch; no batch holds a segment twice. (The released code leaves the leftover out of it, too.)
    """
    if batch_size > count:
        domain = f"a domain that has {count} for training"
        raise UserError(f"a batch takes {batch_size} segments of {domain}; lower batch_size")
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
        source_batch: source clips per step, over all processes; likewise `target_batch`.
        steps: length of the stage.
        seed: integers that name the run and the stage.
        shard: (number of this part, parts) where processes share every batch, the one that one would take alone.

    Raises:
        UserError: if a batch takes more segments than a domain has, or cannot be shared equally.
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
        self._rows = [draw_indices(len(source.train), source_batch, steps=steps, rng=draw)]
        if target is not None:
            self._rows.append(draw_indices(len(target.train), target_batch, steps=steps, rng=draw))
        self._shares = [self._share(rows.shape[1]) for rows in self._rows]

    def _share(self, count: int) -> tuple[int, NDArray[np.int64]]:
        """How many clips of a domain's whole batch correspond, and which slots of it are ours."""
        positives = count // 2 if self._rule.negatives else count
        return positives, select_shard(count, positives=positives, shard=self._shard)

    def __len__(self) -> int:
        return len(self._rows[0])

    def __getitem__(self, step: int) -> TrainingBatch:
        batch, segments = self._side(self._source, step, side=0)
        labels = torch.tensor([segment.label for segment in segments])
        source = SourceBatch(batch.clips, batch.corresponds, labels, boxes=batch.boxes)
        return TrainingBatch(source, self._side(self._target, step, side=1)[0] if self._target else None)

    def _side(self, domain: Domain, step: int, *, side: int) -> tuple[TargetBatch, list[Segment]]:
        positives, slots = self._shares[side]
        segments = [domain.train[i] for i in self._rows[side][step]]
        clips: dict[str, Tensor] = {}
        boxes: dict[str, Boxes] = {}
        for number, modality in enumerate(self._modalities):
            shared = 0 if self._rule.synchronous else number
            generators = [np.random.default_rng([*self._seed, 1 + step, side, slot, shared]) for slot in slots]
            by = 0 if self._rule.moments else number
            rotated = rotate_tail(segments, positives, by=by)  # in the whole batch, before it is shared
            drawn = zip(slots, generators, strict=True)
            shown = [
                _Shown(rotated[slot], self._window(rotated[slot], rng, number if slot >= positives else 0), rng)
                for slot, rng in drawn
            ]
            if self._rule.resize_on == "device" and domain.readers[modality].kind == "video":
                boxes[modality] = self._boxes(domain.readers[modality], shown)
            else:
                clips[modality] = self._stack(domain.readers[modality], shown)
        corresponds = torch.from_numpy(slots < positives)
        return TargetBatch(clips, corresponds, boxes=boxes), [segments[slot] for slot in slots]

    def _window(self, segment: Segment, rng: np.random.Generator, moment: int) -> NDArray[np.int64]:
        """A random window, `(T,)`; of clips that differ in moment, the one of a number."""
        if not (self._rule.negatives and self._rule.moments):
            return training_window(segment, self._rule.window, rng)
        windows = windows_apart(segment, self._rule.window, rng, count=len(self._modalities))
        return np.asarray(windows[moment])

    def _boxes(self, reader: Reader, shown: Sequence[_Shown]) -> Boxes:
        cut = partial(cut_out, channels=reader.channels, length=self._rule.window.length)
        return Boxes(tuple(cut(self._pictures(reader, clip)) for clip in shown), self._rule.size, reader.mirror_negates)

    def _stack(self, reader: Reader, shown: Sequence[_Shown]) -> Tensor:
        clips = allocate_clips(len(shown), reader, self._rule)
        for place, seen in enumerate(shown):
            clip = clips[place : place + 1]
            if reader.kind == "video":
                cut_clips(clip, self._pictures(reader, seen), mirror_negates=reader.mirror_negates)
            else:
                read_clips(clip, reader, seen.segment, seen.window[None])
        return torch.from_numpy(clips)

    def _pictures(self, reader: Reader, shown: _Shown) -> Iterator[tuple[Crop, FramePart]]:
        """The pictures of a window, and a random crop of them."""
        crop = partial(sample_crop, rng=shown.rng, offsets=self._rule.offsets)
        return cropped(read_frame_parts(reader, shown.segment, shown.window), crop)


class _Shown(NamedTuple):
    """What a modality of a clip shows: a window `(T,)` of a segment; the generator that drew it draws the crop."""

    segment: Segment
    window: NDArray[np.int64]
    rng: np.random.Generator


def load_batches(
    source: Domain,
    target: Domain,
    *,
    rule: ClipRule,
    modalities: Sequence[str],
    plan: BatchPlan,
    steps: range,
    seed: tuple[int, ...],
    process: tuple[int, int],
    workers: int,
    pin_memory: bool,
) -> BatchLoader[TrainingBatch]:
    """The batches of a stage from some step on, each in as many parts as a process computes one after another.

    Args:
        source: labelled domain.
        target: the domain to adapt to; unused where a step has no target clips.
        rule: how clips are cut.
        modalities: streams.
        plan: clips of a step, over all processes.
        steps: those that remain; they end where the stage does.
        seed: integers that name the run and the stage.
        process: number of this process, and processes.
        workers: processes that read clips.
        pin_memory: for a GPU to copy from.
    """
    (number, processes), micros = process, range(plan.accumulation)
    shards = [
        TrainingBatches(
            source,
            target if plan.target else None,
            rule=rule,
            modalities=modalities,
            source_batch=plan.source,
            target_batch=plan.target,
            steps=steps.stop,
            seed=seed,
            shard=(number * plan.accumulation + micro, plan.accumulation * processes),
        )
        for micro in micros
    ]
    order = [micro * steps.stop + step for step in steps for micro in micros]
    return BatchLoader(ConcatDataset(shards), order, workers=workers, pin_memory=pin_memory)


def random_batch(
    inputs: Mapping[str, tuple[Kind, int]], *, rule: ClipRule, clips: int, classes: int, mismatched: int = 0
) -> TrainingBatch:
    """A batch of noise, to try a method or to time a step.

    `inputs` are kind and channels of each modality; there are so many `clips` of each domain, of which the last
    `mismatched` count as those whose modalities do not correspond.

    Example:
        >>> from mmsada_lab.clips.windows import WindowRule
        >>> batch = random_batch({"rgb": ("video", 3)}, rule=ClipRule(WindowRule(8), 32), clips=4, classes=2)
        >>> batch.source.clips["rgb"].shape
        torch.Size([4, 3, 8, 32, 32])
    """
    generator = torch.Generator().manual_seed(0)

    def draw(kind: Kind, channels: int) -> Tensor:
        shape = (clips, *clip_shape(kind, channels, rule))
        if kind == "video":
            return torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return torch.randn(shape, generator=generator)

    corresponds, labels = (
        torch.arange(clips) < clips - mismatched,
        torch.randint(classes, (clips,), generator=generator),
    )
    source, target = ({m: draw(*given) for m, given in inputs.items()} for _ in range(2))
    return TrainingBatch(SourceBatch(source, corresponds, labels), TargetBatch(target, corresponds))


def rotate_tail(segments: Sequence[Segment], positives: int, *, by: int) -> list[Segment]:
    """Leave the first `positives` in place and rotate the rest: how non-corresponding clips are made.

    Modality 0 is not rotated, modality 1 by one, ...: every modality of a negative is of another segment
    (section 3.4: "for negative examples, each modality is sampled from a different action").
    """
    tail = list(segments[positives:])
    by %= max(len(tail), 1)
    return [*segments[:positives], *tail[by:], *tail[:by]]


def default_workers(data: MultiDomainData) -> int:
    """Clips from memory are cut faster than a process could send them; JPEG decoding wants company.

    Training processes that were started together on this machine share its cores.
    """
    cores = int(cpu_count()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0 if data.in_memory else min(max(cores, 1), 16)
