"""One experiment from configuration to run folder: the only module that wires everything."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save as safetensors_bytes
from torch.optim import Optimizer
from torch.utils.data import ConcatDataset
from tqdm.auto import tqdm

from mmsada_lab import __version__
from mmsada_lab.checkpoint import (
    Progress,
    first_stage_locked,
    first_stage_path,
    load_checkpoint,
    publish_first_stage,
    save_checkpoint,
)
from mmsada_lab.clips.batches import TrainingBatch, TrainingBatches, default_workers
from mmsada_lab.clips.clips import inputs_of
from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.clips.test_clips import TestClipLoader, TestClips
from mmsada_lab.config import ExperimentConfig, Stage
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.evaluate import (
    FUSED,
    Predictions,
    accuracies,
    clip_rule,
    domain_closeness,
    joined,
    labels_of,
    predict,
    score_target,
    statistics_of,
)
from mmsada_lab.files import write_atomic
from mmsada_lab.methods import METHODS
from mmsada_lab.models.network import LateFusionNetwork, build_network
from mmsada_lab.models.pretrained import load_backbones
from mmsada_lab.runs import RunFolder, now, provenance, write_arrays, write_json
from mmsada_lab.runtime.device import accelerator_of, as_written, build_optimiser, lay_out, leads, memory_explained
from mmsada_lab.runtime.processes import (
    average_statistics,
    check_agreement,
    from_every_process,
    launched_together,
    main_decides,
    match_statistics,
    others_alive,
)
from mmsada_lab.runtime.read_ahead import BatchLoader, lost_workers_named
from mmsada_lab.train import mean_terms, step_seed, train_steps

_INITIALISATION = 99  # names the seed of the initial weights, beside the stages 0 and 1


def run_experiment(
    config: ExperimentConfig,
    runs_dir: Path | str,
    *,
    device: str = "auto",
    workers: int | None = None,
    show_progress: bool = True,
    share_first_stage: bool = True,
) -> Path:
    """Train, evaluate and save one run; continue it if it was interrupted, skip it if it is finished.

    Args:
        config: what to run.
        runs_dir: where run folders lie.
        device: ``auto`` (an accelerator if there is one) or ``cpu``.
        workers: processes that read clips; None chooses (none for the embedded data).
        show_progress: draw a progress bar.
        share_first_stage: keep the first stage below `runs_dir` for runs that differ in the second alone, and take it
            from there if it is kept; the results are the same.

    Returns:
        The run folder, see `mmsada_lab.runs`.

    Raises:
        UserError: if data and configuration do not fit, the folder cannot be written, or a loss is not finite.
    """
    data = load_data(config.data)
    check_fit(config, data)
    if show_progress and leads():
        for note in data.notes:
            tqdm.write(f"note: {note}", file=sys.stderr)
    folder = RunFolder(Path(runs_dir), config, data_name=data.name)
    if not launched_together() and _is_finished(folder, data):
        return folder.path
    together = accelerator_of(config, device)
    with together as accelerator, others_alive(accelerator, continues_at=lambda: _saved_step(folder)):
        check_agreement(accelerator, {"the configuration's digest": config.digest, "the data's digest": data.digest})
        with _held(folder, accelerator):
            if main_decides(accelerator, lambda: _is_finished(folder, data)):  # by another process, since
                return folder.path
            experiment = Experiment(config, data, folder, accelerator=accelerator, workers=workers)
            if share_first_stage and accelerator.num_processes == 1 and config.pretrain.steps:
                started_from = [data.digest, *(report.sha256 for report in experiment.pretrained.values())]
                experiment.first_stage = first_stage_path(Path(runs_dir), config, data_digest=" ".join(started_from))
            with memory_explained(config, accelerator), lost_workers_named():
                experiment.run(show_progress=show_progress)
            accelerator.wait_for_everyone()  # the folder is whole when any process returns
    return folder.path


def _saved_step(folder: RunFolder) -> int:
    """Where an interrupted run continues: the step of its last checkpoint."""
    if not folder.checkpoint_path.exists():
        return 0
    state = torch.load(folder.checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
    return int(json.loads(state["history"])[-1]["total_step"])


def _is_finished(folder: RunFolder, data: MultiDomainData) -> bool:
    """Whether there is nothing left to do; a run of other data is refused."""
    manifest = folder.manifest(data_digest=data.digest)
    return manifest is not None and manifest["status"] == "finished"


@contextmanager
def _held(folder: RunFolder, accelerator: Accelerator) -> Iterator[None]:
    """Lock the folder in the main process; the others follow."""
    if not accelerator.is_main_process:
        yield
        return
    with folder.locked():
        yield


class Experiment:
    """The parts of one run, built from its configuration."""

    def __init__(
        self,
        config: ExperimentConfig,
        data: MultiDomainData,
        folder: RunFolder,
        *,
        accelerator: Accelerator,
        workers: int | None = None,
    ) -> None:
        self.config, self.data, self.folder, self.accelerator = config, data, folder, accelerator
        source, self.target = data.domain(config.source), data.domain(config.target)
        self.source = replace(source, train=tuple(s for s in source.train if s.label is not None))
        self.rule = clip_rule(config)
        self.workers = default_workers(data) if workers is None else workers
        self.network = self._build_network()
        self.pretrained = load_backbones(dict(self.network.backbones.items()), config.pretrained)
        lay_out(self.network, config)
        self.method = METHODS[config.method](self.network, config, num_classes=len(data.classes)).to(accelerator.device)
        self.progress = Progress()
        self.first_stage: Path | None = None  # where it is shared
        self.reused = False
        # A target without test segments is predicted where it was trained; labels those segments may have stay unseen.
        self.evaluated = self.target.test or self.target.unlabelled().train
        self.labels = labels_of(self.evaluated)
        shard = (accelerator.process_index, accelerator.num_processes)
        self.test_clips = self._test_clips(self.target, self.evaluated, shard=shard)
        self.source_evaluated = self.source.test or self.source.train
        self.source_clips = self._test_clips(self.source, self.source_evaluated, shard=shard)
        self.target_training = self._test_clips(self.target, self.target.unlabelled().train, windows=1)

    def _build_network(self) -> LateFusionNetwork:
        config, inputs = self.config, inputs_of(self.source, self.config.modalities)
        torch.manual_seed(step_seed(config.seed, _INITIALISATION))
        network = build_network(config, inputs, num_classes=len(self.data.classes))
        match_statistics(network, self.accelerator, clips=config.source_batch, group=config.norm_group)
        if network.standardise:
            _fit_standardise(network, self._test_clips(self.source, self.source.train, windows=1))
        return network

    def _test_clips(
        self,
        domain: Domain,
        segments: Sequence[Segment],
        *,
        windows: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> TestClipLoader:
        clips = TestClips(
            domain,
            segments,
            rule=self.rule,
            modalities=self.config.modalities,
            windows=self.config.test_windows if windows is None else windows,
        )
        # A step in parts is a sign of little memory. Batch statistics, of one window each, keep their batches.
        fewer = 1 if windows == 1 else self.config.accumulation
        return TestClipLoader(clips, batch_size=max(1, 16 // fewer), workers=self.workers, shard=shard)

    def run(self, *, show_progress: bool) -> None:
        """Run the stages that are not done yet, then save what the run leaves."""
        path, resumed = self.folder.checkpoint_path, None
        if path.exists():
            # Not to the device: one of several processes may call it cpu:0, which torch.load does not know.
            self.progress, resumed = load_checkpoint(path, method=self.method, device=torch.device("cpu"))
        check_agreement(self.accelerator, self._start())
        if self.accelerator.is_main_process:
            self._write_manifest("running")
        total = sum(stage.steps for _, stage in self.config.stages)
        shown = show_progress and self.accelerator.is_main_process
        title = f"{self.config.method} {self.config.pair} seed {self.config.seed}"
        for report in self.pretrained.values() if shown else ():
            tqdm.write(str(report), file=sys.stderr)
        with tqdm(total=total, initial=self._total_steps(), desc=title, unit="step", disable=not shown) as bar:
            for number in range(self.progress.stage, len(self.config.stages)):
                if number != self.progress.stage:
                    self.progress.stage, self.progress.step = number, 0
                if number == 0 and self.first_stage is not None:
                    self._run_shared_stage(self.first_stage, resumed=resumed, bar=bar)
                else:
                    self._run_stage(number, resumed=resumed, bar=bar)
                resumed = None
        source, target = self._predict(self.source_clips), self._predict(self.test_clips)
        if self.accelerator.is_main_process:
            self._finish(source, target)

    def _start(self) -> dict[str, object]:
        """What every process must start from."""
        weights = sorted(report.sha256 for report in self.pretrained.values())
        versions = [f"mmsada_lab {__version__}", f"torch {torch.__version__}"]
        return {"the step to continue at": self._total_steps(), "pretrained weights": weights, "versions": versions}

    def _total_steps(self) -> int:
        stages = self.config.stages[: self.progress.stage]
        return sum(stage.steps for _, stage in stages) + self.progress.step

    def _run_shared_stage(self, shared: Path, *, resumed: dict[str, Any] | None, bar: tqdm[Any]) -> None:
        """Take the first stage if another run has trained it; else train it, and give it to all."""
        with first_stage_locked(shared):
            if not self._total_steps() and shared.exists():
                self.reused = self._take(shared)
                bar.update(self._total_steps())
            self._run_stage(0, resumed=resumed, bar=bar)
            if not self.reused:
                publish_first_stage(self.folder.checkpoint_path, shared)

    def _take(self, shared: Path) -> bool:
        initial = {name: tensor.clone() for name, tensor in self.method.state_dict().items()}
        try:
            self.progress, _ = load_checkpoint(shared, method=self.method, device=self.accelerator.device)
        except UserError:  # damaged: the stage is trained again, and replaces it
            self.method.load_state_dict(initial)
            return False
        return True

    def _run_stage(self, number: int, *, resumed: dict[str, Any] | None, bar: tqdm[Any]) -> None:
        name, stage = self.config.stages[number]
        if self.progress.step >= stage.steps:
            return
        self.method.select_terms(stage.weights)
        unprepared = build_optimiser(self.config, stage, self.method.parameters(), device=self.accelerator.device)
        method, optimiser = self.accelerator.prepare(self.method, unprepared)
        if resumed is not None and self.progress.step:
            optimiser.load_state_dict(resumed)
        seed = (self.config.seed, number)
        batches = self._batches(stage, seed=seed)
        terms, since = {}, time.monotonic()
        steps = train_steps(
            method,
            optimiser,
            batches,
            stage=stage,
            accelerator=self.accelerator,
            first_step=self.progress.step,
            seed=seed,
            accumulation=self.config.accumulation,
        )
        for step, last in steps:
            terms[step] = last
            if step % self.config.evaluate_every == 0 or step == stage.steps:
                for end, means in mean_terms(terms, every=self.config.log_every, accelerator=self.accelerator):
                    self.progress.step = end
                    self._record("train", name, means)
                terms = {}
                average_statistics(self.network, self.accelerator)
                values = self._evaluate(final_stage=number == len(self.config.stages) - 1, step=step)
                self._record("evaluation", name, values)
                method.train()
                self.progress.seconds, since = self.progress.seconds + time.monotonic() - since, time.monotonic()
                self._save_checkpoint(optimiser)
                bar.set_postfix_str(f"{name}, {_shown_accuracy(values)}")
            bar.update()

    def _batches(self, stage: Stage, *, seed: tuple[int, ...]) -> BatchLoader[TrainingBatch]:
        config = self.config
        halves = "correspondence" in stage.weights and config.correspondence_batch == "half"
        parts, first = config.accumulation, self.accelerator.process_index * config.accumulation
        batches = [
            TrainingBatches(
                self.source,
                self.target if config.target_batches else None,
                rule=replace(self.rule, negatives=halves, resize_on=config.resize_on),
                modalities=config.modalities,
                source_batch=config.source_batch,
                target_batch=config.target_batch,
                steps=stage.steps,
                seed=seed,
                shard=(first + part, parts * self.accelerator.num_processes),
            )
            for part in range(parts)
        ]
        remaining = range(self.progress.step, stage.steps)
        order = [part * stage.steps + step for step in remaining for part in range(parts)]
        pinned = self.accelerator.device.type == "cuda"
        return BatchLoader(ConcatDataset(batches), order, workers=self.workers, pin_memory=pinned)

    def _record(self, kind: str, stage: str, values: dict[str, float]) -> None:
        steps = {"step": self.progress.step, "total_step": self._total_steps()}
        self.progress.history.append({"kind": kind, "stage": stage, **steps, "values": values})

    def _evaluate(self, *, final_stage: bool, step: int) -> dict[str, float]:
        predictions = self._predict(self.test_clips)
        if not all(np.isfinite(p).all() for p in predictions.probabilities.values()):
            raise UserError(
                f"the network's predictions are not finite after step {step}; training stopped and the last checkpoint "
                "is kept. Lower the learning rate, or use precision=no"
            )
        if final_stage:
            self.progress.kept.append((step, dict(predictions.probabilities)))
            self.progress.kept = self.progress.kept[-self.config.averaged_evaluations :]
        found = accuracies(predictions, self.labels)
        values = {f"{stream}/{measure}": v for stream, measures in found.items() for measure, v in measures.items()}
        return {**values, **(self._validator_scores(predictions) if final_stage else {})}

    def _validator_scores(self, target: Predictions) -> dict[str, float]:
        """Scores of this checkpoint that need no target label, see `score_target`."""
        source, device = self._predict(self.source_clips), self.accelerator.device
        scores = score_target(target.probabilities[FUSED])
        scores["domain_closeness"] = domain_closeness(source.features, target.features)
        if self.source.test and (found := accuracies(source, labels_of(self.source_evaluated))):
            scores["source_accuracy"] = found[FUSED]["top1"]
        features = {m: torch.from_numpy(feature).to(device) for m, feature in target.features.items()}
        if (accuracy := self.method.correspondence_accuracy(features)) is not None:
            scores["correspondence"] = accuracy
        return {f"validator/{name}": value for name, value in scores.items()}

    def _predict(self, clips: TestClipLoader) -> Predictions:
        """Predictions of all segments, of which every process computes a share."""
        device, average = self.accelerator.device, self.config.window_average
        adapted = self.config.test_statistics == "target"
        estimated = statistics_of(self.network, self.target_training, device=device) if adapted else nullcontext()
        with as_written(self.config), estimated:
            own = predict(self.network, clips, device=device, average=average)
        return joined(from_every_process(self.accelerator, own))

    def _save_checkpoint(self, optimiser: Optimizer) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.folder.checkpoint_path, self.progress, method=self.method, optimiser=optimiser)
            self.folder.write_history(self.progress.history)

    def _write_manifest(self, status: str, **more: object) -> None:
        earlier = self.folder.manifest() or {}
        manifest = {
            "status": status,
            "config": self.config.to_dict(),
            "digest": self.config.digest,
            "classes": list(self.data.classes),
            "data_name": self.data.name,
            "data_digest": self.data.digest,
            "data_notes": list(self.data.notes),
            "inputs": {m: list(found) for m, found in inputs_of(self.source, self.config.modalities).items()},
            "pretrained": {modality: report.to_dict() for modality, report in self.pretrained.items()},
            **provenance(),
            "device": _device_name(self.accelerator.device),
            "threads": torch.get_num_threads(),
            "processes": self.accelerator.num_processes,
            "first_stage_reused": self.reused,
            "started": earlier.get("started", now()),
            **more,
        }
        write_json(self.folder.manifest_path, manifest)

    def _finish(self, source: Predictions, target: Predictions) -> None:
        """Save what the run leaves; the manifest last, so that a finished run is a whole one."""
        kept, path = self.progress.kept, self.folder.path
        self.folder.write_history(self.progress.history)
        arrays = {f"p_{s}": np.stack([streams[s] for _, streams in kept]) for s in kept[0][1]}
        uids = np.array([segment.uid for segment in self.evaluated])
        steps = np.array([step for step, _ in kept])
        write_arrays(path / "predictions.npz", {"uid": uids, "label": self.labels, "steps": steps, **arrays})
        write_arrays(path / "features.npz", self._feature_arrays(source, target))
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_atomic(path / "model.safetensors", lambda file: file.write(safetensors_bytes(weights)))
        result = {
            "selection": f"mean of the last {len(kept)} evaluations, {self.config.evaluate_every} steps apart",
            "evaluations": len(kept),
            "target": self._mean_accuracies(),
            "source_last": accuracies(source, labels_of(self.source_evaluated)) if self.source.test else {},
        }
        self._write_manifest("finished", ended=now(), training_seconds=round(self.progress.seconds, 2), result=result)
        self.folder.checkpoint_path.unlink(missing_ok=True)

    def _mean_accuracies(self) -> dict[str, dict[str, float]]:
        found = [accuracies(Predictions(streams, {}), self.labels) for _, streams in self.progress.kept]
        streams, measures = found[0], ("top1", "mean_class")
        return {s: {m: float(np.mean([one[s][m] for one in found])) for m in measures} for s in streams}

    def _feature_arrays(self, source: Predictions, target: Predictions) -> dict[str, np.ndarray[Any, Any]]:
        segments = [*self.source_evaluated, *self.evaluated]
        sides = ["source"] * (len(segments) - len(self.evaluated)) + ["target"] * len(self.evaluated)
        arrays = {f"f_{m}": np.concatenate([source.features[m], target.features[m]]) for m in self.config.modalities}
        uids = np.array([s.uid for s in segments])
        return {"uid": uids, "label": labels_of(segments), "side": np.array(sides), **arrays}


def _fit_standardise(network: LateFusionNetwork, source_training: TestClipLoader) -> None:
    """Mean and standard deviation of the labelled source's training clips, one window each."""
    clips = list(source_training)
    for modality, layer in network.standardise.items():
        layer.fit(torch.cat([batch[modality].flatten(0, 1) for batch in clips]))  # type: ignore[operator]


def _shown_accuracy(values: dict[str, float]) -> str:
    return f"target top-1 {values['fused/top1']:.1f} %" if "fused/top1" in values else "target unlabelled"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


def check_fit(config: ExperimentConfig, data: MultiDomainData) -> None:
    """Check that a data set has what a configuration asks for.

    Raises:
        UserError: unknown domain or modality, no labelled source segment, a single class, a backbone that does not
            take its modality.
    """
    for name in config.pair:
        domain = data.domain(name)
        for modality in config.modalities:
            if modality not in domain.readers:
                raise unknown("modality", modality, domain.readers, hint="Choose with -o modalities=A,B.")
    _check_inputs(config, data)
    labels = {segment.label for segment in data.domain(config.source).train} - {None}
    if len(labels) < 2:
        found = "no labelled segment" if not labels else f"only the class {data.classes[labels.pop()]!r}"  # type: ignore[index]
        raise UserError(f"the training set of {config.source} has {found}; a classifier needs two classes or more")
    _check_sizes(config, data)


def _check_inputs(config: ExperimentConfig, data: MultiDomainData) -> None:
    source, target = (inputs_of(data.domain(name), config.modalities) for name in config.pair)
    for modality in config.modalities:
        if source[modality] != target[modality]:
            shown = [f"{kind} of {channels} channels" for kind, channels in (source[modality], target[modality])]
            raise UserError(f"{modality} is {shown[0]} in {config.source} and {shown[1]} in {config.target}")
    build_network(config, source, num_classes=len(data.classes))


def _check_sizes(config: ExperimentConfig, data: MultiDomainData) -> None:
    source, target = data.domain(config.source), data.domain(config.target)
    labelled = sum(segment.label is not None for segment in source.train)
    sides = ((source, labelled, config.source_batch), (target, len(target.train), config.target_batch))
    for domain, found, batch in sides:
        if batch > found:
            raise UserError(
                f"a batch takes {batch} segments of domain {domain.name}, which has {found} for training; "
                f"lower batch_size (now {config.batch_size})"
            )
    if not (target.test or target.train):
        raise UserError(f"domain {target.name} has no segments; there is nothing to adapt to")
