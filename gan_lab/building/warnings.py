"""Warnings about combinations of options that are known to train badly; they are allowed."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import nn

from gan_lab.losses.adversarial import WassersteinDiscriminatorLoss
from gan_lab.losses.base import LossTerm
from gan_lab.losses.penalties import GradientNormPenalty, R1Penalty, R2Penalty, WeightClipping
from gan_lab.models.layers import SpectralNorm

log = logging.getLogger(__name__)


def warn_of_unstable_choices(discriminator: nn.Module, terms: Mapping[str, LossTerm]) -> None:
    """Log warnings about the discriminator and its loss terms."""
    _warn_of_batch_norm(discriminator, terms)
    _warn_of_unbounded_critic(discriminator, terms)


def _warn_of_batch_norm(discriminator: nn.Module, terms: Mapping[str, LossTerm]) -> None:
    """Warn of a penalty on each image's gradient if the output for an image depends on the rest of the batch."""
    named = [name for name, term in terms.items() if isinstance(term, GradientNormPenalty | R1Penalty | R2Penalty)]
    if named and any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules()):
        log.warning(
            "%s penalizes the gradient of each image, but batch normalization in the discriminator makes it depend on "
            "the other images of the batch (Gulrajani et al. 2017, section 4); use model.discriminator.norm=layer or none",
            " and ".join(named),
        )


def _warn_of_unbounded_critic(discriminator: nn.Module, terms: Mapping[str, LossTerm]) -> None:
    """Warn of a Wasserstein critic without a bound on its gradient."""
    bounded = any(isinstance(term, GradientNormPenalty | R1Penalty | R2Penalty | WeightClipping) for term in terms.values())
    normalized = any(isinstance(module, SpectralNorm) for module in discriminator.modules())
    if any(isinstance(term, WassersteinDiscriminatorLoss) for term in terms.values()) and not (bounded or normalized):
        log.warning(
            "loss=wasserstein estimates a distance only if the critic's gradient is bounded (Arjovsky et al. 2017, eq. 2); add "
            "a penalty, such as penalty=gradient_penalty"
        )
