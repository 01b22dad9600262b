"""A graph recorder for the CPU: records every ATen call of an iteration and replays the calls on the same tensors.

As with a CUDA graph, Python does not run during a replay: numbers that Python passed to an operation keep their recorded value,
tensors are read and written at their recorded addresses. Operations that a CUDA graph could not contain are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")
"""Operations whose result the host waits for."""

COPIES_FROM_HOST = ("lift_fresh",)
"""``torch.tensor(...)``: on CUDA a copy from the host's memory, which a replay would read again after it has been freed."""


class RecordedOperations(TorchDispatchMode):
    """A :class:`gan_lab.iteration.runner.GraphRecorder` that replays ATen calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor], list[Tensor]]] = []
        self.recordings = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Unlike CUDA this runs ``work`` while it records, so the first replay does nothing."""
        self.calls, ran = [], True
        with self:
            work()
        calls, self.recordings = self.calls, self.recordings + 1

        @torch.no_grad()
        def replay() -> None:
            nonlocal ran
            for function, args, kwargs, fresh, _ in () if ran else calls:
                results = [t for t in tree_leaves(function(*args, **kwargs)) if isinstance(t, Tensor)]
                for held, result in zip(fresh, results, strict=True):
                    if held is not None:
                        held.copy_(result)
            ran = False

        return replay

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function.name().removeprefix("aten::").partition(".")[0]
        if name in WAITS or name in COPIES_FROM_HOST:
            raise RuntimeError(f"{name} can't be recorded")
        results = function(*args, **kwargs)
        if not name.startswith("profiler::"):
            given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            outputs = [t for t in tree_leaves(results) if isinstance(t, Tensor)]
            fresh = [t.detach() if t.untyped_storage().data_ptr() not in given else None for t in outputs]
            self.calls.append((function, args, kwargs, fresh, outputs))
        return results
