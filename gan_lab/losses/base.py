"""The interface of a loss term, and what it sees of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gan_lab.models.base import DiscriminatorOutput


class LossContext(Protocol):
    """What a loss term may read, computed on first access; see :class:`gan_lab.iteration.step_context.StepContext`."""

    @property
    def real(self) -> Tensor:
        """Real images, ``[N, C, H, W]`` in [-1, 1]."""

    @property
    def fake(self) -> Tensor:
        """Generated images, like ``real``; with the generator's graph in the generator step only."""

    @property
    def labels(self) -> Tensor | None:
        """``[N, K]`` of 0 and 1, the same for reals and fakes; None without conditioning."""

    @property
    def interpolation_weight(self) -> Tensor:
        """A random number in [0, 1) for each image, ``[N]``; the same however the batch is split."""

    @property
    def multi_label(self) -> bool:
        """Whether labels are attributes, of which an image may have any number."""

    @property
    def real_output(self) -> DiscriminatorOutput:
        """The discriminator's output on ``real``; without a graph in the generator step."""

    @property
    def fake_output(self) -> DiscriminatorOutput:
        """The discriminator's output on ``fake``."""

    @property
    def real_logits(self) -> Tensor:
        """The logits of ``real_output``."""

    @property
    def fake_logits(self) -> Tensor:
        """The logits of ``fake_output``."""

    def discriminate(self, images: Tensor) -> DiscriminatorOutput:
        """The discriminator's output on other images, under the same labels."""

    def input_gradient(self, values: Tensor, images: Tensor) -> Tensor:
        """d ``values`` / d ``images`` for each image, at least float32, differentiable, correct under loss scaling."""

    def generate_from_styles(self, count: int) -> tuple[Tensor, Tensor]:
        """The first ``count`` fakes, generated anew, and their styles ``[count, L, F]`` or latents ``[count, F]``.

        Both are part of one graph, for :meth:`input_gradient`; images of a family without styles depend on the latents.
        """


class LossTerm(ABC):
    """One summand of a network's loss: maps a :class:`LossContext` to a scalar.

    Args:
        weight: factor of the term.
        interval: lazy regularization: the term is computed in every n-th step of its network, in an update of its own, with
            ``interval`` times its weight (StyleGAN2, section 3.1).

    ``needs_gradient_of`` names the images ("real", "fake") that must require a gradient while the term is computed.
    ``draws_on_host`` says whether it draws random numbers on the host, which would be constant in a replayed CUDA graph.
    """

    needs_gradient_of: frozenset[str] = frozenset()
    draws_on_host = False

    def __init__(self, weight: float = 1.0, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval}: a term is computed every 1 or more steps")
        self.weight = weight
        self.interval = interval

    @abstractmethod
    def __call__(self, context: LossContext) -> Tensor:
        """The unweighted value, a scalar averaged over the batch."""

    def check(self, network: nn.Module) -> None:  # noqa: B027 - most terms work with any network
        """Raise ValueError, saying why, if this term can't work with an untrained ``network``."""

    def after_step(self, network: nn.Module) -> None:  # noqa: B027 - most terms do nothing here
        """Called after the network's optimizer step; weight clipping is applied here."""

    def to(self, device: torch.device) -> None:  # noqa: B027 - most terms have no state
        """Move what the term keeps from step to step, tensors that it changes in place, to a device."""

    def state_dict(self) -> dict[str, Any]:
        """What the term keeps from step to step, for a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most terms have no state
        """Restore what :meth:`state_dict` returned."""
