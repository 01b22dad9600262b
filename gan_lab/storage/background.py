"""Writing files in a thread while the training goes on."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BackgroundWriter:
    """Runs one writing function at a time in a thread. Its error is raised by the next :meth:`start` or :meth:`wait`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Wait for the previous function, then run ``write`` in a thread."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="gan_lab-writer")
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: what the last function raised.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # raised in the main thread
            self._error = error


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
