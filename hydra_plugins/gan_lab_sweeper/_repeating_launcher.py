"""Repeats jobs whose processes die. Hydra imports this package's modules at its start, except those that begin with ``_``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher as HydraLauncher

from gan_lab.sweeps.study_storage import MAX_ATTEMPTS, TRIAL, StudyStorage

log = logging.getLogger(__name__)

Jobs = dict[int, Sequence[str]]
"""The overrides of jobs, by Hydra's numbers of them."""


class RepeatingLauncher:
    """Stands for a launcher that raises an exception when the process of a job is killed.

    The jobs that had ended return what they have stored in the study, and the others are launched again, at most
    :data:`gan_lab.sweeps.study_storage.MAX_ATTEMPTS` times. They train the same trials, in the same folders.

    Args:
        launcher: whose exception says that the processes of all jobs of a call have ended.
        storage: of the study.
        study: its name.
        apart: each job is launched by a call of its own, because an exception tells nothing of the other jobs of the call.
    """

    def __init__(self, launcher: HydraLauncher, storage: StudyStorage, study: str, apart: bool) -> None:
        self._launcher = launcher
        self._storage = storage
        self._study = study
        self._apart = apart

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs to their end, as Hydra's launchers do.

        Raises:
            ValueError: no job can be begun.
        """
        jobs = dict(enumerate(job_overrides, initial_job_idx))
        calls = [{number: overrides} for number, overrides in jobs.items()] if self._apart else [jobs]
        returned: dict[int, JobReturn] = {}
        errors: list[Exception] = []

        def call_in_thread(jobs: Jobs) -> None:
            try:
                returned.update(self._launch(jobs))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=call_in_thread, args=(jobs,), daemon=True) for jobs in calls[1:]]
        for thread in threads:
            thread.start()
        returned.update(self._launch(calls[0]))
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return [returned[number] for number in jobs]

    def _launch(self, jobs: Jobs) -> dict[int, JobReturn]:
        returned: dict[int, JobReturn] = {}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            missing = {number: overrides for number, overrides in jobs.items() if number not in returned}
            try:
                results = self._launcher.launch(list(missing.values()), initial_job_idx=min(missing))
                return returned | dict(zip(missing, results, strict=True))
            except Exception as error:
                reason = " ".join(str(error).split("\n")[:2])  # the output of the process follows
                returned |= self._returned_before(missing, reason, error)
            missing = {number: overrides for number, overrides in missing.items() if number not in returned}
            if not missing:
                return returned
            trials = " and ".join(str(_trial(overrides)) for overrides in missing.values())
            if attempt < MAX_ATTEMPTS:
                log.warning("trial %s: its process died (%s); it begins again", trials, reason)
        failed = ValueError(f"the process of this trial died {MAX_ATTEMPTS} times, perhaps for lack of memory")
        return returned | {number: _job_return(overrides, failed) for number, overrides in missing.items()}

    def _returned_before(self, jobs: Jobs, reason: str, error: Exception) -> dict[int, JobReturn]:
        """What those jobs return that had ended when the launcher raised an exception.

        Raises:
            ValueError: none of the jobs had begun.
        """
        known = {number: self._storage.outcome_of(self._study, _trial(overrides)) for number, overrides in jobs.items()}
        if not any(begun for begun, _ in known.values()):
            raise ValueError(f"{type(self._launcher).__name__}: the job of a trial could not begin: {reason}") from error
        returned = {}
        for number, (_, outcome) in known.items():
            if outcome is not None:
                result = ValueError(outcome.error) if outcome.values is None else tuple(outcome.values)
                returned[number] = _job_return(jobs[number], result)
        return returned


def _trial(overrides: Sequence[str]) -> int:
    """The number of the trial in the overrides of its job."""
    return next(int(override.partition("=")[2]) for override in overrides if override.startswith(f"{TRIAL}="))


def _job_return(overrides: Sequence[str], result: tuple[float, ...] | Exception) -> JobReturn:
    if isinstance(result, Exception):
        return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=result)
    value: Any = result[0] if len(result) == 1 else result
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=value)
