"""Training time alone, and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MIB = 2**20


class Stopwatch:
    """Runs while steps are taken and rests while pictures, scores and checkpoints are made.

    Args:
        device: waited for before the time is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._earlier = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        return self._earlier + (0.0 if self._since is None else time.perf_counter() - self._since)

    @seconds.setter
    def seconds(self, value: float) -> None:
        assert self._since is None, "set while it rests"
        self._earlier = value

    @contextmanager
    def running(self) -> Iterator[None]:
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._stop()

    @contextmanager
    def resting(self) -> Iterator[None]:
        self._stop()
        try:
            yield
        finally:
            self._since = time.perf_counter()

    def _stop(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._earlier, self._since = self.seconds, None


def peak_memory(device: torch.device) -> float:
    """MiB: the device's peak on CUDA, else the process's peak resident set (NaN-free 0 where the system can't say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
