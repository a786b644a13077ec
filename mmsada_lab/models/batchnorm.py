"""Batch normalisation: that of the released code, and AdaBN, which takes its statistics from another domain.

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


def single_clip_error() -> UserError:
    """The error for statistics over one value per channel, whose variance would be 0."""
    return UserError("a batch of one clip has no batch statistics; raise batch_size (or norm_group)")


class GroupedBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation with statistics over groups of clips, as the towers of the released code have them.

    In training each group of a batch is normalised by its own mean and variance, all groups at once, and the running
    statistics move as if the groups had come one after the other.

    Args:
        channels: C.
        momentum: weight of the newest group in the running statistics (released code: 0.001, "decay 0.999").

    Source: [Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167).

    Example:
        >>> clips = torch.tensor([0.0, 10.0, 2.0, 14.0]).view(4, 1, 1, 1, 1)  # groups (0, 2) and (10, 14)
        >>> GroupedBatchNorm3d(1)(clips, groups=2).flatten().round(decimals=2).tolist()
        [-1.0, -1.0, 1.0, 1.0]
    """

    def __init__(self, channels: int, *, momentum: float = 0.001) -> None:
        super().__init__(channels, eps=1e-3, momentum=momentum)
        self.weight.requires_grad_(False)  # released code: no scale; it stays 1, or what pretrained weights hold
        self.updating = True

    def forward(self, input: Tensor, groups: int = 1) -> Tensor:
        """Normalised clips.

        Args:
            input: `(B, C, T, H, W)`; in training, clip `i` belongs to group `i % groups`.
            groups: G, a divisor of B.

        Raises:
            UserError: in training, if a group has one value per channel only.
        """
        if not self.training:
            return super().forward(input)
        # Groups are interleaved so that this is a view, in which every group has channels of its own.
        grouped = input.reshape(-1, groups * self.num_features, *input.shape[2:])  # (B / G, G C, T, H, W)
        count = grouped[:, 0].numel()
        if count == 1:
            raise single_clip_error()
        mean, variance = self.get_buffer("running_mean").new_zeros(2, groups * self.num_features)  # (G C,) each
        scale, shift = self.weight.repeat(groups), self.bias.repeat(groups)  # (G C,)
        # With momentum 1 the running statistics are those of this batch.
        normalised = F.batch_norm(grouped, mean, variance, scale, shift, training=True, momentum=1.0, eps=self.eps)
        if self.updating:
            # Biased, as in the released code; torch's own are not (one part in 1,568 at the end of I3D, with groups of
            # 16 clips of 16 x 224 x 224).
            biased = variance.view(groups, -1) * ((count - 1) / count)  # (G, C)
            self._update(mean.view(groups, -1), biased)  # (G, C)
        return normalised.reshape(input.shape)  # (B, C, T, H, W)

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
    """Within the context, the running statistics of a module's grouped layers stay as they are, also in training."""
    layers = [layer for layer in module.modules() if isinstance(layer, GroupedBatchNorm3d)]
    for layer in layers:
        layer.updating = False
    try:
        yield
    finally:
        for layer in layers:
            layer.updating = True


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether any layer normalises by statistics of a batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


class _Pool:
    """Mean and variance of all that passes through a layer, batch by batch, as if it had come at once.

    The layer is to have momentum 1, so that after each batch its running statistics are that batch's.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        self.layer, self.count = layer, 0
        self.mean, self.squares = (torch.zeros_like(layer.get_buffer("running_mean")) for _ in range(2))  # (C,) each
        # The running variance of torch's own layers is unbiased, that of the released code is not.
        self.unbiased = not isinstance(layer, GroupedBatchNorm3d)

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        """A forward hook."""
        count = inputs[0].numel() // inputs[0].shape[1]  # values per channel
        mean, variance = self.layer.get_buffer("running_mean"), self.layer.get_buffer("running_var")
        # Squares about the joint mean are those within the batches and those between them; each value counts once.
        total, shift = self.count + count, mean - self.mean
        self.squares += variance * (count - self.unbiased) + shift.square() * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def write(self) -> None:
        """Give the layer what was pooled; one that saw nothing keeps what it had."""
        if self.count == 1:
            raise single_clip_error()
        if self.count:
            self.layer.get_buffer("running_mean").copy_(self.mean)
            self.layer.get_buffer("running_var").copy_(self.squares / (self.count - self.unbiased))


@contextmanager
def adapted_batchnorm(network: nn.Module, forward_target: Callable[[], object]) -> Iterator[None]:
    """AdaBN: within the context, running statistics are those of the target; afterwards they are as before.

    They are mean and variance over all that `forward_target` passes through the network, between its batches as well
    as within them, whatever the batches' sizes. (Beyond the first layer they depend on the batches a little: each is
    normalised by itself on its way.) No weight is trained and no label is read.

    Args:
        network: any module with batch normalisation.
        forward_target: passes the target's training clips through the network, a batch at a time.

    Raises:
        UserError: if there is one value per channel only.

    Source: [Li et al. 2018](https://arxiv.org/abs/1603.04779), compared with in section 4.2 of the paper.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with adapted_batchnorm(norm, lambda: norm(torch.tensor([[4.0], [6.0]]))):
        ...     print("target", norm.running_mean.item())
        target 5.0
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [({name: buffer.clone() for name, buffer in layer.named_buffers()}, layer.momentum) for layer in layers]
    training, pools = network.training, [_Pool(layer) for layer in layers]
    network.eval()  # no dropout
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    hooks = [pool.layer.register_forward_hook(pool.add) for pool in pools]
    try:
        with torch.no_grad():
            forward_target()
        for pool, hook in zip(pools, hooks, strict=True):
            hook.remove()
            pool.write()
        network.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (buffers, momentum) in zip(layers, before, strict=True):
            layer.momentum = momentum
            for name, buffer in buffers.items():
                layer.get_buffer(name).copy_(buffer)
        network.train(training)
