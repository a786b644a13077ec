"""Kitchens: an embedded data set of three procedural kitchens in the likeness of EPIC-Kitchens D1, D2 and D3.

Small rendered first-person videos (36 x 64, RGB and optical flow) of eight verbs, made on the first use and
cached. The data are synthetic: they teach and test, they are not a benchmark.

All knobs at 0 make the kitchens one domain. The defaults are two kinds of gap, one for each half of MM-SADA: places
that tell the action, and a nuisance that the source cannot know. They were chosen, with all methods in view, on worlds
(data seeds) from 100 on; reports are of worlds 0 to 9. docs/worlds.md has the log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mmsada_lab.clips.segments import Domain, Frames, MultiDomainData, Segment
from mmsada_lab.datasets.flow import DILATION, STRIDE, optical_flow, quantise_flow
from mmsada_lab.datasets.kitchens.canvas import halve
from mmsada_lab.datasets.kitchens.conditions import CAMERAS, add_context, add_nuisance, add_sway, film_with
from mmsada_lab.datasets.kitchens.looks import draw_look
from mmsada_lab.datasets.kitchens.scenes import render_segment
from mmsada_lab.datasets.kitchens.store import Entry, ensure_folder, load_entries, open_readers
from mmsada_lab.datasets.tables import SPLITS
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.files import cache_root
from mmsada_lab.paper import TRAINING_SEGMENTS, VERBS

GENERATOR_VERSION = 13  # raised whenever the same knobs and seed give other pixels
FLOW_BOUND = 8.0
"""Largest flow kept, pixels over `DILATION` frames; EPIC's 25 at a height of 256 would be 3.5 here, too little for
hands that fill the picture."""

MARGIN = 3  # frames of the video before and after its segment
DOMAINS = tuple(TRAINING_SEGMENTS)
KNOBS = ("appearance", "viewpoint", "motion", "context", "nuisance", "sway", "camera", "label_shift", "absent")

ABSENT = (("wash", "close"), ("open", "cut"), ("put", "pour"))
"""Verbs that the knob `absent` takes out of each kitchen; `take` and `mix` stay in all."""

TEST_SIZES = (875, 1400, 1950)
"""Test segments before scaling: about half the training segments, so that a figure is not all noise."""


@dataclass(frozen=True, slots=True)
class Kitchens:
    """The knobs of the three kitchens; all at 0 make them one domain.

    Attributes:
        appearance: textures, shapes, clutter, sleeves: 0 = shared by all kitchens, 1 = each has its own.
        viewpoint: direction, nearness and slant of the camera, likewise.
        motion: pace, size and path of the movements, sway of the head, likewise.
        context: wallpaper that tells where an action is done, RGB alone: 0 = none, 1 = as strong as the scene.
        nuisance: on RGB, drawn anew for six in ten segments: grain in D1, steam in D2, lamps in D3; 0 = none.
        sway: smooth motion that is added to flow, in some segments of D2 and most of D3; 0 = none.
        camera: colours of RGB and speed of flow: 0 = the same in all kitchens.
        label_shift: 0 = the same class frequencies in all kitchens, 1 = those of EPIC-Kitchens D1, D2 and D3.
        absent: 1 = two of the eight classes are missing in each kitchen, others in each (`ABSENT`).
        seed: of everything random.
        scale: number of segments relative to EPIC-Kitchens; at least 2 per class and split are made.

    Raises:
        UserError: a knob outside 0..1, a negative seed, a scale outside (0, 1].
    """

    appearance: float = 0.0
    viewpoint: float = 0.0
    motion: float = 0.0
    context: float = 1.0
    nuisance: float = 1.0
    sway: float = 0.0
    camera: float = 0.0
    label_shift: float = 0.0
    absent: float = 0.0
    seed: int = 0
    scale: float = 0.08

    def __post_init__(self) -> None:
        for knob in KNOBS:
            value = getattr(self, knob)
            if not 0 <= value <= 1:
                raise UserError(f"{knob} = {value!r}; choose a number from 0 (kitchens alike) to 1 (nothing shared)")
        if self.seed < 0:
            raise UserError(f"seed = {self.seed!r}; choose 0 or a positive whole number")
        if not 0 < self.scale <= 1:
            advice = "choose a number above 0, up to 1 (as many segments as EPIC-Kitchens)"
            raise UserError(f"scale = {self.scale!r}; {advice}")

    @property
    def digest(self) -> str:
        """Short hash of the knobs and of the generator's version."""
        facts = {**asdict(self), "generator": GENERATOR_VERSION}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Planned:
    """A segment to be rendered: where it belongs, its label, its length with margins in RGB frames."""

    domain: int
    split: int
    index: int
    label: int
    frames: int

    @property
    def uid(self) -> str:
        """Name of the segment, and of its video."""
        return f"{DOMAINS[self.domain]}_{SPLITS[self.split]}_{self.index:04d}"


def parse_knobs(text: str) -> Kitchens:
    """Read knobs as a specification has them: ``appearance=0.5,motion=0``, or nothing.

    Raises:
        UserError: there is no such knob, or its value is no number in range.
    """
    types: dict[str, type[float]] = {f.name: int if f.name == "seed" else float for f in fields(Kitchens)}
    knobs: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        if name not in types:
            raise unknown("knob of kitchens", name, types)
        try:
            knobs[name] = types[name](value)
        except ValueError:
            raise UserError(f"knob {name} of kitchens is {value!r}; give a number, as in {name}=0.5") from None
    return Kitchens(**knobs)


def load_kitchens(
    kitchens: Kitchens | str = "", *, cache_dir: Path | None = None, workers: int | None = None
) -> MultiDomainData:
    """Load the kitchens, generating them first unless they are in the cache.

    Args:
        kitchens: the knobs, also as text (see `parse_knobs`); by default those of the reports.
        cache_dir: in place of the user's cache folder (or of the environment variable MMSADA_CACHE).
        workers: processes that generate; all processors if None, none but this one if 1. The pixels are the same.
    """
    kitchens = parse_knobs(kitchens) if isinstance(kitchens, str) else kitchens
    plan = plan_segments(kitchens)
    folder = cache_root(cache_dir) / f"kitchens-{kitchens.digest}"
    ensure_folder(folder, [_entry(p) for p in plan], partial(_render_all, kitchens, plan, workers or cpu_count()))
    entries = load_entries(folder)
    domains = {name: _domain(name, folder, [e for e in entries if e.domain == name]) for name in DOMAINS}
    return MultiDomainData(name="kitchens", classes=VERBS, domains=domains, digest=kitchens.digest, in_memory=True)


def plan_segments(kitchens: Kitchens) -> list[Planned]:
    """Every segment that will be made, in the order of storage."""
    return [
        Planned(domain, split, index, int(label), _draw_length(_stream(kitchens, domain, split, index)))
        for domain in range(len(DOMAINS))
        for split in range(len(SPLITS))
        for index, label in enumerate(_labels(kitchens, domain, split))
    ]


def class_counts(kitchens: Kitchens, domain: int, split: int) -> NDArray[np.int64]:
    """Segments per class, `(8,)`: the priors at the split's size by largest remainder, at least 2 of each."""
    counts = np.array(list(TRAINING_SEGMENTS.values()), dtype=np.float64)
    own, common = counts[domain] / counts[domain].sum(), counts.sum(axis=0) / counts.sum()
    priors = kitchens.label_shift * own + (1 - kitchens.label_shift) * common
    priors[[VERBS.index(verb) for verb in ABSENT[domain]]] *= 1 - kitchens.absent
    priors /= priors.sum()
    unscaled = sum(TRAINING_SEGMENTS[DOMAINS[domain]]) if split == 0 else TEST_SIZES[domain]
    return _apportion(priors, max(2 * len(VERBS), round(unscaled * kitchens.scale)))


def render(kitchens: Kitchens, planned: Planned) -> tuple[Frames, Frames]:
    """RGB `(T, 36, 64, 3)` and flow `(T', 36, 64, 2)` of one segment's video, 8 bits.

    Flow index 0 leads from RGB frame 2 to frame 5 (numbered from 1), the next from 4 to 7. It is computed on
    the images as rendered, then both are halved: as EPIC computes flow before it makes the frames smaller.
    """
    rng = _stream(kitchens, planned.domain, planned.split, planned.index)
    frames = _draw_length(rng)
    knobs = {knob: getattr(kitchens, knob) for knob in ("appearance", "viewpoint", "motion")}
    look = draw_look(planned.domain, rng, **knobs)
    rgb = render_segment(VERBS[planned.label], look, rng, frames)
    flow = np.stack([optical_flow(rgb[t], rgb[t + DILATION]) for t in _flow_starts(frames)])  # (T', 72, 128, 2)
    return _film(kitchens, planned, halve(rgb), halve(flow) * np.float32(0.5))


def _film(kitchens: Kitchens, planned: Planned, rgb: Frames, flow: NDArray[np.float32]) -> tuple[Frames, Frames]:
    """Light, sway and camera over what happens; each modality's own, since flow is computed before."""
    rng = np.random.default_rng([kitchens.seed, planned.domain, planned.split, planned.index, 1])
    kitchen, label = planned.domain, planned.label
    rgb = add_context(rgb, kitchen=kitchen, label=label, world=kitchens.seed, strength=kitchens.context, rng=rng)
    rgb = add_nuisance(rgb, kitchen=kitchen, strength=kitchens.nuisance, rng=rng)
    flow = add_sway(flow, kitchen=kitchen, strength=kitchens.sway, rng=rng)
    rgb, flow = film_with(CAMERAS[kitchen], rgb, flow, strength=kitchens.camera)
    return rgb, quantise_flow(flow, bound=FLOW_BOUND)


def _flow_starts(frames: int) -> range:
    return range(STRIDE - 1, frames - DILATION, STRIDE)


def _stream(kitchens: Kitchens, domain: int, split: int, index: int) -> np.random.Generator:
    """The random numbers of one segment: they depend on nothing but these four."""
    return np.random.default_rng([kitchens.seed, domain, split, index])


def _draw_length(rng: np.random.Generator) -> int:
    """Frames of a video: a segment of 20 to 60 (median 30) and its margins."""
    return 20 + round(40 * rng.beta(1.2, 3.0)) + 2 * MARGIN


def _labels(kitchens: Kitchens, domain: int, split: int) -> NDArray[np.int64]:
    ordered = np.repeat(np.arange(len(VERBS)), class_counts(kitchens, domain, split))
    return np.random.default_rng([kitchens.seed, domain, split]).permutation(ordered)


def _apportion(priors: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    shares = priors * total
    counts = np.floor(shares).astype(np.int64)
    counts[np.argsort(counts - shares, kind="stable")[: total - counts.sum()]] += 1
    present = priors > 0
    while counts[present].min() < 2:
        counts[np.flatnonzero(present)[counts[present].argmin()]] += 1
        counts[counts.argmax()] -= 1
    return counts


def _entry(planned: Planned) -> Entry:
    return Entry(
        uid=planned.uid,
        domain=DOMAINS[planned.domain],
        split=SPLITS[planned.split],
        label=planned.label,
        start=1 + MARGIN,
        stop=planned.frames - MARGIN,
        rgb=planned.frames,
        flow=len(_flow_starts(planned.frames)),
    )


def _render_all(kitchens: Kitchens, plan: list[Planned], workers: int) -> Iterator[Mapping[str, Frames]]:
    with ExitStack() as stack:
        rendered: Iterator[tuple[Frames, Frames]] = map(partial(render, kitchens), plan)
        if workers > 1:
            # spawned: a fork of a process in which OpenCV or torch has started threads may hang
            pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))
            rendered = stack.enter_context(pool).map(partial(render, kitchens), plan, chunksize=8)
        try:
            for rgb, flow in tqdm(rendered, total=len(plan), desc="Rendering kitchens", unit="segment"):
                yield {"rgb": rgb, "flow": flow}
        except BrokenProcessPool as error:
            raise UserError(
                "the processes that render the kitchens ended early; in a script, call load_kitchens below "
                "`if __name__ == '__main__':`, or pass workers=1"
            ) from error


def _domain(name: str, folder: Path, entries: list[Entry]) -> Domain:
    train, test = (
        tuple(Segment(e.uid, e.uid, e.start, e.stop, label=e.label) for e in entries if e.split == split)
        for split in SPLITS
    )
    return Domain(name=name, readers=open_readers(folder, entries), train=train, test=test)
