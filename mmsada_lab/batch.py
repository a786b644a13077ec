"""Many runs: a grid of methods, pairs and seeds, in parallel processes, resumable."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import permutations
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.presets import build_config


def grid(
    domains: Sequence[str],
    *,
    methods: Sequence[str],
    seeds: Iterable[int],
    data: str,
    preset: str,
    overrides: Mapping[str, Any] | None = None,
) -> list[ExperimentConfig]:
    """Configurations of every method on every ordered pair of domains with every seed.

    Supervised target needs no source: one run per domain and seed.
    """
    configs = []
    for seed in seeds:
        for method in methods:
            supervised = method == "supervised_target"
            pairs = [(None, domain) for domain in domains] if supervised else list(permutations(domains, 2))
            shared: dict[str, Any] = {"method": method, "data": data, "seed": seed, "overrides": overrides}
            configs += [build_config(preset, source=source, target=target, **shared) for source, target in pairs]
    return configs


def run_grid(
    configs: Sequence[ExperimentConfig], runs_dir: Path, *, jobs: int, device: str = "auto"
) -> list[tuple[ExperimentConfig, str]]:
    """Run configurations in `jobs` processes that share the cores; finished runs are skipped.

    A failed run does not stop the others.

    Returns:
        The configurations that failed, each with its error message.

    Raises:
        UserError: if there is nothing to run.
    """
    if not configs:
        raise UserError("no run to make: a comparison needs two domains or more, and at least one method and seed")
    threads = max((os.cpu_count() or 1) // jobs, 1)
    context = multiprocessing.get_context("spawn")
    failures: list[tuple[ExperimentConfig, str]] = []
    with (
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(threads,)) as pool,
        tqdm(total=len(configs), desc=f"{len(configs)} runs", unit="run") as bar,
    ):
        pending = {pool.submit(_run_one, config, runs_dir, device): config for config in configs}
        try:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    failures += _failure(future, pending.pop(future))
                    bar.set_postfix_str(f"{len(failures)} failed")
                    bar.update()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return failures


def _start_worker(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would finish its run unseen and then wait for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _run_one(config: ExperimentConfig, runs_dir: Path, device: str) -> None:
    from mmsada_lab.experiment import run_experiment

    run_experiment(config, runs_dir, device=device, show_progress=False)


def _failure(future: Future[None], config: ExperimentConfig) -> list[tuple[ExperimentConfig, str]]:
    error = future.exception()
    if error is None:
        return []
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return [(config, f"{kind}{error}")]
