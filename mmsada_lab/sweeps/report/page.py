"""The index of a report: one page that fetches nothing, with Plotly.js in it once. What comes from runs is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mmsada_lab.analysis.pages import render_page
from mmsada_lab.sweeps.report.pictures import Picture

# Figures are drawn when they come into view: a report may have hundreds.
_SCRIPT = """
const draw = (plot) => {
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const { data, layout } = JSON.parse(plot.nextElementSibling.textContent);
  Plotly.newPlot(plot, data, layout, { responsive: true, displayModeBar: false });
};
const near = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "400px" },
);
document.querySelectorAll(".plot").forEach((plot) => near.observe(plot));
"""

_STYLE = """@media (prefers-color-scheme: dark) {
  .plot { filter: invert(.92) hue-rotate(180deg) brightness(1.25); } } /* white becomes the ground; hues stay */
html { scroll-padding-top: 3.5em; }
body { max-width: 1200px; margin: 0 auto; padding: 0 1.5em 4em; }
h1 { font-size: 1.7em; margin: 1em 0 .1em; } h2 { font-size: 1.35em; margin: 1.6em 0 .4em; }
h3 { font-size: 1.05em; margin: 1.5em 0 .4em; } .faint, figcaption { color: var(--faint); }
p, ul { margin: .5em 0; } li { margin: .2em 0; overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 1; display: flex; gap: 1.4em; overflow-x: auto; white-space: nowrap;
  background: var(--ground); border-bottom: 1px solid var(--line); padding: .6em 0; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .6em; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--faint); font-weight: normal; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 12em; overflow-wrap: anywhere;
  position: sticky; left: 0; background: var(--ground); }
tbody tr:hover td { background: var(--wash); } .words :is(th, td) { text-align: left; }
.words td { white-space: normal; }
.scroll { overflow: auto; margin: .6em 0; } .tall { max-height: 80vh; }
.tall thead th { position: sticky; top: 0; z-index: 1; background: var(--ground); }
.tall thead th:first-child { z-index: 2; }
.tall :is(td, th) { white-space: nowrap; }
.warnings { border-left: 4px solid var(--warn); background: var(--wash); padding: .3em 1em; margin: 1em 0; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .6em 0; padding: 0 1em; }
summary { cursor: pointer; padding: .55em 0; } details[open] > summary { border-bottom: 1px solid var(--line); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: .5em 1.5em; }
figure { margin: .5em 0; min-width: 0; } figcaption { font-size: 13px; } .wide { grid-column: 1 / -1; }
iframe { display: block; width: min(100vw - 2em, 1500px); height: max(680px, 92vh); border: 1px solid var(--line);
  border-radius: 6px; position: relative; left: 50%; transform: translateX(-50%); margin: .8em 0; }
@media (max-width: 640px) { .pictures { grid-template-columns: 1fr; } body { padding: 0 .8em 3em; } }
@media print { nav, iframe { display: none; } .scroll { max-height: none; } }"""

_CONTENT = """
{% macro tabular(table, label, look="") %}
<div class="scroll {{ look }}" role="region" tabindex="0" aria-label="{{ label }}"><table>
<thead><tr>{% for name in table.columns %}{% if name %}<th>{{ name }}</th>{% else %}<td></td>{% endif %}{% endfor %}
</tr></thead>
<tbody>
{% for row in table.to_numpy() %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro pictured(shown) %}
<div class="pictures">
{% for picture in shown.pictures %}
<figure{% if picture.wide %} class="wide"{% endif %}>
<div class="plot" role="img" aria-label="{{ picture.alt }}" style="height: {{ height(picture) }}px"></div>
<script type="application/json">{{ figure_json(picture) }}</script>
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</div>
{% for line in shown.missing %}
<p class="faint missing">Not shown: {{ line }}</p>
{% endfor %}
{% endmacro %}
<p class="faint">{{ subtitle }}</p>
<nav aria-label="Sections"><a href="#run">What was run</a>
{% for group in groups %}
<a href="#results-{{ loop.index }}">Results{{ group.suffix }}</a>
{% for pair in group.pairs %}
<a href="#pair-{{ loop.index }}-{{ group.number }}">{{ pair.title }}</a>
{% if pair.explorer %}<a href="#explorer-{{ loop.index }}-{{ group.number }}">Explorer</a>{% endif %}
{% endfor %}
{% endfor %}
<a href="#runs">Runs</a> <a href="results.csv">results.csv</a> <a href="runs.csv">runs.csv</a></nav>
<noscript><p class="warnings">Figures and the explorer need JavaScript; tables and CSV files do not.</p></noscript>
<section id="run"><h2>What was run</h2>
{{ tabular(what, "What was run", "words") }}
{% if cautions %}
<div class="warnings" role="note"><strong>To know before reading</strong>
<ul>{% for line in cautions %}<li>{{ line }}</li>{% endfor %}</ul></div>
{% endif %}
</section>
{% for group in groups %}
<section id="results-{{ loop.index }}"><h2>{{ group.title }}</h2>
{% for stream, table in group.tables.items() %}
{% if loop.first %}
<h3>Top-1 in %, {{ stream }}</h3>
{{ tabular(table, group.title ~ ", " ~ stream) }}
<ul class="faint">{% for note in group.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% else %}
<details><summary>Top-1 in %, {{ stream }} alone</summary>
{{ tabular(table, group.title ~ ", " ~ stream) }}
</details>
{% endif %}
{% endfor %}
{% if group.sweeps.pictures or group.sweeps.missing %}
<h3>Swept weights</h3>
{{ pictured(group.sweeps) }}
{% endif %}
</section>
{% set number = loop.index %}
{% for pair in group.pairs %}
<section id="pair-{{ loop.index }}-{{ number }}"><h2>{{ pair.title }}</h2>
{{ pictured(pair.overview) }}
{% for method in pair.methods %}
<details{% if method.open %} open{% endif %}>
<summary>{{ method.title }}: accuracy over training, game, confusion</summary>
{{ pictured(method.shown) }}
</details>
{% endfor %}
</section>
<section id="explorer-{{ loop.index }}-{{ number }}"><h2>Explorer, {{ pair.title }}</h2>
{% if pair.explorer %}
<p>Domains, clips and predictions, linked: <a href="{{ pair.explorer.file }}">open it on a page of its own</a>
<span class="faint">({{ pair.explorer.size }})</span></p>
<iframe src="{{ pair.explorer.file }}" loading="lazy" title="Explorer of {{ pair.title }}"></iframe>
{% endif %}
<ul class="faint">{% for note in pair.notes %}<li>{{ note }}</li>{% endfor %}</ul>
</section>
{% endfor %}
{% endfor %}
<section id="runs"><h2>Runs</h2>
<p>A row per run, as its manifest says it; the same as <a href="runs.csv">runs.csv</a>, every stream's accuracies in
<a href="results.csv">results.csv</a>. Labels of the target were used for these numbers alone, but for supervised
target, which is trained with them.</p>
{{ tabular(runs, "Runs", "tall") }}
</section>
<script>{{ plotly }}</script>
<script>{{ script }}</script>
"""


def render_index(title: str, values: Mapping[str, Any]) -> str:
    """The page of a report; values are those that the template names."""
    plotly = get_plotlyjs()
    runs = f"script-src {_digest(plotly)} {_digest(_SCRIPT)}"  # no other script runs, whatever a name holds
    policy = f"default-src 'none'; {runs}; style-src 'unsafe-inline'; img-src data: blob:; frame-src 'self' file:"
    helpers = {"figure_json": figure_json, "height": _height}
    scripts = {"plotly": Markup(plotly), "script": Markup(_SCRIPT)}
    policy += "; base-uri 'none'; form-action 'none'"
    return render_page(title, _CONTENT, {**values, **helpers, **scripts}, style=_STYLE, policy=policy)


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def figure_json(picture: Picture) -> Markup:
    r"""A figure as JSON for a script element: Plotly writes no ``<`` there, and reads tags of names as text.

    Example:
        >>> import plotly.graph_objects as go
        >>> figure = go.Figure(layout={"title": {"text": "<a>1<br>2"}})
        >>> "&lt;a\\u003e1\\u003cbr\\u003e2" in figure_json(Picture(figure, "", ""))
        True
    """
    # Plotly reads some tags in texts, links among them; figures here use line breaks, and <extra> for hovering.
    return Markup(re.sub(r"\\u003c(?!(br|\\u002f?extra)\\u003e)", "&lt;", picture.figure.to_json()))


def _height(picture: Picture) -> int:
    layout = picture.figure.layout
    return int(layout.height or layout.template.layout.height or 400)
