"""Images as uint8 arrays and tensors, and the few things done to them on their way in and out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.utils.suggestions import index_of_name


@dataclass(frozen=True)
class ImageDataset:
    """A prepared data set: pixels in memory or mapped from a packed file, and which of them belong to the set.

    Attributes:
        pixels: ``[M, H, W, C]`` uint8, all images of the packed file, or whole pictures of their own sizes.
        labels: ``[M]`` int64 class numbers, ``[M, A]`` uint8 attributes, or None.
        classes: name of each class, or of each attribute.
        index: ``[N]`` int64, the images of the set among the M.
        origin: what stands for the pixels where it is known, such as a packed file's checksum.
        left_out: ``[K]`` int64, images that a limit has kept out of the set.
    """

    pixels: np.ndarray | VariableSizePixels
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    index: np.ndarray = field(kw_only=True)
    origin: str = ""
    excluded_index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64), kw_only=True)

    @classmethod
    def from_arrays(
        cls,
        pixels: np.ndarray | VariableSizePixels,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        origin: str = "",
    ) -> ImageDataset:
        """The set of all images there are."""
        return cls(pixels, labels, tuple(classes), index=np.arange(len(pixels)), origin=origin)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width, which all images have in common."""
        assert isinstance(self.pixels, np.ndarray), "whole pictures have no size in common"
        height, width, channels = self.pixels.shape[1:]
        return channels, height, width

    @property
    def channels(self) -> int:
        return self.pixels.channels if isinstance(self.pixels, VariableSizePixels) else self.pixels.shape[3]

    @property
    def sizes(self) -> np.ndarray:
        """``[N, 2]``, height and width of each image."""
        if isinstance(self.pixels, VariableSizePixels):
            return self.pixels.sizes[self.index]
        return np.tile(np.array(self.pixels.shape[1:3]), (len(self), 1))

    def format_size(self) -> str:
        """Channels, height and width in words, the smallest and the largest area where they differ."""
        if isinstance(self.pixels, np.ndarray):
            return "x".join(map(str, self.shape))
        order = self.sizes.prod(1, dtype=np.int64).argsort()
        ends = dict.fromkeys("x".join(map(str, (self.channels, *self.sizes[n]))) for n in order[[0, -1]])
        return " to ".join(ends)

    @property
    def multi_label(self) -> bool:
        """Whether labels are attributes, any number of which an image may have."""
        return self.labels is not None and self.labels.ndim == 2

    def fingerprint(self) -> str:
        """12 hexadecimal digits, equal for sets of the same images in the same order."""
        if isinstance(self.pixels, VariableSizePixels):
            assert self.origin, "whole pictures come from a packed file"
            shape: object = "whole"
        else:
            shape = self.shape
        digest = hashlib.sha256(repr((self.origin, shape)).encode())
        digest.update(np.ascontiguousarray(self.index).tobytes())
        if not self.origin:
            digest.update(np.ascontiguousarray(self.pixels).tobytes())
        return digest.hexdigest()[:12]

    def labels_fingerprint(self) -> str:
        """The same of their labels and the classes' names."""
        digest = hashlib.sha256(repr(self.classes).encode())
        if (labels := self.labels_of(slice(None))) is not None:
            digest.update(np.ascontiguousarray(labels.numpy()).tobytes())
        return digest.hexdigest()[:12]

    def images(self, which: Tensor | np.ndarray | slice) -> Tensor:
        """Images of the set by their place in it: ``[n, C, H, W]`` uint8, channels last in memory."""
        assert isinstance(self.pixels, np.ndarray), "whole pictures make no batch"
        gathered = self.pixels[self.index[np.asarray(which) if isinstance(which, Tensor) else which]]
        return torch.from_numpy(gathered).permute(0, 3, 1, 2)

    def image(self, place: int, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """One image of the set by its place in it, or a part of it, whatever its size: ``[C, H, W]`` uint8."""
        return torch.from_numpy(np.array(self.pixels[self.index[place]][rows, columns])).permute(2, 0, 1)

    def labels_of(self, which: Tensor | np.ndarray | slice) -> Tensor | None:
        """Their labels: ``[n]`` int64, ``[n, A]`` uint8, or None."""
        if self.labels is None:
            return None
        return torch.from_numpy(self.labels[self.index[np.asarray(which) if isinstance(which, Tensor) else which]])

    def only_classes(self, names: Sequence[str | int]) -> ImageDataset:
        """The images of some classes; their labels are numbered anew in the order given.

        Raises:
            ValueError: no such class, or no classes at all.
        """
        if self.labels is None or self.multi_label:
            raise ValueError("dataset.classes: this data set has no classes to choose from")
        wanted = [index_of_name(name, self.classes, "dataset.classes") for name in names]
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"dataset.classes={list(names)}: a class is named twice")
        number = np.full(len(self.classes), -1)
        number[wanted] = np.arange(len(wanted))
        labels = np.where(self.labels < 0, -1, number[self.labels])  # -1: unlabelled
        index = self.index[labels[self.index] >= 0]
        if not len(index):
            raise ValueError(f"dataset.classes={list(names)}: no image is of these classes")
        return replace(self, labels=labels, classes=tuple(self.classes[n] for n in wanted), index=index)

    def only_attributes(self, names: Sequence[str]) -> ImageDataset:
        """The images that have every attribute named, and none of those named with a minus sign.

        Raises:
            ValueError: no such attribute, no attributes at all, or no image left.
        """
        if self.labels is None or not self.multi_label:
            raise ValueError("dataset.attributes: this data set has no attributes; dataset.classes chooses classes")
        keep = np.ones(len(self.index), dtype=bool)
        for name in names:
            column = index_of_name(name.removeprefix("-"), self.classes, "dataset.attributes")
            keep &= self.labels[self.index, column] == (0 if name.startswith("-") else 1)
        if not keep.any():
            raise ValueError(f"dataset.attributes={list(names)}: no image has them all")
        return replace(self, index=self.index[keep])

    def random_subset(self, limit: int, seed: int) -> ImageDataset:
        """A random choice of ``limit`` images that depends on ``seed`` alone, in their old order."""
        if limit >= len(self):
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        chosen, rest = np.sort(order[:limit].numpy()), np.sort(order[limit:].numpy())
        return replace(self.subset(chosen), excluded_index=np.concatenate([self.excluded_index, self.index[rest]]))

    def excluded(self) -> ImageDataset:
        """What a limit has kept out of the set, as a set of its own."""
        return replace(self, index=self.excluded_index, excluded_index=self.excluded_index[:0])

    def subset(self, which: np.ndarray) -> ImageDataset:
        """Some images, by their place in the set."""
        return replace(self, index=self.index[which])

    def counts(self) -> dict[str, int]:
        """How many images each class, or attribute, has."""
        if self.labels is None:
            return {}
        own = self.labels[self.index]
        numbers = own.sum(0, dtype=np.int64) if own.ndim == 2 else np.bincount(own[own >= 0], minlength=len(self.classes))
        unlabelled = {"(unlabelled)": int((own < 0).sum())} if own.ndim == 1 and (own < 0).any() else {}
        return dict(zip(self.classes, map(int, numbers), strict=True)) | unlabelled
