"""Training time without interruptions, what else took time, and peak memory."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

MIB = 2**20

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Linux reports the peak resident set size in the first, and resets it when 5 is written to the second (man 5 proc)."""


class TrainingTimer:
    """Measures the time of training steps; it is paused during sampling, evaluation and checkpoints.

    Args:
        device: synchronized before the time is read.

    Attributes:
        other_seconds: time that was spent on something else than training steps, by name; see :meth:`spent_on`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.other_seconds: dict[str, float] = {}
        self._earlier = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Total time; can be set while the timer is stopped, as for a resumed run."""
        return self._earlier + (0.0 if self._since is None else time.perf_counter() - self._since)

    @seconds.setter
    def seconds(self, value: float) -> None:
        assert self._since is None, "the timer is running"
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

    @contextmanager
    def spent_on(self, name: str) -> Iterator[None]:
        """Add the time of this block to what was spent on ``name``; while the timer runs it is training time, too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.other_seconds[name] = self.other_seconds.get(name, 0.0) + time.perf_counter() - started

    def _stop(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._earlier, self._since = self.seconds, None


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak, so that it does not include earlier jobs of the same process; on the CPU only under Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            CLEAR_REFS.write_text("5")


def peak_memory(device: torch.device) -> float:
    """Peak memory in MiB: allocated tensors on CUDA, else the process's resident set; 0 if the system does not report it."""
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
