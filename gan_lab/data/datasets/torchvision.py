"""SVHN and STL-10, read by torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torchvision.datasets as published

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.raw_images import ArrayImages

DIGITS = tuple(map(str, range(10)))


class Torchvision(DatasetBuilder):
    """A torchvision dataset that takes a ``split`` argument and has its images in an array ``data`` of ``[N, C, H, W]``.

    Args:
        reader: name of the class in ``torchvision.datasets``.
        parts: for each value of ``dataset.split``, the torchvision splits that are concatenated.
        folder: directory below ``root``.
        shared: arguments of :class:`DatasetBuilder`.
    """

    def __init__(self, *, reader: str, parts: dict[str, list[str]], folder: str, **shared: Any) -> None:
        self._parts = dict(parts)
        self.splits = tuple(parts)
        super().__init__(**shared)
        self._reader = getattr(published, reader)
        self._folder = self.root / folder

    def raw_images(self) -> ArrayImages:
        parts = [self._open(part) for part in self._parts[self.split]]
        pixels = np.concatenate([np.asarray(part.data) for part in parts]).transpose(0, 2, 3, 1)
        labels = np.concatenate([np.asarray(part.labels, dtype=np.int64) for part in parts])
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return ArrayImages(pixels, files, labels, getattr(parts[0], "classes", DIGITS))

    def _open(self, part: str) -> Any:
        try:
            return self._reader(str(self._folder), split=part, download=self.download)
        except ModuleNotFoundError as error:
            raise ValueError(f"dataset={self.name} needs the package {error.name}: pip install {error.name}") from error
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise ValueError(
                f"dataset={self.name} is incomplete in {self._folder} and could not be downloaded ({error}). Put the files of "
                f"torchvision.datasets.{self._reader.__name__} there, or set paths.data"
            ) from error
