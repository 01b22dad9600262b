"""Degradations: turn an image into the low-resolution input of a super-resolution generator.

All steps take and return uint8 ``[C, H, W]`` on the CPU and draw random numbers from the generator they are given.
"""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

SCALES = (2, 3, 4, 8)
EDGES = ("mirrored", "renormalized")
CUBIC_MARGIN = 3
"""Low-resolution pixels added at each edge before bicubic resizing; the kernel reaches 2 of them."""


class Step(ABC):
    """One step of a degradation.

    Attributes:
        factor: downscaling factor.
    """

    factor = 1

    @abstractmethod
    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``[C, H, W]`` to ``[C, H / factor, W / factor]``, uint8; H and W are multiples of ``factor``."""


class Bicubic(Step):
    """Antialiased bicubic downscaling, Keys' kernel with a = -1/2; Set5, DIV2K and others are published with it.

    Args:
        scale: downscaling factor.
        edges: ``mirrored`` as in MATLAB's ``imresize``, equal to it within 1 level (2 levels for a few pixels in a thousand);
            ``renormalized`` as in Pillow, equal to it within 1 level. They differ only in the two outermost pixels.
    """

    def __init__(self, scale: int, edges: str) -> None:
        if edges not in EDGES:
            raise ValueError(f"degradation.steps.bicubic.edges={edges}: must be one of {', '.join(EDGES)}")
        self.factor, self._edges = scale, edges

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        margin = CUBIC_MARGIN if self._edges == "mirrored" else 0
        height, width = (side // self.factor + 2 * margin for side in image.shape[1:])
        low = _resize_bicubic(reflect_pad(image, margin * self.factor), height, width)
        return low[:, margin : height - margin, margin : width - margin]


class BlurDownsample(Step):
    """Weighted mean around each block of ``scale`` x ``scale`` pixels with Gaussian weights, centered on the block.

    It equals a Gaussian blur followed by subsampling, but without the half-block shift of the literature's "BD" degradation,
    which takes every n-th pixel of the blurred image.

    Args:
        scale: downscaling factor.
        sigma: smallest and largest standard deviation in pixels, 0.1 to 20; drawn uniformly for each image. 1.6 in "BD".
    """

    def __init__(self, scale: int, sigma: list[float]) -> None:
        self.factor = scale
        self._sigma = _check_range("blur_downsample.sigma", sigma, 0.1, 20.0)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        sigma = _uniform(self._sigma, generator)
        radius = math.ceil(3 * sigma)
        positions = torch.arange(-radius, self.factor + radius, dtype=torch.float32) - (self.factor - 1) / 2
        kernel = torch.exp(-positions.square() / (2 * sigma**2))
        kernel /= kernel.sum()
        values = reflect_pad(image, radius)[:, None].float()  # channels as the batch dimension
        values = conv2d(values, kernel.view(1, 1, -1, 1), stride=(self.factor, 1))
        values = conv2d(values, kernel.view(1, 1, 1, -1), stride=(1, self.factor))
        return _to_uint8(values[:, 0])


class Noise(Step):
    """Gaussian noise, independent for each pixel and channel.

    Args:
        sigma: smallest and largest standard deviation on the scale of 0 to 255; drawn uniformly for each image.
    """

    def __init__(self, sigma: list[float]) -> None:
        self._sigma = _check_range("noise.sigma", sigma, 0.0, 255.0)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(image.shape, generator=generator) * _uniform(self._sigma, generator)
        return _to_uint8(image.float() + noise)


class Jpeg(Step):
    """JPEG compression by libjpeg with chroma subsampling.

    Args:
        quality: smallest and largest quality, 1 to 100; drawn uniformly for each image.
    """

    def __init__(self, quality: list[int]) -> None:
        low, high = _check_range("jpeg.quality", quality, 1, 100)
        self._quality = round(low), round(high)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        low, high = self._quality
        quality = int(torch.randint(low, high + 1, (), generator=generator))
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        file = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
        with Image.open(file) as compressed:
            return torch.from_numpy(np.array(compressed).reshape(pixels.shape)).permute(2, 0, 1)


class Degradation:
    """A sequence of steps with a total downscaling factor of ``scale``.

    Args:
        steps: by name, in the order in which they are applied.
        scale: downscaling factor, one of :data:`SCALES`.

    Raises:
        ValueError: ``scale`` is not supported, or the steps have another total factor.
    """

    def __init__(self, steps: Mapping[str, Step], scale: int) -> None:
        if scale not in SCALES:
            raise ValueError(f"degradation.scale={scale}: must be one of {', '.join(map(str, SCALES))}")
        factor = math.prod(step.factor for step in steps.values())
        if factor != scale:
            names = ",".join(steps)
            raise ValueError(
                f"degradation=[{names}]: downscales by a factor of {factor} instead of degradation.scale={scale}; use exactly "
                "one of bicubic and blur_downsample, before noise and jpeg, such as degradation=[bicubic,jpeg]"
            )
        self.steps, self.scale = dict(steps), scale

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 ``[C, H, W]``, H and W multiples of the scale, to ``[C, H / scale, W / scale]``."""
        for step in self.steps.values():
            image = step(image, generator)
        return image

    def crop_to_multiple(self, image: Tensor) -> Tensor:
        """Crop ``[C, H, W]`` at the bottom and right so that both sides are multiples of the scale, as is common practice."""
        height, width = (side // self.scale * self.scale for side in image.shape[1:])
        return image[:, :height, :width]


def upscale_bicubic(image: Tensor, scale: int) -> Tensor:
    """Bicubic upscaling of uint8 ``[..., C, h, w]`` with mirrored edges, the baseline of super-resolution."""
    margin = CUBIC_MARGIN
    height, width = ((side + 2 * margin) * scale for side in image.shape[-2:])
    upscaled = _resize_bicubic(reflect_pad(image, margin), height, width)
    crop = margin * scale
    return upscaled[..., crop : height - crop, crop : width - crop]


def reflect_pad(
    image: Tensor, top: int, bottom: int | None = None, left: int | None = None, right: int | None = None
) -> Tensor:
    """Pad the last two dimensions by reflection that repeats the edge pixels (NumPy's ``symmetric``); None means ``top``."""
    bottom, left, right = (top if side is None else side for side in (bottom, left, right))
    if not (top or bottom or left or right):
        return image
    widths = [(0, 0)] * (image.dim() - 2) + [(top, bottom), (left, right)]
    return torch.from_numpy(np.pad(image.numpy(), widths, mode="symmetric"))


def _resize_bicubic(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resizing of uint8, bit-identical to Pillow's, which rounds between its two passes."""
    batch = image if image.dim() == 4 else image[None]
    resized = interpolate(batch.contiguous(), (height, width), mode="bicubic", antialias=True)
    return resized if image.dim() == 4 else resized[0]


def _to_uint8(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _uniform(limits: tuple[float, float], generator: torch.Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))


def _check_range(name: str, limits: list[float] | list[int], lowest: float, highest: float) -> tuple[float, float]:
    if len(limits) != 2 or not lowest <= limits[0] <= limits[1] <= highest:
        raise ValueError(
            f"degradation.steps.{name}={list(limits)}: must be two numbers in [{lowest:g}, {highest:g}], the smaller one first"
        )
    return limits[0], limits[1]
