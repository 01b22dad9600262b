"""Adversarial losses, with one loss term for each network. They work on logits of at least float32, also under autocast.

Notation: ``r = D(real)`` and ``f = D(fake)`` are logits, ``softplus(x) = log(1 + exp(x))``.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_lab.losses.base import LossContext, LossTerm


class AdversarialLoss(LossTerm):
    """An adversarial loss of either network; computed in every step, so it has no ``interval``."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)


class DiscriminatorLoss(AdversarialLoss):
    """A discriminator's adversarial loss; it also defines the threshold between real and fake logits."""

    @abstractmethod
    def decision_threshold(self, context: LossContext) -> Tensor | float:
        """The logit above which an image counts as classified real."""


def _check_smoothing(label_smoothing: float) -> float:
    if not 0.0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing={label_smoothing}: must lie in [0, 0.5)")
    return label_smoothing


class BCEDiscriminatorLoss(DiscriminatorLoss):
    """Binary cross-entropy on logits (Goodfellow et al. 2014, eq. 1): ``softplus(-r) + softplus(f)``.

    Args:
        label_smoothing: one-sided (Salimans et al. 2016, 3.4): the real label is ``1 - label_smoothing``, which adds
            ``label_smoothing * r``; the fake label stays 0.
    """

    def __init__(self, label_smoothing: float = 0.0, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.label_smoothing = _check_smoothing(label_smoothing)

    def __call__(self, context: LossContext) -> Tensor:
        real, fake = context.real_logits, context.fake_logits
        return (softplus(-real) + self.label_smoothing * real).mean() + softplus(fake).mean()

    def decision_threshold(self, context: LossContext) -> float:
        return 0.0


class NonSaturatingGeneratorLoss(AdversarialLoss):
    """``softplus(-f)``: maximize ``log D(G(z))`` (Goodfellow et al. 2014, section 3), "BCE with real labels"."""

    def __call__(self, context: LossContext) -> Tensor:
        return softplus(-context.fake_logits).mean()


class SaturatingGeneratorLoss(AdversarialLoss):
    """``-softplus(f)``: minimize ``log(1 - D(G(z)))``, the minimax objective as written (Goodfellow et al. 2014, eq. 1)."""

    def __call__(self, context: LossContext) -> Tensor:
        return -softplus(context.fake_logits).mean()


class HingeDiscriminatorLoss(DiscriminatorLoss):
    """``relu(1 - r) + relu(1 + f)`` (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""

    def __call__(self, context: LossContext) -> Tensor:
        return relu(1 - context.real_logits).mean() + relu(1 + context.fake_logits).mean()

    def decision_threshold(self, context: LossContext) -> float:
        return 0.0


class WassersteinGeneratorLoss(AdversarialLoss):
    """``-f``, for the Wasserstein GAN (Arjovsky et al. 2017) and for the hinge loss (Miyato et al. 2018, eq. 17)."""

    def __call__(self, context: LossContext) -> Tensor:
        return -context.fake_logits.mean()


class LeastSquaresDiscriminatorLoss(DiscriminatorLoss):
    """``((r - b)^2 + f^2) / 2`` with target ``b = 1 - label_smoothing`` for reals and 0 for fakes (Mao et al. 2017, eq. 9)."""

    def __init__(self, label_smoothing: float = 0.0, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.real_target = 1.0 - _check_smoothing(label_smoothing)

    def __call__(self, context: LossContext) -> Tensor:
        return ((context.real_logits - self.real_target).square().mean() + context.fake_logits.square().mean()) / 2

    def decision_threshold(self, context: LossContext) -> float:
        return self.real_target / 2


class LeastSquaresGeneratorLoss(AdversarialLoss):
    """``(f - 1)^2 / 2`` (Mao et al. 2017, eq. 9)."""

    def __call__(self, context: LossContext) -> Tensor:
        return (context.fake_logits - 1).square().mean() / 2


class CriticLoss(DiscriminatorLoss):
    """A loss that depends on differences of logits only; the threshold is the midpoint of the mean real and fake logits."""

    def decision_threshold(self, context: LossContext) -> Tensor:
        return (context.fake_logits.detach().mean() + context.real_logits.detach().mean()) / 2


class WassersteinDiscriminatorLoss(CriticLoss):
    """``f - r``: the negative of the critic's estimate of the Wasserstein-1 distance (Arjovsky et al. 2017, eq. 3)."""

    def __call__(self, context: LossContext) -> Tensor:
        return context.fake_logits.mean() - context.real_logits.mean()


class RelativisticDiscriminatorLoss(CriticLoss):
    """``softplus(-(r - f))``, each real paired with one fake (Jolicoeur-Martineau 2019, eq. 3; R3GAN's loss)."""

    def __call__(self, context: LossContext) -> Tensor:
        return softplus(context.fake_logits - context.real_logits).mean()


class RelativisticGeneratorLoss(AdversarialLoss):
    """``softplus(-(f - r))`` (Jolicoeur-Martineau 2019, eq. 4)."""

    def __call__(self, context: LossContext) -> Tensor:
        return softplus(context.real_logits - context.fake_logits).mean()


class RelativisticAverageDiscriminatorLoss(CriticLoss):
    """``(softplus(-(r - E f)) + softplus(f - E r)) / 2`` (Jolicoeur-Martineau 2019, eq. 5; halved as in ESRGAN)."""

    def __call__(self, context: LossContext) -> Tensor:
        real, fake = context.real_logits, context.fake_logits
        return (softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()) / 2


class RelativisticAverageGeneratorLoss(AdversarialLoss):
    """``(softplus(-(f - E r)) + softplus(r - E f)) / 2`` (Jolicoeur-Martineau 2019, eq. 6; halved as in ESRGAN)."""

    def __call__(self, context: LossContext) -> Tensor:
        real, fake = context.real_logits, context.fake_logits
        return (softplus(real.mean() - fake).mean() + softplus(real - fake.mean()).mean()) / 2
