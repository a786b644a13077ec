"""What looking at a feature space costs, from 500 segments to 32,000: time, memory, and how true the picture is.

    python benchmarks/embedding.py                     # 1,024-d features, up to 32,000 segments
    python benchmarks/embedding.py --most 8000

For each number of segments, half of them of each domain, every way is run once in a process of its own:

- `joint_embedding`, t-SNE and UMAP, of all segments, and t-SNE of 400 of each domain, as notebooks draw it;
- the obvious alternatives: scikit-learn's TSNE and umap-learn as they come, and two principal components;
- `embedding_summary`: neighbour overlap, trustworthiness and separation, from all distances in blocks.

A way that takes more than `--patience` seconds is not tried with more segments. Quality is of a sample of 2,000.

Written: embedding.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
from measure import parser, progress, resident_bytes, rounded, run, save, table, timed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mmsada_lab.analysis.embedding import joint_embedding
from mmsada_lab.analysis.neighbours import embedding_summary, nearest, neighbour_overlap

SIZES = (500, 2000, 8000, 32_000)
WIDTH, CLASSES, SAMPLE, LATENT = 1024, 8, 2000, 24
Features = Mapping[str, NDArray[Any]]


def features_of(segments: int, *, width: int = WIDTH) -> dict[str, NDArray[Any]]:
    """Arrays as in a run's ``features.npz``: eight classes in two domains that are shifted against each other.

    Differences within a class live in 24 directions, as features of a network live in few; neighbours mean something.
    """
    rng = np.random.default_rng(0)
    label = rng.integers(CLASSES, size=segments)
    side = np.where(np.arange(segments) < segments // 2, "source", "target")
    centres, shift = rng.normal(size=(CLASSES, width)), 0.5 * rng.normal(size=width)
    within = rng.normal(size=(segments, LATENT)) @ rng.normal(size=(LATENT, width)) / LATENT**0.5
    values = centres[label] + within + shift * (side == "target")[:, None] + 0.1 * rng.normal(size=(segments, width))
    uid = np.array([f"s{n}" for n in range(segments)])
    return {"f_rgb": values.astype(np.float32), "side": side, "label": label, "uid": uid}


def _joint(features: Features, method: str, at_most: int = 10**9) -> NDArray[Any]:
    return joint_embedding(features, "rgb", method=method, at_most=at_most)[["x", "y"]].to_numpy()


def _sklearn_tsne(features: Features) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    found: NDArray[Any] = TSNE(random_state=0).fit_transform(features["f_rgb"])
    return found


def _plain_umap(features: Features) -> NDArray[Any]:
    import umap

    found: NDArray[Any] = umap.UMAP().fit_transform(features["f_rgb"])
    return found


def _principal(features: Features) -> NDArray[Any]:
    from sklearn.decomposition import PCA

    found: NDArray[Any] = PCA(2, random_state=0).fit_transform(features["f_rgb"])
    return found


def _summary(features: Features) -> NDArray[Any]:
    """What `embedding_summary` costs; its picture is the first two features, which cost nothing."""
    picture = features["f_rgb"][:, :2]
    where = {"x": picture[:, 0], "y": picture[:, 1], "modality": "rgb", "side": features["side"]}
    embedding_summary(features, pd.DataFrame({**where, "row": np.arange(len(picture))}))
    return picture


WAYS: dict[str, Callable[[Features], NDArray[Any]]] = {
    "joint_embedding, t-SNE": lambda features: _joint(features, "tsne"),
    "joint_embedding, UMAP": lambda features: _joint(features, "umap"),
    "joint_embedding, t-SNE of 400 + 400": lambda features: _joint(features, "tsne", 400),
    "scikit-learn TSNE": _sklearn_tsne,
    "umap-learn UMAP": _plain_umap,
    "two principal components": _principal,
    "embedding_summary": _summary,
}
SAMPLED, SUMMARY = "joint_embedding, t-SNE of 400 + 400", "embedding_summary"
QUICK = ("two principal components", SUMMARY)


def one(way: str, segments: int) -> dict[str, float]:
    """Seconds and bytes of one way, and how true its picture is; in this process, which is best a fresh one."""
    _limit_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns of its parametric variant
        WAYS[way](features_of(200))  # imports, compilation
        features, kept = features_of(segments), []
        seconds: list[float] = []
        taken = resident_bytes(lambda: seconds.append(timed(lambda: kept.append(WAYS[way](features)))))
    quality = {} if way in (SAMPLED, SUMMARY) else quality_of(features["f_rgb"], kept[0])
    return {"seconds": rounded(seconds[0]), "gigabytes": rounded(taken / 1e9), **quality}


def quality_of(values: NDArray[Any], picture: NDArray[Any]) -> dict[str, float]:
    """Neighbour overlap and trustworthiness among a sample of segments."""
    from sklearn.manifold import trustworthiness

    rows = np.random.default_rng(0).permutation(len(values))[:SAMPLE]
    near, shown = values[rows].astype(np.float64), picture[rows].astype(np.float64)
    trusted = float(trustworthiness(near, shown, n_neighbors=10))
    overlap = neighbour_overlap(nearest(near, 10), nearest(shown, 10))
    return {"overlap": rounded(overlap), "trustworthiness": rounded(trusted)}


def _limit_memory() -> None:
    """Let this process fail rather than the machine, where its system knows limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        room = psutil.Process().memory_info().vms + int(0.8 * psutil.virtual_memory().available)
        resource.setrlimit(resource.RLIMIT_AS, (room, room))


def measured(way: str, segments: int, options: argparse.Namespace) -> dict[str, Any]:
    """`one` in a process of its own; why not, where it did not come to an end."""
    command = [sys.executable, __file__, "--one", way, "--segments", str(segments), "--threads", str(options.threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5 * options.patience, check=True)
    except subprocess.TimeoutExpired:
        return {"note": f"over {5 * options.patience:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {"note": "too little memory" if "MemoryError" in error.stderr else error.stderr.splitlines()[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every way with every number of segments, unless fewer took too long."""
    results: list[dict[str, Any]] = []
    slow: set[str] = set()
    sizes = [100] if options.quick else [size for size in SIZES if size <= options.most]
    ways = QUICK if options.quick else tuple(WAYS)
    for segments, way in progress([(size, way) for size in sizes for way in ways], "embedding"):
        if way in slow:
            continue
        found = measured(way, segments, options)
        if "note" in found or found["seconds"] > options.patience:
            slow.add(way)
        results.append({"way": way, "segments": segments, **found})
    return results


def tables_of(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One table: a line for each way and number of segments."""
    columns = ["", "segments", "s", "GB", "neighbour overlap", "trustworthiness", ""]
    names = ("seconds", "gigabytes", "overlap", "trustworthiness", "note")
    ordered = sorted(results, key=lambda result: list(WAYS).index(result["way"]))
    rows = [[r["way"], r["segments"], *(r.get(name) for name in names)] for r in ordered]
    return [table(f"Embeddings of {WIDTH}-d features of two domains", columns, rows)]


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__ or "", __file__)
    made.add_argument("--most", type=int, default=SIZES[-1], help="segments (%(default)s)")
    made.add_argument(
        "--patience", type=float, default=120, help="seconds a way may take to be tried with more segments"
    )
    made.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    made.add_argument("--segments", type=int, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.one:
        with threadpool_limits(options.threads):
            print(json.dumps(one(options.one, options.segments)))
        return
    results = measure_all(options)
    save(options.out, {"results": results, "tables": tables_of(results)}, quick=options.quick)


if __name__ == "__main__":
    run(main)
