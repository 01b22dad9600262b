"""PNG files written row by row: a picture that is never whole in memory needs no more than the rows at hand.

The format is the W3C's "Portable Network Graphics", third edition; Pillow writes whole pictures alone.
"""

from __future__ import annotations

import struct
import zlib
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""By the number of channels: grey, grey with alpha, colour, colour with alpha."""
LEVEL = 6
"""Of the compression, zlib's own choice."""
LARGEST_SIDE = 2**31 - 1
BLOCK = 2**20
"""Bytes of rows that are filtered at a time, which takes some twenty times as many."""


class PngWriter:
    """An open PNG file of 8 bits a value; a context that completes it.

    Args:
        handle: where it is written.
        width, height: of the picture.
        channels: 1 grey, 2 grey with alpha, 3 colour, 4 colour with alpha.
        profile: an ICC colour profile, if the picture has one.
    """

    def __init__(self, handle: BinaryIO, width: int, height: int, channels: int, profile: bytes | None = None) -> None:
        assert channels in COLOUR_TYPES and 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE, (width, height, channels)
        self._handle, self._height, self._channels = handle, height, channels
        self._above = np.zeros((1, width * channels), dtype=np.uint8)
        self._packer = zlib.compressobj(LEVEL)
        self._written = 0
        handle.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0))
        if profile is not None:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))

    def write(self, rows: np.ndarray) -> None:
        """Add rows from top to bottom, uint8 ``[n, width, channels]``."""
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
        assert flat.shape[1] == self._above.shape[1], "rows of another width"
        at_once = max(1, BLOCK // flat.shape[1])
        for start in range(0, len(flat), at_once):
            block = flat[start : start + at_once]
            if packed := self._packer.compress(self._filtered(block).tobytes()):
                self._chunk(b"IDAT", packed)
            self._above = block[-1:].copy()
        self._written += len(flat)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            assert self._written == self._height, f"{self._written} rows of {self._height}"
            self._chunk(b"IDAT", self._packer.flush())
            self._chunk(b"IEND", b"")

    def _filtered(self, rows: np.ndarray) -> np.ndarray:
        """Each row as differences from what stands before, above, or from the nearest of three: whichever are smallest."""
        above = np.concatenate([self._above, rows[:-1]])
        left, corner = (np.pad(side[:, : -self._channels], ((0, 0), (self._channels, 0))) for side in (rows, above))
        guesses = np.stack([left, above, _nearest(left, above, corner)])
        differences = rows[None] - guesses
        costs = np.abs(differences.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64)
        best = costs.argmin(0)
        chosen = differences[best, np.arange(len(rows))]
        types = np.array([1, 2, 4], dtype=np.uint8)[best]  # Sub, Up, Paeth
        return np.concatenate([types[:, None], chosen], 1)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._handle.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _nearest(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Paeth's predictor (section 9.4): of the three the one nearest to ``left + above - corner``."""
    a, b, c = (side.astype(np.int16) for side in (left, above, corner))
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner))
