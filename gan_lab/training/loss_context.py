"""One batch as both players see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.data.augmentation import Augmentation, Augmentations
from gan_lab.data.loader import Batch
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.models.layers import to_at_least_float32
from gan_lab.runtime.distributed import SingleProcess


@dataclass(frozen=True)
class GAN:
    """The two players, the sources of the generator's input, and what the discriminator sees in place of images.

    Attributes:
        random: of latents; the same in every process.
        ranks: the processes that share each batch.
        joint_passes: whether the discriminator judges reals and fakes in one pass. Where a layer of it mixes the images of a
            batch, that is another discriminator.
        reuses_fakes: whether the generator learns from the fakes the discriminator has just seen (as pytorch/examples
            ``dcgan``), which saves one pass of the generator, or from fresh ones (Goodfellow et al. 2014, algorithm 1).
        compiled: of the players by name, what is called in their place where nothing is differentiated twice.
    """

    generator: nn.Module
    discriminator: nn.Module
    latents: NormalLatents | NoLatents
    labels: Labels | NoLabels = field(default_factory=NoLabels)
    augment: Augmentation = field(default_factory=lambda: Augmentations({}))
    rng: torch.Generator = field(default_factory=torch.Generator)
    processes: SingleProcess = field(default_factory=SingleProcess)
    joint_pass: bool = False
    reuse_fakes: bool = False
    compiled: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def forward_function(self, player: str) -> Callable[..., Any]:
        """``generator`` or ``discriminator``, compiled if it is."""
        return self.compiled.get(player, getattr(self, player))


class BatchNoise:
    """Random numbers of one update for the whole batch, of which each process and each part takes its rows.

    Args:
        game: where they come from.
        count: images in the batches of all processes together.
        device: where they go.
    """

    def __init__(self, game: GAN, count: int, device: torch.device) -> None:
        self._game, self._count, self._device = game, count, device

    @cached_property
    def latents(self) -> Tensor:
        """``[count, latent_size]``."""
        return self._game.latents.sample(self._count, self._device, self._game.rng)

    def generator_inputs(self, batch: Batch, part: slice, rows: slice) -> Tensor:
        """The generator's: small images of a ``part`` of the batch where there are any, or ``rows`` of the latents."""
        return self.latents[rows] if batch.low_resolution is None else batch.low_resolution[part]

    @cached_property
    def interpolation_weight(self) -> Tensor:
        """``[count]`` in [0, 1)."""
        random = self._game.rng
        return torch.rand(self._count, generator=random, device=random.device).to(self._device)


@dataclass
class SharedFakes:
    """Fakes on their way from the discriminator's turn to the generator's of the same iteration, with the generator's graph."""

    latents: Tensor | None = None
    fake: Tensor | None = None


MAX_INPUT_GRADIENT_SCALE = 2.0**15
"""Of a gradient with respect to images: with a scaler's first scale, 2**16, it would begin above float16's largest number."""


class StepContext:
    """What one player's update may look at; each tensor is computed when first asked for, and at most once.

    A hinge generator never asks for ``real_logits``, so nothing is paid for them; a relativistic one does.

    Args:
        game: the players.
        real: images ``[N, C, H, W]`` in [-1, 1].
        labels: of the reals, ``[N, K]``; the fakes are made, and judged, under the same. None without conditioning.
        latents: the generator's input for this turn, ``[N, latent_size]``, or the small images it is to make large.
        generator_turn: whether fakes carry the generator's graph. In the discriminator's turn they are made without one, and in
            the generator's reals are judged without one.
        needs_gradient_of: images ("real", "fake") that penalties will differentiate with respect to.
        scale: of the loss under loss scaling, a scalar tensor.
        joint: whether the discriminator judges ``real`` and ``fake`` in one pass.
        handed: takes the fakes in the discriminator's turn, and gives them in the generator's.
        uniform: draws a number in [0, 1) for each image, ``[N]``.
    """

    def __init__(
        self,
        gan: GAN,
        real: Tensor,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        generator_step: bool,
        needs_gradient_of: frozenset[str] = frozenset(),
        scale: Tensor | None = None,
        joint_pass: bool = False,
        shared_fakes: SharedFakes | None = None,
        interpolation_weight: Callable[[], Tensor] | None = None,
    ) -> None:
        self.gan = gan
        self.latents = latents
        self.labels = labels
        self.generator_step = generator_step
        self.needs_gradient_of = needs_gradient_of
        self._real = real
        self._joint = joint_pass
        self._shared_fakes = shared_fakes
        self._make_interpolation_weight = interpolation_weight or (lambda: torch.rand(len(real), device=real.device))
        self._scale = None if scale is None else scale.clamp(max=MAX_INPUT_GRADIENT_SCALE)

    @cached_property
    def real(self) -> Tensor:
        return self._leaf("real", self._real)

    @cached_property
    def fake(self) -> Tensor:
        handed = self._shared_fakes
        if self.generator_step and handed is not None and handed.fake is not None:
            return handed.fake
        with torch.set_grad_enabled(self.generator_step or handed is not None):
            images = self.gan.forward_function("generator")(self.latents, self.labels)
        if self.generator_step:
            return images
        if handed is not None:
            handed.latents, handed.fake = self.latents, images
        return self._leaf("fake", images.detach())

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        if self._joint:
            return self._joint_output[0]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.generator_step):
            return self._discriminate(self.real, self.labels)

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        return self._joint_output[1] if self._joint else self._discriminate(self.fake, self.labels)

    @cached_property
    def _joint_output(self) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        labels = None if self.labels is None else self.labels.repeat(2, 1)
        both = self._discriminate(torch.cat([self.real, self.fake.to(self.real.dtype)]), labels)
        return both.select(slice(None, len(self.real))), both.select(slice(len(self.real), None))

    @property
    def real_logits(self) -> Tensor:
        return self.real_output.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_output.logits

    @property
    def multi_label(self) -> bool:
        return self.gan.labels.multi_label

    @cached_property
    def interpolation_weight(self) -> Tensor:
        return self._make_interpolation_weight().to(self._real.dtype)

    def discriminate(self, images: Tensor) -> DiscriminatorOutput:
        """The discriminator's word on ``images`` as it sees them, that is augmented; may be differentiated twice."""
        return self.gan.discriminator(self.gan.augment(images), self.labels)

    def _discriminate(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        judge = self.gan.discriminator if self.needs_gradient_of else self.gan.forward_function("discriminator")
        return judge(self.gan.augment(images), labels)

    def input_gradient(self, values: Tensor, images: Tensor) -> Tensor:
        """d ``values`` / d ``images`` for each image, ``[N, C, H, W]`` at least float32, itself differentiable.

        Of several values of an image, one for each pixel, their mean is differentiated.

        Under loss scaling the backward pass runs on scaled values, as a float16 gradient would underflow, and the scale is
        taken out in float32 (PyTorch's notes on automatic mixed precision, "gradient penalty").
        """
        total = values.flatten(1).mean(1).sum() if values.dim() > 1 else values.sum()
        scaled = total if self._scale is None else total * self._scale
        (gradient,) = torch.autograd.grad(scaled, images, create_graph=True)
        gradient = to_at_least_float32(gradient)
        return gradient if self._scale is None else gradient / self._scale

    def _leaf(self, name: str, images: Tensor) -> Tensor:
        return images.detach().requires_grad_() if name in self.needs_gradient_of else images
