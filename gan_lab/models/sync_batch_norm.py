"""Batch normalisation over the batches of all processes of a training.

``torch.nn.SyncBatchNorm`` runs on GPUs alone and can't be differentiated twice, as penalties want it; this one does both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_lab.models.layers import BatchDependent, to_at_least_float32

Total = Callable[[Tensor], Tensor]
"""A tensor to its sum over the processes, differentiable."""


class DoubleBackwardSyncBatchNorm(BatchDependent, nn.BatchNorm2d):
    """In training the mean and the variance are those of the images of all processes, each with as many as the others.

    Args:
        norm: whose parameters, statistics and settings are taken over.
        total: sums over the processes.
        count: of processes.
    """

    def __init__(self, norm: nn.BatchNorm2d, total: Total, count: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._total, self._count = total, count

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps)
        values, shape = to_at_least_float32(maps), (1, -1, 1, 1)
        count = values.numel() // values.shape[1] * self._count
        spread, centre = (moment.double() for moment in torch.var_mean(values, (0, 2, 3), correction=0))
        mean, square = (self._total(torch.stack([centre, spread + centre.square()])) / self._count).unbind()  # one message
        variance = (square - mean.square()).clamp(min=0.0)  # of numbers in double precision: nothing is cancelled
        self._remember(mean.detach(), variance.detach() * (count / max(1, count - 1)))
        scale = (variance + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        shift = self.bias - mean * scale if self.affine else -mean * scale
        return torch.addcmul(shift.to(values.dtype).view(shape), values, scale.to(values.dtype).view(shape)).to(maps.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None, "a cumulative average is nowhere asked for"
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


def convert_sync_batch_norm(network: nn.Module, total: Total, count: int) -> None:
    """Exchange every batch normalisation of ``network``, in place; names and parameters stay."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, DoubleBackwardSyncBatchNorm(child, total, count))
