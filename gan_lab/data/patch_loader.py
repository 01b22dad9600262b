"""Batches of patches for super-resolution, each with its low-resolution version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lab.data.degradation import Degradation, reflect_pad
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch, BatchLoader

MARGIN = 8
"""Low-resolution pixels around a patch that are degraded with it and then cropped, so that a patch equals the same part of the
degraded whole image."""


class PatchLoader(BatchLoader):
    """Random patches ``[N, C, size, size]`` and their degraded versions ``[N, C, size / scale, size / scale]``.

    Position, orientation and random degradation are drawn for each patch and depend only on the seed and the epoch. An image
    smaller than a patch is extended by reflection.

    Args:
        data: images of one size or of different sizes.
        degradation: makes the low-resolution patches.
        size: height and width of a patch, a multiple of the scale.
        patches_per_image: patches of each image in an epoch.
        random_flip_rot: whether each patch gets one of the eight flips and rotations; else ``mirror`` applies.
        shared: arguments of :class:`BatchLoader`.

    Raises:
        ValueError: ``size`` is no multiple of the scale, or the images are too small.
    """

    def __init__(
        self,
        data: ImageDataset,
        *,
        degradation: Degradation,
        size: int,
        patches_per_image: int,
        random_flip_rot: bool,
        **shared: Any,
    ) -> None:
        scale = degradation.scale
        check_patches(size, scale, patches_per_image)
        check_sides(data.sizes, scale, "image {}".format)
        self._sizes = data.sizes.tolist()
        height, width = data.sizes[data.sizes.prod(1, dtype=np.int64).argmax()]
        if max(height, width) < size:
            raise ValueError(
                f"degradation.patch={size}: the largest image has only {height}x{width} pixels; choose a smaller patch"
            )
        self._patches_per_image = patches_per_image
        super().__init__(data, **shared)
        self.degradation, self.size, self._random_flip_rot = degradation, size, random_flip_rot

    def __len__(self) -> int:
        return len(self.data) * self._patches_per_image

    def epoch_permutation(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Image indices of an epoch in order, ``[N]`` int64, and the random seed of each patch, ``[N]`` int64."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self), generator=generator) % len(self.data)
        seeds = torch.randint(2**62, (len(order),), generator=generator)
        return order[: self.images_per_epoch], seeds[: self.images_per_epoch]

    def _gather(self, which: Tensor, seeds: Tensor) -> Batch:
        pairs = [self._make_patch(number, seed) for number, seed in zip(which.tolist(), seeds.tolist(), strict=True)]
        high, low = (torch.stack(side) for side in zip(*pairs, strict=True))
        labels = self.data.labels_of(which)
        labels = None if labels is None else self._to_device(labels)
        high, low = (self._to_network_input(self._to_device(side)) for side in (high, low))
        return Batch(high, labels, low)

    def _make_patch(self, number: int, seed: int) -> tuple[Tensor, Tensor]:
        """A random patch of image ``number`` and its low-resolution version, uint8 ``[C, H, W]``."""
        generator = torch.Generator().manual_seed(seed)
        scale, size = self.degradation.scale, self.size
        length = [side // scale * scale for side in self._sizes[number]]
        top, left = (scale * _random_below(max(0, side - size) // scale + 1, generator) for side in length)
        margin = MARGIN * scale
        start = max(0, top - margin), max(0, left - margin)
        end = min(length[0], top + size + margin), min(length[1], left + size + margin)
        crop = self.data.image(number, slice(start[0], end[0]), slice(start[1], end[1]))  # reads only this part of the file
        if min(length) < size:
            crop = reflect_pad(crop, 0, max(0, size - length[0]), 0, max(0, size - length[1]))
        low = self.degradation(crop, generator)
        row, column, low_size = top - start[0], left - start[1], size // scale
        high = crop[:, row : row + size, column : column + size]
        low = low[:, row // scale : row // scale + low_size, column // scale : column // scale + low_size]
        orientation = _random_below(8, generator)
        if not self._random_flip_rot:
            orientation = orientation % 2 if self._mirror else 0
        return dihedral_transform(high, orientation), dihedral_transform(low, orientation)


def check_patches(size: int, scale: int, patches_per_image: int) -> None:
    """Raise ValueError unless patches of ``size`` pixels can be degraded by ``scale``, and there are any."""
    if size % scale or size < scale:
        raise ValueError(f"degradation.patch={size}: must be a multiple of degradation.scale={scale}")
    if patches_per_image < 1:
        raise ValueError(f"degradation.patches={patches_per_image}: must be at least 1 per image")


def check_sides(sizes: np.ndarray, scale: int, name: Callable[[int], str]) -> None:
    """Raise ValueError if an image has a side of fewer than ``scale`` pixels.

    Args:
        sizes: height and width of each image, ``[N, 2]``.
        scale: of the super-resolution.
        name: the name of an image by its index.
    """
    if len(thin := (sizes.min(1) < scale).nonzero()[0]):
        height, width = sizes[thin[0]]
        more = f" (and {len(thin) - 1:,} more)" if len(thin) > 1 else ""
        raise ValueError(
            f"degradation.scale={scale}: {name(int(thin[0]))}{more} has only {width} x {height} pixels; a side needs at least "
            f"{scale}: remove it"
        )


def dihedral_transform(image: Tensor, orientation: int) -> Tensor:
    """Flip ``[C, H, W]`` horizontally if ``orientation`` (0 to 7) is odd, then rotate by ``orientation // 2`` quarter turns."""
    image = image.flip(2) if orientation % 2 else image
    return image.rot90(orientation // 2, (1, 2))


def _random_below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
