"""Signal handlers for the duration of a block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handle_signals(handler: Handler, *signals: signal.Signals) -> Iterator[None]:
    """Call ``handler`` for these signals within the block, and restore the previous handlers afterwards.

    Does nothing outside the main thread, where Python allows no handlers.
    """
    previous: dict[signal.Signals, object] = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in previous.items():
            if old is not None:  # a handler that was not installed from Python cannot be restored
                signal.signal(number, old)  # type: ignore[arg-type]


def termination_signals() -> list[signal.Signals]:
    """SIGTERM of a scheduler, SIGUSR1 before a time limit of SLURM (``--signal=USR1@120``), SIGHUP of a closed
    terminal, and SIGQUIT.

    Those that are ignored are left out, as SIGHUP is under ``nohup``; Windows has SIGTERM only.
    """
    names = ("SIGTERM", "SIGUSR1", "SIGHUP", "SIGQUIT")
    found = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


def exit_on_termination() -> AbstractContextManager[None]:
    """Raise SystemExit on the termination signals within the block, so that cleanup code runs before the process ends."""
    return handle_signals(_exit, *termination_signals())


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
