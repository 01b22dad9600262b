"""One batch as both players see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from gan_lab.data.augmentation import Augmentation, Augmentations
from gan_lab.models.base import Judgement
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NormalLatents


@dataclass(frozen=True)
class Game:
    """The two players, the sources of the generator's input, and what the discriminator sees in place of images."""

    generator: nn.Module
    discriminator: nn.Module
    latents: NormalLatents
    labels: Labels | NoLabels = field(default_factory=NoLabels)
    augment: Augmentation = field(default_factory=lambda: Augmentations({}))


LARGEST_SCALE = 2.0**15
"""Of a gradient with respect to images: with a scaler's first scale, 2**16, it would begin above float16's largest number."""


class Round:
    """What one player's update may look at; each tensor is computed when first asked for, and at most once.

    A hinge generator never asks for ``real_logits``, so nothing is paid for them; a relativistic one does.

    Args:
        game: the players.
        real: images ``[N, C, H, W]`` in [-1, 1].
        labels: of the reals, ``[N, K]``; the fakes are made, and judged, under the same. None without conditioning.
        latents: the generator's input for this turn, ``[N, latent_size]``.
        generator_turn: whether fakes carry the generator's graph. In the discriminator's turn they are made without one, and in
            the generator's reals are judged without one.
        needs_gradient_of: images ("real", "fake") that penalties will differentiate with respect to.
        scale: of the loss under loss scaling, a scalar tensor.
    """

    def __init__(
        self,
        game: Game,
        real: Tensor,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        generator_turn: bool,
        needs_gradient_of: frozenset[str] = frozenset(),
        scale: Tensor | None = None,
    ) -> None:
        self.game = game
        self.latents = latents
        self.labels = labels
        self.generator_turn = generator_turn
        self.needs_gradient_of = needs_gradient_of
        self._real = real
        self._scale = None if scale is None else scale.clamp(max=LARGEST_SCALE)

    @cached_property
    def real(self) -> Tensor:
        return self._leaf("real", self._real)

    @cached_property
    def fake(self) -> Tensor:
        with torch.set_grad_enabled(self.generator_turn):
            images = self.game.generator(self.latents, self.labels)
        return images if self.generator_turn else self._leaf("fake", images)

    @cached_property
    def real_judgement(self) -> Judgement:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.generator_turn):
            return self.judge(self.real)

    @cached_property
    def fake_judgement(self) -> Judgement:
        return self.judge(self.fake)

    @property
    def real_logits(self) -> Tensor:
        return self.real_judgement.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_judgement.logits

    @property
    def multi_label(self) -> bool:
        return self.game.labels.multi_label

    def judge(self, images: Tensor) -> Judgement:
        """The discriminator's word on ``images`` as it sees them, that is augmented."""
        return self.game.discriminator(self.game.augment(images), self.labels)

    def gradient(self, values: Tensor, images: Tensor) -> Tensor:
        """d ``values`` / d ``images`` for each image, ``[N, C, H, W]`` float32, itself differentiable.

        Under loss scaling the backward pass runs on scaled values, as a float16 gradient would underflow, and the scale is
        taken out in float32 (PyTorch's notes on automatic mixed precision, "gradient penalty").
        """
        scaled = values.sum() if self._scale is None else values.sum() * self._scale
        (gradient,) = torch.autograd.grad(scaled, images, create_graph=True)
        return gradient.float() if self._scale is None else gradient.float() / self._scale

    def _leaf(self, name: str, images: Tensor) -> Tensor:
        return images.detach().requires_grad_() if name in self.needs_gradient_of else images
