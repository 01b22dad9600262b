"""Adversarial losses, a term for each player. All work on logits in float32, so all are autocast-safe.

Notation: ``r = D(real)`` and ``f = D(fake)`` are logits, ``softplus(x) = log(1 + exp(x))``.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_lab.losses.base import LossContext, LossTerm


class AdversarialLoss(LossTerm):
    """What the game is about; computed in every step, so it takes no ``every``."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)


class DiscriminatorLoss(AdversarialLoss):
    """The discriminator's; it also says where the decision between real and fake lies."""

    @abstractmethod
    def decision_threshold(self, round: LossContext) -> Tensor | float:
        """The logit above which an image counts as judged real."""


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

    def __call__(self, round: LossContext) -> Tensor:
        real, fake = round.real_logits, round.fake_logits
        return (softplus(-real) + self.label_smoothing * real).mean() + softplus(fake).mean()

    def decision_threshold(self, round: LossContext) -> float:
        return 0.0


class NonSaturatingGeneratorLoss(AdversarialLoss):
    """``softplus(-f)``: maximise ``log D(G(z))`` (Goodfellow et al. 2014, section 3), "BCE with real labels"."""

    def __call__(self, round: LossContext) -> Tensor:
        return softplus(-round.fake_logits).mean()


class SaturatingGeneratorLoss(AdversarialLoss):
    """``-softplus(f)``: minimise ``log(1 - D(G(z)))``, the minimax game as written (Goodfellow et al. 2014, eq. 1)."""

    def __call__(self, round: LossContext) -> Tensor:
        return -softplus(round.fake_logits).mean()


class HingeDiscriminatorLoss(DiscriminatorLoss):
    """``relu(1 - r) + relu(1 + f)`` (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""

    def __call__(self, round: LossContext) -> Tensor:
        return relu(1 - round.real_logits).mean() + relu(1 + round.fake_logits).mean()

    def decision_threshold(self, round: LossContext) -> float:
        return 0.0


class WassersteinGeneratorLoss(AdversarialLoss):
    """``-f``: the generator of both the hinge (Miyato et al. 2018, eq. 17) and the Wasserstein game (Arjovsky et al. 2017)."""

    def __call__(self, round: LossContext) -> Tensor:
        return -round.fake_logits.mean()


class LeastSquaresDiscriminatorLoss(DiscriminatorLoss):
    """``((r - b)^2 + f^2) / 2`` with target ``b = 1 - label_smoothing`` for reals and 0 for fakes (Mao et al. 2017, eq. 9)."""

    def __init__(self, label_smoothing: float = 0.0, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.real_target = 1.0 - _check_smoothing(label_smoothing)

    def __call__(self, round: LossContext) -> Tensor:
        return ((round.real_logits - self.real_target).square().mean() + round.fake_logits.square().mean()) / 2

    def decision_threshold(self, round: LossContext) -> float:
        return self.real_target / 2


class LeastSquaresGeneratorLoss(AdversarialLoss):
    """``(f - 1)^2 / 2`` (Mao et al. 2017, eq. 9)."""

    def __call__(self, round: LossContext) -> Tensor:
        return (round.fake_logits - 1).square().mean() / 2


class CriticLoss(DiscriminatorLoss):
    """A discriminator whose output has no absolute zero: its boundary is the midpoint of its mean outputs for the batch."""

    def decision_threshold(self, round: LossContext) -> Tensor:
        return (round.fake_logits.detach().mean() + round.real_logits.detach().mean()) / 2


class WassersteinDiscriminatorLoss(CriticLoss):
    """``f - r``: the critic's loss, minus its estimate of the Wasserstein-1 distance (Arjovsky et al. 2017, eq. 3)."""

    def __call__(self, round: LossContext) -> Tensor:
        return round.fake_logits.mean() - round.real_logits.mean()


class RelativisticDiscriminatorLoss(CriticLoss):
    """``softplus(-(r - f))``, each real beside one fake (Jolicoeur-Martineau 2019, eq. 3; R3GAN's loss)."""

    def __call__(self, round: LossContext) -> Tensor:
        return softplus(round.fake_logits - round.real_logits).mean()


class RelativisticGeneratorLoss(AdversarialLoss):
    """``softplus(-(f - r))`` (Jolicoeur-Martineau 2019, eq. 4)."""

    def __call__(self, round: LossContext) -> Tensor:
        return softplus(round.real_logits - round.fake_logits).mean()


class RelativisticAverageDiscriminatorLoss(CriticLoss):
    """``(softplus(-(r - E f)) + softplus(f - E r)) / 2`` (Jolicoeur-Martineau 2019, eq. 5; halved as in ESRGAN)."""

    def __call__(self, round: LossContext) -> Tensor:
        real, fake = round.real_logits, round.fake_logits
        return (softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()) / 2


class RelativisticAverageGeneratorLoss(AdversarialLoss):
    """``(softplus(-(f - E r)) + softplus(r - E f)) / 2`` (Jolicoeur-Martineau 2019, eq. 6; halved as in ESRGAN)."""

    def __call__(self, round: LossContext) -> Tensor:
        real, fake = round.real_logits, round.fake_logits
        return (softplus(real.mean() - fake).mean() + softplus(real - fake.mean()).mean()) / 2
