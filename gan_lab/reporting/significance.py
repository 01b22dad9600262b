"""What a difference between two configurations is worth, in words."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from gan_lab.reporting.configurations import Configuration

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """Of a figure, another configuration's minus the baseline's, seed by seed.

    Attributes:
        mean: of the differences.
        low, high: ends of their 95 % interval (Student's t over paired seeds); None of one seed.
        seeds: how many they share.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves 0 out: the paired t-test at 5 %."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_t_interval(baseline: Sequence[float], other: Sequence[float]) -> PairedDifference:
    """The difference of two samples, pair by pair."""
    differences = [b - a for a, b in zip(baseline, other, strict=True)]
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return PairedDifference(mean, None, None, count)
    error = statistics.stdev(differences) / math.sqrt(count)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * error
    return PairedDifference(mean, mean - reach, mean + reach, count)


def between(baseline: Configuration, other: Configuration, name: str) -> PairedDifference | None:
    """Over the seeds both have; None if they share none."""
    first, second = baseline.values(name), other.values(name)
    seeds = sorted(first.keys() & second.keys())
    return paired_t_interval([first[s] for s in seeds], [second[s] for s in seeds]) if seeds else None


def describe_difference(baseline: Configuration, other: Configuration) -> str:
    """``rmsprop is slower by 11 % per epoch [9, 13] and worse by 7.2 fd_fashion [5.1, 9.4] (3 seeds)``."""
    parts = list(filter(None, [_pace(baseline, other), _score(baseline, other)]))
    if not parts:
        return f"{other.label}: nothing to compare with {baseline.label}"
    shared = len({e.seed for e in baseline.entries} & {e.seed for e in other.entries})
    return f"{other.label} {' and '.join(parts)} ({'one seed each' if shared == 1 else f'{shared} seeds'})"


def same_protocol(groups: Sequence[Configuration]) -> bool:
    """Whether all scores of a seed, which also chooses the images of ``dataset.limit``, were taken in the same way."""
    taken: dict[int, set[str]] = {}
    for entry in (entry for g in groups for entry in g.entries if entry.metrics["protocols"]):
        taken.setdefault(entry.seed, set()).add(json.dumps(entry.metrics["protocols"], sort_keys=True))
    return all(len(ways) == 1 for ways in taken.values())


def _pace(baseline: Configuration, other: Configuration) -> str:
    """In percent of the baseline's time for an epoch."""
    reference = baseline.mean("epoch_seconds")
    found = between(baseline, other, "epoch_seconds")
    if found is None or not reference:
        return ""
    percent = 100 * found.mean / reference
    if found.seeds > 1 and not found.is_significant:
        return f"is as fast per epoch within the scatter ({percent:+.0f} %{_interval(found, 100 / reference)})"
    pace = "slower" if percent > 0 else "faster"
    return f"is {pace} by {abs(percent):.0f} % per epoch{_interval(found, 100 / reference, percent < 0)}"


def _score(baseline: Configuration, other: Configuration) -> str:
    found = between(baseline, other, "score")
    name = other.score_name
    if found is None or name is None or not same_protocol([baseline, other]):
        return ""
    if found.seeds > 1 and not found.is_significant:
        return f"not told apart by {name} ({found.mean:+.3g}{_interval(found, 1)})"
    error = ""
    if found.seeds == 1:
        own = [group.mean("score_ci95") for group in (baseline, other)]
        known = [e for e in own if e is not None]
        error = f" ± {math.hypot(*known):.2g} by the choice of latents" if known else ""
    return (
        f"{'worse' if found.mean > 0 else 'better'} by {abs(found.mean):.3g} {name}{_interval(found, 1, found.mean < 0)}{error}"
    )


def _interval(found: PairedDifference, scale: float, turned: bool = False) -> str:
    """Its ends, as absolute amounts of what is said to be better or faster."""
    if found.low is None or found.high is None:
        return ""
    low, high = (-found.high, -found.low) if turned else (found.low, found.high)
    return f" [{low * scale:.3g}, {high * scale:.3g}]"
