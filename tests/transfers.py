"""Transfers within the CPU, in place of those to a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Copies:
    """An event of :class:`DelayedTransfer`."""

    transfer: DelayedTransfer
    count: int

    def synchronize(self) -> None:
        self.transfer.finish(self.count)


class DelayedTransfer:
    """A transfer within the CPU whose copies happen as late as events allow, as a busy GPU's may."""

    device = torch.device("cpu")

    def __init__(self, free: int = 2**30) -> None:
        self.free, self.allocated, self.requested, self.finished = free, 0, 0, 0
        self._pending: list[tuple[Tensor, Tensor]] = []

    def free_bytes(self) -> int:
        return self.free

    def host_buffer(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self.allocated += 1
        return torch.empty(tuple(shape), dtype=dtype)

    def copy(self, source: Tensor, target: Tensor) -> None:
        self._pending.append((source, target))
        self.requested += 1

    def record_event(self) -> Copies:
        return Copies(self, self.requested)

    def finish(self, count: int) -> None:
        while self.finished < count:
            source, target = self._pending.pop(0)
            target.copy_(source)
            self.finished += 1


class ImmediateTransfer(DelayedTransfer):
    """A transfer within the CPU whose copies have finished when the call returns."""

    def copy(self, source: Tensor, target: Tensor) -> None:
        super().copy(source, target)
        self.finish(self.requested)
