"""Learning-rate schedules: pure functions of the training's progress, the same for both players."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """``progress`` (images seen / images in all, 0 to 1) to a factor of the configured learning rate."""

    @abstractmethod
    def __call__(self, progress: float) -> float: ...


class Constant(Schedule):
    """Always 1."""

    def __call__(self, progress: float) -> float:
        return 1.0


class Linear(Schedule):
    """1 until ``start``, then in a straight line to ``end`` (SNGAN: start 0, end 0; CycleGAN: start 0.5, end 0).

    Args:
        start: progress at which the decay begins, in [0, 1).
        end: factor at the end.
    """

    def __init__(self, start: float = 0.0, end: float = 0.0) -> None:
        _check(start, end)
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        share = max(0.0, progress - self.start) / (1.0 - self.start)
        return 1.0 + share * (self.end - 1.0)


class Cosine(Schedule):
    """Half a cosine from 1 at ``start`` to ``end`` (Loshchilov & Hutter 2017, eq. 5, without restarts)."""

    def __init__(self, start: float = 0.0, end: float = 0.0) -> None:
        _check(start, end)
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        share = max(0.0, progress - self.start) / (1.0 - self.start)
        return self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * share)) / 2


class Steps(Schedule):
    """Multiply by ``gamma`` at each of ``at`` (shares of the training, in [0, 1])."""

    def __init__(self, at: list[float], gamma: float = 0.5) -> None:
        if not all(0.0 <= share <= 1.0 for share in at):
            raise ValueError(f"at={list(at)}: shares of the training lie in [0, 1]")
        if gamma <= 0:
            raise ValueError(f"gamma={gamma}: must be positive")
        self.at, self.gamma = tuple(at), gamma

    def __call__(self, progress: float) -> float:
        return self.gamma ** sum(progress >= share for share in self.at)


def _check(start: float, end: float) -> None:
    if end < 0:
        raise ValueError(f"end={end}: must not be negative")
    if not 0.0 <= start < 1.0:
        raise ValueError(f"start={start}: a share of the training in [0, 1)")
