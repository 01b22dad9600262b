"""Endless shuffled batches whose order is a pure function of the seed and the images already seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gan_lab.data.images import ImageSet, to_unit


class Batch(NamedTuple):
    """``real``: ``[N, C, H, W]`` float32 in [-1, 1] on the device; ``labels``: ``[N]`` int64 or None."""

    real: Tensor
    labels: Tensor | None


class Stream:
    """Batches gathered by index from memory: no worker processes, and nothing to decode.

    The order of epoch ``e`` is a permutation drawn from (seed, e); the images beyond the last whole batch of an epoch are
    left out of it (others in each epoch).

    Args:
        data: the images.
        batch_size: images in a batch.
        seed: of the order.
        device: where batches go; they travel as uint8 and become floats there.
        memory_format: of the images, the networks' own.

    Raises:
        ValueError: the batch is larger than the data set.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        seed: int,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        if batch_size > len(data):
            raise ValueError(f"batch_size={batch_size} is larger than the data set, which has {len(data)} images")
        self.data = data
        self.batch_size = batch_size
        self.images_per_epoch = len(data) // batch_size * batch_size
        self._seed = seed
        self._device = device
        self._memory_format = memory_format

    def batches(self, images: int = 0) -> Iterator[Batch]:
        """All batches that come after ``images`` images, without end."""
        assert images % self.batch_size == 0, "a stream stands between two batches"
        while True:
            epoch, offset = divmod(images, self.images_per_epoch)
            order = self.order(epoch)
            for start in range(offset, self.images_per_epoch, self.batch_size):
                yield self.gather(order[start : start + self.batch_size])
            images = (epoch + 1) * self.images_per_epoch

    def order(self, epoch: int) -> Tensor:
        """The permutation of epoch ``epoch``: ``[N]`` int64."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return torch.randperm(len(self.data), generator=generator)

    def gather(self, index: Tensor) -> Batch:
        part = self.data[index]
        if self._device.type == "cuda":
            part = ImageSet(part.images.pin_memory(), part.labels if part.labels is None else part.labels.pin_memory())
        real = to_unit(part.images.to(self._device, non_blocking=True)).contiguous(memory_format=self._memory_format)
        return Batch(real, part.labels if part.labels is None else part.labels.to(self._device, non_blocking=True))
