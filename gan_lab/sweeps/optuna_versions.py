"""What differs between Optuna 2.10 and Optuna 5; all else is written for both."""

from __future__ import annotations

from optuna.storages import RDBStorage
from optuna.trial import TrialState


def fail_trial(storage: RDBStorage, trial_id: int) -> None:
    """Mark a running trial as failed.

    Raises:
        RuntimeError: the trial has ended.
    """
    set_state = getattr(storage, "set_trial_state_values", None) or storage.set_trial_state  # Optuna 2 has the second one
    set_state(trial_id, TrialState.FAIL)
