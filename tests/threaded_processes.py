"""Processes of a distributed run that are threads of one process, for tests of what they compute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.runtime.distributed import SingleProcess

SEED_LOCK = threading.Lock()
"""Held while networks are initialized: threads share torch's random number generator."""


class Threaded(SingleProcess):
    """A process that is a thread of this one; values are exchanged in a list with an entry for each rank.

    Attributes:
        async_sizes: number of tensors in each message started by ``all_reduce_mean_async``.
    """

    def __init__(self, rank: int, world_size: int, values: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.world_size, self._values, self._barrier = rank, world_size, values, barrier
        self.async_sizes: list[int] = []

    def all_gather_object(self, value: Any) -> list[Any]:
        self._values[self.rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def broadcast_object(self, value: Any) -> Any:
        return self.all_gather_object(value)[0]

    def all_reduce_mean_(self, tensors: Any) -> None:
        self._all_reduce_mean(tensors)()

    def all_reduce_mean_async(self, tensors: Any) -> Callable[[], None]:
        self.async_sizes.append(len(tensors))
        return self._all_reduce_mean(tensors)

    @torch.no_grad()
    def _all_reduce_mean(self, tensors: Any) -> Callable[[], None]:
        copies = self.all_gather_object([tensor.detach().clone() for tensor in tensors])
        means = [torch.stack(parts).mean(0) for parts in zip(*copies, strict=True)]

        @torch.no_grad()
        def wait() -> None:
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean)

        return wait

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        return AllReduceSum.apply(values, self)


class AllReduceSum(torch.autograd.Function):
    """The sum over all ranks, differentiable."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, processes: Threaded) -> Tensor:
        ctx.processes = processes
        return torch.stack(processes.all_gather_object(values.detach().clone())).sum(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return AllReduceSum.apply(gradient, ctx.processes), None


def run_distributed(work: Callable[[Threaded], Any], world_size: int = 2) -> list[Any]:
    """The results of ``work`` on each of ``world_size`` ranks."""
    values, results = [None] * world_size, [None] * world_size
    barrier = threading.Barrier(world_size, timeout=30)

    def run(rank: int) -> None:
        try:
            results[rank] = work(Threaded(rank, world_size, values, barrier))
        except BaseException as error:
            results[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, threading.BrokenBarrierError):
            raise result
    return results
