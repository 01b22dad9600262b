"""What happens between training steps, and when: triggers are functions of the images seen, so that a resume keeps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Callback = Callable[[], None]


class Trigger(ABC):
    """When a callback runs."""

    @abstractmethod
    def is_due(self, before: int, after: int) -> bool:
        """Whether it runs after the step that took the number of images seen from ``before`` to ``after``."""


class IntervalTrigger(Trigger):
    """Every ``interval`` images."""

    def __init__(self, interval: float) -> None:
        if interval <= 0:
            raise ValueError(f"an interval of {interval} images: must be positive")
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


class Callbacks:
    """Callbacks with their triggers, run in the order given. Each also runs at the end of the training.

    Args:
        schedule: a trigger and a callback by name.
        end: images at which the training ends.
    """

    def __init__(self, schedule: Mapping[str, tuple[Trigger, Callback]], end: int) -> None:
        self.schedule = dict(schedule)
        self._end = end
        self._latest: list[Callback] = []

    def subset(self, names: Iterable[str], end: int) -> Callbacks:
        """Some of them by name, for a training that ends at ``end`` images."""
        return Callbacks({name: self.schedule[name] for name in names}, end)

    def due(self, before: int, after: int) -> list[Callback]:
        """The callbacks that are due after the step from ``before`` to ``after`` images."""
        at_end = after >= self._end
        self._latest = [run for trigger, run in self.schedule.values() if at_end or trigger.is_due(before, after)]
        return self._latest

    def remaining(self) -> list[Callback]:
        """Those that were not due when last asked: what is left to run if the training ends earlier than expected."""
        return [run for _, run in self.schedule.values() if run not in self._latest]
