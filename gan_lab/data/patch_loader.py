"""Batches of patches cut out of pictures, each with the small one made from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lab.data.degradation import Degradation, reflect_pad
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch, BatchLoader

MARGIN = 8
"""Pixels of the small picture that are made around a patch and cut off again, so that it comes out as if the whole picture had
been degraded."""


class PatchLoader(BatchLoader):
    """An epoch shows ``patches_per_image`` patches of each picture, each at a place, turned and degraded by numbers of its own.

    All of it follows from (seed, epoch): a resume, and every rank, knows which patches come next. A picture smaller than a
    patch is mirrored at its edges.

    Args:
        data: pictures of one size or of many.
        shared: the rest is :class:`BatchLoader`'s.
        degradation: makes the small ones.
        size: height and width of a patch, a multiple of the scale.
        patches_per_image: patches of each picture in an epoch.
        random_flip_rot: whether each patch is mirrored and turned by quarters at random (eight ways); else ``mirror`` decides.

    Raises:
        ValueError: a size that is no multiple, or pictures too small for the scale.
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
        if size % scale or size < scale:
            raise ValueError(f"degradation.patch={size}: must be a multiple of degradation.scale={scale}")
        if patches_per_image < 1:
            raise ValueError(f"degradation.patches={patches_per_image}: must be at least 1 of each picture")
        if (smallest := data.sizes.min()) < scale:
            raise ValueError(f"degradation.scale={scale}: a picture has only {smallest} pixels on one side")
        self._sizes = data.sizes.tolist()
        height, width = data.sizes[data.sizes.prod(1, dtype=np.int64).argmax()]
        if max(height, width) < size:
            raise ValueError(f"degradation.patch={size}: the largest picture has only {height}x{width} pixels")
        self._per_picture = patches_per_image
        super().__init__(data, **shared)
        self.degradation, self.size, self._random_flip_rot = degradation, size, random_flip_rot

    def __len__(self) -> int:
        return len(self.data) * self._per_picture

    def epoch_permutation(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Pictures of epoch ``epoch``, ``[N]`` int64, and the seed of each patch's own numbers, ``[N]`` int64."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self), generator=generator) % len(self.data)
        seeds = torch.randint(2**62, (len(order),), generator=generator)
        return order[: self.images_per_epoch], seeds[: self.images_per_epoch]

    def _gather(self, which: Tensor, how: Tensor) -> Batch:
        pairs = [self._patch(place, seed) for place, seed in zip(which.tolist(), how.tolist(), strict=True)]
        high, low = (torch.stack(side) for side in zip(*pairs, strict=True))
        labels = self.data.labels_of(which)
        return Batch(self._placed(high), None if labels is None else self._moved(labels), self._placed(low))

    def _patch(self, place: int, seed: int) -> tuple[Tensor, Tensor]:
        """A patch and its small one, uint8."""
        random = torch.Generator().manual_seed(seed)
        scale, size = self.degradation.scale, self.size
        length = [side // scale * scale for side in self._sizes[place]]
        top, left = (scale * _random_below(max(0, side - size) // scale + 1, random) for side in length)
        margin = MARGIN * scale
        start = max(0, top - margin), max(0, left - margin)
        end = min(length[0], top + size + margin), min(length[1], left + size + margin)
        around = self.data.image(place, slice(start[0], end[0]), slice(start[1], end[1]))  # no more than that is read
        if min(length) < size:
            around = reflect_pad(around, 0, max(0, size - length[0]), 0, max(0, size - length[1]))
        low = self.degradation(around, random)
        row, column, small = top - start[0], left - start[1], size // scale
        high = around[:, row : row + size, column : column + size]
        low = low[:, row // scale : row // scale + small, column // scale : column // scale + small]
        position = _random_below(8, random)
        if not self._random_flip_rot:
            position = position % 2 if self._mirror else 0
        return dihedral_transform(high, position), dihedral_transform(low, position)


def dihedral_transform(picture: Tensor, position: int) -> Tensor:
    """One of eight: mirrored left to right where ``position`` is odd, then turned by ``position // 2`` quarters."""
    picture = picture.flip(2) if position % 2 else picture
    return picture.rot90(position // 2, (1, 2))


def _random_below(count: int, random: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=random))
