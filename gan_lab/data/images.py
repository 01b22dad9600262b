"""Images as uint8 tensors, and the few things done to them on their way in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of red, green and blue, as Pillow's ``convert("L")``."""


@dataclass(frozen=True)
class ImageSet:
    """A whole data set in memory.

    Attributes:
        images: ``[N, C, H, W]`` uint8.
        labels: ``[N]`` int64, or None.
        classes: name of each label.
    """

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> ImageSet:
        return ImageSet(self.images[index], None if self.labels is None else self.labels[index], self.classes)


def to_unit(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return images.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to uint8, rounded to the nearest level."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Between grey (1) and colour (3): luma one way, repetition the other.

    Raises:
        ValueError: any other pair of channel counts.
    """
    have = images.shape[1]
    if have == channels:
        return images
    if (have, channels) == (1, 3):
        return images.expand(-1, 3, -1, -1).contiguous()
    if (have, channels) == (3, 1):
        grey = torch.empty(len(images), 1, *images.shape[2:], dtype=torch.uint8)
        for part, out in zip(images.split(4096), grey.split(4096), strict=True):
            weights = torch.tensor(LUMA, device=part.device)[:, None, None]
            out.copy_((part.float() * weights).sum(1, keepdim=True).round_())
        return grey
    raise ValueError(f"dataset.channels={channels}: images of {have} channels can only become 1 (grey) or 3 (colour)")


def fit_pad(images: Tensor, size: int) -> Tensor:
    """Shrink images larger than ``size`` so that they fit, then pad with black to a square. Never enlarges."""
    height, width = images.shape[2:]
    scale = min(1.0, size / max(height, width))
    if scale < 1.0:
        images = _resize(images, max(1, round(height * scale)), max(1, round(width * scale)))
    height, width = images.shape[2:]
    top, left = (size - height) // 2, (size - width) // 2
    return pad(images, (left, size - width - left, top, size - height - top))


def fit_resize(images: Tensor, size: int) -> Tensor:
    """Resize to a square, whatever the aspect."""
    return images if tuple(images.shape[2:]) == (size, size) else _resize(images, size, size)


def fit_crop(images: Tensor, size: int) -> Tensor:
    """Cut out the largest central square, then resize it."""
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return fit_resize(images[:, :, top : top + side, left : left + side], size)


FITS = {"pad": fit_pad, "resize": fit_resize, "crop": fit_crop}
"""How an image meets the configured size, by the name used in ``dataset.fit``."""


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resize of uint8 images, in parts so that the floats never hold the whole data set."""
    return torch.cat([_resize_part(part, height, width) for part in images.split(1024)])


def _resize_part(images: Tensor, height: int, width: int) -> Tensor:
    floats = interpolate(images.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return floats.round_().clamp_(0, 255).to(torch.uint8)


def to_picture(image: Tensor) -> Image.Image:
    """One uint8 image ``[C, H, W]`` (1 or 3 channels) as a Pillow picture."""
    array = image.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def grid(images: Tensor, columns: int | None = None, scale: int = 1, gap: int = 2) -> Image.Image:
    """uint8 images ``[N, C, H, W]`` as one picture, row by row.

    Args:
        images: at least one.
        columns: images in a row; by default as many as make the grid square.
        scale: each pixel becomes ``scale`` x ``scale``, so that small images can be looked at.
        gap: black pixels between images, before scaling.
    """
    count, channels, height, width = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    sheet = torch.zeros(channels, rows * (height + gap) - gap, columns * (width + gap) - gap, dtype=torch.uint8)
    for n, image in enumerate(images.cpu()):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    picture = to_picture(sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
