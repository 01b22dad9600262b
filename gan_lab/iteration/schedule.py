"""Learning-rate schedules: functions of the training progress, the same for both networks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """Maps the training progress (images seen / all images, 0 to 1) to a factor of the configured learning rate."""

    @abstractmethod
    def __call__(self, progress: float) -> float: ...


class Constant(Schedule):
    """A factor of 1."""

    def __call__(self, progress: float) -> float:
        return 1.0


class Linear(Schedule):
    """1 until ``start``, then linear decay to ``end`` (SNGAN: start 0, end 0; CycleGAN: start 0.5, end 0).

    Args:
        start: progress at which the decay begins, in [0, 1).
        end: factor at the end, at least 0.
    """

    def __init__(self, start: float = 0.0, end: float = 0.0) -> None:
        _check(start, end)
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        fraction = max(0.0, progress - self.start) / (1.0 - self.start)
        return 1.0 + fraction * (self.end - 1.0)


class Cosine(Schedule):
    """Half a cosine from 1 at ``start`` to ``end`` (Loshchilov & Hutter 2017, eq. 5, without restarts)."""

    def __init__(self, start: float = 0.0, end: float = 0.0) -> None:
        _check(start, end)
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        fraction = max(0.0, progress - self.start) / (1.0 - self.start)
        return self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * fraction)) / 2


class Steps(Schedule):
    """Multiply by ``gamma`` at each progress in ``at``, which are in [0, 1]."""

    def __init__(self, at: list[float], gamma: float = 0.5) -> None:
        if not all(0.0 <= fraction <= 1.0 for fraction in at):
            raise ValueError(f"schedule.at={list(at)}: must be fractions of the training, in [0, 1]")
        if gamma <= 0:
            raise ValueError(f"schedule.gamma={gamma}: must be positive")
        self.at, self.gamma = tuple(at), gamma

    def __call__(self, progress: float) -> float:
        return self.gamma ** sum(progress >= fraction for fraction in self.at)


def _check(start: float, end: float) -> None:
    if end < 0:
        raise ValueError(f"schedule.end={end}: must not be negative")
    if not 0.0 <= start < 1.0:
        raise ValueError(f"schedule.start={start}: must be a fraction of the training, in [0, 1)")
