"""Decode many images in parallel."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gan_lab.data.image_decoding import ENLARGING, RESIZE_MODES, WHOLE, decode
from gan_lab.data.raw_images import RawImages
from gan_lab.runtime.signals import termination_signals

CHUNK_IMAGES, CHUNK_BYTES = 64, 2**22
"""Largest number of images, and of bytes of decoded pixels, in a task of the worker pool."""

MIN_IMAGES_FOR_PROCESSES = 1000
"""Number of images from which worker processes are faster than threads, despite their startup time."""


@dataclass(frozen=True)
class ImageFormat:
    """Format of prepared images, see :func:`gan_lab.data.image_decoding.decode`; size 0 with ``resize_mode="whole"``."""

    size: int
    channels: int
    resize_mode: str
    precrop: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether each image keeps its original size."""
        return self.resize_mode == WHOLE

    def identity(self) -> dict[str, object]:
        """The values stored in a packed file's manifest and name; ``fit`` is version 0.1's key for the resize mode."""
        return {"size": self.size, "channels": self.channels, "fit": self.resize_mode, "precrop": self.precrop}

    def decode(self, raw_images: RawImages, index: int) -> np.ndarray:
        """One image, uint8 ``[H, W, C]``; raises whatever the decoder raises."""
        return self.decode_with_size(raw_images, index)[0]

    def decode_with_size(self, raw_images: RawImages, index: int) -> tuple[np.ndarray, tuple[int, int]]:
        """One image, and the width and height of the stored one; raises whatever the decoder raises."""
        with raw_images.open(index) as image:
            stored = image.size
            return decode(image, self.size, self.channels, self.resize_mode, self.precrop), stored

    def enlarges(self, stored: tuple[int, int]) -> bool:
        """Whether a stored image of this width and height has too few pixels and is enlarged."""
        side = min(stored) if self.precrop is None else min(*stored, self.precrop)
        return self.resize_mode in ENLARGING and side < self.size

    def decode_gray(self, images: np.ndarray) -> np.ndarray:
        """Gray images of one size, uint8 ``[N, H, W]``, all at once: uint8 ``[N, size, size, channels]``."""
        assert self.precrop is None
        resized = RESIZE_MODES[self.resize_mode](np.moveaxis(images, 0, -1), self.size)  # the images take the place of channels
        return np.repeat(np.moveaxis(resized, -1, 0)[..., None], self.channels, -1)


@dataclass(frozen=True)
class DecodeJob:
    """What the workers decode, and the shared memory that they decode into; forked processes inherit it.

    Attributes:
        raw_images, image_format: what to decode, and to which format.
        buffer: ``[slots, chunk, size, size, channels]`` uint8 in shared memory; each chunk is decoded into one slot. Images
            that keep their size have one image per chunk and don't use the buffer, because their size is not known before.
    """

    raw_images: RawImages
    image_format: ImageFormat
    buffer: np.ndarray

    @classmethod
    def of(cls, raw_images: RawImages, image_format: ImageFormat, slots: int) -> DecodeJob:
        image_bytes = max(1, image_format.size**2 * image_format.channels)
        chunk = 1 if image_format.is_whole else max(1, min(CHUNK_IMAGES, CHUNK_BYTES // image_bytes))
        memory = np.frombuffer(mmap.mmap(-1, slots * chunk * image_bytes), dtype=np.uint8)
        if image_format.is_whole:
            return cls(raw_images, image_format, memory.reshape(slots, chunk, 1, 1, 1))
        shape = (slots, chunk, image_format.size, image_format.size, image_format.channels)
        return cls(raw_images, image_format, memory.reshape(shape))


_job: DecodeJob | None = None


class SlotContent(NamedTuple):
    """What a worker has decoded into a slot.

    Attributes:
        kept: number of images in the slot.
        unreadable: reasons why others are unreadable, by index.
        enlarged: number of images that were smaller than the format's size.
        whole: the pixels of an image that keeps its size.
    """

    kept: int
    unreadable: dict[int, str]
    enlarged: int = 0
    whole: np.ndarray | None = None


class DecodedChunk(NamedTuple):
    """Some images in order.

    Attributes:
        next_index: the index after the chunk.
        pixels: the readable images, uint8 ``[n, size, size, channels]``, valid until the next chunk; or ``[H, W, channels]``
            of an image that keeps its size.
        unreadable: reasons why others are unreadable, by index.
        enlarged: number of images that were smaller than the format's size.
    """

    next_index: int
    pixels: np.ndarray
    unreadable: dict[int, str]
    enlarged: int


def decode_in_parallel(
    raw_images: RawImages, image_format: ImageFormat, start: int, num_workers: int
) -> Iterator[DecodedChunk]:
    """Decode all images from index ``start`` on, chunk by chunk in order.

    At most ``4 * num_workers`` chunks are decoded ahead, so memory use doesn't depend on the size of the dataset. Pixels are
    returned through shared memory: sent through a pipe, they would make the workers wait for the caller.
    """
    global _job
    num_threads = torch.get_num_threads()
    free = deque(range(4 * num_workers))
    _job = DecodeJob.of(raw_images, image_format, len(free))
    step = _job.buffer.shape[1]
    pending: deque[tuple[int, int, Future[SlotContent]]] = deque()
    pool = _make_pool(raw_images, len(raw_images) - start, num_workers)
    try:
        upcoming = iter(range(start, len(raw_images), step))
        while True:
            while free and (first := next(upcoming, None)) is not None:
                slot = free.popleft()
                with warnings.catch_warnings():  # about forking a process with threads; the children don't use torch's threads
                    warnings.simplefilter("ignore", DeprecationWarning)
                    pending.append((first, slot, pool.submit(_decode_chunk, first, slot)))
            if not pending:
                return
            first, slot, future = pending.popleft()
            content = future.result()
            pixels = _job.buffer[slot, : content.kept] if content.whole is None else content.whole
            yield DecodedChunk(min(first + step, len(raw_images)), pixels, content.unreadable, content.enlarged)
            free.append(slot)  # the caller has finished with this chunk
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)  # the pool's threads changed it for all threads started later
        _job = None  # frees an array source, which would otherwise stay in memory


def _make_pool(raw_images: RawImages, count: int, num_workers: int) -> Executor:
    """Forked processes for encoded files, because Pillow holds the GIL for about half of the decoding time.

    Threads where fork is not safe, and for few images: a spawned process would need seconds to import torch.
    """
    if sys.platform == "linux" and raw_images.are_files and num_workers > 1 and count >= MIN_IMAGES_FOR_PROCESSES:
        return ProcessPoolExecutor(
            num_workers, multiprocessing.get_context("fork"), initializer=_initialize_worker, initargs=(os.getpid(),)
        )
    return ThreadPoolExecutor(num_workers if raw_images.are_files else 1, initializer=torch.set_num_threads, initargs=(1,))


def _initialize_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    for number in termination_signals():
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    assert _job is not None, "set before the fork"
    _job.raw_images.reopen()


def _exit_with_parent(parent: int) -> None:
    """Exit when the parent process is gone; a killed parent can't stop its workers."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _decode_chunk(first: int, slot: int) -> SlotContent:
    assert _job is not None, "set before the first chunk"
    target, kept, enlarged = _job.buffer[slot], 0, 0
    unreadable: dict[int, str] = {}
    if _job.image_format.is_whole:
        try:
            return SlotContent(1, unreadable, whole=_job.image_format.decode(_job.raw_images, first))
        except Exception as error:  # decoders raise many types for damaged files
            return SlotContent(0, {first: str(error) or type(error).__name__})
    for index in range(first, min(first + len(target), len(_job.raw_images))):
        try:
            target[kept], stored = _job.image_format.decode_with_size(_job.raw_images, index)
        except Exception as error:  # decoders raise many types for damaged files
            unreadable[index] = str(error) or type(error).__name__
        else:
            kept += 1
            enlarged += _job.image_format.enlarges(stored)
    return SlotContent(kept, unreadable, enlarged)
