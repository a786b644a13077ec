"""How fast JPEG frames become training clips: our loader against the bare decoder, and against a loader with Pillow.

    python benchmarks/frames.py [--workers 2] [--data FOLDER] [--quick] [--soak MINUTES]

Clips are those of the paper: a window of 16 frames of RGB and 16 of flow (32 grey pictures), 456 x 256, a random crop
resized to 224 x 224. Every contender reads with the same number of worker processes, and a round of it is as many
clips; files are in the page cache, so that the disk is not measured. `raw decoder` decodes exactly the pictures our
loader decodes, from memory into memory it uses again, and does nothing else: the limit of any loader on these cores.
`raw decoder, cropped and resized` also makes clips of them, which takes a fifth of the time of decoding; with
`resize_on=device` our loader leaves that to the GPU, and only reads, decodes and cuts out (`ours, tars, cut out`).

With `--soak` our loader (tars) reads for some minutes while the memory of all its processes is watched. Prints tables
and writes benchmarks/frames.json.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import joblib  # type: ignore[import-untyped]
import numpy as np
import simplejpeg
import torch
from families import megabytes, processor_seconds
from large_kitchens import DOMAINS, HEIGHT, WIDTH, large_kitchens, open_large
from measure import interleaved, parser, progress, ratio, rounded, run, save, table
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmsada_lab.clips.batches import TrainingBatches
from mmsada_lab.clips.clips import ClipRule
from mmsada_lab.clips.segments import Domain, FramePart, Segment
from mmsada_lab.clips.transforms import place_crop, sample_crop
from mmsada_lab.clips.windows import WindowRule, training_window
from mmsada_lab.datasets.epic.frame_files import open_tracks
from mmsada_lab.datasets.epic.jpeg_reader import JpegReader
from mmsada_lab.errors import UserError
from mmsada_lab.runtime.read_ahead import BatchLoader

RULE = ClipRule(WindowRule(16, 2), 224)
RAW, LIMIT, PILLOW = "raw decoder", "raw decoder, cropped and resized", "Pillow loader, folders"
TAR, FOLDER, SENT = "ours, tars", "ours, folders", "ours, tars, sent by DataLoader"
CUT = "ours, tars, cut out"
ACCEPTED = (
    (CUT, RAW, "≥ 0.9"),
    (TAR, LIMIT, "≥ 0.9"),
    (TAR, RAW, ""),
    (TAR, PILLOW, "≥ 2"),
    (TAR, FOLDER, "≥ 0.95"),
    (TAR, SENT, ""),
)

Clip = list[tuple[str, bytes]]
"""JPEG pictures of a clip in one modality, each with the colours it is decoded to."""


# --- ours -------------------------------------------------------------------------------------------------------


def batches_of(root: Path, *, clips: int, steps: int, rule: ClipRule = RULE) -> TrainingBatches:
    """Batches of so many clips of each of two kitchens."""
    data = open_large(root)
    return _batches([data.domain(name) for name in DOMAINS], clips=clips, steps=steps, rule=rule)


def _batches(domains: Sequence[Domain], *, clips: int, steps: int, rule: ClipRule = RULE) -> TrainingBatches:
    source, target = domains
    return TrainingBatches(
        source,
        target,
        rule=rule,
        modalities=("rgb", "flow"),
        source_batch=clips,
        target_batch=clips,
        steps=steps,
        seed=(0, 0),
    )


def read_all(loader: Iterable[object]) -> Callable[[], None]:
    """What a round of a loader does: every batch is asked for, and dropped."""

    def read() -> None:
        for _ in loader:
            pass

    return read


# --- the bare decoder -------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """A reader of frames that keeps the files it read."""

    reader: JpegReader
    clips: list[Clip] = field(default_factory=list)
    kind: ClassVar[str] = "video"

    def __post_init__(self) -> None:
        self.channels, self.mirror_negates = self.reader.channels, self.reader.mirror_negates

    def frame_parts(self, segment: Segment, frames: NDArray[np.int64]) -> Iterator[FramePart]:
        """As the reader has them."""
        tracks = open_tracks(self.reader.locations[segment.video])
        first, last = self.reader.index.frames(int(tracks[0].numbers[0]), int(tracks[0].numbers[-1]))
        numbers = np.unique(self.reader.index.files(np.clip(frames, first, last)))
        colours = "RGB" if self.channels == 3 else "GRAY"
        self.clips.append([(colours, data) for t in tracks for data in t.payloads(t.locate(numbers))])
        yield from self.reader.frame_parts(segment, frames)


def files_of(root: Path, *, clips: int, steps: int) -> list[Clip]:
    """The pictures that the batches of `batches_of` are made from, clip by clip."""
    domains = [open_large(root).domain(name) for name in DOMAINS]
    recorders = [{m: Recording(reader) for m, reader in d.readers.items()} for d in domains]  # type: ignore[arg-type]
    recorded = [Domain(d.name, r, d.train, ()) for d, r in zip(domains, recorders, strict=True)]  # type: ignore[arg-type]
    batches = _batches(recorded, clips=clips, steps=steps)
    for step in progress(range(steps), "read files"):
        batches[step]
    return [clip for readers in recorders for recorder in readers.values() for clip in recorder.clips]


def decode(clips: Sequence[Clip], *, resized: bool) -> None:
    """Decode pictures into memory that is used again; `resized` also makes clips of them."""
    pixels = {"RGB": np.empty((HEIGHT, WIDTH, 3), np.uint8), "GRAY": np.empty((HEIGHT, WIDTH, 1), np.uint8)}
    planes = {
        "RGB": np.empty((3, RULE.size, RULE.size), np.uint8),
        "GRAY": np.empty((1, RULE.size, RULE.size), np.uint8),
    }
    rng = np.random.default_rng(0)
    for clip in clips:
        crop = sample_crop(HEIGHT, WIDTH, rng)
        for colours, data in clip:
            simplejpeg.decode_jpeg(data, colorspace=colours, buffer=pixels[colours])
            if resized:
                place_crop(pixels[colours], crop, planes[colours])


class Decoders:
    """Processes that decode their share of some clips whenever they are told to."""

    def __init__(self, clips: Sequence[Clip], *, workers: int, resized: bool) -> None:
        context = multiprocessing.get_context("fork")  # the clips are inherited
        self._ends = []
        for number in range(workers):
            ours, theirs = context.Pipe()
            share = [clip for at, clip in enumerate(clips) if at % workers == number]
            context.Process(target=self._serve, args=(theirs, share, resized), daemon=True).start()
            self._ends.append(ours)

    @staticmethod
    def _serve(end: Any, clips: Sequence[Clip], resized: bool) -> None:
        while end.recv():
            decode(clips, resized=resized)
            end.send(None)

    def __call__(self) -> None:
        """Decode all of them once."""
        for end in self._ends:
            end.send(True)
        for end in self._ends:
            end.recv()


# --- as it is usually written -----------------------------------------------------------------------------------


class PillowClips(Dataset[tuple[Tensor, Tensor]]):
    """Folders of frames, opened one by one."""

    def __init__(self, root: Path, segments: Sequence[tuple[str, Segment]], *, count: int) -> None:
        self.root, self.segments, self.count = root, segments, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        domain, segment = self.segments[item % len(self.segments)]
        rng = np.random.default_rng(item)
        window = training_window(segment, RULE.window, rng)
        crop = sample_crop(HEIGHT, WIDTH, rng)
        box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)

        def frames(folder: Path, numbers: NDArray[np.int64], mode: str) -> NDArray[np.uint8]:
            pictures = []
            for number in np.clip(numbers, 1, len(list(folder.iterdir())) - 1):
                with Image.open(folder / f"frame_{number:010d}.jpg") as image:
                    small = image.convert(mode).crop(box).resize((RULE.size, RULE.size), Image.Resampling.BILINEAR)
                pictures.append(np.asarray(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.mirror else small))
            return np.stack(pictures)

        rgb = frames(self.root / "rgb" / domain / segment.video, window, "RGB")
        flow = [frames(self.root / "flow" / domain / segment.video / c, window // 2, "L") for c in "uv"]
        return torch.from_numpy(rgb).permute(3, 0, 1, 2).contiguous(), torch.from_numpy(np.stack(flow))


def pillow_loader(root: Path, *, count: int, batch: int, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Clips of the same kitchens, as many."""
    data = open_large(root)
    segments = [(name, segment) for name in DOMAINS for segment in data.domain(name).train]
    clips = PillowClips(root, segments, count=count)
    return DataLoader(clips, batch_size=batch, num_workers=workers, persistent_workers=True)


# --- the measurement --------------------------------------------------------------------------------------------


def contenders(roots: dict[str, Path], *, clips: int, steps: int, workers: int) -> dict[str, Callable[[], None]]:
    """What is timed; a round of each is ``2 * clips * steps`` clips."""
    order = range(steps)
    tar, folder = (batches_of(roots[layout], clips=clips, steps=steps) for layout in ("tar", "folder"))
    cut = batches_of(roots["tar"], clips=clips, steps=steps, rule=replace(RULE, resize_on="device"))
    sent = DataLoader(tar, batch_size=None, sampler=order, num_workers=workers, persistent_workers=True)
    files = files_of(roots["tar"], clips=clips, steps=steps)
    loaders: dict[str, Iterable[object]] = {
        TAR: BatchLoader(tar, order, workers=workers),
        CUT: BatchLoader(cut, order, workers=workers),
        FOLDER: BatchLoader(folder, order, workers=workers),
        SENT: sent,
        PILLOW: pillow_loader(roots["folder"], count=2 * clips * steps, batch=2 * clips, workers=workers),
    }
    return {
        RAW: Decoders(files, workers=workers, resized=False),
        LIMIT: Decoders(files, workers=workers, resized=True),
        **{name: read_all(loader) for name, loader in loaders.items()},
    }


def weight(files: Sequence[Path]) -> float:
    """Mean kilobytes of some files."""
    return rounded(float(np.mean([path.stat().st_size for path in files])) / 1000)


def soak(root: Path, *, clips: int, workers: int, seconds: float) -> dict[str, Any]:
    """Read for a while; megabytes of all processes together, and how fast they grow after the first fifth."""
    batches = BatchLoader(batches_of(root, clips=clips, steps=1000), range(1000), workers=workers)
    start, looked, read = time.monotonic(), -np.inf, 0
    seen: list[tuple[float, float, float]] = []
    while time.monotonic() - start < seconds:
        for batch in batches:
            read += len(batch.source.labels) + len(batch.require_target().corresponds)
            now = time.monotonic() - start
            if now - looked >= min(5.0, seconds / 20):
                looked = now
                seen.append((now / 60, *megabytes()))
            if now >= seconds:
                break
    minutes, own, workers_own = np.array(seen[len(seen) // 5 :]).T
    total = own + workers_own
    return {
        "minutes": rounded(seconds / 60),
        "clips": read,
        "megabytes_at_first": rounded(total[0]),
        "megabytes_at_last": rounded(total[-1]),
        "megabytes_at_most": rounded(total.max()),
        "growth_mb_per_minute": rounded(float(np.polyfit(minutes, total, 1)[0])),
        "samples": [[rounded(value) for value in row] for row in seen],
    }


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, __file__)
    options.add_argument("--workers", type=int, default=joblib.cpu_count(), help="worker processes (%(default)s)")
    options.add_argument("--data", type=Path, help="where the frames are made, and kept; by default a temporary folder")
    options.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    options.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="watch the memory for so long, too")
    given = options.parse_args()
    if given.workers < 1:
        raise UserError("give --workers 1 or more: what reads in the training process itself is not compared here")
    torch.set_num_threads(1)
    videos, clips, steps = (4, 2, 2 * given.workers) if given.quick else (16, 8, 16 * given.workers)
    rounds = 1 if given.quick else given.rounds
    by_processor = given.clock is not time.perf_counter
    with TemporaryDirectory(prefix="mmsada-frames-") as temporary:
        roots = large_kitchens(given.data or Path(temporary), videos=videos)
        timed = contenders(roots, clips=clips, steps=steps, workers=given.workers)
        timings = interleaved(
            timed,
            rounds=rounds,
            warm_up=1,
            title="frames",
            clock=processor_seconds if by_processor else time.perf_counter,
        )
        count = 2 * clips * steps
        rates = [[name, rounded(count / t.median), rounded(1000 * t.median / count)] for name, t in timings.items()]
        cores = "processor time" if by_processor else f"{given.workers} worker processes"
        tables = [
            table(f"Clips of 16 + 16 frames, {WIDTH} x {HEIGHT}; {cores}", ["", "clips/s", "ms a clip"], rates),
            table(
                "Rates compared, median of the rounds",
                ["", "ratio", "quartiles", "wanted"],
                [_compared(timings[a], timings[b], a, b, wanted) for a, b, wanted in ACCEPTED],
            ),
        ]
        report = {
            "workers": given.workers,
            "processor_time": by_processor,
            "clips_a_round": count,
            "kilobytes_a_frame": {
                "rgb": weight(list(roots["folder"].glob("rgb/**/*.jpg"))),
                "flow": weight(list(roots["folder"].glob("flow/**/*.jpg"))),
            },
            "rounds": {name: list(map(rounded, timing.seconds)) for name, timing in timings.items()},
        }
        timed.clear()  # ends their workers
        if given.soak:
            found = soak(roots["tar"], clips=clips, workers=given.workers, seconds=60 * given.soak)
            shown = {name: value for name, value in found.items() if name != "samples"}
            tables.append(table("Memory of all processes while reading", list(shown), [list(shown.values())]))
            report["soak"] = found
    save(given.out, {**report, "tables": tables}, quick=given.quick)


def _compared(ours: Any, other: Any, name: str, against: str, wanted: str) -> list[object]:
    """Rates are the reciprocals of times."""
    found = ratio(other, ours)
    return [f"{name} / {against}", found["median"], f"{found['low']:.3g}–{found['high']:.3g}", wanted]


if __name__ == "__main__":
    run(main)
