"""The packed file: a data set decoded once, in a form that costs nothing to read.

Layout: the images' pixels (``[N, H, W, C]`` uint8, or one picture of its own size after the other), the labels, the sizes
where they differ, a manifest in JSON, its length (8 bytes, little endian), and :data:`MAGIC`. The manifest stands last, so that
a file can be written without knowing how many images will turn out readable, and a file without it is not a packed file.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = b"GANPACK1"
_TAIL = struct.Struct("<Q8s")


class VariableSizePixels:
    """Pictures of differing sizes, one after the other in memory or in a mapped file; indexed like an array of them.

    Args:
        flat: all their values, uint8.
        sizes: ``[N, 2]``, height and width of each.
        channels: of all of them.
    """

    def __init__(self, flat: np.ndarray, sizes: np.ndarray, channels: int) -> None:
        self._flat, self.sizes, self.channels = flat, sizes, channels
        self._starts = [0, *accumulate((sizes.prod(1, dtype=np.int64) * channels).tolist())]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int) -> np.ndarray:
        """``[H, W, C]``."""
        height, width = self.sizes[number]
        return self._flat[self._starts[number] : self._starts[number + 1]].reshape(height, width, self.channels)

    @property
    def nbytes(self) -> int:
        return self._starts[-1]

    def in_memory(self) -> VariableSizePixels:
        """A copy that needs no file."""
        return VariableSizePixels(np.array(self._flat), self.sizes, self.channels)


@dataclass(frozen=True)
class PackedDataset:
    """An open packed file.

    Attributes:
        path: the file.
        manifest: source, count, size, channels, classes, checksum and the like.
        pixels: ``[N, H, W, C]`` uint8, or pictures of their own sizes; mapped from the file and read-only.
        labels: ``[N]`` int64 or ``[N, A]`` uint8, in memory, or None.
    """

    path: Path
    manifest: dict[str, Any]
    pixels: np.ndarray | VariableSizePixels
    labels: np.ndarray | None

    @classmethod
    def open(cls, path: Path) -> PackedDataset:
        """Map a packed file; takes milliseconds whatever its size.

        Raises:
            ValueError: it is none, or is cut short.
        """
        with path.open("rb") as handle:  # one handle: another process may replace the file meanwhile
            manifest, end = _read_manifest(handle, path)
            sizes, end = _read_sizes(handle, manifest.get("sizes"), end)
            shape = (manifest["count"], manifest["size"], manifest["size"], manifest["channels"])
            of_all = np.prod(shape, dtype=np.int64) if sizes is None else (sizes.prod(1, dtype=np.int64) * shape[3]).sum()
            labels = _read_labels(handle, manifest["labels"], int(of_all), end)
            if end != of_all + (0 if labels is None else labels.nbytes):
                raise ValueError(
                    f"{path} is damaged: its parts don't have the sizes its manifest tells; remove it, it is made anew"
                )
            flat = np.memmap(handle, dtype=np.uint8, mode="r", shape=(int(of_all),))
            return cls(
                path, manifest, flat.reshape(shape) if sizes is None else VariableSizePixels(flat, sizes, shape[3]), labels
            )

    def checksum(self) -> int:
        """CRC-32 of the pixels as they are now, to be held against ``manifest["crc32"]``.

        Reads the file instead of the map, whose pages would count as this process's memory.
        """
        crc, left = 0, self.pixels.nbytes
        with self.path.open("rb") as handle:
            while left:
                part = handle.read(min(left, 2**22))
                crc, left = zlib.crc32(part, crc), left - len(part)
        return crc


def _read_sizes(handle: BinaryIO, described: dict[str, Any] | None, end: int) -> tuple[np.ndarray | None, int]:
    """The table of sizes that ends at ``end``, and where it begins; None where all are of one size."""
    if described is None:
        return None, end
    length = int(np.prod(described["shape"])) * np.dtype(described["dtype"]).itemsize
    return _read_labels(handle, described, max(0, end - length), end), end - length


def _read_labels(handle: BinaryIO, described: dict[str, Any] | None, start: int, end: int) -> np.ndarray | None:
    """What stands between ``start`` and ``end``, or None where the manifest knows of no labels."""
    if described is None or start >= end:
        return None
    handle.seek(start)
    shape, kind = described["shape"], np.dtype(described["dtype"])
    count = int(np.prod(shape, dtype=np.int64))
    data = bytearray(handle.read(min(end - start, count * kind.itemsize)))
    return np.frombuffer(data, dtype=kind).reshape(shape) if len(data) == count * kind.itemsize else None


def write_tail(handle: BinaryIO, labels: np.ndarray | None, sizes: np.ndarray | None, manifest: dict[str, Any]) -> None:
    """Complete a file whose pixels are written: labels, sizes, manifest, length, magic."""
    described: dict[str, Any] = {}
    for name, array in (("labels", labels), ("sizes", sizes)):
        described[name] = None if array is None else {"dtype": array.dtype.str, "shape": list(array.shape)}
        if array is not None:
            handle.write(np.ascontiguousarray(array).tobytes())
    text = json.dumps({**manifest, **described}).encode("utf-8")
    handle.write(text + _TAIL.pack(len(text), MAGIC))


def _read_manifest(handle: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """The manifest, and the place where it begins."""
    end = handle.seek(0, 2)
    if end >= _TAIL.size:
        handle.seek(end - _TAIL.size)
        length, magic = _TAIL.unpack(handle.read(_TAIL.size))
        start = end - _TAIL.size - length
        if magic == MAGIC and start >= 0:
            handle.seek(start)
            return json.loads(handle.read(length)), start
    raise ValueError(f"{path} is no packed file, or one cut short; remove it, it is made anew")
