"""What keeps somebody out of a page: asked of axe-core, in light and in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def barriers(page: Any, *, schemes: Sequence[str] = ("light", "dark")) -> list[str]:
    """What axe-core calls serious or critical, with everything unfolded; explorers have tests of their own."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    # Tens of thousands of elements in which there is nothing to reach: a figure is one image with a description.
    inside = {
        "exclude": [
            [selector] for selector in (".js-plotly-plot .svg-container", "math") if page.query_selector(selector)
        ]
    }
    lines = []
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for rule in axe.run(page, context=inside if inside["exclude"] else None, options={"iframes": False}).response[
            "violations"
        ]:
            if rule["impact"] in ("serious", "critical"):
                lines.append(f"{scheme}: {rule['id']}: {rule['nodes'][0]['html'][:200]}")
    return lines
