"""DCGAN (Radford, Metz, Chintala 2015), the same layers as the reference implementation pytorch/examples ``dcgan/main.py``.

At 64x64, 3 channels, width 64, latent size 100: 3,576,704 parameters in the generator, 2,765,568 in the discriminator.
Other sizes have fewer or more stride-2 layers; the width doubles toward the smallest map, as in the paper.
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
from gan_lab.models.layers import add_spectral_norm, check_positive, doubling_widths, make_norm, normal_init, split_size


class Generator(base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in [-1, 1].

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 16 to 256 pixels.
        channels: of the images; 1 gray, 3 color.
        width: channels of the last hidden layer (ngf).
        max_width: upper bound of a layer's channels.
        latent_size: length of a latent vector (nz).
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
        inputs = latent_size + condition.num_inputs
        start = nn.ConvTranspose2d(inputs, widths[0], smallest, 1, 0, bias=False)
        blocks: list[list[nn.Module]] = [[start, condition.norm(widths[0]), nn.ReLU(inplace=True)]]
        for wide, narrow in pairwise(widths):
            blocks += [[nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), condition.norm(narrow), nn.ReLU(inplace=True)]]
        # in the last block, so that the largest map is not stored under activation checkpointing
        blocks[-1] += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = CheckpointedBlocks.from_blocks(blocks).apply(normal_init)

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(inputs[:, :, None, None], labels)


class Discriminator(base.Discriminator):
    """Images ``[N, channels, size, size]`` in [-1, 1] to logits ``[N]``.

    Args:
        size, channels, max_width: as the generator's.
        width: channels of the first layer (ndf).
        norm: ``batch`` as published; ``layer``, ``instance`` or ``none``.
        spectral_norm: whether every layer is spectrally normalized (SNGAN's "standard CNN" has this with norm ``none``).
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 64,
        max_width: int = 1024,
        norm: str = "batch",
        spectral_norm: bool = False,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, width=width, max_width=max_width)
        smallest, doublings = split_size(size)
        widths = doubling_widths(width, doublings, max_width)
        super().__init__(condition, size, widths[-1])
        planes = channels + condition.num_planes
        blocks: list[list[nn.Module]] = [[nn.Conv2d(planes, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]]
        for narrow, wide in pairwise(widths):
            conv = nn.Conv2d(narrow, wide, 4, 2, 1, bias=False)
            blocks += [[conv, make_norm(norm, wide), nn.LeakyReLU(0.2, inplace=True)]]
        # the first two as one block, so that the largest map is not stored under activation checkpointing
        self.layers = CheckpointedBlocks.from_blocks([blocks[0] + blocks[1], *blocks[2:]]).apply(normal_init)
        self.logit = condition.logit(nn.Conv2d(widths[-1], 1, smallest, 1, 0, bias=False).apply(normal_init))
        if spectral_norm:
            add_spectral_norm(self)

    def extract_features(self, images: Tensor) -> Tensor:
        return self.layers(images)
