"""The packed file: a dataset decoded once and stored so that it can be memory-mapped.

Layout: the pixels (uint8 ``[N, H, W, C]``, or the pixels of each image in turn if sizes differ), the labels, the table of sizes
if sizes differ, a JSON manifest, the manifest's length (8 bytes, little-endian), and :data:`MAGIC`. The manifest comes last so
that a file can be written before the number of readable images is known, and so that an incomplete file is recognized.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from itertools import accumulate
from mmap import mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gan_lab.storage.json_records import parse_json

MAGIC = b"GANPACK1"
_TAIL = struct.Struct("<Q8s")


class VariableSizePixels:
    """Images of different sizes, stored one after another in memory or in a mapped file; can be indexed like a list of arrays.

    Args:
        flat: all pixels, uint8, one-dimensional.
        sizes: ``[N, 2]``, height and width of each image.
        channels: of every image.
    """

    def __init__(self, flat: np.ndarray, sizes: np.ndarray, channels: int) -> None:
        self._flat, self.sizes, self.channels = flat, sizes, channels
        self._starts = [0, *accumulate((sizes.prod(1, dtype=np.int64) * channels).tolist())]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> np.ndarray:
        """One image, uint8 ``[H, W, C]``."""
        height, width = self.sizes[index]
        return self._flat[self._starts[index] : self._starts[index + 1]].reshape(height, width, self.channels)

    @property
    def nbytes(self) -> int:
        return self._starts[-1]

    def in_memory(self) -> VariableSizePixels:
        """A copy that doesn't depend on the mapped file."""
        return VariableSizePixels(np.array(self._flat), self.sizes, self.channels)

    @property
    def flat(self) -> np.ndarray:
        """All pixels, uint8, one-dimensional."""
        return self._flat


@dataclass(frozen=True)
class PackedDataset:
    """An open packed file.

    Attributes:
        path: the file.
        manifest: source, image count, size, channels, class names, checksum and other metadata.
        pixels: uint8 ``[N, H, W, C]``, or images of different sizes; memory-mapped and read-only.
        labels: class indices ``[N]`` int64, attributes ``[N, A]`` uint8, or None; in memory.
    """

    path: Path
    manifest: dict[str, Any]
    pixels: np.ndarray | VariableSizePixels
    labels: np.ndarray | None

    @classmethod
    def open(cls, path: Path) -> PackedDataset:
        """Map a packed file into memory; takes milliseconds whatever its size.

        Raises:
            ValueError: the file is truncated, damaged or no packed file.
            OSError: it can't be read.
        """
        try:
            return cls._map(path)
        except (ValueError, OSError):
            raise
        except Exception as error:  # a manifest may have any content
            raise ValueError(f"{path} is damaged ({error!r}); delete it, and it will be created again") from error

    @classmethod
    def _map(cls, path: Path) -> PackedDataset:
        with path.open("rb") as handle:  # a single handle, because another process may replace the file
            manifest, end = _read_manifest(handle, path)
            sizes, end = _read_sizes(handle, manifest.get("sizes"), end)
            shape = (manifest["count"], manifest["size"], manifest["size"], manifest["channels"])
            total = np.prod(shape, dtype=np.int64) if sizes is None else (sizes.prod(1, dtype=np.int64) * shape[3]).sum()
            labels = _read_array(handle, manifest["labels"], int(total), end)
            if end != total + (0 if labels is None else labels.nbytes):
                raise ValueError(
                    f"{path} is damaged: its sections don't have the lengths given in its manifest; delete it, and it will be "
                    "created again"
                )
            flat = np.memmap(handle, dtype=np.uint8, mode="r", shape=(int(total),))
            return cls(
                path, manifest, flat.reshape(shape) if sizes is None else VariableSizePixels(flat, sizes, shape[3]), labels
            )

    def checksum(self) -> int:
        """CRC-32 of the stored pixels, to compare with ``manifest["crc32"]``.

        It reads the file instead of the memory map, whose pages would count as memory of this process.
        """
        crc, remaining = 0, self.pixels.nbytes
        with self.path.open("rb") as handle:
            while remaining:
                block = handle.read(min(remaining, 2**22))
                crc, remaining = zlib.crc32(block, crc), remaining - len(block)
        return crc

    def check_content(self) -> None:
        """Compare the pixels with the manifest's checksum; reads the whole file: 0.7 s for a GiB that the system has cached.

        Raises:
            ValueError: they are not those that were written.
        """
        if self.checksum() != self.manifest["crc32"]:
            raise ValueError(f"{self.path} is damaged: its pixels have changed; delete it, and it will be created again")


def mapped_file(pixels: np.ndarray | VariableSizePixels) -> Path | None:
    """The packed file that pixels are mapped from; None for pixels in memory."""
    flat = pixels.flat if isinstance(pixels, VariableSizePixels) else pixels
    return Path(flat.filename) if isinstance(flat, np.memmap) and flat.filename is not None else None


def check_mapping(pixels: np.ndarray | VariableSizePixels) -> None:
    """Check that a mapped file still has all pixels: the system ends a process that reads beyond the end of a file.

    It takes a microsecond. A file that is cut short in the middle of the next read is not noticed.

    Raises:
        ValueError: the file has become shorter.
    """
    array: object = pixels.flat if isinstance(pixels, VariableSizePixels) else pixels
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap) and array.size() < len(array):
        raise ValueError(
            f"{mapped_file(pixels)} has become shorter while it was read: {array.size():,} bytes instead of at least "
            f"{len(array):,}; delete it, and it will be created again"
        )


def _read_sizes(handle: BinaryIO, header: dict[str, Any] | None, end: int) -> tuple[np.ndarray | None, int]:
    """The table of sizes that ends at offset ``end``, and its start; None if all images have the same size."""
    if header is None:
        return None, end
    length = int(np.prod(header["shape"])) * np.dtype(header["dtype"]).itemsize
    return _read_array(handle, header, max(0, end - length), end), end - length


def _read_array(handle: BinaryIO, header: dict[str, Any] | None, start: int, end: int) -> np.ndarray | None:
    """The array between two offsets; None if it has no header or the section is too short."""
    if header is None or start >= end:
        return None
    handle.seek(start)
    shape, dtype = header["shape"], np.dtype(header["dtype"])
    count = int(np.prod(shape, dtype=np.int64))
    data = bytearray(handle.read(min(end - start, count * dtype.itemsize)))
    return np.frombuffer(data, dtype=dtype).reshape(shape) if len(data) == count * dtype.itemsize else None


def write_tail(handle: BinaryIO, labels: np.ndarray | None, sizes: np.ndarray | None, manifest: dict[str, Any]) -> None:
    """Complete a file whose pixels are written: append labels, sizes, manifest, its length and the magic number."""
    headers: dict[str, Any] = {}
    for name, array in (("labels", labels), ("sizes", sizes)):
        headers[name] = None if array is None else {"dtype": array.dtype.str, "shape": list(array.shape)}
        if array is not None:
            handle.write(np.ascontiguousarray(array).tobytes())
    text = json.dumps({**manifest, **headers}).encode("utf-8")
    handle.write(text + _TAIL.pack(len(text), MAGIC))


def _read_manifest(handle: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """The manifest and its start offset."""
    end = handle.seek(0, 2)
    if end >= _TAIL.size:
        handle.seek(end - _TAIL.size)
        length, magic = _TAIL.unpack(handle.read(_TAIL.size))
        start = end - _TAIL.size - length
        if magic == MAGIC and start >= 0:
            handle.seek(start)
            return parse_json(handle.read(length)), start
    raise ValueError(f"{path} is truncated or no packed file; delete it, and it will be created again")
