"""FastGAN's generator (Liu et al. 2021, "Towards Faster and Stabilized GAN Training"), as Projected GAN trains it.

At 256x256, 3 channels, latent size 256: 105,684,175 parameters at width 128, 24,037,603 at width 64 with ``lite`` blocks. The
layers are those of ``networks_fastgan.py`` in autonomousvision/projected-gan.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import UNCONDITIONAL_GENERATOR, GeneratorCondition
from gan_lab.models.layers import check_positive, split_size, to_at_least_float32, with_spectral_norm
from gan_lab.utils.image_ops import upsample_nearest_2x

MAX_SIZE = 1024
SKIP = 4
"""A skip-layer excitation leads from a map to that 2**4 times as wide: from 4 pixels to 64, from 8 to 128."""

MAX_SKIPS = 4

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
        check_positive(channels=channels, width=width, latent_size=latent_size)
        smallest, doublings = split_size(size, MAX_SIZE)
        if len(multiples) <= doublings or min(multiples) <= 0:
            raise ValueError(f"multiples={list(multiples)}: must be {doublings + 1} or more positive numbers for size={size}")
        widths = [max(1, int(width * multiple)) for multiple in multiples[: doublings + 1]]
        start = nn.ConvTranspose2d(latent_size + condition.num_inputs, 2 * widths[0], smallest, 1, 0, bias=False)
        self.start = CheckpointedBlocks(with_spectral_norm(start, dim=1), condition.norm(2 * widths[0]), GLU())
        self.up = nn.ModuleList(_up_block(wide, narrow, lite, condition) for wide, narrow in pairwise(widths))
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

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(normalize_second_moment(latents), labels)


class GLU(nn.Module):
    """Gated linear unit (Dauphin et al. 2017): the first half of the channels times the sigmoid of the second."""

    def forward(self, maps: Tensor) -> Tensor:
        values, gates = maps.chunk(2, 1)
        return values * torch.sigmoid(gates)


class NoiseInjection(nn.Module):
    """Adds noise, the same in all channels, times a learned factor that starts at 0 (Karras et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        count, _, height, width = maps.shape
        noise = torch.randn(count, 1, height, width, dtype=maps.dtype, device=maps.device)
        return maps + self.weight.to(maps.dtype) * noise


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


def _up_block(wide: int, narrow: int, lite: bool, condition: GeneratorCondition) -> CheckpointedBlocks:
    """Doubles a map: convolution, normalization and GLU, once or twice."""
    layers: list[nn.Module] = [_UpsampleNearest()]
    for before in (wide,) if lite else (wide, narrow):
        noise = [] if lite else [NoiseInjection()]
        conv = with_spectral_norm(nn.Conv2d(before, 2 * narrow, 3, 1, 1, bias=False))
        layers += [conv, *noise, condition.norm(2 * narrow), GLU()]
    return CheckpointedBlocks(*layers)


class _UpsampleNearest(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return upsample_nearest_2x(maps)


def normalize_second_moment(latents: Tensor, eps: float = 1e-8) -> Tensor:
    """Latent vectors scaled to a mean square of 1."""
    return latents * (to_at_least_float32(latents).square().mean(1, keepdim=True) + eps).rsqrt().to(latents.dtype)
