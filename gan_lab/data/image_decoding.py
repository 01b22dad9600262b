"""Decode stored images of any format and mode to uint8 arrays of the configured size."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

MAX_PIXELS = 100_000_000
"""Larger images are rejected before they are decoded, as protection against decompression bombs."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # decode() checks MAX_PIXELS instead

GRAY_16_BIT_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
GRAY_MODES = GRAY_16_BIT_MODES | {"1", "L", "F"}
"""Pillow modes of grayscale images without an alpha channel."""


WHOLE = "whole"
"""The resize mode that keeps every image's original size."""


def decode(image: Image.Image, size: int, channels: int, resize_mode: str, precrop: int | None = None) -> np.ndarray:
    """Decode to uint8 ``[size, size, channels]``, or ``[H, W, channels]`` with ``resize_mode="whole"``.

    The EXIF orientation is applied, 16-bit grayscale is scaled to 8 bits, transparency is composited on white, and palette,
    CMYK and other modes are converted. Resizing is antialiased and bicubic, within 2 levels of Pillow's. A JPEG much larger
    than needed is decoded at reduced resolution, never below twice the requested size.

    Args:
        image: an opened image, not yet decoded.
        size: height and width in pixels.
        channels: 1 for grayscale (ITU-R BT.601 luma), 3 for color.
        resize_mode: one of :data:`RESIZE_MODES`.
        precrop: side of the central square that is cropped first; longer than a side of the image, that side is kept.

    Raises:
        ValueError: the image has more than :data:`MAX_PIXELS` pixels.
        OSError: the file is truncated or damaged.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} allowed")
    if precrop is None and resize_mode != WHOLE:
        _set_jpeg_scale(image, 2 * size)
    pixels = decode_whole(image, channels)
    if precrop is not None:
        pixels = _center_crop(pixels, precrop)
    return RESIZE_MODES[resize_mode](pixels, size)


def decode_whole(image: Image.Image, channels: int) -> np.ndarray:
    """Decode at the original size to uint8 ``[H, W, channels]``, with the conversions of :func:`decode`."""
    if "exif" in image.info or image.format != "JPEG":  # the EXIF data of a JPEG is available before decoding
        image = ImageOps.exif_transpose(image)
    image = _convert(image, "L" if channels == 1 else "RGB")
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split an image of any mode into its colors (mode L or RGB) and its alpha channel (mode L), None if it has none."""
    is_gray = image.mode in GRAY_MODES or image.mode == "LA"
    alpha = None
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A"), rgba.convert("RGB")
    return _convert(image, "L" if is_gray else "RGB"), alpha


def _set_jpeg_scale(image: Image.Image, min_side: int) -> None:
    """Let the JPEG decoder downscale while decoding; the shorter side keeps at least ``min_side`` pixels."""
    scale = min_side / min(image.size)
    if image.format == "JPEG" and scale < 1:
        image.draft(image.mode, (round(image.width * scale), round(image.height * scale)))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in GRAY_16_BIT_MODES:
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image)
        scale = 255 if values.max(initial=0) <= 1 else 1  # the range of float images is [0, 1] or [0, 255]
        image = Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _center_crop(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]


def _crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """Crop to the largest central square and resize it."""
    return _resize_to(_center_crop(pixels, min(pixels.shape[:2])), size, size)


def _resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize without keeping the aspect ratio."""
    return _resize_to(pixels, size, size)


def _pad(pixels: np.ndarray, size: int) -> np.ndarray:
    """Center on a black square; larger images are shrunk to fit, smaller ones are not enlarged."""
    scale = min(1.0, size / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    top, left = (size - height) // 2, (size - width) // 2
    padded = np.zeros((size, size, pixels.shape[2]), dtype=np.uint8)
    padded[top : top + height, left : left + width] = _resize_to(pixels, height, width)
    return padded


def _resize_to(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """``[h, w, C]`` to ``[height, width, C]``, by torch, which is three times as fast as Pillow."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = torch.from_numpy(np.require(pixels, requirements="W")).permute(2, 0, 1)[None]
    return interpolate(image, (height, width), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()


def _keep_size(pixels: np.ndarray, size: int) -> np.ndarray:
    return np.ascontiguousarray(pixels)


RESIZE_MODES = {"pad": _pad, "resize": _resize, "crop": _crop, WHOLE: _keep_size}
"""Functions ``(pixels, size) -> pixels`` by the value of ``dataset.resize_mode``."""
