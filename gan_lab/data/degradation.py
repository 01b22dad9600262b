"""From a picture to the small one that a generator is to undo: what makes super-resolution out of any data set.

All steps take and give uint8 ``[C, H, W]``, as pictures on a disk are, and draw what is random in them from the generator
given.
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
EDGES = ("mirrored", "renormalised")
CUBIC_REACH = 3
"""Pixels of the smaller picture that a cubic kernel looks beyond its edge for, and one to spare."""


class Step(ABC):
    """One thing that happens to a picture.

    Attributes:
        factor: how many times smaller it gets.
    """

    factor = 1

    @abstractmethod
    def __call__(self, picture: Tensor, random: torch.Generator) -> Tensor:
        """The picture after it; its sides are multiples of ``factor``."""


class Bicubic(Step):
    """Antialiased bicubic downsampling, Keys' kernel with a = -1/2: what Set5, DIV2K and the rest are published with.

    Args:
        scale: how many times.
        edges: ``mirrored`` as in MATLAB's ``imresize``, to a level but for a pixel in thousands (two there); or
            ``renormalised`` as in Pillow, to a level. Further than two pixels from the edges both are the same.
    """

    def __init__(self, scale: int, edges: str) -> None:
        if edges not in EDGES:
            raise ValueError(f"degradation: {edges=} must be one of {', '.join(EDGES)}")
        self.factor, self._edges = scale, edges

    def __call__(self, picture: Tensor, random: torch.Generator) -> Tensor:
        margin = CUBIC_REACH if self._edges == "mirrored" else 0
        height, width = (side // self.factor + 2 * margin for side in picture.shape[1:])
        small = _cubic(reflect_pad(picture, margin * self.factor), height, width)
        return small[:, margin : height - margin, margin : width - margin]


class BlurDownsample(Step):
    """A Gaussian about the middle of each block of ``scale`` x ``scale`` pixels, as a lens out of focus before a coarse sensor.

    The literature's "BD" takes every n-th pixel of a blurred picture, which also moves it by half a block; this does not.

    Args:
        scale: how many times smaller.
        sigma: of the Gaussian in pixels, drawn anew for each picture between these two; 1.6 in the literature.
    """

    def __init__(self, scale: int, sigma: list[float]) -> None:
        self.factor = scale
        self._sigma = _interval("sigma", sigma, 0.1, 20.0)

    def __call__(self, picture: Tensor, random: torch.Generator) -> Tensor:
        sigma = _between(self._sigma, random)
        reach = math.ceil(3 * sigma)
        places = torch.arange(-reach, self.factor + reach, dtype=torch.float32) - (self.factor - 1) / 2
        kernel = torch.exp(-places.square() / (2 * sigma**2))
        kernel /= kernel.sum()
        values = reflect_pad(picture, reach)[:, None].float()  # channels as a batch
        values = conv2d(values, kernel.view(1, 1, -1, 1), stride=(self.factor, 1))
        values = conv2d(values, kernel.view(1, 1, 1, -1), stride=(1, self.factor))
        return _to_levels(values[:, 0])


class Noise(Step):
    """Gaussian noise, independent in every value.

    Args:
        sigma: in levels of 255, drawn anew for each picture between these two.
    """

    def __init__(self, sigma: list[float]) -> None:
        self._sigma = _interval("sigma", sigma, 0.0, 255.0)

    def __call__(self, picture: Tensor, random: torch.Generator) -> Tensor:
        noise = torch.randn(picture.shape, generator=random) * _between(self._sigma, random)
        return _to_levels(picture.float() + noise)


class Jpeg(Step):
    """Compressed and decompressed by libjpeg, colours at half resolution.

    Args:
        quality: 1 to 100, drawn anew for each picture between these two.
    """

    def __init__(self, quality: list[int]) -> None:
        low, high = _interval("quality", quality, 1, 100)
        self._quality = round(low), round(high)

    def __call__(self, picture: Tensor, random: torch.Generator) -> Tensor:
        low, high = self._quality
        quality = int(torch.randint(low, high + 1, (), generator=random))
        pixels = picture.permute(1, 2, 0).contiguous().numpy()
        file = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
        with Image.open(file) as compressed:
            return torch.from_numpy(np.array(compressed).reshape(pixels.shape)).permute(2, 0, 1)


class Degradation:
    """Steps one after the other.

    Args:
        steps: by name, in their order.
        scale: how many times smaller a picture is after them.

    Raises:
        ValueError: they don't make pictures ``scale`` times smaller, or that is none of :data:`SCALES`.
    """

    def __init__(self, steps: Mapping[str, Step], scale: int) -> None:
        if scale not in SCALES:
            raise ValueError(f"degradation.scale={scale}: must be one of {', '.join(map(str, SCALES))}")
        factor = math.prod(step.factor for step in steps.values())
        if factor != scale:
            named = ", ".join(steps) or "nothing"
            raise ValueError(
                f"degradation={named}: makes pictures {factor} times smaller instead of {scale}; one of bicubic and "
                "blur_downsample belongs in it, before noise and jpeg: degradation=[bicubic,jpeg]"
            )
        self.steps, self.scale = dict(steps), scale

    def __call__(self, picture: Tensor, random: torch.Generator) -> Tensor:
        """uint8 ``[C, H, W]``, both sides multiples of the scale, to ``[C, H / scale, W / scale]``."""
        for step in self.steps.values():
            picture = step(picture, random)
        return picture

    def crop_to_multiple(self, picture: Tensor) -> Tensor:
        """The picture without the rows and columns at its end that are no multiple of the scale, as is the custom."""
        height, width = (side // self.scale * self.scale for side in picture.shape[1:])
        return picture[:, :height, :width]


def upscale_bicubic(picture: Tensor, scale: int) -> Tensor:
    """Bicubic upsampling of uint8 ``[..., C, h, w]``, edges mirrored: what a super-resolution is held against."""
    margin = CUBIC_REACH
    height, width = ((side + 2 * margin) * scale for side in picture.shape[-2:])
    large = _cubic(reflect_pad(picture, margin), height, width)
    cut = margin * scale
    return large[..., cut : height - cut, cut : width - cut]


def reflect_pad(
    picture: Tensor, top: int, bottom: int | None = None, left: int | None = None, right: int | None = None
) -> Tensor:
    """More rows and columns, mirrored at the edges, whose pixels are repeated; all around as many as ``top`` unless given."""
    bottom, left, right = (top if side is None else side for side in (bottom, left, right))
    if not (top or bottom or left or right):
        return picture
    around = [(0, 0)] * (picture.dim() - 2) + [(top, bottom), (left, right)]
    return torch.from_numpy(np.pad(picture.numpy(), around, mode="symmetric"))


def _cubic(picture: Tensor, height: int, width: int) -> Tensor:
    """To the bit what Pillow does, with a rounding between rows and columns."""
    batch = picture if picture.dim() == 4 else picture[None]
    resized = interpolate(batch.contiguous(), (height, width), mode="bicubic", antialias=True)
    return resized if picture.dim() == 4 else resized[0]


def _to_levels(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _between(interval: tuple[float, float], random: torch.Generator) -> float:
    low, high = interval
    return low + (high - low) * float(torch.rand((), generator=random))


def _interval(name: str, given: list[float] | list[int], least: float, most: float) -> tuple[float, float]:
    if len(given) != 2 or not least <= given[0] <= given[1] <= most:
        raise ValueError(
            f"degradation: {name}={list(given)} must be two numbers, the smaller first, from {least:g} to {most:g}"
        )
    return given[0], given[1]
