"""Write PNG files row by row, so that a large image never has to be in memory as a whole; Pillow can't.

The format is defined by the W3C's "Portable Network Graphics (PNG) Specification (Third Edition)".
"""

from __future__ import annotations

import struct
import zlib
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG color type by number of channels: grayscale, grayscale and alpha, RGB, RGBA."""
COMPRESSION_LEVEL = 6
"""zlib's default."""
MAX_SIDE = 2**31 - 1
BLOCK_BYTES = 2**20
"""Bytes of rows that are filtered at a time; filtering needs about twenty times as much memory."""


class PngWriter:
    """Writes a PNG file of 8 bits per channel; a context manager that completes the file on exit.

    Args:
        handle: file to write to, opened in binary mode.
        width, height: size of the image in pixels.
        channels: 1 grayscale, 2 grayscale and alpha, 3 RGB, 4 RGBA.
        profile: ICC color profile of the image, or None.
    """

    def __init__(self, handle: BinaryIO, width: int, height: int, channels: int, profile: bytes | None = None) -> None:
        assert channels in COLOR_TYPES and 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE, (width, height, channels)
        self._handle, self._height, self._channels = handle, height, channels
        self._last_row = np.zeros((1, width * channels), dtype=np.uint8)
        self._compressor = zlib.compressobj(COMPRESSION_LEVEL)
        self._written = 0
        handle.write(SIGNATURE)
        self._write_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[channels], 0, 0, 0))
        if profile is not None:
            self._write_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))

    def write(self, rows: np.ndarray) -> None:
        """Append rows from top to bottom, uint8 ``[n, width, channels]``."""
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
        assert flat.shape[1] == self._last_row.shape[1], "rows have the wrong width"
        block_rows = max(1, BLOCK_BYTES // flat.shape[1])
        for start in range(0, len(flat), block_rows):
            block = flat[start : start + block_rows]
            if compressed := self._compressor.compress(self._filter(block).tobytes()):
                self._write_chunk(b"IDAT", compressed)
            self._last_row = block[-1:].copy()
        self._written += len(flat)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            assert self._written == self._height, f"{self._written} rows of {self._height} were written"
            self._write_chunk(b"IDAT", self._compressor.flush())
            self._write_chunk(b"IEND", b"")

    def _filter(self, rows: np.ndarray) -> np.ndarray:
        """Filter type and filtered values of each row; of Sub, Up and Paeth, the one with the smallest sum of magnitudes."""
        above = np.concatenate([self._last_row, rows[:-1]])
        left, corner = (np.pad(side[:, : -self._channels], ((0, 0), (self._channels, 0))) for side in (rows, above))
        predictions = np.stack([left, above, _paeth(left, above, corner)])
        differences = rows[None] - predictions
        costs = np.abs(differences.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64)
        best = costs.argmin(0)
        chosen = differences[best, np.arange(len(rows))]
        types = np.array([1, 2, 4], dtype=np.uint8)[best]  # Sub, Up, Paeth
        return np.concatenate([types[:, None], chosen], 1)

    def _write_chunk(self, kind: bytes, data: bytes) -> None:
        self._handle.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The Paeth predictor (section 9.4): the one of the three that is nearest to ``left + above - corner``."""
    a, b, c = (side.astype(np.int16) for side in (left, above, corner))
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner))
