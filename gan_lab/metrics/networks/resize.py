"""From pixels to what a published network takes; published protocols differ in the resizing (Parmar et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.metrics.networks.base import to_rgb

Resize = Callable[[Tensor, int], Tensor]
"""uint8 ``[N, C, H, W]`` to float32 ``[N, C, S, S]`` in [0, 255]; images of that size keep their values."""

IMAGENET_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
"""Of the pixels torchvision's and Meta's networks have learnt from."""
IMAGENET_DEVIATION = (255 * 0.229, 255 * 0.224, 255 * 0.225)


def tensorflow1(images: Tensor, size: int) -> Tensor:
    """Bilinear between corners of pixels, without antialiasing, as in TensorFlow 1: the original FID's, and torch-fidelity's.

    To the bit what torch-fidelity computes, in a ninth of the time for small images: along rows before there are many columns.
    """
    return _stretched(_stretched(images.float(), size, 3), size, 2)


def bilinear(images: Tensor, size: int) -> Tensor:
    """Bilinear between centres of pixels, without antialiasing: pytorch-fid's."""
    return interpolate(images.float(), (size, size), mode="bilinear", align_corners=False)


def clean(images: Tensor, size: int) -> Tensor:
    """Antialiased bicubic, clipped and not rounded: clean-fid's, which is Pillow's of floats, to a hundredth of a level."""
    values = images.float()
    if values.shape[-2:] != (size, size):
        values = interpolate(values, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp_(0.0, 255.0)
    return values


RESIZES: dict[str, Resize] = {"tensorflow1": tensorflow1, "bilinear": bilinear, "clean": clean}


def resizing(name: str) -> Resize:
    """The resizing of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in RESIZES:
        raise ValueError(f"resize={name} is none of {', '.join(RESIZES)}")
    return RESIZES[name]


class Preprocessing(nn.Module):
    """uint8 images of any size, grey or colour, to float32 ``[N, 3, size, size]``: resized, then ``(x - mean) / deviation``.

    Args:
        resize: one of ``RESIZES``.
        size: height and width.
        mean, deviation: of values in [0, 255], one a channel or one for all.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, resize: str, size: int, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self._resize, self._size = resizing(resize), size
        self.description = f"{size}x{size}, resized {resize}, (x - {_said(mean)}) / {_said(deviation)}"
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        values = (self._resize(images, self._size) - self.mean).div_(self.deviation)  # grey is resized once, not three times
        return to_rgb(values).contiguous(memory_format=torch.channels_last)


def _stretched(values: Tensor, size: int, axis: int) -> Tensor:
    """Along one axis of images, pixel ``i`` being read at ``i * old size / size``."""
    last = values.shape[axis] - 1
    places = torch.arange(size, dtype=torch.float32, device=values.device) * ((last + 1) / size)
    before = places.long()
    share = (places - before).view(-1, *[1] * (3 - axis))
    start = values.index_select(axis, before)
    return values.index_select(axis, (before + 1).clamp_max(last)).sub_(start).mul_(share).add_(start)


def _said(values: Sequence[float]) -> str:
    return (
        ", ".join(f"{value:g}" for value in values) if len(values) == 1 else f"({', '.join(f'{value:g}' for value in values)})"
    )
