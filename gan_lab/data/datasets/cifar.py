"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 color images of 32x32 pixels (Krizhevsky 2009)."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torchvision.datasets as published

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.raw_images import ArrayImages


@dataclass(frozen=True)
class Kind:
    """File layout of one of the two datasets.

    Attributes:
        published: the torchvision class, which has the URL and the checksum.
        folder: directory inside the archive.
        train, test: files of each split.
        meta: file with the class names.
        labels: key of the labels in a batch file.
        names: key of the class names in ``meta``.
    """

    published: Any
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    names: str


KINDS = {
    "CIFAR10": Kind(
        published.CIFAR10,
        "cifar-10-batches-py",
        tuple(f"data_batch_{n}" for n in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        "labels",
        "label_names",
    ),
    "CIFAR100": Kind(published.CIFAR100, "cifar-100-python", ("train",), ("test",), "meta", "fine_labels", "fine_label_names"),
}


class Cifar(DatasetBuilder):
    """CIFAR from its published Python archive or the directory extracted from it; downloads the archive if both are missing.

    Args:
        kind: ``CIFAR10`` or ``CIFAR100``.
        shared: arguments of :class:`DatasetBuilder`.
    """

    splits = ("train", "test", "all")

    def __init__(self, *, kind: str, **shared: Any) -> None:
        super().__init__(**shared)
        self._kind = KINDS[kind]

    def raw_images(self) -> ArrayImages:
        kind = self._kind
        parts = {"train": kind.train, "test": kind.test, "all": kind.train + kind.test}[self.split]
        location, read = self._open()
        batches = [read_pickle(read(part), f"{location}/{part}") for part in parts]
        meta = read_pickle(read(kind.meta), f"{location}/{kind.meta}")
        try:
            pixels = np.concatenate([np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32) for batch in batches])
            labels = np.concatenate([np.asarray(batch[kind.labels], dtype=np.int64) for batch in batches])
            files = [location / part for part in (*parts, kind.meta)] if location.is_dir() else [location]
            return ArrayImages(pixels.transpose(0, 2, 3, 1), files, labels, tuple(map(str, meta[kind.names])))
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"dataset={self.name}: {location} doesn't have the published layout ({error})") from error

    def _open(self) -> tuple[Path, Callable[[str], bytes]]:
        """The extracted directory if it exists, else the archive; and a function that reads one of its files by name."""
        folder = self.root / self._kind.folder
        if folder.is_dir():
            return folder, lambda name: _read_file(folder / name, self.name)
        url, checksum = self._kind.published.url, self._kind.published.tgz_md5
        archive = self.published_file(self.root, url.rsplit("/", 1)[-1], [url], checksum)

        def read(name: str) -> bytes:
            with tarfile.open(archive) as tar:
                member = tar.extractfile(f"{self._kind.folder}/{name}")
                assert member is not None, "the archive's checksum was verified, so it contains all files"
                return member.read()

        return archive, read


def _read_file(path: Path, dataset: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"dataset={dataset}: {path} can't be read ({error.strerror}); delete the directory to download the dataset again"
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler restricted to built-in containers and numpy arrays, so that a file can't execute code."""

    allowed = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


def read_pickle(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary stored in a Python 2 or 3 pickle, without executing code from it.

    Args:
        data: content of the file.
        where: path of the file, for messages.

    Raises:
        ValueError: the pickle is truncated or damaged, is no dictionary, or contains more than plain data.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(f"{where} is damaged or no CIFAR file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{where} is no CIFAR file: it contains no dictionary")
    return content
