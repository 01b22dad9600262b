"""Values other than the learning rate's factor that change during training: ``schedule.of``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gan_lab.iteration.schedule import Cosine, Linear, Schedule

CURVES = {"cosine": Cosine(), "linear": Linear()}
"""Curves by name: functions of the progress that fall from 1 to 0."""


class ScheduledValue:
    """A value that follows a curve while a number of images is seen, and then keeps its last value.

    Args:
        key: of the configuration.
        assign: sets the value, a list of numbers. It writes into tensors where an iteration reads the value on the device.
        first, last: numbers at the start and at the end.
        images: real images between both.
        curve: falls from 1 to 0 with the progress.
    """

    def __init__(
        self,
        key: str,
        assign: Callable[[list[float]], None],
        first: Sequence[float],
        last: Sequence[float],
        images: float,
        curve: Schedule,
    ) -> None:
        assert len(first) == len(last)
        self._assign, self._first, self._last, self._images, self._curve = assign, first, last, images, curve
        self._names = [f"schedule/{key}" + (f"[{n}]" if len(first) > 1 else "") for n in range(len(first))]
        self._current = list(first)

    def set_progress(self, images: int) -> None:
        """Set the value for the iteration after ``images`` images of adversarial training."""
        weight = self._curve(min(1.0, images / self._images))
        self._current = [last + weight * (first - last) for first, last in zip(self._first, self._last, strict=True)]
        self._assign(self._current)

    def metrics(self) -> dict[str, float]:
        """The numbers of the last iteration that change, by the name they are logged under."""
        numbers = zip(self._names, self._current, self._first, self._last, strict=True)
        return {name: current for name, current, first, last in numbers if first != last}
