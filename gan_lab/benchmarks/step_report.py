"""The result of ``benchmark=step``: the fraction of the training time that each phase takes, and what a run takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gan_lab.benchmarks.timing import Result, format_milliseconds
from gan_lab.training.callbacks import Trigger
from gan_lab.utils.terminal import print_table


@dataclass
class StepResult(Result):
    """Measurements of the phases of a training step, and estimates for the configured run.

    Attributes:
        times: for each phase, how often it is executed per training step.
        choices: settings that affect the speed, with the value that each ``auto`` stands for.
        estimates: images per second, seconds per thousand images and of the whole run, peak memory in MiB.
    """

    times: dict[str, float] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    estimates: dict[str, float] = field(default_factory=dict)

    def seconds_per_step(self, name: str) -> float:
        """Mean seconds of a phase per training step."""
        return self.median(name) * self.times[name]

    def fraction(self, name: str) -> float:
        """Fraction of the run's time that a phase takes."""
        return self.seconds_per_step(name) / sum(map(self.seconds_per_step, self.times))

    def print(self) -> None:
        rows = []
        for name in self.times:
            seconds = (self.median(name), min(self.seconds[name]), max(self.seconds[name]), self.seconds_per_step(name))
            rows.append([name, *map(format_milliseconds, seconds), f"{self.fraction(name):.1%}"])
        print_table(["phase", "median ms", "lowest", "highest", "ms per step", "fraction"], rows)
        Result({k: v for k, v in self.seconds.items() if k not in self.times}, self.unit, self.ratios, self.facts).print()

    def to_dict(self) -> dict[str, Any]:
        phases = {
            name: {
                "times_a_step": self.times[name],
                "milliseconds_a_step": 1000 * self.seconds_per_step(name),
                "share": self.fraction(name),
            }
            for name in self.times
        }
        more = {"choices": self.choices, "figures": self.estimates}
        return {**super().to_dict(), "phases": phases, **more}


def count_events(trigger: Trigger, end: int, batch_size: int) -> int:
    """How often a callback is called in a run of ``end`` images, including the call at its end."""
    return sum(
        images >= end or trigger.is_due(images - batch_size, images)
        for images in range(batch_size, end + batch_size, batch_size)
    )


def affordable_count(count: float, seconds: float, max_time_fraction: float | None, training_seconds: float) -> float:
    """How often a callback is called that may not take more than a fraction of the training time.

    Args:
        count: how often it would be called without that limit.
        seconds: duration of a call.
        max_time_fraction: the limit, or None.
        training_seconds: training time of the run.

    Returns:
        At most ``count`` and at least 1, the call at the end.
    """
    if max_time_fraction is None or count * seconds <= max_time_fraction * training_seconds:
        return count
    return max(1.0, max_time_fraction * training_seconds / seconds)
