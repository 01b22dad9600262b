"""What every source of images has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from gan_lab.data.images import FITS, ImageSet, to_channels


class Source(ABC):
    """A data set in the shape a model wants it.

    Args:
        name: as in the configuration; for messages.
        size: height and width in pixels.
        channels: 1 grey, 3 colour.
        fit: how an image meets ``size``: ``pad``, ``resize`` or ``crop``.
        limit: take only so many images, a random choice that depends on ``seed`` alone; None takes all.
        seed: of that choice.
    """

    def __init__(self, *, name: str, size: int, channels: int, fit: str, limit: int | None = None, seed: int = 0) -> None:
        if size < 1:
            raise ValueError(f"dataset.size={size}: must be at least 1 pixel")
        if channels not in (1, 3):
            raise ValueError(f"dataset.channels={channels}: must be 1 (grey) or 3 (colour)")
        if fit not in FITS:
            raise ValueError(f"dataset.fit={fit}: must be one of {', '.join(FITS)}")
        if limit is not None and limit < 1:
            raise ValueError(f"dataset.limit={limit}: must be at least 1 image")
        self.name, self.size, self.channels, self.fit, self.limit, self.seed = name, size, channels, fit, limit, seed

    def load(self) -> ImageSet:
        """The whole set, fitted, ``[N, channels, size, size]``.

        Raises:
            ValueError: it is missing, empty or damaged.
        """
        data = self.read()
        images = FITS[self.fit](to_channels(data.images, self.channels), self.size)
        return ImageSet(images.contiguous(), data.labels, data.classes)

    @abstractmethod
    def read(self) -> ImageSet:
        """The images as they are stored, of one size, already limited."""

    def choose(self, count: int) -> torch.Tensor:
        """Indices ``[M]`` of the images to take from ``count`` stored ones: all in order, or ``limit`` of them at random."""
        if self.limit is None or self.limit >= count:
            return torch.arange(count)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        return order[: self.limit].sort().values
