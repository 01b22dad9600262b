"""ESRGAN's generator (Wang et al. 2018): residual-in-residual blocks of densely connected convolutions.

With 3 channels, scale 4, width 64, growth 32 and 23 blocks: 16,697,987 parameters, as in BasicSR's ``RRDBNet``, with its
parameter names. At scale 2 BasicSR applies pixel unshuffle to the input; here the network upsamples once instead of twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.conditioning import UNCONDITIONAL_GENERATOR, GeneratorCondition
from gan_lab.models.layers import check_positive
from gan_lab.models.upscaler import Upscaler, scaled_init

SLOPE = 0.2
"""Negative slope of the leaky ReLU."""

RESIDUAL_SCALE = 0.2
"""Factor of each residual before it is added to the input (section 3.1)."""


class RRDBNet(Upscaler):
    """RRDBNet: residual-in-residual dense blocks, then nearest upsampling with convolutions.

    Args:
        growth: channels that each dense convolution adds.
        channels, scale, width, blocks, condition: those of :class:`Upscaler`.
    """

    def __init__(
        self,
        channels: int,
        scale: int,
        width: int = 64,
        blocks: int = 23,
        growth: int = 32,
        condition: GeneratorCondition = UNCONDITIONAL_GENERATOR,
    ) -> None:
        super().__init__(channels, scale, width, blocks, condition)
        check_positive(growth=growth)
        self.receptive_radius = 15 * blocks + 5
        self.conv_first = nn.Conv2d(channels, width, 3, 1, 1)
        self.body = CheckpointedBlocks.from_blocks([[RRDB(width, growth)] for _ in range(blocks)])
        self.conv_body = nn.Conv2d(width, width, 3, 1, 1)
        self._ups = [f"conv_up{n + 1}" for n in range(len(self.factors))]
        for name in self._ups:
            self.add_module(name, nn.Conv2d(width, width, 3, 1, 1))
        self.conv_hr = nn.Conv2d(width, width, 3, 1, 1)
        self.conv_last = nn.Conv2d(width, channels, 3, 1, 1)

    def upscale(self, low: Tensor) -> Tensor:
        first = self.conv_first(low)
        maps = first + self.conv_body(self.body(first))
        for name, factor in zip(self._ups, self.factors, strict=True):
            maps = leaky_relu(self.get_submodule(name)(interpolate(maps, scale_factor=factor, mode="nearest")), SLOPE)
        return self.conv_last(leaky_relu(self.conv_hr(maps), SLOPE))


class RRDB(nn.Module):
    """Residual-in-residual dense block: three dense blocks, plus the input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(width, growth)
        self.rdb2 = DenseBlock(width, growth)
        self.rdb3 = DenseBlock(width, growth)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(maps)))


class DenseBlock(nn.Module):
    """Five convolutions, each on the block's input and all previous outputs; the last output is added to the input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for n in range(1, 6):
            self.add_module(f"conv{n}", nn.Conv2d(width + (n - 1) * growth, growth if n < 5 else width, 3, 1, 1))
        scaled_init(module for module in self.children() if isinstance(module, nn.Conv2d))

    def forward(self, maps: Tensor) -> Tensor:
        inputs = [maps]
        for n in range(1, 5):
            inputs.append(leaky_relu(self.get_submodule(f"conv{n}")(torch.cat(inputs, 1)), SLOPE))
        return maps + RESIDUAL_SCALE * self.get_submodule("conv5")(torch.cat(inputs, 1))
