"""Batch normalisation over the batches of all processes of a training.

``torch.nn.SyncBatchNorm`` runs on GPUs alone and can't be differentiated twice, as penalties want it; this one does both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_lab.models.layers import MixesImages, at_least_single

Total = Callable[[Tensor], Tensor]
"""A tensor to its sum over the processes, differentiable."""


class SynchronisedBatchNorm(MixesImages, nn.BatchNorm2d):
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
        over, shape = (0, 2, 3), (1, -1, 1, 1)
        values = at_least_single(maps)
        count = values.numel() // values.shape[1] * self._count
        mean = self._total(values.sum(over)) / count
        centred = values - mean.view(shape)  # first the mean, then the variance about it: no cancellation
        variance = self._total(centred.square().sum(over)) / count
        self._remember(mean.detach(), variance.detach() * (count / max(1, count - 1)))
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(maps.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None, "a cumulative average is nowhere asked for"
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


def synchronise(network: nn.Module, total: Total, count: int) -> None:
    """Exchange every batch normalisation of ``network``, in place; names and parameters stay."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SynchronisedBatchNorm(child, total, count))
