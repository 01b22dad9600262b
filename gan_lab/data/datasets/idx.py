"""MNIST, Fashion-MNIST and KMNIST: 60,000 + 10,000 grayscale images of 28x28 pixels in the IDX format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torchvision.datasets as published

from gan_lab.data.class_names import DIGITS, FASHION, KANA
from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.idx_format import read_idx
from gan_lab.data.raw_images import ArrayImages


@dataclass(frozen=True)
class Kind:
    """One of the three datasets.

    Attributes:
        published: the torchvision class, which has the URLs and the checksums.
        classes: names of the classes.
    """

    published: Any
    classes: tuple[str, ...]


KINDS = {
    "MNIST": Kind(published.MNIST, DIGITS),
    "FashionMNIST": Kind(published.FashionMNIST, FASHION),
    "KMNIST": Kind(published.KMNIST, KANA),
}


class Idx(DatasetBuilder):
    """MNIST or a drop-in replacement from torchvision's file layout; missing files are downloaded there.

    The layout is ``<root>/MNIST/raw/train-images-idx3-ubyte``, gzipped or not.

    Args:
        kind: ``MNIST``, ``FashionMNIST`` or ``KMNIST``; also the name of the directory.
        shared: arguments of :class:`DatasetBuilder`.
    """

    splits = ("train", "test", "all")

    def __init__(self, *, kind: str, **shared: Any) -> None:
        super().__init__(**shared)
        self._kind = KINDS[kind]
        self._folder = self.root / kind / "raw"

    def raw_images(self) -> ArrayImages:
        parts = {"train": ["train"], "test": ["t10k"], "all": ["train", "t10k"]}[self.split]
        image_files, label_files = (
            [self._find_or_download(f"{part}-{content}-ubyte.gz") for part in parts]
            for content in ("images-idx3", "labels-idx1")
        )
        images, labels = (np.concatenate([read_idx(path) for path in paths]) for paths in (image_files, label_files))
        if len(images) != len(labels):
            raise ValueError(f"dataset={self.name}: {len(images)} images but {len(labels)} labels in {self._folder}")
        return ArrayImages(images, [*image_files, *label_files], labels.astype(np.int64), self._kind.classes)

    def _find_or_download(self, name: str) -> Path:
        uncompressed = self._folder / name.removesuffix(".gz")
        if uncompressed.is_file():
            return uncompressed
        checksum = dict(self._kind.published.resources)[name]
        urls = [mirror + name for mirror in self._kind.published.mirrors]
        return self.published_file(self._folder, name, urls, checksum)
