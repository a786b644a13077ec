"""The command `mmsada report`: runs as a folder of pages that can be sent to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

report_app = typer.Typer()

_PAIRS = "Pairs that have pictures and an explorer, or all; by default the pair of most runs of each data set."


@report_app.command()
def report(
    runs: Annotated[Path, Argument(help="Folder of runs, or a zip file of kept ones.")],
    out: Annotated[Path, Option(help="Folder to write: a new one, or an earlier report, which is replaced.")] = Path(
        "report"
    ),
    pairs: Annotated[str, Option(metavar="D1-D2,D2-D3", help=_PAIRS)] = "",
    explorer: Annotated[
        bool, Option(help="Write the linked maps of each of these pairs, about ten seconds each.")
    ] = True,
    clips: Annotated[float, Option(min=0, help="Megabytes of clips in an explorer; 0 for none.")] = 20.0,
    jobs: Annotated[int, Option(help="Processes at once; -1: as many as there are cores.")] = -1,
) -> None:
    """Write what runs show as a folder: tables, curves, confusions, explorer, manifests, warnings. It needs no network.

    Example: mmsada report assets/reference_runs.zip --out report --pairs D1-D3

    Open report/index.html in any browser, or zip the folder and send it to somebody. Tables are as CSV beside it. Runs
    that are unfinished, damaged or lack something are named.
    """
    from mmsada_lab.sweeps.report.folder import ExplorerPlan, write_report

    chosen = pairs.split(",") if pairs else ()
    written = write_report(runs, out, pairs=chosen, explorer=ExplorerPlan(explorer, clips, jobs))
    for line in written.cautions:
        typer.echo(f"note: {line}", err=True)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    typer.echo(f"{written.index}: {written.runs} runs, {len(written.explorers)} explorers; {size:.1f} MB")
