"""Callbacks between training steps. Triggers depend only on the number of images seen, so that a resume keeps them."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.utils.formatting import format_duration

log = logging.getLogger(__name__)

Callback = Callable[[], None]


class Trigger(ABC):
    """Decides when a callback runs."""

    @abstractmethod
    def is_due(self, before: int, after: int) -> bool:
        """Whether the callback runs after the step that increased the images seen from ``before`` to ``after``."""


class IntervalTrigger(Trigger):
    """Every ``interval`` images."""

    def __init__(self, interval: float) -> None:
        if interval <= 0:
            raise ValueError(f"interval={interval}: the number of images between two calls must be positive")
        self.interval = interval

    def is_due(self, before: int, after: int) -> bool:
        return after // self.interval > before // self.interval


class MilestoneTrigger(Trigger):
    """At given numbers of images."""

    def __init__(self, points: Iterable[float]) -> None:
        self.points = tuple(points)

    def is_due(self, before: int, after: int) -> bool:
        return any(before < point <= after for point in self.points)


@dataclass
class Triggers:
    """The trigger of each kind of callback."""

    log: Trigger
    evaluate: Trigger
    sample: Trigger
    checkpoint: Trigger
    kept_checkpoint: Trigger


@dataclass(frozen=True)
class TimeLimits:
    """Largest fraction of the training time that each kind of callback may take, in (0, 1]; None: no limit."""

    evaluate: float | None
    sample: float | None
    checkpoint: float | None


class Event:
    """A callback with its trigger and its time limit.

    Args:
        trigger: when it is due.
        callback: what is called.
        max_time_fraction: of the training time; None: no limit.
        section: the configuration section that sets the limit.
    """

    def __init__(self, trigger: Trigger, callback: Callback, max_time_fraction: float | None = None, section: str = "") -> None:
        self.trigger, self.callback, self.max_time_fraction, self._section = trigger, callback, max_time_fraction, section
        self.expected_seconds = 0.0
        self._spent = 0.0
        self._reported = False

    def fits(self, training_seconds: float) -> bool:
        """Whether another call that takes as long as the last one stays within the limit."""
        limit = self.max_time_fraction
        return limit is None or self._spent + self.expected_seconds <= limit * training_seconds

    def __call__(self) -> None:
        started = time.perf_counter()
        self.callback()
        self.expected_seconds = time.perf_counter() - started
        self._spent += self.expected_seconds

    def report_skipped(self, name: str) -> None:
        """Log once that calls are skipped; ``name`` is the event's."""
        if not self._reported:
            self._reported = True
            log.info(
                "%s takes %s each time and now happens less often than configured, to stay below %g %% of the training time; "
                "%s.max_time_fraction=null removes the limit",
                name,
                format_duration(self.expected_seconds),
                100 * (self.max_time_fraction or 0),
                self._section,
            )


class Callbacks:
    """Events by name, in the order in which they run. All of them also run at the end of the training, without time limits.

    Args:
        events: by name.
        end: images at which the training ends.
        processes: the processes of the run, which skip the same events.
    """

    def __init__(self, events: Mapping[str, Event], end: int, processes: SingleProcess = SINGLE_PROCESS) -> None:
        self.events = dict(events)
        self._end, self._processes = end, processes
        self._latest: list[str] = []

    def subset(self, names: Iterable[str], end: int) -> Callbacks:
        """The events called ``names``, for a training that ends at ``end`` images."""
        return Callbacks({name: self.events[name] for name in names}, end, self._processes)

    def due(self, before: int, after: int) -> list[str]:
        """Names of the events that are due after the step from ``before`` to ``after`` images."""
        at_end = after >= self._end
        self._latest = [name for name, event in self.events.items() if at_end or event.trigger.is_due(before, after)]
        return self._latest

    def run(self, names: Iterable[str], training_seconds: float, images: int) -> None:
        """Run the events called ``names``. Before the end of the training, events that would exceed their limit are skipped.

        Args:
            names: in the order in which they run.
            training_seconds: seconds of training in this process.
            images: images seen.
        """
        for name in names:
            event = self.events[name]
            fits = images >= self._end or event.max_time_fraction is None
            if fits or self._processes.broadcast_object(event.fits(training_seconds)):
                event()
            else:
                event.report_skipped(name)

    def run_remaining(self) -> None:
        """Run the events that were not due after the last step; called when the training ends early."""
        for name, event in self.events.items():
            if name not in self._latest:
                event()
