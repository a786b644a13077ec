"""From a recipe to its report: train what is missing, then write CSV, Markdown and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.files import write_whole
from mmsada_lab.runs import load_runs, read_arrays
from mmsada_lab.sweeps.batch import run_grid
from mmsada_lab.sweeps.beside import link_reports
from mmsada_lab.sweeps.grid import split_pair, unique_configs
from mmsada_lab.sweeps.jobs import Failure
from mmsada_lab.sweeps.recipes import Recipe, RecipeRow, row_configs

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mmsada_lab.analysis.report import ReportLine
    from mmsada_lab.clips.segments import MultiDomainData


def reproduce(
    recipe: Recipe,
    *,
    data: str,
    preset: str,
    seeds: Sequence[int],
    runs_dir: Path,
    out: Path,
    jobs: int = 1,
    device: str = "auto",
    scheduler: str | None = None,
    notebook: str | Path | None = None,
    worlds: Sequence[int] | None = None,
    pairs: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    train: bool = True,
) -> tuple[list[Path], list[Failure]]:
    """Make a table or figure of the paper on any data set; runs that are finished are not made again.

    Args:
        recipe: from `find_recipe`.
        data: data specification.
        preset: key of `PRESETS`.
        seeds: seeds.
        runs_dir: where the runs lie, those of other recipes too: they share what they can.
        out: folder of the reports.
        jobs: processes at once.
        device: ``auto`` or ``cpu``.
        scheduler: address of a Dask scheduler, ``tcp://host:port``; worker processes of this machine if None.
        notebook: to execute for each run and keep with it, see `run_grid`; None trains without one.
        worlds: data seeds of the embedded kitchens, each of them a world; the one that `data` names if None.
        pairs: ``D2-D1`` each, to use instead of every pair of domains.
        overrides: changes of the preset for every run.
        train: whether to make missing runs; otherwise the report is of what is there.

    Returns:
        The files written, and the runs that failed, each with its error. Pages of several recipes in one folder get an
        index beside them, ``index.html``.
    """
    from mmsada_lab.datasets.open import load_data

    opened = load_data(data)
    grid: dict[str, Any] = {"data": data, "preset": preset, "domains": list(opened.domains), "overrides": overrides}
    grid |= {"worlds": worlds, "pairs": [split_pair(pair, list(opened.domains)) for pair in pairs] if pairs else None}
    rows, left_out = _rows_that_fit(recipe, grid, seeds=seeds)
    wanted = unique_configs(config for _, configs in rows for config in configs)
    failures: list[Failure] = []
    if train and wanted:
        wanted.sort(key=lambda config: (config.seed, config.data))
        failures = run_grid(wanted, runs_dir, jobs=jobs, device=device, scheduler=scheduler, notebook=notebook)
    digests = [(row, frozenset(config.digest for config in configs)) for row, configs in rows]
    return _write(recipe, digests, opened, runs_dir=runs_dir, out=out, further=left_out), failures


def _rows_that_fit(
    recipe: Recipe, grid: Mapping[str, Any], *, seeds: Sequence[int]
) -> tuple[list[tuple[RecipeRow, list[ExperimentConfig]]], list[str]]:
    """Rows with their configurations, and notes on those that a preset cannot have.

    Windows that span their segment, for instance, leave it no other moment. What a user gave may not be why.
    """
    rows, notes = [], []
    for row in recipe.rows:
        plain = row_configs(replace(row, overrides=()), seeds=seeds, **grid)
        try:
            rows.append((row, row_configs(row, seeds=seeds, **grid) if row.overrides else plain))
        except UserError as error:
            notes.append(f"left out: {row.title} ({error})")
    return rows, notes


_Rows = Sequence[tuple[RecipeRow, frozenset[str]]]
"""Each row of a recipe with the digests of its runs."""


def _write(
    recipe: Recipe, rows: _Rows, data: MultiDomainData, *, runs_dir: Path, out: Path, further: Sequence[str]
) -> list[Path]:
    from mmsada_lab.analysis.report import describe_runs, format_report, render_html, render_markdown, report_table

    if not rows:
        notes = [f"training segments of {data.name} per class and domain"]
        return _save(out, recipe, {"html": render_html(recipe.title, {}, [_class_figure(data)], notes)})
    runs = load_runs(runs_dir)
    runs = runs[runs["digest"].isin(frozenset().union(*(digests for _, digests in rows)))]
    if runs.empty:
        raise UserError(f"none of the runs of {recipe.name} in {runs_dir} is finished")
    notes = [*describe_runs(runs), *further]
    if recipe.of_kinds:
        table, tables, figures = _kinds(rows, runs)
    else:
        table = report_table(runs, [report_line(row, digests) for row, digests in rows], baseline=recipe.baseline)
        tables = {"": format_report(table, baseline=recipe.baseline)}
        if recipe.selection:
            tables["What each rule of choosing a checkpoint would have reached"] = _selection(runs)
        figures = _FIGURES.get(recipe.name, _no_figure)(runs, rows)
        if recipe.swept:
            game, figure = _sweep_game(recipe, runs, rows)
            tables["How often F's opponents are right on training clips (%, last third of the second stage)"] = game
            figures = [_sweep(recipe, table), figure]
    texts = {
        "csv": table.to_csv(index=False, float_format="%.4f"),
        "md": render_markdown(recipe.title, tables, notes),
        "html": render_html(recipe.title, tables, figures, notes),
    }
    return _save(out, recipe, texts)


def _kinds(rows: _Rows, runs: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], list[go.Figure]]:
    """All cells, a table per kind of gap against its own source-only, and their differences as heat maps."""
    from mmsada_lab.analysis.kinds import beyond_no_gap, draw_kinds, kinds_table
    from mmsada_lab.analysis.report import format_report, report_table

    tables, reports = {}, []
    for kind in dict.fromkeys(row.kind for row, _ in rows):
        lines = [report_line(row, digests) for row, digests in rows if row.kind == kind]
        of_kind = runs[runs["digest"].isin(frozenset().union(*(line.digests for line in lines)))]
        if of_kind.empty:
            continue
        report = report_table(of_kind, lines, baseline=lines[0].title)
        reports.append(report.assign(kind=kind))
        tables[kind] = format_report(report, baseline=lines[0].title)
    beyond = beyond_no_gap(runs, {row.title: digests for row, digests in rows})
    table = pd.concat(reports, ignore_index=True).merge(beyond, on="row", how="left")
    figures = [draw_kinds(kinds_table(table))]
    if len(beyond):
        title = "What each kind of gap adds to a method's gain"
        figures.append(draw_kinds(kinds_table(table, beyond=True), title=title, beyond=True))
    return table, tables, figures


def _save(out: Path, recipe: Recipe, texts: Mapping[str, str]) -> list[Path]:
    """Write a report, given as a text for each suffix."""
    paths = [out / f"{recipe.name}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text.encode())
    link_reports(out)
    return paths


def _selection(runs: pd.DataFrame) -> pd.DataFrame:
    """Rules by method; a method that is trained on the target's labels has no need of them."""
    from mmsada_lab.analysis.selection import format_selection, selection_summary, selection_table

    adapted = runs[[METHODS[method].needs_source for method in runs["method"]]]
    ordered = adapted.sort_values("method", key=lambda names: names.map(list(METHODS).index), kind="stable")
    return format_selection(selection_summary(selection_table(ordered)))


def report_line(row: RecipeRow, digests: frozenset[str]) -> ReportLine:
    """A row of a recipe as a line of its report, with the paper's numbers where it has some."""
    from mmsada_lab.analysis import report, tables

    if row.paper is None:
        return report.ReportLine(row.title, digests, row.stream)
    printed = {str(cell.pair): cell.top1 for cell in row.paper.cells}
    return report.ReportLine(row.title, digests, row.stream, {**printed, tables.MEAN: row.paper.printed_mean})


def _no_figure(runs: pd.DataFrame, rows: _Rows) -> list[go.Figure]:
    return []


def _curves(runs: pd.DataFrame, rows: _Rows) -> list[go.Figure]:
    from mmsada_lab.analysis.paper_figures import draw_target_curves, target_curves

    titles = {digest: row.title for row, digests in rows for digest in digests}
    return [draw_target_curves(target_curves(runs, titles))]


def _sweep(recipe: Recipe, table: pd.DataFrame) -> go.Figure:
    from mmsada_lab.analysis.sweep import draw_sweep, sweep_means
    from mmsada_lab.analysis.tables import MEAN

    values = {row.title: row.value for row in recipe.rows if row.value is not None}
    baseline = table.loc[(table["row"] == recipe.baseline) & (table["pair"] == MEAN), "top1"].iloc[0]
    shown = None if pd.isna(baseline) else float(baseline)
    title = f"Robustness to {recipe.swept}"
    return draw_sweep(sweep_means(table, values), name=recipe.swept, baseline=shown, title=title)


def _sweep_game(recipe: Recipe, runs: pd.DataFrame, rows: _Rows) -> tuple[pd.DataFrame, go.Figure]:
    """How often F's opponents are right at the end: a table with a line per value, and its drawing."""
    from mmsada_lab.analysis.sweep import draw_sweep_game, sweep_game
    from mmsada_lab.analysis.tables import write_accuracy

    values = {digest: row.value for row, digests in rows if row.value is not None for digest in digests}
    game = sweep_game(runs, values)
    right = game.assign(right=list(map(write_accuracy, game["right"], game["sd"])))
    table = right.pivot(index="value", columns="name", values="right").rename_axis(recipe.swept).reset_index()
    return table, draw_sweep_game(game, name=recipe.swept, title=f"F's opponents over {recipe.swept}")


def _spaces(runs: pd.DataFrame, rows: _Rows) -> list[go.Figure]:
    """Embeddings of every row's first run, streams side by side."""
    from mmsada_lab.analysis.embedding import draw_embedding, joint_embedding

    figures = []
    ordered = runs.sort_values(["world", "seed", "target", "source"])
    for row, digests in rows:
        for run in ordered[ordered["digest"].isin(digests)].head(1).to_dict("records"):
            features = read_arrays(Path(run["path"]) / "features.npz")
            modalities = [name.removeprefix("f_") for name in features if name.startswith("f_")]
            points = pd.concat([joint_embedding(features, modality) for modality in modalities])
            pair = f"{run['source']}→{run['target']}, seed {run['seed']}"
            figures.append(draw_embedding(points, title=f"{row.title}, {pair}"))
    return figures


_FIGURES = {"fig5": _curves, "fig7": _spaces}


def _class_figure(data: MultiDomainData) -> go.Figure:
    from mmsada_lab.analysis.paper_figures import class_shares, draw_class_shares

    labels = {name: [segment.label for segment in domain.train] for name, domain in data.domains.items()}
    counts = {name: [given.count(label) for label in range(len(data.classes))] for name, given in labels.items()}
    return draw_class_shares(class_shares(counts, data.classes))
