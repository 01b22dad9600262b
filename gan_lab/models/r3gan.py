"""R3GAN (Huang et al. 2024): residual networks of inverted bottlenecks without normalization, as in brownvc/R3GAN.

At 32x32, 3 channels, width 768: 20,732,160 parameters in the generator, 20,683,776 in the discriminator.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import (
    UNCONDITIONAL_DISCRIMINATOR,
    UNCONDITIONAL_GENERATOR,
    DiscriminatorCondition,
    GeneratorCondition,
    Projection,
)
from gan_lab.models.layers import check_positive, split_size
from gan_lab.models.resampling import Downsample2x, Upsample2x

SLOPE = 0.2
"""Of the leaky ReLUs, for negative values."""

GAIN = math.sqrt(2 / (1 + SLOPE**2))
"""Keeps the variance through a layer and a leaky ReLU (He et al. 2015)."""


class Generator(base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in about [-1, 1]; the last layer is linear.

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 16 to 256 pixels.
        channels: of the images; 1 gray, 3 color.
        width: upper bound of a stage's channels.
        channel_base: a stage has ``channel_base / s`` channels if that is less, see :func:`stage_widths`.
        blocks: residual blocks in a stage.
        expansion: channels inside a block, as a multiple of the stage's.
        group_width: channels in a group of the grouped convolutions.
        latent_size: length of a latent vector.
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 768,
        channel_base: int = 24576,
        blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        latent_size: int = 64,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(condition)
        check_positive(channels=channels, blocks=blocks, latent_size=latent_size)
        smallest, doublings = split_size(size)
        widths = stage_widths(doublings, width, channel_base)
        make_block = partial(ResidualBlock, expansion=expansion, group_width=group_width, depth=blocks * len(widths))
        layers: list[nn.Module] = [FirstMap(latent_size + condition.num_inputs, widths[0], smallest)]
        layers += [*_modulation(condition, widths[0]), *(make_block(widths[0]) for _ in range(blocks))]
        for wide, narrow in pairwise(widths):
            layers += [*_change_channels(wide, narrow), Upsample2x(), *_modulation(condition, narrow)]
            layers += [make_block(narrow) for _ in range(blocks)]
        layers += [he_init(nn.Conv2d(widths[-1], channels, 1, bias=False))]
        # the last two in one block, so that the largest map is not stored under activation checkpointing
        self.layers = CheckpointedBlocks(*layers, starts=range(len(layers) - 1))

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(inputs, labels)


class Discriminator(base.Discriminator):
    """Images ``[N, channels, size, size]`` in [-1, 1] to logits ``[N]``; the generator in reverse.

    If the embedding of the labels alone makes the logit (a :class:`Projection` that is not ``unconditional``), the features
    pass through one more dense layer before, as in the authors' conditional networks.

    Args:
        size, channels, width, channel_base, blocks, expansion, group_width: as the generator's.
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 768,
        channel_base: int = 24576,
        blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, blocks=blocks)
        smallest, doublings = split_size(size)
        widths = stage_widths(doublings, width, channel_base)[::-1]
        super().__init__(condition, size, num_features=widths[-1])
        make_block = partial(ResidualBlock, expansion=expansion, group_width=group_width, depth=blocks * len(widths))
        layers: list[nn.Module] = [he_init(nn.Conv2d(channels + condition.num_planes, widths[0], 1, bias=False))]
        for narrow, wide in pairwise(widths):
            layers += [*(make_block(narrow) for _ in range(blocks)), Downsample2x(), *_change_channels(narrow, wide)]
        layers += [*(make_block(widths[-1]) for _ in range(blocks)), LastMap(widths[-1], smallest)]
        if isinstance(condition, Projection):
            he_init(self.head.get_submodule("embedding"), gain=widths[-1] ** -0.5)
            layers += [] if condition.unconditional else [he_init(nn.Linear(widths[-1], widths[-1], bias=False))]
        # the first two in one block, so that the largest map is not stored under activation checkpointing
        self.layers = CheckpointedBlocks(*layers, starts=(0, *range(2, len(layers))))
        self.logit = condition.logit(he_init(nn.Linear(widths[-1], 1, bias=False)))

    def extract_features(self, images: Tensor) -> Tensor:
        return self.layers(images)


class ResidualBlock(nn.Sequential):
    """Convolutions 1x1, grouped 3x3 and 1x1, with leaky ReLUs between them; the last one starts at 0.

    Args:
        channels: of input and output.
        expansion: channels inside, as a multiple of ``channels``.
        group_width: channels in a group; more if there would be no equal groups otherwise.
        depth: number of blocks in the network. The initial weights are scaled by ``depth ** -0.25``, so that the variance
            does not grow with it (Zhang et al. 2019, Fixup, section 3, for three layers).
    """

    def __init__(self, channels: int, expansion: int, group_width: int, depth: int) -> None:
        check_positive(expansion=expansion, group_width=group_width)
        inner, gain = channels * expansion, GAIN * depth**-0.25
        groups = next(n for n in range(max(1, inner // group_width), 0, -1) if inner % n == 0)
        super().__init__(
            he_init(nn.Conv2d(channels, inner, 1), gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            he_init(nn.Conv2d(inner, inner, 3, 1, 1, groups=groups), gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            he_init(nn.Conv2d(inner, channels, 1, bias=False), gain=0.0),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + super().forward(maps)


class FirstMap(nn.Module):
    """Latents to the smallest map: a learned map for each channel, multiplied by a linear function of the latents."""

    def __init__(self, latent_size: int, channels: int, side: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, side, side))
        self.linear = he_init(nn.Linear(latent_size, channels, bias=False))

    def forward(self, latents: Tensor) -> Tensor:
        return self.basis * self.linear(latents)[:, :, None, None]


class LastMap(nn.Module):
    """The smallest map to features ``[N, channels]``: the inner product of each channel with a learned map."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, side, side) / side)

    def forward(self, maps: Tensor) -> Tensor:
        # not a depthwise convolution, whose second derivative PyTorch computes in a loop over the channels
        return torch.einsum("nchw,chw->nc", maps, self.basis)


def stage_widths(doublings: int, width: int, channel_base: int) -> list[int]:
    """Channels of the stages from the smallest map to the image: ``min(width, channel_base / s)``.

    s is the side of the stage's maps in a network whose smallest map has 4x4 pixels, whatever its side in this one.
    """
    check_positive(width=width, channel_base=channel_base)
    return [min(width, max(1, channel_base // (4 << n))) for n in range(doublings + 1)]


def he_init(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Weights N(0, gain^2 / fan-in), biases 0; returns the layer."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _modulation(condition: GeneratorCondition, channels: int) -> list[nn.Module]:
    """The scale and shift of each label, if the condition has any; there is no normalization for them to follow."""
    layer = condition.norm(channels, lambda channels, affine=True: nn.Identity())
    return [] if isinstance(layer, nn.Identity) else [layer]


def _change_channels(before: int, after: int) -> list[nn.Module]:
    return [] if before == after else [he_init(nn.Conv2d(before, after, 1, bias=False))]
