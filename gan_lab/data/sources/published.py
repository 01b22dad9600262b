"""The published data sets that torchvision reads: MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and their like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from gan_lab.data.images import ImageSet
from gan_lab.data.sources.base import Source


class Published(Source):
    """A torchvision data set that holds all its images in an array.

    Args:
        reader: name of the class in ``torchvision.datasets``.
        root: folder of the files in torchvision's own layout; downloaded into it when missing.
        train: the training images, or else the test images.
        shape: the rest are :class:`Source`'s.
    """

    def __init__(self, *, reader: str, root: str, train: bool = True, **shape: Any) -> None:
        super().__init__(**shape)
        self._reader = getattr(torchvision.datasets, reader)
        self._root = Path(root).expanduser()
        self._train = train

    def read(self) -> ImageSet:
        stored = self._open()
        images = torch.as_tensor(np.asarray(stored.data))
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(stored.targets, dtype=torch.int64)
        return ImageSet(images, labels, tuple(stored.classes))[self.choose(len(images))]

    def _open(self) -> Any:
        try:
            return self._reader(self._root, train=self._train, download=True)
        except (OSError, RuntimeError, EOFError) as error:
            where = self._root.resolve()
            raise ValueError(
                f"dataset={self.name} is not whole under {where} and could not be downloaded ({error}). "
                f"Put its files there as torchvision.datasets.{self._reader.__name__} lays them out, or set paths.data"
            ) from error
