"""The `mmsada data` commands: import, split, check, show, export. Every one calls one public function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(
    help="Get data in: import videos, build splits, check a data set, look at a segment, export the kitchens.",
    no_args_is_help=True,
)

Spec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="kitchens, epic:ROOT, arrays:DIR or features:DIR; see mmsada train --help."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes at once; one a core by default.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@data_app.command("import-videos")
def import_videos(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A folder SRC/<domain>/<label>/*.mp4 with SRC/<domain>/unlabelled/*, or a CSV of video, start, stop, "
            "label, domain.",
        ),
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Where frames and segments.csv go: epic:DST.")],
    algorithm: Annotated[
        str, typer.Option(help="Flow: tvl1 (what I3D was trained on; about a second a frame), dis (fast) or farneback.")
    ] = "tvl1",
    height: Annotated[int, typer.Option(min=16, help="Pixels; the width follows.")] = 256,
    fps: Annotated[str | None, typer.Option(help="Frames a second; each video's own rate by default.")] = None,
    bound: Annotated[float | None, typer.Option(help="Largest flow kept, pixels; as EPIC's by default.")] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of a domain's labelled clips that test.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Of the division into training and test.")] = 0,
    jobs: Jobs = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn clips of two sites into frames and optical flow in the layout of EPIC-Kitchens.

    Example: mmsada data import-videos clips frames --algorithm dis; then mmsada train --data epic:frames
    --source home --target away

    An interrupted import continues when the same command is given again; finished videos are skipped. A video that
    cannot be read is named with the reason, the others are imported, and the exit status is 1.
    """
    from mmsada_lab.data.videos.importing import import_videos as import_all

    report = import_all(
        source,
        destination,
        algorithm=algorithm,
        bound=bound,
        height=height,
        fps=fps,
        test_fraction=test_fraction,
        seed=seed,
        jobs=jobs,
        overwrite=overwrite,
    )
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"epic:{destination}")
    if report.refused:
        raise typer.Exit(1)


@data_app.command()
def split(
    annotations: Annotated[
        list[Path], typer.Argument(metavar="CSV...", help="EPIC_train_action_labels.csv, EPIC_100_train.csv, ...")
    ],
    to: Annotated[Path, typer.Option(help="The segments.csv to write, or the folder for it.")],
    domain: Annotated[
        list[str], typer.Option(metavar="NAME=KITCHENS", help="E.g. D1=P08, or D4=P01+P03. Repeat for each.")
    ],
    verbs: Annotated[str, typer.Option(help="Comma-separated names, first-8 for classes 0 to 7, or all.")] = "first-8",
    test: Annotated[list[Path], typer.Option(metavar="CSV", help="Labelled tables that hold the test segments.")] = [],  # noqa: B006
    test_fraction: Annotated[float, typer.Option(help="Without --test: share of segments, in whole videos.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the choice of test videos.")] = 0,
    verb_classes: Annotated[Path | None, typer.Option(metavar="CSV", help="EPIC_verb_classes.csv, for names.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Choose kitchens and verbs from EPIC-Kitchens' annotations and write the segments.csv that epic:ROOT reads.

    Example: mmsada data split EPIC_train_action_labels.csv --to epic/segments.csv --domain D1=P08 --domain D2=P01
    """
    from mmsada_lab.data.epic.splits import build_split, parse_domains, parse_verbs, write_split

    table = build_split(
        annotations,
        domains=parse_domains(domain),
        verbs=parse_verbs(verbs),
        test=test,
        test_fraction=test_fraction,
        seed=seed,
        verb_classes=verb_classes,
    )
    file = write_split(table, to, overwrite=overwrite)
    typer.echo(table.groupby(["domain", "split"]).size().to_string())
    typer.echo(file)


@data_app.command()
def check(
    specification: Spec,
    fast: Annotated[bool, typer.Option("--fast", help="Look at samples only, not at every frame.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the whole report here.")] = None,
    jobs: Jobs = None,
) -> None:
    """Read a data set once and report what is wrong with it.

    Example: mmsada data check epic:frames --json report.json

    Exit status 0: fit to train on, warnings aside; 1: there are errors.
    """
    from mmsada_lab.data.doctor.examination import check_data

    report = check_data(specification, fast=fast, jobs=jobs)
    typer.echo(report.as_text())
    if json is not None:
        typer.echo(report.write_json(json))
    if not report.ok:
        raise typer.Exit(1)


@data_app.command()
def show(
    specification: Spec,
    uid: Annotated[str, typer.Option(help="Of the segment.")],
    to: Annotated[Path, typer.Option(help="A page (.html) or an animated picture (.gif).")] = Path("segment.html"),
    windows: Annotated[int, typer.Option(min=1, help="Test windows to draw.")] = 5,
) -> None:
    """Show a segment: its frames with their flow, and the windows that training and testing take from it.

    Example: mmsada data show kitchens --uid D1_train_0000
    """
    from mmsada_lab.data.show.segment import show_segment

    typer.echo(show_segment(specification, uid, to, windows=windows))


@data_app.command("export-kitchens")
def export_kitchens(
    destination: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; epic:DIR reads it.")],
    tar: Annotated[bool, typer.Option("--tar", help="One tar per video and modality instead of folders.")] = False,
    scale: Annotated[float | None, typer.Option(help="Segments relative to EPIC-Kitchens; 0.08 by default.")] = None,
) -> None:
    """Write the embedded kitchens as JPEG frames and annotations in the layout of EPIC-Kitchens.

    Example: mmsada data export-kitchens jpeg; then mmsada train --data epic:jpeg --source D2 --target D1
    """
    from mmsada_lab.data.kitchens.dataset import Kitchens
    from mmsada_lab.data.kitchens.export import export_kitchens as export

    typer.echo(f"epic:{export(destination, Kitchens(scale=scale) if scale is not None else None, tar=tar)}")
