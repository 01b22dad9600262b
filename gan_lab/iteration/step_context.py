"""The inputs of the loss terms in one update; each tensor is computed on first access, at most once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from gan_lab.iteration.gan import GAN, SharedFakes
from gan_lab.models.base import DiscriminatorOutput, Generator
from gan_lab.models.layers import to_at_least_float32

MAX_INPUT_GRADIENT_SCALE = 2.0**15
"""Upper bound of the loss scale used for gradients with respect to images. A scaler starts at 2**16, beyond float16's range."""


class StepContext:
    """One batch (or micro-batch) during one network's update; implements :class:`gan_lab.losses.base.LossContext`.

    For example, ``real_logits`` are not computed for a hinge generator loss, which does not use them.

    Args:
        gan: the two networks.
        real: images ``[N, C, H, W]`` in [-1, 1].
        latents: the generator's input, ``[N, latent_size]``, or low-resolution images for super-resolution.
        labels: of the reals, ``[N, K]``; fakes are generated, and discriminated, under the same labels. None: unconditional.
        generator_step: whether fakes carry the generator's graph. In the discriminator step they are generated without one;
            in the generator step the discriminator's output on reals has none.
        needs_gradient_of: images ("real", "fake") that penalties will differentiate with respect to.
        scale: loss scale under float16, a scalar tensor; None without loss scaling.
        joint_pass: whether the discriminator processes ``real`` and ``fake`` in one forward pass.
        shared_fakes: stores the fakes in the discriminator step and provides them in the generator step.
        micro_batch: number of the micro-batch within the update, from 0.
        interpolation_weight: draws a number in [0, 1) for each image, ``[N]``.
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
        micro_batch: int = 0,
        interpolation_weight: Callable[[], Tensor] | None = None,
    ) -> None:
        self.gan = gan
        self.latents = latents
        self.labels = labels
        self.generator_step = generator_step
        self.needs_gradient_of = needs_gradient_of
        self.micro_batch = micro_batch
        self._real = real
        self._joint_pass = joint_pass
        self._shared_fakes = shared_fakes
        self._draw_weight = interpolation_weight or (lambda: torch.rand(len(real), device=real.device))
        self._scale = None if scale is None else scale.clamp(max=MAX_INPUT_GRADIENT_SCALE)

    @cached_property
    def real(self) -> Tensor:
        return self._leaf("real", self._real)

    @cached_property
    def fake(self) -> Tensor:
        shared = self._shared_fakes
        if self.generator_step and shared is not None and shared.fake is not None:
            return shared.fake
        with torch.set_grad_enabled(self.generator_step or shared is not None):
            images = self.gan.forward_function("generator")(self.latents, self.labels)
        if self.generator_step:
            return images
        if shared is not None:
            shared.latents, shared.fake = self.latents, images
        return self._leaf("fake", images.detach())

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        if self._joint_pass:
            return self._joint_output[0]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.generator_step):
            return self._discriminate(self.real, self.labels)

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        return self._joint_output[1] if self._joint_pass else self._discriminate(self.fake, self.labels)

    @cached_property
    def _joint_output(self) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        labels = None if self.labels is None else self.labels.repeat(2, 1)
        output = self._discriminate(torch.cat([self.real, self.fake.to(self.real.dtype)]), labels)
        return output.select(slice(None, len(self.real))), output.select(slice(len(self.real), None))

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
        return self._draw_weight().to(self._real.dtype)

    def discriminate(self, images: Tensor) -> DiscriminatorOutput:
        """The discriminator's output on augmented ``images``; may be differentiated twice."""
        return self.gan.discriminator(self.gan.augment(images), self.labels)

    def _discriminate(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        forward = self.gan.discriminator if self.needs_gradient_of else self.gan.forward_function("discriminator")
        return forward(self.gan.augment(images), labels)

    def input_gradient(self, values: Tensor, images: Tensor) -> Tensor:
        """d ``values`` / d ``images`` for each image, ``[N, C, H, W]``, at least float32, itself differentiable.

        If an image has several values (one per pixel), their mean is differentiated.

        Under loss scaling the backward pass runs on scaled values, since a float16 gradient would underflow; the scale is
        divided out in float32 (PyTorch's notes on automatic mixed precision, "gradient penalty").
        """
        total = values.flatten(1).mean(1).sum() if values.dim() > 1 else values.sum()
        scaled = total if self._scale is None else total * self._scale
        (gradient,) = torch.autograd.grad(scaled, images, create_graph=True)
        gradient = to_at_least_float32(gradient)
        return gradient if self._scale is None else gradient / self._scale

    def generate_from_styles(self, count: int) -> tuple[Tensor, Tensor]:
        """Images of the first ``count`` latents, and what they were rendered from, both with a graph."""
        labels = None if self.labels is None else self.labels[:count]
        generator = self.gan.generator
        assert isinstance(generator, Generator)
        styles = generator.styles(self.latents[:count], labels)
        if not styles.requires_grad:
            styles = styles.detach().requires_grad_()
        return generator.render(styles, labels), styles

    def _leaf(self, name: str, images: Tensor) -> Tensor:
        return images.detach().requires_grad_() if name in self.needs_gradient_of else images
