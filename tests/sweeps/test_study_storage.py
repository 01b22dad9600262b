"""Workers that share the storage of a study: number of trials, heartbeats, and repeating lost trials."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.samplers import GridSampler, RandomSampler
from optuna.trial import TrialState

from gan_lab.config import Job
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.studies.multirun import SweepTrial, trial_of
from gan_lab.sweeps.constraints import Constraints
from gan_lab.sweeps.optuna_study import OptunaStudy, StudyDefinition
from gan_lab.sweeps.optuna_trial import open_trial
from gan_lab.sweeps.study_storage import LOST, TRIAL, StudyComplete, StudyStorage, _make_folder, suggest_trial_number

CONFIG = "version: 0.2.0\nchoices: {{}}\noverrides: []\nmodel: {{}}\nstudy:\n  trial: {trial}\n"
"""Of a run that belongs to a trial."""

DEFINITION = StudyDefinition(["score"], {"x": "interval(0,1)"}, {})


def open_study(url: str, trials: int = 4, heartbeat: int = 60) -> OptunaStudy:
    return OptunaStudy("s", url, trials, heartbeat, DEFINITION, {})


def ask(study: optuna.Study) -> optuna.trial.Trial:
    """Ask for a trial as Hydra's sweeper does."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    suggest_trial_number(None, trial)
    return trial


def connect(url: str, trials: int = 4, sampler: Any = None, heartbeat: int = 60) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=StudyStorage(url, trials, heartbeat), sampler=sampler or RandomSampler())


def test_two_workers_make_exactly_the_requested_number_of_trials(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    one, other = connect(url), connect(url)
    for n in range(4):
        worker = (one, other)[n % 2]
        worker.tell(ask(worker), float(n))
    for worker in (one, other):
        with pytest.raises(StudyComplete):
            worker.ask()
    assert [trial.number for trial in one.trials] == [0, 1, 2, 3]


def test_a_batch_for_several_processes_is_created_as_a_whole(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=2)
    worker = connect(url, trials=2)
    batch = [ask(worker) for _ in range(3)]  # must not wait for its own trials
    for trial in batch:
        worker.tell(trial, 0.0)
    with pytest.raises(StudyComplete):
        worker.ask()


def silence(storage: StudyStorage, trial_id: int, seconds: int = 3600) -> None:
    """Set the last heartbeat of a trial back by ``seconds``."""
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE trial_heartbeats SET heartbeat = datetime('now', '-{seconds} seconds') WHERE trial_id = {trial_id}"
        )


def test_the_trial_of_a_dead_worker_is_repeated_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=2)
    dead, alive = connect(url, 2), connect(url, 2)
    lost = ask(dead)
    silence(StudyStorage(url, 2, 60), lost._trial_id)
    repeated, other = ask(alive), ask(alive)
    assert repeated.params["x"] == lost.params["x"] != other.params["x"]
    for trial in (repeated, other):
        alive.tell(trial, 1.0)
    with pytest.raises(StudyComplete):
        alive.ask()
    states = {trial.number: (trial.state, LOST in trial.user_attrs) for trial in alive.trials}
    assert states == {0: (TrialState.FAIL, True), 1: (TrialState.COMPLETE, False), 2: (TrialState.COMPLETE, False)}
    assert [trial["state"] for trial in open_study(url, 2).record()["trials"]] == ["lost", "complete", "complete"]


@pytest.mark.slow
def test_a_worker_that_sends_heartbeats_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=1)
    busy = connect(url, 1, heartbeat=1)
    trial = ask(busy)
    code = f"""
import optuna
from gan_lab.sweeps.study_storage import StudyComplete, StudyStorage
study = optuna.load_study(study_name="s", storage=StudyStorage({url!r}, 1, 1))
try:
    study.ask()
except StudyComplete:
    print("complete")
"""
    other = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
    time.sleep(7)  # longer than the four heartbeats after which the trial would be lost
    assert other.poll() is None
    busy.tell(trial, 1.0)
    assert other.communicate(timeout=60)[0] == "complete\n"


def test_the_grid_point_of_a_lost_trial_is_repeated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=3)
    grid = GridSampler({"y": [1, 2, 3]})
    dead, alive = (connect(url, 3, grid) for _ in range(2))
    lost = dead.ask()
    value = lost.suggest_categorical("y", [1, 2, 3])
    silence(StudyStorage(url, 3, 60), lost._trial_id)
    found = []
    for n in range(3):
        trial = alive.ask()
        found.append(trial.suggest_categorical("y", [1, 2, 3]))
        connect(url, 3).tell(trial.number, float(n))  # with a grid, Optuna would stop Study.optimize, which does not run
    assert sorted(found) == [1, 2, 3] and value in found


def test_workers_have_different_sampler_seeds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    seeds = [open_study(url).seed_for(0) for _ in range(3)]
    assert len(set(seeds)) == 3
    elsewhere = [open_study(f"sqlite:///{tmp_path / 'other.db'}").seed_for(0) for _ in range(3)]
    assert seeds == elsewhere, "the seeds are reproducible in another study"


def test_a_study_of_another_program_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    foreign = optuna.create_study(study_name="s", storage=url)
    foreign.tell(foreign.ask(), 1.0)
    with pytest.raises(ValueError, match="was not created by gan_lab"):
        open_study(url)


def test_the_tables_of_another_version_of_optuna_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    with StudyStorage(url, 4, 60).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(ValueError, match=r"tables are not those of Optuna .*optuna storage upgrade"):
        open_study(url)


def test_a_trial_has_its_number_as_a_parameter(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    worker = connect(url)
    assert [ask(worker).params[TRIAL] for _ in range(3)] == [0, 1, 2]


def test_no_folder_is_created_at_the_root(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"study\.storage=sqlite:////nonexistent/x\.db: there is no folder /nonexistent"):
        _make_folder(Path("/nonexistent"), "sqlite:////nonexistent/x.db")
    assert not Path("/nonexistent").exists()
    _make_folder(tmp_path / "new" / "folder", "sqlite:///new/folder/x.db")
    assert (tmp_path / "new" / "folder").is_dir()


def test_a_repeated_job_removes_what_its_own_trial_has_left_and_nothing_else(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    worker = connect(url)
    trial = ask(worker)
    opened = open_trial(url, "s", trial.number, 4, 60, None)
    directory = RunDirectory(tmp_path / "0")
    directory.checkpoints.mkdir(parents=True)
    for path in (directory.checkpoint("last"), directory.path / "train.log"):
        path.write_text("x")
    own = CONFIG.format(trial=trial.number)
    directory.config.write_text(CONFIG.format(trial=trial.number + 1))
    job = SweepTrial(opened, None, tmp_path, Constraints({}))

    job.begin(directory)  # the run of another trial
    assert directory.has_begun()

    directory.config.write_text(own)
    before = opened.begun - 60
    os.utime(directory.config, (before, before))  # of a run that is older than the trial
    job.begin(directory)
    assert directory.has_begun()

    os.utime(directory.config)
    with directory.lock(), pytest.raises(ValueError, match="is being trained by"):
        job.begin(directory)
    job.begin(directory)
    assert [path.name for path in directory.path.iterdir()] == ["train.log"]

    directory.checkpoints.mkdir()
    directory.config.write_text(own)
    directory.checkpoint("last").write_text("x")
    worker.tell(trial, 1.0)  # the trial has ended: its run stays
    job.begin(directory)
    assert directory.has_begun()


def test_a_repeated_job_keeps_a_run_that_had_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    trial = ask(connect(url))
    directory = RunDirectory(tmp_path / "0")
    directory.path.mkdir()
    directory.config.write_text(CONFIG.format(trial=trial.number))
    directory.summary.write_text('{"status": "finished", "score": "fid"}')
    job = SweepTrial(open_trial(url, "s", trial.number, 4, 60, None), None, tmp_path, Constraints({}))
    assert job.begin(directory) == {"status": "finished", "score": "fid"} and directory.config.exists()
    directory.summary.write_text('{"status": "interrupted"}')
    assert job.begin(directory) is None and not directory.config.exists()


@pytest.mark.parametrize("values", [(1.5,), (math.inf,), None])
def test_a_trial_whose_sweep_died_ends_with_what_its_job_has_stored(tmp_path: Path, values: tuple[float, ...] | None) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=1)
    dead, alive = connect(url, 1), connect(url, 1)
    trial = ask(dead)
    job = open_trial(url, "s", trial.number, 1, 60, None)
    with job.job():
        job.store_error("out of memory") if values is None else job.store_values(values)
    silence(StudyStorage(url, 1, 60), trial._trial_id)
    with pytest.raises(StudyComplete):
        alive.ask()
    (ended,) = alive.trials
    assert LOST not in ended.user_attrs
    assert (ended.state, ended.values) == ((TrialState.COMPLETE, [*values]) if values else (TrialState.FAIL, None))


def test_a_running_job_keeps_its_trial_although_its_sweep_died(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=2)
    trial = ask(connect(url, 2))
    storage = StudyStorage(url, 2, heartbeat=1)
    silence(storage, trial._trial_id, seconds=30)
    with open_trial(url, "s", trial.number, 2, 1, None).job():
        for _ in range(100):
            if not storage._get_stale_trial_ids(trial.study._study_id):
                break
            time.sleep(0.2)
        assert storage._get_stale_trial_ids(trial.study._study_id) == []
    silence(storage, trial._trial_id, seconds=30)
    time.sleep(2)
    assert storage._get_stale_trial_ids(trial.study._study_id) == [trial._trial_id], "heartbeats end with the job"


def test_a_trial_that_kills_its_workers_is_repeated_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=1)
    tried = []
    for _ in range(4):
        trial = ask(connect(url, 1))
        tried.append(trial.params["x"])
        silence(StudyStorage(url, 1, 60), trial._trial_id)
    assert tried[0] == tried[1] == tried[2] != tried[3]


def test_a_job_whose_trial_has_ended_does_not_train(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    worker = connect(url)
    trial = ask(worker)
    worker.tell(trial, 1.0)
    cfg = OmegaConf.create(
        {
            "study": {"storage": url, "name": "s", "trial": trial.number, "trials": 4, "heartbeat": 60},
            "pruner": {},
        }
    )
    job = Job(cfg, {}, (), RunDirectory(tmp_path / "0"), "", tmp_path, resumed=False)
    with pytest.raises(ValueError, match=r"study\.trial=0: this trial has ended"), trial_of(job):
        pass
