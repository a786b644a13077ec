"""An explorer as one HTML page: no network, no server, nothing to install; it opens from a disk or an attachment."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from string import Template

import numpy as np
from markupsafe import escape

from mmsada_lab.explorer.scene import ExplorerScene, Json
from mmsada_lab.files import write_whole

VIEW = Path(__file__).parent / "view"

STILL_BYTES = 3_000_000
"""Of a page that is kept inside a notebook."""

# Nothing is fetched, whatever a class or a uid is called: no source but what stands in the page itself.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>html, body { margin: 0; height: 100%; } $style</style></head>
<body>
$back
<main id="explorer"></main>
<script type="application/json" id="scene">$scene</script>
<script type="application/json" id="clips">$clips</script>
<script type="module">
$view
$page
</script>
</body>
</html>
""")


_BACK = """<nav id="back" aria-label="Report" style="font: 14px sans-serif; padding: 6px 12px"><a href="{}"
style="color: light-dark(#005a8e, #7cc4f0)">Back to the report</a></nav>"""


@cache
def view_source() -> str:
    """The view's files as one ES module, without its last line's export."""
    names = (VIEW / "order.txt").read_text().split()
    return "\n".join((VIEW / name).read_text() for name in names)


@cache
def view_style() -> str:
    """Its style sheet."""
    return (VIEW / "explorer.css").read_text()


def render_page(scene: ExplorerScene, *, back: str = "") -> str:
    """The whole page as text; `back` is a page beside it that it leads back to, unless it is shown within that."""
    values = {
        "back": _BACK.format(escape(back)) if back else "",
        "policy": POLICY,
        "title": str(escape(str(scene.content["title"]))),
        "style": view_style(),
        "scene": script_json(scene.content),
        "clips": script_json(_clips(scene)),
        "view": view_source(),
        "page": (VIEW / "page.js").read_text(),
    }
    return _PAGE.substitute(values)


def script_json(value: object) -> str:
    r"""JSON that can stand in a script element: it holds no ``<``, so that nothing in it can end the element.

    Example:
        >>> script_json({"class": "</script>"})
        '{"class":"\\u003c/script>"}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _clips(scene: ExplorerScene) -> Json:
    """Strips by modality, base64 each, empty where there is none."""
    if scene.strips is None:
        return {}
    return {m: [base64.b64encode(strip).decode() for strip in strips] for m, strips in scene.strips.coded.items()}


def still_frame(scene: ExplorerScene, *, largest: int = STILL_BYTES) -> str:
    """The page inside an HTML element, for a notebook that is read without a kernel.

    Of clips only so many are in it as it may be large; which ones is drawn anew by no reader: the seed is fixed, and a
    note in the page says how many.

    Args:
        scene: what is shown.
        largest: bytes of the whole element.
    """
    room = largest - len(render_page(ExplorerScene(scene.content, None)).encode())
    page = render_page(_with_fewer_clips(scene, int(room * 3 / 4)))  # base64 takes four bytes for three
    # In single quotes, since the JSON is full of double ones, each of which would become six characters.
    quoted = page.replace("&", "&amp;").replace("'", "&#39;")
    name = escape(f"Explorer of {scene.content['title']}")
    size = "width: 100%; height: 680px; border: 0"
    return f'<iframe title="{name}" sandbox="allow-scripts" style="{size}" srcdoc=\'{quoted}\'></iframe>'


def _with_fewer_clips(scene: ExplorerScene, room: int) -> ExplorerScene:
    """Clips of the segments that come first in a random order, as many as there is room for; the others are empty."""
    if scene.strips is None or scene.strips.bytes <= room:
        return scene
    coded = scene.strips.coded
    count = len(next(iter(coded.values())))
    order = np.random.default_rng(0).permutation(count)
    sizes = np.array([[len(strips[row]) for strips in coded.values()] for row in order]).sum(axis=1)
    kept = set(order[np.cumsum(sizes) <= room].tolist())
    fewer = {m: [strip if k in kept else b"" for k, strip in enumerate(strips)] for m, strips in coded.items()}
    note = f"this stored copy has the clips of {len(kept)} of {count} segments; run the cell for all"
    content = {**scene.content, "notes": [*scene.content["notes"], note]}
    return ExplorerScene(content, replace(scene.strips, coded=fewer))


def write_page(scene: ExplorerScene, path: Path, *, back: str = "") -> Path:
    """Write the page, whole or not at all, see `render_page`; returns its path."""
    write_whole(Path(path), render_page(scene, back=back).encode())
    return Path(path)
