"""Upper bounds of metrics that the best trial of a sweep must not exceed, such as its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from gan_lab.sweeps.objective import Objective

VIOLATIONS = "violations"
"""Key of the trial's user attribute with what :meth:`Constraints.violations` returns."""

DIVERGED = 1e9
"""Violation of a trial with a run that diverged."""


class Constraints:
    """Compares the metrics of a trial's runs with their bounds.

    Args:
        bounds: the largest allowed value, in the metric's unit, by the metric's name: one of those that an objective may have.
    """

    def __init__(self, bounds: Mapping[str, float]) -> None:
        self.bounds = dict(bounds)

    def check(self, score_name: str | None) -> None:
        """Check before training that the run will measure all of them.

        Args:
            score_name: name of the primary score of the run; None if it has none.

        Raises:
            ValueError: one will not be measured.
        """
        for name, bound in self.bounds.items():
            Objective(name).check(score_name, f"constraints.{name}={bound:g}")

    def violations(self, summaries: Sequence[Mapping[str, Any] | None]) -> list[float]:
        """By how much the mean of each metric over the runs exceeds its bound; at most 0 if it does not.

        Args:
            summaries: of the runs of the trial; None for one that diverged.
        """
        if None in summaries:
            return [DIVERGED] * len(self.bounds)
        means = {name: Objective(name)(summaries) for name in self.bounds}
        return [float(means[name]) - bound for name, bound in self.bounds.items()]  # type: ignore[arg-type]


class StoredViolations:
    """What Optuna's samplers call ``constraints_func``: gives the violations that the job of a trial has stored.

    Args:
        url: SQLAlchemy URL of the study's storage.
    """

    def __init__(self, url: str) -> None:
        self._storage = RDBStorage(url)

    def __call__(self, trial: FrozenTrial) -> list[float]:
        # read again: Optuna 2 gives the trial as this process has created it
        stored = self._storage.get_trial(trial._trial_id)
        return list(stored.user_attrs.get(VIOLATIONS, [DIVERGED]))
