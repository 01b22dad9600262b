"""Signal handlers for the duration of a block."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gan_lab.runtime.signals import exit_on_sigterm, handle_signals


def test_a_handler_is_installed_within_the_block_and_the_previous_one_restored() -> None:
    before, received = signal.getsignal(signal.SIGUSR1), list[int]()
    with handle_signals(lambda number, frame: received.append(number), signal.SIGUSR1):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert received == [signal.SIGUSR1] and signal.getsignal(signal.SIGUSR1) is before


def test_sigterm_ends_the_block_with_its_exit_status() -> None:
    with pytest.raises(SystemExit) as ended, exit_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread_does_not_change_the_handlers() -> None:
    found: list[object] = []

    def work() -> None:
        with exit_on_sigterm():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
