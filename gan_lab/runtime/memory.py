"""Less memory where it can be had, and what to say when there isn't enough."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

CPU_MESSAGES = ("can't allocate memory", "not enough memory", "bad_alloc", "bad allocation")
"""What PyTorch's allocator for the CPU says on Linux and on Windows, and C++ itself."""

GPU_MESSAGES = ("out of memory", "ALLOC_FAILED")
"""What CUDA and its libraries say where PyTorch has no error of its own for it."""

HALF_AS_LARGE = {"fp64": "fp32", "fp32": "bf16", "tf32": "bf16"}
"""Precisions whose activations take half the memory."""


@dataclass(frozen=True)
class MemoryOptions:
    """What decides how much memory a step takes, by the keys of the configuration; ``processes`` share each batch."""

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
        """What there is to try; first what changes the training least."""
        images, part = self.batch_size // self.processes, self.processes * self.gradient_accumulation_steps
        parts = next((n for n in range(self.gradient_accumulation_steps + 1, images + 1) if images % n == 0), None)
        smaller = self.batch_size // 2 // part * part
        remedies = {
            f"batch_size={self.batch_size} gradient_accumulation_steps={parts}": parts is not None,
            "activation_checkpointing=true": not self.activation_checkpointing,
            f"batch_size={smaller}": smaller > 0,
            f"precision={HALF_AS_LARGE.get(self.precision)}": self.precision in HALF_AS_LARGE,
        }
        return [remedy for remedy, possible in remedies.items() if possible]


@contextmanager
def explain_out_of_memory(demand: MemoryOptions) -> Iterator[None]:
    """Turns an out-of-memory error of the code within into a message.

    The frames of the error are cleared: a multirun keeps its jobs' errors, and with them it would keep their activations.

    Raises:
        ValueError: there was not enough memory, with what there is to try.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        where = _exhausted(error)
        if where is None:
            raise
        traceback.clear_frames(error.__traceback__)
        raise ValueError(
            f"the memory of the {where} is full with {demand}; "
            f"try {', '.join([*demand.suggestions(), 'a smaller model.width'])} (a resume may change "
            "gradient_accumulation_steps and activation_checkpointing; evaluation uses batches of evaluation.batch_size)"
        ) from error


def _exhausted(error: Exception) -> str | None:
    """Whose memory an error tells the end of: ``machine``, ``GPU``, or None, if it is another error."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in CPU_MESSAGES):
        return "machine"
    return "GPU" if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in GPU_MESSAGES) else None
