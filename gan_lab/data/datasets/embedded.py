"""The dataset included in the package: the 10,000 test images of Fashion-MNIST."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import gan_lab.data
from gan_lab.data.class_names import FASHION
from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.idx_format import read_idx
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.raw_images import ArrayImages
from gan_lab.utils.progress import Progress, silent

SIDE = 28
"""Height and width of the images in pixels."""


class EmbeddedFashionMnist(DatasetBuilder):
    """28x28 grayscale images of clothes in ten classes (Xiao, Rasul, Vollgraf 2017; MIT license, see ``data/embedded``).

    It needs no packed file and no writable directory: the images are decoded in memory, all at once.
    """

    def raw_images(self) -> ArrayImages:
        files = [
            Path(gan_lab.data.__path__[0]) / "embedded" / f"fashion-mnist-t10k-{content}-ubyte.gz"
            for content in ("images-idx3", "labels-idx1")
        ]
        images, labels = map(read_idx, files)
        return ArrayImages(images, files, labels.astype(np.int64), FASHION)

    def load(self, progress: Progress = silent) -> ImageDataset:
        raw_images = self.raw_images()
        pixels = self.image_format.decode_gray(raw_images.pixels)
        data = ImageDataset.from_arrays(pixels, raw_images.labels, raw_images.classes)
        enlarged = len(data) if self.image_format.enlarges((SIDE, SIDE)) else 0
        return self.select(replace(data, enlarged=enlarged))
