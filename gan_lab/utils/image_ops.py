"""Images as tensors: ranges, sizes, and grids to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate


def normalize(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [0, 255] to [-1, 1], float32 or another type."""
    return images.to(dtype).div_(127.5).sub_(1.0)


class NotFinite(ValueError):
    """Images made of numbers that are none."""


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to uint8, rounded to the nearest level; waits for the device.

    Raises:
        NotFinite: some value is NaN or infinite.
    """
    if not images.isfinite().all():
        raise NotFinite("the generator's images hold values that are not finite: it has diverged")
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    """One uint8 image ``[C, H, W]`` (1 or 3 channels) as a Pillow picture."""
    array = image.cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def image_grid(
    images: Tensor,
    columns: int | None = None,
    scale: int = 1,
    gap: int = 2,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
) -> Image.Image:
    """uint8 images ``[N, C, H, W]`` as one picture, row by row.

    Args:
        images: at least one.
        columns: images in a row; by default as many as make the grid square.
        scale: each pixel becomes ``scale`` x ``scale``, so that small images can be looked at.
        gap: black pixels between images, before scaling.
        rows: what stands before each row, if anything.
        columns_named: what stands above each column, if anything.
    """
    count, channels, height, width = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    lines = math.ceil(count / columns)
    sheet = torch.zeros(channels, lines * (height + gap) - gap, columns * (width + gap) - gap, dtype=torch.uint8)
    for n, image in enumerate(images.cpu()):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    picture = to_pil(sheet)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    picture = _with_heads(picture, column_names, scale * (width + gap)) if column_names else picture
    return _with_names(picture, row_names, scale * (height + gap)) if row_names else picture


def _with_names(picture: Image.Image, names: Sequence[str], pitch: int) -> Image.Image:
    """The picture with a margin on its left that names its rows, each ``pitch`` pixels high."""
    font = ImageFont.load_default(max(9, min(16, pitch // 2)))
    margin = 8 + max(math.ceil(font.getlength(name)) for name in names)
    sheet = Image.new(picture.mode, (margin + picture.width, picture.height))
    sheet.paste(picture, (margin, 0))
    draw = ImageDraw.Draw(sheet)
    for n, name in enumerate(names):
        white = 255 if picture.mode == "L" else (255, 255, 255)
        draw.text((margin - 4, n * pitch + pitch // 2), name, fill=white, font=font, anchor="rm")
    return sheet


def _with_heads(picture: Image.Image, names: Sequence[str], pitch: int) -> Image.Image:
    """The picture with a margin on top that names its columns, each ``pitch`` pixels wide."""
    size = max(9, min(14, pitch // 8))
    sheet = Image.new(picture.mode, (picture.width, picture.height + size + 8))
    sheet.paste(picture, (0, size + 8))
    draw, white = ImageDraw.Draw(sheet), 255 if picture.mode == "L" else (255, 255, 255)
    for n, name in enumerate(names):
        draw.text((n * pitch + pitch // 2, 4), name, fill=white, font=ImageFont.load_default(size), anchor="mt")
    return sheet


def upsample_nearest(images: Tensor, size: int) -> Tensor:
    """Nearest-neighbour enlargement to ``size``, a multiple of theirs; pixels of any type."""
    factor = size // images.shape[-1]
    if factor == 1:
        return images
    if images.is_floating_point():
        return interpolate(images, scale_factor=factor, mode="nearest")
    return images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def upsample_nearest_2x(maps: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2."""
    return interpolate(maps, scale_factor=2, mode="nearest")
