"""SNGAN's residual networks (Miyato et al. 2018, tables 3 to 5) with spectral normalization; with attention, those of SAGAN.

At 32x32, 3 channels, width 256 in the generator and 128 in the discriminator: 4,276,739 and 1,053,825 parameters, as in
kwotsin/mimicry ``sngan_32``. Upsampling is nearest, as in the authors' code, or bilinear, as in mimicry.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import (
    UNCONDITIONAL_DISCRIMINATOR,
    UNCONDITIONAL_GENERATOR,
    ConditionalModule,
    DiscriminatorCondition,
    GeneratorCondition,
)
from gan_lab.models.layers import add_spectral_norm, check_positive, doubling_widths, split_size, to_at_least_float32

UPSAMPLING: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "bilinear", "align_corners": False},
}
"""Arguments of ``interpolate`` for each value of ``upsample``."""


class Generator(base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in [-1, 1].

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 16 to 256 pixels.
        channels: of the images; 1 gray, 3 color.
        width: channels of the last block; doubles toward the smallest map.
        max_width: upper bound of a block's channels; if equal to ``width``, all blocks have this width, as in table 3.
        latent_size: length of a latent vector.
        attention: side of the map that self-attention is applied to; None for no attention.
        spectral_norm: whether every layer is spectrally normalized, as in SAGAN.
        upsample: ``nearest``, or ``bilinear`` as in mimicry.
        condition: how labels enter.

    Raises:
        ValueError: a size or ``upsample`` that this family does not have.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 256,
        max_width: int = 256,
        latent_size: int = 128,
        attention: int | None = None,
        spectral_norm: bool = False,
        upsample: str = "nearest",
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(condition)
        check_positive(channels=channels, width=width, max_width=max_width, latent_size=latent_size)
        if upsample not in UPSAMPLING:
            raise ValueError(f"upsample={upsample}: must be one of {', '.join(UPSAMPLING)}")
        smallest, doublings = split_size(size)
        widths = doubling_widths(width, doublings + 1, max_width)[::-1]
        start = _xavier(nn.Linear(latent_size + condition.num_inputs, widths[0] * smallest * smallest))
        blocks: list[list[nn.Module]] = [[start, nn.Unflatten(1, (widths[0], smallest, smallest))]]
        sides = [smallest << n for n in range(1, doublings + 1)]
        for side, (wide, narrow) in zip(sides, pairwise(widths), strict=True):
            blocks += [[UpBlock(wide, narrow, upsample, condition), *_attention(attention, side, narrow)]]
        blocks += [[nn.BatchNorm2d(width), nn.ReLU(inplace=True), _xavier(nn.Conv2d(width, channels, 3, 1, 1)), nn.Tanh()]]
        self.layers = CheckpointedBlocks.from_blocks(blocks)
        _check_attention(attention, sides)
        if spectral_norm:
            add_spectral_norm(self)

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(inputs, labels)


class Discriminator(base.Discriminator):
    """Images ``[N, channels, size, size]`` in [-1, 1] to logits ``[N]``; the features are summed over the last map.

    Args:
        size, channels, attention: as the generator's.
        width: channels of the first block; doubles with every block.
        max_width: upper bound of a block's channels.
        halvings: number of blocks that halve the map; None: down to the generator's smallest map.
        plain_blocks: number of blocks after those.
        spectral_norm: whether every layer is spectrally normalized; without it this is WGAN-GP's residual critic.
        relu_shortcut: whether the first ReLU of a :class:`DownBlock` acts on its shortcut too, as mimicry's does.
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 128,
        max_width: int = 128,
        halvings: int | None = 2,
        plain_blocks: int = 2,
        attention: int | None = None,
        spectral_norm: bool = True,
        relu_shortcut: bool = False,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, width=width, max_width=max_width)
        _, doublings = split_size(size)
        halvings = doublings if halvings is None else halvings
        if not 1 <= halvings <= doublings + 1 or plain_blocks < 0:
            raise ValueError(f"{halvings=}, {plain_blocks=}: {size} pixels can be halved 1 to {doublings + 1} times")
        widths = doubling_widths(width, halvings + plain_blocks, max_width)
        super().__init__(condition, size, widths[-1])
        sides = [size >> n for n in range(1, halvings + 1)] + [size >> halvings] * plain_blocks
        first = FirstBlock(channels + condition.num_planes, width)
        blocks: list[list[nn.Module]] = [[first, *_attention(attention, sides[0], width)]]
        for before, (side, (narrow, wide)) in zip(sides, zip(sides[1:], pairwise(widths), strict=True), strict=False):
            blocks += [[DownBlock(narrow, wide, side < before, relu_shortcut)]]
            blocks[-1] += _attention(attention, side, wide) if side < before else []
        blocks[-1] += [nn.ReLU()]
        self.layers = CheckpointedBlocks.from_blocks(blocks)
        self.logit = condition.logit(nn.Sequential(_SumOverMap(), _xavier(nn.Linear(widths[-1], 1))))
        _check_attention(attention, sides)
        if spectral_norm:
            add_spectral_norm(self)

    def extract_features(self, images: Tensor) -> Tensor:
        return self.layers(images)


class UpBlock(ConditionalModule):
    """Norm, ReLU, upsampling, convolution, norm, ReLU, convolution; the shortcut is an upsampled 1x1 convolution."""

    def __init__(self, before: int, after: int, upsample: str, condition: GeneratorCondition) -> None:
        super().__init__()
        self.upsampling = UPSAMPLING[upsample]
        self.norm1, self.norm2 = condition.norm(before), condition.norm(after)
        self.conv1 = _xavier(nn.Conv2d(before, after, 3, 1, 1), gain=2**0.5)
        self.conv2 = _xavier(nn.Conv2d(after, after, 3, 1, 1), gain=2**0.5)
        self.shortcut = _xavier(nn.Conv2d(before, after, 1))

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        residual = self.conv1(self.upsample(relu(_normalize(self.norm1, maps, labels))))
        residual = self.conv2(relu(_normalize(self.norm2, residual, labels)))
        return residual + self.upsample(self.shortcut(maps))  # a 1x1 convolution and upsampling commute: this order is cheaper

    def upsample(self, maps: Tensor) -> Tensor:
        return interpolate(maps, scale_factor=2, **self.upsampling)


class DownBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, 2x2 average pooling; the shortcut is a 1x1 convolution if the shape changes."""

    def __init__(self, before: int, after: int, halve: bool, relu_shortcut: bool = False) -> None:
        super().__init__()
        self.relu_shortcut = relu_shortcut
        self.conv1 = _xavier(nn.Conv2d(before, before, 3, 1, 1), gain=2**0.5)
        self.conv2 = _xavier(nn.Conv2d(before, after, 3, 1, 1), gain=2**0.5)
        self.shortcut = _xavier(nn.Conv2d(before, after, 1)) if halve or before != after else nn.Identity()
        self.halve = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        activated = relu(maps)
        residual = self.halve(self.conv2(relu(self.conv1(activated))))
        return residual + self.shortcut(
            self.halve(activated if self.relu_shortcut else maps)
        )  # pooling and a 1x1 convolution commute


class FirstBlock(nn.Module):
    """The :class:`DownBlock` for images, without a ReLU before the first convolution."""

    def __init__(self, channels: int, after: int) -> None:
        super().__init__()
        self.conv1 = _xavier(nn.Conv2d(channels, after, 3, 1, 1), gain=2**0.5)
        self.conv2 = _xavier(nn.Conv2d(after, after, 3, 1, 1), gain=2**0.5)
        self.shortcut = _xavier(nn.Conv2d(channels, after, 1))

    def forward(self, images: Tensor) -> Tensor:
        return avg_pool2d(self.conv2(relu(self.conv1(images))), 2) + self.shortcut(avg_pool2d(images, 2))


class SelfAttention(nn.Module):
    """Self-attention over all positions of a map (Zhang et al. 2019, section 3): ``x + gamma * attention(x)``.

    ``gamma`` is learned and starts at 0. Keys and values are max-pooled to half the side, as in the authors' code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = _xavier(nn.Conv2d(channels, narrow, 1, bias=False))
        self.key = _xavier(nn.Conv2d(channels, narrow, 1, bias=False))
        self.value = _xavier(nn.Conv2d(channels, half, 1, bias=False))
        self.out = _xavier(nn.Conv2d(half, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        query = self.query(maps).flatten(2)
        key, value = (max_pool2d(part(maps), 2).flatten(2) for part in (self.key, self.value))
        scores = to_at_least_float32(query.transpose(1, 2) @ key)  # [N, positions, pooled positions]
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        attended = (value @ weights.transpose(1, 2)).unflatten(2, maps.shape[2:])
        return maps + self.gamma * self.out(attended)


class _SumOverMap(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum((2, 3))


def _attention(attention: int | None, side: int, channels: int) -> list[nn.Module]:
    return [SelfAttention(channels)] if attention == side else []


def _check_attention(attention: int | None, sides: list[int]) -> None:
    if attention is not None and attention not in sides:
        possible = ", ".join(map(str, dict.fromkeys(sides)))
        raise ValueError(f"attention={attention}: the maps of this network are {possible} pixels wide")


def _normalize(norm: nn.Module, maps: Tensor, labels: Tensor | None) -> Tensor:
    return norm(maps, labels) if isinstance(norm, ConditionalModule) else norm(maps)


def _xavier(module: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    nn.init.xavier_uniform_(module.weight, gain)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module
