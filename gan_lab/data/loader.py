"""Endless shuffled batches, determined by the seed and the number of images already seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.placement import HostPlacement, Placement, to_device
from gan_lab.utils.formatting import format_count
from gan_lab.utils.image_ops import normalize


class Batch(NamedTuple):
    """A batch on the device.

    Attributes:
        real: images ``[N, C, H, W]`` in [-1, 1], of the loader's floating-point type.
        labels: class indices ``[N]`` int64, attributes ``[N, A]`` uint8, or None.
        low_resolution: for super-resolution, the downscaled images ``[N, C, h, w]`` in [-1, 1]; else None.
    """

    real: Tensor
    labels: Tensor | None
    low_resolution: Tensor | None = None

    def at(self, size: int) -> Batch:
        """The batch with the real images average-pooled to ``size`` x ``size`` pixels, as in ProGAN.

        Raises:
            ValueError: ``size`` is not a divisor of the images' size.
        """
        factor, remainder = divmod(self.real.shape[-1], size)
        if remainder or factor < 1:
            raise ValueError(f"images of {self.real.shape[-1]} pixels can't be averaged to {size} pixels, which is no divisor")
        return self if factor == 1 else self._replace(real=avg_pool2d(self.real, factor))

    def halves(self) -> tuple[Batch, Batch]:
        """The first and the second half of the images."""
        middle = len(self.real) // 2
        first, second = ([None if t is None else t[part] for t in self] for part in (slice(middle), slice(middle, None)))
        return Batch(*first), Batch(*second)  # type: ignore[arg-type]


class BatchLoader:
    """Batches indexed from decoded images in memory, in a mapped file or on the device, without worker processes.

    The order of an epoch and the choice of mirrored images depend only on the seed and the epoch, so a resumed run and every
    process of a distributed run get the same batches.

    Args:
        data: the images.
        batch_size: images in a batch, over all processes.
        seed: seed of the order.
        device: device of the batches; they are copied to it as uint8 and converted to floating point there.
        memory_format: memory format of the images.
        drop_last: True: the images that don't fill a last batch are left out, others in each epoch. False: they start the first
            batch of the next epoch, so that every epoch contains every image.
        mirror: whether each image is flipped horizontally with probability 1/2, drawn for each epoch.
        part: maps the size of a batch to the slice of it that this process loads; None loads all of it.
        dtype: floating-point type of the images.
        reals_per_image: 2: a batch has twice as many images, of which half count as seen: other reals for the generator's step.
        placement: where the images are kept, which doesn't change the batches; None: in host memory.

    Raises:
        ValueError: the batch is larger than the dataset.
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
        reals_per_image: int = 1,
        placement: Placement | None = None,
    ) -> None:
        self.data = data
        if batch_size * reals_per_image > len(self):
            twice = " with reuse_reals=false needs twice as many images and" if reals_per_image > 1 else ""
            has = format_count(len(self), "image")
            raise ValueError(f"batch_size={batch_size}{twice} is larger than the dataset, which has {has}")
        self.batch_size = batch_size
        self.images_per_epoch = len(self) // batch_size * batch_size if drop_last else len(self)
        self._seed = seed
        self._device = device
        self._memory_format = memory_format
        self._mirror = mirror
        self._part = part or slice
        self._dtype = dtype
        self._reals_per_image = reals_per_image
        self.placement = placement or HostPlacement(data, device)

    def __len__(self) -> int:
        """Number of images in an epoch, including those that ``drop_last`` leaves out."""
        return len(self.data)

    def batches(self, images: int = 0, size_at: Callable[[int], int] | None = None) -> Iterator[Batch]:
        """An endless iterator of batches.

        Args:
            images: number of images already seen, at which to start.
            size_at: maps the number of images seen to the size of the next batch, at most an epoch; None: ``batch_size``.
        """
        batches = self._batches_from(images, size_at or (lambda images: self.batch_size))
        prefetch = self._device.type == "cuda" and not self.placement.on_device
        return _prefetch(batches, self._device) if prefetch else batches

    def epoch_permutation(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Image indices of an epoch in order, ``[N]`` int64, and whether each of them is flipped, ``[N]`` bool."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.data), generator=generator)
        mirrored = (
            torch.rand(len(order), generator=generator) < 0.5 if self._mirror else torch.zeros(len(order), dtype=torch.bool)
        )
        return order[: self.images_per_epoch], mirrored[: self.images_per_epoch]

    def _batches_from(self, images: int, size_at: Callable[[int], int]) -> Iterator[Batch]:
        epoch, offset = divmod(images * self._reals_per_image, self.images_per_epoch)
        order, mirrored = self.epoch_permutation(epoch)
        while True:
            size = size_at(images)
            starts = [offset + n * size for n in range(self._reals_per_image)]
            if starts[-1] + size > len(order):
                rest, rest_mirrored = order[offset:], mirrored[offset:]
                epoch, offset = epoch + 1, 0
                next_order, next_mirrored = self.epoch_permutation(epoch)
                order, mirrored = torch.cat([rest, next_order]), torch.cat([rest_mirrored, next_mirrored])
                starts = [n * size for n in range(self._reals_per_image)]
            part = self._part(size)
            which, flipped = (
                torch.cat([values[start : start + size][part] for start in starts]) for values in (order, mirrored)
            )
            yield self._gather(which, flipped)
            offset, images = starts[-1] + size, images + size

    def _gather(self, which: Tensor, mirrored: Tensor) -> Batch:
        pixels, labels = self.placement.gather(which)
        real = self._to_network_input(pixels)
        if self._mirror:
            flip = self._to_device(mirrored)[:, None, None, None]
            real = torch.where(flip, real.flip(3), real)
        return Batch(real, labels)

    def _to_network_input(self, pixels: Tensor) -> Tensor:
        """uint8 ``[N, C, H, W]`` on the device to [-1, 1], in the loader's type and memory format."""
        return normalize(pixels, self._dtype).contiguous(memory_format=self._memory_format)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return to_device(tensor, self._device)


def _prefetch(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Load the next batch on a separate CUDA stream while the current one is in use."""
    copy_stream = torch.cuda.Stream(device)

    def gather() -> Batch:
        with torch.cuda.stream(copy_stream):
            return next(batches)

    prefetched = gather()
    while True:
        current_stream = torch.cuda.current_stream(device)
        current_stream.wait_stream(copy_stream)
        for tensor in prefetched:
            if tensor is not None:
                tensor.record_stream(current_stream)
        ready, prefetched = prefetched, gather()
        yield ready
