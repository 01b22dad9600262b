"""Decode stored images of any format and mode to uint8 arrays of the configured size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from gan_lab.storage.files import check_is_file

MAX_PIXELS = 100_000_000
"""Larger images are rejected before they are decoded, as protection against decompression bombs."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is checked instead
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about metadata, such as damaged EXIF data

GRAY_16_BIT_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
GRAY_MODES = GRAY_16_BIT_MODES | {"1", "L", "F"}
"""Pillow modes of grayscale images without an alpha channel."""

ORIENTATION = 0x0112
"""Number of the EXIF tag."""

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image with this EXIF orientation is turned upright."""


GRAY_STEPS = {"L;2": 85, "L;4": 17}
"""Difference of gray levels in PNG files of 2 and 4 bits, by Pillow's name for the format."""

HALF_LEVEL = 0.5 / 255
"""How far floats may lie outside of [0, 1]: rounding errors are not clipping."""

WHOLE = "whole"
"""The resize mode that keeps every image's original size."""


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """Open an image file with Pillow, without decoding it.

    Raises:
        ValueError: it has more than :data:`MAX_PIXELS` pixels, or is a pipe or a device.
        OSError: the file can't be read, or is no image.
    """
    if isinstance(file, Path):
        check_is_file(file)
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:  # more than Pillow's own, higher limit
        raise ValueError(f"it has more than the {MAX_PIXELS:,} pixels allowed") from error
    try:
        _check_pixels(image)
    except ValueError:
        image.close()
        raise
    _scale_transparency(image)
    return image


def decode(image: Image.Image, size: int, channels: int, resize_mode: str, precrop: int | None = None) -> np.ndarray:
    """Decode to uint8 ``[size, size, channels]``, or ``[H, W, channels]`` with ``resize_mode="whole"``.

    The EXIF orientation is applied, integers of more than 8 bits (0 to 65,535) and floats (0 to 1) are scaled to 8 bits,
    transparency is composited on white, and palette, CMYK and other modes are converted. Resizing is antialiased and bicubic,
    within 2 levels of Pillow's. A JPEG much larger than needed is decoded at reduced resolution, never below twice the
    requested size.

    Args:
        image: an opened image, not yet decoded.
        size: height and width in pixels.
        channels: 1 for grayscale (ITU-R BT.601 luma), 3 for color.
        resize_mode: one of :data:`RESIZE_MODES`.
        precrop: side of the central square that is cropped first; longer than a side of the image, that side is kept.

    Raises:
        ValueError: the image has more than :data:`MAX_PIXELS` pixels, or values outside of the range of its type.
        OSError: the file is truncated or damaged.
    """
    _check_pixels(image)
    if precrop is None and resize_mode != WHOLE:
        _set_jpeg_scale(image, 2 * size)
    pixels = decode_whole(image, channels)
    if precrop is not None:
        pixels = _center_crop(pixels, precrop)
    return RESIZE_MODES[resize_mode](pixels, size)


def decode_whole(image: Image.Image, channels: int) -> np.ndarray:
    """Decode at the original size to uint8 ``[H, W, channels]``, with the conversions and errors of :func:`decode`."""
    if "exif" in image.info or image.format != "JPEG":  # the EXIF data of a JPEG is available before decoding
        image = upright(image)
    image = _convert(image, "L" if channels == 1 else "RGB")
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)


def upright(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied; the EXIF data may be of any kind, and is not written back."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data raises many types; the pixels are sound all the same
        return image
    method = TRANSPOSITIONS.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split an image of any mode into its colors (mode L or RGB) and its alpha channel (mode L), None if it has none.

    Raises:
        ValueError: it has values outside of the range of its type.
    """
    image = _reduce_depth(image)
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


def _check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} allowed")


def _scale_transparency(image: Image.Image) -> None:
    """Scale the value that is transparent in a PNG like its pixels, which Pillow brings to 8 bits; it forgets this value."""
    value = image.info.get("transparency")
    if image.format != "PNG" or not image.tile or not isinstance(value, int | tuple):  # type: ignore[attr-defined]
        return
    stored = image.tile[0][3]  # type: ignore[attr-defined]
    if isinstance(value, int) and stored in GRAY_STEPS:
        image.info["transparency"] = value * GRAY_STEPS[stored]
    elif isinstance(value, tuple) and stored == "RGB;16B":
        image.info["transparency"] = tuple(part >> 8 for part in value)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    image = _reduce_depth(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Scale values of more than 8 bits to 8 bits. The range is that of the type, the same for all images, dark or bright."""
    if image.mode in GRAY_16_BIT_MODES:
        values = np.asarray(image).astype(np.int64)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ValueError(f"its integers are {low:,} to {high:,}, outside of 0 to 65,535; convert it to 8 or 16 bits")
        gray = Image.fromarray((values // 257).astype(np.uint8))
        if isinstance(transparent := image.info.get("transparency"), int):
            gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        return gray
    if image.mode == "F":
        return Image.fromarray(_floats_to_8_bits(np.asarray(image)))
    return image


def _floats_to_8_bits(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("some of its values are not finite (NaN or infinity)")
    low, high = float(values.min()), float(values.max())
    if low < -HALF_LEVEL or high > 1 + HALF_LEVEL:
        raise ValueError(
            f"its floats are {low:.4g} to {high:.4g}, outside of 0 to 1; scale all images alike, to 0 to 1 or to 8 bits"
        )
    return np.clip(values * 255, 0, 255).astype(np.uint8)


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

ENLARGING = frozenset({"resize", "crop"})
"""The resize modes that enlarge an image with fewer pixels than ``size``."""
