"""The commands for many runs: `mmsada compare`, `batch`, `results`, `reproduce` and `keep`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from mmsada_lab.cli import options
from mmsada_lab.cli.options import TableFormat, format_table, parse_overrides
from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import complete_choice, load_data
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK
from mmsada_lab.sweeps.recipes import RECIPES, find_recipe

if TYPE_CHECKING:
    from mmsada_lab.sweeps.jobs import Failure

sweeps_app = typer.Typer()

Seeds = Annotated[int, Option(min=1, help="How many seeds, from 0.")]
# Help that would not fit beside its option.
_DRY_RUN = "Show the jobs, what is finished, and an estimate of the time."
_WORLDS = "Data seeds of the kitchens: each a world, four for an interval over worlds; world w has seeds from 10 w on."
_PAIRS = "Instead of every pair of domains."
_MATRIX = "A row per method, a column per pair, as in the paper."
_STREAM = "Of --matrix, --difference and --selection: fused, rgb, flow, ..."
_REPORT_ONLY = "Train nothing; report on the runs that are finished."
_DIFFERENCE = "Print A - B in points, paired, with its 95 % intervals over worlds and over seeds."
_SELECTION = "Print what each label-free rule of choosing a checkpoint would have cost, per method."
_ARRAYS = "Keep predictions, scores of windows and features of these runs too. Repeatable."


@sweeps_app.command()
def compare(
    data: options.Data = "kitchens",
    preset: options.Preset = None,
    methods: Annotated[str, Option(help="Comma-separated; all by default.")] = ",".join(METHODS),
    domains: Annotated[str, Option(help="Comma-separated; all of the data set by default.")] = "",
    seeds: Seeds = 3,
    jobs: options.Jobs = 1,
    runs: options.RunsPath = Path("runs"),
    device: options.Device = "auto",
    scheduler: options.Scheduler = None,
    notebooks: options.Notebooks = False,
    override: options.Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Train every method on every pair of domains with several seeds, and print the table.

    Example: mmsada compare --data kitchens --preset quick --seeds 3 --jobs 2 --runs runs/compare
    """
    from mmsada_lab.sweeps.batch import run_grid
    from mmsada_lab.sweeps.grid import build_grid

    opened = load_data(data)
    for note in opened.notes:
        typer.echo(f"note: {note}", err=True)
    names = domains.split(",") if domains else list(opened.domains)
    preset, overrides = complete_choice(data, preset, overrides=parse_overrides(override))
    shared: dict[str, Any] = {"data": data, "preset": preset, "overrides": overrides}
    configs = build_grid(names, methods=methods.split(","), seeds=range(seeds), **shared)
    _check_fit(configs, opened)
    notebook = RUN_NOTEBOOK if notebooks else None
    failures = run_grid(configs, runs, jobs=jobs, device=device, scheduler=scheduler, notebook=notebook)
    if len(failures) < len(configs):
        results(runs, format=TableFormat.text, matrix=True)
    _exit_if_any(failures)


@sweeps_app.command()
def batch(
    grid: Annotated[Path, Argument(metavar="GRID.yaml", help="What to run; see docs/training.md.")],
    jobs: options.Jobs = 1,
    runs: options.RunsPath = Path("runs"),
    device: options.Device = "auto",
    scheduler: options.Scheduler = None,
    dry_run: Annotated[bool, Option("--dry-run", help=_DRY_RUN)] = False,
) -> None:
    """Train the runs of a grid: methods, pairs, seeds and swept options, on this machine or on a cluster.

    Example: mmsada batch GRID.yaml --jobs 2 --dry-run

    A short GRID.yaml: {methods: all, seeds: 3, sweep: {reversal_coefficient: [0.1, 0.2]}}

    Finished runs are skipped, interrupted ones continue; a failed run does not stop the others.
    """
    from mmsada_lab.sweeps.batch import run_grid
    from mmsada_lab.sweeps.grid import load_grid

    wanted = load_grid(grid)
    opened = load_data(wanted.data)
    preset, overrides = complete_choice(wanted.data, wanted.preset, overrides=wanted.overrides)
    configs = replace(wanted, preset=preset, overrides=overrides).configs(list(opened.domains))
    _check_fit(configs, opened)
    if dry_run:
        _print_plan(configs, runs, jobs=jobs, device=device, notebooks=wanted.notebook is not None)
        return
    _exit_if_any(run_grid(configs, runs, jobs=jobs, device=device, scheduler=scheduler, notebook=wanted.notebook))


def _check_fit(configs: Sequence[ExperimentConfig], data: MultiDomainData) -> None:
    from mmsada_lab.experiment import check_fit

    for config in configs:
        check_fit(config, data)


def _print_plan(configs: Sequence[ExperimentConfig], runs: Path, *, jobs: int, device: str, notebooks: bool) -> None:
    from mmsada_lab.sweeps.plans import estimate_seconds, plan_batch

    plan = plan_batch(configs, runs, device=device, notebooks=notebooks)
    seconds = estimate_seconds(plan, jobs=jobs)
    time = f"about {seconds / 60:.0f} minutes with {jobs} jobs" if isfinite(seconds) else "time unknown yet"
    typer.echo(f"{format_table(plan, TableFormat.text, digits=0)}\n{len(plan)} runs, {time}")


@sweeps_app.command()
def results(
    runs: Annotated[Path, Argument(help="A folder of runs, or a zip file by mmsada keep.")] = Path("runs"),
    format: options.Format = TableFormat.text,
    matrix: Annotated[bool, Option("--matrix", help=_MATRIX)] = False,
    stream: Annotated[str, Option(help=_STREAM)] = "fused",
    difference: Annotated[str, Option(metavar="A,B", help=_DIFFERENCE)] = "",
    selection: Annotated[bool, Option("--selection", help=_SELECTION)] = False,
) -> None:
    """Print the accuracies of the runs in a folder: top-1 and mean class accuracy on the target's test segments.

    Example: mmsada results runs --format md

    Example: mmsada results runs --difference mmsada,source_only

    Spreads are over worlds (kitchens:seed=1 is another) where there are several, else over seeds; a column says which.
    """
    from mmsada_lab.analysis.differences import paired_difference
    from mmsada_lab.analysis.selection import TRANSDUCTIVE, selection_summary, selection_table
    from mmsada_lab.analysis.tables import pair_matrix, results_table
    from mmsada_lab.runs import load_runs

    frame = load_runs(runs)
    if difference:
        better, _, baseline = difference.partition(",")
        typer.echo(f"{better} - {baseline}, {stream}: {paired_difference(frame, better, baseline, stream=stream)}")
        return
    if selection:
        table = selection_summary(selection_table(frame, stream=stream))
        typer.echo(f"note: {TRANSDUCTIVE}", err=True)
    elif matrix:
        table = pair_matrix(frame, stream=stream).reset_index(names="method")
    else:
        table = results_table(frame)
        cautions = frame.loc[frame["caution"] != "", ["target", "caution"]].drop_duplicates()
        for target, caution in cautions.itertuples(index=False):
            typer.echo(f"note: {target}: {caution}", err=True)
    typer.echo(format_table(table, format))


@sweeps_app.command()
def reproduce(
    recipe: Annotated[str, Argument(help=f"One of {', '.join(RECIPES)}, or all.")],
    data: options.Data = "kitchens",
    preset: options.Preset = None,
    seeds: Seeds = 5,
    worlds: Annotated[str, Option(metavar="0,1,2,3", help=_WORLDS)] = "",
    pairs: Annotated[str, Option(metavar="D1-D2,D2-D3", help=_PAIRS)] = "",
    jobs: options.Jobs = 1,
    runs: options.RunsPath = Path("runs/reproduce"),
    out: Annotated[Path, Option(help="Where the reports are written.")] = Path("runs/reports"),
    device: options.Device = "auto",
    scheduler: options.Scheduler = None,
    notebooks: options.Notebooks = False,
    report_only: Annotated[bool, Option("--report-only", help=_REPORT_ONLY)] = False,
    override: options.Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Make a table or figure of the paper on a data set: train what is missing, write CSV, Markdown and a page.

    Example: mmsada reproduce table1 --data kitchens --preset quick --seeds 5 --jobs 2

    Recipes share their runs, and an interrupted one continues when the same command is given again. Pages of several
    recipes in one folder get an index.
    """
    from mmsada_lab.sweeps.beside import link_reports
    from mmsada_lab.sweeps.reproduce import reproduce as make

    preset, overrides = complete_choice(data, preset, overrides=parse_overrides(override))
    shared: dict[str, Any] = {"data": data, "preset": preset, "seeds": range(seeds), "overrides": overrides}
    shared |= {"runs_dir": runs, "out": out, "jobs": jobs, "device": device, "train": not report_only}
    shared |= {"scheduler": scheduler, "notebook": RUN_NOTEBOOK if notebooks else None}
    shared |= {"worlds": _parse_worlds(worlds), "pairs": pairs.split(",") if pairs else None}
    failures: list[Failure] = []
    kitchens = data.partition(":")[0] == "kitchens"
    everything = [name for name, known in RECIPES.items() if kitchens or not known.of_kinds]
    for name in everything if recipe == "all" else [recipe]:
        files, failed = make(find_recipe(name), **shared)
        typer.echo("\n".join(map(str, files)))
        failures += failed
    if index := link_reports(out):
        typer.echo(index)
    _exit_if_any(failures)


@sweeps_app.command()
def keep(
    runs: Annotated[Path, Argument(help="A folder of runs.")],
    to: Annotated[Path, Argument(help="Zip file: a new one, or one that this command has made before.")],
    arrays: Annotated[list[str], Option(metavar="SOURCE,TARGET,SEED", help=_ARRAYS)] = [],  # noqa: B006 - typer copies it
) -> None:
    """Pack finished runs without weights, training records and most arrays: small enough to commit, read as any runs.

    Example: mmsada keep runs/reproduce kept_runs.zip --arrays D1,D3,0
    """
    from mmsada_lab.sweeps.keep import keep_runs

    typer.echo(keep_runs(runs, to, arrays_of=[_parse_run(text) for text in arrays]))


def _parse_worlds(text: str) -> list[int] | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", text):
        raise UserError(f"--worlds is {text!r}; give data seeds separated by commas, e.g. 0,1,2,3")
    return [int(world) for world in text.split(",")]


def _parse_run(text: str) -> tuple[str, str, int]:
    match = re.fullmatch(r"([^,]+),([^,]+),([0-9]+)", text)
    if match is None:
        raise UserError(f"--arrays is {text!r}; give source, target and seed, e.g. D1,D3,0")
    return match[1], match[2], int(match[3])


def _exit_if_any(failures: Sequence[Failure]) -> None:
    """Print the runs that did not finish; they decide the exit status."""
    from mmsada_lab.sweeps.jobs import Busy

    for failure in failures:
        config, kind = failure.config, "skipped" if isinstance(failure, Busy) else "failed"
        typer.echo(f"{kind}: {config.method} {config.pair} seed {config.seed}: {failure.message}", err=True)
    if failures:
        raise typer.Exit(1)
