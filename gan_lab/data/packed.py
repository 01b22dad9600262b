"""The packed file: a data set decoded once, in a form that costs nothing to read.

Layout: the images' pixels (``[N, H, W, C]`` uint8), the labels, a manifest in JSON, its length (8 bytes, little endian), and
:data:`MAGIC`. The manifest stands last, so that a file can be written without knowing how many images will turn out readable,
and a file without it is not a packed file.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = b"GANPACK1"
_TAIL = struct.Struct("<Q8s")


@dataclass(frozen=True)
class Packed:
    """An open packed file.

    Attributes:
        path: the file.
        manifest: source, count, size, channels, classes, checksum and the like.
        pixels: ``[N, H, W, C]`` uint8, mapped from the file and read-only.
        labels: ``[N]`` int64 or ``[N, A]`` uint8, in memory, or None.
    """

    path: Path
    manifest: dict[str, Any]
    pixels: np.ndarray
    labels: np.ndarray | None

    @classmethod
    def open(cls, path: Path) -> Packed:
        """Map a packed file; takes milliseconds whatever its size.

        Raises:
            ValueError: it is none, or is cut short.
        """
        with path.open("rb") as handle:  # one handle: another process may replace the file meanwhile
            manifest, end = _read_manifest(handle, path)
            shape = (manifest["count"], manifest["size"], manifest["size"], manifest["channels"])
            pixels_size = int(np.prod(shape, dtype=np.int64))
            labels = _read_labels(handle, manifest["labels"], pixels_size, end)
            if end != pixels_size + (0 if labels is None else labels.nbytes):
                raise ValueError(
                    f"{path} is damaged: its parts don't have the sizes its manifest tells; remove it, it is made anew"
                )
            return cls(path, manifest, np.memmap(handle, dtype=np.uint8, mode="r", shape=shape), labels)

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


def _read_labels(handle: BinaryIO, described: dict[str, Any] | None, start: int, end: int) -> np.ndarray | None:
    """What stands between ``start`` and ``end``, or None where the manifest knows of no labels."""
    if described is None or start >= end:
        return None
    handle.seek(start)
    shape, kind = described["shape"], np.dtype(described["dtype"])
    count = int(np.prod(shape, dtype=np.int64))
    data = bytearray(handle.read(min(end - start, count * kind.itemsize)))
    return np.frombuffer(data, dtype=kind).reshape(shape) if len(data) == count * kind.itemsize else None


def write_tail(handle: BinaryIO, labels: np.ndarray | None, manifest: dict[str, Any]) -> None:
    """Complete a file whose pixels are written: labels, manifest, length, magic."""
    described = None if labels is None else {"dtype": labels.dtype.str, "shape": list(labels.shape)}
    if labels is not None:
        handle.write(np.ascontiguousarray(labels).tobytes())
    text = json.dumps({**manifest, "labels": described}).encode("utf-8")
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
