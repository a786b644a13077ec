"""A drawn scene for the explorer's view, and the page around it: `python scene.py page.html` to look at it.

Everything is drawn from one seed. RGB and flow frame k of every clip is a plain grey of brightness 20 + 25 k, so that a
test can read from the screen which frame is shown.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmsada_lab.explorer.scene import view_colours

VIEW = Path(__file__).parents[1] / "mmsada_lab" / "explorer" / "view"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
CLASSES = ["take", "put", "open", "close", "wash", "cut", "mix", "pour"]
STREAMS = ["fused", "rgb", "flow"]
METHODS = {"source_only": ("Source-only", 1.0), "mmd": ("MMD", 0.55), "mmsada": ("MM-SADA", 0.2)}
VALUES = [0.0, 0.05, 0.1, 0.2, 0.5, 1.0]
FRAMES, WIDTH, HEIGHT, WINDOWS = 8, 64, 48, 5
TESTED = (
    "decode isInside buildGrid nearestPoint nearestTowards quantise axisPlaces roundTicks confusionOf ownDomainShare"
)


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """An array as the scene holds it."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def strip(brightness: list[int]) -> bytes:
    """Frames of one grey each, side by side, as WebP."""
    frames = [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in brightness]
    return bytes(cv2.imencode(".webp", np.hstack(frames), [cv2.IMWRITE_WEBP_QUALITY, 60])[1])


class Drawing:
    """Draws the points of both domains and views of them in which the domains lie more or less apart."""

    def __init__(self, count: int, classes: list[str], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.classes, self.count = classes, count
        self.label = self.rng.integers(0, len(classes), count).astype(np.int16)
        self.domain = (np.arange(count) >= count // 2).astype(np.uint8)
        turns = 2 * np.pi * np.arange(len(classes)) / len(classes)
        self.centres = np.stack([np.cos(turns), np.sin(turns)], axis=1) * 17000
        self.noise = self.rng.normal(0, 2600, (len(STREAMS), count, 2))
        self.lot = self.rng.random((len(STREAMS), count))

    def view(
        self, key: str, title: str, distance: float, value: float | None = None, *, rich: bool = True
    ) -> dict[str, Any]:
        """A view: `distance` of the domains, and with it the share of wrong predictions on the target."""
        count, classes = self.count, len(self.classes)
        away = (
            np.stack([np.full(count, 9000 * distance), np.full(count, 7000 * distance)], axis=1) * self.domain[:, None]
        )
        positions = np.clip(self.centres[self.label] + self.noise + away, -32000, 32000).astype(np.int16)
        wrong = self.lot < 0.08 + 0.45 * distance * self.domain + np.array([[0.0], [0.08], [0.12]])
        predicted = np.where(wrong, (self.label + 1) % classes, self.label).astype(np.int16)
        confidence = np.where(wrong, 110, 225).astype(np.uint8) + (self.lot * 25).astype(np.uint8)
        windows = np.full((len(STREAMS), count, WINDOWS, classes), 6, np.uint8)
        stream, row = np.indices(predicted.shape)
        windows[stream, row, :, self.label] = 90
        windows[stream, row, :, predicted] = 160
        accuracy = {
            name: {
                side: 100 * float((predicted[p] == self.label)[self.domain == d].mean())
                for d, side in enumerate(("D1", "D3"))
            }
            for p, name in enumerate(STREAMS)
        }
        return {
            "key": key, "title": title, "value": value, "note": "seed 0 of 2",
            "positions": pack(positions), "predicted": pack(predicted), "confidence": pack(confidence),
            "windows": pack(windows) if rich else None,
            "own": pack(self.own_share(positions)) if rich else None,
            "across": pack(self.neighbours(positions, 5, other=True)) if rich else None,
            "accuracy": accuracy,
            "gap": {name: {"MMD": 0.4 * distance, "A-distance": 1.9 * distance} for name in STREAMS},
            "travel": dict.fromkeys(STREAMS, 0.1 + 0.2 * distance),
            "overlap": dict.fromkeys(STREAMS, 0.45),
        }  # fmt: skip

    def neighbours(self, positions: NDArray[np.int16], width: int, *, other: bool) -> NDArray[np.int32]:
        """Nearest points of every stream's map, of both domains or of the other one."""
        found = np.zeros((len(STREAMS), self.count, width), np.int32)
        for p, places in enumerate(positions.astype(np.float32)):
            for row in range(self.count):
                distances = ((places - places[row]) ** 2).sum(1)
                distances[self.domain == self.domain[row] if other else [row]] = np.inf
                found[p, row] = np.argsort(distances, kind="stable")[:width]
        return found

    def own_share(self, positions: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Of the ten nearest points of every stream's map, the percentage of the own domain."""
        near = self.neighbours(positions, 10, other=False)
        return np.round(100 * (self.domain[near] == self.domain[None, :, None]).mean(axis=2)).astype(np.uint8)

    def clips(self, shift_flow: int = 0) -> dict[str, list[str]]:
        """Strips of both modalities; `shift_flow` puts flow out of step."""
        grey = [20 + 25 * k for k in range(FRAMES)]
        strips = {"rgb": strip(grey), "flow": strip(grey[shift_flow:] + grey[:shift_flow])}
        texts = {name: base64.b64encode(data).decode() for name, data in strips.items()}
        return {name: [text] * self.count for name, text in texts.items()}


def draw_scene(
    count: int = 400, classes: list[str] | None = None, *, rich: bool = True
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """A scene with methods, checkpoints and a sweep, and its clips."""
    names = classes or CLASSES
    drawing = Drawing(count, names)
    methods = [drawing.view(key, title, distance, rich=rich) for key, (title, distance) in METHODS.items()]
    steps = [
        drawing.view(f"step{step}", f"step {step}", 1 - step / 2500, step, rich=rich) for step in range(0, 2001, 500)
    ]
    swept = [
        drawing.view(f"λd{value:g}", f"λd = {value:g}", 0.8 - 0.6 * value**0.5, value, rich=rich) for value in VALUES
    ]
    mean = [view["accuracy"]["fused"]["D3"] for view in swept]
    sweep = {
        "key": "λd", "title": "λd", "log": True, "values": VALUES,
        "accuracy": {"mean": mean, "sd": [2.0] * len(VALUES), "over": "4 worlds of 2 seeds"},
        "baseline": {"title": "Source-only", "top1": methods[0]["accuracy"]["fused"]["D3"]},
        "scores": {
            "information_maximisation": [0.2, 0.3, 0.5, 0.9, 1.0, 0.7],
            "entropy": [-3, -2.5, -2, -1.2, -1, -1.4],
        },
        "recall": [[40 + 30 * value**0.5 + 4 * k for k in range(len(names))] for value in VALUES],
        "opponents": {
            "D, rgb": [99, 92, 80, 66, 58, 55],
            "D, flow": [99, 95, 86, 74, 63, 57],
            "C, correspondence": [70, 72, 71, 69, 66, 61],
        },
        "series": "λd",
    }  # fmt: skip
    scene = {
        "version": 1, "title": "kitchens, D1→D3", "notes": ["drawn for development", f"{count} clips, none left out"],
        "classes": names,
        "domains": [{"name": "D1", "side": "source"}, {"name": "D3", "side": "target"}],
        "panels": [{"key": name, "title": name} for name in STREAMS],
        "modalities": ["rgb", "flow"],
        "colours": view_colours(),
        "points": {
            "uid": [f"{'D1' if not d else 'D3'}_{row:05d}" for row, d in enumerate(drawing.domain)],
            "domain": pack(drawing.domain), "label": pack(drawing.label),
        },
        "series": [
            {"key": "method", "title": "method", "views": methods},
            {"key": "checkpoint", "title": "step", "views": steps},
            {"key": "λd", "title": "λd", "views": swept},
        ],
        "clips": {
            "piece": 64, "frames": FRAMES, "rate": 8,
            "modalities": {name: {"width": WIDTH, "height": HEIGHT, "type": "image/webp"} for name in ("rgb", "flow")},
        },
        "sweeps": [sweep],
        "reference": {"series": "method", "view": "source_only"},
    }  # fmt: skip
    return scene, drawing.clips()


def read_module() -> str:
    """The view as one module."""
    return "\n".join((VIEW / name).read_text(encoding="utf-8") for name in (VIEW / "order.txt").read_text().split())


def write_page(path: Path, scene: dict[str, Any], clips: dict[str, list[str]] | None, tail: str = "") -> Path:
    """The offline page; `tail` is JavaScript at the end of its module, where a test may reach into it."""

    def element(name: str, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
        return f'<script type="application/json" id="{name}">{text}</script>'

    tested = f"window.__tested = {{ {', '.join(TESTED.split())} }};"
    page = (VIEW / "page.js").read_text(encoding="utf-8")
    module = "\n".join(["window.__began = performance.now();", read_module(), page, tested, tail])
    css = (VIEW / "explorer.css").read_text(encoding="utf-8")
    path.write_text(
        f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Explorer</title>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,"><style>body {{ margin: 0 }} {css}</style></head>
<body><main id="explorer"></main>{element("scene", scene)}{element("clips", clips)}
<script type="module">{module}</script></body></html>""",
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    write_page(Path(sys.argv[1]), *draw_scene(int(sys.argv[2]) if len(sys.argv) > 2 else 400))
