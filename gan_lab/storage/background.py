"""Writing files in a thread while the training goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class BackgroundWriter:
    """Runs one writing function at a time in a thread. Its error is raised by the next :meth:`start` or :meth:`wait`.

    The thread is started here and not when there is something to write: ``threading.Thread.start`` never returns if the new
    thread runs out of memory before it has begun (https://github.com/python/cpython/issues/140746).
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gan_lab-writer")
        self._writing: Future[None] | None = self._executor.submit(lambda: None)
        self.wait()

    def start(self, write: Callable[[], None]) -> None:
        """Wait for the previous function, then run ``write`` in the thread."""
        self.wait()
        self._writing = self._executor.submit(write)

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: what the last function raised.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


def copy_to_host(state: Any) -> tuple[Any, Callable[[], None]]:
    """A copy of nested dicts, lists and tuples whose tensors are on the CPU and share no memory with the originals.

    Copies from CUDA go to page-locked memory without waiting for the device. Tensors that are the same memory stay one tensor.

    Returns:
        The copy, and a function that waits until its contents have arrived.
    """
    copies: dict[tuple[Any, ...], Tensor] = {}
    devices: set[torch.device] = set()

    def copy_tensor(tensor: Tensor) -> Tensor:
        key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if key not in copies or not tensor.numel():
            tensor = tensor.detach()
            if tensor.is_cuda:
                devices.add(tensor.device)
                copies[key] = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
            else:
                copies[key] = tensor.clone()
        return copies[key]

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            return copy_tensor(value)
        if isinstance(value, dict):
            result = copy.copy(value)  # keeps the type and the attributes of a module's state dict
            for key, each in value.items():
                result[key] = copied(each)
            return result
        if isinstance(value, list | tuple):
            return type(value)(map(copied, value))
        return value

    result = copied(state)
    events = []
    for device in devices:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        events.append(event)

    def wait() -> None:
        for event in events:
            event.synchronize()

    return result, wait
