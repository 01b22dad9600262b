"""The data set inside the package: the 10,000 test images of Fashion-MNIST."""

from __future__ import annotations

import gzip
from importlib.resources import files

import torch

from gan_lab.data.images import ImageSet
from gan_lab.data.sources.base import Source

CLASSES = ("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


class EmbeddedFashionMnist(Source):
    """28x28 grey garments, ten classes (Xiao, Rasul, Vollgraf 2017; MIT licence, kept beside the files)."""

    def read(self) -> ImageSet:
        images = _idx("fashion-mnist-t10k-images-idx3-ubyte.gz", header=16).reshape(-1, 1, 28, 28)
        labels = _idx("fashion-mnist-t10k-labels-idx1-ubyte.gz", header=8).long()
        return ImageSet(images, labels, CLASSES)[self.choose(len(images))]


def _idx(name: str, header: int) -> torch.Tensor:
    """The values of a gzipped idx file of unsigned bytes, as one row."""
    packed = (files("gan_lab.data") / "embedded" / name).read_bytes()
    return torch.frombuffer(bytearray(gzip.decompress(packed)), dtype=torch.uint8)[header:]
