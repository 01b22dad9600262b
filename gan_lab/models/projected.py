"""The projected discriminator (Sauer et al. 2021, "Projected GANs Converge Faster").

Images pass through a frozen ImageNet network, whose feature maps at four sizes are mixed by random convolutions that are never
trained either. A small discriminator with spectral normalization works on each of the four results. Only these are trained.

With the published values (width 64, all four discriminators) they have 10,331,328 parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.models import base
from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import UNCONDITIONAL_DISCRIMINATOR, DiscriminatorCondition
from gan_lab.models.efficientnet_lite import FrozenConv2d, FrozenEfficientNetLite
from gan_lab.models.layers import BatchNorm, check_positive, doubling_widths, with_spectral_norm
from gan_lab.utils.image_ops import to_rgb

STRIDE = 32
"""Of the frozen network: the coarsest maps have 1/32 of its input's side."""

KERNEL = 4
"""Side of the last convolution of a discriminator, if its map is large enough."""

SCALES = 4


class RandomMixing(nn.Module):
    """Random mixing across channels, then across scales from the coarsest up (section 3.2 and figure 2 of the paper).

    A 1x1 convolution gives each feature map its number of channels. Then, from the coarsest map on, the mixed map is added to
    the next finer one, convolved by another 1x1 and doubled in size. The weights are drawn once, as PyTorch initializes
    convolutions, and belong to the state dict, but are no parameters.

    Args:
        channels: of the feature maps, from fine to coarse.
        width: channels of the finest map after mixing.

    Attributes:
        out_channels: of the mixed maps: ``width`` times 1, 1, 2, 4, ...
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        widths = [width << n for n in range(len(channels))]
        self.out_channels = [width, *widths[:-1]]
        self.across_channels = nn.ModuleList(map(_random_conv, channels, widths))
        self.across_scales = nn.ModuleList(map(_random_conv, widths, self.out_channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Mixed maps, from fine to coarse, each twice as wide as the one it belongs to."""
        mixed: list[Tensor] = []
        for number in reversed(range(len(maps))):
            x = self.across_channels[number](maps[number])
            x = x + mixed[0].to(x.dtype) if mixed else x
            x = self.across_scales[number](x)  # commutes with the interpolation and is cheaper before it
            mixed.insert(0, interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
        return mixed


class ScaleDiscriminator(base.Discriminator):
    """The discriminator on one of the mixed maps: ``[N, channels, side, side]`` to one logit for each patch, ``[N, L]``.

    Args:
        channels: of the maps.
        side: of the maps.
        widths: channels after each of the convolutions that halve the map.
        condition: how labels enter.
    """

    def __init__(self, channels: int, side: int, widths: Sequence[int], condition: DiscriminatorCondition) -> None:
        planes = [channels + condition.num_planes, *widths]
        super().__init__(condition, side, planes[-1])
        self.layers = CheckpointedBlocks.from_blocks([_down_block(before, after) for before, after in pairwise(planes)])
        conv = nn.Conv2d(planes[-1], 1, min(KERNEL, side >> len(widths)), bias=False)
        self.logit = condition.logit(with_spectral_norm(conv))

    def extract_features(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Discriminator(nn.Module):
    """Images ``[N, channels, size, size]`` in [-1, 1] to the logits of all four discriminators, ``[N, L]``.

    The features of the output are those of the four discriminators; the class logits of an auxiliary classifier are their mean.

    Args:
        size: side of the images in pixels.
        channels: of the images, 3 or 1; gray images are repeated to three channels.
        width: channels of the finest mixed map; doubled toward the coarsest.
        network: the frozen network, ``lite0`` as published or ``lite1``.
        resize: side that smaller images are enlarged to, bilinearly; None: they keep their size.
        condition: how labels enter; label planes are added to the mixed maps.

    Raises:
        ValueError: a value is out of range, or the package of the frozen network is not installed.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int = 64,
        network: str = "lite0",
        resize: int | None = 224,
        condition: DiscriminatorCondition = UNCONDITIONAL_DISCRIMINATOR,
    ) -> None:
        super().__init__()
        check_positive(size=size, width=width)
        if channels not in (1, 3):
            raise ValueError(f"channels={channels}: discriminator=projected needs images with 1 or 3 channels")
        self.resize = resize if resize is not None and resize > size else None
        side = self.resize or size
        if side % STRIDE:
            raise ValueError(
                f"resize={resize}: discriminator=projected halves images of {side} pixels five times; set resize to a multiple "
                f"of {STRIDE} above {size}"
            )
        self.backbone = FrozenEfficientNetLite(network, "discriminator=projected")
        self.mixing = RandomMixing(self.backbone.channels, width)
        self.scales = nn.ModuleList(
            ScaleDiscriminator(planes, side >> number + 1, _widths(width, number, side), condition)
            for number, planes in enumerate(self.mixing.out_channels)
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> base.DiscriminatorOutput:
        if self.resize is not None:
            images = interpolate(images, (self.resize, self.resize), mode="bilinear", align_corners=False)
        maps = self.mixing(self.backbone(to_rgb(images)))
        outputs = [scale(mixed, labels) for scale, mixed in zip(self.scales, maps, strict=True)]
        logits = torch.cat([output.logits.view(len(images), -1) for output in outputs], 1)
        features = torch.cat([output.features for output in outputs], 1)
        classes = [output.class_logits for output in outputs if output.class_logits is not None]
        return base.DiscriminatorOutput(logits, features, torch.stack(classes).mean(0) if classes else None)


def _widths(width: int, number: int, side: int) -> list[int]:
    """Channels after each halving in the discriminator of scale ``number``: at most down to a map of 4 pixels.

    For 224 pixels these are 4, 3, 2 and 1 halvings, as published, and always for larger images.
    """
    halvings = (side // (KERNEL << number + 1)).bit_length() - 1
    return doubling_widths(width, SCALES, width << SCALES)[number:][: max(0, halvings)]


def _down_block(before: int, after: int) -> list[nn.Module]:
    return [with_spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), BatchNorm(after), nn.LeakyReLU(0.2, inplace=True)]


def _random_conv(before: int, after: int) -> FrozenConv2d:
    conv = nn.Conv2d(before, after, 1)
    assert conv.bias is not None
    return FrozenConv2d(conv.weight, conv.bias)
