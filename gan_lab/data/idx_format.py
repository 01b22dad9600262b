"""The IDX file format of MNIST (LeCun, http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 8
"""Type code of uint8 values in the header."""


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array stored in an IDX file, gzipped or not.

    Raises:
        ValueError: the file is damaged or truncated, or contains another type.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE:
        raise ValueError(f"{path} is no IDX file of unsigned bytes")
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, offset=4).astype(int) if len(data) >= 4 + 4 * dimensions else np.array([-1])
    values = np.frombuffer(data, np.uint8, offset=min(len(data), 4 + 4 * dimensions))
    if values.size != shape.prod():
        raise ValueError(f"{path} is truncated or damaged: {values.size:,} values instead of {' x '.join(map(str, shape))}")
    return values.reshape(shape)
