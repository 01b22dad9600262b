"""Losses on the content of images: features, pixels, perceptual distance, class labels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gan_lab.losses.base import LossContext, LossTerm
from gan_lab.models.base import DiscriminatorOutput


class FeatureMatchingLoss(LossTerm):
    """``mean((E f(real) - E f(fake))^2)`` over the discriminator's features f (Salimans et al. 2016, section 3.1).

    The mean over features in place of their sum keeps the weight's meaning from network to network.
    """

    def __call__(self, context: LossContext) -> Tensor:
        real, fake = (_mean(output.features) for output in (context.real_output, context.fake_output))
        return (real - fake).square().mean()


class PerceptualNetwork(Protocol):
    """What a perceptual loss needs of a network."""

    def feature_pairs(self, fake: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Maps of images in [-1, 1] at some layers, with gradients through ``fake`` alone."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Compute on that device and in that type from now on."""


class PairedLoss(LossTerm):
    """A distance between each generated image and its target image, as in super-resolution."""

    @abstractmethod
    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """The mean over a batch, of images ``[N, C, H, W]`` in [-1, 1]."""

    def __call__(self, context: LossContext) -> Tensor:
        return self.distance(context.fake, context.real)


class PixelL1Loss(PairedLoss):
    """Mean absolute error of values in [0, 1]."""

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        return (fake - real).abs().mean() / 2


class PixelL2Loss(PairedLoss):
    """Mean squared error of values in [0, 1], whose minimum has the highest PSNR (Ledig et al. 2017, eq. 4)."""

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        return (fake - real).square().mean() / 4


class CharbonnierLoss(PairedLoss):
    """``mean(sqrt(e^2 + eps^2))`` of errors of values in [0, 1]: L1 that is smooth at 0 (Lai et al. 2017, LapSRN, eq. 3).

    Args:
        eps: below this error the loss is quadratic; 0.001 in the paper.
        weight, interval: of :class:`LossTerm`.
    """

    def __init__(self, eps: float, weight: float = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval)
        if not eps > 0:
            raise ValueError(f"charbonnier: {eps=} must be positive")
        self._square = eps**2

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        return (((fake - real) / 2).square() + self._square).sqrt().mean()


class PerceptualLoss(PairedLoss):
    """Mean absolute difference of a network's maps, summed over its layers (Johnson et al. 2016; L1 as ESRGAN has it).

    Args:
        network: see :mod:`gan_lab.metrics.perceptual_networks`.
        weight, interval: of :class:`LossTerm`.
    """

    def __init__(self, network: PerceptualNetwork, weight: float = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval)
        self._network = network
        self._place: tuple[torch.device, torch.dtype] | None = None

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        if self._place != (real.device, real.dtype):
            self._network.to(real.device, real.dtype)
            self._place = real.device, real.dtype
        return torch.stack([_mean_absolute(*maps) for maps in self._network.feature_pairs(fake, real)]).sum()


class AuxiliaryClassifierRealLoss(LossTerm):
    """Cross-entropy of the auxiliary classifier on real images; binary cross-entropy for attributes.

    Odena et al. 2017, eq. 3, also train the classifier on fakes. Like most later code this trains it on reals alone, so that
    it does not learn the generator's mistakes.
    """

    def __call__(self, context: LossContext) -> Tensor:
        return _label_loss(context, context.real_output)


class AuxiliaryClassifierFakeLoss(LossTerm):
    """Cross-entropy of the auxiliary classifier on fakes, which teaches the generator to follow the labels."""

    def __call__(self, context: LossContext) -> Tensor:
        return _label_loss(context, context.fake_output)


def _mean(features: Tensor) -> Tensor:
    return features.mean(0, dtype=torch.promote_types(features.dtype, torch.float32))


def _mean_absolute(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(dtype=torch.promote_types(a.dtype, torch.float32))


def _label_loss(context: LossContext, output: DiscriminatorOutput) -> Tensor:
    assert context.labels is not None and output.class_logits is not None, "conditioning=auxiliary_classifier has both"
    loss = binary_cross_entropy_with_logits if context.multi_label else cross_entropy
    return loss(output.class_logits, context.labels)
