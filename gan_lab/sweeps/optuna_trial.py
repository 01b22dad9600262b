"""The Optuna trial of a job: reports scores for pruning, and stores the results of its runs in the study."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from gan_lab.sweeps.constraints import VIOLATIONS
from gan_lab.sweeps.optuna_versions import attach_picture
from gan_lab.sweeps.study_storage import LOST, Outcome, StudyStorage

log = logging.getLogger(__name__)

RUN_METRICS = "figures"
"""Key of the trial's user attribute with the metrics of its runs."""


class OptunaTrial:
    """The trial of this job, which Hydra's sweeper has created.

    Args:
        storage: storage of the study.
        study: name of the study.
        number: number of the trial.
        pruner: decides whether the trial ends early; None: never.
    """

    def __init__(self, storage: StudyStorage, study: str, number: int, pruner: BasePruner | None) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._storage = storage
        # a sampler that does nothing: parameters are already chosen, but optuna.trial.Trial calls the sampler again
        self._study = optuna.load_study(study_name=study, storage=storage, sampler=RandomSampler(), pruner=pruner)
        self._id = next(t._trial_id for t in self._study.get_trials(deepcopy=False) if t.number == number)
        self._trial = optuna.trial.Trial(self._study, self._id)

    @property
    def position(self) -> int:
        """Its number among the trials that are not lost, counted from 1."""
        trials = self._study.get_trials(deepcopy=False)
        return sum(trial.number <= self._trial.number and LOST not in trial.user_attrs for trial in trials)

    @property
    def number(self) -> int:
        """Its number in the study, counted from 0."""
        return self._trial.number

    @property
    def begun(self) -> float:
        """When it began, in seconds since 1970; infinity if it has ended."""
        trial = self._study.get_trials(deepcopy=False)[self._trial.number]
        if trial.state != TrialState.RUNNING or trial.datetime_start is None:
            return math.inf
        return trial.datetime_start.timestamp()

    def should_prune(self, value: float, step: int) -> bool:
        """Report an intermediate score to the study.

        Args:
            value: the score.
            step: number of images seen; for a pruner that compares seeds, number of the seed, counted from 0.

        Returns:
            Whether the pruner ends the trial; False for a score that is not finite, which is not reported.
        """
        if not math.isfinite(value):
            return False
        if step not in self._storage.get_trial(self._id).intermediate_values:  # it may have been, by a job that died
            self._trial.report(value, step)
        return self._trial.should_prune()

    def job(self) -> AbstractContextManager[None]:
        """Says that its worker is alive, for as long as the job runs."""
        return self._storage.job_of(self._id)

    def store_values(self, values: Sequence[float], violations: Sequence[float] = ()) -> None:
        """Store the job's result: its process may die before the sweep has it.

        Args:
            values: the objectives.
            violations: of the constraints; see :meth:`gan_lab.sweeps.constraints.Constraints.violations`.
        """
        self._trial.set_user_attr(VIOLATIONS, list(violations))
        self._storage.store_outcome(self._id, Outcome(list(values)))

    def store_error(self, error: str) -> None:
        """Store why the job failed."""
        with suppress(RuntimeError):  # another worker has ended the trial, which may be what failed
            self._storage.store_outcome(self._id, Outcome(error=error))

    def save_run_metrics(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Store the metrics of the trial's runs in the study, one dictionary for each run."""
        self._trial.set_user_attr(RUN_METRICS, list(metrics))

    def attach_pictures(self, pictures: Iterable[Path], folder: Path) -> None:
        """Copy pictures to a folder from which optuna-dashboard shows them with the trial; see :func:`attach_picture`.

        Args:
            pictures: those that don't exist are left out.
            folder: of the study's artifacts.
        """
        for picture in pictures:
            if picture.is_file():
                attach_picture(self._trial, picture, folder)

    def mark_lost(self) -> None:
        """Mark an interrupted trial as lost, so that another worker can repeat it without waiting for missed heartbeats."""
        with suppress(Exception):  # the process is ending, and missed heartbeats have the same effect
            if self._study.trials[self._trial.number].state == TrialState.RUNNING:
                self._storage.mark_lost(self._id)


def open_trial(url: str, study: str, number: int, trials: int, heartbeat: int, pruner: BasePruner | None) -> OptunaTrial:
    """The trial with this number, in the study with this name in the storage at ``url``."""
    return OptunaTrial(StudyStorage(url, trials, heartbeat), study, number, pruner)
