"""Which runs go into an explorer, and what each contributes: views of the same segments, in series that can be walked.

A *view* is a network's features and predictions of the test segments of one pair of domains; a *series* is an order of
views: methods, steps of a run, values of a swept option, seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.facts import FUSED, METHODS
from mmsada_lab.files import locate
from mmsada_lab.paper import DomainPair
from mmsada_lab.presets import build_config
from mmsada_lab.runs import RunsSurvey, join_world, load_runs, read_arrays, read_manifest, split_world, survey_runs

SERIES = ("method", "λd", "λc", "seed", "checkpoint")
"""Keys of the series that there can be, in their order."""

Arrays = Mapping[str, NDArray[Any]]

NOT_KEPT = -1
"""Prediction of a segment that a run of an older version kept none of."""


@dataclass(frozen=True)
class View:
    """Features and predictions of `N` segments by one network.

    Attributes:
        key: unique in its series.
        title: for the eye.
        value: of the swept option, or the step; None for a method or seed.
        features: `(N, F)` by modality.
        probabilities: `(N, K)` by stream; not a number where none were kept.
        windows: `(N, windows, K)` by stream; empty where none were kept.
        note: what to know of it.
    """

    key: str
    title: str
    value: float | None
    features: Arrays
    probabilities: Arrays
    windows: Arrays
    note: str = ""

    def rows(self, chosen: NDArray[np.int64]) -> View:
        """The same of some segments."""
        arrays: dict[str, Any] = {n: {k: v[chosen] for k, v in getattr(self, n).items()} for n in _ARRAYS}
        return replace(self, **arrays)


_ARRAYS = ("features", "probabilities", "windows")


@dataclass(frozen=True)
class Series:
    """Views in an order that can be walked: its key, title and views."""

    key: str
    title: str
    views: tuple[View, ...]


@dataclass(frozen=True)
class Views:
    """Everything that the runs of one pair of domains show of the same segments.

    Attributes:
        data: specification of the data, its world named.
        data_digest: of the data that the runs were trained on.
        pair: source and target.
        classes: names.
        modalities: in order.
        uid: `(N,)`.
        side: `(N,)` source or target.
        label: `(N,)`, -1 where unknown.
        series: at least one.
        runs: rows of `load_runs` of this data set, all pairs, seeds and worlds.
        notes: what was left out.
    """

    data: str
    data_digest: str
    pair: DomainPair
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    uid: NDArray[np.str_]
    side: NDArray[np.str_]
    label: NDArray[np.int64]
    series: tuple[Series, ...]
    runs: pd.DataFrame
    notes: tuple[str, ...]

    def sampled(self, at_most: int, *, seed: int = 0) -> Views:
        """About so many segments: every domain and class keeps its share, and at least one; a note says so."""
        if len(self.uid) <= at_most:
            return self
        rng = np.random.default_rng(seed)
        groups = pd.DataFrame({"side": self.side, "label": self.label}).groupby(["side", "label"]).indices.values()
        share = at_most / len(self.uid)
        drawn = [rng.choice(rows, max(1, int(len(rows) * share)), replace=False) for rows in groups]
        chosen = np.sort(np.concatenate(drawn))
        series = tuple(replace(s, views=tuple(view.rows(chosen) for view in s.views)) for s in self.series)
        note = f"{len(chosen)} of {len(self.uid)} segments are shown, drawn by domain and class (seed {seed})"
        arrays = {name: getattr(self, name)[chosen] for name in ("uid", "side", "label")}
        return replace(self, series=series, notes=(note, *self.notes), **arrays)


@dataclass(frozen=True)
class _Run:
    """A finished run that kept features."""

    path: Path
    config: ExperimentConfig
    manifest: Mapping[str, Any]

    def holds(self, name: str) -> bool:
        return bool(locate(self.path / name).is_file())

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        return read_arrays(self.path / name)


def collect_views(
    runs_dir: Path,
    *,
    data: str | None = None,
    source: str | None = None,
    target: str | None = None,
    seed: int | None = None,
) -> Views:
    """Read what finished runs of one pair of domains show; where there are several pairs, that with most runs.

    Args:
        runs_dir: folder or zip file of runs.
        data: specification, if there are runs of several.
        source: labelled domain.
        target: unlabelled domain.
        seed: of the runs that are compared; the smallest that most methods have if None.

    Raises:
        UserError: no finished run that kept its features, or none of the pair that is asked for.
    """
    survey = survey_runs(Path(runs_dir))
    runs = load_runs(Path(runs_dir)) if survey.results.empty else survey.results  # its error says why there is none
    listed = runs.drop_duplicates("path")
    listed = listed.assign(
        specification=[_specified(*pair) for pair in zip(listed["data"], listed["world"], strict=True)]
    )
    wanted = {"specification": data, "source": source, "target": target, "seed": seed}
    kept = listed[[bool(locate(Path(path, "features.npz")).is_file()) for path in listed["path"]]]
    kept = kept[kept["source"] != kept["target"]]  # supervised target has no source to be mapped beside
    for column, value in wanted.items():
        if value is not None:
            kept = kept[kept[column] == value]
    if kept.empty:
        asked = ", ".join(f"{column} {value}" for column, value in wanted.items() if value is not None)
        raise UserError(
            f"no finished run{f' of {asked}' if asked else ''} in {runs_dir} has its features.npz and two domains; "
            "train one (mmsada train), or name another folder, pair or seed"
        )
    groups = kept.groupby(["specification", "source", "target"], sort=False)
    sizes = groups.size()
    key: tuple[str, str, str] = sizes.idxmax()  # type: ignore[assignment]  # of three columns
    chosen = groups.get_group(key)
    opened = [_open(Path(path)) for path in chosen["path"]]
    first = opened[0]
    notes = [*_told_of_others(sizes, key), *_told_of_unread(survey)]
    alike, other = _of_one_data_set(opened)
    notes += other
    series, facts, left_out = _series(alike, seed)
    return Views(
        data=key[0],
        data_digest=str(first.manifest.get("data_digest", "")),
        pair=DomainPair(*key[1:]),
        classes=tuple(first.manifest["classes"]),
        modalities=tuple(first.config.modalities),
        series=series,
        runs=runs[(runs["data"] == chosen["data"].iloc[0])],
        notes=(*notes, *left_out),
        **facts,
    )


def _specified(data: str, world: int) -> str:
    return join_world(data, world) if world else data


def _open(path: Path) -> _Run:
    manifest = read_manifest(path / "manifest.json")
    return _Run(path, ExperimentConfig(**manifest["config"]), manifest)


def _told_of_others(sizes: pd.Series[int], chosen: tuple[str, str, str]) -> Iterable[str]:
    others = [
        f"{source}→{target} of {data}" for data, source, target in sizes.index if (data, source, target) != chosen
    ]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        yield f"the runs folder also has {', '.join(others[:5])}{more}; choose with data, source and target"


def _told_of_unread(survey: RunsSurvey) -> Iterable[str]:
    for kind, hint, left in (
        ("not finished", "; start again and it continues", len(survey.unfinished)),
        ("damaged", "", len(survey.damaged)),
    ):
        if left:
            yield f"{left} {'run is' if left == 1 else 'runs are'} {kind}: left out{hint}"


def _of_one_data_set(runs: Sequence[_Run]) -> tuple[list[_Run], list[str]]:
    """Runs whose data, classes and modalities are those of most; notes on the others."""

    def facts(run: _Run) -> tuple[Any, ...]:
        return run.manifest.get("data_digest"), tuple(run.manifest["classes"]), run.config.modalities

    keys = [facts(run) for run in runs]
    usual = max(keys, key=keys.count)
    alike = [run for run, key in zip(runs, keys, strict=True) if key == usual]
    left = len(runs) - len(alike)
    return alike, [f"{left} runs are of other data, classes or modalities than the rest: left out"] if left else []


def _series(runs: Sequence[_Run], seed: int | None) -> tuple[tuple[Series, ...], dict[str, Any], list[str]]:
    """All series there are; the facts of the segments; notes."""
    seeds = sorted({run.config.seed for run in runs})
    methods = {s: {run.config.method for run in runs if run.config.seed == s} for s in seeds}
    chosen = max(seeds, key=lambda s: len(methods[s])) if seed is None else seed
    of_seed = [run for run in runs if run.config.seed == chosen]
    usual = _usual(of_seed)
    walks: list[tuple[str, str, list[tuple[str, str, float | None, _Run]]]] = []
    walks.append(("method", "method", [(m, METHODS[m].title, None, run) for m, run in usual.items()]))
    walks += [(name, name, members) for name, swept in _SWEPT.items() if (members := _sweep(of_seed, swept))]
    main = usual.get("mmsada") or list(usual.values())[-1]
    same = [run for run in runs if replace(run.config, seed=0).digest == replace(main.config, seed=0).digest]
    if len(same) > 1:
        title = f"seed of {METHODS[main.config.method].title}"
        walks.append(("seed", title, [(str(r.config.seed), f"seed {r.config.seed}", None, r) for r in same]))
    reference = _facts(main.arrays("features.npz"))
    notes, series = [f"runs of seed {chosen}"] if len(seeds) > 1 else [], []
    for key, title, members in walks:
        views = []
        for name, shown, value, run in members:
            view = _view(run, name, shown, value, reference["uid"])
            views += [view] if view is not None else []
            notes += [] if view is not None else [f"{shown} ({key}) is of other test segments: left out"]
        if len(views) > (key != "method"):
            series.append(Series(key, title, tuple(views)))
    series += _checkpoints(usual, reference["uid"])
    if not any(s.key == "checkpoint" for s in series):
        notes.append("no run kept features of its checkpoints (keep_features), so there are no steps to walk through")
    return tuple(series), reference, list(dict.fromkeys(notes))


def _usual(runs: Sequence[_Run]) -> dict[str, _Run]:
    """One run a method, in their order: that of the preset as it is, else the one with the usual λ, else the first."""
    usual = {}
    for method in METHODS:
        of_method = [run for run in runs if run.config.method == method]
        if of_method:
            usual[method] = min(of_method, key=_unusualness)
    return usual


def _unusualness(run: _Run) -> tuple[bool, float]:
    config = run.config
    named: dict[str, Any] = {name: getattr(config, name) for name in ("source", "target", "method", "seed")}
    plain = build_config(config.preset, data=config.data, **named)
    return config.digest != plain.digest, abs(config.reversal_coefficient - plain.reversal_coefficient)


def _without_pretext(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with the self-supervised task at a weight that all share."""
    stages: dict[str, Any] = {}
    for name, stage in config.stages:
        weights = {term: 1.0 if term == config.pretext else weight for term, weight in stage.weights.items()}
        stages[name] = replace(stage, weights=weights)
    return replace(config, **stages)


class _Swept(NamedTuple):
    """An option: its value in a configuration, and the configuration without it."""

    value: Callable[[ExperimentConfig], float]
    without: Callable[[ExperimentConfig], ExperimentConfig]


_SWEPT = {
    "λd": _Swept(lambda c: c.lambda_d, lambda c: replace(c, reversal_coefficient=0.0)),
    "λc": _Swept(lambda c: c.lambda_c, _without_pretext),
}


def sweep_values(runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Swept options of MM-SADA among rows of `load_runs`: name -> digest of a run -> its value, two values or more.

    The runs of a sweep differ in nothing else but seed and world; of several sweeps the one with most values is taken.
    """
    opened = [_open(Path(path)) for path in runs.loc[runs["method"] == "mmsada", "path"].unique()]
    return {name: swept_values for name, swept in _SWEPT.items() if (swept_values := _longest(opened, swept))}


def _longest(runs: Sequence[_Run], swept: _Swept) -> dict[str, float]:
    groups: dict[str, dict[str, float]] = {}
    for run in runs:
        plain = replace(run.config, seed=0, data=split_world(run.config.data)[0])
        groups.setdefault(swept.without(plain).digest, {})[run.config.digest] = round(swept.value(run.config), 6)
    longest = max(groups.values(), key=lambda found: len(set(found.values())), default={})
    return longest if len(set(longest.values())) > 1 else {}


def _sweep(runs: Sequence[_Run], swept: _Swept) -> list[tuple[str, str, float | None, _Run]]:
    """The sweep of MM-SADA among runs of one seed; empty where there is none."""
    values = _longest([run for run in runs if run.config.method == "mmsada"], swept)
    members = sorted(
        ((values[run.config.digest], run) for run in runs if run.config.digest in values), key=lambda pair: pair[0]
    )
    return [(f"{value:g}", f"{value:g}", value, run) for value, run in members]


def _facts(arrays: Arrays) -> dict[str, Any]:
    return {"uid": arrays["uid"], "side": arrays["side"], "label": arrays["label"].astype(np.int64)}


def _view(run: _Run, key: str, title: str, value: float | None, uid: NDArray[np.str_]) -> View | None:
    """What a run shows at its end; None if its segments are others."""
    arrays = run.arrays("features.npz")
    if not np.array_equal(arrays["uid"], uid):
        return None
    features = _named(arrays, "f_")
    windows, note = {}, ""
    if run.holds("windows.npz"):
        windows = _named(run.arrays("windows.npz"), "w_")
    else:
        note = "kept no scores of single windows"
    probabilities = {stream: w.astype(np.float32).mean(axis=1) for stream, w in windows.items()}
    if run.holds("predictions.npz"):
        of_target = _named(run.arrays("predictions.npz"), "p_")  # (evaluations, N of the target, K)
        target = np.flatnonzero(arrays["side"] == "target")
        for stream, kept in of_target.items():
            if stream not in probabilities:
                probabilities[stream] = np.full((len(uid), kept.shape[2]), np.nan, dtype=np.float32)
                note = "kept no predictions of the source"
            probabilities[stream][target] = kept[-1]
    return View(key, title, value, features, _in_order(probabilities, features), windows, note)


def _in_order(probabilities: Mapping[str, NDArray[Any]], features: Arrays) -> dict[str, NDArray[Any]]:
    """The fused stream first; a stream of which nothing was kept has no prediction."""
    count = len(next(iter(features.values())))
    width = next((p.shape[1] for p in probabilities.values()), 1)
    nothing = np.full((count, width), np.nan, dtype=np.float32)
    return {stream: probabilities.get(stream, nothing) for stream in (FUSED, *features)}


def _named(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _checkpoints(usual: Mapping[str, _Run], uid: NDArray[np.str_]) -> list[Series]:
    """Steps of MM-SADA's training, or of the last method that kept some."""
    runs = [run for run in usual.values() if run.holds("checkpoints.npz")]
    if not runs:
        return []
    run = usual["mmsada"] if usual.get("mmsada") in runs else runs[-1]
    arrays = run.arrays("checkpoints.npz")
    if not np.array_equal(arrays["uid"], uid):
        return []
    features, probabilities = _named(arrays, "f_"), _named(arrays, "p_")
    views = []
    for k, step in enumerate(arrays["steps"].tolist()):
        of_step = {m: f[k].astype(np.float32) for m, f in features.items()}
        predicted = _in_order({s: p[k].astype(np.float32) for s, p in probabilities.items()}, of_step)
        stage = "first stage" if step <= run.config.pretrain.steps else "second stage"
        views.append(View(str(step), f"step {step}", float(step), of_step, predicted, {}, stage))
    title = f"step of {METHODS[run.config.method].title}"
    return [Series("checkpoint", title, tuple(views))] if len(views) > 1 else []
