"""A job's trial: what the study is told of it while it runs and when it has ended."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from gan_lab.sweeps.study_storage import StudyStorage

log = logging.getLogger(__name__)

RUN_METRICS = "figures"
"""A trial's attribute: what is told of its run in a table."""


class OptunaTrial:
    """The trial this job was made for.

    Args:
        storage: where the study is kept.
        study: its name there.
        number: of the trial.
        pruner: ends trials, or None.
    """

    def __init__(self, storage: StudyStorage, study: str, number: int, pruner: BasePruner | None) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._storage = storage
        # it suggests nothing, and a trial opened anew would ask its sampler for suggestions
        self._study = optuna.load_study(study_name=study, storage=storage, sampler=RandomSampler(), pruner=pruner)
        self._id = next(t._trial_id for t in self._study.get_trials(deepcopy=False) if t.number == number)
        self._trial = optuna.trial.Trial(self._study, self._id)

    def should_prune(self, value: float, images: int) -> bool:
        """Tell the study a score on the way; whether the pruner would rather see the trial end."""
        if not math.isfinite(value):
            return False
        self._trial.report(value, images)
        return self._trial.should_prune()

    def save_run_metrics(self, figures: Sequence[Mapping[str, Any]]) -> None:
        """Leave with the study what a table says of the trial's runs."""
        self._trial.set_user_attr(RUN_METRICS, list(figures))

    def mark_lost(self) -> None:
        """It was interrupted: another worker may try it again, at once."""
        with suppress(Exception):  # the process ends in any case, and its heartbeat with it
            if self._study.trials[self._trial.number].state == TrialState.RUNNING:
                self._storage.mark_lost(self._id)


def open_trial(url: str, study: str, number: int, trials: int, heartbeat: int, pruner: BasePruner | None) -> OptunaTrial:
    """The trial of that number in the study kept at ``url``."""
    return OptunaTrial(StudyStorage(url, trials, heartbeat), study, number, pruner)
