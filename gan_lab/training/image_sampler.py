"""Samples the averaged generator, for sample grids and evaluation."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gan_lab.iteration.ema import ExponentialMovingAverage, NoEMA
from gan_lab.iteration.gan import GAN
from gan_lab.models.tiling import upscale_tiled
from gan_lab.models.upscaler import Upscaler
from gan_lab.utils.image_ops import to_uint8, upsample_nearest


@dataclass(frozen=True)
class ImageSampler:
    """Samples the averaged generator. Images of a growing generator are upsampled to the dataset's resolution.

    Attributes:
        ema: the average of the generator's weights.
        gan: provides latents and labels.
        size: side of the dataset's images.
        device: of the networks.
    """

    ema: ExponentialMovingAverage | NoEMA
    gan: GAN
    size: int
    device: torch.device

    def snapshot(self) -> ImageSampler:
        """A sampler with a copy of the current weights, which further training does not change."""
        with self.ema.eval_mode() as generator:
            return replace(self, ema=NoEMA(copy.deepcopy(generator).requires_grad_(False)))

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Generate uint8 images ``[N, C, size, size]`` on the device; ``latents`` may be low-resolution images."""
        with self.ema.eval_mode() as generator:
            images = to_uint8(generator(latents, labels))
        return upsample_nearest(images, max(self.size, images.shape[-1]))

    def upscale(self, image: Tensor) -> Tensor:
        """Upscale a uint8 image ``[C, h, w]`` of any size; returns uint8 on the CPU."""
        with self.ema.eval_mode() as generator:
            assert isinstance(generator, Upscaler)
            return upscale_tiled(generator, image, self.device)

    def sample(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Generate ``count`` images from latents and labels drawn with ``rng``; labels have the dataset's frequencies.

        Returns:
            The images, and their class indices ``[count]`` int64, or None without classes.
        """
        latents = self.gan.latents.sample(count, self.device, rng)
        labels = self.gan.labels.sample(count, self.device, rng)
        return self.generate(latents, labels), self.gan.labels.class_indices(labels)
