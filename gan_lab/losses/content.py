"""Content losses: distances between a generated image and its target image, as in super-resolution."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_lab.losses.base import LossContext, LossTerm


class PerceptualNetwork(Protocol):
    """The interface of a network that :class:`PerceptualLoss` compares images in.

    Attributes:
        jitter: maximum random shift of the images, in pixels, drawn on the host.
    """

    jitter: int

    def feature_pairs(self, fake: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Feature maps, at some layers, of images in [-1, 1]; only those of ``fake`` have a gradient."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Move the network to a device and a floating-point type."""


class PairedLoss(LossTerm):
    """A distance between generated images and their target images; needs a degradation."""

    @abstractmethod
    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """Mean distance, a scalar, of two batches ``[N, C, H, W]`` in [-1, 1]."""

    def __call__(self, context: LossContext) -> Tensor:
        return self.distance(context.fake, context.real)


class PixelL1Loss(PairedLoss):
    """Mean absolute error, of values scaled to [0, 1]."""

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        return (fake - real).abs().mean() / 2


class PixelL2Loss(PairedLoss):
    """Mean squared error, of values scaled to [0, 1]; minimizing it maximizes PSNR (Ledig et al. 2017, eq. 4)."""

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        return (fake - real).square().mean() / 4


class CharbonnierLoss(PairedLoss):
    """``mean(sqrt(e^2 + eps^2))`` with errors e of values scaled to [0, 1]: a smooth L1 (Lai et al. 2017, LapSRN, eq. 3).

    Args:
        eps: error below which the loss is about quadratic; 0.001 in the paper.
        weight, interval: those of :class:`LossTerm`.

    Raises:
        ValueError: ``eps`` is not positive.
    """

    def __init__(self, eps: float, weight: float = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval)
        if not eps > 0:
            raise ValueError(f"charbonnier: {eps=} must be positive")
        self._square = eps**2

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        return (((fake - real) / 2).square() + self._square).sqrt().mean()


class PerceptualLoss(PairedLoss):
    """Mean absolute difference of a network's feature maps, summed over its layers (Johnson et al. 2016; L1 as in ESRGAN).

    Args:
        network: see :mod:`gan_lab.metrics.perceptual_networks`.
        weight, interval: those of :class:`LossTerm`.
    """

    def __init__(self, network: PerceptualNetwork, weight: float = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval)
        self._network = network
        self.draws_on_host = network.jitter > 0
        self._device_dtype: tuple[torch.device, torch.dtype] | None = None

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        if self._device_dtype != (real.device, real.dtype):
            self._network.to(real.device, real.dtype)
            self._device_dtype = real.device, real.dtype
        return torch.stack([_mean_absolute(*maps) for maps in self._network.feature_pairs(fake, real)]).sum()


def _mean_absolute(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(dtype=torch.promote_types(a.dtype, torch.float32))
