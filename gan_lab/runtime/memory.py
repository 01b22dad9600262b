"""Turns out-of-memory errors into a message with settings that need less memory."""

from __future__ import annotations

import ctypes
import gc
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

CPU_MESSAGES = ("can't allocate memory", "not enough memory", "bad_alloc", "bad allocation")
"""Parts of the messages of PyTorch's CPU allocator, on Linux and on Windows, and of C++."""

GPU_MESSAGES = ("out of memory", "ALLOC_FAILED")
"""Parts of the messages of CUDA and its libraries for which PyTorch raises a general RuntimeError."""

HALF_PRECISION = {"fp64": "fp32", "fp32": "bf16", "tf32": "bf16"}
"""For each precision, the one whose activations take half the memory."""


@dataclass(frozen=True)
class MemoryOptions:
    """The settings, named as in the configuration, that determine how much memory a step needs.

    Attributes:
        processes: number of processes that each batch is divided among.
    """

    batch_size: int
    gradient_accumulation_steps: int
    precision: str
    activation_checkpointing: bool
    processes: int = 1

    def __str__(self) -> str:
        recompute = str(self.activation_checkpointing).lower()
        return (
            f"batch_size={self.batch_size} gradient_accumulation_steps={self.gradient_accumulation_steps} "
            f"precision={self.precision} activation_checkpointing={recompute}"
        )

    def suggestions(self) -> list[str]:
        """Overrides that need less memory, in increasing order of their effect on the training result."""
        images, part = self.batch_size // self.processes, self.processes * self.gradient_accumulation_steps
        parts = next((n for n in range(self.gradient_accumulation_steps + 1, images + 1) if images % n == 0), None)
        smaller = self.batch_size // 2 // part * part
        remedies = {
            f"batch_size={self.batch_size} gradient_accumulation_steps={parts}": parts is not None,
            "activation_checkpointing=true": not self.activation_checkpointing,
            f"batch_size={smaller}": smaller > 0,
            f"precision={HALF_PRECISION.get(self.precision)}": self.precision in HALF_PRECISION,
        }
        return [remedy for remedy, possible in remedies.items() if possible]


def total_memory(device: torch.device) -> int:
    """Bytes of memory of a GPU; for the CPU those of the machine, or of what the process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return 2**63
    limit = address_space_limit()
    return machine if limit is None else min(machine, limit)


def address_space_limit() -> int | None:
    """Bytes of address space that this process may use (``ulimit -v``); None: no limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource is not None else -1
    return None if limit < 0 else limit


def release_memory() -> None:
    """Give the memory of an earlier run of this process back to the system.

    It lies in reference cycles, which Python collects late, and the C library keeps what is freed.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def explain_out_of_memory(options: Callable[[], MemoryOptions]) -> Iterator[None]:
    """Turn an out-of-memory error in the block into a ValueError.

    The error's stack frames are cleared: a multirun keeps the errors of its jobs, and would keep their activations with them.

    Raises:
        ValueError: out of memory; the message lists settings that need less.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        device = exhausted_device(error)
        if device is None:
            raise
        traceback.clear_frames(error.__traceback__)
        now, limit = options(), address_space_limit() if device == "machine" else None
        limited = "" if limit is None else f" (this process may use {limit / 2**30:.1f} GiB of address space, see ulimit -v)"
        raise ValueError(
            f"the memory of the {device} is full with {now}{limited}; "
            f"try {', '.join([*now.suggestions(), 'a smaller model.width'])} (a resumed run may change "
            "gradient_accumulation_steps and activation_checkpointing; evaluation uses batches of evaluation.batch_size)"
        ) from error


def exhausted_device(error: Exception) -> str | None:
    """``machine`` or ``GPU`` if the error is an out-of-memory error, else None."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in CPU_MESSAGES):
        return "machine"
    return "GPU" if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in GPU_MESSAGES) else None
