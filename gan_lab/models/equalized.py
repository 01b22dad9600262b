"""Layers of ProGAN and StyleGAN2: equalized learning rate, pixel norm, minibatch standard deviation (Karras et al. 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from gan_lab.models.layers import BatchDependent, to_at_least_float32


class EqualizedConv2d(nn.Module):
    """A convolution with equalized learning rate (Karras et al. 2018, section 4.1).

    Weights start as N(0, 1) and are scaled at run time by gain / sqrt(fan in); biases start at 0 and are not scaled.

    Args:
        before, after: number of input and output channels.
        kernel: side of the kernel, an odd number; with a stride of 1 the output has the size of the input.
        gain: factor of the weights.
        bias: whether there is one.
        stride: above 1 there is no padding.
    """

    def __init__(
        self, before: int, after: int, kernel: int, gain: float = math.sqrt(2), bias: bool = True, stride: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.scale = gain / math.sqrt(before * kernel**2)
        self.stride, self.padding = stride, kernel // 2 if stride == 1 else 0

    def forward(self, maps: Tensor) -> Tensor:
        weight, bias = (self.weight * self.scale).to(maps.dtype), None if self.bias is None else self.bias.to(maps.dtype)
        return conv2d(maps, weight, bias, self.stride, self.padding)


class EqualizedLinear(nn.Module):
    """A dense layer with equalized learning rate, see :class:`EqualizedConv2d`.

    Args:
        before, after: number of input and output features.
        gain: factor of the weights.
        lr_multiplier: factor of weights and biases at run time. Weights start that much larger, so that under Adam only their
            learning rate changes (Karras et al. 2019, appendix C).
        bias: initial value of the biases.
    """

    def __init__(
        self, before: int, after: int, gain: float = math.sqrt(2), lr_multiplier: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((after,), bias))
        self.scale = gain * lr_multiplier / math.sqrt(before)
        self.lr_multiplier = lr_multiplier

    def forward(self, features: Tensor) -> Tensor:
        bias = self.bias if self.lr_multiplier == 1 else self.bias * self.lr_multiplier
        return linear(features, self.weight * self.scale, bias)


class PixelNorm(nn.Module):
    """Divides the feature vector of each pixel by its root mean square (section 4.2), computed in float32."""

    def forward(self, maps: Tensor) -> Tensor:
        wide = to_at_least_float32(maps)
        return (wide * (wide.square().mean(1, keepdim=True) + 1e-8).rsqrt()).to(maps.dtype)


class MinibatchStdDev(BatchDependent, nn.Module):
    """Adds feature maps: the standard deviation over a group of images, averaged over channels and pixels (section 3).

    With M groups in a batch, a group consists of every M-th image. A batch that ``group`` doesn't divide has smaller groups.

    Args:
        group: images in a group.
        features: number of added maps, each the average over its share of the channels; must divide their number.
    """

    def __init__(self, group: int, features: int = 1) -> None:
        super().__init__()
        self.group = group
        self.features = features

    def forward(self, maps: Tensor) -> Tensor:
        count = len(maps)
        group = next(n for n in range(min(self.group, count), 0, -1) if count % n == 0)
        variance = to_at_least_float32(maps).unflatten(0, (group, -1)).var(0, unbiased=False)
        deviation = (variance + 1e-8).sqrt().unflatten(1, (self.features, -1)).mean((2, 3, 4)).repeat(group, 1)
        return torch.cat([maps, deviation.to(maps.dtype)[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)
