"""How long the paper's schedule takes on this machine: 3,000 + 6,000 steps of 128 clips of two I3D streams.

    python benchmarks/paper.py                                # every GPU there is, else the CPU
    python benchmarks/paper.py --data epic:ROOT               # and with the clips read from JPEG files
    python benchmarks/paper.py -o precision=bf16 -o checkpointing=true -o batch_size=64

Both stages are trained for some steps of the preset `paper`, as `mmsada train` trains them, from random weights. On a
GPU several settings are tried (float32, bf16, channels last, compiled), unless `-o` fixes one. Clips wait in memory;
with `--data` they are measured read from files as well. Where the memory is too small the step is computed in parts
(accumulation), then with checkpointing, then with smaller groups of batch statistics, until it fits.

On a CPU a small part of a step is measured (4 + 4 clips) and scaled to the schedule by its arithmetic: a projection.
Evaluations come on top: the table says how long they would take for 1,000 test segments.

Shares are of the arithmetic of the model, forward and backward without what checkpointing computes again: of the
maker's figure for the device (`peaks.py`) and of what a large matrix product attains in the same run.

Written: paper.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import CPU, Timing, device_name, parser, progress, release, rounded, run, save, table, tensor_bytes, timed
from noise import noise
from peaks import known_peak, measured_peak
from torch.utils.flop_counter import FlopCounterMode

from mmsada_lab.cli.options import parse_overrides
from mmsada_lab.clips.batches import TrainingBatch
from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.config import ExperimentConfig, Stage
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import Experiment, check_fit
from mmsada_lab.models.i3d import I3D
from mmsada_lab.presets import build_config
from mmsada_lab.runs import RunFolder
from mmsada_lab.runtime.device import open_accelerator
from mmsada_lab.train import train_steps

GPU_SETTINGS: dict[str, dict[str, Any]] = {
    "float32 (TF32)": {},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "bf16, compiled": {"precision": "bf16", "compile": True},
    "bf16, channels last, compiled": {"precision": "bf16", "channels_last": True, "compile": True},
}
CPU_SETTINGS: dict[str, dict[str, Any]] = {"float32": {}, "bf16": {"precision": "bf16"}}
STEPS, CLIPS = (3000, 6000), 128
"""The schedule: steps of the two stages, clips of a step."""
EVALUATIONS, TEST_WINDOWS = sum(STEPS) // 50, 5
IN_MEMORY = 4
"""Different batches that wait in memory."""


class Sizes(NamedTuple):
    """How long is measured: timed rounds, steps of each, steps before them."""

    rounds: int
    steps: int
    warm_up: int


@dataclass(frozen=True)
class Speed:
    """What was measured of one setting."""

    setting: str
    clips_from: str
    config: ExperimentConfig
    stages: Mapping[str, Timing]
    peak_bytes: int


def speed_of(setting: str, config: ExperimentConfig, data: MultiDomainData, options: argparse.Namespace) -> list[Speed]:
    """Measure a setting, made easier until it fits the device's memory; from memory and, where asked, from files."""
    while True:
        try:
            return [
                Speed(setting, where, config, *measure(config, data, options, read=where == "files"))
                for where in (("memory", "files") if options.data else ("memory",))
            ]
        except torch.OutOfMemoryError:
            easier = easier_on_memory(config)
        if easier is None:
            raise UserError(f"{setting}: not even the smallest part of a step fits into the memory of this GPU")
        config = easier
        release()
        print(f"{setting}: too large for the memory; trying {_parts(config)}", file=sys.stderr)


def easier_on_memory(config: ExperimentConfig) -> ExperimentConfig | None:
    """The same step in less memory: in more parts, then with checkpointing, then with smaller groups; else None."""
    if more := [parts for parts in config.batch.divisors() if parts > config.accumulation]:
        return replace(config, accumulation=more[0])
    if not config.checkpointing:
        return replace(config, checkpointing=True, accumulation=1)
    if config.norm_group > 2:
        return replace(config, norm_group=config.norm_group // 2)
    return None


def measure(
    config: ExperimentConfig, data: MultiDomainData, options: argparse.Namespace, *, read: bool
) -> tuple[dict[str, Timing], int]:
    """Seconds of a step in each stage, and bytes at the peak (on a CPU beyond weights and batches).

    Args:
        config: one setting.
        data: what the clips are cut from.
        options: the command line.
        read: whether clips are read and cut while training, or wait in memory.
    """
    cpu = options.device.type == "cpu"
    device = open_accelerator(
        "cpu" if cpu else "auto", precision=config.precision, compiled=config.compile, batch=config.batch
    )
    with device as accelerator, tempfile.TemporaryDirectory() as runs:
        folder = RunFolder(Path(runs), config, data_name=data.name)
        experiment = Experiment(config, data, folder, accelerator=accelerator, workers=options.workers)
        if not cpu:
            torch.cuda.reset_peak_memory_stats(options.device)
        stages, peak = {}, 0
        for number, (name, stage) in enumerate(config.stages):
            batches = batches_of(experiment, stage, number, read=read)
            steps = steps_of(experiment, stage, batches, options)
            peak = warmed_up(steps, options, counting=cpu and stage is config.adapt)
            stages[name] = timing_of(steps, options, title=f"{name}, {_parts(config)}")
        return stages, peak if cpu else torch.cuda.max_memory_allocated(options.device)


def warmed_up(steps: Iterator[object], options: argparse.Namespace, *, counting: bool) -> int:
    """Take the first steps; bytes of tensors at the peak, if they are counted."""

    def work() -> None:
        for _ in islice(steps, options.sizes.warm_up):
            pass

    if counting:
        return tensor_bytes(work)
    work()
    return 0


def batches_of(experiment: Experiment, stage: Stage, number: int, *, read: bool) -> Iterator[TrainingBatch]:
    """Parts of batches as the experiment reads them, or a few of them again and again."""
    loader = experiment.load_batches(stage, seed=(0, number))
    if read:
        return iter(loader)
    count = experiment.config.accumulation * IN_MEMORY
    return cycle([batch for batch, _ in zip(loader, progress(range(count), "batches"), strict=False)])


def steps_of(
    experiment: Experiment, stage: Stage, batches: Iterator[TrainingBatch], options: argparse.Namespace
) -> Iterator[object]:
    """The training loop of one stage, waiting to be driven."""
    method, optimiser = experiment.prepare_stage(stage)
    return train_steps(
        method,
        optimiser,
        batches,
        stage=stage,
        accelerator=experiment.accelerator,
        first_step=0,
        seed=(0, 0),
        accumulation=experiment.config.accumulation,
    )


def timing_of(steps: Iterator[object], options: argparse.Namespace, *, title: str) -> Timing:
    """Seconds of a step, in rounds of several steps between which the device is waited for."""
    rounds, each = options.sizes.rounds, options.sizes.steps
    seconds = [timed(lambda: list(islice(steps, each)), options.device) / each for _ in progress(range(rounds), title)]
    return Timing(tuple(seconds))


@cache
def flops_per_clip(side: int, frames: int, *, backward: bool = True) -> float:
    """Operations of both I3D streams for one clip, counted by torch; nothing is computed."""
    total = 0
    for channels in (3, 2):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            features = I3D(channels).train()(torch.empty(2, channels, frames, side, side))
            if backward:
                features.sum().backward()
        total += counter.get_total_flops()
    return total / 2


def facts_of(speed: Speed, peaks: Mapping[str, float | None], options: argparse.Namespace) -> dict[str, Any]:
    """What a setting comes to, projected to the paper's schedule."""
    config = speed.config
    per_clip = flops_per_clip(config.input_size, config.window_length)
    scale = CLIPS / config.batch_size * flops_per_clip(224, 16) / per_clip
    seconds = [timing.median for timing in speed.stages.values()]
    rate = sum(STEPS) * config.batch_size * per_clip / float(np.dot(STEPS, seconds))
    evaluation = EVALUATIONS * 1000 * TEST_WINDOWS * flops_per_clip(224, 16, backward=False)
    return {
        "setting": speed.setting,
        "clips_from": speed.clips_from,
        "overrides": {name: getattr(config, name) for name in ("batch_size", "input_size", *REPORTED)},
        "seconds_per_step": {name: asdict(timing)["seconds"] for name, timing in speed.stages.items()},
        "steps_per_second": [rounded(1 / s) for s in seconds],
        "tflops": rounded(rate / 1e12),
        "share_of_peak": {name: rounded(rate / 1e12 / peak) for name, peak in peaks.items() if peak},
        "peak_gb": rounded(speed.peak_bytes / 1e9),
        "minutes": rounded(float(np.dot(STEPS, seconds)) * scale / 60),
        "minutes_of_evaluation_per_1000_segments": rounded(evaluation / rate / 60),
    }


REPORTED = ("precision", "accumulation", "checkpointing", "compile", "channels_last", "norm_group")
COLUMNS = [
    "setting",
    "clips from",
    "a step",
    "s, stage 1",
    "s, stage 2",
    "TFLOP/s",
    "% of peak",
    "% of product",
    "GB",
    "minutes",
    "+ evaluations",
]


def row_of(facts: Mapping[str, Any], config: ExperimentConfig) -> list[object]:
    """One line of the table."""
    shares = [facts["share_of_peak"].get(name) for name in ("maker", "product")]
    return [
        facts["setting"],
        facts["clips_from"],
        _parts(config),
        *(rounded(float(np.median(seconds))) for seconds in facts["seconds_per_step"].values()),
        facts["tflops"],
        *(None if share is None else rounded(100 * share) for share in shares),
        facts["peak_gb"],
        facts["minutes"],
        facts["minutes_of_evaluation_per_1000_segments"],
    ]


def _parts(config: ExperimentConfig) -> str:
    more = ", checkpointing" * config.checkpointing + f", groups of {config.norm_group}"
    return f"{config.accumulation} x {config.batch_size // config.accumulation}{more}"


def read_options() -> argparse.Namespace:
    """The command line, with sizes as the device takes them."""
    made = parser(__doc__ or "", __file__)
    made.add_argument("--data", help="also read clips from files, e.g. epic:ROOT (source D2, target D1)")
    made.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="as in mmsada train")
    made.add_argument("--workers", type=int, help="processes that read files (as the library chooses)")
    options = made.parse_args()
    options.device = torch.device("cuda", 0) if torch.cuda.is_available() else CPU
    cpu = options.device.type == "cpu"
    options.sizes = Sizes(1, 1, 1) if options.quick else Sizes(3, 1, 1) if cpu else Sizes(5, 5, 5)
    torch.set_num_threads(options.threads)
    return options


def settings_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Name -> overrides of the preset `paper`."""
    chosen, cpu = parse_overrides(options.override), options.device.type == "cpu"
    small = {"batch_size": 8, "norm_group": 2} if cpu else {}
    if options.quick:
        small = {"batch_size": 8, "norm_group": 2, "input_size": 32, "window_length": 8}
    settings = CPU_SETTINGS if cpu else GPU_SETTINGS
    if options.quick or options.override:
        settings = {" ".join(options.override) or "float32": {}}
    return {name: {"backbone": "i3d", **small, **one, **chosen} for name, one in settings.items()}


def measure_here(options: argparse.Namespace) -> dict[str, Any]:
    """All settings on one device."""
    found: list[tuple[Speed, dict[str, Any]]] = []
    data = load_data(options.data) if options.data else None
    for name, overrides in settings_of(options).items():
        config = build_config("paper", source="D2", target="D1", data=options.data or "noise", overrides=overrides)
        source = data or noise(config.batch_size)
        check_fit(config, source)
        peaks = {
            "maker": known_peak(device_name(options.device), config.precision),
            "product": measured_peak(options.device, config.precision, size=512 if options.quick else None),
        }
        try:
            speeds = speed_of(name, config, source, options)
        except (
            UserError,
            RuntimeError,
        ) as error:  # a compiler's among them: the other settings are measured all the same
            print(f"{name}: {error}", file=sys.stderr)
            continue
        found += [(speed, facts_of(speed, peaks, options)) for speed in speeds]
    if not found:
        raise UserError("no setting could be measured; the lines above say why")
    rows = [row_of(facts, speed.config) for speed, facts in found]
    return {"settings": [facts for _, facts in found], "tables": [table(_title(found[0][0], options), COLUMNS, rows)]}


def _title(speed: Speed, options: argparse.Namespace) -> str:
    config = speed.config
    whole = (config.batch_size, config.input_size, config.window_length) == (CLIPS, 224, 16)
    what = "as measured" if whole else f"projected from {config.batch_size} clips of {config.input_size} pixels"
    return f"The paper's schedule on {device_name(options.device)}: {what}"


def each_gpu(count: int) -> dict[str, Any]:
    """The same command once for each GPU, which then is the only one it sees; the reports joined."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        for gpu in visible[:count]:
            part = Path(folder) / f"{gpu}.json"
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
            subprocess.run([sys.executable, *sys.argv, "--out", str(part)], env=environment, check=True)
            reports.append(json.loads(part.read_text()))
    return {key: list(chain(*(report[key] for report in reports))) for key in ("settings", "tables")}


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    count = torch.cuda.device_count()
    report = each_gpu(count) if count > 1 else measure_here(options)
    arithmetic = sum(STEPS) * CLIPS * flops_per_clip(224, 16)
    save(
        options.out,
        {"pflop_of_the_schedule": rounded(arithmetic / 1e15), **report},
        quick=options.quick,
        device=options.device,
    )


if __name__ == "__main__":
    run(main)
