"""Features of an untrained convolutional network."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gan_lab.metrics.networks.base import FeatureDomain, FeatureNetwork, FeatureSource, NetworkOutput, fingerprint
from gan_lab.utils.image_ops import normalize

MIN_SIZE = 8
"""Smallest height and width of images in pixels: they are halved three times."""


class RandomConvolutions(FeatureNetwork):
    """Three untrained stride-2 convolutions; for gray or color images from 8 pixels on, without a download.

    Distances in random features order generators far better than chance, but ignore semantics and reward blur. Naeem et al.
    (2020, section 4) use an untrained VGG in the same way.

    Args:
        channels: of the images.
        width: channels of the first layer, doubled in each further one; there are ``16 * width`` features.
        seed: of the He-initialized weights, which are the same on every machine.
    """

    name = "random"

    def __init__(self, channels: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        widths = [channels, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            conv = skip_init(nn.Conv2d, narrow, wide, 4, 2, 1)  # default initialization would use the global generator
            with torch.no_grad():
                conv.weight.normal_(0.0, math.sqrt(2.0 / (narrow * 16)), generator=generator)
                conv.bias.normal_(0.0, 0.1, generator=generator)
            layers += [conv, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.eval().requires_grad_(False)
        self.num_features = 4 * widths[-1]
        self.description = f"untrained convolutions, width {width}, seed {seed}, images as they are"
        self.fingerprint = fingerprint(self)

    def preprocess(self, images: Tensor) -> Tensor:
        return normalize(images)

    def extract(self, values: Tensor) -> NetworkOutput:
        return NetworkOutput(self.layers(values), None)


class RandomFeatures(FeatureSource):
    """Source of :class:`RandomConvolutions`, for all images that are large enough; the arguments are those of the network."""

    def __init__(self, width: int, seed: int) -> None:
        self._width, self._seed = width, seed

    def is_available(self, domain: FeatureDomain) -> bool:
        return domain.size >= MIN_SIZE

    def load(self, domain: FeatureDomain) -> RandomConvolutions:
        if not self.is_available(domain):
            raise ValueError(
                f"evaluation.features=random needs images of at least {MIN_SIZE} pixels a side, not {domain.size}; "
                "evaluation.features=imagenet and inception enlarge them"
            )
        return RandomConvolutions(domain.channels, self._width, self._seed)
