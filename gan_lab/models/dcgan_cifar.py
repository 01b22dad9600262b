"""The GAN of the CIFAR-100 study: a dense first layer, transposed convolutions, dropout in the discriminator.

Tutorial DCGANs in this style (Keras, TensorFlow) start from a dense layer instead of a transposed convolution on a 1x1 map
and weaken the discriminator by dropout instead of using BatchNorm. The study trains it with the hinge loss and Adam for 50
epochs at batch 256 with 100-dimensional noise: ``model=dcgan_cifar dataset=cifar100 loss=hinge epochs=50 batch_size=256``.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import (
    UNCONDITIONAL_DISCRIMINATOR,
    UNCONDITIONAL_GENERATOR,
    DiscriminatorCondition,
    GeneratorCondition,
)
from gan_lab.models.layers import check_positive, doubling_widths, normal_init, split_size


class Generator(base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in [-1, 1].

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 16 to 256 pixels.
        channels: of the images; 1 gray, 3 color.
        width: channels of the last hidden layer; doubles toward the smallest map.
        max_width: upper bound of a layer's channels.
        latent_size: length of a latent vector.
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 64,
        max_width: int = 1024,
        latent_size: int = 100,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(condition)
        check_positive(channels=channels, width=width, max_width=max_width, latent_size=latent_size)
        smallest, doublings = split_size(size)
        widths = doubling_widths(width, doublings, max_width)[::-1]
        start = nn.Linear(latent_size + condition.num_inputs, widths[0] * smallest * smallest, bias=False)
        unflatten = nn.Unflatten(1, (widths[0], smallest, smallest))
        blocks: list[list[nn.Module]] = [[start, unflatten, condition.norm(widths[0]), nn.LeakyReLU(0.2, inplace=True)]]
        for wide, narrow in pairwise(widths):
            conv = nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)
            blocks += [[conv, condition.norm(narrow), nn.LeakyReLU(0.2, inplace=True)]]
        # in the last block, so that the largest map is not stored under activation checkpointing
        blocks[-1] += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        self.layers = CheckpointedBlocks.from_blocks(blocks).apply(normal_init)

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(inputs, labels)


class Discriminator(base.Discriminator):
    """Images ``[N, channels, size, size]`` in [-1, 1] to logits ``[N]``; no normalization, dropout after every layer.

    Args:
        size, channels, max_width: as the generator's.
        width: channels of the first layer; doubles with every halving of the map.
        dropout: probability of zeroing a feature, in [0, 1).
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 64,
        max_width: int = 1024,
        dropout: float = 0.3,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, width=width, max_width=max_width)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout={dropout}: must lie in [0, 1)")
        smallest, doublings = split_size(size)
        widths = doubling_widths(width, doublings, max_width)
        super().__init__(condition, size, widths[-1])
        blocks: list[list[nn.Module]] = []
        for narrow, wide in pairwise([channels + condition.num_planes, *widths]):
            blocks += [[nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(dropout)]]
        self.layers = CheckpointedBlocks.from_blocks(blocks).apply(normal_init)
        logit = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * smallest * smallest, 1))
        self.logit = condition.logit(logit.apply(normal_init))

    def extract_features(self, images: Tensor) -> Tensor:
        return self.layers(images)
