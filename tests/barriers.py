"""What keeps somebody out of a page: asked of axe-core, in light and in the dark."""

from __future__ import annotations

from typing import Any

import pytest


def barriers(page: Any) -> list[str]:
    """What axe-core calls serious or critical, with everything unfolded; explorers have tests of their own."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    lines = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for rule in axe.run(page, options={"iframes": False}).response["violations"]:
            if rule["impact"] in ("serious", "critical"):
                lines.append(f"{scheme}: {rule['id']}: {rule['nodes'][0]['html'][:200]}")
    return lines
