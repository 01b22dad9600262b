"""MNIST, Fashion-MNIST and KMNIST: 60,000 + 10,000 grey images of 28x28 in the idx format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torchvision.datasets as published

from gan_lab.data.class_names import DIGITS, FASHION, KANA
from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.idx_format import read_idx
from gan_lab.data.raw_images import ArrayImages


@dataclass(frozen=True)
class Kind:
    """One of the three; addresses and checksums are those torchvision knows."""

    published: Any
    classes: tuple[str, ...]


KINDS = {
    "MNIST": Kind(published.MNIST, DIGITS),
    "FashionMNIST": Kind(published.FashionMNIST, FASHION),
    "KMNIST": Kind(published.KMNIST, KANA),
}


class Idx(DatasetBuilder):
    """Found as torchvision lays it out (``MNIST/raw/train-images-idx3-ubyte``, gzipped or not), or downloaded there.

    Args:
        kind: ``MNIST``, ``FashionMNIST`` or ``KMNIST``; also the folder's name.
        shared: the rest are :class:`DatasetBuilder`'s.
    """

    splits = ("train", "test", "all")

    def __init__(self, *, kind: str, **shared: Any) -> None:
        super().__init__(**shared)
        self._kind = KINDS[kind]
        self._folder = self.root / kind / "raw"

    def raw_images(self) -> ArrayImages:
        parts = {"train": ["train"], "test": ["t10k"], "all": ["train", "t10k"]}[self.split]
        files = [[self._file(f"{part}-{what}-ubyte.gz") for part in parts] for what in ("images-idx3", "labels-idx1")]
        images, labels = (np.concatenate([read_idx(path) for path in paths]) for paths in files)
        if len(images) != len(labels):
            raise ValueError(f"dataset={self.name}: {len(images)} images but {len(labels)} labels under {self._folder}")
        return ArrayImages(images, [*files[0], *files[1]], labels.astype(np.int64), self._kind.classes)

    def _file(self, name: str) -> Any:
        unpacked = self._folder / name.removesuffix(".gz")
        if unpacked.is_file():
            return unpacked
        checksum = dict(self._kind.published.resources)[name]
        addresses = [mirror + name for mirror in self._kind.published.mirrors]
        return self.published_file(self._folder, name, addresses, checksum)
