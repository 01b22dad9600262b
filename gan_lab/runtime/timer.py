"""Training time alone, and memory."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

MIB = 2**20

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Linux tells the peak resident set in the one, and begins anew when 5 is written to the other (man 5 proc)."""


class TrainingTimer:
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
    def paused(self) -> Iterator[None]:
        self._stop()
        try:
            yield
        finally:
            self._since = time.perf_counter()

    def _stop(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._earlier, self._since = self.seconds, None


def reset_peak_memory(device: torch.device) -> None:
    """Begin anew: what an earlier job of the same process needed is none of the next one's. On a CPU Linux alone can forget."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            FORGET.write_text("5")


def peak_memory(device: torch.device) -> float:
    """MiB: the device's peak on CUDA, else the process's peak resident set (NaN-free 0 where the system can't say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    if STATUS.exists():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[0]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
