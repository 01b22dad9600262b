"""Where a study is kept: Optuna's tables, with the rules by which several workers share them.

Hydra's sweeper asks for trials and tells their values. That is all it does, so what holds between workers is held here, where
every trial comes into being: that there are as many as wanted and not one more, that a living worker is heard of, and that the
trial of a dead one is tried again.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import text
from sqlalchemy.engine import Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from gan_lab.storage.files import file_lock

log = logging.getLogger(__name__)

TRIAL = "study.trial"
"""The key under which a job is told the number of its trial."""

LOST = "lost"
"""A trial's attribute: its worker is gone."""

DEFAULT = "default"
"""The study's attribute: what its first trial chooses."""

MISSED_HEARTBEATS = 4
"""Heartbeats after which a worker counts as gone."""

GRID = "grid_id"
"""Optuna's mark on a trial of a grid: which point it is."""


class StudyComplete(Exception):
    """The study has all the trials it was to have."""


class StudyStorage(RDBStorage):
    """The tables of a study in a file of SQLite or a database such as PostgreSQL.

    Args:
        url: ``sqlite:///path``, ``postgresql://user@host/database`` or another that SQLAlchemy knows.
        trials: the study is to have; failed ones count, lost ones don't.
        heartbeat: seconds between two signs of life of a worker.

    Raises:
        ValueError: it can't be reached, or no driver for it is installed.
    """

    def __init__(self, url: str, trials: int, heartbeat: int) -> None:
        if trials < 1 or heartbeat < 1:
            raise ValueError(f"study.trials={trials} and study.heartbeat={heartbeat} must be at least 1")
        self._trials = trials
        self._own: set[int] = set()
        sqlite = url.startswith("sqlite")
        try:
            if sqlite and (file := make_url(url).database):
                Path(file).parent.mkdir(parents=True, exist_ok=True)
            with study_lock(url):  # two workers that begin together would both make the tables
                super().__init__(
                    url,
                    engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True},
                    heartbeat_interval=heartbeat,
                    grace_period=MISSED_HEARTBEATS * heartbeat,
                )
        except ImportError as error:
            raise ValueError(
                f"study.storage={hide_password(url)}: its driver is missing ({error.__cause__ or error}); "
                "pip install 'gan_lab[postgresql]' brings PostgreSQL's"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ValueError(f"study.storage={hide_password(url)} can't be reached: {reason}") from error

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """A trial, once there is one to be made; waits for those of other workers, which may have to be tried again.

        Raises:
            Complete: there are enough.
        """
        told = False
        while True:
            with study_lock(self.url, self.engine):
                known = self._next_known(study_id)
                states = [
                    trial.state for trial in self.get_all_trials(study_id, deepcopy=False) if LOST not in trial.user_attrs
                ]
                running = states.count(TrialState.RUNNING)
                if len(states) - running >= self._trials:
                    raise StudyComplete
                # of its own it may have some already: a batch for several processes is asked for as a whole
                if len(states) < self._trials or self._busy():
                    trial = super()._create_new_trial(study_id, template_trial or known)
                    self.record_heartbeat(trial._trial_id)
                    self._live(trial._trial_id)
                    return trial
            if not told:
                told = True
                log.info(
                    "the last %d of %d trials are under way elsewhere; if a worker dies, its trial is done here",
                    running,
                    self._trials,
                )
            time.sleep(1)

    def _next_known(self, study_id: int) -> FrozenTrial | None:
        """Mark the trials of dead workers as failed and lost.

        Returns:
            The next trial, where its parameters are known: the first of all, or a lost one that was not tried again yet.
        """
        for trial_id in self._get_stale_trial_ids(study_id):
            if trial_id not in self._own:
                self.mark_lost(trial_id)
        trials = self.get_all_trials(study_id, deepcopy=False)
        if not trials:
            default = self.get_study_user_attrs(study_id).get(DEFAULT)
            return _begun({"fixed_params": default}, {}) if default else None
        again = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            if trial.user_attrs.get(LOST) and trial.number not in again and GRID not in trial.system_attrs:
                params = {name: value for name, value in trial.params.items() if name != TRIAL}
                log.warning("trial %d was lost with its worker and is tried again", trial.number)
                return _begun({"fixed_params": params}, {"again": trial.number})
        return None

    def mark_lost(self, trial_id: int) -> None:
        """Its worker ends without a value for it. Of a grid its point is open again."""
        with suppress(RuntimeError):  # it has ended meanwhile
            self.set_trial_user_attr(trial_id, LOST, True)
            if GRID in self.get_trial_system_attrs(trial_id):
                self.set_trial_system_attr(trial_id, "search_space", {})
            self.set_trial_state(trial_id, TrialState.FAIL)

    def _busy(self) -> bool:
        """Whether trials of this very process are under way."""
        return any(not self.get_trial(trial_id).state.is_finished() for trial_id in self._own)

    def _live(self, trial_id: int) -> None:
        """Give signs of life from now until the trial has ended, or this process."""
        self._own.add(trial_id)
        threading.Thread(target=self._beat, args=(trial_id,), name=f"heartbeat of {trial_id}", daemon=True).start()

    def _beat(self, trial_id: int) -> None:
        while True:
            time.sleep(self.heartbeat_interval or 1)
            with suppress(SQLAlchemyError):  # out of reach for a moment: the next may arrive
                if self.get_trial(trial_id).state.is_finished():
                    self._own.discard(trial_id)
                    return
                self.record_heartbeat(trial_id)


@contextmanager
def study_lock(url: str, engine: Engine | None = None) -> Iterator[None]:
    """No two workers at once: by a lock file beside SQLite's, by PostgreSQL's advisory lock; other databases have none here."""
    kind = make_url(url)
    if kind.get_backend_name() == "sqlite" and kind.database:
        with file_lock(Path(f"{kind.database}.lock"), "another worker is at the study's tables"):
            yield
        return
    if kind.get_backend_name() != "postgresql":
        with nullcontext():
            yield
        return
    own = engine or create_engine(url)
    with own.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtext('gan_lab'))"))
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(hashtext('gan_lab'))"))
    if engine is None:
        own.dispose()


def _begun(system: dict[str, Any], user: dict[str, Any]) -> FrozenTrial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, of its own experiments
        trial = create_trial(state=TrialState.RUNNING, system_attrs=system, user_attrs=user)
    trial.datetime_start = datetime.now()
    return trial


def hide_password(url: str) -> str:
    """The URL without its password."""
    with suppress(Exception):
        return str(make_url(url).render_as_string(hide_password=True))
    return url


def suggest_trial_number(config: Any, trial: Trial) -> None:
    """Hydra's sweeper calls this for each trial it has asked for: its job is to know which it is, as :data:`TRIAL`."""
    trial.suggest_int(TRIAL, trial.number, trial.number)
