"""The pictures of a report: existing figures of a group of runs, each with a caption and its numbers in words."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis.accuracies import draw_method_bars, method_bars
from mmsada_lab.analysis.confusion import confusion_counts, draw_confusion
from mmsada_lab.analysis.curves import accuracy_curves, draw_accuracy_curves
from mmsada_lab.analysis.game import draw_game, game_curves, opponent
from mmsada_lab.analysis.report import ReportLine, report_table
from mmsada_lab.analysis.sweep import common_runs, draw_sweep, draw_sweep_game, sweep_game, sweep_means
from mmsada_lab.analysis.tables import MEAN, stack_runs, write_count, write_replicates
from mmsada_lab.facts import METHODS
from mmsada_lab.files import locate
from mmsada_lab.paper import DomainPair
from mmsada_lab.runs import load_history, load_predictions, read_manifest
from mmsada_lab.sweeps.keep import without_folders
from mmsada_lab.sweeps.report.lines import RunGroup

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What files of a run that are missing or damaged raise; a `UserError` is a `ValueError`."""


class Picture(NamedTuple):
    """A figure, what stands below it, its numbers in words for those who do not see it, whether it takes a row."""

    figure: go.Figure
    caption: str
    alt: str
    wide: bool = False


class Pictures(NamedTuple):
    """What could be drawn, and what is missing among them, a sentence each."""

    pictures: list[Picture]
    missing: list[str]


Maker = Callable[[], Picture | None]


def collect(*makers: tuple[str, Maker]) -> Pictures:
    """Make pictures; where one cannot be made, its name and the reason are told instead.

    Example:
        >>> collect(("the curve", lambda: Picture(go.Figure(), "", "")), ("the game", lambda: open("nowhere"))).missing
        ["the game: [Errno 2] No such file or directory: 'nowhere'"]
    """
    shown = Pictures([], [])
    for name, make in makers:
        try:
            picture = make()
        except UNREADABLE as error:
            shown.missing.append(f"{name}: {without_folders(str(error))}")
        else:
            shown.pictures.extend([picture] if picture else [])
    return shown


def group_pictures(group: RunGroup) -> Pictures:
    """Every swept option of MM-SADA: accuracy over its values, and how often F's opponents are right."""
    makers: list[tuple[str, Maker]] = []
    for name, values in _swept(group.runs).items():
        runs = common_runs(group.runs, values)
        makers.append((f"sweep of {name}", partial(_sweep, group, runs, name=name, values=values)))
        makers.append((f"game over {name}", partial(_sweep_game, runs, name=name, values=values)))
    return collect(*makers)


def _swept(runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Swept options: name -> digest -> value, of the pairs that have the values that most pairs have."""
    from mmsada_lab.explorer.views import sweep_values

    of_pairs: dict[str, list[dict[str, float]]] = {}
    for _, of_pair in runs.groupby(["source", "target"], sort=False):
        for name, values in sweep_values(of_pair).items():
            of_pairs.setdefault(name, []).append(values)
    swept = {}
    for name, several in of_pairs.items():
        sets = [frozenset(values.values()) for values in several]
        usual = max(sets, key=lambda values: (sets.count(values), len(values)))
        alike = [values for values in several if set(values.values()) == usual]
        swept[name] = {digest: value for values in alike for digest, value in values.items()}
    return swept


def _sweep(group: RunGroup, runs: pd.DataFrame, *, name: str, values: Mapping[str, float]) -> Picture:
    by_title = {f"{name} = {value:g}": value for value in sorted(set(values.values()))}
    digests = {title: frozenset(d for d, own in values.items() if own == value) for title, value in by_title.items()}
    plain = group.usual.get("source_only", "")
    lines = [ReportLine(title, of_line) for title, of_line in {plain: group.digests(plain), **digests}.items()]
    table = report_table(runs, lines, baseline=plain)
    means, others = sweep_means(table, by_title), table[(table["pair"] == MEAN) & (table["row"] == plain)]["top1"]
    baseline = float(others.iloc[0]) if others.notna().all() else None
    pairs = ", ".join(pair for pair in table["pair"].unique() if pair != MEAN)
    caption = f"Fused top-1, mean over {pairs}; {write_replicates(means['worlds'], means['seeds'])} at every value."
    spoken = (f"{value:g}: {top1:.1f} %" for value, top1 in zip(means["value"], means["top1"], strict=True))
    figure = draw_sweep(means, name=name, baseline=baseline, title=f"MM-SADA over {name}")
    return Picture(figure, caption, f"Fused top-1 at values of {name}: {', '.join(spoken)}.")


def _sweep_game(runs: pd.DataFrame, *, name: str, values: Mapping[str, float]) -> Picture | None:
    game = sweep_game(runs, values)
    if game.empty:
        return None
    figure = draw_sweep_game(game, name=name, title=f"F's opponents over {name}")
    spoken = (f"{opponent(row['name'])} {row['right']:.1f} % at {row['value']:g}" for row in game.to_dict("records"))
    caption = "How often each opponent is right on training clips in the last third of the second stage."
    return Picture(figure, caption, f"Right at the end: {', '.join(spoken)}.")


def pair_runs(group: RunGroup, pair: DomainPair) -> pd.DataFrame:
    """Rows of a pair's runs, supervised target on its target among them, of each method's usual setting."""
    runs = group.runs[(group.runs["target"] == pair.target) & group.runs["source"].isin(pair)]
    return runs[runs["digest"].map(group.titles).isin(list(group.usual.values()))]


def overview(runs: pd.DataFrame, pair: DomainPair) -> Pictures:
    """All methods of `pair_runs` side by side."""

    def bars() -> Picture:
        table = method_bars(runs)
        spoken = (f"{row['method']} {row['stream']} {row['mean']:.1f} %" for row in table.to_dict("records"))
        caption = f"Top-1 on the test segments of {pair.target}, {write_replicates(table['worlds'], table['seeds'])}."
        figure = draw_method_bars(table, title=f"{pair}: every method")
        return Picture(figure, caption, f"Top-1: {', '.join(spoken)}.", wide=True)

    return collect(("methods side by side", bars))


def method_pictures(runs: pd.DataFrame, method: str) -> Pictures:
    """Accuracy over training, the game and the confusion of a method, of rows of `pair_runs`."""
    runs = runs[runs["method"] == method].drop_duplicates("path")
    title = METHODS[method].title
    histories: list[pd.DataFrame] = []

    def stacked() -> pd.DataFrame:
        histories[:] = histories or [stack_runs({path: load_history(Path(path)) for path in runs["path"]})]
        return histories[0]

    return collect(
        ("accuracy over training", lambda: _accuracy(stacked(), runs, title)),
        ("confusion", lambda: _confusion(runs, title)),
        ("the game", lambda: _game(stacked(), title)),
    )


def _accuracy(history: pd.DataFrame, runs: pd.DataFrame, title: str) -> Picture:
    averaged = int(runs["evaluations"].iloc[0])
    curves = accuracy_curves(history, averaged=averaged)
    last = curves[curves["total_step"] == curves["total_step"].max()]
    spoken = (f"{name} {mean:.1f} %" for name, mean in zip(last["name"], last["mean"], strict=True))
    several = f"{write_count([len(runs)], 'run')} in {write_count([runs['world'].nunique()], 'world')}"
    caption = f"{several}; shaded: the last {averaged} evaluations, whose mean is the reported accuracy."
    alt = f"Top-1 over training, at the last step: {', '.join(spoken)}."
    return Picture(draw_accuracy_curves(curves, title=f"{title}: accuracy on the target"), caption, alt)


def _game(history: pd.DataFrame, title: str) -> Picture | None:
    curves = game_curves(history)
    played = curves[curves["quantity"] == "accuracy"]
    if played.empty:
        return None  # source-only has no opponents
    last = played.groupby("name", sort=False).last()["smooth"]
    spoken = (f"{opponent(str(name))} {right:.1f} %" for name, right in last.items())
    caption = "The discriminators' and the self-supervised head's accuracy on training clips: 50 % is guessing."
    return Picture(
        draw_game(curves, title=f"{title}: the game"), caption, f"Right at the last step: {', '.join(spoken)}."
    )


def _confusion(runs: pd.DataFrame, title: str) -> Picture:
    kept = [path for path in map(Path, runs["path"]) if locate(path / "predictions.npz").is_file()]
    classes = {path: read_manifest(path / "manifest.json")["classes"] for path in kept}
    alike = [path for path in kept if classes[path] == classes[kept[0]]]
    if not alike:
        raise ValueError("no run kept its predictions.npz")
    counts = confusion_counts(stack_runs({str(p): load_predictions(p) for p in alike}), classes=classes[alike[0]])
    figure = draw_confusion(counts, title=f"{title}: confusion")
    own = counts[counts["true"] == counts["predicted"]].dropna(subset="percent")
    spoken = (f"{name} {percent:.0f} %" for name, percent in zip(own["true"], own["percent"], strict=True))
    several = f"{write_count([len(alike)], 'run')} of {len(runs)} with predictions"
    caption = f"Fused stream, {several}; the mean over the averaged evaluations."
    alt = f"Share of each class that is predicted right: {', '.join(spoken)}."
    return Picture(figure, caption, alt, wide=len(own) > 10)
