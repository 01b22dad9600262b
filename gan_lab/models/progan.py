"""ProGAN: progressive growing (Karras et al. 2018), after the authors' ``networks.py``.

Both networks start at 4x4 and double their resolution. The layers of a new resolution are faded in: images are interpolated,
by ``alpha``, between the upsampled ones of the previous resolution and the new ones. All layers exist from the start; those
above the current resolution are unused. At 1024x1024 each network has 23.1 M parameters (table 2).
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import (
    UNCONDITIONAL_DISCRIMINATOR,
    UNCONDITIONAL_GENERATOR,
    DiscriminatorCondition,
    GeneratorCondition,
)
from gan_lab.models.equalized import EqualizedConv2d, EqualizedLinear, MinibatchStdDev, PixelNorm
from gan_lab.models.layers import check_positive, split_size
from gan_lab.utils.image_ops import upsample_nearest_2x

MAX_SIZE = 1024
"""Largest side of an image in pixels, as in the paper."""


class Generator(base.ProgressiveNetwork, base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, s, s]`` of the current resolution s, in about [-1, 1]: no tanh.

    Args:
        size: side of the fully grown network's images, ``base * 2**n`` with base 4 to 7, up to 1024 pixels.
        channels: of the images; 1 gray, 3 color.
        width: upper bound of a layer's feature maps (fmap_max).
        channel_base: a layer at resolution s has ``2 * channel_base / s`` feature maps (fmap_base), but at most ``width``.
        latent_size: length of a latent vector.
        condition: how labels enter.
    """

    normalizes_latents = True

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 512,
        channel_base: int = 8192,
        latent_size: int = 512,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(condition)
        check_positive(channels=channels, latent_size=latent_size)
        self.resolutions = progressive_resolutions(size)
        widths = [num_channels(resolution, width, channel_base) for resolution in self.resolutions]
        self.start = _start(self.resolutions[0], latent_size + condition.num_inputs, widths[0], condition)
        self.blocks = nn.ModuleList(
            CheckpointedBlocks(
                nn.Upsample(scale_factor=2, mode="nearest"),
                *_conv_act(before, after, condition),
                *_conv_act(after, after, condition),
            )
            for before, after in pairwise(widths)
        )
        self.to_rgb = nn.ModuleList(EqualizedConv2d(maps, channels, 1, gain=1.0) for maps in widths)
        self.set_resolution(size, 1.0)

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        maps = previous = self.start(inputs, labels)
        for block in self.blocks[: self.level]:
            previous, maps = maps, block(maps, labels)
        images = self.to_rgb[self.level](maps)
        if self.alpha < 1.0:
            images = self.fade_in(upsample_nearest_2x(self.to_rgb[self.level - 1](previous)), images)
        return images


class Discriminator(base.ProgressiveNetwork, base.Discriminator):
    """Images ``[N, channels, s, s]`` of the current resolution s to logits ``[N]``.

    Args:
        size, channels, width, channel_base: as the generator's.
        group: number of images that each minibatch standard deviation is computed over (section 3).
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 512,
        channel_base: int = 8192,
        group: int = 4,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, group=group)
        self.resolutions = progressive_resolutions(size)
        smallest = self.resolutions[0]
        widths = [num_channels(resolution, width, channel_base) for resolution in self.resolutions]
        num_features = num_channels(smallest // 2, width, channel_base)
        super().__init__(condition, size, num_features)
        self.from_rgb = nn.ModuleList(
            CheckpointedBlocks(EqualizedConv2d(channels + condition.num_planes, maps, 1), _Activation()) for maps in widths
        )
        self.blocks = nn.ModuleList(
            CheckpointedBlocks(
                EqualizedConv2d(wide, wide, 3), _Activation(), EqualizedConv2d(wide, narrow, 3), _Activation(), nn.AvgPool2d(2)
            )
            for narrow, wide in pairwise(widths)
        )
        self.end = CheckpointedBlocks(
            MinibatchStdDev(group),
            EqualizedConv2d(widths[0] + 1, widths[0], 3),
            _Activation(),
            nn.Flatten(),
            EqualizedLinear(widths[0] * smallest * smallest, num_features),
            _Activation(),
        )
        self.logit = condition.logit(EqualizedLinear(num_features, 1, gain=1.0))
        self.set_resolution(size, 1.0)

    def extract_features(self, images: Tensor) -> Tensor:
        level = self.level
        maps = self.from_rgb[level](images)
        for n in reversed(range(level)):
            maps = self.blocks[n](maps)
            if n == level - 1 and self.alpha < 1.0:
                maps = self.fade_in(self.from_rgb[n](avg_pool2d(images, 2)), maps).to(maps.dtype)
        return self.end(maps)


def progressive_resolutions(size: int) -> list[int]:
    """The resolutions up to ``size``, each twice the previous one, from a base of 4, 5, 6 or 7 pixels.

    Raises:
        ValueError: ``size`` is not such a base times a power of two.
    """
    smallest, doublings = split_size(size, MAX_SIZE, min_doublings=1)
    return [smallest << n for n in range(doublings + 1)]


def num_channels(resolution: int, width: int, channel_base: int) -> int:
    """Number of feature maps of a layer at a resolution; see :class:`Generator`."""
    check_positive(width=width, channel_base=channel_base)
    return max(1, min(2 * channel_base // resolution, width))


class _Activation(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return leaky_relu(maps, 0.2)


def _conv_act(before: int, after: int, condition: GeneratorCondition) -> list[nn.Module]:
    return [EqualizedConv2d(before, after, 3), _Activation(), _norm(condition, after)]


def _norm(condition: GeneratorCondition, channels: int) -> nn.Module:
    return condition.norm(channels, lambda channels, affine=False: PixelNorm())


def _start(smallest: int, inputs: int, channels: int, condition: GeneratorCondition) -> CheckpointedBlocks:
    """Layers from normalized latents to the map of the lowest resolution."""
    return CheckpointedBlocks(
        PixelNorm(),
        EqualizedLinear(inputs, channels * smallest**2, gain=math.sqrt(2) / smallest),
        nn.Unflatten(1, (channels, smallest, smallest)),
        _Activation(),
        _norm(condition, channels),
        *_conv_act(channels, channels, condition),
    )
