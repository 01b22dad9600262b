"""Operations on image tensors: value ranges, upsampling, and image grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor
from torch.nn.functional import interpolate

from gan_lab.utils.formatting import printable


def normalize(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert uint8 images in [0, 255] to ``dtype`` in [-1, 1]."""
    return images.to(dtype).div_(127.5).sub_(1.0)


def to_rgb(images: Tensor) -> Tensor:
    """Repeat gray images ``[N, 1, H, W]`` to three channels; color images are unchanged."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


class NotFinite(ValueError):
    """Images with NaN or infinite values."""


def to_uint8(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to uint8, rounded to the nearest level; synchronizes with the device.

    Raises:
        NotFinite: a value is NaN or infinite.
    """
    if not images.isfinite().all():
        raise NotFinite("the generator's images contain values that are not finite: it has diverged")
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    """Convert a uint8 image ``[C, H, W]`` of 1 or 3 channels to a Pillow image."""
    array = image.cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


GAP = 2
"""Pixels between the images of a grid."""


def image_grid(
    images: Tensor,
    columns: int | None = None,
    scale: int = 1,
    gap: int = GAP,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
) -> Image.Image:
    """Arrange images in a grid, row by row.

    Args:
        images: at least one image, uint8 ``[N, C, H, W]``.
        columns: images in a row; None: a square grid.
        scale: each pixel becomes ``scale`` x ``scale`` pixels.
        gap: black pixels between images, before scaling.
        row_names: text to the left of each row, if any.
        column_names: text above each column, if any.
    """
    count, channels, height, width = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    sheet = torch.zeros(channels, rows * (height + gap) - gap, columns * (width + gap) - gap, dtype=torch.uint8)
    for n, image in enumerate(images.cpu()):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    row_names, column_names = ([printable(name) for name in names] for names in (row_names, column_names))
    grid = to_pil(sheet)
    grid = grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.NEAREST)
    grid = _add_column_names(grid, column_names, scale * (width + gap)) if column_names else grid
    return _add_row_names(grid, row_names, scale * (height + gap)) if row_names else grid


MAX_SHOWN_SIDE = 8192
"""Longest side, in pixels, of a grid in an animation or a tracker; WebP allows 16,383."""


def open_grid(path: Path, max_side: int = MAX_SHOWN_SIDE) -> Image.Image:
    """Read a grid that this package has written, reduced by a whole factor if a side is longer than ``max_side`` pixels.

    Pillow's limit on the number of pixels is for files from elsewhere and does not apply.

    Returns:
        An RGB image.

    Raises:
        OSError: the file can't be read, or is no PNG file.
    """
    if not path.is_file():
        raise OSError(f"{path} is no file")
    try:
        with PngImageFile(path) as image:
            factor = math.ceil(max(image.size) / max_side)
            return (image.reduce(factor) if factor > 1 else image).convert("RGB")
    except (SyntaxError, ValueError) as error:  # Pillow's for files that are not PNG, or are damaged
        raise OSError(f"{path} is damaged: {error}") from error


def _add_row_names(grid: Image.Image, names: Sequence[str], pitch: int) -> Image.Image:
    """Add a margin on the left with the names of the rows, each ``pitch`` pixels high."""
    font = ImageFont.load_default(max(9, min(16, pitch // 2)))
    margin = 8 + max(math.ceil(font.getlength(name)) for name in names)
    sheet = Image.new(grid.mode, (margin + grid.width, grid.height))
    sheet.paste(grid, (margin, 0))
    draw, white = ImageDraw.Draw(sheet), 255 if grid.mode == "L" else (255, 255, 255)
    for n, name in enumerate(names):
        draw.text((margin - 4, n * pitch + pitch // 2), name, fill=white, font=font, anchor="rm")
    return sheet


def _add_column_names(grid: Image.Image, names: Sequence[str], pitch: int) -> Image.Image:
    """Add a margin on top with the names of the columns, each ``pitch`` pixels wide."""
    size = max(9, min(14, pitch // 8))
    sheet = Image.new(grid.mode, (grid.width, grid.height + size + 8))
    sheet.paste(grid, (0, size + 8))
    draw, white = ImageDraw.Draw(sheet), 255 if grid.mode == "L" else (255, 255, 255)
    for n, name in enumerate(names):
        draw.text((n * pitch + pitch // 2, 4), name, fill=white, font=ImageFont.load_default(size), anchor="mt")
    return sheet


def upsample_nearest(images: Tensor, size: int) -> Tensor:
    """Upsample images ``[N, C, H, W]`` of any type to ``size`` pixels, a multiple of their own size, by nearest neighbor."""
    factor = size // images.shape[-1]
    if factor == 1:
        return images
    if images.is_floating_point():
        return interpolate(images, scale_factor=factor, mode="nearest")
    return images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def upsample_nearest_2x(maps: Tensor) -> Tensor:
    """Upsample feature maps ``[N, C, H, W]`` by a factor of 2, by nearest neighbor."""
    return interpolate(maps, scale_factor=2, mode="nearest")
