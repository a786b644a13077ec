"""One experiment from configuration to run folder: the only module that wires everything."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import save as safetensors_bytes
from torch import nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from mmsada_lab import __version__
from mmsada_lab.checkpoint import (
    Progress,
    Resumed,
    device_name,
    first_stage_locked,
    first_stage_path,
    load_checkpoint,
    publish_first_stage,
    save_checkpoint,
)
from mmsada_lab.clips.batches import TrainingBatch, default_workers, load_batches
from mmsada_lab.clips.clips import clip_rule, inputs_of
from mmsada_lab.clips.segments import Domain, MultiDomainData
from mmsada_lab.clips.test_clips import TestClipLoader
from mmsada_lab.clips.windows import centre_bounds
from mmsada_lab.config import ExperimentConfig, Stage, by_modality
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.evaluate import (
    Evaluation,
    Predictions,
    Predictor,
    accuracies,
    build_predictor,
    mean_class_caution,
)
from mmsada_lab.files import write_atomic
from mmsada_lab.methods import build_method
from mmsada_lab.models.network import LateFusionNetwork, build_network
from mmsada_lab.models.pretrained import load_backbones
from mmsada_lab.runs import RunFolder, is_complete, now, provenance, write_arrays, write_json
from mmsada_lab.runtime.device import (
    build_optimiser,
    explain_out_of_memory,
    is_main_process,
    open_accelerator,
    prepare_backbones,
)
from mmsada_lab.runtime.processes import (
    ask_main_process,
    average_statistics,
    check_agreement,
    explain_lost_process,
    in_notebook,
    is_distributed,
    match_statistics,
)
from mmsada_lab.runtime.read_ahead import BatchLoader, explain_lost_workers
from mmsada_lab.train import mean_scalars, step_seed, train_steps

_INITIALISATION = 99  # names the seed of the initial weights, beside the stages 0 and 1


def run_experiment(
    config: ExperimentConfig,
    runs_dir: Path | str,
    *,
    device: str = "auto",
    workers: int | None = None,
    show_progress: bool = True,
    share_first_stage: bool = True,
    wait: bool | None = None,
) -> Path:
    """Train, evaluate and save one run; continue it if it was interrupted, skip it if it is finished.

    Args:
        config: what to run.
        runs_dir: where run folders lie.
        device: ``auto`` (an accelerator if there is one) or ``cpu``.
        workers: processes that read clips; None chooses (none for the embedded data).
        show_progress: draw a progress bar.
        share_first_stage: keep the first stage below `runs_dir` for runs that differ in the second alone, and take it
            from there if it was made by the same code on the same device with as many threads, so that results are
            what they would be.
        wait: whether to wait for another process that is training this very run, and then take its result, or go on
            with what it left; else this is an error. None waits in a notebook. Several processes never wait.

    Returns:
        The run folder, see `mmsada_lab.runs`.

    Raises:
        UserError: if data and configuration do not fit, the folder cannot be written, another process is training the
            run, or a loss is not finite.
    """
    data = load_data(config.data)
    check_fit(config, data)
    if show_progress and is_main_process():
        for note in data.notes:
            tqdm.write(f"note: {note}", file=sys.stderr)
    folder = RunFolder(Path(runs_dir), config, data_name=data.name)
    # Before any device is opened: a sweep that resumes looks at hundreds of finished runs.
    if not is_distributed() and _is_finished(folder, data):
        return folder.path
    in_turn = config.discrepancy_steps == "alternating"
    together = open_accelerator(
        device, precision=config.precision, compiled=config.compile, batch=config.batch, in_turn=in_turn
    )
    with together as accelerator, explain_lost_process(accelerator, continues_at=lambda: _saved_step(folder)):
        check_agreement({"the configuration's digest": config.digest, "the data's digest": data.digest})
        wait = in_notebook() if wait is None else wait
        with _held(folder, accelerator, wait=wait and not is_distributed()):
            if ask_main_process(accelerator, lambda: _is_finished(folder, data)):  # by another process, since
                return folder.path
            experiment = Experiment(config, data, folder, accelerator=accelerator, workers=workers)
            # Several processes would have to agree on whether it is there; they train it themselves.
            if share_first_stage and accelerator.num_processes == 1 and config.pretrain.steps:
                # Weights to start from count as data: another file of the same name is another first stage.
                started_from = [data.digest, *(report.sha256 for report in experiment.pretrained.values())]
                experiment.first_stage = first_stage_path(
                    Path(runs_dir), config, data_digest=" ".join(started_from), device=accelerator.device
                )
            with explain_out_of_memory(config, accelerator), explain_lost_workers():
                experiment.run(show_progress=show_progress)
            accelerator.wait_for_everyone()  # the folder is whole when any process returns
    return folder.path


def starting_notes(config: ExperimentConfig) -> list[str]:
    """What to know of the weights that a run starts from, before it takes hours."""
    files = by_modality(config.pretrained)
    untrained = [m for m in config.modalities if config.backbone_of(m) == "i3d" and m not in files]
    advice = "the authors start from Kinetics weights: -o pretrained=rgb:FILE,flow:FILE (docs/training.md)"
    return [f"I3D starts from random weights for {' and '.join(untrained)}; {advice}"] if untrained else []


def moment_notes(config: ExperimentConfig, domains: Iterable[Domain]) -> list[str]:
    """What to know of segments too short for ``negatives=moment``, by domain."""
    if config.negatives != "moment":
        return []
    rule, others = clip_rule(config).window, len(config.modalities) - 1
    notes = []
    for domain in domains:
        room = [high - low for low, high in (centre_bounds(segment, rule) for segment in domain.train)]
        short, none = sum(r < rule.half * others for r in room), sum(r < others for r in room)
        if short:
            alike = f", {none} of them show one moment as if it were two" if none else ""
            notes.append(
                f"{short} of {len(room)} training segments of {domain.name} are too short for moments half a window "
                f"({rule.half} frames) apart: their negatives are as far apart as the segment allows{alike}"
            )
    return notes


def _saved_step(folder: RunFolder) -> int:
    """Where an interrupted run continues: the step of its last checkpoint."""
    if not folder.checkpoint_path.exists():
        return 0
    state = torch.load(folder.checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
    return int(json.loads(state["history"])[-1]["total_step"])


def _is_finished(folder: RunFolder, data: MultiDomainData) -> bool:
    """Whether there is nothing left to do; a run of other data is refused, one without its weights is trained again."""
    manifest = folder.manifest(data_digest=data.digest)
    return manifest is not None and is_complete(manifest)


@contextmanager
def _held(folder: RunFolder, accelerator: Accelerator, *, wait: bool) -> Iterator[None]:
    """Lock the folder in the main process; the others follow."""
    if not accelerator.is_main_process:
        yield
        return
    with folder.locked(wait=wait):
        yield


class Experiment:
    """One run, built from its configuration: what is trained, on what, and how it is evaluated.

    Args:
        config: what to run.
        data: the data set.
        folder: of the run.
        accelerator: device, precision and data parallelism.
        workers: processes that read clips; None chooses.
    """

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
        # Unlabelled source segments could only be used as target clips, which they are not.
        self.source = replace(source, train=tuple(s for s in source.train if s.label is not None))
        self.workers = default_workers(data) if workers is None else workers
        self.network, predictor = self._build_network()
        self.pretrained = load_backbones(dict(self.network.backbones.items()), config.pretrained)
        prepare_backbones(self.network, channels_last=config.channels_last, compiled=config.compile)
        self.method = build_method(self.network, config, num_classes=len(data.classes)).to(accelerator.device)
        self.evaluation = Evaluation(predictor, self.source, self.target, accelerator=accelerator)
        self.progress = Progress()
        self.first_stage: Path | None = None  # where it is shared with other runs

    def _build_network(self) -> tuple[LateFusionNetwork, Predictor]:
        config, accelerator = self.config, self.accelerator
        # Its own seed: methods with the same network start from the same weights.
        torch.manual_seed(step_seed(config.seed, _INITIALISATION))
        inputs = inputs_of(self.source, config.modalities)
        network = build_network(config, inputs, num_classes=len(self.data.classes))
        match_statistics(network, accelerator, clips=config.batch.source, group=config.norm_group)
        predictor = build_predictor(network, config, device=accelerator.device, workers=self.workers)
        if network.standardise:
            _fit_standardise(network, predictor.single_windows(self.source, self.source.train))
        return network, predictor

    def run(self, *, show_progress: bool) -> None:
        """Run the stages that are not done yet, then save what the run leaves."""
        config, path, resumed = self.config, self.folder.checkpoint_path, None
        if path.exists():
            # Not to the device: one of several processes may call it cpu:0, which torch.load does not know.
            self.progress, resumed = load_checkpoint(path, method=self.method, device=torch.device("cpu"))
            self._restore_scale(resumed)
        check_agreement(self._initial_state())
        if self.accelerator.is_main_process:
            write_json(self.folder.manifest_path, self._manifest("running"))
        shown = show_progress and self.accelerator.is_main_process
        title = f"{config.method} {config.pair} seed {config.seed}"
        notes = [
            f"note: {note}" for note in (*starting_notes(config), *moment_notes(config, (self.source, self.target)))
        ]
        for line in (*notes, *map(str, self.pretrained.values())) if shown else ():
            tqdm.write(line, file=sys.stderr)
        done = self._steps_done()
        with tqdm(total=config.total_steps, initial=done, desc=title, unit="step", disable=not shown) as bar:
            for number in range(self.progress.stage, len(config.stages)):
                if number != self.progress.stage:
                    self.progress.stage, self.progress.step = number, 0
                if number == 0 and self.first_stage is not None:
                    self._run_shared_stage(self.first_stage, resumed=resumed, bar=bar)
                else:
                    self._run_stage(number, resumed=resumed, bar=bar)
                resumed = None
        if shown and self.progress.skipped:
            counted = f"{self.progress.skipped} of {config.total_steps} steps changed nothing"
            tqdm.write(f"note: {counted}: gradients overflowed in {config.precision}", file=sys.stderr)
        source, target = self.evaluation.predict_source(), self.evaluation.predict_target()
        own = self.evaluation.predict_under_own_statistics(source, target)
        if self.accelerator.is_main_process:
            self._finish(source, target, own)

    def _initial_state(self) -> dict[str, object]:
        """What every process must start from."""
        weights = sorted(report.sha256 for report in self.pretrained.values())
        versions = [f"mmsada_lab {__version__}", f"torch {torch.__version__}"]
        return {"the step to continue at": self._steps_done(), "pretrained weights": weights, "versions": versions}

    def _steps_done(self) -> int:
        stages = self.config.stages[: self.progress.stage]
        return sum(stage.steps for _, stage in stages) + self.progress.step

    def _restore_scale(self, resumed: Resumed) -> None:
        """Let the scale of fp16 gradients go on where it was; a stage does not start it afresh."""
        if self.accelerator.scaler is not None and resumed.scaler:
            self.accelerator.scaler.load_state_dict(resumed.scaler)

    def _run_shared_stage(self, shared: Path, *, resumed: Resumed | None, bar: tqdm[Any]) -> None:
        """Take the first stage if another run has trained it; else train it, and give it to all."""
        with first_stage_locked(shared, told=not bar.disable):
            if not self._steps_done() and shared.exists():
                self.progress.reused = self._load_first_stage(shared)
                bar.update(self._steps_done())
            self._run_stage(0, resumed=resumed, bar=bar)
            if not self.progress.reused:
                publish_first_stage(self.folder.checkpoint_path, shared)

    def _load_first_stage(self, shared: Path) -> bool:
        initial = {name: tensor.clone() for name, tensor in self.method.state_dict().items()}
        try:
            self.progress, ended = load_checkpoint(shared, method=self.method, device=self.accelerator.device)
        except UserError:  # damaged: the stage is trained again, and replaces it
            self.method.load_state_dict(initial)
            return False
        self._restore_scale(ended)
        return True

    def _run_stage(self, number: int, *, resumed: Resumed | None, bar: tqdm[Any]) -> None:
        config, accelerator = self.config, self.accelerator
        name, stage = config.stages[number]
        if self.progress.step >= stage.steps:
            return
        method, optimiser = self.prepare_stage(stage, resumed=resumed)
        seed = (config.seed, number)
        scalars, since = {}, time.monotonic()
        steps = train_steps(
            method,
            optimiser,
            self.load_batches(stage, seed=seed),
            stage=stage,
            accelerator=accelerator,
            first_step=self.progress.step,
            seed=seed,
            accumulation=config.accumulation,
        )
        for step, last in steps:
            scalars[step] = last
            # Counted as steps all the same, since batches and schedules go by their number; but told.
            self.progress.skipped += bool(getattr(optimiser, "step_was_skipped", False))
            if config.is_evaluated(number, step):
                means = mean_scalars(scalars, terms=stage.weights, every=config.log_every, accelerator=accelerator)
                for end, values in means:
                    self.progress.step = end
                    self._record_means(name, values, terms=stage.weights)
                if accelerator.scaler is not None:
                    scale = accelerator.scaler.get_scale()
                    self._record("scale", name, {"scale": scale, "skipped_steps": self.progress.skipped})
                scalars = {}
                average_statistics(self.network, accelerator)  # before anything is evaluated or saved
                values = self.evaluate(number, step=step)
                self._record("evaluation", name, values)
                method.train()  # evaluation has switched dropout and batch statistics off
                self.progress.seconds, since = self.progress.seconds + time.monotonic() - since, time.monotonic()
                self._save_checkpoint(optimiser)
                bar.set_postfix_str(f"{name}, {_shown_accuracy(values)}")
            bar.update()

    def prepare_stage(self, stage: Stage, *, resumed: Resumed | None = None) -> tuple[nn.Module, Optimizer]:
        """Method and optimiser for the loss terms of a stage, on the device."""
        config = self.config
        self.method.select_terms(stage.weights)
        unprepared = build_optimiser(
            config.optimiser,
            self.method.parameter_groups(learning_rate=stage.learning_rate),
            learning_rate=stage.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            device=self.accelerator.device,
        )
        method, optimiser = self.accelerator.prepare(self.method, unprepared)
        # A checkpoint at a stage's end carries the last stage's optimiser; the next one starts with its own.
        if resumed is not None and self.progress.step:
            optimiser.load_state_dict(resumed.optimiser)
        return method, optimiser

    def load_batches(self, stage: Stage, *, seed: tuple[int, ...]) -> BatchLoader[TrainingBatch]:
        """The batches of a stage that remain."""
        return load_batches(
            self.source,
            self.target,
            rule=replace(clip_rule(self.config), negatives=self.config.mismatches(stage)),
            modalities=self.config.modalities,
            plan=self.config.batch,
            steps=range(self.progress.step, stage.steps),
            seed=seed,
            process=(self.accelerator.process_index, self.accelerator.num_processes),
            workers=self.workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def _record(self, kind: str, stage: str, values: dict[str, float]) -> None:
        steps = {"step": self.progress.step, "total_step": self._steps_done()}
        self.progress.history.append({"kind": kind, "stage": stage, **steps, "values": values})

    def _record_means(self, stage: str, means: Mapping[str, float], *, terms: Collection[str]) -> None:
        self._record("train", stage, {name: value for name, value in means.items() if name in terms})
        # A gradient may overflow where the loss does not: that ends no run, and JSON has no word for it.
        game = {name: value for name, value in means.items() if name not in terms and math.isfinite(value)}
        if game:
            self._record("game", stage, game)

    def evaluate(self, number: int, *, step: int) -> dict[str, float]:
        """Accuracies on the target and, in the last stage, scores that need no label.

        Keeps what will be averaged, and the features that ``keep_features`` asks for.

        Raises:
            UserError: if predictions are not finite.
        """
        predictions = self.evaluation.predict_target()
        if not all(np.isfinite(p).all() for p in predictions.probabilities.values()):
            raise UserError(
                f"the network's predictions are not finite after step {step}; training stopped and the last checkpoint "
                "is kept. Lower the learning rate, or use precision=no"
            )
        measured = accuracies(predictions, self.evaluation.labels)
        values = {f"{stream}/{measure}": v for stream, measures in measured.items() for measure, v in measures.items()}
        final_stage, keeps = number == len(self.config.stages) - 1, self.config.keeps_features(number, step)
        if not (final_stage or keeps):
            return values
        source = self.evaluation.predict_source()
        if keeps:
            self.progress.snapshots.append((self._steps_done(), self.evaluation.snapshot(source, predictions)))
        if not final_stage:
            return values
        kept = [*self.progress.kept, (step, dict(predictions.probabilities))]
        self.progress.kept = kept[-self.config.averaged_evaluations :]
        scores = self.evaluation.label_free_scores(source, predictions)
        source_features, features = (self._on_device(side.features) for side in (source, predictions))
        if (score := self.method.pretext_score(features)) is not None:
            scores[self.config.pretext] = score
        game = {f"game/{name}": value for name, value in self.method.game(source_features, features).items()}
        return {**values, **{f"validator/{name}": value for name, value in scores.items()}, **game}

    def _on_device(self, features: Mapping[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
        return {m: torch.from_numpy(f).to(self.accelerator.device) for m, f in features.items()}

    def _save_checkpoint(self, optimiser: Optimizer) -> None:
        if self.accelerator.is_main_process:
            states = {"method": self.method, "optimiser": optimiser, "scaler": self.accelerator.scaler}
            save_checkpoint(self.folder.checkpoint_path, self.progress, **states)
            self.folder.write_history(self.progress.history)

    def _manifest(self, status: str, **more: object) -> dict[str, object]:
        earlier = self.folder.manifest() or {}  # a resumed run keeps the time it was started
        return {
            "status": status,
            "config": self.config.to_dict(),
            "digest": self.config.digest,
            "classes": list(self.data.classes),
            "data_name": self.data.name,
            "data_digest": self.data.digest,
            "data_notes": list(self.data.notes),
            "inputs": {m: list(kind) for m, kind in inputs_of(self.source, self.config.modalities).items()},
            "pretrained": {modality: report.to_dict() for modality, report in self.pretrained.items()},
            **provenance(),
            "device": device_name(self.accelerator.device),
            "threads": torch.get_num_threads(),
            "processes": self.accelerator.num_processes,
            "first_stage_reused": self.progress.reused,
            "skipped_steps": self.progress.skipped,
            "started": earlier.get("started", now()),
            **more,
        }

    def _finish(self, source: Predictions, target: Predictions, own: Sequence[Predictions]) -> None:
        """Save what the run leaves; the manifest last, so that a finished run is a whole one."""
        evaluation, kept, folder = self.evaluation, self.progress.kept, self.folder
        folder.write_history(self.progress.history)
        write_arrays(folder.path / "predictions.npz", evaluation.prediction_arrays(kept))
        write_arrays(folder.path / "features.npz", evaluation.feature_arrays(source, target, own))
        write_arrays(folder.path / "windows.npz", evaluation.window_arrays(source, target))
        if self.progress.snapshots:
            write_arrays(folder.path / "checkpoints.npz", evaluation.checkpoint_arrays(self.progress.snapshots))
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_atomic(folder.path / "model.safetensors", lambda file: file.write(safetensors_bytes(weights)))
        every, steps = self.config.evaluate_every, [step for step, _ in kept]
        apart = f"{'' if set(np.diff(steps)) <= {every} else 'at most '}{every} steps apart"
        result = {
            "selection": f"mean of the last {len(kept)} evaluations, {apart}",
            "evaluations": len(kept),
            "test_segments": int((evaluation.labels >= 0).sum()),
            "target": evaluation.mean_accuracies(kept),
            "source_last": evaluation.source_accuracies(source),
            "caution": mean_class_caution(evaluation.labels, self.data.classes),
        }
        seconds = round(self.progress.seconds, 2)
        manifest = self._manifest("finished", ended=now(), training_seconds=seconds, result=result)
        write_json(folder.manifest_path, manifest)
        # Only now: a run that dies before continues from it.
        folder.checkpoint_path.unlink(missing_ok=True)


def _fit_standardise(network: LateFusionNetwork, source_training: TestClipLoader) -> None:
    """Mean and standard deviation of the labelled source's training clips, one window each."""
    clips = list(source_training)
    for modality, layer in network.standardise.items():
        values = torch.cat([batch[modality].flatten(0, 1) for batch in clips])  # (N, C) or (N, C, T)
        layer.fit(values)  # type: ignore[operator]


def _shown_accuracy(values: dict[str, float]) -> str:
    return f"target top-1 {values['fused/top1']:.1f} %" if "fused/top1" in values else "target unlabelled"


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
    # Classes that only the target has are no error: that is a kind of gap too.
    labels = {segment.label for segment in data.domain(config.source).train} - {None}
    if len(labels) < 2:
        classes = "no labelled segment" if not labels else f"only the class {data.classes[labels.pop()]!r}"  # type: ignore[index]
        raise UserError(f"the training set of {config.source} has {classes}; a classifier needs two classes or more")
    _check_sizes(config, data)


def _check_inputs(config: ExperimentConfig, data: MultiDomainData) -> None:
    source, target = (inputs_of(data.domain(name), config.modalities) for name in config.pair)
    for modality in config.modalities:
        if source[modality] != target[modality]:
            shown = [f"{kind} of {channels} channels" for kind, channels in (source[modality], target[modality])]
            raise UserError(f"{modality} is {shown[0]} in {config.source} and {shown[1]} in {config.target}")
    vectors = [modality for modality, (kind, _) in source.items() if kind == "vector"]
    if vectors and config.negatives == "moment":
        raise UserError(
            f"negatives=moment shows other moments of a segment, but {' and '.join(vectors)} is one vector a segment; "
            "leave it out (-o modalities=A,B) or give negatives=other"
        )
    # Refuses a backbone that does not take its modality, before anything is written.
    build_network(config, source, num_classes=len(data.classes))


def _check_sizes(config: ExperimentConfig, data: MultiDomainData) -> None:
    source, target = data.domain(config.source), data.domain(config.target)
    labelled = sum(segment.label is not None for segment in source.train)
    sides = ((source, labelled, config.batch.source), (target, len(target.train), config.batch.target))
    for domain, available, batch in sides:
        if batch > available:
            raise UserError(
                f"a batch takes {batch} segments of domain {domain.name}, which has {available} for training; "
                f"lower batch_size (now {config.batch_size})"
            )
    if config.test_statistics == "target" and len(target.train) < 2:
        raise UserError(
            f"test_statistics=target estimates batch statistics on training clips, of which domain {target.name} has "
            f"{len(target.train)}; give two or more, or test_statistics=running"
        )
    if not (target.test or target.train):
        raise UserError(f"domain {target.name} has no segments; there is nothing to adapt to")
