"""The idx format of MNIST and its kin (LeCun, http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 8


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an idx file, gzipped or not.

    Raises:
        ValueError: damaged, cut short, or of another type.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE:
        raise ValueError(f"{path} is no idx file of unsigned bytes")
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, offset=4).astype(int) if len(data) >= 4 + 4 * dimensions else np.array([-1])
    values = np.frombuffer(data, np.uint8, offset=min(len(data), 4 + 4 * dimensions))
    if values.size != shape.prod():
        raise ValueError(f"{path} is cut short or damaged: {values.size:,} values instead of {' x '.join(map(str, shape))}")
    return values.reshape(shape)
