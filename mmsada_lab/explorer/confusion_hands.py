"""The lesson on confusions, taken in hand: method, stream and pair by dropdown. `hands` has all of them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.analysis.confusion import confusion_counts, confusion_difference, draw_confusion_beside
from mmsada_lab.analysis.tables import require_one_setting, stack_runs
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.controls import WIDE, Controls, Shown, widgets
from mmsada_lab.facts import FUSED, METHODS
from mmsada_lab.files import locate
from mmsada_lab.runs import load_predictions, read_manifest


def try_confusion(
    runs: pd.DataFrame, *, method: str = "mmsada", baseline: str = "source_only", pair: str = ""
) -> Controls:
    """Choose a method, a stream and a pair: its confusion, and its difference to another method's.

    Only what was kept with its predictions, and what can be compared, can be chosen: pairs with a run of the baseline
    and of another method, methods with a run of every such pair. Several seeds are averaged.

    Args:
        runs: from `load_runs`, with one setting of each method.
        method: to begin with; the first there is if it has no run.
        baseline: a method, which the others are compared with.
        pair: to begin with, such as ``D1→D3``; the first there is if none is named.

    Returns:
        Dropdowns `method`, `stream` and `pair`; both matrices, and in words which class gains and which loses most.

    Raises:
        UserError: no run of the baseline with predictions, nothing to compare it with, several settings of a method.

    Example:
        >>> from mmsada_lab.lessons.paper_tables import paper_tables
        >>> hands = try_confusion(paper_tables().plain(seed=0))
        >>> hands.controls["stream"].value = "flow"
        >>> hands.shown.sentence.partition(";")[0]
        'MM-SADA, flow, D1→D3: top-1 60.0 %, +3.8 points to Source-only'
    """
    kept = _with_predictions(runs)
    by_pair = {str(name): list(of_pair["method"].unique()) for name, of_pair in kept.groupby("pair", sort=False)}
    by_pair = {name: methods for name, methods in by_pair.items() if baseline in methods and len(methods) > 1}
    if not by_pair:
        hint = "name a folder of runs of your own, which keep all of them, or another baseline"
        raise UserError(f"no pair with predictions of {baseline} and of another method; {hint}")
    methods = [m for m in METHODS if m != baseline and all(m in of_pair for of_pair in by_pair.values())]
    if not methods:
        raise UserError(f"no method has predictions of all of {', '.join(by_pair)}; give the runs of fewer pairs")
    streams = sorted(kept["stream"].unique(), key=lambda stream: stream != FUSED)

    @lru_cache(maxsize=64)
    def counts(method: str, stream: str, pair: str) -> pd.DataFrame:
        paths = [Path(p) for p in kept.loc[(kept["method"] == method) & (kept["pair"] == pair), "path"].unique()]
        classes = read_manifest(paths[0] / "manifest.json")["classes"]
        stacked = stack_runs({str(path): load_predictions(path) for path in paths})
        return confusion_counts(stacked, classes=classes, stream=stream)

    def show(method: str, stream: str, pair: str) -> Shown:
        ours, theirs = counts(method, stream, pair), counts(baseline, stream, pair)
        change, titles = confusion_difference(ours, theirs), [METHODS[m].title for m in (method, baseline)]
        figure = draw_confusion_beside(
            ours, change, title=f"{titles[0]}, and its difference to {titles[1]}: {stream}, {pair}"
        )
        gained = f"top-1 {_top1(ours):.1f} %, {_top1(ours) - _top1(theirs):+.1f} points to {titles[1]}"
        return Shown(figure, f"{titles[0]}, {stream}, {pair}: {gained}; {_extremes(change)}")

    def dropdown(description: str, options: Any, value: str) -> Any:
        return widgets.Dropdown(options=options, value=value, description=description, **WIDE)

    controls = {
        "method": dropdown(
            "method", [(METHODS[m].title, m) for m in methods], method if method in methods else methods[0]
        ),
        "stream": dropdown("stream", streams, streams[0]),
        "pair": dropdown("pair of domains", list(by_pair), pair if pair in by_pair else next(iter(by_pair))),
    }
    return Controls(controls, show)


def _with_predictions(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that kept their predictions, and a column pair."""
    paths = {path: locate(Path(path, "predictions.npz")).is_file() for path in runs["path"].unique()}
    kept = runs[runs["path"].map(paths).astype(bool)]
    if len(kept):
        require_one_setting(kept)
    return kept.assign(pair=kept["source"] + "→" + kept["target"])


def _top1(counts: pd.DataFrame) -> float:
    return float(100 * counts.loc[counts["true"] == counts["predicted"], "count"].sum() / counts["count"].sum())


def _extremes(change: pd.DataFrame) -> str:
    """Which class is found more often, and which less; of the smallest, a segment is many points."""
    own = change[(change["true"] == change["predicted"]) & change["points"].notna()].sort_values("points")
    words = [f"{row.true} ({row.points:+.0f} points of {row.segments} segments)" for row in own.itertuples()]
    loses = f", loses most: {words[0]}" if own["points"].min() < 0 else ""
    return f"gains most: {words[-1]}{loses}"
