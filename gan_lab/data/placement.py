"""Where the images of a dataset are kept during training, and how those of a batch get to the device.

All placements return the same pixels and labels for the same indices, so that the choice changes the speed only.
"""

from __future__ import annotations

import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.packed_file import check_mapping
from gan_lab.runtime.memory import exhausted_device

log = logging.getLogger(__name__)

STAGING_BUFFERS = 2
"""Page-locked buffers of a ring: one is filled while the other is copied."""

CHUNK_BYTES = 2**24
"""Size of the parts in which a whole dataset is copied to the device."""


class Placement(ABC):
    """Where images and labels are kept.

    Attributes:
        description: for the console, such as ``on the device``; empty for host memory and a CPU.
        on_device: whether a batch is gathered from the device's own memory, with nothing to copy ahead of its use.
    """

    description: str = ""
    on_device: bool = False

    @abstractmethod
    def gather(self, which: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images and labels of a batch, on the device.

        Args:
            which: ``[n]`` int64 on the CPU, indices in the dataset.

        Returns:
            The images, uint8 ``[n, C, H, W]`` in channels-last memory format, and the labels: class indices ``[n]`` int64,
            attributes ``[n, A]`` uint8, or None.
        """


class HostPlacement(Placement):
    """In host memory or a mapped file. Each batch is gathered into new memory, page-locked for a copy to a GPU."""

    def __init__(self, data: ImageDataset, device: torch.device) -> None:
        self._data, self._device = data, device

    def gather(self, which: Tensor) -> tuple[Tensor, Tensor | None]:
        labels = self._data.labels_of(which)
        images = to_device(self._data.images(which), self._device)
        return images, None if labels is None else to_device(labels, self._device)


class Event(Protocol):
    """A point in the order of a device's work, as ``torch.cuda.Event``."""

    def synchronize(self) -> None:
        """Wait until the device has reached it."""


class Transfer(Protocol):
    """Copies from the host to a device that may still be under way when the call returns."""

    device: torch.device

    def free_bytes(self) -> int:
        """Free memory of the device."""

    def host_buffer(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Uninitialized host memory that the device can read during a copy."""

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Copy ``source`` to ``target``; ``source`` must keep its content until an event recorded afterwards."""

    def record_event(self) -> Event:
        """An event after everything copied so far."""


class CUDATransfer:
    """Copies to a GPU in its current stream, from page-locked memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def free_bytes(self) -> int:
        return torch.cuda.mem_get_info(self.device)[0]

    def host_buffer(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def copy(self, source: Tensor, target: Tensor) -> None:
        target.copy_(source, non_blocking=True)

    def record_event(self) -> Event:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        return event


class StreamedPlacement(Placement):
    """In host memory or a mapped file; batches are copied from page-locked buffers that are allocated once and reused."""

    description = "streamed from host memory"

    def __init__(self, data: ImageDataset, transfer: Transfer) -> None:
        self._index, self._pixels, self._device = data.index, data.pixels, transfer.device
        self._ring = _StagingRing(_arrays(data), transfer)

    def gather(self, which: Tensor) -> tuple[Tensor, Tensor | None]:
        batch = self._ring.empty_targets(len(which), self._device)
        check_mapping(self._pixels)
        self._ring.copy(self._index[which.numpy()], batch)
        return _images_and_labels(batch)


class DevicePlacement(Placement):
    """A copy of the whole dataset on the device, from which batches are gathered; only their indices are copied.

    Raises:
        RuntimeError: the device's memory is too small.
    """

    on_device = True

    def __init__(self, data: ImageDataset, transfer: Transfer) -> None:
        self._device = transfer.device
        self.description = f"on the device ({_size_of(data) / 2**20:,.1f} MiB)"
        ring = _StagingRing(_arrays(data), transfer)
        self._arrays = ring.empty_targets(len(data), self._device)
        chunk = max(1, CHUNK_BYTES * len(data) // max(1, _size_of(data)))
        for start in range(0, len(data), chunk):
            ring.copy(data.index[start : start + chunk], [array[start : start + chunk] for array in self._arrays])
        ring.synchronize()  # batches may be gathered in another stream

    def gather(self, which: Tensor) -> tuple[Tensor, Tensor | None]:
        index = to_device(which, self._device)
        return _images_and_labels([array.index_select(0, index) for array in self._arrays])


def choose_placement(
    data: ImageDataset, device: torch.device, max_fraction: float, transfer: Transfer | None = None
) -> Placement:
    """The fastest placement that is possible: on a GPU with enough free memory, the images are copied there.

    Args:
        data: images of one size.
        device: where batches are needed.
        max_fraction: largest fraction of the GPU's free memory that the images and labels may occupy; 0: they are streamed.
        transfer: copies to ``device``; by default for a GPU :class:`CUDATransfer`, for a CPU none.
    """
    if transfer is None and device.type == "cuda":
        transfer = CUDATransfer(device)
    if transfer is None:
        return HostPlacement(data, device)
    if max_fraction > 0 and _size_of(data) <= max_fraction * transfer.free_bytes():
        try:
            return DevicePlacement(data, transfer)
        except RuntimeError as error:
            if exhausted_device(error) is None:
                raise
        log.warning(
            "data_memory_fraction=%g: memory ran out while the dataset (%.1f MiB) was copied to the GPU; it is streamed "
            "from host memory instead",
            max_fraction,
            _size_of(data) / 2**20,
        )
    return StreamedPlacement(data, transfer)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a GPU through page-locked memory, without waiting for the copy."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


class _StagingRing:
    """Copies rows of arrays to a device through host buffers that are used in turn.

    A buffer is filled again only after its last copy has finished. It is allocated on its first use, and again only if more
    rows are needed.

    Args:
        arrays: ``[M, ...]`` each.
        transfer: to the device.
    """

    def __init__(self, arrays: Sequence[np.ndarray], transfer: Transfer) -> None:
        self._arrays = [np.ascontiguousarray(array) for array in arrays]  # np.take would copy others at each call
        self._dtypes = [torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype for array in arrays]
        self._transfer = transfer
        self._buffers: list[list[Tensor]] = [[] for _ in range(STAGING_BUFFERS)]
        self._copied: list[Event | None] = [None] * STAGING_BUFFERS
        self._turns = itertools.cycle(range(STAGING_BUFFERS))

    def empty_targets(self, rows: int, device: torch.device) -> list[Tensor]:
        """Uninitialized tensors for ``rows`` rows of each array."""
        return [
            torch.empty((rows, *array.shape[1:]), dtype=dtype, device=device)
            for array, dtype in zip(self._arrays, self._dtypes, strict=True)
        ]

    def copy(self, rows: np.ndarray, targets: Sequence[Tensor]) -> None:
        """Copy the given rows of each array to its target; the copy may still be under way when the call returns."""
        turn, count = next(self._turns), len(rows)
        if (copied := self._copied[turn]) is not None:
            copied.synchronize()
        if not self._buffers[turn] or len(self._buffers[turn][0]) < count:
            self._buffers[turn] = [
                self._transfer.host_buffer((count, *array.shape[1:]), dtype)
                for array, dtype in zip(self._arrays, self._dtypes, strict=True)
            ]
        for array, buffer, target in zip(self._arrays, self._buffers[turn], targets, strict=True):
            filled = buffer[:count]
            np.take(array, rows, axis=0, out=filled.numpy(), mode="clip")  # mode="raise" would gather into a temporary array
            self._transfer.copy(filled, target)
        self._copied[turn] = self._transfer.record_event()

    def synchronize(self) -> None:
        """Wait until everything is copied."""
        for copied in self._copied:
            if copied is not None:
                copied.synchronize()


def _arrays(data: ImageDataset) -> list[np.ndarray]:
    """The pixels and, if there are any, the labels."""
    assert isinstance(data.pixels, np.ndarray), "images have different sizes"
    return [data.pixels] if data.labels is None else [data.pixels, data.labels]


def _size_of(data: ImageDataset) -> int:
    """Bytes of the dataset's images and labels."""
    return sum(len(data) * (array.nbytes // max(1, len(array))) for array in _arrays(data))


def _images_and_labels(arrays: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    images, *labels = arrays
    return images.permute(0, 3, 1, 2), labels[0] if labels else None
