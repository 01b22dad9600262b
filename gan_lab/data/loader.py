"""Endless shuffled batches whose order is a pure function of the seed and the images already seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.utils.image_ops import normalize


class Batch(NamedTuple):
    """Images and their labels, on the device.

    ``real``: ``[N, C, H, W]`` in [-1, 1], float32 or the stream's type; ``labels``: ``[N]`` int64, ``[N, A]`` uint8, or None;
    ``low``: the reals made smaller, ``[N, C, h, w]`` like them, where the generator is to make them large again.
    """

    real: Tensor
    labels: Tensor | None
    low_resolution: Tensor | None = None

    def at(self, size: int) -> Batch:
        """The same images at a lower resolution, by the mean of each box of pixels (as ProGAN lowers its reals).

        Raises:
            ValueError: ``size`` does not divide the images'.
        """
        factor, rest = divmod(self.real.shape[-1], size)
        if rest or factor < 1:
            raise ValueError(f"{self.real.shape[-1]} pixels can't be averaged to {size}: it must be a divisor")
        return self if factor == 1 else self._replace(real=avg_pool2d(self.real, factor))


class BatchLoader:
    """Batches gathered by index from memory or a mapped file: no worker processes, and nothing to decode.

    The order of epoch ``e``, and which of its images are mirrored, are drawn from (seed, e) alone: a resume, and every rank of
    a distributed run, knows which images come next.

    Args:
        data: the images.
        batch_size: images in a batch.
        seed: of the order.
        device: where batches go; they travel as uint8 and become floats there.
        memory_format: of the images, the networks' own.
        drop_last: whether an epoch's images beyond its last whole batch are left out (different ones in each epoch),
            or begin the next batch, so that every epoch shows every image.
        mirror: whether each image is mirrored left to right with probability 1/2, anew in each epoch.
        part: images in a batch to those of them that are gathered here, by default all: a rank's share.
        dtype: of the images.

    Raises:
        ValueError: the batch is larger than the data set.
    """

    def __init__(
        self,
        data: ImageDataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
        drop_last: bool = True,
        mirror: bool = False,
        part: Callable[[int], slice] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.data = data
        if batch_size > len(self):
            raise ValueError(f"batch_size={batch_size} is larger than the data set, which has {len(self)} images")
        self.batch_size = batch_size
        self.images_per_epoch = len(self) // batch_size * batch_size if drop_last else len(self)
        self._seed = seed
        self._device = device
        self._memory_format = memory_format
        self._mirror = mirror
        self._part = part or slice
        self._dtype = dtype

    def __len__(self) -> int:
        """Images of an epoch, before any are left out."""
        return len(self.data)

    def batches(self, images: int = 0, size_at: Callable[[int], int] | None = None) -> Iterator[Batch]:
        """All batches that come after ``images`` images, without end.

        Args:
            images: already seen.
            size_at: images seen to the size of the next batch, at most an epoch's images; by default ``batch_size`` always.
        """
        batches = self._from(images, size_at or (lambda images: self.batch_size))
        return _one_ahead(batches, self._device) if self._device.type == "cuda" else batches

    def epoch_permutation(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The permutation of epoch ``epoch``, ``[N]`` int64, and whether each of its images is mirrored, ``[N]`` bool."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.data), generator=generator)
        mirrored = (
            torch.rand(len(order), generator=generator) < 0.5 if self._mirror else torch.zeros(len(order), dtype=torch.bool)
        )
        return order[: self.images_per_epoch], mirrored[: self.images_per_epoch]

    def _from(self, images: int, size_at: Callable[[int], int]) -> Iterator[Batch]:
        epoch, offset = divmod(images, self.images_per_epoch)
        order, mirrored = self.epoch_permutation(epoch)
        while True:
            size = size_at(images)
            if offset + size > len(order):
                rest, rest_mirrored = order[offset:], mirrored[offset:]
                epoch, offset = epoch + 1, 0
                following, following_mirrored = self.epoch_permutation(epoch)
                order, mirrored = torch.cat([rest, following]), torch.cat([rest_mirrored, following_mirrored])
            part = self._part(size)
            yield self._gather(order[offset : offset + size][part], mirrored[offset : offset + size][part])
            offset, images = offset + size, images + size

    def _gather(self, which: Tensor, mirrored: Tensor) -> Batch:
        labels = self.data.labels_of(which)
        real = self._placed(self.data.images(which))
        if self._mirror:
            flip = mirrored.to(self._device, non_blocking=True)[:, None, None, None]
            real = torch.where(flip, real.flip(3), real)
        return Batch(real, None if labels is None else self._moved(labels))

    def _placed(self, pixels: Tensor) -> Tensor:
        """uint8 ``[N, C, H, W]`` as the networks take them, on the device."""
        return normalize(self._moved(pixels), self._dtype).contiguous(memory_format=self._memory_format)

    def _moved(self, tensor: Tensor) -> Tensor:
        pinned = tensor.pin_memory() if self._device.type == "cuda" else tensor
        return pinned.to(self._device, non_blocking=True)


def _one_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Gather and copy the next batch on a stream of its own while the device works on the current one."""
    side = torch.cuda.Stream(device)

    def gather() -> Batch:
        with torch.cuda.stream(side):
            return next(batches)

    following = gather()
    while True:
        current = torch.cuda.current_stream(device)
        current.wait_stream(side)
        for tensor in following:
            if tensor is not None:
                tensor.record_stream(current)
        ready, following = following, gather()
        yield ready
