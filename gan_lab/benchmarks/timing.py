"""Measuring in turn, and telling it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

Action = Callable[[], object]


class Repeated:
    """How often a benchmark measures.

    Args:
        rounds: times each thing is measured.
        steps: steps in a measurement.
        warmup: steps before.
    """

    def __init__(self, rounds: int, steps: int, warmup: int) -> None:
        if min(rounds, steps, warmup) < 1:
            raise ValueError(f"benchmark: {rounds=}, {steps=} and {warmup=} must be at least 1")
        self._rounds, self._steps, self._warmup = rounds, steps, warmup


@dataclass
class Result:
    """Measurements of one benchmark.

    Attributes:
        seconds: of each thing measured, once a round.
        unit: how many of them a second are told beside the milliseconds (images in a step, say), by thing.
        ratios: what follows, in words to number.
    """

    seconds: dict[str, list[float]]
    unit: Mapping[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, over: str, under: str) -> float:
        """The median of the ratios within each round."""
        return statistics.median(a / b for a, b in zip(self.seconds[over], self.seconds[under], strict=True))

    def print(self) -> None:
        """A table of medians and ranges, then the ratios."""
        table = Table("measured", "median ms", "lowest", "highest", "images/s")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, values in self.seconds.items():
            rate = f"{self.unit[name] / self.median(name):,.0f}" if name in self.unit else ""
            table.add_row(name, *(f"{1000 * v:,.2f}" for v in (self.median(name), min(values), max(values))), rate)
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        for words, number in self.ratios.items():
            console.print(f"{words}: {number:.3g}")

    def to_dict(self) -> dict[str, Any]:
        """For ``benchmark.json``."""
        return {"milliseconds": {k: [1000 * v for v in values] for k, values in self.seconds.items()}, "ratios": self.ratios}


def interleaved(
    actions: Mapping[str, Action], rounds: int, repeats: int, settle: Action = lambda: None
) -> dict[str, list[float]]:
    """Seconds of one call of each action, measured over ``repeats`` calls, ``rounds`` times, one action after the other.

    Args:
        actions: by name.
        rounds: measurements of each.
        repeats: calls in a measurement.
        settle: waits until what was called has really been done, such as a CUDA synchronisation.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            started = time.perf_counter()
            for _ in range(repeats):
                action()
            settle()
            seconds[name].append((time.perf_counter() - started) / repeats)
    return seconds
