"""A finished run, put to use: predictions for any domain, features of its streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mmsada_lab.clips.batches import default_workers
from mmsada_lab.clips.clips import inputs_of, labels_of
from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.clips.test_clips import TestClipLoader
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.arrays.features import write_features
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.evaluate import Predictions, Predictor, build_predictor, extract_features
from mmsada_lab.facts import FUSED
from mmsada_lab.models.network import build_network
from mmsada_lab.runs import is_complete, read_manifest
from mmsada_lab.runtime.device import choose_device

_SPLITS = ("all", "train", "test")


@dataclass(frozen=True)
class Trained:
    """A trained network and what it was trained as.

    Attributes:
        config: of the run.
        classes: what its outputs mean.
        inputs: kind and channels of each modality.
        predictor: the network with the weights of the last step, on its device, and how segments are shown to it.
    """

    config: ExperimentConfig
    classes: tuple[str, ...]
    inputs: Mapping[str, tuple[str, int]]
    predictor: Predictor

    def training_clips(self, domain: Domain) -> TestClipLoader:
        """What a run of AdaBN estimates a domain's batch statistics on: its training clips, without labels."""
        return self.predictor.shuffled_windows(domain, domain.unlabelled().train or domain.test)

    def predict(self, domain: Domain, segments: Sequence[Segment]) -> Predictions:
        """Predictions of segments of a domain."""
        return self.predictor.predict(self.predictor.clips(domain, segments), self.training_clips(domain))

    @torch.no_grad()
    def logits(self, domain: Domain, segments: Sequence[Segment]) -> dict[str, Tensor]:
        """What comes out of each G^m for every window of segments of a domain, before any softmax.

        Returns:
            Modality -> `(N, W, K)` logits of its stream, and ``fused`` -> their sum (or mean), on the CPU.
        """
        predictor, network, batches = self.predictor, self.predictor.network, []
        with predictor.statistics_of(self.training_clips(domain)):
            for clips in predictor.clips(domain, segments).on(predictor.device):
                windows = {m: clip.flatten(0, 1) for m, clip in clips.items()}  # (B W, ...)
                batches.append(network.stream_logits(network.features(windows)))
        streams = {
            m: torch.cat([batch[m] for batch in batches]).unflatten(0, (len(segments), -1)).cpu()
            for m in self.config.modalities
        }
        return {FUSED: network.fused(streams), **streams}


def load_trained(run: Path, *, device: str = "auto") -> Trained:
    """Load the network of a finished run folder; nothing in it is unpickled.

    Args:
        run: folder with `manifest.json` and `model.safetensors`.
        device: ``auto`` (an accelerator if there is one) or ``cpu``.

    Raises:
        UserError: if the run is not finished, or its weights do not fit its manifest.
    """
    place = choose_device(device)
    manifest = read_manifest(run / "manifest.json")
    if manifest["status"] != "finished":
        raise UserError(f"the run in {run} is not finished; give its `mmsada train` command again and it continues")
    if not is_complete(manifest):
        raise UserError(f"the run in {run} came with the checkout, without its weights; train it: mmsada train --help")
    config, classes = ExperimentConfig(**manifest["config"]), tuple(manifest["classes"])
    if "inputs" not in manifest:  # kind and channels of each modality decide the shape of the first layers
        raise UserError(f"the run in {run} was made by a version that did not record its inputs; train it again")
    inputs = {m: (str(kind), int(channels)) for m, (kind, channels) in manifest["inputs"].items()}
    network = build_network(config, inputs, num_classes=len(classes))
    try:
        network.load_state_dict(load_file(run / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{run / 'model.safetensors'} does not hold the weights of this run: {error}") from error
    predictor = build_predictor(network.to(place).eval(), config, device=place, workers=0)
    return Trained(config, classes, inputs, predictor)


def predict_table(
    run: Path,
    *,
    data: str | None = None,
    domain: str | None = None,
    split: str = "all",
    device: str = "auto",
    workers: int | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """What a run says of the segments of a domain, labelled or not: one row a segment.

    Args:
        run: folder of a finished run.
        data: specification of the data; the run's own by default.
        domain: the run's target by default.
        split: ``all``, ``train`` or ``test``.
        device: ``auto`` or ``cpu``.
        workers: processes that read clips; None chooses (none where frames are in memory).
        show_progress: draw a bar if it takes more than two seconds.

    Returns:
        Columns uid, domain, split, video, start, stop, label (empty where unknown), predicted and confidence (of the
        fused streams), one prediction per stream, ``p(class)`` for every class, and what else the segments' table has.
    """
    if split not in _SPLITS:
        raise unknown("split", split, _SPLITS)
    trained, opened = _opened(run, data, device, workers=workers, show_progress=show_progress)
    where = _fitting_domain(trained, opened, domain or trained.config.target)
    splits = where.splits if split == "all" else {split: where.splits[split]}
    chosen = [(name, segment) for name, segments in splits.items() for segment in segments]
    if not chosen:
        raise UserError(f"domain {where.name} of {data or trained.config.data} has no segments in split {split}")
    segments = [segment for _, segment in chosen]
    columns = _prediction_columns(trained.predict(where, segments), trained.classes)
    # Whatever else the segments' table says, so that people can join predictions to their own tables.
    further = pd.DataFrame([dict(segment.further) for segment in segments])
    return pd.concat([_segment_columns(chosen, where.name, opened.classes), columns, further], axis=1)


def _segment_columns(chosen: Sequence[tuple[str, Segment]], domain: str, classes: Sequence[str]) -> pd.DataFrame:
    segments = [segment for _, segment in chosen]
    return pd.DataFrame(
        {
            "uid": [s.uid for s in segments],
            "domain": domain,
            "split": [split for split, _ in chosen],
            "video": [s.video for s in segments],
            "start": [s.start for s in segments],
            "stop": [s.stop for s in segments],
            "label": [classes[k] if k >= 0 else "" for k in labels_of(segments)],
        }
    )


def _prediction_columns(predictions: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    fused = predictions.probabilities[FUSED]
    names = [*classes, *(f"(spare output {k})" for k in range(len(classes), fused.shape[1]))]
    columns = {"predicted": [names[k] for k in fused.argmax(axis=1)], "confidence": fused.max(axis=1)}
    for stream, probabilities in predictions.probabilities.items():
        if stream != FUSED:
            columns[f"predicted ({stream})"] = [names[k] for k in probabilities.argmax(axis=1)]
    return pd.DataFrame(columns | {f"p({name})": fused[:, k] for k, name in enumerate(names)})


def write_run_features(
    run: Path,
    destination: Path,
    *,
    data: str | None = None,
    domains: Sequence[str] = (),
    device: str = "auto",
    workers: int | None = None,
    show_progress: bool = False,
) -> Path:
    """Write the features of a run's streams, per segment and window, as a folder that ``features:DIR`` reads.

    Args:
        run: folder of a finished run.
        destination: a new folder.
        data: specification of the data; the run's own by default.
        domains: which ones; all by default.
        device: ``auto`` or ``cpu``.
        workers: processes that read clips; None chooses.
        show_progress: draw a bar if it takes more than two seconds.
    """
    trained, opened = _opened(run, data, device, workers=workers, show_progress=show_progress)
    predictor, rows, features = trained.predictor, [], []
    for name in domains or opened.domains:
        domain = _fitting_domain(trained, opened, name)
        # A domain at a time, so that a run of AdaBN is read with that domain's statistics.
        with predictor.statistics_of(trained.training_clips(domain)):
            for split, segments in domain.splits.items():
                if segments:
                    rows += [_row(segment, name, split, opened.classes) for segment in segments]
                    clips = predictor.clips(domain, segments)
                    features.append(extract_features(predictor.network, clips, device=predictor.device))
    joined = {m: np.concatenate([split[m] for split in features]) for m in trained.config.modalities}
    write_features(destination, pd.DataFrame(rows), joined, classes=opened.classes)
    return destination


def _row(segment: Segment, domain: str, split: str, classes: Sequence[str]) -> dict[str, str]:
    label = "" if segment.label is None else classes[segment.label]
    return {"uid": segment.uid, "domain": domain, "split": split, "label": label, **dict(segment.further)}


def _opened(
    run: Path, data: str | None, device: str, *, workers: int | None, show_progress: bool
) -> tuple[Trained, MultiDomainData]:
    trained = load_trained(run, device=device)
    opened = load_data(data or trained.config.data)
    workers = default_workers(opened) if workers is None else workers
    predictor = replace(trained.predictor, workers=workers, show_progress=show_progress)
    return replace(trained, predictor=predictor), opened


def _fitting_domain(trained: Trained, data: MultiDomainData, name: str) -> Domain:
    """A domain whose modalities are those the network was built for."""
    domain = data.domain(name)
    for modality in trained.config.modalities:
        if modality not in domain.readers:
            raise unknown("modality", modality, domain.readers, hint="The run was trained with it.")
    for modality, (kind, channels) in inputs_of(domain, trained.config.modalities).items():
        if (kind, channels) != trained.inputs[modality]:
            wanted, wanted_channels = trained.inputs[modality]
            raise UserError(
                f"{modality} of domain {name} is {kind} of {channels} channels, but the run was trained on {wanted} of "
                f"{wanted_channels}"
            )
    return domain
