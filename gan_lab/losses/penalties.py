"""Penalties and constraints on the discriminator; each combines with any adversarial loss and with the others.

Notation: ``D(x)`` is the logit of an image, ``grad`` its gradient with respect to the image, ``||.||`` the Euclidean norm of
one image's. Means are over the batch. Gradients are with respect to images before augmentation, so that they include it.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from gan_lab.losses.base import LossContext, LossTerm


class WeightClipping(LossTerm):
    """Clamp every parameter of the critic to ``[-limit, limit]`` after each step (Arjovsky et al. 2017, algorithm 1).

    The constraint of the original WGAN. The value of the term is 0; it changes the weights directly.

    Raises:
        ValueError: ``limit`` is not positive.
    """

    def __init__(self, limit: float = 0.01) -> None:
        super().__init__()
        if limit <= 0:
            raise ValueError(f"limit={limit}: must be positive")
        self.limit = limit

    def check(self, network: nn.Module) -> None:
        weights = torch.cat([p.detach().flatten() for p in _clipped_parameters(network) if p.dim() > 1])
        mean = float(weights.abs().mean())
        if mean > 50 * self.limit:
            raise ValueError(
                f"penalty: weight_clipping with limit={self.limit} would erase this discriminator, whose initial weights "
                f"average {mean:.2g} (equalized learning rate); use penalty=gradient_penalty or a limit of about {mean:.1g}"
            )

    def __call__(self, context: LossContext) -> Tensor:
        return torch.zeros((), device=context.real.device)

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        parameters = _clipped_parameters(network)
        torch._foreach_clamp_min_(parameters, -self.limit)
        torch._foreach_clamp_max_(parameters, self.limit)


class DriftPenalty(LossTerm):
    """``D(real)^2``: keeps a critic's outputs from drifting away from 0 (Karras et al. 2018, appendix A.1; weight 0.001)."""

    def __call__(self, context: LossContext) -> Tensor:
        return context.real_logits.square().mean()


class GradientNormPenalty(LossTerm):
    """``(||grad D(x)|| - target)^2`` at points that a subclass defines.

    Args:
        target: the desired gradient norm.
        weight, interval: those of :class:`LossTerm`.
    """

    def __init__(self, weight: float = 10.0, target: float = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval)
        self.target = target

    @abstractmethod
    def points(self, context: LossContext) -> Tensor:
        """Images at which the gradient is taken."""

    def __call__(self, context: LossContext) -> Tensor:
        images = self.points(context).detach().requires_grad_()
        norms = squared_norms(context.input_gradient(context.discriminate(images).logits, images)).sqrt()
        return (norms - self.target).square().mean()


class GradientPenalty(GradientNormPenalty):
    """WGAN-GP (Gulrajani et al. 2017, eq. 3): at random points between a real image and a fake one, weight 10, target 1."""

    def points(self, context: LossContext) -> Tensor:
        return torch.lerp(context.real, context.fake.detach().to(context.real.dtype), _per_image(context.interpolation_weight))


class DRAGANPenalty(GradientNormPenalty):
    """DRAGAN (Kodali et al. 2017): at random points between a real image and that image plus noise, weight 10, target 1.

    The noise is ``spread`` times the batch's standard deviation times U[0, 1] for each value, as in the authors' code.

    Args:
        spread: scale of the noise; 0.5 in the authors' code.
        weight, target, interval: those of :class:`GradientNormPenalty`.
    """

    def __init__(self, weight: float = 10.0, target: float = 1.0, spread: float = 0.5, interval: int = 1) -> None:
        super().__init__(weight, target, interval)
        self.spread = spread

    def points(self, context: LossContext) -> Tensor:
        random = torch.rand_like(context.real, dtype=torch.float32).to(
            context.real.dtype
        )  # drawn in float32 so that every precision gets the same numbers
        noise = self.spread * context.real.std() * random
        return context.real + _per_image(context.interpolation_weight) * noise


class R1Penalty(LossTerm):
    """``||grad D(real)||^2 / 2`` (Mescheder et al. 2018, eq. 9); the weight is their gamma."""

    needs_gradient_of = frozenset({"real"})

    def __call__(self, context: LossContext) -> Tensor:
        return squared_norms(context.input_gradient(context.real_logits, context.real)).mean() / 2


class R2Penalty(LossTerm):
    """``||grad D(fake)||^2 / 2`` (Mescheder et al. 2018, eq. 10), on fakes without the generator's graph."""

    needs_gradient_of = frozenset({"fake"})

    def __call__(self, context: LossContext) -> Tensor:
        return squared_norms(context.input_gradient(context.fake_logits, context.fake)).mean() / 2


def _clipped_parameters(network: nn.Module) -> list[Tensor]:
    """All parameters except label tables, which act as an input of the network rather than as its weights."""
    return [parameter for name, parameter in network.named_parameters() if not name.endswith("table")]


def squared_norms(gradient: Tensor) -> Tensor:
    """Squared norm of each image's gradient, ``[N]``."""
    return gradient.flatten(1).square().sum(1)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
