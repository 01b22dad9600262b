"""SRGAN (Ledig et al. 2017): residual super-resolution generators, and discriminators for any super-resolution model.

With 3 channels, scale 4, width 64 and 16 blocks: 1,517,571 parameters without batch normalization (BasicSR's ``MSRResNet``,
with its parameter names) and 1,549,462 with batch normalization, as published.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import (
    UNCONDITIONAL_DISCRIMINATOR,
    UNCONDITIONAL_GENERATOR,
    DiscriminatorCondition,
    GeneratorCondition,
)
from gan_lab.models.layers import add_spectral_norm, check_positive, make_norm, split_size, to_at_least_float32
from gan_lab.models.upscaler import Upscaler, scaled_init

SLOPE = 0.1
"""Negative slope of MSRResNet's leaky ReLU."""


class MSRResNet(Upscaler):
    """MSRResNet (Wang et al. 2018): residual blocks without normalization, then sub-pixel convolutions.

    The output is added to the bilinearly upsampled input. Arguments are those of :class:`Upscaler`.
    """

    def __init__(
        self,
        channels: int,
        scale: int,
        width: int = 64,
        blocks: int = 16,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(channels, scale, width, blocks, condition)
        self.receptive_radius = 2 * blocks + 4  # one pixel per convolution before the upsampling, less after it
        self.conv_first = nn.Conv2d(channels, width, 3, 1, 1)
        self.body = CheckpointedBlocks.from_blocks([[ResidualBlock(width)] for _ in range(blocks)])
        self._upconvs = [f"upconv{n + 1}" for n in range(len(self.factors))]
        for name, factor in zip(self._upconvs, self.factors, strict=True):
            self.add_module(name, nn.Conv2d(width, width * factor**2, 3, 1, 1))
        self.conv_hr = nn.Conv2d(width, width, 3, 1, 1)
        self.conv_last = nn.Conv2d(width, channels, 3, 1, 1)
        scaled_init(module for module in self.modules() if isinstance(module, nn.Conv2d))

    def upscale(self, low: Tensor) -> Tensor:
        maps = self.body(leaky_relu(self.conv_first(low), SLOPE))
        for name, factor in zip(self._upconvs, self.factors, strict=True):
            maps = leaky_relu(pixel_shuffle(self.get_submodule(name)(maps), factor), SLOPE)
        detail = self.conv_last(leaky_relu(self.conv_hr(maps), SLOPE))
        return detail + interpolate(low, scale_factor=self.scale, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.conv2(self.conv1(maps).relu_())


class SRResNet(Upscaler):
    """SRResNet as published (Ledig et al. 2017, figure 4): batch normalization, PReLU, 9x9 first and last convolution.

    Arguments are those of :class:`Upscaler`.
    """

    def __init__(
        self,
        channels: int,
        scale: int,
        width: int = 64,
        blocks: int = 16,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(channels, scale, width, blocks, condition)
        self.receptive_radius = 2 * blocks + 11
        self.first = nn.Sequential(nn.Conv2d(channels, width, 9, 1, 4), nn.PReLU())
        self.body = CheckpointedBlocks.from_blocks([[BatchNormResidualBlock(width)] for _ in range(blocks)])
        self.middle = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), make_norm("batch", width))
        ups = [
            layer
            for factor in self.factors
            for layer in (nn.Conv2d(width, width * factor**2, 3, 1, 1), nn.PixelShuffle(factor), nn.PReLU())
        ]
        self.last = nn.Sequential(*ups, nn.Conv2d(width, channels, 9, 1, 4))

    def upscale(self, low: Tensor) -> Tensor:
        first = self.first(low)
        return self.last(first + self.middle(self.body(first)))


class BatchNormResidualBlock(nn.Module):
    """Convolution, batch norm, PReLU, convolution, batch norm, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1),
            make_norm("batch", width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            make_norm("batch", width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.layers(maps)


class VGGStyleDiscriminator(base.Discriminator):
    """Two convolutions at each size, the second of which halves it, then two dense layers.

    At 128 pixels, 3 channels and width 64, the layers of BasicSR's ``VGGStyleDiscriminator``: 14,499,401 parameters.

    Args:
        size: side of the images, ``base * 2**n`` with base 4 to 7, 16 to 256 pixels.
        channels: of the images; 1 gray, 3 color.
        width: channels at the first size; they double with each halving, up to ``8 * width``.
        norm: ``batch`` as published; ``layer``, ``instance`` or ``none``.
        spectral_norm: whether every layer is spectrally normalized.
        unit_range: whether images are mapped to [0, 1] first, as BasicSR's published weights expect.
        condition: how labels enter.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 64,
        norm: str = "batch",
        spectral_norm: bool = False,
        unit_range: bool = False,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, width=width)
        smallest, halvings = split_size(size, key="degradation.patch")
        widths = [width, *(min(width << n, 8 * width) for n in range(halvings))]
        super().__init__(condition, size, 100)
        self.unit_range = unit_range
        planes = channels + condition.num_planes
        blocks: list[list[nn.Module]] = [[nn.Conv2d(planes, width, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True)]]
        for number, (narrow, wide) in enumerate(pairwise(widths)):
            if number:
                blocks += [_conv_norm_act(nn.Conv2d(narrow, wide, 3, 1, 1, bias=False), norm, wide)]
            blocks += [_conv_norm_act(nn.Conv2d(wide, wide, 4, 2, 1, bias=False), norm, wide)]
        dense = nn.Linear(widths[-1] * smallest**2, 100)
        self.layers = CheckpointedBlocks.from_blocks(
            [blocks[0] + blocks[1], *blocks[2:], [nn.Flatten(), dense, nn.LeakyReLU(0.2)]]
        )
        self.logit = nn.Linear(100, 1)
        if spectral_norm:
            add_spectral_norm(self)

    def extract_features(self, images: Tensor) -> Tensor:
        return self.layers(_to_unit_range(images) if self.unit_range else images)


def _to_unit_range(images: Tensor) -> Tensor:
    """Images in [-1, 1] as images in [0, 1]."""
    return images.add(1).div(2)


def _conv_norm_act(convolution: nn.Conv2d, norm: str, channels: int) -> list[nn.Module]:
    return [convolution, make_norm(norm, channels), nn.LeakyReLU(0.2, inplace=True)]


class UNetDiscriminatorSN(base.Discriminator):
    """A spectrally normalized U-Net with a logit for each pixel (Schonfeld et al. 2020; as in Real-ESRGAN, Wang et al. 2021).

    At width 64 and 3 channels, the layers of BasicSR's ``UNetDiscriminatorSN``: 4,376,897 parameters. Logits are ``[N, H, W]``.

    Args:
        size: side of the images in pixels, a multiple of 8.
        channels, width, unit_range, condition: as for :class:`VGGStyleDiscriminator`.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 64,
        unit_range: bool = False,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        check_positive(channels=channels, width=width)
        if size % 8:
            raise ValueError(f"degradation.patch={size}: a U-Net halves images three times; it must be a multiple of 8")
        super().__init__(condition, size, width)
        self.unit_range = unit_range
        self.first = nn.Conv2d(channels + condition.num_planes, width, 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(width << n, width << n + 1, 4, 2, 1, bias=False) for n in range(3))
        self.up = nn.ModuleList(nn.Conv2d(width << n + 1, width << n, 3, 1, 1, bias=False) for n in (2, 1, 0))
        self.last = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(2))
        for layers in (self.down, self.up, self.last):
            add_spectral_norm(layers)
        self.logit = nn.Conv2d(width, 1, 3, 1, 1)

    def extract_features(self, images: Tensor) -> Tensor:
        maps = leaky_relu(self.first(_to_unit_range(images) if self.unit_range else images), 0.2)
        skips = []
        for layer in self.down:
            skips.append(maps)
            maps = leaky_relu(layer(maps), 0.2)
        for layer in self.up:
            maps = interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
            maps = leaky_relu(layer(maps), 0.2) + skips.pop()
        for layer in self.last:
            maps = leaky_relu(layer(maps), 0.2)
        return maps

    def forward(self, images: Tensor, labels: Tensor | None = None) -> base.DiscriminatorOutput:
        maps = self.extract_features(self.join(images, labels))
        return base.DiscriminatorOutput(to_at_least_float32(self.logit(maps)).squeeze(1), maps.flatten(1))
