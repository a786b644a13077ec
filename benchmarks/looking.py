"""What looking costs: a results table over many runs, the main figures, the page of a segment.

    python benchmarks/looking.py                     # runs of assets/reference_runs.zip, segments of the kitchens
    python benchmarks/looking.py --data epic:ROOT    # the page of a segment of these data as well

- *tables*: `load_runs` over 30, 300 and 3,000 run folders, against reading the bytes of their manifests, and against
  reading and parsing them; and the whole command `mmsada results`.
- *figures*: computing what a figure shows, drawing it, writing its JSON, and how large that is.
- *pages*: `mmsada data show` for one segment, against reading its frames alone, and the size of the page.

Written: looking.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from measure import compared, interleaved, parser, progress, ratio, rounded, run, save, table

from mmsada_lab.analysis import figures
from mmsada_lab.analysis.tables import results_table
from mmsada_lab.datasets.open import load_data
from mmsada_lab.files import locate, read_file
from mmsada_lab.prepare.show.segment import show_segment
from mmsada_lab.runs import find_runs, load_history, load_predictions, load_runs, read_manifest

REFERENCE = Path(__file__).parents[1] / "assets" / "reference_runs.zip"
COUNTS = (30, 300, 3000)

Table = dict[str, Any]


def opened(count: int, rounds: int) -> tuple[Table, dict[str, Any]]:
    """Opening a results table over so many runs."""
    with tempfile.TemporaryDirectory() as folder:
        paths = list(copied(Path(folder), count))
        command = [sys.executable, "-c", "from mmsada_lab.cli.main import main; main()", "results", folder]
        contenders: dict[str, Callable[[], object]] = {
            "reading the manifests": lambda: [path.read_bytes() for path in paths],
            "reading and parsing them": lambda: [json.loads(path.read_text()) for path in paths],
            "load_runs": lambda: load_runs(Path(folder)),
            "mmsada results, the whole command": lambda: subprocess.run(command, capture_output=True, check=True),
        }
        timings = interleaved(contenders, rounds=rounds, warm_up=1, title=f"{count} runs")
    floor = "reading and parsing them"
    return compared(f"Opening {count} runs", timings, floor), {
        f"load_runs_{count}": ratio(timings["load_runs"], timings[floor])
    }


def copied(folder: Path, count: int) -> Iterator[Path]:
    """The manifests of so many run folders, made of the reference runs again and again."""
    sources = [Path(path) for path in usual_runs()["path"].unique()]
    for number, source in enumerate(islice(cycle(sources), count)):
        place = folder / f"part{number}" / source.name
        place.mkdir(parents=True)
        (place / "manifest.json").write_bytes(read_file(source / "manifest.json"))
        yield place / "manifest.json"


def usual_runs() -> pd.DataFrame:
    """The reference runs of the most frequent setting of each method and pair: a results table takes one of each."""
    runs = load_runs(REFERENCE)
    usual = runs.groupby(["method", "source", "target"])["setting"].transform(
        lambda settings: settings == settings.mode()[0]
    )
    return runs[usual.astype(bool)]


def drawn(rounds: int) -> Table:
    """The main figures: milliseconds of their data, of drawing and of JSON, and its size."""
    runs = usual_runs()
    example = next(path for path in find_runs(REFERENCE) if locate(path / "predictions.npz").exists())
    classes = read_manifest(example / "manifest.json")["classes"]
    titles = dict(zip(runs["digest"], runs["method"], strict=True))
    parts: dict[str, tuple[Callable[[], pd.DataFrame], Callable[[pd.DataFrame], go.Figure]]] = {
        "accuracy of a run": (lambda: figures.accuracy_curves(load_history(example)), figures.draw_accuracy_curves),
        "accuracy per stream": (
            lambda: figures.stream_accuracies(load_predictions(example)),
            figures.draw_stream_accuracies,
        ),
        "confusion": (
            lambda: figures.confusion_counts(load_predictions(example), classes=classes),
            figures.draw_confusion,
        ),
        f"target curves of {runs['path'].nunique()} runs": (
            lambda: figures.target_curves(runs, titles),
            figures.draw_target_curves,
        ),
    }
    rows = [[name, *figure_cost(*part, rounds=rounds)] for name, part in progress(list(parts.items()), "figures")]
    rows.append(
        ["results table of all runs", *_medians({"data": lambda: results_table(runs)}, rounds), None, None, None]
    )
    return table("Figures from run folders", ["", "data, ms", "drawing, ms", "JSON, ms", "JSON, kB"], rows)


def figure_cost(
    data: Callable[[], pd.DataFrame], draw: Callable[[pd.DataFrame], go.Figure], *, rounds: int
) -> list[float]:
    """Milliseconds of data, drawing and JSON, and kilobytes of it."""
    frame = data()
    figure = draw(frame)
    steps = {"data": data, "drawing": lambda: draw(frame), "JSON": figure.to_json}
    return [*_medians(steps, rounds), rounded(len(figure.to_json()) / 1000)]


def _medians(contenders: dict[str, Callable[[], object]], rounds: int) -> list[float]:
    timings = interleaved(contenders, rounds=rounds, warm_up=1)
    return [timing.to_dict()["median_ms"] for timing in timings.values()]


def shown(specification: str, rounds: int) -> tuple[Table, dict[str, Any]]:
    """The page of the longest training segment of the data's first domain."""
    data = load_data(specification)
    domain = next(iter(data.domains.values()))
    segment = max(domain.train, key=lambda each: each.stop - each.start)
    frames = np.arange(segment.start, segment.stop + 1)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "segment.html"
        contenders: dict[str, Callable[[], object]] = {
            "reading the frames": lambda: [reader.read(segment, frames) for reader in domain.readers.values()],
            "opening the data": lambda: load_data(specification),
            "mmsada data show": lambda: show_segment(specification, segment.uid, page),
        }
        timings = interleaved(contenders, rounds=rounds, warm_up=1, title="page of a segment")
        size = page.stat().st_size
    sizes = {"mmsada data show": rounded(size / 1e6)}
    title = f"Page of a segment of {len(frames)} frames, {', '.join(domain.readers)}, data {data.name}"
    found = compared(title, timings, "reading the frames", more=[("page, MB", sizes)])
    return found, {f"page_megabytes_{data.name}": sizes["mmsada data show"]}


def read_options() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "", __file__)
    made.add_argument("--data", action="append", default=[], help="also show a segment of these data; repeatable")
    options = made.parse_args()
    options.rounds = 1 if options.quick else 9
    return options


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    counts, kitchens = (COUNTS[:1], "kitchens:scale=0.001") if options.quick else (COUNTS, "kitchens")
    parts = [opened(count, options.rounds) for count in counts]
    parts.append((drawn(options.rounds), {}))
    parts += [shown(specification, options.rounds) for specification in (kitchens, *options.data)]
    tables = [found for found, _ in parts]
    ratios = {name: value for _, found in parts for name, value in found.items()}
    save(options.out, {"ratios": ratios, "tables": tables}, quick=options.quick)


if __name__ == "__main__":
    run(main)
