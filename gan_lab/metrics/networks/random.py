"""Features of an untrained network."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gan_lab.metrics.networks.base import FeatureDomain, FeatureNetwork, FeatureSource, NetworkOutput, fingerprint
from gan_lab.utils.image_ops import normalize


class RandomConvolutions(FeatureNetwork):
    """Untrained convolutions: no download, any size, grey or colour.

    Untrained features rank generators far better than chance but know nothing of objects (Naeem et al. 2020, section 4, use
    random VGG embeddings in the same role), and reward blur.

    Args:
        channels: of the images.
        width: of the first of three stride-2 layers; the width doubles.
        seed: of the He-initialised weights, which are the same on every machine.
    """

    name = "random"

    def __init__(self, channels: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        widths = [channels, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            conv = skip_init(nn.Conv2d, narrow, wide, 4, 2, 1)  # its own would draw from the global generator
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
    """:class:`RandomConvolutions`, for any images."""

    def __init__(self, width: int, seed: int) -> None:
        self._width, self._seed = width, seed

    def is_available(self, domain: FeatureDomain) -> bool:
        return True

    def load(self, domain: FeatureDomain) -> RandomConvolutions:
        return RandomConvolutions(domain.channels, self._width, self._seed)
