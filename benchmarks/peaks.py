"""What a device can compute at most: the makers' figures for dense matrices, and a large product measured here."""

from __future__ import annotations

import torch
from measure import interleaved

from mmsada_lab.models.network import PRECISIONS

PEAKS = {
    "B200": (2250, 1125),
    "H100 PCIe": (756, 378),
    "H100 NVL": (835, 418),
    "H100": (989, 495),
    "H200": (989, 495),
    "GH200": (989, 495),
    "A100": (312, 156),
    "A800": (312, 156),
    "L40S": (362, 183),
    "L40": (181, 90.5),
    "L4": (121, 60),
    "A10": (125, 62.5),
    "RTX 4090": (165, 82.6),
    "RTX 3090": (71, 35.6),
    "V100": (125, 15.7),
    "T4": (65, 8.1),
}
"""Part of a device's name -> TFLOP/s in 16 bits with float32 sums, and in float32 as torch's convolutions take it.

That is TF32 where the device has it, V100 and T4 have not; their 16 bits are fp16. Without sparsity. The first name
that fits counts.
"""


def known_peak(name: str, precision: str) -> float | None:
    """TFLOP/s of a device by its name, None where it is not in the table.

    Args:
        name: as the driver gives it, ``NVIDIA H100 80GB HBM3``.
        precision: ``no``, ``bf16`` or ``fp16``.
    """
    words = name.replace("-", " ")
    found = next((peaks for part, peaks in PEAKS.items() if f" {part} " in f" {words} "), None)
    return None if found is None else float(found[precision not in PRECISIONS])


def measured_peak(device: torch.device, precision: str, *, size: int | None = None) -> float:
    """TFLOP/s of a product of two large square matrices, the fastest of some: what a device attains, all considered.

    On CUDA, float32 is TF32 here, as it is in convolutions.
    """
    size = size or (8192 if device.type == "cuda" else 2048)
    left, right = torch.randn(2, size, size, device=device, dtype=PRECISIONS.get(precision, torch.float32)).unbind()
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    work = {"product": lambda: left @ right}
    try:
        times = interleaved(work, rounds=8, warm_up=3, device=device, title="a large product")["product"].seconds
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    return 2 * size**3 / min(times) / 1e12
