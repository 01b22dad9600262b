"""Runs that differ in nothing but their seeds belong together: their mean, their scatter, what sets them apart from others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gan_lab.reporting.run_records import RunRecord

DEFAULT = "default"


@dataclass(frozen=True)
class Configuration:
    """Trainings of one configuration.

    Attributes:
        label: in what it differs from the others, or the number of its trial.
        choices: in what it differs, by as much of the key as tells it from others.
        entries: one for each seed.
    """

    label: str
    choices: dict[str, str]
    entries: tuple[RunRecord, ...]

    def values(self, name: str) -> dict[int, float]:
        """A figure of each seed that has it."""
        found = {entry.seed: entry.metrics.get(name) for entry in self.entries}
        return {seed: value for seed, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}

    def mean(self, name: str) -> float | None:
        values = self.values(name).values()
        return statistics.fmean(values) if values else None

    def spread(self, name: str) -> float | None:
        """Standard deviation over the seeds; None of one."""
        values = self.values(name).values()
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def title(self) -> str:
        """With what was chosen, where the label doesn't say it."""
        told = _label(self.choices)
        return self.label if told in (self.label, DEFAULT) else f"{self.label} ({told})"

    @property
    def status(self) -> str:
        return ", ".join(dict.fromkeys(str(entry.metrics["status"]) for entry in self.entries))

    @property
    def score_name(self) -> str | None:
        return next((entry.metrics["score_name"] for entry in self.entries if entry.metrics["score_name"]), None)

    @property
    def is_complete(self) -> bool:
        """Whether every one of its runs has come to its end."""
        return all(entry.metrics["status"] == "finished" for entry in self.entries)

    def format(self, name: str, error: str | None = None) -> str:
        """A figure in a table: the mean with its scatter over the seeds, or one run's with its own error."""
        value, spread = self.mean(name), self.spread(name)
        if value is None:
            return ""
        if spread is None and error is not None:
            spread = self.mean(error)
        return with_spread(value, spread)


def with_spread(value: float, spread: float | None) -> str:
    """``12.34 ± 0.56``: two digits of the scatter, and as many decimals of the value."""
    if spread is None or not 0 < spread < math.inf:
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    return f"{value:.{decimals}f} ± {spread:.{decimals}f}"


def group_by_configuration(entries: Sequence[RunRecord]) -> list[Configuration]:
    """Entries by configuration, in the order of their first; each trial of a sweep is one."""
    keys = dict.fromkeys(key for entry in entries for key in entry.overrides)
    differing = [key for key in keys if len({entry.overrides.get(key) for entry in entries}) > 1]
    names = {key: _suffix(key, differing) for key in differing}
    groups: dict[tuple[Any, ...], list[RunRecord]] = {}
    for entry in entries:
        groups.setdefault((entry.trial, *(entry.overrides.get(key) for key in differing)), []).append(entry)
    found = []
    for (trial, *values), members in groups.items():
        choices = {names[key]: _short(value) for key, value in zip(differing, values, strict=True) if value is not None}
        found.append(Configuration(_label(choices) if trial is None else f"trial {trial}", choices, tuple(members)))
    return found


def _suffix(key: str, keys: Sequence[str]) -> str:
    """As much of a dotted key, from its end, as tells it from the others."""
    parts = key.split(".")
    suffixes = [".".join(parts[n:]) for n in reversed(range(len(parts)))]
    return next(s for s in suffixes if sum(f".{other}".endswith(f".{s}") for other in keys) == 1)


def _label(choices: dict[str, str]) -> str:
    """``experiment=x`` as plain ``x``."""
    return ", ".join(value if key == "experiment" else f"{key}={value}" for key, value in choices.items()) or DEFAULT


def _short(value: str) -> str:
    """A number with no more digits than one reads."""
    try:
        return f"{float(value):.3g}" if len(value) > 6 else value
    except ValueError:
        return value


def pareto_front(groups: Sequence[Configuration], first: str, second: str) -> list[Configuration]:
    """Those that no other beats in one figure without losing in the other; both are better lower. By the first."""
    points = [(x, y, g) for g in groups if (x := g.mean(first)) is not None and (y := g.mean(second)) is not None]
    unbeaten = [(x, y, g) for x, y, g in points if not any(u <= x and v <= y and (u, v) != (x, y) for u, v, _ in points)]
    return [g for _, _, g in sorted(unbeaten, key=lambda point: point[:2])]
