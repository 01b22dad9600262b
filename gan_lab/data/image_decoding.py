"""From a stored picture, whatever its format, to pixels of the configured size."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

MAX_PIXELS = 100_000_000
"""A larger picture is refused before it is decoded: a few kilobytes can ask for gigabytes of memory."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # decode() draws its own line

GRAY_16_BIT_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
GRAY_MODES = GRAY_16_BIT_MODES | {"1", "L", "F"}
"""Modes of pictures without colour."""


WHOLE = "whole"
"""The fit that leaves every picture its own size."""


def decode(picture: Image.Image, size: int, channels: int, resize_mode: str, precrop: int | None = None) -> np.ndarray:
    """A picture as ``[size, size, channels]`` uint8, a whole one as ``[height, width, channels]``.

    Turned as its EXIF tag says; 16-bit grey scaled to 8; transparency laid on white; palette, CMYK and the like converted.
    Resizing is antialiased bicubic, Pillow's to within 2 levels. A JPEG much larger than needed is decoded at a fraction of
    its size, never below twice the size wanted.

    Args:
        picture: opened, not yet decoded.
        size: height and width in pixels.
        channels: 1 grey (ITU-R BT.601 luma), 3 colour.
        resize_mode: one of :data:`RESIZE_MODES`.
        precrop: cut out the central square of so many pixels first, or of all there are.

    Raises:
        ValueError: more than :data:`MAX_PIXELS`.
        OSError: truncated or damaged.
    """
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are more than the {MAX_PIXELS:,} allowed")
    if precrop is None and resize_mode != WHOLE:
        _draft(picture, 2 * size)
    pixels = decode_whole(picture, channels)
    if precrop is not None:
        pixels = _centre(pixels, precrop)
    return RESIZE_MODES[resize_mode](pixels, size)


def decode_whole(picture: Image.Image, channels: int) -> np.ndarray:
    """All of an opened picture as ``[height, width, channels]`` uint8, turned and converted as :func:`decode` says."""
    if "exif" in picture.info or picture.format != "JPEG":  # a JPEG's is known before it is decoded
        picture = ImageOps.exif_transpose(picture)
    picture = _to_mode(picture, "L" if channels == 1 else "RGB")
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, channels)


def split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture of any mode as its colours, of mode L or RGB, and its transparency, of mode L; None where it has none."""
    grey = picture.mode in GRAY_MODES or picture.mode == "LA"
    alpha = None
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        alpha, picture = seen.getchannel("A"), seen.convert("RGB")
    return _to_mode(picture, "L" if grey else "RGB"), alpha


def _draft(picture: Image.Image, wanted: int) -> None:
    """Let a JPEG decoder leave out what a later resize would: the shorter side keeps at least ``wanted`` pixels."""
    scale = wanted / min(picture.size)
    if picture.format == "JPEG" and scale < 1:
        picture.draft(picture.mode, (round(picture.width * scale), round(picture.height * scale)))


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode in GRAY_16_BIT_MODES:
        picture = Image.fromarray((np.clip(np.asarray(picture).astype(np.int64), 0, 65535) // 257).astype(np.uint8))
    elif picture.mode == "F":
        values = np.asarray(picture)
        scale = 255 if values.max(initial=0) <= 1 else 1  # floats are kept in [0, 1] or in [0, 255]
        picture = Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))
    elif picture.has_transparency_data:
        seen = picture.convert("RGBA")
        picture = Image.new("RGBA", seen.size, "white")
        picture.alpha_composite(seen)
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _centre(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]


def _crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """The largest central square, resized."""
    return _resized(_centre(pixels, min(pixels.shape[:2])), size, size)


def _resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """The whole picture, whatever its aspect."""
    return _resized(pixels, size, size)


def _pad(pixels: np.ndarray, size: int) -> np.ndarray:
    """The whole picture, made smaller if need be but never larger, in the middle of a black square."""
    scale = min(1.0, size / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    top, left = (size - height) // 2, (size - width) // 2
    sheet = np.zeros((size, size, pixels.shape[2]), dtype=np.uint8)
    sheet[top : top + height, left : left + width] = _resized(pixels, height, width)
    return sheet


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """``[h, w, C]`` to ``[height, width, C]``; torch does it three times as fast as Pillow."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = torch.from_numpy(np.require(pixels, requirements="W")).permute(2, 0, 1)[None]
    return interpolate(image, (height, width), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()


def _as_it_is(pixels: np.ndarray, size: int) -> np.ndarray:
    """For super-resolution, which takes pictures of any size."""
    return np.ascontiguousarray(pixels)


RESIZE_MODES = {"pad": _pad, "resize": _resize, "crop": _crop, WHOLE: _as_it_is}
"""How a picture meets the configured size, by the name used in ``dataset.resize_mode``."""
