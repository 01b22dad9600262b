"""The shape of a generator that makes small pictures large."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gan_lab.models import base
from gan_lab.models.conditioning import GeneratorCondition

FACTORS = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""In what steps a picture is made larger."""

INIT_SCALE = 0.1
"""Of initial weights: residual networks begin near the identity (Wang et al. 2018, ESRGAN, section 3.1)."""


class Upscaler(base.Generator):
    """Pictures ``[N, C, h, w]``, of any height and width, to ``[N, C, scale h, scale w]``, both in about [-1, 1].

    Inside, values are in [0, 1], as in the authors' code, whose weights so keep their meaning.

    Args:
        scale: 2, 3, 4 or 8.
        condition: none; the picture is the condition.

    Attributes:
        scale: how many times.
        reach: pixels around one of the small picture that it depends on, at most.

    Raises:
        ValueError: another scale, or a conditioning.
    """

    receptive_radius: int

    def __init__(self, scale: int, condition: GeneratorCondition) -> None:
        super().__init__(condition)
        if scale not in FACTORS:
            raise ValueError(f"degradation.scale={scale}: must be one of {', '.join(map(str, FACTORS))}")
        if condition.num_classes:
            raise ValueError(
                "conditioning: super-resolution is given the picture itself and no label; choose conditioning=none"
            )
        self.scale = scale

    @abstractmethod
    def upscale(self, low: Tensor) -> Tensor:
        """The same with values in about [0, 1]."""

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.upscale(inputs.add(1).div(2)).mul(2).sub(1)


def scaled_init(layers: Iterable[nn.Conv2d]) -> None:
    """He's normal initialisation (He et al. 2015) times :data:`INIT_SCALE`, biases 0."""
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        with torch.no_grad():
            layer.weight.mul_(INIT_SCALE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
