"""A tiny data set in memory: any number of domains, modalities and classes, frames random but structured.

As a program, ``python toy.py CONFIG.json RUNS [PAUSE]`` trains one run on it, with a pause before every clip that is
read so that somebody can end the process in the middle.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, Frames, MultiDomainData, Segment
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import FORMATS, Format
from mmsada_lab.presets import build_config

HEIGHT, WIDTH, CLASSES = 24, 40, ("sweep", "poke", "spin")
MODALITIES = {"rgb": (3, ()), "flow": (2, (0,)), "depth": (1, ())}
"""Modality -> channels, and those that change sign in a mirror."""


@dataclass(frozen=True)
class ToyReader:
    """A bright band whose height tells the class (read off the uid, never off the label), a tint per domain, noise.

    Only the first channel shows the band, a column of light wanders with the frame number.
    """

    channels: int
    mirror_negates: tuple[int, ...] = ()
    tint: int = 0
    pause: ClassVar[float] = 0.0
    kind: ClassVar[str] = "video"

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        if self.pause:
            time.sleep(self.pause)
        rng = np.random.default_rng(zlib.crc32(segment.uid.encode()))
        picture = rng.integers(0, 40, (HEIGHT, WIDTH, self.channels)) + self.tint
        band = HEIGHT // len(CLASSES)
        top = band * class_of(segment.uid)
        picture[top : top + band, :, 0] += 100
        clip = np.repeat(picture[None], len(frames), axis=0)
        clip[np.arange(len(frames)), :, frames % WIDTH] += 50
        return clip.astype(np.uint8)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return 1, segment.stop + WIDTH


@dataclass(frozen=True)
class PaintedReader:
    """Frames as `paint(segment, frame number)` gives them, one `(H, W, C)` array each."""

    channels: int
    paint: Callable[[Segment, int], NDArray[Any]]
    mirror_negates: tuple[int, ...] = ()
    kind: ClassVar[str] = "video"

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        return np.stack([self.paint(segment, int(number)) for number in frames]).astype(np.uint8)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return 1, segment.stop + WIDTH


def number_of(uid: str) -> int:
    """The running number in a uid such as ``A-train-17``."""
    return int(uid.rpartition("-")[2])


def class_of(uid: str) -> int:
    """The class a toy segment truly shows."""
    return number_of(uid) % len(CLASSES)


def toy_segments(domain: str, part: str, count: int) -> tuple[Segment, ...]:
    """Segments of 20 to 59 frames, the classes in turn."""
    uids = [f"{domain}-{part}-{number}" for number in range(count)]
    return tuple(
        Segment(uid, f"{domain}_{part}", 5 + 100 * n, 24 + 100 * n + 13 * n % 40, class_of(uid))
        for n, uid in enumerate(uids)
    )


def toy_data(
    *,
    domains: Sequence[str] = ("A", "B", "C"),
    modalities: Sequence[str] = ("rgb", "flow", "depth"),
    train: int = 18,
    test: int = 9,
) -> MultiDomainData:
    """The toy: `train` and `test` segments in each domain."""
    built = {}
    for number, name in enumerate(domains):
        readers = {m: ToyReader(*MODALITIES[m], tint=25 * number) for m in modalities}
        built[name] = Domain(name, readers, toy_segments(name, "train", train), toy_segments(name, "test", test))
    digest = hashlib.sha256(repr(built).encode()).hexdigest()[:10]
    return MultiDomainData("toy", CLASSES, built, digest)


TOY = Format(syntax="toy", help="three tiny domains in memory", opener="toy:open_toy")
OTHER: MultiDomainData | None = None


def open_toy(_: str) -> MultiDomainData:
    """The opener of the format `TOY`."""
    return toy_data()


def open_other(_: str) -> MultiDomainData:
    """The opener of other data under the name of the toy, see `conftest.open_as_toy`."""
    assert OTHER is not None
    return OTHER


def relabelled(
    data: MultiDomainData, domain: str, label: Callable[[Segment], int | None], *, part: str = "train"
) -> MultiDomainData:
    """The same data, digest included, with other labels in one part of one domain."""
    old = data.domain(domain)
    changed = replace(old, **{part: tuple(replace(s, label=label(s)) for s in getattr(old, part))})
    return replace(data, domains={**data.domains, domain: changed})


class Said(NamedTuple):
    """What a command left: its exit status, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Mmsada = Callable[..., Said]
"""The `mmsada` command as a function of its words; the fixture of that name gives one."""


SMALL = {
    "window_length": 4,
    "input_size": 12,
    "width": 2,
    "batch_size": 12,
    "pretrain.steps": 5,
    "adapt.steps": 7,
    "evaluate_every": 3,
    "adapt.learning_rate": 0.01,
    "evaluate_before": 0,
    "discriminator_rate": 1.0,
    "source_only_batch": "full",
    "averaged_evaluations": 2,
    "keep_features": 0,
    "test_windows": 2,
}
"""Overrides of the quick preset that make a run take a fraction of a second."""


def toy_config(
    method: str = "mmsada", *, pair: str | None = "AB", seed: int = 0, preset: str = "quick", **changes: Any
) -> ExperimentConfig:
    """A small run on the toy; `__` stands for the dot in the key of an override (``adapt__steps=3``)."""
    source, target = (None, "B") if method == "supervised_target" else (pair[0], pair[1])
    overrides = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return build_config(preset, source=source, target=target, method=method, data="toy", seed=seed, overrides=overrides)


def run_toy(config: ExperimentConfig, runs_dir: Path, device: str) -> None:
    """What a worker process of a grid does, on the toy."""
    from mmsada_lab.experiment import run_experiment

    FORMATS["toy"] = TOY
    run_experiment(config, runs_dir, device=device, workers=0, show_progress=False)


def main() -> None:
    """Train one run and print a digest of the network this process ends with."""
    import torch
    from toy import ToyReader as ImportedReader  # the opener imports this module: not that of `__main__`

    from mmsada_lab import experiment

    class Watched(experiment.Experiment):
        def run(self, *, show_progress: bool) -> None:
            super().run(show_progress=show_progress)
            print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in self.method.state_dict().values())).hexdigest())

    torch.set_num_threads(1)
    config, runs, *pause = sys.argv[1:]
    ImportedReader.pause = float(pause[0]) if pause else 0.0
    FORMATS["toy"] = TOY
    experiment.Experiment = Watched
    experiment.run_experiment(
        ExperimentConfig(**json.loads(config)), Path(runs), device="cpu", workers=0, show_progress=False
    )


if __name__ == "__main__":
    main()
