"""The shape of a term."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn


class DiscriminatorOutputView(Protocol):
    """What the discriminator says of images: see :class:`gan_lab.models.base.DiscriminatorOutput`."""

    @property
    def logits(self) -> Tensor:
        """``[N]``, or ``[N, H, W]`` of a judge of each pixel, at least float32, before any sigmoid."""

    @property
    def features(self) -> Tensor:
        """``[N, F]``, what the logits were read from."""

    @property
    def class_logits(self) -> Tensor | None:
        """``[N, K]`` of an auxiliary classifier, else None."""


class LossContext(Protocol):
    """What a term may look at: see :class:`gan_lab.training.step_context.StepContext`. Nothing is computed before it is asked for."""

    @property
    def real(self) -> Tensor:
        """Real images, ``[N, C, H, W]`` in [-1, 1]."""

    @property
    def fake(self) -> Tensor:
        """Generated images, like ``real``; connected to the generator's graph in the generator's turn only."""

    @property
    def labels(self) -> Tensor | None:
        """``[N, K]`` of 0 and 1, of reals and fakes alike; None without conditioning."""

    @property
    def interpolation_weight(self) -> Tensor:
        """A number in [0, 1) for each image, ``[N]``; the same however many parts or processes a batch is split among."""

    @property
    def multi_label(self) -> bool:
        """Whether labels are attributes, any number of which an image may have."""

    @property
    def real_output(self) -> DiscriminatorOutputView:
        """The discriminator on ``real``; in the generator's turn without a graph."""

    @property
    def fake_output(self) -> DiscriminatorOutputView:
        """The discriminator on ``fake``."""

    @property
    def real_logits(self) -> Tensor:
        """Those of ``real_judgement``."""

    @property
    def fake_logits(self) -> Tensor:
        """Those of ``fake_judgement``."""

    def discriminate(self, images: Tensor) -> DiscriminatorOutputView:
        """The discriminator on other images, under the same labels."""

    def input_gradient(self, values: Tensor, images: Tensor) -> Tensor:
        """d ``values`` / d ``images`` for each image, at least float32 and differentiable, safe under loss scaling."""


class LossTerm(ABC):
    """One summand of what a player minimises: ``Round -> scalar``.

    Args:
        weight: factor of the term in the player's loss.
        every: lazy regularisation: the term is computed in every n-th step of its player, with ``every`` times its
            weight, in an update of its own (StyleGAN2, section 3.1).

    ``needs_gradient_of`` names the images ("real", "fake") that must require a gradient while the term is computed.
    """

    needs_gradient_of: frozenset[str] = frozenset()

    def __init__(self, weight: float = 1.0, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval}: a term is computed every 1 or more steps")
        self.weight = weight
        self.interval = interval

    @abstractmethod
    def __call__(self, round: LossContext) -> Tensor:
        """The unweighted value, a scalar averaged over the batch."""

    def check(self, network: nn.Module) -> None:  # noqa: B027 - most terms go with any network
        """Raise ValueError if this term can't work on an untrained ``player``, saying why."""

    def after_step(self, network: nn.Module) -> None:  # noqa: B027 - most terms have nothing to do here
        """Called when the player's optimizer has stepped; weight clipping lives here."""
