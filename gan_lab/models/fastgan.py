"""FastGAN's networks (Liu et al. 2021, "Towards Faster and Stabilized GAN Training").

At 256x256 with 3 channels the generator has 105,684,175 parameters at width 128, and 24,037,603 at width 64 with
``lite`` blocks. Its layers are those of ``networks_fastgan.py`` in autonomousvision/projected-gan. The discriminator is the
paper's, but without decoders, which reconstruct real images from its features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import (
    UNCONDITIONAL_DISCRIMINATOR,
    UNCONDITIONAL_GENERATOR,
    DiscriminatorCondition,
    GeneratorCondition,
)
from gan_lab.models.equalized import PixelNorm
from gan_lab.models.layers import (
    BatchNorm,
    check_positive,
    doubling_widths,
    split_size,
    with_spectral_norm,
)
from gan_lab.utils.image_ops import upsample_nearest_2x

MAX_SIZE = 1024
SKIP = 4
"""A skip-layer excitation leads from a map to that 2**4 times as wide: from 4 pixels to 64, from 8 to 128."""

MAX_SKIPS = 4

D_SKIP, D_MAX_SKIPS = 3, 3
"""In the discriminator a skip-layer excitation leads to a map with 1/2**3 of the side."""

MULTIPLES = (16, 8, 4, 2, 2, 1, 0.5, 0.25, 0.125)
"""Channels of the maps from the smallest on, as multiples of ``width``."""


class Generator(base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in about [-1, 1]; the last layer is linear.

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 16 to 1024 pixels.
        channels: of the images; 1 gray, 3 color.
        width: channels of the maps five doublings after the smallest (ngf).
        multiples: channels of the maps from the smallest on, as multiples of ``width``.
        lite: whether a block has one convolution and no noise, instead of two with noise.
        latent_size: length of a latent vector, which is normalized.
        condition: how labels enter.
    """

    normalizes_latents = True

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 128,
        multiples: Sequence[float] = MULTIPLES,
        lite: bool = False,
        latent_size: int = 256,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(condition)
        self.normalize = PixelNorm()
        check_positive(channels=channels, width=width, latent_size=latent_size)
        smallest, doublings = split_size(size, MAX_SIZE)
        if len(multiples) <= doublings or min(multiples) <= 0:
            raise ValueError(f"multiples={list(multiples)}: must be {doublings + 1} or more positive numbers for size={size}")
        widths = [max(1, int(width * multiple)) for multiple in multiples[: doublings + 1]]
        start = nn.ConvTranspose2d(latent_size + condition.num_inputs, 2 * widths[0], smallest, 1, 0, bias=False)
        self.start = CheckpointedBlocks(with_spectral_norm(start, dim=1), condition.norm(2 * widths[0]), GLU())
        sides = (smallest << n for n in range(1, doublings + 1))
        pairs = zip(pairwise(widths), sides, strict=True)
        self.up = nn.ModuleList(_up_block(*around, side, lite, condition) for around, side in pairs)
        skips = zip(range(MAX_SKIPS), widths, widths[SKIP:], strict=False)
        self.excite = nn.ModuleList(SkipExcitation(before, after, smallest, n) for n, before, after in skips)
        self.to_image = with_spectral_norm(nn.Conv2d(widths[-1], channels, 3, 1, 1))

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        maps = [self.start(inputs[:, :, None, None], labels)]
        for number, block in enumerate(self.up, 1):
            x = block(maps[-1], labels)
            if 0 <= number - SKIP < len(self.excite):
                x = x * self.excite[number - SKIP](maps[number - SKIP])
            maps.append(x)
        images: Tensor = self.to_image(maps[-1])
        return images

    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.normalize(super().styles(latents, labels))


class Discriminator(base.Discriminator):
    """Images ``[N, channels, size, size]`` in [-1, 1] to the logits of overlapping patches, ``[N, L]``.

    Residual blocks halve the images down to a map of 8 pixels (twice the smallest size), with skip-layer excitations. The
    logits are those of all positions of a kernel of 4 pixels.

    Args:
        size, channels: as the generator's.
        width: channels at the images' size; doubles with every block.
        max_width: upper bound of a block's channels.
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 16,
        max_width: int = 1024,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, width=width, max_width=max_width)
        smallest, doublings = split_size(size, MAX_SIZE)
        widths = doubling_widths(width, doublings, max_width)
        super().__init__(condition, size, widths[-1])
        first = with_spectral_norm(nn.Conv2d(channels + condition.num_planes, width, 3, 1, 1, bias=False))
        self.start = nn.Sequential(first, nn.LeakyReLU(0.2))
        self.down = nn.ModuleList(CheckpointedBlocks(DownBlock(narrow, wide)) for narrow, wide in pairwise(widths))
        skips = zip(range(D_MAX_SKIPS), widths, widths[D_SKIP:], strict=False)
        self.excite = nn.ModuleList(SkipExcitation(before, after, smallest, doublings - n) for n, before, after in skips)
        mix = with_spectral_norm(nn.Conv2d(widths[-1], widths[-1], 1, bias=False))
        last = with_spectral_norm(nn.Conv2d(widths[-1], 1, smallest, bias=False))
        self.logit = condition.logit(nn.Sequential(mix, BatchNorm(widths[-1]), nn.LeakyReLU(0.2), last))

    def extract_features(self, images: Tensor) -> Tensor:
        maps = [self.start(images)]
        for number, block in enumerate(self.down, 1):
            x = block(maps[-1])
            if 0 <= number - D_SKIP < len(self.excite):
                x = x * self.excite[number - D_SKIP](maps[number - D_SKIP])
            maps.append(x)
        return maps[-1]


class DownBlock(nn.Module):
    """Halves a map: the mean of two convolutions and of a pooled shortcut (section 3.2)."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_conv_norm_act(narrow, wide, 4, 2, 1), *_conv_norm_act(wide, wide, 3, 1, 1))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), *_conv_norm_act(narrow, wide, 1, 1, 0))

    def forward(self, maps: Tensor) -> Tensor:
        return (self.main(maps) + self.shortcut(maps)) / 2


def _conv_norm_act(before: int, after: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    conv = with_spectral_norm(nn.Conv2d(before, after, kernel, stride, padding, bias=False))
    return [conv, BatchNorm(after), nn.LeakyReLU(0.2, inplace=True)]


class GLU(nn.Module):
    """Gated linear unit (Dauphin et al. 2017): the first half of the channels times the sigmoid of the second."""

    def forward(self, maps: Tensor) -> Tensor:
        values, gates = maps.chunk(2, 1)
        return values * torch.sigmoid(gates)


class NoiseInjection(nn.Module):
    """Adds noise, the same in all channels, times a learned factor that starts at 0 (Karras et al. 2019).

    Noise is drawn anew in training mode; in evaluation mode it is a constant of the layer, so that an image depends on its
    latents alone.

    Args:
        side: of the maps in pixels.
        seed: of the constant.
    """

    noise: Tensor

    def __init__(self, side: int, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        noise = torch.randn(side, side, generator=torch.Generator().manual_seed(seed), device="cpu")
        self.register_buffer("noise", noise, persistent=False)  # published weights have none

    def forward(self, maps: Tensor) -> Tensor:
        noise = torch.randn(len(maps), 1, *maps.shape[2:], device=maps.device) if self.training else self.noise
        return maps + (self.weight * noise).to(maps.dtype)


class SkipExcitation(nn.Module):
    """Skip-layer excitation (section 3.1): factors ``[N, out_channels, 1, 1]`` in [0, 1] from a map of low resolution.

    Args:
        in_channels: of the map.
        out_channels: of the map to be multiplied.
        smallest: side that the map is averaged down to.
        halvings: from the map's side to ``smallest``.
    """

    def __init__(self, in_channels: int, out_channels: int, smallest: int, halvings: int) -> None:
        super().__init__()
        self.factor = 1 << halvings
        self.squeeze = with_spectral_norm(nn.Conv2d(in_channels, out_channels, smallest, 1, 0, bias=False))
        self.expand = with_spectral_norm(nn.Conv2d(out_channels, out_channels, 1, 1, 0, bias=False))

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.squeeze(avg_pool2d(maps, self.factor) if self.factor > 1 else maps)
        return torch.sigmoid(self.expand(nn.functional.silu(maps)))


def _up_block(wide: int, narrow: int, side: int, lite: bool, condition: GeneratorCondition) -> CheckpointedBlocks:
    """Doubles a map to ``side`` pixels: convolution, normalization and GLU, once or twice."""
    layers: list[nn.Module] = [_UpsampleNearest()]
    for number, before in enumerate((wide,) if lite else (wide, narrow)):
        noise = [] if lite else [NoiseInjection(side, seed=2 * side + number)]
        conv = with_spectral_norm(nn.Conv2d(before, 2 * narrow, 3, 1, 1, bias=False))
        layers += [conv, *noise, condition.norm(2 * narrow), GLU()]
    return CheckpointedBlocks(*layers)


class _UpsampleNearest(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return upsample_nearest_2x(maps)
