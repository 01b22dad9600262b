"""Synchronized batch norm: statistics over the batches of all processes of a distributed run.

``torch.nn.SyncBatchNorm`` runs on GPUs only and can't be differentiated twice, which gradient penalties require; this one can,
and also runs on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_lab.models.layers import BatchDependent, to_at_least_float32

AllReduceSum = Callable[[Tensor], Tensor]
"""Differentiable sum of a tensor over all processes."""


class DoubleBackwardSyncBatchNorm(BatchDependent, nn.BatchNorm2d):
    """Batch norm whose mean and variance in training are over the images of all processes, which have batches of equal size.

    Args:
        norm: the layer to replace; its parameters, buffers and settings are used.
        all_reduce_sum: see :data:`AllReduceSum`.
        world_size: number of processes.
    """

    def __init__(self, norm: nn.BatchNorm2d, all_reduce_sum: AllReduceSum, world_size: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._all_reduce_sum, self._world_size = all_reduce_sum, world_size

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps)
        values, shape = to_at_least_float32(maps), (1, -1, 1, 1)
        count = values.numel() // values.shape[1] * self._world_size
        own_var, own_mean = (moment.double() for moment in torch.var_mean(values, (0, 2, 3), correction=0))
        moments = torch.stack([own_mean, own_var + own_mean.square()])  # one tensor, so that one message is sent
        mean, square = (self._all_reduce_sum(moments) / self._world_size).unbind()
        variance = (square - mean.square()).clamp(min=0.0)  # in float64, to avoid cancellation
        self._update_running_stats(mean.detach(), variance.detach() * (count / max(1, count - 1)))
        scale = (variance + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        shift = self.bias - mean * scale if self.affine else -mean * scale
        return torch.addcmul(shift.to(values.dtype).view(shape), values, scale.to(values.dtype).view(shape)).to(maps.dtype)

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None, "a cumulative average is not supported"
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


def convert_sync_batch_norm(network: nn.Module, all_reduce_sum: AllReduceSum, world_size: int) -> None:
    """Replace every batch norm of ``network`` in place; names and parameters stay the same."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, DoubleBackwardSyncBatchNorm(child, all_reduce_sum, world_size))
