"""What the time of a training goes into, and what follows for the training as configured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from gan_lab.benchmarks.timing import Result
from gan_lab.training.callbacks import Trigger


@dataclass
class StepResult(Result):
    """Measurements with the share each phase has of the configured training.

    Attributes:
        times: how often each phase happens in a step of the training.
        choices: how the arithmetic is done, by key of the configuration.
        figures: what follows: images a second, seconds for a thousand, seconds of the whole, MiB at the peak.
        facts: what is to be told of it in words.
    """

    times: dict[str, float] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def per_step(self, name: str) -> float:
        """Seconds of a phase in a step, on average over the training."""
        return self.median(name) * self.times[name]

    def share(self, name: str) -> float:
        """Of the training, in [0, 1]."""
        return self.per_step(name) / sum(map(self.per_step, self.times))

    def print(self) -> None:
        table = Table("phase", "median ms", "lowest", "highest", "a step", "share")
        for column in table.columns[1:]:
            column.justify = "right"
        for name in self.times:
            numbers = (self.median(name), min(self.seconds[name]), max(self.seconds[name]), self.per_step(name))
            table.add_row(name, *(f"{1000 * number:,.2f}" for number in numbers), f"{self.share(name):.1%}")
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        Result({k: v for k, v in self.seconds.items() if k not in self.times}, self.unit, self.ratios).print()
        for name, fact in self.facts.items():
            console.print(f"{name}: {fact}")

    def to_dict(self) -> dict[str, Any]:
        phases = {
            name: {
                "times_a_step": self.times[name],
                "milliseconds_a_step": 1000 * self.per_step(name),
                "share": self.share(name),
            }
            for name in self.times
        }
        told = {"choices": self.choices, "figures": self.figures, "facts": self.facts}
        return {**super().to_dict(), "phases": phases, **told}


def happenings(cadence: Trigger, end: int, batch_size: int) -> int:
    """How often something happens in a training of ``end`` images: at its end in any case."""
    return sum(
        images >= end or cadence.is_due(images - batch_size, images)
        for images in range(batch_size, end + batch_size, batch_size)
    )


def affordable(count: float, seconds: float, share: float | None, training_seconds: float) -> float:
    """How often something of ``seconds`` happens that was to happen ``count`` times but may take no more than a share.

    At least once: what belongs to the end is done in any case.
    """
    if share is None or count * seconds <= share * training_seconds:
        return count
    return max(1.0, share * training_seconds / seconds)


def clock(seconds: float) -> str:
    """h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
