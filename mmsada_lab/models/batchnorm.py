"""AdaBN: batch-normalisation statistics re-estimated on another domain (Li et al. 2018; section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def adapted_batchnorm(network: nn.Module, forward_target: Callable[[], object]) -> Iterator[None]:
    """Within the context, running statistics are those of the target; afterwards they are as before.

    The statistics are reset and then averaged, with equal weight per batch, over whatever `forward_target`
    passes through the network. Nothing else changes: no weight is trained, no label is read.

    Args:
        network: any module with batch normalisation.
        forward_target: passes the target's training clips through the network, a batch at a time.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    kept = [({name: buffer.clone() for name, buffer in layer.named_buffers()}, layer.momentum) for layer in layers]
    training = network.training
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative average
        layer.train()
    try:
        with torch.no_grad():
            forward_target()
        network.eval()
        yield
    finally:
        for layer, (buffers, momentum) in zip(layers, kept, strict=True):
            layer.momentum = momentum
            for name, buffer in buffers.items():
                layer.get_buffer(name).copy_(buffer)
        network.train(training)
