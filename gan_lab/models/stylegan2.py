"""StyleGAN2 and StyleGAN2-ADA (Karras et al. 2020, both), after the authors' ``stylegan2-ada-pytorch``.

Trainable parameters with 3 channels, as in the authors' code: at 256x256 (config F) 30,034,338 in the generator and 28,864,129
in the discriminator; at 1024x1024 30,370,060 and 29,012,513.
"""

from __future__ import annotations

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
from gan_lab.models.equalized import EqualizedLinear, MinibatchStdDev
from gan_lab.models.layers import check_positive, split_size
from gan_lab.models.resampling import Upsample2x
from gan_lab.models.stylegan2_layers import (
    ConvLayer,
    DiscriminatorBlock,
    MappedProjection,
    MappingNetwork,
    StyledLayer,
    ToImage,
    activate,
    to_layer_type,
)

MAX_SIZE = 1024
"""Largest side of an image in pixels, as in the paper."""


class Generator(base.Generator):
    """Latents ``[N, latent_size]`` to images ``[N, channels, size, size]`` in about [-1, 1]: no tanh.

    Latents of :class:`gan_lab.models.latents.MixedLatents` give images with mixed styles. Styles are ``[N, L, style_size]``,
    one for each of the L layers; images are the sum of those of all resolutions.

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 8 to 1024 pixels.
        channels: of the images; 1 gray, 3 color.
        width: upper bound of a layer's channels.
        channel_base: a layer at resolution s has ``channel_base / s`` channels, but at most ``width``.
        latent_size: length of a latent vector.
        style_size: length of a style vector.
        mapping_layers: number of dense layers from latents to styles.
        average_beta: decay of the average of styles, which truncation moves styles toward.
        half_precision_resolutions: number of resolutions, from the highest, in float16; needs ``clamp``.
        clamp: bound of the activations' absolute values, applied if any resolution is in float16.
        condition: how labels enter; always through an embedding in the mapping network.

    Raises:
        ValueError: no such size, or a number is out of range.
    """

    embeds_labels = True
    truncates_styles = True
    style_average: Tensor

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 512,
        channel_base: int = 32768,
        latent_size: int = 512,
        style_size: int = 512,
        mapping_layers: int = 8,
        average_beta: float = 0.995,
        half_precision_resolutions: int = 0,
        clamp: float = 256.0,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(UNCONDITIONAL_GENERATOR)  # the mapping network takes the place of the condition's parts
        check_positive(channels=channels, latent_size=latent_size, style_size=style_size, mapping_layers=mapping_layers)
        sides, widths = _resolutions(size, width, channel_base)
        self.mapping = MappingNetwork(latent_size, condition.num_labels, style_size, mapping_layers)
        self.register_buffer("style_average", torch.zeros(style_size))
        self.latent_size, self.average_beta = latent_size, average_beta
        self.num_styles = 2 * len(sides)
        self.const = nn.Parameter(torch.randn(widths[0], sides[0], sides[0]))
        limit, float16 = _float16(len(sides), half_precision_resolutions, clamp)
        styled = partial(StyledLayer, style_size=style_size, clamp=limit)
        blocks = [[styled(widths[0], widths[0], side=sides[0], index=0)]]
        for n, (before, after) in enumerate(pairwise(widths), 1):
            layer = partial(styled, side=sides[n], float16=float16[n])
            blocks += [[layer(before, after, index=2 * n - 1, up=True), layer(after, after, index=2 * n)]]
        self.blocks = nn.ModuleList(CheckpointedBlocks(*block) for block in blocks)
        to_image = partial(ToImage, channels=channels, style_size=style_size, clamp=limit)
        self.to_images = nn.ModuleList(to_image(maps, index=2 * n + 1, float16=float16[n]) for n, maps in enumerate(widths))
        self.upsample = Upsample2x()

    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        latents, labels = base.to_param_dtype(self, latents), base.to_param_dtype(self, labels)
        with torch.autocast(latents.device.type, enabled=False):
            if latents.shape[1] == self.latent_size:
                style = self._map(latents, labels)
                return style[:, None].expand(-1, self.num_styles, -1)
            first, second, crossover = latents.split([self.latent_size, self.latent_size, 1], 1)
            style, other = self._map(torch.cat([first, second]), None if labels is None else labels.repeat(2, 1), 2).chunk(2)
            layers = torch.arange(self.num_styles, device=latents.device)
            own = layers < 1 + (crossover * (self.num_styles - 1)).floor()  # [N, L]; all layers where crossover is 1
            return torch.where(own[:, :, None], style[:, None], other[:, None])

    def _map(self, latents: Tensor, labels: Tensor | None, parts: int = 1) -> Tensor:
        """Styles ``[N, style_size]``; in training mode the first of ``parts`` updates their average."""
        style = self.mapping(latents, labels)
        if self.training:
            self.style_average.lerp_(style.detach().chunk(parts)[0].mean(0), 1 - self.average_beta)
        return style

    def render(self, styles: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.synthesize(styles, labels)

    def truncate(self, styles: Tensor, psi: float | Tensor) -> Tensor:
        return self.style_average.lerp(styles, psi)

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        maps = self.const.expand(inputs.shape[0], -1, -1, -1)
        images: Tensor | None = None
        for block, to_image in zip(self.blocks, self.to_images, strict=True):
            maps = block(maps, inputs)
            added = to_image(maps, inputs)
            images = added if images is None else self._enlarge(images) + added
        assert images is not None
        return images

    def _enlarge(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return self.upsample(images)


class Discriminator(base.Discriminator):
    """Images ``[N, channels, size, size]`` to logits ``[N]``.

    Args:
        size, channels, width, channel_base, half_precision_resolutions, clamp: as the generator's.
        residual: whether the blocks are residual; False is the "orig" architecture of the authors' CIFAR-10 configuration.
        group: number of images that each minibatch standard deviation is computed over.
        deviation_features: number of maps with minibatch standard deviations.
        mapping_layers: of the labels' embedding in a projection.
        condition: how labels enter.

    Raises:
        ValueError: no such size, or a number is out of range.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 512,
        channel_base: int = 32768,
        residual: bool = True,
        group: int = 4,
        deviation_features: int = 1,
        mapping_layers: int = 8,
        half_precision_resolutions: int = 0,
        clamp: float = 256.0,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, group=group, deviation_features=deviation_features, mapping_layers=mapping_layers)
        sides, widths = _resolutions(size, width, channel_base)
        if widths[0] % deviation_features:
            raise ValueError(f"{deviation_features=}: must divide the {widths[0]} channels of the smallest map")
        super().__init__(condition, size, widths[0])
        limit, float16 = _float16(len(sides), half_precision_resolutions, clamp)
        blocks: list[list[nn.Module]] = [
            [ConvLayer(channels + condition.num_planes, widths[-1], 1, float16=float16[-1], clamp=limit)]
        ]
        for n in reversed(range(1, len(sides))):
            blocks += [[DiscriminatorBlock(widths[n], widths[n - 1], residual, float16[n], limit)]]
        self.blocks = CheckpointedBlocks.from_blocks(blocks)
        self.end = CheckpointedBlocks(
            MinibatchStdDev(group, deviation_features),
            ConvLayer(widths[0] + deviation_features, widths[0], 3, clamp=limit),
            nn.Flatten(),
            EqualizedLinear(widths[0] * sides[0] ** 2, widths[0], gain=1.0),
            _Activation(),
        )
        self.logit = condition.logit(EqualizedLinear(widths[0], 1, gain=1.0))
        if isinstance(condition, Projection):
            self.head = MappedProjection(condition.num_classes, widths[0], mapping_layers)

    def extract_features(self, images: Tensor) -> Tensor:
        return self.end(to_layer_type(self.blocks(images), float16=False))


class _Activation(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return activate(features)


def _resolutions(size: int, width: int, channel_base: int) -> tuple[list[int], list[int]]:
    """The resolutions from the smallest map to ``size``, and the channels at each."""
    check_positive(width=width, channel_base=channel_base)
    smallest, doublings = split_size(size, MAX_SIZE, min_doublings=1)
    sides = [smallest << n for n in range(doublings + 1)]
    return sides, [max(1, min(channel_base // side, width)) for side in sides]


def _float16(count: int, resolutions: int, clamp: float) -> tuple[float | None, list[bool]]:
    """The bound of activations, and which resolutions of ``count`` are in float16: never the lowest, like the authors'."""
    if resolutions < 0 or clamp <= 0:
        raise ValueError(f"half_precision_resolutions={resolutions}, {clamp=}: must be at least 0, and positive")
    return (clamp if resolutions else None), [n > 0 and count - n <= resolutions for n in range(count)]
