"""What one training step costs at `quick`: MM-SADA against the bare backbones on the same clips, and reading the clips.

    python benchmarks/step.py [--threads 2] [--steps 20]

Prints a table and writes benchmarks/step.json with device, versions and date. Ratios within one run are what counts:
the floor of a step is forward and backward through the backbones alone.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

from mmsada_lab.data.batches import ClipRule, TrainingBatches
from mmsada_lab.data.sources import load_data
from mmsada_lab.data.windows import WindowRule
from mmsada_lab.losses import total_loss
from mmsada_lab.methods import MMSADA
from mmsada_lab.models.backbones import build_backbone
from mmsada_lab.models.network import LateFusionNetwork
from mmsada_lab.presets import build_config


def median_seconds(work: Callable[[], object], steps: int) -> float:
    """Median time of some calls, after two that warm up."""
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[steps // 2]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = build_config("quick", source="D2", target="D1")
    data = load_data(config.data)
    source, target = data.domain("D2"), data.domain("D1")
    channels = {m: source.readers[m].channels for m in config.modalities}
    backbones = {
        m: build_backbone(config.backbone, c, width=config.width, norm_momentum=config.norm_momentum)
        for m, c in channels.items()
    }
    method = MMSADA(LateFusionNetwork(backbones, len(data.classes)), config, num_classes=len(data.classes))
    method.select_terms(config.adapt.weights)
    batches = TrainingBatches(
        source,
        target,
        rule=ClipRule(WindowRule(config.window_length, config.window_stride), config.input_size),
        modalities=config.modalities,
        source_batch=config.source_batch,
        target_batch=config.target_batch,
        steps=options.steps + 2,
        seed=(0, 1),
    )
    batch = batches[0]
    order = iter(range(options.steps + 2))

    def mmsada() -> None:
        total_loss(method(batch, 0.5), config.adapt.weights).backward()

    def bare() -> None:
        for part in (batch.source, batch.target):
            if part is not None:
                features = method.network.features(part.clips)
                torch.stack([f.sum() for f in features.values()]).sum().backward()

    seconds = {
        "bare backbones, forward + backward": median_seconds(bare, options.steps),
        "MM-SADA, forward + backward": median_seconds(mmsada, options.steps),
        "reading the clips": median_seconds(lambda: batches[next(order)], options.steps),
    }
    floor = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"{name:36} {1000 * value:7.1f} ms   {value / floor:5.2f} x")
    report = {
        "date": date.today().isoformat(),
        "device": f"{platform.machine()}, {options.threads} threads",
        "torch": torch.__version__,
        "milliseconds": {name: round(1000 * value, 2) for name, value in seconds.items()},
        "ratio": {name: round(value / floor, 3) for name, value in seconds.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
