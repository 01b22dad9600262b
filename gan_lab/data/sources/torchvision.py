"""SVHN and STL-10, through torchvision's readers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torchvision.datasets as published

from gan_lab.data.pictures import ArrayPictures
from gan_lab.data.sources.base import Source

DIGITS = tuple(map(str, range(10)))


class Torchvision(Source):
    """A torchvision data set with all its images in an array ``[N, C, H, W]`` and a ``split`` argument.

    Args:
        reader: name of the class in ``torchvision.datasets``.
        parts: its own splits, by the name used here.
        folder: its folder below the root.
        shared: the rest are :class:`Source`'s.
    """

    def __init__(self, *, reader: str, parts: dict[str, str], folder: str, **shared: Any) -> None:
        self._parts = dict(parts)
        self.splits = tuple(parts)
        super().__init__(**shared)
        self._reader = getattr(published, reader)
        self._folder = self.root / folder

    def pictures(self) -> ArrayPictures:
        try:
            stored = self._reader(str(self._folder), split=self._parts[self.split], download=True)
        except ModuleNotFoundError as error:
            raise ValueError(f"dataset={self.name} needs the package {error.name}: pip install {error.name}") from error
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise ValueError(
                f"dataset={self.name} is not whole under {self._folder} and could not be downloaded ({error}). "
                f"Put its files there as torchvision.datasets.{self._reader.__name__} lays them out, or set paths.data"
            ) from error
        labels = np.asarray(stored.labels, dtype=np.int64)
        classes = getattr(stored, "classes", DIGITS)
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return ArrayPictures(np.asarray(stored.data).transpose(0, 2, 3, 1), files, labels, classes)
