"""How iterations run: eagerly, or as CUDA graphs, recorded once for each kind of iteration and replayed with one launch.

The networks of a GAN are small. At 32 to 64 pixels an iteration is several hundred kernels of a few microseconds each, and
launching them from Python takes longer than computing them (PyTorch's documentation, "CUDA graphs").
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Protocol

from gan_lab.data.loader import Batch
from gan_lab.utils.formatting import first_line

log = logging.getLogger(__name__)

Iteration = Callable[[Batch], None]
"""The device's work of one iteration. It changes tensors in place, returns nothing and changes no Python state."""

WARMUP = 3
"""Eager iterations of a kind before it is recorded: they create the optimizer's state and choose algorithms."""


class GraphRecorder(Protocol):
    """Records work on a device."""

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run ``work`` as it is, in the way that has to precede a recording."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` without running it; returns a function that runs what was recorded.

        Raises:
            RuntimeError: ``work`` can't be recorded.
        """


class Runner(ABC):
    """Runs iterations."""

    @abstractmethod
    def run(self, kind: Hashable, batch: Batch, iteration: Iteration) -> None:
        """Run one iteration on ``batch``.

        Args:
            kind: whatever decides which operations the iteration consists of, except the shapes of the batch.
            batch: its input.
            iteration: its work.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget what was recorded: tensors that iterations change have been replaced by others."""


class EagerRunner(Runner):
    """Runs each iteration operation by operation."""

    def run(self, kind: Hashable, batch: Batch, iteration: Iteration) -> None:
        iteration(batch)

    def reset(self) -> None:
        """Nothing was recorded."""


class CompiledRunner(Runner):
    """Runs iterations whose networks are compiled by ``torch.compile``, and goes on without compiling where that fails.

    Compilers fail in forward passes, in backward passes, and for some shapes only. Therefore the first iteration of each kind
    is repeated without compiling if it raises an error.

    Args:
        save: returns a function that brings back the state of now.
        stop_compiling: called before an iteration is repeated.
    """

    def __init__(self, save: Callable[[], Callable[[], None]], stop_compiling: Callable[[], None]) -> None:
        self._save, self._stop_compiling = save, stop_compiling
        self._proven: set[Hashable] = set()
        self._failed = False

    def run(self, kind: Hashable, batch: Batch, iteration: Iteration) -> None:
        kind = (kind, batch.real.shape)
        if self._failed or kind in self._proven:
            iteration(batch)
            return
        restore = self._save()
        try:
            iteration(batch)
        except Exception as error:  # a missing compiler, an unsupported operation: many types, none of them public
            self._failed = True
            reason = first_line(error)
            log.warning("compile: continues without compiling, because an iteration failed (%s)", reason)
            self._stop_compiling()
            restore()
            iteration(batch)
        self._proven.add(kind)

    def reset(self) -> None:
        """Nothing was recorded."""


class GraphRunner(Runner):
    """Records each kind of iteration after :data:`WARMUP` eager ones, and replays it from then on.

    If a recording fails, it logs why once and runs eagerly for the rest of the training.

    Args:
        recorder: of the training's device.
        recover: called after a recording that failed; brings the host's state back to where it was before.
    """

    def __init__(self, recorder: GraphRecorder, recover: Callable[[], None]) -> None:
        self._recorder, self._recover = recorder, recover
        self._warmups: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[Callable[[], None], Batch]] = {}
        self._failed = False

    def run(self, kind: Hashable, batch: Batch, iteration: Iteration) -> None:
        kind = (kind, *(None if t is None else (t.shape, t.dtype) for t in batch))
        if self._failed:
            iteration(batch)
        elif kind not in self._recorded and self._warmups[kind] < WARMUP:
            self._warmups[kind] += 1
            self._recorder.warm_up(lambda: iteration(batch))
        elif kind in self._recorded or self._record(kind, batch, iteration):
            self._replay(kind, batch)
        else:
            iteration(batch)

    @property
    def num_recorded(self) -> int:
        """Number of kinds of iterations that are replayed at present."""
        return len(self._recorded)

    def reset(self) -> None:
        self._warmups.clear()
        self._recorded.clear()

    def _replay(self, kind: Hashable, batch: Batch) -> None:
        replay, inputs = self._recorded[kind]
        for recorded, given in zip(inputs, batch, strict=True):
            if recorded is not None and given is not None:
                recorded.copy_(given, non_blocking=True)
        replay()

    def _record(self, kind: Hashable, batch: Batch, iteration: Iteration) -> bool:
        inputs = Batch(*(None if t is None else t.clone() for t in batch))  # type: ignore[arg-type]
        try:
            self._recorded[kind] = self._recorder.record(lambda: iteration(inputs)), inputs
        except RuntimeError as error:
            self._failed = True
            self.reset()
            self._recover()
            reason = first_line(error)
            log.warning("capture: iterations run eagerly from here on, because one could not be recorded (%s)", reason)
            return False
        return True
