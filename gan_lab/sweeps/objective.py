"""From a run's summary to the number, or numbers, a sweep minimises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Objective:
    """Reads figures out of a summary; all are minimised.

    Args:
        names: scores (``fd_random``) or figures of ``summary.json`` (``epoch_seconds``, ``peak_memory_mib``).
    """

    def __init__(self, names: str | Sequence[str]) -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names)

    def __call__(self, summary: Mapping[str, Any]) -> float | tuple[float, ...]:
        """The final values, not the best ones: a collapse after a good moment counts.

        Raises:
            ValueError: the run has no such figure.
        """
        return self._shape([self._value(summary, name) for name in self.names])

    def worst(self) -> float | tuple[float, ...]:
        """What a diverged run is worth. Infinity and not NaN: Optuna ends a sweep at NaN."""
        return self._shape([math.inf] * len(self.names))

    def _value(self, summary: Mapping[str, Any], name: str) -> float:
        figures = {key: value for key, value in {**summary, **summary["final"]}.items() if isinstance(value, int | float)}
        if name not in figures:
            raise ValueError(f"objective={name}: the run has no such figure; it has {', '.join(sorted(figures))}")
        return float(figures[name])

    def _shape(self, values: list[float]) -> float | tuple[float, ...]:
        return values[0] if len(values) == 1 else tuple(values)
