"""Images of the averaged generator, for eyes and for scores."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gan_lab.models.tiling import enlarged_in_tiles
from gan_lab.models.upscaler import Upscaler
from gan_lab.training.ema import HalfLife, NoAverage
from gan_lab.training.loss_context import Game
from gan_lab.utils.image_ops import enlarged, to_uint8


@dataclass(frozen=True)
class Sampler:
    """Draws from the average, at the size of the data whatever size a growing generator has reached.

    Attributes:
        average: what is sampled.
        game: where latents and labels come from.
        size: side of the data's images.
        device: of the networks.
    """

    average: HalfLife | NoAverage
    game: Game
    size: int
    device: torch.device

    def as_it_is(self) -> Sampler:
        """A copy that draws what this one would draw now, whatever is learnt from here on."""
        with self.average.sampling() as generator:
            return replace(self, average=NoAverage(copy.deepcopy(generator).requires_grad_(False)))

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """uint8 images ``[N, C, size, size]``; of pictures instead of latents as large as they become."""
        with self.average.sampling() as generator:
            images = to_uint8(generator(latents, labels))
        return enlarged(images, max(self.size, images.shape[-1]))

    def enlarge(self, picture: Tensor) -> Tensor:
        """A uint8 picture ``[C, h, w]`` of any size, ``scale`` times as large, on the CPU."""
        with self.average.sampling() as generator:
            assert isinstance(generator, Upscaler)
            return enlarged_in_tiles(generator, picture, self.device)

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """``count`` images from latents, and labels as frequent as in the data, drawn with ``random``.

        Returns:
            The images, and their class numbers ``[count]`` int64, or None where there are no classes.
        """
        latents = self.game.latents.draw(count, self.device, random)
        labels = self.game.labels.draw(count, self.device, random)
        return self.generate(latents, labels), self.game.labels.numbers(labels)
