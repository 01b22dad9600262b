"""Jobs whose processes die under a launcher that gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus

from gan_lab.sweeps.optuna_trial import open_trial
from gan_lab.sweeps.study_storage import MAX_ATTEMPTS, StudyStorage
from hydra_plugins.gan_lab_sweeper._repeating_launcher import RepeatingLauncher

Job = Callable[[Any, int], float]
"""Trains a trial, given it and how often its job was begun before; raises MemoryError if the process is killed."""


class Launcher:
    """Runs jobs one after the other; a killed process ends the call, as with joblib and submitit."""

    def __init__(self, url: str, jobs: Sequence[Job]) -> None:
        self.url, self.jobs, self.begun = url, jobs, [0] * len(jobs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        return [self.run(next(int(o[12:]) for o in overrides if o.startswith("study.trial="))) for overrides in job_overrides]

    def run(self, number: int) -> JobReturn:
        trial = open_trial(self.url, "s", number, len(self.jobs), 60, None)
        self.begun[number] += 1
        with trial.job():
            value = self.jobs[number](trial, self.begun[number] - 1)
            trial.store_values([value])
        return JobReturn(status=JobStatus.COMPLETED, _return_value=value)


def launch(path: Path, jobs: Sequence[Job], apart: bool, launcher: Any = None) -> tuple[Any, list[JobReturn]]:
    url = f"sqlite:///{path / 's.db'}"
    storage = StudyStorage(url, len(jobs), 60)
    study = optuna.create_study(study_name="s", storage=storage)
    overrides = [[f"study.trial={study.ask().number}", "sweep=quality"] for _ in jobs]
    launcher = launcher or Launcher(url, jobs)
    return launcher, list(RepeatingLauncher(launcher, storage, "s", apart).launch(overrides, 7))


def trained(trial: Any, before: int) -> float:
    return float(trial.number)


def killed_once(trial: Any, before: int) -> float:
    if before == 0:
        raise MemoryError("killed")
    return float(trial.number)


def always_killed(trial: Any, before: int) -> float:
    raise MemoryError("killed")


@pytest.mark.parametrize("apart", [False, True])
def test_only_the_killed_job_is_launched_again(tmp_path: Path, apart: bool) -> None:
    launcher, returned = launch(tmp_path, [trained, killed_once, trained], apart)
    assert [one.return_value for one in returned] == [0.0, 1.0, 2.0]
    assert launcher.begun == [1, 2, 1]


def test_a_trial_that_is_always_killed_fails_and_the_others_do_not(tmp_path: Path) -> None:
    launcher, returned = launch(tmp_path, [trained, always_killed, trained], apart=True)
    assert [returned[0].return_value, returned[2].return_value] == [0.0, 2.0]
    with pytest.raises(ValueError, match="died 3 times"):
        _ = returned[1].return_value
    assert launcher.begun == [1, MAX_ATTEMPTS, 1]


def test_a_launcher_that_begins_no_job_is_an_error(tmp_path: Path) -> None:
    class WithoutQueue:
        calls = 0

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
            self.calls += 1
            raise FileNotFoundError("no sbatch on this machine")

    launcher = WithoutQueue()
    with pytest.raises(ValueError, match=r"WithoutQueue: the job of a trial could not begin: no sbatch"):
        launch(tmp_path, [trained], apart=True, launcher=launcher)
    assert launcher.calls == 1
