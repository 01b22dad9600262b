"""One batch as both players see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from gan_lab.models.latents import NormalLatents


@dataclass(frozen=True)
class Game:
    """The two players and the source of the generator's input."""

    generator: nn.Module
    discriminator: nn.Module
    latents: NormalLatents


class Round:
    """What one player's update may look at; each tensor is computed when first asked for, and at most once.

    A hinge generator never asks for ``real_logits``, so nothing is paid for them; a relativistic one does.

    Args:
        game: the players.
        real: images ``[N, C, H, W]`` in [-1, 1].
        latents: the generator's input for this turn, ``[N, latent_size]``.
        generator_turn: whether fakes carry the generator's graph. In the discriminator's turn they are made without one.
        needs_gradient_of: images ("real", "fake") that penalties will differentiate with respect to.
    """

    def __init__(
        self,
        game: Game,
        real: Tensor,
        latents: Tensor,
        *,
        generator_turn: bool,
        needs_gradient_of: frozenset[str] = frozenset(),
    ) -> None:
        self.game = game
        self.latents = latents
        self.generator_turn = generator_turn
        self.needs_gradient_of = needs_gradient_of
        self._real = real

    @cached_property
    def real(self) -> Tensor:
        return self._leaf("real", self._real)

    @cached_property
    def fake(self) -> Tensor:
        with torch.set_grad_enabled(self.generator_turn):
            images = self.game.generator(self.latents)
        return images if self.generator_turn else self._leaf("fake", images)

    @cached_property
    def real_logits(self) -> Tensor:
        return self.game.discriminator(self.real).float()

    @cached_property
    def fake_logits(self) -> Tensor:
        return self.game.discriminator(self.fake).float()

    def _leaf(self, name: str, images: Tensor) -> Tensor:
        return images.detach().requires_grad_() if name in self.needs_gradient_of else images
