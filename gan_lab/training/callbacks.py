"""What happens between steps, and when. Cadences are functions of the images seen, so that a resume keeps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class Trigger(ABC):
    """When something happens."""

    @abstractmethod
    def is_due(self, before: int, after: int) -> bool:
        """Whether an event falls into the images ``before < n <= after``."""


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
    """When each kind of event happens."""

    log: Trigger
    evaluate: Trigger
    sample: Trigger
    checkpoint: Trigger


class Callbacks:
    """Actions with their cadences, done in the order given. Each is also done at the end.

    Args:
        schedule: pairs of a cadence and what it triggers.
        end: images at which the training ends.
    """

    def __init__(self, schedule: Iterable[tuple[Trigger, Callable[[], None]]], end: int) -> None:
        self._schedule = list(schedule)
        self._end = end
        self._latest: list[Callable[[], None]] = []

    def due(self, before: int, after: int) -> list[Callable[[], None]]:
        """The actions that fall into the images ``before < n <= after``."""
        at_end = after >= self._end
        self._latest = [action for cadence, action in self._schedule if at_end or cadence.is_due(before, after)]
        return self._latest

    def remaining(self) -> list[Callable[[], None]]:
        """Those that were not due when it was last asked: what is to be done where the end comes earlier than expected."""
        return [action for _, action in self._schedule if action not in self._latest]
