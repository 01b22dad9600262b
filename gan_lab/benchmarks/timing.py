"""Alternating time measurements, and their result as a table and as JSON."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gan_lab.training.trainer import Trainer
from gan_lab.utils.terminal import STDOUT, print_table

Action = Callable[[], object]


class Repeated:
    """Base class of benchmarks that measure training steps.

    Args:
        rounds: number of measurements of each action.
        steps: training steps per measurement.
        warmup: unmeasured training steps before.

    Raises:
        ValueError: one of them is less than 1.
    """

    def __init__(self, rounds: int, steps: int, warmup: int) -> None:
        if min(rounds, steps, warmup) < 1:
            raise ValueError(f"benchmark: {rounds=}, {steps=} and {warmup=} must be at least 1")
        self._rounds, self._steps, self._warmup = rounds, steps, warmup


@dataclass
class Result:
    """Measurements of a benchmark.

    Attributes:
        seconds: for each action, the seconds of one call, once per round.
        unit: for actions whose speed is shown as images/s, the images per call.
        ratios: derived numbers, by their description.
        facts: further lines of the report, by their heading.
    """

    seconds: dict[str, list[float]]
    unit: Mapping[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, numerator: str, denominator: str) -> float:
        """The median over all rounds of the ratio of two actions' seconds."""
        return statistics.median(a / b for a, b in zip(self.seconds[numerator], self.seconds[denominator], strict=True))

    def print(self) -> None:
        """Print a table of medians and ranges, and the ratios and facts below it."""
        rows = []
        for name, values in self.seconds.items():
            rate = f"{self.unit[name] / self.median(name):,.0f}" if name in self.unit else ""
            rows.append([name, *map(format_milliseconds, (self.median(name), min(values), max(values))), rate])
        ratios = [f"{description}: {number:.3g}" for description, number in self.ratios.items()]
        print_table(["measured", "median ms", "lowest", "highest", "images/s"], rows, ratios)
        print_notes(*(f"{name}: {fact}" for name, fact in self.facts.items()))

    def to_dict(self) -> dict[str, Any]:
        """The content of ``benchmark.json``."""
        milliseconds = {k: [1000 * v for v in values] for k, values in self.seconds.items()}
        return {"milliseconds": milliseconds, "ratios": self.ratios, "facts": self.facts}


def format_milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.2f}"


def print_notes(*lines: str) -> None:
    """Print lines of text below a table."""
    for line in lines:
        STDOUT.print(line)


def interleaved(
    actions: Mapping[str, Action], rounds: int, repeats: int, synchronize: Action = lambda: None
) -> dict[str, list[float]]:
    """Measure actions alternately.

    Args:
        actions: what to call, by name.
        rounds: number of measurements of each action.
        repeats: calls per measurement.
        synchronize: called before a measurement ends, such as CUDA synchronization.

    Returns:
        For each action the mean seconds of one call, once per round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.perf_counter()
            for _ in range(repeats):
                action()
            synchronize()
            seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that waits until the device has executed all queued operations."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def start_at_end(trainer: Trainer) -> None:
    """Prepare a trainer to be stepped without limit in the state at the end of training.

    A progressive network has its full resolution; logging is the only callback.
    """
    trainer.callbacks = trainer.callbacks.subset(["logging"], end=sys.maxsize)
    trainer.evaluator.prepare(trainer.device, lambda done, total: None)
    trainer.records.tracker.start(trainer.records.info)
    trainer.progress.images, trainer.progress.total_images = trainer.progress.total_images, sys.maxsize
    trainer.updater.grow_to(trainer.updater.growth.state_at(trainer.progress.images))
