"""Ends a run after the current step, with a checkpoint, on Ctrl-C, a scheduler's SIGTERM or a closed terminal."""

from __future__ import annotations

import logging
import signal
import time
from types import FrameType

from gan_lab.runtime.signals import handle_signals, termination_signals

log = logging.getLogger(__name__)

HANGUP = getattr(signal, "SIGHUP", None)

DUPLICATE_SECONDS = 1.0
"""A second signal within this time counts as the first: a terminal sends Ctrl-C to all processes, and torchrun forwards it."""


class GracefulShutdown:
    """A context in which the first SIGINT, SIGTERM or SIGHUP only sets ``signal``; a second one interrupts at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._since = 0.0
        self._handlers = handle_signals(self._handle, signal.SIGINT, *termination_signals())

    def __enter__(self) -> GracefulShutdown:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handlers.__exit__(None, None, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and (number == HANGUP or time.monotonic() - self._since < DUPLICATE_SECONDS):
            return  # shell and terminal may both report that it was closed
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal, self._since = signal.Signals(number), time.monotonic()
        log.info("%s: saving after this step; press Ctrl-C again to stop at once", self.signal.name)
