"""Monitors a run: checks examine every row of metrics, and raise and clear alarms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gan_lab.training.checks import Check

log = logging.getLogger(__name__)

AlarmListener = Callable[[str, str, int], None]
"""Called when an alarm is raised, with its name, its text and the images seen."""


@dataclass
class Alarm:
    """A problem that a check has found.

    Attributes:
        alarm: name of the check.
        images: images seen when it was raised.
        text: a sentence that describes the problem.
        over: images seen when the alarm was cleared; None while it is active.
    """

    alarm: str
    images: int
    text: str
    over: int | None = None


class TrainingMonitor:
    """The checks of a run and the alarms that they have raised. An active alarm is not raised again.

    Args:
        checks: by the name of their alarm.
        score: name of the run's primary score, or None.
        stop_at: names of alarms that end the training.
        restore_best: whether the run then goes back to its best checkpoint.
        notify: called for each alarm that is raised.

    Attributes:
        alarms: all alarms so far, oldest first.
        ended_by: the alarm that ends the training, or None. Not part of the state: a resumed training continues.

    Raises:
        ValueError: ``stop_at`` names an unknown alarm, or there will be no best checkpoint to go back to.
    """

    def __init__(
        self, checks: Mapping[str, Check], score: str | None, stop_at: Sequence[str], restore_best: bool, notify: AlarmListener
    ) -> None:
        if unknown := [name for name in stop_at if name not in checks]:
            known = f"must be one of {', '.join(checks)}" if checks else "there are no checks; health=watch has some"
            raise ValueError(f"health.stop_at={unknown[0]}: {known}")
        if restore_best and score is None:
            raise ValueError(
                "health.restore_best=true: without a score (evaluation=none) there is no best checkpoint to go back to"
            )
        self._checks, self._score, self._stop_at, self._restore_best = dict(checks), score, frozenset(stop_at), restore_best
        self._notify = notify
        self.alarms: list[Alarm] = []
        self.ended_by: Alarm | None = None

    def add(self, name: str, check: Check) -> None:
        """Add a check whose alarm ends the training."""
        self._checks[name] = check
        self._stop_at |= {name}

    @property
    def restores_best(self) -> bool:
        """Whether an alarm has ended the training and the run goes back to its best checkpoint."""
        return self._restore_best and self.ended_by is not None

    def report(self, name: str, text: str, images: int) -> None:
        """Record an alarm about something that is over already, such as a divergence after which the run went back."""
        self._raise(Alarm(name, images, text, over=images))

    def count(self, name: str) -> int:
        """How many alarms of this name there were."""
        return sum(alarm.alarm == name for alarm in self.alarms)

    def check(self, metrics: Mapping[str, float], images: int) -> dict[str, float]:
        """Pass a row of metrics, measured after ``images`` images, to every check.

        Returns:
            ``health/<alarm>`` for each alarm that changed: 1 if it was raised, 0 if it was cleared.
        """
        changes: dict[str, float] = {}
        for name, check in self._checks.items():
            result = check.check(metrics, self._score)
            lasting = next((alarm for alarm in self.alarms if alarm.alarm == name and alarm.over is None), None)
            if result and lasting is None:
                self._raise(Alarm(name, images, result))
                changes[f"health/{name}"] = 1.0
            elif result == "" and lasting is not None:
                lasting.over = images
                log.info("alarm %s cleared at %s images", name, f"{images:,}")
                changes[f"health/{name}"] = 0.0
        return changes

    def _raise(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)
        log.warning("ALARM %s at %s images: %s", alarm.alarm, f"{alarm.images:,}", alarm.text)
        self._notify(alarm.alarm, alarm.text, alarm.images)
        if alarm.alarm in self._stop_at and self.ended_by is None:
            self.ended_by = alarm

    def summary(self) -> list[dict[str, Any]]:
        """The alarms for ``summary.json``."""
        return [asdict(alarm) for alarm in self.alarms]

    def state_dict(self) -> dict[str, Any]:
        return {"alarms": self.summary(), "checks": {name: check.state_dict() for name, check in self._checks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.alarms = [Alarm(**alarm) for alarm in state["alarms"]]
        for alarm in self.alarms:
            if alarm.over is None and (alarm.alarm in self._stop_at or alarm.alarm not in self._checks):
                alarm.over = alarm.images  # raised again if the problem persists, and ends the training again
        for name, check in self._checks.items():
            if name in state["checks"]:  # a resume may add a check
                check.load_state_dict(state["checks"][name])
