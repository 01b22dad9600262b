"""Groups runs that differ only in their seeds, with mean and standard deviation of each metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gan_lab.reporting.run_records import RunRecord
from gan_lab.storage.metric_names import display_name
from gan_lab.utils.formatting import CI_SUFFIX, format_with_error

DEFAULT = "default"
"""Label of a configuration without overrides."""


@dataclass(frozen=True)
class Configuration:
    """The runs of one configuration.

    Attributes:
        label: its trial, such as ``trial 3``, or else the overrides in which it differs from the other configurations.
        choices: these overrides, by the shortest end of the key that is unique: ``generator.lr``.
        records: one run for each seed.
    """

    label: str
    choices: dict[str, str]
    records: tuple[RunRecord, ...]

    def values(self, name: str) -> dict[int, float]:
        """A metric by seed, where it is known and finite."""
        found = {record.seed: record.metrics.get(name) for record in self.records}
        return {seed: value for seed, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}

    def mean(self, name: str) -> float | None:
        """Mean of a metric over the seeds; None if it is not known."""
        values = self.values(name).values()
        return statistics.fmean(values) if values else None

    def standard_deviation(self, name: str) -> float | None:
        """Sample standard deviation of a metric over the seeds; None for one seed."""
        values = self.values(name).values()
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def title(self) -> str:
        """The label, followed by the overrides if it is the number of a trial."""
        overrides = _label(self.choices)
        return self.label if overrides in (self.label, DEFAULT) else f"{self.label} ({overrides})"

    @property
    def status(self) -> str:
        """The status of its runs; several, separated by commas, if they differ."""
        return ", ".join(dict.fromkeys(str(record.metrics["status"]) for record in self.records))

    @property
    def score_name(self) -> str | None:
        """Name of the primary score, such as ``fd_fashion``; None without one."""
        return next((record.metrics["score_name"] for record in self.records if record.metrics["score_name"]), None)

    @property
    def is_complete(self) -> bool:
        """Whether all of its runs have finished."""
        return all(record.metrics["status"] == "finished" for record in self.records)

    def describe(self, name: str) -> str:
        """The title and a metric with its name: ``loss=bce, fd_fashion 12.35 ± 0.23``."""
        shown = self.score_name or name if name == "score" else display_name(name)
        return f"{self.title}, {shown} {self.format(name)}"

    def format(self, name: str) -> str:
        """A metric as text: mean ± standard deviation over the seeds, or for one seed the value ± its 95 % half-width."""
        value, deviation = self.mean(name), self.standard_deviation(name)
        if value is None:
            return ""
        return format_with_error(value, self.mean(f"{name}{CI_SUFFIX}") if deviation is None else deviation)


def group_by_configuration(records: Sequence[RunRecord]) -> list[Configuration]:
    """The configurations of runs, in the order of their first run; each trial of a sweep is a configuration."""
    keys = dict.fromkeys(key for record in records for key in record.overrides)
    differing = [key for key in keys if len({record.overrides.get(key) for record in records}) > 1]
    names = {key: _unique_suffix(key, differing) for key in differing}
    groups: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.trial, *(record.overrides.get(key) for key in differing)), []).append(record)
    found = []
    for (trial, *values), members in groups.items():
        choices = {names[key]: _short(value) for key, value in zip(differing, values, strict=True) if value is not None}
        found.append(Configuration(_label(choices) if trial is None else f"trial {trial}", choices, tuple(members)))
    return found


def _unique_suffix(key: str, keys: Sequence[str]) -> str:
    """The shortest end of a dotted key that no other key has."""
    parts = key.split(".")
    suffixes = [".".join(parts[n:]) for n in reversed(range(len(parts)))]
    return next(s for s in suffixes if sum(f".{other}".endswith(f".{s}") for other in keys) == 1)


def _label(choices: dict[str, str]) -> str:
    """``key=value, ...``; of ``experiment=x`` only ``x``."""
    return ", ".join(value if key == "experiment" else f"{key}={value}" for key, value in choices.items()) or DEFAULT


def _short(value: str) -> str:
    """Long numbers to three significant digits; other values as they are."""
    try:
        return f"{float(value):.3g}" if len(value) > 6 else value
    except ValueError:
        return value


def pareto_front(groups: Sequence[Configuration], first: str, second: str) -> list[Configuration]:
    """The Pareto-optimal configurations in two metrics that are minimized, in the order of the first metric."""
    points = [(x, y, g) for g in groups if (x := g.mean(first)) is not None and (y := g.mean(second)) is not None]
    optimal = [(x, y, g) for x, y, g in points if not any(u <= x and v <= y and (u, v) != (x, y) for u, v, _ in points)]
    return [g for _, _, g in sorted(optimal, key=lambda point: point[:2])]
