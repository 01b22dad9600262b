"""Base class of super-resolution generators."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gan_lab.models import base
from gan_lab.models.conditioning import GeneratorCondition
from gan_lab.models.layers import check_positive

FACTORS = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""For each scale the factors of the successive upsampling layers."""

INIT_SCALE = 0.1
"""Factor of initial weights, so that residual networks start near the identity (Wang et al. 2018, ESRGAN, section 3.1)."""


class Upscaler(base.Generator):
    """Maps images ``[N, C, h, w]`` of any height and width to ``[N, C, scale * h, scale * w]``, both in about [-1, 1].

    Inside the network values are in [0, 1], as in BasicSR, so that its published weights can be used.

    Args:
        channels: of the images; 1 gray, 3 color.
        scale: 2, 3, 4 or 8.
        width: channels of hidden layers.
        blocks: number of residual blocks.
        condition: must be unconditional.

    Attributes:
        scale: factor of height and width.
        factors: of the successive upsampling layers.
        receptive_radius: distance in input pixels beyond which an input pixel can't affect an output pixel.

    Raises:
        ValueError: another scale, a number below 1, or conditioning.
    """

    receptive_radius: int

    def __init__(self, channels: int, scale: int, width: int, blocks: int, condition: GeneratorCondition) -> None:
        super().__init__(condition)
        if scale not in FACTORS:
            raise ValueError(f"degradation.scale={scale}: must be one of {', '.join(map(str, FACTORS))}")
        if condition.num_classes:
            raise ValueError("conditioning: super-resolution takes an image and no labels; choose conditioning=none")
        check_positive(channels=channels, width=width, blocks=blocks)
        self.scale = scale
        self.factors = FACTORS[scale]

    @abstractmethod
    def upscale(self, low: Tensor) -> Tensor:
        """The high-resolution images for low-resolution ones, both with values in about [0, 1]."""

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.upscale(inputs.add(1).div(2)).mul(2).sub(1)


def scaled_init(layers: Iterable[nn.Conv2d]) -> None:
    """He's normal initialization (He et al. 2015) times :data:`INIT_SCALE`, biases 0."""
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        with torch.no_grad():
            layer.weight.mul_(INIT_SCALE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
