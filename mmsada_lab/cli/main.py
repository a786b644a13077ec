"""The `mmsada` command: every verb calls one public function of the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from mmsada_lab import __version__
from mmsada_lab.cli import options
from mmsada_lab.cli.data import data_app
from mmsada_lab.cli.options import TableFormat, format_table, parse_overrides
from mmsada_lab.cli.report import report_app
from mmsada_lab.cli.sweeps import sweeps_app
from mmsada_lab.cli.weights import weights_app
from mmsada_lab.datasets.open import complete_choice
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import build_config

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="Multi-modal domain adaptation for fine-grained action recognition (MM-SADA, CVPR 2020).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"mmsada_lab {__version__}")
        raise typer.Exit


@app.command()
def train(
    target: Annotated[str, Option(help="Unlabelled domain, e.g. D1.")],
    source: Annotated[str | None, Option(help="Labelled domain, e.g. D2. Not for supervised_target.")] = None,
    method: Annotated[str, Option(help=f"One of {', '.join(METHODS)}.")] = "mmsada",
    data: options.Data = "kitchens",
    preset: options.Preset = None,
    seed: Annotated[int, Option(help="Of initialisation, sampling, augmentation and dropout.")] = 0,
    runs: options.RunsPath = Path("runs"),
    device: options.Device = "auto",
    workers: options.Workers = None,
    override: options.Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Train one method on one pair of domains.

    Example: mmsada train --source D2 --target D1 --method mmsada --preset quick --seed 0 -o reversal_coefficient=0.5

    An interrupted run continues where it stopped when the same command is given again.

    On all GPUs of a machine: accelerate launch --num_processes 8 $(which mmsada) train ... Several processes on CPUs:
    torchrun --nproc_per_node 2 $(which mmsada) train --device cpu ... Little memory: -o accumulation=2 -o
    checkpointing=true. The presets paper and released are I3D's; other modalities than video need -o backbone=auto.
    """
    from mmsada_lab.experiment import run_experiment
    from mmsada_lab.runtime.device import is_main_process

    preset, overrides = complete_choice(data, preset, overrides=parse_overrides(override))
    config = build_config(
        preset, source=source, target=target, method=method, data=data, seed=seed, overrides=overrides
    )
    path = run_experiment(config, runs, device=device, workers=workers)
    if is_main_process():
        _print_result(path, target)


def _print_result(run: Path, target: str) -> None:
    from mmsada_lab.runs import read_manifest

    result = read_manifest(run / "manifest.json")["result"]
    for stream, measures in result["target"].items():
        typer.echo(f"{stream:>8}  top-1 {measures['top1']:5.1f} %   mean class {measures['mean_class']:5.1f} %")
    if caution := result.get("caution"):
        typer.echo(f"note: {caution}", err=True)
    if result["target"]:
        typer.echo(f"on {target}'s test segments, {result['selection']}")
    else:
        reason = f"{target} has no labelled test segments, so there is no accuracy to report"
        typer.echo(f"{reason}; see mmsada predict {run}")
    typer.echo(run)


_STATISTICS = (
    "statistics: evaluation, the batch statistics the run is judged under; own, each domain's, as discriminators see "
    "features in training, where the domains pass apart"
)


@app.command()
def gap(
    run: options.RunPath,
    format: options.Format = TableFormat.text,
    permutations: Annotated[int, Option(min=19, help="Of the null distribution.")] = 200,
    at_least: Annotated[int, Option(min=2, help="Segments a side, or a class, must have.")] = 10,
) -> None:
    """Print how far apart a run's features of source and target are: proxy A-distance, MMD, Fréchet, CORAL, with nulls.

    Under the batch statistics of evaluation and, where the run holds them, under each domain's own.

    Example: mmsada gap runs/kitchens/mmsada/D1-D3/seed0-0123456789
    """
    from mmsada_lab.analysis.gap.table import COVERAGE, run_gap_table

    table = run_gap_table(run, permutations=permutations, at_least=at_least)
    typer.echo(format_table(table.drop(columns="note"), format, digits=3))
    notes = [f"low and high are {COVERAGE}", *filter(None, table["note"])]
    if set(table["statistics"]) > {"evaluation"}:
        notes.insert(0, _STATISTICS)
    for note in dict.fromkeys(notes):
        typer.echo(f"note: {note}", err=True)


@app.command()
def predict(
    run: options.RunPath,
    to: Annotated[Path, Option(help="CSV to write.")] = Path("predictions.csv"),
    data: options.OtherData = None,
    domain: Annotated[str | None, Option(help="The run's target by default.")] = None,
    split: Annotated[str, Option(help="all, train or test.")] = "all",
    device: options.Device = "auto",
    workers: options.Workers = None,
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
    _print_predictions(table)
    typer.echo(f"{len(table)} segments: {to}")


def _print_predictions(table: pd.DataFrame) -> None:
    """How often each class was predicted, and how often rightly."""
    for name, count in table["predicted"].value_counts().items():
        typer.echo(f"{count:>6}  {name}")
    known = table[table["label"] != ""]
    if len(known):
        right = 100 * (known["predicted"] == known["label"]).mean()
        typer.echo(f"{right:.1f} % of the {len(known)} segments with a label are predicted right")


@app.command()
def extract(
    run: options.RunPath,
    to: Annotated[Path, Argument(help="New folder; --data features:TO reads it.")],
    data: options.OtherData = None,
    domains: Annotated[str, Option(help="Comma-separated; all by default.")] = "",
    device: options.Device = "auto",
    workers: options.Workers = None,
) -> None:
    """Write the features of a run's streams, per segment and window, to train on later without the frames.

    Example: mmsada extract runs/kitchens/source_only/D1-D3/seed0-0123456789 features/D1
    """
    from mmsada_lab.trained import write_run_features

    names = domains.split(",") if domains else ()
    written = write_run_features(run, to, data=data, domains=names, device=device, workers=workers, show_progress=True)
    typer.echo(f"features:{written}")


@app.command()
def explore(
    runs: Annotated[Path, Argument(help="Folder of finished runs, or a zip file of kept ones.")],
    out: Annotated[Path, Option(metavar="FILE.html", help="The page to write.")] = Path("map.html"),
    data: Annotated[
        str | None, Option(metavar="SPEC", help="Data of the runs that are shown, if there are several.")
    ] = None,
    source: Annotated[str | None, Option(help="Labelled domain; that of most runs by default.")] = None,
    target: Annotated[str | None, Option(help="Unlabelled domain.")] = None,
    seed: Annotated[int | None, Option(help="Of the runs that are compared; the one with most methods.")] = None,
    series: Annotated[
        str, Option(metavar="NAMES", help="Comma-separated, of method, checkpoint, λd, λc, seed; all there are.")
    ] = "",
    at_most: Annotated[
        int, Option(min=4, help="Segments that are shown; more are sampled by domain and class.")
    ] = 2000,
    steadiness: Annotated[
        float, Option(min=0, max=1, help="0: maps follow their features; 1: one map for all; between: points rest.")
    ] = 0.5,
    clips: Annotated[float, Option(min=0, help="Megabytes of clips in the page; 0 for none.")] = 20.0,
    jobs: Annotated[int, Option(help="Processes at once; -1: as many as there are cores.")] = -1,
) -> None:
    """Write one page that shows what runs learnt: domains, clips and predictions, linked. It needs no network.

    Example: mmsada explore assets/reference_runs.zip --source D1 --target D3 --out map.html

    Open it in any browser, or send it to somebody. Runs with -o keep_features=12 (the preset quick has it) can be
    walked through step by step. Maps and clips are kept in the cache folder: the second time takes seconds.
    """
    from mmsada_lab.explorer.page import write_page
    from mmsada_lab.explorer.scene import build_scene

    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"cannot write {out.name}: choose a name ending in .html")
    scene = build_scene(
        runs,
        data=data,
        source=source,
        target=target,
        seed=seed,
        series=series.split(",") if series else (),
        at_most=at_most,
        steadiness=steadiness,
        clips=clips,
        jobs=jobs,
    )
    path = write_page(scene, out)
    for note in scene.content["notes"]:
        typer.echo(f"note: {note}", err=True)
    points = scene.content["points"]["uid"]
    shown = ", ".join(f"{len(s['views'])} by {s['title']}" for s in scene.content["series"])
    typer.echo(f"{path}: {len(points)} segments, views {shown}; {path.stat().st_size / 1e6:.1f} MB")


@app.command()
def demo(
    runs: Annotated[Path, Option(help="Where runs, executed notebooks and their HTML are written.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Train source-only, AdaBN and MM-SADA on one pair of the embedded kitchens, by notebook, and print the table.

    Example: mmsada demo --runs runs/demo
    """
    from mmsada_lab.publish.demo import run_demo

    typer.echo(run_demo(runs))


@app.command()
def gallery(
    to: Annotated[Path, Option(help="Folder of the pages, their index and what the notebooks train.")] = Path(
        "runs/gallery"
    ),
    notebooks: Annotated[str, Option(help="Comma-separated, e.g. 00_quickstart; all by default.")] = "",
    stored: Annotated[
        bool, Option("--stored", help="Execute nothing: pages of the outputs that are stored, in seconds.")
    ] = False,
) -> None:
    """Execute every notebook and make a page of it, with an index that searches them; the pages need no network.

    Example: mmsada gallery --notebooks 03_adversarial_alignment,05_mmsada

    Example: mmsada gallery --stored --to pages
    """
    from mmsada_lab.publish.gallery import make_gallery

    pages = make_gallery(to, notebooks=notebooks.split(",") if notebooks else (), stored=stored)
    for name, error in pages.failures.items():
        typer.echo(f"failed: {name}: {error}", err=True)
    typer.echo(pages.index)
    if pages.failures:
        raise typer.Exit(1)


@app.command()
def lab(
    further: Annotated[
        list[str] | None, Argument(metavar="[-- ARGUMENTS]", help="Of JupyterLab, e.g. -- --port 9999.")
    ] = None,
    to: Annotated[Path, Option(help="Folder of the copies.")] = Path("runs/lessons"),
    fresh: Annotated[
        bool, Option("--fresh", help="Copy all lessons anew; those you changed are kept beside as NAME.mine.ipynb.")
    ] = False,
    browser: Annotated[bool, Option(help="Open a browser, or only print the address.")] = True,
) -> None:
    """Open the lessons in JupyterLab, on this machine alone: copies, so that running one leaves the checkout as it is.

    Example: mmsada lab

    A copy that you change is yours: it is never overwritten. One that you only ran is renewed when the checkout has a
    newer lesson; a copy that you delete comes back. Kernels start in the current folder, so that runs is the same
    folder for lessons and commands.
    """
    from mmsada_lab.publish.lab import copy_lessons, lab_arguments, require_lab, start_lab

    require_lab()
    typer.echo(copy_lessons(to, fresh=fresh))
    start_lab(lab_arguments(to, browser=browser, further=further or ()))


@app.command("options")
def list_options(
    method: Annotated[str, Option(help=f"One of {', '.join(METHODS)}; options without effect are left out.")] = (
        "mmsada"
    ),
    search: Annotated[str, Option(help="Only options that have this text in their name or description.")] = "",
) -> None:
    """List every option that -o takes, by group: what it does, its default, the presets, the paper and its code.

    Example: mmsada options --search reversal
    """
    from mmsada_lab.presets import describe_options

    group = ""
    for line in describe_options(method):
        if search in f"{line.key} {line.sentence} {line.group}":
            if line.group != group:
                group = line.group
                typer.secho(f"\n{group}", bold=True)
            typer.echo(str(line))


app.add_typer(report_app)  # these commands stand beside those above
app.add_typer(sweeps_app)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")


def main() -> None:
    """Run the command; a `UserError` or a failing disk is a message and exit status 2, without a traceback."""
    try:
        app()
    except (UserError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
