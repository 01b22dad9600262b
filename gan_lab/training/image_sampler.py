"""Images of the averaged generator, for eyes and for scores."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gan_lab.models.tiling import upscale_tiled
from gan_lab.models.upscaler import Upscaler
from gan_lab.training.ema import ExponentialMovingAverage, NoEMA
from gan_lab.training.loss_context import GAN
from gan_lab.utils.image_ops import to_uint8, upsample_nearest


@dataclass(frozen=True)
class ImageSampler:
    """Draws from the average, at the size of the data whatever size a growing generator has reached.

    Attributes:
        average: what is sampled.
        game: where latents and labels come from.
        size: side of the data's images.
        device: of the networks.
    """

    ema: ExponentialMovingAverage | NoEMA
    gan: GAN
    size: int
    device: torch.device

    def snapshot(self) -> ImageSampler:
        """A copy that draws what this one would draw now, whatever is learnt from here on."""
        with self.ema.eval_mode() as generator:
            return replace(self, ema=NoEMA(copy.deepcopy(generator).requires_grad_(False)))

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """uint8 images ``[N, C, size, size]``; of pictures instead of latents as large as they become."""
        with self.ema.eval_mode() as generator:
            images = to_uint8(generator(latents, labels))
        return upsample_nearest(images, max(self.size, images.shape[-1]))

    def upscale(self, picture: Tensor) -> Tensor:
        """A uint8 picture ``[C, h, w]`` of any size, ``scale`` times as large, on the CPU."""
        with self.ema.eval_mode() as generator:
            assert isinstance(generator, Upscaler)
            return upscale_tiled(generator, picture, self.device)

    def sample(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """``count`` images from latents, and labels as frequent as in the data, drawn with ``random``.

        Returns:
            The images, and their class numbers ``[count]`` int64, or None where there are no classes.
        """
        latents = self.gan.latents.sample(count, self.device, random)
        labels = self.gan.labels.sample(count, self.device, random)
        return self.generate(latents, labels), self.gan.labels.class_indices(labels)
