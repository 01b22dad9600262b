"""Decoding compared with Pillow, and conversion of all image modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_lab.data.image_decoding import MAX_PIXELS, decode

RNG = np.random.default_rng(0)


def test_grayscale_is_pillows_luma_and_color_repeats_grayscale() -> None:
    color = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    assert np.array_equal(decode(color, 9, 1, "resize")[:, :, 0], np.asarray(color.convert("L")))
    gray = color.convert("L")
    assert np.array_equal(decode(gray, 9, 3, "resize"), np.asarray(gray)[:, :, None].repeat(3, 2))


def test_padding_centers_unchanged_pixels_and_shrinks_larger_images() -> None:
    image = RNG.integers(1, 256, (28, 28), dtype=np.uint8)
    padded = decode(Image.fromarray(image), 32, 1, "pad")[:, :, 0]
    assert np.array_equal(padded[2:30, 2:30], image) and padded.sum() == image.sum()
    tall = decode(Image.new("L", (50, 100), 255), 32, 1, "pad")[:, :, 0]
    assert (tall[:, 8:24] == 255).all() and tall[:, :8].max() == tall[:, 24:].max() == 0


def test_crop_takes_the_central_square_and_precrop_a_smaller_one() -> None:
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = 200
    assert (decode(Image.fromarray(wide), 4, 1, "crop") == 200).all()
    target = np.zeros((20, 20), np.uint8)
    target[6:14, 6:14] = 99
    assert (decode(Image.fromarray(target), 8, 1, "crop", precrop=8) == 99).all()


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    small = decode(Image.fromarray(stripes), 32, 1, "resize")
    assert np.abs(small.astype(int) - 127).max() <= 8, "a fine pattern becomes its mean, without aliasing"


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("L", 77, 77), ("1", 1, 255), ("P", 0, 0), ("CMYK", (0, 0, 0, 255), 0), ("F", 300.0, 255), ("I;16", 0x8080, 0x80)],
)
def test_every_mode_is_converted_to_8_bits(mode: str, value: Any, expected: int) -> None:
    made = Image.new(mode, (8, 8), value)
    assert np.unique(decode(made, 8, 1, "resize")).tolist() == [expected]
    assert decode(Image.new(mode, (8, 8), value), 8, 3, "resize").shape == (8, 8, 3)


def test_transparency_is_composited_on_white_and_exif_orientation_applied(tmp_path: Path) -> None:
    transparent = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (decode(transparent, 8, 3, "resize") == 255).all()
    half = decode(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), 8, 1, "resize")
    assert abs(int(half[0, 0, 0]) - 127) <= 1
    rotated = Image.new("RGB", (40, 20))
    rotated.paste((255, 255, 255), (0, 0, 40, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees: the white upper half becomes the right half
    rotated.save(tmp_path / "rotated.png", exif=exif)
    with Image.open(tmp_path / "rotated.png") as opened:
        upright = decode(opened, 16, 1, "crop")[:, :, 0]
    assert upright[:, :6].max() < 10 and upright[:, 10:].min() > 245


def test_a_large_jpeg_is_decoded_at_reduced_size_with_the_same_result(tmp_path: Path) -> None:
    rows = np.linspace(0, 3, 1600)
    smooth = ((np.sin(rows)[:, None] * np.cos(rows)[None] + 1) * 127).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "large.jpg", quality=95)
    with Image.open(tmp_path / "large.jpg") as opened:
        reduced = decode(opened, 64, 1, "crop")
        assert opened.size < (1600, 1600) and min(opened.size) >= 128
    full = decode(Image.fromarray(smooth), 64, 1, "crop")
    assert np.abs(reduced.astype(int) - full).max() <= 3


def test_a_decompression_bomb_is_rejected_before_decoding() -> None:
    class Bomb:
        width, height, size, format = 20_000, MAX_PIXELS // 20_000 + 1, (20_000, 5_001), "PNG"

        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was used")

    with pytest.raises(ValueError, match="20000 x 5001 pixels are more than"):
        decode(Bomb(), 32, 3, "crop")  # type: ignore[arg-type]
