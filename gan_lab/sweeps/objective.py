"""From a run's summary to the number, or numbers, a sweep minimises."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SUMMARY_METRICS = ("epoch_seconds", "seconds", "peak_memory_mib")
"""Of a summary, what is worth minimising besides scores. On a CPU memory is the process's, with what earlier jobs left."""

SCORE = "score"
"""The one a run is judged by, whatever features it is taken in."""


class Objective:
    """Reads figures out of a summary; all are minimised.

    Args:
        names: :data:`SCORE`, a score by its name (``fid``, ``fd_fashion``), or one of :data:`SUMMARY_METRICS`.

    Raises:
        ValueError: not a name or a list of names.
    """

    def __init__(self, names: str | Sequence[str]) -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
        if not self.names or not all(isinstance(name, str) for name in self.names):
            raise ValueError(f"objective={names}: must be the name of a figure, or a list of names")

    def check(self, score_name: str | None) -> None:
        """Say before the training that its end would have nothing to return.

        Raises:
            ValueError: no such figure will be there.
        """
        known = [*SUMMARY_METRICS, *([SCORE, score_name] if score_name else [])]
        for name in self.names:
            if name not in known:
                raise ValueError(f"objective={name}: this run will have no such figure; it will have {', '.join(known)}")

    def check_prunable(self) -> None:
        """Say before a sweep that a pruner would have nothing to look at.

        Raises:
            ValueError: what is minimised is no score, or there are several.
        """
        if len(self.names) > 1:
            raise ValueError(
                f"pruner: ends trials of one objective, not of {len(self.names)}; pruner=none lets all train to their end"
            )
        if self.names[0] in SUMMARY_METRICS:
            raise ValueError(
                f"pruner: ends trials by their scores on the way; objective={self.names[0]} has none, pruner=none goes with it"
            )

    def __call__(self, summaries: Sequence[Mapping[str, Any] | None]) -> float | tuple[float, ...]:
        """The final values, not the best ones: a collapse after a good moment counts. Of several runs the mean.

        Of a diverged one, None, infinity: not NaN, at which Optuna ends a sweep.

        Raises:
            ValueError: one diverged and there are several objectives, among which Optuna's samplers can't take infinity.
        """
        if len(self.names) > 1 and None in summaries:
            raise ValueError("diverged: a failed trial, as it has no place among several objectives")
        values = [
            statistics.fmean(math.inf if summary is None else self.of(summary, name) for summary in summaries)
            for name in self.names
        ]
        return values[0] if len(values) == 1 else tuple(values)

    @staticmethod
    def of(summary: Mapping[str, Any], name: str) -> float:
        return float({**summary, **summary["final"]}[summary["score"] if name == SCORE else name])
