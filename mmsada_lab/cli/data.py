"""The `mmsada data` commands: import, split, check, show, export. Each calls one public function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from mmsada_lab.datasets.open import describe_formats, find_format

data_app = typer.Typer(
    help="Get data in: import videos, build splits, check a data set, look at a segment, export the kitchens.",
    no_args_is_help=True,
)

# Help that would not fit beside its option.
_CLIPS = (
    "A folder CLIPS/DOMAIN/LABEL/*.mp4 (any format; CLIPS/DOMAIN/unlabelled/* for clips without a label), "
    "or a CSV with the columns video, domain and, where known, label, start and stop in seconds, split, uid."
)
_FRAMES = "New folder for frames, flow and segments.csv: epic:DST reads it."
_FLOW = "Optical flow: tvl1 (as in EPIC-Kitchens; about a second a frame), dis (forty times as fast) or farneback."
_BOUND = "Largest flow stored, pixels. By default 25 at a height of 256, in proportion at others."
_DILATION = "Frames that flow spans. EPIC-Kitchens has 3 at 60 frames a second; at 25 or 30, 1 or 2 take about as long."
_HEIGHT = "Height of all frames, pixels; the width follows. EPIC-Kitchens has 256."
_FPS = "Frames a second of all videos, 30 or 30000/1001; each keeps its own by default."
_TEST_CLIPS = "Share of each class's clips that become test clips where the CSV does not say."
_AGAIN = "Import again the videos that were imported with other settings."
_LABELLED = "Labelled tables: EPIC_train_action_labels.csv, EPIC_100_train.csv, ..."
_DOMAINS = "A domain and its kitchens, D1=P08 or D4=P01+P03, or videos, T=P01_1??. Repeat for each domain."
_VERBS = "The classes: take,put,wash; first-8 for classes 0 to 7 (the paper); all."
_HELD_OUT = "Without --test: share of a domain's segments that are held out, in whole videos."
_NAMES = "EPIC_verb_classes.csv, for the classes' names; found beside the first CSV."
_FAST = "Read only the first and last frame, of at most 50 segments of each domain and split."
_SHOWN_AS = "A page (.html) that needs no network, or an animation (.gif)."
_SCALE = "Number of segments relative to EPIC-Kitchens, above 0 up to 1. By default 0.08, about a thousand."
_REPORT = "Write the whole report to this file, with all findings."
_KNOBS = "How much the kitchens differ, from 0 to 1, as in kitchens:appearance=0.5,motion=0. Also seed."

Spec = Annotated[str, Argument(metavar="SPEC", help=describe_formats())]


@data_app.command("import-videos")
def import_videos(
    context: typer.Context,
    path: Annotated[Path, Argument(metavar="CLIPS", path_type=Path, help=_CLIPS)],
    destination: Annotated[Path, Argument(metavar="DST", path_type=Path, help=_FRAMES)],
    algorithm: Annotated[str, Option(metavar="NAME", help=_FLOW)] = "tvl1",
    bound: Annotated[float | None, Option(help=_BOUND)] = None,
    dilation: Annotated[int, Option(min=1, help=_DILATION)] = 3,
    height: Annotated[int, Option(min=16, help=_HEIGHT)] = 256,
    fps: Annotated[str | None, Option(metavar="RATE", help=_FPS)] = None,
    quality: Annotated[int, Option(min=1, max=100, help="Of the JPEG files: 1 is coarse, 100 fine.")] = 95,
    test_fraction: Annotated[float, Option(help=_TEST_CLIPS)] = 0.25,
    seed: Annotated[int, Option(min=0, help="Of the draw of the test clips.")] = 0,
    jobs: Annotated[int | None, Option(min=1, help="Videos at once, a process each; one a core by default.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help=_AGAIN)] = False,
) -> None:
    """Turn clips of several sites into frames and optical flow, in the layout of EPIC-Kitchens.

    Example: mmsada data import-videos clips frames --algorithm dis

    Then: mmsada train --data epic:frames --source home --target away

    An interrupted import continues when the same command is given again: finished videos are skipped.

    Exit status 0: all is imported; 1: some files were rejected, each is named with the reason, the others are imported.
    """
    from mmsada_lab.prepare.videos import importing

    report = importing.import_videos(**context.params)  # it has the parameters of this command
    typer.echo("\n".join([*report.lines(), f"epic:{destination}"]))
    if report.rejected:
        raise typer.Exit(1)


@data_app.command()
def split(
    annotations: Annotated[list[Path], Argument(metavar="CSV", help=_LABELLED)],
    to: Annotated[Path, Option(help="The segments.csv to write, or the folder for it.")],
    domain: Annotated[list[str], Option(metavar="NAME=KITCHENS", help=_DOMAINS)],
    verbs: Annotated[str, Option(metavar="NAMES", help=_VERBS)] = "first-8",
    test: Annotated[list[Path], Option(metavar="CSV", help="Labelled table of the test segments. Repeatable.")] = [],  # noqa: B006 - typer copies it
    test_fraction: Annotated[float, Option(help=_HELD_OUT)] = 0.2,
    seed: Annotated[int, Option(min=0, help="Of the draw of the test videos.")] = 0,
    verb_classes: Annotated[Path | None, Option(metavar="CSV", help=_NAMES)] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a table that is there.")] = False,
) -> None:
    """Choose kitchens and verbs from EPIC-Kitchens' annotations and write the segments.csv that epic:ROOT reads.

    Example: mmsada data split EPIC_train_action_labels.csv --to EPIC/segments.csv --domain D1=P08 --domain D2=P01

    Then: mmsada train --data epic:EPIC --source D1 --target D2

    EPIC's own test labels were never released: unless --test is given, whole videos of the tables are held out.
    """
    from mmsada_lab.prepare.epic_split import build_split, parse_domains, parse_verbs, write_split

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
    for name, splits in table.groupby("domain")["split"]:
        typer.echo(f"{name}: {sum(splits == 'train')} training and {sum(splits == 'test')} test segments")
    classes = table.sort_values("verb_class")["verb"].unique()
    typer.echo(f"classes ({len(classes)}): {', '.join(classes)}\n{file}")


@data_app.command()
def check(
    specification: Spec,
    fast: Annotated[bool, Option("--fast", help=_FAST)] = False,
    json: Annotated[Path | None, Option(metavar="FILE", help=_REPORT)] = None,
    jobs: Annotated[int | None, Option(min=1, help="Processes that read; up to one a core by default.")] = None,
) -> None:
    """Read a data set once and report what would stop or spoil a run.

    Example: mmsada data check epic:frames --json report.json

    Missing and damaged files, segments outside their video, classes that cannot be tested, duplicates, dead signals.

    Exit status 0: fit to train on, warnings aside; 1: there are errors.
    """
    from mmsada_lab.prepare.doctor.check import check_data

    find_format(specification)  # a typo in the format name, not a problem of the data: no report
    report = check_data(specification, fast=fast, jobs=jobs)
    typer.echo(report.as_text())
    if json is not None:
        typer.echo(report.write_json(json))
    if not report.ok:
        raise typer.Exit(1)


@data_app.command()
def show(
    specification: Spec,
    uid: Annotated[str, Option(help="Of the segment; if there is none, the error names the nearest.")],
    to: Annotated[Path, Option(help=_SHOWN_AS)] = Path("segment.html"),
    windows: Annotated[int, Option(min=1, help="Number of test windows on the page.")] = 5,
) -> None:
    """Show a segment: its frames with their flow, and the windows that training and testing take from it.

    Example: mmsada data show kitchens --uid D1_train_0000

    Or: mmsada data show kitchens --uid D1_train_0000 --to D1_train_0000.gif
    """
    from mmsada_lab.prepare.show.segment import show_segment

    typer.echo(show_segment(specification, uid, to, windows=windows))


@data_app.command("export-kitchens")
def export_kitchens(
    destination: Annotated[Path, Argument(metavar="DIR", help="New folder: epic:DIR reads it.")],
    tar: Annotated[bool, Option("--tar", help="A tar for each video and modality, not a folder.")] = False,
    scale: Annotated[float | None, Option(help=_SCALE)] = None,
    knobs: Annotated[str, Option(metavar="KNOB=VALUE,...", help=_KNOBS)] = "",
) -> None:
    """Write the embedded kitchens as JPEG frames and annotations in the layout of EPIC-Kitchens.

    Example: mmsada data export-kitchens jpeg --scale 0.01

    Then: mmsada train --data epic:jpeg --source D2 --target D1

    It shows the use of real frames without a download. An interrupted export continues when it is given again.
    """
    from mmsada_lab.datasets.kitchens.loader import parse_knobs
    from mmsada_lab.prepare.export_kitchens import export_kitchens as export

    chosen = f"{knobs},scale={scale}" if scale is not None else knobs
    typer.echo(f"epic:{export(destination, parse_knobs(chosen), tar=tar)}")
