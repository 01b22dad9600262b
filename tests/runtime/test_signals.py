"""Signal handlers for the duration of a block."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gan_lab.runtime.signals import exit_on_termination, handle_signals
from gan_lab.training.graceful_shutdown import GracefulShutdown


def test_a_handler_is_installed_within_the_block_and_the_previous_one_restored() -> None:
    before, received = signal.getsignal(signal.SIGUSR1), list[int]()
    with handle_signals(lambda number, frame: received.append(number), signal.SIGUSR1):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert received == [signal.SIGUSR1] and signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_a_termination_ends_the_block_with_its_exit_status(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as ended, exit_on_termination():
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number and signal.getsignal(number) is signal.SIG_DFL


def test_a_closed_terminal_is_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exit_on_termination(), GracefulShutdown() as shutdown:
            os.kill(os.getpid(), signal.SIGHUP)
        assert shutdown.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_ends_a_run_after_the_step_however_often_it_is_reported() -> None:
    with GracefulShutdown() as shutdown:
        os.kill(os.getpid(), signal.SIGHUP)
        shutdown._since -= 10
        os.kill(os.getpid(), signal.SIGHUP)
        assert shutdown.signal == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_does_not_change_the_handlers() -> None:
    found: list[object] = []

    def work() -> None:
        with exit_on_termination():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
