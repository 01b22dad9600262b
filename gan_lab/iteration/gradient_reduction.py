"""Averaging a network's gradients over the processes while its backward pass is still running.

The gradients are divided into buckets of about :data:`BUCKET_BYTES`, in the order in which a backward pass completes them: the
last layers first. As soon as a bucket is complete its average is started, and the backward pass continues meanwhile (Li et al.
2020, "PyTorch Distributed", arXiv:2006.15704). The averages equal those of a single message after the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn

from gan_lab.models.sync_batch_norm import DoubleBackwardSyncBatchNorm
from gan_lab.runtime.distributed import SingleProcess

BUCKET_BYTES = 2 * 2**20
"""Least size of a bucket, except for the last one: smaller messages cost more in latency than their overlap saves."""


class OverlappedReduction:
    """Averages the gradients of ``network`` over ``processes``, in part during the backward pass.

    All processes must start the same messages in the same order. Therefore a bucket is started only after all earlier ones.
    Which buckets are started then depends only on which parameters have a gradient, and these are the same in all processes,
    since all use the same layers and loss terms. All other gradients are averaged in one message after the backward pass.

    The first update of each kind has no buckets yet. They are formed after it, and after any update with gradients of other
    parameters (a progressive network has grown), in the order of completion on the main process.

    Args:
        network: its parameters must not be replaced afterwards.
        processes: the processes that share each batch.
        bucket_bytes: least size of a bucket in bytes.
    """

    def __init__(self, network: nn.Module, processes: SingleProcess, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._parameters = list(network.parameters())
        self._processes = processes
        self._bucket_bytes = bucket_bytes
        self._plans: dict[Hashable, list[list[int]]] = {}
        self._active = False
        self._begin([])
        for index, parameter in enumerate(self._parameters):
            parameter.register_post_accumulate_grad_hook(self._make_hook(index))

    def start(self, kind: Hashable) -> None:
        """Call before the backward pass that completes the gradients: the one of the last micro-batch.

        Args:
            kind: of update. Each kind has its own buckets, since lazy terms may leave parameters without a gradient.
        """
        self._kind = kind
        self._begin(self._plans.get(kind, []))
        self._active = True

    def finish(self) -> None:
        """Call after that backward pass: replaces all gradients by their averages."""
        self._active = False
        started = {index for bucket in self._buckets[: len(self._started)] for index in bucket}
        gradients = [p.grad for index, p in enumerate(self._parameters) if p.grad is not None and index not in started]
        self._processes.all_reduce_mean_(gradients)
        for wait in self._started:
            wait()
        if set(self._completed) != {index for bucket in self._buckets for index in bucket}:
            self._plans[self._kind] = self._divide(self._processes.broadcast_object(list(self._completed)))
        self._begin([])

    def abandon(self) -> None:
        """Forget an update that was interrupted."""
        self._active = False
        self._begin([])

    def _begin(self, buckets: Sequence[Sequence[int]]) -> None:
        self._buckets = buckets
        self._completed: dict[int, None] = {}  # parameters by index, in order of completion
        self._started: list[Callable[[], None]] = []

    def _make_hook(self, index: int) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            if self._active:
                self._complete(index)

        return hook

    def _complete(self, index: int) -> None:
        """Note that a gradient is complete, and start the buckets that are complete with it."""
        if index in self._completed:
            raise RuntimeError(
                "a gradient was accumulated twice in one backward pass, so its average over the processes can't be started "
                "when it arrives; use torch.utils.checkpoint with use_reentrant=False"
            )
        self._completed[index] = None
        while len(self._started) < len(self._buckets):
            bucket = self._buckets[len(self._started)]
            if not all(member in self._completed for member in bucket):
                return
            gradients = [gradient for member in bucket if (gradient := self._parameters[member].grad) is not None]
            self._started.append(self._processes.all_reduce_mean_async(gradients))

    def _divide(self, order: Sequence[int]) -> list[list[int]]:
        """Divide parameters, given by index in order of completion, into buckets."""
        buckets: list[list[int]] = []
        size = self._bucket_bytes
        for index in order:
            if size >= self._bucket_bytes:
                buckets.append([])
                size = 0
            buckets[-1].append(index)
            parameter = self._parameters[index]
            size += parameter.numel() * parameter.element_size()
        return buckets


def overlapped_reduction(
    network: nn.Module, opponent: nn.Module, processes: SingleProcess, device: torch.device
) -> OverlappedReduction | None:
    """The reduction of a network's gradients, or None where they are averaged in one message after the backward pass.

    Synchronized batch norm of either network sends messages of its own during the backward pass, whose order relative to the
    buckets is not certain to be the same in all processes. On CPUs overlapping gains little: the processes compute on the cores
    that would also send.
    """
    synchronizes = any(isinstance(module, DoubleBackwardSyncBatchNorm) for n in (network, opponent) for module in n.modules())
    if processes.world_size == 1 or synchronizes or device.type != "cuda":
        return None
    return OverlappedReduction(network, processes)
