"""The page of a segment: facts, player, timeline, curves and windows in one HTML file that needs no network.

Whatever comes from the data is escaped before it becomes part of the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH = 860
_LEFT, _ROW, _PLOT = 130, 22, 150
_BARS = 200
_CURVES = 12
_COLOURS = "#1f77b4 #d62728 #2ca02c #9467bd #ff7f0e #17becf #8c564b #e377c2 #7f7f7f #bcbd22 #004d80 #b35900".split()

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 920px; margin: 2em auto; padding: 0 1em; color: #222;
  background: #fff; }
table { border-collapse: collapse; margin: .5em 0; }
th, td { text-align: left; vertical-align: top; padding: .15em .9em .15em 0; border-bottom: 1px solid #ddd; }
td.numbers { font: 12px/1.5 ui-monospace, monospace; }
figure { display: inline-block; margin: 0 .8em .5em 0; } figure img { display: block; image-rendering: pixelated; }
svg text { font: 12px system-ui, sans-serif; fill: #444; }
#controls { display: flex; gap: 1em; align-items: center; } #at { flex: 1; max-width: 500px; }
"""

_SCRIPT = """
const shown = JSON.parse(document.getElementById("pictures").textContent);
const slider = document.getElementById("at"), button = document.getElementById("play");
let timer = null;
function show(at) {
  slider.value = at;
  document.getElementById("number").textContent = shown.numbers[at];
  for (const image of document.querySelectorAll("img[data-track]"))
    image.src = shown.tracks[image.dataset.track][at];
}
function play() { timer = setInterval(() => show((+slider.value + 1) % shown.numbers.length), shown.milliseconds); }
function pause() { clearInterval(timer); timer = null; }
button.onclick = () => { timer ? pause() : play(); button.textContent = timer ? "Pause" : "Play"; };
slider.oninput = () => { if (timer) button.click(); show(+slider.value); };
play();
"""


@dataclass(frozen=True)
class ShownWindow:
    """A window: its name, its clock numbers `(T,)`, and per modality which numbers are read, as text."""

    name: str
    frames: NDArray[np.int64]
    numbers: Mapping[str, str]


def page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page from headings and the HTML below them; empty sections are left out."""
    parts = [f"<section><h2>{escape(heading)}</h2>\n{body}</section>" for heading, body in sections if body]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    """Names and values as a table."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f"<table>{rows}</table>"


def player(tracks: Mapping[str, Sequence[str]], numbers: Sequence[int], *, milliseconds: int) -> str:
    """Pictures (data URIs by modality) that play together, with a slider; the first ones show without a script."""
    if not tracks:
        return ""
    figures = "".join(
        f'<figure><img data-track="{at}" src="{uris[0]}" alt="{escape(name)}"><figcaption>{escape(name)}</figcaption>'
        "</figure>"
        for at, (name, uris) in enumerate(tracks.items())
    )
    shown = {"numbers": list(numbers), "milliseconds": milliseconds, "tracks": [list(t) for t in tracks.values()]}
    coded = json.dumps(shown)
    return (
        f'<div>{figures}</div><div id="controls"><button id="play">Pause</button>'
        f'<input id="at" type="range" min="0" max="{len(numbers) - 1}" value="0" aria-label="frame">'
        f'<span>frame <span id="number">{numbers[0]}</span></span></div>'
        f'<script type="application/json" id="pictures">{coded}</script><script>{_SCRIPT}</script>'
    )


def timeline(segment: tuple[int, int], extents: Mapping[str, tuple[int, int]], windows: Sequence[ShownWindow]) -> str:
    """The segment, each modality's video and the windows above one another, as SVG; every frame of a window a tick."""
    ends = [*segment, *(int(n) for w in windows for n in (w.frames[0], w.frames[-1]))]
    margin = max(2, (max(ends) - min(ends)) // 20)
    low, high = min(ends) - margin, max(ends) + margin
    scale = (WIDTH - _LEFT - 10) / max(1, high - low)
    rows = [_bar(at, name, extent, "#bbb", low, high, scale) for at, (name, extent) in enumerate(extents.items())]
    rows.append(_bar(len(rows), "segment", segment, "#4c78a8", low, high, scale))
    rows += [_ticks(len(extents) + 1 + at, window, low, scale) for at, window in enumerate(windows)]
    return _svg("".join(rows), len(rows) * _ROW + 4, label="Timeline")


def _bar(row: int, name: str, span: tuple[int, int], colour: str, low: int, high: int, scale: float) -> str:
    first, last = max(span[0], low), min(span[1] + 1, high)
    width = max(0.0, (last - first) * scale)
    return (
        f'<text x="0" y="{row * _ROW + 15}">{escape(name)}</text>'
        f'<rect x="{_LEFT + (first - low) * scale:.1f}" y="{row * _ROW + 3}" width="{width:.1f}" height="{_ROW - 8}" '
        f'fill="{colour}"><title>{escape(name)}: {span[0]} to {span[1]}</title></rect>'
    )


def _ticks(row: int, window: ShownWindow, low: int, scale: float) -> str:
    places = [_LEFT + (int(number) + 0.5 - low) * scale for number in window.frames]
    path = "".join(f"M{x:.1f} {row * _ROW + 4}v{_ROW - 10}" for x in places)
    middle = row * _ROW + 11
    return (
        f'<text x="0" y="{row * _ROW + 15}">{escape(window.name)}</text>'
        f'<path d="{path}M{places[0]:.1f} {middle}H{places[-1]:.1f}" stroke="#b35900" fill="none">'
        f"<title>{escape(window.name)}: {window.frames[0]} to {window.frames[-1]}</title></path>"
    )


def curves(numbers: NDArray[np.int64], values: NDArray[np.float32]) -> str:
    """A series `(T, C)` as SVG lines over its clock numbers `(T,)`; of many channels those that vary most."""
    chosen = np.sort(np.argsort(-values.std(axis=0), kind="stable")[:_CURVES])
    low, high = float(values[:, chosen].min()), float(values[:, chosen].max())
    x = _LEFT + (WIDTH - _LEFT - 10) * np.linspace(0, 1, len(numbers))
    y = 5 + (_PLOT - 10) * (high - values) / (high - low or 1.0)
    lines = "".join(_line(x, y[:, c], _COLOURS[at], f"channel {c}") for at, c in enumerate(chosen.tolist()))
    names = " ".join(f'<span style="color:{_COLOURS[at]}">{c}</span>' for at, c in enumerate(chosen.tolist()))
    which = "" if len(chosen) == values.shape[1] else f" (of {values.shape[1]}, those that vary most)"
    drawn = _svg(lines + _scale_marks(low, high, f"{numbers[0]} to {numbers[-1]}"), _PLOT + 18, label="Curves")
    return f"{drawn}<p>channels {names}{which}</p>"


def _line(x: NDArray[np.float64], y: NDArray[np.floating], colour: str, title: str) -> str:
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x.tolist(), y.tolist(), strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}"><title>{title}</title></polyline>'


def bars(values: NDArray[np.float32]) -> str:
    """A vector `(C,)` as SVG bars; of a long one each bar is the mean of neighbours."""
    heights = [float(part.mean()) for part in np.array_split(values, min(len(values), _BARS))]
    low, high = min(0.0, *heights), max(0.0, *heights)
    unit, width = (_PLOT - 10) / (high - low or 1.0), (WIDTH - _LEFT - 10) / len(heights)
    drawn = "".join(
        f'<rect x="{_LEFT + at * width:.1f}" y="{5 + (high - max(h, 0.0)) * unit:.1f}" width="{width * 0.9:.2f}" '
        f'height="{abs(h) * unit:.1f}" fill="{_COLOURS[0]}"><title>{h:.4g}</title></rect>'
        for at, h in enumerate(heights)
    )
    averaged = len(heights) < len(values)
    more = f"<p>{len(values)} values; each bar is the mean of neighbours.</p>" if averaged else ""
    return _svg(drawn + _scale_marks(low, high, f"1 to {len(values)}"), _PLOT + 18, label="Bars") + more


def _scale_marks(low: float, high: float, span: str) -> str:
    return (
        f'<text x="0" y="14">{high:.4g}</text><text x="0" y="{_PLOT - 2}">{low:.4g}</text>'
        f'<text x="{_LEFT}" y="{_PLOT + 14}">{escape(span)}</text>'
    )


def window_table(windows: Sequence[ShownWindow], modalities: Sequence[str]) -> str:
    """For each window, the frames it asks for and what each modality gives."""
    heads = "".join(f"<th>{escape(head)}</th>" for head in ("window", "frames", *modalities))
    rows = []
    for window in windows:
        cells = [", ".join(map(str, window.frames.tolist())), *(window.numbers[m] for m in modalities)]
        shown = "".join(f'<td class="numbers">{escape(cell)}</td>' for cell in cells)
        rows.append(f"<tr><th>{escape(window.name)}</th>{shown}</tr>")
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _svg(content: str, height: int, *, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">{content}</svg>'
    )
