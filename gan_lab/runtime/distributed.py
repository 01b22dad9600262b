"""Collective operations of the processes that train one run: a single process, or several started by ``torchrun``.

Each process computes a part of every batch. Gradients are averaged explicitly, in flat tensors, as in StyleGAN2-ADA; see
:mod:`gan_lab.iteration.gradient_reduction`. DistributedDataParallel requires that every parameter takes part in every backward
pass, which a GAN violates with its frozen opponent, double backward of penalties, lazy regularization, and layers that have not
grown yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from gan_lab.runtime import torchrun
from gan_lab.runtime.torchrun import PeerProcessFailed

TIMEOUT = timedelta(hours=12)
"""Timeout of a collective operation: one process may prepare a large dataset while the others wait. A process that ends is
noticed at once nevertheless."""

T = TypeVar("T")


class SingleProcess:
    """A run in a single process: every collective operation returns its input.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    rank, world_size = 0, 1

    def __deepcopy__(self, memo: object) -> SingleProcess:
        """Copies of an object that refers to the processes refer to the same ones."""
        return self

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and logs, rank 0."""
        return self.rank == 0

    def shard(self, total: int) -> slice:
        """This process's part of ``total`` items, a multiple of ``world_size``."""
        size = total // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""

    def all_reduce_mean_async(self, tensors: Sequence[Tensor]) -> Callable[[], None]:
        """Start :meth:`all_reduce_mean_`; returns a function that waits for the means and replaces the tensors by them."""
        return lambda: None

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the main process's, in place."""

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum over the processes; differentiable any number of times."""
        return values

    def all_gather(self, values: Tensor) -> Tensor:
        """Concatenate ``[N, ...]`` of all processes to ``[world_size * N, ...]``, in order of rank."""
        return values

    def all_gather_object(self, value: T) -> list[T]:
        """The ``value`` of every process, in order of rank; it must be picklable."""
        return [value]

    def broadcast_object(self, value: T) -> T:
        """The main process's ``value``; it must be picklable."""
        return value

    def on_main_process(self, function: Callable[[], T]) -> T:
        """Call ``function`` on the main process only, and return its result on all processes."""
        return function()

    def all_reduce_max_async(self, flag: int) -> int:
        """The largest flag of all processes, so that all act on it in the same step. With several processes, one call late."""
        return flag

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """The main process executes the block first, then the others, which find the files that it downloaded or prepared."""
        yield

    def destroy(self) -> None:
        """Leave the process group."""


SINGLE_PROCESS = SingleProcess()


class DistributedProcess(SingleProcess):
    """One of several processes started by ``torchrun``, which sets ``RANK`` and ``WORLD_SIZE`` in the environment.

    Args:
        device: of this process. Tensors on a GPU are exchanged with NCCL, those on the CPU with Gloo.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world_size = torchrun.rank(), torchrun.world_size()
        self._pending: tuple[Any, Tensor] | None = None
        if device.type == "cuda":
            torch.cuda.set_device(device)
        self._init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        if not self.is_main_process:
            logging.disable(logging.WARNING)  # only the main process logs

    def _init_process_group(self, backend: str) -> None:
        with self._peer_failures():
            distributed.init_process_group(backend, timeout=TIMEOUT)

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        flat = _flatten(tensors)
        with self._peer_failures():
            distributed.all_reduce(flat)
        _copy_back(flat / self.world_size, tensors)

    @torch.no_grad()
    def all_reduce_mean_async(self, tensors: Sequence[Tensor]) -> Callable[[], None]:
        flat = _flatten(tensors)
        with self._peer_failures():
            work = distributed.all_reduce(flat, async_op=True)

        @torch.no_grad()
        def wait() -> None:
            with self._peer_failures():
                work.wait()
            _copy_back(flat / self.world_size, tensors)

        return wait

    @torch.no_grad()
    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        flat = _flatten(tensors)
        with self._peer_failures():
            distributed.broadcast(flat, 0)
        _copy_back(flat, tensors)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        with self._peer_failures():
            return _AllReduceSum.apply(values)

    def all_gather(self, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        with self._peer_failures():
            distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def all_gather_object(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.world_size
        with self._peer_failures():
            distributed.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: T) -> T:
        values = [value]
        with self._peer_failures():
            distributed.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def on_main_process(self, function: Callable[[], T]) -> T:
        return self.broadcast_object(function() if self.is_main_process else None)  # type: ignore[return-value]

    def all_reduce_max_async(self, flag: int) -> int:
        """Start an asynchronous reduction and return the result of the one that the previous call started, at first 0."""
        maximum = 0
        with self._peer_failures():
            if self._pending is not None:
                work, flags = self._pending
                work.wait()
                maximum = int(flags)
            flags = torch.tensor(flag)
            self._pending = distributed.all_reduce(flags, distributed.ReduceOp.MAX, async_op=True), flags
        return maximum

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        if not self.is_main_process:
            self._barrier()
        yield
        if self.is_main_process:
            self._barrier()

    def _barrier(self) -> None:
        with self._peer_failures():
            distributed.all_reduce(torch.zeros(1))  # on the CPU, with Gloo; distributed.barrier would use a GPU

    @contextmanager
    def _peer_failures(self) -> Iterator[None]:
        """Replace an error of the backend, which is about sockets, by a message."""
        try:
            yield
        except RuntimeError as error:
            raise PeerProcessFailed("another process of this run has ended; see its error message") from error

    def destroy(self) -> None:
        distributed.destroy_process_group()


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate the tensors: one message instead of one for each of a network's many small tensors."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)])


class _AllReduceSum(torch.autograd.Function):
    """The sum over the processes. Every result depends on the values of every process, so the gradient is also summed."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllReduceSum.apply(gradient)


def init_distributed(device: torch.device) -> SingleProcess:
    """The object for collective operations: joins the process group under ``torchrun`` with several processes."""
    return DistributedProcess(device) if torchrun.is_distributed() else SingleProcess()
