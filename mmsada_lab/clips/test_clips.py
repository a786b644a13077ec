"""Test clips: equidistant windows of segments, centre-cropped (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from mmsada_lab.clips.clips import ClipRule, allocate_clips, cropped, cut_clips, read_clips
from mmsada_lab.clips.segments import Domain, Segment, read_frame_parts
from mmsada_lab.clips.transforms import centre_crop
from mmsada_lab.clips.windows import test_windows
from mmsada_lab.runtime.read_ahead import BatchLoader


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
        clips = allocate_clips(len(windows), reader, self._rule)
        if reader.kind == "video":
            cut_clips(clips, cropped(read_frame_parts(reader, segment, windows.ravel()), centre_crop))
        else:
            read_clips(clips, reader, segment, windows)
        return torch.from_numpy(clips)


class TestClipLoader:
    """Test clips in batches of segments, on a device; kept in memory when they are small.

    Worker processes stay between one evaluation and the next. Each makes segments ahead, not batches, so that little
    memory is held meanwhile.

    A batch has `batch_size` segments, or with `equal` at most so many, the same number but for one; with a `shard`
    (number, shards) processes share the batches, each a contiguous run of them. A reading that takes long has a
    progress bar if there is a `title`.
    """

    __test__ = False
    KEEP_BYTES = 512 * 2**20

    def __init__(
        self,
        clips: TestClips,
        *,
        batch_size: int = 16,
        equal: bool = False,
        workers: int = 0,
        shard: tuple[int, int] = (0, 1),
        title: str = "",
    ) -> None:
        self.clips = clips
        self._title, places, (number, count) = title, np.arange(len(clips)), shard
        starts = np.arange(0, len(places), batch_size)
        batches = np.array_split(places, len(starts) if equal else starts[1:]) if len(places) else []
        first, last = (len(batches) * end // count for end in (number, number + 1))
        self._sizes = [len(batch) for batch in batches[first:last]]
        order = np.concatenate([places[:0], *batches[first:last]]).tolist()
        self._segments: BatchLoader[dict[str, Tensor]] = BatchLoader(clips, order, workers=workers)
        self._kept: list[dict[str, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.on(torch.device("cpu"))

    def on(self, device: torch.device) -> Iterator[dict[str, Tensor]]:
        """Batches of `(B, windows, ...)` clips by modality."""
        if self._kept is not None:
            for batch in self._kept:
                yield {modality: clips.to(device) for modality, clips in batch.items()}
            return
        kept: list[dict[str, Tensor]] = []
        size_kept, segments = 0, iter(self._segments)
        for count in tqdm(self._sizes, desc=self._title, unit="batch", delay=2, leave=False, disable=not self._title):
            batch = _stacked(segments, count, device)
            size_kept += sum(clips.nbytes for clips in batch.values())
            if size_kept <= self.KEEP_BYTES:
                kept.append({modality: clips.cpu() for modality, clips in batch.items()})
            else:
                kept.clear()
            yield batch
        if size_kept <= self.KEEP_BYTES:
            self._kept = kept
            self._segments.close()


def _stacked(segments: Iterator[dict[str, Tensor]], count: int, device: torch.device) -> dict[str, Tensor]:
    """The next segments' clips in one tensor of each modality, on a device."""
    batch: dict[str, Tensor] = {}
    for place in range(count):
        for modality, clips in next(segments).items():
            if not place:
                batch[modality] = torch.empty((count, *clips.shape), dtype=clips.dtype, device=device)
            batch[modality][place] = clips  # a copy: the segment's memory is used again
    return batch
