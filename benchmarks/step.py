"""What one training step costs: MM-SADA against its bare backbones, I3D's parts against one another.

    python benchmarks/step.py                  # CPU: 8 + 8 clips of 16 x 112 x 112
    python benchmarks/step.py --device auto    # GPU, if any: 64 + 64 clips of 16 x 224 x 224, or what fits

Four questions, each answered by contenders that are timed in turns on the same clips, forward and backward:

- *the method*: what do MM-SADA's heads, losses and reversal add to the backbones? With the preset `quick` and with I3D.
  Its losses need the features of both domains before they go back, and so do the bare backbones it is compared with;
  `domain by domain` they go back after each, which takes half the memory; on a CPU new memory costs time.
- *grouped statistics*: what does it cost that batch statistics are over groups of clips of one domain, as in the paper?
  Against the same I3D with `nn.BatchNorm3d`, and against an I3D as it is usually written (`plain_i3d.py`).
- *options*: bf16, channels_last_3d and checkpointing; time and memory at the peak.
- *reading*: the clips of a step of `quick`, from memory.

On a GPU, float32 convolutions are TF32, as torch has it.

Written: step.json, with the ratios that count under `ratios`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import torch
from measure import CPU, Timing, compared, fitting, interleaved, parser, ratio, rounded, run, save, tensor_bytes
from plain_i3d import PlainI3D
from torch import Tensor, nn

from mmsada_lab.clips.batches import SourceBatch, TargetBatch, TrainingBatch, TrainingBatches
from mmsada_lab.clips.clips import ClipRule, inputs_of
from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import load_data
from mmsada_lab.losses import total_loss
from mmsada_lab.methods import MMSADA
from mmsada_lab.models.batchnorm import GroupedBatchNorm3d
from mmsada_lab.models.i3d import I3D
from mmsada_lab.models.network import build_network
from mmsada_lab.presets import build_config

BARE, METHOD, READING = "bare backbones", "MM-SADA", "reading the clips"
APART = "bare backbones, domain by domain"
PLAIN, GROUPED, USUAL = "I3D, nn.BatchNorm3d", "I3D, grouped statistics", "I3D as usually written, group by group"
CHANNELS = {"rgb": ("video", 3), "flow": ("video", 2)}
CLASSES = 8

Table = dict[str, Any]


class PlainNorm(nn.BatchNorm3d):
    """Batch normalisation over all clips, where I3D has `GroupedBatchNorm3d`."""

    def forward(self, input: Tensor, groups: int = 1) -> Tensor:
        """Normalised clips."""
        return super().forward(input)


def with_plain_norm(model: nn.Module) -> nn.Module:
    """The same model with ordinary batch normalisation, everything else alike."""
    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, GroupedBatchNorm3d):
                plain = PlainNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
                plain.weight.requires_grad_(norm.weight.requires_grad)
                setattr(module, name, plain)
    return model


def random_batch(clips: int, side: int, device: torch.device, *, frames: int = 16) -> TrainingBatch:
    """Noise as a training batch: `clips` of each domain."""
    generator = torch.Generator().manual_seed(0)

    def video() -> dict[str, Tensor]:
        shapes = {m: (clips, channels, frames, side, side) for m, (_, channels) in CHANNELS.items()}
        return {m: torch.randint(256, shape, generator=generator, dtype=torch.uint8) for m, shape in shapes.items()}

    corresponds = torch.arange(clips) < clips // 2
    labels = torch.randint(CLASSES, (clips,), generator=generator)
    return TrainingBatch(SourceBatch(video(), corresponds, labels), TargetBatch(video(), corresponds)).to(device)


def method_of(config: ExperimentConfig, inputs: Mapping[str, tuple[Any, int]], device: torch.device) -> MMSADA:
    """MM-SADA in its second stage, ready to train."""
    torch.manual_seed(0)
    method = MMSADA(build_network(config, inputs, num_classes=CLASSES), config, num_classes=CLASSES)
    method.select_terms(config.adapt.weights)
    return method.to(device).train()


def steps_of(method: MMSADA, batch: TrainingBatch) -> dict[str, Any]:
    """The contenders: backbones alone, on both domains or one after the other, and the whole method."""
    domains = batch.source, batch.require_target()

    def loss_of(part: TargetBatch) -> Tensor:
        return torch.stack([feature.sum() for feature in method.network.features(part.clips).values()]).sum()

    def bare() -> None:
        torch.stack([loss_of(part) for part in domains]).sum().backward()

    def apart() -> None:
        for part in domains:
            loss_of(part).backward()

    def whole() -> None:
        total_loss(method(batch, 0.5), method.config.adapt.weights).backward()

    return {BARE: bare, METHOD: whole, APART: apart}


def quick_step(options: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    """MM-SADA at the preset `quick` on the CPU, and reading its clips."""
    small = {"batch_size": 8} if options.quick else {}
    config = build_config("quick", source="D2", target="D1", overrides=small)
    data = load_data("kitchens:scale=0.001" if options.quick else config.data)
    rounds = 2 if options.quick else 5 * options.rounds
    batches = batches_of(config, data, steps=rounds + 2)
    method = method_of(config, inputs_of(data.domain("D2"), config.modalities), CPU)
    order = iter(range(rounds + 2))
    contenders = steps_of(method, batches[0]) | {READING: lambda: batches[next(order)]}
    timings = interleaved(contenders, rounds=rounds, title="quick", clock=options.clock)
    title = f"MM-SADA, preset quick, {config.batch.source} + {config.batch.target} clips of 8 x 32 x 32, CPU"
    ratios = {"mmsada_quick": ratio(timings[METHOD], timings[BARE]), "reading": ratio(timings[READING], timings[BARE])}
    return compared(title, timings, BARE), ratios


def batches_of(config: ExperimentConfig, data: MultiDomainData, *, steps: int) -> TrainingBatches:
    """Training batches of the second stage."""
    return TrainingBatches(
        data.domain(config.source),
        data.domain(config.target),
        rule=ClipRule(WindowRule(config.window_length, config.window_stride), config.input_size),
        modalities=config.modalities,
        source_batch=config.batch.source,
        target_batch=config.batch.target,
        steps=steps,
        seed=(0, 1),
    )


def i3d_step(clips: int, options: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    """MM-SADA with two I3D streams, as the preset `paper` has it but for the sizes."""
    group = max(2, clips // 4)
    config = build_config(
        "paper",
        source="D2",
        target="D1",
        overrides={"backbone": "i3d", "batch_size": 2 * clips, "norm_group": group, "input_size": options.side},
    )
    method = method_of(config, CHANNELS, options.device)
    contenders = steps_of(method, random_batch(clips, options.side, options.device))
    timings = timed(contenders, options, title="MM-SADA with I3D")
    title = f"MM-SADA, two I3D streams, {clips} + {clips} clips of {sizes(options)}, groups of {group}"
    return compared(title, timings, BARE), {"mmsada_i3d": ratio(timings[METHOD], timings[BARE])}


def norms(clips: int, options: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    """I3D on RGB: ours with grouped and with ordinary batch statistics, and the usual one."""
    group = max(2, clips // 4)
    values = random_batch(clips, options.side, options.device).source.clips["rgb"].float() / 128 - 1
    grouped = I3D().to(options.device).train()
    plain, usual = with_plain_norm(I3D()).to(options.device), PlainI3D().to(options.device)
    usual.load_state_dict(grouped.state_dict())
    with torch.no_grad():
        difference = float((grouped(values, group) - usual(values, group)).abs().max())
    contenders = {
        PLAIN: lambda: plain(values).sum().backward(),
        GROUPED: lambda: grouped(values, group).sum().backward(),
        USUAL: lambda: usual(values, group).sum().backward(),
    }
    timings = timed(contenders, options, title="batch statistics")
    title = f"I3D on RGB, {clips} clips of {sizes(options)}, groups of {group}"
    ratios = {
        "grouped_over_plain_norm": ratio(timings[GROUPED], timings[PLAIN]),
        "usual_over_ours": ratio(timings[USUAL], timings[GROUPED]),
        "largest_difference_usual_and_ours": rounded(difference),
    }
    return compared(title, timings, PLAIN), ratios


def variants(clips: int, options: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    """Precision, memory format and checkpointing of I3D on RGB, with grouped statistics."""
    group = max(2, clips // 4)
    values = random_batch(clips, options.side, options.device).source.clips["rgb"].float() / 128 - 1
    base = "float32"
    contenders = {
        base: variant(values, group),
        "float32, channels_last_3d": variant(values, group, last=True),
        "bf16": variant(values, group, bf16=True),
        "bf16, channels_last_3d": variant(values, group, bf16=True, last=True),
        "float32, checkpointing": variant(values, group, checkpointing=True),
        "bf16, channels_last_3d, checkpointing": variant(values, group, bf16=True, last=True, checkpointing=True),
    }
    if options.quick:
        contenders = {name: contenders[name] for name in (base, "float32, checkpointing")}
    timings = timed(contenders, options, title="options")
    memory = {name: rounded(tensor_bytes(work, options.device) / 1e9) for name, work in contenders.items()}
    title = f"Options of I3D on RGB, {clips} clips of {sizes(options)}, groups of {group}"
    ratios = {name: ratio(timing, timings[base]) for name, timing in timings.items()}
    return compared(title, timings, base, more=[("peak, GB", memory)]), {"options": ratios}


def variant(values: Tensor, group: int, *, bf16: bool = False, last: bool = False, checkpointing: bool = False) -> Any:
    """One way to run I3D forward and backward."""
    layout = torch.channels_last_3d if last else torch.contiguous_format
    clips = values.contiguous(memory_format=layout)
    model = I3D(checkpointing=checkpointing).to(values.device, memory_format=layout).train()

    def work() -> None:
        model.zero_grad()
        with torch.autocast(values.device.type, torch.bfloat16, enabled=bf16):
            features = model(clips, group)
        features.float().sum().backward()

    return work


def timed(contenders: Mapping[str, Any], options: argparse.Namespace, *, title: str) -> dict[str, Timing]:
    """`interleaved`, as the command line has it."""
    few = {"rounds": 1, "warm_up": 0} if options.quick else {"rounds": options.rounds, "warm_up": 2}
    return interleaved(contenders, device=options.device, title=title, clock=options.clock, **few)


def sizes(options: argparse.Namespace) -> str:
    """Frames and sides of a clip."""
    return f"16 x {options.side} x {options.side}"


def read_options() -> argparse.Namespace:
    """The command line, with the sizes that the device can take."""
    made = parser(__doc__ or "", __file__)
    made.add_argument("--device", default="cpu", choices=("cpu", "auto"), help="auto: a GPU if there is one")
    made.add_argument("--rounds", type=int, default=7, help="timed calls of each contender (%(default)s)")
    made.add_argument("--clips", type=int, help="clips of each domain with I3D (CPU: 8, GPU: 64)")
    made.add_argument("--side", type=int, help="side of a clip in pixels (CPU: 112, GPU: 224)")
    options = made.parse_args()
    gpu = options.device == "auto" and torch.cuda.is_available()
    options.device = torch.device("cuda", 0) if gpu else CPU
    small, usual, large = (4, 32), (8, 112), (64, 224)
    clips, side = small if options.quick else large if gpu else usual
    options.clips, options.side = options.clips or clips, options.side or side
    torch.set_num_threads(options.threads)
    return options


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    tables: list[Table] = []
    ratios: dict[str, Any] = {}
    for part in (i3d_step, norms, variants):
        (table, found), clips = fitting(lambda n, part=part: part(n, options), options.clips)
        tables.append({**table, "clips": clips})
        ratios |= found
    table, found = quick_step(options)
    limits = {"mmsada_quick": 1.05, "mmsada_i3d": 1.05, "grouped_over_plain_norm": 1.1}
    clock = "processor" if options.clock is time.process_time else "wall"
    report = {"clock": clock, "ratios": ratios | found, "limits_on_a_cpu": limits, "tables": [*tables, table]}
    save(options.out, report, quick=options.quick, device=options.device)


if __name__ == "__main__":
    run(main)
