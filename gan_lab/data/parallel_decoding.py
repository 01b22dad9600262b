"""Decoding many pictures in parallel."""

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
from typing import TypeAlias

import numpy as np
import torch

from gan_lab.data.image_decoding import WHOLE, decode
from gan_lab.data.raw_images import RawImages

SLICE, SLICE_BYTES = 64, 2**22
"""Images decoded at a time: so many, or fewer large ones."""

WORTH_PROCESSES = 1000
"""Pictures from which on processes pay."""


@dataclass(frozen=True)
class ImageFormat:
    """Format of the pixels in a packed file, see :func:`gan_lab.data.image_decoding.decode`; size 0: each its own."""

    size: int
    channels: int
    resize_mode: str
    precrop: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether each picture keeps its own size."""
        return self.resize_mode == WHOLE

    def identity(self) -> dict[str, object]:
        """What a packed file is named and recognized by; ``fit`` is the name that files of version 0.1 have for it."""
        return {"size": self.size, "channels": self.channels, "fit": self.resize_mode, "precrop": self.precrop}

    def decode(self, pictures: RawImages, number: int) -> np.ndarray:
        with pictures.open(number) as picture:
            return decode(picture, self.size, self.channels, self.resize_mode, self.precrop)


@dataclass(frozen=True)
class DecodeJob:
    """What is being decoded, and the shared memory it is decoded into; forked processes inherit it.

    Attributes:
        pictures, shape: what to decode, and how.
        arena: ``[slots, slice, size, size, channels]`` uint8; a slice is decoded into one slot. Of whole pictures, whose size
            is known only when they are decoded, a slice is one, and it goes another way.
    """

    pictures: RawImages
    shape: ImageFormat
    arena: np.ndarray

    @classmethod
    def of(cls, pictures: RawImages, shape: ImageFormat, slots: int) -> DecodeJob:
        one = max(1, shape.size**2 * shape.channels)
        count = 1 if shape.is_whole else max(1, min(SLICE, SLICE_BYTES // one))
        memory = np.frombuffer(mmap.mmap(-1, slots * count * one), dtype=np.uint8)
        if shape.is_whole:
            return cls(pictures, shape, memory.reshape(slots, count, 1, 1, 1))
        return cls(pictures, shape, memory.reshape(slots, count, shape.size, shape.size, shape.channels))


_work: DecodeJob | None = None

Decoded: TypeAlias = tuple[int, dict[int, str], np.ndarray | None]
"""How many pictures of a slice stand in its slot, the unreadable ones by number, with the reason, and the whole picture."""


def decode_in_parallel(
    pictures: RawImages, shape: ImageFormat, start: int, num_workers: int
) -> Iterator[tuple[int, np.ndarray, dict[int, str]]]:
    """For each slice, in order: the number that follows it, its pixels, and its unreadable pictures.

    The pixels are ``[n, size, size, channels]``, or ``[height, width, channels]`` of one whole picture.

    A few slices are decoded ahead of the writer, so memory does not grow with the data set. Pixels come through shared memory:
    sent through a pipe they would keep the processes waiting for the writer.
    """
    global _work
    threads = torch.get_num_threads()
    free = deque(range(4 * num_workers))
    _work = DecodeJob.of(pictures, shape, len(free))
    step = _work.arena.shape[1]
    waiting: deque[tuple[int, int, Future[Decoded]]] = deque()
    pool = _pool(pictures, len(pictures) - start, num_workers)
    try:
        upcoming = iter(range(start, len(pictures), step))
        while True:
            while free and (first := next(upcoming, None)) is not None:
                slot = free.popleft()
                with warnings.catch_warnings():  # of forking beside torch's threads, which no child uses
                    warnings.simplefilter("ignore", DeprecationWarning)
                    waiting.append((first, slot, pool.submit(_decode_slice, first, slot)))
            if not waiting:
                return
            first, slot, future = waiting.popleft()
            kept, bad, whole = future.result()
            yield min(first + step, len(pictures)), _work.arena[slot, :kept] if whole is None else whole, bad
            free.append(slot)  # the writer has come back for more, so it is done with these
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the pool's threads have set it for every later thread of the process
        _work = None  # an array source must not stay in memory for the length of a training


def _pool(pictures: RawImages, count: int, num_workers: int) -> Executor:
    """Forked processes for files that have to be decoded, since Pillow keeps the interpreter's lock for half of the work.

    Where there is no safe fork, and where there is little to do, threads: a process started from nothing would need seconds to
    import torch.
    """
    if sys.platform == "linux" and pictures.are_files and num_workers > 1 and count >= WORTH_PROCESSES:
        return ProcessPoolExecutor(
            num_workers, multiprocessing.get_context("fork"), initializer=_begin_process, initargs=(os.getpid(),)
        )
    return ThreadPoolExecutor(num_workers if pictures.are_files else 1, initializer=torch.set_num_threads, initargs=(1,))


def _begin_process(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    assert _work is not None, "set before the fork"
    _work.pictures.reopen()


def _end_with(parent: int) -> None:
    """A killed parent can't end its children: they look for it themselves."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _decode_slice(first: int, slot: int) -> Decoded:
    assert _work is not None, "set before the first slice"
    target, kept = _work.arena[slot], 0
    bad: dict[int, str] = {}
    if _work.shape.is_whole:
        try:
            return 1, bad, _work.shape.decode(_work.pictures, first)
        except Exception as error:  # whatever a damaged file makes a decoder raise
            return 0, {first: str(error) or type(error).__name__}, None
    for number in range(first, min(first + len(target), len(_work.pictures))):
        try:
            target[kept] = _work.shape.decode(_work.pictures, number)
        except Exception as error:  # whatever a damaged file makes a decoder raise
            bad[number] = str(error) or type(error).__name__
        else:
            kept += 1
    return kept, bad, None
