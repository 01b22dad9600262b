"""What the console says at the beginning of each of several runs."""

from __future__ import annotations

import logging
import time

import pytest

from gan_lab.studies.run_clock import RunClock


def test_the_number_of_the_run_and_the_time_to_go(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = RunClock()
    clock.begin("trial", 3, 20)
    now += 60
    clock.begin("trial", 4, 20)
    now += 60
    clock.begin("trial", 7, 20)
    assert caplog.messages == [
        "trial 3 of 20",
        "trial 4 of 20, about 17 min to go",  # a minute a trial
        "trial 7 of 20, about 7 min to go",  # other workers make trials too: half a minute a trial
    ]


def test_a_single_run_and_an_unknown_number_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    RunClock().begin("run", 1, 1)
    RunClock().begin("run", 5)
    assert not caplog.messages
