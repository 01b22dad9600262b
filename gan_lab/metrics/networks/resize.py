"""Preprocessing for pretrained networks; published protocols differ in how they resize (Parmar et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.utils.image_ops import to_rgb

Resize = Callable[[Tensor, int], Tensor]
"""Maps uint8 images ``[N, C, H, W]`` and a size S to float32 ``[N, C, S, S]`` in [0, 255]."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of R, G and B in [0, 1] over ImageNet, with which torchvision's and Meta's networks normalize their input."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of R, G and B in [0, 1] over ImageNet."""


def tensorflow1(images: Tensor, size: int) -> Tensor:
    """Bilinear without antialiasing and without half-pixel centers, as in TensorFlow 1, the original FID and torch-fidelity.

    Bit-identical to torch-fidelity; for small images nine times as fast, because it interpolates one axis after the other.
    """
    return _resize_axis(_resize_axis(images.float(), size, 3), size, 2)


def bilinear(images: Tensor, size: int) -> Tensor:
    """Bilinear without antialiasing, with half-pixel centers, as in pytorch-fid."""
    return interpolate(images.float(), (size, size), mode="bilinear", align_corners=False)


def clean(images: Tensor, size: int) -> Tensor:
    """Antialiased bicubic, clipped but not rounded: equals clean-fid (Pillow on float images) to within 0.02 gray levels."""
    values = images.float()
    if values.shape[-2:] != (size, size):
        values = interpolate(values, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp_(0.0, 255.0)
    return values


RESIZES: dict[str, Resize] = {"tensorflow1": tensorflow1, "bilinear": bilinear, "clean": clean}


def resizing(name: str) -> Resize:
    """The function of :data:`RESIZES` with this name.

    Raises:
        ValueError: there is none.
    """
    if name not in RESIZES:
        raise ValueError(f"resize={name}: must be one of {', '.join(RESIZES)}")
    return RESIZES[name]


class Preprocessing(nn.Module):
    """Resizes uint8 images of any size, gray or color, to float32 ``[N, 3, size, size]`` and computes ``(x - mean) / std``.

    Args:
        resize: a key of :data:`RESIZES`.
        size: height and width.
        mean, std: of pixels in [0, 255], one value or one for each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, resize: str, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self._resize, self._size = resizing(resize), size
        self.description = f"{size}x{size}, resized {resize}, (x - {_format_values(mean)}) / {_format_values(std)}"
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def imagenet(cls, resize: str, size: int) -> Preprocessing:
        """Normalizes with the mean and standard deviation of ImageNet."""
        return cls(resize, size, [255 * value for value in IMAGENET_MEAN], [255 * value for value in IMAGENET_STD])

    def forward(self, images: Tensor) -> Tensor:
        values = (self._resize(images, self._size) - self.mean).div_(self.std)  # a single gray channel is resized only once
        return to_rgb(values).contiguous(memory_format=torch.channels_last)


def _resize_axis(values: Tensor, size: int, axis: int) -> Tensor:
    """Linear interpolation along one axis; output pixel ``i`` lies at ``i * old_size / size``."""
    last = values.shape[axis] - 1
    positions = torch.arange(size, dtype=torch.float32, device=values.device) * ((last + 1) / size)
    left = positions.long()
    weight = (positions - left).view(-1, *[1] * (3 - axis))
    start = values.index_select(axis, left)
    return values.index_select(axis, (left + 1).clamp_max(last)).sub_(start).mul_(weight).add_(start)


def _format_values(values: Sequence[float]) -> str:
    text = ", ".join(f"{value:g}" for value in values)
    return text if len(values) == 1 else f"({text})"
