"""The processes that make one training: a single one, or several that ``torchrun`` has started, each on a part of every batch.

Gradients are averaged by hand, in one flat message an update, as StyleGAN2-ADA does it: DistributedDataParallel wraps a network
whose every parameter takes part in every backward pass, and a GAN's idle player, penalties that differentiate twice, lazy terms
and layers that have not grown yet all break that rule.
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
"""A process may prepare a large data set while the others wait; one that ends is noticed at once all the same."""

T = TypeVar("T")


class SingleProcess:
    """One process: what :class:`DistributedProcess` exchanges is already here.

    Attributes:
        rank: number of this process, from 0.
        count: of processes.
    """

    rank, world_size = 0, 1

    def __deepcopy__(self, memo: object) -> SingleProcess:
        """What holds it is copied; the processes are not."""
        return self

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def shard(self, whole: int) -> slice:
        """Which of ``whole`` things are this process's, ``count`` dividing them."""
        size = whole // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the leader's."""

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Over the processes, differentiable any number of times."""
        return values

    def all_gather(self, values: Tensor) -> Tensor:
        """``[N, ...]`` of each process to ``[count * N, ...]``, in their order."""
        return values

    def all_gather_object(self, thing: T) -> list[T]:
        """Every process's ``thing``, in their order."""
        return [thing]

    def broadcast_object(self, thing: T) -> T:
        """The leader's ``thing``."""
        return thing

    def on_main_process(self, make: Callable[[], T]) -> T:
        """What the leader, and it alone, makes."""
        return make()

    def all_reduce_max_async(self, flag: int) -> int:
        """The largest flag of all processes, so that all act upon it in the same step."""
        return flag

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """The leader goes through alone, then the others: what it downloads and prepares they find."""
        yield

    def destroy(self) -> None:
        """The end of it."""


SINGLE_PROCESS = SingleProcess()


class DistributedProcess(SingleProcess):
    """One of the processes of ``torchrun``, which tells each its place in the environment.

    Args:
        device: of this process. Tensors on a GPU are exchanged by NCCL, those on the CPU by Gloo.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world_size = torchrun.rank(), torchrun.world_size()
        self._pending: tuple[Any, Tensor] | None = None
        if device.type == "cuda":
            torch.cuda.set_device(device)
        self._begin("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        if not self.is_main_process:
            logging.disable(logging.WARNING)  # said once, by the leader

    def _begin(self, backend: str) -> None:
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

    def all_gather_object(self, thing: T) -> list[T]:
        things: list[Any] = [None] * self.world_size
        with self._peer_failures():
            distributed.all_gather_object(things, thing)
        return things

    def broadcast_object(self, thing: T) -> T:
        shared = [thing]
        with self._peer_failures():
            distributed.broadcast_object_list(shared, device=torch.device("cpu"))
        return shared[0]

    def on_main_process(self, make: Callable[[], T]) -> T:
        return self.broadcast_object(make() if self.is_main_process else None)  # type: ignore[return-value]

    def all_reduce_max_async(self, flag: int) -> int:
        """As it was when last asked: the answer is under way during the step between, and nobody waits for it."""
        agreed = 0
        with self._peer_failures():
            if self._pending is not None:
                work, flags = self._pending
                work.wait()
                agreed = int(flags)
            flags = torch.tensor(flag)
            self._pending = distributed.all_reduce(flags, distributed.ReduceOp.MAX, async_op=True), flags
        return agreed

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        if not self.is_main_process:
            self._barrier()
        yield
        if self.is_main_process:
            self._barrier()

    def _barrier(self) -> None:
        with self._peer_failures():
            distributed.all_reduce(torch.zeros(1))  # Gloo, on the CPU; a barrier would choose a device of its own

    @contextmanager
    def _peer_failures(self) -> Iterator[None]:
        """A message in place of a back end's error, which tells of sockets."""
        try:
            yield
        except RuntimeError as error:
            raise PeerProcessFailed(
                "left alone: another process of this training has ended, whose own message says why"
            ) from error

    def destroy(self) -> None:
        distributed.destroy_process_group()


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    """One message: a network's many small tensors would each wait for the others."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)])


class _AllReduceSum(torch.autograd.Function):
    """Every process's result depends on every process's values: the gradient is summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllReduceSum.apply(gradient)


def init_distributed(device: torch.device) -> SingleProcess:
    """Meet the other processes, if there are any."""
    return DistributedProcess(device) if torchrun.is_distributed() else SingleProcess()
