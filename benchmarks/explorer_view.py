"""What an explorer costs: its page in a browser beside Plotly's, pages full of clips, `mmsada explore`, steady maps.

    python benchmarks/explorer_view.py                  # trains four runs of `quick` first, a few minutes
    python benchmarks/explorer_view.py --runs FOLDER    # keeps them there, and takes those that are there already

In a headless Chromium of 1280 x 720 without a network or a GPU (see `browser.py`):
- *maps*: three maps of 2,000 and of 20,000 points, beside Plotly's WebGL and SVG scatters of the same: opened until
  all is drawn; frames of a drag, from one to the next; from the mouse's move until the answer stands in the page.
- *pages*: with RGB and flow clips of 2,000 and of 20,000 segments, of four methods and twelve checkpoints.
- *command*: `mmsada explore` on 60 runs, and again, when maps and clips are in the cache.
- *travel*: aligned maps of real runs beside independent ones, laid over each other.

Written: explorer_view.json.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from browser import chromium, hover_times, opened, pan_times, redraw_times
from drawn_scenes import METHODS, MODALITIES, OURS, PLOTLY, STEPS, Drawing, many_clips, write_ours, write_plotly
from explorer_runs import SMALL, commanded, multiplied, trained, travel_rows
from measure import parser, progress, rounded, run, save, table

from mmsada_lab.datasets.kitchens.loader import load_kitchens
from mmsada_lab.datasets.open import load_data
from mmsada_lab.explorer.strips import make_strips

HOVERS, REDRAWS, GRAIN = 15, 25, 9.5
BUDGET = 20_000_000  # bytes of clips in a page, the default of `mmsada explore`
LIMITED = 20_000  # points, for which limits were set
SAID = re.compile(r": (\d+) segments, views (.*);")
Table = dict[str, Any]


def maps_table(browser: Any, count: int, rounds: int, folder: Path) -> Table:
    """Opening, panning and hovering of so many points in each of three maps."""
    drawing = Drawing(count)
    pages = {"explorer": (write_ours(folder / "explorer.html", drawing.content()), OURS)}
    kinds = {"Plotly, WebGL": go.Scattergl} | ({"Plotly, SVG": go.Scatter} if count <= 2000 else {})
    for name, kind in kinds.items():
        pages[name] = (write_plotly(folder / f"{kind.__name__}.html", drawing, kind=kind), PLOTLY)
    measured = ("open", "pan", "hover", "work")
    times: dict[str, dict[str, list[float]]] = {name: {what: [] for what in measured} for name in pages}
    for number in progress(range(rounds), f"{count} points"):
        names = list(pages)[number % len(pages) :] + list(pages)[: number % len(pages)]
        for name in names:
            path, handles = pages[name]
            with opened(browser, path) as (page, seconds):
                times[name]["open"].append(seconds)
                rows = [(997 * (k + number * HOVERS)) % count for k in range(HOVERS)]
                times[name]["hover"] += hover_times(page, handles, rows)
                times[name]["work"] += redraw_times(page, handles, REDRAWS)
                times[name]["pan"] += pan_times(page, handles)
    cells: list[list[object]] = [
        [name, rounded(pages[name][0].stat().st_size / 1e6), *figures(of)] for name, of in times.items()
    ]
    if count == LIMITED:
        cells.append(["wanted, at most", None, 1.5, 33, None, 20, None, None])
    headings = ["", "page, MB", "open, s", "pan, ms a frame", "p95", "hover, ms", "p95", "all maps, ms of work"]
    return table(f"Three maps of {count:,} points", headings, cells)


def figures(times: dict[str, list[float]]) -> list[float | None]:
    """Median of opening; median and 95th percentile of panning and hovering; median of the work, where it is known."""
    spread = [rounded(float(np.percentile(times[what], q))) for what in ("pan", "hover") for q in (50, 95)]
    work = rounded(float(np.median(times["work"]))) if times["work"] else None
    return [rounded(float(np.median(times["open"]))), *spread, work]


def pages_table(browser: Any, counts: list[int], rounds: int, folder: Path) -> Table:
    """Size and opening of pages with clips, and what they show."""
    rows: list[list[object]] = []
    data = load_data("kitchens")
    for count in progress(counts, "pages with clips"):
        grained, segments = many_clips(data, count, grain=GRAIN)
        most, seconds = (25, 3.0) if count <= 2000 else (60, None)
        began = time.perf_counter()
        strips = make_strips(grained, segments, MODALITIES, budget=BUDGET, cache_dir=folder / "cache")
        making = time.perf_counter() - began
        path = write_ours(folder / "clips.html", Drawing(count).content(), strips)
        size, times = path.stat().st_size / 1e6, []
        for _ in range(rounds):
            with opened(browser, path) as (_page, taken):
                times.append(taken)
        shown = f"{count:,} clips, RGB and flow: {strips.size}"
        rows.append([shown, rounded(size), most, rounded(float(np.median(times))), seconds, rounded(making)])
    title = f"Pages with clips, {len(METHODS)} methods and {STEPS} checkpoints"
    return table(title, ["", "page, MB", "at most", "open, s", "at most", "making the clips, s"], rows)


def command_table(trained_runs: Path, count: int, data: str, folder: Path) -> Table:
    """`mmsada explore` on so many runs, twice."""
    runs = multiplied(trained_runs, folder / "runs", count)
    environment = os.environ | {"MMSADA_CACHE": str(folder / "explored")}
    load_kitchens(
        data.removeprefix("kitchens").removeprefix(":"), cache_dir=folder / "explored"
    )  # drawn before anything is measured
    rows: list[list[object]] = []
    for name, most in (("nothing cached", 60), ("maps and clips cached", 10)):
        began = time.perf_counter()
        words = ("explore", runs, "--data", data, "--out", folder / "explored.html")
        said = SAID.search(commanded(*words, environment=environment))
        taken = time.perf_counter() - began
        assert said is not None
        views = sum(int(number) for number in re.findall(r"(\d+) by", said[2]))
        rows.append([name, rounded(taken), most, views, 3 * views, int(said[1])])
    return table(f"mmsada explore on {count} runs", ["", "s", "at most", "views", "maps", "segments"], rows)


def travel_table(runs: Path, seeds: int) -> Table:
    """Aligned and independent maps of real runs."""
    headings = ["series, stream (views): maps", "travel", "÷ independent", "overlap, %", "points beside independent"]
    headings.append("neighbours that features keep, %")
    title = f"Travel between neighbouring maps, kitchens, D1 to D3; random starts of {seeds} seeds"
    return table(title, headings, list(travel_rows(runs, seeds=seeds)))


def read_options() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "", __file__)
    made.add_argument("--runs", type=Path, help="folder of trained runs, kept; a temporary one by default")
    return made.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    quick = options.quick
    with tempfile.TemporaryDirectory(prefix="mmsada-explorer-") as name, chromium() as browser:
        folder = Path(name)
        version = browser.version
        runs = trained(options.runs or folder / "trained", quick=quick)
        tables = [
            maps_table(browser, count, 1 if quick else 3, folder) for count in ((200,) if quick else (2000, 20_000))
        ]
        tables.append(pages_table(browser, [60] if quick else [2000, 20_000], 1 if quick else 3, folder))
        tables.append(command_table(runs, 6 if quick else 60, SMALL if quick else "kitchens", folder))
        tables.append(travel_table(runs, 1 if quick else 3))
    save(options.out, {"chromium": version, "tables": tables}, quick=quick)


if __name__ == "__main__":
    run(main)
