"""Layers of StyleGAN2 (Karras et al. 2020): mapping network, modulated convolutions, and their counterparts without styles.

Number format: the mapping network, styles and demodulation are computed in float32, as in the authors' code. Convolutions have
the type of autocast if a precision sets one. Without autocast, layers built with ``float16=True`` compute in float16, if the
parameters are float32; their outputs are clamped instead of their gradients scaled.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

from gan_lab.models.conditioning import ConditionalModule, require_labels
from gan_lab.models.equalized import EqualizedConv2d, EqualizedLinear, PixelNorm
from gan_lab.models.resampling import Blur, Downsample2x

HALF_GAIN = math.sqrt(0.5)
"""Factor of both summands of a residual block, which keeps the variance of their sum."""


def to_layer_type(maps: Tensor, float16: bool) -> Tensor:
    """``maps`` in the type that a layer computes in; see the module's docstring."""
    device = maps.device.type
    if maps.dtype == torch.float64:
        return maps
    if torch.is_autocast_enabled(device):
        return maps.to(torch.get_autocast_dtype(device))
    return maps.to(torch.float16 if float16 else torch.float32)


def activate(maps: Tensor, clamp: float | None = None, gain: float = 1.0) -> Tensor:
    """Leaky ReLU times ``gain * sqrt(2)``, within ``+-gain * clamp``."""
    maps = leaky_relu(maps, 0.2) * (gain * math.sqrt(2))
    return maps if clamp is None else maps.clamp(-gain * clamp, gain * clamp)


class MappingNetwork(nn.Module):
    """Latents ``[N, latent_size]``, labels ``[N, num_labels]`` or both to styles ``[N, style_size]`` (Karras et al. 2019).

    Latents and the embedding of the labels are divided by their root mean square and concatenated.

    Args:
        latent_size: 0 for labels alone.
        num_labels: 0 for latents alone.
        style_size: width of all layers and of the embedding.
        layers: number of dense layers.
        lr_multiplier: factor of their learning rate.
    """

    def __init__(self, latent_size: int, num_labels: int, style_size: int, layers: int, lr_multiplier: float = 0.01) -> None:
        super().__init__()
        self.normalize = PixelNorm()
        self.embed = EqualizedLinear(num_labels, style_size, gain=1.0) if num_labels else None
        inputs = latent_size + (style_size if num_labels else 0)
        widths = [inputs, *[style_size] * (layers - 1)]
        self.layers = nn.ModuleList(EqualizedLinear(width, style_size, 1.0, lr_multiplier) for width in widths)

    def forward(self, latents: Tensor | None, labels: Tensor | None) -> Tensor:
        parts = [] if latents is None else [self.normalize(latents)]
        if self.embed is not None:
            parts.append(self.normalize(self.embed(require_labels(labels, self.embed.weight.shape[1]))))
        features = torch.cat(parts, 1)
        for layer in self.layers:
            features = activate(layer(features))
        return features


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by each image's style (section 2.2).

    The maps are scaled before and after the convolution, which equals scaling the weights. A grouped convolution with a kernel
    for each image took 1.1 to 2.0 times as long, forward and backward, with 64 to 256 channels on a CPU.

    Args:
        before, after: number of input and output channels.
        kernel: side of the kernel.
        style_size: length of a style vector.
        demodulate: whether each image's kernel is normalized to unit norm for each output channel.
        up: whether the output is twice as large; convolution first, then the low-pass filter.
    """

    def __init__(
        self, before: int, after: int, kernel: int, style_size: int, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_size, before, gain=1.0, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.gain = 1.0 if demodulate else 1.0 / math.sqrt(before * kernel**2)
        self.demodulate = demodulate
        self.blur = Blur(padding=1, gain=4.0) if up else None

    def forward(self, maps: Tensor, style: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps of ``maps [N, before, H, W]`` and ``style [N, style_size]``, and factors ``[N, after, 1, 1]`` still to apply."""
        weight, scales, factors = self.modulation(style, maps.dtype == torch.float16)
        maps, weight = maps * scales.to(maps.dtype)[:, :, None, None], weight.to(maps.dtype)
        if self.blur is None:
            maps = conv2d(maps, weight, padding=weight.shape[-1] // 2)
        else:
            maps = self.blur(conv_transpose2d(maps, weight.transpose(0, 1), stride=2))
        return maps, None if factors is None else factors.to(maps.dtype)[:, :, None, None]

    def modulation(self, style: Tensor, limit: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weights, the scales ``[N, before]`` of the input, and the factors ``[N, after]`` of the output, in float32.

        Args:
            style: ``[N, style_size]``.
            limit: first divide weights and scales by their maxima, which cancels out and stays within float16's range.
        """
        with torch.autocast(style.device.type, enabled=False):
            weight: Tensor = self.weight
            scales = self.affine(style) * self.gain
            if not self.demodulate:
                return weight, scales, None
            if limit:
                weight = weight / (weight.abs().amax((1, 2, 3), keepdim=True) * math.sqrt(weight[0].numel()))
                scales = scales / scales.abs().amax(1, keepdim=True)
            return weight, scales, (scales.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()


class StyledLayer(ConditionalModule):
    """A modulated 3x3 convolution, noise, bias and activation: ``forward(maps, styles)``.

    Noise of learned strength is drawn anew in training mode; in evaluation mode it is a constant of the layer, so that an image
    depends on its latents alone.

    Args:
        before, after, style_size, up: as of :class:`ModulatedConv2d`.
        side: of the output in pixels.
        index: number of the layer's style.
        float16, clamp: see the module's docstring.
    """

    noise: Tensor

    def __init__(
        self,
        before: int,
        after: int,
        style_size: int,
        side: int,
        index: int,
        up: bool = False,
        float16: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(before, after, 3, style_size, up=up)
        self.register_buffer("noise", torch.randn(side, side))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after))
        self.index, self.float16, self.clamp = index, float16, clamp

    def forward(self, maps: Tensor, styles: Tensor | None) -> Tensor:
        assert styles is not None
        maps, factors = self.conv(to_layer_type(maps, self.float16), styles[:, self.index])
        assert factors is not None
        noise = torch.randn(len(maps), 1, *self.noise.shape, device=maps.device) if self.training else self.noise
        noise = (noise * self.noise_strength).to(maps.dtype)
        return activate(torch.addcmul(noise, maps, factors) + self.bias.to(maps.dtype)[:, None, None], self.clamp)


class ToImage(nn.Module):
    """A modulated 1x1 convolution to the images' channels, without demodulation and activation; the result is float32."""

    def __init__(
        self, before: int, channels: int, style_size: int, index: int, float16: bool = False, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(before, channels, 1, style_size, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.index, self.float16, self.clamp = index, float16, clamp

    def forward(self, maps: Tensor, styles: Tensor) -> Tensor:
        maps, _ = self.conv(to_layer_type(maps, self.float16), styles[:, self.index])
        images = maps + self.bias.to(maps.dtype)[:, None, None]
        images = images if self.clamp is None else images.clamp(-self.clamp, self.clamp)
        return images.to(torch.promote_types(images.dtype, torch.float32))


class ConvLayer(nn.Module):
    """A convolution and activation of the discriminator; with ``down`` the output has half the size.

    Args:
        before, after, kernel: of the convolution.
        down: low-pass filter first, then a convolution with stride 2.
        gain: of the activation.
        float16, clamp: see the module's docstring.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        down: bool = False,
        gain: float = 1.0,
        float16: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.blur = Blur(padding=2) if down else nn.Identity()
        self.conv = EqualizedConv2d(before, after, kernel, gain=1.0, stride=2 if down else 1)
        self.gain, self.float16, self.clamp = gain, float16, clamp

    def forward(self, maps: Tensor) -> Tensor:
        return activate(self.conv(self.blur(to_layer_type(maps, self.float16))), self.clamp, self.gain)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second to half the size; with ``residual`` plus the filtered input through a 1x1 convolution."""

    def __init__(self, before: int, after: int, residual: bool, float16: bool, clamp: float | None) -> None:
        super().__init__()
        gain = HALF_GAIN if residual else 1.0
        self.conv1 = ConvLayer(before, before, 3, float16=float16, clamp=clamp)
        self.conv2 = ConvLayer(before, after, 3, True, gain, float16, clamp)
        self.float16 = float16
        self.shortcut = None
        if residual:
            self.shortcut = nn.Sequential(Downsample2x(), EqualizedConv2d(before, after, 1, gain=HALF_GAIN, bias=False))

    def forward(self, maps: Tensor) -> Tensor:
        maps = to_layer_type(maps, self.float16)
        after = self.conv2(self.conv1(maps))
        return after if self.shortcut is None else after + self.shortcut(maps)


class MappedProjection(nn.Module):
    """A projection head whose embedding is a mapping network of the labels.

    Args:
        num_labels: length K of a label vector.
        num_features: length of the features and of the embedding.
        layers: of the mapping network.
    """

    def __init__(self, num_labels: int, num_features: int, layers: int) -> None:
        super().__init__()
        self.mapping = MappingNetwork(0, num_labels, num_features, layers)
        self.out = EqualizedLinear(num_features, num_features, gain=1.0)

    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor, None]:
        with torch.autocast(features.device.type, enabled=False):
            features = self.out(features.to(self.out.weight.dtype))
            return (features * self.mapping(None, labels)).sum(1) / math.sqrt(features.shape[1]), None
