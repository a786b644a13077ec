"""Write a report: the index, an explorer for each pair that is shown, and all numbers as CSV; whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.analysis.report import describe_runs
from mmsada_lab.analysis.tables import pairs_by_target, write_count
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.files import locate, write_folder
from mmsada_lab.paper import DomainPair
from mmsada_lab.runs import join_world, now, survey_runs, to_json, versions
from mmsada_lab.sweeps.keep import without_folders
from mmsada_lab.sweeps.report.lines import RunGroup, group_runs
from mmsada_lab.sweeps.report.manifests import cautions, name_of, runs_table
from mmsada_lab.sweeps.report.page import render_index
from mmsada_lab.sweeps.report.pictures import UNREADABLE, group_pictures, method_pictures, overview, pair_runs

REPORT_MARK = "report.json"
"""Names the files of a report: by it a folder is known as one that may be replaced."""


@dataclass(frozen=True)
class WrittenReport:
    """Where the index is, how many runs it is of, its explorers, and what to know before reading it."""

    index: Path
    runs: int
    explorers: tuple[Path, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class ExplorerPlan:
    """Whether explorers are written, with how many megabytes of clips, by how many processes."""

    wanted: bool = True
    clips: float = 20.0
    jobs: int = -1


def write_report(
    runs_dir: Path, out: Path, *, pairs: Sequence[str] = (), explorer: ExplorerPlan | None = None
) -> WrittenReport:
    """Write what runs show as a folder that can be sent to somebody: it needs no network, and names no folder of yours.

    Args:
        runs_dir: folder or zip file of runs; unfinished and damaged ones are named.
        out: a new folder, or one that holds an earlier report and nothing else, which is replaced when the new one is
            whole.
        pairs: of which there are pictures and an explorer, ``D2-D1`` each or ``all``; that of most runs if empty.
        explorer: of each pair; by default one is written.

    Raises:
        UserError: no run, a pair that no run is of, or a folder that holds anything else than a report.
    """
    runs_dir, out, plan = Path(runs_dir), Path(out), explorer or ExplorerPlan()
    require_replaceable(out)
    survey = survey_runs(runs_dir)
    groups = group_runs(survey)
    chosen = _choose_pairs(groups, pairs)
    notes = without_folders(cautions(survey, runs_dir))
    with write_folder(out, replace=True) as draft:
        shown = [
            _show_group(group, of_group, draft, runs_dir, plan) for group, of_group in zip(groups, chosen, strict=True)
        ]
        for number, group in enumerate(shown, start=1):
            group |= {"number": number, "suffix": f", {group['title']}" if len(shown) > 1 else ""}
        table = runs_table(survey, runs_dir)
        results = _results(survey.results, runs_dir)
        counted = f"{len(survey.finished)} finished run{'' if len(survey.finished) == 1 else 's'}"
        by_whom = f"written {now()[:16].replace('T', ' ')} UTC by mmsada_lab {versions()['mmsada_lab']}"
        subtitle = f"{runs_dir.resolve().name}, {by_whom}"
        values = {"subtitle": subtitle, "groups": shown, "cautions": notes, "what": _what(groups), "runs": table}
        texts = {"index.html": render_index(f"Report on {counted}", values)}
        texts |= {"runs.csv": table.to_csv(index=False), "results.csv": results.to_csv(index=False)}
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        files = sorted(path.name for path in draft.iterdir())
        (draft / REPORT_MARK).write_bytes(to_json({"report of": counted, "files": files, "versions": versions()}))
        require_replaceable(out)  # it has taken a while
    explorers = tuple(out / name for name in files if name.startswith("explorer"))
    return WrittenReport(out / "index.html", len(survey.finished), explorers, tuple(notes))


def require_replaceable(out: Path) -> None:
    """Refuse a place that holds anything but an earlier report.

    Raises:
        UserError: a file, or a folder with files that no report has written.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; give --out a new folder, or that of an earlier report")
    names = {path.name for path in out.iterdir()}
    try:
        own = {REPORT_MARK, *json.loads((out / REPORT_MARK).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        own = set()
    if foreign := sorted(names - own):
        listed = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise UserError(f"{out} holds what no report has written ({listed}); choose a new folder, or move that away")


def _choose_pairs(groups: Sequence[RunGroup], wanted: Sequence[str]) -> list[list[DomainPair]]:
    """For each group the pairs that are pictured."""
    known = [pairs_by_target(group.runs) for group in groups]
    if list(wanted) == ["all"]:
        return known
    if not wanted:
        return [
            [max(pairs, key=lambda pair: _weight(group, pair))] if pairs else []
            for group, pairs in zip(groups, known, strict=True)
        ]
    names = {f"{pair.source}-{pair.target}": pair for pairs in known for pair in pairs}
    for name in wanted:
        if name not in names:
            raise unknown("pair", name, ["all", *names])
    return [[names[name] for name in wanted if names[name] in pairs] for pairs in known]


def _weight(group: RunGroup, pair: DomainPair) -> tuple[int, int]:
    """How many runs of a pair kept their features, and how many there are."""
    paths = _of_pair(group, pair)["path"].unique()
    return sum(map(_has_features, paths)), len(paths)


def _of_pair(group: RunGroup, pair: DomainPair) -> pd.DataFrame:
    return group.runs[(group.runs["source"] == pair.source) & (group.runs["target"] == pair.target)]


def _has_features(path: str) -> bool:
    return bool(locate(Path(path, "features.npz")).is_file())


def _show_group(
    group: RunGroup, pairs: Sequence[DomainPair], draft: Path, runs_dir: Path, plan: ExplorerPlan
) -> dict[str, Any]:
    """What the page shows of a group."""
    data = without_folders(group.data)
    notes = describe_runs(group.runs.assign(data=data))
    notes += [f"all runs have {', '.join(group.shared)}"] if group.shared else []
    shown = [_show_pair(group, pair, draft, runs_dir, plan) for pair in pairs]
    tables = {stream: group.table(stream) for stream in group.streams} if pairs_by_target(group.runs) else {}
    return {
        "title": f"{data}, {group.preset}",
        "tables": tables,
        "notes": notes,
        "sweeps": group_pictures(group),
        "pairs": shown,
    }


def _show_pair(group: RunGroup, pair: DomainPair, draft: Path, runs_dir: Path, plan: ExplorerPlan) -> dict[str, Any]:
    runs = pair_runs(group, pair)
    methods = [method for method in METHODS if method in set(runs["method"])]
    main = "mmsada" if "mmsada" in methods else methods[-1]
    pictures = [
        {"title": group.usual[method], "open": method == main, "shown": method_pictures(runs, method)}
        for method in methods
    ]
    file, notes = _write_explorer(group, pair, draft, runs_dir, plan)
    explorer = {"file": file.name, "size": f"{file.stat().st_size / 1e6:.1f} MB"} if file else None
    title = {"title": str(pair), "overview": overview(runs, pair)}
    return title | {"methods": pictures, "explorer": explorer, "notes": notes}


def _write_explorer(
    group: RunGroup, pair: DomainPair, draft: Path, runs_dir: Path, plan: ExplorerPlan
) -> tuple[Path | None, list[str]]:
    """The explorer of a pair in the world where most runs kept features; its notes, or why there is none."""
    from mmsada_lab.explorer.page import write_page
    from mmsada_lab.explorer.scene import build_scene

    runs = _of_pair(group, pair).drop_duplicates("path")
    kept = runs[[_has_features(path) for path in runs["path"]]]
    if not plan.wanted or kept.empty:
        reason = f"none of {write_count([len(runs)], 'run')} kept its features.npz" if plan.wanted else "not asked for"
        return None, [f"no explorer: {reason}"]
    world = int(kept["world"].mode()[0])
    data = join_world(group.data, world) if world else group.data
    try:
        scene = build_scene(runs_dir, data=data, **pair._asdict(), clips=plan.clips, jobs=plan.jobs)
    except UNREADABLE as error:
        return None, [without_folders(f"no explorer: {error}")]
    content = scene.content | {name: without_folders(scene.content[name]) for name in ("title", "data", "notes")}
    slug = re.sub(r"[^A-Za-z0-9]+", "-", f"{pair.source}-{pair.target}").strip("-")
    number = 1 + len(list(draft.glob("explorer-*")))
    page = draft / f"explorer-{number}-{slug}.html"
    return write_page(replace(scene, content=content), page, back="index.html"), content["notes"]


def _what(groups: Sequence[RunGroup]) -> pd.DataFrame:
    """A row per group: data, preset, pairs, methods, settings, seeds and worlds."""
    rows = []
    for group in groups:
        runs = group.runs.drop_duplicates("path")
        trained = runs.groupby("world")["seed"].nunique()
        rows.append(
            {
                "data": without_folders(group.data),
                "preset": group.preset,
                "pairs": ", ".join(map(str, pairs_by_target(runs))) or ", ".join(runs["target"].unique()),
                "methods": ", ".join(METHODS[method].title for method in group.usual),
                "settings": len(set(group.titles.values())),
                "worlds": runs["world"].nunique(),
                "seeds a world": write_count(trained, "seed"),
                "runs": len(runs),
                "hours": f"{runs['training_seconds'].sum() / 3600:.1f}",
            }
        )
    return pd.DataFrame(rows)


def _results(results: pd.DataFrame, runs_dir: Path) -> pd.DataFrame:
    """`load_runs` without folders of this machine."""
    if results.empty:
        return results
    runs = [name_of(path, runs_dir) for path in results["path"]]
    return results.assign(data=results["data"].map(without_folders), run=runs).drop(columns="path")
