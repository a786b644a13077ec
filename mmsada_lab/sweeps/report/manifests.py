"""What manifests say of runs: a table with a row each, and what to know before reading their results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmsada_lab.facts import FUSED
from mmsada_lab.runs import RunsSurvey
from mmsada_lab.sweeps.keep import without_folders

MANY = 5
"""So many runs are named in a sentence; all of them stand in the table."""


def runs_table(survey: RunsSurvey, runs_dir: Path) -> pd.DataFrame:
    """A row per run: its place below `runs_dir`, state, what it is of, its result, and what made it.

    Of a damaged run there is its place and what is wrong. Minutes are of training, top-1 (percent) is of the fused
    stream on the target's test segments.
    """
    rows = [_row(path, manifest) for path, manifest in (survey.finished | survey.unfinished).items()]
    rows += [{"run": path, "state": f"damaged: {reason}"} for path, reason in survey.damaged.items()]
    table = pd.DataFrame(rows, columns=["run", *_COLUMNS]).sort_values("run", ignore_index=True)
    state = [_brief(text, runs_dir) for text in table["state"]]
    return table.assign(run=[name_of(path, runs_dir) for path in table["run"]], state=state).astype(object).fillna("")


_COLUMNS = (
    "state data preset method source target seed top1 minutes version commit device digest data_digest ended".split()
)


def _row(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    config, result, git = manifest["config"], manifest.get("result") or {}, manifest.get("git") or {}
    top1 = result.get("target", {}).get(FUSED, {}).get("top1")
    return {
        "run": path,
        "state": manifest["status"] if manifest["status"] == "finished" else "unfinished",
        "data": without_folders(config["data"]),
        **{name: config[name] for name in ("preset", "method", "source", "target", "seed")},
        "top1": "" if top1 is None else f"{top1:.2f}",
        "minutes": f"{manifest.get('training_seconds', 0.0) / 60:.2f}",
        "version": manifest.get("versions", {}).get("mmsada_lab", ""),
        "commit": f"{git.get('commit', '')[:10]}{' + changes' if git.get('changed') else ''}",
        **{name: manifest.get(name, "") for name in ("device", "digest", "data_digest", "ended")},
    }


def name_of(path: Path | str, runs_dir: Path) -> str:
    """A run by its place in the folder or zip file."""
    return Path(path).relative_to(runs_dir).as_posix()


def _brief(text: str, runs_dir: Path) -> str:
    """A message without the folder that the runs lie in, which is nobody's business elsewhere."""
    return text.replace(f"{runs_dir}/", "")


def cautions(survey: RunsSurvey, runs_dir: Path) -> list[str]:
    """What is missing, damaged or uneven among runs, and what they themselves warn of: a sentence each."""
    manifests = survey.finished
    lines = [f"unfinished, and not in the results: {_named(survey.unfinished, runs_dir)}"] if survey.unfinished else []
    lines += [f"damaged, and left out: {_brief(reason, runs_dir)}" for reason in list(survey.damaged.values())[:MANY]]
    if more := len(survey.damaged) - MANY:
        lines += [f"{more} more are damaged: see the table of runs"] if more > 0 else []
    unlabelled = [path for path, manifest in manifests.items() if not manifest["result"]["target"]]
    if unlabelled:
        lines.append(f"without labelled test segments, so without an accuracy: {_named(unlabelled, runs_dir)}")
    lines += _uneven(manifests)
    warned = Counter(_said_by(manifests))
    return lines + [f"{line} ({count} run{'' if count == 1 else 's'})" for line, count in warned.items()]


def _said_by(manifests: Mapping[Path, Mapping[str, Any]]) -> Iterator[str]:
    """What each run warns of."""
    for manifest in manifests.values():
        if caution := manifest["result"].get("caution"):
            yield f"{manifest['config']['target']}: {caution}"
        yield from (f"{manifest['config']['data']}: {note}" for note in map(str, manifest.get("data_notes", ())))
        if manifest.get("skipped_steps"):
            yield "some steps were skipped, their gradients overflowed"
        if (manifest.get("git") or {}).get("changed"):
            yield "made from a checkout with changes that no commit holds"


def _uneven(manifests: Mapping[Path, Mapping[str, Any]]) -> Iterator[str]:
    """Where runs of one table were not made alike."""
    digests, twice = defaultdict(set), Counter(manifest["digest"] for manifest in manifests.values())
    for manifest in manifests.values():
        digests[manifest["config"]["data"]].add(manifest.get("data_digest"))
    for data, several in digests.items():
        if len(several) > 1:
            yield f"{data} changed between runs: {len(several)} digests of the data stand in one table"
    if copies := sum(count - 1 for count in twice.values()):
        yield f"{copies} runs stand twice in the folder; each counts once"
    for what, values in (
        ("versions of the package", {m.get("versions", {}).get("mmsada_lab") for m in manifests.values()}),
        ("commits", {(m.get("git") or {}).get("commit", "unknown")[:10] for m in manifests.values()}),
        ("devices", {m.get("device") for m in manifests.values()}),
    ):
        if len(values) > 1:
            yield f"made by {len(values)} {what}: {', '.join(sorted(map(str, values)))}"


def _named(paths: Iterable[Path], runs_dir: Path) -> str:
    names = [name_of(path, runs_dir) for path in paths]
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more
