"""Decoding compared with Pillow, and conversion of all image modes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_lab.data import image_decoding
from gan_lab.data.image_decoding import MAX_PIXELS, decode, open_image, split_alpha

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
    [("L", 77, 77), ("1", 1, 255), ("P", 0, 0), ("CMYK", (0, 0, 0, 255), 0), ("F", 1.0, 255), ("I;16", 0x8080, 0x80)],
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


@pytest.mark.parametrize(
    ("values", "mode", "message"),
    [
        ([1000.0, 1400.0], "F", "floats are 1000 to 1400, outside of 0 to 1"),
        ([-1.0, 1.0], "F", "floats are -1 to 1, outside of 0 to 1"),
        ([0.0, 255.0], "F", "floats are 0 to 255, outside of 0 to 1"),
        ([0.0, float("nan")], "F", "not finite"),
        ([0.0, float("inf")], "F", "not finite"),
        ([0, 65536], "I", "integers are 0 to 65,536, outside of 0 to 65,535"),
        ([-1, 5], "I", "integers are -1 to 5, outside"),
    ],
)
def test_values_outside_of_the_range_of_their_type_are_refused(values: list[float], mode: str, message: str) -> None:
    image = Image.fromarray(np.array([values], np.float32 if mode == "F" else np.int32))
    assert image.mode == mode
    with pytest.raises(ValueError, match=message):
        decode(image, 2, 1, "whole")


def test_floats_are_scaled_alike_whether_an_image_is_dark_or_bright() -> None:
    for values in ([0.0, 0.1], [0.0, 1.0], [-1e-4, 1 + 1e-4]):
        expected = [int(min(max(value, 0), 1) * 255) for value in values]
        assert decode(Image.fromarray(np.array([values], np.float32)), 2, 1, "whole").ravel().tolist() == expected


def png(depth: int, color: int, row: bytes, transparent: bytes) -> io.BytesIO:
    """A PNG file of two pixels, of which the first is transparent; Pillow writes no such depths."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks if one[1] or one[0] == b"IEND"))


@pytest.mark.parametrize(
    ("file", "visible"),
    [
        (png(16, 0, struct.pack(">2H", 1000, 40_000), struct.pack(">H", 1000)), 155),
        (png(16, 2, struct.pack(">6H", 1000, 2000, 3000, 40_000, 40_000, 40_000), struct.pack(">3H", 1000, 2000, 3000)), 156),
        (png(16, 4, struct.pack(">4H", 1000, 0, 40_000, 65_535), b""), 156),
        (png(16, 6, struct.pack(">8H", 9, 9, 9, 0, 40_000, 40_000, 40_000, 65_535), b""), 156),
        (png(8, 0, bytes([10, 200]), struct.pack(">H", 10)), 200),
        (png(4, 0, bytes([0x3A]), struct.pack(">H", 3)), 170),
        (png(2, 0, bytes([0b01_10_0000]), struct.pack(">H", 1)), 170),
    ],
    ids=["16-bit gray", "16-bit color", "16-bit gray with alpha", "16-bit color with alpha", "8-bit", "4-bit", "2-bit"],
)
def test_transparency_is_kept_at_every_depth(file: io.BytesIO, visible: int) -> None:
    assert decode(open_image(file), 2, 1, "whole").ravel().tolist() == [255, visible]
    color, alpha = split_alpha(open_image(file))
    assert alpha is not None and np.asarray(alpha).ravel().tolist() == [0, 255]
    assert np.asarray(color.convert("L")).ravel()[1] == visible


def test_exif_data_of_any_kind_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[[0] * 3, [200] * 3]], np.uint8)).save(tmp_path / "a.png", exif=exif)

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("Fraction(1, 0)")

    monkeypatch.setattr(Image.Exif, "tobytes", fail)
    assert decode(open_image(tmp_path / "a.png"), 2, 1, "whole").shape == (2, 1, 1)
    monkeypatch.setattr(Image.Exif, "load", fail)
    assert decode(open_image(tmp_path / "a.png"), 2, 1, "whole").shape == (1, 2, 1), "the pixels of a damaged EXIF are sound"


def test_an_image_above_pillows_own_limit_is_refused_with_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(image_decoding, "MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match="40 x 30 pixels are more than the 1,000 allowed"):
        open_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match="it has more than the 1,000 pixels allowed"):
        open_image(tmp_path / "a.png")


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
