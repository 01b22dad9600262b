"""Paired comparison of two configurations over their common seeds, as numbers and as a sentence."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from gan_lab.reporting.configurations import Configuration
from gan_lab.storage.metric_names import display_name
from gan_lab.utils.formatting import decimals_of_error, format_number, format_with_decimals, format_with_error

CONFIDENCE = 0.95
"""Level of the confidence intervals."""


@dataclass(frozen=True)
class PairedDifference:
    """The difference of a metric between another configuration and the baseline, seed by seed.

    Attributes:
        mean: mean of the differences ``other - baseline``.
        low, high: ends of the 95 % confidence interval of the mean (Student's t over paired seeds); None for one seed.
        seeds: number of common seeds.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0, as in a two-sided paired t-test at 5 %."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def format(self, scale: float = 1.0, unit: str = "") -> str:
        """``+7.17 [+6.45, +7.88]``: mean and interval times ``scale``, rounded to two digits of the interval's half-width."""
        if self.low is None or self.high is None:
            return f"{_signed(format_number(self.mean * scale))}{unit}"
        half_width = (self.high - self.low) / 2 * scale
        decimals = decimals_of_error(half_width) if half_width > 0 else 2
        mean, low, high = (_signed(format_with_decimals(end * scale, decimals)) for end in (self.mean, self.low, self.high))
        return f"{mean}{unit} [{low}, {high}]"


def paired_t_interval(baseline: Sequence[float], other: Sequence[float]) -> PairedDifference:
    """The paired difference of two samples of equal length."""
    differences = [b - a for a, b in zip(baseline, other, strict=True)]
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return PairedDifference(mean, None, None, count)
    error = statistics.stdev(differences) / math.sqrt(count)
    half_width = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * error
    return PairedDifference(mean, mean - half_width, mean + half_width, count)


def between(baseline: Configuration, other: Configuration, name: str) -> PairedDifference | None:
    """The paired difference of a metric over the common seeds; None if there are none."""
    first, second = baseline.values(name), other.values(name)
    seeds = sorted(first.keys() & second.keys())
    return paired_t_interval([first[s] for s in seeds], [second[s] for s in seeds]) if seeds else None


def describe_difference(baseline: Configuration, other: Configuration, baseline_title: str = "") -> str:
    """A sentence on the speed and the score of ``other``, compared with the baseline.

    ``rmsprop compared with adam: s/epoch +11 % [+9, +13] (slower), fd_fashion +7.2 [+5.1, +9.3] (worse); 95 % confidence
    intervals over 3 paired seeds``. Differences are ``other - baseline``; those of s/epoch in percent of the baseline's mean.

    Args:
        baseline_title: what the baseline is called; by default its label.
    """
    parts = [part for part in (_describe_speed(baseline, other), _describe_score(baseline, other)) if part]
    seeds = len({r.seed for r in baseline.records} & {r.seed for r in other.records})
    text = f"{other.label} compared with {baseline_title or baseline.label}: "
    if not parts:
        return f"{text}no metric can be compared"
    return f"{text}{', '.join(parts)}; {'one seed' if seeds == 1 else f'95 % confidence intervals over {seeds} paired seeds'}"


def same_protocol(groups: Sequence[Configuration]) -> bool:
    """Whether the scores of all configurations are comparable.

    They are if all runs of a seed have the same protocol. It may differ between seeds, which select the images of
    ``dataset.limit``.
    """
    protocols: dict[int, set[str]] = {}
    for record in (record for g in groups for record in g.records if record.metrics["protocols"]):
        protocols.setdefault(record.seed, set()).add(json.dumps(record.metrics["protocols"], sort_keys=True))
    return all(len(variants) == 1 for variants in protocols.values())


def _describe_speed(baseline: Configuration, other: Configuration) -> str:
    reference, difference = baseline.mean("epoch_seconds"), between(baseline, other, "epoch_seconds")
    if difference is None or not reference:
        return ""
    verdict = _verdict(difference, "slower", "faster")
    return f"{display_name('epoch_seconds')} {difference.format(100 / reference, ' %')} ({verdict})"


def _describe_score(baseline: Configuration, other: Configuration) -> str:
    difference = between(baseline, other, "score")
    if difference is None or other.score_name is None or not same_protocol([baseline, other]):
        return ""
    verdict = _verdict(difference, "worse", "better")
    errors = [error for group in (baseline, other) if (error := group.mean("score_ci95")) is not None]
    if difference.seeds > 1 or not errors:
        return f"{other.score_name} {difference.format()} ({verdict})"
    number = _signed(format_with_error(difference.mean, math.hypot(*errors)))
    return f"{other.score_name} {number} ({verdict}; ± is the error from the choice of latents)"


def _verdict(difference: PairedDifference, higher: str, lower: str) -> str:
    if difference.seeds > 1 and not difference.is_significant:
        return "no significant difference"
    return higher if difference.mean > 0 else lower if difference.mean < 0 else "equal"


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"
