"""The scene of an explorer: everything that the page shows, as JSON-ready values; arrays as base64.

What is drawn of it is written in ``view/``; ``docs/explorer.md`` lists every entry.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from mmsada_lab.analysis import style
from mmsada_lab.analysis.gap.table import gap_table
from mmsada_lab.analysis.neighbours import nearest, neighbour_overlap
from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.explorer.maps import MOST_HELD, aligned_maps, side_by_side, travel
from mmsada_lab.explorer.strips import TYPE, Strips, make_strips
from mmsada_lab.explorer.sweeps import sweep_entries
from mmsada_lab.explorer.views import NOT_KEPT, SERIES, Series, View, Views, collect_views
from mmsada_lab.facts import FUSED
from mmsada_lab.files import cache_root
from mmsada_lab.runs import read_arrays, write_arrays

VERSION = 1
NEIGHBOURS, ACROSS = 10, 5
"""Nearest segments that are looked at of each: of both domains, for their share, and of the other one, to be shown."""

_EXTENT = 32000  # of coordinates, which are 16-bit integers
_GAPS = {"MMD²": "mmd_median", "A-distance": "a_distance"}
_PIECE = 2_000_000  # bytes of clips in one message, about
STEADINESS = 0.5
"""Of maps: points travel half as far as without, for one or two of a hundred neighbours (benchmarks/README.md)."""

RATE = 8
"""Frames a second that clips are shown at."""

Json = dict[str, Any]


@dataclass(frozen=True)
class ExplorerScene:
    """What an explorer shows.

    Attributes:
        content: the scene, ready for JSON.
        strips: clips of the points; None where they are not to be had.
    """

    content: Json
    strips: Strips | None


def build_scene(
    runs_dir: Path,
    *,
    data: str | None = None,
    source: str | None = None,
    target: str | None = None,
    seed: int | None = None,
    series: Sequence[str] = (),
    at_most: int = 2000,
    steadiness: float = STEADINESS,
    clips: float = 20.0,
    jobs: int = -1,
    cache_dir: Path | None = None,
) -> ExplorerScene:
    """Read runs, lay their feature spaces out as maps that can be compared, and make their clips.

    Args:
        runs_dir: folder or zip file of finished runs.
        data: specification, if there are runs of several, or if the runs' own cannot be opened here.
        source: labelled domain; that of most runs if None.
        target: unlabelled domain.
        seed: of the runs that are compared.
        series: which to show, of method, checkpoint, λd, λc and seed; all that there are if empty.
        at_most: segments that are shown; more are sampled by domain and class, of each at least one.
        steadiness: of maps, 0 to 1, see `aligned_maps`.
        clips: megabytes of the page for clips; 0 for none.
        jobs: at once, as joblib counts them.
        cache_dir: of maps and clips, in place of the user's cache folder.

    Raises:
        UserError: no runs or series that can be shown; what is merely missing is told in the scene's notes.
    """
    if at_most < 4:
        raise UserError(f"at most {at_most} segments are too few for a map; give 4 or more")
    views = collect_views(runs_dir, data=data, source=source, target=target, seed=seed)
    views = _of_series(views, series).sampled(at_most)
    cache = cache_root(cache_dir)
    parallel = Parallel(n_jobs=jobs)
    entries = [
        _series(each, views, steadiness=steadiness, cache=cache / "maps", parallel=parallel) for each in views.series
    ]
    strips, notes = (None, ["no clips were asked for"]) if clips <= 0 else _strips(views, clips, jobs, cache_dir)
    if steadiness and len(views.uid) > MOST_HELD:
        notes.append(f"maps of more than {MOST_HELD:,} segments are not held steady: points travel more")
    compared = next((each for each in views.series if each.key == "method"), None)
    content = {
        "version": VERSION,
        "title": f"{views.data}, {views.pair}",
        "data": views.data,
        "notes": [*views.notes, *notes, *(strips.notes if strips else ())],
        "classes": list(views.classes),
        "domains": [{"name": views.pair.source, "side": "source"}, {"name": views.pair.target, "side": "target"}],
        "panels": [{"key": stream, "title": stream} for stream in (FUSED, *views.modalities)],
        "modalities": list(views.modalities),
        "colours": view_colours(),
        "points": {
            "uid": [str(uid) for uid in views.uid],
            "domain": coded((views.side == "target").astype(np.uint8)),
            "label": coded(views.label.astype(np.int16)),
        },
        "series": entries,
        "clips": _clip_facts(strips),
        "sweeps": sweep_entries(views),
        "reference": _reference(compared),
    }
    return ExplorerScene(content, strips)


def view_colours() -> Json:
    """Colours of the view, which are those of figures; the fused stream has none, it is drawn in the page's ink.

    Of `deep`, the end of the scale of percent, the first is for a light page and the second for a dark one.
    """
    (_, less), _, (_, more) = style.DIFFERENCE_SCALE
    return {
        "sides": style.DOMAIN_COLOURS,
        "streams": {stream: colour for stream, colour in style.STREAM_COLOURS.items() if stream != FUSED},
        "cycle": list(style.CYCLE),
        "more": more,
        "less": less,
        "deep": [style.PERCENT_SCALE[-1][1], style.KERNEL_SCALE[0][1]],
    }


def _of_series(views: Views, names: Sequence[str]) -> Views:
    """The same with these series alone, those that there are; all if no name is given."""
    for name in names:
        if name not in SERIES:
            raise unknown("series", name, SERIES)
    known = {each.key: each for each in views.series}
    chosen = tuple(known[name] for name in names or known if name in known)
    if not chosen:
        raise UserError(f"the runs have no {' or '.join(names)} to walk through; choose {', '.join(known)}")
    missing = [f"the runs have no {name} to walk through" for name in names if name not in known]
    return replace(views, series=chosen, notes=(*views.notes, *missing))


def _reference(methods: Series | None) -> Json | None:
    """The view that "flipped by adaptation" compares with: source-only, where it is shown."""
    is_shown = methods is not None and methods.views[0].key == "source_only"
    return {"series": "method", "view": "source_only"} if is_shown else None


def coded(array: NDArray[Any]) -> Json:
    """An array as the scene holds it: type, shape, little-endian bytes in base64.

    Example:
        >>> coded(np.array([1, 2], dtype=np.int16))
        {'dtype': 'int16', 'shape': [2], 'base64': 'AQACAA=='}
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": text}


def _series(series: Series, views: Views, *, steadiness: float, cache: Path, parallel: Parallel) -> Json:
    panels = [FUSED, *views.modalities]
    spaces = [[_space(view, panel) for view in series.views] for panel in panels]  # panels x views
    maps = parallel(delayed(_cached_maps)(of_panel, steadiness, cache) for of_panel in spaces)
    laid = [_scaled(of_panel) for of_panel in maps]
    facts = parallel(
        delayed(_facts)(view, views, [s[k] for s in spaces], [m[k] for m in maps])
        for k, view in enumerate(series.views)
    )
    entries = []
    for k, (view, of_view) in enumerate(zip(series.views, facts, strict=True)):
        positions = np.stack([of_panel[k] for of_panel in laid])  # (panels, N, 2)
        travelled = {p: round(travel(m[k - 1], m[k]), 4) for p, m in zip(panels, maps, strict=True)} if k else None
        entries.append(_entry(view, views, positions=positions) | of_view | {"travel": travelled})
    return {"key": series.key, "title": series.title, "views": entries}


def _space(view: View, panel: str) -> NDArray[np.float32]:
    """Features of a modality; of the fused stream those of all, each modality of the same total variance."""
    if panel != FUSED:
        return np.asarray(view.features[panel], dtype=np.float32)
    return side_by_side(view.features)


def _cached_maps(
    features: Sequence[NDArray[np.float32]], steadiness: float, cache: Path
) -> list[NDArray[np.floating[Any]]]:
    digest = hashlib.sha256(f"{VERSION} steady {steadiness}".encode())
    for values in features:
        digest.update(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes())
    path = cache / f"{digest.hexdigest()[:24]}.npz"
    if path.is_file():
        return list(read_arrays(path)["maps"])
    maps = aligned_maps(features, steadiness=steadiness)
    cache.mkdir(parents=True, exist_ok=True)
    write_arrays(path, {"maps": np.stack(maps)})
    return maps


def _scaled(maps: Sequence[NDArray[np.floating[Any]]]) -> list[NDArray[np.int16]]:
    """Maps of a series at one common scale, as 16-bit integers."""
    stacked = np.stack(maps)
    middle = (stacked.min(axis=(0, 1)) + stacked.max(axis=(0, 1))) / 2
    half = max(float(np.abs(stacked - middle).max()), 1e-12)
    return list(np.round((stacked - middle) / half * _EXTENT).astype(np.int16))


def _entry(view: View, views: Views, *, positions: NDArray[np.int16]) -> Json:
    """What is read off a view directly."""
    probabilities = np.stack([np.asarray(p, dtype=np.float32) for p in view.probabilities.values()])  # (streams, N, K)
    known = np.isfinite(probabilities).all(axis=2)
    filled = np.nan_to_num(probabilities)
    predicted = np.where(known, filled.argmax(axis=2), NOT_KEPT)
    windows = None
    if view.windows:
        stacked = np.stack([np.asarray(view.windows[stream], dtype=np.float32) for stream in view.probabilities])
        windows = coded(np.round(stacked * 255).astype(np.uint8))
    return {
        "key": view.key,
        "title": view.title,
        "value": view.value,
        "positions": coded(positions),
        "predicted": coded(predicted.astype(np.int16)),
        "confidence": coded(np.round(filled.max(axis=2) * 255).astype(np.uint8)),
        "windows": windows,
        "accuracy": dict(_accuracies(view, predicted, views)),
        "note": view.note,
    }


def _accuracies(view: View, predicted: NDArray[Any], views: Views) -> Iterable[tuple[str, dict[str, float]]]:
    """By stream and domain, in percent, of labelled segments with a prediction."""
    for stream, of_stream in zip(view.probabilities, predicted, strict=True):
        counted = (views.label >= 0) & (of_stream != NOT_KEPT)
        by_domain = {}
        for side, name in (("source", views.pair.source), ("target", views.pair.target)):
            rows = counted & (views.side == side)
            if rows.any():
                by_domain[name] = round(100 * float((of_stream[rows] == views.label[rows]).mean()), 1)
        yield stream, by_domain


def _facts(view: View, views: Views, spaces: Sequence[NDArray[Any]], maps: Sequence[NDArray[Any]]) -> Json:
    """What has to be computed of a view: neighbours, gaps, what maps keep."""
    count, panels = len(views.uid), [FUSED, *views.modalities]
    width = min(NEIGHBOURS, count - 1)
    near = [nearest(space.astype(np.float64), width) for space in spaces]
    own = [(views.side[rows] == views.side[:, None]).mean(axis=1) for rows in near]  # (N,) each
    across = [_across(space, views.side) for space in spaces]
    overlap = {
        panel: round(neighbour_overlap(rows, nearest(points, width)), 4)
        for panel, rows, points in zip(panels, near, maps, strict=True)
    }
    rows_type = np.uint16 if count <= np.iinfo(np.uint16).max else np.int32  # a page holds five a point and view
    return {
        "own": coded(np.round(100 * np.stack(own)).astype(np.uint8)),
        "across": coded(np.stack(across).astype(rows_type)) if all(len(a) for a in across) else None,
        "overlap": overlap,
        "gap": _gaps(view, views),
    }


def _across(values: NDArray[Any], sides: NDArray[Any]) -> NDArray[np.int64]:
    """Nearest segments of the other domain, `(N, ACROSS)`; empty where a domain has fewer."""
    from sklearn.neighbors import NearestNeighbors

    rows = {side: np.flatnonzero(sides == side) for side in ("source", "target")}
    if min(map(len, rows.values())) < ACROSS:
        return np.empty((0, ACROSS), dtype=np.int64)
    rows_across = np.empty((len(values), ACROSS), dtype=np.int64)
    for own, other in (("source", "target"), ("target", "source")):
        search = NearestNeighbors(n_neighbors=ACROSS, algorithm="brute").fit(values[rows[other]])
        rows_across[rows[own]] = rows[other][search.kneighbors(values[rows[own]], return_distance=False)]
    return rows_across


def _gaps(view: View, views: Views) -> Json:
    """Gap measures of all segments, by modality; empty where they cannot be taken."""
    try:
        table = gap_table(
            view.features, views.side, measures=list(_GAPS.values()), permutations=0, resamples=0, at_least=4
        )
    except UserError:
        return {}
    titles = {measure: title for title, measure in _GAPS.items()}
    gaps: Json = {}
    for row in table.to_dict("records"):
        if pd.notna(row["value"]):
            gaps.setdefault(row["modality"], {})[titles[row["measure"]]] = round(float(row["value"]), 4)
    return gaps


def _strips(views: Views, megabytes: float, jobs: int, cache_dir: Path | None) -> tuple[Strips | None, list[str]]:
    """Clips of the segments; none, with the reason, where the data are not to be had here."""
    from mmsada_lab.datasets.open import load_data

    try:
        opened = load_data(views.data)
        segments = list(_segments(opened, views))
    except (UserError, OSError) as error:
        return None, [f"no clips: {error}"]
    notes = []
    if views.data_digest and opened.digest != views.data_digest:
        notes.append("the data have changed since the runs were trained; clips may not be what networks saw")
    strips = make_strips(
        opened, segments, views.modalities, budget=int(megabytes * 1e6), jobs=jobs, cache_dir=cache_dir
    )
    return strips, notes


def _segments(data: MultiDomainData, views: Views) -> Iterable[tuple[str, Segment]]:
    """Domain and segment of every point."""
    known = {
        (domain.name, segment.uid): segment
        for domain in (data.domain(name) for name in views.pair)
        for segments in domain.splits.values()
        for segment in segments
    }
    name_of = {"source": views.pair.source, "target": views.pair.target}
    for uid, side in zip(views.uid.tolist(), views.side.tolist(), strict=True):
        if (segment := known.get((name_of[side], uid))) is None:
            raise UserError(f"{data.name} has no segment {uid} in {name_of[side]} any more")
        yield name_of[side], segment


def _clip_facts(strips: Strips | None) -> Json | None:
    if strips is None:
        return None
    count = max(len(next(iter(strips.coded.values()))), 1)
    piece = max(1, int(_PIECE / max(strips.bytes / count, 1)))
    shapes = {m: {"width": w, "height": h, "type": TYPE} for m, (w, h) in strips.shapes.items()}
    return {"piece": piece, "frames": strips.size.frames, "rate": RATE, "modalities": shapes}
