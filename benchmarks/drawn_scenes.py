"""Scenes of any size for the explorer's page, drawn from a seed, and the same maps as Plotly shows them.

Points, predictions and numbers are drawn, clips are made: pictures of the kitchens, enlarged and with so much grain
that a strip weighs what one of real video does (3.7 kB for 8 frames of 64 x 48 pixels at quality 40).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import plotly.graph_objects as go
from browser import SETTLED, Handles
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from mmsada_lab.clips.segments import Frames, MultiDomainData, Reader, Segment
from mmsada_lab.explorer.page import render_page
from mmsada_lab.explorer.scene import ACROSS, ExplorerScene, Json, coded, view_colours
from mmsada_lab.explorer.strips import TYPE, Strips

STREAMS, MODALITIES = ("fused", "rgb", "flow"), ("rgb", "flow")
CLASSES, WINDOWS = 8, 5
METHODS = ("source_only", "adversarial_only", "self_supervised_only", "mmsada")
STEPS = 12
"""Views of a scene: what four runs of `quick` leave, which keep the features of twelve checkpoints."""

OURS = Handles(
    ".card.hover",
    "(row, panel) => { const { x, y } = window.__explorers[0].locate(row, panel); return [x, y]; }",
    "() => window.__explorers[0].frame(true)",
)
PLOTLY = Handles(
    ".hoverlayer",
    """(row, panel) => {
      const plot = document.querySelector(".js-plotly-plot");
      const { left, top } = plot.getBoundingClientRect();
      const name = panel ? panel + 1 : "";
      const [x, y] = ["x", "y"].map((letter) => plot._fullLayout[letter + "axis" + name]);
      const [trace, at] = [2 * panel + row % 2, row >> 1]; // a trace a domain: even rows and odd rows
      return [left + x._offset + x.l2p(window.__places[trace][0][at]),
        top + y._offset + y.l2p(window.__places[trace][1][at])];
    }""",
    "",
)


class Drawing:
    """Points of two domains, every other one of each, and views in which the domains come closer."""

    def __init__(self, count: int, *, seed: int = 0) -> None:
        self.count, self.rng = count, np.random.default_rng(seed)
        self.label = self.rng.integers(0, CLASSES, count)
        self.domain = np.arange(count) % 2
        angles = 2 * np.pi * np.arange(CLASSES) / CLASSES
        self.centres = 17000 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.noise = self.rng.normal(0, 2600, (len(STREAMS), count, 2))

    def positions(self, share: float) -> NDArray[np.int16]:
        """Places in all maps, `(streams, N, 2)`, after this share of the way."""
        away = 8000 * (1 - share) * self.domain[:, None]
        return np.clip(self.centres[self.label] + self.noise + away, -32000, 32000).astype(np.int16)

    def view(self, key: str, share: float, *, value: float | None = None, windows: bool = True) -> Json:
        """A view with everything that a scene holds."""
        shape, rng = (len(STREAMS), self.count), self.rng
        predicted = np.where(rng.random(shape) < 0.3 + 0.4 * share, self.label, rng.integers(0, CLASSES, shape))
        per_stream = dict.fromkeys(STREAMS, 0.4)
        scores = rng.dirichlet(np.full(CLASSES, 0.3), (*shape, WINDOWS)) if windows else None
        return {
            "key": key, "title": key, "value": value, "note": "",
            "positions": coded(self.positions(share)),
            "predicted": coded(predicted.astype(np.int16)),
            "confidence": coded(rng.integers(80, 255, shape).astype(np.uint8)),
            "windows": None if scores is None else coded(np.round(255 * scores).astype(np.uint8)),
            "own": coded(rng.integers(0, 101, shape).astype(np.uint8)),
            "across": coded((2 * rng.integers(0, self.count // 2, (*shape, ACROSS))).astype(np.uint16)),
            "accuracy": {}, "gap": {stream: {"MMD²": 0.1, "A-distance": 1.0} for stream in MODALITIES},
            "travel": per_stream, "overlap": per_stream,
        }  # fmt: skip

    def content(self) -> Json:
        """The scene, without clips."""
        methods = [self.view(name, k / len(METHODS)) for k, name in enumerate(METHODS)]
        steps = [self.view(str(k), k / STEPS, value=float(k), windows=False) for k in range(STEPS)]
        return {
            "version": 1, "title": "drawn", "notes": [], "classes": [f"class {k}" for k in range(CLASSES)],
            "domains": [{"name": "D1", "side": "source"}, {"name": "D3", "side": "target"}],
            "panels": [{"key": stream, "title": stream} for stream in STREAMS], "modalities": list(MODALITIES),
            "colours": view_colours(),
            "points": {
                "uid": [f"D{1 + 2 * side}_{row:05d}" for row, side in enumerate(self.domain)],
                "domain": coded(self.domain.astype(np.uint8)), "label": coded(self.label.astype(np.int16)),
            },
            "series": [
                {"key": "method", "title": "method", "views": methods},
                {"key": "checkpoint", "title": "step", "views": steps},
            ],
            "clips": None, "sweeps": [], "reference": {"series": "method", "view": METHODS[0]},
        }  # fmt: skip


def write_ours(path: Path, content: Json, strips: Strips | None = None) -> Path:
    """The explorer's page, with a line at its end that says when it is drawn."""
    if strips is not None:
        shapes = {m: {"width": w, "height": h, "type": TYPE} for m, (w, h) in strips.shapes.items()}
        content = {**content, "clips": {"piece": 500, "frames": strips.size.frames, "rate": 8, "modalities": shapes}}
    page = render_page(ExplorerScene(content, strips))
    path.write_text(
        page.replace("\n</script>\n</body>", f"{SETTLED}requestAnimationFrame(settle);\n</script>\n</body>")
    )
    return path


def write_plotly(path: Path, drawing: Drawing, *, kind: type[go.Scatter] | type[go.Scattergl]) -> Path:
    """Plotly's page of the same three maps, with the same in its end; a trace a domain, its uids to be read."""
    figure = make_subplots(1, len(STREAMS), subplot_titles=STREAMS)
    places = []
    for panel, points in enumerate(drawing.positions(0.0)):
        for side, name in enumerate(("D1", "D3")):
            rows = np.flatnonzero(drawing.domain == side)
            x, y = points[rows].T
            places.append([x.tolist(), y.tolist()])
            texts = [f"{name}_{row:05d}" for row in rows]
            marks = {"size": 5, "symbol": ("circle", "diamond")[side]}
            trace = kind(x=x, y=y, mode="markers", name=name, text=texts, marker=marks)
            figure.add_trace(trace, row=1, col=panel + 1)
    figure.update_layout(dragmode="pan", width=1260, height=600)
    script = f"window.__places = {places};{SETTLED}requestAnimationFrame(settle);"
    figure.write_html(path, include_plotlyjs=True, post_script=script)
    return path


@dataclass(frozen=True)
class Grained:
    """A reader whose pictures are those of another one, enlarged and grained."""

    reader: Reader
    grain: float
    kind: str = "video"

    @property
    def channels(self) -> int:
        """As the other one's."""
        return self.reader.channels

    @property
    def mirror_negates(self) -> tuple[int, ...]:
        """As the other one's."""
        return self.reader.mirror_negates

    def read(self, segment: Segment, frames: NDArray[np.int64]) -> Frames:
        """Frames `(T, 96, 128, C)`."""
        rng = np.random.default_rng([crc32(segment.uid.encode()), *frames.tolist()])
        small = self.reader.read(segment, frames)
        large = [cv2.resize(frame, (128, 96), interpolation=cv2.INTER_CUBIC).reshape(96, 128, -1) for frame in small]
        noise = rng.normal(0, self.grain, (len(large), 96, 128, 1))
        return np.clip(np.stack(large) + noise, 0, 255).astype(np.uint8)

    def extent(self, segment: Segment) -> tuple[int, int]:
        """As the other one's."""
        return self.reader.extent(segment)


def many_clips(data: MultiDomainData, count: int, *, grain: float) -> tuple[MultiDomainData, list[tuple[str, Segment]]]:
    """Data with grained pictures, and so many segments of them: those there are, again and again under other names."""
    domains = {
        name: replace(domain, readers={m: Grained(domain.readers[m], grain) for m in MODALITIES})
        for name, domain in data.domains.items()
    }
    own = [(name, segment) for name, domain in data.domains.items() for segment in (*domain.train, *domain.test)]
    segments = [own[k % len(own)] for k in range(count)]
    named = [(name, replace(segment, uid=f"{segment.uid}_{k}")) for k, (name, segment) in enumerate(segments)]
    return replace(data, domains=domains, digest=f"{data.digest} grain {grain}"), named
