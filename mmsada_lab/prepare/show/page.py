"""The template of a segment's page, and the plots and the timeline on it. What comes from the data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PLOT_WIDTH, PLOT_HEIGHT = 720, 140
MOST_CURVES, MOST_BARS = 12, 200

_COLOURS = "#1f77b4 #d62728 #2ca02c #9467bd #ff7f0e #17becf #8c564b #e377c2 #7f7f7f #bcbd22 #004d80 #b35900".split()

STYLE = """
table { border-collapse: collapse; margin: .5em 0; }
th, td { text-align: left; vertical-align: top; padding: .15em .9em .15em 0; border-bottom: 1px solid var(--line); }
th { white-space: nowrap; } td.numbers { font: 12px/1.5 ui-monospace, monospace; }
figure { display: inline-block; margin: 0 .8em .5em 0; } figure img { display: block; image-rendering: pixelated; }
svg text, .timeline { font-size: 12px; fill: var(--faint); color: var(--faint); }
.channels span { white-space: nowrap; margin-right: .6em; } .channels i { font-style: normal; }
#controls { display: flex; gap: 1em; align-items: center; } #at { flex: 1; max-width: 500px; }
.timeline { display: grid; grid-template-columns: 130px 720px; } .timeline svg { width: 100%; height: 22px; }
.timeline path { stroke: var(--warn); fill: none; vector-effect: non-scaling-stroke; }
"""

PAGE = """
<section><h2>Facts</h2>
<table>
{% for name, value in facts %}
<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}
</table></section>
{% if tracks %}
<section><h2>Frames{% if step > 1 %}, every {{ step }}{% endif %}</h2>
{% for modality, images in tracks.items() %}
<figure><img data-track="{{ modality }}" src="{{ images[0] }}" alt="{{ modality }}">
<figcaption>{{ modality }}</figcaption></figure>
{% endfor %}
<div id="controls"><button id="play">Pause</button>
<input id="at" type="range" min="0" max="{{ numbers | length - 1 }}" value="0" aria-label="frame">
<span>frame <span id="number">{{ numbers[0] }}</span></span></div>
<script>
const tracks = {{ tracks | tojson }};
const numbers = {{ numbers | tojson }};
const slider = document.getElementById("at"), button = document.getElementById("play");
let timer = null;
function show(at) {
  slider.value = at;
  document.getElementById("number").textContent = numbers[at];
  for (const image of document.querySelectorAll("img[data-track]")) image.src = tracks[image.dataset.track][at];
}
function play() { timer = setInterval(() => show((+slider.value + 1) % numbers.length), {{ milliseconds }}); }
function pause() { clearInterval(timer); timer = null; }
button.onclick = () => { timer ? pause() : play(); button.textContent = timer ? "Pause" : "Play"; };
slider.oninput = () => { if (timer) button.click(); show(+slider.value); };
play();
</script></section>
{% endif %}
{% for plot in plots %}
<section><h2>{{ plot.modality }}</h2>
<svg viewBox="0 0 860 168" width="860" height="168" role="img" aria-label="{{ plot.modality }}">
<text x="0" y="14">{{ "%.4g" | format(plot.high) }}</text><text x="0" y="148">{{ "%.4g" | format(plot.low) }}</text>
<text x="130" y="164">{{ plot.span }}</text>
<g transform="translate(130 5)">
{% for channel, colour, points in plot.curves %}
<polyline points="{{ points }}" fill="none" stroke="{{ colour }}"><title>channel {{ channel }}</title></polyline>
{% endfor %}
{% for mean, x, y, height in plot.bars %}
<rect x="{{ x }}" y="{{ y }}" width="{{ plot.bar_width }}" height="{{ height }}" fill="#1f77b4">
<title>{{ "%.4g" | format(mean) }}</title></rect>
{% endfor %}
</g></svg>
<p class="channels">{% if plot.curves %}channels{% endif %}
{% for channel, colour, _ in plot.curves %}
 <span><i style="color: {{ colour }}" aria-hidden="true">■</i> {{ channel }}</span>
{% endfor %}
 {{ plot.note }}</p></section>
{% endfor %}
<section><h2>Timeline</h2>
<div class="timeline">
{% for name, first, last, colour, frames in timeline.rows %}
<span>{{ name }}</span>
<svg viewBox="{{ timeline.low }} 0 {{ timeline.width }} 22" preserveAspectRatio="none" role="img">
<title>{{ name }}: {{ first }} to {{ last }}</title>
{% if frames %}
<path d="M{{ first + 0.5 }} 10H{{ last + 0.5 }}{% for frame in frames %}M{{ frame + 0.5 }} 4v12{% endfor %}"/>
{% else %}
<rect x="{{ first }}" y="3" width="{{ last + 1 - first }}" height="14" fill="{{ colour }}"/>
{% endif %}
</svg>
{% endfor %}
</div></section>
<section><h2>Windows</h2>
<table><tr><th>window</th><th>frames</th>
{% for modality in modalities %}<th>{{ modality }}</th>{% endfor %}
</tr>
{% for window in windows %}
<tr><th>{{ window.name }}</th><td class="numbers">{{ window.frames | join(", ") }}</td>
{% for modality in modalities %}<td class="numbers">{{ window.read[modality] }}</td>{% endfor %}
</tr>
{% endfor %}
</table></section>
"""


class ShownWindow(NamedTuple):
    """A window: its name, its clock numbers, and per modality which numbers are read, as text."""

    name: str
    frames: list[int]
    read: Mapping[str, str]


def timeline(
    segment: tuple[int, int], extents: Mapping[str, tuple[int, int]], windows: Sequence[ShownWindow]
) -> dict[str, object]:
    """Name, first, last, colour and ticks of each row, and the range that is drawn: the segment and its windows."""
    rows = [(name, *extent, "#bbb", list[int]()) for name, extent in extents.items()]
    rows.append(("segment", *segment, "#4c78a8", []))
    rows += [(window.name, window.frames[0], window.frames[-1], "", window.frames) for window in windows]
    low = min(segment[0], *(window.frames[0] for window in windows))
    high = max(segment[1], *(window.frames[-1] for window in windows))
    margin = max(2, (high - low) // 20)
    return {"low": low - margin, "width": high - low + 2 * margin, "rows": rows}


def plot_series(modality: str, numbers: NDArray[np.int64], values: NDArray[np.float32]) -> dict[str, object]:
    """A series `(T, C)` as curves over its clock numbers `(T,)`; of many channels those that vary most."""
    channels = np.sort(np.argsort(-values.std(axis=0), kind="stable")[:MOST_CURVES])
    shown = values[:, channels]
    low, high = float(shown.min()), float(shown.max())
    x = np.linspace(0, PLOT_WIDTH, len(numbers))
    y = PLOT_HEIGHT * (high - shown) / (high - low or 1.0)
    points = [" ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, curve, strict=True)) for curve in y.T]
    curves = list(zip(channels.tolist(), _COLOURS, points, strict=False))
    note = "" if len(channels) == values.shape[1] else f"(of {values.shape[1]}, those that vary most)"
    axes = {"modality": modality, "span": f"{numbers[0]} to {numbers[-1]}", "low": low, "high": high}
    return axes | {"curves": curves, "bars": [], "note": note}


def plot_vector(modality: str, values: NDArray[np.float32]) -> dict[str, object]:
    """A vector `(C,)` as bars; of a long one each bar is the mean of neighbours."""
    means = np.array([group.mean() for group in np.array_split(values, min(len(values), MOST_BARS))])
    low, high = min(0.0, float(means.min())), max(0.0, float(means.max()))
    unit, width = PLOT_HEIGHT / (high - low or 1.0), PLOT_WIDTH / len(means)
    lefts, tops, heights = np.arange(len(means)) * width, (high - means.clip(0)) * unit, abs(means) * unit
    bars = zip(means.tolist(), *(pixels.round(1).tolist() for pixels in (lefts, tops, heights)), strict=True)
    note = f"{len(values)} values; each bar is the mean of neighbours." if len(means) < len(values) else ""
    axes = {"modality": modality, "span": f"1 to {len(values)}", "low": low, "high": high}
    return axes | {"curves": [], "bars": list(bars), "bar_width": round(0.9 * width, 2), "note": note}
