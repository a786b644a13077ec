"""Batch normalisation: that of the released code, and AdaBN, statistics re-estimated on another domain.

Legend: `B` clips, `C` channels, `G` groups, `T` frames, `H`, `W` pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmsada_lab.errors import UserError


class GroupedBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation with statistics over groups of clips, as the towers of the released code have them.

    In training each group of a batch is normalised by its own mean and variance, all groups at once, and the running
    statistics move as if the groups had come one after the other. They take the biased variance, as the released
    code does and torch does not (one part in 1,568 at the end of I3D, with groups of 16 clips of 16 x 224 x 224).

    Args:
        channels: C.
        momentum: weight of the newest group in the running statistics (released code: 0.001, "decay 0.999").
        learn_gamma: whether the scale is trained. It is not in the released code, which has none; it stays what it
            is: 1, or what pretrained weights hold.
    """

    def __init__(self, channels: int, *, momentum: float = 0.001, learn_gamma: bool = False) -> None:
        super().__init__(channels, eps=1e-3, momentum=momentum)
        self.weight.requires_grad_(learn_gamma)
        self.updating = True

    def forward(self, input: Tensor, groups: int = 1) -> Tensor:
        """Normalised clips.

        Args:
            input: `(B, C, T, H, W)`; in training, clip `i` belongs to group `i % groups`: interleaved, so that the
                groups are a view, `(B / G, G C, T, H, W)`, in which every group has channels of its own.
            groups: G, a divisor of B.

        Raises:
            UserError: in training, if a group has one value per channel only.
        """
        if not self.training:
            return super().forward(input)
        grouped = input.reshape(-1, groups * self.num_features, *input.shape[2:])
        count = grouped[:, 0].numel()
        if count == 1:
            raise UserError("a batch of one clip has no batch statistics; raise batch_size (or norm_group)")
        mean, variance = self.get_buffer("running_mean").new_zeros(2, groups * self.num_features)
        scale, shift = self.weight.repeat(groups), self.bias.repeat(groups)
        normalised = F.batch_norm(grouped, mean, variance, scale, shift, training=True, momentum=1.0, eps=self.eps)
        if self.updating:
            self._update(mean.view(groups, -1), variance.view(groups, -1) * ((count - 1) / count))
        return normalised.reshape(input.shape)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics by those of the groups, `(G, C)`, in their order."""
        groups, tracked = len(mean), self.get_buffer("num_batches_tracked")
        if self.momentum is None:  # a cumulative average
            keep = float(tracked / (tracked + groups))
            weights = mean.new_full((groups,), (1 - keep) / groups)
        else:
            keep = (1 - self.momentum) ** groups
            # Made where it is needed: a copy from the host would wait for the device, once a layer.
            ages = torch.arange(groups - 1, -1, -1, dtype=mean.dtype, device=mean.device)
            weights = self.momentum * (1 - self.momentum) ** ages
        for name, values in (("running_mean", mean), ("running_var", variance)):
            self.get_buffer(name).mul_(keep).add_(weights @ values)
        tracked += groups


@contextmanager
def held_statistics(module: nn.Module) -> Iterator[None]:
    """Within the context, the running statistics of a module's grouped layers stay as they are, also in training.

    A forward pass that is repeated for its gradient (checkpointing) must not count twice.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, GroupedBatchNorm3d)]
    for layer in layers:
        layer.updating = False
    try:
        yield
    finally:
        for layer in layers:
            layer.updating = True


@contextmanager
def adapted_batchnorm(network: nn.Module, forward_target: Callable[[], object]) -> Iterator[None]:
    """AdaBN (Li et al. 2018; section 4.2): within the context, running statistics are those of the target.

    The statistics are reset and then averaged, with equal weight per batch, over whatever `forward_target`
    passes through the network. Afterwards they are as before, and nothing else changes: no weight is trained, no
    label is read.

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
