"""A prepared dataset in memory or memory-mapped, and the selection of images from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lab.data.packed_file import VariableSizePixels, check_mapping
from gan_lab.utils.suggestions import Typed, as_typed, index_of_name


@dataclass(frozen=True)
class ImageDataset:
    """N of the M images in memory or in a packed file, with their labels.

    Attributes:
        pixels: all M images: uint8 ``[M, H, W, C]``, or images of different sizes.
        labels: class indices ``[M]`` int64 (-1 for unlabeled images), binary attributes ``[M, A]`` uint8, or None.
        classes: names of the classes or attributes.
        index: ``[N]`` int64, the images of this dataset as indices into ``pixels``.
        origin: a string that identifies ``pixels``, such as a packed file's checksum; empty if there is none.
        excluded_index: ``[K]`` int64, the images that :meth:`random_subset` left out.
        enlarged: how many of the M images had fewer pixels than they have now.
    """

    pixels: np.ndarray | VariableSizePixels
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    index: np.ndarray = field(kw_only=True)
    origin: str = ""
    excluded_index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64), kw_only=True)
    enlarged: int = field(default=0, kw_only=True)

    @classmethod
    def from_arrays(
        cls,
        pixels: np.ndarray | VariableSizePixels,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        origin: str = "",
    ) -> ImageDataset:
        """A dataset of all images in ``pixels``."""
        return cls(pixels, labels, tuple(classes), index=np.arange(len(pixels)), origin=origin)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image; not available for images of different sizes."""
        assert isinstance(self.pixels, np.ndarray), "images have different sizes"
        height, width, channels = self.pixels.shape[1:]
        return channels, height, width

    @property
    def channels(self) -> int:
        return self.pixels.channels if isinstance(self.pixels, VariableSizePixels) else self.pixels.shape[3]

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, ``[N, 2]``."""
        if isinstance(self.pixels, VariableSizePixels):
            return self.pixels.sizes[self.index]
        return np.tile(np.array(self.pixels.shape[1:3]), (len(self), 1))

    def format_size(self) -> str:
        """``CxHxW`` as text; the images of smallest and largest area if sizes differ: ``3x9x50 to 3x41x27``."""
        if isinstance(self.pixels, np.ndarray):
            return "x".join(map(str, self.shape))
        order = self.sizes.prod(1, dtype=np.int64).argsort()
        ends = dict.fromkeys("x".join(map(str, (self.channels, *self.sizes[n]))) for n in order[[0, -1]])
        return " to ".join(ends)

    @property
    def multi_label(self) -> bool:
        """Whether labels are attributes, of which an image may have any number."""
        return self.labels is not None and self.labels.ndim == 2

    def fingerprint(self) -> str:
        """12 hexadecimal digits that identify the images and their order."""
        if isinstance(self.pixels, VariableSizePixels):
            assert self.origin, "images of different sizes always have an origin"
            shape: object = "whole"
        else:
            shape = self.shape
        digest = hashlib.sha256(repr((self.origin, shape)).encode())
        digest.update(np.ascontiguousarray(self.index).tobytes())
        if not self.origin:
            digest.update(np.ascontiguousarray(self.pixels).tobytes())
        return digest.hexdigest()[:12]

    def labels_fingerprint(self) -> str:
        """12 hexadecimal digits that identify the labels and the class names."""
        digest = hashlib.sha256(repr(self.classes).encode())
        if (labels := self.labels_of(slice(None))) is not None:
            digest.update(np.ascontiguousarray(labels.numpy()).tobytes())
        return digest.hexdigest()[:12]

    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps to recognize the data: fingerprints of images and labels, and the class names."""
        return {"images": self.fingerprint(), "labels": self.labels_fingerprint(), "classes": list(self.classes)}

    def images(self, which: Tensor | np.ndarray | slice) -> Tensor:
        """A batch of images by their indices in this dataset: uint8 ``[n, C, H, W]`` in channels-last memory format."""
        assert isinstance(self.pixels, np.ndarray), "images have different sizes"
        check_mapping(self.pixels)
        gathered = self.pixels[self.index[np.asarray(which) if isinstance(which, Tensor) else which]]
        return torch.from_numpy(gathered).permute(0, 3, 1, 2)

    def image(self, number: int, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """One image of any size, or a crop of it, by its index in this dataset: uint8 ``[C, H, W]``."""
        check_mapping(self.pixels)
        return torch.from_numpy(np.array(self.pixels[self.index[number]][rows, columns])).permute(2, 0, 1)

    def labels_of(self, which: Tensor | np.ndarray | slice) -> Tensor | None:
        """Labels by index in this dataset: class indices ``[n]`` int64, attributes ``[n, A]`` uint8, or None."""
        if self.labels is None:
            return None
        return torch.from_numpy(self.labels[self.index[np.asarray(which) if isinstance(which, Tensor) else which]])

    def only_classes(self, names: Sequence[Typed]) -> ImageDataset:
        """The images of the given classes, by name or index; the classes are renumbered in the given order.

        Raises:
            ValueError: the dataset has no classes or no such class, a class is given twice, or no image is left.
        """
        if self.labels is None or self.multi_label:
            raise ValueError("dataset.classes: this dataset has no classes; remove dataset.classes")
        wanted = [index_of_name(name, self.classes, "dataset.classes") for name in names]
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"dataset.classes={list(names)}: a class is given twice")
        new_index = np.full(len(self.classes), -1)
        new_index[wanted] = np.arange(len(wanted))
        labels = np.where(self.labels < 0, -1, new_index[self.labels])  # -1: unlabeled
        index = self.index[labels[self.index] >= 0]
        if not len(index):
            raise ValueError(f"dataset.classes={list(names)}: no images belong to these classes")
        return replace(self, labels=labels, classes=tuple(self.classes[n] for n in wanted), index=index)

    def only_attributes(self, names: Sequence[Typed]) -> ImageDataset:
        """The images that have every attribute given as ``name`` and none of those given as ``-name``.

        Raises:
            ValueError: the dataset has no attributes or no such attribute, or no image is left.
        """
        if self.labels is None or not self.multi_label:
            raise ValueError("dataset.attributes: this dataset has no attributes; dataset.classes selects classes")
        keep = np.ones(len(self.index), dtype=bool)
        for name in map(as_typed, names):
            column = index_of_name(name.removeprefix("-"), self.classes, "dataset.attributes")
            keep &= self.labels[self.index, column] == (0 if name.startswith("-") else 1)
        if not keep.any():
            raise ValueError(f"dataset.attributes={list(names)}: no images match all of them")
        return replace(self, index=self.index[keep])

    def random_subset(self, limit: int, seed: int) -> ImageDataset:
        """A random subset of ``limit`` images, which depends only on ``seed``; the order is kept."""
        if limit >= len(self):
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        chosen, rest = np.sort(order[:limit].numpy()), np.sort(order[limit:].numpy())
        return replace(self.subset(chosen), excluded_index=np.concatenate([self.excluded_index, self.index[rest]]))

    def excluded(self) -> ImageDataset:
        """The images that :meth:`random_subset` left out, as a dataset."""
        return replace(self, index=self.excluded_index, excluded_index=self.excluded_index[:0])

    def subset(self, which: np.ndarray) -> ImageDataset:
        """The images with the given indices in this dataset, ``[n]`` int64."""
        return replace(self, index=self.index[which])

    def counts(self) -> dict[str, int]:
        """Number of images with each class or attribute, by name; unlabeled images count as ``(unlabeled)``."""
        if self.labels is None:
            return {}
        labels = self.labels[self.index]
        if labels.ndim == 2:
            return dict(zip(self.classes, map(int, labels.sum(0, dtype=np.int64)), strict=True))
        counts = np.bincount(labels[labels >= 0], minlength=len(self.classes))
        unlabeled = {"(unlabeled)": int((labels < 0).sum())} if (labels < 0).any() else {}
        return dict(zip(self.classes, map(int, counts), strict=True)) | unlabeled
