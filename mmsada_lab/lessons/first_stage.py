"""The first stage of a finished run, asked: a run keeps its network alone, a first stage is kept whole, for all runs.

A first stage is kept with its history, by which the one that a run started from is found, whatever made it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch

from mmsada_lab.checkpoint import FIRST_STAGES, load_checkpoint
from mmsada_lab.clips.clips import inputs_of
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.evaluate import build_predictor
from mmsada_lab.methods import Method, build_method
from mmsada_lab.models.network import build_network
from mmsada_lab.runs import read_manifest

_CPU = torch.device("cpu")


def find_first_stage(run: Path, runs_dir: Path | str) -> Path | None:
    """The kept first stage whose history is that of a run, record by record; None where there is none.

    Args:
        run: its folder.
        runs_dir: where run folders, and the first stages that they share, lie.
    """
    history = [json.loads(line) for line in (Path(run) / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    for path in sorted(Path(runs_dir, FIRST_STAGES).glob("*.pt")):
        kept = json.loads(torch.load(path, map_location=_CPU, weights_only=True, mmap=True)["history"])
        if kept and kept == history[: len(kept)]:
            return path
    return None


def ask_first_stage(run: Path, runs_dir: Path | str) -> pd.DataFrame:
    """How well the self-supervised task is solved on both domains where the first stage of a run ends.

    Args:
        run: folder of a finished run.
        runs_dir: where run folders, and the first stages that they share, lie.

    Returns:
        A row for source and target; columns ``right (%)`` (of their test segments, half of the questions have the
        answer yes; training segments where there are none for testing) and ``segments``. No row where the first stage
        was not kept, or has no such task.
    """
    config = ExperimentConfig(**read_manifest(Path(run) / "manifest.json")["config"])
    kept, data = find_first_stage(run, runs_dir), load_data(config.data)
    rows = {}
    if kept is not None and config.pretext in config.pretrain.weights:
        inputs = inputs_of(data.domain(config.target), config.modalities)
        network = build_network(config, inputs, num_classes=len(data.classes))
        method: Method = build_method(network, config, num_classes=len(data.classes))
        method.select_terms(config.pretrain.weights)
        load_checkpoint(kept, method=method, device=_CPU)
        predictor = build_predictor(network.eval(), config, device=_CPU, workers=0)
        for side, domain in (("source", data.domain(config.source)), ("target", data.domain(config.target))):
            segments = domain.test or domain.train
            clips = predictor.clips(domain, segments), predictor.single_windows(domain, domain.train)
            features = predictor.predict(*clips).features
            score = method.pretext_score({m: torch.from_numpy(feature) for m, feature in features.items()})
            rows[side] = {"right (%)": score, "segments": len(segments)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["right (%)", "segments"])
