"""Networks whose features a Frechet distance is taken in."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gan_lab.data.images import to_unit


class RandomConvolutions(nn.Module):
    """Features of an untrained convolutional network: no download, any size, grey or colour.

    Untrained features rank generators far better than chance but know nothing of objects (Naeem et al. 2020, section 4, use
    random VGG embeddings in the same role). The score is therefore named ``fd_random`` and is only comparable with itself.

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
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval().requires_grad_(False)
        self.num_features = 4 * widths[-1]
        self.description = f"random convolutions, width {width}, seed {seed}"

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images ``[N, C, H, W]`` to float32 features ``[N, num_features]``."""
        return self.layers(to_unit(images))
