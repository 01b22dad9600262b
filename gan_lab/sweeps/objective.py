"""The objective of a sweep: the values of a run's summary that are minimized."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SUMMARY_METRICS = ("epoch_seconds", "seconds", "peak_memory_mib")
"""Objectives besides scores, by their keys in ``summary.json``.

On a CPU, ``peak_memory_mib`` is that of the process and includes what earlier jobs of the same process still hold.
"""

SCORE = "score"
"""The primary score of a run, whatever its features: ``fid``, ``fd_fashion`` and so on."""


class Objective:
    """Reads the objectives from the summaries of a trial's runs; all are minimized.

    Args:
        names: one objective or a list: ``score``, the name of the primary score such as ``fid``, or one of
            :data:`SUMMARY_METRICS`.

    Raises:
        ValueError: ``names`` is neither a string nor a list of strings.
    """

    def __init__(self, names: str | Sequence[str]) -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
        if not self.names or not all(isinstance(name, str) for name in self.names):
            raise ValueError(
                f"objective={names}: must be the name of a metric, such as score or epoch_seconds, or a list of names"
            )

    def check(self, score_name: str | None, given: str | None = None) -> None:
        """Check before training that the run will measure all objectives.

        Args:
            score_name: name of the primary score of the run; None if it has none.
            given: the override that an error names; None: ``objective=...``.

        Raises:
            ValueError: an objective will not be measured.
        """
        known = [*SUMMARY_METRICS, *([SCORE, score_name] if score_name else [])]
        for name in self.names:
            if name not in known:
                raise ValueError(f"{given or f'objective={name}'}: not measured by this run; choose from {', '.join(known)}")

    def check_prunable(self) -> None:
        """Check that a pruner can be used.

        Raises:
            ValueError: there are several objectives, or the objective is not a score, which alone is known during training.
        """
        if len(self.names) > 1:
            raise ValueError(f"pruner: needs a single objective, but there are {len(self.names)}; use pruner=none")
        if self.names[0] in SUMMARY_METRICS:
            raise ValueError(
                f"pruner: needs a score as the objective; {self.names[0]} is not known during training, so use pruner=none"
            )

    def __call__(self, summaries: Sequence[Mapping[str, Any] | None]) -> float | tuple[float, ...]:
        """The value of each objective, averaged over runs: the final value, not the best one, so that a late collapse counts.

        Args:
            summaries: the content of ``summary.json`` of each run of the trial; None for a run that diverged, whose value is
                infinity. (Optuna would end the sweep at a NaN.)

        Raises:
            ValueError: a run diverged and there are several objectives, for which Optuna's samplers don't accept infinity.
        """
        if len(self.names) > 1 and None in summaries:
            raise ValueError("diverged: with several objectives a diverged trial counts as failed")
        values = [
            statistics.fmean(math.inf if summary is None else self.of(summary, name) for summary in summaries)
            for name in self.names
        ]
        return values[0] if len(values) == 1 else tuple(values)

    @staticmethod
    def of(summary: Mapping[str, Any], name: str) -> float:
        """The final value of one objective in a summary."""
        return float({**summary, **summary["final"]}[summary["score"] if name == SCORE else name])
