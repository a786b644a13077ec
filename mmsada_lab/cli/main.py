"""The `mmsada` command: every verb calls one public function of the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsada_lab import __version__
from mmsada_lab.cli.data import data_app
from mmsada_lab.cli.weights import weights_app
from mmsada_lab.config import METHODS
from mmsada_lab.datasets.open import complete_choice, describe_formats, describe_presets
from mmsada_lab.errors import UserError
from mmsada_lab.presets import PRESETS, build_config
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK
from mmsada_lab.sweeps.recipes import RECIPES, find_recipe

if TYPE_CHECKING:
    import pandas as pd

    from mmsada_lab.sweeps.batch import Failure

app = typer.Typer(
    help="Multi-modal domain adaptation for fine-grained action recognition (MM-SADA, CVPR 2020).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

Data = Annotated[
    str,
    typer.Option(metavar="SPEC", help=describe_formats()),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help=f"Schedule and sizes: {', '.join(PRESETS)}. By default {describe_presets()}.",
        show_default=False,
    ),
]
Runs = Annotated[Path, typer.Option(help="Where run folders are written; finished runs are skipped, others continue.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one) or cpu.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that read clips; chosen by default.")]
JobsAtOnce = Annotated[int, typer.Option("--jobs", min=1, help="Processes at once; they share the cores.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler whose workers train; processes here by default."),
]
Notebooks = Annotated[
    bool,
    typer.Option(
        "--notebooks",
        help=f"Train by executing {RUN_NOTEBOOK} for each run, kept in the run's folder; slower, for its figures.",
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "-o", "--override", metavar="KEY=VALUE", help="Change one field, e.g. -o adapt.steps=500. Repeatable."
    ),
]


class TableFormat(StrEnum):
    """How a table is printed."""

    text = "text"
    md = "md"
    csv = "csv"
    json = "json"


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"mmsada_lab {__version__}")
        raise typer.Exit


@app.command()
def train(
    target: Annotated[str, typer.Option(help="Unlabelled domain, e.g. D1.")],
    source: Annotated[str | None, typer.Option(help="Labelled domain, e.g. D2. Not for supervised_target.")] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "mmsada",
    data: Data = "kitchens",
    preset: Preset = None,
    seed: Annotated[int, typer.Option(help="Of initialisation, sampling, augmentation and dropout.")] = 0,
    runs: Runs = Path("runs"),
    device: Device = "auto",
    workers: Workers = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Train one method on one pair of domains.

    Example: mmsada train --source D2 --target D1 --method mmsada --preset quick --seed 0 -o reversal_coefficient=0.5

    An interrupted run continues where it stopped when the same command is given again.

    On all GPUs of a machine: accelerate launch --num_processes 8 $(which mmsada) train ... Several processes on CPUs:
    torchrun --nproc_per_node 2 $(which mmsada) train --device cpu ... Little memory: -o accumulation=2 -o
    checkpointing=true. The presets paper and released are I3D's; other modalities than video need -o backbone=auto.
    """
    from mmsada_lab.experiment import run_experiment
    from mmsada_lab.runs import read_manifest
    from mmsada_lab.runtime.device import leads

    preset, overrides = complete_choice(data, preset, overrides=parse_overrides(override))
    config = build_config(
        preset, source=source, target=target, method=method, data=data, seed=seed, overrides=overrides
    )
    path = run_experiment(config, runs, device=device, workers=workers)
    if not leads():
        return
    result = read_manifest(path / "manifest.json")["result"]
    for stream, measures in result["target"].items():
        typer.echo(f"{stream:>8}  top-1 {measures['top1']:5.1f} %   mean class {measures['mean_class']:5.1f} %")
    if result["target"]:
        typer.echo(f"on {target}'s test segments, {result['selection']}")
    else:
        typer.echo(
            f"{target} has no labelled test segments, so there is no accuracy to report; see mmsada predict {path}"
        )
    typer.echo(path)


@app.command()
def compare(
    data: Data = "kitchens",
    preset: Preset = None,
    methods: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = ",".join(METHODS),
    domains: Annotated[str, typer.Option(help="Comma-separated; all of the data set by default.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    jobs: JobsAtOnce = 1,
    runs: Runs = Path("runs"),
    device: Device = "auto",
    scheduler: Scheduler = None,
    notebooks: Notebooks = False,
    override: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Train every method on every pair of domains with several seeds, and print the table.

    Example: mmsada compare --data kitchens --preset quick --seeds 3 --jobs 2 --runs runs/compare
    """
    from mmsada_lab.datasets.open import load_data
    from mmsada_lab.experiment import check_fit
    from mmsada_lab.sweeps.batch import grid, run_grid

    opened = load_data(data)
    for note in opened.notes:
        typer.echo(f"note: {note}", err=True)
    names = domains.split(",") if domains else list(opened.domains)
    preset, overrides = complete_choice(data, preset, overrides=parse_overrides(override))
    configs = grid(names, methods=methods.split(","), seeds=range(seeds), data=data, preset=preset, overrides=overrides)
    for config in configs:
        check_fit(config, opened)
    notebook = RUN_NOTEBOOK if notebooks else None
    failures = run_grid(configs, runs, jobs=jobs, device=device, scheduler=scheduler, notebook=notebook)
    _show_failures(failures)
    if len(failures) < len(configs):
        results(runs, format=TableFormat.text, matrix=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def batch(
    grid: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="What to run; see the README.")],
    jobs: JobsAtOnce = 1,
    runs: Runs = Path("runs"),
    device: Device = "auto",
    scheduler: Scheduler = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the jobs, what is finished, and an estimate of the time.")
    ] = False,
) -> None:
    """Train the runs of a grid: methods, pairs, seeds and swept options, on this machine or on a cluster.

    Example: mmsada batch GRID.yaml --jobs 2 --dry-run

    Finished runs are skipped, interrupted ones continue; a failed run does not stop the others.
    """
    from mmsada_lab.datasets.open import load_data
    from mmsada_lab.experiment import check_fit
    from mmsada_lab.sweeps.batch import run_grid
    from mmsada_lab.sweeps.grid import load_grid
    from mmsada_lab.sweeps.plans import plan, total_seconds

    wanted = load_grid(grid)
    opened = load_data(wanted.data)
    preset, overrides = complete_choice(wanted.data, wanted.preset, overrides=wanted.overrides)
    configs = replace(wanted, preset=preset, overrides=overrides).configs(list(opened.domains))
    for config in configs:
        check_fit(config, opened)
    if dry_run:
        table = plan(configs, runs, device=device, notebooks=wanted.notebook is not None)
        seconds = total_seconds(table, jobs=jobs)
        typer.echo(_formatted(table, TableFormat.text, digits=0))
        known = f"about {seconds / 60:.0f} minutes with {jobs} jobs" if isfinite(seconds) else "time unknown yet"
        typer.echo(f"{len(table)} runs, {known}")
        return
    failures = run_grid(configs, runs, jobs=jobs, device=device, scheduler=scheduler, notebook=wanted.notebook)
    _show_failures(failures)
    if failures:
        raise typer.Exit(1)


@app.command()
def results(
    runs: Annotated[Path, typer.Argument(help="A folder of runs.")] = Path("runs"),
    format: Annotated[TableFormat, typer.Option(help="text, md (Markdown), csv or json.")] = TableFormat.text,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="A row per method, a column per pair, as in the paper.")
    ] = False,
    stream: Annotated[
        str, typer.Option(help="Of --matrix, --difference and --selection: fused, rgb, flow, ...")
    ] = "fused",
    difference: Annotated[
        str,
        typer.Option(metavar="A,B", help="Print A - B in points with a 95 % interval, paired over pairs and seeds."),
    ] = "",
    selection: Annotated[
        bool,
        typer.Option(
            "--selection", help="Print what each label-free rule of choosing a checkpoint would have cost, per method."
        ),
    ] = False,
) -> None:
    """Print what the runs in a folder reached: top-1 and mean class accuracy on the target's test segments.

    Example: mmsada results runs --format md
    """
    from mmsada_lab.analysis.selection import selection_summary, selection_table
    from mmsada_lab.analysis.tables import pair_matrix, paired_difference, results_table
    from mmsada_lab.runs import load_runs

    frame = load_runs(runs)
    if difference:
        better, _, baseline = difference.partition(",")
        typer.echo(f"{better} - {baseline}, {stream}: {paired_difference(frame, better, baseline, stream=stream)}")
        return
    if selection:
        typer.echo(_formatted(selection_summary(selection_table(frame, stream=stream)), format))
        return
    table = pair_matrix(frame, stream=stream).reset_index(names="method") if matrix else results_table(frame)
    typer.echo(_formatted(table, format))


@app.command()
def reproduce(
    recipe: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}, or all.")],
    data: Data = "kitchens",
    preset: Preset = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 5,
    jobs: JobsAtOnce = 1,
    runs: Runs = Path("runs/reproduce"),
    out: Annotated[Path, typer.Option(help="Where the reports are written.")] = Path("runs/reports"),
    device: Device = "auto",
    scheduler: Scheduler = None,
    notebooks: Notebooks = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; report on the runs that are finished.")
    ] = False,
    override: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Make a table or figure of the paper on a data set: train what is missing, write CSV, Markdown and a page.

    Example: mmsada reproduce table1 --data kitchens --preset quick --seeds 5 --jobs 2

    Recipes share their runs, and an interrupted one continues when the same command is given again.
    """
    from mmsada_lab.sweeps.reproduce import reproduce as make

    preset, overrides = complete_choice(data, preset, overrides=parse_overrides(override))
    names = list(RECIPES) if recipe == "all" else [recipe]
    shared: dict[str, Any] = {"data": data, "preset": preset, "seeds": range(seeds), "overrides": overrides}
    shared |= {"runs_dir": runs, "out": out, "jobs": jobs, "device": device, "train": not report_only}
    shared |= {"scheduler": scheduler, "notebook": RUN_NOTEBOOK if notebooks else None}
    failed = 0
    for name in names:
        files, failures = make(find_recipe(name), **shared)
        _show_failures(failures)
        typer.echo("\n".join(map(str, files)))
        failed += len(failures)
    if failed:
        raise typer.Exit(1)


@app.command()
def gap(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    format: Annotated[TableFormat, typer.Option(help="text, md (Markdown), csv or json.")] = TableFormat.text,
    permutations: Annotated[int, typer.Option(min=19, help="Of the null distribution.")] = 200,
    at_least: Annotated[int, typer.Option(min=2, help="Segments a side, or a class, must have.")] = 10,
) -> None:
    """Print how far apart a run's features of source and target are: proxy A-distance, MMD, Fréchet, CORAL, with nulls.

    Example: mmsada gap runs/kitchens/mmsada/D1-D3/seed0-0123456789
    """
    from mmsada_lab.analysis.gap.table import run_gap

    table = run_gap(run, permutations=permutations, at_least=at_least)
    typer.echo(_formatted(table.drop(columns="note"), format, digits=3))
    for note in dict.fromkeys(filter(None, table["note"])):
        typer.echo(f"note: {note}", err=True)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, as mmsada train printed it.")],
    to: Annotated[Path, typer.Option(help="CSV to write.")] = Path("predictions.csv"),
    data: Annotated[str | None, typer.Option(metavar="SPEC", help="Other data than the run's own.")] = None,
    domain: Annotated[str | None, typer.Option(help="The run's target by default.")] = None,
    split: Annotated[str, typer.Option(help="all, train or test.")] = "all",
    device: Device = "auto",
    workers: Workers = None,
) -> None:
    """Predict every segment of a domain, labelled or not, with a trained run, and write one row for each.

    Example: mmsada predict runs/epic-sites/mmsada/home-away/seed0-0123456789 --to away.csv
    """
    from mmsada_lab.files import write_atomic
    from mmsada_lab.trained import predict_table

    table = predict_table(
        run, data=data, domain=domain, split=split, device=device, workers=workers, show_progress=True
    )
    write_atomic(to, lambda file: file.write(table.to_csv(index=False).encode()))
    for name, count in table["predicted"].value_counts().items():
        typer.echo(f"{count:>6}  {name}")
    known = table[table["label"] != ""]
    if len(known):
        right = 100 * (known["predicted"] == known["label"]).mean()
        typer.echo(f"{right:.1f} % of the {len(known)} segments with a label are predicted as it says")
    typer.echo(f"{len(table)} segments: {to}")


@app.command()
def extract(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, as mmsada train printed it.")],
    to: Annotated[Path, typer.Argument(help="New folder; --data features:TO reads it.")],
    data: Annotated[str | None, typer.Option(metavar="SPEC", help="Other data than the run's own.")] = None,
    domains: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = "",
    device: Device = "auto",
    workers: Workers = None,
) -> None:
    """Write the features of a run's streams, per segment and window, to train on later without the frames.

    Example: mmsada extract runs/kitchens/source_only/D1-D3/seed0-0123456789 features/D1
    """
    from mmsada_lab.trained import write_run_features

    names = domains.split(",") if domains else ()
    written = write_run_features(run, to, data=data, domains=names, device=device, workers=workers, show_progress=True)
    typer.echo(f"features:{written}")


@app.command()
def demo(
    runs: Annotated[Path, typer.Option(help="Where runs, executed notebooks and their HTML are written.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Train source-only, AdaBN and MM-SADA on one pair of the embedded kitchens, by notebook, and print the table."""
    from mmsada_lab.publish.demo import run_demo

    typer.echo(run_demo(runs))


@app.command()
def gallery(
    to: Annotated[Path, typer.Option(help="Folder of the pages, their index and what the notebooks train.")] = Path(
        "runs/gallery"
    ),
    notebooks: Annotated[str, typer.Option(help="Comma-separated, e.g. 00_quickstart; all by default.")] = "",
) -> None:
    """Execute every notebook and make a page of it, with an index; the pages need no network.

    Example: mmsada gallery --notebooks 03_adversarial_alignment,05_mmsada
    """
    from mmsada_lab.publish.gallery import make_gallery

    made = make_gallery(to, notebooks=notebooks.split(",") if notebooks else ())
    for name, error in made.failures.items():
        typer.echo(f"failed: {name}: {error}", err=True)
    typer.echo(made.index)
    if made.failures:
        raise typer.Exit(1)


@app.command()
def keep(
    runs: Annotated[Path, typer.Argument(help="A folder of runs.")],
    to: Annotated[Path, typer.Argument(help="New folder, or one that this command has made before.")],
    arrays: Annotated[
        list[str],
        typer.Option(metavar="SOURCE,TARGET,SEED", help="Keep predictions and features of these runs too. Repeatable."),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Copy finished runs without weights, training records and most arrays: small enough to commit, read as any runs.

    Example: mmsada keep runs/reproduce assets/reference_runs --arrays D1,D3,0
    """
    from mmsada_lab.sweeps.keep import keep_runs

    typer.echo(keep_runs(runs, to, arrays_of=[_source_target_seed(text) for text in arrays]))


def _source_target_seed(text: str) -> tuple[str, str, int]:
    parts = text.split(",")
    if len(parts) != 3 or not parts[2].isdecimal():
        raise UserError(f"--arrays is {text!r}; give source, target and seed, e.g. D1,D3,0")
    return parts[0], parts[1], int(parts[2])


def _show_failures(failures: Sequence[Failure]) -> None:
    from mmsada_lab.sweeps.batch import Busy

    for failure in failures:
        config, kind = failure.config, "left alone" if isinstance(failure, Busy) else "failed"
        typer.echo(f"{kind}: {config.method} {config.pair} seed {config.seed}: {failure.message}", err=True)


def _formatted(table: pd.DataFrame, style: TableFormat, *, digits: int = 1) -> str:
    if style is TableFormat.csv:
        return table.to_csv(index=False).rstrip()
    if style is TableFormat.json:
        return table.to_json(orient="records", force_ascii=False, indent=1)
    rounded = table.round(digits).astype(object).where(table.notna(), "")
    if style is TableFormat.md:
        lines = [list(table.columns), ["---"] * len(table.columns), *rounded.to_numpy().tolist()]
        return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return str(rounded.to_string(index=False))


def parse_overrides(items: list[str]) -> dict[str, Any]:
    """Parse ``key=value`` pairs; values are JSON where they can be (``0.5``, ``true``), text otherwise."""
    overrides: dict[str, Any] = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator:
            raise UserError(f"override {item!r} has no value; write -o key=value")
        try:
            overrides[key] = json.loads(value)
        except json.JSONDecodeError:
            overrides[key] = value
    return overrides


def main() -> None:
    """Run the command; a `UserError` or a failing disk is a message and exit status 2, without a traceback."""
    try:
        app()
    except (UserError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
