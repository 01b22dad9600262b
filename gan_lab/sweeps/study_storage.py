"""Storage of a study that several workers share.

Hydra's sweeper only asks for trials and reports their values. The coordination of workers therefore happens here, where trials
are created: a study gets exactly the requested number of trials, each worker sends heartbeats, and the trial of a worker that
has died is repeated, at most :data:`MAX_ATTEMPTS` times.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import text
from sqlalchemy.engine import Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from gan_lab.storage.files import file_lock
from gan_lab.sweeps.optuna_versions import end_trial
from gan_lab.utils.formatting import format_count, hide_passwords

log = logging.getLogger(__name__)

TRIAL = "study.trial"
"""Key of the configuration, and parameter of the trial, with the number of the trial."""

LOST = "lost"
"""Key of the user attribute of a trial whose worker has died or was interrupted."""

DEFAULT = "default"
"""Key of the study's user attribute with the parameters of its first trial."""

MISSED_HEARTBEATS = 4
"""Number of missed heartbeats after which a worker counts as dead."""

GRID = "grid_id"
"""Key of the system attribute in which Optuna's ``GridSampler`` stores the grid point of a trial."""

AGAIN = "again"
"""Key of the user attribute with the number of the lost trial that a trial repeats."""


OUTCOME = "outcome"
"""Key of the system attribute with the :class:`Outcome` of a trial's job, as two lists: values, and at most one error."""

BEGUN = "begun"
"""Key of the system attribute that says that the trial's job has begun."""

MAX_ATTEMPTS = 3
"""How often a trial whose worker dies is begun: its configuration may be what kills the worker, by its memory for example."""


@dataclass(frozen=True)
class Outcome:
    """How the job of a trial ended, stored by the job itself, because the process that waits for it may die.

    Attributes:
        values: its objectives; None if it failed.
        error: why it failed; None if it did not.
    """

    values: list[float] | None = None
    error: str | None = None


class StudyComplete(Exception):
    """The study has the requested number of trials."""


class StudyStorage(RDBStorage):
    """Optuna's tables in an SQLite file or in a database such as PostgreSQL.

    Args:
        url: SQLAlchemy URL: ``sqlite:///path`` or ``postgresql://user@host/database``, for example.
        trials: total number of trials, at least 1; failed ones count, lost ones don't.
        heartbeat: seconds between two heartbeats of a worker, at least 1.

    Raises:
        ValueError: the database can't be reached, its driver is not installed, another version of Optuna has written it, or a
            number is below 1.
    """

    def __init__(self, url: str, trials: int, heartbeat: int) -> None:
        if trials < 1 or heartbeat < 1:
            raise ValueError(f"study.trials={trials} and study.heartbeat={heartbeat} must be at least 1")
        self._trials = trials
        self._own: set[int] = set()
        sqlite = url.startswith("sqlite")
        try:
            if sqlite and (file := make_url(url).database):
                _make_folder(Path(file).parent, url)
            with study_lock(url):  # or two workers would both create the tables
                super().__init__(url, engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True})
        except ImportError as error:
            raise ValueError(
                f"study.storage={hide_passwords(url)}: the database driver is missing ({error.__cause__ or error}); "
                "for PostgreSQL: pip install 'gan_lab[postgresql]'"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ValueError(f"study.storage={hide_passwords(url)} can't be reached: {reason}") from error
        except RuntimeError as error:  # Optuna compares the version of the tables
            raise ValueError(
                f"study.storage={hide_passwords(url)}: its tables are not those of Optuna {optuna.__version__}; older ones are "
                "converted by optuna storage upgrade --storage URL, or choose another study.storage"
            ) from error
        self.heartbeat_interval: int | None = heartbeat
        self.grace_period: int | None = MISSED_HEARTBEATS * heartbeat

    def get_heartbeat_interval(self) -> int | None:
        """None: heartbeats are sent here, and not by ``Study.optimize``, of which Optuna would otherwise warn."""
        return None

    def __repr__(self) -> str:
        """The URL, which Hydra's sweeper logs at its start."""
        return str(hide_passwords(self.url))

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Create the next trial; overrides the method that Optuna calls for it.

        If all remaining trials are running in other workers, waits for them, because a lost one has to be repeated.

        Raises:
            StudyComplete: the study has the requested number of trials.
        """
        logged = False
        while True:
            with study_lock(self.url, self.engine):
                template = self._next_template(study_id)
                states = [
                    trial.state for trial in self.get_all_trials(study_id, deepcopy=False) if LOST not in trial.user_attrs
                ]
                running = states.count(TrialState.RUNNING)
                if len(states) - running >= self._trials:
                    raise StudyComplete
                # a batch for several local processes is created as a whole, even if it is larger than what is missing
                if len(states) < self._trials or self._has_running_trials():
                    trial = super()._create_new_trial(study_id, template_trial or template)
                    self.record_heartbeat(trial._trial_id)
                    self._start_heartbeat(trial._trial_id)
                    return trial
            if not logged:
                logged = True
                log.info(
                    "waiting for other workers, which run the last %d of %s; if one dies, its trial is repeated here",
                    running,
                    format_count(self._trials, "trial"),
                )
            time.sleep(1)

    def _next_template(self, study_id: int) -> FrozenTrial | None:
        """Mark the trials of dead workers as lost, and return a template of the next trial if its parameters are given.

        They are given for the first trial, which has the default values, and for one that repeats a lost trial.
        """
        for trial_id in self._get_stale_trial_ids(study_id):
            if trial_id not in self._own:
                self._end_orphan(trial_id)
        trials = self.get_all_trials(study_id, deepcopy=False)
        if not trials:
            default = self.get_study_user_attrs(study_id).get(DEFAULT)
            return _template({"fixed_params": default}, {}) if default else None
        repeated = {trial.user_attrs.get(AGAIN) for trial in trials}
        for trial in trials:
            if not trial.user_attrs.get(LOST) or trial.number in repeated or GRID in trial.system_attrs:
                continue
            if _attempts(trials, trial) < MAX_ATTEMPTS:
                params = {name: value for name, value in trial.params.items() if name != TRIAL}
                log.warning("the worker of trial %d died or was interrupted; its trial is repeated", trial.number)
                return _template({"fixed_params": params}, {AGAIN: trial.number})
        return None

    def _end_orphan(self, trial_id: int) -> None:
        """End the trial of a dead worker: with the outcome that its job has stored, otherwise as lost."""
        if (outcome := _outcome(self.get_trial_system_attrs(trial_id))) is None:
            self.mark_lost(trial_id)
            return
        with suppress(RuntimeError):  # the trial has ended in the meantime
            end_trial(self, trial_id, TrialState.COMPLETE if outcome.values else TrialState.FAIL, outcome.values)

    def store_outcome(self, trial_id: int, outcome: Outcome) -> None:
        """Store how a trial's job ended."""
        values = [str(value) for value in outcome.values or ()]  # JSON has no infinity
        self.set_trial_system_attr(trial_id, OUTCOME, [values, [outcome.error] if outcome.error is not None else []])

    def outcome_of(self, study: str, number: int) -> tuple[bool, Outcome | None]:
        """Whether the job of a trial has begun, and how it ended; None if it has not.

        Args:
            study: name of the study.
            number: of the trial.
        """
        trials = self.get_all_trials(self.get_study_id_from_name(study), deepcopy=False)
        attributes = next(trial.system_attrs for trial in trials if trial.number == number)
        return BEGUN in attributes, _outcome(attributes)

    def mark_lost(self, trial_id: int) -> None:
        """Mark a running trial as failed and lost. A point of a grid becomes available again."""
        with suppress(RuntimeError):  # the trial has ended in the meantime
            self.set_trial_user_attr(trial_id, LOST, True)
            if GRID in self.get_trial_system_attrs(trial_id):
                self.set_trial_system_attr(trial_id, "search_space", {})
            end_trial(self, trial_id, TrialState.FAIL)

    def _has_running_trials(self) -> bool:
        """Whether this process has created trials that are still running."""
        return any(not self.get_trial(trial_id).state.is_finished() for trial_id in self._own)

    def _start_heartbeat(self, trial_id: int) -> None:
        """Send heartbeats from a thread until the trial or this process ends."""
        self._own.add(trial_id)
        self._start_thread(trial_id, threading.Event())

    @contextmanager
    def job_of(self, trial_id: int) -> Iterator[None]:
        """Send heartbeats while a trial's job runs: the process that created the trial may die, and the job go on."""
        self.set_trial_system_attr(trial_id, BEGUN, True)
        ended = threading.Event()
        thread = self._start_thread(trial_id, ended)
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=10)

    def _start_thread(self, trial_id: int, ended: threading.Event) -> threading.Thread:
        name = f"heartbeat of {trial_id}"
        thread = threading.Thread(target=self._send_heartbeats, args=(trial_id, ended), name=name, daemon=True)
        thread.start()
        return thread

    def _send_heartbeats(self, trial_id: int, ended: threading.Event) -> None:
        while not ended.wait(self.heartbeat_interval or 1):
            with suppress(SQLAlchemyError):  # a lost connection: the next heartbeat may succeed
                if self.get_trial(trial_id).state.is_finished():
                    self._own.discard(trial_id)
                    return
                self.record_heartbeat(trial_id)


def _outcome(attributes: Mapping[str, Any]) -> Outcome | None:
    """The outcome in the system attributes of a trial; None if its job has not ended."""
    if OUTCOME not in attributes:
        return None
    values, errors = attributes[OUTCOME]
    return Outcome([float(value) for value in values] or None, next(iter(errors), None))


def _attempts(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> int:
    """How often this trial has been begun, under its own number and those of the trials that it repeats."""
    repeated = trial.user_attrs.get(AGAIN)
    return 1 if repeated is None else 1 + _attempts(trials, trials[repeated])


def _make_folder(folder: Path, url: str) -> None:
    """Create the folder of an SQLite file, but none at the root of the file system, where a path is mistyped or not mounted.

    Raises:
        ValueError: the folder can't be created.
    """
    absolute = folder.absolute()
    if len(absolute.parts) > 1 and not Path(*absolute.parts[:2]).exists():
        raise ValueError(
            f"study.storage={hide_passwords(url)}: there is no folder {Path(*absolute.parts[:2])}; create it first"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"study.storage={hide_passwords(url)}: {folder} can't be created ({error.strerror})") from error


@contextmanager
def study_lock(url: str, engine: Engine | None = None) -> Iterator[None]:
    """A lock that one worker at a time can hold: a lock file next to an SQLite file, an advisory lock in PostgreSQL.

    Other databases are not locked.

    Args:
        url: SQLAlchemy URL of the storage.
        engine: an open engine for it; None: one is created for the duration of the lock.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        with file_lock(Path(f"{parsed.database}.lock"), "another worker is using the study's tables"):
            yield
        return
    if parsed.get_backend_name() != "postgresql":
        yield
        return
    used_engine = engine or create_engine(url)
    with used_engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtext('gan_lab'))"))
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(hashtext('gan_lab'))"))
    if engine is None:
        used_engine.dispose()


def _template(system: dict[str, Any], user: dict[str, Any]) -> FrozenTrial:
    """A running trial with these system and user attributes, from which Optuna creates one in the storage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExperimentalWarning
        trial = create_trial(state=TrialState.RUNNING, system_attrs=system, user_attrs=user)
    trial.datetime_start = datetime.now()
    return trial


def suggest_trial_number(config: Any, trial: Trial) -> None:
    """Adds the number of a trial to its parameters, as :data:`TRIAL`, so that it reaches the job.

    Hydra's sweeper calls this for each new trial (``custom_search_space``).
    """
    trial.suggest_int(TRIAL, trial.number, trial.number)
