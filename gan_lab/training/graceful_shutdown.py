"""Ctrl-C and a scheduler's SIGTERM end a run after the current step, with everything saved."""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType

log = logging.getLogger(__name__)

DUPLICATE_SECONDS = 1.0
"""A second signal within this time counts as the first: a terminal sends Ctrl-C to all processes, and torchrun forwards it."""


class GracefulShutdown:
    """A context in which the first SIGINT or SIGTERM only sets ``signal``; a second one interrupts at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._since = 0.0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> GracefulShutdown:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and time.monotonic() - self._since < DUPLICATE_SECONDS:
            return
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal, self._since = signal.Signals(number), time.monotonic()
        log.info("%s: saving after this step; press Ctrl-C again to stop at once", self.signal.name)
