"""Runs for an explorer: four that are trained here and keep their checkpoints, and a folder of many made of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from measure import progress, rounded
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from mmsada_lab.analysis.neighbours import nearest, neighbour_overlap
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.maps import aligned_maps, kept_neighbours, procrustes, side_by_side, travel
from mmsada_lab.explorer.scene import STEADINESS
from mmsada_lab.explorer.views import collect_views
from mmsada_lab.facts import FUSED
from mmsada_lab.files import locate, read_file
from mmsada_lab.runs import RunFolder, find_runs, read_arrays, read_manifest, write_arrays, write_json

REFERENCE = Path(__file__).parents[1] / "assets" / "reference_runs.zip"
SMALL = "kitchens:scale=0.01"
METHODS = ("source_only", "adversarial_only", "self_supervised_only", "mmsada")
TINY = ["pretrain.steps=4", "adapt.steps=4", "evaluate_every=2", "batch_size=8", "width=4", "test_windows=1"]
COMMAND = [sys.executable, "-c", "from mmsada_lab.cli.main import main; main()"]
NOISE = 0.3
"""Of a copied run's features, in standard deviations: as different as runs of other seeds need to be for other maps."""

Values = NDArray[np.floating[Any]]


def commanded(*words: str | Path, environment: dict[str, str] | None = None) -> str:
    """What the command `mmsada` says, or its mistake."""
    done = subprocess.run([*COMMAND, *map(str, words)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"mmsada {words[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def trained(runs: Path, *, quick: bool) -> Path:
    """The folder with a run of `quick` on D1->D3 of every method; those that are there are not trained again."""
    options = [word for option in TINY for word in ("-o", option)] if quick else []
    data = SMALL if quick else "kitchens"
    for method in progress(METHODS, "train"):
        pair = ("--source", "D1", "--target", "D3", "--method", method, "--data", data, "--device", "cpu")
        commanded("train", "--preset", "quick", *pair, "--runs", runs, *options)
    return runs


def multiplied(trained_runs: Path, runs: Path, count: int) -> Path:
    """So many runs in a new folder: those trained, the reference's that kept features, and copies under other seeds."""
    shutil.copytree(trained_runs, runs)
    kept = [path for path in find_runs(REFERENCE) if locate(path / "features.npz").is_file()]
    sources = [*find_runs(trained_runs), *kept]
    for seed in range(count):
        for source in sources:
            if len(find_runs(runs)) == count:
                return runs
            copied(source, runs, seed)
    return runs


def copied(source: Path, runs: Path, seed: int) -> None:
    """One run under another seed, its features with noise of that seed; nothing where there is one already."""
    manifest = read_manifest(source / "manifest.json")
    config = replace(ExperimentConfig(**manifest["config"]), seed=seed)
    folder = RunFolder(runs, config, data_name="kitchens").path
    if folder.exists():
        return
    folder.mkdir(parents=True)
    changed = {"config": manifest["config"] | {"seed": seed}, "digest": config.digest}
    write_json(folder / "manifest.json", manifest | changed)
    for name in ("history.jsonl", "features.npz", "predictions.npz"):
        (folder / name).write_bytes(read_file(source / name))
    if seed:
        rng, arrays = np.random.default_rng(seed), read_arrays(folder / "features.npz")
        for name, values in arrays.items():
            if name.startswith(("f_", "own_")):
                arrays[name] = (values + NOISE * values.std() * rng.normal(size=values.shape)).astype(values.dtype)
        write_arrays(folder / "features.npz", arrays)


def travel_rows(runs: Path, *, seeds: int) -> Iterator[list[object]]:
    """Of each series and stream and each way to make maps: travel, overlap, and both beside independent maps."""
    views = collect_views(runs)
    for series in views.series:
        if series.key in ("method", "checkpoint"):
            for stream in progress((FUSED, *views.modalities), series.title):
                spaces = [side_by_side(v.features) if stream == FUSED else v.features[stream] for v in series.views]
                yield from compared_maps(f"{series.title}, {stream}", spaces, seeds=seeds)


def compared_maps(title: str, spaces: Sequence[Values], *, seeds: int) -> Iterator[list[object]]:
    """One row for each way to make maps of the same features; the last cell: neighbours that features keep."""
    near = [nearest(space.astype(np.float64), min(10, len(space) - 1)) for space in spaces]
    stays = 100 * float(np.mean([neighbour_overlap(*pair) for pair in pairwise(near)]))
    jobs = Parallel(n_jobs=-1)
    random = jobs(
        delayed(plain_map)(space, seed + seeds * k) for seed in range(seeds) for k, space in enumerate(spaces)
    )
    ways = {
        "independent": [chained([points for (points,) in jobs(delayed(aligned_maps)([space]) for space in spaces)])],
        "independent, random starts": [
            chained(random[k : k + len(spaces)]) for k in range(0, len(random), len(spaces))
        ],
    }
    for steadiness in (0.0, STEADINESS):
        ways[f"aligned, steadiness {steadiness:g}"] = [aligned_maps(spaces, steadiness=steadiness)]
    measured = {
        name: np.mean([travel_and_overlap(spaces, maps) for maps in repeats], axis=0) for name, repeats in ways.items()
    }
    alone = measured["independent"]
    for name, (way, kept) in measured.items():
        figures = (way, way / alone[0], 100 * kept, round(100 * (kept - alone[1]), 2), stays)
        yield [f"{title} ({len(spaces)}): {name}", *(rounded(float(value)) for value in figures)]


def plain_map(space: Values, seed: int) -> Values:
    """t-SNE as scikit-learn has it, from a random start."""
    perplexity = min(30.0, (len(space) - 1) / 3)
    fitted: Values = TSNE(init="random", perplexity=perplexity, random_state=seed).fit_transform(space)
    return fitted.astype(np.float64)


def travel_and_overlap(spaces: Sequence[Values], maps: Sequence[Values]) -> tuple[float, float]:
    """Mean travel from a map to the next, and mean share of neighbours that maps keep."""
    kept = [kept_neighbours(*pair) for pair in zip(spaces, maps, strict=True)]
    return float(np.mean([travel(*pair) for pair in pairwise(maps)])), float(np.mean(kept))


def chained(maps: Sequence[Values]) -> list[Values]:
    """Each map laid over the one before as well as turning, mirroring and scaling can."""
    laid = [maps[0]]
    for now in maps[1:]:
        laid.append(procrustes(now, laid[-1]))
    return laid
